//! What it costs to follow calls by itself (`mode = auto`): time per stasis message, calls a second, bytes per call.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use harness::{Ami, Builder, Sipp, SippRun, Stage, Traffic, Version, build_probe, flat, until};

use crate::table::{Table, Target};

/// Fifty calls a second for twenty seconds.
const CALLS: u32 = 1_000;
const RATE: f64 = 50.0;
const MEDIAN_MICROS: f64 = 2.0;

/// Calls of one round that are begun as fast as they go, and how many go on at once.
const ROUND: u32 = 1_000;
const AT_ONCE: u32 = 16;
/// Of each kind.
const ROUNDS: usize = 5;
const APART: f64 = 2.0;

/// Calls that are held. What the module takes besides is nearly the same for both: the caches of its database differ by up to two
/// mebibytes from one load to the next, so that fewer calls would say little of one.
const WARM_UP: u32 = 3;
const FEW: u32 = 100;
const MANY: u32 = 1_600;
const MOST_BYTES: i64 = 4096;
const BOUND: Duration = Duration::from_secs(120);

const EXTENSIONS: &str = "[from-trunk]\nexten => _X.,1,Dial(PJSIP/101,20)\n same => n,Hangup()\n";
pub(crate) const CLIENT: &str = "79101234567";
pub(crate) const DIALLED: &str = "74950000101";

pub(crate) fn messages(version: Version) -> Result<Table> {
    let stage = Traffic::stage(version)?;
    let report = Traffic::new(CALLS, RATE).play(&stage)?;
    report.ensure_true()?;
    let mut table = Table::new(
        "Time on Asterisk's thread per stasis message",
        format!(
            "By the module's own count, from the moment when Asterisk gives it the message, with {CALLS} calls at {RATE} a second \
             that end in all ways. Steps in the dialplan become no records unless they say something of a call. The queue for the \
             module was never longer than {} messages.",
            report.deepest_queue()
        ),
        &["what", "messages", "median", "p99", "longest"],
    );
    let row = stage.row("Callbacks")?;
    for (part, what) in row.split("; ").zip(["all", "those that became records"]) {
        let mut figures = part.split(", ");
        let count = figures
            .next()
            .and_then(|count| count.split(' ').next())
            .unwrap_or_default();
        let [median, p99, longest] = ["median ", "p99 ", "longest "].map(|name| {
            figures
                .next()
                .and_then(|figure| figure.strip_prefix(name))
                .unwrap_or_default()
        });
        let micros: f64 = median
            .trim_end_matches(" µs")
            .parse()
            .with_context(|| row.clone())?;
        let target = (what == "all")
            .then(|| Target::new(format!("median ≤ {MEDIAN_MICROS} µs"), micros <= MEDIAN_MICROS));
        table.row([what, count, median, p99, longest].map(str::to_owned), target);
    }
    Ok(table)
}

/// Every call is led to one phone; nothing is logged.
pub(crate) fn equip(builder: Builder) -> Builder {
    let rtp = "[general]\nrtpstart = 10000\nrtpend = 30000\nicesupport = no\nstrictrtp = no\n";
    builder
        .phone("101")
        .extensions(EXTENSIONS)
        .file("rtp.conf", rtp)
        .verbose(0)
        .debug(0)
}

/// An Asterisk that leads every call to one phone, and a session of its manager interface.
fn plain(version: Version, more: &[&str]) -> Result<(Stage, Ami)> {
    let mut stage = Stage::plan(version)
        .auto()
        .crm("--log=/dev/null")
        .crm("--log-flush=1000")
        .asterisk(|builder| {
            more.iter()
                .fold(equip(builder), |builder, name| builder.load(name))
        })
        .prepare()?;
    if !more.is_empty() {
        build_probe(
            version,
            &stage.asterisk.scratch().join("modules/planfix_probe.so"),
        )?;
    }
    stage.asterisk.start()?;
    stage.at_work()?;
    let ami = silent(&stage)?;
    Ok((stage, ami))
}

