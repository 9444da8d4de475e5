//! How long a channel has talked, rung and lived: the arithmetic behind CALL_DURATION.
//!
//! Invariants:
//! - talk is the time between entering and leaving bridges, summed over every entry, as the CEL table's BRIDGE_ENTER and
//!   BRIDGE_EXIT would give it; a bridge that is not left yet counts up to now;
//! - no sum is ever negative, in whatever order messages come and whatever the clock does;
//! - what has ended is known for [`Durations::KEPT`] and at most [`Durations::MOST_ENDED`] times over; the oldest leaves
//!   first.

use std::collections::{HashMap, VecDeque};

/// A moment: microseconds since 1970, as stasis stamps its messages.
pub type Micros = u64;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Time in bridges.
    Talk,
    /// Time between the beginning of ringing and the answer or the end.
    Ring,
    /// Time between creation and hangup.
    Total,
}

/// The second argument of CALL_DURATION: what, and whether in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// What is asked for.
    pub what: What,
    /// Milliseconds instead of whole seconds.
    pub milliseconds: bool,
}

impl Question {
    /// Reads the argument; empty means talk in seconds.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub fn parse(word: &str) -> Result<Self, String> {
        let word = word.trim();
        let (name, milliseconds) = word
            .strip_suffix("_ms")
            .map_or((word, false), |name| (name, true));
        let what = match name {
            "" if !milliseconds => What::Talk,
            "talk" => What::Talk,
            "ring" => What::Ring,
            "total" => What::Total,
            _ => {
                return Err(format!(
                    "'{word}' is not known: expected talk, ring or total, each with _ms or without"
                ));
            }
        };
        Ok(Self { what, milliseconds })
    }

    /// A duration in the unit that was asked for; a begun second does not count.
    #[must_use]
    pub fn show(self, duration: Micros) -> u64 {
        if self.milliseconds {
            duration / 1_000
        } else {
            duration / 1_000_000
        }
    }
}

/// A stretch of time that may be open at its end, and what came before it.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    whole: Micros,
    since: Option<Micros>,
}

impl Sum {
    fn begin(&mut self, at: Micros) {
        // A second beginning without an end between them changes nothing.
        self.since.get_or_insert(at);
    }

    fn end(&mut self, at: Micros) {
        if let Some(since) = self.since.take() {
            self.whole += at.saturating_sub(since);
        }
    }

    fn up_to(&self, now: Micros) -> Micros {
        self.whole + self.since.map_or(0, |since| now.saturating_sub(since))
    }
}

/// One channel.
#[derive(Clone, Copy, Debug, Default)]
struct Life {
    talk: Sum,
    ring: Sum,
    total: Sum,
}

/// Every channel that lives or has ended lately, by uniqueid.
#[derive(Debug, Default)]
pub struct Durations {
    lives: HashMap<Box<str>, Life>,
    ended: VecDeque<(Micros, Box<str>)>,
}

impl Durations {
    /// How long an ended channel is known: an hour.
    pub const KEPT: Micros = 3_600 * 1_000_000;
    /// How many ended channels are known at most.
    pub const MOST_ENDED: usize = 20_000;

    /// The channel was created.
    pub fn created(&mut self, uniqueid: &str, at: Micros) {
        self.living(uniqueid, at);
    }

    /// The channel rings, or is rung for: its state is Ring or Ringing.
    pub fn ringing(&mut self, uniqueid: &str, at: Micros) {
        if let Some(life) = self.living(uniqueid, at) {
            life.ring.begin(at);
        }
    }

    /// The channel was answered.
    pub fn answered(&mut self, uniqueid: &str, at: Micros) {
        if let Some(life) = self.living(uniqueid, at) {
            life.ring.end(at);
        }
    }

    /// The channel entered a bridge.
    pub fn entered(&mut self, uniqueid: &str, at: Micros) {
        if let Some(life) = self.living(uniqueid, at) {
            life.talk.begin(at);
        }
    }

    /// The channel left a bridge.
    pub fn left(&mut self, uniqueid: &str, at: Micros) {
        if let Some(life) = self.lives.get_mut(uniqueid) {
            life.talk.end(at);
        }
    }

    /// The channel is gone.
    pub fn ended(&mut self, uniqueid: &str, at: Micros) {
        let Some(life) = self.lives.get_mut(uniqueid) else {
            return;
        };
        life.talk.end(at);
        life.ring.end(at);
        if life.total.since.is_some() {
            life.total.end(at);
            self.ended.push_back((at, uniqueid.into()));
        }
        self.forget(at);
    }

    /// A duration; `None` when the channel is not known.
    #[must_use]
    pub fn of(&self, uniqueid: &str, what: What, now: Micros) -> Option<Micros> {
        let life = self.lives.get(uniqueid)?;
        Some(match what {
            What::Talk => life.talk.up_to(now),
            What::Ring => life.ring.up_to(now),
            What::Total => life.total.up_to(now),
        })
    }

