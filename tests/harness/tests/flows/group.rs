//! A client calls several employees: at once, one after another, in a queue.

use anyhow::{Result, ensure};
use harness::{Behaviour, End, Office};

use crate::flow::{TALK, flows};
use crate::told::{Told, told};

flows! {
    group_answered_by_the_second,
    group_answered_by_nobody,
    group_answered_by_two_at_once,
    group_given_up,
    group_of_local_channels,
    hunt_answered_by_the_third,
    hunt_answered_by_nobody,
}

const GROUP: [&str; 3] = ["101", "102", "103"];

fn group_answered_by_the_second(office: &Office) -> Result<Vec<Told>> {
    let client = office.client_calls("201")?;
    let [first, second, third] = GROUP.map(|number| office.phone(number).expect_call());
    second?.answer()?;
    first?.wait_cancelled()?;
    third?.wait_cancelled()?;
    client.talk(TALK)?;
    client.hangup()?;
    Ok(vec![told!(
        ["in 101 INCOMING", "in 102 INCOMING", "in 103 INCOMING"],
        [
            "in 102 ACCEPTED",
            "in 101 COMPLETED Cancelled 0",
            "in 103 COMPLETED Cancelled 0"
        ],
        ["in 102 COMPLETED Success 1"],
    )])
}

/// Whose phone began to ring first missed the call: chance decides who that is.
fn nobody_of_the_group() -> Told {
    let missed_by = |missed: &str, [second, third]: [&str; 2]| {
        told!(
            [format!("in {missed} INCOMING")],
            [format!("in {second} INCOMING"), format!("in {third} INCOMING")],
            [
                format!("in {missed} COMPLETED Missed 0"),
                format!("in {second} COMPLETED Cancelled 0"),
                format!("in {third} COMPLETED Cancelled 0"),
            ],
        )
    };
    missed_by("101", ["102", "103"])
        .or(missed_by("102", ["101", "103"]))
        .or(missed_by("103", ["101", "102"]))
}

fn group_answered_by_nobody(office: &Office) -> Result<Vec<Told>> {
    let client = office.client_calls("201")?;
    for line in GROUP.map(|number| office.phone(number).expect_call()) {
        line?.wait_cancelled()?;
    }
    client.wait_ended()?;
    Ok(vec![nobody_of_the_group()])
}

fn group_given_up(office: &Office) -> Result<Vec<Told>> {
    let client = office.client_calls("201")?;
    let lines = GROUP.map(|number| office.phone(number).expect_call());
    client.hangup()?;
    for line in lines {
        line?.wait_cancelled()?;
    }
    client.wait_refused(487)?;
    Ok(vec![nobody_of_the_group()])
}

fn group_answered_by_two_at_once(office: &Office) -> Result<Vec<Told>> {
    let client = office.client_calls("201")?;
    let [first, second, third] = GROUP.map(|number| office.phone(number).expect_call());
    let (first, second) = (first?, second?);
    first.answer_with(&second)?;
    third?.wait_cancelled()?;
    client.talk(TALK)?;
    // Asterisk hangs up on whoever came too late.
    let [winner, loser] = match (first.phase()?, second.phase()?) {
        (harness::Phase::Talking, harness::Phase::Ended(End::HungUp)) => ["101", "102"],
        (harness::Phase::Ended(End::HungUp), harness::Phase::Talking) => ["102", "101"],
        other => anyhow::bail!("the two who answered are {other:?}"),
    };
    client.hangup()?;
    Ok(vec![told!(
        ["in 101 INCOMING", "in 102 INCOMING", "in 103 INCOMING"],
        [
            format!("in {winner} ACCEPTED"),
            format!("in {loser} COMPLETED Cancelled 0"),
            "in 103 COMPLETED Cancelled 0",
        ],
        [format!("in {winner} COMPLETED Success 1")],
    )])
}

fn group_of_local_channels(office: &Office) -> Result<Vec<Told>> {
    let client = office.client_calls("203")?;
    let [first, second, third] = GROUP.map(|number| office.phone(number).expect_call());
    third?.answer()?;
    first?.wait_cancelled()?;
    second?.wait_cancelled()?;
    client.talk(TALK)?;
    client.hangup()?;
    Ok(vec![told!(
        ["in 101 INCOMING", "in 102 INCOMING", "in 103 INCOMING"],
        [
            "in 103 ACCEPTED",
            "in 101 COMPLETED Cancelled 0",
            "in 102 COMPLETED Cancelled 0"
        ],
        ["in 103 COMPLETED Success 1"],
    )])
}

fn hunt_answered_by_the_third(office: &Office) -> Result<Vec<Told>> {
    let client = office.client_calls("202")?;
    office.phone("101").expect_call()?.wait_cancelled()?;
    office.phone("102").expect_call()?.wait_cancelled()?;
    office.phone("103").expect_call()?.answer()?;
    client.talk(TALK)?;
    client.hangup()?;
    Ok(vec![told!(
        ["in 101 INCOMING"],
        ["in 101 COMPLETED Cancelled 0"],
        ["in 102 INCOMING"],
        ["in 102 COMPLETED Cancelled 0"],
        ["in 103 INCOMING"],
        ["in 103 ACCEPTED"],
        ["in 103 COMPLETED Success 1"],
    )])
}

fn hunt_answered_by_nobody(office: &Office) -> Result<Vec<Told>> {
    office.phone("102").will(Behaviour::BUSY);
    let client = office.client_calls("202")?;
    for number in GROUP {
        office.phone(number).expect_call()?.wait_ended()?;
    }
    client.wait_ended()?;
    ensure!(GROUP.iter().all(|number| office.phone(number).came() == 1));
    // 102 was busy: no card was shown for it.
    Ok(vec![told!(
        ["in 101 INCOMING"],
        ["in 101 COMPLETED Cancelled 0"],
        ["in 103 INCOMING"],
        ["in 103 COMPLETED Missed 0"],
    )])
}
