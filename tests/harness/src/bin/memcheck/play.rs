//! The short tour: everything that the module has, once, on an Asterisk that runs many times slower than others.
//!
//! Invariant: each step is seen to have had its effect, because memcheck says nothing of what did not run.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::{DIALPLAN, Tour, field, until};
use serde_json::Value;

/// Whom the CRM knows, and who looks after her.
const ANNA: &str = "79101234567";
pub(crate) const CONTACT: &str = "79101234567=Anna Petrova:103";
/// Whom it does not know.
const STRANGER: &str = "79160000001";
const TALK: Duration = Duration::from_secs(2);
const BOUND: Duration = Duration::from_secs(30);
const MODULE: &str = "res_planfix.so";

/// What is asked of the console, and a word of the answer.
const COMMANDS: [(&str, &str); 12] = [
    ("planfix check", "Connection"),
    ("planfix show status", "Delivered:"),
    ("planfix show calls", ""),
    ("planfix show queue", ""),
    ("planfix show failed", ""),
    ("planfix show contact 79101234567", "Anna Petrova"),
    ("planfix show greetings", "101"),
    ("planfix greeting disable 101", ""),
    ("planfix greeting enable 101", ""),
    ("planfix record start memcheck.jsonl masked", ""),
    ("core show function PLANFIX_EVENT", "PLANFIX_EVENT"),
    ("module show like planfix", MODULE),
];

const ACTIONS: [&str; 6] = [
    "PlanfixShowStatus",
    "PlanfixShowCalls",
    "PlanfixShowQueue",
    "PlanfixShowFailed",
    "PlanfixShowContact",
    "PlanfixShowGreetings",
];

/// The company's dialplan, for an Asterisk that takes seconds for what is done in milliseconds elsewhere: phones ring for longer, and Anna gets to
/// whoever looks after her even when the CRM's answer comes late.
pub(crate) fn dialplan() -> String {
    [
        (",4)", ",20)"),
        (
            r#"$["${WHO}" = ""]?"#,
            r#"$["${CALLERID(num)}" != "79101234567"]?"#,
        ),
        ("Dial(PJSIP/${WHO},", "Dial(PJSIP/103,"),
    ]
    .iter()
    .fold(DIALPLAN.to_owned(), |text, (quick, slow)| {
        assert!(text.contains(quick), "the dialplan has no {quick}");
        text.replace(quick, slow)
    })
}

/// Plays it. `tell` hears what comes next.
pub(crate) fn play(tour: &Tour, tell: &dyn Fn(&str)) -> Result<()> {
    tell("the CRM switches the integration on");
    let answer = tour.switch_on()?;
    ensure!(answer["status"] == 200, "setup was answered with {answer}");
    tell("a call is answered, asked about, transferred");
    transferred(tour)?;
    tell("a call is recorded and its recording converted");
    recorded(tour)?;
    tell("a greeting is recorded and heard");
    tour.record_greeting("101")?;
    let heard = tour.call_in_vain(STRANGER)?;
    ensure!(!heard.is_zero(), "the greeting was not heard");
    let has = ask(tour, "OP_GREETING(101,exists)")?;
    ensure!(has == "1", "OP_GREETING(101,exists) is {has:?}");
    tell("console and manager interface");
    commands(tour)?;
    tell("a click calls");
    let before = tour.crm.log()?.len();
    tour.call_by_click("103", ANNA, TALK)?;
    let callid = told(tour, before, "COMPLETED", "103")?;
    looked_at(tour, &callid)?;
    tell("reloads, and events of the dialplan");
    reloads(tour)?;
    tell("unload, load, and a call");
    for (what, word) in [("unload", "Unloaded"), ("load", "Loaded")] {
        let answer = tour.asterisk.cli(&format!("module {what} {MODULE}"))?;
        ensure!(answer.contains(word), "module {what}: {answer}");
    }
    at_work(tour)?;
    let before = tour.crm.log()?.len();
    tour.call_in(ANNA, "103", TALK)?;
    told(tour, before, "COMPLETED", "103").map(drop)
}

fn ask(tour: &Tour, what: &str) -> Result<String> {
    tour.asterisk.ami()?.getvar(None, what)
}

fn at_work(tour: &Tour) -> Result<()> {
    until("the module at work", BOUND, || {
        let status = tour.asterisk.cli("planfix show status")?;
        Ok((status.contains("Spool:") && !status.contains("being opened")).then_some(()))
    })
}

fn events(tour: &Tour) -> Result<()> {
    let before = tour.crm.log()?.len();
    for (arguments, answer) in [
        ("INCOMING,79160000002,101,memcheck-1", "QUEUED"),
        ("ACCEPTED,79160000002,101,memcheck-1", "QUEUED"),
        ("END,79160000002,101,memcheck-1,,7,ANSWERED", "QUEUED"),
        ("INCOMING,%s%n,,", "REJECTED"),
        ("INCOMING,101,102,memcheck-2", "IGNORED"),
    ] {
        let said = ask(tour, &format!("PLANFIX_EVENT({arguments})"))?;
        ensure!(said == answer, "PLANFIX_EVENT({arguments}) is {said:?}");
    }
    told(tour, before, "COMPLETED", "101").map(drop)
}

