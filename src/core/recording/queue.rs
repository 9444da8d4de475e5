//! Which recording is converted when, and which one a call's card gets.
//!
//! Invariants:
//! - one recording is converted at a time;
//! - a recording is touched only when its call is over, so a dialplan that goes on with the same file is not disturbed;
//! - a call's card gets one recording, because the CRM keeps one link for a call: the longest, once no other of the call's
//!   waits for its first try. So both legs' recordings, an interrupted one and that of a transferred call all leave a card
//!   that plays; a longer one that comes later takes the place;
//! - nothing is given up for trouble that can pass: it is tried again, less and less often; only a file that has not been there
//!   for days never comes, and where no more can wait the oldest that failed makes room.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::core::gate::Millis;
use crate::core::recent::Recent;

/// More recordings than this do not wait: a month of a busy company without an encoder.
pub const MOST: usize = 100_000;
/// Calls of which it is remembered how long the recording is that the CRM was told of.
const REMEMBERED: usize = 10_000;
/// A file that is still being written is looked at again after so long.
const GLANCE: Millis = 1_000;
/// First wait after a failure; it doubles with each.
const FIRST_RETRY: Millis = 30_000;
/// And grows no longer than this.
const LAST_RETRY: Millis = 6 * 3_600_000;
/// What troubles all recordings (no encoder, a full disk) is looked at again after so long.
const HOLD: Millis = 30_000;

/// A file that is not there so long after its recording was taken was moved away by somebody else.
const MOVED: Millis = 3 * 86_400_000;

/// How far a recording is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its call goes on.
    Running,
    /// It is to be converted.
    Waiting,
    /// It can be played.
    Done,
    /// It never will be: it lies outside of the folder, or holds no sound.
    Refused,
}

impl State {
    /// The number in the spool.
    #[must_use]
    pub fn number(self) -> i64 {
        match self {
            Self::Running => 0,
            Self::Waiting => 1,
            Self::Done => 2,
            Self::Refused => 3,
        }
    }

    /// The state of a number in the spool.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        [Self::Running, Self::Waiting, Self::Done, Self::Refused]
            .into_iter()
            .find(|state| state.number() == number)
    }
}

/// A recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// The spool's number.
    pub id: u64,
    /// The call.
    pub callid: String,
    /// What the dialplan says of its place.
    pub said: String,
    /// When that became known: milliseconds since 1970.
    pub at: u64,
    /// How far it is.
    pub state: State,
    /// Failed tries.
    pub tries: u32,
    /// Why the last one failed.
    pub reason: String,
    /// Where it lies below the folder, once it can be played.
    pub path: String,
    /// How long it plays, in milliseconds.
    pub length: u64,
    /// The CRM was told of it, or of a longer one.
    pub told: bool,
}

#[derive(Debug)]
struct Held {
    recording: Recording,
    due: Millis,
    /// Under which moment it stands among the resting.
    rests_until: Option<Millis>,
}

/// How many there are of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that are recorded now, and recordings that wait for the encoder.
    pub waiting: usize,
    /// One that is being converted.
    pub converting: usize,
    /// Those of the waiting that failed at least once.
    pub failed: usize,
    /// Why: what troubles all, or the last one's reason.
    pub reason: String,
}

/// The recordings that are not done with.
#[derive(Debug)]
pub struct Queue {
    rows: BTreeMap<u64, Held>,
    /// Those that wait for their first try. These two save looking at all rows whenever the next one is asked for.
    fresh: BTreeSet<u64>,
    /// Those that wait for a moment.
    resting: BTreeSet<(Millis, u64)>,
    calls: HashMap<String, Vec<u64>>,
    converting: Option<u64>,
    held: Option<(Millis, String)>,
    told: Recent<u64>,
    reason: String,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            fresh: BTreeSet::new(),
            resting: BTreeSet::new(),
            calls: HashMap::new(),
            converting: None,
            held: None,
            told: Recent::new(REMEMBERED),
            reason: String::new(),
        }
    }
}

impl Queue {
    /// Takes over what an earlier run has left: its calls are over, as far as the module can tell.
    pub fn adopt(&mut self, recordings: Vec<Recording>) {
        for mut recording in recordings {
            if recording.state == State::Running {
                recording.state = State::Waiting;
            }
            self.hold(recording, 0);
        }
    }

