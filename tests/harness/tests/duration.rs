//! CALL_DURATION on a real Asterisk: what the CEL table would say, also after a second bridge, from outside, and after
//! the hangup.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::{Stage, Version, field, on_both, until};

on_both! {
    time_in_bridges_is_summed_and_known_from_outside,
}

const BOUND: Duration = Duration::from_secs(30);

/// The caller dials the same callee twice; each time they are bridged for about a second.
const DIALPLAN: &str = "[talk]
exten => caller,1,Answer()
 same => n,Set(GLOBAL(CALLER)=${UNIQUEID})
 same => n,Dial(Local/callee@talk/n,10,g)
 same => n,Set(GLOBAL(ONCE)=${CALL_DURATION(,talk_ms)})
 same => n,Set(GLOBAL(DIALS)=${ANSWEREDTIME})
 same => n,Dial(Local/callee@talk/n,10,g)
 same => n,Set(GLOBAL(TWICE)=${CALL_DURATION(,talk_ms)})
 same => n,Set(GLOBAL(SECONDS)=${CALL_DURATION()})
 same => n,Set(GLOBAL(SENT)=${PLANFIX_EVENT(END,79161234567,101,,,,ANSWERED)})
exten => callee,1,Ringing()
 same => n,Wait(0.5)
 same => n,Answer()
 same => n,Set(GLOBAL(CALLEE)=${UNIQUEID})
 same => n,Wait(1.1)
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
            stage
                .asterisk
                .cli("channel originate Local/caller@talk/n application Wait 30")?;
            until("the end of the call", BOUND, || {
                Ok((ami.getvar(None, "SENT")? == "QUEUED").then_some(()))
            })?;
            let mut global = |name: &str| ami.getvar(None, name);
            let (once, twice) = (number(&global("ONCE")?)?, number(&global("TWICE")?)?);
            ensure!(
                (1_050..2_500).contains(&once),
                "one bridge of about 1.1 s gave {once} ms"
            );
            ensure!(
                twice >= once + 1_050 && twice < once + 2_500,
                "after {once} ms the second bridge gave {twice} ms"
            );
            ensure!(
                number(&global("SECONDS")?)? == twice / 1_000,
                "whole seconds of {twice} ms"
            );
            ensure!(number(&global("DIALS")?)? >= 1, "Dial() has seen the same");

            let (caller, callee) = (global("CALLER")?, global("CALLEE")?);
            let from_outside = number(&global(&format!("CALL_DURATION({caller},talk_ms)"))?)?;
            ensure!(
                (twice..twice + 200).contains(&from_outside),
                "{from_outside} ms from outside, {twice} ms inside"
            );
            let rung = number(&global(&format!("CALL_DURATION({callee},ring_ms)"))?)?;
            ensure!((400..1_500).contains(&rung), "the callee rang for {rung} ms");
            let total = number(&global(&format!("CALL_DURATION({callee},total_ms)"))?)?;
            ensure!(total >= 1_550, "the callee, which is gone, lived for {total} ms");
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