fn transferred(tour: &Tour) -> Result<()> {
    let before = tour.crm.log()?.len();
    tour.everybody_answers()?;
    let line = tour.client_calls(ANNA)?;
    let first = tour.phone("103").expect_call()?;
    line.wait_answered()?;
    first.wait_answered()?;
    line.talk(TALK)?;
    let mut ami = tour.asterisk.ami()?;
    let reply = ami.action(&[("Action", "CoreShowChannels")])?;
    let channel = reply
        .events
        .iter()
        .filter_map(|event| event.get("Channel"))
        .find(|name| name.starts_with("PJSIP/103-"))
        .context("103 has no channel")?;
    let seconds = ami.getvar(Some(channel), "CALL_DURATION()")?;
    ensure!(
        seconds.parse::<u32>().is_ok_and(|seconds| seconds > 0),
        "CALL_DURATION() is {seconds:?}"
    );
    let name = ask(tour, &format!("PLANFIX_CONTACT({ANNA},name)"))?;
    ensure!(name == "Anna Petrova", "PLANFIX_CONTACT() is {name:?}");
    first.transfer("102")?;
    let second = tour.phone("102").expect_call()?;
    second.wait_answered()?;
    first.wait_transferred()?;
    line.talk(TALK)?;
    line.hangup()?;
    second.wait_ended()?;
    tour.empties()?;
    for employee in ["103", "102"] {
        told(tour, before, "COMPLETED", employee)?;
    }
    Ok(())
}

fn recorded(tour: &Tour) -> Result<()> {
    let before = tour.crm.log()?.len();
    tour.call_in(ANNA, "103", TALK)?;
    let callid = told(tour, before, "COMPLETED", "103")?;
    let recording = tour.recording(&callid)?;
    ensure!(
        recording.report["plays"] == true,
        "no browser plays the recording: {}",
        recording.report
    );
    Ok(())
}

fn commands(tour: &Tour) -> Result<()> {
    for (command, word) in COMMANDS {
        let answer = tour.asterisk.cli(command)?;
        ensure!(
            answer.contains(word) && !answer.contains("No such command"),
            "{command}: {answer}"
        );
    }
    let mut ami = tour.asterisk.ami()?;
    for action in ACTIONS {
        let reply = ami.action(&[("Action", action), ("Phone", ANNA)])?;
        ensure!(reply.is_success(), "{action}: {:?}", reply.response);
    }
    // What is not allowed is refused by the HTTP handler.
    let wrong = serde_json::json!({ "pbx_url": tour.pbx(), "pbx_token": "not-the-key" });
    let answer = tour.crm.post("/_sandbox/setup", &wrong)?;
    ensure!(answer["status"] == 401, "a wrong key was answered with {answer}");
    Ok(())
}

/// What is kept of a call that is over, and what was written of it.
fn looked_at(tour: &Tour, callid: &str) -> Result<()> {
    let story = tour.asterisk.cli(&format!("planfix show call {callid}"))?;
    ensure!(story.contains("COMPLETED"), "planfix show call {callid}: {story}");
    tour.asterisk.cli("planfix record stop")?;
    let played = tour.asterisk.cli("planfix play memcheck.jsonl")?;
    ensure!(played.contains("OUTGOING"), "planfix play: {played}");
    let before = tour.crm.log()?.len();
    tour.asterisk.cli("planfix pause")?;
    tour.asterisk.cli(&format!("planfix replay {callid}"))?;
    tour.asterisk.cli("planfix show queue")?;
    tour.asterisk.cli("planfix resume")?;
    told(tour, before, "COMPLETED", "103").map(drop)
}

fn reloads(tour: &Tour) -> Result<()> {
    let good = std::fs::read_to_string(tour.asterisk.etc().join("planfix.conf"))?;
    let [faulty, dialplan] = ["%s", "dialplan"].map(|mode| good.replace("= auto", &format!("= {mode}")));
    for (text, works) in [(&faulty, false), (&dialplan, true)] {
        reload(tour, text, works)?;
    }
    events(tour)?;
    reload(tour, &good, true)
}

fn reload(tour: &Tour, text: &str, works: bool) -> Result<()> {
    tour.asterisk.configure("planfix.conf", text)?;
    tour.asterisk.cli(&format!("module reload {MODULE}"))?;
    let check = tour.asterisk.cli("planfix check")?;
    ensure!(
        check.contains("read without a problem") == works,
        "planfix check after a reload: {check}"
    );
    Ok(())
}

/// Waits until the CRM was told of that event for that employee, and returns the call.
fn told(tour: &Tour, from: usize, event: &str, employee: &str) -> Result<String> {
    let is_it = |entry: &&Value| field(entry, "event") == event && field(entry, "ext") == employee;
    let entries = tour
        .crm
        .wait_for(&format!("{event} of {employee}"), BOUND, |entries| {
            entries[from..].iter().any(|entry| is_it(&entry))
        })?;
    let entry = entries[from..].iter().find(is_it).context("it was there")?;
    Ok(field(entry, "callid").to_owned())
}
