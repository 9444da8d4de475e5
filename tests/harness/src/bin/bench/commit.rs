//! From the acceptance of an event to its commit, seen from outside: another process looks into the spool.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rusqlite::{Connection, OpenFlags};
use rustix::time::{ClockId, clock_gettime};

use crate::rig::{Pace, Rig};
use crate::samples::{Nanos, Sample, Samples};
use crate::table::{Table, Target};

const EVENTS: usize = 750;
/// Between two looks into the spool.
const LOOK: Duration = Duration::from_micros(100);
const PROMISE: Nanos = Nanos(10_000_000);

/// When the spool was seen to hold what.
struct Look {
    moment: u64,
    newest: u64,
}

pub(crate) fn measure(rig: &mut Rig) -> Result<Table> {
    let mut table = Table::new(
        "Group commit",
        "50 events a second. An event is committed once another process sees it in the spool, looking every 0.1 ms: from \
         then on it survives the end of the process. A power cut it survives once the disk has confirmed it.",
        &["what", "median", "p99", "worst"],
    );
    let file = rig.spool().join("spool.db");
    let before = newest(&open(&file)?)?;
    let over = AtomicBool::new(false);
    let (accepted, looks) = thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(&file, before, &over));
        let accepted = rig.events(EVENTS, Pace::Dialplan);
        over.store(true, Ordering::Relaxed);
        (accepted, watcher.join())
    });
    let looks = looks.map_err(|_| anyhow!("the thread that watches the spool panicked"))??;
    let mut waits = Vec::with_capacity(EVENTS);
    for (sample, id) in accepted?.in_order.iter().zip(before + 1..) {
        let at = looks.partition_point(|look| look.newest < id);
        let look = looks
            .get(at)
            .with_context(|| format!("event {id} was not seen in the spool"))?;
        let accepted = sample.begin + sample.took;
        waits.push(Sample {
            begin: accepted,
            took: look.moment.saturating_sub(accepted),
        });
    }
    let waits = Samples::of(waits);
    table.row(
        [
            "from acceptance to commit".to_owned(),
            waits.median().to_string(),
            waits.at(990).to_string(),
            waits.worst().to_string(),
        ],
        Some(Target::new(format!("p99 ≤ {PROMISE}"), waits.at(990) <= PROMISE)),
    );
    // The module's own count, in whole milliseconds.
    let spool = rig.status("Spool")?;
    for figure in spool.split("slowest ").skip(1) {
        let figure = figure.split([',', ';']).next().unwrap_or_default().trim();
        let at = figure.find(|c: char| c.is_ascii_digit()).unwrap_or(figure.len());
        table.row(
            [
                format!("slowest {}, by `planfix show status`", figure[..at].trim_end()),
                String::new(),
                String::new(),
                figure[at..].to_owned(),
            ],
            None,
        );
    }
    rig.settle()?;
    Ok(table)
}

fn open(file: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(file, flags).context("the spool cannot be opened")
}

fn newest(spool: &Connection) -> Result<u64> {
    let mut newest = spool.prepare_cached("SELECT coalesce(max(id), 0) FROM event")?;
    let id: i64 = newest.query_row([], |row| row.get(0))?;
    Ok(u64::try_from(id)?)
}

/// Looks until it is over, and once more.
fn watch(file: &Path, before: u64, over: &AtomicBool) -> Result<Vec<Look>> {
    let spool = open(file)?;
    let mut looks = Vec::with_capacity(EVENTS);
    let mut last = before;
    loop {
        let done = over.load(Ordering::Relaxed);
        let newest = newest(&spool)?;
        if newest > last {
            last = newest;
            looks.push(Look {
                moment: now(),
                newest,
            });
        }
        if done {
            return Ok(looks);
        }
        thread::sleep(LOOK);
    }
}

/// The clock that the probe reads.
fn now() -> u64 {
    let moment = clock_gettime(ClockId::Monotonic);
    let part = |value| u64::try_from(value).unwrap_or_default();
    part(moment.tv_sec) * 1_000_000_000 + part(moment.tv_nsec)
}
