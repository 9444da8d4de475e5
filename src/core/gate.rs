//! Whether requests may go to the CRM now.
//!
//! Invariants:
//! - while the CRM is out of reach or misconfigured, at most one request is under way: the probe;
//! - a pause by the operator holds everything back and outlives every answer;
//! - one acknowledged request opens the gate for all, but not before the moment that the CRM itself has named in a
//!   Retry-After: an answer to a request that was under way already must not cut that short.

use std::time::Duration;

use super::backoff::Backoff;
use super::reply::Policy;

/// A moment on a clock that never goes back: milliseconds since some fixed point.
pub type Millis = u64;

/// How the CRM stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing was sent yet, or the last answer was good.
    Open,
    /// Out of reach since then: the network, 5xx or 429.
    Down,
    /// The token or the address is wrong.
    Misconfigured,
}

/// How many requests may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// As many as there are workers.
    All,
    /// One, as a probe.
    Probe,
    /// None before this moment; `None` when only the operator or an answer under way can change that.
    Wait(Option<Millis>),
}

/// Failures of single calls in a row after which the CRM itself counts as down.
const CALLS_IN_A_ROW: u32 = 5;
/// A fresh popup is worth a try, but not more often than this.
const EAGER: Millis = 5_000;

/// The gate.
#[derive(Debug)]
pub struct Gate {
    backoff: Backoff,
    recheck: Millis,
    paused: bool,
    condition: Condition,
    since: Millis,
    failures: u32,
    next: Millis,
    last_try: Millis,
    hold: Millis,
    probing: bool,
}

impl Gate {
    /// An open gate. `retry_max` is the ceiling of the waits and the interval of the re-checks.
    #[must_use]
    pub fn new(retry_max: Duration, paused: bool) -> Self {
        Self {
            backoff: Backoff::up_to(retry_max),
            recheck: millis(retry_max),
            paused,
            condition: Condition::Open,
            since: 0,
            failures: 0,
            next: 0,
            last_try: 0,
            hold: 0,
            probing: false,
        }
    }

    /// How the CRM stands, and since when.
    #[must_use]
    pub fn condition(&self) -> (Condition, Millis) {
        (self.condition, self.since)
    }

    /// Whether the operator paused delivery.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// The operator's pause and resume. Resuming tries at once.
    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
        if !paused {
            (self.next, self.hold) = (0, 0);
        }
    }

    /// A reload: what was wrong may be right now, so the next request goes at once.
    pub fn reconfigure(&mut self, retry_max: Duration, now: Millis) {
        self.backoff = Backoff::up_to(retry_max);
        self.recheck = millis(retry_max);
        (self.next, self.hold) = (now, 0);
        self.failures = 0;
        if self.condition == Condition::Misconfigured {
            self.condition = Condition::Open;
            self.since = now;
        }
    }

    /// How many requests may go at `now`.
    #[must_use]
    pub fn permission(&self, now: Millis) -> Permission {
        match self.condition {
            _ if self.paused => Permission::Wait(None),
            _ if now < self.hold => Permission::Wait(Some(self.hold)),
            Condition::Open if now >= self.next => Permission::All,
            Condition::Open => Permission::Wait(Some(self.next)),
            Condition::Down | Condition::Misconfigured if self.probing => Permission::Wait(None),
            Condition::Down | Condition::Misconfigured if now >= self.next => Permission::Probe,
            Condition::Down | Condition::Misconfigured => Permission::Wait(Some(self.next)),
        }
    }

    /// A request was sent.
    pub fn sent(&mut self, now: Millis) {
        self.last_try = now;
        self.probing = self.condition != Condition::Open;
    }

    /// Somebody saw the CRM answer: the next request goes now, unless the CRM has named a moment.
    pub fn hurry(&mut self, now: Millis) {
        self.next = now;
    }

    /// A fresh popup has come: if the CRM is down, a probe may go earlier than planned.
    pub fn fresh(&mut self, now: Millis) {
        if self.condition == Condition::Down {
            self.next = self.next.min((self.last_try + EAGER).max(now));
        }
    }

    /// A request was acknowledged, or refused in a way that shows the CRM well. True when the CRM had been away.
    pub fn good(&mut self, now: Millis) -> bool {
        let was_away = self.condition != Condition::Open;
        if was_away {
            self.condition = Condition::Open;
            self.since = now;
        }
        (self.failures, self.next, self.probing) = (0, 0, false);
        was_away
    }

    /// A request failed with this policy. True when the condition of the CRM changed for the worse.
    pub fn bad(&mut self, policy: Policy, now: Millis, draw: f64) -> bool {
        let was_probe = self.probing;
        self.probing = false;
        let (condition, wait) = match policy {
            Policy::Fail => return false,
            Policy::Stop => (Condition::Misconfigured, self.recheck),
            Policy::Wait(after) => {
                self.hold = self.hold.max(now + after.map_or(0, millis));
                self.count(was_probe);
                (Condition::Down, self.wait(after, draw))
            }
            Policy::Retry => {
                self.count(was_probe);
                if self.condition == Condition::Open && self.failures < CALLS_IN_A_ROW {
                    return false;
                }
                (Condition::Down, self.wait(None, draw))
            }
        };
        let changed = self.condition != condition;
        if changed {
            (self.condition, self.since) = (condition, now);
        }
        // Several requests were under way when the CRM went: the first of them to fail sets the time.
        if changed || was_probe {
            self.next = now + wait;
        }
        changed
    }

    fn count(&mut self, was_probe: bool) {
        if self.condition == Condition::Open || was_probe {
            self.failures = self.failures.saturating_add(1);
        }
    }

    fn wait(&self, after: Option<Duration>, draw: f64) -> Millis {
        let asked = after.unwrap_or_default();
        millis(self.backoff.wait(self.failures, draw).max(asked))
    }
}

