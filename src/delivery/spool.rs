//! The durable queue: one SQLite file.
//!
//! Invariants:
//! - one connection, used by the dispatcher's thread alone; a lock file keeps a second Asterisk out;
//! - an added event is in the kernel's hands when [`Spool::commit`] has returned `Ok`, and survives the end of the
//!   process; the syncer has the disk confirm it, for the case of a power cut;
//! - the folder is 0700 and the files 0600, whatever the umask is;
//! - a file that is damaged, foreign or newer is moved aside; what can still be read of its pending and failed events is
//!   carried over (`rescue`);
//! - events are never reordered: `id` rises with acceptance and is given here, not by SQLite;
//! - a file of an earlier version is upgraded in place, in one transaction.
//!
//! `state`: 0 pending, 1 delivered, 2 failed, 3 dropped. Times are milliseconds since 1970.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use rusqlite::{CachedStatement, Connection, ErrorCode, OpenFlags, OptionalExtension, Row, params};

mod memory;
mod open_cards;
mod recordings;
mod rescue;
mod resending;
mod stories;

pub use self::resending::Resending;
pub use rescue::Rescued;

use crate::core::draft::{Draft, Kind};
use crate::core::lanes::Parcel;
use crate::core::open_card::CardChange;

const SCHEMA_VERSION: i32 = 3;
/// Events are numbered from 1 on and never get here.
const MOST_EVENTS: i64 = 1 << 53;

/// The schema, statement by statement, in the order in which the versions added them: [`Spool::open`] also compares a file's
/// own schema with it.
const SCHEMA: [&str; 13] = [
    "CREATE TABLE event (id INTEGER PRIMARY KEY, callid TEXT NOT NULL, kind TEXT NOT NULL, ext TEXT NOT NULL, body TEXT NOT NULL, accepted INTEGER NOT NULL, state INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0, reason TEXT, settled INTEGER)",
    "CREATE INDEX event_pending ON event (id) WHERE state = 0",
    "CREATE INDEX event_call ON event (callid, id)",
    "CREATE INDEX event_settled ON event (state, settled) WHERE state <> 0",
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE open_card (callid TEXT NOT NULL, ext TEXT NOT NULL, opening TEXT NOT NULL, shown INTEGER NOT NULL, accepted INTEGER, alive INTEGER, PRIMARY KEY (callid, ext)) WITHOUT ROWID",
    "CREATE TABLE story (id INTEGER PRIMARY KEY, callid TEXT NOT NULL, ended INTEGER NOT NULL, text TEXT NOT NULL)",
    "CREATE INDEX story_ended ON story (ended)",
    "CREATE TABLE story_channel (channel TEXT NOT NULL, story INTEGER NOT NULL, place INTEGER NOT NULL, PRIMARY KEY (channel, story)) WITHOUT ROWID",
    "CREATE INDEX story_channel_story ON story_channel (story)",
    "CREATE TABLE recording (id INTEGER PRIMARY KEY, callid TEXT NOT NULL, said TEXT NOT NULL, at INTEGER NOT NULL, state INTEGER NOT NULL, tries INTEGER NOT NULL, reason TEXT NOT NULL, path TEXT NOT NULL, length INTEGER NOT NULL, told INTEGER NOT NULL)",
    "CREATE INDEX recording_untold ON recording (id) WHERE told = 0",
    "CREATE INDEX recording_told ON recording (at) WHERE told = 1",
];

/// How many of these statements each version had, the first one first.
const STATEMENTS: [usize; SCHEMA_VERSION as usize] = [5, 10, SCHEMA.len()];

/// What SQLite makes for itself are tables with such names, which it lets nobody else use. A trigger or a view with one would be
/// forged.
const NOT_OF_SQLITE: &str = r"NOT (type = 'table' AND name LIKE 'sqlite\_%' ESCAPE '\')";

const COLUMNS: &str = "id, callid, kind, ext, body, accepted, attempts";

/// What [`listed`] reads.
const LISTED: &str = "id, strftime('%Y-%m-%d %H:%M:%S', accepted / 1000, 'unixepoch', 'localtime'), callid, kind, ext, attempts, coalesce(reason, ''), state, accepted, strftime('%Y-%m-%d %H:%M:%S', settled / 1000, 'unixepoch', 'localtime'), settled, body";

// Each names its index, so that no figures of an administrator's ANALYZE, from when there was little, make SQLite take another.
// The index of settled events serves only those queries that say `state <> 0` themselves: SQLite does not conclude it from
// `state = 1` (https://sqlite.org/partialindex.html, section 3). Without it each of these would read the whole table.
const COUNT_FAILED: &str =
    "SELECT count(*) FROM event INDEXED BY event_settled WHERE state = 2 AND state <> 0";
