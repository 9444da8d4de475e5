//! Call after call, told by PLANFIX_EVENT as fast as it goes: by tests/live/shim/probe.c, because a dialplan of a million lines would
//! measure Asterisk's dialplan.
//!
//! Invariant: an event is told again until the answer is QUEUED, and the next of its call only then: so whatever a finished part
//! told was accepted, once and in order.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::{Ami, Stage, Version, build_probe, event, until};

/// Of each call.
pub(crate) const EVENTS_EACH: u64 = 4;
/// What is delivered however late it is.
pub(crate) const LASTING_EACH: u64 = 2;
/// What every callid of the backlog begins with. The call's number in its batch follows a dot.
const PREFIX: &str = "c-";
/// Calls of which the same event is told in one go.
const BATCH: u64 = 1_000;
/// Between two events, in microseconds, as far as the kernel can.
const PAUSE: u32 = 10;
const BOUND: Duration = Duration::from_secs(120);
/// Bytes of a sample: when, how long, and whether the answer was as expected.
const SAMPLE: usize = 24;

const EVENTS: [&str; EVENTS_EACH as usize] = [
    "INCOMING,79101234567,101,{callid}",
    "ACCEPTED,79101234567,101,{callid}",
    "COMPLETED,79101234567,101,{callid},,7,ANSWERED,is_recorded=1",
    "RECORD,,,{callid},https://pbx.example.com/r/{callid}.mp3",
];

/// Which call of the backlog has this callid.
pub(crate) fn number_of(callid: &str) -> Option<u64> {
    let (batch, place) = callid.strip_prefix(PREFIX)?.split_once('.')?;
    Some(batch.parse::<u64>().ok()? * BATCH + place.parse::<u64>().ok()?)
}

/// How many calls these are, in whole batches.
pub(crate) fn whole(calls: u64) -> u64 {
    calls.div_ceil(BATCH).max(1) * BATCH
}

/// Puts the module that tells them into a PBX that is not started yet.
pub(crate) fn install(stage: &Stage, version: Version) -> Result<()> {
    build_probe(
        version,
        &stage.asterisk.scratch().join("modules/planfix_probe.so"),
    )
}

/// Who tells them.
pub(crate) struct Teller {
    ami: Ami,
    samples: PathBuf,
    /// How often an event was refused and told again.
    pub(crate) refused: u64,
}

impl Teller {
    pub(crate) fn new(mut ami: Ami, folder: &Path) -> Result<Self> {
        ami.action(&[("Action", "Events"), ("EventMask", "off")])?;
        Ok(Self {
            ami,
            samples: folder.join("samples"),
            refused: 0,
        })
    }

    /// Tells these calls: whole batches. Returns how long that took.
    pub(crate) fn tell(&mut self, calls: Range<u64>) -> Result<Duration> {
        let begin = Instant::now();
        for batch in calls.start / BATCH..calls.end / BATCH {
            for event in EVENTS {
                self.tell_all(batch, event)?;
            }
        }
        Ok(begin.elapsed())
    }

    fn tell_all(&mut self, batch: u64, what: &str) -> Result<()> {
        let of = |call: &str| what.replace("{callid}", &format!("{PREFIX}{batch}.{call}"));
        // The probe replaces the first mark alone; a link need not tell of its call.
        let arguments = of("{n}").replacen("{n}.mp3", "x.mp3", 1);
        let samples = self.samples.display();
        let probe =
            format!("PLANFIX_PROBE(read,{BATCH},{PAUSE},QUEUED,{samples},PLANFIX_EVENT({arguments}))");
        let told = self.ami.getvar(None, &probe)?;
        ensure!(told == BATCH.to_string(), "{probe} is {told:?}");
        let bytes = std::fs::read(&self.samples)?;
        std::fs::remove_file(&self.samples)?;
        ensure!(
            bytes.len() as u64 == BATCH * SAMPLE as u64,
            "{} bytes of samples",
            bytes.len()
        );
        for (call, sample) in bytes.chunks_exact(SAMPLE).enumerate() {
            if sample[SAMPLE - 8..] == [0; 8] {
                self.tell_again(&of(&call.to_string()))?;
            }
        }
        Ok(())
    }

    fn tell_again(&mut self, arguments: &str) -> Result<()> {
        until("an event to be accepted", BOUND, || {
            self.refused += 1;
            Ok((event(&mut self.ami, arguments)? == "QUEUED").then_some(()))
        })
        .with_context(|| arguments.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callid_tells_the_number() {
        assert_eq!(number_of("c-0.17"), Some(17));
        assert_eq!(number_of("c-3.999"), Some(3_999));
        assert_eq!(number_of("live-3"), None);
        assert_eq!((whole(1), whole(1_000), whole(1_001)), (1_000, 1_000, 2_000));
    }
}
