//! An employee passes the client on: blindly, or after a word with the other; by the phone's own keys (REFER) or by
//! Asterisk's (features.conf).

use anyhow::{Result, ensure};
use harness::{Behaviour, Line, Office, until};

use crate::flow::{BOUND, TALK, flows};
use crate::told::{Told, told};

flows! {
    blind_transfer_to_an_extension,
    blind_transfer_by_keys,
    blind_transfer_to_a_queue,
    blind_transfer_to_an_outside_number,
    blind_transfer_to_nobody,
    blind_transfer_to_no_extension,
    attended_transfer,
    attended_transfer_by_keys,
    attended_transfer_swapped,
    attended_transfer_merged,
    attended_transfer_cancelled,
    attended_transfer_cancelled_by_keys,
    attended_transfer_while_ringing,
    attended_transfer_while_ringing_by_keys,
}

/// The client talks to 101.
fn talk(office: &Office) -> Result<[Line; 2]> {
    let client = office.client_calls("101")?;
    let employee = office.phone("101").expect_call()?;
    employee.answer()?;
    client.talk(TALK)?;
    Ok([client, employee])
}

/// 101 talked first and 102 then, with a card of its own. By keys, the end of 101 and the answer of 102 are two threads.
fn passed_on() -> Told {
    told!(
        ["in 101 INCOMING"],
        ["in 101 ACCEPTED"],
        ["in 101 COMPLETED Success 1", "in 102 INCOMING"],
        ["in 102 ACCEPTED"],
        ["in 102 COMPLETED Success 1"],
    )
    .or(told!(
        ["in 101 INCOMING"],
        ["in 101 ACCEPTED"],
        ["in 102 INCOMING"],
        ["in 102 ACCEPTED", "in 101 COMPLETED Success 1"],
        ["in 102 COMPLETED Success 1"],
    ))
}

/// As [`passed_on`], but 102 was talking already when the client came to him.
fn passed_on_at_once() -> Told {
    told!(
        ["in 101 INCOMING"],
        ["in 101 ACCEPTED"],
        ["in 101 COMPLETED Success 1", "in 102 INCOMING", "in 102 ACCEPTED"],
        ["in 102 COMPLETED Success 1"],
    )
}

fn kept() -> Told {
    told!(
        ["in 101 INCOMING"],
        ["in 101 ACCEPTED"],
        ["in 101 COMPLETED Success 1"],
    )
}

fn blind_transfer_to_an_extension(office: &Office) -> Result<Vec<Told>> {
    let [client, employee] = talk(office)?;
    employee.transfer("102")?;
    ensure!(employee.wait_transferred()? == 200);
    let other = office.phone("102").expect_call()?;
    other.answer()?;
    other.talk(TALK)?;
    client.hangup()?;
    other.wait_hung_up()?;
    Ok(vec![passed_on()])
}

fn blind_transfer_by_keys(office: &Office) -> Result<Vec<Told>> {
    let [client, employee] = talk(office)?;
    employee.press("*1")?;
    employee.press("102")?;
    let other = office.phone("102").expect_call()?;
    employee.wait_hung_up()?;
    other.answer()?;
    other.talk(TALK)?;
    other.hangup()?;
    client.wait_hung_up()?;
    Ok(vec![passed_on()])
}

fn blind_transfer_to_a_queue(office: &Office) -> Result<Vec<Told>> {
    office.phone("103").will(Behaviour::Answer);
    let client = office.client_calls("103")?;
    let employee = office.phone("103").expect_call()?;
    employee.talk(TALK)?;
    employee.transfer("301")?;
    ensure!(employee.wait_transferred()? == 200);
    let [first, second] = ["101", "102"].map(|number| office.phone(number).expect_call());
    second?.answer()?;
    first?.wait_cancelled()?;
    client.talk(TALK)?;
    client.hangup()?;
    Ok(vec![told!(
        ["in 103 INCOMING"],
        ["in 103 ACCEPTED"],
        ["in 103 COMPLETED Success 1", "in 101 INCOMING", "in 102 INCOMING"],
        ["in 101 COMPLETED Cancelled 0", "in 102 ACCEPTED"],
        ["in 102 COMPLETED Success 1"],
    )])
}

/// What the client says to somebody outside is no employee's talk any more.
fn blind_transfer_to_an_outside_number(office: &Office) -> Result<Vec<Told>> {
    const OUTSIDE: &str = "79160000001";
    let [client, employee] = talk(office)?;
    employee.transfer(OUTSIDE)?;
    ensure!(employee.wait_transferred()? == 200);
    let outside = office.trunk().expect_call_to(OUTSIDE)?;
    outside.answer()?;
    outside.talk(TALK)?;
    client.hangup()?;
    outside.wait_hung_up()?;
    Ok(vec![kept()])
}

fn blind_transfer_to_nobody(office: &Office) -> Result<Vec<Told>> {
    let [client, employee] = talk(office)?;
    employee.transfer("102")?;
    ensure!(employee.wait_transferred()? == 200);
    office.phone("102").expect_call()?.wait_cancelled()?;
    client.wait_hung_up()?;
    Ok(vec![told!(
        ["in 101 INCOMING"],
        ["in 101 ACCEPTED"],
        ["in 101 COMPLETED Success 1", "in 102 INCOMING"],
        ["in 102 COMPLETED Cancelled 0"],
    )])
}

