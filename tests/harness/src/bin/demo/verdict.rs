//! Whether everything that had to arrive did, exactly once and in order.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context, Result};
use harness::{CLIENT_TONE, EMPLOYEE_TONE, GREETING_TONE, Talk, Tour, until};

use crate::calls::{CALLS, Call, Expected, Kind, Played};
use crate::feed::{Feed, Received};

/// After the last request the module needs a moment to note that it was acknowledged.
const SETTLING: Duration = Duration::from_secs(10);

/// Prints the verdict and returns whether it is a good one.
pub(crate) fn judge(tour: &Tour, talks: &[Played], feed: &mut Feed<'_>) -> Result<bool> {
    let mut faults = Vec::new();
    let settled = until("an empty queue", SETTLING, || {
        feed.interrupted()?;
        let status = tour.asterisk.cli("planfix show status")?;
        Ok((line_of(&status, "Queue").starts_with("0 waiting")).then_some(status))
    });
    // A request that came twice would be here by now, too.
    feed.look(&tour.crm)?;
    let received = feed.received();

    println!("Verdict\n");
    for (call, talk) in CALLS.iter().zip(talks) {
        let wrong = fault_of(call, received);
        mark(
            wrong.is_none(),
            &format!("{:<13} {}", call.title, list(call.expected)),
        );
        if let Some(wrong) = wrong {
            println!("            {wrong}");
            faults.push(format!("{}: {wrong}", call.title));
        }
        let talk = match talk {
            Played::Talk(talk) => talk,
            Played::Greeting(time) => {
                let heard = format!(
                    "{} Hz, which {} has recorded, heard for {:.2} s before anybody answered",
                    GREETING_TONE.0,
                    call.employee,
                    time.as_secs_f64()
                );
                mark(true, &format!("{:<13} {heard}", "its greeting"));
                continue;
            }
        };
        match hear(tour, call, talk, received) {
            Ok(heard) => mark(true, &format!("{:<13} {heard}", "its recording")),
            Err(error) => {
                mark(false, "its recording");
                println!("            {error:#}");
                faults.push(format!("{}, the recording: {error:#}", call.title));
            }
        }
        let wrong = call.kind == Kind::Answered && call.looked_after() && talk.shown != call.name();
        if wrong {
            let wrong = format!(
                "the phone showed {:?} for a caller whom the CRM knows as {}",
                talk.shown,
                call.name()
            );
            mark(false, &wrong);
            faults.push(wrong);
        }
    }
    let mut check = |good: bool, what: &str, wrong: String| {
        mark(good, what);
        if !good {
            println!("            {wrong}");
            faults.push(wrong);
        }
    };

    let strange: Vec<&Received> = received
        .iter()
        .filter(|request| !matches!(request.cmd.as_str(), "ping" | "record"))
        .filter(|request| CALLS.iter().all(|call| call.client != request.phone))
        .collect();
    check(
        strange.is_empty(),
        "no request that belongs to none of the calls",
        format!("not expected: {strange:?}"),
    );
    let refused: Vec<String> = received
        .iter()
        .filter(|request| !request.fault.is_empty())
        .map(|request| format!("{} of {}: {}", request.event, request.phone, request.fault))
        .collect();
    let breaches = tour.crm.get("/_sandbox/violations")?;
    let total = breaches["total"]
        .as_u64()
        .context("the stand-in CRM counts no violations")?;
    check(
        refused.is_empty() && total == 0,
        "no request against the protocol or out of order",
        format!("{total} breaches of order; {}", refused.join("; ")),
    );
    let count = |name: &str| breaches[name].as_array().map_or(0, Vec::len);
    let (open, missing) = (count("open_popups"), count("missing_recordings"));
    check(
        open == 0 && missing == 0,
        "every card that was shown is closed, every recording was told of",
        format!("{open} cards are still shown, {missing} recordings are missing"),
    );
    let asked = |client: &str| {
        let about = |request: &&Received| request.cmd == "contact" && request.phone == client;
        received.iter().filter(about).count()
    };
    let wrong: Vec<String> = CALLS[..CALLS.len() - 1]
        .iter()
        .filter(|call| call.kind != Kind::Click && asked(call.client) != 1)
        .map(|call| format!("{} times about {}", asked(call.client), call.client))
        .collect();
    check(
        wrong.is_empty(),
        "the CRM was asked once about each caller",
        format!("it was asked {}", wrong.join(", ")),
    );
    match settled {
        Ok(status) => {
            let (failed, dropped) = (line_of(&status, "Failed"), line_of(&status, "Dropped"));
            check(
                failed == "0" && !dropped.split(", ").any(|part| !part.starts_with("0 ")),
                "nothing waits in the module, nothing failed, nothing was dropped",
                format!("failed: {failed}; dropped: {dropped}"),
            );
        }
        Err(error) => check(false, "nothing waits in the module", format!("{error:#}")),
    }

    let events: usize = CALLS.iter().map(|call| call.expected.len()).sum();
    let recordings = talks
        .iter()
        .filter(|played| matches!(played, Played::Talk(_)))
        .count();
    if faults.is_empty() {
        println!(
            "\nPASS: all {events} expected events arrived, each exactly once and in order, and {recordings} recordings \
             that hold what was said."
        );
    } else {
        println!("\nFAIL. What is wrong:");
        for fault in &faults {
            println!("  - {fault}");
        }
    }
    Ok(faults.is_empty())
}

