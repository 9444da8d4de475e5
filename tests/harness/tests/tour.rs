//! The whole tour, in both directions, on a real Asterisk: the CRM switches the integration on, says who is calling and
//! who should take the call, gets a recording that plays, and calls by a click; who is not answered hears a greeting.
//!
//! Invariant: the module knows of the CRM only what that told it by `setup`.

use std::cell::RefCell;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use harness::{Talk, Tour, Version, field, on_both, until};
use serde_json::{Value, json};

on_both!(the_whole_tour);

/// Whom the CRM knows, and who looks after her.
const ANNA: &str = "79101234567";
const CONTACT: &str = "79101234567=Anna Petrova:103";
/// Whom it does not know.
const STRANGER: &str = "79160000001";
/// They talk for so long.
const TALK: Duration = Duration::from_secs(2);
/// How often a talk is repeated that the machine was too busy for.
const TRIES: u32 = 10;
const BOUND: Duration = Duration::from_secs(30);

fn the_whole_tour(version: Version) -> Result<()> {
    let tour = Tour::open(version, &[CONTACT])?;
    play(&tour).with_context(|| {
        let log = tour.asterisk.log();
        let said = |line: &&str| {
            !line.contains("] DEBUG[") && !line.contains("loader.c") && !line.contains("egistered ")
        };
        let lines: Vec<&str> = log.lines().filter(said).collect();
        format!(
            "Asterisk {version} wrote last:\n{}",
            lines[lines.len().saturating_sub(60)..].join("\n")
        )
    })
}

fn play(tour: &Tour) -> Result<()> {
    switched_on(tour)?;
    the_responsible_employee_is_rung_first(tour)?;
    a_stranger_reaches_the_group(tour)?;
    nobody_answers_and_a_greeting_is_heard(tour)?;
    a_click_calls(tour)?;
    what_may_not_be_clicked_calls_nobody(tour)?;
    everything_was_told_in_order(tour)
}

fn switched_on(tour: &Tour) -> Result<()> {
    let wrong = json!({ "pbx_url": tour.pbx(), "pbx_token": "not-the-key" });
    let answer = tour.crm.post("/_sandbox/setup", &wrong)?;
    ensure!(answer["status"] == 401, "a wrong key was answered with {answer}");
    let answer = tour.switch_on()?;
    ensure!(answer["status"] == 200, "setup was answered with {answer}");
    ensure!(answer["text"] == "", "setup was answered with {answer}");
    Ok(())
}

fn the_responsible_employee_is_rung_first(tour: &Tour) -> Result<()> {
    recorded(tour, ANNA, |tour, told| {
        let talk = tour.call_in(ANNA, "103", TALK)?;
        ensure!(
            talk.shown == "Anna Petrova",
            "the phone showed {:?} for a caller that the CRM knows",
            talk.shown
        );
        for other in ["101", "102"] {
            ensure!(
                tour.phone(other).came() == 0,
                "{other} rang before the group's turn"
            );
        }
        told(&["in INCOMING 103", "in ACCEPTED 103", "in COMPLETED 103 Success"])?;
        Ok(talk)
    })?;
    let asked = tour.crm.log()?;
    let asked = asked
        .iter()
        .filter(|entry| entry["cmd"] == "contact" && field(entry, "phone") == ANNA);
    ensure!(
        asked.count() == 1,
        "the CRM was asked more than once who is calling"
    );
    Ok(())
}

fn a_stranger_reaches_the_group(tour: &Tour) -> Result<()> {
    recorded(tour, STRANGER, |tour, told| {
        let talk = tour.call_in(STRANGER, "102", TALK)?;
        ensure!(tour.phone("103").came() == 0, "103 is not in the group");
        told(&[
            "in INCOMING 101",
            "in INCOMING 102",
            "in ACCEPTED 102",
            "in COMPLETED 101 Cancelled",
            "in COMPLETED 102 Success",
        ])?;
        Ok(talk)
    })
}

fn nobody_answers_and_a_greeting_is_heard(tour: &Tour) -> Result<()> {
    tour.record_greeting("101")?;
    let before = tour.crm.log()?.len();
    tour.call_in_vain(STRANGER)?;
    told(
        tour,
        before,
        STRANGER,
        &["in INCOMING 101", "in COMPLETED 101 Missed"],
    )
    .map(drop)
}

