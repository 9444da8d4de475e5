//! Calls while the module is reloaded or paused, or while the CRM is away: what is told is the same, only later.

use anyhow::{Result, ensure};
use harness::{Line, Office};

use crate::flow::{TALK, flows};
use crate::told::{Told, told};

flows! {
    reloaded_while_ringing_and_talking,
    paused_and_resumed,
    crm_away,
}

fn talked() -> Vec<Told> {
    vec![told!(
        ["in 101 INCOMING"],
        ["in 101 ACCEPTED"],
        ["in 101 COMPLETED Success 1"],
    )]
}

fn ringing(office: &Office) -> Result<[Line; 2]> {
    let client = office.client_calls("101")?;
    let employee = office.phone("101").expect_call()?;
    client.wait_ringing()?;
    Ok([client, employee])
}

fn reloaded_while_ringing_and_talking(office: &Office) -> Result<Vec<Told>> {
    let reload = || office.stage.asterisk.cli("module reload res_planfix.so");
    let [client, employee] = ringing(office)?;
    reload()?;
    employee.answer()?;
    client.talk(TALK)?;
    reload()?;
    client.hangup()?;
    employee.wait_hung_up()?;
    Ok(talked())
}

fn paused_and_resumed(office: &Office) -> Result<Vec<Told>> {
    let [client, employee] = ringing(office)?;
    office.stage.asterisk.cli("planfix pause")?;
    employee.answer()?;
    client.talk(TALK)?;
    client.hangup()?;
    employee.wait_hung_up()?;
    office.empties()?;
    let status = office.stage.status()?;
    ensure!(status.contains("paused"), "{status}");
    office.stage.asterisk.cli("planfix resume")?;
    Ok(talked())
}

fn crm_away(office: &Office) -> Result<Vec<Told>> {
    office.stage.crm.fault("status=503")?;
    let [client, employee] = ringing(office)?;
    employee.answer()?;
    client.talk(TALK)?;
    client.hangup()?;
    employee.wait_hung_up()?;
    office.empties()?;
    office.stage.crm.clear_faults()?;
    Ok(talked())
}
