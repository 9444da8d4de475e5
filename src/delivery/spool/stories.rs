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

    /// Keeps the stories of a spool in memory here as well.
    ///
    /// # Errors
    /// Nothing was written then.
    pub fn take_stories_over(&mut self, memory: &Self) -> Result<(), SpoolError> {
        let ids = memory.ids("SELECT id FROM story ORDER BY id", [])?;
        let stories = ids.into_iter().map(|id| memory.story_of(id));
        self.keep_stories(&stories.collect::<Result<Vec<_>, _>>()?)
    }

    /// The latest story of a call or of a channel.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn story(&self, name: &str) -> Result<Option<Story>, SpoolError> {
        let id: Option<i64> = self
            .db
            .prepare_cached("SELECT story FROM story_channel WHERE channel = ? ORDER BY story DESC LIMIT 1")?
            .query_row([name], |row| row.get(0))
            .optional()?;
        id.map(|id| self.story_of(id)).transpose()
    }

    fn story_of(&self, id: i64) -> Result<Story, SpoolError> {
        let mut story = self
            .db
            .prepare_cached("SELECT callid, ended, text FROM story WHERE id = ?")?
            .query_row([id], |row| {
                Ok(Story {
                    callid: row.get(0)?,
                    channels: Vec::new(),
                    ended: unsigned(row.get(1)?),
                    text: row.get(2)?,
                })
            })?;
        let mut statement = self.db.prepare_cached(
            "SELECT channel FROM story_channel WHERE story = ? AND place >= 0 ORDER BY place",
        )?;
        let channels = statement.query_map([id], |row| row.get(0))?;
        story.channels = channels.collect::<Result<_, _>>()?;
        Ok(story)
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
