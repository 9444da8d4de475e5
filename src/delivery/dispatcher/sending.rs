//! Requests go out, and what their answers mean.
//!
//! Invariant: every request that was handed out comes back here exactly once, and is then settled, put back or rests.

use std::sync::atomic::Ordering;

use super::Dispatcher;
use crate::core::draft::Kind;
use crate::core::gate::{Condition, Millis, News, Permission, millis};
use crate::core::lanes::Parcel;
use crate::core::reply::{Policy, Trouble};
use crate::delivery::spool::{Change, State};
use crate::delivery::worker::{Job, Outcome};

/// Requests that are handed out ahead, for each worker.
const AHEAD: usize = 16;
/// At most one warning about refused requests in this time.
const REFUSED_WARNING: Millis = 60_000;

impl Dispatcher {
    pub(super) fn hand_out(&mut self, now: Millis) {
        loop {
            let probe = match self.gate.permission(now) {
                Permission::All if self.has_place() => false,
                Permission::Probe if self.has_place() && self.lanes.under_way() == 0 => true,
                _ => break,
            };
            self.shared.closed.store(probe, Ordering::SeqCst);
            let late = self.late_may_go(now);
            let next = if probe {
                let turned_away = &self.turned_away;
                self.lanes.next_probe(now, |id| turned_away.get(&id).copied())
            } else {
                self.lanes.next(now, late)
            };
            let Some(parcel) = next else { break };
            if let Some(reason) = self.pointless(&parcel, now) {
                self.give_up(&parcel, reason, now);
                self.lanes.finish(&parcel.draft.callid);
                continue;
            }
            let Some(parcel) = self.with_its_recording(parcel, now) else {
                continue;
            };
            self.gate.sent(now);
            if self.is_late(parcel.born, now) {
                self.pace.go(now, self.config.backlog_rate);
            }
            let job = if probe {
                Job::Probe(parcel)
            } else {
                Job::Send(parcel)
            };
            // The dispatcher holds a receiver itself, so this cannot fail.
            let _ = self.jobs.send(job);
        }
    }

    /// Whether one more request may be handed out to the workers, if the gate lets it.
    pub(super) fn has_place(&self) -> bool {
        self.spool.is_some() && !self.reopen && self.lanes.under_way() < self.hands * AHEAD
    }

    /// Whether something that was born then has waited for so long that nobody waits for it any more.
    pub(super) fn is_late(&self, born: Millis, now: Millis) -> bool {
        now.saturating_sub(born) > millis(self.config.stale_popup)
    }

    /// What is late leaves the CRM time for others, and one worker to the calls that go on now.
    fn late_may_go(&self, now: Millis) -> bool {
        self.has_hand_for_late() && self.pace.due() <= now
    }

    /// Nothing late is handed out ahead: what comes fresh would wait behind it.
    fn has_hand_for_late(&self) -> bool {
        self.lanes.under_way() < self.hands.saturating_sub(1).max(1)
    }

    /// When the next request may go that is ready and has to wait for its turn.
    pub(super) fn next_turn(&self) -> Option<Millis> {
        let waits = self.lanes.is_first_late() && self.has_hand_for_late();
        waits.then(|| self.pace.due())
    }

