//! What the CRM was told, from its own log, read line by line: it is larger than what one wants in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use anyhow::{Context, Result};
use harness::field;
use serde_json::Value;

use crate::backlog;

/// Moments are milliseconds on the sandbox's clock.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Calls of the backlog: how often each was closed, and its recording told.
    closed: Vec<u8>,
    recorded: Vec<u8>,
    /// Cards of the backlog that were shown or changed, though nobody is there to see them any more.
    pub(crate) stale: u64,
    /// Recordings that were told before their call was closed.
    pub(crate) disordered: u64,
    /// What came of every other call, in its order.
    pub(crate) live: HashMap<String, Vec<(String, f64)>>,
    /// When the other client's questions came.
    pub(crate) pings: Vec<f64>,
    /// The module's requests of each second, from the first of the backlog to the last.
    per_second: BTreeMap<u64, u64>,
    connections: BTreeSet<u64>,
    /// What was not taken in.
    pub(crate) troubles: Vec<String>,
    first: Option<f64>,
    last: f64,
}

impl Ledger {
    /// Reads the log. `calls`: so many calls has the backlog.
    pub(crate) fn read(log: &Path, calls: u64) -> Result<Self> {
        let calls = usize::try_from(calls)?;
        let mut ledger = Self {
            closed: vec![0; calls],
            recorded: vec![0; calls],
            ..Self::default()
        };
        let file = File::open(log).with_context(|| format!("cannot read {}", log.display()))?;
        for line in BufReader::new(file).lines() {
            let line = line?;
            let entry: Value =
                serde_json::from_str(&line).with_context(|| format!("the CRM's log holds {line:?}"))?;
            ledger.note(&entry);
        }
        Ok(ledger)
    }

    fn note(&mut self, entry: &Value) {
        let at = entry["arrival_ms"].as_f64().unwrap_or_default();
        if entry["processed"] != true || entry["status"] != 200 {
            self.troubles.push(entry.to_string());
            return;
        }
        if entry["cmd"] == "ping" {
            self.pings.push(at);
            return;
        }
        let callid = field(entry, "callid");
        let event = match field(entry, "event") {
            "" => entry["cmd"].as_str().unwrap_or_default(),
            event => event,
        };
        let place = backlog::number_of(callid).and_then(|place| usize::try_from(place).ok());
        let of_backlog = place.filter(|place| *place < self.closed.len());
        let Some(place) = of_backlog else {
            let call = self.live.entry(callid.to_owned()).or_default();
            call.push((event.to_owned(), at));
            // Live calls count as load only while the backlog is on its way.
            if self.first.is_some() {
                self.count(entry, at);
            }
            return;
        };
        self.first.get_or_insert(at);
        self.last = at;
        self.count(entry, at);
        match event {
            "COMPLETED" => self.closed[place] = self.closed[place].saturating_add(1),
            "record" => {
                self.disordered += u64::from(self.closed[place] == 0);
                self.recorded[place] = self.recorded[place].saturating_add(1);
            }
            _ => self.stale += 1,
        }
    }

    fn count(&mut self, entry: &Value, at: f64) {
        *self.per_second.entry(second(at)).or_default() += 1;
        self.connections.extend(entry["connection"].as_u64());
    }

    /// Lasting events of the backlog that came once, never, and more than once.
    pub(crate) fn arrivals(&self) -> [u64; 3] {
        let mut arrivals = [0; 3];
        for times in self.closed.iter().chain(&self.recorded) {
            let place = match times {
                1 => 0,
                0 => 1,
                _ => 2,
            };
            arrivals[place] += 1;
        }
        arrivals
    }

    /// Requests in the fullest second, and what 99 of 100 seconds did not exceed.
    pub(crate) fn rate(&self) -> (u64, u64) {
        // What comes after the backlog is no part of it.
        let of_backlog = self.per_second.range(..=second(self.last));
        let mut seconds: Vec<u64> = of_backlog.map(|(_, count)| *count).collect();
        seconds.sort_unstable();
        let place = (seconds.len() * 99).div_ceil(100).saturating_sub(1);
        (
            seconds.last().copied().unwrap_or_default(),
            seconds.get(place).copied().unwrap_or_default(),
        )
    }

    /// The connections that the module's requests came on.
    pub(crate) fn connections(&self) -> usize {
        self.connections.len()
    }

    /// From the first request of the backlog to the last.
    pub(crate) fn span(&self) -> (f64, f64) {
        (self.first.unwrap_or_default(), self.last)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a whole second since the sandbox's start"
)]
fn second(at: f64) -> u64 {
    (at / 1_000.0) as u64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(ledger: &mut Ledger, callid: &str, event: &str, at: f64) {
        let mut fields = vec![json!(["callid", callid])];
        let cmd = if event == "record" { "record" } else { "event" };
        if cmd == "event" {
            fields.push(json!(["event", event]));
        }
        ledger.note(&json!({
            "arrival_ms": at, "processed": true, "status": 200, "cmd": cmd, "connection": 1, "fields": fields
        }));
    }

    #[test]
    fn what_is_missing_doubled_stale_or_out_of_order_shows() {
        let mut ledger = Ledger {
            closed: vec![0; 3],
            recorded: vec![0; 3],
            ..Ledger::default()
        };
        told(&mut ledger, "c-0.0", "COMPLETED", 1_000.0);
        told(&mut ledger, "c-0.0", "record", 1_001.0);
        told(&mut ledger, "c-0.1", "record", 1_002.0);
        told(&mut ledger, "c-0.1", "COMPLETED", 1_003.0);
        told(&mut ledger, "c-0.1", "COMPLETED", 2_500.0);
        told(&mut ledger, "c-0.2", "INCOMING", 2_600.0);
        told(&mut ledger, "live-1", "INCOMING", 2_700.0);
        // Once: both of c-0, the recording of c-1. Never: both of c-2. Twice: the end of c-1.
        assert_eq!(ledger.arrivals(), [3, 2, 1]);
        assert_eq!((ledger.stale, ledger.disordered), (1, 1));
        told(&mut ledger, "live-2", "INCOMING", 3_000.0);
        assert_eq!(ledger.rate(), (4, 4));
        assert_eq!(ledger.span(), (1_000.0, 2_600.0));
        assert_eq!(ledger.live["live-1"], [("INCOMING".to_owned(), 2_700.0)]);
    }
}
