//! What `planfix show status` and its AMI action tell, as names and values.

use std::time::Duration;

use super::calls::Calls;
use super::state::{Lasting, State};
use crate::ast::guard;
use crate::ast::module::{BUILD_ID, COMPILED_VERSION, running};
use crate::core::gate::Condition;
use crate::core::histogram::Histogram;
use crate::core::quantity::{show_bytes, show_duration};
use crate::delivery::status::{Room, Status};

/// The version as the operator sees it.
pub(super) fn version() -> String {
    format!("{}, build {BUILD_ID}", env!("CARGO_PKG_VERSION"))
}

/// Label, AMI header, value.
type Row = (&'static str, &'static str, String);

/// The rows.
pub(super) fn rows(state: &State) -> Vec<Row> {
    let mut rows = vec![
        ("Version", "Version", version()),
        (
            "Asterisk",
            "Asterisk",
            format!("built for {COMPILED_VERSION}, running {}", running().text),
        ),
        (
            "Loaded",
            "Loaded",
            format!("{} ago", show_duration(state.lasting.loaded.elapsed())),
        ),
        ("Mode", "Mode", mode(state)),
    ];
    if let Some(settings) = &state.settings {
        rows.push(("Planfix", "Url", settings.crm.url.clone()));
    }
    rows.push(("Events", "Events", events(state)));
    if let Some(calls) = &state.calls {
        rows.push(("Calls", "Calls", following(calls)));
        rows.push(("Recording", "Recording", recording(calls)));
    }
    rows.push(("Callbacks", "Callbacks", callbacks(&state.lasting)));
    let Some(delivery) = &state.delivery else {
        return rows;
    };
    let status = delivery.status();
    rows.extend([
        ("CRM", "Crm", crm(&status)),
        ("Queue", "Queue", queue(&status)),
        ("Delivered", "Delivered", status.delivered.to_string()),
        ("Failed", "Failed", failed(&status)),
        ("Dropped", "Dropped", dropped(&status)),
        ("Workers", "Workers", workers(&status)),
        ("Spool", "Spool", spool(&status)),
    ]);
    rows
}

fn mode(state: &State) -> String {
    match &state.settings {
        None => "disabled: planfix.conf has problems, see 'planfix check'".to_owned(),
        Some(settings) if !settings.enabled => "disabled: enabled = no in planfix.conf".to_owned(),
        Some(settings) if !state.problems.is_empty() => {
            format!(
                "{}; planfix.conf has problems since and was not taken over, see 'planfix check'",
                settings.mode.word()
            )
        }
        Some(settings) => settings.mode.word().to_owned(),
    }
}

fn events(state: &State) -> String {
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
    let lasting = &state.lasting;
    format!(
        "{} queued, {} ignored, {} rejected",
        count(&lasting.queued),
        count(&lasting.ignored),
        count(&lasting.rejected)
    )
}

fn following(calls: &Calls) -> String {
    let health = calls.health();
    let tracker = calls.tracker();
    format!(
        "{} followed on {} channels; {} records taken, {} lost, {} waiting; {} requests lost",
        tracker.calls().count(),
        tracker.channels(),
        health.records,
        health.lost_records,
        health.waiting,
        health.lost_requests
    )
}

fn recording(calls: &Calls) -> String {
    let Some(recorder) = calls.recorder() else {
        return "off".to_owned();
    };
    let (progress, path) = (recorder.progress(), recorder.path().display());
    match progress.ended {
        Some(why) => format!("{path} has ended by itself: {why}"),
        None => format!(
            "{path} since {}, {} records, {}",
            show_duration(progress.lasts),
            progress.records,
            show_bytes(progress.bytes)
        ),
    }
}

/// What Asterisk pays for being listened to, message by message. Most messages become no record and cost next to nothing.
fn callbacks(lasting: &Lasting) -> String {
    let micros = |took: Duration| took.as_secs_f64() * 1e6;
    let figures = |histogram: &Histogram, what: &str| {
        format!(
            "{} {what}, median {:.2} µs, p99 {:.2} µs, longest {:.0} µs",
            histogram.count(),
            micros(histogram.quantile(0.5)),
            micros(histogram.quantile(0.99)),
            micros(histogram.longest())
        )
    };
    format!(
        "{}; {}",
        figures(&lasting.callbacks, "messages"),
        figures(&lasting.records, "of them records")
    )
}

fn crm(status: &Status) -> String {
    let next = status
        .next_try
        .map(|moment| format!("; next try in {}", show_duration(status.until(moment))))
        .unwrap_or_default();
    let away = show_duration(status.since(status.condition_since));
    let text = match status.condition {
        Condition::Open => match status.last_good {
            Some(moment) => format!(
                "reachable, last answer {} ago",
                show_duration(status.since(moment))
            ),
            None => "nothing was sent yet".to_owned(),
        },
        Condition::Down => format!(
            "out of reach for {away}: {}{next}; {}",
            status.reason, status.cure
        ),
        Condition::Misconfigured => format!("stopped for {away}: {}{next}; {}", status.reason, status.cure),
    };
    if status.paused {
        format!("paused by the operator ('planfix resume'); {text}")
    } else {
        text
    }
}

fn queue(status: &Status) -> String {
    let oldest = status
        .oldest_age()
        .map(|age| format!(", the oldest for {}", show_duration(age)))
        .unwrap_or_default();
    format!(
        "{} waiting{oldest}, {} under way",
        status.pending, status.under_way
    )
}

fn failed(status: &Status) -> String {
    if status.failed == 0 {
        "0".to_owned()
    } else {
        format!("{}, see 'planfix show failed'", status.failed)
    }
}

fn dropped(status: &Status) -> String {
    format!(
        "{} stale popups, {} popups of cards not shown, {} refused for lack of room",
        status.dropped_stale, status.dropped_unshown, status.refused
    )
}

fn workers(status: &Status) -> String {
    let panics = status.panics + guard::panics();
    let caught = if panics > 0 {
        format!(", {panics} panics caught")
    } else {
        String::new()
    };
    format!("{}{caught}", status.workers)
}

fn spool(status: &Status) -> String {
    let room = match status.room {
        Room::Ample => "",
        Room::Tight => ", nearly full: new popups are refused",
        Room::Full => ", full: events are refused",
    };
    let trouble = match status.spool_trouble.as_str() {
        "" => String::new(),
        text => format!("; cannot be written: {text}; events are kept in memory"),
    };
    let slowest = if status.slowest_commit > Duration::ZERO {
        let (commit, sync) = (status.slowest_commit.as_millis(), status.slowest_sync.as_millis());
        format!(", slowest commit {commit} ms, slowest confirmation by the disk {sync} ms")
    } else {
        String::new()
    };
    let place = if status.spool.is_empty() {
        "being opened"
    } else {
        &status.spool
    };
    format!(
        "{place}, {} of {}{room}{slowest}{trouble}",
        show_bytes(status.spool_bytes),
        show_bytes(status.spool_limit)
    )
}
