//! What the applications take, and what they say afterwards.

use std::fs;

use anyhow::{Context, Result, ensure};
use harness::{Heard, Line, Log, Tone, Version, files, until};

use crate::desk::{BOUND, DIALPLAN, Desk, LONG, Menu, play};

const OWN: Tone = Tone(440);
const TEMPLATE: Tone = Tone(620);

/// ARGUMENTS are the application's, CALLED is whom FreePBX says that was called.
const RUNS: &str = "\
[from-internal]
exten => *81,1,Set(GLOBAL(SAID)=)
 same => n,Set(EXTTOCALL=${CALLED})
 same => n,OpGreeting(${ARGUMENTS})
 same => n,Set(GLOBAL(DIGIT)=${OPGREETINGDIGIT})
 same => n,Wait(0.3)
 same => n,Hangup()
exten => *82,1,Set(GLOBAL(SAID)=)
 same => n,Set(CHANNEL(language)=${LANG})
 same => n,OpGreetingMenu(${ARGUMENTS})
 same => n,Hangup()
exten => h,1,Set(GLOBAL(SAID)=${OPGREETINGSTATUS}${OPGREETINGMENUSTATUS})
";

/// Short, because a time-out begins when everything is said.
const PROMPTS: &str = "\
menu_timeout = 1
prompt_delete_sure = beep
prompt_goodbye = beep
prompt_kind_vacation = beep
prompt_nothing = beep
prompt_on = beep
prompt_option_record = beeperr&beeperr
prompt_option_off = beep
prompt_option_kind = no-such-sound
prompt_until = beep
prompt_vacation_on = beep
";

pub(crate) fn a_greeting_is_played_as_the_options_say(version: Version) -> Result<()> {
    run(version, playing)
}

pub(crate) fn the_menu_is_entered_as_the_options_say(version: Version) -> Result<()> {
    run(version, entering)
}