/// A session of the manager interface without events: Asterisk closes the session of who does not read them.
pub(crate) fn silent(stage: &Stage) -> Result<Ami> {
    let mut ami = stage.asterisk.ami()?;
    ami.action(&[("Action", "Events"), ("EventMask", "off")])?;
    Ok(ami)
}

pub(crate) fn phone(stage: &Stage) -> Result<SippRun> {
    Sipp::uas_answer(Duration::ZERO)
        .at(stage.asterisk.phone("101"))
        .calls(u32::MAX)
        .bound(Duration::from_secs(24 * 3_600))
        .start()
}

/// What waits is delivered: nothing goes on in the module.
pub(crate) fn quiet(stage: &Stage) -> Result<()> {
    until("a module with nothing to do", BOUND, || {
        let status = flat(&stage.status()?);
        let nothing = status.contains("Calls: 0 followed on 0 channels")
            && status.contains("Queue: 0 waiting, 0 under way");
        Ok(nothing.then_some(()))
    })
}

/// Milliseconds of processor time that a process has taken. The kernel counts in hundredths of a second.
pub(crate) fn processor_ms(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = text
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<f64>().ok());
    let (user, system) = ticks(11)
        .zip(ticks(12))
        .context("the kernel does not tell of processor time")?;
    Ok((user + system) * 10.0)
}

/// One kind of rounds.
#[derive(Default)]
struct Rounds {
    rates: Vec<f64>,
    costs: Vec<f64>,
}

impl Rounds {
    fn sort(&mut self) {
        self.rates.sort_by(f64::total_cmp);
        self.costs.sort_by(f64::total_cmp);
    }

    fn middle(values: &[f64]) -> f64 {
        values[values.len() / 2]
    }
}

pub(crate) fn rate(version: Version) -> Result<Table> {
    let (stage, mut ami) = plain(version, &[])?;
    stage.crm.yield_to_all()?;
    let _phone = phone(&stage)?;
    let mut kinds = [Rounds::default(), Rounds::default()];
    let mut loaded = true;
    round(&stage)?;
    for n in 0..ROUNDS {
        // There and back, so that a drift of the machine meets both alike.
        for kind in if n % 2 == 0 { [0, 1] } else { [1, 0] } {
            let with = kind == 1;
            if with != loaded {
                ami.module(if with { "load" } else { "unload" }, BOUND)?;
                loaded = with;
            }
            if with {
                stage.at_work()?;
            }
            let before = processor_ms(stage.asterisk.pid()?)?;
            kinds[kind].rates.push(round(&stage)?);
            if with {
                quiet(&stage)?;
            }
            kinds[kind]
                .costs
                .push((processor_ms(stage.asterisk.pid()?)? - before) / f64::from(ROUND));
        }
    }
    let mut table = Table::new(
        "Calls a second, with and without the module",
        format!(
            "A provider calls, a phone answers, the provider hangs up at once, {AT_ONCE} calls at a time and as fast as it goes, on all \
             processors: sipp runs on the same ones, and so does the stand-in CRM, which comes last there. {ROUNDS} rounds of {ROUND} calls each, in turns; the spread of \
             the rounds shows how quiet the machine was. Processor time is Asterisk's, with everything delivered."
        ),
        &[
            "module",
            "calls a second",
            "lowest",
            "highest",
            "ms of processor per call",
            "lowest",
            "highest",
        ],
    );
    for rounds in &mut kinds {
        rounds.sort();
    }
    let [without, with] = &kinds;
    let apart = (1.0 - Rounds::middle(&with.rates) / Rounds::middle(&without.rates)) * 100.0;
    let dearer = (Rounds::middle(&with.costs) / Rounds::middle(&without.costs) - 1.0) * 100.0;
    let last = ROUNDS - 1;
    let cells = |name: &str, rounds: &Rounds| {
        [
            name.to_owned(),
            format!("{:.1}", Rounds::middle(&rounds.rates)),
            format!("{:.1}", rounds.rates[0]),
            format!("{:.1}", rounds.rates[last]),
            format!("{:.2}", Rounds::middle(&rounds.costs)),
            format!("{:.2}", rounds.costs[0]),
            format!("{:.2}", rounds.costs[last]),
        ]
    };
    table.row(cells("without", without), None);
    table.row(cells("with", with), None);
    table.row(
        [
            "apart".to_owned(),
            format!("{apart:.1} % fewer"),
            String::new(),
            String::new(),
            format!("{dearer:.1} % more"),
            String::new(),
            String::new(),
        ],
        Some(Target::new(format!("≤ {APART} % fewer calls"), apart <= APART)),
    );
    Ok(table)
}

