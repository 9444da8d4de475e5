//! Waiting for something with a bound.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Pause between two looks: short beside what is waited for, long beside the cost of a look.
const STEP: Duration = Duration::from_millis(10);

/// How many times longer than its bound says everything is waited for.
static PATIENCE: AtomicU32 = AtomicU32::new(1);

/// From now on this program waits so many times longer for everything, because a tool looks at each step of what it waits for.
pub fn be_patient(times: u32) {
    PATIENCE.store(times, Ordering::Relaxed);
}

/// How long a bound is for this program.
pub(crate) fn patient(bound: Duration) -> Duration {
    bound * PATIENCE.load(Ordering::Relaxed)
}

/// Calls `look` until it gives something, and returns that.
///
/// # Errors
/// After `bound`, naming `what`; and whatever `look` fails with, at once.
pub fn until<T>(what: &str, bound: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let bound = patient(bound);
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
