//! One run: calls of every kind, faults as the schedule has them, quiet, and the judgement.
//!
//! Invariants: the judgement goes by what the CRM has received, by sipp's counts and by Asterisk's own log of calls; what is
//! excepted is named in it; nothing runs on after the end.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use harness::{Ami, Going, Line, Traffic, Version, until};

use crate::complaints::{self, Begun, Complaints};
use crate::desk::Desk;
use crate::fault::Fault;
use crate::flood::Flood;
use crate::footprint::Footprint;
use crate::journal::Journal;
use crate::ledger::{self, Account, Ledger};
use crate::rig::{BEHIND, MARGIN, Rig};
use crate::schedule::{Schedule, Step};
use crate::verdict::{self, Verdict};
use crate::witness;
use harness::Interruption;

/// Between two looks at the clock.
const NAP: Duration = Duration::from_millis(20);
/// For descriptors and threads to go that have nothing to do any more.
const BOUND: Duration = Duration::from_secs(30);
/// What may be added to the resident memory, in KiB: a leak of a tenth of a MiB for each call is seen, and one of a kibibyte in a
/// night. Less would judge PJSIP, which keeps pools for what was busiest: they came to between 25 and 105 MiB in runs of a minute and
/// a half, when the module's own heap was 6 MiB (by a count of what each library had allocated and not freed).
const GROWTH: u64 = 256 * 1024;
/// How many different breaches are shown.
const SHOWN: usize = 12;

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// For how long faults come.
    pub(crate) length: Duration,
    /// What everything is drawn from.
    pub(crate) seed: u64,
    /// Calls of sipp's in a second.
    pub(crate) rate: f64,
    /// File systems can be mounted.
    pub(crate) own_disks: bool,
}

/// What goes on in one life of Asterisk's.
struct Life {
    talks: Vec<Line>,
    going: Going,
}

/// What was counted over all lives.
#[derive(Default)]
struct Counted {
    begun: u64,
    well: u64,
    cut: u64,
    failed: u64,
    errors: String,
    kills: usize,
    floods: u64,
}

/// Plays one run, and judges it.
pub(crate) fn play(version: Version, wanted: Wanted, interruption: &Interruption) -> Result<()> {
    println!(
        "Asterisk {version}, seed {}, {:.1} minutes of faults at {} calls a second",
        wanted.seed,
        wanted.length.as_secs_f64() / 60.0,
        wanted.rate
    );
    let mut rig = Rig::set_up(version, wanted.own_disks, &[])?;
    let played = run(&mut rig, wanted, interruption);
    played.with_context(|| {
        let log = rig.stage.asterisk.log();
        let lines: Vec<&str> = log.lines().collect();
        let console = rig.stage.asterisk.console();
        format!(
            "Asterisk {version} wrote last:\n{}\n{}\nThe sandbox complained: {}\nSEED={} makes the same faults again",
            lines[lines.len().saturating_sub(40)..].join("\n"),
            console.lines().rev().take(10).collect::<Vec<_>>().join("\n"),
            rig.stage.crm.complaints(),
            wanted.seed
        )
    })
}

fn run(rig: &mut Rig, wanted: Wanted, interruption: &Interruption) -> Result<()> {
    let schedule = Schedule::draw(wanted.seed, wanted.length, &rig.faults());
    rig.start()?;
    let desk = Desk::open(&rig.stage.asterisk, &rig.stage.crm.page())?;
    desk.greet(&rig.stage.asterisk)?;
    let ledger = Ledger::default();
    let over = AtomicBool::new(false);
    let manager = rig.stage.asterisk.ami_address();
    let (mut counted, mut begun) = (Counted::default(), Vec::new());
    let mut baseline = Footprint::trimmed(&rig.stage.asterisk)?;
    thread::scope(|scope| {
        scope.spawn(|| ledger.write(manager, &over));
        scope.spawn(|| desk.work(wanted.seed, &over));
        scope.spawn(|| disturb(wanted, manager, &over));
        let steps = Steps {
            wanted,
            schedule: &schedule,
            desk: &desk,
            ledger: &ledger,
            interruption,
        };
        let played = steps.play(rig, &mut counted, &mut begun, &mut baseline);
        over.store(true, Ordering::Release);
        played
    })?;
    rig.settle()?;
    rig.lost_nothing()?;
    rig.follows_no_more();
    judge(rig, &desk, &ledger, &counted, &begun, &baseline)
}

