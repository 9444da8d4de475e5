//! The table of recordings: what is to be converted, and what the CRM was told of.
//!
//! Invariant: a row that is not `told` is of a recording whose call has no link yet; the next run goes on with it.

use rusqlite::{Connection, Row, params};

use super::{Spool, SpoolError, number, unsigned};
use crate::core::recording::queue::{Recording, State};

const COLUMNS: &str = "id, callid, said, at, state, tries, reason, path, length, told";

impl Spool {
    /// Writes a recording, new or in place of what is there.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn put_recording(&self, recording: &Recording) -> Result<(), SpoolError> {
        self.db
            .prepare_cached(&format!(
                "INSERT OR REPLACE INTO recording ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            ))?
            .execute(params![
                number(recording.id),
                recording.callid,
                recording.said,
                number(recording.at),
                recording.state.number(),
                recording.tries,
                recording.reason,
                recording.path,
                number(recording.length),
                recording.told,
            ])?;
        Ok(())
    }

    /// The recordings that are not done with, in the order in which they became known.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn recordings(&self) -> Result<Vec<Recording>, SpoolError> {
        untold(&self.db)
    }

    /// The number for the next recording.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn next_recording(&self) -> Result<u64, SpoolError> {
        let last: i64 = self
            .db
            .query_row("SELECT coalesce(max(id), 0) FROM recording", [], |row| row.get(0))?;
        Ok(unsigned(last) + 1)
    }

    /// Deletes at most `limit` recordings of which the CRM was told and that became known before `before`. The files stay, and
    /// so do their links, which need no row.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn forget_recordings(&self, before: u64, limit: usize) -> Result<usize, SpoolError> {
        Ok(self
            .db
            .prepare_cached(
                "DELETE FROM recording WHERE id IN (SELECT id FROM recording WHERE told = 1 AND at < ? ORDER BY at LIMIT ?)",
            )?
            .execute(params![number(before), number(limit as u64)])?)
    }

    /// Puts another body into an event that is still pending.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn rewrite(&self, id: u64, body: &str) -> Result<(), SpoolError> {
        self.db
            .prepare_cached("UPDATE event SET body = ?2 WHERE id = ?1 AND state = 0")?
            .execute(params![number(id), body])?;
        Ok(())
    }

    /// Takes over what can be read of a damaged file's table.
    pub(super) fn rescue_recordings(&self, old: &Connection) {
        for recording in untold(old).unwrap_or_default() {
            if let Err(error) = self.put_recording(&recording) {
                log::warn!("A recording of the damaged spool could not be taken over, {error}");
                return;
            }
        }
    }
}

fn untold(db: &Connection) -> Result<Vec<Recording>, SpoolError> {
    let mut statement = db.prepare(&format!(
        "SELECT {COLUMNS} FROM recording WHERE told = 0 AND state <> 3 ORDER BY id"
    ))?;
    let rows = statement.query_map([], recording)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn recording(row: &Row<'_>) -> rusqlite::Result<Recording> {
    let state: i64 = row.get(4)?;
    let state = State::from_number(state).ok_or_else(|| {
        rusqlite::Error::FromSqlConversionFailure(
            4,
            rusqlite::types::Type::Integer,
            format!("{state} is no state of a recording").into(),
        )
    })?;
    Ok(Recording {
        id: unsigned(row.get(0)?),
        callid: row.get(1)?,
        said: row.get(2)?,
        at: unsigned(row.get(3)?),
        state,
        tries: row.get(5)?,
        reason: row.get(6)?,
        path: row.get(7)?,
        length: unsigned(row.get(8)?),
        told: row.get(9)?,
    })
}