    /// Takes a recording that became known. `None` when it is known already, or there are too many.
    pub fn add(&mut self, recording: Recording) -> Option<&Recording> {
        if self.has(&recording) || self.rows.len() >= MOST {
            return None;
        }
        let id = recording.id;
        self.hold(recording, 0);
        self.get(id)
    }

    fn has(&self, recording: &Recording) -> bool {
        self.of_call(&recording.callid)
            .any(|known| known.said == recording.said && known.state != State::Done)
    }

    /// Where there are too many for another one, the oldest that has failed is refused, and its call is told of no link of it. Gives
    /// its number; it is to be forgotten as soon as the spool knows.
    pub fn make_room(&mut self, recording: &Recording) -> Option<u64> {
        if self.rows.len() < MOST || self.has(recording) {
            return None;
        }
        let converting = self.converting;
        let (id, held) = self.rows.iter_mut().find(|(id, held)| {
            held.recording.state == State::Waiting && held.recording.tries > 0 && converting != Some(**id)
        })?;
        let id = *id;
        (held.recording.state, held.recording.told) = (State::Refused, true);
        self.place(id);
        Some(id)
    }

    fn hold(&mut self, recording: Recording, due: Millis) {
        let ids = self.calls.entry(recording.callid.clone()).or_default();
        ids.push(recording.id);
        let id = recording.id;
        let held = Held {
            recording,
            due,
            rests_until: None,
        };
        self.rows.insert(id, held);
        self.place(id);
    }

    /// Puts a recording among the fresh or the resting, wherever it belongs now.
    fn place(&mut self, id: u64) {
        self.fresh.remove(&id);
        let Some(held) = self.rows.get_mut(&id) else {
            return;
        };
        if let Some(until) = held.rests_until.take() {
            self.resting.remove(&(until, id));
        }
        match held.recording.state {
            State::Waiting if held.recording.tries == 0 && held.due == 0 => {
                self.fresh.insert(id);
            }
            State::Waiting => {
                held.rests_until = Some(held.due);
                self.resting.insert((held.due, id));
            }
            State::Running | State::Done | State::Refused => {}
        }
    }

