//! The story: the CRM goes, three days pass, the CRM is back.
//!
//! Invariant: everything that is told is waited for where the next step depends on it; nothing is waited for without a bound.

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use harness::{Ami, Interruption, Stage, Version, workspace_root};
use rusqlite::{Connection, OpenFlags};

use crate::backlog::{self, EVENTS_EACH, LASTING_EACH, Teller};
use crate::clock::Clock;
use crate::latency::Latency;
use crate::ledger::Ledger;
use crate::live::{Call, Live};
use crate::machine;
use crate::prober::{self, Answer, Prober};
use crate::report::Report;
use crate::watch::{Phase, Watch, waiting};

pub(crate) const MILLION: u64 = 1_000_000;
pub(crate) const RATE: u32 = 1_000;
/// `stale_popup`, as it is without a word in planfix.conf.
const STALE: Duration = Duration::from_secs(60);
/// For so long calls come in one by one before the CRM is back: no card of them is stale by then.
const RECENT: Duration = Duration::from_secs(40);
/// Calls that ring when the CRM comes back, and for how long they have rung then.
const RINGING: usize = 20;
const RUNG: Duration = Duration::from_secs(10);
/// For how long everything is looked at before the CRM goes.
const BEFORE: Duration = Duration::from_secs(10);
/// Requests of live calls that may wait when the backlog is said to be delivered.
const AFEW: u64 = 8;
/// `keep_delivered` and a day.
const FORGOTTEN: i64 = 8;
/// Part of the events that is told again, when the first ones are forgotten.
const AGAIN: u64 = 20;

const STEP: Duration = Duration::from_millis(10);
const LONG: Duration = Duration::from_secs(3_600);
const SOON: Duration = Duration::from_secs(120);

/// The calls that rang go on together.
const LIVE_A_SECOND: u64 = 1 + RINGING as u64;

/// What is judged.
const ANSWER: Duration = Duration::from_millis(100);
const SHOWN: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) events: u64,
    pub(crate) rate: u32,
    pub(crate) version: Version,
}

impl Wanted {
    /// In whole batches on each day.
    fn calls(self) -> u64 {
        3 * backlog::whole((self.events / EVENTS_EACH).div_ceil(3))
    }

    fn command(self) -> String {
        let mut command = "make siege".to_owned();
        if self.events != MILLION {
            command.push_str(&format!(" EVENTS={}", self.events));
        }
        if self.rate != RATE {
            command.push_str(&format!(" RATE={}", self.rate));
        }
        if self.version != Version::V22 {
            command.push_str(&format!(" VERSION={}", self.version));
        }
        command
    }
}

struct Run<'a> {
    stage: &'a mut Stage,
    clock: &'a Clock,
    interruption: &'a Interruption,
    ami: Ami,
    watch: Watch,
    live: Live,
    /// Whether calls are told one by one besides.
    calls: bool,
    report: Report,
}

/// Moments that the verdict needs.
struct Moments {
    prober: Instant,
    gone: Instant,
    back: Instant,
    drained: Instant,
}

pub(crate) fn play(wanted: Wanted, interruption: &Interruption) -> Result<()> {
    let clock = Clock::build()?;
    let mut stage = Stage::plan(wanted.version)
        .crm("--log-flush=100")
        .crm("--keep=10000")
        // A card that was not shown is closed nevertheless, so that the call is known.
        .crm("--allow=completed-not-shown")
        .crm("--allow=success-not-accepted")
        .delivery(&format!("backlog_rate = {}", wanted.rate))
        .asterisk(|builder| clock.give(builder.load("planfix_probe.so")).verbose(0).debug(0))
        .prepare()?;
    backlog::install(&stage, wanted.version)?;
    stage.asterisk.start()?;
    stage.at_work()?;
    let about = machine::describe(&stage, &wanted.command())?;
    println!("{about}");
    let mut report = Report::default();
    stage.play(|stage| {
        report = run(wanted, stage, &clock, interruption)?;
        Ok(())
    })?;
    println!("{report}");
    let missed = report.missed();
    if wanted.events == MILLION && wanted.rate == RATE && wanted.version == Version::V22 {
        write_document(&workspace_root().join("docs/outage.md"), &about, &report)?;
    }
    ensure!(missed.is_empty(), "{}", missed.join("\n"));
    Ok(())
}