const COUNT_KEPT: &str = "SELECT count(*) FROM event INDEXED BY event_settled WHERE state = 1 AND state <> 0";
const FORGET: &str = "DELETE FROM event WHERE id IN (SELECT id FROM event INDEXED BY event_settled WHERE state = ? AND state <> 0 AND settled < ? ORDER BY settled LIMIT ?)";
const PENDING_OF_CALL: &str =
    "SELECT id FROM event INDEXED BY event_call WHERE callid = ? AND id > ? AND state = 0 LIMIT 1000";
const LIST_PENDING: &str = "FROM event INDEXED BY event_pending WHERE state = 0 ORDER BY id LIMIT ?";
const LIST_SETTLED: &str = "FROM event INDEXED BY event_settled WHERE state = ? AND state <> 0 ORDER BY settled DESC, id DESC LIMIT ?";

const SET_META: &str =
    "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2";

/// Under this name `meta` says whose open cards the spool has.
pub(super) const PROCESS: &str = "process";

/// How often and how long apart the lock is asked for.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// How long another program's lock is waited for: when the file is opened, when it is written, and when it could not be written
/// the last time, because everything that is delivered from memory waits meanwhile.
const PATIENCE_AT_FIRST: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_millis(500);
const IMPATIENCE: Duration = Duration::from_millis(20);

/// Events of one call that are listed at most.
const MOST_OF_CALL: usize = 10_000;

/// Where a settled event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The CRM acknowledged it.
    Delivered,
    /// The CRM will never accept it.
    Failed,
    /// It was given up on purpose: stale, or by the operator.
    Dropped,
}

impl State {
    fn number(self) -> i64 {
        match self {
            Self::Delivered => 1,
            Self::Failed => 2,
            Self::Dropped => 3,
        }
    }

    fn from_number(number: i64) -> Option<Self> {
        [Self::Delivered, Self::Failed, Self::Dropped]
            .into_iter()
            .find(|state| state.number() == number)
    }
}

/// One change to the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new pending event.
    Add(Arc<Parcel>),
    /// A try failed; the event stays pending.
    Tried {
        /// The event.
        id: u64,
        /// Tries so far.
        attempts: u32,
        /// Why it failed.
        reason: String,
    },
    /// The event is settled.
    Settle {
        /// The event.
        id: u64,
        /// How.
        state: State,
        /// Why, for failed and dropped ones.
        reason: Option<String>,
        /// When.
        at: u64,
    },
}

impl Change {
    /// The event that changes.
    #[must_use]
    pub fn id(&self) -> u64 {
        match self {
            Self::Add(parcel) => parcel.id,
            Self::Tried { id, .. } | Self::Settle { id, .. } => *id,
        }
    }

    /// The same change of the event that has this number now.
    #[must_use]
    pub fn of(mut self, new: u64) -> Self {
        match &mut self {
            Self::Add(parcel) => Arc::make_mut(parcel).id = new,
            Self::Tried { id, .. } | Self::Settle { id, .. } => *id = new,
        }
        self
    }
}

/// Why the spool could not be read or written.
#[derive(Debug)]
pub enum SpoolError {
    /// The file is no sound spool: move it aside.
    Damaged(String),
    /// The disk or the spool's own limit is full.
    Full(String),
    /// Another process holds the spool.
    InUse(PathBuf),
    /// Another program that has the file open is writing to it.
    Locked(String),
    /// Anything else: permissions, input/output errors.
    Io(String),
}

impl fmt::Display for SpoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(text) => write!(f, "the file is damaged: {text}"),
            Self::Full(text) => write!(f, "no room: {text}"),
            Self::InUse(path) => write!(f, "{} is held by another Asterisk", path.display()),
            Self::Locked(text) => write!(f, "another program holds it locked: {text}"),
            Self::Io(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for SpoolError {}

impl From<rusqlite::Error> for SpoolError {
    fn from(error: rusqlite::Error) -> Self {
        let text = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(text),
            Some(ErrorCode::DiskFull) => Self::Full(text),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked(text),
            Some(_) => Self::Io(text),
            // A value that cannot be read as its column's type: nothing of ours wrote it.
            None => Self::Damaged(text),
        }
    }
}

impl From<io::Error> for SpoolError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(error.to_string()),
            _ => Self::Io(error.to_string()),
        }
    }
}

/// What is in the spool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Pending events.
    pub pending: u64,
    /// Failed events.
    pub failed: u64,
    /// Delivered events that are kept for replay.
    pub kept: u64,
    /// Acceptance of the oldest pending event.
    pub oldest: Option<u64>,
}

