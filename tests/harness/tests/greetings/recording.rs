//! What the service code is for.

use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use harness::{Ami, Message, Tone, Version};

use crate::desk::{BOUND, Desk, LONG, Menu, TAKE, lamp, play};

const ENGLISH: Tone = Tone(440);
const RUSSIAN: Tone = Tone(620);
const VACATION: Tone = Tone(1_000);

/// Waits for an event; what came before it is done with.
fn event(ami: &mut Ami, what: &str, wanted: impl FnMut(&Message) -> bool) -> Result<Message> {
    ami.event(BOUND, wanted)?
        .with_context(|| format!("there was no event: {what}"))
}

/// The store tells that something of 101 has changed.
fn change<'a>(kind: &'a str, change: &'a str) -> impl FnMut(&Message) -> bool + 'a {
    move |event| {
        event.is_event("PlanfixGreeting")
            && event.get("Operator") == Some("101")
            && event.get("Kind").unwrap_or_default() == kind
            && event.get("Change") == Some(change)
    }
}

/// Every record of the call that a client has just made says that nobody answered.
fn unanswered(ami: &mut Ami) -> Result<()> {
    let cdr = event(ami, "the record of the client's call", |event| {
        event.is_event("Cdr")
            && event
                .get("Channel")
                .is_some_and(|name| name.starts_with("PJSIP/trunk-"))
    })?;
    let [disposition, billed] =
        ["Disposition", "BillableSeconds"].map(|name| cdr.get(name).unwrap_or_default());
    ensure!(
        (disposition, billed) == ("NO ANSWER", "0"),
        "the record of the call says {disposition}, {billed} s"
    );
    Ok(())
}

pub(crate) fn an_operator_records_and_a_client_hears_it(version: Version) -> Result<()> {
    let describe = |builder: harness::Builder| {
        builder
            .load("cdr_manager.so")
            .load("res_manager_devicestate.so")
            .file("cdr_manager.conf", "[general]\nenabled = yes\n")
    };
    play(version, "", describe, |desk| {
        let mut events = desk.stage.asterisk.ami()?;
        desk.client_hears_nothing("101", "NONE")?;
        unanswered(&mut events)?;

        // In both languages: what is recorded in one is heard by those who speak it.
        for (language, tone) in [("en", ENGLISH), ("ru", RUSSIAN)] {
            desk.speak(language)?;
            let mut menu = Menu::dial(desk, "101", "*600")?;
            let spoken = menu.begins()?;
            ensure!(spoken == language, "the menu speaks {spoken}");
            menu.records_listens_and_saves(tone)?;
            event(&mut events, "recorded", change("default", "recorded"))?;
            menu.press("*")?;
            menu.line.wait_hung_up()?;
            ensure!(
                desk.greeting("101,language,default")? == language || language == "ru",
                "{}",
                desk.greeting("101,language,default")?
            );
            desk.client_hears("101", tone)?;
            unanswered(&mut events)?;
            ensure!(desk.get("DIALED")? == "NOANSWER", "{}", desk.get("DIALED")?);
        }
        desk.speak("en")?;
        desk.client_hears("101", ENGLISH)?;
        ensure!(
            desk.greeting("101,plays")? == "2",
            "{}",
            desk.greeting("101,plays")?
        );
        desk.is_tidy()?;

        off_and_on(desk)?;
        vacation(desk)?;
        desk.is_tidy()
    })
}

/// Off and on again, and the lamp shows it.
fn off_and_on(desk: &Desk<'_>) -> Result<()> {
    let mut events = desk.stage.asterisk.ami()?;
    let hint = desk.command("core show hint *6101")?;
    ensure!(hint.contains("State:InUse"), "{hint}");
    let mut menu = Menu::dial(desk, "101", "*600")?;
    menu.begins()?;
    menu.press("4")?;
    // The one may be told before the other.
    let (mut device, mut hint) = (false, false);
    event(&mut events, "dark", |event| {
        device |= lamp(event, false);
        hint |= event.is_event("ExtensionStatus")
            && event.get("Exten") == Some("*6101")
            && event.get("StatusText") == Some("Idle");
        device && hint
    })?;
    desk.until_greeting("101,enabled", "0")?;
    menu.hangs_up()?;
    desk.client_hears_nothing("101", "DISABLED")?;
    let mut menu = Menu::dial(desk, "101", "*600")?;
    menu.begins()?;
    menu.press("4")?;
    desk.until_greeting("101,enabled", "1")?;
    menu.hangs_up()?;
    event(&mut events, "lit", |event| lamp(event, true))?;
    desk.is_heard("101", ENGLISH)
}