fn run(wanted: Wanted, stage: &mut Stage, clock: &Clock, interruption: &Interruption) -> Result<Report> {
    let calls = wanted.calls();
    let ami = session(stage)?;
    let mut run = Run {
        stage,
        clock,
        interruption,
        ami,
        watch: Watch::new(),
        live: Live::default(),
        calls: true,
        report: Report::default(),
    };
    let prober = Prober::start(run.stage.crm.url(), run.stage.crm.token())?;
    let began = Instant::now();
    run.pass(BEFORE)?;
    run.live.end(&mut run.ami)?;
    run.calls = false;
    run.stage.drained()?;
    run.say("the CRM goes");
    run.stage.crm.fault("refuse")?;
    let gone = Instant::now();

    run.fill(calls)?;
    run.wait_for_stale()?;

    run.say("the CRM is back");
    run.watch.phase = Phase::Draining;
    run.stage.crm.clear_faults()?;
    let back = Instant::now();
    let drained = run.drain(wanted.events)?;
    let moments = Moments {
        prober: began,
        gone,
        back,
        drained,
    };
    run.reuse(calls)?;
    run.live.end(&mut run.ami)?;
    run.stage.drained()?;
    let answers = prober.end()?;
    run.stage.crm.stop()?;
    run.say("the CRM's log is read");
    let ledger = Ledger::read(&run.stage.crm.log_path(), calls)?;
    run.verdict(wanted, &ledger, &answers, &moments)?;
    Ok(run.report)
}

