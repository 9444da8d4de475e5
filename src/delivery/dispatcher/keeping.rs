//! The spool is kept: written in groups, replaced when it is damaged, made to do without a disk.
//!
//! Invariant: a change leaves `unsaved` only when it is written, or when it and what it undoes are both unwritten.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::stories::FORGET;
use super::{CHORE, Dispatcher, GROUP, SETTLE_WAIT};
use crate::core::gate::Millis;
use crate::core::lanes::Lanes;
use crate::delivery::spool::{Change, Opened, PROCESS, Spool, SpoolError, State};
use crate::delivery::status::Room;
use crate::delivery::story::FILL_MOST;
use crate::delivery::syncer::Syncer;

/// And when the spool is nearly full.
const GROUP_WHEN_FULL: usize = 16;
/// The moment until which this run is known to be alive is written this often: along with events, and by the chores.
const ALIVE_ALONG: Millis = 1_000;
pub(super) const ALIVE_WAIT: Millis = 5_000;
/// Rows of open cards in one transaction of their own.
const CARDS: usize = 64;
/// Between two tries to write to a disk that refuses.
const DISK_RETRY: Millis = 1_000;
/// Between two tries to open a spool that could not be opened.
const REOPEN: Millis = 60_000;
/// Changes held in memory while the disk refuses.
const MOST_UNSAVED: usize = 50_000;
/// A log that could not be copied for so long is held by somebody who reads, and not by what is written just then.
pub(super) const LOG_HELD: Duration = Duration::from_secs(1);
/// Where the kernel does not say.
const UNKNOWN: &str = "unknown";
/// Thousandths of the limit at which room is made, popups are refused, everything is refused.
const FILL_CLEAN: u32 = 850;
const FILL_TIGHT: u32 = 900;
const FILL_FULL: u32 = 980;

impl Dispatcher {
    pub(super) fn note(&mut self, change: Change, now: Millis) {
        if self.unsaved.is_empty() {
            self.unsaved_since = now;
        }
        self.unsaved.push(change);
    }

    /// Writes what is unsaved if that is due, or `at_once`. False when something stays unsaved.
    pub(super) fn save(&mut self, now: Millis, at_once: bool) -> bool {
        if self.spool.is_none() {
            return false;
        }
        let troubled = !self.status.spool_trouble.is_empty();
        let due = at_once || self.unsaved.len() >= GROUP / 4 || now >= self.unsaved_since + SETTLE_WAIT;
        if self.unsaved.is_empty() {
            return true;
        }
        if !due || (troubled && now < self.next_save) {
            return false;
        }
        if !self.open_cards.are_written() {
            self.write_process();
        }
        let Some(spool) = &mut self.spool else {
            return false;
        };
        let durable = self.unsaved.iter().any(|change| matches!(change, Change::Add(_)));
        let begin = Instant::now();
        let alive = (now >= self.alive_written + ALIVE_ALONG).then(|| self.clock.wall());
        let mut cards = self.open_cards.removals();
        let rows = if self.cards_wait || self.status.room == Room::Full || !self.process_written {
            0
        } else {
            usize::MAX
        };
        cards.extend(self.open_cards.rows(rows));
        let mut written = spool.commit_along(&self.unsaved, &cards, alive);
        let cards_written = written.is_ok();
        if matches!(written, Err(SpoolError::Full(_))) {
            // Neither stories nor the rows of cards may cost an event its place.
            let _ = spool.forget_stories(u64::MAX, 0, FORGET);
            written = spool.commit(&self.unsaved);
        }
        if matches!(written, Err(SpoolError::Full(_))) {
            room_makers_first(&mut self.unsaved);
            // A group that is too large for the room that is left must not hold back what still fits.
            written = loop {
                let part = self.unsaved.len().min(GROUP_WHEN_FULL);
                if part == 0 {
                    break Ok(());
                }
                if let Err(error) = spool.commit_lean(&self.unsaved[..part]) {
                    break Err(error);
                }
                self.unsaved.drain(..part);
            };
        }
        match written {
            Ok(()) => {
                self.status.slowest_commit = self.status.slowest_commit.max(begin.elapsed());
                self.unsaved.clear();
                if cards_written {
                    self.open_cards.removals_written();
                    self.open_cards.rows_written(rows);
                    self.alive_written = if alive.is_some() { now } else { self.alive_written };
                }
                // Losing a settlement to a power cut costs a repetition and nothing else: that waits for the next event,
                // unless the log has to be copied.
                if let (Some(syncer), Some(path)) = (&self.syncer, spool.path())
                    && (durable || spool.log_is_long())
                {
                    syncer.wake(path.to_owned(), spool.log_bytes());
                }
                self.disk_is_full = false;
                if troubled && spool.path().is_some() {
                    self.written_again();
                }
                if !cards_written {
                    self.save_open_cards();
                }
                self.measure();
                true
            }
            Err(error) => {
                self.spool_failed(&error, now);
                false
            }
        }
    }

