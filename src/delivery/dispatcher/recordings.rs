//! Recordings: what is known of them goes to the spool, one at a time goes to the encoder, and its link to the CRM.
//!
//! Invariants:
//! - a recording is in the spool before the end of its call is accepted, and stays untold there until the request with its
//!   link is in the spool too: a crash in between repeats that request and loses none;
//! - the request with the link stands behind the end of its call, which may come late: a recording that an earlier run has left
//!   can be ready before it is known that its call ended meanwhile;
//! - an end that waits for its link holds up its own call alone.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Sender, TrySendError, bounded};

use super::{CHORE, Control, Dispatcher};
use crate::core::draft::Draft;
use crate::core::gate::{Millis, millis};
use crate::core::lanes::Parcel;
use crate::core::recording::queue::{MOST, Queue, Recording, State};
use crate::core::recording::{self, News};
use crate::delivery::Accepted;
use crate::delivery::recordings::{self, Job, Outcome, Setup};
use crate::delivery::spool::SpoolError;
use crate::delivery::status::{self, Room};
use crate::delivery::threads::Thread;

/// A call's end that waits for its link is looked at this often.
const GLANCE: Millis = 100;

/// What the dispatcher knows of recordings.
#[derive(Default)]
pub(super) struct Recordings {
    setup: Option<Arc<Setup>>,
    queue: Queue,
    encoder: Option<Encoder>,
    /// Those whose rows in the spool are not as they should be.
    unwritten: BTreeSet<u64>,
    next_id: u64,
    converted: u64,
    refused: u64,
    overflow_told: bool,
    /// Why the last link could not be made; empty when it could.
    no_link: String,
}

struct Encoder {
    jobs: Sender<Job>,
    thread: Box<dyn Thread>,
}

impl Recordings {
    /// When something is to be done, if there is an encoder that would take it.
    pub(super) fn due(&self) -> Option<Millis> {
        self.setup.as_ref()?;
        let encoder = self.encoder.as_ref()?;
        if encoder.jobs.is_full() {
            return None;
        }
        self.queue.due()
    }

    pub(super) fn status(&self) -> Option<status::Recordings> {
        self.setup.as_ref().map(|_| status::Recordings {
            counts: self.queue.counts(),
            converted: self.converted,
            refused: self.refused,
            no_link: self.no_link.clone(),
        })
    }

    /// Lets the encoder's thread go. False when it still runs.
    pub(super) fn end(&mut self) -> bool {
        self.encoder.take().is_none_or(|Encoder { jobs, thread }| {
            drop(jobs);
            thread.join(Duration::from_millis(300))
        })
    }
}

impl Dispatcher {
    pub(super) fn set_up_recordings(&mut self, setup: Option<Arc<Setup>>) {
        if let Some(setup) = &setup
            && self.recordings.encoder.is_none()
        {
            let (jobs, waiting) = bounded(1);
            let (control, threads, shared) = (
                self.control.clone(),
                Arc::clone(&self.threads),
                Arc::clone(&self.shared),
            );
            let host = Arc::clone(&setup.host);
            let body = Box::new(move || {
                let tell = |id, outcome| control.send(Control::Treated(id, outcome)).is_ok();
                recordings::work(&waiting, &*host, &*threads, &shared.stopping, &tell);
            });
            match self.threads.spawn("planfix/encoder", body) {
                Ok(thread) => self.recordings.encoder = Some(Encoder { jobs, thread }),
                Err(error) => log::error!(
                    "The encoder's thread could not be started, {error}; recordings wait for a reload"
                ),
            }
        }
        self.recordings.setup = setup;
        // What hindered may have been mended before the reload.
        self.recordings.queue.hurry();
    }

