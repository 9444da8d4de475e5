//! The figures of `planfix/status` and `planfix/metrics`, as they are now.
//!
//! Invariant: the dispatcher is not asked; its figures are those of its last round.

use std::sync::atomic::{AtomicU64, Ordering};

use super::calls::Calls;
use super::follow::COSTS;
use super::greetings::Held;
use super::state::State;
use crate::ast::guard;
use crate::ast::module::{BUILD_ID, running};
use crate::core::gauges::{self, Gauges};
use crate::core::greeting::kind::Presence;
use crate::core::tracker::call::Progress;
use crate::delivery::contacts::Contacts;
use crate::delivery::status::{Recordings, Status};

/// All of them.
pub(super) fn of(state: &State) -> Gauges {
    let lasting = &state.lasting;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let settings = state.settings.as_deref();
    let status = state.delivery.as_ref().map(|delivery| delivery.status());
    Gauges {
        build: gauges::Build {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            id: BUILD_ID.to_owned(),
            asterisk: running().text.clone(),
        },
        loaded: lasting.loaded.elapsed(),
        enabled: state.delivery.is_some(),
        awaits_setup: settings.is_some_and(|settings| settings.enabled && settings.awaits_setup()),
        problems: state.problems.len() as u64,
        mode: settings.map(|settings| settings.mode).unwrap_or_default(),
        panics: guard::panics() + status.as_ref().map_or(0, |status| status.panics),
        events: gauges::Events {
            queued: count(&lasting.queued),
            ignored: count(&lasting.ignored),
            rejected: count(&lasting.rejected),
        },
        messages: (&COSTS.all).into(),
        records: (&COSTS.records).into(),
        clicks: lasting.api.clicks(),
        downloads: lasting.downloads.running() as u64,
        watchers: gauges::Watchers {
            acl: lasting.watchers.acl.count(),
            key: lasting.watchers.key.count(),
        },
        delivery: status.as_ref().map(Status::gauges),
        calls: state.calls.as_deref().map(calls),
        contacts: state.contacts.as_deref().map(contacts),
        recordings: status
            .as_ref()
            .and_then(|status| status.recordings.as_ref())
            .map(Recordings::gauges),
        greetings: greetings(&lasting.greetings),
    }
}

fn calls(calls: &Calls) -> gauges::Calls {
    let health = calls.health();
    let tracker = calls.tracker();
    let cards = tracker.calls().flat_map(|call| &call.cards);
    gauges::Calls {
        followed: tracker.calls().count() as u64,
        channels: tracker.channels() as u64,
        cards: cards.filter(|card| card.progress != Progress::Closed).count() as u64,
        records: health.records,
        lost_records: health.lost_records,
        waiting: health.waiting as u64,
        lost_requests: health.lost_requests,
    }
}

fn contacts(contacts: &Contacts) -> gauges::Contacts {
    let (counts, standing) = (contacts.counts(), contacts.standing());
    gauges::Contacts {
        asked: counts.asked,
        known: counts.cached,
        in_time: counts.answered,
        old: counts.stale,
        late: counts.late,
        failed: counts.failed,
        requests: counts.requests,
        under_way: standing.under_way as u64,
        remembered: standing.callers as u64,
        rests: standing.rests.is_some(),
    }
}

fn greetings(held: &Held) -> Option<gauges::Greetings> {
    let greetings = held.running()?;
    let now = greetings.now();
    let mut figures = gauges::Greetings::default();
    for (_, sheet) in greetings.known() {
        figures.operators += 1;
        figures.heard += u64::from(sheet.is_active(now));
        figures.switched_off += u64::from(!sheet.enabled);
        figures.on_vacation += u64::from(sheet.presence_at(now) == Presence::Vacation);
        figures.recorded += sheet.greetings.len() as u64;
        figures.bytes += sheet.greetings.iter().map(|greeting| greeting.bytes).sum::<u64>();
    }
    Some(figures)
}
