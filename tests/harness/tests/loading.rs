//! The module in the hands of Asterisk's loader and of an administrator: load, reload, unload, a configuration that is
//! wrong, an Asterisk that is stopped, a module that was built for another Asterisk.

use std::collections::HashSet;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::{Asterisk, Stage, Version, event, field, flat, is_taken_in, module_path, on_both, until};

on_both! {
    autoload_takes_it_along,
    its_threads_stand_behind_those_of_calls,
    it_is_loaded_unloaded_and_loaded_again_on_command,
    a_missing_or_faulty_file_leaves_it_loaded_and_disabled,
    a_faulty_file_at_a_reload_changes_nothing,
    a_file_that_cannot_be_read_is_not_called_missing,
    a_module_for_another_version_declines,
    it_explains_itself,
    an_asterisk_stops_in_time_whatever_the_crm_does,
    an_asterisk_restarts_in_time_whatever_the_crm_does,
    what_the_calls_say_when_asterisk_stops_is_not_lost,
    what_was_accepted_up_to_the_stop_is_not_lost,
}

const BOUND: Duration = Duration::from_secs(30);
const RELOAD: &str = "module reload res_planfix.so";

fn logs(asterisk: &Asterisk, text: &str) -> Result<()> {
    until(&format!("the log to hold: {text}"), BOUND, || {
        Ok(asterisk.log().contains(text).then_some(()))
    })
}

fn checks(asterisk: &Asterisk, text: &str) -> Result<()> {
    let said = flat(&asterisk.cli("planfix check")?);
    ensure!(said.contains(text), "'planfix check' lacks \"{text}\":\n{said}");
    Ok(())
}

fn is_running(asterisk: &Asterisk) -> Result<bool> {
    let said = asterisk.cli("module show like res_planfix")?;
    Ok(said.lines().any(|line| {
        line.starts_with("res_planfix.so") && !line.contains("Not Running") && line.contains("Running")
    }))
}

fn autoload_takes_it_along(version: Version) -> Result<()> {
    let plan = Stage::plan(version).asterisk(|builder| builder.autoload_except(&[]).load("res_planfix.so"));
    plan.play(|stage| {
        ensure!(is_running(&stage.asterisk)?, "it does not run");
        stage.queue("INCOMING,79101234567,101,autoload.1")?;
        stage.taken_in(1).map(drop)
    })
}

fn its_threads_stand_behind_those_of_calls(version: Version) -> Result<()> {
    let plan = Stage::plan(version).auto();
    plan.play(|stage| {
        // A thread that has just begun has another's name and place for a moment.
        until(
            "threads of the module in their places",
            Duration::from_secs(20),
            || {
                let (ours, others): (Vec<_>, Vec<_>) = stage
                    .asterisk
                    .threads()?
                    .into_iter()
                    .partition(|task| task.name.starts_with("planfix/"));
                let first = others.iter().map(|task| task.nice).max().context("no threads")?;
                // A worker has to do with the CRM alone, and comes last of all.
                let place = |name: &str| match name {
                    "planfix/worker" => (first + 19).min(19),
                    _ => first + 5,
                };
                let are_there = [
                    "planfix/calls",
                    "planfix/spool",
                    "planfix/names",
                    "planfix/worker",
                ]
                .iter()
                .all(|name| ours.iter().any(|task| task.name == *name));
                let in_place = ours.iter().all(|task| task.nice == place(&task.name));
                Ok((are_there && in_place).then_some(()))
            },
        )
    })
}

