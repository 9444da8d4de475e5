//! Every kind of call, live: real SIP phones, a real Asterisk, a dialplan that knows nothing of the CRM, and what the CRM
//! was told of it.
//!
//! Each flow is a function that lets the call happen and returns what the CRM must have been told. `RES_PLANFIX_FLOW`
//! plays those alone whose name holds that text.

mod flow;
mod forward;
mod group;
mod inbound;
mod outbound;
mod pickup;
mod queue;
mod talk;
mod told;
mod transfer;
mod trouble;

use anyhow::Result;
use harness::{Version, on_both};

on_both! {
    inbound,
    group,
    queue,
    transfer,
    pickup,
    forward,
    talk,
    outbound,
    trouble,
}

fn inbound(version: Version) -> Result<()> {
    flow::play(version, inbound::FLOWS)
}

fn group(version: Version) -> Result<()> {
    flow::play(version, group::FLOWS)
}

fn queue(version: Version) -> Result<()> {
    flow::play(version, queue::FLOWS)
}

fn transfer(version: Version) -> Result<()> {
    flow::play(version, transfer::FLOWS)
}

fn pickup(version: Version) -> Result<()> {
    flow::play(version, pickup::FLOWS)
}

fn forward(version: Version) -> Result<()> {
    flow::play(version, forward::FLOWS)
}

fn talk(version: Version) -> Result<()> {
    flow::play(version, talk::FLOWS)
}

fn outbound(version: Version) -> Result<()> {
    flow::play(version, outbound::FLOWS)
}

fn trouble(version: Version) -> Result<()> {
    flow::play(version, trouble::FLOWS)
}