    /// The recording of that number.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<&Recording> {
        self.rows.get(&id).map(|held| &held.recording)
    }

    fn of_call(&self, callid: &str) -> impl Iterator<Item = &Recording> {
        let ids = self.calls.get(callid).into_iter().flatten();
        ids.filter_map(|id| self.get(*id))
    }

    /// The call is over. Gives the numbers of its recordings that wait from now on.
    pub fn over(&mut self, callid: &str) -> Vec<u64> {
        let mut ids = self.calls.get(callid).cloned().unwrap_or_default();
        ids.retain(|id| {
            self.get(*id)
                .is_some_and(|recording| recording.state == State::Running)
        });
        for id in &ids {
            if let Some(held) = self.rows.get_mut(id) {
                held.recording.state = State::Waiting;
            }
            self.place(*id);
        }
        ids
    }

    /// Whether everything was said that there is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether a call's recording is on its way and may come soon: nothing has gone wrong with it yet.
    #[must_use]
    pub fn is_awaited(&self, callid: &str) -> bool {
        self.held.is_none()
            && self.of_call(callid).any(|recording| {
                matches!(recording.state, State::Running | State::Waiting) && recording.tries == 0
            })
    }

    /// The next recording to convert; it is under way until one of the following is said of it. Fresh ones go before those
    /// that failed.
    pub fn next(&mut self, now: Millis) -> Option<&Recording> {
        if self.converting.is_some() || self.held.as_ref().is_some_and(|(until, _)| now < *until) {
            return None;
        }
        let rested = self.resting.first().filter(|(due, _)| *due <= now);
        let id = self.fresh.first().copied().or(rested.map(|(_, id)| *id))?;
        self.converting = Some(id);
        self.get(id)
    }

    /// When the next one is due; `None` when none waits.
    #[must_use]
    pub fn due(&self) -> Option<Millis> {
        if self.converting.is_some() {
            return None;
        }
        let rested = self.resting.first().map(|(due, _)| *due);
        let due = self.fresh.first().map(|_| 0).or(rested)?;
        let held = self.held.as_ref().map_or(0, |(until, _)| *until);
        Some(due.max(held))
    }

    /// It can be played.
    pub fn done(&mut self, id: u64, path: String, length: u64) {
        self.converting = None;
        self.held = None;
        if let Some(held) = self.rows.get_mut(&id) {
            let recording = &mut held.recording;
            (recording.state, recording.path, recording.length) = (State::Done, path, length);
            recording.reason.clear();
        }
        self.place(id);
    }

    /// Somebody still writes to it.
    pub fn not_yet(&mut self, id: u64, now: Millis) {
        self.converting = None;
        if let Some(held) = self.rows.get_mut(&id) {
            held.due = now + GLANCE;
        }
        self.place(id);
    }

    /// The one that is under way was not tried to the end, through no fault of its own.
    pub fn put_back(&mut self) {
        self.converting = None;
    }

    /// It cannot be converted now. True when that is news: its first failure.
    pub fn failed(&mut self, id: u64, reason: &str, now: Millis) -> bool {
        self.converting = None;
        self.held = None;
        reason.clone_into(&mut self.reason);
        let Some(held) = self.rows.get_mut(&id) else {
            return false;
        };
        let recording = &mut held.recording;
        recording.tries = recording.tries.saturating_add(1);
        reason.clone_into(&mut recording.reason);
        let doublings = (recording.tries - 1).min(16);
        held.due = now + (FIRST_RETRY << doublings).min(LAST_RETRY);
        let first = recording.tries == 1;
        self.place(id);
        first
    }

    /// Whether its file would have come by now: `wall` is the wall clock.
    #[must_use]
    pub fn is_overdue(&self, id: u64, wall: u64) -> bool {
        self.get(id)
            .is_some_and(|recording| wall > recording.at.saturating_add(MOVED))
    }

    /// It never will be converted.
    pub fn refused(&mut self, id: u64, reason: &str) {
        self.converting = None;
        if let Some(held) = self.rows.get_mut(&id) {
            held.recording.state = State::Refused;
            reason.clone_into(&mut held.recording.reason);
        }
        self.place(id);
    }

    /// Whether the call has another recording that plays, or may yet.
    #[must_use]
    pub fn has_another(&self, id: u64) -> bool {
        let Some(callid) = self.get(id).map(|recording| &recording.callid) else {
            return false;
        };
        let mut others = self.of_call(callid).filter(|other| other.id != id);
        self.told.of(callid).is_some() || others.any(|other| other.state != State::Refused)
    }

    /// Nothing can be converted now, for a reason that has nothing to do with this one. True when that is news.
    pub fn hindered(&mut self, reason: &str, now: Millis) -> bool {
        self.converting = None;
        let news = self.held.as_ref().is_none_or(|(_, known)| known != reason);
        self.held = Some((now + HOLD, reason.to_owned()));
        news
    }

    /// Whatever hindered may be mended: everything that waits is tried now.
    pub fn hurry(&mut self) {
        self.held = None;
        let ids: Vec<u64> = self.resting.iter().map(|(_, id)| *id).collect();
        for id in ids {
            if let Some(held) = self.rows.get_mut(&id) {
                held.due = 0;
            }
            self.place(id);
        }
    }

    /// What hinders all of them.
    #[must_use]
    pub fn hindrance(&self) -> Option<&str> {
        self.held.as_ref().map(|(_, reason)| reason.as_str())
    }

    /// The recording that the call's card is to get now, if it is time: the longest that can be played, unless the CRM has one
    /// as long.
    #[must_use]
    pub fn to_tell(&self, callid: &str) -> Option<&Recording> {
        let awaited = self.of_call(callid).any(|recording| match recording.state {
            State::Running => true,
            State::Waiting => recording.tries == 0,
            State::Done | State::Refused => false,
        });
        if awaited {
            return None;
        }
        let done = self
            .of_call(callid)
            .filter(|recording| recording.state == State::Done);
        // Of two that are as long the first one counts.
        let best = done.max_by_key(|recording| (recording.length, std::cmp::Reverse(recording.id)))?;
        let known = self.told.of(callid).copied();
        known.is_none_or(|known| best.length > known).then_some(best)
    }

    /// The CRM was told of the call's longest recording. Gives the numbers of those that are done with.
    pub fn told(&mut self, callid: &str) -> Vec<u64> {
        let longest = self
            .of_call(callid)
            .filter(|recording| recording.state == State::Done)
            .map(|recording| recording.length)
            .max();
        if let Some(longest) = longest {
            let known = self.told.of(callid).copied().unwrap_or(0);
            self.told.note(callid, longest.max(known));
        }
        let ids: Vec<u64> = self
            .of_call(callid)
            .filter(|recording| matches!(recording.state, State::Done | State::Refused))
            .map(|recording| recording.id)
            .collect();
        for id in &ids {
            if let Some(held) = self.rows.get_mut(id) {
                held.recording.told = true;
            }
        }
        ids
    }

    /// Whether the call has a recording that can be played, or may be one day.
    #[must_use]
    pub fn is_known(&self, callid: &str) -> bool {
        self.of_call(callid)
            .any(|recording| recording.state != State::Refused)
    }

    /// Whether nothing of the call waits any more.
    #[must_use]
    pub fn is_settled(&self, callid: &str) -> bool {
        let waits = |recording: &Recording| matches!(recording.state, State::Running | State::Waiting);
        !self.of_call(callid).any(waits)
    }

    /// The calls that have something to play of which the CRM was not told.
    #[must_use]
    pub fn untold(&self) -> Vec<String> {
        let done = |held: &&Held| held.recording.state == State::Done && !held.recording.told;
        let mut calls: Vec<String> = self
            .rows
            .values()
            .filter(done)
            .map(|held| held.recording.callid.clone())
            .collect();
        calls.dedup();
        calls
    }

    /// All of them, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &Recording> {
        self.rows.values().map(|held| &held.recording)
    }

    /// Forgets these: the spool knows them.
    pub fn forget(&mut self, ids: &[u64]) {
        for id in ids {
            let Some(held) = self.rows.remove(id) else {
                continue;
            };
            self.fresh.remove(id);
            if let Some(until) = held.rests_until {
                self.resting.remove(&(until, *id));
            }
            let callid = held.recording.callid;
            if let Some(known) = self.calls.get_mut(&callid) {
                known.retain(|known| known != id);
                if known.is_empty() {
                    self.calls.remove(&callid);
                }
            }
        }
    }

    /// How many there are of each kind.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            converting: usize::from(self.converting.is_some()),
            ..Counts::default()
        };
        for held in self.rows.values() {
            let recording = &held.recording;
            if !matches!(recording.state, State::Running | State::Waiting) {
                continue;
            }
            if recording.tries > 0 {
                counts.failed += 1;
            } else if self.converting != Some(recording.id) {
                counts.waiting += 1;
            }
        }
        if let Some(reason) = self.hindrance() {
            reason.clone_into(&mut counts.reason);
        } else if counts.failed > 0 {
            self.reason.clone_into(&mut counts.reason);
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::{FIRST_RETRY, GLANCE, HOLD, LAST_RETRY, MOST, MOVED, Queue, Recording, State};

    fn recording(id: u64, callid: &str, state: State) -> Recording {
        Recording {
            id,
            callid: callid.to_owned(),
            said: format!("/monitor/{id}.wav"),
            at: 1,
            state,
            tries: 0,
            reason: String::new(),
            path: String::new(),
            length: 0,
            told: false,
        }
    }

    fn queue(calls: &[&str]) -> Queue {
        let mut queue = Queue::default();
        for (id, callid) in (1..).zip(calls) {
            queue.add(recording(id, callid, State::Waiting)).unwrap();
        }
        queue
    }

    #[test]
    fn one_at_a_time_and_the_oldest_first() {
        let mut queue = queue(&["a", "b"]);
        assert_eq!(queue.next(0).unwrap().id, 1);
        assert!(queue.next(0).is_none(), "one is under way");
        queue.done(1, "1.mp3".to_owned(), 10);
        assert_eq!(queue.next(0).unwrap().id, 2);
    }

    #[test]
    fn a_recording_without_sound_matters_where_the_call_has_no_other() {
        let mut queue = queue(&["a", "a", "b"]);
        assert!(queue.has_another(1) && !queue.has_another(3));
        queue.next(0);
        queue.refused(1, "holds no sound");
        assert!(queue.has_another(1) && !queue.has_another(2));
        queue.next(0);
        queue.done(2, "2.mp3".to_owned(), 10);
        queue.told("a");
        assert!(queue.has_another(1));
    }

    #[test]
    fn a_call_that_goes_on_is_left_alone() {
        let mut queue = Queue::default();
        queue.add(recording(1, "a", State::Running)).unwrap();
        assert!(queue.next(0).is_none() && queue.is_awaited("a"));
        assert!(queue.due().is_none());
        assert_eq!(queue.over("a"), [1]);
        assert_eq!(queue.over("a"), Vec::<u64>::new());
        assert_eq!(queue.next(0).unwrap().id, 1);
    }

    #[test]
    fn a_recording_is_known_once() {
        let mut queue = queue(&["a"]);
        let mut again = recording(2, "a", State::Running);
        again.said = "/monitor/1.wav".to_owned();
        assert!(queue.add(again).is_none());
        assert!(queue.add(recording(3, "a", State::Running)).is_some());
    }

    #[test]
    fn what_failed_is_tried_less_and_less_often_and_behind_the_others() {
        let mut queue = queue(&["a", "b"]);
        queue.next(0).unwrap();
        assert!(queue.failed(1, "damaged", 0), "news");
        assert_eq!(queue.next(FIRST_RETRY).unwrap().id, 2, "a fresh one goes before");
        queue.done(2, "2.mp3".to_owned(), 1);
        assert!(queue.next(FIRST_RETRY - 1).is_none());
        let mut now = FIRST_RETRY;
        let mut waits = Vec::new();
        for _ in 0..14 {
            assert_eq!(queue.next(now).unwrap().id, 1);
            assert!(!queue.failed(1, "damaged", now), "no news");
            let due = queue.due().unwrap();
            waits.push(due - now);
            now = due;
        }
        assert_eq!(waits[..3], [2 * FIRST_RETRY, 4 * FIRST_RETRY, 8 * FIRST_RETRY]);
        assert_eq!(waits[13], LAST_RETRY);
        assert_eq!(queue.counts().failed, 1);
        assert_eq!(queue.counts().reason, "damaged");
    }

    #[test]
    fn a_file_is_awaited_for_three_days() {
        let mut queue = Queue::default();
        let mut taken = recording(1, "a", State::Waiting);
        taken.at = 1_000;
        queue.add(taken).unwrap();
        assert!(!queue.is_overdue(1, 1_000 + MOVED));
        assert!(queue.is_overdue(1, 1_001 + MOVED));
        assert!(!queue.is_overdue(2, u64::MAX), "it is not known");
        // A clock that was set back gives nothing up.
        assert!(!queue.is_overdue(1, 0));
    }

    #[test]
    fn where_no_more_can_wait_the_oldest_that_failed_makes_room() {
        let mut queue = Queue::default();
        for id in 1..=MOST as u64 {
            queue
                .add(recording(id, &format!("c{id}"), State::Waiting))
                .unwrap();
        }
        let fresh = recording(MOST as u64 + 1, "fresh", State::Running);
        assert_eq!(queue.make_room(&fresh), None, "none has failed");
        assert!(queue.add(fresh.clone()).is_none());
        for id in [1, 2, 3] {
            assert_eq!(queue.next(0).unwrap().id, id);
            queue.failed(id, "there is no such file", 0);
        }
        assert_eq!(queue.next(0).unwrap().id, 4);
        let mut again = recording(9, "c9", State::Running);
        again.said = "/monitor/9.wav".to_owned();
        assert_eq!(queue.make_room(&again), None, "it has a place");
        assert_eq!(queue.make_room(&fresh), Some(1));
        let given_up = queue.get(1).unwrap();
        assert_eq!((given_up.state, given_up.told), (State::Refused, true));
        queue.forget(&[1]);
        assert!(queue.add(fresh.clone()).is_some());
        assert_eq!(queue.counts().converting, 1, "what is under way goes on");
        queue.done(4, "4.mp3".to_owned(), 1);
        assert_eq!(queue.next(FIRST_RETRY).unwrap().id, 5);
        queue.put_back();
        assert_eq!(queue.counts().failed, 2);
    }

    #[test]
    fn a_missing_encoder_hinders_all_and_is_no_failure_of_any() {
        let mut queue = queue(&["a", "b"]);
        queue.next(0).unwrap();
        assert!(queue.hindered("no encoder", 0));
        assert!(queue.next(HOLD - 1).is_none());
        assert_eq!(queue.due(), Some(HOLD));
        assert!(!queue.is_awaited("a"), "nobody waits for what cannot come");
        queue.next(HOLD).unwrap();
        assert!(!queue.hindered("no encoder", HOLD), "no news");
        assert_eq!((queue.counts().failed, queue.counts().waiting), (0, 2));
        queue.hurry();
        assert_eq!(queue.next(HOLD).unwrap().id, 1);
        queue.done(1, "1.mp3".to_owned(), 1);
        assert!(queue.hindrance().is_none());
    }

    #[test]
    fn the_card_gets_the_longest_when_all_were_tried() {
        let mut queue = queue(&["a", "a", "a", "a"]);
        for (id, length) in [(1, 700), (2, 900), (3, 900)] {
            assert_eq!(queue.next(0).unwrap().id, id);
            queue.done(id, format!("{id}.mp3"), length);
            assert!(queue.to_tell("a").is_none(), "the fourth waits");
        }
        queue.next(0).unwrap();
        queue.failed(4, "damaged", 0);
        assert_eq!(queue.to_tell("a").unwrap().path, "2.mp3");
        assert_eq!(queue.told("a"), [1, 2, 3]);
        queue.forget(&[1, 2, 3]);
        assert!(queue.to_tell("a").is_none());
        queue.next(FIRST_RETRY).unwrap();
        queue.done(4, "4.mp3".to_owned(), 800);
        assert!(queue.to_tell("a").is_none(), "the CRM has a longer one");
        let ids = queue.told("a");
        queue.forget(&ids);
        assert!(queue.is_empty());
        queue.add(recording(5, "a", State::Waiting)).unwrap();
        queue.next(0).unwrap();
        queue.done(5, "5.mp3".to_owned(), 901);
        assert_eq!(
            queue.to_tell("a").unwrap().path,
            "5.mp3",
            "a longer one takes the place"
        );
    }

    #[test]
    fn a_file_that_is_written_is_looked_at_again_and_that_is_no_failure() {
        let mut queue = queue(&["a"]);
        queue.next(0).unwrap();
        queue.not_yet(1, 0);
        assert!(queue.next(GLANCE - 1).is_none());
        assert_eq!(queue.next(GLANCE).unwrap().tries, 0);
        queue.put_back();
        assert_eq!(queue.next(GLANCE).unwrap().id, 1);
        queue.refused(1, "outside");
        assert!(queue.to_tell("a").is_none() && queue.next(GLANCE).is_none());
        assert_eq!(queue.told("a"), [1]);
    }

    #[test]
    fn what_an_earlier_run_left_goes_on() {
        let mut queue = Queue::default();
        queue.adopt(vec![
            recording(1, "a", State::Running),
            recording(2, "b", State::Waiting),
        ]);
        assert_eq!(queue.next(0).unwrap().id, 1);
        queue.done(1, "1.mp3".to_owned(), 1);
        assert_eq!(queue.next(0).unwrap().id, 2);
    }

    #[test]
    fn whatever_happens_each_is_done_once_and_none_is_forgotten() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut queue = Queue::default();
            let (mut now, mut next_id, mut done) = (0, 1, Vec::new());
            for step in 0..400 {
                now += random.u64(0..5_000);
                if step < 200 && random.u8(0..3) == 0 {
                    let callid = format!("c{}", random.u8(0..5));
                    let state = if random.bool() {
                        State::Running
                    } else {
                        State::Waiting
                    };
                    queue.add(recording(next_id, &callid, state)).unwrap();
                    next_id += 1;
                }
                if random.u8(0..4) == 0 {
                    queue.over(&format!("c{}", random.u8(0..5)));
                }
                if random.u8(0..50) == 0 {
                    queue.hurry();
                }
                let Some(id) = queue.next(now).map(|next| next.id) else {
                    continue;
                };
                assert!(
                    queue.next(now).is_none() && !done.contains(&id),
                    "{id} of {done:?}"
                );
                match random.u8(0..6) {
                    0 => queue.not_yet(id, now),
                    1 => drop(queue.failed(id, "x", now)),
                    2 => drop(queue.hindered("y", now)),
                    3 => queue.put_back(),
                    4 => {
                        queue.refused(id, "z");
                        done.push(id);
                    }
                    _ => {
                        queue.done(id, id.to_string(), id);
                        done.push(id);
                    }
                }
            }
            (0..5).for_each(|call| drop(queue.over(&format!("c{call}"))));
            while let Some(due) = queue.due() {
                now = now.max(due);
                let id = queue.next(now).unwrap().id;
                queue.done(id, id.to_string(), id);
                done.push(id);
            }
            done.sort_unstable();
            assert_eq!(done, (1..next_id).collect::<Vec<_>>(), "seed {seed}");
            for call in 0..5 {
                let ids = queue.told(&format!("c{call}"));
                queue.forget(&ids);
            }
            assert!(queue.is_empty(), "seed {seed}");
        }
    }

    #[test]
    fn states_have_numbers_of_their_own() {
        for state in [State::Running, State::Waiting, State::Done, State::Refused] {
            assert_eq!(State::from_number(state.number()), Some(state));
        }
        assert_eq!(State::from_number(4), None);
    }
}
