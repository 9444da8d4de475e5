//! Many durations, and which of them matter.

use std::fmt;
use std::time::Duration;

#[derive(Clone, Debug, Default)]
pub(crate) struct Latency(Vec<Duration>);

impl Latency {
    pub(crate) fn add(&mut self, took: Duration) {
        self.0.push(took);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn longest(&self) -> Duration {
        self.0.iter().max().copied().unwrap_or_default()
    }

    /// The one that `percent` of them do not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let place = (sorted.len() * percent).div_ceil(100);
        sorted.get(place.saturating_sub(1)).copied().unwrap_or_default()
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |took: Duration| took.as_secs_f64() * 1_000.0;
        write!(
            f,
            "median {:.1} ms, p99 {:.1} ms, longest {:.1} ms of {}",
            ms(self.percentile(50)),
            ms(self.percentile(99)),
            ms(self.longest()),
            self.count()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_members() {
        let mut latency = Latency::default();
        assert_eq!(latency.percentile(99), Duration::ZERO);
        for ms in (1..=200).rev() {
            latency.add(Duration::from_millis(ms));
        }
        let ms = [50, 99, 100].map(|percent| latency.percentile(percent).as_millis());
        assert_eq!(ms, [100, 198, 200]);
        assert_eq!(latency.longest().as_millis(), 200);
    }
}
