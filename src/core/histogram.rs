//! How long something takes, counted as it happens.
//!
//! Invariants: noting costs two additions and never waits; a duration is known to an eighth of itself, from a nanosecond to
//! four seconds, and everything longer counts as four seconds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Eight steps for each doubling, of which there are 32.
const STEPS: usize = 8;
const BUCKETS: usize = 32 * STEPS;

/// Counts of durations.
#[derive(Debug)]
pub struct Histogram {
    counts: [AtomicU64; BUCKETS],
    longest: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Histogram {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            counts: [const { AtomicU64::new(0) }; BUCKETS],
            longest: AtomicU64::new(0),
        }
    }

    /// Forgets what was counted.
    pub fn clear(&self) {
        for count in &self.counts {
            count.store(0, Ordering::Relaxed);
        }
        self.longest.store(0, Ordering::Relaxed);
    }

    /// Counts one.
    pub fn note(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)].fetch_add(1, Ordering::Relaxed);
        // Hardly ever, and looking is cheaper than exchanging.
        if nanos > self.longest.load(Ordering::Relaxed) {
            self.longest.fetch_max(nanos, Ordering::Relaxed);
        }
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }

    /// The longest.
    #[must_use]
    pub fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest.load(Ordering::Relaxed))
    }

    /// The duration that this share of all stays below, such as 0.5 for the median; zero when nothing was counted.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let counts: Vec<u64> = self
            .counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .collect();
        let total: u64 = counts.iter().sum();
        let mut left = (total as f64 * share).ceil() as u64;
        for (index, count) in counts.into_iter().enumerate() {
            if count > 0 && count >= left {
                return Duration::from_nanos(ceiling(index)).min(self.longest());
            }
            left = left.saturating_sub(count);
        }
        Duration::ZERO
    }
}

fn bucket(nanos: u64) -> usize {
    if nanos < STEPS as u64 {
        return usize::try_from(nanos).unwrap_or(0);
    }
    let doubling = usize::try_from(nanos.ilog2()).unwrap_or(0);
    let step = usize::try_from((nanos >> (doubling - 3)) & 7).unwrap_or(0);
    ((doubling - 2) * STEPS + step).min(BUCKETS - 1)
}

/// The longest that a bucket holds.
fn ceiling(index: usize) -> u64 {
    if index < STEPS {
        return index as u64;
    }
    let (doubling, step) = (index / STEPS + 2, index % STEPS);
    ((STEPS + step + 1) as u64) << (doubling - 3)
}

#[cfg(test)]
mod tests {
    use super::{Histogram, bucket, ceiling};
    use std::time::Duration;

    #[test]
    fn every_duration_lies_in_its_bucket() {
        let mut draw = fastrand::Rng::with_seed(7);
        for _ in 0..100_000 {
            let bits = draw.u32(1..33);
            let nanos = draw.u64(0..1 << bits);
            let index = bucket(nanos);
            assert!(nanos <= ceiling(index), "{nanos} in {index}");
            assert!(index == 0 || nanos >= ceiling(index - 1), "{nanos} in {index}");
        }
    }

    #[test]
    fn quantiles_are_near_the_truth() {
        let histogram = Histogram::default();
        assert_eq!((histogram.quantile(0.5), histogram.count()), (Duration::ZERO, 0));
        for micros in 1..=1_000 {
            histogram.note(Duration::from_micros(micros));
        }
        assert_eq!(histogram.count(), 1_000);
        for (share, micros) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1_000.0)] {
            let found = histogram.quantile(share).as_secs_f64() * 1e6;
            assert!((micros..=micros * 1.13).contains(&found), "{share}: {found}");
        }
        assert_eq!(histogram.longest(), Duration::from_millis(1));
        histogram.note(Duration::from_secs(3_600));
        assert_eq!(histogram.longest(), Duration::from_secs(3_600));
    }
}
