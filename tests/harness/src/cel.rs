//! The channel event log of Asterisk, as the yardstick of CALL_DURATION.
//!
//! Invariant: every event is logged, with its microseconds. They are those of the stasis message that the event was made
//! of (`main/cel.c`, cel_bridge_enter_cb and cel_report_event), and the module goes by the same message. Therefore what
//! the two say is equal to the microsecond, and nothing less is accepted.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::{Ami, Asterisk, Builder, Version, until};

/// Long for a loaded machine: the log and the module are some milliseconds behind the calls.
const BOUND: Duration = Duration::from_secs(30);

/// Asterisk's backend writes below its folder of logs, where this name is its own.
const NAME: &str = "harness.csv";
const MAPPING: &str = "[mappings]\nharness.csv => ${eventtype},${eventtime},${CHANNEL(uniqueid)}\n";

/// One channel in the log. Times are microseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logged {
    /// When it was made.
    pub began: Option<u64>,
    /// When it ended.
    pub ended: Option<u64>,
    /// When it entered bridges.
    pub entered: Vec<u64>,
    /// When it left them.
    pub left: Vec<u64>,
}

impl Logged {
    /// Microseconds in bridges, by the sums that a query over the log's table makes.
    #[must_use]
    pub fn talk(&self) -> u64 {
        let sum = |times: &[u64]| times.iter().sum::<u64>();
        sum(&self.left).saturating_sub(sum(&self.entered))
    }

    /// Whether nothing of it is to come any more.
    fn is_over(&self) -> bool {
        self.ended.is_some() && self.left.len() == self.entered.len()
    }
}

/// The log of one Asterisk.
#[derive(Clone, Debug)]
pub struct Cel {
    file: PathBuf,
}

impl Cel {
    /// An Asterisk of that version that logs every event.
    pub fn logged(version: Version, builder: Builder) -> Builder {
        let builder = match version {
            // What cel_custom was until then, and what it needs, which it does not load by itself.
            Version::V22 => builder.load("res_cdrel_custom.so"),
            Version::V16 => builder,
        };
        builder
            .load("cel_custom.so")
            .file("cel.conf", "[general]\nenable = yes\nevents = ALL\n")
            .file("cel_custom.conf", MAPPING)
    }

    /// The log of an Asterisk that was described by [`Cel::logged`].
    #[must_use]
    pub fn of(asterisk: &Asterisk) -> Self {
        Self {
            file: asterisk.scratch().join("log/cel-custom").join(NAME),
        }
    }

    /// All channels in the log, by their uniqueid.
    ///
    /// # Errors
    /// When the log cannot be read, or a line of it is none of ours.
    pub fn channels(&self) -> Result<BTreeMap<String, Logged>> {
        let text =
            fs::read_to_string(&self.file).with_context(|| format!("no log in {}", self.file.display()))?;
        let mut channels: BTreeMap<String, Logged> = BTreeMap::new();
        // The last line may be on its way.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.lines() {
            let (kind, time, uniqueid) = fields(line).with_context(|| format!("the log has '{line}'"))?;
            let channel = channels.entry(uniqueid.to_owned()).or_default();
            match kind {
                "CHAN_START" => channel.began = Some(time),
                "CHAN_END" => channel.ended = Some(time),
                "BRIDGE_ENTER" => channel.entered.push(time),
                "BRIDGE_EXIT" => channel.left.push(time),
                _ => {}
            }
        }
        Ok(channels)
    }

    /// Waits until every channel of the log has ended, and returns them.
    ///
    /// # Errors
    /// When one has not within the bound, and as [`Cel::channels`].
    pub fn complete(&self) -> Result<BTreeMap<String, Logged>> {
        until("a log in which every channel has ended", BOUND, || {
            let channels = self.channels()?;
            let over = !channels.is_empty() && channels.values().all(Logged::is_over);
            Ok(over.then_some(channels))
        })
        .with_context(|| {
            let going_on = self.channels().map(|mut channels| {
                channels.retain(|_, channel| !channel.is_over());
                channels
            });
            format!("there are still {going_on:#?}")
        })
    }

    /// Waits until all channels have ended, and compares what CALL_DURATION tells of each with the log. Returns the
    /// channels that were compared.
    ///
    /// # Errors
    /// When one differs, and as [`Cel::complete`].
    pub fn agrees(&self, ami: &mut Ami) -> Result<BTreeMap<String, Logged>> {
        let channels = self.complete()?;
        for (uniqueid, channel) in &channels {
            let mut told = String::new();
            // Both are behind the calls, each by its own queue.
            until("equal durations", BOUND, || {
                told = ami.getvar(None, &format!("CALL_DURATION({uniqueid},talk_ms)"))?;
                Ok((told == (channel.talk() / 1_000).to_string()).then_some(()))
            })
            .with_context(|| {
                let talk = channel.talk();
                format!("{uniqueid} talked for {told} ms, by the log for {talk} µs: {channel:#?}")
            })?;
        }
        // What is right by chance while it grows is not right any more.
        for (uniqueid, channel) in &channels {
            let mut ask = |what: &str| ami.getvar(None, &format!("CALL_DURATION({uniqueid}{what})"));
            let talk = channel.talk();
            let [milliseconds, seconds] = [ask(",talk_ms")?, ask("")?];
            ensure!(
                milliseconds == (talk / 1_000).to_string() && seconds == (talk / 1_000_000).to_string(),
                "{uniqueid} talked for {milliseconds} ms and {seconds} s, by the log for {talk} µs: {channel:#?}"
            );
            // The log's times do not tell how long it lived: in 16 a channel's end is logged when it leaves the cache, which
            // is a little later.
            let mut total = ask(",total_ms")?;
            until("an end of its life", BOUND, || {
                let before = std::mem::replace(&mut total, ask(",total_ms")?);
                Ok((before == total).then_some(()))
            })
            .with_context(|| uniqueid.clone())?;
            ensure!(
                total.parse::<u64>().ok() >= Some(talk / 1_000),
                "{uniqueid} lived for {total} ms and talked for {milliseconds}"
            );
        }
        Ok(channels)
    }
}

/// The event, its microseconds and the channel.
fn fields(line: &str) -> Option<(&str, u64, &str)> {
    let mut fields = line.split(',').map(|field| field.trim_matches('"'));
    let (kind, time, uniqueid) = (fields.next()?, fields.next()?, fields.next()?);
    let (seconds, micros) = time.split_once('.')?;
    if micros.len() != 6 || uniqueid.is_empty() {
        return None;
    }
    let (seconds, micros): (u64, u64) = (seconds.parse().ok()?, micros.parse().ok()?);
    Some((kind, seconds * 1_000_000 + micros, uniqueid))
}

#[cfg(test)]
mod tests {
    use super::fields;

    #[test]
    fn a_line_is_read() {
        let read = Some(("BRIDGE_ENTER", 1_700_000_000_000_042, "harness-1700000000.7"));
        assert_eq!(
            fields("BRIDGE_ENTER,1700000000.000042,harness-1700000000.7"),
            read
        );
        assert_eq!(
            fields("\"BRIDGE_ENTER\",\"1700000000.000042\",\"harness-1700000000.7\""),
            read
        );
        for line in [
            "",
            "BRIDGE_ENTER,1700000000.000042",
            "BRIDGE_ENTER,1700000000.42,1",
            "A,1,2",
        ] {
            assert_eq!(fields(line), None, "{line}");
        }
    }
}
