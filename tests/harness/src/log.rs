//! Asterisk's log, read on as it grows.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::{Asterisk, until};

/// Long for a loaded machine: a line is there at once.
const BOUND: Duration = Duration::from_secs(30);

/// A place in the log.
#[derive(Debug)]
pub struct Log {
    file: PathBuf,
    at: u64,
    /// Lines that were read and not looked at yet.
    text: String,
    /// Everything since the beginning, for a complaint.
    seen: String,
}

impl Log {
    /// What is written from now on.
    ///
    /// # Errors
    /// When there is no log yet.
    pub fn from_here(asterisk: &Asterisk) -> Result<Self> {
        let file = asterisk.scratch().join("log/full");
        let at = file.metadata()?.len();
        Ok(Self {
            file,
            at,
            text: String::new(),
            seen: String::new(),
        })
    }

    /// Waits for the next line that is `wanted`; those before it are done with.
    ///
    /// # Errors
    /// When none comes.
    pub fn wait<T>(&mut self, what: &str, wanted: impl Fn(&str) -> Option<T>) -> Result<T> {
        let found = until(what, BOUND, || {
            self.read_on()?;
            while let Some(end) = self.text.find('\n') {
                let line: String = self.text.drain(..=end).collect();
                let found = wanted(&line);
                self.seen.push_str(&line);
                if found.is_some() {
                    return Ok(found);
                }
            }
            Ok(None)
        });
        found.with_context(|| {
            let played = self.seen.lines().filter(|line| line.contains("> Playing '"));
            format!("what was played: {:#?}", played.collect::<Vec<_>>())
        })
    }

    /// Waits until one of these sounds is played to that endpoint (`101`); returns it, and the language that it was looked
    /// for in. Asterisk tells so at verbose level 3 (main/file.c, `ast_streamfile`).
    ///
    /// # Errors
    /// When none is.
    pub fn wait_played(&mut self, endpoint: &str, sounds: &[&str]) -> Result<(String, String)> {
        let channel = format!("<PJSIP/{endpoint}-");
        self.wait(&format!("{sounds:?} on the phone {endpoint}"), |line| {
            let (_, rest) = line.split_once(&channel)?;
            let (_, rest) = rest.split_once("> Playing '")?;
            let (name, rest) = rest.split_once('\'')?;
            let (name, _) = name.rsplit_once('.')?;
            let language = rest.strip_prefix(" (language '")?.split('\'').next()?;
            sounds
                .contains(&name)
                .then(|| (name.to_owned(), language.to_owned()))
        })
    }

    fn read_on(&mut self) -> Result<()> {
        let mut file = File::open(&self.file)?;
        file.seek(SeekFrom::Start(self.at))?;
        let mut more = Vec::new();
        file.read_to_end(&mut more)?;
        // Not in the middle of a line, and so not of a character either.
        let whole = more
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        self.at += whole as u64;
        self.text.push_str(&String::from_utf8_lossy(&more[..whole]));
        Ok(())
    }
}
