//! In which order requests leave: one lane a call.
//!
//! Invariants:
//! - within a lane requests leave in the order in which they came, one under way at a time;
//! - lanes do not wait for each other;
//! - of the lanes that are ready, those of calls that go on now leave before the backlog, what is late comes last, and within
//!   each the oldest request goes first.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::draft::Draft;
use super::gate::Millis;

/// A draft that the spool holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// The spool's number, rising with time.
    pub id: u64,
    /// Wall clock at acceptance, milliseconds since 1970.
    pub accepted: u64,
    /// The same moment on the clock that never goes back; ages are measured by it.
    pub born: Millis,
    /// Failed attempts so far.
    pub attempts: u32,
    /// The request.
    pub draft: Draft,
}

/// How a lane stands among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Haste {
    /// Its call goes on now.
    Live,
    /// It was read back from the disk.
    Backlog,
    /// It has waited for so long that nobody waits for it any more.
    Late,
}

#[derive(Debug)]
struct Lane {
    waiting: VecDeque<Arc<Parcel>>,
    haste: Haste,
    state: LaneState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LaneState {
    Ready,
    UnderWay,
    Resting(Millis),
}

/// The lanes that are in memory.
#[derive(Debug, Default)]
pub struct Lanes {
    lanes: HashMap<Arc<str>, Lane>,
    ready: BTreeSet<(Haste, u64, Arc<str>)>,
    resting: BTreeSet<(Millis, Arc<str>)>,
    ids: HashSet<u64>,
    under_way: usize,
}

impl Lanes {
    /// How many parcels are held, those under way included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// How many parcels are under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// Whether this parcel is held.
    #[must_use]
    pub fn contains(&self, id: u64) -> bool {
        self.ids.contains(&id)
    }

    /// Every parcel that is held.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Parcel>> {
        self.lanes.values().flat_map(|lane| &lane.waiting)
    }

    /// Adds a parcel at the end of its lane. `haste` is that of a lane that begins with it.
    pub fn push(&mut self, parcel: Arc<Parcel>, haste: Haste) {
        self.ids.insert(parcel.id);
        if let Some(lane) = self.lanes.get_mut(parcel.draft.callid.as_str()) {
            lane.waiting.push_back(parcel);
            return;
        }
        let callid: Arc<str> = parcel.draft.callid.as_str().into();
        self.ready.insert((haste, parcel.id, Arc::clone(&callid)));
        let lane = Lane {
            waiting: VecDeque::from([parcel]),
            haste,
            state: LaneState::Ready,
        };
        self.lanes.insert(callid, lane);
    }

    /// The next parcel to send; its lane is under way until [`Lanes::finish`] or [`Lanes::rest`]. `late`: what is late may go
    /// too.
    pub fn next(&mut self, now: Millis, late: bool) -> Option<Arc<Parcel>> {
        self.wake(now);
        if !late && self.is_first_late() {
            return None;
        }
        let (_, _, callid) = self.ready.pop_first()?;
        self.send(&callid)
    }

    /// The same for a probe: of what is ready, late or not, that which was turned away the longest ago, by what is said of each
    /// number, and before it what never was.
    pub fn next_probe(
        &mut self,
        now: Millis,
        turned_away: impl Fn(u64) -> Option<Millis>,
    ) -> Option<Arc<Parcel>> {
        self.wake(now);
        let first = self
            .ready
            .iter()
            .min_by_key(|(_, id, _)| turned_away(*id))?
            .clone();
        self.ready.remove(&first);
        self.send(&first.2)
    }

    fn send(&mut self, callid: &str) -> Option<Arc<Parcel>> {
        let lane = self.lanes.get_mut(callid)?;
        lane.state = LaneState::UnderWay;
        self.under_way += 1;
        lane.waiting.front().cloned()
    }

    /// Whether all that is ready is late.
    #[must_use]
    pub fn is_first_late(&self) -> bool {
        self.ready
            .first()
            .is_some_and(|(haste, ..)| *haste == Haste::Late)
    }

    /// Lanes whose first parcel was born before `moment` are late from now on.
    pub fn age(&mut self, moment: Millis) {
        for (callid, lane) in &mut self.lanes {
            let Some(head) = lane.waiting.front() else {
                continue;
            };
            if lane.haste == Haste::Late || head.born >= moment {
                continue;
            }
            if lane.state == LaneState::Ready {
                self.ready.remove(&(lane.haste, head.id, Arc::clone(callid)));
                self.ready.insert((Haste::Late, head.id, Arc::clone(callid)));
            }
            lane.haste = Haste::Late;
        }
    }

