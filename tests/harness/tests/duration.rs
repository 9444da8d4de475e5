//! CALL_DURATION on a real Asterisk: what the CEL table would say, also after a second bridge, from outside, and after
//! the hangup.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use harness::{Ami, Stage, Version, field, on_both, until};

on_both! {
    time_in_bridges_is_summed_and_known_from_outside,
    a_call_that_is_older_than_the_module_counts_from_the_load,
}

const BOUND: Duration = Duration::from_secs(30);

/// The caller dials the same callee twice; each time it rings for half a second and they are bridged for about two. What
/// happens to a channel is told a moment later, so the caller asks again until the time in the bridge is known and over.
const DIALPLAN: &str = "[talk]
exten => caller,1,Answer()
 same => n,Set(GLOBAL(CALLER)=${UNIQUEID})
 same => n,Dial(Local/callee@talk/n,30,g)
 same => n(once),Set(GLOBAL(ONCE)=${CALL_DURATION(,talk_ms)})
 same => n,Wait(0.1)
 same => n,GotoIf($[0${ONCE} = 0 | 0${ONCE} != 0${CALL_DURATION(,talk_ms)}]?once)
 same => n,Set(GLOBAL(DIALS)=${ANSWEREDTIME})
 same => n,Dial(Local/callee@talk/n,30,g)
 same => n(twice),Set(GLOBAL(TWICE)=${CALL_DURATION(,talk_ms)})
 same => n,Wait(0.1)
 same => n,GotoIf($[${TWICE} = ${ONCE} | ${TWICE} != ${CALL_DURATION(,talk_ms)}]?twice)
 same => n,Set(GLOBAL(SECONDS)=${CALL_DURATION()})
 same => n,Set(GLOBAL(RUNG)=${CALL_DURATION(${CALLEE},ring_ms)})
 same => n,Set(GLOBAL(SENT)=${PLANFIX_EVENT(END,79161234567,101,,,,ANSWERED)})
exten => callee,1,Ringing()
 same => n,Wait(0.5)
 same => n,Answer()
 same => n,Set(GLOBAL(CALLEE)=${UNIQUEID})
 same => n,Wait(2)
";

fn number(text: &str) -> Result<u64> {
    text.trim()
        .parse()
        .with_context(|| format!("'{text}' is no number"))
}

fn time_in_bridges_is_summed_and_known_from_outside(version: Version) -> Result<()> {
    Stage::plan(version)
        .crm("--allow")
        .crm("completed-not-shown")
        .crm("--allow")
        .crm("accepted-not-shown")
        .asterisk(|builder| builder.extensions(DIALPLAN))
        .play(|stage| {
            let mut ami = stage.asterisk.ami()?;
            let begin = Instant::now();
            stage
                .asterisk
                .cli("channel originate Local/caller@talk/n application Wait 60")?;
            until("the end of the call", BOUND, || {
                Ok((ami.getvar(None, "SENT")? == "QUEUED").then_some(()))
            })?;
            let whole = begin.elapsed().as_millis();
            let mut global = |name: &str| ami.getvar(None, name);
            let (once, twice) = (number(&global("ONCE")?)?, number(&global("TWICE")?)?);
            // The two sides do not begin at the same moment, which may cost them some of it.
            ensure!(once >= 1_000, "one bridge of about 2 s gave {once} ms");
            ensure!(
                twice >= once + 1_000,
                "after {once} ms the second bridge gave {twice} ms"
            );
            ensure!(
                u128::from(twice) + 1_000 <= whole,
                "{twice} ms of {whole} ms in bridges, although it rang for 1 s"
            );
            ensure!(
                number(&global("SECONDS")?)? == twice / 1_000,
                "whole seconds of {twice} ms"
            );
            ensure!(number(&global("DIALS")?)? >= 1, "Dial() has seen the same");

            let (caller, callee) = (global("CALLER")?, global("CALLEE")?);
            let from_outside = number(&global(&format!("CALL_DURATION({caller},talk_ms)"))?)?;
            ensure!(
                from_outside == twice,
                "{from_outside} ms from outside, {twice} ms inside"
            );
            let rung = number(&global(&format!("CALL_DURATION({callee},ring_ms)"))?)?;
            ensure!(rung >= 400, "the callee rang for {rung} ms");
            let from_caller = number(&global("RUNG")?)?;
            ensure!(
                from_caller == rung,
                "the callee rang for {rung} ms, on the caller's channel for {from_caller} ms"
            );
            let total = number(&global(&format!("CALL_DURATION({callee},total_ms)"))?)?;
            ensure!(
                total >= rung + 1_900,
                "the callee, which is gone, rang for {rung} of {total} ms"
            );
            for (what, milliseconds) in [("ring", rung), ("total", total)] {
                let seconds = number(&global(&format!("CALL_DURATION({callee},{what})"))?)?;
                ensure!(
                    seconds == milliseconds / 1_000,
                    "{what} is {seconds} s and {milliseconds} ms"
                );
            }
            ensure!(
                global("CALL_DURATION(no.such.channel)")?.is_empty(),
                "an unknown channel has no duration"
            );

            let completed = |request: &serde_json::Value| field(request, "event") == "COMPLETED";
            let log = stage
                .crm
                .wait_for("the end", BOUND, |log| log.iter().any(completed))?;
            let told = log
                .iter()
                .find(|request| completed(request))
                .map(|request| field(request, "duration"));
            let told = number(told.unwrap_or_default())?;
            ensure!(told == twice / 1_000, "PLANFIX_EVENT told {told} s of {twice} ms");
            Ok(())
        })
}