fn run(version: Version, test: impl FnOnce(&Desk<'_>) -> Result<()>) -> Result<()> {
    let describe = |builder: harness::Builder| builder.extensions(&format!("{DIALPLAN}{RUNS}"));
    play(version, PROMPTS, describe, |desk| {
        desk.set("CALLED", "")?;
        desk.give("101", "default", OWN)?;
        test(desk)?;
        desk.is_tidy()
    })
}

/// Phone 102 runs OpGreeting with these arguments.
fn greeting(desk: &Desk<'_>, arguments: &str) -> Result<Line> {
    desk.empties()?;
    desk.set("SAID", "")?;
    desk.set("ARGUMENTS", arguments)?;
    desk.phone("102")?.call("*81")
}

fn says(desk: &Desk<'_>, arguments: &str, status: &str) -> Result<()> {
    greeting(desk, arguments)?.wait_ended()?;
    desk.until_is("SAID", status)
        .with_context(|| format!("OpGreeting({arguments})"))
}

fn playing(desk: &Desk<'_>) -> Result<()> {
    let template = desk.sound(TEMPLATE, 8_000)?.display().to_string();
    desk.command(&format!("planfix greeting template set {template}"))?;

    // Keys that are not asked for end nothing, and neither does a second time.
    let line = greeting(desk, "101,,ar(3)d(0*)")?;
    line.wait_answered()?;
    line.press("57")?;
    line.wait_hears(OWN, LONG * 3, Heard::ALL)?;
    line.press("0")?;
    line.wait_ended()?;
    desk.until_is("SAID", "PLAYED")?;
    desk.until_is("DIGIT", "0")?;
    let line = greeting(desk, "101,,a")?;
    line.wait_answered()?;
    line.press("0")?;
    line.wait_hears(OWN, LONG, Heard::ALL)?;
    line.wait_ended()?;
    desk.until_is("SAID", "PLAYED")?;
    desk.until_is("DIGIT", "")?;

    // The dialplan is told also when the caller hangs up.
    let line = greeting(desk, "101,,ar(10)")?;
    line.wait_answered()?;
    line.wait_hears(OWN, LONG, Heard::ALL)?;
    line.hangup()?;
    desk.until_is("SAID", "HANGUP")?;

    // The template, unless only his own will do, or only this kind.
    let line = greeting(desk, "102")?;
    line.wait_hears(TEMPLATE, LONG, Heard::ALL)?;
    line.wait_ended()?;
    desk.until_is("SAID", "FALLBACK")?;
    for arguments in ["102,,s", "102,,sa", "102,busy,x", "101,busy,x"] {
        says(desk, arguments, "NONE")?;
    }
    says(desk, "101,default,xs", "PLAYED")?;

    // Whoever was called.
    for (called, status) in [
        ("101", "PLAYED"),
        ("102", "FALLBACK"),
        ("900", "NONE"),
        ("", "FAILED"),
    ] {
        desk.set("CALLED", called)?;
        says(desk, "", status)?;
    }
    desk.set("CALLED", "")?;

    // What is not understood is named, and nothing is played.
    let mut log = Log::from_here(&desk.stage.asterisk)?;
    for (arguments, named) in [
        ("101,lunch", "argument 2 (kind): 'lunch'"),
        ("101,,q", "argument 3 (options): 'q' is unknown"),
        ("101,,r(0)", "r(0) is not how often"),
        ("101,,,x", "4 arguments were given"),
        ("900", "argument 1 (operator): '900' is not an operator"),
    ] {
        says(desk, arguments, "FAILED")?;
        log.wait(named, |line| {
            (line.contains("WARNING") && line.contains(named)).then_some(())
        })?;
    }

    // Somebody has removed the files behind the module's back.
    let folder = desk.folder().join("operators/-/101");
    let kept: Vec<_> = files(&folder)
        .into_iter()
        .filter(|name| name.contains(".wav"))
        .map(|name| {
            let bytes = fs::read(folder.join(&name))?;
            fs::remove_file(folder.join(&name))?;
            Ok((name, bytes))
        })
        .collect::<Result<_>>()?;
    ensure!(!kept.is_empty(), "there is nothing to remove");
    says(desk, "101", "FAILED")?;
    log.wait("the file that is missing", |line| {
        (line.contains("WARNING") && line.contains("default-en") && line.contains("cannot be played"))
            .then_some(())
    })?;
    for (name, bytes) in kept {
        fs::write(folder.join(name), bytes)?;
    }
    says(desk, "101", "PLAYED")?;
    desk.command("planfix greeting template delete").map(drop)
}

/// A phone runs OpGreetingMenu with these arguments.
fn menu<'a>(desk: &'a Desk<'_>, number: &str, arguments: &str) -> Result<Menu<'a>> {
    desk.empties()?;
    desk.set("SAID", "")?;
    desk.set("ARGUMENTS", arguments)?;
    Menu::dial(desk, number, "*82")
}

fn entering(desk: &Desk<'_>) -> Result<()> {
    let mut log = Log::from_here(&desk.stage.asterisk)?;
    // One kind first; prompts as planfix.conf has them, one of which is not there.
    let mut own = menu(desk, "101", ",k(busy)")?;
    for sound in ["vm-isonphone", "beep", "beep", "beeperr", "beeperr", "beep"] {
        own.says(sound)?;
    }
    log.wait("the prompt that is missing", |line| {
        let named = line.contains("'no-such-sound'") && line.contains("prompt_option_kind");
        (line.contains("WARNING") && named).then_some(())
    })?;
    own.says("do-not-disturb")?;
    own.press("#")?;
    own.line.wait_ended()?;
    desk.until_is("SAID", "DONE")?;

    // A silent one is asked three times.
    let mut own = menu(desk, "101", "")?;
    own.begins()?;
    own.press("2")?;
    for _ in 0..3 {
        own.says("beep")?;
    }
    own.line.wait_ended()?;
    desk.until_is("SAID", "TIMEOUT")?;
    ensure!(desk.greeting("101,exists")? == "1", "it is deleted");

    // Only one key means that it is to be deleted.
    let mut own = menu(desk, "101", "101")?;
    own.begins()?;
    own.press("7")?;
    own.says("beep")?;
    own.press("7")?;
    own.says("cancelled")?;
    ensure!(desk.greeting("101,exists")? == "1", "it is deleted");
    own.press("7")?;
    own.says("beep")?;
    own.press("1")?;
    own.says("vm-deleted")?;
    desk.until_greeting("101,exists", "0")?;
    own.hangs_up()?;
    desk.until_is("SAID", "HANGUP")?;

    // A date is said in the caller's language.
    desk.speak("ru")?;
    let mut own = menu(desk, "101", "")?;
    own.begins()?;
    own.press("6")?;
    own.says("beep")?;
    own.press("3112#")?;
    ensure!(
        own.says("digits/mon-11")? == "ru",
        "it is said in another language"
    );
    own.press("6")?;
    own.says("de-activated")?;
    own.hangs_up()?;
    desk.until_greeting("101,state", "available")?;
    desk.speak("en")?;

    // Whose phone it is does not matter where the dialplan says so, and neither does it the other way round.
    let mut other = menu(desk, "102", "101,s")?;
    other.begins()?;
    other.hangs_up()?;
    let mut refused = menu(desk, "101", "101,p")?;
    refused.says("feature-not-avail-line")?;
    refused.line.wait_ended()?;
    desk.until_is("SAID", "DENIED")?;

    // Nothing is answered for what cannot be.
    for (arguments, named) in [
        ("101,ps", "p and s contradict each other"),
        ("101,k(lunch)", "argument 2 (options): 'lunch' is not a kind"),
        ("900", "argument 1 (operator): '900' is not an operator"),
    ] {
        desk.empties()?;
        desk.set("SAID", "")?;
        desk.set("ARGUMENTS", arguments)?;
        let line = desk.phone("102")?.call("*82")?;
        line.wait_ended()?;
        desk.until_is("SAID", "FAILED")?;
        let is_named = |line: &str| {
            line.contains("WARNING") && line.contains("OpGreetingMenu: ") && line.contains(named)
        };
        until(named, BOUND, || {
            Ok(desk.stage.asterisk.log().lines().any(is_named).then_some(()))
        })?;
    }
    Ok(())
}
