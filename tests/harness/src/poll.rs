//! Waiting for something with a bound.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Pause between two looks: short beside what is waited for, long beside the cost of a look.
const STEP: Duration = Duration::from_millis(10);

/// Calls `look` until it gives something, and returns that.
///
/// # Errors
/// After `bound`, naming `what`; and whatever `look` fails with, at once.
pub fn until<T>(what: &str, bound: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if start.elapsed() >= bound {
            bail!("waited {} ms in vain for {what}", bound.as_millis());
        }
        thread::sleep(STEP);
    }
}