    fn written_again(&mut self) {
        self.status.spool_trouble.clear();
        if let Some(spool) = &self.spool {
            spool.be_patient(true);
        }
        log::warn!("The spool can be written again; everything that waited in memory is on the disk");
    }

    /// Whether there is no file behind the spool, or no spool.
    pub(super) fn is_in_memory(&self) -> bool {
        self.spool.as_ref().is_none_or(|spool| spool.path().is_none())
    }

    /// Whether the file cannot be written, for another reason than that there is no room in it.
    pub(super) fn is_refused(&self) -> bool {
        !self.status.spool_trouble.is_empty() && !self.disk_is_full && !self.is_in_memory()
    }

    /// Whether a disk that refused still does, where nothing is left that has to be written: everything was delivered meanwhile.
    pub(super) fn try_again(&mut self, now: Millis) {
        if self.status.spool_trouble.is_empty() || !self.unsaved.is_empty() {
            return;
        }
        let Some(spool) = self.spool.as_ref().filter(|spool| spool.path().is_some()) else {
            return;
        };
        match spool.set_meta("checked", &self.clock.wall().to_string()) {
            Ok(()) => {
                self.disk_is_full = false;
                self.written_again();
            }
            Err(error) => self.spool_failed(&error, now),
        }
    }

    /// Writes what the table of open cards lacks. What finds no room waits for the next chores.
    pub(super) fn save_open_cards(&mut self) {
        self.write_process();
        let Some(spool) = &mut self.spool else { return };
        if !self.status.spool_trouble.is_empty() && spool.path().is_some() {
            return;
        }
        // Without its row, a card whose COMPLETED is still to be written would be lost in a crash. Removals go first: they
        // make room.
        if self.unsaved.is_empty() && spool.commit_along(&[], &self.open_cards.removals(), None).is_ok() {
            self.open_cards.removals_written();
        }
        self.cards_wait = loop {
            if !self.process_written {
                break true;
            }
            let rows = self.open_cards.rows(CARDS);
            if rows.is_empty() {
                break false;
            }
            // The rest is for settling events.
            if spool.fill().map_or(true, |fill| fill >= FILL_FULL) {
                break true;
            }
            if spool.commit_along(&[], &rows, None).is_err() {
                break true;
            }
            self.open_cards.rows_written(CARDS);
        };
    }

    /// Notes whose cards the spool has from now on: before the first row of one, and no sooner, so that those that were left open
    /// stay another's until somebody has told their ends.
    fn write_process(&mut self) {
        if let (false, Some(spool)) = (self.process_written, &self.spool) {
            let process = self.process.as_deref().unwrap_or(UNKNOWN);
            self.process_written = spool.set_meta(PROCESS, process).is_ok();
        }
    }

    /// Writes until when this run is known to be alive, if anybody's talk time depends on it.
    pub(super) fn write_alive(&mut self, now: Millis) {
        if !self.open_cards.any_talk() || !self.status.spool_trouble.is_empty() {
            return;
        }
        if let Some(spool) = &self.spool {
            match spool.set_meta("alive", &self.clock.wall().to_string()) {
                Ok(()) => self.alive_written = now,
                Err(error) => self.spool_failed(&error, now),
            }
        }
    }

    pub(super) fn spool_failed(&mut self, error: &SpoolError, now: Millis) {
        // Another program's lock was waited for, so that `now` is past.
        self.next_save = next_try(self.next_save, self.clock.steady());
        if let SpoolError::Damaged(why) = error
            && !self.is_in_memory()
        {
            let why = why.clone();
            return self.replace(&why, now);
        }
        if self.status.spool_trouble.is_empty() {
            let cure = match error {
                SpoolError::Locked(_) => "close the program that has spool.db open in",
                _ => "check the disk below",
            };
            log::error!(
                "The spool cannot be written, {error}; events are delivered from memory and kept there until it can, a restart would lose them; {cure} {}",
                self.folder.display()
            );
        }
        if let Some(spool) = &self.spool {
            spool.be_patient(false);
        }
        self.status.spool_trouble = error.to_string();
        compact(&mut self.unsaved);
        if matches!(error, SpoolError::Full(_)) {
            self.disk_is_full = true;
            // Copied into the database, the log is begun anew in the room that it has: that may be all that is needed, and nothing
            // else wakes the syncer while nothing can be written.
            if let (Some(syncer), Some(path)) = (&self.syncer, self.spool.as_ref().and_then(Spool::path)) {
                syncer.wake(path.to_owned(), 0);
            }
        }
        self.measure();
    }

