//! Unload under load: the module is loaded, reloaded and unloaded again and again during calls, and Asterisk's reference debug
//! tells what was left behind.
//!
//! Invariant: every card that was opened is closed, every event that was accepted arrives, no call is dropped, and neither
//! threads nor descriptors nor references grow with the cycles.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use harness::{Asterisk, Interruption, Traffic, Version, event, until};

use crate::desk::Desk;
use crate::footprint::Footprint;
use crate::journal::Journal;
use crate::references::Left;
use crate::rig::Rig;
use crate::verdict;

/// Calls that begin in a second besides those that go on: few, because reference debug writes down each step of theirs.
const RATE: f64 = 2.0;
/// After these the caches of Asterisk, SQLite and the allocator have their size.
const WARM: usize = 20;
const BOUND: Duration = Duration::from_secs(30);
/// A thread of Asterisk's pools ends when it has had nothing to do for a minute.
const IDLE: Duration = Duration::from_secs(90);
/// What may be added to the resident memory for each cycle, in KiB: less than the touched part of one thread's stack.
const GROWTH: u64 = 4;
/// And for the calls that go on meanwhile: PJSIP's pools alone grew by 22 MiB in 1,500 cycles, when the module's own heap stayed
/// between 5 and 9 MiB (by a count of what each library had allocated and not freed).
const CALLS: u64 = 32 * 1024;
/// Between two looks at the talks that go on.
const LOOK: usize = 50;
const EVENT: &str = "cycle.";

/// Plays so many cycles.
pub(crate) fn play(version: Version, cycles: usize, seed: u64, interruption: &Interruption) -> Result<()> {
    println!("Asterisk {version}: {cycles} cycles of load, reload and unload during calls, seed {seed}");
    let mut rig = Rig::set_up(version, false, &[("MALLOC_ARENA_MAX", "1")])?;
    let file = rig.stage.asterisk.etc().join("asterisk.conf");
    let options = fs::read_to_string(&file)?;
    fs::write(
        &file,
        options.replace("[options]\n", "[options]\nrefdebug = yes\n"),
    )?;
    let ran = run(&mut rig, cycles, seed, interruption);
    ran.with_context(|| {
        let log = rig.stage.asterisk.log();
        let lines: Vec<&str> = log.lines().collect();
        format!(
            "Asterisk {version} wrote last:\n{}",
            lines[lines.len().saturating_sub(40)..].join("\n")
        )
    })
}

