//! What `planfix show status` and its AMI action tell, as names and values.

use std::time::Duration;

use super::calls::Calls;
use super::follow::COSTS;
use super::greetings::Held;
use super::state::{Lasting, State};
use crate::ast::guard;
use crate::ast::module::{BUILD_ID, COMPILED_VERSION, running};
use crate::core::contact::book::Standing;
use crate::core::gate::Condition;
use crate::core::greeting::greeting::Sheet;
use crate::core::greeting::kind::Presence;
use crate::core::histogram::Histogram;
use crate::core::quantity::{show_bytes, show_duration};
use crate::delivery::contacts::Contacts;
use crate::delivery::links::Links;
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
        let by_setup = state.lasting.set_up.load(std::sync::atomic::Ordering::Relaxed);
        let source = if by_setup {
            "Planfix's setup"
        } else {
            "planfix.conf"
        };
        rows.push(("Key from", "KeyFrom", source.to_owned()));
    }
    rows.push(("Clicks", "Clicks", state.lasting.api.summary()));
    let watched = state
        .settings
        .as_ref()
        .is_some_and(|settings| !settings.status.key.is_empty());
    if watched {
        rows.push(("Watchers", "Watchers", state.lasting.watchers.summary()));
    }
    if let Some(links) = super::links::of(state) {
        rows.push(("Links", "Links", playing(&links, &state.lasting)));
    }
    rows.push(("Greetings", "Greetings", greetings(&state.lasting.greetings)));
    rows.push(("Events", "Events", events(state)));
    if let Some(calls) = state.calls.as_ref().filter(|calls| !calls.is_over()) {
        rows.push(("Calls", "Calls", following(calls)));
        rows.push(("Recording", "Recording", recording(calls)));
    }
    rows.push(("Callbacks", "Callbacks", callbacks()));
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
        ("Recordings", "Recordings", recordings(&status)),
    ]);
    if let Some(contacts) = &state.contacts {
        rows.push(("Contacts", "Contacts", asking(contacts)));
    }
    rows
}

fn mode(state: &State) -> String {
    match &state.settings {
        None => "disabled: planfix.conf has problems, see 'planfix check'".to_owned(),
        Some(settings) if !settings.enabled => "disabled: enabled = no in planfix.conf".to_owned(),
        Some(settings) if settings.awaits_setup() => {
            "waits for Planfix to send its address and its key (setup): switch the integration on in Planfix, or set \
             url and token in planfix.conf"
                .to_owned()
        }
        Some(settings) if !state.problems.is_empty() => {
            format!(
                "{}; planfix.conf has problems since and was not taken over, see 'planfix check'",
                settings.mode.word()
            )
        }
        Some(settings) => settings.mode.word().to_owned(),
    }
}

fn greetings(held: &Held) -> String {
    let trouble = held.trouble();
    let Some(greetings) = held.running() else {
        return trouble.unwrap_or_else(|| "none: planfix.conf is not in force".to_owned());
    };
    let (known, now) = (greetings.known(), greetings.now());
    let count = |what: fn(&Sheet, u64) -> bool| known.iter().filter(|(_, sheet)| what(sheet, now)).count();
    let recorded = known.iter().flat_map(|(_, sheet)| &sheet.greetings);
    let (greetings, bytes) = recorded.fold((0, 0), |(count, bytes), greeting| {
        (count + 1, bytes + greeting.bytes)
    });
    let trouble = trouble.map_or_else(String::new, |trouble| {
        format!("; planfix.conf is not followed: {trouble}")
    });
    if known.is_empty() {
        return format!("nothing is recorded{trouble}");
    }
    format!(
        "{greetings} of {} operators, {}; heard of {} of them, {} switched off, {} on vacation{trouble}",
        known.len(),
        show_bytes(bytes),
        count(Sheet::is_active),
        count(|sheet, _| !sheet.enabled),
        count(|sheet, now| sheet.presence_at(now) == Presence::Vacation),
    )
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
fn callbacks() -> String {
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
        figures(&COSTS.all, "messages"),
        figures(&COSTS.records, "of them records")
    )
}

fn playing(links: &Links, lasting: &Lasting) -> String {
    let sent = match lasting.downloads.running() {
        0 => String::new(),
        running => format!("; {running} recordings are being sent"),
    };
    links.summary() + &sent
}

fn asking(contacts: &Contacts) -> String {
    let (counts, standing) = (contacts.counts(), contacts.standing());
    format!(
        "{} asked: {} known already, {} answered in time, {} answered with something old, {} time-outs, {} errors; {} requests, {} \
         under way, {} callers remembered; {}",
        counts.asked,
        counts.cached,
        counts.answered,
        counts.stale,
        counts.late,
        counts.failed,
        counts.requests,
        standing.under_way,
        standing.callers,
        self::standing(&standing)
    )
}

/// Whether the CRM is asked about callers, as a sentence.
pub(super) fn standing(standing: &Standing) -> String {
    let trouble = standing
        .trouble
        .as_ref()
        .map(|trouble| format!("{trouble}; {}", trouble.cure()));
    match (&standing.rests, trouble) {
        (None, None) => "Planfix is asked".to_owned(),
        (None, Some(trouble)) => format!("Planfix is asked, and failed last: {trouble}"),
        (Some(next), trouble) => {
            let next = match next {
                Some(0) => "tried with the next call".to_owned(),
                Some(rest) => format!("tried again in {} s", rest.div_ceil(1_000)),
                None => "being tried".to_owned(),
            };
            format!(
                "Planfix is not asked, {next}: {}",
                trouble.unwrap_or_else(|| "it did not answer".to_owned())
            )
        }
    }
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
    let stalled = status.stalled.map_or_else(String::new, |stalled| {
        format!(
            "; the disk has not answered for {}: {} events wait in memory, and the rest is as of then",
            show_duration(stalled),
            status.inbox
        )
    });
    format!(
        "{} waiting{oldest}, {} under way{stalled}",
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

fn recordings(status: &Status) -> String {
    let Some(recordings) = &status.recordings else {
        return "left alone: no link is set in [recordings]".to_owned();
    };
    let counts = &recordings.counts;
    let reason = match (counts.reason.as_str(), recordings.no_link.as_str()) {
        ("", "") => String::new(),
        (reason, "") | ("", reason) => format!("; {reason}"),
        (reason, no_link) => format!("; {reason}; {no_link}"),
    };
    format!(
        "{} waiting, {} converting, {} converted, {} failed, {} left as they are{reason}",
        counts.waiting, counts.converting, recordings.converted, counts.failed, recordings.refused
    )
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
