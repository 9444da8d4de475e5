//! The module beside what companies use in its stead: a program that listens to the manager interface (listener.py).
//!
//! Invariant: a round counts only when the CRM was told of each of its calls by exactly the three events that belong to it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use harness::{Asterisk, Sandbox, Sipp, Stage, Version, field, until};
use serde_json::Value;
use tempfile::TempDir;

use crate::bell::Bell;
use crate::following::{DIALLED, equip, processor_ms, quiet, silent};
use crate::samples::{Nanos, Sample, Samples};
use crate::summary::{Means, Summary, What};
use crate::table::Table;

/// Of one round.
const CALLS: u32 = 200;
const RATE: f64 = 20.0;
/// Of each kind.
const ROUNDS: u32 = 3;
const TALK: Duration = Duration::from_secs(1);
const BOUND: Duration = Duration::from_secs(120);
/// What the CRM is told of a call that was answered.
const TOLD: [&str; 3] = ["INCOMING", "ACCEPTED", "COMPLETED"];

const DAY_MS: f64 = 86_400_000.0;

/// The Python that is used, or why there is none.
pub(crate) fn python() -> Result<PathBuf> {
    // By its own word, because what lies in PATH may be a script that looks for the right one.
    let output = Command::new("python3")
        .args(["-c", "import sys; print(sys.executable)"])
        .output()
        .context("install python3")?;
    ensure!(output.status.success(), "python3 does not run");
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim_end()))
}

/// listener.py at work. Dropping it kills it.
pub(crate) struct Listener {
    child: Child,
    folder: TempDir,
}

