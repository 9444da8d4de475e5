//! What a channel pays for PLANFIX_CONTACT: from the cache, from the network, and while the CRM is gone.

use std::time::Duration;

use anyhow::{Context, Result};
use harness::until;

use crate::rig::{Pace, Rig};
use crate::samples::{Nanos, Samples};
use crate::table::{Table, Target};

/// From the cache, and while the CRM is known to be gone.
const BURST: usize = 10_000;
/// Each of them is a request.
const REQUESTS: usize = 1_000;
/// Less than it takes from many offices to the CRM's data centre and back.
const AWAY_MS: u64 = 20;
/// How often the breaker is closed by a reload, so that there are first calls again.
const ROUNDS: u32 = 8;
/// Calls that find the CRM gone before the breaker opens.
const FIRST: usize = 3;
/// `timeout_ms` by default.
const TIMEOUT: Nanos = Nanos(300_000_000);
const BOUND: Duration = Duration::from_secs(60);

const KNOWN: &str = "74957654321";

pub(crate) fn measure(rig: &mut Rig) -> Result<Table> {
    let mut table = Table::new(
        "PLANFIX_CONTACT on the channel's thread",
        format!(
            "From the cache, one caller; from the network, each time another caller, the CRM being a server on this machine that \
             answers at once, or after {AWAY_MS} ms like a CRM on the Internet. With the CRM black-holed and timeout_ms = 300 the \
             first {FIRST} calls wait, in {ROUNDS} rounds; after them nobody does."
        ),
        &["what", "calls", "median", "p99", "worst"],
    );
    let mut known = rig.probe(
        "read",
        1,
        Pace::BURST,
        "",
        &format!("PLANFIX_CONTACT({KNOWN},name)"),
    )?;
    rig.expected += 1;
    known = rig
        .probe(
            "read",
            BURST,
            Pace::BURST,
            "",
            &format!("PLANFIX_CONTACT({KNOWN},name)"),
        )
        .context(format!("after {} for the first", known.worst()))?;
    let target = Target::new("p99 ≤ 50 µs", known.at(990) <= Nanos(50_000));
    table.row(row("from the cache", &known), Some(target));

    for (what, fault) in [
        ("from the network, at once".to_owned(), None),
        (
            format!("from the network, after {AWAY_MS} ms"),
            Some(format!("delay={AWAY_MS}")),
        ),
    ] {
        if let Some(fault) = &fault {
            rig.sandbox.fault(fault)?;
        }
        let phase = rig.next_phase() + 100;
        let samples = rig.probe(
            "read",
            REQUESTS,
            Pace::BURST,
            "",
            &format!("PLANFIX_CONTACT(7916{phase}{{n}}0000,name)"),
        )?;
        rig.expected += REQUESTS as u64;
        rig.sandbox.clear_faults()?;
        rig.settle()?;
        table.row(row(&what, &samples), None);
    }

    rig.sandbox.fault("black-hole")?;
    let mut first = Vec::new();
    let mut open = None;
    for _ in 0..ROUNDS {
        rig.module("reload")?;
        let phase = rig.next_phase() + 100;
        let expression = format!("PLANFIX_CONTACT(7916{phase}{{n}}0000,name)");
        first.extend(rig.probe("read", FIRST, Pace::BURST, "", &expression)?.in_order);
        if open.is_none() {
            open = Some(rig.probe("read", BURST, Pace::BURST, "", &expression)?);
        }
        until("an end of the requests", BOUND, || {
            Ok(rig.status("Contacts")?.contains(" 0 under way").then_some(()))
        })?;
    }
    rig.sandbox.clear_faults()?;
    let first = Samples::of(first);
    let ceiling = Nanos(TIMEOUT.0 + 20_000_000);
    let target = Target::new(format!("worst ≤ {ceiling}"), first.worst() <= ceiling);
    table.row(row("CRM black-holed, first calls", &first), Some(target));
    let open = open.context("there was a round")?;
    // Of ten thousand the machine itself interrupts a few.
    let target = Target::new("p99.9 ≤ 1 ms", open.at(999) <= Nanos(1_000_000));
    table.row(row("CRM black-holed, from then on", &open), Some(target));

    // As after a restart: what is measured next is not asked for beforehand because of this.
    rig.module("unload")?;
    rig.module("load")?;
    rig.settle()?;
    Ok(table)
}

fn row(what: &str, samples: &Samples) -> [String; 5] {
    [
        what.to_owned(),
        samples.len().to_string(),
        samples.median().to_string(),
        samples.at(990).to_string(),
        samples.worst().to_string(),
    ]
}
