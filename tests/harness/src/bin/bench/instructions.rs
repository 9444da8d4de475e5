//! What a call costs in instructions, which a busy machine does not change.
//!
//! Invariant: what is compared was executed by one process, by the same calls; only who tells the CRM differs.

use std::time::Duration;

use anyhow::{Context, Result};
use harness::{Ami, Sipp, Stage, Version, until};

use crate::callgrind::{Callgrind, Instructions};
use crate::following::{CLIENT, DIALLED, equip, phone, quiet, silent};
use crate::listener::{Listener, python};
use crate::summary::{Means, Summary, What};
use crate::table::Table;

/// Of one count.
const CALLS: u32 = 120;
const WARM_UP: u32 = 20;
/// More would take longer than SIP waits before it repeats itself, and repetitions would be counted.
const AT_ONCE: u32 = 1;
/// Everything is some fifty times slower.
const BOUND: Duration = Duration::from_secs(600);

/// A count of every kind, per [`CALLS`].
#[derive(Default)]
struct Counts {
    nobody: Instructions,
    module: Instructions,
    beside_listener: Instructions,
    listener: Option<Instructions>,
}

struct Bench {
    stage: Stage,
    ami: Ami,
    asterisk: Callgrind,
}

impl Bench {
    /// Calls are made, each as the one before, and everything that they lead to is over.
    fn calls(&self, count: u32) -> Result<()> {
        Sipp::uac_call(CLIENT, DIALLED, Duration::ZERO)
            .from_trunk()
            .to(self.stage.asterisk.sip())
            .calls(count)
            .at_once(AT_ONCE)
            .rate(100.0)
            .bound(BOUND)
            .run()?
            .ensure_success()?;
        until("an Asterisk without channels", BOUND, || {
            let count = self.stage.asterisk.cli("core show channels count")?;
            Ok(count.contains("0 active channels").then_some(()))
        })
    }

    fn count(&mut self) -> Result<Instructions> {
        let pid = self.stage.asterisk.pid()?;
        self.asterisk.count(pid)
    }

    /// So many requests has the CRM taken in.
    fn told(&self) -> Result<u64> {
        self.stage.crm.get("/_sandbox/state")?["counters"]["accepted"]
            .as_u64()
            .context("the stand-in CRM does not count")
    }

    /// Waits until the CRM was told of that many calls more than `before`.
    fn delivered(&self, before: u64, calls: u32) -> Result<()> {
        let wanted = before + 3 * u64::from(calls);
        until("all requests at the CRM", BOUND, || {
            Ok((self.told()? >= wanted).then_some(()))
        })
    }

    /// The module is loaded before and after.
    fn all(&mut self, with_listener: bool) -> Result<Counts> {
        self.count()?;
        let before = self.told()?;
        self.calls(CALLS)?;
        self.delivered(before, CALLS)?;
        quiet(&self.stage)?;
        let with = self.count()?;

        self.ami.module("unload", BOUND)?;
        self.count()?;
        self.calls(CALLS)?;
        let nobody = self.count()?;

        let mut counts = Counts {
            nobody,
            module: with,
            ..Counts::default()
        };
        if with_listener {
            let mut callgrind = Callgrind::new()?;
            let listener = Listener::start(&self.stage.asterisk, &self.stage.crm, &callgrind.words())?;
            // Connections are made and code is read by the first calls.
            let before = self.told()?;
            self.calls(WARM_UP)?;
            self.delivered(before, WARM_UP)
                .with_context(|| listener.complaints())?;
            callgrind.count(listener.pid())?;
            self.count()?;
            let before = self.told()?;
            self.calls(CALLS)?;
            self.delivered(before, CALLS)
                .with_context(|| listener.complaints())?;
            counts.beside_listener = self.count()?;
            counts.listener = Some(callgrind.count(listener.pid())?);
        }
        self.ami.module("load", BOUND)?;
        self.stage.at_work()?;
        Ok(counts)
    }
}

