//! For how long the kernel made a thread of the module wait for a processor: what a busy machine adds, and not the module.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use harness::Stage;

/// The thread that answers.
const THREAD: &str = "planfix/spool";

#[derive(Debug)]
pub(crate) struct Processor(PathBuf);

impl Processor {
    /// Finds the thread.
    pub(crate) fn of(stage: &Stage) -> Result<Self> {
        let tasks = PathBuf::from(format!("/proc/{}/task", stage.asterisk.pid()?));
        for entry in fs::read_dir(&tasks)? {
            let task = entry?.path();
            // A thread may end while one looks.
            let name = fs::read_to_string(task.join("comm")).unwrap_or_default();
            if name.trim_end() == THREAD {
                return Ok(Self(task.join("schedstat")));
            }
        }
        None.with_context(|| format!("there is no thread {THREAD}"))
    }

    /// How long it has waited in its life. Nothing where the kernel does not count that.
    pub(crate) fn waited(&self) -> Duration {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        let nanos = text
            .split_whitespace()
            .nth(1)
            .and_then(|nanos| nanos.parse().ok());
        Duration::from_nanos(nanos.unwrap_or_default())
    }
}
