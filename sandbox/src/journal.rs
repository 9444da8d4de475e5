//! The log: one JSON line per request.
//!
//! Invariants: whoever answers a request only copies bytes into memory; one thread of its own writes them, in order; a
//! disk that does not keep up is waited for only when much is pending; nothing is lost at an orderly stop.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Pending bytes at which the writer does not wait for its timer.
const HURRY: usize = 256 * 1024;
/// Pending bytes at which whoever appends waits.
const FULL: usize = 64 * 1024 * 1024;

struct Pending {
    bytes: Vec<u8>,
    appended: u64,
    written: u64,
    hurry: bool,
    stop: bool,
    error: Option<String>,
}

struct Desk {
    pending: Mutex<Pending>,
    changed: Condvar,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The log file and its writer.
pub(crate) struct Journal {
    desk: Arc<Desk>,
    at_once: bool,
    writer: Option<JoinHandle<()>>,
}

impl Journal {
    /// Opens the file for appending. With an interval of zero, every line is written before its request is answered.
    pub(crate) fn open(path: &Path, interval: Duration) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        let pending = Pending {
            bytes: Vec::new(),
            appended: 0,
            written: 0,
            hurry: false,
            stop: false,
            error: None,
        };
        let desk = Arc::new(Desk {
            pending: Mutex::new(pending),
            changed: Condvar::new(),
        });
        let writer = {
            let desk = Arc::clone(&desk);
            std::thread::Builder::new()
                .name("sandbox-log".into())
                .spawn(move || write(&desk, file, interval))?
        };
        Ok(Self {
            desk,
            at_once: interval.is_zero(),
            writer: Some(writer),
        })
    }

    /// Adds a line; it holds no line break and needs none at its end.
    pub(crate) fn append(&self, line: &[u8]) {
        let mut pending = self.desk.lock();
        while pending.bytes.len() > FULL && !pending.stop {
            pending = self
                .desk
                .changed
                .wait(pending)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let first = pending.bytes.is_empty();
        pending.bytes.extend_from_slice(line);
        pending.bytes.push(b'\n');
        pending.appended += line.len() as u64 + 1;
        let full = pending.bytes.len() > HURRY && !pending.hurry;
        pending.hurry |= full;
        if first || full {
            self.desk.changed.notify_all();
        }
        drop(pending);
        if self.at_once {
            self.sync();
        }
    }

    /// Waits until everything appended so far has been given to the operating system.
    pub(crate) fn sync(&self) {
        let mut pending = self.desk.lock();
        let goal = pending.appended;
        pending.hurry = true;
        self.desk.changed.notify_all();
        while pending.written < goal {
            pending = self
                .desk
                .changed
                .wait(pending)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What went wrong with the file last, if anything did.
    pub(crate) fn error(&self) -> Option<String> {
        self.desk.lock().error.clone()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.desk.lock().stop = true;
        self.desk.changed.notify_all();
        if let Some(writer) = self.writer.take() {
            // A writer that has panicked has said so on stderr; there is nothing to add.
            let _ = writer.join();
        }
    }
}

fn write(desk: &Desk, mut file: File, interval: Duration) {
    let mut batch = Vec::new();
    let mut pending = desk.lock();
    loop {
        if pending.bytes.is_empty() && pending.stop {
            return;
        }
        while pending.bytes.is_empty() && !pending.hurry && !pending.stop {
            pending = desk.changed.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
        // The first line is there: let others gather for one interval.
        let gather = |pending: &mut Pending| !pending.hurry && !pending.stop;
        pending = desk
            .changed
            .wait_timeout_while(pending, interval, gather)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
        pending.hurry = false;
        if pending.bytes.is_empty() {
            desk.changed.notify_all();
            continue;
        }
        std::mem::swap(&mut batch, &mut pending.bytes);
        drop(pending);
        let result = file.write_all(&batch);
        pending = desk.lock();
        pending.written += batch.len() as u64;
        batch.clear();
        if let Err(error) = result {
            let text = format!("the log cannot be written: {error}");
            if pending.error.as_ref() != Some(&text) {
                eprintln!("planfix-sandbox: {text}");
                pending.error = Some(text);
            }
        }
        desk.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_in_order_and_written_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let journal = Journal::open(&path, Duration::from_secs(3600)).unwrap();
        let mut expected = String::new();
        for n in 0..20_000 {
            let line = format!("line {n} {}", "x".repeat(40));
            journal.append(line.as_bytes());
            expected += &line;
            expected.push('\n');
            if n == 10 {
                journal.sync();
                assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
            }
        }
        drop(journal);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
        let journal = Journal::open(&path, Duration::ZERO).unwrap();
        journal.append(b"last");
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("\nlast\n"));
        assert_eq!(journal.error(), None);
    }

    #[test]
    fn a_full_disk_is_reported_and_does_not_block() {
        let journal = Journal::open(Path::new("/dev/full"), Duration::ZERO).unwrap();
        journal.append(b"line");
        assert!(
            journal
                .error()
                .is_some_and(|error| error.contains("cannot be written"))
        );
    }
}
