//! The calls with clients that are running, as a list for people and programs.

use super::direction::Direction;
use super::durations::Micros;
use super::tracker::Tracker;
use super::tracker::call::{Call, Card, Progress};

/// A call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The CRM's key.
    pub callid: String,
    /// `in` or `out`.
    pub direction: &'static str,
    /// The client's number.
    pub phone: String,
    /// The company's number; empty when it is not known.
    pub diversion: String,
    /// How long it has lasted, in seconds.
    pub seconds: u64,
    /// The employees' cards, in the order of their first appearance.
    pub cards: Vec<CardNow>,
}

/// An employee's card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardNow {
    /// The employee.
    pub ext: String,
    /// `rings` or, outbound, `calls`; `silent` when the phone does not ring any more; `talks`; `closed`.
    pub state: &'static str,
    /// For how long it is so; closed: how long he talked.
    pub seconds: u64,
}

/// All of them, the oldest first.
#[must_use]
pub fn running(tracker: &Tracker, now: Micros) -> Vec<Running> {
    let mut calls: Vec<&Call> = tracker.calls().collect();
    calls.sort_by_key(|call| call.began);
    let calls = calls.into_iter().map(|call| Running {
        callid: call.callid.to_string(),
        direction: call.direction.word(),
        phone: call.phone.to_string(),
        diversion: call.diversion.to_string(),
        seconds: seconds(now.saturating_sub(call.began)),
        cards: call.cards.iter().map(|card| state(call, card, now)).collect(),
    });
    calls.collect()
}

fn state(call: &Call, card: &Card, now: Micros) -> CardNow {
    let (state, time) = match (card.progress, card.idle_since) {
        (Progress::Open, Some(since)) => ("silent", now.saturating_sub(since)),
        (Progress::Open, None) if call.direction == Direction::Out => {
            ("calls", now.saturating_sub(card.opened))
        }
        (Progress::Open, None) => ("rings", now.saturating_sub(card.opened)),
        (Progress::Accepted, _) => ("talks", card.talk(now)),
        (Progress::Closed, _) => ("closed", card.talk(now)),
    };
    CardNow {
        ext: card.ext.to_string(),
        state,
        seconds: seconds(time),
    }
}

fn seconds(micros: Micros) -> u64 {
    micros / 1_000_000
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{CardNow, running};
    use crate::core::pattern::Patterns;
    use crate::core::record::{Bridge, Channel, Phase, Record, Stage, What};
    use crate::core::settings::Calls;
    use crate::core::tracker::Tracker;

    fn channel(id: &str, name: &str, stage: Stage) -> Channel {
        Channel {
            uniqueid: id.into(),
            linkedid: "1".into(),
            name: name.into(),
            stage,
            caller: "79101234567".into(),
            exten: "74951234501".into(),
            ..Channel::default()
        }
    }

    #[test]
    fn each_card_tells_what_its_employee_does() {
        let calls = Calls {
            internal: Patterns::parse("_1XX").unwrap(),
            ..Calls::default()
        };
        let mut tracker = Tracker::new(Arc::new(calls), Vec::new());
        let mut see = |second: u64, what| {
            tracker.record(&Record {
                time: second * 1_000_000,
                what,
            });
        };
        let client = |stage| channel("1", "PJSIP/trunk-00000001", stage);
        let phone = |id: &str, ext: &str, stage| channel(id, &format!("PJSIP/{ext}-0000000{id}"), stage);
        let dial = |phase, status: &str, peer| What::Dial {
            phase,
            status: status.into(),
            caller: Some(client(Stage::Ring).into()),
            peer,
            dial_string: "".into(),
            forward: "".into(),
            forwarded: None,
        };
        let bridge = Bridge {
            uniqueid: "b".into(),
            technology: "simple_bridge".into(),
        };
        see(100, What::CaughtUp);
        see(
            100,
            What::Created {
                channel: client(Stage::Ring),
            },
        );
        for (id, ext) in [("2", "101"), ("3", "102")] {
            see(
                101,
                What::Created {
                    channel: phone(id, ext, Stage::Down),
                },
            );
            see(101, dial(Phase::Begin, "", phone(id, ext, Stage::Down)));
            see(
                102,
                dial(Phase::Progress, "RINGING", phone(id, ext, Stage::Ringing)),
            );
        }
        see(
            105,
            dial(Phase::End, "NOANSWER", phone("3", "102", Stage::Ringing)),
        );
        see(
            105,
            What::Gone {
                channel: phone("3", "102", Stage::Ringing),
            },
        );
        let now = |ext: &str, state, seconds| CardNow {
            ext: ext.to_owned(),
            state,
            seconds,
        };
        let [call] = &running(&tracker, 109_500_000)[..] else {
            panic!("one call")
        };
        assert_eq!((&*call.callid, call.direction, call.seconds), ("1", "in", 9));
        assert_eq!((&*call.phone, &*call.diversion), ("79101234567", "74951234501"));
        assert_eq!(call.cards, [now("101", "rings", 7), now("102", "silent", 4)]);

        let mut see = |second: u64, what| {
            tracker.record(&Record {
                time: second * 1_000_000,
                what,
            });
        };
        for channel in [phone("2", "101", Stage::Up), client(Stage::Up)] {
            see(
                110,
                What::Entered {
                    channel,
                    bridge: bridge.clone(),
                    swapped: None,
                },
            );
        }
        let [call] = &running(&tracker, 130_000_000)[..] else {
            panic!("one call")
        };
        assert_eq!(call.cards, [now("101", "talks", 20), now("102", "closed", 0)]);
    }
}
