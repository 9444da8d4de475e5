//! SIGKILL at random moments under load: what was accepted more than 10 ms earlier arrives, in order within its call.
//!
//! The 10 ms are those of a machine that runs. A thread beside the load does what the module must do, wake and write to
//! the same file system, and what it is late by is added: a virtual machine that is not given its processor for 20 ms
//! says nothing about the module.

use std::collections::{HashMap, HashSet};
use std::env;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::{Ami, Asterisk, Sandbox, Stage, Version, event, field, is_taken_in, on_both, until};
use serde_json::Value;

on_both! {
    nothing_that_was_accepted_is_lost_when_asterisk_is_killed,
}

const KILLS: usize = 30;
/// Events that must not be lost, for a verdict. A machine that is held up tells few in the time between two kills, so
/// there are more kills then, up to this many.
const ENOUGH: usize = 10 * KILLS;
const MOST_KILLS: usize = 10 * KILLS;
const BOUND: Duration = Duration::from_secs(30);
/// Twenty events a second.
const PACE: Duration = Duration::from_millis(50);
/// An accepted event is in the spool after so long, at the latest.
const COMMITTED: Duration = Duration::from_millis(10);
/// How often the yardstick wakes and writes.
const TICK: Duration = Duration::from_millis(1);
/// Its lateness counts for so long before a kill.
const MEASURED: Duration = Duration::from_millis(200);
/// One Asterisk at a time: two that are killed and started side by side would measure each other.
static ALONE: Mutex<()> = Mutex::new(());
/// Calls at the same time.
const CALLS: usize = 3;
/// What happens in each of them, in this order. Every line is another event to the CRM.
const STEPS: [&str; 6] = [
    "INCOMING,79101234567,101,{}",
    "INCOMING,79101234567,102,{}",
    "ACCEPTED,79101234567,102,{}",
    "COMPLETED,79101234567,101,{},,0,Cancelled",
    "COMPLETED,79101234567,102,{},,7,ANSWERED,is_recorded=1",
    "RECORD,,,{},https://pbx.example.com/{}.wav",
];
/// What may be the matter with the CRM when Asterisk is killed.
const WEATHER: [Option<&str>; 5] = [None, None, Some("status=503"), Some("refuse"), Some("hang")];

/// Which of the steps a request tells of.
fn step(entry: &Value) -> Option<usize> {
    let told = [field(entry, "event"), field(entry, "ext")];
    Some(match (field(entry, "cmd"), told) {
        ("record", _) => 5,
        (_, ["INCOMING", "101"]) => 0,
        (_, ["INCOMING", "102"]) => 1,
        (_, ["ACCEPTED", "102"]) => 2,
        (_, ["COMPLETED", "101"]) => 3,
        (_, ["COMPLETED", "102"]) => 4,
        _ => return None,
    })
}

/// The end of a call that nobody told: the next Asterisk closes the cards that the killed one left open.
fn is_closing(entry: &Value) -> bool {
    field(entry, "event") == "COMPLETED"
        && field(entry, "is_recorded") == "0"
        && ["Missed", "Success"].contains(&field(entry, "status"))
}

/// Every card that was shown before the last kill is closed, by whomever. Returns how many by the module itself.
fn closed(log: &[Value], last_kill: usize) -> Result<usize> {
    let card = |entry: &Value| [field(entry, "callid"), field(entry, "ext")].map(str::to_owned);
    let told = |what: &str, entry: &Value| is_taken_in(entry) && field(entry, "event") == what;
    let closed: HashSet<_> = log
        .iter()
        .filter(|entry| told("COMPLETED", entry))
        .map(card)
        .collect();
    for entry in log[..last_kill].iter().filter(|entry| told("INCOMING", entry)) {
        ensure!(closed.contains(&card(entry)), "never closed: {entry}");
    }
    Ok(log
        .iter()
        .filter(|entry| is_taken_in(entry) && is_closing(entry))
        .count())
}

