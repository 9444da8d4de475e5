//! How the delivery stands, for `planfix show status` and its AMI action.

use std::time::Duration;

use crate::core::gate::{Condition, Millis};
use crate::core::gauges;
use crate::core::recording::queue::Counts;

/// How much room the spool has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Room {
    /// Everything is accepted.
    #[default]
    Ample = 0,
    /// New popups are refused, ends of calls are accepted.
    Tight = 1,
    /// Nothing is accepted.
    Full = 2,
}

impl From<u8> for Room {
    fn from(value: u8) -> Self {
        match value {
            0 => Self::Ample,
            1 => Self::Tight,
            _ => Self::Full,
        }
    }
}

/// How recordings stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recordings {
    /// What waits.
    pub counts: Counts,
    /// Done since the module was loaded.
    pub converted: u64,
    /// Those that never will be.
    pub refused: u64,
    /// Why links cannot be made; empty when they can.
    pub no_link: String,
}

impl Recordings {
    /// In figures.
    #[must_use]
    pub fn gauges(&self) -> gauges::Recordings {
        gauges::Recordings {
            waiting: self.counts.waiting as u64,
            failed: self.counts.failed as u64,
            converting: self.counts.converting as u64,
            converted: self.converted,
            left: self.refused,
        }
    }
}

/// A snapshot. Moments are on the clock that never goes back unless they say otherwise; `now` and `wall` are when it
/// was read, so that ages are right however long ago the dispatcher wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// When this was read, steady.
    pub now: Millis,
    /// When this was read, wall clock.
    pub wall: u64,
    /// How the CRM stands.
    pub condition: Condition,
    /// Since when.
    pub condition_since: Millis,
    /// When the CRM last acknowledged something; `None` when it has not since the start.
    pub last_good: Option<Millis>,
    /// Why the CRM is out of reach.
    pub reason: String,
    /// What the operator can do about it.
    pub cure: String,
    /// When the next try goes while it is out of reach.
    pub next_try: Option<Millis>,
    /// Whether the operator paused delivery.
    pub paused: bool,
    /// Requests that wait, those under way included.
    pub pending: u64,
    /// Requests under way.
    pub under_way: usize,
    /// When the oldest of them was accepted, wall clock.
    pub oldest: Option<u64>,
    /// Requests in the failed list.
    pub failed: u64,
    /// Delivered since the module was loaded.
    pub delivered: u64,
    /// Popups given up because they were stale.
    pub dropped_stale: u64,
    /// Popups given up because their call's card was never shown.
    pub dropped_unshown: u64,
    /// Events that were refused, because the spool was full or the disk stalled.
    pub refused: u64,
    /// Stories of calls that found no room.
    pub stories_left_out: u64,
    /// Calls of the function that the dispatcher has not taken up yet.
    pub inbox: usize,
    /// For how long the disk has held the dispatcher up, if for more than a moment: everything here is as of then.
    pub stalled: Option<Duration>,
    /// Workers.
    pub workers: usize,
    /// Panics that were caught in the workers and the dispatcher.
    pub panics: u64,
    /// Where the spool lies; empty while it is being opened.
    pub spool: String,
    /// Bytes of the spool's files.
    pub spool_bytes: u64,
    /// The spool's limit in bytes.
    pub spool_limit: u64,
    /// How much room there is.
    pub room: Room,
    /// Why the spool cannot be written; empty when it can.
    pub spool_trouble: String,
    /// How recordings stand; `None` when they are left alone.
    pub recordings: Option<Recordings>,
    /// The slowest group commit so far: until the events survive the end of the process.
    pub slowest_commit: Duration,
    /// The slowest confirmation by the disk so far: until they survive a power cut.
    pub slowest_sync: Duration,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            now: 0,
            wall: 0,
            condition: Condition::Open,
            condition_since: 0,
            last_good: None,
            reason: String::new(),
            cure: String::new(),
            next_try: None,
            paused: false,
            pending: 0,
            under_way: 0,
            oldest: None,
            failed: 0,
            delivered: 0,
            dropped_stale: 0,
            dropped_unshown: 0,
            refused: 0,
            stories_left_out: 0,
            inbox: 0,
            stalled: None,
            workers: 0,
            panics: 0,
            spool: String::new(),
            spool_bytes: 0,
            spool_limit: 0,
            room: Room::Ample,
            spool_trouble: String::new(),
            recordings: None,
            slowest_commit: Duration::ZERO,
            slowest_sync: Duration::ZERO,
        }
    }
}

impl Status {
    /// Time since a steady moment.
    #[must_use]
    pub fn since(&self, moment: Millis) -> Duration {
        Duration::from_millis(self.now.saturating_sub(moment))
    }

    /// Time until a steady moment.
    #[must_use]
    pub fn until(&self, moment: Millis) -> Duration {
        Duration::from_millis(moment.saturating_sub(self.now))
    }

    /// Age of the oldest request that waits.
    #[must_use]
    pub fn oldest_age(&self) -> Option<Duration> {
        self.oldest
            .map(|accepted| Duration::from_millis(self.wall.saturating_sub(accepted)))
    }

    /// In figures, without what would tell of the spool's place or of the CRM's words.
    #[must_use]
    pub fn gauges(&self) -> gauges::Delivery {
        let (crm, away) = match (self.condition, self.last_good) {
            (Condition::Open, None) => (gauges::Crm::Untried, Duration::ZERO),
            (Condition::Open, Some(_)) => (gauges::Crm::Reachable, Duration::ZERO),
            (Condition::Down, _) => (gauges::Crm::Unreachable, self.since(self.condition_since)),
            (Condition::Misconfigured, _) => (gauges::Crm::Stopped, self.since(self.condition_since)),
        };
        gauges::Delivery {
            crm,
            away,
            last_answer: self.last_good.map(|moment| self.since(moment)),
            paused: self.paused,
            waiting: self.pending,
            oldest: self.oldest_age().unwrap_or_default(),
            under_way: self.under_way as u64,
            workers: self.workers as u64,
            delivered: self.delivered,
            failed: self.failed,
            stale: self.dropped_stale,
            unshown: self.dropped_unshown,
            no_room: self.refused,
            spool: self.spool_bytes,
            spool_limit: self.spool_limit,
            room: match self.room {
                Room::Ample => gauges::Room::Ample,
                Room::Tight => gauges::Room::Tight,
                Room::Full => gauges::Room::Full,
            },
            disk_fails: !self.spool_trouble.is_empty(),
            commit: self.slowest_commit,
            confirmation: self.slowest_sync,
        }
    }
}
