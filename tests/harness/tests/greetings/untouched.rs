//! What must not change a greeting does not: a hang-up, a time-out, a full disk, a reload.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::{Sound, Tone, Version, build_shim, until};

use crate::desk::{BOUND, Desk, LONG, Menu, SHORT_REVIEW, TAKE, play};

const OLD: Tone = Tone(440);
const NEW: Tone = Tone(1_000);

/// The bytes of 101's greeting, and of everything else that lies there.
fn all(desk: &Desk<'_>) -> Result<Vec<(String, Vec<u8>)>> {
    let folder = desk.folder().join("operators/-/101");
    let mut all = Vec::new();
    for name in harness::files(&folder) {
        let bytes = fs::read(folder.join(&name))?;
        all.push((name, bytes));
    }
    Ok(all)
}

fn is_as_before(desk: &Desk<'_>, before: &[(String, Vec<u8>)], what: &str) -> Result<()> {
    desk.empties()?;
    let after = all(desk)?;
    ensure!(after == before, "{what} has changed the greeting");
    ensure!(desk.greeting("101,locked")? == "0", "{what} leaves a lock");
    desk.is_tidy().with_context(|| what.to_owned())
}

pub(crate) fn what_is_not_accepted_changes_nothing(version: Version) -> Result<()> {
    let limits = format!("max = 3s\nmax_silence = 1s\nmenu_timeout = 1s\nprompt_review = {SHORT_REVIEW}");
    play(
        version,
        &limits,
        |builder| builder,
        |desk| {
            desk.give("101", "default", OLD)?;
            let before = all(desk)?;

            let recording = |time| -> Result<Menu<'_>> {
                let mut menu = Menu::dial(desk, "101", "*600")?;
                menu.begins()?;
                menu.records(NEW, time)?;
                Ok(menu)
            };
            recording(LONG)?.hangs_up()?;
            is_as_before(desk, &before, "a hang-up while recording")?;

            let mut menu = recording(TAKE)?;
            menu.has_recorded()?;
            menu.hangs_up()?;
            is_as_before(desk, &before, "a hang-up before the recording is accepted")?;

            let mut menu = recording(TAKE)?;
            menu.has_recorded()?;
            menu.press("*")?;
            menu.says("cancelled")?;
            menu.hangs_up()?;
            is_as_before(desk, &before, "a star after the recording")?;

            let mut menu = recording(LONG)?;
            menu.press("*")?;
            menu.says("cancelled")?;
            menu.hangs_up()?;
            is_as_before(desk, &before, "a star while recording")?;

            // Shorter than the shortest.
            let mut menu = Menu::dial(desk, "101", "*600")?;
            menu.begins()?;
            menu.begins_to_record()?;
            menu.press("#")?;
            menu.says("vm-tooshort")?;
            menu.hangs_up()?;
            is_as_before(desk, &before, "a recording that is too short")?;

            // Nobody says anything any more after the recording: it is asked again, and then hung up.
            let mut menu = recording(TAKE)?;
            menu.has_recorded()?;
            menu.line.wait_hung_up()?;
            is_as_before(desk, &before, "no answer")?;

            // Over-long and silent ones end by themselves, and may be accepted.
            let mut menu = recording(Duration::ZERO)?;
            menu.reviews()?;
            menu.saves()?;
            is_long(desk, Duration::from_secs(3))?;
            menu.records(OLD, TAKE)?;
            menu.phone_says(None);
            menu.reviews()?;
            menu.saves()?;
            menu.hangs_up()?;
            let millis: u64 = desk.greeting("101,duration,default")?.parse()?;
            ensure!(
                (1_000..2_900).contains(&millis),
                "a recording that ended in silence is {millis} ms long"
            );
            desk.is_tidy()
        },
    )
}

/// The greeting is that long, as its file, its header and OP_GREETING say.
fn is_long(desk: &Desk<'_>, time: Duration) -> Result<()> {
    const CLOSE: Duration = Duration::from_millis(100);
    let said = Duration::from_millis(desk.greeting("101,duration,default")?.parse()?);
    let sound = Sound::wav(&fs::read(desk.file("101", "default-en.wav"))?)?;
    ensure!(
        said.abs_diff(time) <= CLOSE && said.abs_diff(sound.duration()) <= Duration::from_millis(1),
        "{time:?} were recorded, the file has {:?} and OP_GREETING says {said:?}",
        sound.duration()
    );
    Ok(())
}