/// A call and the moments at which the answer QUEUED to each of its events had come; `None` where the answer never came.
struct Call {
    name: String,
    accepted: Vec<Option<Instant>>,
    /// Those of which the answer came long enough before a kill, or that no kill followed.
    due: Vec<bool>,
}

/// The load: calls that go on over all kills, and new ones when they have ended.
struct Load {
    random: fastrand::Rng,
    calls: Vec<Call>,
    open: Vec<usize>,
}

impl Load {
    fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            calls: Vec::new(),
            open: Vec::new(),
        }
    }

    /// Tells events until Asterisk is gone.
    fn run(&mut self, ami: &mut Ami) -> Result<()> {
        let mut next = Instant::now();
        loop {
            while self.open.len() < CALLS {
                self.open.push(self.calls.len());
                self.calls.push(Call {
                    name: format!("kill.{}", self.calls.len()),
                    accepted: Vec::new(),
                    due: Vec::new(),
                });
            }
            let at = self.random.usize(..self.open.len());
            let call = &mut self.calls[self.open[at]];
            let arguments = STEPS[call.accepted.len()].replace("{}", &call.name);
            let answer = event(ami, &arguments);
            call.accepted.push(answer.is_ok().then(Instant::now));
            if call.accepted.len() == STEPS.len() {
                self.open.swap_remove(at);
            }
            match answer {
                Err(_) => return Ok(()),
                Ok(answer) => ensure!(answer == "QUEUED", "{arguments} is {answer}"),
            }
            next += PACE;
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }

    /// After a kill at this moment: which events must not be lost.
    fn killed(&mut self, moment: Instant, late: Duration) {
        for call in &mut self.calls {
            for index in call.due.len()..call.accepted.len() {
                let due = call.accepted[index].is_some_and(|accepted| accepted + COMMITTED + late < moment);
                call.due.push(due);
            }
        }
    }

    fn due(&self) -> usize {
        self.calls
            .iter()
            .flat_map(|call| &call.due)
            .filter(|due| **due)
            .count()
    }

    fn count(&self) -> usize {
        self.calls.iter().map(|call| call.accepted.len()).sum()
    }
}

/// The requests of one call as places in the CRM's log, with the steps that they tell of.
type Told = Vec<(usize, usize)>;

/// Every due event has come; the first coming of each is in order; one comes again only after a kill, and then what
/// follows is in order again. `kills` are the lengths that the CRM's log had after each kill.
fn judge(call: &Call, told: &Told, kills: &[usize]) -> Result<usize> {
    for (step, due) in call.due.iter().enumerate() {
        ensure!(
            !due || told.iter().any(|(_, other)| *other == step),
            "{}: step {step} was accepted in time and is lost; {told:?} came",
            call.name
        );
    }
    let mut furthest = None;
    let mut repeated = 0;
    for (index, (place, step)) in told.iter().enumerate() {
        let again = told[..index].iter().any(|(_, other)| other == step);
        ensure!(
            again || furthest.is_none_or(|furthest| *step > furthest),
            "{}: step {step} came for the first time after a later one: {told:?}",
            call.name
        );
        furthest = furthest.max(Some(*step));
        repeated += usize::from(again);
        if let Some((before, previous)) = index.checked_sub(1).map(|before| told[before])
            && *step <= previous
        {
            ensure!(
                kills.iter().any(|kill| (before + 1..=*place).contains(kill)),
                "{}: step {step} came after step {previous} without a kill in between: {told:?}",
                call.name
            );
        }
    }
    Ok(repeated)
}

/// Wakes and writes to this folder's file system until `over`; returns by how much it was late, and when.
fn yardstick(folder: &Path, over: &AtomicBool) -> Result<Vec<(Instant, Duration)>> {
    let mut file = File::create(folder.join("yardstick"))?;
    let mut late = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let begin = Instant::now();
        thread::sleep(TICK);
        file.write_all(&[0; 4_096])?;
        let lateness = begin.elapsed().saturating_sub(2 * TICK);
        if !lateness.is_zero() {
            late.push((Instant::now(), lateness));
        }
    }
    Ok(late)
}