    /// Lets go of late lanes of which everything has a number above `after` and was born before `moment`, and says how many
    /// parcels that were: whoever has them elsewhere gives them back when it is their turn.
    pub fn let_go(&mut self, after: u64, moment: Millis) -> usize {
        let before = self.ids.len();
        let (ready, resting, ids) = (&mut self.ready, &mut self.resting, &mut self.ids);
        self.lanes.retain(|callid, lane| {
            let goes = lane.haste == Haste::Late
                && lane.state != LaneState::UnderWay
                && lane
                    .waiting
                    .iter()
                    .all(|parcel| parcel.id > after && parcel.born < moment);
            if goes {
                for parcel in &lane.waiting {
                    ids.remove(&parcel.id);
                }
                match (lane.state, lane.waiting.front()) {
                    (LaneState::Resting(due), _) => {
                        resting.remove(&(due, Arc::clone(callid)));
                    }
                    (_, Some(head)) => {
                        ready.remove(&(lane.haste, head.id, Arc::clone(callid)));
                    }
                    (_, None) => {}
                }
            }
            !goes
        });
        before - self.ids.len()
    }

    /// When the first resting lane becomes ready.
    #[must_use]
    pub fn next_wake(&self) -> Option<Millis> {
        self.resting.first().map(|(due, _)| *due)
    }

    /// Whether a lane is ready at `now`.
    #[must_use]
    pub fn is_ready(&self, now: Millis) -> bool {
        !self.ready.is_empty() || self.next_wake().is_some_and(|due| due <= now)
    }

    /// The parcel under way in this lane is done with: the next one may go.
    pub fn finish(&mut self, callid: &str) {
        let Some(lane) = self.lanes.get_mut(callid) else {
            return;
        };
        if let Some(parcel) = lane.waiting.pop_front() {
            self.ids.remove(&parcel.id);
        }
        self.leave(callid, None);
    }

    /// The parcel under way stays at the head of its lane; the lane rests until `due`. One more attempt is counted.
    pub fn rest(&mut self, callid: &str, due: Millis) {
        if let Some(lane) = self.lanes.get_mut(callid)
            && let Some(head) = lane.waiting.front_mut()
        {
            Arc::make_mut(head).attempts += 1;
        }
        self.leave(callid, Some(due));
    }

    /// The parcel under way was not sent after all: it stays at the head and its lane is ready.
    pub fn put_back(&mut self, callid: &str) {
        self.leave(callid, None);
    }

    /// The parcel under way stays at the head of its lane, was not tried, and is looked at again at `due`.
    pub fn put_off(&mut self, callid: &str, due: Millis) {
        self.leave(callid, Some(due));
    }

    /// Puts another body into the parcel that is under way in this lane, and gives it.
    pub fn rewrite(&mut self, callid: &str, body: String) -> Option<Arc<Parcel>> {
        let head = self.lanes.get_mut(callid)?.waiting.front_mut()?;
        Arc::make_mut(head).draft.body = body;
        Some(Arc::clone(head))
    }

    /// The parcels of this call, in their order.
    pub fn of_call(&self, callid: &str) -> impl Iterator<Item = &Arc<Parcel>> {
        self.lanes.get(callid).into_iter().flat_map(|lane| &lane.waiting)
    }

    /// Every resting lane becomes ready: the CRM is back.
    pub fn wake_all(&mut self) {
        self.wake(Millis::MAX);
    }

    /// Takes parcels that wait (none that is under way) out of their lanes where `wanted` says so.
    pub fn take(&mut self, mut wanted: impl FnMut(&Parcel) -> bool) -> Vec<Arc<Parcel>> {
        let mut taken = Vec::new();
        let callids: Vec<Arc<str>> = self.lanes.keys().cloned().collect();
        for callid in callids {
            let Some(lane) = self.lanes.get_mut(&callid) else {
                continue;
            };
            let head_stays = lane.state == LaneState::UnderWay;
            let head = lane.waiting.front().map(|parcel| parcel.id);
            let mut index = 0;
            lane.waiting.retain(|parcel| {
                let goes = !(head_stays && index == 0) && wanted(parcel);
                index += 1;
                if goes {
                    taken.push(Arc::clone(parcel));
                }
                !goes
            });
            let (haste, state, new_head) = (
                lane.haste,
                lane.state,
                lane.waiting.front().map(|parcel| parcel.id),
            );
            if new_head == head {
                continue;
            }
            match (state, head) {
                (LaneState::Ready, Some(head)) => {
                    self.ready.remove(&(haste, head, Arc::clone(&callid)));
                }
                (LaneState::Resting(due), _) => {
                    self.resting.remove(&(due, Arc::clone(&callid)));
                }
                _ => {}
            }
            match new_head {
                None => {
                    self.lanes.remove(&callid);
                }
                Some(id) => {
                    if let Some(lane) = self.lanes.get_mut(&callid) {
                        lane.state = LaneState::Ready;
                    }
                    self.ready.insert((haste, id, callid));
                }
            }
        }
        for parcel in &taken {
            self.ids.remove(&parcel.id);
        }
        taken
    }