/// Transfers and cuts calls, over all lives.
fn disturb(wanted: Wanted, manager: std::net::SocketAddr, over: &AtomicBool) {
    let traffic = Traffic::new(1, wanted.rate).seed(wanted.seed);
    while !over.load(Ordering::Acquire) {
        if let Ok(ami) = Ami::connect(manager) {
            // It ends with Asterisk's life, and goes on in the next.
            let _ = traffic.disturb(ami, over, Desk::has);
        }
        thread::sleep(10 * NAP);
    }
}

struct Steps<'a> {
    wanted: Wanted,
    schedule: &'a Schedule,
    desk: &'a Desk,
    ledger: &'a Ledger,
    interruption: &'a Interruption,
}

impl Steps<'_> {
    fn play(
        &self,
        rig: &mut Rig,
        counted: &mut Counted,
        begun: &mut Vec<Begun>,
        baseline: &mut Footprint,
    ) -> Result<()> {
        let mut life = self.begin_life(rig, 0)?;
        let mut flood = None;
        let start = Instant::now();
        for (at, step) in self.schedule.steps() {
            while start.elapsed() < at {
                self.interruption.check()?;
                ensure!(rig.stage.asterisk.is_running(), "Asterisk has ended by itself");
                thread::sleep(NAP);
            }
            let (number, begins) = match step {
                Step::Begin(number) => (number, true),
                Step::End(number) => (number, false),
            };
            let fault = self.schedule.planned()[number].fault;
            println!(
                "  {:>6.1} s  {} {fault}",
                start.elapsed().as_secs_f64(),
                if begins { "+" } else { "-" }
            );
            if begins {
                begun.push((fault, rig.stage.asterisk.log().len()));
            }
            let around = || {
                format!(
                    "{} {fault}",
                    if begins {
                        "at the beginning of"
                    } else {
                        "at the end of"
                    }
                )
            };
            let done = match (fault, begins) {
                (Fault::Kill, _) => {
                    life = self.kill(rig, life, counted, baseline).with_context(around)?;
                    Ok(())
                }
                (Fault::Flood, true) => {
                    flood = Some(Flood::begin(rig.stage.asterisk.http(), self.wanted.seed));
                    Ok(())
                }
                (Fault::Flood, false) => {
                    counted.floods += flood.take().map_or(0, Flood::end);
                    Ok(())
                }
                (_, true) => rig.begin(fault),
                (_, false) => rig.end(fault),
            };
            done.with_context(around)?;
        }
        while start.elapsed() < self.wanted.length {
            self.interruption.check()?;
            thread::sleep(NAP);
        }
        self.desk.still_talk(&life.talks)?;
        println!("  {:>6.1} s  quiet", start.elapsed().as_secs_f64());
        let went = life.going.end()?;
        self.desk.still_talk(&life.talks)?;
        Desk::farewell(&life.talks)?;
        counted.begun += went.begun;
        counted.well += went.well;
        counted.failed += went.failed;
        counted.errors += &went.errors;
        Ok(())
    }

    fn begin_life(&self, rig: &Rig, number: usize) -> Result<Life> {
        self.desk.tidy()?;
        let asterisk = &rig.stage.asterisk;
        let count = (2.0 * self.wanted.rate * self.wanted.length.as_secs_f64()).ceil() + 100.0;
        let traffic = Traffic::new(count as u32, self.wanted.rate).seed(self.wanted.seed + number as u64);
        Ok(Life {
            going: traffic.begin(asterisk)?,
            talks: self.desk.talks()?,
        })
    }

    /// SIGKILL, and a new start with new calls. Those that were going on are cut by us.
    fn kill(
        &self,
        rig: &mut Rig,
        life: Life,
        counted: &mut Counted,
        baseline: &mut Footprint,
    ) -> Result<Life> {
        self.desk.still_talk(&life.talks)?;
        rig.lost_nothing()?;
        rig.follows_no_more();
        // What has happened up to here has to survive.
        thread::sleep(BEHIND);
        let went = life.going.went();
        let moment = Instant::now();
        rig.kill()?;
        self.ledger.killed(moment, MARGIN);
        counted.kills += 1;
        counted.begun += went.begun;
        counted.well += went.well;
        counted.failed += went.failed;
        counted.cut += went.begun - went.well - went.failed;
        counted.errors += &went.errors;
        // Who calls is gone before the next Asterisk could hear of an old call.
        drop(life);
        rig.start()?;
        *baseline = Footprint::trimmed(&rig.stage.asterisk)?;
        self.begin_life(rig, counted.kills)
    }
}

