//! Calls as Asterisk itself saw them: a log of its own, CEL, that knows nothing of the module.
//!
//! Invariant: the judgement is pure, and goes by places in the log and not by times, because the clock is set while calls go on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use harness::{Asterisk, Builder, Cel, Version};

/// Below Asterisk's folder of logs.
const FILE: &str = "log/cel-custom/chaos.csv";
const MAPPING: &str = "[mappings]\nchaos.csv => ${eventtype},${CHANNEL(linkedid)},${CHANNEL(channame)}\n";

/// Whose a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Employee,
    /// Half of a Local channel.
    Nobody,
}

impl Side {
    fn of(channel: &str) -> Self {
        match channel.strip_prefix("PJSIP/") {
            Some(name) if name.starts_with("trunk-") => Self::Client,
            Some(name) if name.starts_with(|first: char| first.is_ascii_digit()) => Self::Employee,
            _ => Self::Nobody,
        }
    }
}

/// A call from its first line to its last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Where the first line begins and the last one ends.
    place: Range<usize>,
    /// Who began it.
    began: Side,
    /// A client called and then an employee was called, or the other way round.
    crossed: bool,
    /// A menu or a queue had answered the client before: if he goes then before a phone rings, nobody was called for him.
    welcomed: bool,
    /// An employee has answered.
    answered: bool,
    /// Nothing more comes.
    over: bool,
}

/// An Asterisk that writes such a log.
pub(crate) fn logged(version: Version, builder: Builder) -> Builder {
    Cel::logged(version, builder).file("cel_custom.conf", MAPPING)
}

/// The log of that Asterisk.
pub(crate) fn log_of(asterisk: &Asterisk) -> PathBuf {
    asterisk.scratch().join(FILE)
}

/// How long the log is.
pub(crate) fn length(log: &Path) -> usize {
    let length = fs::metadata(log).map_or(0, |file| file.len());
    usize::try_from(length).unwrap_or(usize::MAX)
}

/// Every call in the log, by its linkedid.
pub(crate) fn read(log: &Path) -> Result<BTreeMap<String, Seen>> {
    let text = fs::read_to_string(log).with_context(|| format!("no log in {}", log.display()))?;
    Ok(calls(&text))
}

fn calls(text: &str) -> BTreeMap<String, Seen> {
    let mut calls: BTreeMap<String, Seen> = BTreeMap::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let begin = at;
        at += line.len();
        let mut cells = line.trim_end().split(',');
        let (Some(kind), Some(linkedid), Some(channel)) = (cells.next(), cells.next(), cells.next()) else {
            continue;
        };
        let side = Side::of(channel);
        let call = calls.entry(linkedid.to_owned()).or_insert(Seen {
            place: begin..at,
            began: side,
            crossed: false,
            welcomed: false,
            answered: false,
            over: false,
        });
        call.place.end = at;
        match (kind, call.began, side) {
            ("CHAN_START", Side::Client, Side::Employee) | ("CHAN_START", Side::Employee, Side::Client) => {
                call.crossed = true;
            }
            ("ANSWER", Side::Client, Side::Client) if !call.crossed => call.welcomed = true,
            ("ANSWER", _, Side::Employee) => call.answered = true,
            ("LINKEDID_END", ..) => call.over = true,
            _ => {}
        }
    }
    calls
}

/// The calls that the CRM must have been told of, since the module was there from their beginning to their end, and was not
/// told.
pub(crate) fn untold<'c>(
    calls: &'c BTreeMap<String, Seen>,
    lives: &[Range<usize>],
    told: &BTreeSet<&str>,
) -> (usize, Vec<&'c str>) {
    let followed = |seen: &Seen| {
        lives
            .iter()
            .any(|life| life.start <= seen.place.start && seen.place.end <= life.end)
    };
    let due = calls
        .iter()
        .filter(|(_, seen)| seen.crossed && seen.over && (!seen.welcomed || seen.answered) && followed(seen));
    let due: Vec<&str> = due.map(|(linkedid, _)| linkedid.as_str()).collect();
    let count = due.len();
    (
        count,
        due.into_iter()
            .filter(|linkedid| !told.contains(linkedid))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
CHAN_START,1.1,PJSIP/trunk-01
CHAN_START,2.1,PJSIP/101-02
CHAN_START,1.1,PJSIP/102-03
CHAN_START,3.1,PJSIP/trunk-04
CHAN_START,2.1,PJSIP/103-05
LINKEDID_END,1.1,PJSIP/trunk-01
LINKEDID_END,2.1,PJSIP/101-02
LINKEDID_END,3.1,PJSIP/trunk-04
CHAN_START,4.1,PJSIP/trunk-06
CHAN_START,4.1,PJSIP/104-07
CHAN_START,5.1,PJSIP/105-08
CHAN_START,5.1,PJSIP/trunk-09
LINKEDID_END,5.1,PJSIP/105-08
CHAN_START,6.1,PJSIP/trunk-10
ANSWER,6.1,PJSIP/trunk-10
CHAN_START,6.1,PJSIP/106-11
LINKEDID_END,6.1,PJSIP/trunk-10
CHAN_START,7.1,PJSIP/trunk-12
ANSWER,7.1,PJSIP/trunk-12
CHAN_START,7.1,PJSIP/107-13
ANSWER,7.1,PJSIP/107-13
LINKEDID_END,7.1,PJSIP/trunk-12
";

    fn untold_of(lives: &[Range<usize>], told: &[&str]) -> Vec<String> {
        let told = told.iter().copied().collect();
        let calls = calls(LOG);
        let (_, untold) = untold(&calls, lives, &told);
        untold.into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn only_clients_and_employees_who_call_each_other_are_owed() {
        // 2.1 is internal, for 3.1 nobody was called, 4.1 goes on, 6.1 may have gone before a phone rang.
        let whole = 0..LOG.len();
        let whole = std::slice::from_ref(&whole);
        assert_eq!(untold_of(whole, &[]), ["1.1", "5.1", "7.1"]);
        assert_eq!(untold_of(whole, &["1.1", "7.1"]), ["5.1"]);
        assert_eq!(untold_of(whole, &["1.1", "5.1", "7.1"]), Vec::<String>::new());
    }

    #[test]
    fn a_call_that_the_module_did_not_see_whole_is_not_owed() {
        let end = LOG.find("LINKEDID_END,1.1").unwrap();
        assert_eq!(untold_of(&[0..end, end..LOG.len()], &[]), ["5.1", "7.1"]);
        assert_eq!(
            untold_of(std::slice::from_ref(&(1..LOG.len())), &[]),
            ["5.1", "7.1"]
        );
    }
}
