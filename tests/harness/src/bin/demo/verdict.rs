//! Whether everything that had to arrive did, exactly once and in order.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context, Result};
use harness::{Asterisk, Sandbox, until};

use crate::calls::{CALLS, Call, Expected};
use crate::feed::{Feed, Received};

/// After the last request the module needs a moment to note that it was acknowledged.
const SETTLING: Duration = Duration::from_secs(10);

/// Prints the verdict and returns whether it is a good one.
pub(crate) fn judge(asterisk: &Asterisk, sandbox: &Sandbox, feed: &mut Feed<'_>) -> Result<bool> {
    let mut faults = Vec::new();
    let settled = until("an empty queue", SETTLING, || {
        feed.interrupted()?;
        let status = asterisk.cli("planfix show status")?;
        Ok((line_of(&status, "Queue").starts_with("0 waiting")).then_some(status))
    });
    // A request that came twice would be here by now, too.
    feed.look()?;
    let received = feed.received();

    println!("Verdict\n");
    for call in &CALLS {
        let wrong = fault_of(call, received);
        mark(
            wrong.is_none(),
            &format!("{:<13} {}", call.title, list(call.expected)),
        );
        if let Some(wrong) = wrong {
            println!("            {wrong}");
            faults.push(format!("{}: {wrong}", call.title));
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
    let breaches = sandbox.get("/_sandbox/violations")?;
    let total = breaches["total"]
        .as_u64()
        .context("the stand-in CRM counts no violations")?;
    check(
        refused.is_empty() && total == 0,
        "no request against the protocol or out of order",
        format!("{total} breaches of order; {}", refused.join("; ")),
    );
    let open = breaches["open_popups"].as_array().map_or(0, Vec::len);
    check(
        open == 0,
        "every card that was shown is closed",
        format!("{open} cards are still shown"),
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

    let wanted: usize = CALLS.iter().map(|call| call.expected.len()).sum();
    if faults.is_empty() {
        println!(
            "\nPASS: all {wanted} expected requests arrived, each exactly once and in order, and no other."
        );
    } else {
        println!(
            "\nFAIL: {wanted} requests were expected and {} arrived. What is wrong:",
            received.len()
        );
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
        .map(|expected| {
            format!("{} {}", expected.event, expected.status)
                .trim_end()
                .to_owned()
        })
        .collect();
    words.join(", ")
}

/// What is wrong with what was received of a call.
fn fault_of(call: &Call, all: &[Received]) -> Option<String> {
    let received: Vec<&Received> = call.received(all).collect();
    let callids: HashSet<&str> = received.iter().map(|request| request.callid.as_str()).collect();
    if callids.len() > 1 {
        return Some(format!(
            "the requests of one call carry several callids: {callids:?}"
        ));
    }
    let matches = |(expected, request): (&Expected, &&Received)| {
        expected.event == request.event
            && expected.status == request.status
            && request.ext == call.ext
            && expected.duration.is_none_or(|least| {
                // A second may have begun while the phones were hanging up.
                request
                    .duration
                    .parse::<u64>()
                    .is_ok_and(|seconds| (least..=least + u64::from(least > 0)).contains(&seconds))
            })
    };
    if received.len() == call.expected.len() && call.expected.iter().zip(&received).all(matches) {
        let refused = received.iter().find(|request| !request.fault.is_empty());
        return refused.map(|request| format!("{}: {}", request.event, request.fault));
    }
    let got: Vec<String> = received
        .iter()
        .map(|request| {
            let parts = [&request.event, &request.ext, &request.status, &request.duration];
            let parts: Vec<&str> = parts
                .into_iter()
                .map(String::as_str)
                .filter(|part| !part.is_empty())
                .collect();
            parts.join(" ")
        })
        .collect();
    let missing: Vec<&str> = call
        .expected
        .iter()
        .filter(|expected| !received.iter().any(|request| request.event == expected.event))
        .map(|expected| expected.event)
        .collect();
    let missing = if missing.is_empty() {
        String::new()
    } else {
        format!("missing: {}; ", missing.join(", "))
    };
    Some(format!("{missing}received: [{}]", got.join(", ")))
}