fn run(rig: &mut Rig, cycles: usize, seed: u64, interruption: &Interruption) -> Result<()> {
    rig.start()?;
    let desk = Desk::open(&rig.stage.asterisk, &rig.stage.crm.page())?;
    let talks = desk.talks()?;
    let calls = (RATE * 3_600.0) as u32;
    let going = Traffic::new(calls, RATE).seed(seed).begin(&rig.stage.asterisk)?;
    let mut ami = rig.stage.asterisk.ami()?;
    ami.action(&[("Action", "Events"), ("EventMask", "off")])?;
    ami.module("unload", BOUND)?;
    let start = log_length(&rig.stage.asterisk);
    let begin = Instant::now();
    let mut warm = None;
    for number in 0..cycles {
        interruption.check()?;
        let cycle = |ami: &mut harness::Ami| {
            ami.module("load", BOUND)?;
            tell(ami, 2 * number)?;
            ami.module("reload", BOUND)?;
            tell(ami, 2 * number + 1)?;
            ami.module("unload", BOUND)
        };
        cycle(&mut ami).with_context(|| format!("cycle {number}"))?;
        // The kernel lists a thread for a moment after it was joined.
        until("the end of our threads", BOUND, || {
            Ok(Footprint::of(&rig.stage.asterisk)?.ours.is_empty().then_some(()))
        })
        .with_context(|| format!("cycle {number}"))?;
        if number + 1 == WARM.min(cycles) {
            warm = Some(Footprint::trimmed(&rig.stage.asterisk)?);
        }
        if number % LOOK == 0 {
            desk.still_talk(&talks)?;
        }
    }
    let took = begin.elapsed();
    let before = warm.context("no cycle")?;
    desk.still_talk(&talks)?;
    let went = going.end()?;
    ensure!(
        went.failed == 0,
        "{} calls failed by SIP: {}",
        went.failed,
        went.errors
    );
    Desk::farewell(&talks)?;
    ami.module("load", BOUND)?;
    rig.stage.at_work()?;
    // An unload may break an answer off at any moment, and then a request is made again.
    rig.excuses.troubles.push(0..usize::MAX);
    rig.settle()?;
    rig.lost_nothing()?;

    let journal = Journal::read(&rig.stage.crm.log_path())?;
    let (events, calls): (Vec<_>, Vec<_>) = journal
        .requests
        .into_iter()
        .partition(|request| request.callid.starts_with(EVENT));
    let verdict = verdict::judge(calls.iter(), &rig.excuses);
    let mut wrong = verdict.breaches;
    wrong.extend(journal.refused);
    for number in 0..2 * cycles {
        let link = link(number);
        if !events.iter().any(|request| request.link == link) {
            wrong.push(format!("event {number} was accepted and is lost"));
        }
    }
    ami.module("unload", BOUND)?;
    let mut after = Footprint::trimmed(&rig.stage.asterisk)?;
    let same = until("threads and descriptors as they were", IDLE, || {
        after = Footprint::of(&rig.stage.asterisk)?;
        Ok((after.more_than(&before).is_empty() && after.threads <= before.threads).then_some(()))
    });
    println!(
        "  {cycles} cycles in {:.0} s; {} calls begun, {} went well; {} calls told, {} cards opened and {} closed, {} requests \
         repeated\n  footprint    {before}; now {after}",
        took.as_secs_f64(),
        went.begun,
        went.well,
        verdict.calls,
        verdict.opened,
        verdict.closed,
        verdict.repeated
    );
    if same.is_err() {
        wrong.extend(after.more_than(&before));
        if after.threads > before.threads {
            wrong.push(format!("{} threads became {}", before.threads, after.threads));
        }
    }
    if after.memory > before.memory + GROWTH * cycles as u64 + CALLS {
        wrong.push(format!("memory: {} KiB became {}", before.memory, after.memory));
    }
    rig.stage.asterisk.stop_now(BOUND)?;
    wrong.extend(references(rig, cycles, start)?);
    if wrong.is_empty() {
        println!("  all is as it should be\n");
        return Ok(());
    }
    bail!("{}", wrong.join("\n"))
}

fn link(number: usize) -> String {
    format!("https://pbx.example.com/cycle/{number}.wav")
}

fn tell(ami: &mut harness::Ami, number: usize) -> Result<()> {
    let answer = event(ami, &format!("RECORD,,,{EVENT}{},{}", number / 2, link(number)))?;
    ensure!(answer == "QUEUED", "event {number} is {answer}");
    Ok(())
}

fn log_of(asterisk: &Asterisk) -> PathBuf {
    asterisk.scratch().join("log/refs")
}

/// How much reference debug has written; nothing, where this build has none.
fn log_length(asterisk: &Asterisk) -> u64 {
    fs::metadata(log_of(asterisk)).map_or(0, |about| about.len())
}

/// What Asterisk's reference debug says, if this build has it.
fn references(rig: &Rig, cycles: usize, start: u64) -> Result<Vec<String>> {
    let Ok(log) = File::open(log_of(&rig.stage.asterisk)) else {
        println!("  references   this build of Asterisk has no reference debug");
        return Ok(Vec::new());
    };
    let left = Left::read(BufReader::new(log), start)?;
    ensure!(
        left.lines > cycles,
        "reference debug has written {} lines only",
        left.lines
    );
    let count: usize = left.places.values().map(|(count, ..)| count).sum();
    let ours: usize = left.places.values().map(|(.., ours)| ours).sum();
    println!(
        "  references   {} lines; {count} objects of the cycles are left at the end, {ours} of them touched by the module",
        left.lines
    );
    let mut wrong = left.leaks(cycles);
    wrong.extend(left.invalid);
    Ok(wrong)
}
