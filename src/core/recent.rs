//! A bounded memory of recent things.
//!
//! Invariant: it holds at most `capacity` entries; the one that came first leaves first.

use std::collections::{HashMap, VecDeque};

/// Values by name, the latest `capacity` of them.
#[derive(Debug)]
pub struct Recent<V> {
    capacity: usize,
    known: HashMap<String, V>,
    order: VecDeque<String>,
}

impl<V> Recent<V> {
    /// An empty memory.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            known: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Notes `value` under `name`, in place of what was noted before.
    pub fn note(&mut self, name: &str, value: V) {
        if let Some(known) = self.known.get_mut(name) {
            *known = value;
            return;
        }
        self.known.insert(name.to_owned(), value);
        self.order.push_back(name.to_owned());
        if self.order.len() > self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// What was noted under `name`.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<&V> {
        self.known.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::Recent;

    #[test]
    fn remembers_the_latest_and_stays_bounded() {
        let mut recent = Recent::new(2);
        recent.note("a", 1);
        recent.note("a", 2);
        recent.note("b", 3);
        assert_eq!(recent.of("a"), Some(&2));
        recent.note("c", 4);
        assert_eq!(
            (recent.of("a"), recent.of("b"), recent.of("c")),
            (None, Some(&3), Some(&4))
        );
        assert_eq!((recent.known.len(), recent.order.len()), (2, 2));
    }
}
