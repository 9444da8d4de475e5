//! Events come in: from the inbox to the spool, and from the spool into the window.
//!
//! Invariant: an event goes to its lane only if nothing older of its call lies on the disk alone.

use std::sync::Arc;

use super::{Dispatcher, WINDOW};
use crate::core::draft::Kind;
use crate::core::gate::Millis;
use crate::core::lanes::{Haste, Parcel};
use crate::core::open_card::dead;
use crate::delivery::Accepted;
use crate::delivery::spool::{Change, Spool};

impl Dispatcher {
    /// Takes events in: numbers them, writes them, and gives them to their lanes.
    pub(super) fn accept(&mut self, fresh: Vec<Accepted>, now: Millis) {
        let parcels = self.take_in(fresh, now);
        self.save(now, !parcels.is_empty());
        for parcel in &parcels {
            self.admit(Arc::clone(parcel), now);
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
        let drafts = dead(&self.open_cards.list(wall), started);
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

    /// A saved event goes to its lane if there is room and nothing older of its call is still on the disk alone.
    pub(super) fn admit(&mut self, parcel: Arc<Parcel>, now: Millis) {
        let behind = self.unloaded();
        self.pending += 1;
        if self.status.oldest.is_none() {
            self.status.oldest = Some(parcel.accepted);
        }
        if parcel.draft.kind.opens() {
            self.gate.fresh(now);
        }
        if behind == 0 {
            if self.lanes.len() < WINDOW {
                self.cursor = self.cursor.max(parcel.id);
                self.lanes.push(parcel, Haste::Live);
            }
        } else if self.lanes.len() < 2 * WINDOW
            && self.status.spool_trouble.is_empty()
            && !self.has_older_on_disk(&parcel)
        {
            self.lanes.push(parcel, Haste::Live);
        }
    }

    pub(super) fn has_older_on_disk(&self, parcel: &Parcel) -> bool {
        let Some(spool) = &self.spool else { return true };
        spool
            .pending_of_call(&parcel.draft.callid, self.cursor)
            .map_or(true, |ids| {
                ids.iter().any(|id| *id < parcel.id && !self.lanes.contains(*id))
            })
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
        // What is settled but unsaved would be read as pending. New events that find no room on the disk may stay
        // unsaved: the disk's own are older, and delivering those makes the room.
        self.save(now, true);
        if !self.unsaved.iter().all(|change| matches!(change, Change::Add(_))) {
            return;
        }
        let Some(spool) = &self.spool else { return };
        let room = WINDOW - self.lanes.len();
        let rows = match spool.pending_after(self.cursor, room) {
            Ok(rows) => rows,
            Err(error) => return self.spool_failed(&error, now),
        };
        let exhausted = rows.len() < room;
        let wall = self.clock.wall();
        for row in rows {
            self.cursor = row.id;
            if !self.lanes.contains(row.id) {
                let born = now.saturating_sub(wall.saturating_sub(row.accepted));
                let haste = if self.is_late(born, now) {
                    Haste::Late
                } else {
                    Haste::Backlog
                };
                self.lanes.push(Arc::new(Parcel { born, ..row }), haste);
            }
        }
        if exhausted {
            let unsaved = self
                .unsaved
                .iter()
                .filter(|change| !self.lanes.contains(change.id()))
                .count();
            self.pending = (self.lanes.len() + unsaved) as u64;
        }
    }
}