    fn wake(&mut self, now: Millis) {
        while self.resting.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, callid)) = self.resting.pop_first() else {
                return;
            };
            if let Some(lane) = self.lanes.get_mut(&callid)
                && let Some(head) = lane.waiting.front()
            {
                lane.state = LaneState::Ready;
                self.ready.insert((lane.haste, head.id, callid));
            }
        }
    }

    /// Ends "under way" for a lane.
    fn leave(&mut self, callid: &str, due: Option<Millis>) {
        let Some((callid, lane)) = self.lanes.get_key_value(callid) else {
            return;
        };
        let callid = Arc::clone(callid);
        if lane.state == LaneState::UnderWay {
            self.under_way -= 1;
        }
        let (haste, head) = (lane.haste, lane.waiting.front().map(|parcel| parcel.id));
        let Some(head) = head else {
            self.lanes.remove(&callid);
            return;
        };
        let state = due.map_or(LaneState::Ready, LaneState::Resting);
        if let Some(lane) = self.lanes.get_mut(&callid) {
            lane.state = state;
        }
        match due {
            Some(due) => self.resting.insert((due, callid)),
            None => self.ready.insert((haste, head, callid)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::{Haste, Lanes, Parcel};
    use crate::core::draft::{Draft, Kind};
    use std::sync::Arc;

    fn parcel(id: u64, callid: &str) -> Arc<Parcel> {
        let draft = Draft {
            callid: callid.to_owned(),
            kind: Kind::Incoming,
            ext: String::new(),
            body: String::new(),
        };
        Arc::new(Parcel {
            id,
            accepted: id,
            born: id,
            attempts: 0,
            draft,
        })
    }

    fn next(lanes: &mut Lanes, now: u64) -> Option<u64> {
        lanes.next(now, true).map(|parcel| parcel.id)
    }

    #[test]
    fn one_under_way_in_a_lane_and_lanes_do_not_wait_for_each_other() {
        let mut lanes = Lanes::default();
        for (id, callid) in [(1, "a"), (2, "a"), (3, "b")] {
            lanes.push(parcel(id, callid), Haste::Live);
        }
        assert_eq!(
            (next(&mut lanes, 0), next(&mut lanes, 0), next(&mut lanes, 0)),
            (Some(1), Some(3), None)
        );
        lanes.finish("a");
        assert_eq!(next(&mut lanes, 0), Some(2));
        assert_eq!((lanes.len(), lanes.under_way()), (2, 2));
        lanes.finish("a");
        lanes.finish("b");
        assert!(lanes.is_empty() && lanes.lanes.is_empty() && lanes.under_way() == 0);
    }

    #[test]
    fn a_resting_lane_keeps_its_order_and_counts_its_attempts() {
        let mut lanes = Lanes::default();
        lanes.push(parcel(1, "a"), Haste::Live);
        lanes.push(parcel(2, "a"), Haste::Live);
        assert_eq!(next(&mut lanes, 0), Some(1));
        lanes.rest("a", 100);
        assert_eq!((next(&mut lanes, 99), lanes.next_wake()), (None, Some(100)));
        let again = lanes.next(100, true).unwrap();
        assert_eq!((again.id, again.attempts), (1, 1));
        lanes.rest("a", 500);
        lanes.wake_all();
        assert_eq!(next(&mut lanes, 101), Some(1));
    }

    #[test]
    fn calls_that_go_on_leave_before_the_backlog() {
        let mut lanes = Lanes::default();
        lanes.push(parcel(1, "old"), Haste::Backlog);
        lanes.push(parcel(9, "new"), Haste::Live);
        assert_eq!((next(&mut lanes, 0), next(&mut lanes, 0)), (Some(9), Some(1)));
    }

    #[test]
    fn what_is_taken_out_is_gone_but_never_what_is_under_way() {
        let mut lanes = Lanes::default();
        for (id, callid) in [(1, "a"), (2, "a"), (3, "b"), (4, "c"), (5, "c")] {
            lanes.push(parcel(id, callid), Haste::Live);
        }
        assert_eq!(next(&mut lanes, 0), Some(1));
        assert_eq!(next(&mut lanes, 0), Some(3));
        lanes.rest("b", 1_000);
        let mut taken: Vec<u64> = lanes
            .take(|parcel| parcel.id != 5)
            .into_iter()
            .map(|parcel| parcel.id)
            .collect();
        taken.sort_unstable();
        assert_eq!(taken, [2, 3, 4]);
        assert_eq!(lanes.len(), 2);
        assert_eq!(lanes.next_wake(), None);
        assert_eq!(next(&mut lanes, 0), Some(5));
        lanes.finish("a");
        lanes.finish("c");
        assert!(lanes.lanes.is_empty());
    }

    #[test]
    fn a_probe_is_what_was_not_turned_away_before_or_long_ago() {
        let mut lanes = Lanes::default();
        for (id, callid) in [(1, "a"), (2, "b"), (3, "c")] {
            lanes.push(parcel(id, callid), Haste::Live);
        }
        let mut probe = |turned_away: &[(u64, u64)]| {
            let known = |id| {
                turned_away
                    .iter()
                    .find(|known| known.0 == id)
                    .map(|known| known.1)
            };
            let parcel = lanes.next_probe(9, known).unwrap();
            lanes.rest(&parcel.draft.callid, 9);
            parcel.id
        };
        assert_eq!(probe(&[]), 1);
        assert_eq!(probe(&[(1, 5)]), 2);
        assert_eq!(probe(&[(1, 5), (2, 6)]), 3);
        assert_eq!(probe(&[(1, 8), (2, 6), (3, 7)]), 2);
    }

    #[test]
    fn put_back_loses_no_place() {
        let mut lanes = Lanes::default();
        lanes.push(parcel(1, "a"), Haste::Live);
        lanes.push(parcel(2, "b"), Haste::Live);
        assert_eq!(next(&mut lanes, 0), Some(1));
        lanes.put_back("a");
        assert_eq!(next(&mut lanes, 0), Some(1));
    }

    #[test]
    fn what_is_late_comes_last_and_only_if_it_may() {
        let mut lanes = Lanes::default();
        for (id, callid) in [(1, "old"), (5, "older than the backlog"), (50, "fresh")] {
            lanes.push(parcel(id, callid), Haste::Live);
        }
        lanes.push(parcel(40, "read back"), Haste::Backlog);
        assert_eq!(next(&mut lanes, 0), Some(1));
        // One that is under way and one that waits become late.
        lanes.age(6);
        lanes.put_back("old");
        let of = |lanes: &mut Lanes| lanes.next(0, false).map(|parcel| parcel.id);
        assert_eq!(
            (of(&mut lanes), of(&mut lanes), of(&mut lanes)),
            (Some(50), Some(40), None)
        );
        assert!(lanes.is_first_late());
        assert_eq!((next(&mut lanes, 0), next(&mut lanes, 0)), (Some(1), Some(5)));
    }

    #[test]
    fn late_lanes_are_let_go_whole_and_only_beyond_a_number() {
        let mut lanes = Lanes::default();
        for (id, callid) in [
            (1, "read"),
            (11, "late"),
            (12, "late"),
            (13, "resting"),
            (14, "under way"),
            (15, "goes on"),
            (90, "goes on"),
        ] {
            lanes.push(parcel(id, callid), Haste::Live);
        }
        assert_eq!((next(&mut lanes, 0), next(&mut lanes, 0)), (Some(1), Some(11)));
        assert_eq!((next(&mut lanes, 0), next(&mut lanes, 0)), (Some(13), Some(14)));
        lanes.put_back("read");
        lanes.put_back("late");
        lanes.rest("resting", 1_000);
        assert_eq!(lanes.let_go(10, 50), 0, "nothing is late yet");
        lanes.age(50);
        assert_eq!(lanes.let_go(10, 50), 3);
        assert_eq!((lanes.len(), lanes.next_wake()), (4, None));
        lanes.finish("under way");
        assert_eq!(
            (next(&mut lanes, 0), next(&mut lanes, 0), next(&mut lanes, 0)),
            (Some(1), Some(15), None)
        );
    }
}
