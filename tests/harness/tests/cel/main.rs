//! The module beside Asterisk's own bookkeeping: its CEL and CDR suites pass as they do without the module, and
//! CALL_DURATION says what the channel event log says.

mod calls;
mod suites;

use anyhow::Result;
use harness::{Ami, Asterisk, Version, on_both};

on_both! {
    the_cel_suite,
    the_cdr_suite,
    calls_of_phones,
}

fn the_cel_suite(version: Version) -> Result<()> {
    suites::passes(version, "cel")
}

fn the_cdr_suite(version: Version) -> Result<()> {
    suites::passes(version, "cdr")
}

fn calls_of_phones(version: Version) -> Result<()> {
    calls::agree_with_the_log(version)
}

/// A session without events, of which nobody reads any here.
fn quiet(asterisk: &Asterisk) -> Result<Ami> {
    let mut ami = asterisk.ami()?;
    ami.action(&[("Action", "Events"), ("EventMask", "off")])?;
    Ok(ami)
}
