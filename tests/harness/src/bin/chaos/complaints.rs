//! What Asterisk's log says of errors, and whether a fault explains it.
//!
//! Invariant: pure; a fault explains what is written from its beginning on, never before.

use std::collections::BTreeMap;

use crate::fault::Fault;

/// A fault, and how long the log was when it began.
pub(crate) type Begun = (Fault, usize);

/// Errors of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Complaints {
    /// How often the module said something that a fault explains.
    pub(crate) explained: usize,
    /// What the module said without a reason.
    pub(crate) unexplained: Vec<String>,
    /// What Asterisk itself said, by the place in its source, how often, and one example.
    pub(crate) foreign: BTreeMap<String, (usize, String)>,
}

/// Reads a log.
pub(crate) fn read(log: &str, faults: &[Begun]) -> Complaints {
    let mut complaints = Complaints::default();
    let mut at = 0;
    for line in log.split_inclusive('\n') {
        let place = at;
        at += line.len();
        let Some((_, rest)) = line.split_once("] ERROR[") else {
            continue;
        };
        let rest = rest.trim_end();
        // `123][C-00000001] file.c: text`, the call where there is one; the file's line with its function where the level
        // of verbosity asks for it.
        let text = rest.split_once(' ').map_or(rest, |(_, text)| text);
        let source = text.split([':', ' ']).next().unwrap_or_default();
        if !source.ends_with(".rs") {
            let foreign = complaints
                .foreign
                .entry(source.to_owned())
                .or_insert((0, text.to_owned()));
            foreign.0 += 1;
        } else if faults
            .iter()
            .filter(|(_, begun)| *begun <= place)
            .any(|(fault, _)| fault.errors().iter().any(|part| text.contains(part)))
        {
            complaints.explained += 1;
        } else {
            complaints.unexplained.push(text.to_owned());
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "[2026-01-01 10:00:00.000] ERROR[12][C-0000001f] keeping.rs: The spool cannot be written, no room; check\n";

    #[test]
    fn a_fault_explains_its_own_errors_from_its_beginning_on() {
        let log = format!("[2026-01-01 10:00:00.000] WARNING[12] x.rs: no error\n{LINE}");
        let before = read(&log, &[(Fault::DiskFull, 10)]);
        assert_eq!((before.explained, before.unexplained.len()), (1, 0));
        assert_eq!(read(&log, &[(Fault::DiskFull, log.len())]).unexplained.len(), 1);
        assert_eq!(read(&log, &[(Fault::Flood, 0)]).unexplained.len(), 1);
        assert_eq!(
            read(&log, &[]).unexplained,
            ["keeping.rs: The spool cannot be written, no room; check"]
        );
    }

    #[test]
    fn what_asterisk_says_is_its_own() {
        let line = "[2026-01-01 10:00:00.000] ERROR[12]: chan_pjsip.c:12 hangup: something\n";
        let complaints = read(&line.repeat(2), &[]);
        assert_eq!(complaints.unexplained, Vec::<String>::new());
        let (source, (count, _)) = complaints.foreign.first_key_value().unwrap();
        assert_eq!((source.as_str(), *count), ("chan_pjsip.c", 2));
    }
}