const LONG: &str = "[long]
exten => caller,1,Answer()
 same => n,Set(GLOBAL(CALLER)=${UNIQUEID})
 same => n,Dial(Local/callee@long/n,30)
exten => callee,1,Answer()
 same => n,Wait(600)
";

/// Milliseconds since 1970, before and after something was asked for, and the answer.
struct Answer {
    asked: u64,
    told: u64,
    answered: u64,
}

/// What two moments and a duration lose together when they are cut off to whole milliseconds.
const CUT: u64 = 2;

fn now() -> Result<u64> {
    Ok(u64::try_from(
        SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis(),
    )?)
}

fn ask(ami: &mut Ami, expression: &str) -> Result<Answer> {
    let asked = now()?;
    let told = ami.getvar(None, expression)?;
    Ok(Answer {
        asked,
        told: number(&told).with_context(|| expression.to_owned())?,
        answered: now()?,
    })
}

fn a_call_that_is_older_than_the_module_counts_from_the_load(version: Version) -> Result<()> {
    Stage::plan(version)
        .asterisk(|builder| builder.extensions(LONG))
        .play(|stage| {
            let mut ami = stage.asterisk.ami()?;
            let talks = |ami: &mut Ami| {
                until("a call in a bridge", BOUND, || {
                    let caller = ami.getvar(None, "CALLER")?;
                    let told = ami.getvar(None, &format!("CALL_DURATION({caller},talk_ms)"))?;
                    Ok((!caller.is_empty() && number(&told).is_ok_and(|told| told > 0)).then_some(caller))
                })
            };
            stage
                .asterisk
                .cli("channel originate Local/caller@long/n application Wait 600")?;
            let caller = talks(&mut ami)?;
            // Long enough that a count from the beginning would show.
            let talk = format!("CALL_DURATION({caller},talk_ms)");
            until("a second of talk", BOUND, || {
                Ok((ask(&mut ami, &talk)?.told >= 1_000).then_some(()))
            })?;
            let said = stage.asterisk.cli("module unload res_planfix.so")?;
            ensure!(said.contains("Unloaded"), "{said}");
            let load = now()?;
            let said = stage.asterisk.cli("module load res_planfix.so")?;
            ensure!(said.contains("Loaded"), "{said}");
            talks(&mut ami)?;
            let first = ask(&mut ami, &talk)?;
            ensure!(
                first.told <= first.answered - load + CUT,
                "{} ms of talk within {} ms since the load",
                first.told,
                first.answered - load
            );
            let second = ask(&mut ami, &talk)?;
            ensure!(
                second.told + CUT >= first.told + (second.asked - first.answered)
                    && second.told <= first.told + (second.answered - first.asked) + CUT,
                "{} ms of talk became {} ms",
                first.told,
                second.told
            );
            let total = ask(&mut ami, &format!("CALL_DURATION({caller},total_ms)"))?;
            ensure!(
                total.told >= second.told + 1_000,
                "it lived for {} ms, so its creation was forgotten",
                total.told
            );
            Ok(())
        })
}