impl Listener {
    /// Starts it, run by another program where `under` is not empty, and waits until it listens.
    pub(crate) fn start(asterisk: &Asterisk, crm: &Sandbox, under: &[impl AsRef<OsStr>]) -> Result<Self> {
        let folder = TempDir::with_prefix("listener-")?;
        let script = folder.path().join("listener.py");
        fs::write(&script, include_str!("listener.py"))?;
        let manager = asterisk.ami_address();
        // As the harness starts whatever it starts: gone when this program is.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .args(under)
            .arg(python()?)
            .arg(&script)
            .env("CRM_URL", crm.url())
            .env("CRM_TOKEN", crm.token())
            .env("AMI_HOST", manager.ip().to_string())
            .env("AMI_PORT", manager.port().to_string())
            .env("AMI_USER", harness::MANAGER_USER)
            .env("AMI_SECRET", harness::MANAGER_SECRET)
            .env("TRUNK", "trunk")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(folder.path().join("errors"))?)
            .spawn()
            .context("cannot start the listener")?;
        let output = child.stdout.take().context("the listener has no output")?;
        let listener = Self { child, folder };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(
            line.trim_end() == "listening",
            "the listener does not listen: {}",
            listener.complaints()
        );
        Ok(listener)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn complaints(&self) -> String {
        fs::read_to_string(self.folder.path().join("errors")).unwrap_or_default()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // It may have ended by itself, which somebody has noticed by then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Who tells the CRM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Nobody,
    Module,
    Listener,
}

const KINDS: [Kind; 3] = [Kind::Nobody, Kind::Module, Kind::Listener];

/// What the rounds of a kind have shown: milliseconds of processor time per call, and how long popups took.
#[derive(Default)]
struct Rounds {
    asterisk: Vec<f64>,
    listener: Vec<f64>,
    popups: Vec<Sample>,
}

pub(crate) fn measure(version: Version, summary: &mut Summary) -> Result<Table> {
    python()?;
    let stage = Stage::plan(version)
        .auto()
        .crm("--log-flush=100")
        .asterisk(equip)
        .start()?;
    let mut ami = silent(&stage)?;
    let bell = Bell::hang_up_at(stage.asterisk.phone("101"))?;
    let mut kinds = [Rounds::default(), Rounds::default(), Rounds::default()];
    let mut loaded = true;
    let mut begun = 0;
    for n in 0..ROUNDS {
        // There and back, so that a drift of the machine meets all alike.
        let order = if n % 2 == 0 { [0, 1, 2] } else { [2, 1, 0] };
        for at in order {
            let kind = KINDS[at];
            if (kind == Kind::Module) != loaded {
                loaded = !loaded;
                ami.module(if loaded { "load" } else { "unload" }, BOUND)?;
            }
            if loaded {
                stage.at_work()?;
            }
            round(&stage, &bell, kind, begun, &mut kinds[at])
                .with_context(|| format!("{kind:?}, round {n}"))?;
            begun += CALLS;
        }
    }
    let crm = stage.crm.get("/_sandbox/violations")?;
    ensure!(crm["total"] == 0, "the CRM's rules were violated: {crm}");
    Ok(show(kinds, summary))
}

fn round(stage: &Stage, bell: &Bell, kind: Kind, first: u32, rounds: &mut Rounds) -> Result<()> {
    let nothing: [&str; 0] = [];
    let listener = match kind {
        Kind::Listener => Some(Listener::start(&stage.asterisk, &stage.crm, &nothing)?),
        Kind::Nobody | Kind::Module => None,
    };
    let logged = stage.crm.log()?.len();
    let callers: Vec<String> = (first..first + CALLS).map(|n| format!("7910{n:07}")).collect();
    let processor = || -> Result<(f64, f64)> {
        let asterisk = processor_ms(stage.asterisk.pid()?)?;
        let listener = listener
            .as_ref()
            .map_or(Ok(0.0), |listener| processor_ms(listener.pid()));
        Ok((asterisk, listener?))
    };
    let before = processor()?;
    Sipp::uac_call("[field0]", DIALLED, TALK)
        .from_trunk()
        .to(stage.asterisk.sip())
        .lines(&(callers.join("\n") + "\n"))
        .calls(CALLS)
        .at_once(CALLS)
        .rate(RATE)
        .bound(BOUND)
        .run()?
        .ensure_success()?;
    let entries = if kind == Kind::Nobody {
        Vec::new()
    } else {
        let all = TOLD.len() * callers.len();
        until("the CRM's knowledge of all calls", BOUND, || {
            let mut entries = stage.crm.log()?.split_off(logged);
            entries.retain(|entry| entry["cmd"] == "event");
            Ok((entries.len() >= all).then_some(entries))
        })
        .with_context(|| listener.as_ref().map(Listener::complaints).unwrap_or_default())?
    };
    if kind == Kind::Module {
        quiet(stage)?;
    }
    let after = processor()?;
    rounds.asterisk.push((after.0 - before.0) / f64::from(CALLS));
    rounds.listener.push((after.1 - before.1) / f64::from(CALLS));
    let rung = bell.rung();
    if kind != Kind::Nobody {
        rounds.popups.extend(popups(&callers, &rung, &entries)?);
    }
    Ok(())
}

/// How long each popup took from the ringing, once it is clear that each call was told of as it was.
fn popups(callers: &[String], rung: &BTreeMap<String, SystemTime>, entries: &[Value]) -> Result<Vec<Sample>> {
    let mut told: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for entry in entries {
        ensure!(
            entry["status"] == 200 && entry["processed"] == true,
            "the CRM did not take this: {entry}"
        );
        told.entry(field(entry, "phone")).or_default().push(entry);
    }
    let offset = offset(entries)?;
    callers
        .iter()
        .map(|caller| {
            let calls = told.get(caller.as_str()).map(Vec::as_slice).unwrap_or_default();
            let events: Vec<&str> = calls.iter().map(|entry| field(entry, "event")).collect();
            ensure!(
                events == TOLD && field(calls[2], "status") == "Success",
                "of the call of {caller} the CRM was told {calls:?}"
            );
            let rung = rung
                .get(caller)
                .with_context(|| format!("no phone rang for {caller}"))?;
            let rung = rung.duration_since(UNIX_EPOCH)?.as_secs_f64() * 1e3;
            let came = arrival(calls[0])? + offset;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is not negative"
            )]
            let took = (from_to(rung, came).max(0.0) * 1e6) as u64;
            Ok(Sample { begin: 0, took })
        })
        .collect()
}

/// When a request had come, in milliseconds since the stand-in CRM began.
fn arrival(entry: &Value) -> Result<f64> {
    entry["arrival_ms"]
        .as_f64()
        .with_context(|| format!("the CRM does not say when this came: {entry}"))
}

/// Milliseconds from one time of a day to the next that is near it.
fn from_to(from: f64, to: f64) -> f64 {
    (to - from + DAY_MS / 2.0).rem_euclid(DAY_MS) - DAY_MS / 2.0
}

/// At what time of the day the stand-in CRM began. It writes the time of the day in whole milliseconds, cut off, and the time
/// since its beginning finely: of all their differences the greatest is the right one.
fn offset(entries: &[Value]) -> Result<f64> {
    let mut differences = entries
        .iter()
        .map(|entry| Ok(time_of_day(entry)? - arrival(entry)?));
    let first: f64 = differences.next().context("the CRM was told nothing")??;
    differences.try_fold(first, |greatest, other: Result<f64>| {
        Ok(greatest + from_to(greatest, other?).max(0.0))
    })
}