impl Run<'_> {
    #[expect(clippy::unused_self, reason = "it reads as the others do")]
    fn say(&self, what: &str) {
        println!("- {what}");
    }

    /// One look at everything that is looked at all the time.
    fn round(&mut self) -> Result<()> {
        self.interruption.check()?;
        if self.calls {
            self.live.round(&mut self.ami)?;
        }
        self.watch.round(self.stage, &mut self.ami)
    }

    /// Looks until `look` gives something.
    fn until<T>(
        &mut self,
        what: &str,
        bound: Duration,
        mut look: impl FnMut(&mut Self) -> Result<Option<T>>,
    ) -> Result<T> {
        let begin = Instant::now();
        loop {
            self.round()?;
            if let Some(found) = look(self)? {
                return Ok(found);
            }
            if begin.elapsed() > bound {
                let status = self.ami.command("planfix show status")?;
                bail!("waited {} s in vain for {what}:\n{status}", bound.as_secs());
            }
            std::thread::sleep(STEP);
        }
    }

    /// Lets time go by.
    fn pass(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        self.until("the time to pass", LONG, |_| {
            Ok((Instant::now() >= end).then_some(()))
        })
    }

    /// A third of the calls on each of three days. On the second one Asterisk is killed and started again.
    fn fill(&mut self, calls: u64) -> Result<()> {
        self.watch.phase = Phase::Filling;
        let mut took = Duration::ZERO;
        let mut refusals = 0;
        for day in 0..3_u64 {
            self.clock.set(i64::try_from(day)?)?;
            let [from, to] = [day, day + 1].map(|day| calls / 3 * day);
            let (time, refused) = self.tell(from..to)?;
            took += time;
            refusals += refused;
            self.say(&format!("day {}: {} events are told", day + 1, to * EVENTS_EACH));
            if day == 1 {
                self.kill(to * EVENTS_EACH)?;
            }
        }
        self.clock.set(3)?;
        self.report
            .tell("events told while the CRM was away", calls * EVENTS_EACH);
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = (calls * EVENTS_EACH) as f64 / took.as_secs_f64();
        self.report.tell(
            "time in which one thread told them",
            format!(
                "{:.1} s, {rate:.0} a second; {refusals} were refused at first and told again",
                took.as_secs_f64()
            ),
        );
        Ok(())
    }

    /// Tells calls of the backlog, and looks at everything meanwhile. Returns how long it took, and how often one was refused.
    fn tell(&mut self, calls: Range<u64>) -> Result<(Duration, u64)> {
        let mut teller = Teller::new(self.stage.asterisk.ami()?, self.stage.asterisk.scratch())?;
        let thread = std::thread::Builder::new()
            .name("teller".to_owned())
            .spawn(move || -> Result<(Duration, u64)> { Ok((teller.tell(calls)?, teller.refused)) })?;
        self.until("the calls to be told", LONG, |_| {
            Ok(thread.is_finished().then_some(()))
        })?;
        thread
            .join()
            .map_err(|_| anyhow!("whoever told the calls has panicked"))?
    }

    /// SIGKILL, and a new start with what lies on the disk.
    fn kill(&mut self, told: u64) -> Result<()> {
        let spool = self.stage.asterisk.spool().join("planfix/spool.db");
        let before = self.accepted_before()?;
        self.until("everything to be on the disk", SOON, |_| {
            Ok((last_event(&spool)? >= before + told).then_some(()))
        })?;
        let (_, settled) = counts(&spool)?;
        self.stage.asterisk.kill9();
        let (left, _) = counts(&spool)?;
        self.say(&format!("SIGKILL with {left} events that wait"));
        let begin = Instant::now();
        self.stage.asterisk.start()?;
        let booted = begin.elapsed();
        self.ami = session(self.stage)?;
        self.watch.start_over();
        let found = self.until("the module to know its backlog", SOON, |run| {
            waiting(&mut run.ami)
        })?;
        let knows = begin.elapsed();
        self.report.tell(
            "after a SIGKILL: from the start of Asterisk until the module knew its backlog",
            format!(
                "{:.1} s ({found} events; Asterisk itself had booted after {:.1} s)",
                knows.as_secs_f64(),
                booted.as_secs_f64()
            ),
        );
        // Its chores go on at once, and give up what is stale.
        let (_, settled_now) = counts(&spool)?;
        let kept = left.saturating_sub(settled_now.saturating_sub(settled));
        self.report.judge(
            "what it knew of what was on the disk",
            format!("{found} of {left}"),
            "all, but for what it has given up as stale since",
            found <= left && found >= kept,
        );
        Ok(())
    }

    /// Events that were told before the backlog.
    fn accepted_before(&self) -> Result<u64> {
        Ok(3 * u64::try_from(self.live.over.len())?)
    }

    /// The last card of the backlog becomes stale. Then calls come in one by one, and shortly before the end some that go on
    /// ringing.
    fn wait_for_stale(&mut self) -> Result<()> {
        self.watch.phase = Phase::Waiting;
        self.pass(STALE + Duration::from_secs(5))?;
        self.calls = true;
        self.pass(RECENT - RUNG)?;
        let mut ringing = Live::default();
        for call in 0..RINGING {
            ringing.ring(&mut self.ami, format!("ringing-{call}"))?;
        }
        self.pass(RUNG)?;
        self.live.adopt(ringing);
        Ok(())
    }

    fn drain(&mut self, events: u64) -> Result<Instant> {
        let begin = Instant::now();
        let mut said = u64::MAX;
        self.until("the backlog to be delivered", LONG, |run| {
            let left = waiting(&mut run.ami)?.context("the module does not count")?;
            if left < said.saturating_sub(events / 10) {
                said = left;
                println!("  {left} events wait");
            }
            Ok((left <= AFEW).then_some(()))
        })?;
        let end = Instant::now();
        self.report.tell(
            "time until it had everything, once it was back",
            format!("{:.1} s", (end - begin).as_secs_f64()),
        );
        self.watch.phase = Phase::After;
        Ok(end)
    }

    /// What was delivered long ago is forgotten, and its room is used again.
    fn reuse(&mut self, calls: u64) -> Result<()> {
        let spool = self.stage.asterisk.spool().join("planfix/spool.db");
        let (before, free_before) = room(&spool)?;
        let more = backlog::whole(calls / AGAIN);
        let needed = more * EVENTS_EACH * 2;
        self.clock.set(3 + FORGOTTEN)?;
        let (pending, settled) = counts(&spool)?;
        let goal = (pending + settled).saturating_sub(needed);
        self.until("old events to be forgotten", LONG, |_| {
            let (pending, settled) = counts(&spool)?;
            Ok((pending + settled <= goal).then_some(()))
        })?;
        let freed = room(&spool)?.1.saturating_sub(free_before);
        self.tell(calls..calls + more)?;
        self.until("more events to be delivered", LONG, |run| {
            Ok(waiting(&mut run.ami)?.filter(|left| *left <= AFEW))
        })?;
        let (after, _) = room(&spool)?;
        self.report.judge(
            format!(
                "the file after it; then, when old events are forgotten ({} MiB free), after {} events more",
                mib(freed),
                more * EVENTS_EACH
            ),
            format!("{} MiB; {} MiB", mib(before), mib(after)),
            "its room is used again",
            after <= before,
        );
        Ok(())
    }

    fn verdict(
        &mut self,
        wanted: Wanted,
        ledger: &Ledger,
        answers: &[Answer],
        moments: &Moments,
    ) -> Result<()> {
        let calls = wanted.calls();
        let report = &mut self.report;
        let [once, never, twice] = ledger.arrivals();
        report.judge(
            "ends and recordings of those calls that came once, never, twice",
            format!("{once}, {never}, {twice}"),
            format!("{}, 0, 0", calls * LASTING_EACH),
            once == calls * LASTING_EACH,
        );
        report.judge(
            "recordings that came before the end of their call",
            ledger.disordered,
            "0",
            ledger.disordered == 0,
        );
        report.judge(
            "stale cards of those calls that were shown",
            ledger.stale,
            "0",
            ledger.stale == 0,
        );
        report.judge(
            "requests that the CRM refused",
            ledger.troubles.len(),
            "0",
            ledger.troubles.is_empty(),
        );
        let (most, usual) = ledger.rate();
        // A tenth more may make up for what was not used, and live calls come besides.
        let bound = u64::from(wanted.rate) * 11 / 10 + 3 * LIVE_A_SECOND;
        report.judge(
            format!(
                "requests a second while it was delivered (backlog_rate = {}): p99 of the seconds, most",
                wanted.rate
            ),
            format!("{usual}, {most}, on {} connections", ledger.connections()),
            format!("at most {bound}"),
            most <= bound,
        );

        // The two clocks, from the questions that were answered before the CRM went: an answer never comes before its question.
        let since = |moment: Instant| (moment - moments.prober).as_secs_f64() * 1_000.0;
        let skew = answers
            .iter()
            .filter(|answer| answer.took.is_some())
            .zip(&ledger.pings)
            .filter(|(answer, _)| answer.asked < moments.gone)
            .map(|(answer, arrived)| arrived - since(answer.asked))
            .min_by(f64::total_cmp)
            .context("the other client of the CRM was never answered")?;
        let (first, last) = ledger.span();
        report.tell(
            "from its return until it had the first of it, until the last",
            format!(
                "{:.1} s, {:.1} s",
                (first - skew - since(moments.back)) / 1_000.0,
                (last - skew - since(moments.back)) / 1_000.0
            ),
        );

        let [mut quiet, mut drain] = [Latency::default(), Latency::default()];
        for answer in answers {
            let latency = if answer.asked < moments.gone {
                &mut quiet
            } else if answer.asked > moments.back && answer.asked < moments.drained {
                &mut drain
            } else {
                continue;
            };
            match answer.took {
                Some(took) => latency.add(took),
                None if answer.asked > moments.back => latency.add(prober::BOUND),
                // The last question before it went may meet a closed port.
                None => {}
            }
        }
        report.tell("answers of the CRM to another client before", &quiet);
        report.judge(
            "and while it took the backlog",
            &drain,
            format!("p99 below {} ms", SHOWN.as_millis() / 10),
            drain.percentile(99) < SHOWN / 10,
        );

        let mut late = [Latency::default(), Latency::default()];
        let (mut wrong, mut recent, mut shown) = (Vec::new(), 0, 0);
        let mut ringing = [0, 0];
        for call in &self.live.over {
            let came = ledger.live.get(&call.callid).map_or(&[][..], Vec::as_slice);
            if let Some(complaint) = complaint(call, came) {
                wrong.push(complaint);
            }
            let card = came.first().filter(|(event, _)| event == "INCOMING");
            let rang = call.told[0];
            if call.callid.starts_with("ringing") {
                ringing[0] += usize::from(card.is_some());
                ringing[1] += usize::from(came.len() == 3);
                continue;
            }
            let phase = if rang < moments.gone {
                0
            } else if since(rang) + skew < first {
                recent += 1;
                shown += usize::from(card.is_some());
                continue;
            } else if rang < moments.drained {
                1
            } else {
                // It rang among thousands that were as fresh.
                continue;
            };
            match card {
                Some((_, arrived)) => {
                    let took = (arrived - skew - since(rang)).max(0.0);
                    late[phase].add(Duration::from_secs_f64(took / 1_000.0));
                }
                None => wrong.push(format!("{} was not shown", call.callid)),
            }
        }
        let [before, during] = late;
        report.tell(
            "from PLANFIX_EVENT to the CRM: the card of a new call, before",
            &before,
        );
        report.judge(
            "and while it took the backlog",
            &during,
            format!("p99 below {} s", SHOWN.as_secs()),
            during.percentile(99) < SHOWN,
        );
        report.judge(
            "calls that rang when it came back: shown, and followed to their end",
            format!("{} and {} of {RINGING}", ringing[0], ringing[1]),
            "all",
            ringing == [RINGING, RINGING],
        );
        report.judge(
            format!(
                "cards of the last {} seconds before it answered that were shown",
                RECENT.as_secs()
            ),
            format!("{shown} of {recent}"),
            "all",
            shown == recent,
        );
        report.judge(
            "live calls that were told in another order, or not to their end",
            format!("{} of {}", wrong.len(), self.live.over.len()),
            "0",
            wrong.is_empty(),
        );
        for complaint in wrong.iter().take(10) {
            println!("  {complaint}");
        }

        for phase in Phase::ALL {
            let Some(seen) = self.watch.seen.get(&phase) else {
                continue;
            };
            report.judge(
                format!("`planfix show queue`, {}", phase.name()),
                &seen.own,
                format!("below {} ms", ANSWER.as_millis()),
                seen.own.longest() < ANSWER && seen.unanswered == 0,
            );
            report.tell(
                "- with the time that its thread waited for a processor",
                &seen.manager,
            );
            report.tell("- `core show uptime` beside it", &seen.other_manager);
            report.tell("- by `asterisk -rx`", &seen.console);
            report.tell("- `core show uptime` by `asterisk -rx`", &seen.other_console);
        }
        for phase in Phase::ALL {
            let Some(seen) = self.watch.seen.get(&phase) else {
                continue;
            };
            report.tell(
                format!(
                    "memory of Asterisk, spool's file with its log, at most, {}",
                    phase.name()
                ),
                format!(
                    "{} MiB, {} MiB ({} MiB of it the log)",
                    seen.memory / 1024,
                    mib(seen.file),
                    mib(seen.log)
                ),
            );
        }
        Ok(())
    }
}