/// One row for a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The event's number.
    pub id: u64,
    /// When it was accepted, local time, `YYYY-MM-DD HH:MM:SS`.
    pub accepted: String,
    /// The call.
    pub callid: String,
    /// What it tells.
    pub kind: String,
    /// The employee's number.
    pub ext: String,
    /// Tries so far.
    pub attempts: u32,
    /// Why the last try failed.
    pub reason: String,
    /// Where it stands; `None` while it is pending.
    pub state: Option<State>,
    /// When it was accepted, milliseconds since 1970.
    pub accepted_at: u64,
    /// When it was settled, local time; empty while it is pending.
    pub settled: String,
    /// When it was settled, milliseconds since 1970.
    pub settled_at: Option<u64>,
    /// The request, without the token.
    pub body: String,
}

impl Listed {
    /// The row of an event that is not in the file yet.
    pub(super) fn pending(parcel: &Parcel, accepted: String) -> Self {
        let draft = &parcel.draft;
        Self {
            id: parcel.id,
            accepted,
            callid: draft.callid.clone(),
            kind: draft.kind.word().to_owned(),
            ext: draft.ext.clone(),
            attempts: parcel.attempts,
            reason: String::new(),
            state: None,
            accepted_at: parcel.accepted,
            settled: String::new(),
            settled_at: None,
            body: draft.body.clone(),
        }
    }
}

/// Which delivered events to send again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replay {
    /// Those of one call.
    Call(String),
    /// Those that were accepted from the first moment on and before the second; local time as SQLite reads it.
    Between(String, String),
}

/// The spool.
#[derive(Debug)]
pub struct Spool {
    db: Connection,
    path: Option<PathBuf>,
    next_id: u64,
    limits: Limits,
    log_is_held: bool,
    // Held for as long as the spool is open: the lock goes with the descriptor.
    _lock: Option<File>,
}

/// What follows from the limit of the file's size.
#[derive(Clone, Copy, Debug)]
struct Limits {
    page_size: i64,
    /// Pages that may be filled.
    fill_pages: i64,
    /// The length of the log from which on it is to be copied.
    log_bytes: u64,
    /// The part of the limit that is the log's.
    log_part: u64,
}

/// A spool that was opened, and what had to be done for it.
#[derive(Debug)]
pub struct Opened {
    /// The spool.
    pub spool: Spool,
    /// The file that was moved aside, and why.
    pub moved: Option<(PathBuf, String)>,
    /// What was carried over from it.
    pub rescued: Rescued,
}

impl Spool {
    /// The file's name within its folder.
    pub const FILE: &'static str = "spool.db";

    /// Opens the spool in `folder`, which is made if it is missing. `now` goes into the name of a file moved aside.
    ///
    /// # Errors
    /// When the folder cannot be used or another process holds the spool.
    pub fn open(folder: &Path, max_bytes: u64, now: u64) -> Result<Opened, SpoolError> {
        Self::open_within(LOCK_TRIES, folder, max_bytes, now)
    }

    /// The same, without waiting for whoever holds the spool.
    ///
    /// # Errors
    /// As [`Spool::open`].
    pub fn open_at_once(folder: &Path, max_bytes: u64, now: u64) -> Result<Opened, SpoolError> {
        Self::open_within(0, folder, max_bytes, now)
    }

