//! Whether requests may go to the CRM now.
//!
//! Invariants:
//! - while the CRM is out of reach or misconfigured, at most one request is under way: the probe;
//! - a pause by the operator holds everything back and outlives every answer;
//! - one acknowledged request opens the gate for all, but not before the moment that the CRM itself has named in a
//!   Retry-After: an answer to a request that was under way already must not cut that short;
//! - a failure tells of the CRM as it was when its request was begun: one that was begun before the last good answer came,
//!   or before the settings changed, closes nothing. Only a Retry-After and a token that is refused are the CRM's own
//!   words, and hold whenever they come, as long as the settings are the same;
//! - an address that is wrong for one request and was right for others is doubted, not settled: another call's request tells.

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

/// What a failure tells of the CRM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing: its request was begun before the last good answer came, or under other settings.
    Stale,
    /// That nothing has changed.
    Known,
    /// That its condition changed for the worse.
    Worse,
}

/// Failures of single calls in a row after which the CRM itself counts as down.
const CALLS_IN_A_ROW: u32 = 5;
/// A fresh popup is worth a try, but not more often than this.
const EAGER: Millis = 5_000;

/// The address was right for others: another call's request is to tell after so long whether it still is.
const SECOND_OPINION: Millis = 1_000;

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
    answered: Option<Millis>,
    configured: Option<Millis>,
    /// When the last request was begun that the CRM took under these settings.
    proven: Option<Millis>,
    doubtful: bool,
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
            answered: None,
            configured: None,
            proven: None,
            doubtful: false,
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
        // Whatever is still under way tells of the settings from before.
        self.configured = Some(now);
        self.probing = false;
        (self.proven, self.doubtful) = (None, false);
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

    /// A fresh popup has come: if the CRM is down, or its address doubted, a probe may go earlier than planned.
    pub fn fresh(&mut self, now: Millis) {
        if self.condition == Condition::Down || self.doubtful {
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
        self.doubtful = false;
        self.answered = Some(now);
        was_away
    }

    /// The CRM itself has read a request that was begun at `begun`: the address is right.
    pub fn prove(&mut self, begun: Millis) {
        if !self.is_of_other_settings(begun) {
            self.proven = self.proven.max(Some(begun));
        }
    }

    /// Whether the address was right for a request that was begun at `moment` or later.
    #[must_use]
    pub fn is_proven_since(&self, moment: Millis) -> bool {
        self.proven.is_some_and(|begun| begun >= moment)
    }

    /// The address is wrong for one request alone so far. If it was ever right under these settings another call's request is
    /// to tell: soon if one `waits`, else when a fresh popup comes.
    pub fn doubt(&mut self, waits: bool, now: Millis) {
        if self.condition != Condition::Misconfigured || self.proven.is_none() {
            return;
        }
        self.doubtful = true;
        if waits {
            self.next = self.next.min(now + SECOND_OPINION);
        }
    }

    /// A request that was begun at `begun` failed with this policy.
    pub fn bad(&mut self, policy: Policy, begun: Millis, now: Millis, draw: f64) -> News {
        let was_probe = self.probing;
        self.probing = false;
        // A probe is never older than the last good answer, even where both fall on the same millisecond.
        if self.is_of_other_settings(begun) || (!was_probe && self.is_outdated(policy, begun)) {
            return News::Stale;
        }
        self.doubtful = false;
        let (condition, wait) = match policy {
            Policy::Fail => return News::Known,
            Policy::Stop => (Condition::Misconfigured, self.recheck),
            Policy::Wait(after) => {
                self.hold = self.hold.max(now + after.map_or(0, millis));
                self.count(was_probe);
                (Condition::Down, self.wait(after, draw))
            }
            Policy::Retry => {
                self.count(was_probe);
                if self.condition == Condition::Open && self.failures < CALLS_IN_A_ROW {
                    return News::Known;
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
        if changed { News::Worse } else { News::Known }
    }

    /// A request came to nothing by a fault of our own. If it was the probe, another one goes later.
    pub fn lost(&mut self, now: Millis, draw: f64) {
        if self.probing {
            self.probing = false;
            self.next = now + self.wait(None, draw);
        }
    }

    fn is_of_other_settings(&self, begun: Millis) -> bool {
        self.configured.is_some_and(|moment| begun <= moment)
    }

    /// Several requests hang while the CRM is away. It comes back, one of them is answered, the others time out later:
    /// that is old news.
    fn is_outdated(&self, policy: Policy, begun: Millis) -> bool {
        matches!(policy, Policy::Wait(None) | Policy::Retry)
            && self.answered.is_some_and(|moment| begun <= moment)
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
    use super::{Condition, Gate, News, Permission};
    use crate::core::reply::Policy;
    use std::time::Duration;

    fn gate() -> Gate {
        Gate::new(Duration::from_secs(300), false)
    }

    #[test]
    fn one_network_failure_closes_the_gate_and_one_answer_opens_it() {
        let mut gate = gate();
        gate.sent(1_000);
        assert_eq!(gate.bad(Policy::Wait(None), 1_000, 1_000, 1.0), News::Worse);
        assert_eq!(gate.permission(1_500), Permission::Wait(Some(2_000)));
        assert_eq!(gate.permission(2_000), Permission::Probe);
        gate.sent(2_000);
        assert_eq!(
            gate.permission(2_000),
            Permission::Wait(None),
            "one probe at a time"
        );
        assert_eq!(gate.bad(Policy::Wait(None), 2_000, 2_500, 1.0), News::Known);
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
        assert_eq!(gate.bad(Policy::Wait(None), 0, 10, 1.0), News::Worse);
        for _ in 0..3 {
            assert_eq!(gate.bad(Policy::Wait(None), 0, 20, 1.0), News::Known);
        }
        assert_eq!(gate.permission(20), Permission::Wait(Some(1_010)));
    }

    #[test]
    fn single_calls_fail_alone_until_there_are_many() {
        let mut gate = gate();
        for _ in 0..4 {
            assert_eq!(gate.bad(Policy::Retry, 0, 0, 1.0), News::Known);
            assert_eq!(gate.permission(0), Permission::All);
        }
        assert_eq!(gate.bad(Policy::Retry, 0, 0, 1.0), News::Worse);
        assert_eq!(gate.condition().0, Condition::Down);
        assert!(gate.good(1));
        for _ in 0..4 {
            assert_eq!(
                gate.bad(Policy::Retry, 2, 2, 1.0),
                News::Known,
                "an answer starts the count anew"
            );
        }
        assert_eq!(gate.bad(Policy::Retry, 2, 2, 1.0), News::Worse);
    }

    #[test]
    fn what_was_begun_before_the_last_good_answer_is_no_news() {
        let mut gate = gate();
        for _ in 0..3 {
            gate.sent(0);
        }
        assert_eq!(gate.bad(Policy::Wait(None), 0, 1_000, 1.0), News::Worse);
        assert!(gate.good(1_010), "the second of them was answered after all");
        for policy in [Policy::Wait(None), Policy::Retry] {
            for _ in 0..9 {
                assert_eq!(gate.bad(policy, 5, 1_020, 1.0), News::Stale);
            }
        }
        assert_eq!(gate.bad(Policy::Wait(None), 1_010, 1_020, 1.0), News::Stale);
        assert_eq!(gate.condition(), (Condition::Open, 1_010));
        assert_eq!(gate.permission(1_020), Permission::All);
        // A later one is.
        assert_eq!(gate.bad(Policy::Wait(None), 1_011, 1_030, 1.0), News::Worse);
        assert_eq!(gate.bad(Policy::Wait(None), 5, 1_040, 1.0), News::Stale);
        assert_eq!(
            gate.permission(1_040),
            Permission::Wait(Some(2_030)),
            "old news changes nothing while the CRM is away either"
        );
    }

    #[test]
    fn what_the_crm_itself_says_holds_whenever_it_comes() {
        let mut gate = gate();
        gate.good(10);
        let busy = Policy::Wait(Some(Duration::from_secs(7)));
        assert_eq!(gate.bad(busy, 5, 20, 0.0), News::Worse);
        assert_eq!(gate.permission(30), Permission::Wait(Some(7_020)));
        gate.good(7_100);
        assert_eq!(gate.bad(Policy::Stop, 5, 7_200, 0.5), News::Worse);
        assert_eq!(gate.condition().0, Condition::Misconfigured);
    }

    #[test]
    fn what_was_begun_before_a_reload_tells_of_the_old_settings() {
        let mut gate = gate();
        gate.bad(Policy::Stop, 0, 0, 0.5);
        gate.sent(300_000);
        gate.reconfigure(Duration::from_secs(300), 300_100);
        for policy in [
            Policy::Stop,
            Policy::Wait(Some(Duration::from_secs(60))),
            Policy::Wait(None),
            Policy::Retry,
        ] {
            assert_eq!(gate.bad(policy, 300_000, 300_200, 0.5), News::Stale);
            assert_eq!(gate.permission(300_200), Permission::All);
        }
        assert_eq!(gate.bad(Policy::Stop, 300_101, 300_300, 0.5), News::Worse);
        // And while the CRM is away, the next probe goes at once.
        gate.reconfigure(Duration::from_secs(300), 300_400);
        gate.bad(Policy::Wait(None), 300_401, 300_500, 1.0);
        gate.sent(302_000);
        gate.reconfigure(Duration::from_secs(300), 302_100);
        assert_eq!(gate.bad(Policy::Wait(None), 302_000, 302_200, 1.0), News::Stale);
        assert_eq!(gate.permission(302_200), Permission::Probe);
    }

    #[test]
    fn a_probe_that_comes_to_nothing_is_followed_by_another() {
        let mut gate = gate();
        gate.bad(Policy::Wait(None), 0, 0, 1.0);
        gate.sent(1_000);
        gate.lost(1_100, 1.0);
        assert_eq!(gate.permission(1_200), Permission::Wait(Some(2_100)));
        assert_eq!(gate.permission(2_100), Permission::Probe);
        // Any other request that is lost says nothing.
        gate.good(2_200);
        gate.lost(2_300, 1.0);
        assert_eq!(gate.permission(2_300), Permission::All);
    }

    #[test]
    fn retry_after_is_respected() {
        let mut gate = gate();
        gate.bad(Policy::Wait(Some(Duration::from_secs(30))), 0, 0, 0.0);
        gate.good(10);
        assert_eq!(
            gate.permission(20),
            Permission::Wait(Some(30_000)),
            "an older request's answer"
        );
        gate.bad(Policy::Wait(Some(Duration::from_secs(1))), 30, 30, 0.0);
        assert_eq!(gate.permission(29_999), Permission::Wait(Some(30_000)));
        assert_eq!(gate.permission(30_000), Permission::Probe);
    }

    #[test]
    fn a_wrong_token_stops_until_a_reload() {
        let mut gate = gate();
        assert_eq!(gate.bad(Policy::Stop, 0, 0, 0.5), News::Worse);
        assert_eq!(gate.permission(299_999), Permission::Wait(Some(300_000)));
        assert_eq!(
            gate.permission(300_000),
            Permission::Probe,
            "it is re-checked slowly"
        );
        gate.sent(300_000);
        assert_eq!(
            gate.bad(Policy::Stop, 300_000, 300_100, 0.5),
            News::Known,
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
            gate.bad(Policy::Wait(None), n, n, 1.0);
        }
        assert_eq!(gate.permission(1_000), Permission::Wait(Some(256_008)));
        gate.fresh(1_000);
        assert_eq!(gate.permission(5_007), Permission::Wait(Some(5_008)));
        assert_eq!(gate.permission(5_008), Permission::Probe);
    }

    #[test]
    fn a_good_sign_from_elsewhere_brings_the_probe_forward() {
        let mut gate = gate();
        gate.bad(Policy::Stop, 0, 0, 0.5);
        gate.hurry(7);
        assert_eq!(gate.permission(7), Permission::Probe);
    }

    #[test]
    fn an_address_that_was_right_for_others_is_asked_about_soon() {
        let mut gate = gate();
        assert_eq!(gate.bad(Policy::Stop, 0, 0, 0.5), News::Worse);
        gate.doubt(true, 0);
        assert_eq!(
            gate.permission(5_000),
            Permission::Wait(Some(300_000)),
            "it never was right"
        );
        gate.fresh(5_000);
        assert_eq!(gate.permission(5_000), Permission::Wait(Some(300_000)));
        gate.prove(300_000);
        assert!(gate.good(300_010));
        assert!(gate.is_proven_since(300_000) && !gate.is_proven_since(300_001));
        gate.sent(400_000);
        assert_eq!(gate.bad(Policy::Stop, 400_000, 400_000, 0.5), News::Worse);
        gate.doubt(false, 400_000);
        assert_eq!(gate.permission(400_000), Permission::Wait(Some(700_000)));
        gate.fresh(402_000);
        assert_eq!(gate.permission(402_000), Permission::Wait(Some(405_000)));
        gate.doubt(true, 402_000);
        assert_eq!(gate.permission(403_000), Permission::Probe);
        // Another one fails that way too: there is no doubt any more.
        gate.sent(403_000);
        assert_eq!(gate.bad(Policy::Stop, 403_000, 403_000, 0.5), News::Known);
        gate.fresh(404_000);
        assert_eq!(gate.permission(410_000), Permission::Wait(Some(703_000)));
        // Another address has to prove itself.
        gate.reconfigure(Duration::from_secs(300), 500_000);
        gate.prove(499_999);
        assert!(!gate.is_proven_since(0));
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
