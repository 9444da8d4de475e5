//! What happens within a talk, and talks that are none: menus, voicemail, rooms, music.

use anyhow::{Result, ensure};
use harness::{Behaviour, CLIENT, Caller, Office};

use crate::flow::{TALK, flows};
use crate::told::{Told, told};

flows! {
    menu_then_extension,
    menu_only,
    menu_left_by_the_caller,
    music_only,
    voicemail,
    voicemail_only,
    conference,
    hold_and_unhold,
    held_by_the_client,
    local_channel_optimized,
    local_channel_that_stays,
    two_calls_with_equal_numbers,
}

fn talked(ext: &str) -> Told {
    told!(
        [format!("in {ext} INCOMING")],
        [format!("in {ext} ACCEPTED")],
        [format!("in {ext} COMPLETED Success 1")],
    )
}

fn menu_then_extension(office: &Office) -> Result<Vec<Told>> {
    let client = office.client_calls("401")?;
    client.wait_answered()?;
    client.press("102")?;
    let employee = office.phone("102").expect_call()?;
    employee.answer()?;
    employee.talk(TALK)?;
    client.hangup()?;
    employee.wait_hung_up()?;
    Ok(vec![talked("102")])
}

/// No employee, so there is nobody to tell of.
fn menu_only(office: &Office) -> Result<Vec<Told>> {
    office.client_calls("402")?.wait_hung_up()?;
    Ok(vec![])
}

fn menu_left_by_the_caller(office: &Office) -> Result<Vec<Told>> {
    let client = office.client_calls("401")?;
    client.wait_answered()?;
    client.hangup()?;
    Ok(vec![])
}

fn music_only(office: &Office) -> Result<Vec<Told>> {
    let client = office.client_calls("405")?;
    client.wait_answered()?;
    client.hangup()?;
    Ok(vec![])
}

fn missed() -> Told {
    told!(["in 101 INCOMING"], ["in 101 COMPLETED Missed 0"])
}

/// The client talks, but to nobody.
fn voicemail(office: &Office) -> Result<Vec<Told>> {
    let client = office.client_calls("403")?;
    office.phone("101").expect_call()?.wait_cancelled()?;
    client.talk(TALK)?;
    client.hangup()?;
    Ok(vec![missed()])
}

/// Nobody's phone rang and nobody was tried.
fn voicemail_only(office: &Office) -> Result<Vec<Told>> {
    let client = office.client_calls("406")?;
    client.talk(TALK)?;
    client.hangup()?;
    Ok(vec![])
}

fn conference(office: &Office) -> Result<Vec<Told>> {
    let client = office.client_calls("404")?;
    client.wait_answered()?;
    let first = office.phone("101").call("404")?;
    office.together(&["101", "trunk"])?;
    let second = office.phone("102").call("404")?;
    office.together(&["101", "102", "trunk"])?;
    second.talk(TALK)?;
    first.hangup()?;
    client.hangup()?;
    second.hangup()?;
    Ok(vec![told!(
        ["in 101 INCOMING"],
        ["in 101 ACCEPTED"],
        ["in 102 INCOMING"],
        ["in 102 ACCEPTED"],
        ["in 101 COMPLETED Success 1", "in 102 COMPLETED Success 1"],
    )])
}

fn hold_and_unhold(office: &Office) -> Result<Vec<Told>> {
    let client = office.client_calls("101")?;
    let employee = office.phone("101").expect_call()?;
    employee.answer()?;
    client.wait_answered()?;
    employee.hold()?;
    client.talk(TALK)?;
    employee.unhold()?;
    client.hangup()?;
    employee.wait_hung_up()?;
    Ok(vec![talked("101")])
}

fn held_by_the_client(office: &Office) -> Result<Vec<Told>> {
    office.phone("101").will(Behaviour::Answer);
    let client = office.client_calls("101")?;
    client.wait_answered()?;
    client.hold()?;
    client.talk(TALK)?;
    client.unhold()?;
    client.hangup()?;
    Ok(vec![talked("101")])
}

/// The Local channel takes itself out of the path, and the phone's channel is moved into the client's bridge.
fn local_channel_optimized(office: &Office) -> Result<Vec<Told>> {
    let client = office.client_calls("211")?;
    office.phone("101").expect_call()?.answer()?;
    office.together(&["101", "trunk"])?;
    client.talk(TALK)?;
    client.hangup()?;
    Ok(vec![talked("101")])
}

fn local_channel_that_stays(office: &Office) -> Result<Vec<Told>> {
    let client = office.client_calls("212")?;
    office.phone("101").expect_call()?.answer()?;
    client.talk(TALK)?;
    ensure!(office.channels()?.iter().any(|name| name.starts_with("Local/")));
    client.hangup()?;
    Ok(vec![talked("101")])
}

/// The same client calls twice, as a company with one number does.
fn two_calls_with_equal_numbers(office: &Office) -> Result<Vec<Told>> {
    let caller = Caller::number(CLIENT).name("A company");
    let one = office.caller_calls(&caller, "101")?;
    let other = office.caller_calls(&caller, "102")?;
    let employees = ["101", "102"].map(|number| office.phone(number).expect_call());
    for employee in employees {
        employee?.answer()?;
    }
    one.talk(TALK)?;
    one.hangup()?;
    other.talk(TALK)?;
    other.hangup()?;
    Ok(vec![talked("101"), talked("102")])
}