/// A duration in whole milliseconds.
#[must_use]
pub fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::{Condition, Gate, Permission};
    use crate::core::reply::Policy;
    use std::time::Duration;

    fn gate() -> Gate {
        Gate::new(Duration::from_secs(300), false)
    }

    #[test]
    fn one_network_failure_closes_the_gate_and_one_answer_opens_it() {
        let mut gate = gate();
        gate.sent(1_000);
        assert!(gate.bad(Policy::Wait(None), 1_000, 1.0));
        assert_eq!(gate.permission(1_500), Permission::Wait(Some(2_000)));
        assert_eq!(gate.permission(2_000), Permission::Probe);
        gate.sent(2_000);
        assert_eq!(
            gate.permission(2_000),
            Permission::Wait(None),
            "one probe at a time"
        );
        assert!(!gate.bad(Policy::Wait(None), 2_500, 1.0));
        assert_eq!(
            gate.permission(2_600),
            Permission::Wait(Some(4_500)),
            "the wait doubles"
        );
        gate.sent(4_500);
        assert!(gate.good(4_600));
        assert_eq!(gate.permission(4_600), Permission::All);
    }

    #[test]
    fn failures_of_requests_that_were_already_under_way_do_not_lengthen_the_wait() {
        let mut gate = gate();
        for _ in 0..4 {
            gate.sent(0);
        }
        assert!(gate.bad(Policy::Wait(None), 10, 1.0));
        for _ in 0..3 {
            assert!(!gate.bad(Policy::Wait(None), 20, 1.0));
        }
        assert_eq!(gate.permission(20), Permission::Wait(Some(1_010)));
    }

    #[test]
    fn single_calls_fail_alone_until_there_are_many() {
        let mut gate = gate();
        for _ in 0..4 {
            assert!(!gate.bad(Policy::Retry, 0, 1.0));
            assert_eq!(gate.permission(0), Permission::All);
        }
        assert!(gate.bad(Policy::Retry, 0, 1.0));
        assert_eq!(gate.condition().0, Condition::Down);
        assert!(gate.good(1));
        assert!(
            !gate.bad(Policy::Retry, 2, 1.0),
            "an answer starts the count anew"
        );
    }

    #[test]
    fn retry_after_is_respected() {
        let mut gate = gate();
        gate.bad(Policy::Wait(Some(Duration::from_secs(30))), 0, 0.0);
        gate.good(10);
        assert_eq!(
            gate.permission(20),
            Permission::Wait(Some(30_000)),
            "an older request's answer"
        );
        gate.bad(Policy::Wait(Some(Duration::from_secs(1))), 30, 0.0);
        assert_eq!(gate.permission(29_999), Permission::Wait(Some(30_000)));
        assert_eq!(gate.permission(30_000), Permission::Probe);
    }

    #[test]
    fn a_wrong_token_stops_until_a_reload() {
        let mut gate = gate();
        assert!(gate.bad(Policy::Stop, 0, 0.5));
        assert_eq!(gate.permission(299_999), Permission::Wait(Some(300_000)));
        assert_eq!(
            gate.permission(300_000),
            Permission::Probe,
            "it is re-checked slowly"
        );
        gate.sent(300_000);
        assert!(
            !gate.bad(Policy::Stop, 300_100, 0.5),
            "one ERROR, not one a check"
        );
        gate.reconfigure(Duration::from_secs(300), 300_200);
        assert_eq!(gate.permission(300_200), Permission::All);
    }

    #[test]
    fn a_fresh_popup_brings_the_probe_forward_but_not_too_often() {
        let mut gate = gate();
        for n in 0..9 {
            gate.sent(n);
            gate.bad(Policy::Wait(None), n, 1.0);
        }
        assert_eq!(gate.permission(1_000), Permission::Wait(Some(256_008)));
        gate.fresh(1_000);
        assert_eq!(gate.permission(5_007), Permission::Wait(Some(5_008)));
        assert_eq!(gate.permission(5_008), Permission::Probe);
    }

    #[test]
    fn a_good_sign_from_elsewhere_brings_the_probe_forward() {
        let mut gate = gate();
        gate.bad(Policy::Stop, 0, 0.5);
        gate.hurry(7);
        assert_eq!(gate.permission(7), Permission::Probe);
    }

    #[test]
    fn a_pause_holds_everything_back() {
        let mut gate = gate();
        gate.pause(true);
        assert_eq!(gate.permission(0), Permission::Wait(None));
        gate.good(1);
        assert!(gate.is_paused());
        gate.pause(false);
        assert_eq!(gate.permission(2), Permission::All);
    }
}
