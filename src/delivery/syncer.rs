//! The thread that waits for the disk, so that nobody else has to.
//!
//! Invariants:
//! - a commit is in the kernel's hands when the dispatcher goes on, and survives the end of the process from then on;
//!   this thread asks the disk to confirm it, for the case of a power cut, and asks again for as long as there are newer
//!   commits;
//! - it copies the log into the database file, which also waits for the disk; SQLite lets a second connection do that
//!   beside the writer (`wal_checkpoint(PASSIVE)`);
//! - it never opens the database file by itself: closing a descriptor of it would drop SQLite's locks.
//!
//! With `synchronous=FULL` in the dispatcher instead, every event behind a commit would wait in memory for as long as
//! the disk takes for that one, and a disk under load takes much longer than the ten milliseconds that are promised.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rusqlite::{Connection, OpenFlags};

use super::spool::log_of;
use super::threads::{Thread, Threads};

/// Between two messages about a disk that does not confirm.
const COMPLAINT: Duration = Duration::from_secs(60);

/// The thread's other end.
pub(super) struct Syncer {
    work: Sender<Work>,
    slowest: Arc<AtomicU64>,
    held: Arc<Held>,
    thread: Box<dyn Thread>,
}

/// Since when somebody who reads the database keeps the log from being copied.
type Held = Mutex<Option<Instant>>;

/// What is to be confirmed.
struct Work {
    database: PathBuf,
    /// A log that is longer than this is copied into the database.
    copy_from: u64,
}

impl Syncer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there is none to be had.
    pub(super) fn start(threads: &dyn Threads) -> std::io::Result<Self> {
        // One place is enough: a confirmation covers everything that was written before it began.
        let (work, waiting) = bounded(1);
        let slowest = Arc::new(AtomicU64::new(0));
        let held = Arc::default();
        let (seen, stuck) = (Arc::clone(&slowest), Arc::clone(&held));
        let thread = threads.spawn("planfix/sync", Box::new(move || confirm(&waiting, &seen, &stuck)))?;
        Ok(Self {
            work,
            slowest,
            held,
            thread,
        })
    }

    /// Something was written.
    pub(super) fn wake(&self, database: PathBuf, copy_from: u64) {
        match self.work.try_send(Work { database, copy_from }) {
            // The work that waits covers this as well.
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }

    /// The slowest confirmation so far.
    pub(super) fn slowest(&self) -> Duration {
        Duration::from_micros(self.slowest.load(Ordering::Relaxed))
    }

    /// For how long another program has kept the log from being copied by reading the database; `None` when it does not.
    pub(super) fn held_for(&self) -> Option<Duration> {
        let held = *self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.map(|since| since.elapsed())
    }

    /// Ends the thread. False when the disk holds it at the deadline.
    pub(super) fn stop(self, within: Duration) -> bool {
        drop(self.work);
        self.thread.join(within)
    }
}

fn confirm(waiting: &Receiver<Work>, slowest: &AtomicU64, held: &Held) {
    let mut complained: Option<Instant> = None;
    while let Ok(work) = waiting.recv() {
        let begin = Instant::now();
        let done = sync(&work, held);
        let took = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
        slowest.fetch_max(took, Ordering::Relaxed);
        if let Err(text) = done
            && complained.is_none_or(|at| at.elapsed() > COMPLAINT)
        {
            complained = Some(Instant::now());
            log::error!(
                "The disk does not confirm what was written to {}, {text}; a power cut may lose events",
                work.database.display()
            );
        }
    }
}

fn sync(work: &Work, held: &Held) -> Result<(), String> {
    let file = File::open(log_of(&work.database)).map_err(|error| error.to_string())?;
    file.sync_data().map_err(|error| error.to_string())?;
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    // SQLite leaves the log at this very length when it begins anew (`journal_size_limit`).
    let left = if length <= work.copy_from {
        0
    } else {
        copy(work, length).map_err(|error| error.to_string())?
    };
    // While events come, the newest are always left; whoever reads for long keeps all that came since.
    let is_held = left > work.copy_from;
    let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
    *held = is_held.then(|| held.unwrap_or_else(Instant::now));
    Ok(())
}

/// Copies the log into the database, as far as nobody needs the database as it is; says how many bytes are left.
fn copy(work: &Work, length: u64) -> rusqlite::Result<u64> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let database = Connection::open_with_flags(&work.database, flags)?;
    database.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        // Both are -1 while somebody else copies.
        let (frames, copied): (i64, i64) = (row.get(1)?, row.get(2)?);
        let left = u64::try_from(frames - copied).unwrap_or(0);
        Ok(left * length / u64::try_from(frames.max(1)).unwrap_or(1))
    })
}
