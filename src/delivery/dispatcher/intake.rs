//! Events come in: from the inbox to the spool, and from the spool into the window.
//!
//! Invariant: an event goes to its lane only if nothing older of its call lies on the disk alone, or in `unsaved` alone while the
//! disk refuses. What is pending is what the disk says and what is in `unsaved`, taken together.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Dispatcher, WINDOW};
use crate::core::draft::Kind;
use crate::core::gate::Millis;
use crate::core::lanes::{Haste, Parcel};
use crate::delivery::Accepted;
use crate::delivery::spool::{Change, Spool};

/// While the disk refuses, no more events of its backlog than these are settled in memory: a restart would send them again, and
/// the rest of what memory holds is for calls of now.
pub(super) const MOST_SETTLED: usize = 25_000;

impl Dispatcher {
    /// Takes events in: numbers them, writes them, and gives them to their lanes.
    pub(super) fn accept(&mut self, fresh: Vec<Accepted>, now: Millis) {
        let mut waiting = if fresh.is_empty() {
            HashSet::new()
        } else {
            self.calls_waiting_unsaved()
        };
        let parcels = self.take_in(fresh, now);
        self.save(now, !parcels.is_empty());
        for parcel in &parcels {
            self.admit(Arc::clone(parcel), &mut waiting, now);
        }
        for parcel in parcels {
            if parcel.draft.kind == Kind::Completed {
                self.tell_of_recording_after(&parcel.draft.callid, now);
            }
        }
    }

    /// Tells the ends of calls that an earlier Asterisk has left open, once for each table of cards that comes to light.
    pub(super) fn close_dead(&mut self, now: Millis) {
        if !std::mem::take(&mut self.look_for_dead) {
            return;
        }
        let Some(started) = self.dead_before else { return };
        let wall = self.clock.wall();
        let drafts = self.open_cards.left_open(self.inherited_from_earlier, started);
        if drafts.is_empty() {
            return;
        }
        log::warn!(
            "{} cards were left open when Asterisk ended without closing them; their ends are told to Planfix now",
            drafts.len()
        );
        let ends = Accepted {
            drafts,
            news: None,
            wall,
            steady: now,
        };
        self.accept(vec![ends], now);
    }

    pub(super) fn take_in(&mut self, fresh: Vec<Accepted>, now: Millis) -> Vec<Arc<Parcel>> {
        let mut parcels = Vec::new();
        for Accepted {
            drafts,
            news,
            wall,
            steady,
        } in fresh
        {
            if let Some(news) = news {
                self.hear_of_recording(news);
            }
            for mut draft in drafts {
                self.promise_recording(&mut draft);
                self.resend_before(&draft.callid, now);
                let id = self.spool.as_mut().map_or(0, Spool::take_id);
                self.open_cards.note(&draft, wall);
                let parcel = Arc::new(Parcel {
                    id,
                    accepted: wall,
                    born: steady,
                    attempts: 0,
                    draft,
                });
                self.note(Change::Add(Arc::clone(&parcel)), now);
                parcels.push(parcel);
            }
        }
        parcels
    }

    /// An event goes to its lane if there is room and nothing older of its call waits elsewhere. `waiting`: calls of which
    /// something does that is not on the disk yet.
    fn admit(&mut self, parcel: Arc<Parcel>, waiting: &mut HashSet<String>, now: Millis) {
        let behind = self.unloaded();
        self.pending += 1;
        if self.status.oldest.is_none() {
            self.status.oldest = Some(parcel.accepted);
        }
        if parcel.draft.kind.opens() {
            self.gate.fresh(now);
        }
        if behind == 0 && self.lanes.len() < WINDOW {
            self.cursor = self.cursor.max(parcel.id);
            self.lanes.push(parcel, Haste::Live);
        } else if behind > 0
            && self.lanes.len() < 2 * WINDOW
            && !waiting.contains(&parcel.draft.callid)
            && !self.has_older_on_disk(&parcel)
        {
            self.lanes.push(parcel, Haste::Live);
        } else {
            waiting.insert(parcel.draft.callid.clone());
        }
    }

    fn has_older_on_disk(&self, parcel: &Parcel) -> bool {
        let Some(spool) = &self.spool else { return true };
        let is_settled = |wanted: u64| {
            self.unsaved
                .iter()
                .any(|change| matches!(change, Change::Settle { id, .. } if *id == wanted))
        };
        spool
            .pending_of_call(&parcel.draft.callid, self.cursor)
            .map_or(true, |ids| {
                ids.iter()
                    .any(|id| *id < parcel.id && !self.lanes.contains(*id) && !is_settled(*id))
            })
    }

    /// The calls of which something that the disk has refused is in no lane. Without a backlog everything is in its lane.
    fn calls_waiting_unsaved(&self) -> HashSet<String> {
        if self.unloaded() == 0 {
            return HashSet::new();
        }
        let settled = self.settled_unsaved();
        let waiting = self.unsaved.iter().filter_map(|change| match change {
            Change::Add(parcel) if !self.lanes.contains(parcel.id) && !settled.contains(&parcel.id) => {
                Some(parcel.draft.callid.clone())
            }
            _ => None,
        });
        waiting.collect()
    }

    /// What the disk still takes for pending although it is settled.
    pub(super) fn settled_unsaved(&self) -> HashSet<u64> {
        let settled = self.unsaved.iter().filter_map(|change| match change {
            Change::Settle { id, .. } => Some(*id),
            _ => None,
        });
        settled.collect()
    }

    /// Pending events that lie on the disk alone.
    pub(super) fn unloaded(&self) -> u64 {
        self.pending.saturating_sub(self.lanes.len() as u64)
    }

    /// Reads the next part of the backlog when the window has room.
    pub(super) fn load(&mut self, now: Millis) {
        if self.unloaded() == 0 || self.lanes.len() >= WINDOW / 2 {
            return;
        }
        // What is settled but unsaved would be read as pending.
        self.save(now, true);
        let settled = self.settled_unsaved();
        if settled.len() > MOST_SETTLED {
            return;
        }
        let Some(spool) = &self.spool else { return };
        let room = WINDOW - self.lanes.len();
        let rows = match spool.pending_after(self.cursor, room) {
            Ok(rows) => rows,
            Err(error) => return self.spool_failed(&error, now),
        };
        let exhausted = rows.len() < room;
        let read_up_to = rows.last().filter(|_| !exhausted).map_or(u64::MAX, |row| row.id);
        let wall = self.clock.wall();
        let mut found: Vec<(Arc<Parcel>, Haste)> = rows
            .into_iter()
            .map(|row| {
                let born = now.saturating_sub(wall.saturating_sub(row.accepted));
                (Arc::new(Parcel { born, ..row }), Haste::Backlog)
            })
            .collect();
        // What the disk refuses to take is part of the backlog too: its turn comes when everything older was read.
        found.extend(self.unsaved.iter().filter_map(|change| match change {
            Change::Add(parcel) if parcel.id > self.cursor && parcel.id <= read_up_to => {
                Some((Arc::clone(parcel), Haste::Live))
            }
            _ => None,
        }));
        found.sort_by_key(|(parcel, _)| parcel.id);
        let all = exhausted && found.len() <= room;
        for (parcel, haste) in found.into_iter().take(room) {
            self.cursor = parcel.id;
            if !self.lanes.contains(parcel.id) && !settled.contains(&parcel.id) {
                let late = self.is_late(parcel.born, now);
                self.lanes.push(parcel, if late { Haste::Late } else { haste });
            }
        }
        if all {
            self.pending = self.lanes.len() as u64;
        }
    }
}
