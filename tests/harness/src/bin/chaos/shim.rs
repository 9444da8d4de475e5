//! The clock, the disk and the name service that are wrong on demand: tests/live/shim/chaos.c.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;

use anyhow::Result;
use harness::{Builder, build_shim};
use tempfile::TempDir;

use crate::fault::Names;

/// The name that the CRM has while it plays; the shim leads it to this machine.
pub(crate) const HOST: &str = "crm.chaos.invalid";
/// Where the spool lies, among all files of Asterisk's.
const PLACE: &str = "/spool/planfix/";

/// What is wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// By how many seconds the wall clock is ahead.
    pub(crate) ahead: i64,
    /// What the disk refuses to write with: an errno.
    pub(crate) refusal: i32,
    /// What the name service does.
    pub(crate) names: Option<Names>,
}

/// The library and its switches.
pub(crate) struct Shim {
    folder: TempDir,
    switches: File,
    wrong: Mutex<Wrong>,
}

impl Shim {
    /// Builds it.
    pub(crate) fn build() -> Result<Self> {
        let folder = TempDir::with_prefix("chaos-")?;
        build_shim("chaos.c", &folder.path().join("shim.so"), &["-ldl"])?;
        let switches = File::create(folder.path().join("switches"))?;
        let shim = Self {
            folder,
            switches,
            wrong: Mutex::default(),
        };
        shim.change(|_| {})?;
        Ok(shim)
    }

    /// Puts it before that Asterisk's libraries.
    pub(crate) fn preload(&self, builder: Builder) -> Builder {
        let file = |name: &str| self.folder.path().join(name).into_os_string();
        builder
            .env("LD_PRELOAD", file("shim.so"))
            .env("PLANFIX_CHAOS_SWITCHES", file("switches"))
            .env("PLANFIX_CHAOS_PATH", OsStr::new(PLACE))
            .env("PLANFIX_CHAOS_HOST", OsStr::new(HOST))
    }

    /// A place for what else is needed meanwhile.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Changes what is wrong, at once and for everybody.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Wrong)) -> Result<()> {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut wrong);
        let names: i32 = match wrong.names {
            None => 0,
            Some(Names::Dead) => 1,
            Some(Names::Silent) => 2,
        };
        let mut bytes = wrong.ahead.to_ne_bytes().to_vec();
        bytes.extend(wrong.refusal.to_ne_bytes());
        bytes.extend(names.to_ne_bytes());
        // One write of a few bytes within a page: nobody sees half of it.
        self.switches.write_all_at(&bytes, 0)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What a program says that has the shim.
    fn says(shim: &Shim, words: &[&str]) -> (bool, String) {
        let output = Command::new(words[0])
            .args(&words[1..])
            .env("LD_PRELOAD", shim.file("shim.so"))
            .env("PLANFIX_CHAOS_SWITCHES", shim.file("switches"))
            .env("PLANFIX_CHAOS_PATH", "concerned")
            .env("PLANFIX_CHAOS_HOST", HOST)
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        )
    }

    #[test]
    fn the_clock_is_wrong_on_demand() {
        let shim = Shim::build().unwrap();
        let now = || says(&shim, &["date", "+%s"]).1.parse::<i64>().unwrap();
        let right = now();
        shim.change(|wrong| wrong.ahead = -86_400).unwrap();
        let wrong = now();
        assert!(
            (86_000..=86_400).contains(&(right - wrong)),
            "{right} became {wrong}"
        );
    }

    #[test]
    fn the_disk_refuses_what_is_on_it() {
        let shim = Shim::build().unwrap();
        let [on, off] = ["concerned", "elsewhere"].map(|name| shim.file(name));
        let write = |file: &PathBuf| {
            let words = ["sh", "-c", "echo x > \"$0\"", file.to_str().unwrap()];
            says(&shim, &words).0
        };
        assert!(write(&on) && write(&off));
        shim.change(|wrong| wrong.refusal = 28).unwrap();
        assert!(!write(&on) && write(&off));
    }

    #[test]
    fn the_crm_has_a_name() {
        let shim = Shim::build().unwrap();
        let found = || says(&shim, &["getent", "ahostsv4", HOST]);
        let (known, addresses) = found();
        assert!(known && addresses.contains("127.0.0.1"), "{addresses}");
        shim.change(|wrong| wrong.names = Some(Names::Dead)).unwrap();
        assert!(!found().0);
    }
}
