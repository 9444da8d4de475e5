//! A client calls one extension.

use anyhow::{Result, ensure};
use harness::{Behaviour, CLIENT, Caller, Office, did};

use crate::flow::{TALK, flows};
use crate::told::{Told, told};

flows! {
    inbound_answered,
    inbound_ended_by_the_employee,
    inbound_no_answer,
    inbound_busy,
    inbound_declined,
    inbound_given_up,
    inbound_unreachable,
    inbound_silent_phone,
    inbound_anonymous,
}

const MISSED: [&str; 2] = ["in 101 INCOMING", "in 101 COMPLETED Missed 0"];

fn missed() -> Told {
    told!([MISSED[0]], [MISSED[1]]).diversion(&did("101"))
}

fn inbound_answered(office: &Office) -> Result<Vec<Told>> {
    let client = office.client_calls("101")?;
    let employee = office.phone("101").expect_call()?;
    client.wait_ringing()?;
    ensure!(employee.caller() == CLIENT, "{} calls", employee.caller());
    employee.answer()?;
    client.talk(TALK)?;
    client.hangup()?;
    employee.wait_hung_up()?;
    Ok(vec![
        told!(
            ["in 101 INCOMING"],
            ["in 101 ACCEPTED"],
            ["in 101 COMPLETED Success 1"],
        )
        .diversion(&did("101")),
    ])
}

fn inbound_ended_by_the_employee(office: &Office) -> Result<Vec<Told>> {
    office.phone("102").will(Behaviour::Answer);
    let client = office.client_calls("102")?;
    let employee = office.phone("102").expect_call()?;
    employee.talk(TALK)?;
    employee.hangup()?;
    client.wait_hung_up()?;
    Ok(vec![told!(
        ["in 102 INCOMING"],
        ["in 102 ACCEPTED"],
        ["in 102 COMPLETED Success 1"],
    )])
}

fn inbound_no_answer(office: &Office) -> Result<Vec<Told>> {
    let client = office.client_calls("101")?;
    office.phone("101").expect_call()?.wait_cancelled()?;
    client.wait_ended()?;
    Ok(vec![missed()])
}

fn inbound_busy(office: &Office) -> Result<Vec<Told>> {
    office.phone("101").will(Behaviour::BUSY);
    office.client_calls("101")?.wait_refused(486)?;
    ensure!(office.phone("101").came() == 1);
    Ok(vec![missed()])
}

fn inbound_declined(office: &Office) -> Result<Vec<Told>> {
    let client = office.client_calls("101")?;
    let employee = office.phone("101").expect_call()?;
    client.wait_ringing()?;
    employee.refuse(603)?;
    client.wait_ended()?;
    Ok(vec![missed()])
}

fn inbound_given_up(office: &Office) -> Result<Vec<Told>> {
    let client = office.client_calls("101")?;
    let employee = office.phone("101").expect_call()?;
    client.wait_ringing()?;
    client.hangup()?;
    employee.wait_cancelled()?;
    client.wait_refused(487)?;
    Ok(vec![missed()])
}

fn inbound_unreachable(office: &Office) -> Result<Vec<Told>> {
    let client = office.client_calls("109")?;
    client.wait_ended()?;
    ensure!(!client.has_rung()?);
    Ok(vec![told!(["in 109 INCOMING"], ["in 109 COMPLETED Missed 0"],)])
}

/// A phone that is switched off: nothing ever comes back from it.
fn inbound_silent_phone(office: &Office) -> Result<Vec<Told>> {
    office.phone("101").will(Behaviour::Silent);
    let client = office.client_calls("101")?;
    client.wait_ended()?;
    ensure!(office.phone("101").came() == 1);
    Ok(vec![missed()])
}

fn inbound_anonymous(office: &Office) -> Result<Vec<Told>> {
    office.phone("101").will(Behaviour::Answer);
    let client = office.caller_calls(&Caller::anonymous(), "101")?;
    client.talk(TALK)?;
    client.hangup()?;
    Ok(vec![
        told!(
            ["in 101 INCOMING"],
            ["in 101 ACCEPTED"],
            ["in 101 COMPLETED Success 1"],
        )
        .phone("anonymous"),
    ])
}
