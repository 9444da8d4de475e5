//! What an administrator sees meanwhile: `planfix show queue` four times a second, and what the PBX takes of memory and disk.
//!
//! Beside each question stands one that has nothing to do with the module, `core show uptime`: what Asterisk and the machine take
//! by themselves. What the machine was late by meanwhile is told apart: see [`Processor`].

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::Result;
use harness::{Ami, Stage, row};

use crate::latency::Latency;
use crate::processor::Processor;

const PACE: Duration = Duration::from_millis(250);
/// Every so many questions by the manager interface, one by `asterisk -rx`.
const CONSOLE_EACH: usize = 4;
const QUESTION: &str = "planfix show queue";
const OTHER: &str = "core show uptime";

/// What goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Before,
    Filling,
    Waiting,
    Draining,
    After,
}

impl Phase {
    pub(crate) const ALL: [Self; 5] = [
        Self::Before,
        Self::Filling,
        Self::Waiting,
        Self::Draining,
        Self::After,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Filling => "while events come in",
            Self::Waiting => "while they wait",
            Self::Draining => "while they are delivered",
            Self::After => "after it",
        }
    }
}

/// What was seen in one phase.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) manager: Latency,
    /// Without what the machine was late by.
    pub(crate) own: Latency,
    /// How often the answer was that there is none.
    pub(crate) unanswered: u32,
    pub(crate) other_manager: Latency,
    pub(crate) console: Latency,
    pub(crate) other_console: Latency,
    /// At most, in KiB.
    pub(crate) memory: u64,
    /// The spool's file with its log, at most, in bytes.
    pub(crate) file: u64,
    /// The log alone.
    pub(crate) log: u64,
}

pub(crate) struct Watch {
    pub(crate) phase: Phase,
    pub(crate) seen: BTreeMap<Phase, Seen>,
    next: Instant,
    count: usize,
    processor: Option<Processor>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self {
            processor: None,
            phase: Phase::Before,
            seen: BTreeMap::new(),
            next: Instant::now(),
            count: 0,
        }
    }

    /// Asterisk was started anew.
    pub(crate) fn start_over(&mut self) {
        self.processor = None;
    }

    /// Asks and looks, if that is due.
    pub(crate) fn round(&mut self, stage: &Stage, ami: &mut Ami) -> Result<()> {
        if Instant::now() < self.next {
            return Ok(());
        }
        self.next = Instant::now() + PACE;
        self.count += 1;
        let seen = self.seen.entry(self.phase).or_default();
        let processor = match &self.processor {
            Some(processor) => processor,
            None => self.processor.insert(Processor::of(stage)?),
        };
        let waited = processor.waited();
        let begin = Instant::now();
        let answer = ami.command(QUESTION)?;
        let took = begin.elapsed();
        seen.manager.add(took);
        seen.own
            .add(took.saturating_sub(processor.waited().saturating_sub(waited)));
        if !answer.contains("Nothing waits.") && !answer.contains("Tries") {
            println!("  '{QUESTION}' says {}", answer.trim_end());
            seen.unanswered += 1;
        }
        let begin = Instant::now();
        ami.command(OTHER)?;
        seen.other_manager.add(begin.elapsed());
        if self.count.is_multiple_of(CONSOLE_EACH) {
            for (question, latency) in [(QUESTION, &mut seen.console), (OTHER, &mut seen.other_console)] {
                let begin = Instant::now();
                stage.asterisk.cli(question)?;
                latency.add(begin.elapsed());
            }
        }
        seen.memory = seen.memory.max(stage.asterisk.rss_kib()?);
        let (database, log) = sizes(stage);
        seen.file = seen.file.max(database + log);
        seen.log = seen.log.max(log);
        Ok(())
    }
}

/// Bytes of the spool's file and of its log.
pub(crate) fn sizes(stage: &Stage) -> (u64, u64) {
    let size = |name: &str| {
        let file = stage.asterisk.spool().join("planfix").join(name);
        fs::metadata(file).map_or(0, |meta| meta.len())
    };
    (size("spool.db"), size("spool.db-wal"))
}

/// How many requests wait in the module, by its own count.
pub(crate) fn waiting(ami: &mut Ami) -> Result<Option<u64>> {
    let status = ami.command("planfix show status")?;
    // While the spool is being opened there is no count yet.
    if !status.contains("Queue:") || status.contains("being opened") {
        return Ok(None);
    }
    let queue = row(&status, "Queue")?;
    Ok(queue.split(' ').next().and_then(|count| count.parse().ok()))
}
