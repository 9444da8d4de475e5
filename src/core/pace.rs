//! How fast what is in no hurry may go: so many in a second, evenly.
//!
//! Invariant: in no second go more than the rate says and a tenth of it, which makes up for a thread that comes late.

use super::gate::Millis;

const SECOND: u64 = 1_000_000;
/// So much of what was not used is not lost, in microseconds.
const CREDIT: u64 = SECOND / 10;

/// When the next one may go. Within, time is in microseconds, because a thousand a second are one a millisecond.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    paid: u64,
}

impl Pace {
    /// The moment from which on the next one may go.
    #[must_use]
    pub fn due(&self) -> Millis {
        self.paid.div_ceil(1_000)
    }

    /// One goes. A rate of 0 is none.
    pub fn go(&mut self, now: Millis, per_second: u32) {
        let now = now.saturating_mul(1_000);
        if per_second > 0 {
            self.paid = self.paid.max(now.saturating_sub(CREDIT)) + SECOND / u64::from(per_second);
        }
    }

    /// A new rate holds at once.
    pub fn start_over(&mut self) {
        self.paid = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::Pace;

    /// How many go in so many milliseconds when somebody looks every `step` of them.
    fn gone(per_second: u32, span: u64, step: u64) -> u64 {
        let (mut pace, mut count) = (Pace::default(), 0);
        let mut now = 1 << 40;
        let end = now + span;
        while now < end {
            while count < 1_000_000 && pace.due() <= now {
                pace.go(now, per_second);
                count += 1;
            }
            now += step;
        }
        count
    }

    #[test]
    fn the_rate_is_kept_to_however_often_somebody_looks() {
        for (rate, step) in [(1, 7), (50, 1), (50, 20), (1_000, 1), (1_000, 50), (20_000, 3)] {
            let count = gone(rate, 10_000, step);
            let wanted = 10 * u64::from(rate);
            assert!(
                (wanted..=wanted + wanted / 100 + 1).contains(&count),
                "{count} instead of {wanted}, looking each {step} ms"
            );
        }
    }

    #[test]
    fn no_rate_is_no_bound() {
        assert_eq!(gone(0, 2, 1), 1_000_000);
    }
}
