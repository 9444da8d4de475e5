//! The lists of pending and failed events, also for as long as the disk holds the dispatcher up.
//!
//! The dispatcher publishes their beginnings now and then; whoever asks it and gets no answer at once reads those instead.

use std::time::Duration;

use super::question::Question;
use super::spool::Listed;
use crate::core::gate::Millis;

/// Rows of each list that are published.
pub(crate) const PUBLISHED: usize = 100;
/// So long the dispatcher is waited for: it answers between two commits, unless the disk holds it up.
pub const PROMPT: Duration = Duration::from_millis(80);
/// And so long while nothing is published: a large spool is being opened.
pub(crate) const OPENING: Duration = Duration::from_secs(5);

/// Which list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// Pending events, the oldest first.
    Queue,
    /// Failed events, the latest first.
    Failed,
}

impl List {
    pub(crate) fn question(self, limit: usize) -> Question {
        match self {
            Self::Queue => Question::Queue { limit },
            Self::Failed => Question::Failed { limit },
        }
    }
}

/// The beginning of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The rows.
    pub rows: Vec<Listed>,
    /// How many there are in all.
    pub total: u64,
    /// For how long it may be out of date; `None` when it is as of now.
    pub old: Option<Duration>,
    /// Calls of the function that wait in memory and stand in no list.
    pub inbox: usize,
}

impl Listing {
    /// What to say below a list that may be out of date.
    #[must_use]
    pub fn caution(&self) -> Option<String> {
        self.old.map(|old| {
            format!(
                "As of {} s ago: the disk does not answer; {} more wait in memory.",
                old.as_secs(),
                self.inbox
            )
        })
    }
}

/// Both lists as they were at a moment.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) at: Millis,
    pub(crate) queue: Listing,
    pub(crate) failed: Listing,
}

impl Published {
    pub(crate) fn list(&self, list: List) -> &Listing {
        match list {
            List::Queue => &self.queue,
            List::Failed => &self.failed,
        }
    }
}