fn it_is_loaded_unloaded_and_loaded_again_on_command(version: Version) -> Result<()> {
    let plan =
        Stage::plan(version).asterisk(|builder| builder.file("modules.conf", "[modules]\nautoload = no\n"));
    let mut stage = plan.prepare()?;
    stage.asterisk.start()?;
    stage.play(|stage| {
        ensure!(!is_running(&stage.asterisk)?, "it runs before it is loaded");
        for round in 1..=3_usize {
            let said = stage.asterisk.cli("module load res_planfix.so")?;
            ensure!(said.contains("Loaded res_planfix.so"), "{said}");
            stage.at_work()?;
            stage.queue(&format!("INCOMING,79101234567,101,load.{round}"))?;
            let told = stage.taken_in(round)?;
            ensure!(
                field(&told[round - 1], "callid") == format!("load.{round}"),
                "{told:?}"
            );
            let said = stage.asterisk.cli("module unload res_planfix.so")?;
            ensure!(said.contains("Unloaded res_planfix.so"), "{said}");
            ensure!(!is_running(&stage.asterisk)?, "it runs after it was unloaded");
            for command in ["planfix show status", "core show function PLANFIX_EVENT"] {
                let said = stage.asterisk.cli(command)?;
                ensure!(
                    said.contains("No such command") || said.contains("No function by that name"),
                    "{said}"
                );
            }
            // The kernel lists a thread for a moment after it was joined.
            until("the end of our threads", BOUND, || {
                let threads = stage.asterisk.threads()?;
                let gone = threads.iter().all(|task| !task.name.starts_with("planfix"));
                Ok(gone.then_some(()))
            })
            .with_context(|| format!("{:?}", stage.asterisk.threads()))?;
        }
        Ok(())
    })
}

fn a_missing_or_faulty_file_leaves_it_loaded_and_disabled(version: Version) -> Result<()> {
    let mut stage = Stage::plan(version).prepare()?;
    let file = stage.asterisk.etc().join("planfix.conf");
    fs::remove_file(&file)?;
    stage.asterisk.start()?;
    stage.play(|stage| {
        let asterisk = &stage.asterisk;
        let right = stage.settings().to_owned();
        let with = |line: &str| format!("{right}{line}\n");
        let last = right.lines().count() + 1;

        let missing = format!(
            "planfix.conf: the file is missing in {}: copy planfix.conf.sample there and set url and token",
            asterisk.etc().display()
        );
        let mut cases = vec![(None, missing)];
        for (text, place, problem) in [
            (
                with("workerz = 4"),
                last,
                "unknown option 'workerz' in [delivery]: did you mean 'workers'?",
            ),
            (with("workers = many"), last, "'workers': 'many' is not a number of workers: expected 1 to 32"),
            (
                with("[planfix]\nurl = http://planfix.example.com/tel/api"),
                last + 1,
                "'url': 'http://planfix.example.com/tel/api' would send the token unencrypted",
            ),
            (with("[dialling]\na = b"), last + 1, "unknown section [dialling]"),
        ] {
            cases.push((Some(text), format!("planfix.conf:{place}: {problem}")));
        }
        // With a key of its own the module would wait for Planfix to bring the other one.
        let tokenless = right
            .replace(&format!("\ntoken = {}\n", stage.crm.token()), "\n")
            .replace(&format!("pbx_token = {}\n", stage.crm.pbx_token()), "\n");
        cases.push((
            Some(tokenless),
            "planfix.conf: 'token' is missing in section [planfix]: set it to the authorization key that Planfix shows"
                .to_owned(),
        ));
        for (index, (text, problem)) in cases.iter().enumerate() {
            if let Some(text) = text {
                let said = asterisk.cli("module unload res_planfix.so")?;
                ensure!(said.contains("Unloaded"), "{said}");
                asterisk.configure("planfix.conf", text)?;
                let said = asterisk.cli("module load res_planfix.so")?;
                ensure!(said.contains("Loaded res_planfix.so"), "{said}");
            }
            logs(asterisk, problem)?;
            logs(asterisk, "The module is loaded but disabled; mend the above and run 'module reload res_planfix.so'")?;
            ensure!(is_running(asterisk)?, "it is not loaded");
            checks(asterisk, problem)?;
            checks(asterisk, RELOAD)?;
            let status = flat(&asterisk.cli("planfix show status")?);
            ensure!(
                status.contains("Mode: disabled: planfix.conf has problems, see 'planfix check'"),
                "{status}"
            );
            let event = format!("INCOMING,79101234567,101,mended.{index}");
            ensure!(stage.event(&event)? == "IGNORED", "a disabled module takes events");
            ensure!(!asterisk.ami()?.action(&[("Action", "PlanfixShowQueue")])?.is_success(), "a list of nothing");

            let said = stage.reload_with(&right)?;
            ensure!(said.contains("reloaded successfully"), "{said}");
            stage.at_work()?;
            checks(asterisk, "planfix.conf read without a problem")?;
            stage.queue(&event)?;
            let told = stage.taken_in(index + 1)?;
            ensure!(field(&told[index], "callid") == format!("mended.{index}"), "{told:?}");
        }
        Ok(())
    })
}