    /// Why a request need not be made any more.
    pub(super) fn pointless(&self, parcel: &Parcel, now: Millis) -> Option<&'static str> {
        if !parcel.draft.kind.is_popup() {
            None
        } else if self.is_late(parcel.born, now) {
            Some("stale: the card is no longer worth showing")
        } else if parcel.draft.kind == Kind::Accepted && self.unshown.of(&card(parcel)).is_some() {
            Some("its card was not shown")
        } else {
            None
        }
    }

    pub(super) fn give_up(&mut self, parcel: &Parcel, reason: &str, now: Millis) {
        if parcel.draft.kind.opens() {
            self.unshown.note(&card(parcel), ());
        }
        if reason.starts_with("stale") {
            self.status.dropped_stale += 1;
        } else {
            self.status.dropped_unshown += 1;
        }
        self.settle(parcel.id, State::Dropped, Some(reason.to_owned()), now);
    }

    pub(super) fn settle(&mut self, id: u64, state: State, reason: Option<String>, now: Millis) {
        self.pending = self.pending.saturating_sub(1);
        self.turned_away.remove(&id);
        match state {
            State::Delivered => self.status.delivered += 1,
            State::Failed => self.status.failed += 1,
            State::Dropped => {}
        }
        let at = self.clock.wall();
        self.note(
            Change::Settle {
                id,
                state,
                reason,
                at,
            },
            now,
        );
    }

    pub(super) fn outcome(&mut self, parcel: &Parcel, outcome: Outcome) {
        let now = self.clock.steady();
        let callid = parcel.draft.callid.as_str();
        match outcome {
            Outcome::Acknowledged { begun } => {
                self.gate.prove(begun);
                self.status.last_good = Some(now);
                self.welcome(now);
                self.settle(parcel.id, State::Delivered, None, now);
                self.lanes.finish(callid);
            }
            Outcome::NotSent => self.lanes.put_back(callid),
            // Whatever is broken off by the end says nothing of the CRM.
            Outcome::Trouble { .. } if self.stop.is_some() => self.lanes.put_back(callid),
            Outcome::Trouble { trouble, begun } => self.trouble(parcel, &trouble, begun, now),
            Outcome::Panicked => {
                self.status.panics += 1;
                log::error!(
                    "A worker caught a panic at event {} and goes on; please report the message before this one",
                    parcel.id
                );
                self.gate.lost(now, fastrand::f64());
                self.lanes.rest(
                    callid,
                    now + millis(self.backoff.wait(parcel.attempts + 1, fastrand::f64())),
                );
            }
        }
    }

    /// The CRM answered as it should.
    pub(super) fn welcome(&mut self, now: Millis) {
        if self.gate.good(now) {
            self.status.reason.clear();
            self.status.cure.clear();
            self.lanes.wake_all();
            log::warn!(
                "Planfix answers again; {} requests wait and are sent now",
                self.pending
            );
        }
    }

    pub(super) fn trouble(&mut self, parcel: &Parcel, trouble: &Trouble, begun: Millis, now: Millis) {
        let callid = parcel.draft.callid.as_str();
        let its_own = self.its_own(parcel.id, trouble);
        let trouble = its_own.as_ref().unwrap_or(trouble);
        let policy = trouble.policy();
        let attempts = parcel.attempts + 1;
        self.tried += 1;
        self.note(
            Change::Tried {
                id: parcel.id,
                attempts,
                reason: trouble.to_string(),
            },
            now,
        );
        if policy == Policy::Fail {
            if its_own.is_none() {
                self.gate.prove(begun);
            }
            self.welcome(now);
            self.settle(parcel.id, State::Failed, Some(trouble.to_string()), now);
            self.lanes.finish(callid);
            self.warn_of_refused(parcel, trouble, now);
            return;
        }
        let news = self.gate.bad(policy, begun, now, fastrand::f64());
        if news != News::Stale {
            self.status.reason = trouble.to_string();
            trouble.cure().clone_into(&mut self.status.cure);
            if matches!(trouble, Trouble::Address(_)) {
                self.suspect(parcel, news, begun, now);
            }
        }
        if news == News::Worse {
            self.shared.closed.store(true, Ordering::SeqCst);
            match self.gate.condition().0 {
                Condition::Misconfigured => log::error!(
                    "Delivery to Planfix stops, {trouble}; nothing is lost, {}",
                    trouble.cure()
                ),
                _ => log::warn!(
                    "Planfix is out of reach, {trouble}; requests are kept and tried again, {}",
                    trouble.cure()
                ),
            }
        }
        let rest = if policy == Policy::Retry || news == News::Stale {
            // The gate may be open, and this call must not run against it again and again.
            millis(self.backoff.wait(attempts, fastrand::f64()))
        } else {
            // The gate says when.
            0
        };
        self.lanes.rest(callid, now + rest);
    }

    /// Something before the CRM dislikes what stands in this very request: it was turned away before, the same address was right
    /// for another that was not begun earlier, and nothing speaks against it now.
    fn its_own(&self, id: u64, trouble: &Trouble) -> Option<Trouble> {
        let Trouble::Address(status) = *trouble else {
            return None;
        };
        let before = self.turned_away.get(&id)?;
        let is_right = self.gate.is_proven_since(*before) && self.gate.condition().0 == Condition::Open;
        is_right.then(|| Trouble::Refused {
            status,
            error: "other requests are accepted at this address".to_owned(),
        })
    }

    /// The address is wrong for this request. If it is the only one since the address was last right, another call's tells.
    fn suspect(&mut self, parcel: &Parcel, news: News, begun: Millis, now: Millis) {
        self.turned_away.insert(parcel.id, begun);
        let alone = self
            .turned_away
            .iter()
            .all(|(id, moment)| *id == parcel.id || self.gate.is_proven_since(*moment));
        if alone {
            let others_wait = self.lanes.of_call(&parcel.draft.callid).count() < self.lanes.len();
            self.gate.doubt(news == News::Worse && others_wait, now);
        }
    }

    /// A CRM that refuses everything must not fill the log.
    pub(super) fn warn_of_refused(&mut self, parcel: &Parcel, trouble: &Trouble, now: Millis) {
        self.refused_since_warning += 1;
        if now < self.next_refused_warning {
            return;
        }
        let more = self.refused_since_warning - 1;
        log::warn!(
            "Planfix does not accept event {} ({} of call {}), {trouble}; it is in the failed list, see 'planfix show failed'{}",
            parcel.id,
            parcel.draft.kind,
            parcel.draft.callid,
            if more > 0 {
                format!(", and {more} more since the last such message")
            } else {
                String::new()
            }
        );
        self.refused_since_warning = 0;
        self.next_refused_warning = now + REFUSED_WARNING;
    }
}

/// One card on one screen.
pub(super) fn card(parcel: &Parcel) -> String {
    format!("{}\n{}", parcel.draft.callid, parcel.draft.ext)
}
