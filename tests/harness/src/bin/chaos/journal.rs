//! What the CRM was told, as the sandbox's log has it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use harness::{field, flat};
use serde_json::Value;

/// What a request tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A card is shown.
    Shown,
    /// Its employee has answered.
    Accepted,
    /// It is closed.
    Closed,
    /// A recording can be heard.
    Record,
}

/// A request that the CRM has taken in, whether or not it said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Its line in the log.
    pub(crate) place: usize,
    /// What it tells.
    pub(crate) what: What,
    /// Of which call.
    pub(crate) callid: String,
    /// To which employee.
    pub(crate) ext: String,
    /// Of which client.
    pub(crate) phone: String,
    /// How the call ended.
    pub(crate) status: String,
    /// Whether a recording is promised.
    pub(crate) is_recorded: bool,
    /// Where the recording is.
    pub(crate) link: String,
    /// All of it but the key, so that a repetition is known by it.
    pub(crate) text: String,
    /// Something was wrong with its answer, so that it has to be made again.
    pub(crate) faulty: bool,
}

/// The log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    /// What was taken in, in its order.
    pub(crate) requests: Vec<Request>,
    /// What the protocol does not allow.
    pub(crate) refused: Vec<String>,
    /// Lookups of callers that were answered.
    pub(crate) contacts: usize,
    /// Lines.
    pub(crate) length: usize,
}

impl Journal {
    /// Reads it. A line that is still being written is left out.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).context("the CRM has no log")?;
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut journal = Self::default();
        for line in whole.lines() {
            let entry = serde_json::from_str(line).with_context(|| format!("the CRM's log has {line:?}"))?;
            journal.take(&entry);
        }
        Ok(journal)
    }

    fn take(&mut self, entry: &Value) {
        let place = self.length;
        self.length += 1;
        if let Some(problem) = entry["problems"].get(0) {
            let cmd = entry["cmd"].as_str().unwrap_or("a request");
            self.refused.push(flat(&format!("{cmd}: {problem}")));
        }
        if entry["processed"] != true {
            return;
        }
        let what = match (field(entry, "cmd"), field(entry, "event")) {
            ("record", _) => What::Record,
            (_, "INCOMING" | "OUTGOING") => What::Shown,
            (_, "ACCEPTED") => What::Accepted,
            (_, "COMPLETED") => What::Closed,
            ("contact", _) => {
                self.contacts += 1;
                return;
            }
            _ => return,
        };
        let text = |name| field(entry, name).to_owned();
        self.requests.push(Request {
            place,
            what,
            callid: text("callid"),
            ext: text("ext"),
            phone: text("phone"),
            status: text("status"),
            is_recorded: field(entry, "is_recorded") == "1",
            link: text("record_link"),
            text: entry["fields"].to_string(),
            faulty: !entry["fault"].is_null(),
        });
    }
}

/// How many lines there are.
pub(crate) fn length(path: &Path) -> usize {
    let bytes = fs::read(path).unwrap_or_default();
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_not_taken_in_does_not_count() {
        let entry = |processed: bool, event: &str| {
            json!({
                "cmd": "event", "processed": processed, "problems": [], "fault": null,
                "fields": [["cmd", "event"], ["event", event], ["callid", "1.1"], ["ext", "101"]]
            })
        };
        let mut journal = Journal::default();
        for (processed, event) in [(true, "INCOMING"), (false, "INCOMING"), (true, "COMPLETED")] {
            journal.take(&entry(processed, event));
        }
        let told: Vec<(usize, What)> = journal
            .requests
            .iter()
            .map(|request| (request.place, request.what))
            .collect();
        assert_eq!(told, [(0, What::Shown), (2, What::Closed)]);
        assert_eq!((journal.length, journal.refused.len()), (3, 0));
    }

    #[test]
    fn a_request_against_the_protocol_is_noted() {
        let mut journal = Journal::default();
        journal.take(&json!({ "cmd": "event", "processed": false, "problems": ["no callid"], "fields": [] }));
        assert_eq!(journal.refused, ["event: \"no callid\""]);
    }
}