    fn open_within(lock_tries: u32, folder: &Path, max_bytes: u64, now: u64) -> Result<Opened, SpoolError> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        let lock_path = folder.join("spool.lock");
        let lock = private(&lock_path)?;
        let mut tries = 0;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                // A child that Asterisk has forked for another program holds the lock of the load before until it runs that.
                Err(fs::TryLockError::WouldBlock) if tries < lock_tries => tries += 1,
                Err(fs::TryLockError::WouldBlock) => return Err(SpoolError::InUse(lock_path)),
                Err(fs::TryLockError::Error(error)) => return Err(error.into()),
            }
            std::thread::sleep(LOCK_PAUSE);
        }
        let path = folder.join(Self::FILE);
        Self::finish_beginning(&path, now)?;
        let (mut spool, moved, rescued) = match Self::connect(&path, max_bytes) {
            Ok(spool) => (spool, None, Rescued::default()),
            Err(SpoolError::Damaged(why)) => {
                let (aside, rescued, next_id) = Self::begin_anew(&path, max_bytes, now)?;
                let mut spool = Self::connect(&path, max_bytes)?;
                spool.number_from(next_id);
                (spool, Some((aside, why)), rescued)
            }
            Err(error) => return Err(error),
        };
        spool._lock = Some(lock);
        Ok(Opened {
            spool,
            moved,
            rescued,
        })
    }

    /// A spool in memory, for when there is no disk to be had. Nothing in it survives the process.
    ///
    /// # Errors
    /// When SQLite has no memory.
    pub fn in_memory(max_bytes: u64) -> Result<Self, SpoolError> {
        Self::prepare(Connection::open_in_memory()?, None, max_bytes)
    }

    /// Replaces a damaged file by a new one, under the same lock.
    ///
    /// # Errors
    /// As [`Spool::open`].
    pub fn replace(
        self,
        folder: &Path,
        max_bytes: u64,
        now: u64,
    ) -> Result<(Self, PathBuf, Rescued), SpoolError> {
        let Self {
            db,
            _lock: lock,
            next_id,
            ..
        } = self;
        drop(db);
        let path = folder.join(Self::FILE);
        let (aside, rescued, free) = Self::begin_anew(&path, max_bytes, now)?;
        let mut spool = Self::connect(&path, max_bytes)?;
        spool._lock = lock;
        spool.number_from(next_id.max(free));
        Ok((spool, aside, rescued))
    }

    fn connect(path: &Path, max_bytes: u64) -> Result<Self, SpoolError> {
        // SQLite gives its journal files the mode of the database, so making that first settles all three.
        private(path)?;
        for suffix in ["-wal", "-shm"] {
            let companion = with_suffix(path, suffix);
            if companion.exists() {
                fs::set_permissions(&companion, fs::Permissions::from_mode(0o600))?;
            }
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        Self::prepare(
            Connection::open_with_flags(path, flags)?,
            Some(path.to_owned()),
            max_bytes,
        )
    }

    fn prepare(db: Connection, path: Option<PathBuf>, max_bytes: u64) -> Result<Self, SpoolError> {
        // An administrator may have the file open in sqlite3.
        db.busy_timeout(PATIENCE_AT_FIRST)?;
        db.pragma_update(None, "trusted_schema", false)?;
        let version: i32 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let tables: i64 = db.query_row(
            &format!("SELECT count(*) FROM sqlite_master WHERE {NOT_OF_SQLITE}"),
            [],
            |row| row.get(0),
        )?;
        let had = if tables == 0 {
            0
        } else {
            let place = usize::try_from(version).ok();
            let had = place.and_then(|place| STATEMENTS.get(place.checked_sub(1)?));
            *had.ok_or_else(|| {
                SpoolError::Damaged(format!(
                    "its version is {version}, this module's is {SCHEMA_VERSION}"
                ))
            })?
        };
        Self::check_schema(&db, &SCHEMA[..had])?;
        if had < SCHEMA.len() {
            let transaction = db.unchecked_transaction()?;
            for statement in &SCHEMA[had..] {
                transaction.execute_batch(statement)?;
            }
            transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            transaction.commit()?;
        }
        let mode: String = db.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
        if path.is_some() && mode != "wal" {
            return Err(SpoolError::Io(format!(
                "no write-ahead log is possible there (journal mode {mode})"
            )));
        }
        // The syncer confirms; here only a checkpoint waits for the disk, and the syncer does those too.
        db.pragma_update(None, "synchronous", "normal")?;
        let limits = set_limits(&db, max_bytes)?;
        // Asked for together, they would make SQLite read the whole table.
        let (first, last): (i64, i64) = db.query_row(
            "SELECT coalesce((SELECT min(id) FROM event), 1), coalesce((SELECT max(id) FROM event), 0)",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        if first < 1 || last > MOST_EVENTS {
            return Err(SpoolError::Damaged(
                "an event has a number that is not this module's".to_owned(),
            ));
        }
        let next_id = unsigned(last + 1);
        db.set_prepared_statement_cache_capacity(64);
        db.busy_timeout(PATIENCE)?;
        Ok(Self {
            db,
            path,
            next_id,
            limits,
            log_is_held: false,
            _lock: None,
        })
    }

    /// A foreign file may hold triggers or views that run when we write: only our own schema is accepted. In which order SQLite
    /// holds it does not matter; an administrator's VACUUM changes that. SQLite's own tables do not matter either: ANALYZE, which
    /// many programs run when they "optimize", leaves one.
    fn check_schema(db: &Connection, expected: &[&str]) -> Result<(), SpoolError> {
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        let mut statement = db.prepare(&format!(
            "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND {NOT_OF_SQLITE} ORDER BY sql"
        ))?;
        let found = statement
            .query_map([], |row| row.get::<_, String>(0))?
            .collect::<Result<Vec<_>, _>>()?;
        if found == expected {
            Ok(())
        } else {
            Err(SpoolError::Damaged("its tables are not this module's".to_owned()))
        }
    }

    /// Changes the limit while the spool is in use.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn set_limit(&mut self, max_bytes: u64) -> Result<(), SpoolError> {
        self.limits = set_limits(&self.db, max_bytes)?;
        Ok(())
    }

    /// Whether another program's lock is waited for, or hardly.
    pub fn be_patient(&self, patient: bool) {
        // Setting it cannot fail; the time from before would do too.
        let _ = self.db.busy_timeout(if patient { PATIENCE } else { IMPATIENCE });
    }

    /// A number for a new event.
    pub fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// New events get numbers from `id` on, unless they are beyond it already.
    pub fn number_from(&mut self, id: u64) {
        self.next_id = self.next_id.max(id);
    }

    /// The file, unless the spool is in memory.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The length of the log from which on it is to be copied into the database.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.limits.log_bytes
    }

    /// The length of the log.
    #[must_use]
    pub fn log_length(&self) -> u64 {
        let log = self.path.as_deref().map(log_of);
        log.and_then(|log| fs::metadata(log).ok())
            .map_or(0, |meta| meta.len())
    }

    /// Bytes that the log has beyond its part of the limit.
    #[must_use]
    pub fn log_excess(&self) -> u64 {
        self.log_length().saturating_sub(self.limits.log_part)
    }

    /// Whether the log has become long enough to be copied.
    #[must_use]
    pub fn log_is_long(&self) -> bool {
        self.path.is_some() && self.log_length() >= self.limits.log_bytes
    }

    /// Writes the changes in one transaction.
    ///
    /// # Errors
    /// Nothing was written then.
    pub fn commit(&mut self, changes: &[Change]) -> Result<(), SpoolError> {
        self.write(changes, &[], None, false)
    }

    /// The same, and along with them what changed of the open cards, and until when this run is known to have been alive.
    ///
    /// # Errors
    /// Nothing was written then.
    pub fn commit_along(
        &mut self,
        changes: &[Change],
        cards: &[CardChange<'_>],
        alive: Option<u64>,
    ) -> Result<(), SpoolError> {
        self.write(changes, cards, alive, false)
    }

    /// The same where there is no room: what is done with is deleted instead of kept for replay, and tries are not noted,
    /// because an update needs room that a deletion does not.
    ///
    /// # Errors
    /// Nothing was written then.
    pub fn commit_lean(&mut self, changes: &[Change]) -> Result<(), SpoolError> {
        self.write(changes, &[], None, true)
    }

    fn write(
        &mut self,
        changes: &[Change],
        cards: &[CardChange<'_>],
        alive: Option<u64>,
        lean: bool,
    ) -> Result<(), SpoolError> {
        if changes.is_empty() && cards.is_empty() && alive.is_none() {
            return Ok(());
        }
        let transaction = self.db.transaction()?;
        let mut add = Prepared::new(
            "INSERT OR IGNORE INTO event (id, callid, kind, ext, body, accepted, attempts) VALUES (?, ?, ?, ?, ?, ?, ?)",
        );
        let mut tried = Prepared::new("UPDATE event SET attempts = ?2, reason = ?3 WHERE id = ?1");
        let mut settle =
            Prepared::new("UPDATE event SET state = ?2, reason = ?3, settled = ?4 WHERE id = ?1");
        let mut delete = Prepared::new("DELETE FROM event WHERE id = ?");
        for change in changes {
            match change {
                Change::Add(parcel) => {
                    let Draft {
                        callid,
                        kind,
                        ext,
                        body,
                    } = &parcel.draft;
                    let (id, accepted) = (number(parcel.id), number(parcel.accepted));
                    add.on(&transaction)?.execute(params![
                        id,
                        callid,
                        kind.word(),
                        ext,
                        body,
                        accepted,
                        parcel.attempts
                    ])?
                }
                Change::Tried { .. } if lean => 0,
                Change::Tried { id, attempts, reason } => {
                    tried
                        .on(&transaction)?
                        .execute(params![number(*id), attempts, reason])?
                }
                Change::Settle {
                    id,
                    state: State::Delivered | State::Dropped,
                    ..
                } if lean => delete.on(&transaction)?.execute([number(*id)])?,
                Change::Settle {
                    id,
                    state,
                    reason,
                    at,
                } => settle.on(&transaction)?.execute(params![
                    number(*id),
                    state.number(),
                    reason,
                    number(*at)
                ])?,
            };
        }
        drop((add, tried, settle, delete));
        open_cards::write(&transaction, cards)?;
        if let Some(alive) = alive {
            transaction
                .prepare_cached(SET_META)?
                .execute(params!["alive", alive.to_string()])?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Pending events with a number above `cursor`, at most `limit`, in order; `born` is for the caller to fill in.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn pending_after(&self, cursor: u64, limit: usize) -> Result<Vec<Parcel>, SpoolError> {
        let query = format!(
            "SELECT {COLUMNS} FROM event INDEXED BY event_pending WHERE state = 0 AND id > ? ORDER BY id LIMIT ?"
        );
        let mut statement = self.db.prepare_cached(&query)?;
        let rows = statement.query_map(params![number(cursor), number(limit as u64)], parcel)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The numbers of this call's pending events above `cursor`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn pending_of_call(&self, callid: &str, cursor: u64) -> Result<Vec<u64>, SpoolError> {
        let mut statement = self.db.prepare_cached(PENDING_OF_CALL)?;
        let rows = statement.query_map(params![callid, number(cursor)], |row| row.get::<_, i64>(0))?;
        Ok(rows.map(|id| id.map(unsigned)).collect::<Result<_, _>>()?)
    }

    /// Reads what lies at the beginning from the disk once more, whatever SQLite remembers of it.
    ///
    /// # Errors
    /// When it cannot be read, or is no spool any more.
    pub fn look_again(&self) -> Result<(), SpoolError> {
        if self.path.is_some() {
            self.db.execute_batch("PRAGMA shrink_memory")?;
            self.oldest()?;
        }
        Ok(())
    }

    /// Counts what is there.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn totals(&self) -> Result<Totals, SpoolError> {
        let count = |query: &str| {
            self.db
                .query_row(query, [], |row| row.get::<_, i64>(0))
                .map(unsigned)
        };
        Ok(Totals {
            pending: count("SELECT count(*) FROM event INDEXED BY event_pending WHERE state = 0")?,
            failed: count(COUNT_FAILED)?,
            kept: count(COUNT_KEPT)?,
            oldest: self.oldest()?,
        })
    }

    /// Acceptance of the oldest pending event.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn oldest(&self) -> Result<Option<u64>, SpoolError> {
        let oldest = self
            .db
            .prepare_cached(
                "SELECT accepted FROM event INDEXED BY event_pending WHERE state = 0 ORDER BY id LIMIT 1",
            )?
            .query_row([], |row| row.get::<_, i64>(0))
            .optional()?;
        Ok(oldest.map(unsigned))
    }

    /// Another program reads the file for long, or does so no more. While it does, the log grows instead of the database, and what
    /// it takes beyond its part counts as filled.
    pub fn hold_log(&mut self, held: bool) {
        self.log_is_held = held;
    }

    /// How much of what may be filled is used, in thousandths. What was deleted counts as free.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn fill(&self) -> Result<u32, SpoolError> {
        let pragma = |name: &str| self.db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let Limits {
            page_size,
            fill_pages,
            ..
        } = self.limits;
        let mut used = pragma("page_count")? - pragma("freelist_count")?;
        if self.log_is_held {
            used += number(self.log_excess()) / page_size;
        }
        Ok(u32::try_from(used.saturating_mul(1_000) / fill_pages.max(1)).unwrap_or(u32::MAX))
    }

    /// Bytes of the file and its log.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let Some(path) = &self.path else { return 0 };
        ["", "-wal"]
            .iter()
            .filter_map(|suffix| fs::metadata(with_suffix(path, suffix)).ok())
            .map(|meta| meta.len())
            .sum()
    }

    /// Deletes at most `limit` settled events of this state that were settled before `before`, oldest first.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn forget(&self, state: State, before: u64, limit: usize) -> Result<usize, SpoolError> {
        Ok(self.db.prepare_cached(FORGET)?.execute(params![
            state.number(),
            number(before),
            number(limit as u64)
        ])?)
    }

    /// Events of one state: those that are pending, oldest first, or settled ones, latest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn list(&self, settled: Option<State>, limit: usize) -> Result<Vec<Listed>, SpoolError> {
        let limit = number(limit as u64);
        let rows = match settled {
            None => self
                .db
                .prepare_cached(&format!("SELECT {LISTED} {LIST_PENDING}"))?
                .query_map([limit], listed)?
                .collect(),
            Some(state) => self
                .db
                .prepare_cached(&format!("SELECT {LISTED} {LIST_SETTLED}"))?
                .query_map([state.number(), limit], listed)?
                .collect::<Result<_, _>>(),
        };
        Ok(rows?)
    }

    /// A moment as the lists have it.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn local_time(&self, at: u64) -> Result<String, SpoolError> {
        let text: Option<String> = self
            .db
            .prepare_cached("SELECT strftime('%Y-%m-%d %H:%M:%S', ? / 1000, 'unixepoch', 'localtime')")?
            .query_row([number(at)], |row| row.get(0))?;
        Ok(text.unwrap_or_default())
    }

    /// Every event of a call, whatever became of it, in the order of their numbers.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn of_call(&self, callid: &str) -> Result<Vec<Listed>, SpoolError> {
        let mut statement = self.db.prepare_cached(&format!(
            "SELECT {LISTED} FROM event WHERE callid = ? ORDER BY id LIMIT {MOST_OF_CALL}"
        ))?;
        let rows = statement.query_map([callid], listed)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// A failed event becomes pending again. It gets a new number, so that it stands behind whatever the call has sent since.
    /// Returns how many that were: one, or none.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn retry(&mut self, id: u64) -> Result<usize, SpoolError> {
        let ids = self.ids(
            "SELECT id FROM event WHERE id = ? AND state = 2",
            params![number(id)],
        )?;
        self.renumber(&ids)
    }

    /// The delivered events of a call become pending again. Returns how many.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn replay(&mut self, callid: &str) -> Result<usize, SpoolError> {
        let ids = self.ids(
            "SELECT id FROM event WHERE state = 1 AND callid = ? ORDER BY id",
            params![callid],
        )?;
        self.renumber(&ids)
    }

    /// Milliseconds since 1970 of a local time as SQLite reads it, such as `2026-11-20` or `2026-11-20 18:30`.
    fn moment(&self, text: &str) -> Result<i64, SpoolError> {
        let seconds: Option<i64> = self.db.query_row(
            "SELECT CAST(strftime('%s', ?, 'utc') AS INTEGER)",
            [text],
            |row| row.get(0),
        )?;
        seconds
            .filter(|_| text.starts_with(|c: char| c.is_ascii_digit()))
            .map(|seconds| seconds * 1_000)
            .ok_or_else(|| {
                SpoolError::Io(format!(
                    "'{text}' is not a time: write 2026-11-20 or '2026-11-20 18:30'"
                ))
            })
    }

    /// One failed event is dropped for good. Whether it was there.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn drop_failed(&mut self, id: u64, at: u64) -> Result<bool, SpoolError> {
        let changed = self.db.execute(
            "UPDATE event SET state = 3, reason = 'dropped by the operator; was: ' || coalesce(reason, ''), settled = ?2 WHERE id = ?1 AND state = 2",
            params![number(id), number(at)],
        )?;
        Ok(changed > 0)
    }

    /// A value that outlives the process.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn meta(&self, name: &str) -> Result<Option<String>, SpoolError> {
        Ok(self
            .db
            .query_row("SELECT value FROM meta WHERE name = ?", [name], |row| row.get(0))
            .optional()?)
    }

    /// Sets a value that outlives the process.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_meta(&self, name: &str, value: &str) -> Result<(), SpoolError> {
        self.db.execute(SET_META, [name, value])?;
        Ok(())
    }

    /// Folds the log into the file, so that one file is left behind.
    pub fn close(self) {
        // Closing does the checkpoint; an error here loses nothing, because the log stays.
        let _ = self.db.close();
    }

    fn ids(&self, query: &str, params: impl rusqlite::Params) -> Result<Vec<i64>, SpoolError> {
        let mut statement = self.db.prepare_cached(query)?;
        let rows = statement.query_map(params, |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn renumber(&mut self, ids: &[i64]) -> Result<usize, SpoolError> {
        let first = self.next_id;
        let transaction = self.db.transaction()?;
        for (offset, id) in ids.iter().enumerate() {
            transaction
                .prepare_cached("UPDATE event SET id = ?2, state = 0, attempts = 0, reason = NULL, settled = NULL WHERE id = ?1")?
                .execute(params![id, number(first + offset as u64)])?;
        }
        transaction.commit()?;
        self.next_id = first + ids.len() as u64;
        Ok(ids.len())
    }
}

/// A statement that is looked up once for a whole transaction, and only if it is used.
struct Prepared<'c> {
    sql: &'static str,
    statement: Option<CachedStatement<'c>>,
}