fn judge(
    rig: &mut Rig,
    desk: &Desk,
    ledger: &Ledger,
    counted: &Counted,
    begun: &[Begun],
    baseline: &Footprint,
) -> Result<()> {
    let journal = Journal::read(&rig.stage.crm.log_path())?;
    let verdict = verdict::judge(
        journal
            .requests
            .iter()
            .filter(|request| !ledger::is_ours(request)),
        &rig.excuses,
    );
    let account = ledger.judge(&journal.requests, &rig.excuses);
    let seen = witness::read(&witness::log_of(&rig.stage.asterisk))?;
    let told: BTreeSet<&str> = journal
        .requests
        .iter()
        .map(|request| request.callid.as_str())
        .collect();
    let (due, untold) = witness::untold(&seen, &rig.lives, &told);
    let log = rig.stage.asterisk.log();
    let complaints = complaints::read(&log, begun);
    let left = log
        .matches("A recording is left as it is and gets no link")
        .count();
    let open = rig.stage.crm.get("/_sandbox/violations")?["open_popups"]
        .as_array()
        .map_or(0, Vec::len);
    // What is only made when it is needed is gone after an unload, as at the start.
    rig.unload()?;
    rig.load()?;
    let mut after = Footprint::trimmed(&rig.stage.asterisk)?;
    let footprint = until("descriptors and threads to be as they were", BOUND, || {
        after = Footprint::of(&rig.stage.asterisk)?;
        Ok(after.more_than(baseline).is_empty().then_some(()))
    });
    print!(
        "{}",
        report(
            &verdict,
            &account,
            counted,
            desk.counts(),
            (due, untold.len()),
            &complaints
        )
    );
    println!("  contacts     {} lookups of callers answered", journal.contacts);
    println!("  footprint    {baseline}; now {after}");
    for (source, (count, example)) in &complaints.foreign {
        println!("  Asterisk's   {count} errors in {source}: {example}");
    }

    let mut wrong: Vec<String> = Vec::new();
    let mut find = |what: &str, found: &[String]| {
        if !found.is_empty() {
            let shown: Vec<&str> = found.iter().take(SHOWN).map(String::as_str).collect();
            wrong.push(format!("{what} ({}):\n    {}", found.len(), shown.join("\n    ")));
        }
    };
    find("told wrongly", &verdict.breaches);
    find("requests against the protocol", &journal.refused);
    find("events that were accepted one by one", &account.breaches);
    let untold: Vec<String> = untold.into_iter().map(str::to_owned).collect();
    find("calls of which the CRM was told nothing", &untold);
    find("errors without a reason", &complaints.unexplained);
    if verdict.unlinked.len() > left {
        find(
            "recordings that were promised and did not come",
            &verdict.unlinked,
        );
    }
    if open > 0 {
        find("cards that the CRM still shows", &[open.to_string()]);
    }
    if counted.failed > after_the_end(&counted.errors) {
        let errors: Vec<String> = counted.errors.lines().map(str::to_owned).collect();
        find("calls that failed by SIP", &errors);
    }
    if let Err(error) = footprint {
        find(&format!("{error:#}"), &after.more_than(baseline));
    }
    if after.memory > baseline.memory + GROWTH {
        let (before, after) = (baseline.memory, after.memory);
        find("memory", &[format!("{before} KiB became {after}")]);
    }
    for (what, token) in [
        ("token", rig.stage.crm.token()),
        ("pbx_token", rig.stage.crm.pbx_token()),
    ] {
        if log.contains(token) {
            find("the log holds a key", &[what.to_owned()]);
        }
    }
    if log.contains("panic") {
        let lines = log
            .lines()
            .filter(|line| line.contains("panic"))
            .map(str::to_owned);
        find("panics", &lines.collect::<Vec<_>>());
    }
    // A verdict on nothing is none.
    let told = [verdict.closed, account.due, due].map(|count| count as u64);
    let least: Vec<u64> = told
        .into_iter()
        .chain([counted.well])
        .chain(desk.counts())
        .collect();
    if least.contains(&0) {
        find("too little went on for a verdict", &[format!("{least:?}")]);
    }
    keep(rig, &log, !wrong.is_empty())?;
    if wrong.is_empty() {
        println!("  all is as it should be\n");
        return Ok(());
    }
    bail!("{}", wrong.join("\n"))
}

