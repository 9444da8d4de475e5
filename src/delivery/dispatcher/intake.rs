//! Events come in: from the inbox to the spool, and from the spool into the window.
//!
//! Invariant: an event goes to its lane only if nothing older of its call lies on the disk alone.

use std::sync::Arc;

use super::{Dispatcher, WINDOW};
use crate::core::gate::Millis;
use crate::core::lanes::Parcel;
use crate::delivery::Accepted;
use crate::delivery::spool::{Change, Spool};

impl Dispatcher {
    pub(super) fn take_in(&mut self, fresh: Vec<Accepted>, now: Millis) -> Vec<Arc<Parcel>> {
        let mut parcels = Vec::new();
        for Accepted { drafts, wall, steady } in fresh {
            for draft in drafts {
                let id = self.spool.as_mut().map_or(0, Spool::take_id);
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
                self.lanes.push(parcel, false);
            }
        } else if self.lanes.len() < 2 * WINDOW
            && self.status.spool_trouble.is_empty()
            && !self.has_older_on_disk(&parcel)
        {
            self.lanes.push(parcel, false);
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
                self.lanes.push(Arc::new(Parcel { born, ..row }), true);
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