impl<'c> Prepared<'c> {
    fn new(sql: &'static str) -> Self {
        Self { sql, statement: None }
    }

    fn on(&mut self, db: &'c Connection) -> rusqlite::Result<&mut CachedStatement<'c>> {
        match &mut self.statement {
            Some(statement) => Ok(statement),
            none => Ok(none.insert(db.prepare_cached(self.sql)?)),
        }
    }
}

/// Tells SQLite the limit; returns what follows from it. Of the limit an eighth is for the log, which lies beside the file, and
/// an eighth stays free, so that events can still be settled when no new ones are accepted.
fn set_limits(db: &Connection, max_bytes: u64) -> Result<Limits, SpoolError> {
    let page_size: i64 = db.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let page_size = page_size.max(512);
    let pages = i64::try_from(max_bytes).unwrap_or(i64::MAX) / page_size;
    // Each time that the log begins anew, SQLite waits for the disk in the writer's thread, and must: old frames behind a new
    // header would damage the file in a power cut (wal.c, `syncHeader`). A long log makes that rare.
    let log_pages = (pages / 32).clamp(8, 8_000);
    // The syncer copies the log; where the disk holds it up, the writer does it before the log outgrows its part.
    db.pragma_update(None, "wal_autocheckpoint", log_pages * 4)?;
    // A log that begins anew is cut to what is in it: its length then says whether it is to be copied again.
    db.pragma_update(None, "journal_size_limit", 0)?;
    // A file that is larger already keeps its size: SQLite answers with the limit that holds.
    let most: i64 =
        db.pragma_update_and_check(None, "max_page_count", pages - pages / 8, |row| row.get(0))?;
    Ok(Limits {
        page_size,
        fill_pages: (pages - pages / 4).min(most),
        log_bytes: unsigned(log_pages * page_size),
        log_part: unsigned(pages / 8 * page_size),
    })
}

/// The log beside a database.
pub(super) fn log_of(database: &Path) -> PathBuf {
    with_suffix(database, "-wal")
}

fn parcel(row: &Row<'_>) -> rusqlite::Result<Parcel> {
    let kind: String = row.get(2)?;
    let kind = Kind::from_word(&kind).ok_or_else(|| {
        rusqlite::Error::FromSqlConversionFailure(
            2,
            rusqlite::types::Type::Text,
            format!("'{kind}' is no kind of event").into(),
        )
    })?;
    Ok(Parcel {
        id: unsigned(row.get(0)?),
        accepted: unsigned(row.get(5)?),
        born: 0,
        attempts: row.get(6)?,
        draft: Draft {
            callid: row.get(1)?,
            kind,
            ext: row.get(3)?,
            body: row.get(4)?,
        },
    })
}

fn listed(row: &Row<'_>) -> rusqlite::Result<Listed> {
    Ok(Listed {
        id: unsigned(row.get(0)?),
        accepted: row.get::<_, Option<String>>(1)?.unwrap_or_default(),
        callid: row.get(2)?,
        kind: row.get(3)?,
        ext: row.get(4)?,
        attempts: row.get(5)?,
        reason: row.get(6)?,
        state: State::from_number(row.get(7)?),
        accepted_at: unsigned(row.get(8)?),
        settled: row.get::<_, Option<String>>(9)?.unwrap_or_default(),
        settled_at: row.get::<_, Option<i64>>(10)?.map(unsigned),
        body: row.get(11)?,
    })
}

/// Opens or makes a file that its owner alone can read.
fn private(path: &Path) -> Result<File, SpoolError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    Ok(file)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// SQLite's integers are signed; numbers and times here never reach that far.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With a million events in it, whatever reads the whole table holds up everybody who asks.
    #[test]
    fn what_is_asked_again_and_again_reads_no_whole_table() {
        let spool = Spool::in_memory(64 << 20).unwrap();
        let pending = format!("SELECT {LISTED} {LIST_PENDING}");
        let settled = format!("SELECT {LISTED} {LIST_SETTLED}");
        let of_call = PENDING_OF_CALL;
        for query in [COUNT_FAILED, COUNT_KEPT, FORGET, of_call, &pending, &settled] {
            let mut statement = spool.db.prepare(&format!("EXPLAIN QUERY PLAN {query}")).unwrap();
            for place in 1..=statement.parameter_count() {
                statement.raw_bind_parameter(place, 1).unwrap();
            }
            let mut rows = statement.raw_query();
            let mut steps: Vec<String> = Vec::new();
            while let Some(row) = rows.next().unwrap() {
                steps.push(row.get(3).unwrap());
            }
            // An index that is read from its beginning up to the limit is fine.
            assert!(
                steps.iter().any(|step| step.contains("INDEX event_")),
                "{query}: {steps:?}"
            );
            assert!(
                !steps.iter().any(|step| step == "SCAN event"),
                "{query}: {steps:?}"
            );
        }
    }
}
