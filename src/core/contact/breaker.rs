//! Whether the CRM may be asked about callers now.
//!
//! Invariants:
//! - while it is open nobody waits for the CRM, and at most one request is under way on its behalf: the probe;
//! - one good answer closes it;
//! - a failure of a request that was begun before it opened makes its rest no longer.

use crate::core::gate::Millis;

/// Failures in a row that open it.
const ENOUGH: u32 = 3;
/// How long it rests after it has opened; every failed probe doubles that.
const FIRST_REST: Millis = 2_000;
/// And never longer than this, unless the CRM asks for it.
const LONGEST_REST: Millis = 30_000;
/// Longest rest that the CRM can ask for.
const LONGEST_ASKED: Millis = 300_000;

/// What is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// To ask and to wait for the answer.
    All,
    /// To ask once, without waiting.
    Probe,
    /// Nothing.
    Nothing,
}

/// What a failure says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It may have been this request.
    Perhaps,
    /// Every request will fail: the token or the address is wrong.
    Certain,
    /// The CRM asks to be left alone for so long.
    Asked(Millis),
}

/// See the module.
#[derive(Debug, Default)]
pub struct Breaker {
    failures: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    next: Millis,
    rest: Millis,
    probing: bool,
}

impl Breaker {
    /// What is allowed now.
    #[must_use]
    pub fn permission(&self, now: Millis) -> Permission {
        match &self.open {
            None => Permission::All,
            Some(open) if !open.probing && now >= open.next => Permission::Probe,
            Some(_) => Permission::Nothing,
        }
    }

    /// Whether it is open, and when the next probe may go; `None` in there while one is under way.
    #[must_use]
    pub fn open(&self) -> Option<Option<Millis>> {
        self.open
            .as_ref()
            .map(|open| (!open.probing).then_some(open.next))
    }

    /// A probe goes out.
    pub fn probes(&mut self) {
        if let Some(open) = &mut self.open {
            open.probing = true;
        }
    }

    /// A request was answered. True when that closes it.
    pub fn succeeded(&mut self) -> bool {
        std::mem::take(self).open.is_some()
    }

    /// A request failed, or is late. True when that opens it.
    pub fn failed(&mut self, severity: Severity, probe: bool, now: Millis) -> bool {
        let mut opens = false;
        match &mut self.open {
            None => {
                self.failures += 1;
                if self.failures >= ENOUGH || severity != Severity::Perhaps {
                    opens = true;
                    self.open = Some(Open {
                        next: now + FIRST_REST,
                        rest: FIRST_REST,
                        probing: false,
                    });
                }
            }
            Some(open) if probe => {
                open.probing = false;
                open.rest = (open.rest * 2).min(LONGEST_REST);
                open.next = now + open.rest;
            }
            Some(_) => {}
        }
        if let (Severity::Asked(wait), Some(open)) = (severity, &mut self.open) {
            open.next = open.next.max(now + wait.min(LONGEST_ASKED));
        }
        opens
    }
}

#[cfg(test)]
mod tests {
    use super::{Breaker, Permission, Severity};

    #[test]
    fn a_few_failures_open_it_and_a_success_between_them_does_not_count() {
        let mut breaker = Breaker::default();
        for _ in 0..2 {
            assert!(!breaker.failed(Severity::Perhaps, false, 10));
        }
        assert!(!breaker.succeeded());
        for _ in 0..2 {
            assert!(!breaker.failed(Severity::Perhaps, false, 10));
            assert_eq!(breaker.permission(10), Permission::All);
        }
        assert!(breaker.failed(Severity::Perhaps, false, 10));
        assert_eq!(breaker.permission(10), Permission::Nothing);
    }

    #[test]
    fn one_probe_goes_from_time_to_time_and_an_answer_closes_it() {
        let mut breaker = Breaker::default();
        assert!(breaker.failed(Severity::Certain, false, 0));
        let mut now = 0;
        let mut rests = Vec::new();
        for _ in 0..7 {
            let next = breaker.open().unwrap().unwrap();
            rests.push(next - now);
            now = next;
            assert_eq!(breaker.permission(now - 1), Permission::Nothing);
            assert_eq!(breaker.permission(now), Permission::Probe);
            breaker.probes();
            assert_eq!(
                breaker.permission(now + 1_000_000),
                Permission::Nothing,
                "one at a time"
            );
            assert!(!breaker.failed(Severity::Perhaps, true, now));
        }
        assert_eq!(rests, [2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
        assert!(breaker.succeeded());
        assert_eq!(breaker.permission(now), Permission::All);
    }

    #[test]
    fn failures_from_before_it_opened_change_nothing() {
        let mut breaker = Breaker::default();
        assert!(breaker.failed(Severity::Certain, false, 0));
        for now in 1..100 {
            assert!(!breaker.failed(Severity::Certain, false, now));
        }
        assert_eq!(breaker.open(), Some(Some(2_000)));
    }

    #[test]
    fn the_crm_can_ask_for_a_longer_rest_but_not_for_any() {
        let mut breaker = Breaker::default();
        assert!(breaker.failed(Severity::Asked(60_000), false, 0));
        assert_eq!(breaker.open(), Some(Some(60_000)));
        breaker.failed(Severity::Asked(86_400_000), false, 0);
        assert_eq!(breaker.open(), Some(Some(300_000)));
    }
}