/// The length of the CRM's log, when it has read what was on its way at the kill.
fn heard(crm: &Sandbox) -> Result<usize> {
    let mut last = None;
    until("the CRM to have read everything", BOUND, || {
        let length = crm.log()?.len();
        Ok((last.replace(length) == Some(length)).then_some(length))
    })
}

/// Lets the load run for a random time and kills Asterisk.
fn round(asterisk: &mut Asterisk, load: &mut Load) -> Result<()> {
    let mut ami = asterisk.ami()?;
    let life = Duration::from_micros(load.random.u64(100_000..1_100_000));
    let folder = asterisk.scratch().to_owned();
    let over = AtomicBool::new(false);
    let (moment, told, late) = thread::scope(|scope| {
        let telling = scope.spawn(|| load.run(&mut ami));
        let measuring = scope.spawn(|| yardstick(&folder, &over));
        // The moment of the kill is what is random here; nothing is waited for.
        thread::sleep(life);
        let moment = Instant::now();
        asterisk.kill9();
        over.store(true, Ordering::Relaxed);
        (moment, telling.join(), measuring.join())
    });
    told.map_err(|_| anyhow::anyhow!("the load panicked"))??;
    let late = late.map_err(|_| anyhow::anyhow!("the yardstick panicked"))??;
    let late = late
        .iter()
        .filter(|(at, _)| *at + MEASURED > moment)
        .map(|(_, lateness)| *lateness)
        .sum();
    load.killed(moment, late);
    Ok(())
}

fn nothing_that_was_accepted_is_lost_when_asterisk_is_killed(version: Version) -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let seed = match env::var("RES_PLANFIX_SEED") {
        Ok(text) => text.parse().context("RES_PLANFIX_SEED is no number")?,
        Err(_) => fastrand::u64(..),
    };
    println!("RES_PLANFIX_SEED={seed} makes the same again");
    // An answer that comes later than it may is asked for again, which would look like a repetition without a kill.
    let plan = Stage::plan(version)
        .calls("stale_popup = 86400")
        .delivery("retry_max = 1\nresponse_timeout = 60\nconnect_timeout = 60");
    plan.play(|stage| {
        let mut load = Load::new(seed);
        let mut kills = Vec::new();
        while kills.len() < KILLS || (load.due() < ENOUGH && kills.len() < MOST_KILLS) {
            let number = kills.len();
            if let Some(fault) = WEATHER[load.random.usize(..WEATHER.len())] {
                stage.crm.fault(fault)?;
            }
            round(&mut stage.asterisk, &mut load).with_context(|| format!("kill {number}"))?;
            stage.crm.clear_faults()?;
            kills.push(heard(&stage.crm)?);
            stage.asterisk.start()?;
        }
        stage.drained()?;
        let failed = stage.asterisk.cli("planfix show failed")?;
        ensure!(failed.contains("Nothing has failed"), "{failed}");

        let log = stage.crm.log()?;
        let closed = closed(&log, kills.last().copied().unwrap_or_default())?;
        let mut told: HashMap<String, Told> = HashMap::new();
        let events = log.iter().enumerate();
        for (place, entry) in events.filter(|(_, entry)| is_taken_in(entry) && !is_closing(entry)) {
            let step = step(entry).with_context(|| format!("nobody told of {entry}"))?;
            told.entry(field(entry, "callid").to_owned()).or_default().push((place, step));
        }
        let mut repeated = 0;
        for call in &load.calls {
            let told = told.remove(&call.name).unwrap_or_default();
            repeated += judge(call, &told, &kills)?;
        }
        ensure!(told.is_empty(), "nobody told of {told:?}");
        println!(
            "{version}: {} kills, {} events, {} of them accepted more than 10 ms before a kill and none of those lost, \
             {repeated} repeated, {closed} cards closed after a kill",
            kills.len(),
            load.count(),
            load.due()
        );
        ensure!(load.due() >= ENOUGH, "too few events for a verdict");
        Ok(())
    })
}
