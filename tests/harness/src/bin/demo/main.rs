//! `make demo`: from nothing to real calls, and what the CRM received of them.
//!
//! A private Asterisk, 22 and then 16, and a stand-in CRM that know nothing of each other but the PBX's key. The CRM
//! switches the integration on; a client whom it knows is put through to whoever looks after her, and the recording of the
//! talk is fetched and listened to; one call is not answered, and the caller hears the greeting that an employee has
//! recorded; an employee calls by a click; and one call comes while the CRM is away.
//!
//! Invariants: what is printed as received is what the stand-in CRM has received, not what was sent; the exit status is 0
//! only when every expected request arrived exactly once and in order, and the recordings hold what the phones said;
//! nothing runs on after the end.

mod calls;
mod dialplan;
mod enter;
mod feed;
mod time;
mod verdict;

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use harness::{Asterisk, Interruption, Tour, Version, until};

use crate::calls::{CALLS, Call, Played};
use crate::enter::enter;
use crate::feed::Feed;
use crate::time::Clock;

const HELP: &str = "\
demo: real SIP calls through a private Asterisk 22 and 16, and what a stand-in CRM receives of them

  --keep   on 22 alone, and leave everything running at the end, until Enter or Ctrl-C
  --help   this text

Start it with `make demo` or `make demo KEEP=1`, which build what it needs.
";
/// The requests of a call are there within milliseconds of its end.
const ARRIVAL: Duration = Duration::from_secs(15);
/// What waits for a CRM that was away comes at the next try, which `retry_max` in the demo's planfix.conf puts close.
const RETURN: Duration = Duration::from_secs(20);
/// So long a talk lasts that somebody begins by a click when everything is left running.
const TALK: Duration = Duration::from_secs(8);

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
    println!("res_planfix: real calls, and what the CRM receives of them\n");
    let versions = if keep { &Version::ALL[..1] } else { &Version::ALL };
    let mut passed = true;
    for version in versions {
        passed &= demonstrate_on(*version, keep, &interruption)?;
        println!("{:.0} s from the start.", begin.elapsed().as_secs_f64());
    }
    Ok(passed)
}