/// Asterisk refuses, and the employee still has the client.
fn blind_transfer_to_no_extension(office: &Office) -> Result<Vec<Told>> {
    let [client, employee] = talk(office)?;
    employee.transfer("999")?;
    let code = employee.wait_transferred()?;
    ensure!(code == 404, "the transfer ended with {code}");
    employee.hangup()?;
    client.wait_hung_up()?;
    Ok(vec![kept()])
}

/// 101 puts the client on hold and calls 102 on another line.
fn consult(office: &Office, employee: &Line) -> Result<[Line; 2]> {
    employee.hold()?;
    let question = office.phone("101").call("102")?;
    let other = office.phone("102").expect_call()?;
    question.wait_ringing()?;
    Ok([question, other])
}

fn attended_transfer(office: &Office) -> Result<Vec<Told>> {
    let [client, employee] = talk(office)?;
    let [question, other] = consult(office, &employee)?;
    other.answer()?;
    question.wait_answered()?;
    // A phone is told of the answer before Asterisk has joined the two.
    office.together(&["101", "102"])?;
    employee.transfer_to(&question)?;
    ensure!(employee.wait_transferred()? == 200);
    question.wait_hung_up()?;
    other.talk(TALK)?;
    client.hangup()?;
    other.wait_hung_up()?;
    Ok(vec![passed_on_at_once()])
}

fn attended_transfer_while_ringing(office: &Office) -> Result<Vec<Told>> {
    let [client, employee] = talk(office)?;
    let [question, other] = consult(office, &employee)?;
    employee.transfer_to(&question)?;
    ensure!(employee.wait_transferred()? == 200);
    question.wait_ended()?;
    other.answer()?;
    other.talk(TALK)?;
    client.hangup()?;
    other.wait_hung_up()?;
    Ok(vec![passed_on()])
}

fn attended_transfer_cancelled(office: &Office) -> Result<Vec<Told>> {
    let [client, employee] = talk(office)?;
    let [question, other] = consult(office, &employee)?;
    other.answer()?;
    question.wait_answered()?;
    question.hangup()?;
    other.wait_hung_up()?;
    employee.unhold()?;
    client.hangup()?;
    employee.wait_hung_up()?;
    Ok(vec![kept()])
}

/// 101 asks Asterisk by keys for a word with 102; the client hears music.
fn consult_by_keys(office: &Office, employee: &Line) -> Result<Line> {
    employee.press("*2")?;
    employee.press("102")?;
    office.phone("102").expect_call()
}

fn attended_transfer_by_keys(office: &Office) -> Result<Vec<Told>> {
    let [client, employee] = talk(office)?;
    let other = consult_by_keys(office, &employee)?;
    other.answer()?;
    office.together(&["101", "102"])?;
    employee.hangup()?;
    other.talk(TALK)?;
    client.hangup()?;
    other.wait_hung_up()?;
    Ok(vec![passed_on_at_once()])
}

/// 101 goes to and fro between the client and 102, and leaves them alone in the end.
fn attended_transfer_swapped(office: &Office) -> Result<Vec<Told>> {
    let [client, employee] = talk(office)?;
    let other = consult_by_keys(office, &employee)?;
    other.answer()?;
    office.together(&["101", "102"])?;
    employee.press("*4")?;
    office.together(&["101", "trunk"])?;
    employee.press("*4")?;
    office.together(&["101", "102"])?;
    employee.press("*2")?;
    employee.wait_hung_up()?;
    other.talk(TALK)?;
    client.hangup()?;
    other.wait_hung_up()?;
    Ok(vec![passed_on_at_once()])
}

/// All three talk; then 101 leaves.
fn attended_transfer_merged(office: &Office) -> Result<Vec<Told>> {
    let [client, employee] = talk(office)?;
    let other = consult_by_keys(office, &employee)?;
    other.answer()?;
    office.together(&["101", "102"])?;
    employee.press("*3")?;
    office.together(&["101", "102", "trunk"])?;
    other.talk(TALK)?;
    employee.hangup()?;
    other.talk(TALK)?;
    client.hangup()?;
    other.wait_hung_up()?;
    Ok(vec![told!(
        ["in 101 INCOMING"],
        ["in 101 ACCEPTED"],
        ["in 102 INCOMING"],
        ["in 102 ACCEPTED"],
        ["in 101 COMPLETED Success 2"],
        ["in 102 COMPLETED Success 2"],
    )])
}

fn attended_transfer_cancelled_by_keys(office: &Office) -> Result<Vec<Told>> {
    let [client, employee] = talk(office)?;
    let other = consult_by_keys(office, &employee)?;
    other.answer()?;
    office.together(&["101", "102"])?;
    employee.press("*1")?;
    other.wait_hung_up()?;
    client.hangup()?;
    employee.wait_hung_up()?;
    Ok(vec![kept()])
}

fn attended_transfer_while_ringing_by_keys(office: &Office) -> Result<Vec<Told>> {
    let [client, employee] = talk(office)?;
    let other = consult_by_keys(office, &employee)?;
    // Who answers in the very moment of the hangup meets a transfer that is neither begun nor done, and Asterisk 16 can lose
    // the end of such a call.
    let joined = || {
        office
            .stage
            .asterisk
            .log()
            .matches("Stopped music on hold")
            .count()
    };
    let before = joined();
    employee.hangup()?;
    until("the client taken off hold", BOUND, || {
        Ok((joined() > before).then_some(()))
    })?;
    other.answer()?;
    other.talk(TALK)?;
    client.hangup()?;
    other.wait_hung_up()?;
    Ok(vec![passed_on()])
}