/// A vacation whose end comes, and one that the operator ends.
fn vacation(desk: &Desk<'_>) -> Result<()> {
    let mut events = desk.stage.asterisk.ami()?;
    let mut menu = Menu::dial(desk, "101", "*600")?;
    menu.begins()?;
    // The greeting for it, then it itself, until further notice.
    menu.press("55")?;
    menu.says("do-not-disturb")?;
    menu.records_listens_and_saves(VACATION)?;
    event(&mut events, "recorded", change("vacation", "recorded"))?;
    menu.press("60#")?;
    desk.until_greeting("101,state", "vacation")?;
    menu.hangs_up()?;
    ensure!(
        desk.greeting("101,expires,vacation")?.is_empty(),
        "{}",
        desk.greeting("101,expires,vacation")?
    );
    desk.client_hears("101", VACATION)?;

    let end = seconds() + 2;
    desk.change("101", "expires", "vacation", &end.to_string())?;
    ensure!(desk.greeting("101,expires,vacation")? == end.to_string());
    event(
        &mut events,
        "the end of the vacation",
        change("vacation", "expired"),
    )?;
    ensure!(seconds() >= end, "it ended before its time");
    ensure!(
        desk.greeting("101,state")? == "available",
        "{}",
        desk.greeting("101,state")?
    );
    // Kept for the next one.
    ensure!(
        desk.greeting("101,kinds")? == "default,vacation",
        "{}",
        desk.greeting("101,kinds")?
    );
    desk.is_heard("101", ENGLISH)?;

    // Through a day of the calendar, and back before it.
    let mut menu = Menu::dial(desk, "101", "*600")?;
    menu.begins()?;
    menu.press("63112#")?;
    desk.until_greeting("101,state", "vacation")?;
    let end: u64 = desk.greeting("101,expires,vacation")?.parse()?;
    ensure!(
        (seconds()..=seconds() + 366 * 86_400).contains(&end),
        "the 31st of December ends at {end}"
    );
    menu.says("do-not-disturb")?;
    menu.press("6")?;
    desk.until_greeting("101,state", "available")?;
    menu.hangs_up()
}

fn seconds() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// The second is told, and nothing of his gets into the first one's greeting.
pub(crate) fn two_phones_record_one_after_another(version: Version) -> Result<()> {
    let [first, second] = [440, 1_000].map(Tone);
    play(
        version,
        "",
        |builder| builder,
        |desk| {
            ensure!(desk.command("planfix greeting pin 101 830617")?.contains("101"));
            let mut own = Menu::dial(desk, "101", "*600")?;
            own.begins()?;
            own.records(first, TAKE / 2)?;
            desk.until_greeting("101,locked", "1")?;

            let mut other = Menu::dial(desk, "102", "*601101")?;
            other.says("confbridge-pin")?;
            other.press("830617#")?;
            other.begins()?;
            other.phone_says(Some(second));
            other.press("1")?;
            other.says("is-in-use")?;

            own.talks(TAKE / 2)?;
            own.has_recorded()?;
            own.saves()?;
            desk.until_greeting("101,locked", "0")?;
            let saved = harness::Sound::wav(&std::fs::read(desk.file("101", "default-en.wav"))?)?;
            ensure!(
                saved.presence(first) >= LONG * 2 && saved.presence(second).is_zero(),
                "{:?}",
                saved.melody(&[first, second])
            );
            // Now the second may.
            other.begins()?;
            other.records(second, TAKE)?;
            other.has_recorded()?;
            other.saves()?;
            own.hangs_up()?;
            other.hangs_up()?;
            desk.is_heard("101", second)?;
            desk.is_tidy()
        },
    )
}
