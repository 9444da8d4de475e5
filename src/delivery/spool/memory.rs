//! What a spool in memory holds moves to the file when there is a disk again.

use std::collections::HashMap;

use rusqlite::params_from_iter;
use rusqlite::types::Value;

use super::{SET_META, Spool, SpoolError, number, unsigned};

const COLUMNS: usize = 10;
const READ: &str =
    "SELECT id, callid, kind, ext, body, accepted, attempts, state, reason, settled FROM event ORDER BY id";
const WRITE: &str = "INSERT OR REPLACE INTO event (id, callid, kind, ext, body, accepted, attempts, state, reason, settled) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

impl Spool {
    /// Moves every event of a spool in memory here, whatever became of it, and the operator's word on a pause. Events with a number
    /// below `first` came from this very file, before it was out of reach, and keep it; the others get new numbers, in their order.
    /// Returns those, by the old ones.
    ///
    /// # Errors
    /// Nothing was written then.
    pub fn take_over(&mut self, memory: &Self, first: u64) -> Result<HashMap<u64, u64>, SpoolError> {
        let mut numbers = HashMap::new();
        let mut next_id = self.next_id.max(first);
        let transaction = self.db.transaction()?;
        let mut write = transaction.prepare(WRITE)?;
        let mut read = memory.db.prepare(READ)?;
        let mut rows = read.query([])?;
        while let Some(row) = rows.next()? {
            let mut values = (0..COLUMNS)
                .map(|column| row.get(column))
                .collect::<Result<Vec<Value>, _>>()?;
            let old = unsigned(row.get(0)?);
            if old >= first {
                values[0] = number(next_id).into();
                numbers.insert(old, next_id);
                next_id += 1;
            }
            write.execute(params_from_iter(values))?;
        }
        drop(write);
        if let Some(paused) = memory.meta("paused")? {
            transaction.execute(SET_META, ["paused", &paused])?;
        }
        transaction.commit()?;
        self.next_id = next_id;
        Ok(numbers)
    }
}