fn demonstrate_on(version: Version, keep: bool, interruption: &Interruption) -> Result<bool> {
    let clock = Clock::local();
    let first = version == Version::ALL[0];
    if !first {
        println!("\nThe same on Asterisk {version}\n");
    }
    let contacts = CALLS.map(|call| format!("{}={}", call.client, call.contact));
    let contacts: Vec<&str> = contacts.iter().map(String::as_str).collect();
    let mut tour = Tour::open(version, &contacts)?;
    println!("  Asterisk      {}", short_version(&tour.asterisk)?);
    println!(
        "                private: process {}, configuration in {}",
        tour.asterisk.pid()?,
        tour.asterisk.etc().display()
    );
    println!(
        "  Stand-in CRM  {}, checks every request by the protocol",
        tour.crm.url()
    );
    println!(
        "  Its page      {}/, the call cards as an employee sees them",
        tour.crm.page()
    );
    if first {
        dialplan::print();
    }

    let mut feed = Feed::new(&clock, interruption);
    let played = play(&tour, &mut feed, &clock);
    let passed = match played.and_then(|talks| verdict::judge(&tour, &talks, &mut feed)) {
        Ok(passed) => passed,
        Err(error) => {
            if !interruption.is_set() {
                eprintln!("\n{}", troubles(&tour.asterisk));
            }
            return Err(error);
        }
    };
    if keep {
        linger(&mut tour, &mut feed, interruption)?;
    }
    Ok(passed)
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

/// Plays everything, and returns what was said in each call.
fn play(tour: &Tour, feed: &mut Feed<'_>, clock: &Clock) -> Result<Vec<Played>> {
    println!(
        "\nplanfix.conf holds the PBX's key, and neither the CRM's address nor its key: the CRM sends them.\n"
    );
    println!(
        "  {}  An administrator enters {} in the CRM and saves.",
        clock.now(),
        tour.pbx()
    );
    let answer = tour.switch_on()?;
    println!(
        "  {}  The CRM sends setup to the PBX, and is answered with {}.\n",
        clock.now(),
        answer["status"]
    );
    ensure!(answer["status"] == 200, "setup was answered with {answer}");

    let (outage, live) = CALLS.split_last().context("there are calls to play")?;
    let mut talks = Vec::new();
    feed.header();
    for call in live {
        announce(clock, call);
        let talk = call.play(tour);
        let talk = talk.with_context(|| format!("the call of {} did not go as planned", call.client))?;
        talks.push(talk);
        feed.until(&tour.crm, ARRIVAL, |received| call.is_told(received))?;
    }

    tour.crm.fault("refuse")?;
    println!(
        "\n  {}  The CRM is stopped: its port refuses connections.",
        clock.now()
    );
    announce(clock, outage);
    talks.push(outage.play(tour)?);
    let status = until("the end of the call in the queue", ARRIVAL, || {
        feed.interrupted()?;
        let queue = tour.asterisk.cli("planfix show queue")?;
        let all = queue.matches("COMPLETED").count() >= outage.cards();
        Ok(if all {
            Some(tour.asterisk.cli("planfix show status")?)
        } else {
            None
        })
    })
    .with_context(|| tour.asterisk.cli("planfix show queue").unwrap_or_default())?;
    println!(
        "\n  {}  The call is over, and the CRM knows nothing of it.\n\n    *CLI> planfix show status",
        clock.now()
    );
    // The console of 22 says goodbye on standard output.
    for line in status.lines().filter(|line| !line.starts_with("Asterisk ending")) {
        println!("    {line}");
    }
    println!();
    tour.crm.clear_faults()?;
    let back = Instant::now();
    println!("  {}  The CRM is back.", clock.now());
    let arrived = feed.until(&tour.crm, RETURN, |received| outage.is_told(received))?;
    if arrived {
        println!(
            "  {}  Everything that waited has arrived {:.1} s after the CRM was back.",
            clock.now(),
            back.elapsed().as_secs_f64()
        );
    }
    println!();
    Ok(talks)
}

fn announce(clock: &Clock, call: &Call) {
    println!("\n  {}  {}", clock.now(), call.story);
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

/// Leaves everything running until the user has seen enough. Whoever is called answers, and is left to talk for a while.
fn linger(tour: &mut Tour, feed: &mut Feed<'_>, interruption: &Interruption) -> Result<()> {
    tour.everybody_answers()?;
    let etc = tour.asterisk.etc();
    println!("\nEverything is left running. What arrives from now on is listed below.\n");
    println!(
        "  The page:      {}/, where recordings play and a click calls",
        tour.crm.page()
    );
    println!(
        "  The console:   tools/asterisk cli 22 {} 'planfix show status'",
        etc.display()
    );
    println!(
        "\nWhoever is called answers, and hangs up after {} s.",
        TALK.as_secs()
    );
    println!("Enter or Ctrl-C ends it.\n");
    let entered = enter();
    let mut talking: Option<Instant> = None;
    while !interruption.is_set() && entered.try_recv().is_err() {
        if !tour.asterisk.is_running() {
            bail!("Asterisk has ended by itself");
        }
        feed.look(&tour.crm)?;
        talking = talking.filter(|_| tour.talks());
        if tour.talks() && talking.get_or_insert_with(Instant::now).elapsed() > TALK {
            tour.hangup_all()?;
        }
        thread::sleep(Duration::from_millis(100));
    }
    let stopped = tour.asterisk.stop_now(Duration::from_secs(10))?;
    ensure!(!tour.asterisk.is_running(), "Asterisk runs still");
    println!("Asterisk has ended within {} ms.", stopped.as_millis());
    Ok(())
}
