//! A damaged spool gives way to a new one that has what could be read of it.
//!
//! Invariant: the damaged file keeps its name until the new one is complete and on the disk, so whoever ends Asterisk in between
//! loses nothing: the next start begins anew, or finishes the two renamings that were left.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};

use super::{MOST_EVENTS, PROCESS, Spool, SpoolError, number, parcel, unsigned, with_suffix};
use crate::core::lanes::Parcel;

/// Rows that are read and written together: where there is no room for all, there is for those before.
const PORTION: usize = 2_000;

/// Its first columns are those of [`super::COLUMNS`]. No index is used, because that may be what is damaged.
const READ: &str = "SELECT id, callid, kind, ext, body, accepted, attempts, state, reason, settled FROM event NOT INDEXED WHERE id >= ? ORDER BY id LIMIT ?";

/// What was carried over from a damaged file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rescued {
    /// Pending events.
    pub pending: usize,
    /// Failed events.
    pub failed: usize,
    /// Why what comes after these is in the damaged file alone; `None` when everything that could be read was carried over.
    pub stopped: Option<String>,
}

impl std::fmt::Display for Rescued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            pending,
            failed,
            stopped,
        } = self;
        write!(
            f,
            "{pending} pending and {failed} failed events that could be read"
        )?;
        match stopped {
            Some(why) => write!(
                f,
                "; later ones had to be left, {why}; they are in that file alone"
            ),
            None => Ok(()),
        }
    }
}

/// An event of the damaged file.
struct Found {
    parcel: Parcel,
    failed: Option<Failure>,
}

struct Failure {
    reason: Option<String>,
    settled: u64,
}

/// A part of the damaged table.
struct Portion {
    found: Vec<Found>,
    /// The first number that was not looked at.
    next: i64,
    /// Whether the table goes on there; an error: not to be read.
    goes_on: Result<bool, rusqlite::Error>,
}

impl Spool {
    /// Makes a new file of what can be read of the damaged one at `path` and lets it take that one's place. The new one is not
    /// open yet; the number is the first that is free.
    pub(super) fn begin_anew(
        path: &Path,
        max_bytes: u64,
        now: u64,
    ) -> Result<(PathBuf, Rescued, u64), SpoolError> {
        let fresh = fresh(path);
        remove(&fresh)?;
        let mut spool = Self::connect(&fresh, max_bytes)?;
        // Until it is complete nobody needs it, so it has no log that would have to take its place along with it.
        spool
            .db
            .pragma_update_and_check(None, "journal_mode", "memory", |_| Ok(()))?;
        spool.db.pragma_update(None, "synchronous", "off")?;
        let rescued = spool.rescue(path);
        let next_id = spool.next_id;
        spool.db.close().map_err(|(_, error)| SpoolError::from(error))?;
        File::open(&fresh)?.sync_all()?;
        let aside = move_aside(path, now)?;
        take_place(&fresh, path)?;
        Ok((aside, rescued, next_id))
    }

    /// What a run that ended in the middle of [`Spool::begin_anew`] has left.
    pub(super) fn finish_beginning(path: &Path, now: u64) -> Result<(), SpoolError> {
        let fresh = fresh(path);
        if is_there(path) || !is_there(&fresh) {
            return remove(&fresh);
        }
        // The damaged file was moved aside, which was done only when the new one was complete. What lies beside is still the
        // old one's: its log would be taken for the new one's.
        move_aside(path, now)?;
        take_place(&fresh, path)?;
        log::warn!(
            "Asterisk ended while a damaged spool was replaced; {} now is the new one, with what could be read of the old one",
            path.display()
        );
        Ok(())
    }

    /// Copies what can still be read. Whatever cannot be read stays in the damaged file.
    fn rescue(&mut self, damaged: &Path) -> Rescued {
        let mut rescued = Rescued::default();
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let Ok(old) = Connection::open_with_flags(damaged, flags) else {
            return rescued;
        };
        // Its log is read with it, and stays its log.
        let kept = old.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        if kept.is_err() || old.pragma_update(None, "trusted_schema", false).is_err() {
            return rescued;
        }
        let mut from = Some(1);
        while let Some(first) = from {
            let Portion { found, next, goes_on } = read(&old, first);
            if let Err(error) = self.write_rescued(&found) {
                rescued.stopped = Some(error.to_string());
                break;
            }
            // Numbers are kept, so that what the dispatcher holds in memory is still the same event.
            self.number_from(unsigned(next));
            let failed = found.iter().filter(|found| found.failed.is_some()).count();
            rescued.failed += failed;
            rescued.pending += found.len() - failed;
            from = match goes_on {
                Ok(goes_on) => goes_on.then_some(next),
                Err(error) => match SpoolError::from(error) {
                    locked @ SpoolError::Locked(_) => {
                        rescued.stopped = Some(locked.to_string());
                        break;
                    }
                    _ => after_damage(&old, next),
                },
            };
        }
        self.rescue_meta(&old);
        self.rescue_open_cards(&old);
        self.rescue_recordings(&old);
        rescued
    }

