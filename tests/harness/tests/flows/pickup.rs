//! Somebody else takes a call: while it rings, from the parking lot, or by another's order.

use anyhow::{Result, ensure};
use harness::{Behaviour, Line, Office};

use crate::flow::{TALK, flows};
use crate::told::{Told, told};

flows! {
    pickup_of_an_extension,
    pickup_within_the_group,
    parked_and_retrieved_by_another,
    parked_by_keys,
    parked_too_long,
    parked_too_long_and_nobody_answers,
    redirected_while_talking,
}

fn picked_up(office: &Office, keys: &str) -> Result<Vec<Told>> {
    let client = office.client_calls("101")?;
    let ringing = office.phone("101").expect_call()?;
    client.wait_ringing()?;
    let other = office.phone("102").call(keys)?;
    ringing.wait_cancelled()?;
    other.talk(TALK)?;
    client.hangup()?;
    other.wait_hung_up()?;
    Ok(vec![told!(
        ["in 101 INCOMING"],
        [
            "in 102 INCOMING",
            "in 102 ACCEPTED",
            "in 101 COMPLETED Cancelled 0"
        ],
        ["in 102 COMPLETED Success 1"],
    )])
}

fn pickup_of_an_extension(office: &Office) -> Result<Vec<Told>> {
    picked_up(office, "*8101")
}

fn pickup_within_the_group(office: &Office) -> Result<Vec<Told>> {
    picked_up(office, "*8")
}

/// 101 talked first, 102 takes over and is connected at once.
fn taken_over() -> Told {
    told!(
        ["in 101 INCOMING"],
        ["in 101 ACCEPTED"],
        ["in 101 COMPLETED Success 1"],
        ["in 102 INCOMING"],
        ["in 102 ACCEPTED"],
        ["in 102 COMPLETED Success 1"],
    )
}

/// Parks the client, and does not listen until Asterisk has said where.
fn park(office: &Office, employee: &Line, lot: &str) -> Result<()> {
    employee.transfer(lot)?;
    office.parked(1)?;
    employee.hangup()
}

fn parked_and_retrieved_by_another(office: &Office) -> Result<Vec<Told>> {
    office.phone("101").will(Behaviour::Answer);
    let client = office.client_calls("101")?;
    let employee = office.phone("101").expect_call()?;
    employee.talk(TALK)?;
    park(office, &employee, "700")?;
    office.left("101")?;
    let other = office.phone("102").call("701")?;
    other.talk(TALK)?;
    client.hangup()?;
    other.wait_hung_up()?;
    Ok(vec![taken_over()])
}

fn parked_by_keys(office: &Office) -> Result<Vec<Told>> {
    office.phone("101").will(Behaviour::Answer);
    let client = office.client_calls("101")?;
    let employee = office.phone("101").expect_call()?;
    employee.talk(TALK)?;
    employee.press("*5")?;
    office.parked(1)?;
    employee.hangup()?;
    office.left("101")?;
    let other = office.phone("102").call("701")?;
    other.talk(TALK)?;
    other.hangup()?;
    client.wait_hung_up()?;
    Ok(vec![taken_over()])
}

fn parked_too_long(office: &Office) -> Result<Vec<Told>> {
    office.phone("101").will(Behaviour::Answer);
    let client = office.client_calls("101")?;
    let employee = office.phone("101").expect_call()?;
    employee.talk(TALK)?;
    park(office, &employee, "750")?;
    let again = office.phone("101").expect_call()?;
    again.talk(TALK)?;
    client.hangup()?;
    again.wait_hung_up()?;
    Ok(vec![told!(
        ["in 101 INCOMING"],
        ["in 101 ACCEPTED"],
        ["in 101 COMPLETED Success 1"],
        ["in 101 INCOMING"],
        ["in 101 ACCEPTED"],
        ["in 101 COMPLETED Success 1"],
    )])
}

fn parked_too_long_and_nobody_answers(office: &Office) -> Result<Vec<Told>> {
    office.phone("101").will(Behaviour::Answer);
    let client = office.client_calls("101")?;
    let employee = office.phone("101").expect_call()?;
    employee.talk(TALK)?;
    office.phone("101").will(Behaviour::Ring);
    park(office, &employee, "750")?;
    let again = office.phone("101").expect_call()?;
    client.hangup()?;
    again.wait_cancelled()?;
    Ok(vec![told!(
        ["in 101 INCOMING"],
        ["in 101 ACCEPTED"],
        ["in 101 COMPLETED Success 1"],
        ["in 101 INCOMING"],
        ["in 101 COMPLETED Cancelled 0"],
    )])
}

/// A program moves the client's channel to another extension: the channel is pulled out of its talk.
fn redirected_while_talking(office: &Office) -> Result<Vec<Told>> {
    office.phone("101").will(Behaviour::Answer);
    let client = office.client_calls("101")?;
    let employee = office.phone("101").expect_call()?;
    employee.talk(TALK)?;
    let channel = office.channel_of("trunk")?;
    let reply = office.ami().action(&[
        ("Action", "Redirect"),
        ("Channel", &channel),
        ("Context", "company"),
        ("Exten", "102"),
        ("Priority", "1"),
    ])?;
    ensure!(reply.is_success(), "{:?}", reply.response);
    employee.wait_hung_up()?;
    let other = office.phone("102").expect_call()?;
    other.answer()?;
    other.talk(TALK)?;
    client.hangup()?;
    other.wait_hung_up()?;
    Ok(vec![told!(
        ["in 101 INCOMING"],
        ["in 101 ACCEPTED"],
        ["in 101 COMPLETED Success 1", "in 102 INCOMING"],
        ["in 102 ACCEPTED"],
        ["in 102 COMPLETED Success 1"],
    )])
}
