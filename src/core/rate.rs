//! How often somebody may do something: so many at once, and after that so many in a minute.
//!
//! Invariant: at most `capacity` names are remembered; the one that is nearest to being free of any limit is forgotten first.

use std::collections::HashMap;
use std::hash::Hash;

const MINUTE: u64 = 60_000;

/// Who did how much lately. Time is in milliseconds of a clock that does not jump.
///
/// For each name stands the moment at which all that it did has been paid off (GCRA, the generic cell rate algorithm).
#[derive(Debug)]
pub struct Rate<K> {
    capacity: usize,
    paid: HashMap<K, u64>,
}

impl<K: Clone + Eq + Hash> Rate<K> {
    /// Nobody did anything yet.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            paid: HashMap::new(),
        }
    }

    /// Whether `name` has to wait.
    #[must_use]
    pub fn is_exceeded(&self, name: &K, now: u64, per_minute: u32) -> bool {
        let cost = MINUTE / u64::from(per_minute.max(1));
        self.paid.get(name).is_some_and(|paid| paid + cost > now + MINUTE)
    }

    /// Notes that `name` did it, and tells whether it might.
    pub fn take(&mut self, name: &K, now: u64, per_minute: u32) -> bool {
        if self.is_exceeded(name, now, per_minute) {
            return false;
        }
        let cost = MINUTE / u64::from(per_minute.max(1));
        if !self.paid.contains_key(name) && self.paid.len() >= self.capacity {
            self.forget(now);
        }
        let paid = self.paid.entry(name.clone()).or_insert(now);
        *paid = (*paid).max(now) + cost;
        true
    }

    fn forget(&mut self, now: u64) {
        self.paid.retain(|_, paid| *paid > now);
        if self.paid.len() >= self.capacity {
            let next = self.paid.iter().min_by_key(|(_, paid)| **paid);
            if let Some(name) = next.map(|(name, _)| name.clone()) {
                self.paid.remove(&name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rate;

    #[test]
    fn so_many_at_once_and_then_one_by_one() {
        let mut rate = Rate::new(8);
        for click in 0..30 {
            assert!(rate.take(&"101", 1_000, 30), "{click}");
        }
        assert!(rate.is_exceeded(&"101", 1_000, 30));
        assert!(!rate.take(&"101", 1_000, 30));
        assert!(rate.take(&"102", 1_000, 30));
        assert!(!rate.take(&"101", 2_999, 30));
        assert!(rate.take(&"101", 3_000, 30));
        assert!(!rate.take(&"101", 3_000, 30));
        for click in 0..30 {
            assert!(rate.take(&"101", 70_000, 30), "{click}");
        }
    }

    #[test]
    fn being_refused_costs_nothing_and_looking_neither() {
        let mut rate = Rate::new(8);
        assert!(rate.take(&1, 0, 1));
        for _ in 0..100 {
            assert!(!rate.take(&1, 59_999, 1));
        }
        assert!(!rate.is_exceeded(&1, 60_000, 1));
        assert!(rate.take(&1, 60_000, 1));
    }

    #[test]
    fn the_table_stays_bounded_and_keeps_the_worst() {
        let mut rate = Rate::new(3);
        for _ in 0..10 {
            assert!(rate.take(&0, 0, 10));
        }
        for name in 1..1_000 {
            assert!(rate.take(&name, 0, 10));
            assert!(rate.paid.len() <= 3);
        }
        assert!(rate.is_exceeded(&0, 0, 10));
    }
}