    /// How many channels are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lives.len()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lives.is_empty()
    }

    /// The channel's life, which begins now if nothing was known of it; `None` when it has ended. Messages of different
    /// topics may overtake each other, and one that comes late must not open a sum that nothing would ever close.
    fn living(&mut self, uniqueid: &str, at: Micros) -> Option<&mut Life> {
        if !self.lives.contains_key(uniqueid) {
            let mut life = Life::default();
            life.total.begin(at);
            self.lives.insert(uniqueid.into(), life);
        }
        self.lives
            .get_mut(uniqueid)
            .filter(|life| life.total.since.is_some())
    }

    fn forget(&mut self, now: Micros) {
        while let Some((at, _)) = self.ended.front() {
            if self.ended.len() <= Self::MOST_ENDED && now.saturating_sub(*at) <= Self::KEPT {
                return;
            }
            if let Some((_, uniqueid)) = self.ended.pop_front() {
                self.lives.remove(&uniqueid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Durations, Question, What};

    const SECOND: u64 = 1_000_000;

    fn of(durations: &Durations, what: What, now: u64) -> Option<u64> {
        durations
            .of("c", what, now * SECOND)
            .map(|micros| micros / SECOND)
    }

    #[test]
    fn time_in_bridges_is_summed_over_every_entry() {
        let mut durations = Durations::default();
        durations.created("c", 100 * SECOND);
        durations.ringing("c", 101 * SECOND);
        durations.answered("c", 105 * SECOND);
        durations.entered("c", 106 * SECOND);
        assert_eq!(
            of(&durations, What::Talk, 110),
            Some(4),
            "a running call counts up to now"
        );
        durations.left("c", 116 * SECOND);
        assert_eq!(of(&durations, What::Talk, 120), Some(10));
        durations.entered("c", 130 * SECOND);
        durations.ended("c", 135 * SECOND);
        durations.left("c", 136 * SECOND);
        assert_eq!(of(&durations, What::Talk, 999), Some(15));
        assert_eq!(of(&durations, What::Ring, 999), Some(4));
        assert_eq!(of(&durations, What::Total, 999), Some(35));
    }

    #[test]
    fn unknown_channels_are_unknown_and_silence_is_zero() {
        let mut durations = Durations::default();
        assert_eq!(of(&durations, What::Talk, 1), None);
        durations.left("c", 1);
        durations.ended("c", 1);
        assert!(
            durations.is_empty(),
            "an end without a beginning makes nothing known"
        );
        durations.entered("x", 1);
        durations.ended("x", 2);
        durations.entered("x", 3);
        assert_eq!(
            durations.of("x", What::Talk, 100),
            Some(1),
            "what comes after the end changes nothing"
        );
        assert_eq!(durations.ended.len(), 1);
        durations.created("c", SECOND);
        assert_eq!(of(&durations, What::Talk, 9), Some(0));
        assert_eq!(of(&durations, What::Ring, 9), Some(0));
    }

    #[test]
    fn a_clock_that_goes_back_makes_nothing_negative() {
        let mut durations = Durations::default();
        durations.created("c", 100 * SECOND);
        durations.entered("c", 100 * SECOND);
        assert_eq!(of(&durations, What::Talk, 50), Some(0));
        durations.left("c", 50 * SECOND);
        durations.ended("c", 40 * SECOND);
        assert_eq!(of(&durations, What::Total, 10), Some(0));
    }

    #[test]
    fn what_has_ended_is_known_for_an_hour_and_within_a_bound() {
        let mut durations = Durations::default();
        durations.created("c", 0);
        durations.ended("c", SECOND);
        durations.created("d", SECOND);
        durations.ended("d", SECOND + Durations::KEPT);
        assert!(of(&durations, What::Total, 2).is_some());
        durations.created("e", SECOND);
        durations.ended("e", 2 * SECOND + Durations::KEPT);
        assert_eq!(of(&durations, What::Total, 2), None);
        assert_eq!(durations.len(), 2);
        for n in 0..Durations::MOST_ENDED + 10 {
            let uniqueid = n.to_string();
            durations.created(&uniqueid, 2 * SECOND + Durations::KEPT);
            durations.ended(&uniqueid, 2 * SECOND + Durations::KEPT);
        }
        assert_eq!(durations.len(), Durations::MOST_ENDED);
        assert_eq!(durations.ended.len(), Durations::MOST_ENDED);
    }

    #[test]
    fn the_argument_is_read() {
        let parse = |word: &str| Question::parse(word).map(|question| (question.what, question.milliseconds));
        assert_eq!(parse(""), Ok((What::Talk, false)));
        assert_eq!(parse(" ring_ms "), Ok((What::Ring, true)));
        assert_eq!(parse("total"), Ok((What::Total, false)));
        for wrong in ["_ms", "talking", "ms"] {
            assert!(parse(wrong).unwrap_err().contains(wrong));
        }
        let show = |word: &str| Question::parse(word).unwrap().show(1_999_999);
        assert_eq!((show("talk"), show("talk_ms")), (1, 1_999));
    }
}