pub(crate) fn measure(version: Version, summary: &mut Summary) -> Result<Table> {
    let tool = Callgrind::version()?;
    let asterisk = Callgrind::new()?;
    let with_listener = python().is_ok();
    let stage = Stage::plan(version)
        .auto()
        .crm("--log=/dev/null")
        .crm("--log-flush=1000")
        .asterisk(|builder| equip(builder).under(&asterisk.words()))
        .start()?;
    let _phone = phone(&stage)?;
    let mut bench = Bench {
        ami: silent(&stage)?,
        stage,
        asterisk,
    };
    bench.calls(WARM_UP)?;
    let counts = [bench.all(with_listener)?, bench.all(with_listener)?];

    let mut table = Table::new(
        "The cost of a call in instructions",
        format!(
            "Instructions in user space, counted by {tool} with its tool callgrind, in thousands per call: {CALLS} calls for each count, \
             each answered by a phone and ended by the provider, {AT_ONCE} at a time. All in one process of Asterisk, which has the \
             module (`mode = auto`), does without it, or has a session of the manager interface for the listener of the table above. \
             Each count was made twice. What the kernel does is not counted. A machine that is very busy counts somewhat more: \
             the module looks for new events every 2 ms while calls go on, and SIP repeats itself after 500 ms."
        ),
        &["what", "first", "second", "apart", "more than without"],
    );
    let without = counts.each_ref().map(|counts| counts.nobody.total());
    let mut row = |name: &str, each: [u64; 2], beside: bool| {
        let [first, second] = each.map(per_call);
        let more = each[0] + each[1];
        let than = without[0] + without[1];
        table.row(
            [
                name.to_owned(),
                format!("{first:.0}"),
                format!("{second:.0}"),
                format!("{:.1} %", (first - second).abs() / (first + second) * 200.0),
                if beside {
                    format!("{:.1} %", (more as f64 / than as f64 - 1.0) * 100.0)
                } else {
                    String::new()
                },
            ],
            None,
        );
    };
    let of = |pick: fn(&Counts) -> u64| counts.each_ref().map(pick);
    let with = of(|counts| counts.module.total());
    row("Asterisk without the module", without, false);
    row("Asterisk with the module", with, true);
    row(
        "of that in res_planfix.so itself",
        of(|counts| counts.module.of("res_planfix.so")),
        false,
    );
    let extra = |name: &'static str| {
        counts
            .each_ref()
            .map(|counts| counts.module.of(name).saturating_sub(counts.nobody.of(name)))
    };
    row("more in SQLite", extra("libsqlite3"), false);
    row("more in the C library", extra("libc."), false);
    row("more in Asterisk's own program", extra("asterisk"), false);
    let more = |each: [u64; 2]| {
        let sum = each[0] + each[1];
        per_call(sum.saturating_sub(without[0] + without[1])) / 2.0
    };
    summary.note(What::Instructions, Means::Module, thousands(more(with)));
    if let [
        Counts {
            listener: Some(first),
            ..
        },
        Counts {
            listener: Some(second),
            ..
        },
    ] = &counts
    {
        let (asterisk, listener) = (
            of(|counts| counts.beside_listener.total()),
            [first.total(), second.total()],
        );
        let both = [asterisk[0] + listener[0], asterisk[1] + listener[1]];
        row("Asterisk with the listener's session", asterisk, true);
        row("the listener", listener, false);
        row("Asterisk and the listener", both, true);
        summary.note(What::Instructions, Means::Listener, thousands(more(both)));
    }
    Ok(table)
}

/// In thousands.
#[expect(clippy::cast_precision_loss, reason = "four figures are shown")]
fn per_call(count: u64) -> f64 {
    count as f64 / f64::from(CALLS) / 1e3
}

fn thousands(count: f64) -> String {
    format!("{count:.0} thousand")
}
