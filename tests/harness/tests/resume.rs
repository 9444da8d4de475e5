//! Calls that outlive the module, and cards that outlive Asterisk: whatever was shown is closed once, and a call that goes
//! on is followed on.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::{Office, Version, field, is_taken_in, on_both, until};

on_both! {
    cards_of_a_killed_asterisk_are_closed_at_the_next_start,
    a_module_loaded_in_the_middle_of_calls_follows_them,
    switching_the_mode_in_the_middle_of_a_call,
    what_rings_and_talks_when_the_dialplan_takes_over_is_told_to_its_end,
}

const BOUND: Duration = Duration::from_secs(30);
/// Long enough to tell talking from ringing by whole seconds.
const TALK: Duration = Duration::from_millis(1_400);

/// What the CRM was told so far, short: `101 COMPLETED Missed`.
fn told(office: &Office) -> Result<Vec<String>> {
    let entries = office.stage.crm.log()?;
    Ok(entries
        .iter()
        .filter(|entry| is_taken_in(entry))
        .map(|entry| {
            let words = ["ext", "event", "status"].map(|name| field(entry, name));
            words.join(" ").trim_end().to_owned()
        })
        .collect())
}

/// Waits until the CRM was told exactly this, in whatever order.
fn expect(office: &Office, mut expected: Vec<&str>) -> Result<()> {
    expected.sort_unstable();
    let mut lines = Vec::new();
    until("what the CRM must be told", BOUND, || {
        lines = told(office)?;
        lines.sort_unstable();
        Ok((lines.len() >= expected.len()).then_some(()))
    })
    .with_context(|| format!("{lines:#?}"))?;
    office.stage.drained()?;
    lines = told(office)?;
    lines.sort_unstable();
    ensure!(lines == expected, "told {lines:#?} and not {expected:#?}");
    Ok(())
}

fn nothing_is_wrong(office: &Office) -> Result<()> {
    let state = office.stage.crm.get("/_sandbox/violations")?;
    let open = state["open_popups"].as_array().context("no list of cards")?;
    ensure!(state["total"] == 0 && open.is_empty(), "{state}");
    Ok(())
}

fn cards_of_a_killed_asterisk_are_closed_at_the_next_start(version: Version) -> Result<()> {
    let mut office = Office::open(version)?;
    // One call talks, another one rings.
    let talking = office.client_calls("101")?;
    let employee = office.phone("101").expect_call()?;
    talking.wait_ringing()?;
    employee.answer()?;
    talking.talk(TALK)?;
    let _ringing = office.client_calls("102")?;
    let _callee = office.phone("102").expect_call()?;
    let shown = ["101 INCOMING", "101 ACCEPTED", "102 INCOMING"];
    expect(&office, shown.to_vec())?;
    office.stage.asterisk.kill9();
    office.stage.asterisk.start()?;
    office.stage.at_work()?;
    let closed = ["101 COMPLETED Success", "102 COMPLETED Missed"];
    expect(&office, [&shown[..], &closed[..]].concat())?;
    let log = office.stage.crm.log()?;
    let seconds = log
        .iter()
        .find(|entry| field(entry, "status") == "Success")
        .and_then(|entry| field(entry, "duration").parse::<u64>().ok());
    ensure!(
        seconds.is_some_and(|seconds| seconds <= 60),
        "the talk that was known is {seconds:?} s"
    );
    // Once is enough: a third Asterisk finds nothing more to close.
    office.stage.asterisk.kill9();
    office.stage.asterisk.start()?;
    office.stage.at_work()?;
    expect(&office, [&shown[..], &closed[..]].concat())?;
    nothing_is_wrong(&office)
}

fn a_module_loaded_in_the_middle_of_calls_follows_them(version: Version) -> Result<()> {
    let office = Office::open(version)?;
    let module = |what: &str| {
        office
            .stage
            .asterisk
            .cli(&format!("module {what} res_planfix.so"))
    };
    // Three calls that began before: one talks, one rings, one of an employee to outside.
    let talking = office.client_calls("101")?;
    let employee = office.phone("101").expect_call()?;
    talking.wait_ringing()?;
    employee.answer()?;
    talking.talk(TALK)?;
    let ringing = office.client_calls("102")?;
    let callee = office.phone("102").expect_call()?;
    ringing.wait_ringing()?;
    let outbound = office.phone("103").call("89101112233")?;
    let client = office.trunk().expect_call()?;
    client.answer()?;
    outbound.wait_answered()?;
    let shown = [
        "101 INCOMING",
        "101 ACCEPTED",
        "102 INCOMING",
        "103 OUTGOING",
        "103 ACCEPTED",
    ];
    expect(&office, shown.to_vec())?;
    // The cards are on the screens: they are not shown again.
    module("unload")?;
    module("load")?;
    office.stage.at_work()?;
    until("the calls that go on", BOUND, || {
        Ok(office.stage.row("Calls")?.starts_with("3 followed").then_some(()))
    })?;
    callee.answer()?;
    ringing.talk(TALK)?;
    // A call that begins and ends while nobody looks is not told, and leaves nothing behind.
    module("unload")?;
    talking.hangup()?;
    employee.wait_hung_up()?;
    module("load")?;
    office.stage.at_work()?;
    ringing.hangup()?;
    callee.wait_hung_up()?;
    outbound.hangup()?;
    office.tidy()?;
    let ended = [
        "102 ACCEPTED",
        "101 COMPLETED Success",
        "102 COMPLETED Success",
        "103 COMPLETED Success",
    ];
    expect(&office, [&shown[..], &ended[..]].concat())?;
    nothing_is_wrong(&office)
}