    /// What an earlier run has left, or the file that is used from now on.
    pub(super) fn adopt_recordings(&mut self) {
        let Some(spool) = &self.spool else { return };
        let found = spool
            .recordings()
            .and_then(|rows| Ok((rows, spool.next_recording()?)));
        match found {
            Ok((rows, next_id)) => {
                let recordings = &mut self.recordings;
                // What was noted while there was no disk gets numbers that the file has not given away.
                let held: Vec<Recording> = recordings.queue.iter().cloned().collect();
                recordings.queue = Queue::default();
                recordings.next_id = next_id;
                recordings.unwritten.clear();
                recordings.queue.adopt(rows);
                for held in held {
                    let id = recordings.next_id;
                    recordings.next_id += 1;
                    if recordings.queue.add(Recording { id, ..held }).is_some() {
                        recordings.unwritten.insert(id);
                    }
                }
            }
            Err(error) => {
                let now = self.clock.steady();
                self.spool_failed(&error, now);
            }
        }
    }

    /// The spool is a new file: every row goes there again.
    pub(super) fn rewrite_recordings(&mut self) {
        let recordings = &mut self.recordings;
        recordings.unwritten = recordings.queue.iter().map(|recording| recording.id).collect();
        self.write_recordings();
    }

    pub(super) fn hear_of_recording(&mut self, news: News) {
        if self.recordings.setup.is_none() {
            return;
        }
        let recordings = &mut self.recordings;
        match news {
            News::Recorded { callid, said, at } => {
                let id = recordings.next_id.max(1);
                let recording = Recording {
                    id,
                    callid,
                    said,
                    at,
                    state: State::Running,
                    tries: 0,
                    reason: String::new(),
                    path: String::new(),
                    length: 0,
                    told: false,
                };
                if let Some(given_up) = recordings.queue.make_room(&recording) {
                    recordings.refused += 1;
                    recordings.unwritten.insert(given_up);
                    self.write_recordings();
                    self.recordings.queue.forget(&[given_up]);
                    self.tell_of_overflow(
                        "the oldest that could not be converted are left as they are to make room",
                    );
                }
                let recordings = &mut self.recordings;
                let fresh = recordings.queue.add(recording);
                if fresh.is_some() {
                    recordings.next_id = id + 1;
                    recordings.unwritten.insert(id);
                } else if recordings.queue.iter().count() >= MOST {
                    self.tell_of_overflow("more are not taken");
                }
            }
            News::Over { callid } => {
                let ids = recordings.queue.over(&callid);
                recordings.unwritten.extend(ids);
            }
        }
        self.write_recordings();
    }

    /// Once: a month's recordings do not come to be too many within a minute.
    fn tell_of_overflow(&mut self, consequence: &str) {
        if !std::mem::replace(&mut self.recordings.overflow_told, true) {
            log::error!(
                "{MOST} recordings wait for the encoder, and {consequence}; see 'planfix show status'"
            );
        }
    }

    /// The end of a call that a crash has cut off is made of its card, which knows nothing of recordings.
    pub(super) fn promise_recording(&mut self, draft: &mut Draft) {
        if self.recordings.setup.is_some()
            && recording::denies(draft)
            && self.recordings.queue.is_known(&draft.callid)
        {
            draft.body = recording::promising(&draft.body);
        }
    }

    /// Writes the rows that are not as they should be. What cannot be written now waits for the chores.
    fn write_recordings(&mut self) {
        let Some(spool) = &self.spool else { return };
        let recordings = &mut self.recordings;
        while let Some(id) = recordings.unwritten.first().copied() {
            if let Some(recording) = recordings.queue.get(id)
                && let Err(error) = spool.put_recording(recording)
            {
                log::debug!("Recording {id} could not be written to the spool: {error}");
                return;
            }
            recordings.unwritten.remove(&id);
        }
    }

