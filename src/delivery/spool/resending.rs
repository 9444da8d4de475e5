//! Many settled events that go again: a portion in each transaction, so that nothing else waits for all of them.
//!
//! Invariants:
//! - numbers are looked at in their order and once, up to the last one that was given before the order, and of what was
//!   delivered only what was by then goes: so it goes once, and in the order of its call;
//! - it gets new numbers, so that it stands behind whatever its call has sent since; before its call gets another event,
//!   [`Spool::resend_of_call`] brings what is left of it.

use rusqlite::params;

use super::{Spool, SpoolError, State, number, unsigned};

/// Events of one portion. Each takes some thirty microseconds.
const PORTION: usize = 500;
/// Numbers that are looked at for one portion: most of them may be of events that do not go.
const SPAN: u64 = 5_000;

const NEXT: &str = "SELECT id FROM event NOT INDEXED WHERE id > ? AND id <= ? AND state = ? AND settled <= ? AND accepted >= ? AND accepted < ? ORDER BY id LIMIT ?";
const OF_CALL: &str = "SELECT id FROM event INDEXED BY event_call WHERE callid = ? AND id > ? AND id <= ? AND state = ? AND settled <= ? AND accepted >= ? AND accepted < ? ORDER BY id";

const LATEST: &str =
    "SELECT coalesce(max(settled), 0) FROM event INDEXED BY event_settled WHERE state = 1 AND state <> 0";

/// An order to send events again, and how far it is.
#[derive(Debug)]
pub struct Resending {
    state: State,
    /// From which moment on they were accepted, and before which.
    from: i64,
    to: i64,
    /// What was settled later does not go.
    settled: u64,
    /// The number up to which everything was looked at, and the last one.
    cursor: u64,
    last: u64,
    count: usize,
}

impl Resending {
    /// What the events were before.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// How many go again so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.cursor >= self.last
    }
}

impl Spool {
    /// Begins to send all failed events again. Nothing has changed yet.
    #[must_use]
    pub fn resend_failed(&self) -> Resending {
        self.resending(State::Failed, (0, i64::MAX), u64::MAX)
    }

    /// The same for delivered events that were accepted from one local time on and before another.
    ///
    /// # Errors
    /// With [`SpoolError::Io`] when a time cannot be read.
    pub fn resend_between(&self, from: &str, to: &str, now: u64) -> Result<Resending, SpoolError> {
        let span = (self.moment(from)?, self.moment(to)?);
        // The clock may have been set back since.
        let latest: i64 = self.db.query_row(LATEST, [], |row| row.get(0))?;
        let settled = unsigned(latest).max(now);
        Ok(self.resending(State::Delivered, span, settled))
    }

    fn resending(&self, state: State, (from, to): (i64, i64), settled: u64) -> Resending {
        Resending {
            state,
            from,
            to,
            settled,
            cursor: 0,
            last: self.next_id.saturating_sub(1),
            count: 0,
        }
    }

    /// The next portion becomes pending again. Returns how many these are, which may be none before the end.
    ///
    /// # Errors
    /// When the file cannot be written; the portion may be tried again.
    pub fn resend(&mut self, resending: &mut Resending) -> Result<usize, SpoolError> {
        let end = resending.last.min(resending.cursor + SPAN);
        let ids = self.ids(
            NEXT,
            params![
                number(resending.cursor),
                number(end),
                resending.state.number(),
                number(resending.settled),
                resending.from,
                resending.to,
                number(PORTION as u64),
            ],
        )?;
        let count = self.renumber(&ids)?;
        resending.count += count;
        resending.cursor = match ids.last() {
            Some(last) if count == PORTION => unsigned(*last),
            _ => end,
        };
        Ok(count)
    }

    /// What is left of a call becomes pending again at once. Returns how many these are.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn resend_of_call(&mut self, resending: &mut Resending, callid: &str) -> Result<usize, SpoolError> {
        let ids = self.ids(
            OF_CALL,
            params![
                callid,
                number(resending.cursor),
                number(resending.last),
                resending.state.number(),
                number(resending.settled),
                resending.from,
                resending.to,
            ],
        )?;
        let count = if ids.is_empty() { 0 } else { self.renumber(&ids)? };
        resending.count += count;
        Ok(count)
    }
}