/// Asterisk says as little of a file that it cannot open as of one that is missing. Whoever runs the tests may be allowed to read
/// everything, so it is a link to itself.
fn a_file_that_cannot_be_read_is_not_called_missing(version: Version) -> Result<()> {
    let mut stage = Stage::plan(version).prepare()?;
    let file = stage.asterisk.etc().join("planfix.conf");
    fs::remove_file(&file)?;
    std::os::unix::fs::symlink("planfix.conf", &file)?;
    stage.asterisk.start()?;
    stage.play(|stage| {
        let asterisk = &stage.asterisk;
        let problem = format!(
            "planfix.conf: the file in {} cannot be read by Asterisk's user (Too many levels of symbolic links",
            asterisk.etc().display()
        );
        logs(asterisk, &problem)?;
        checks(asterisk, &problem)?;
        checks(asterisk, "planfix.conf cannot be read by Asterisk's user: Too many levels")
    })
}

fn a_faulty_file_at_a_reload_changes_nothing(version: Version) -> Result<()> {
    Stage::plan(version).play(|stage| {
        let asterisk = &stage.asterisk;
        let right = stage.settings().to_owned();
        let last = right.lines().count() + 1;
        for (round, (text, problem)) in [
            (
                format!("{right}retry_max = soon\n"),
                format!("planfix.conf:{last}: 'retry_max': 'soon'"),
            ),
            (
                right.replace(stage.crm.token(), ""),
                "planfix.conf: 'token' is missing in section [planfix]".to_owned(),
            ),
            (
                right.replace(
                    stage.crm.url(),
                    "https://127.0.0.1:1/tel/api\ntls_ca_file = /nowhere/ca.pem",
                ),
                "'tls_ca_file': /nowhere/ca.pem cannot be read".to_owned(),
            ),
            (
                format!("{right}#include \"nowhere.conf\"\n"),
                "planfix.conf".to_owned(),
            ),
        ]
        .into_iter()
        .enumerate()
        {
            let said = stage.reload_with(&text)?;
            ensure!(!said.contains("reloaded successfully"), "{problem}: {said}");
            logs(asterisk, &problem)?;
            until("the sentence that nothing changed", BOUND, || {
                let sentence = "planfix.conf was not taken over; the settings from before stay in force";
                Ok((asterisk.log().matches(sentence).count() > round).then_some(()))
            })?;
            checks(asterisk, &problem)?;
            let status = flat(&asterisk.cli("planfix show status")?);
            ensure!(
                status.contains("Mode: dialplan; planfix.conf has problems since and was not taken over"),
                "{status}"
            );
            stage.queue(&format!("INCOMING,79101234567,101,kept.{round}"))?;
            let told = stage.taken_in(round + 1)?;
            ensure!(
                field(&told[round], "callid") == format!("kept.{round}"),
                "{told:?}"
            );
        }
        fs::remove_file(asterisk.etc().join("planfix.conf"))?;
        asterisk.cli(RELOAD)?;
        stage.queue("INCOMING,79101234567,101,kept.gone")?;
        stage.taken_in(5)?;
        let said = stage.reload_with(&right)?;
        ensure!(said.contains("reloaded successfully"), "{said}");
        checks(asterisk, "planfix.conf read without a problem")
    })
}