/// Milliseconds since midnight of `2026-11-21T23:01:02.345Z`.
fn time_of_day(entry: &Value) -> Result<f64> {
    let time = entry["time"].as_str().unwrap_or_default();
    let read = || {
        let (_, clock) = time.strip_suffix('Z')?.split_once('T')?;
        let mut parts = clock.split(':').map(str::parse::<f64>);
        let mut part = || parts.next()?.ok();
        Some(((part()? * 60.0 + part()?) * 60.0 + part()?) * 1e3)
    };
    read().with_context(|| format!("the CRM writes the time \"{time}\""))
}

fn show(kinds: [Rounds; 3], summary: &mut Summary) -> Table {
    let mut table = Table::new(
        "The module beside an AMI listener",
        format!(
            "The same calls for both: {CALLS} in a round, {RATE} a second, the phone rings for 0.1 s and the client talks for 1 s; \
             {ROUNDS} rounds of each kind, in turns. The listener (tests/harness/src/bin/bench/listener.py) is a Python program with \
             Python's own library alone, as companies write them: it reads the events of calls and tells the CRM of inbound \
             calls on connections that are kept. It keeps nothing on a disk and knows no transfers. Each round counts only because \
             the CRM was told of each call rightly, by INCOMING, ACCEPTED and COMPLETED. The time of a popup begins when the phone \
             rings. Processor time is that of Asterisk and of the listener; medians of the rounds."
        ),
        &[
            "who tells the CRM",
            "ms of processor per call: Asterisk",
            "the listener",
            "together",
            "more than nobody",
            "popup after: median",
            "p99",
            "worst",
        ],
    );
    let middle = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let mut nobody = 0.0;
    for (kind, mut rounds) in KINDS.into_iter().zip(kinds) {
        let (asterisk, listener) = (middle(&mut rounds.asterisk), middle(&mut rounds.listener));
        let together = asterisk + listener;
        let (name, means) = match kind {
            Kind::Nobody => ("nobody", None),
            Kind::Module => ("res_planfix", Some(Means::Module)),
            Kind::Listener => ("the listener", Some(Means::Listener)),
        };
        let mut cells = [
            name.to_owned(),
            format!("{asterisk:.2}"),
            String::new(),
            format!("{together:.2}"),
            String::new(),
            String::new(),
            String::new(),
            String::new(),
        ];
        match means {
            None => nobody = together,
            Some(means) => {
                if means == Means::Listener {
                    cells[2] = format!("{listener:.2}");
                }
                let popups = Samples::of(rounds.popups);
                let figures = [popups.median(), popups.at(990), popups.worst()];
                cells[4] = format!("{:.2}", together - nobody);
                for (cell, figure) in cells[5..].iter_mut().zip(figures) {
                    *cell = Nanos::to_string(&figure);
                }
                summary.note(What::Popup, means, popups.in_short());
                summary.note(What::Processor, means, format!("{:.2} ms", together - nobody));
            }
        }
        table.row(cells, None);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{from_to, offset, time_of_day};

    #[test]
    fn a_popup_after_midnight_was_not_a_day_early() {
        let last = time_of_day(&json!({ "time": "2026-11-21T23:59:59.990Z" })).unwrap();
        let first = time_of_day(&json!({ "time": "2026-11-22T00:00:00.010Z" })).unwrap();
        assert!((from_to(last, first) - 20.0).abs() < 1e-6);
        assert!((from_to(first, last) + 20.0).abs() < 1e-6);
    }

    #[test]
    fn the_clock_of_the_crm_is_found_from_what_it_cuts_off() {
        // It began at 10:00:00.0007: each time of the day is cut off by another part of a millisecond.
        let entries = [
            json!({ "time": "2026-11-21T10:00:01.000Z", "arrival_ms": 999.5 }),
            json!({ "time": "2026-11-21T10:00:01.001Z", "arrival_ms": 1000.3 }),
            json!({ "time": "2026-11-21T10:00:01.004Z", "arrival_ms": 1003.9 }),
        ];
        let began = offset(&entries).unwrap() - 36_000_000.0;
        assert!((began - 0.7).abs() < 1e-3, "{began}");
        assert!(offset(&[json!({ "time": "soon", "arrival_ms": 1.0 })]).is_err());
    }
}
