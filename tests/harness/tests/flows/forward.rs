//! An employee's calls go elsewhere: by the phone itself (302), by the dialplan, by follow-me.

use anyhow::{Result, ensure};
use harness::{Behaviour, Office};

use crate::flow::{TALK, flows};
use crate::told::{Told, told};

flows! {
    forwarded_by_the_phone_to_an_extension,
    forwarded_by_the_phone_to_a_mobile,
    forwarded_by_the_phone_to_a_mobile_without_answer,
    forwarded_by_the_dialplan_to_a_mobile,
    forwarded_by_the_dialplan_after_ringing,
    follow_me_to_a_mobile,
    follow_me_to_a_mobile_without_answer,
}

fn talked(ext: &str) -> Told {
    told!(
        [format!("in {ext} INCOMING")],
        [format!("in {ext} ACCEPTED")],
        [format!("in {ext} COMPLETED Success 1")],
    )
}

fn missed(ext: &str) -> Told {
    told!(
        [format!("in {ext} INCOMING")],
        [format!("in {ext} COMPLETED Missed 0")],
    )
}

/// 101 is out and 102 sits in for him: it is 102 whose phone rings.
fn forwarded_by_the_phone_to_an_extension(office: &Office) -> Result<Vec<Told>> {
    office.phone("101").will(Behaviour::Redirect("102".to_owned()));
    let client = office.client_calls("101")?;
    let other = office.phone("102").expect_call()?;
    client.wait_ringing()?;
    other.answer()?;
    client.talk(TALK)?;
    client.hangup()?;
    other.wait_hung_up()?;
    Ok(vec![talked("102")])
}

const MOBILE: &str = "79160000101";

fn forwarded_by_the_phone_to_a_mobile(office: &Office) -> Result<Vec<Told>> {
    office.phone("101").will(Behaviour::Redirect(MOBILE.to_owned()));
    let client = office.client_calls("101")?;
    let mobile = office.trunk().expect_call_to(MOBILE)?;
    client.wait_ringing()?;
    mobile.answer()?;
    client.talk(TALK)?;
    client.hangup()?;
    mobile.wait_hung_up()?;
    Ok(vec![talked("101")])
}

fn forwarded_by_the_phone_to_a_mobile_without_answer(office: &Office) -> Result<Vec<Told>> {
    office.phone("101").will(Behaviour::Redirect(MOBILE.to_owned()));
    let client = office.client_calls("101")?;
    office.trunk().expect_call_to(MOBILE)?.wait_cancelled()?;
    client.wait_ended()?;
    Ok(vec![missed("101")])
}

/// 106 has no phone at all.
fn forwarded_by_the_dialplan_to_a_mobile(office: &Office) -> Result<Vec<Told>> {
    let client = office.client_calls("106")?;
    let mobile = office.trunk().expect_call_to("79160000106")?;
    client.wait_ringing()?;
    mobile.answer()?;
    mobile.talk(TALK)?;
    mobile.hangup()?;
    client.wait_hung_up()?;
    Ok(vec![talked("106")])
}

/// Phone and mobile are one employee's: one card for both.
fn forwarded_by_the_dialplan_after_ringing(office: &Office) -> Result<Vec<Told>> {
    let client = office.client_calls("107")?;
    office.phone("107").expect_call()?.wait_cancelled()?;
    let mobile = office.trunk().expect_call_to("79160000107")?;
    mobile.answer()?;
    client.talk(TALK)?;
    client.hangup()?;
    mobile.wait_hung_up()?;
    Ok(vec![talked("107")])
}

fn follow_me_to_a_mobile(office: &Office) -> Result<Vec<Told>> {
    let client = office.client_calls("108")?;
    office.phone("108").expect_call()?.wait_cancelled()?;
    let mobile = office.trunk().expect_call_to("79160000108")?;
    mobile.answer()?;
    mobile.talk(TALK)?;
    client.hangup()?;
    mobile.wait_hung_up()?;
    Ok(vec![talked("108")])
}

fn follow_me_to_a_mobile_without_answer(office: &Office) -> Result<Vec<Told>> {
    let client = office.client_calls("108")?;
    office.phone("108").expect_call()?.wait_cancelled()?;
    office.trunk().expect_call_to("79160000108")?.wait_cancelled()?;
    client.wait_ended()?;
    ensure!(office.phone("108").came() == 1);
    Ok(vec![missed("108")])
}
