//! A client waits in a queue.

use anyhow::{Context, Result, ensure};
use harness::{Behaviour, End, Office, until};

use crate::flow::{BOUND, TALK, flows};
use crate::told::{Told, told};

flows! {
    queue_answered,
    queue_answered_in_the_third_round,
    queue_with_a_member_who_declines,
    queue_left_by_the_caller,
    queue_gives_up,
    queue_of_local_channels,
    queue_with_wrap_up,
}

fn talked(ext: &str, other: &str) -> Told {
    told!(
        ["in 101 INCOMING", "in 102 INCOMING"],
        [
            format!("in {ext} ACCEPTED"),
            format!("in {other} COMPLETED Cancelled 0")
        ],
        [format!("in {ext} COMPLETED Success 1")],
    )
}

/// Whose phone began to ring first missed the call: chance decides who that is.
fn missed() -> Told {
    let missed_by = |missed: &str, other: &str| {
        told!(
            [format!("in {missed} INCOMING")],
            [format!("in {other} INCOMING")],
            [
                format!("in {missed} COMPLETED Missed 0"),
                format!("in {other} COMPLETED Cancelled 0"),
            ],
        )
    };
    missed_by("101", "102").or(missed_by("102", "101"))
}

fn queue_answered(office: &Office) -> Result<Vec<Told>> {
    let client = office.client_calls("301")?;
    let [first, second] = ["101", "102"].map(|number| office.phone(number).expect_call());
    first?.answer()?;
    second?.wait_cancelled()?;
    client.talk(TALK)?;
    client.hangup()?;
    Ok(vec![talked("101", "102")])
}

fn queue_answered_in_the_third_round(office: &Office) -> Result<Vec<Told>> {
    let client = office.client_calls("302")?;
    for _ in 0..2 {
        for line in ["101", "102"].map(|number| office.phone(number).expect_call()) {
            line?.wait_cancelled()?;
        }
    }
    let [first, second] = ["101", "102"].map(|number| office.phone(number).expect_call());
    second?.answer()?;
    first?.wait_cancelled()?;
    client.talk(TALK)?;
    client.hangup()?;
    ensure!(office.phone("101").came() == 3);
    Ok(vec![talked("102", "101")])
}

fn queue_with_a_member_who_declines(office: &Office) -> Result<Vec<Told>> {
    let client = office.client_calls("301")?;
    let [first, second] = ["101", "102"].map(|number| office.phone(number).expect_call());
    let second = second?;
    first?.refuse(486)?;
    second.answer()?;
    client.talk(TALK)?;
    client.hangup()?;
    Ok(vec![talked("102", "101")])
}

fn queue_left_by_the_caller(office: &Office) -> Result<Vec<Told>> {
    let client = office.client_calls("301")?;
    let lines = ["101", "102"].map(|number| office.phone(number).expect_call());
    client
        .wait_answered()
        .context("the queue answers before the members")?;
    // Asterisk may hear of the ringing later than the phone rings, and a caller who leaves before has been shown to nobody.
    until("both phones to ring", BOUND, || {
        let channels = office.stage.asterisk.cli("core show channels concise")?;
        let ringing = channels.lines().filter(|line| line.contains("!Ringing!"));
        Ok((ringing.count() == 2).then_some(()))
    })?;
    client.hangup()?;
    for line in lines {
        line?.wait_cancelled()?;
    }
    Ok(vec![missed()])
}

fn queue_gives_up(office: &Office) -> Result<Vec<Told>> {
    let client = office.client_calls("301")?;
    ensure!(client.wait_ended()? == End::HungUp);
    ensure!(office.phone("101").came() >= 1 && office.phone("102").came() >= 1);
    Ok(vec![missed()])
}

fn queue_of_local_channels(office: &Office) -> Result<Vec<Told>> {
    let client = office.client_calls("303")?;
    let [first, second] = ["101", "102"].map(|number| office.phone(number).expect_call());
    second?.answer()?;
    first?.wait_cancelled()?;
    client.talk(TALK)?;
    client.hangup()?;
    Ok(vec![talked("102", "101")])
}

/// The second client waits until the only member has rested.
fn queue_with_wrap_up(office: &Office) -> Result<Vec<Told>> {
    office.phone("103").will(Behaviour::Answer);
    for _ in 0..2 {
        let client = office.client_calls("304")?;
        let employee = office.phone("103").expect_call()?;
        employee.talk(TALK)?;
        client.hangup()?;
        employee.wait_hung_up()?;
    }
    let talked = || {
        told!(
            ["in 103 INCOMING"],
            ["in 103 ACCEPTED"],
            ["in 103 COMPLETED Success 1"],
        )
    };
    Ok(vec![talked(), talked()])
}
