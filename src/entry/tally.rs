//! How often something has happened that the log should know of, but not each time.
//!
//! Invariant: noting never waits, and of many at once one is logged.

use std::sync::atomic::{AtomicU64, Ordering};

/// What happens again is logged at most once in so many milliseconds.
const LOG_EVERY: u64 = 10_000;

/// How often it has happened since the load.
#[derive(Default)]
pub(super) struct Tally {
    count: AtomicU64,
    /// When it was logged last, in milliseconds since some fixed moment; 0: never.
    logged: AtomicU64,
}

impl Tally {
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Counts one. Returns how many there are when this one is to be logged: the first, and unless one is enough for ever, one
    /// in ten seconds. `now` is never 0.
    pub(super) fn note(&self, now: u64, once: bool) -> Option<u64> {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let last = self.logged.load(Ordering::Relaxed);
        let due = last == 0 || (!once && now >= last + LOG_EVERY);
        let mine = due
            && self
                .logged
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        mine.then_some(count)
    }
}
