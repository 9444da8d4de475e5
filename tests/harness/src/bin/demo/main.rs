//! `make demo`: from nothing to real calls, and what the CRM received of them.
//!
//! A private Asterisk takes calls of SIP phones through a dialplan that says PLANFIX_EVENT where the article's dialplan
//! calls PHP. One call is answered, one meets a busy phone, one is not answered, and one comes while the CRM is away.
//!
//! Invariants: what is printed as received is what the stand-in CRM has received, not what was sent; the exit status is 0
//! only when every expected request arrived exactly once and in order; nothing runs on after the end.

mod calls;
mod dialplan;
mod feed;
mod interruption;
mod time;
mod verdict;

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use harness::{Asterisk, Sandbox, Version, module_path, until, workspace_root};

use crate::calls::{CALLS, Call};
use crate::feed::Feed;
use crate::interruption::Interruption;
use crate::time::Clock;

const HELP: &str = "\
demo: real SIP calls through a private Asterisk, and what a stand-in CRM receives of them

  --keep   leave everything running at the end, until Enter or Ctrl-C
  --help   this text

Start it with `make demo` or `make demo KEEP=1`, which build what it needs.
";
/// The requests of a call are there within milliseconds of its end.
const ARRIVAL: Duration = Duration::from_secs(15);
/// What waits for a CRM that was away comes at the next try, which `retry_max` in the demo's planfix.conf puts close.
const RETURN: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let mut keep = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--keep" => keep = true,
            "--help" => {
                print!("{HELP}");
                return ExitCode::SUCCESS;
            }
            other => {
                eprintln!("demo: there is no option \"{other}\"\n\n{HELP}");
                return ExitCode::from(2);
            }
        }
    }
    match demonstrate(keep) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("\nFAIL: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether everything that was expected arrived.
fn demonstrate(keep: bool) -> Result<bool> {
    let begin = Instant::now();
    let interruption = Interruption::watch()?;
    let clock = Clock::local();

    println!("res_planfix: real calls, and what the CRM receives of them\n");
    let contacts: Vec<String> = CALLS
        .iter()
        .map(|call| format!("{}={}", call.client, call.name))
        .collect();
    let arguments: Vec<&str> = contacts
        .iter()
        .flat_map(|contact| ["--contact", contact.as_str()])
        .collect();
    let sandbox = Sandbox::start(&arguments)?;
    let mut asterisk = CALLS
        .iter()
        .fold(Asterisk::builder(Version::V22), |builder, call| {
            builder.phone(call.ext)
        })
        .module(module_path(Version::V22))
        .documentation(workspace_root().join("documentation/res_planfix-en_US.xml"))
        .load("res_planfix.so")
        .extensions(dialplan::TEXT)
        .file("planfix.conf", &configuration(&sandbox))
        .start()?;
    let etc = asterisk.etc();
    println!("  Asterisk      {}", short_version(&asterisk)?);
    println!(
        "                private: process {}, configuration in {}",
        asterisk.pid()?,
        etc.display()
    );
    println!(
        "  Stand-in CRM  {}, checks every request by the protocol",
        sandbox.url()
    );
    println!(
        "  Its page      {}/, the call cards as an employee sees them",
        sandbox.page()
    );
    dialplan::print();

    let mut feed = Feed::new(&sandbox, &clock, &interruption);
    let played = play(&asterisk, &sandbox, &mut feed, &clock);
    let passed = match played.and_then(|()| verdict::judge(&asterisk, &sandbox, &mut feed)) {
        Ok(passed) => passed,
        Err(error) => {
            if !interruption.is_set() {
                eprintln!("\n{}", troubles(&asterisk));
            }
            return Err(error);
        }
    };
    println!("{:.0} s from the start.", begin.elapsed().as_secs_f64());
    if keep {
        linger(&mut asterisk, &mut feed, &interruption)?;
    }
    Ok(passed)
}

/// The demo is in a hurry: without `retry_max` the first try after an outage can be minutes away.
fn configuration(sandbox: &Sandbox) -> String {
    format!(
        "[general]\nenabled = yes\nmode = dialplan\n\n\
         [planfix]\nurl = {}\ntoken = {}\npbx_token = {}\n\n\
         [calls]\ninternal = _1XX\n\n\
         [delivery]\nretry_max = 2\n",
        sandbox.url(),
        sandbox.token(),
        sandbox.pbx_token()
    )
}

/// Version of Asterisk and of the module.
fn short_version(asterisk: &Asterisk) -> Result<String> {
    let asterisk_says = asterisk.cli("core show version")?;
    let number = asterisk_says.split(' ').nth(1).unwrap_or("?");
    let status = asterisk.cli("planfix show status")?;
    let module = status
        .lines()
        .find_map(|line| line.trim().strip_prefix("Version"))
        .with_context(|| format!("the module is not there, \"planfix show status\" says: {status}"))?;
    Ok(format!(
        "{} with res_planfix.so {}",
        number.split(['~', '+']).next().unwrap_or(number),
        module.trim_start_matches([':', ' '])
    ))
}

fn play(asterisk: &Asterisk, sandbox: &Sandbox, feed: &mut Feed<'_>, clock: &Clock) -> Result<()> {
    let (outage, live) = CALLS.split_last().context("there are calls to play")?;
    feed.header();
    for call in live {
        announce(clock, call);
        let (callee, caller) = call.start(asterisk)?;
        feed.until(ARRIVAL, |received| {
            call.received(received).count() >= call.expected.len()
        })?;
        caller
            .wait()?
            .ensure_success()
            .with_context(|| format!("the call of {} did not go as planned", call.client))?;
        callee.wait()?.ensure_success()?;
    }

    sandbox.fault("refuse")?;
    println!(
        "\n  {}  The CRM is stopped: its port refuses connections.",
        clock.now()
    );
    announce(clock, outage);
    let (callee, caller) = outage.start(asterisk)?;
    caller.wait()?.ensure_success()?;
    callee.wait()?.ensure_success()?;
    let waiting = format!("{} waiting", outage.expected.len());
    let status = until("the events of the call in the queue", ARRIVAL, || {
        feed.interrupted()?;
        Ok(Some(asterisk.cli("planfix show status")?).filter(|text| text.contains(&waiting)))
    })
    .with_context(|| asterisk.cli("planfix show status").unwrap_or_default())?;
    println!(
        "\n  {}  The call is over, and the CRM knows nothing of it.\n\n    *CLI> planfix show status",
        clock.now()
    );
    // The console of 22 says goodbye on standard output.
    for line in status.lines().filter(|line| !line.starts_with("Asterisk ending")) {
        println!("    {line}");
    }
    println!();
    sandbox.clear_faults()?;
    let back = Instant::now();
    println!("  {}  The CRM is back.", clock.now());
    let arrived = feed.until(RETURN, |received| {
        outage.received(received).count() >= outage.expected.len()
    })?;
    if arrived {
        println!(
            "  {}  Everything that waited has arrived {:.1} s after the CRM was back.",
            clock.now(),
            back.elapsed().as_secs_f64()
        );
    }
    println!();
    Ok(())
}

fn announce(clock: &Clock, call: &Call) {
    println!(
        "\n  {}  {} calls, {} {}.",
        clock.now(),
        call.client,
        call.ext,
        call.story
    );
}

/// What the operator would look for first in the log.
fn troubles(asterisk: &Asterisk) -> String {
    let log = asterisk.log();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("WARNING[") || line.contains("ERROR["))
        .collect();
    let last = &lines[lines.len().saturating_sub(20)..];
    format!(
        "The last warnings and errors in Asterisk's log:\n{}",
        last.join("\n")
    )
}

/// Leaves everything running until the user has seen enough.
fn linger(asterisk: &mut Asterisk, feed: &mut Feed<'_>, interruption: &Interruption) -> Result<()> {
    let etc = asterisk.etc();
    println!("\nEverything is left running. What arrives from now on is listed below.\n");
    println!("  The page:      {}/", feed.page());
    println!(
        "  The console:   tools/asterisk cli 22 {} 'planfix show status'",
        etc.display()
    );
    println!(
        "  Another call:  tools/asterisk cli 22 {} \\\n                   'channel originate Local/{}@from-trunk application Wait 5'",
        etc.display(),
        CALLS[0].did
    );
    println!("                 (no phone is there any more, so it ends as missed)");
    println!("\nEnter or Ctrl-C ends it.\n");
    let entered = interruption.enter();
    while !interruption.is_set() && entered.try_recv().is_err() {
        if !asterisk.is_running() {
            bail!("Asterisk has ended by itself");
        }
        feed.look()?;
        thread::sleep(Duration::from_millis(100));
    }
    let stopped = asterisk.stop_now(Duration::from_secs(10))?;
    ensure!(!asterisk.is_running(), "Asterisk runs still");
    println!("Asterisk has ended within {} ms.", stopped.as_millis());
    Ok(())
}
