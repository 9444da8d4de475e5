//! How long to wait before the next try: exponential with full jitter.
//!
//! Full jitter (a uniform draw from zero to the ceiling) keeps many PBXs that lost the same CRM at the same moment from
//! coming back at the same moment.

use std::time::Duration;

/// A schedule of waits. Invariant: `first` is at least [`Backoff::FLOOR`] and at most `most`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    most: Duration,
}

impl Backoff {
    /// No wait is shorter, so that a zero draw is not a busy loop.
    pub const FLOOR: Duration = Duration::from_millis(200);

    /// Waits grow from one second to `most`.
    #[must_use]
    pub fn up_to(most: Duration) -> Self {
        let most = most.max(Self::FLOOR);
        Self {
            first: Duration::from_secs(1).min(most),
            most,
        }
    }

    /// The wait after the `failures`-th failure in a row (1, 2, …). `draw` is uniform in 0..1.
    #[must_use]
    pub fn wait(&self, failures: u32, draw: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let ceiling = self.first.saturating_mul(1 << doublings).min(self.most);
        ceiling.mul_f64(draw.clamp(0.0, 1.0)).max(Self::FLOOR)
    }
}

#[cfg(test)]
mod tests {
    use super::Backoff;
    use std::time::Duration;

    #[test]
    fn grows_to_its_ceiling_and_never_below_its_floor() {
        let backoff = Backoff::up_to(Duration::from_secs(300));
        let seconds: Vec<u64> = (1..=12).map(|n| backoff.wait(n, 1.0).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(backoff.wait(u32::MAX, 1.0).as_secs(), 300);
        assert_eq!(backoff.wait(5, 0.0), Backoff::FLOOR);
        assert_eq!(backoff.wait(5, 0.5), Duration::from_secs(8));
    }
}