fn a_module_for_another_version_declines(version: Version) -> Result<()> {
    let other = match version {
        Version::V22 => Version::V16,
        Version::V16 => Version::V22,
    };
    let asterisk = Asterisk::builder(version)
        .module(module_path(other))
        .load("res_planfix.so")
        .start()?;
    let running = asterisk.cli("core show version")?;
    let running = running
        .strip_prefix("Asterisk ")
        .and_then(|rest| rest.split(' ').next())
        .context("no version")?;
    logs(
        &asterisk,
        &format!("res_planfix was built for Asterisk {other} and this is Asterisk {running}"),
    )?;
    logs(&asterisk, "Build it against the headers of this Asterisk")?;
    ensure!(!is_running(&asterisk)?, "it runs all the same");
    let said = asterisk.cli("module load res_planfix.so")?;
    ensure!(!said.contains("Loaded res_planfix.so"), "{said}");
    let said = asterisk.cli("core show function PLANFIX_EVENT")?;
    ensure!(said.contains("No function by that name"), "{said}");
    ensure!(
        asterisk.cli("core show uptime")?.contains("System uptime"),
        "Asterisk is gone"
    );
    Ok(())
}

fn it_explains_itself(version: Version) -> Result<()> {
    Stage::plan(version).play(|stage| {
        let asterisk = &stage.asterisk;
        let function = asterisk.cli("core show function PLANFIX_EVENT")?;
        for text in [
            "PLANFIX_EVENT(event",
            "Synopsis",
            "Description",
            "Arguments",
            "INCOMING",
            "OUTGOING",
            "ACCEPTED",
            "COMPLETED",
            "RECORD",
            "END",
            "QUEUED",
            "IGNORED",
            "REJECTED",
            "record_link",
            "disposition",
            "diversion",
            "is_recorded",
            "data_",
            "${PLANFIX_EVENT(INCOMING",
        ] {
            ensure!(
                function.contains(text),
                "the function's documentation lacks {text}:\n{function}"
            );
        }
        for (action, entry) in [
            ("PlanfixShowStatus", "PlanfixStatus"),
            ("PlanfixShowQueue", "PlanfixQueueEntry"),
            ("PlanfixShowFailed", "PlanfixFailedEntry"),
            ("PlanfixShowGreetings", "PlanfixGreetingEntry"),
            ("PlanfixGreetingSet", "Attribute"),
            ("PlanfixGreetingDelete", "Operator"),
        ] {
            let said = asterisk.cli(&format!("manager show command {action}"))?;
            for text in [action, entry, "Synopsis", "Privilege"] {
                ensure!(
                    said.contains(text),
                    "the documentation of {action} lacks {text}:\n{said}"
                );
            }
        }
        for (command, texts) in [
            (
                "core show function OP_GREETING",
                ["OP_GREETING(ext,attribute[,kind])", "unreachable", "expires"],
            ),
            (
                "core show application OpGreeting",
                ["OPGREETINGSTATUS", "FALLBACK", "early media"],
            ),
            (
                "core show application OpGreetingMenu",
                ["OPGREETINGMENUSTATUS", "_*600/_1XX", "hint"],
            ),
            ("manager show event PlanfixGreeting", ["Change", "Lamp", "By"]),
        ] {
            let said = asterisk.cli(command)?;
            for text in texts {
                ensure!(said.contains(text), "\"{command}\" lacks {text}:\n{said}");
            }
        }
        let commands = asterisk.cli("core show help planfix")?;
        for command in [
            "planfix check",
            "planfix drop",
            "planfix greeting delete",
            "planfix greeting disable",
            "planfix greeting enable",
            "planfix greeting export",
            "planfix greeting import",
            "planfix greeting pin",
            "planfix greeting state",
            "planfix greeting template delete",
            "planfix greeting template set",
            "planfix greeting template show",
            "planfix pause",
            "planfix replay",
            "planfix resume",
            "planfix retry",
            "planfix show failed",
            "planfix show greetings",
            "planfix show queue",
            "planfix show status",
        ] {
            ensure!(commands.contains(command), "{commands}");
            let usage = asterisk.cli(&format!("core show help {command}"))?;
            ensure!(usage.contains(&format!("Usage: {command}")), "{usage}");
        }
        let log = asterisk.log();
        let complaint = log
            .lines()
            .find(|line| line.contains("xmldoc") && line.contains("lanfix"));
        ensure!(complaint.is_none(), "{complaint:?}");
        Ok(())
    })
}

