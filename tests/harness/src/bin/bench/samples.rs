//! What the probe has measured.

use std::fmt;
use std::path::Path;

use anyhow::{Result, ensure};

/// Nanoseconds for display: three figures and a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Nanos(pub(crate) u64);

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "three figures are shown")]
        let nanos = self.0 as f64;
        let (value, unit) = match self.0 {
            0..1_000_000 => (nanos / 1e3, "µs"),
            1_000_000..1_000_000_000 => (nanos / 1e6, "ms"),
            _ => (nanos / 1e9, "s"),
        };
        let digits = if value < 10.0 {
            2
        } else {
            usize::from(value < 100.0)
        };
        // Not padded by itself: the table knows the widths.
        write!(f, "{value:.digits$} {unit}")
    }
}

/// One call of what was measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// On the machine's monotonic clock.
    pub(crate) begin: u64,
    pub(crate) took: u64,
}

/// All calls of one run.
#[derive(Debug)]
pub(crate) struct Samples {
    pub(crate) in_order: Vec<Sample>,
    sorted: Vec<u64>,
}

impl Samples {
    /// Reads the probe's file: see tests/live/shim/probe.c.
    ///
    /// # Errors
    /// When there are not `count` results, or one of them was not as expected.
    pub(crate) fn read(file: &Path, count: usize) -> Result<Self> {
        let bytes = std::fs::read(file)?;
        let numbers: Vec<u64> = bytes
            .chunks_exact(8)
            .map(|chunk| u64::from_ne_bytes(chunk.try_into().expect("a chunk has eight bytes")))
            .collect();
        ensure!(
            numbers.len() == 3 * count,
            "the probe has written {} numbers for {count} calls",
            numbers.len()
        );
        let good: u64 = numbers.iter().skip(2).step_by(3).sum();
        ensure!(
            good == count as u64,
            "{} of {count} results were not as expected",
            count as u64 - good
        );
        let in_order: Vec<Sample> = numbers
            .chunks_exact(3)
            .map(|triple| Sample {
                begin: triple[0],
                took: triple[1],
            })
            .collect();
        Ok(Self::of(in_order))
    }

    /// From calls that were measured elsewhere.
    pub(crate) fn of(in_order: Vec<Sample>) -> Self {
        let mut sorted: Vec<u64> = in_order.iter().map(|sample| sample.took).collect();
        sorted.sort_unstable();
        Self { in_order, sorted }
    }

    pub(crate) fn len(&self) -> usize {
        self.sorted.len()
    }

    /// The value below which that share of the calls lies, in thousandths.
    pub(crate) fn at(&self, thousandths: usize) -> Nanos {
        let rank = (self.sorted.len() * thousandths).div_ceil(1000).max(1);
        Nanos(self.sorted[rank - 1])
    }

    pub(crate) fn median(&self) -> Nanos {
        self.at(500)
    }

    /// The median and the 99th percentile, as a table of other figures shows them.
    pub(crate) fn in_short(&self) -> String {
        format!("{} ({})", self.median(), self.at(990))
    }

    pub(crate) fn worst(&self) -> Nanos {
        self.at(1000)
    }
}
