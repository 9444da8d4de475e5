//! An employee calls a client; employees call each other.

use anyhow::{Context, Result, ensure};
use harness::{Behaviour, CLIENT, End, Office};

use crate::flow::{TALK, flows};
use crate::told::{Told, told};

flows! {
    outbound_answered,
    outbound_dialled_with_eight,
    outbound_busy,
    outbound_declined,
    outbound_no_answer,
    outbound_congestion,
    outbound_forbidden_by_the_provider,
    outbound_not_allowed_by_the_dialplan,
    outbound_given_up,
    outbound_by_the_second_trunk,
    outbound_by_no_trunk,
    click_to_call,
    click_to_call_to_a_busy_client,
    click_to_call_without_the_employee,
    internal_call,
    internal_call_without_answer,
}

/// What stands for the company in the client's display.
const COMPANY: &str = "74950000100";
/// The city that the second provider serves as well.
const BY_TWO_TRUNKS: &str = "78121234567";

fn answered() -> Told {
    told!(
        ["out 101 OUTGOING"],
        ["out 101 ACCEPTED"],
        ["out 101 COMPLETED Success 1"],
    )
}

fn ended(status: &str) -> Told {
    told!(["out 101 OUTGOING"], [format!("out 101 COMPLETED {status} 0")])
}

fn outbound_answered(office: &Office) -> Result<Vec<Told>> {
    let employee = office.phone("101").call(CLIENT)?;
    let client = office.trunk().expect_call_to(CLIENT)?;
    employee.wait_ringing()?;
    ensure!(client.caller() == COMPANY, "{} calls", client.caller());
    client.answer()?;
    employee.talk(TALK)?;
    employee.hangup()?;
    client.wait_hung_up()?;
    Ok(vec![answered().diversion(COMPANY)])
}

fn outbound_dialled_with_eight(office: &Office) -> Result<Vec<Told>> {
    office.trunk().will(Behaviour::Answer);
    let employee = office.phone("101").call("89101234567")?;
    let client = office.trunk().expect_call_to("89101234567")?;
    client.talk(TALK)?;
    client.hangup()?;
    employee.wait_hung_up()?;
    Ok(vec![answered()])
}

fn refused(office: &Office, behaviour: Behaviour, status: &str) -> Result<Vec<Told>> {
    office.trunk().will(behaviour);
    let end = office.phone("101").call(CLIENT)?.wait_ended()?;
    ensure!(matches!(end, End::Refused(_)), "{end:?}");
    ensure!(office.trunk().came_to(CLIENT) == 1);
    Ok(vec![ended(status)])
}

fn outbound_busy(office: &Office) -> Result<Vec<Told>> {
    refused(office, Behaviour::BUSY, "Busy")
}

fn outbound_declined(office: &Office) -> Result<Vec<Told>> {
    refused(
        office,
        Behaviour::RingThenRefuse(std::time::Duration::from_millis(100), 603),
        "NotAllowed",
    )
}

fn outbound_no_answer(office: &Office) -> Result<Vec<Told>> {
    refused(office, Behaviour::Ring, "NoAnswer")
}

fn outbound_congestion(office: &Office) -> Result<Vec<Told>> {
    refused(office, Behaviour::CONGESTION, "NotAvailable")
}

fn outbound_forbidden_by_the_provider(office: &Office) -> Result<Vec<Told>> {
    refused(office, Behaviour::FORBIDDEN, "NotAllowed")
}

fn outbound_not_allowed_by_the_dialplan(office: &Office) -> Result<Vec<Told>> {
    let end = office.phone("101").call("810442079460000")?.wait_ended()?;
    ensure!(matches!(end, End::Refused(_)), "{end:?}");
    ensure!(office.trunk().came() == 0);
    Ok(vec![ended("NotAllowed").phone("442079460000")])
}

fn outbound_given_up(office: &Office) -> Result<Vec<Told>> {
    let employee = office.phone("101").call(CLIENT)?;
    let client = office.trunk().expect_call_to(CLIENT)?;
    employee.wait_ringing()?;
    employee.hangup()?;
    client.wait_cancelled()?;
    employee.wait_refused(487)?;
    Ok(vec![ended("NoAnswer")])
}

fn outbound_by_the_second_trunk(office: &Office) -> Result<Vec<Told>> {
    office.trunk().will(Behaviour::CONGESTION);
    let employee = office.phone("101").call(BY_TWO_TRUNKS)?;
    let client = office.reserve().expect_call_to(BY_TWO_TRUNKS)?;
    client.answer()?;
    employee.talk(TALK)?;
    employee.hangup()?;
    client.wait_hung_up()?;
    ensure!(office.trunk().came_to(BY_TWO_TRUNKS) == 1);
    Ok(vec![answered().phone(BY_TWO_TRUNKS)])
}

fn outbound_by_no_trunk(office: &Office) -> Result<Vec<Told>> {
    office.trunk().will(Behaviour::CONGESTION);
    office.reserve().will(Behaviour::CONGESTION);
    office.phone("101").call(BY_TWO_TRUNKS)?.wait_ended()?;
    ensure!(office.reserve().came_to(BY_TWO_TRUNKS) == 1);
    Ok(vec![ended("NotAvailable").phone(BY_TWO_TRUNKS)])
}

/// What a program does that lets an employee call: first his phone, then the client.
fn originate(office: &Office) -> Result<()> {
    let reply = office.ami().action(&[
        ("Action", "Originate"),
        ("Channel", "PJSIP/101"),
        ("Context", "from-internal"),
        ("Exten", CLIENT),
        ("Priority", "1"),
        ("CallerID", CLIENT),
        ("Timeout", "2000"),
        ("Async", "true"),
    ])?;
    ensure!(reply.is_success(), "{:?}", reply.response);
    Ok(())
}

fn click_to_call(office: &Office) -> Result<Vec<Told>> {
    originate(office)?;
    let employee = office.phone("101").expect_call()?;
    employee.answer()?;
    let client = office.trunk().expect_call_to(CLIENT)?;
    client.answer()?;
    client.talk(TALK)?;
    employee.hangup()?;
    client.wait_hung_up()?;
    Ok(vec![answered()])
}

fn click_to_call_to_a_busy_client(office: &Office) -> Result<Vec<Told>> {
    office.phone("101").will(Behaviour::Answer);
    office.trunk().will(Behaviour::BUSY);
    originate(office)?;
    let employee = office.phone("101").expect_call()?;
    employee.wait_hung_up().context("the employee")?;
    Ok(vec![ended("Busy")])
}

/// Nobody was dialled outside, so there was no call to the client.
fn click_to_call_without_the_employee(office: &Office) -> Result<Vec<Told>> {
    originate(office)?;
    office.phone("101").expect_call()?.wait_cancelled()?;
    ensure!(office.trunk().came() == 0);
    Ok(vec![])
}

fn internal_call(office: &Office) -> Result<Vec<Told>> {
    let caller = office.phone("101").call("102")?;
    let callee = office.phone("102").expect_call()?;
    callee.answer()?;
    caller.wait_answered()?;
    caller.hangup()?;
    callee.wait_hung_up()?;
    Ok(vec![])
}

fn internal_call_without_answer(office: &Office) -> Result<Vec<Told>> {
    office.phone("102").will(Behaviour::BUSY);
    office.phone("101").call("102")?.wait_refused(486)?;
    Ok(vec![])
}