/// What the CRM does to a request, and to a connection.
const DEAD: [&str; 2] = ["hang", "black-hole"];
/// So patient with a dead CRM, the module would hold a stop up for longer than any of these tests waits.
const PATIENT: &str = "connect_timeout = 60\nresponse_timeout = 300";

/// A call of which nothing can be told while the CRM is dead, one request of it being under way.
fn tell(stage: &Stage, callid: &str) -> Result<()> {
    for arguments in [
        "INCOMING,79101234567,101,{}",
        "ACCEPTED,79101234567,101,{}",
        "COMPLETED,79101234567,101,{},,7,ANSWERED",
    ] {
        stage.queue(&arguments.replace("{}", callid))?;
    }
    until("a request under way", BOUND, || {
        Ok(stage.status()?.contains("1 under way").then_some(()))
    })
}

fn arrives(stage: &Stage, callid: &str, count: usize) -> Result<()> {
    let told = stage.taken_in(count)?;
    let events: Vec<&str> = told
        .iter()
        .filter(|entry| field(entry, "callid") == callid)
        .map(|entry| field(entry, "event"))
        .collect();
    ensure!(
        events == ["INCOMING", "ACCEPTED", "COMPLETED"],
        "{callid}: {events:?}"
    );
    Ok(())
}

fn an_asterisk_stops_in_time_whatever_the_crm_does(version: Version) -> Result<()> {
    let plan = Stage::plan(version)
        .calls("stale_popup = 86400")
        .delivery(PATIENT);
    plan.play(|stage| {
        for (round, fault) in DEAD.into_iter().enumerate() {
            stage.crm.fault(fault)?;
            let callid = format!("stopped.{round}");
            tell(stage, &callid)?;
            let took = stage.asterisk.stop_now(BOUND)?;
            println!("{version}: {fault}: stopped within {took:?}");
            stage.crm.clear_faults()?;
            stage.asterisk.start()?;
            arrives(stage, &callid, 3 * (round + 1))?;
        }
        stage.drained()
    })
}

/// Waits for the console's answer of the Asterisk that replaced itself.
fn restart(asterisk: &Asterisk) -> Result<Duration> {
    let starts = |asterisk: &Asterisk| asterisk.console().matches("PBX UUID").count();
    let before = starts(asterisk);
    let start = Instant::now();
    // The connection ends before the answer does.
    let said = asterisk.cli("core restart now");
    until("the restart", BOUND, || {
        Ok((starts(asterisk) > before).then_some(()))
    })
    .with_context(|| format!("\"core restart now\" said {said:?}"))?;
    until("the console after the restart", BOUND, || {
        Ok(asterisk.has_booted().then_some(()))
    })?;
    Ok(start.elapsed())
}

fn an_asterisk_restarts_in_time_whatever_the_crm_does(version: Version) -> Result<()> {
    let plan = Stage::plan(version)
        .calls("stale_popup = 86400")
        .delivery(PATIENT);
    plan.play(|stage| {
        for (round, fault) in DEAD.into_iter().enumerate() {
            stage.crm.fault(fault)?;
            let callid = format!("restarted.{round}");
            tell(stage, &callid)?;
            let took = restart(&stage.asterisk)?;
            println!("{version}: {fault}: restarted within {took:?}");
            stage.crm.clear_faults()?;
            arrives(stage, &callid, 3 * (round + 1))?;
        }
        stage.drained()
    })
}