/// What is wrong with what came of a call. A card that was not shown is not accepted either; the end comes always.
fn complaint(call: &Call, came: &[(String, f64)]) -> Option<String> {
    let events: Vec<&str> = came.iter().map(|(event, _)| event.as_str()).collect();
    let right: [&[&str]; 2] = [&["INCOMING", "ACCEPTED", "COMPLETED"], &["COMPLETED"]];
    // Shown in time, and accepted too late.
    let accepted_too_late: &[&str] = &["INCOMING", "COMPLETED"];
    let is_right = right.contains(&events.as_slice()) || events == accepted_too_late;
    (!is_right || !call.is_over()).then(|| format!("{}: {events:?}", call.callid))
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1024 * 1024)
}

/// A session that hears of no events: nobody would read them.
fn session(stage: &Stage) -> Result<Ami> {
    let mut ami = stage.asterisk.ami()?;
    ami.action(&[("Action", "Events"), ("EventMask", "off")])?;
    Ok(ami)
}

fn look(spool: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(spool, flags)?;
    db.busy_timeout(Duration::from_secs(5))?;
    Ok(db)
}

fn number(db: &Connection, query: &str) -> Result<u64> {
    Ok(u64::try_from(
        db.query_row(query, [], |row| row.get::<_, i64>(0))?,
    )?)
}

/// The number of the last event that is on the disk. They are numbered from 1 on.
fn last_event(spool: &Path) -> Result<u64> {
    number(&look(spool)?, "SELECT coalesce(max(id), 0) FROM event")
}

/// Events that wait, and that are settled.
fn counts(spool: &Path) -> Result<(u64, u64)> {
    let db = look(spool)?;
    let pending = number(
        &db,
        "SELECT count(*) FROM event INDEXED BY event_pending WHERE state = 0",
    )?;
    Ok((pending, number(&db, "SELECT count(*) FROM event")? - pending))
}

/// Bytes of the database, what is still in the log included, and those of them that are free.
fn room(spool: &Path) -> Result<(u64, u64)> {
    let db = look(spool)?;
    let size = number(&db, "PRAGMA page_size")?;
    let [all, free] = ["PRAGMA page_count", "PRAGMA freelist_count"].map(|query| number(&db, query));
    Ok((all? * size, free? * size))
}

fn write_document(file: &Path, about: &str, report: &Report) -> Result<()> {
    let text = format!("{}\n{about}\n{report}", include_str!("document.md"));
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    println!("The figures are in docs/outage.md.");
    Ok(())
}