/// `tests/live/shim/outage.c`, built into `folder`.
fn shim(folder: &std::path::Path) -> Result<PathBuf> {
    let library = folder.join("outage.so");
    fs::create_dir(folder.join("flags"))?;
    build_shim("outage.c", &library, &["-ldl"])?;
    Ok(library)
}

pub(crate) fn a_full_disk_leaves_the_old_greeting(version: Version) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let library = shim(folder.path())?;
    let flags = folder.path().join("flags");
    let describe = |builder: harness::Builder| {
        builder
            .env("LD_PRELOAD", &library)
            .env("PLANFIX_OUTAGE_FLAGS", &flags)
            .env("PLANFIX_OUTAGE_PATH", "/planfix/greetings/")
    };
    play(version, "", describe, |desk| {
        desk.give("101", "default", OLD)?;
        let before = all(desk)?;
        let full = flags.join("full");
        fs::write(&full, "")?;
        let mut menu = Menu::dial(desk, "101", "*600")?;
        menu.begins()?;
        menu.records(NEW, TAKE)?;
        menu.has_recorded()?;
        menu.press("1")?;
        menu.says("vm-pls-try-again")?;
        ensure!(all(desk)? == before, "a full disk has changed the greeting");
        // The old one is what a client hears meanwhile.
        desk.is_heard("101", OLD)?;
        // Neither is anything else half done.
        let file = desk.sound(NEW, 8_000)?.display().to_string();
        for (attribute, value) in [("file", file.as_str()), ("enabled", "no")] {
            desk.refused(&[
                ("Action", "PlanfixGreetingSet"),
                ("Operator", "101"),
                ("Attribute", attribute),
                ("Kind", "default"),
                ("Value", value),
            ])?;
        }
        ensure!(desk.greeting("101,enabled")? == "1", "off, and not on the disk");
        ensure!(all(desk)? == before, "a full disk has changed the greeting");
        fs::remove_file(&full)?;
        // What he has said is not lost.
        menu.saves()?;
        menu.hangs_up()?;
        desk.empties()?;
        desk.is_heard("101", NEW)?;
        desk.is_tidy()
    })
}

pub(crate) fn a_reload_waits_for_nobody_and_an_unload_for_who_records(version: Version) -> Result<()> {
    play(
        version,
        "",
        |builder| builder,
        |desk| {
            desk.give("101", "default", OLD)?;
            let mut menu = Menu::dial(desk, "101", "*600")?;
            menu.begins()?;
            menu.records(NEW, LONG)?;
            // Somebody else listens to the old one meanwhile, long enough.
            let listener = desk.client_calls("101")?;
            listener.wait_hears(OLD, Duration::from_millis(300), harness::Heard::ALL)?;
            let begun = std::time::Instant::now();
            let settings = desk.stage.settings().to_owned();
            desk.stage
                .reload_with(&settings.replace("[greetings]\n", "[greetings]\nmax = 50s\n"))?;
            ensure!(begun.elapsed() < BOUND, "the reload took {:?}", begun.elapsed());
            let refused = desk.stage.asterisk.cli("module unload res_planfix.so")?;
            ensure!(
                desk.stage
                    .asterisk
                    .cli("module show like res_planfix")?
                    .contains("Running"),
                "{refused}"
            );
            listener.wait_hears(OLD, LONG, harness::Heard::ALL)?;
            listener.wait_ended()?;
            desk.until_is("SAID", "PLAYED")?;
            menu.talks(TAKE)?;
            menu.has_recorded()?;
            menu.saves()?;
            menu.hangs_up()?;
            desk.empties()?;
            desk.is_heard("101", NEW)?;
            desk.empties()?;

            until("an unload", BOUND, || {
                let said = desk.stage.asterisk.cli("module unload res_planfix.so")?;
                Ok(said.contains("Unloaded res_planfix.so").then_some(()))
            })?;

            desk.stage.asterisk.cli("module load res_planfix.so")?;
            desk.stage.at_work()?;
            ensure!(desk.greeting("101,exists")? == "1", "the greeting is gone");
            desk.is_heard("101", NEW)?;
            until("the lamp, lit again", BOUND, || {
                let hint = desk.command("core show hint *6101")?;
                Ok(hint.contains("State:InUse").then_some(()))
            })?;
            desk.is_tidy()
        },
    )
}
