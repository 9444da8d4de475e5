//! Writes what the subscriber sees into a file: `planfix record`.
//!
//! Invariants:
//! - [`Recorder::offer`] never waits, whatever the disk does;
//! - a file that exists is never touched, and only we may read the new one;
//! - it ends by itself: at a size, after a time, when the disk refuses or is too slow, and says so once; what it leaves is
//!   whole lines.

use std::collections::hash_map::RandomState;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::threads::{Thread, Threads};
use crate::core::mask::Mask;
use crate::core::quantity::{show_bytes, show_duration};
use crate::core::record::Record;
use crate::core::trace::{self, Header};

/// Records that may wait for the disk.
const QUEUE: usize = 16_384;
/// What is written at once while more waits.
const PORTION: usize = 64 * 1024;

/// When a recording ends by itself.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the file.
    pub bytes: u64,
    /// Time since its beginning.
    pub duration: Duration,
}

impl Default for Limits {
    /// As much as the player reads, and an hour.
    fn default() -> Self {
        Self {
            bytes: trace::MOST_BYTES,
            duration: Duration::from_secs(3_600),
        }
    }
}

/// How a recording stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Records in the file.
    pub records: u64,
    /// Bytes in the file.
    pub bytes: u64,
    /// Time since its beginning.
    pub lasts: Duration,
    /// Why it has ended by itself.
    pub ended: Option<String>,
}

enum Item {
    Record(Box<Record>),
    Stop,
}

#[derive(Debug)]
struct Shared {
    /// Nothing more is written.
    over: AtomicBool,
    records: AtomicU64,
    bytes: AtomicU64,
    why: Mutex<Option<String>>,
}

impl Shared {
    /// The first reason counts.
    fn end(&self, why: String) {
        if !self.over.swap(true, Ordering::AcqRel) {
            *self.why.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        }
    }
}

/// A recording under way. Dropping it ends it.
pub struct Recorder {
    path: PathBuf,
    begun: Instant,
    queue: Sender<Item>,
    shared: Arc<Shared>,
    thread: Mutex<Option<Box<dyn Thread>>>,
}

/// Makes the file of a recording.
///
/// # Errors
/// A sentence for the operator; above all when there is such a file already.
pub fn create(path: &Path) -> Result<File, String> {
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    file.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => format!(
            "{} exists already and is not overwritten: name another file",
            path.display()
        ),
        _ => format!("{} cannot be made: {error}", path.display()),
    })
}

impl Recorder {
    /// Begins with the header, in `file`, which is at `path`. With a mask, clients' numbers are replaced by others.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn start(
        path: &Path,
        file: File,
        header: &Header,
        mask: Option<Mask<RandomState>>,
        limits: Limits,
        threads: &dyn Threads,
    ) -> Result<Self, String> {
        let (queue, items) = bounded(QUEUE);
        let shared = Arc::new(Shared {
            over: AtomicBool::new(false),
            records: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            why: Mutex::default(),
        });
        let begun = Instant::now();
        let header = mask
            .as_ref()
            .map_or_else(|| header.clone(), |mask| mask.header(header));
        let mut writer = Writer {
            file,
            pending: Vec::new(),
            records: 0,
            mask,
            limits,
            until: begun + limits.duration,
            shared: Arc::clone(&shared),
        };
        writer
            .add(&header)
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
        let name = path.display().to_string();
        let thread = threads
            .spawn("planfix/record", Box::new(move || writer.run(&items, &name)))
            .map_err(|error| format!("no thread could be started: {error}"))?;
        Ok(Self {
            path: path.to_owned(),
            begun,
            queue,
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Takes a record. Never waits: when the disk is so slow that there is no room for it, the recording ends, because a
    /// trace with holes explains nothing.
    pub fn offer(&self, record: Box<Record>) {
        if !self.is_over() && self.queue.try_send(Item::Record(record)).is_err() {
            self.end("the disk is too slow for it");
        }
    }

    /// Ends it by itself, for this reason.
    pub fn end(&self, why: &str) {
        self.shared.end(why.to_owned());
        // The thread looks for the reason when it wakes, and a full queue wakes it as well.
        let _ = self.queue.try_send(Item::Stop);
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.shared.over.load(Ordering::Acquire)
    }

    /// Ends it, and waits until everything that was offered is in the file. False when the disk does not answer in time.
    pub fn stop(&self, within: Duration) -> bool {
        let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return true;
        };
        // It has ended by itself when there is nobody to hear.
        let _ = self.queue.send_timeout(Item::Stop, within);
        thread.join(within)
    }

    /// Where it goes.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How it stands.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            records: self.shared.records.load(Ordering::Relaxed),
            bytes: self.shared.bytes.load(Ordering::Relaxed),
            lasts: self.begun.elapsed(),
            ended: self
                .shared
                .why
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop(Duration::from_secs(1));
    }
}

/// What runs on the thread.
struct Writer {
    file: File,
    /// Whole lines that are not in the file yet, and how many records are among them.
    pending: Vec<u8>,
    records: u64,
    mask: Option<Mask<RandomState>>,
    limits: Limits,
    until: Instant,
    shared: Arc<Shared>,
}

impl Writer {
    fn run(mut self, items: &Receiver<Item>, name: &str) {
        let mut next = None;
        while !self.shared.over.load(Ordering::Acquire) {
            let item = match next.take() {
                Some(item) => item,
                None => match items.recv_deadline(self.until) {
                    Ok(item) => item,
                    Err(RecvTimeoutError::Disconnected) => break,
                    Err(RecvTimeoutError::Timeout) => {
                        let hour = show_duration(self.limits.duration);
                        self.shared.end(format!("it has lasted for {hour}"));
                        break;
                    }
                },
            };
            let Item::Record(record) = item else { break };
            if let Err(error) = self.record(&record) {
                self.shared.end(format!("a record cannot be written: {error}"));
            }
            next = items.try_recv().ok();
            if next.is_none() || self.pending.len() >= PORTION {
                self.flush();
            }
        }
        self.flush();
        let why = self
            .shared
            .why
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        self.shared.over.store(true, Ordering::Release);
        if let Some(why) = why {
            log::warn!("The recording of {name} has ended by itself: {why}");
        }
    }

    fn record(&mut self, record: &Record) -> serde_json::Result<()> {
        let masked = self.mask.as_ref().map(|mask| mask.record(record)).transpose()?;
        let before = self.pending.len();
        self.add(masked.as_ref().unwrap_or(record))?;
        self.records += 1;
        let bytes = self.shared.bytes.load(Ordering::Relaxed) + self.pending.len() as u64;
        if bytes > self.limits.bytes {
            self.pending.truncate(before);
            self.records -= 1;
            let limit = show_bytes(self.limits.bytes);
            self.shared.end(format!("the file would be larger than {limit}"));
        }
        Ok(())
    }

    fn add(&mut self, what: &impl serde::Serialize) -> serde_json::Result<()> {
        self.pending.extend_from_slice(trace::line(what)?.as_bytes());
        Ok(())
    }

    fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let written = self.shared.bytes.load(Ordering::Relaxed);
        match self.file.write_all(&self.pending) {
            Ok(()) => {
                let count = self.pending.len() as u64;
                self.shared.bytes.fetch_add(count, Ordering::Relaxed);
                self.shared.records.fetch_add(self.records, Ordering::Relaxed);
            }
            Err(error) => {
                // A torn line would make the whole trace unreadable. Where this fails too there is nothing left to do.
                let _ = self.file.set_len(written);
                self.shared.end(format!("the file cannot be written: {error}"));
            }
        }
        self.pending.clear();
        self.records = 0;
    }
}
