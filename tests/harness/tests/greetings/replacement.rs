//! A greeting that is replaced while it is listened to.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::{Caller, Line, Phase, Sound, Tone, Version, until, wav};

use crate::desk::{Desk, play};

/// The frequencies that the versions are made of, each far enough from the next.
const TONES: usize = 50;
/// A version is one tone and then another, no two versions the same.
const HALF: Duration = Duration::from_millis(550);
/// What the piece of 50 ms in which one tone follows another may hide, and those at the ends.
const EDGE: Duration = Duration::from_millis(100);
const BOUND: Duration = Duration::from_secs(120);

fn number_of(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(otherwise)
}

fn tone(number: usize) -> Tone {
    let step = u16::try_from(number % TONES).unwrap_or_default();
    Tone(400 + 60 * step)
}

fn pair(version: usize) -> (Tone, Tone) {
    (tone(version), tone(version + version / TONES + 1))
}

/// A version as a file.
fn sound(version: usize) -> Vec<u8> {
    let (first, second) = pair(version);
    let half = u32::try_from(HALF.as_millis()).unwrap_or_default() * 8;
    let mut samples = first.samples(8_000, 0, half);
    samples.extend(second.samples(8_000, 0, half));
    wav(8_000, &samples)
}

/// Which version that is, whole.
fn version_of(sound: &Sound, all: &HashMap<(u16, u16), usize>) -> Result<usize> {
    let tones: Vec<Tone> = (0..TONES).map(tone).collect();
    let melody = sound.melody(&tones);
    let [(first, one), (second, other)] = melody[..] else {
        anyhow::bail!("not one version: {melody:?}");
    };
    ensure!(
        one + EDGE >= HALF && other + EDGE >= HALF,
        "not a whole version: {melody:?}"
    );
    ensure!(
        sound.duration() <= 2 * (HALF + EDGE),
        "more than a version: {:?}",
        sound.duration()
    );
    all.get(&(first.0, second.0))
        .copied()
        .with_context(|| format!("no version sounds like {melody:?}"))
}

pub(crate) fn every_listener_hears_one_whole_version(version: Version) -> Result<()> {
    let (count, listeners) = (number_of("REPLACEMENTS", 1_000), number_of("LISTENERS", 20));
    play(
        version,
        "max_total = 60s",
        |builder| builder,
        |desk| {
            let folder = desk.stage.asterisk.scratch().join("data/sounds/custom");
            let all: HashMap<(u16, u16), usize> = (0..count)
                .map(|version| {
                    let (first, second) = pair(version);
                    ((first.0, second.0), version)
                })
                .collect();
            ensure!(all.len() == count, "two versions sound the same");
            for version in 0..count {
                fs::write(folder.join(format!("{version}.wav")), sound(version))?;
            }
            let import = |desk: &Desk<'_>, version: usize| {
                let file = folder.join(format!("{version}.wav"));
                desk.change("101", "file", "default", &file.display().to_string())
            };
            import(desk, 0)?;
            // What an administrator has left there in other formats would be played instead.
            let stale = desk.file("101", "default-en.gsm");
            fs::write(&stale, b"stale")?;
            import(desk, 1)?;
            ensure!(!stale.exists(), "an old format is still there");

            let (newest, over) = (AtomicUsize::new(1), AtomicBool::new(false));
            let begun = Instant::now();
            let trunk = desk.trunk;
            let file = desk.file("101", "default-en.wav");
            // The session of the manager interface stays with its thread.
            let heard = thread::scope(|scope| {
                let (newest, over, all) = (&newest, &over, &all);
                let listening = scope.spawn(move || listen(trunk, listeners, newest, over, all));
                let looking = scope.spawn(|| look(&file, over, all));
                let replaced = (2..count).try_for_each(|version| {
                    newest.store(version, Ordering::SeqCst);
                    import(desk, version)
                });
                // Everybody hears the last one, too.
                let time = begun.elapsed();
                over.store(true, Ordering::SeqCst);
                let heard = listening
                    .join()
                    .map_err(|_| anyhow::anyhow!("the listeners panicked"))?;
                let looks = looking
                    .join()
                    .map_err(|_| anyhow::anyhow!("the looking panicked"))?;
                replaced?;
                Ok::<_, anyhow::Error>((heard?, looks?, time))
            });
            let (heard, looks, time) = heard?;
            println!(
                "Asterisk {version}: {count} replacements in {time:?}, {listeners} listeners heard {} greetings, the file was read \
             {looks} times",
                heard.len()
            );
            ensure!(heard.len() >= listeners, "{} greetings were heard", heard.len());
            ensure!(
                desk.greeting("101,plays")?.parse::<usize>().is_ok(),
                "{}",
                desk.greeting("101,plays")?
            );
            desk.empties()?;
            desk.is_tidy()
        },
    )
}

/// The file is a whole version whenever it is looked at.
fn look(file: &Path, over: &AtomicBool, all: &HashMap<(u16, u16), usize>) -> Result<usize> {
    let mut looks = 0;
    while !over.load(Ordering::SeqCst) {
        let sound = Sound::wav(&fs::read(file)?).context("the file")?;
        version_of(&sound, all).context("the file")?;
        looks += 1;
        thread::sleep(Duration::from_millis(5));
    }
    Ok(looks)
}

/// A call, and which version was the newest when it began.
struct Listener {
    line: Line,
    since: usize,
}

/// Calls again and again with so many calls at once until it is over; returns the versions that were heard.
fn listen(
    trunk: &harness::Phone,
    listeners: usize,
    newest: &AtomicUsize,
    over: &AtomicBool,
    all: &HashMap<(u16, u16), usize>,
) -> Result<Vec<usize>> {
    let mut heard = Vec::new();
    let call = || -> Result<Listener> {
        // The version that was the newest may have been on its way still.
        let since = newest.load(Ordering::SeqCst).saturating_sub(1);
        let line = trunk.call_as(&Caller::number("79101234567"), "74950007101")?;
        Ok(Listener { line, since })
    };
    let mut calls = (0..listeners).map(|_| call()).collect::<Result<Vec<_>>>()?;
    until("the end of the listeners", BOUND, || {
        let mut going_on = Vec::new();
        for listener in calls.drain(..) {
            if !matches!(listener.line.phase()?, Phase::Ended(_)) {
                going_on.push(listener);
                continue;
            }
            let until = newest.load(Ordering::SeqCst);
            let version = version_of(&listener.line.heard()?, all)?;
            ensure!(
                (listener.since..=until).contains(&version),
                "version {version} was heard by one who called from {} to {until}",
                listener.since
            );
            heard.push(version);
            if !over.load(Ordering::SeqCst) {
                going_on.push(call()?);
            }
        }
        calls = going_on;
        Ok(calls.is_empty().then_some(()))
    })?;
    Ok(heard)
}
