//! A hundred times load, event, reload, unload, while calls are up: no crash, no thread or descriptor left, no memory
//! lost, no call dropped.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::{Ami, Asterisk, Sipp, Stage, Task, Version, event, field, on_both, until};

on_both! {
    a_hundred_cycles_leave_nothing_behind,
}

const CYCLES: usize = 100;
/// After these the caches of Asterisk, SQLite and the allocator have their size.
const WARM: usize = 20;
/// What the rest may add to the resident memory, in KiB. The smallest thing that could be left in each cycle and matter
/// is the touched part of one thread's stack, 12 KiB; the rest of the cycles would make it twice this. A thousand cycles
/// add less than 200 KiB, nearly all of it in the first hundred. With malloc's one arena for all threads, that is: how
/// it spreads what is in use over an arena for each thread would be most of what is measured here otherwise.
const GROWTH: u64 = 480;
const CALLS: u32 = 4;
const BOUND: Duration = Duration::from_secs(30);
/// A thread of Asterisk's pools ends when it has had nothing to do for a minute.
const IDLE: Duration = Duration::from_secs(90);
/// For all cycles together.
const CALL: Duration = Duration::from_secs(900);

/// Lines that stay up until Asterisk is told to hang up. Those on 600 call the function all the time, whether it is there
/// or not: an unload can meet a call of it.
const DIALPLAN: &str = "\
[from-internal]
exten => 101,1,Dial(PJSIP/101,30)
exten => 600,1,Answer()
 same => n,While(1)
 same => n,Wait(0.1)
 same => n,Set(TOLD=${PLANFIX_EVENT(INCOMING,79101234567,102,,diversion=74951234501)})
 same => n,EndWhile()
";

fn channels(ami: &mut Ami) -> Result<usize> {
    Ok(ami.action(&[("Action", "CoreShowChannels")])?.events.len())
}

/// What a process has open, without the numbers by which one differs from the next. Asterisk's own database has its
/// journal open now and then.
fn descriptors(asterisk: &Asterisk) -> Result<BTreeMap<String, usize>> {
    let mut open = BTreeMap::new();
    for path in asterisk.open_fds()? {
        let name = path.to_string_lossy();
        let name = name.split(":[").next().unwrap_or_default();
        if !name.contains("/astdb.") {
            *open.entry(name.to_owned()).or_default() += 1;
        }
    }
    Ok(open)
}

fn ours(threads: &[Task]) -> Vec<&Task> {
    threads
        .iter()
        .filter(|task| task.name.starts_with("planfix"))
        .collect()
}

fn queue(ami: &mut Ami, arguments: &str) -> Result<()> {
    let answer = event(ami, arguments)?;
    ensure!(answer == "QUEUED", "PLANFIX_EVENT({arguments}) is {answer}");
    Ok(())
}

/// One load, event, reload, event, unload. The events reach the CRM in some later cycle at the latest.
fn cycle(ami: &mut Ami, number: usize) -> Result<()> {
    ami.module("load", BOUND)?;
    queue(ami, &format!("INCOMING,79101234567,101,cycle.{number}"))?;
    ami.module("reload", BOUND)?;
    queue(ami, &format!("COMPLETED,79101234567,101,cycle.{number},,0,BUSY"))?;
    ami.module("unload", BOUND)
}

fn a_hundred_cycles_leave_nothing_behind(version: Version) -> Result<()> {
    let plan = Stage::plan(version)
        .calls("stale_popup = 86400")
        .asterisk(|builder| {
            builder
                .phone("101")
                .phone("102")
                .extensions(DIALPLAN)
                .env("MALLOC_ARENA_MAX", "1")
                .verbose(0)
                .debug(0)
        });
    plan.play(|stage| {
        let mut ami = stage.asterisk.ami()?;
        let callee = Sipp::uas_answer(Duration::ZERO)
            .at(stage.asterisk.phone("101"))
            .calls(CALLS)
            .start()?;
        let talk = |to: &str| {
            Sipp::uac_listen("102", to)
                .to(stage.asterisk.sip())
                .calls(CALLS)
                .bound(CALL)
                .start()
        };
        let callers = [talk("101")?, talk("600")?];
        // Each call to 101 has two channels.
        let up = 3 * CALLS as usize;
        until("all calls", BOUND, || {
            Ok((channels(&mut ami)? == up).then_some(()))
        })?;
        ami.module("unload", BOUND)?;

        let mut warm = None;
        for number in 0..CYCLES {
            cycle(&mut ami, number)?;
            // The kernel lists a thread for a moment after it was joined.
            until("the end of our threads", BOUND, || {
                Ok(ours(&stage.asterisk.threads()?).is_empty().then_some(()))
            })
            .with_context(|| format!("cycle {number}: {:?}", stage.asterisk.threads()))?;
            if number + 1 == WARM {
                warm = Some((
                    stage.asterisk.threads()?.len(),
                    descriptors(&stage.asterisk)?,
                    stage.asterisk.rss_kib()?,
                ));
            }
        }
        let (threads, open, memory) = warm.context("the cycles are fewer")?;
        // What Asterisk itself has added to its pools goes again when it idles; what was left behind does not.
        until(&format!("no more than {threads} threads"), IDLE, || {
            Ok((stage.asterisk.threads()?.len() <= threads).then_some(()))
        })
        .with_context(|| format!("{:?}", stage.asterisk.threads()))?;
        until("the same descriptors", IDLE, || {
            Ok((descriptors(&stage.asterisk)? == open).then_some(()))
        })
        .with_context(|| format!("{open:#?} became {:#?}", descriptors(&stage.asterisk)))?;
        let memory_now = stage.asterisk.rss_kib()?;
        println!("{version}: {threads} threads, memory went from {memory} to {memory_now} KiB");
        ensure!(
            memory_now < memory + GROWTH,
            "memory went from {memory} to {memory_now} KiB"
        );

        ensure!(channels(&mut ami)? == up, "calls were dropped");
        stage.asterisk.cli("channel request hangup all")?;
        for run in callers {
            let outcome = run.wait()?.ensure_success()?;
            ensure!(outcome.successful() == u64::from(CALLS), "{outcome:?}");
        }
        callee.wait()?.ensure_success()?;

        // Nothing of all that was lost on the way.
        ami.module("load", BOUND)?;
        stage.at_work()?;
        stage.drained()?;
        let told = stage.crm.log()?;
        for number in 0..CYCLES {
            let callid = format!("cycle.{number}");
            let events: Vec<&str> = told
                .iter()
                .filter(|entry| field(entry, "callid") == callid)
                .map(|entry| field(entry, "event"))
                .collect();
            // A request that an unload has broken off comes again: at least once is the rule.
            let mut first = events.clone();
            first.dedup();
            ensure!(first == ["INCOMING", "COMPLETED"], "cycle {number}: {events:?}");
        }
        Ok(())
    })
}