/// Calls a second of one round.
fn round(stage: &Stage) -> Result<f64> {
    let outcome = Sipp::uac_call(CLIENT, DIALLED, Duration::ZERO)
        .from_trunk()
        .to(stage.asterisk.sip())
        .calls(ROUND)
        .at_once(AT_ONCE)
        .rate(f64::from(ROUND))
        .bound(BOUND)
        .run()?
        .ensure_success()?;
    let rate = outcome
        .stats
        .get("CallRate(C)")
        .and_then(|rate| rate.parse().ok());
    rate.context("sipp tells no rate")
}

pub(crate) fn memory(version: Version) -> Result<Table> {
    let (stage, mut ami) = plain(version, &["planfix_probe.so"])?;
    let _phone = phone(&stage)?;
    let mut table = Table::new(
        "Memory per live call",
        format!(
            "After {WARM_UP} rounds of {ROUND} calls, so that what is kept in any case is there. Calls are answered and go on. Bytes of the heap that are in use in the whole Asterisk, before the module is unloaded and \
         after: what it held of them."
        ),
        &["live calls", "held by the module"],
    );
    let few = held(&stage, &mut ami, FEW)?;
    let many = held(&stage, &mut ami, MANY)?;
    let each = (many - few) / i64::from(MANY - FEW);
    for (calls, bytes) in [(FEW, few), (MANY, many)] {
        table.row([calls.to_string(), format!("{bytes} bytes")], None);
    }
    table.row(
        ["each one more".to_owned(), format!("{each} bytes")],
        Some(Target::new(format!("≤ {MOST_BYTES} bytes"), each <= MOST_BYTES)),
    );
    Ok(table)
}

/// Bytes that the module holds while so many calls go on.
fn held(stage: &Stage, ami: &mut Ami, calls: u32) -> Result<i64> {
    // The spool's cache fills up with whatever has happened, and so do the durations of the last hour: no part of a call.
    for _ in 0..WARM_UP {
        round(stage)?;
    }
    quiet(stage)?;
    let _calling = Sipp::uac_call(CLIENT, DIALLED, BOUND)
        .from_trunk()
        .to(stage.asterisk.sip())
        .calls(calls)
        .at_once(calls)
        .rate(RATE)
        .bound(BOUND * 2)
        .start()?;
    until("live calls", BOUND, || {
        let status = flat(&stage.status()?);
        let live = status.contains(&format!("Calls: {calls} followed on {} channels", 2 * calls))
            && status.contains("Queue: 0 waiting, 0 under way")
            && stage
                .asterisk
                .cli("core show channels count")?
                .contains(&format!("{calls} active calls"));
        Ok(live.then_some(()))
    })
    .with_context(|| stage.status().unwrap_or_default())?;
    let before = heap(ami)?;
    ami.module("unload", BOUND)?;
    let held = before - heap(ami)?;
    ami.action(&[("Action", "Hangup"), ("Channel", "/.*/"), ("Cause", "16")])?;
    until("an Asterisk without channels", BOUND, || {
        let count = stage.asterisk.cli("core show channels count")?;
        Ok(count.contains("0 active channels").then_some(()))
    })?;
    ami.module("load", BOUND)?;
    stage.at_work()?;
    Ok(held)
}

fn heap(ami: &mut Ami) -> Result<i64> {
    let bytes = ami.getvar(None, "PLANFIX_HEAP()")?;
    bytes
        .parse()
        .with_context(|| format!("the heap has \"{bytes}\" bytes"))
}