    /// The file turned out to be damaged while it was in use.
    pub(super) fn replace(&mut self, why: &str, now: Millis) {
        let Some(spool) = self.spool.take() else { return };
        let path = spool
            .path()
            .map(|path| path.display().to_string())
            .unwrap_or_default();
        match spool.replace(&self.folder, self.config.max_spool, self.clock.wall()) {
            Ok((mut spool, aside, rescued)) => {
                log::error!(
                    "The spool {path} is damaged, {why}; it was moved to {} and a new one was started with the {rescued}",
                    aside.display()
                );
                let held: Vec<Change> = self
                    .lanes
                    .iter()
                    .map(|parcel| Change::Add(Arc::clone(parcel)))
                    .collect();
                let written = spool
                    .commit(&held)
                    // What could be rescued of this table may be older than what is known here.
                    .and_then(|()| spool.forget_open_cards());
                if self.gate.is_paused()
                    && let Err(error) = spool.set_meta("paused", "yes")
                {
                    log::warn!(
                        "The pause could not be written to the new spool, {error}; it ends with this run"
                    );
                }
                if let Ok(totals) = spool.totals() {
                    (self.pending, self.status.failed) = (totals.pending, totals.failed);
                }
                self.cursor = 0;
                self.chore_cursor = 0;
                self.process_written = false;
                self.spool = Some(spool);
                self.rewrite_recordings();
                self.open_cards.start_over();
                self.save_open_cards();
                if let Err(error) = written {
                    self.spool_failed(&error, now);
                }
            }
            Err(error) => {
                log::error!(
                    "The spool {path} is damaged, {why}, and no new one can be made, {error}; events are kept in memory, a restart would lose them"
                );
                self.status.spool_trouble = error.to_string();
                self.use_memory();
                let held: Vec<Change> = self
                    .lanes
                    .iter()
                    .map(|parcel| Change::Add(Arc::clone(parcel)))
                    .collect();
                if let Some(spool) = &mut self.spool {
                    let _ = spool.commit(&held);
                }
            }
        }
    }

    pub(super) fn open(&mut self) {
        match Spool::open(&self.folder, self.config.max_spool, self.clock.wall()) {
            Ok(opened) => {
                let spool = self.opened(opened);
                self.begin(spool);
            }
            Err(error) => {
                log::error!(
                    "The spool in {} cannot be opened, {error}; events are kept in memory, a restart would lose them; mend it, and it is used within a minute, or at once after 'module reload res_planfix.so'",
                    self.folder.display()
                );
                self.status.spool_trouble = error.to_string();
                self.use_memory();
            }
        }
    }

    /// Says what had to be done for a spool that was opened.
    pub(super) fn opened(&self, opened: Opened) -> Spool {
        if let Some((aside, why)) = opened.moved {
            log::error!(
                "The spool {} is damaged, {why}; it was moved to {} and a new one was started with the {}",
                self.folder.join(Spool::FILE).display(),
                aside.display(),
                opened.rescued
            );
        }
        opened.spool
    }

    /// Starts the thread that waits for the disk.
    pub(super) fn sync(&mut self) {
        match Syncer::start(&*self.threads) {
            Ok(syncer) => self.syncer = Some(syncer),
            Err(error) => log::error!(
                "The thread that confirms the spool could not be started, {error}; a power cut may lose events"
            ),
        }
    }

