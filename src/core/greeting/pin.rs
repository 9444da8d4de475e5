//! How often a PIN may be wrong.
//!
//! Invariants:
//! - who counts tries over all phones, by the operator whose PIN it is: another phone is no new chance;
//! - a clock that was set back locks nobody out for longer than it takes.

use std::time::Duration;

/// What is remembered of wrong PINs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Wrong ones since the last right one, or since the last lock.
    pub wrong: u32,
    /// Locked until that second since 1970.
    pub until: u64,
}

/// What becomes of a PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinAnswer {
    /// It is his.
    Right,
    /// It is not.
    Wrong {
        /// How many more may be tried; with none it is locked from now on.
        left: u32,
    },
    /// Nothing was compared.
    Locked {
        /// For so long.
        seconds: u64,
    },
    /// He has none, so none is right.
    NotSet,
}

impl Attempts {
    /// For how many seconds nothing is compared; `None` when it is.
    #[must_use]
    pub fn locked(&self, now: u64, lock: Duration) -> Option<u64> {
        let left = self.until.saturating_sub(now).min(lock.as_secs());
        (left > 0).then_some(left)
    }

    /// A wrong one. Returns how many are left of `most`.
    pub fn wrong(&mut self, now: u64, most: u32, lock: Duration) -> u32 {
        self.wrong = self.wrong.saturating_add(1);
        if self.wrong < most {
            return most - self.wrong;
        }
        *self = Self {
            wrong: 0,
            until: now.saturating_add(lock.as_secs()),
        };
        0
    }

    /// A right one.
    pub fn right(&mut self) {
        *self = Self::default();
    }
}

/// Whether this may become somebody's PIN: digits, as a phone has them.
///
/// # Errors
/// A sentence that says what is expected, without the PIN.
pub fn acceptable(pin: &str) -> Result<(), String> {
    if (FEWEST..=MOST).contains(&pin.len()) && pin.bytes().all(|byte| byte.is_ascii_digit()) {
        Ok(())
    } else {
        Err(format!("a PIN has {FEWEST} to {MOST} digits"))
    }
}

/// Digits of a PIN at least.
pub const FEWEST: usize = 4;
/// And at most.
pub const MOST: usize = 12;

#[cfg(test)]
mod tests {
    use super::{Attempts, acceptable};
    use std::time::Duration;

    const LOCK: Duration = Duration::from_secs(900);

    #[test]
    fn the_last_wrong_one_locks_and_time_frees() {
        let mut attempts = Attempts::default();
        assert_eq!(attempts.wrong(100, 3, LOCK), 2);
        assert_eq!(attempts.wrong(200, 3, LOCK), 1);
        assert_eq!(attempts.locked(200, LOCK), None);
        assert_eq!(attempts.wrong(300, 3, LOCK), 0);
        assert_eq!(attempts.locked(300, LOCK), Some(900));
        assert_eq!(attempts.locked(1_199, LOCK), Some(1));
        assert_eq!(attempts.locked(1_200, LOCK), None);
        assert_eq!(attempts.wrong(1_200, 3, LOCK), 2, "there are three again");
        attempts.right();
        assert_eq!(attempts, Attempts::default());
        assert_eq!(attempts.wrong(1, 1, LOCK), 0);
    }

    #[test]
    fn a_clock_that_was_set_back_locks_for_no_longer() {
        let mut attempts = Attempts::default();
        attempts.wrong(1_000_000, 1, LOCK);
        assert_eq!(attempts.locked(10, LOCK), Some(900));
        attempts.wrong(u64::MAX, 1, LOCK);
        assert_eq!(attempts.locked(u64::MAX, LOCK), None);
    }

    #[test]
    fn a_pin_is_made_of_digits() {
        for good in ["1234", "000000", "123456789012"] {
            assert_eq!(acceptable(good), Ok(()));
        }
        for wrong in ["", "123", "1234567890123", "12a4", "12 4", "١٢٣٤", "12#4"] {
            let fault = acceptable(wrong).unwrap_err();
            assert_eq!(fault, "a PIN has 4 to 12 digits");
        }
    }
}