    fn write_rescued(&mut self, found: &[Found]) -> Result<(), SpoolError> {
        let transaction = self.db.transaction()?;
        let mut insert = transaction.prepare_cached(
            "INSERT OR IGNORE INTO event (id, callid, kind, ext, body, accepted, attempts, state, reason, settled) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?;
        for Found { parcel, failed } in found {
            let draft = &parcel.draft;
            insert.execute(params![
                number(parcel.id),
                draft.callid,
                draft.kind.word(),
                draft.ext,
                draft.body,
                number(parcel.accepted),
                parcel.attempts,
                failed.as_ref().map_or(0, |_| super::State::Failed.number()),
                failed.as_ref().and_then(|failure| failure.reason.as_deref()),
                failed.as_ref().map(|failure| number(failure.settled)),
            ])?;
        }
        drop(insert);
        transaction.commit()?;
        Ok(())
    }

    /// An operator's pause holds for the new file too, and the open cards are whose they were.
    fn rescue_meta(&self, old: &Connection) {
        for name in ["paused", PROCESS] {
            let value = old
                .query_row(
                    "SELECT value FROM meta NOT INDEXED WHERE name = ?",
                    [name],
                    |row| row.get::<_, String>(0),
                )
                .optional();
            if let Ok(Some(value)) = value
                && let Err(error) = self.set_meta(name, &value)
            {
                log::warn!("'{name}' could not be taken over from the damaged spool, {error}");
            }
        }
    }
}

/// Reads a portion of the events whose numbers are `first` or higher. A row that is no event is left out.
fn read(old: &Connection, first: i64) -> Portion {
    let mut portion = Portion {
        found: Vec::new(),
        next: first,
        goes_on: Ok(false),
    };
    let looked_at = old.prepare_cached(READ).and_then(|mut statement| {
        let mut rows = statement.query(params![first, number(PORTION as u64)])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            if id > MOST_EVENTS {
                return Ok(false);
            }
            portion.next = id + 1;
            portion.found.extend(found(row).ok().flatten());
            count += 1;
        }
        Ok(count == PORTION)
    });
    portion.goes_on = looked_at;
    portion
}

fn found(row: &Row<'_>) -> rusqlite::Result<Option<Found>> {
    let state: i64 = row.get(7)?;
    let failed = match state {
        0 => None,
        2 => Some(Failure {
            reason: row.get(8)?,
            settled: unsigned(row.get::<_, Option<i64>>(9)?.unwrap_or(row.get(5)?)),
        }),
        _ => return Ok(None),
    };
    let parcel = parcel(row)?;
    Ok(Some(Found { parcel, failed }))
}

/// The first number from `first` on at which the table can be read again, or `None` when it cannot up to its end. What is passed
/// over is at most about as long again as what is damaged.
fn after_damage(old: &Connection, first: i64) -> Option<i64> {
    let can_be_read = |from: i64| {
        let read = old.prepare_cached(READ);
        read.and_then(|mut statement| statement.query_row(params![from, 1], |_| Ok(())).optional())
    };
    let (mut unread, mut step) = (first, 1);
    let mut read = loop {
        let from = first.saturating_add(step);
        if from > MOST_EVENTS {
            return None;
        }
        match can_be_read(from) {
            Ok(row) => {
                row?;
                break from;
            }
            Err(_) => (unread, step) = (from, step.saturating_mul(2)),
        }
    };
    while read - unread > 1 {
        let middle = unread + (read - unread) / 2;
        if can_be_read(middle).is_ok() {
            read = middle;
        } else {
            unread = middle;
        }
    }
    Some(read)
}

fn fresh(path: &Path) -> PathBuf {
    with_suffix(path, ".new")
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Removes a database that nobody has opened, if there is one.
fn remove(path: &Path) -> Result<(), SpoolError> {
    for suffix in ["", "-wal", "-shm"] {
        match fs::remove_file(with_suffix(path, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// The new file gets the spool's name, and the disk knows of both renamings.
fn take_place(fresh: &Path, path: &Path) -> Result<(), SpoolError> {
    fs::rename(fresh, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Moves a database and what lies beside it to a name of its own.
fn move_aside(path: &Path, now: u64) -> Result<PathBuf, SpoolError> {
    let aside = (0..1_000)
        .map(|attempt| {
            let seconds = now / 1_000;
            with_suffix(
                path,
                &if attempt == 0 {
                    format!(".damaged-{seconds}")
                } else {
                    format!(".damaged-{seconds}-{attempt}")
                },
            )
        })
        .find(|candidate| {
            !["", "-wal"]
                .iter()
                .any(|suffix| is_there(&with_suffix(candidate, suffix)))
        })
        .ok_or_else(|| SpoolError::Io("too many damaged spools lie about".to_owned()))?;
    for suffix in ["", "-wal", "-shm"] {
        let part = with_suffix(path, suffix);
        if is_there(&part) {
            fs::rename(&part, with_suffix(&aside, suffix))?;
        }
    }
    Ok(aside)
}