/// How many calls sipp gave up when they were over: an answer to its BYE came at a moment for which its scenario has none.
fn after_the_end(errors: &str) -> u64 {
    let given_up = errors.split("Aborting call on unexpected message").skip(1);
    let answered = given_up.filter(|message| {
        let head = message.lines().take_while(|line| !line.trim().is_empty());
        let mut lines = head.map(str::trim);
        let is_well = lines
            .next()
            .is_some_and(|first| first.ends_with("received 'SIP/2.0 200 OK"));
        is_well && lines.any(|line| line.starts_with("CSeq:") && line.ends_with("BYE"))
    });
    answered.count() as u64
}

/// Keeps the logs of a run, where the environment names a folder for them.
fn keep(rig: &Rig, log: &str, failed: bool) -> Result<()> {
    let Some(folder) = std::env::var_os("CHAOS_KEEP").filter(|_| failed) else {
        return Ok(());
    };
    let folder = std::path::PathBuf::from(folder);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("asterisk.log"), log)?;
    fs::copy(rig.stage.crm.log_path(), folder.join("crm.jsonl"))?;
    fs::copy(witness::log_of(&rig.stage.asterisk), folder.join("cel.csv"))?;
    println!("  logs         in {}", folder.display());
    Ok(())
}

fn report(
    verdict: &Verdict,
    account: &Account,
    counted: &Counted,
    [recorded, transferred, clicked, greeted]: [u64; 4],
    (due, untold): (usize, usize),
    complaints: &Complaints,
) -> String {
    let mut text = String::new();
    let rows = [
        (
            "calls",
            format!(
                "{} begun by sipp, {} went well, {} cut by {} kills, {} failed; {} requests in floods",
                counted.begun, counted.well, counted.cut, counted.kills, counted.failed, counted.floods
            ),
        ),
        (
            "phones",
            format!(
                "{recorded} recorded calls, {transferred} transfers, {clicked} clicks and {greeted} greetings went well"
            ),
        ),
        (
            "told",
            format!(
                "{} calls, {} cards opened and {} closed, {} links; {} requests repeated, each with a reason",
                verdict.calls, verdict.opened, verdict.closed, verdict.links, verdict.repeated
            ),
        ),
        (
            "witnessed",
            format!("{due} calls of Asterisk's own log had to be told, {untold} were not"),
        ),
        (
            "one by one",
            format!(
                "{} events accepted and due, {} refused while the module was away",
                account.due, account.refused
            ),
        ),
        (
            "recordings",
            format!("{} promised and without a link", verdict.unlinked.len()),
        ),
        (
            "errors",
            format!(
                "{} explained by faults, {} not",
                complaints.explained,
                complaints.unexplained.len()
            ),
        ),
    ];
    for (what, figures) in rows {
        let _ = writeln!(text, "  {what:<12} {figures}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::after_the_end;

    #[test]
    fn a_call_that_is_over_was_not_dropped() {
        let of = |answer: &str, method: &str| {
            format!(
                "2026-11-22\t01:08:45\t1.3: Aborting call on unexpected message for Call-Id '299@127.0.0.2': while sending (index 28), \
                 received 'SIP/2.0 {answer}\r\nCall-ID: 299@127.0.0.2\r\nCSeq: 2 {method}\r\nContent-Length:  0\r\n\r\n'"
            )
        };
        let over = of("200 OK", "BYE");
        assert_eq!(after_the_end(&over), 1);
        assert_eq!(after_the_end(&format!("{over}{over}")), 2);
        assert_eq!(after_the_end(&of("200 OK", "INVITE")), 0);
        assert_eq!(after_the_end(&of("503 Service Unavailable", "BYE")), 0);
        assert_eq!(after_the_end(""), 0);
    }
}
