//! A hundred thousand events that cannot be delivered.

use std::time::{Duration, Instant};

use anyhow::Result;
use harness::until;

use crate::rig::{Pace, Rig};
use crate::samples::Nanos;
use crate::table::{Table, Target};

const EVENTS: usize = 100_000;
const GROWTH_MIB: f64 = 32.0;
const LOAD: Duration = Duration::from_secs(1);
const BOUND: Duration = Duration::from_secs(60);

fn nanos(time: Duration) -> Nanos {
    Nanos(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
fn mib(kib: u64, before: u64) -> f64 {
    (kib as f64 - before as f64) / 1024.0
}

pub(crate) fn measure(rig: &mut Rig) -> Result<Table> {
    let mut table = Table::new(
        "100,000 queued events while the CRM refuses",
        "Resident memory of the whole Asterisk, after 500 delivered events as the starting point.",
        &["what", "figure"],
    );
    let mut row = |what: &str, figure: String, target| table.row([what.to_owned(), figure], target);

    rig.sandbox.fault("refuse")?;
    let before = rig.asterisk.rss_kib()?;
    rig.events(EVENTS, Pace::Every(Duration::from_micros(50)))?;
    rig.await_queue(EVENTS as u64)?;
    let growth = mib(rig.asterisk.rss_kib()?, before);
    row(
        "growth of memory with 100,000 events queued",
        format!("{growth:.1} MiB"),
        Some(Target::new(format!("< {GROWTH_MIB} MiB"), growth < GROWTH_MIB)),
    );
    let (_, took) = rig.cli("planfix show queue")?;
    row("`planfix show queue`", nanos(took).to_string(), None);

    let unload = rig.module("unload")?;
    row(
        "`module unload` with that backlog",
        nanos(unload).to_string(),
        None,
    );
    let begin = Instant::now();
    let load = rig.module("load")?;
    row(
        "`module load` with that backlog",
        nanos(load).to_string(),
        Some(Target::new("< 1 s", load < LOAD)),
    );
    until("the backlog after the load", BOUND, || {
        Ok((rig.waiting()? == EVENTS as u64).then_some(()))
    })?;
    let counted = begin.elapsed();
    row(
        "until the module knows its backlog",
        nanos(counted).to_string(),
        Some(Target::new("< 1 s", counted < LOAD)),
    );

    rig.sandbox.clear_faults()?;
    let begin = Instant::now();
    rig.settle()?;
    let took = begin.elapsed();
    row(
        "until all of it is delivered, once the CRM is back",
        nanos(took).to_string(),
        None,
    );
    row(
        "growth of memory after that",
        format!("{:.1} MiB", mib(rig.asterisk.rss_kib()?, before)),
        None,
    );
    Ok(table)
}
