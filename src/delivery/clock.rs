//! The two clocks.
//!
//! The wall clock is for what is written down; it may jump. Waits and ages within one run use the other one, which never
//! goes back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::core::gate::{Millis, millis};

/// A source of time.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970.
    fn wall(&self) -> u64;
    /// Milliseconds since some fixed moment; never goes back.
    fn steady(&self) -> Millis;
}

/// Steady time begins far from zero, so that an event of an earlier run has a moment on it too.
const START: Millis = 1 << 40;

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl SystemClock {
    /// A clock whose steady time begins at one now.
    #[must_use]
    pub fn new() -> Self {
        Self(Instant::now())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
    }

    fn steady(&self) -> Millis {
        START + millis(self.0.elapsed())
    }
}

/// A clock that a test sets: it runs on the machine's and adds what [`ShiftedClock::advance`] says.
#[derive(Debug, Default)]
pub struct ShiftedClock {
    base: SystemClock,
    shift: AtomicU64,
    set: AtomicU64,
}

impl ShiftedClock {
    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        self.shift.fetch_add(millis(by), Ordering::SeqCst);
    }

    /// Sets the wall clock so far ahead of the right time.
    pub fn set_ahead(&self, by: Duration) {
        self.set.store(millis(by), Ordering::SeqCst);
    }
}

impl Clock for ShiftedClock {
    fn wall(&self) -> u64 {
        self.base.wall() + self.shift.load(Ordering::SeqCst) + self.set.load(Ordering::SeqCst)
    }

    fn steady(&self) -> Millis {
        self.base.steady() + self.shift.load(Ordering::SeqCst)
    }
}