fn mark(good: bool, what: &str) {
    println!("  {:<8}  {what}", if good { "ok" } else { "NOT OK" });
}

/// The value of a line of `planfix show status`.
fn line_of<'a>(status: &'a str, label: &str) -> &'a str {
    status
        .lines()
        .find_map(|line| line.trim().strip_prefix(label))
        .unwrap_or_default()
        .trim_start_matches([':', ' '])
        .trim_end()
}

fn list(expected: &[Expected]) -> String {
    let words: Vec<String> = expected
        .iter()
        .map(|expected| words(expected.ext, expected.event, expected.status))
        .collect();
    words.join(", ")
}

fn words(ext: &str, event: &str, status: &str) -> String {
    format!("{ext} {event} {status}").trim_end().to_owned()
}

/// What is wrong with what was received of a call.
fn fault_of(call: &Call, all: &[Received]) -> Option<String> {
    let received: Vec<&Received> = call.events(all).collect();
    let callids: HashSet<&str> = received.iter().map(|request| request.callid.as_str()).collect();
    if callids.len() > 1 {
        return Some(format!(
            "the requests of one call carry several callids: {callids:?}"
        ));
    }
    if let Some(refused) = received.iter().find(|request| !request.fault.is_empty()) {
        return Some(format!("{}: {}", refused.event, refused.fault));
    }
    // The phones of a group ring at once: what counts is the order of each one's events.
    let mut exts: Vec<&str> = call.expected.iter().map(|expected| expected.ext).collect();
    exts.dedup();
    let of = |ext: &str| {
        let expected = call.expected.iter().filter(|expected| expected.ext == ext);
        let received = received.iter().filter(|request| request.ext == ext);
        (
            expected
                .map(|expected| words(ext, expected.event, expected.status))
                .collect::<Vec<_>>(),
            received
                .map(|request| words(ext, &request.event, &request.status))
                .collect::<Vec<_>>(),
        )
    };
    let alike = exts.iter().all(|ext| {
        let (expected, received) = of(ext);
        expected == received
    });
    if !alike || received.len() != call.expected.len() {
        let got: Vec<String> = received
            .iter()
            .map(|request| words(&request.ext, &request.event, &request.status))
            .collect();
        return Some(format!("received: [{}]", got.join(", ")));
    }
    let wrong = received.iter().find(|request| {
        let seconds = request.duration.parse::<u64>();
        match request.status.as_str() {
            // A second may have begun while the phones were hanging up.
            "Success" => !seconds.is_ok_and(|seconds| (call.talk..=call.talk + 1).contains(&seconds)),
            "" => false,
            _ => seconds != Ok(0),
        }
    });
    if let Some(wrong) = wrong {
        return Some(format!("{} s of talk at {}", wrong.duration, wrong.ext));
    }
    let records = call.records(all).count();
    let wanted = usize::from(call.talk > 0);
    (records != wanted).then(|| format!("{records} recordings were told of and not {wanted}"))
}

/// Has the CRM fetch the call's recording by its link, and listens to it.
fn hear(tour: &Tour, call: &Call, talk: &Talk, all: &[Received]) -> Result<String> {
    let told = call
        .records(all)
        .next()
        .context("the CRM was told of no recording")?;
    let recording = tour.recording(&told.callid)?;
    recording.holds(talk).with_context(|| {
        if talk.was_disturbed() {
            "this machine is too busy for voices to come in time: run it again when it is not"
        } else {
            "what was recorded is not what was said"
        }
    })?;
    let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
    Ok(format!(
        "{} bytes of {} by its link, {} of a talk of {};\n{:26}{} Hz, which employees say, for {}, {} Hz, which clients \
         say, for {}",
        recording.report["bytes"],
        recording.report["type"].as_str().unwrap_or_default(),
        seconds(recording.sound.duration()),
        seconds(talk.said),
        "",
        EMPLOYEE_TONE.0,
        seconds(recording.sound.presence(EMPLOYEE_TONE)),
        CLIENT_TONE.0,
        seconds(recording.sound.presence(CLIENT_TONE)),
    ))
}
