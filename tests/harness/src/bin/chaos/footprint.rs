//! What a process has: the module's threads, its descriptors, its memory.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use harness::Asterisk;

/// What there is at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footprint {
    /// The module's threads by name.
    pub(crate) ours: BTreeMap<String, usize>,
    /// All threads.
    pub(crate) threads: usize,
    /// What is open, without the numbers by which one differs from the next.
    pub(crate) descriptors: BTreeMap<String, usize>,
    /// Resident memory in KiB.
    pub(crate) memory: u64,
}

impl Footprint {
    /// Looks, after what was freed is given back to the system: how much of it malloc keeps is chance.
    pub(crate) fn trimmed(asterisk: &Asterisk) -> Result<Self> {
        asterisk.cli("malloc trim")?;
        Self::of(asterisk)
    }

    /// Looks.
    pub(crate) fn of(asterisk: &Asterisk) -> Result<Self> {
        let threads = asterisk.threads()?;
        let mut footprint = Self {
            threads: threads.len(),
            memory: asterisk.rss_kib()?,
            ..Self::default()
        };
        for task in threads
            .into_iter()
            .filter(|task| task.name.starts_with("planfix"))
        {
            *footprint.ours.entry(task.name).or_default() += 1;
        }
        for path in asterisk.open_fds()? {
            let name = path.to_string_lossy();
            let name = name.split(":[").next().unwrap_or_default();
            // Asterisk's own database has its journal open now and then, and with the first time zone that it needs it begins
            // to watch that file (main/stdtime/localtime.c).
            if !name.contains("/astdb.") && !name.contains("inotify") {
                *footprint.descriptors.entry(name.to_owned()).or_default() += 1;
            }
        }
        Ok(footprint)
    }

    /// What there is more than there was: threads of the module's, and descriptors.
    pub(crate) fn more_than(&self, before: &Self) -> Vec<String> {
        let threads = self
            .ours
            .iter()
            .map(|(name, count)| (name, *count, before.ours.get(name)));
        let open = self
            .descriptors
            .iter()
            .map(|(name, count)| (name, *count, before.descriptors.get(name)));
        threads
            .chain(open)
            .filter(|(_, count, before)| before.copied().unwrap_or(0) < *count)
            .map(|(name, count, before)| format!("{name}: {} became {count}", before.copied().unwrap_or(0)))
            .collect()
    }
}

impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} threads, {} of them the module's, {} descriptors, {} MiB",
            self.threads,
            self.ours.values().sum::<usize>(),
            self.descriptors.values().sum::<usize>(),
            self.memory / 1024
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_behind_shows() {
        let before = Footprint {
            ours: [("planfix/calls".to_owned(), 1)].into(),
            descriptors: [("socket".to_owned(), 4)].into(),
            ..Footprint::default()
        };
        let mut after = before.clone();
        after.threads = 90;
        assert_eq!(after.more_than(&before), Vec::<String>::new());
        after.descriptors.insert("socket".to_owned(), 5);
        after.ours.insert("planfix/names".to_owned(), 1);
        assert_eq!(
            after.more_than(&before),
            ["planfix/names: 0 became 1", "socket: 4 became 5"]
        );
    }
}
