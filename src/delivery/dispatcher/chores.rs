//! What is done now and then: stale cards are given up, old events forgotten.

use std::path::Path;
use std::time::Duration;

use super::intake::MOST_SETTLED;
use super::keeping::{ALIVE_WAIT, LOG_HELD};
use super::{CHORE, Dispatcher, WINDOW};
use crate::core::gate::{Millis, millis};
use crate::core::open_card::MOST;
use crate::core::quantity::{show_bytes, show_duration};
use crate::delivery::spool::{Spool, SpoolError, State};

/// The wall clock is believed about what is to be deleted for good when nobody has set it for so long.
const CALM: Millis = 3_600_000;

impl Dispatcher {
    /// What is done now and then.
    pub(super) fn chores(&mut self, now: Millis) {
        self.reopen(now);
        if now < self.next_chores {
            return;
        }
        let busy = self.pending > 0 || now < self.linger_until || self.log_told;
        self.next_chores = now + if busy { 1_000 } else { 10_000 };
        self.look_for_disk(now);
        self.look_for_damage(now);
        self.give_up_stale(now);
        self.save(now, true);
        self.try_again(now);
        self.make_room_for_calls(now);
        if self.is_refused() {
            // Each of the others would only wait for the lock that somebody holds, and calls would wait behind it. Links go out
            // all the same; whoever writes events says what cannot be written.
            let _ = self.keep_recordings(now);
            return self.measure();
        }
        self.keep_open_cards(now);
        if let Err(error) = self.forget_stories() {
            return self.spool_failed(&error, now);
        }
        if let Err(error) = self.keep_recordings(now) {
            return self.spool_failed(&error, now);
        }
        let wall = self.clock.wall();
        let calm = self.leap.calm_for(now, wall);
        let Some(spool) = &self.spool else { return };
        for (state, keep) in [
            (State::Delivered, self.config.keep_delivered),
            (State::Dropped, self.config.keep_delivered),
            (State::Failed, self.config.keep_failed),
        ] {
            // What failed is the operator's to look at, and does not grow old because a clock was set for a moment.
            if state == State::Failed && calm < CALM {
                continue;
            }
            let before = wall.saturating_sub(millis(keep));
            match spool.forget(state, before, CHORE) {
                Ok(count) if state == State::Failed && count > 0 => {
                    self.status.failed = self.status.failed.saturating_sub(count as u64);
                    log::warn!("{count} failed events are older than keep_failed and were deleted");
                }
                Ok(_) => {}
                Err(error) => return self.spool_failed(&error, now),
            }
        }
        if self.unsaved.is_empty() {
            match spool.oldest() {
                Ok(oldest) => self.status.oldest = oldest,
                Err(error) => return self.spool_failed(&error, now),
            }
        }
        self.status.spool_bytes = spool.bytes();
        self.keep_log_short();
        self.measure();
    }

    /// A file that somebody has overwritten is to be found out while what it held still lies in memory. SQLite believes what it has
    /// read for as long as the log's index says that nobody has changed it.
    fn look_for_damage(&mut self, now: Millis) {
        let looked = self.spool.as_ref().map_or(Ok(()), Spool::look_again);
        if let Err(error @ SpoolError::Damaged(_)) = looked {
            self.spool_failed(&error, now);
        }
    }

    /// A log that has outgrown its part of the limit is copied and begun anew, also when nothing else is written. While another
    /// program reads the file for long that cannot be, and the operator has to hear of it before events are refused.
    fn keep_log_short(&mut self) {
        let (Some(spool), Some(syncer)) = (&self.spool, &self.syncer) else {
            return;
        };
        let Some(path) = spool.path().map(Path::to_owned) else {
            return;
        };
        if spool.log_excess() == 0 {
            if std::mem::take(&mut self.log_told) {
                log::warn!("The log of {} is short again", path.display());
            }
            return;
        }
        syncer.wake(path.clone(), spool.log_bytes());
        match syncer.held_for() {
            None => {
                // What was copied is cut off by the next write; whoever writes events says when that fails.
                let _ = spool.set_meta("checked", &self.clock.wall().to_string());
            }
            Some(held) if held >= LOG_HELD && !self.log_told => {
                self.log_told = true;
                log::warn!(
                    "Another program has been reading {} for {} and keeps its log from being copied; the log has grown to {} and counts for max_spool; close that program: 'fuser -v {}' names it",
                    path.display(),
                    show_duration(Duration::from_secs(held.as_secs())),
                    show_bytes(spool.log_length()),
                    path.display()
                );
            }
            Some(_) => {}
        }
    }

    /// Old events that came while the window was full lie in memory and on the disk. They must not take the place of the cards
    /// of calls that go on when the CRM is back.
    fn make_room_for_calls(&mut self, now: Millis) {
        let moment = now.saturating_sub(millis(self.config.stale_popup));
        self.lanes.age(moment);
        if self.lanes.len() > WINDOW && self.unsaved.is_empty() && self.status.spool_trouble.is_empty() {
            self.lanes.let_go(self.cursor, moment);
        }
    }

    /// The table of open cards: what found no room with its event, and that this run is alive, which is the talk time that is
    /// known after a crash. While nobody talks nothing is written.
    fn keep_open_cards(&mut self, now: Millis) {
        let excess = self.open_cards.forget_excess();
        if excess > 0 {
            log::warn!(
                "{MOST} cards were shown and never closed; the oldest {excess} of them are forgotten; whoever sends INCOMING or OUTGOING must send COMPLETED with the same callid and ext"
            );
        }
        if self.cards_wait || !self.open_cards.are_written() {
            self.save_open_cards();
        }
        // The chores come every ten seconds at least.
        if now >= self.alive_written + ALIVE_WAIT {
            self.write_alive(now);
        }
    }

    /// Popups that wait while nothing is sent: those in memory, then those on the disk, each row once.
    pub(super) fn give_up_stale(&mut self, now: Millis) {
        let stale = millis(self.config.stale_popup);
        let old = self
            .lanes
            .take(|parcel| parcel.draft.kind.is_popup() && now.saturating_sub(parcel.born) > stale);
        for parcel in old {
            self.give_up(&parcel, "stale: the card is no longer worth showing", now);
        }
        if self.unloaded() == 0 {
            self.chore_cursor = self.cursor;
            return;
        }
        let settled = self.settled_unsaved();
        if settled.len() > MOST_SETTLED {
            return;
        }
        let wall = self.clock.wall();
        let rows = match &self.spool {
            Some(spool) => spool.pending_after(self.chore_cursor.max(self.cursor), CHORE),
            None => return,
        };
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) => return self.spool_failed(&error, now),
        };
        for row in rows {
            if wall.saturating_sub(row.accepted) <= stale {
                return;
            }
            self.chore_cursor = row.id;
            if row.draft.kind.is_popup() && !self.lanes.contains(row.id) && !settled.contains(&row.id) {
                self.give_up(&row, "stale: the card is no longer worth showing", now);
            }
        }
    }
}
