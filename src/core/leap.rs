//! Leaps of the wall clock: whoever sets it makes everything that was written down look older or younger than it is.

use super::gate::{Millis, millis};
use std::time::Duration;

/// A clock that is kept by NTP drifts by far less between two looks.
const LEAP: Duration = Duration::from_secs(3_600);

/// Looks at the wall clock beside one that nobody can set.
#[derive(Debug, Default)]
pub struct Leap {
    /// What the wall clock is ahead, and since when.
    ahead: Option<(i128, Millis)>,
}

impl Leap {
    /// How long it has not leapt, as far as was looked: milliseconds. `wall` is in milliseconds since 1970.
    pub fn calm_for(&mut self, steady: Millis, wall: u64) -> Millis {
        let ahead = i128::from(wall) - i128::from(steady);
        let (was, since) = self.ahead.unwrap_or((ahead, steady));
        let leapt = (ahead - was).unsigned_abs() > u128::from(millis(LEAP));
        let since = if leapt { steady } else { since };
        self.ahead = Some((ahead, since));
        steady.saturating_sub(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;
    const YEAR: u64 = 365 * 24 * HOUR;

    #[test]
    fn a_clock_that_was_set_is_calm_from_then_on() {
        let mut leap = Leap::default();
        assert_eq!(leap.calm_for(10, 50 * YEAR), 0);
        // It drifts, and the next hour is compared with this one.
        assert_eq!(leap.calm_for(10 + HOUR, 50 * YEAR + 2 * HOUR - 1), HOUR);
        assert_eq!(leap.calm_for(10 + 2 * HOUR, 50 * YEAR + 4 * HOUR - 2), 2 * HOUR);
        assert_eq!(leap.calm_for(10 + 3 * HOUR, 51 * YEAR), 0, "forward");
        assert_eq!(leap.calm_for(10 + 4 * HOUR, 51 * YEAR + HOUR), HOUR);
        assert_eq!(leap.calm_for(10 + 5 * HOUR, 0), 0, "back");
        assert_eq!(leap.calm_for(10 + 6 * HOUR, HOUR), HOUR);
    }
}