fn switching_the_mode_in_the_middle_of_a_call(version: Version) -> Result<()> {
    let office = Office::open(version)?;
    let auto = office.stage.settings().to_owned();
    let dialplan = auto.replace("mode = auto", "mode = dialplan");
    ensure!(auto != dialplan, "the mode is not written as it was");
    let client = office.client_calls("101")?;
    let employee = office.phone("101").expect_call()?;
    client.wait_ringing()?;
    employee.answer()?;
    client.talk(TALK)?;
    expect(&office, vec!["101 INCOMING", "101 ACCEPTED"])?;
    office.stage.reload_with(&dialplan)?;
    ensure!(
        office.stage.event("INCOMING,79101234567,105,own.1")? == "QUEUED",
        "PLANFIX_EVENT does not report in mode = dialplan"
    );
    ensure!(office.stage.event("COMPLETED,79101234567,105,own.1,,,NOANSWER")? == "QUEUED");
    office.stage.reload_with(&auto)?;
    until("the call that goes on", BOUND, || {
        Ok(office.stage.row("Calls")?.starts_with("1 followed").then_some(()))
    })?;
    ensure!(
        office.stage.event("INCOMING,79101234567,105,own.2")? == "IGNORED",
        "PLANFIX_EVENT reports a call that the module reports itself"
    );
    client.hangup()?;
    employee.wait_hung_up()?;
    expect(
        &office,
        vec![
            "101 INCOMING",
            "101 ACCEPTED",
            "105 INCOMING",
            "105 COMPLETED Missed",
            "101 COMPLETED Success",
        ],
    )?;
    nothing_is_wrong(&office)
}

fn what_rings_and_talks_when_the_dialplan_takes_over_is_told_to_its_end(version: Version) -> Result<()> {
    let office = Office::open(version)?;
    let dialplan = office.stage.settings().replace("mode = auto", "mode = dialplan");
    let talking = office.client_calls("101")?;
    let employee = office.phone("101").expect_call()?;
    talking.wait_ringing()?;
    employee.answer()?;
    talking.talk(TALK)?;
    let ringing = office.client_calls("102")?;
    let callee = office.phone("102").expect_call()?;
    ringing.wait_ringing()?;
    let shown = ["101 INCOMING", "101 ACCEPTED", "102 INCOMING"];
    expect(&office, shown.to_vec())?;
    let callid = field(&office.stage.crm.log()?[0], "callid").to_owned();
    office.stage.reload_with(&dialplan)?;
    // What begins now is the dialplan's to tell.
    let later = office.client_calls("103")?;
    let third = office.phone("103").expect_call()?;
    later.wait_ringing()?;
    third.answer()?;
    later.talk(TALK)?;
    // A hangup handler of the dialplan tells the end of every call, also of this one.
    ensure!(
        office
            .stage
            .event(&format!("COMPLETED,79101234567,101,{callid},,5,ANSWERED"))?
            == "IGNORED",
        "an end is told twice"
    );
    ringing.hangup()?;
    callee.wait_cancelled()?;
    talking.hangup()?;
    employee.wait_hung_up()?;
    expect(
        &office,
        [&shown[..], &["102 COMPLETED Missed", "101 COMPLETED Success"]].concat(),
    )?;
    until("the end of the following", BOUND, || {
        let listed = office.stage.asterisk.cli("planfix show calls")?;
        Ok(listed.contains("mode = dialplan in planfix.conf").then_some(()))
    })?;
    later.hangup()?;
    third.wait_hung_up()?;
    office.tidy()?;
    expect(
        &office,
        [&shown[..], &["102 COMPLETED Missed", "101 COMPLETED Success"]].concat(),
    )?;
    nothing_is_wrong(&office)
}