    pub(super) fn begin(&mut self, spool: Spool) {
        self.disk_is_full = false;
        self.status.spool_trouble.clear();
        let totals = spool.totals().unwrap_or_default();
        self.pending = totals.pending;
        self.status.oldest = totals.oldest;
        self.status.failed = totals.failed;
        self.status.spool = spool
            .path()
            .map(|path| path.display().to_string())
            .unwrap_or_default();
        if matches!(spool.meta("paused"), Ok(Some(value)) if value == "yes") {
            self.gate.pause(true);
            log::warn!("Delivery to Planfix is paused since an earlier run; 'planfix resume' lets it go on");
        }
        // The first write to a fresh log waits for the disk (SQLite syncs the log's header): better now than with an event.
        if let Err(error) = spool.set_meta("opened", &self.clock.wall().to_string()) {
            log::warn!(
                "The spool was opened but cannot be written, {error}; it is tried again with the first event"
            );
        }
        (self.cursor, self.chore_cursor) = (0, 0);
        // Before anything else is written along with which this run says that it is alive.
        let left_open = spool.inherit_open_cards().or_else(|error| match error {
            // A file that cannot be written can be read.
            SpoolError::Full(_) | SpoolError::Locked(_) | SpoolError::Io(_) => Ok(()),
            damaged => Err(damaged),
        });
        let left_open = left_open.and_then(|()| spool.open_cards());
        self.inherited_from_earlier = match (spool.meta(PROCESS), &self.process) {
            (Ok(Some(known)), Some(mine)) if known != UNKNOWN => Some(known != *mine),
            _ => None,
        };
        self.process_written = false;
        self.spool = Some(spool);
        self.adopt_recordings();
        match left_open {
            Ok(cards) => self.open_cards.adopt(cards),
            Err(error) => self.spool_failed(&error, self.clock.steady()),
        }
        self.measure();
    }

    pub(super) fn use_memory(&mut self) {
        match Spool::in_memory(self.config.max_spool) {
            Ok(mut spool) => {
                // Numbers go on rising when this takes a damaged file's place.
                let held = self.lanes.iter().map(|parcel| parcel.id);
                let held = held.chain(self.unsaved.iter().map(Change::id));
                self.memory_from = held.max().unwrap_or(0) + 1;
                spool.number_from(self.memory_from);
                self.next_reopen = self.clock.steady() + REOPEN;
                self.status.spool = "memory".to_owned();
                self.process_written = false;
                self.spool = Some(spool);
                self.open_cards.start_over_in_memory();
            }
            Err(error) => {
                log::error!("There is no memory for a spool, {error}; no event can be accepted");
                self.set_room(Room::Full);
            }
        }
    }

    /// Now and then a spool in memory tries the disk again, and says nothing until it is there.
    pub(super) fn look_for_disk(&mut self, now: Millis) {
        if !self.is_in_memory() || self.reopen || now < self.next_reopen {
            return;
        }
        self.next_reopen = now + REOPEN;
        match Spool::open_at_once(&self.folder, self.config.max_spool, self.clock.wall()) {
            Ok(opened) => {
                self.regained = Some(self.opened(opened));
                self.reopen = true;
                self.reopen(now);
            }
            Err(error) => self.status.spool_trouble = error.to_string(),
        }
    }

    /// A spool in memory gives way to the disk, which was found again or which a reload wants to be tried. Nothing may be under way
    /// meanwhile.
    pub(super) fn reopen(&mut self, now: Millis) {
        if !self.reopen || self.lanes.under_way() > 0 {
            return;
        }
        self.reopen = false;
        self.return_to_disk(now);
    }

    /// What is in memory goes to the file, and so does everything from now on.
    pub(super) fn return_to_disk(&mut self, now: Millis) {
        self.save(now, true);
        match self.move_to_disk() {
            Ok(count) => {
                self.look_for_dead = true;
                self.save(now, true);
                // The events came along by themselves, and may be the last for long.
                self.save_open_cards();
                log::warn!(
                    "The spool in {} is in use again; {count} events were written to it from memory",
                    self.folder.display()
                );
            }
            Err(error) => {
                log::error!(
                    "The spool in {} still cannot be used, {error}; events are kept in memory",
                    self.folder.display()
                );
                self.status.spool_trouble = error.to_string();
            }
        }
    }

    /// Goes on with the file, in which everything is that was in memory. Returns how many events of that wait.
    fn move_to_disk(&mut self) -> Result<u64, SpoolError> {
        let mut spool = match self.regained.take() {
            Some(spool) => spool,
            None => self.opened(Spool::open(
                &self.folder,
                self.config.max_spool,
                self.clock.wall(),
            )?),
        };
        let (mut count, mut numbers) = (0, HashMap::new());
        if let Some(memory) = &self.spool {
            count = memory.totals()?.pending;
            numbers = spool.take_over(memory, self.memory_from)?;
            // A transaction of their own, so that they cost no event its place.
            if spool.fill().is_ok_and(|fill| fill <= FILL_MOST)
                && let Err(error) = spool.take_stories_over(memory)
            {
                log::warn!("What explains the calls of meanwhile was not moved to the disk, {error}");
            }
        }
        // What is not even in memory's spool follows under the numbers that the file gives.
        let unsaved = std::mem::take(&mut self.unsaved);
        let added = self.unsaved_under_new_numbers(unsaved, &mut spool, &mut numbers);
        self.lanes = Lanes::default();
        self.begin(spool);
        self.pending += added;
        Ok(count + added)
    }

