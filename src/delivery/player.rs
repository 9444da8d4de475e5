//! Plays a trace from a file, line by line: `planfix play`.
//!
//! Invariants: nothing is sent; the file is read as it is played, so a large one costs no memory.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use crate::core::trace::{Fault, Header, MOST_BYTES, MOST_LINE, Player, Told, record, show};

/// What a trace came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Records in it.
    pub records: u64,
    /// Requests that they gave.
    pub requests: u64,
    /// Channels that had not ended.
    pub channels: usize,
}

/// Plays the trace, and hands each line for the reader to `out`: the requests, and then the story of the call `wanted`, by its
/// linkedid or the unique id of one of its channels.
///
/// # Errors
/// A sentence that says what is wrong, and in which line.
pub fn play(path: &Path, wanted: Option<&str>, mut out: impl FnMut(&str)) -> Result<Count, String> {
    let named = |text: &dyn std::fmt::Display| format!("{}: {text}", path.display());
    let facts = std::fs::metadata(path).map_err(|error| named(&error))?;
    // A pipe would keep us waiting for ever.
    if !facts.is_file() {
        return Err(named(&"this is no file"));
    }
    if facts.len() > MOST_BYTES {
        return Err(named(&format!("it is longer than {MOST_BYTES} bytes")));
    }
    let file = File::open(path).map_err(|error| named(&error))?;
    let mut lines = Lines {
        // It may grow while it is read.
        reader: BufReader::new(file.take(MOST_BYTES)),
        number: 0,
    };
    let fault = |fault: Fault| named(&fault);
    let header = Header::read(&lines.next().map_err(fault)?.unwrap_or_default()).map_err(fault)?;
    out(&format!(
        "res_planfix {} on Asterisk {}{}",
        header.module,
        header.asterisk,
        if header.masked {
            ", clients' numbers are replaced"
        } else {
            ""
        }
    ));
    let mut player = Player::new(header.settings().map_err(fault)?);
    let mut count = Count::default();
    let mut story: Option<Told> = None;
    let mut look = |player: &mut Player, count: &mut Count| {
        for (at, draft) in player.requests() {
            count.requests += 1;
            out(&show(at, &draft));
        }
        for told in player.told() {
            if wanted.is_some_and(|name| told.is(name)) {
                story = Some(told);
            }
        }
    };
    while let Some(line) = lines.next().map_err(fault)? {
        if let Some(record) = record(lines.number, &line).map_err(fault)? {
            count.records += 1;
            player.record(&record);
            look(&mut player, &mut count);
        }
    }
    player.finish();
    look(&mut player, &mut count);
    count.channels = player.tracker().channels();
    if let Some(name) = wanted {
        let running = player.tracker().explain(name).map(|(_, _, text)| text);
        match running.or(story.map(|told| told.text)) {
            Some(text) => text.lines().for_each(&mut out),
            None => out(&format!("The trace has no call {name}.")),
        }
    }
    Ok(count)
}

struct Lines {
    reader: BufReader<std::io::Take<File>>,
    /// Of the line that was read last, from 1.
    number: u64,
}

impl Lines {
    fn next(&mut self) -> Result<Option<String>, Fault> {
        self.number += 1;
        let fault = |text: String| Fault {
            line: self.number,
            text,
        };
        let mut line = Vec::new();
        // One more, so that the reader of the line sees that it is too long.
        let mut bounded = (&mut self.reader).take(MOST_LINE as u64 + 1);
        let length = bounded
            .read_until(b'\n', &mut line)
            .map_err(|error| fault(error.to_string()))?;
        if length == 0 {
            return Ok(None);
        }
        String::from_utf8(line)
            .map(Some)
            .map_err(|_| fault("it is not UTF-8".to_owned()))
    }
}
