//! Which fault comes when: drawn from a seed, so that the same can be played again.
//!
//! Invariants: one seed and one length give one schedule; two faults that take hold of the same part do not overlap; every
//! fault ends within the length; none comes a third time before every other has come once, as far as there is room.

use std::time::Duration;

use fastrand::Rng;

use crate::fault::{Fault, Part};

/// Until the first, so that there is something to disturb.
const QUIET: u64 = 3_000;
/// Between the beginnings of two, in milliseconds.
const PAUSE: std::ops::Range<u64> = 900..2_400;
/// How long one lasts.
const LASTS: std::ops::Range<u64> = 1_500..5_000;
/// A part rests so long between two faults: what the first has caused is to come to an end.
const REST: u64 = 1_000;
/// Between two restarts of the module there is some time for calls to be followed.
const LIFE: u64 = 4_000;

/// A fault and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    /// What.
    pub(crate) fault: Fault,
    /// When it begins, from the start.
    pub(crate) at: Duration,
    /// When it ends.
    pub(crate) until: Duration,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The fault of that number begins.
    Begin(usize),
    /// It ends.
    End(usize),
}

/// The schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    planned: Vec<Planned>,
}

impl Schedule {
    /// Draws one of that length among the faults for which there is what they need.
    pub(crate) fn draw(seed: u64, length: Duration, faults: &[Fault]) -> Self {
        let mut rng = Rng::with_seed(seed);
        let end = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        let mut planned: Vec<Planned> = Vec::new();
        let mut deck: Vec<Fault> = Vec::new();
        let mut at = QUIET;
        while at < end {
            if deck.is_empty() {
                deck = faults.to_vec();
                rng.shuffle(&mut deck);
            }
            let lasts = rng.u64(LASTS);
            // The next of the deck for which there is room now; the others keep their turn.
            let fits =
                |fault: &Fault| free_from(&planned, *fault) <= at && at + length_of(*fault, lasts) <= end;
            if let Some(place) = deck.iter().rposition(fits) {
                let fault = deck.remove(place);
                planned.push(Planned {
                    fault,
                    at: Duration::from_millis(at),
                    until: Duration::from_millis(at + length_of(fault, lasts)),
                });
            }
            at += rng.u64(PAUSE);
        }
        Self { planned }
    }

    /// The faults in the order of their beginnings.
    pub(crate) fn planned(&self) -> &[Planned] {
        &self.planned
    }

    /// What is to be done, in the order of time.
    pub(crate) fn steps(&self) -> Vec<(Duration, Step)> {
        let mut steps: Vec<(Duration, Step)> = Vec::new();
        for (number, planned) in self.planned.iter().enumerate() {
            steps.push((planned.at, Step::Begin(number)));
            if !planned.fault.is_blow() {
                steps.push((planned.until, Step::End(number)));
            }
        }
        // An end goes before a beginning of the same moment.
        steps.sort_by_key(|(at, step)| (*at, matches!(step, Step::Begin(_))));
        steps
    }
}

fn length_of(fault: Fault, lasts: u64) -> u64 {
    match fault {
        Fault::Kill => 0,
        // The module is away meanwhile.
        Fault::Module => lasts / 4,
        _ => lasts,
    }
}

/// From when on a fault would be the only one that lays a hand on its parts.
fn free_from(planned: &[Planned], fault: Fault) -> u64 {
    let shared = |other: &Fault| {
        let parts = other.parts().iter().filter(|part| fault.parts().contains(part));
        let rests = parts.map(|part| if *part == Part::Running { LIFE } else { REST });
        rests.max()
    };
    let ends = planned.iter().filter_map(|other| {
        let until = u64::try_from(other.until.as_millis()).unwrap_or(u64::MAX);
        shared(&other.fault).map(|rest| until + rest)
    });
    ends.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const SEEDS: u64 = 60;

    #[test]
    fn a_seed_gives_one_schedule() {
        let draw = |seed| Schedule::draw(seed, MINUTE, Fault::ALL);
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn no_two_take_hold_of_the_same_part() {
        for seed in 0..SEEDS {
            let schedule = Schedule::draw(seed, 5 * MINUTE, Fault::ALL);
            let planned = schedule.planned();
            for (number, one) in planned.iter().enumerate() {
                for other in &planned[number + 1..] {
                    let shares = one
                        .fault
                        .parts()
                        .iter()
                        .any(|part| other.fault.parts().contains(part));
                    assert!(
                        !shares || one.until < other.at,
                        "seed {seed}: {} and {}",
                        one.fault,
                        other.fault
                    );
                }
            }
        }
    }

    #[test]
    fn all_end_in_time_and_each_has_its_turn() {
        for seed in 0..SEEDS {
            let schedule = Schedule::draw(seed, 5 * MINUTE, Fault::ALL);
            assert!(
                schedule
                    .planned()
                    .iter()
                    .all(|planned| planned.until <= 5 * MINUTE)
            );
            let mut times: BTreeMap<Fault, u32> = BTreeMap::new();
            for planned in schedule.planned() {
                *times.entry(planned.fault).or_default() += 1;
            }
            assert_eq!(times.len(), Fault::ALL.len(), "seed {seed}: {times:?}");
        }
    }

    #[test]
    fn a_minute_holds_two_dozen_and_a_kill_or_an_unload() {
        for seed in 0..SEEDS {
            let schedule = Schedule::draw(seed, MINUTE, Fault::ALL);
            let planned = schedule.planned();
            assert!(planned.len() >= 20, "seed {seed}: {}", planned.len());
            let running = |planned: &&Planned| planned.fault.parts().contains(&Part::Running);
            assert!(planned.iter().filter(running).count() >= 3, "seed {seed}");
            let restarts = planned
                .iter()
                .filter(|planned| matches!(planned.fault, Fault::Kill | Fault::Module | Fault::Names(_)));
            assert!(restarts.count() > 0, "seed {seed}");
        }
    }

    #[test]
    fn what_begins_ends_and_a_blow_needs_no_end() {
        let schedule = Schedule::draw(3, 5 * MINUTE, Fault::ALL);
        let steps = schedule.steps();
        assert!(steps.is_sorted_by_key(|(at, _)| *at));
        for (number, planned) in schedule.planned().iter().enumerate() {
            let of = |wanted| steps.iter().position(|(_, step)| *step == wanted);
            let (begin, end) = (of(Step::Begin(number)), of(Step::End(number)));
            assert!(begin.is_some());
            assert_eq!(end.is_none(), planned.fault.is_blow());
            assert!(end.is_none_or(|end| Some(end) > begin));
        }
    }

    #[test]
    fn only_those_come_for_which_there_is_what_they_need() {
        let some: Vec<Fault> = Fault::ALL
            .iter()
            .copied()
            .filter(|fault| *fault != Fault::DiskFull)
            .collect();
        let schedule = Schedule::draw(1, 5 * MINUTE, &some);
        assert!(
            schedule
                .planned()
                .iter()
                .all(|planned| planned.fault != Fault::DiskFull)
        );
    }
}