    /// Notes the changes again; returns how many events they add.
    fn unsaved_under_new_numbers(
        &mut self,
        unsaved: Vec<Change>,
        spool: &mut Spool,
        numbers: &mut HashMap<u64, u64>,
    ) -> u64 {
        let mut added = 0;
        for mut change in unsaved {
            let old = change.id();
            if old >= self.memory_from {
                if matches!(change, Change::Add(_)) {
                    numbers.insert(old, spool.take_id());
                }
                // What is known nowhere any more cannot change.
                let Some(new) = numbers.get(&old) else { continue };
                change = change.of(*new);
            }
            added += u64::from(matches!(change, Change::Add(_)));
            self.unsaved.push(change);
        }
        added
    }

    /// Looks at the fill and makes room where it is short.
    pub(super) fn measure(&mut self) {
        let Some(spool) = &mut self.spool else { return };
        let held = self.syncer.as_ref().and_then(Syncer::held_for);
        let held = held.is_some_and(|held| held >= LOG_HELD);
        spool.hold_log(held);
        if held && spool.log_excess() > 0 && !self.log_told {
            // The chores say so, before anything is refused.
            self.next_chores = 0;
        }
        let Ok(mut fill) = spool.fill() else { return };
        // Stories go before anything else, and all of them before an event is refused.
        while fill >= FILL_CLEAN && matches!(spool.forget_stories(u64::MAX, 0, FORGET), Ok(1..)) {
            fill = spool.fill().unwrap_or(fill);
            if fill < FILL_TIGHT {
                break;
            }
        }
        // What is delivered goes first, then what was given up; stale popups are given up by the chores.
        for state in [State::Delivered, State::Dropped] {
            if fill >= FILL_CLEAN {
                let _ = spool.forget(state, u64::MAX, CHORE);
                fill = spool.fill().unwrap_or(fill);
            }
        }
        let room = match fill {
            _ if self.unsaved.len() > MOST_UNSAVED => Room::Full,
            FILL_FULL.. => Room::Full,
            FILL_TIGHT.. => Room::Tight,
            // What is accepted now stays in memory: ends of calls are worth that, cards are not.
            _ if self.disk_is_full => Room::Tight,
            _ => Room::Ample,
        };
        self.set_room(room);
    }

    pub(super) fn set_room(&mut self, room: Room) {
        if room as u8 > self.status.room as u8 {
            let consequence = if room == Room::Tight {
                "new popups are refused, ends of calls are still accepted"
            } else {
                "events are refused"
            };
            log::error!(
                "The spool is nearly full, {consequence}; see 'planfix show status' and max_spool in planfix.conf"
            );
        }
        self.status.room = room;
        self.shared.room.store(room as u8, Ordering::Relaxed);
    }
}

/// When the disk is tried again that refused at `failed`. A moment that is still to come stays: chores that fail each second must
/// not put the events off for ever.
fn next_try(known: Millis, failed: Millis) -> Millis {
    if failed < known {
        known
    } else {
        failed + DISK_RETRY
    }
}

/// What came and was delivered while the disk refuses need never be written.
fn compact(unsaved: &mut Vec<Change>) {
    let added = added(unsaved);
    let done: HashSet<u64> = unsaved
        .iter()
        .filter_map(|change| match change {
            Change::Settle {
                id,
                state: State::Delivered | State::Dropped,
                ..
            } if added.contains(id) => Some(*id),
            _ => None,
        })
        .collect();
    unsaved.retain(|change| !done.contains(&change.id()));
}

/// Where there is no room for new events, settling those that are on the disk makes some. The order of changes to one
/// event stays; changes to different events do not depend on each other.
fn room_makers_first(unsaved: &mut Vec<Change>) {
    compact(unsaved);
    let added = added(unsaved);
    unsaved.sort_by_key(|change| added.contains(&change.id()));
}

/// The events that are not on the disk yet.
fn added(unsaved: &[Change]) -> HashSet<u64> {
    unsaved
        .iter()
        .filter(|change| matches!(change, Change::Add(_)))
        .map(Change::id)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{DISK_RETRY, next_try};

    #[test]
    fn chores_that_fail_again_and_again_put_nothing_off() {
        let next = next_try(0, 500);
        assert_eq!(next, 500 + DISK_RETRY);
        assert_eq!(next_try(next, next - 1), next);
        assert_eq!(next_try(next, next), next + DISK_RETRY);
    }
}