/// Stopping hangs all calls up, and their handlers tell the end of each: in the last milliseconds, as it were.
fn what_the_calls_say_when_asterisk_stops_is_not_lost(version: Version) -> Result<()> {
    const CALLS: usize = 20;
    const DIALPLAN: &str = "[talk]\n\
        exten => s,1,Answer()\n \
        same => n,Set(CHANNEL(hangup_handler_push)=told,s,1)\n \
        same => n,NoOp(${PLANFIX_EVENT(INCOMING,79101234567,101,${UNIQUEID})})\n \
        same => n,Wait(600)\n\
        [told]\n\
        exten => s,1,NoOp(${PLANFIX_EVENT(COMPLETED,79101234567,101,${UNIQUEID},,0,BUSY)})\n \
        same => n,Return()\n";
    let plan = Stage::plan(version).asterisk(|builder| builder.extensions(DIALPLAN));
    plan.play(|stage| {
        for restarted in [false, true] {
            let before = stage.crm.log()?.len();
            for _ in 0..CALLS {
                stage
                    .asterisk
                    .cli("channel originate Local/s@talk application Wait 600")?;
            }
            stage.taken_in(before + CALLS)?;
            stage.drained()?;
            // Nothing may be delivered before the end, or this would prove less.
            stage.crm.fault("refuse")?;
            if restarted {
                restart(&stage.asterisk)?;
            } else {
                stage.asterisk.stop_now(BOUND)?;
            }
            stage.crm.clear_faults()?;
            if !restarted {
                stage.asterisk.start()?;
            }
            let told = stage.taken_in(before + 2 * CALLS)?;
            let ends = told
                .iter()
                .skip(before)
                .filter(|entry| field(entry, "event") == "COMPLETED")
                .count();
            ensure!(ends == CALLS, "{ends} of {CALLS} calls were closed");
            stage.drained()?;
        }
        Ok(())
    })
}

/// Events come as fast as they can until Asterisk is gone. An orderly stop is no kill: there are no ten milliseconds.
fn what_was_accepted_up_to_the_stop_is_not_lost(version: Version) -> Result<()> {
    let plan = Stage::plan(version)
        .calls("stale_popup = 86400")
        .asterisk(|builder| builder.debug(0).verbose(0));
    plan.play(|stage| {
        stage.crm.fault("refuse")?;
        let mut accepted = 0;
        for round in 0..3 {
            let mut ami = stage.asterisk.ami()?;
            let mut stopped = Ok(Duration::ZERO);
            let told = AtomicUsize::new(0);
            let queued = thread::scope(|scope| {
                let told = &told;
                let telling = scope.spawn(move || {
                    let mut queued = 0;
                    while let Ok(answer) = event(
                        &mut ami,
                        &format!("INCOMING,79101234567,101,last.{round}.{queued}"),
                    ) {
                        if answer != "QUEUED" {
                            break;
                        }
                        queued += 1;
                        told.store(queued, Ordering::Relaxed);
                    }
                    queued
                });
                stopped = until("the first events", BOUND, || {
                    Ok((told.load(Ordering::Relaxed) > 20).then_some(()))
                })
                .and_then(|()| stage.asterisk.stop_now(BOUND));
                telling.join()
            });
            stopped?;
            let queued: usize = queued.map_err(|_| anyhow::anyhow!("the telling panicked"))?;
            accepted += queued;
            stage.asterisk.start()?;
        }
        stage.crm.clear_faults()?;
        stage.crm.wait_for("everything", 10 * BOUND, |entries| {
            let came: HashSet<&str> = entries
                .iter()
                .filter(|entry| is_taken_in(entry))
                .map(|entry| field(entry, "callid"))
                .collect();
            came.len() >= accepted
        })?;
        println!("{version}: {accepted} events were accepted until three stops, and all came");
        stage.drained()
    })
}
