//! The beginnings of the lists are published for those who ask while the disk holds this thread up.

use std::sync::{Arc, PoisonError};

use super::Dispatcher;
use crate::core::gate::Millis;
use crate::delivery::listing::{Listing, PUBLISHED, Published};
use crate::delivery::spool::{SpoolError, State};

/// They are read again at most this often.
const PAUSE: Millis = 100;
/// And while events come in, which have better use for the time.
const PAUSE_WHILE_BUSY: Millis = 1_000;

/// What was published: it is out of date when these counts have changed.
pub(super) type Counts = [u64; 5];

impl Dispatcher {
    fn counts(&self) -> Counts {
        let status = &self.status;
        [
            self.pending,
            self.tried,
            status.failed,
            status.delivered,
            status.dropped_stale + status.dropped_unshown,
        ]
    }

    /// When the lists are to be published anew; `None` while nothing has changed, or what has is not written yet.
    pub(super) fn lists_due(&self, now: Millis) -> Option<Millis> {
        let changed = self.listed != Some(self.counts()) && self.unsaved.is_empty() && self.spool.is_some();
        let pause = if now < self.linger_until {
            PAUSE_WHILE_BUSY
        } else {
            PAUSE
        };
        changed.then_some(self.listed_at + pause)
    }

    pub(super) fn publish_lists(&mut self, now: Millis) {
        if self.lists_due(now).is_none_or(|due| due > now) {
            return;
        }
        self.listed_at = now;
        match self.read_lists(now) {
            Ok(published) => {
                self.listed = Some(self.counts());
                *self
                    .shared
                    .published
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = published.map(Arc::new);
            }
            Err(error) => self.spool_failed(&error, now),
        }
    }

    fn read_lists(&self, now: Millis) -> Result<Option<Published>, SpoolError> {
        let Some(spool) = &self.spool else { return Ok(None) };
        let list = |state: Option<State>, total: u64| {
            spool.list(state, PUBLISHED).map(|rows| Listing {
                rows,
                total,
                ..Listing::default()
            })
        };
        Ok(Some(Published {
            at: now,
            queue: list(None, self.pending)?,
            failed: list(Some(State::Failed), self.status.failed)?,
        }))
    }
}
