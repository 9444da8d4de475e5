//! The table of open cards: what a run that ended without a word has left open.
//!
//! Invariant: a row is written in the transaction of the event that it follows, or, where there is no room for both, after it.
//! `alive` is empty while the run that showed the card goes on; the next run puts there until when that one was alive.

use rusqlite::{Transaction, params};

use super::{Prepared, Spool, SpoolError, number, unsigned};
use crate::core::open_card::{CardChange, OpenCard};

const READ: &str = "SELECT callid, ext, opening, shown, accepted, coalesce(alive, (SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'alive'), accepted, shown) FROM open_card";

impl Spool {
    /// Notes until when the run before was alive at each card that it left open. Called once, before this run writes `alive`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn inherit_open_cards(&self) -> Result<(), SpoolError> {
        self.db.execute(
            "UPDATE open_card SET alive = coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'alive'), accepted, shown) WHERE alive IS NULL",
            [],
        )?;
        Ok(())
    }

    /// The cards that were shown and not closed, each with how long it was followed as if this run had just begun.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn open_cards(&self) -> Result<Vec<OpenCard>, SpoolError> {
        read(&self.db, READ)
    }

    /// Empties the table.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn forget_open_cards(&self) -> Result<(), SpoolError> {
        self.db.execute("DELETE FROM open_card", [])?;
        Ok(())
    }

    /// Takes over what can be read of a damaged file's table. Its `meta` may be the damaged part.
    pub(super) fn rescue_open_cards(&mut self, old: &rusqlite::Connection) {
        let without_meta =
            "SELECT callid, ext, opening, shown, accepted, coalesce(alive, accepted, shown) FROM open_card";
        let Ok(cards) = read(old, READ).or_else(|_| read(old, without_meta)) else {
            return;
        };
        let rows: Vec<CardChange<'_>> = cards.iter().map(CardChange::Put).collect();
        if let Err(error) = self.commit_along(&[], &rows, None) {
            log::warn!("The open cards of the damaged spool could not be taken over, {error}");
        }
    }
}

/// Writes changes to the table.
pub(super) fn write(transaction: &Transaction<'_>, changes: &[CardChange<'_>]) -> rusqlite::Result<()> {
    let mut put = Prepared::new(
        "INSERT OR REPLACE INTO open_card (callid, ext, opening, shown, accepted, alive) VALUES (?, ?, ?, ?, ?, ?)",
    );
    let mut accept =
        Prepared::new("UPDATE open_card SET accepted = ?3, alive = ?4 WHERE callid = ?1 AND ext = ?2");
    let mut remove = Prepared::new("DELETE FROM open_card WHERE callid = ? AND ext = ?");
    for change in changes {
        match *change {
            CardChange::Put(card) => {
                let (shown, accepted) = (number(card.shown), card.accepted.map(number));
                let alive = card.alive.map(number);
                put.on(transaction)?.execute(params![
                    card.callid,
                    card.ext,
                    card.opening,
                    shown,
                    accepted,
                    alive
                ])?
            }
            CardChange::Accept(card) => {
                let (accepted, alive) = (card.accepted.map(number), card.alive.map(number));
                accept
                    .on(transaction)?
                    .execute(params![card.callid, card.ext, accepted, alive])?
            }
            CardChange::Remove { callid, ext } => remove.on(transaction)?.execute([callid, ext])?,
        };
    }
    Ok(())
}

fn read(db: &rusqlite::Connection, query: &str) -> Result<Vec<OpenCard>, SpoolError> {
    let mut statement = db.prepare(query)?;
    let rows = statement.query_map([], |row| {
        Ok(OpenCard {
            callid: row.get(0)?,
            ext: row.get(1)?,
            opening: row.get(2)?,
            shown: unsigned(row.get(3)?),
            accepted: row.get::<_, Option<i64>>(4)?.map(unsigned),
            alive: row.get::<_, Option<i64>>(5)?.map(unsigned),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