fn a_click_calls(tour: &Tour) -> Result<()> {
    recorded(tour, ANNA, |tour, told| {
        let talk = tour.call_by_click("103", ANNA, TALK)?;
        told(&[
            "out OUTGOING 103",
            "out ACCEPTED 103",
            "out COMPLETED 103 Success",
        ])?;
        Ok(talk)
    })
}

/// Lets a call happen and demands that its recording holds what was said; once more when the machine was too busy for
/// voices to come in time.
fn recorded(
    tour: &Tour,
    client: &str,
    call: impl Fn(&Tour, &dyn Fn(&[&str]) -> Result<()>) -> Result<Talk>,
) -> Result<()> {
    for _ in 0..TRIES {
        let before = tour.crm.log()?.len();
        let callid = RefCell::new(String::new());
        let talk = call(tour, &|expected| {
            *callid.borrow_mut() = told(tour, before, client, expected)?;
            Ok(())
        })?;
        let recording = tour.recording(&callid.borrow())?;
        if talk.was_disturbed() {
            eprintln!("the machine is busy: {talk:?}");
            continue;
        }
        ensure!(
            talk.employee_heard >= TALK / 2 && talk.client_heard >= TALK / 2,
            "they did not hear each other: {talk:?}"
        );
        return recording.holds(&talk).with_context(|| format!("{talk:?}"));
    }
    bail!("the machine was too busy for a talk of {TALK:?}, {TRIES} times")
}

fn what_may_not_be_clicked_calls_nobody(tour: &Tour) -> Result<()> {
    let came = || ["101", "102", "103"].map(|number| tour.phone(number).came());
    let before = came();
    for (from, to, token, status) in [
        ("103", "79101234567&PJSIP/101", None, 400),
        ("103", "", None, 400),
        ("555", ANNA, None, 400),
        ("", ANNA, None, 400),
        ("103", ANNA, Some("not-the-key"), 401),
        ("103", ANNA, Some(""), 401),
    ] {
        let mut click = json!({ "from": from, "to": to });
        if let Some(token) = token {
            click["token"] = token.into();
        }
        let answer = tour.crm.post("/_sandbox/click", &click)?;
        ensure!(
            answer["status"] == status,
            "a click of {click} was answered with {answer} and not with {status}"
        );
    }
    tour.empties()?;
    ensure!(came() == before, "a click that was refused rang a phone");
    Ok(())
}

fn everything_was_told_in_order(tour: &Tour) -> Result<()> {
    let entries = tour.crm.log()?;
    let wrong: Vec<&Value> = entries
        .iter()
        .filter(|entry| entry["status"] != 200 || entry["violations"] != json!([]))
        .collect();
    ensure!(wrong.is_empty(), "the CRM complains of {wrong:?}");
    let open = tour.crm.get("/_sandbox/violations")?;
    ensure!(
        open["open_popups"] == json!([]) && open["missing_recordings"] == json!([]),
        "the CRM waits for {open}"
    );
    let log = tour.asterisk.log();
    for secret in [tour.crm.token(), tour.crm.pbx_token()] {
        ensure!(!log.contains(secret), "Asterisk's log holds a key");
    }
    Ok(())
}

/// Waits for the call with that client to be told so, each extension's part in its order, and returns its callid. What
/// stands in the log before that place belongs to earlier calls.
fn told(tour: &Tour, from: usize, client: &str, expected: &[&str]) -> Result<String> {
    let mut last = Vec::new();
    until(&format!("the call of {client} in the CRM"), BOUND, || {
        let entries = tour.crm.log()?;
        let events: Vec<&Value> = entries[from..]
            .iter()
            .filter(|entry| entry["cmd"] == "event" && field(entry, "phone") == client)
            .collect();
        last = events.iter().map(|entry| line(entry)).collect();
        let (mut sorted, mut wanted) = (last.clone(), expected.to_vec());
        sorted.sort();
        wanted.sort_unstable();
        let callid = events.first().map(|entry| field(entry, "callid").to_owned());
        Ok(callid
            .filter(|callid| sorted == wanted && events.iter().all(|entry| field(entry, "callid") == callid)))
    })
    .with_context(|| format!("the CRM was told {last:?}"))
}

/// `in COMPLETED 103 Success`.
fn line(entry: &Value) -> String {
    let words = ["type", "event", "ext", "status"].map(|name| field(entry, name));
    words.join(" ").trim_end().to_owned()
}