    /// Gives the encoder its next recording.
    pub(super) fn treat_recordings(&mut self, now: Millis) {
        if self.recordings.due().is_none_or(|due| due > now) {
            return;
        }
        let Some(spool) = &self.spool else { return };
        let recordings = &mut self.recordings;
        let (Some(setup), Some(encoder)) = (&recordings.setup, &recordings.encoder) else {
            return;
        };
        let Some(next) = recordings.queue.next(now) else {
            return;
        };
        let day = spool.local_time(next.at).unwrap_or_default();
        let day = day.split(' ').next().unwrap_or_default().replace('-', "/");
        let job = Job {
            id: next.id,
            said: next.said.clone(),
            at: next.at,
            day,
            setup: Arc::clone(setup),
        };
        match encoder.jobs.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => recordings.queue.put_back(),
            Err(TrySendError::Disconnected(_)) => {
                recordings.queue.put_back();
                // Without it nothing is due, and the next reload starts another one.
                recordings.encoder = None;
                log::error!("The encoder's thread has ended; recordings wait for a reload");
            }
        }
    }

    /// A recording comes back from the encoder.
    pub(super) fn treated(&mut self, id: u64, outcome: Outcome) {
        let now = self.clock.steady();
        let recordings = &mut self.recordings;
        let queue = &mut recordings.queue;
        let was_hindered = queue.hindrance().map(str::to_owned);
        let outcome = match outcome {
            Outcome::Missing(reason) if queue.is_overdue(id, self.clock.wall()) => {
                Outcome::Refused(format!("{reason}, and there was none for three days"))
            }
            known => known,
        };
        match outcome {
            Outcome::Done { path, length } => {
                queue.done(id, path, millis(length));
                recordings.converted += 1;
                if let Some(reason) = was_hindered {
                    log::warn!("Recordings are converted again; what hindered it was: {reason}");
                }
            }
            Outcome::NotYet => return queue.not_yet(id, now),
            Outcome::BrokenOff => return queue.put_back(),
            // FreePBX records each phone that is called for a client, and its MixMonitor writes no sound before they talk.
            Outcome::Silent(reason) if queue.has_another(id) => {
                log::debug!("A recording is left as it is, and the call has another: {reason}");
                queue.refused(id, &reason);
            }
            Outcome::Refused(reason) | Outcome::Silent(reason) => {
                log::warn!("A recording is left as it is and gets no link: {reason}");
                queue.refused(id, &reason);
                recordings.refused += 1;
            }
            Outcome::Missing(reason) | Outcome::Failed(reason) => {
                if queue.failed(id, &reason, now) {
                    log::error!(
                        "A recording could not be converted, its original is kept and it is tried again: {reason}"
                    );
                }
            }
            Outcome::Hindered(reason) => {
                if queue.hindered(&reason, now) {
                    log::error!(
                        "Recordings cannot be converted, originals are kept and it is tried again: {reason}"
                    );
                }
                return;
            }
        }
        recordings.unwritten.insert(id);
        let callid = recordings.queue.get(id).map(|recording| recording.callid.clone());
        self.write_recordings();
        if let Some(callid) = callid {
            self.tell_of_recording(&callid, now);
        }
    }

    /// A card of the call was closed: the link may have waited for that.
    pub(super) fn tell_of_recording_after(&mut self, callid: &str, now: Millis) {
        if self.recordings.setup.is_some() && self.recordings.queue.is_known(callid) {
            self.tell_of_recording(callid, now);
        }
    }

    /// Sends the CRM the link, if it is time, everybody's card of the call is closed and no end of the call waits to carry it.
    fn tell_of_recording(&mut self, callid: &str, now: Millis) {
        let Some(setup) = self.recordings.setup.clone() else {
            return;
        };
        let Some(best) = self.recordings.queue.to_tell(callid) else {
            if self.recordings.queue.is_settled(callid) {
                self.close_recordings_of(callid);
            }
            return;
        };
        let carried = !setup.wait.is_zero()
            && self
                .lanes
                .of_call(callid)
                .any(|parcel| recording::promises(&parcel.draft));
        // The rest of a full spool is for the ends of calls.
        if carried || self.status.room == Room::Full || self.open_cards.has_one_of(callid) {
            return;
        }
        let Some(link) = self.link_to(&setup, &best.path.clone()) else {
            return;
        };
        let told = Accepted {
            drafts: vec![recording::draft(callid, &link)],
            news: None,
            wall: self.clock.wall(),
            steady: now,
        };
        self.accept(vec![told], now);
        self.close_recordings_of(callid);
    }

    /// The link; where there is none to be had now, the status says why, and it is asked for again.
    fn link_to(&mut self, setup: &Setup, path: &str) -> Option<String> {
        match (setup.link)(Path::new(path)) {
            Ok(link) => {
                self.recordings.no_link.clear();
                Some(link)
            }
            Err(reason) => {
                if self.recordings.no_link != reason {
                    log::error!("A recording has no link yet, and it is tried again: {reason}");
                }
                self.recordings.no_link = reason;
                None
            }
        }
    }

    /// The CRM has the link of the call's recording, or there is none to be had.
    fn close_recordings_of(&mut self, callid: &str) {
        let ids = self.recordings.queue.told(callid);
        self.recordings.unwritten.extend(&ids);
        self.write_recordings();
        let written: Vec<u64> = ids
            .into_iter()
            .filter(|id| !self.recordings.unwritten.contains(id))
            .collect();
        self.recordings.queue.forget(&written);
    }

    /// The parcel that is about to go, with its recording's link in it if ends of calls wait for links and there is one.
    /// `None` when it waits on.
    pub(super) fn with_its_recording(&mut self, parcel: Arc<Parcel>, now: Millis) -> Option<Arc<Parcel>> {
        let Some(setup) = self
            .recordings
            .setup
            .clone()
            .filter(|setup| !setup.wait.is_zero())
        else {
            return Some(parcel);
        };
        if !recording::promises(&parcel.draft) {
            return Some(parcel);
        }
        let callid = parcel.draft.callid.clone();
        let best = self
            .recordings
            .queue
            .to_tell(&callid)
            .map(|best| best.path.clone());
        if let Some(link) = best.and_then(|best| self.link_to(&setup, &best)) {
            let body = recording::with_link(&parcel.draft.body, &link);
            if let Some(spool) = &self.spool
                && let Err(error) = spool.rewrite(parcel.id, &body)
            {
                log::debug!("Event {} keeps its body in the spool: {error}", parcel.id);
            }
            let parcel = self.lanes.rewrite(&callid, body).unwrap_or(parcel);
            let others = self.lanes.of_call(&callid).filter(|other| other.id != parcel.id);
            // Another employee's end of the same call carries it too.
            if !others.into_iter().any(|other| recording::promises(&other.draft)) {
                self.close_recordings_of(&callid);
            }
            return Some(parcel);
        }
        let until = parcel.born + millis(setup.wait);
        if now < until && self.recordings.queue.is_awaited(&callid) {
            self.lanes.put_off(&callid, until.min(now + GLANCE));
            return None;
        }
        Some(parcel)
    }

    /// Now and then: rows that could not be written, links that could not be sent, and rows that nobody needs any more.
    pub(super) fn keep_recordings(&mut self, now: Millis) -> Result<(), SpoolError> {
        self.write_recordings();
        let mut untold = self.recordings.queue.untold();
        if !untold.is_empty() {
            let open = self.open_cards.callids();
            untold.retain(|callid| !open.contains(callid.as_str()));
        }
        for callid in untold {
            self.tell_of_recording(&callid, now);
        }
        let before = self
            .clock
            .wall()
            .saturating_sub(millis(self.config.keep_delivered));
        match &self.spool {
            Some(spool) => spool.forget_recordings(before, CHORE).map(|_| ()),
            None => Ok(()),
        }
    }
}

impl Drop for Recordings {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::Recordings;

    #[test]
    fn nothing_is_due_where_recordings_are_left_alone() {
        let recordings = Recordings::default();
        assert_eq!((recordings.due(), recordings.status()), (None, None));
    }
}
