//! Asterisk's wall clock, which can be set forward: tests/live/shim/chaos.c.
//!
//! The steady clock cannot: who waits by it would wait too long. The module takes ages from the wall clock for whatever it reads
//! back from the disk, which is nearly everything here.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use anyhow::Result;
use harness::{Builder, build_shim};
use tempfile::TempDir;

/// What the library maps; only the first eight bytes, the seconds ahead, are ever set here.
const SWITCHES: usize = 16;
const DAY: i64 = 86_400;

pub(crate) struct Clock {
    folder: TempDir,
    switches: File,
}

impl Clock {
    /// A clock that is right so far.
    pub(crate) fn build() -> Result<Self> {
        let folder = TempDir::with_prefix("siege-")?;
        build_shim("chaos.c", &folder.path().join("clock.so"), &["-ldl"])?;
        let switches = File::create(folder.path().join("switches"))?;
        switches.write_all_at(&[0; SWITCHES], 0)?;
        Ok(Self { folder, switches })
    }

    /// Gives it to that Asterisk.
    pub(crate) fn give(&self, builder: Builder) -> Builder {
        builder
            .env("LD_PRELOAD", self.folder.path().join("clock.so"))
            .env("PLANFIX_CHAOS_SWITCHES", self.folder.path().join("switches"))
    }

    /// So many days ahead of the machine's, from now on.
    pub(crate) fn set(&self, days: i64) -> Result<()> {
        // One write within a page: nobody sees half of it.
        self.switches.write_all_at(&(days * DAY).to_ne_bytes(), 0)?;
        Ok(())
    }
}
