//! Stories of calls: written after everything else, left out where there is no room.

use super::Dispatcher;
use crate::core::gate::Millis;
use crate::delivery::question::Answer;
use crate::delivery::spool::{Change, Listed, Spool, SpoolError};
use crate::delivery::story::{FILL_MOST, KEPT, MOST, MOST_IN_MEMORY, Story};

/// A story waits so long for others, so that one transaction serves several.
const WAIT: Millis = 1_000;
/// Stories in one transaction, so that no event waits long behind it.
const PORTION: usize = 16;
/// Stories that are deleted at once. One of them takes about as long as ten events.
pub(super) const FORGET: usize = 200;

impl Dispatcher {
    /// Takes stories from the inbox, and no more than are written soon.
    pub(super) fn hear_stories(&mut self, first: Option<Story>, now: Millis) {
        if self.stories.is_empty() {
            self.stories_since = now;
        }
        self.stories.extend(first);
        let room = (4 * PORTION).saturating_sub(self.stories.len());
        self.stories.extend(self.told.try_iter().take(room));
    }

    /// When the stories that wait are to be written.
    pub(super) fn stories_due(&self) -> Millis {
        self.stories_since + if self.stories.len() < PORTION { WAIT } else { 0 }
    }

    /// Writes a portion of the stories if it is due, or all of them `at_once`.
    pub(super) fn write_stories(&mut self, now: Millis, at_once: bool) {
        while !self.stories.is_empty() && (at_once || now >= self.stories_due()) {
            let count = self.stories.len().min(PORTION);
            let portion: Vec<Story> = self.stories.drain(..count).collect();
            if !self.write_portion(&portion, now) {
                let count = portion.len() as u64;
                self.shared
                    .stories_left_out
                    .fetch_add(count, std::sync::atomic::Ordering::Relaxed);
            }
            if !at_once {
                return;
            }
            self.hear_stories(None, now);
        }
    }

    fn write_portion(&mut self, portion: &[Story], now: Millis) -> bool {
        let wall = self.clock.wall();
        let most = self.most_stories();
        let Some(spool) = &mut self.spool else {
            return false;
        };
        let trouble = !self.status.spool_trouble.is_empty() && spool.path().is_some();
        if trouble || spool.fill().map_or(true, |fill| fill > FILL_MOST) {
            return false;
        }
        let written = spool.keep_stories(portion);
        // As many may go as came, so that a busy hour cannot outgrow the chores.
        let kept =
            written.and_then(|()| spool.forget_stories(wall.saturating_sub(KEPT), most, 2 * portion.len()));
        if let (Some(syncer), Some(path)) = (&self.syncer, spool.path())
            && spool.log_is_long()
        {
            syncer.wake(path.to_owned(), spool.log_bytes());
        }
        match kept {
            Ok(_) => true,
            Err(error @ SpoolError::Damaged(_)) => {
                self.spool_failed(&error, now);
                false
            }
            // Whoever writes events says so.
            Err(_) => false,
        }
    }

    fn most_stories(&self) -> usize {
        match &self.spool {
            Some(spool) if spool.path().is_some() => MOST,
            _ => MOST_IN_MEMORY,
        }
    }

    /// Stories that are old or too many go, a few at a time.
    pub(super) fn forget_stories(&mut self) -> Result<(), SpoolError> {
        let before = self.clock.wall().saturating_sub(KEPT);
        let most = self.most_stories();
        match &mut self.spool {
            Some(spool) => spool.forget_stories(before, most, FORGET).map(|_| ()),
            None => Ok(()),
        }
    }
}

/// Channels of a story whose events are looked for: a conference that lasted all day had hundreds.
const MOST_NAMES: usize = 100;

/// What is known of a call. What of its events is not in the spool yet, because the disk refuses, is in `unsaved`.
pub(super) fn of_call(spool: &Spool, unsaved: &[Change], name: &str) -> Result<Answer, SpoolError> {
    let story = spool.story(name)?;
    // A second call with the same linkedid, or one that was joined with it, goes by the unique id of one of its channels.
    let mut callids = vec![story.as_ref().map_or(name, |story| story.callid.as_str())];
    for channel in story.iter().flat_map(|story| &story.channels).take(MOST_NAMES) {
        if !callids.contains(&channel.as_str()) {
            callids.push(channel);
        }
    }
    let mut events = Vec::new();
    for callid in &callids {
        events.extend(spool.of_call(callid)?);
    }
    events.sort_by_key(|event| event.id);
    for change in unsaved {
        match change {
            Change::Add(parcel) if callids.contains(&parcel.draft.callid.as_str()) => {
                events.push(Listed::pending(parcel, spool.local_time(parcel.accepted)?));
            }
            Change::Add(_) => {}
            Change::Tried { id, attempts, reason } => {
                if let Some(event) = events.iter_mut().find(|event| event.id == *id) {
                    (event.attempts, event.reason) = (*attempts, reason.clone());
                }
            }
            Change::Settle {
                id,
                state,
                reason,
                at,
            } => {
                if let Some(event) = events.iter_mut().find(|event| event.id == *id) {
                    event.state = Some(*state);
                    event.reason = reason.clone().unwrap_or_default();
                    (event.settled, event.settled_at) = (spool.local_time(*at)?, Some(*at));
                }
            }
        }
    }
    Ok(Answer::Story { story, events })
}
