//! The tables of stories. Their numbers rise with time; the oldest go first.

use rusqlite::{OptionalExtension, params};

use super::{Spool, SpoolError, number, unsigned};
use crate::delivery::story::{Story, Told};

impl Spool {
    /// Writes stories in one transaction.
    ///
    /// # Errors
    /// Nothing was written then.
    pub fn keep_stories(&mut self, stories: &[Story]) -> Result<(), SpoolError> {
        let transaction = self.db.transaction()?;
        for story in stories {
            transaction
                .prepare_cached("INSERT INTO story (callid, ended, text) VALUES (?, ?, ?)")?
                .execute(params![story.callid, number(story.ended), story.text])?;
            let id = transaction.last_insert_rowid();
            let mut name = transaction.prepare_cached(
                "INSERT OR IGNORE INTO story_channel (channel, story, place) VALUES (?, ?, ?)",
            )?;
            for (channel, place) in story.channels.iter().zip(0_i64..) {
                name.execute(params![channel, id, place])?;
            }
            // A call's name need not be one of its channels'.
            name.execute(params![story.callid, id, -1])?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// The latest story of a call or of a channel.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn story(&self, name: &str) -> Result<Option<Story>, SpoolError> {
        let found = self
            .db
            .prepare_cached(
                "SELECT id, callid, ended, text FROM story_channel JOIN story ON id = story WHERE channel = ? ORDER BY story DESC LIMIT 1",
            )?
            .query_row([name], |row| {
                let story = Story {
                    callid: row.get(1)?,
                    channels: Vec::new(),
                    ended: unsigned(row.get(2)?),
                    text: row.get(3)?,
                };
                Ok((row.get::<_, i64>(0)?, story))
            })
            .optional()?;
        let Some((id, mut story)) = found else {
            return Ok(None);
        };
        let mut statement = self.db.prepare_cached(
            "SELECT channel FROM story_channel WHERE story = ? AND place >= 0 ORDER BY place",
        )?;
        let channels = statement.query_map([id], |row| row.get(0))?;
        story.channels = channels.collect::<Result<_, _>>()?;
        Ok(Some(story))
    }

    /// The names of the stories that ended last, the latest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn latest_stories(&self, limit: usize) -> Result<Vec<Told>, SpoolError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT callid, ended FROM story ORDER BY ended DESC, id DESC LIMIT ?")?;
        let rows = statement.query_map([number(limit as u64)], |row| {
            Ok(Told {
                callid: row.get(0)?,
                ended: unsigned(row.get(1)?),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Deletes stories of calls that ended before `before`, and those beyond the latest `most`: the oldest, and no more than
    /// `limit` of them. Returns how many.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn forget_stories(&mut self, before: u64, most: usize, limit: usize) -> Result<usize, SpoolError> {
        let last: i64 = self
            .db
            .prepare_cached("SELECT coalesce(max(id), 0) FROM story")?
            .query_row([], |row| row.get(0))?;
        let beyond = last.saturating_sub(number(most as u64));
        let mut ids = self.ids(
            "SELECT id FROM story WHERE id <= ? ORDER BY id LIMIT ?",
            params![beyond, number(limit as u64)],
        )?;
        ids.extend(self.ids(
            "SELECT id FROM story WHERE ended < ? AND id > ? ORDER BY ended LIMIT ?",
            params![number(before), beyond, number((limit - ids.len()) as u64)],
        )?);
        if ids.is_empty() {
            return Ok(0);
        }
        let transaction = self.db.transaction()?;
        for id in &ids {
            transaction
                .prepare_cached("DELETE FROM story_channel WHERE story = ?")?
                .execute([id])?;
            transaction
                .prepare_cached("DELETE FROM story WHERE id = ?")?
                .execute([id])?;
        }
        transaction.commit()?;
        Ok(ids.len())
    }
}
