//! The stasis subscriber: times every channel, and hands what happens to the thread that follows calls.
//!
//! Invariant: it runs on one thread of Asterisk's, copies, takes one lock for as long as a table is changed, and waits for
//! nothing else.

use std::ffi::CStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::state;
use crate::ast::stasis::{
    Bridge, Changes, DialPhase, Event, Parking, Record, Snapshot, State, Subscriber, Transfer,
};
use crate::core::durations::{Durations, Micros};
use crate::core::histogram::Histogram;
use crate::core::record::{self, Channel, Phase, RECORDING, Stage, Text, What};

pub(super) struct Follower;

/// What stasis messages take of Asterisk's thread.
pub(super) struct Costs {
    pub(super) all: Histogram,
    /// The same of those that became records, which are fewer and cost more.
    pub(super) records: Histogram,
}

/// Since the load. It has a place of its own, because most messages are passed over and need nothing else of ours.
pub(super) static COSTS: Costs = Costs {
    all: Histogram::new(),
    records: Histogram::new(),
};

impl Costs {
    /// From now on.
    pub(super) fn start_over(&self) {
        self.all.clear();
        self.records.clear();
    }
}

impl Subscriber for Follower {
    const APPLICATIONS: &'static [&'static CStr] = &TELLING;

    fn passed(cost: Duration) {
        COSTS.all.note(cost);
    }

    fn record(record: Record<'_>) {
        let Some(state) = state::current() else { return };
        note(&state.lasting.durations, &record);
        let mut taken = false;
        if let Some(calls) = state.calls.as_ref().filter(|calls| calls.listens()) {
            if let Event::VariableSet { channel, name, .. } = record.event
                && calls.is_told_of_recordings_by(name)
            {
                calls.take(recorded(&record, &channel));
            }
            if let Some(record) = copy(&record, |name| calls.wants(name)) {
                calls.take(record);
                taken = true;
            }
        }
        let cost = record.cost();
        COSTS.all.note(cost);
        if taken {
            COSTS.records.note(cost);
        }
    }
}

fn note(durations: &Mutex<Durations>, record: &Record<'_>) {
    let at = micros(record.time);
    let lock = || durations.lock().unwrap_or_else(PoisonError::into_inner);
    match record.event {
        Event::Running { channel, bridge } => {
            let mut durations = lock();
            begin(&mut durations, &channel, at);
            // When it entered is not known: time in this bridge counts from now.
            if bridge.is_some() {
                durations.entered(&uniqueid(&channel), at);
            }
        }
        Event::ChannelCreated { channel } => begin(&mut lock(), &channel, at),
        Event::ChannelChanged { channel, changes } if changes.holds(Changes::STATE) => {
            rings_or_talks(&mut lock(), &channel, at);
        }
        Event::ChannelGone { channel } => lock().ended(&uniqueid(&channel), at),
        Event::BridgeEntered { channel, .. } => lock().entered(&uniqueid(&channel), at),
        Event::BridgeLeft { channel, .. } => lock().left(&uniqueid(&channel), at),
        _ => {}
    }
}

fn begin(durations: &mut Durations, channel: &Snapshot<'_>, at: Micros) {
    let created = micros(channel.created());
    durations.created(&uniqueid(channel), if created == 0 { at } else { created });
    rings_or_talks(durations, channel, at);
}

fn rings_or_talks(durations: &mut Durations, channel: &Snapshot<'_>, at: Micros) {
    match channel.state() {
        State::Ring | State::Ringing => durations.ringing(&uniqueid(channel), at),
        State::Up => durations.answered(&uniqueid(channel), at),
        _ => {}
    }
}

fn uniqueid<'a>(channel: &Snapshot<'a>) -> std::borrow::Cow<'a, str> {
    String::from_utf8_lossy(channel.uniqueid())
}

/// Asterisk's times are signed; one before 1970 is none.
fn micros(time: i64) -> Micros {
    Micros::try_from(time).unwrap_or(0)
}

// ---- the copy -----------------------------------------------------------------------------------------------------------

/// Applications that say something about a call; the others come and go with every line of the dialplan.
const TELLING: [&CStr; 6] = [
    c"Dial",
    c"Queue",
    c"VoiceMail",
    c"MinivmRecord",
    c"FollowMe",
    c"ConfBridge",
];
/// Only Dial()'s arguments are looked at, and the names of the devices stand at their beginning.
const MOST_DATA: usize = 512;

/// The record as a value of its own. `None` for what nobody needs.
pub(super) fn copy(record: &Record<'_>, wants: impl Fn(&[u8]) -> bool) -> Option<record::Record> {
    let what = match record.event {
        Event::Running {
            channel: snapshot,
            bridge: place,
        } => What::Running {
            channel: channel(&snapshot),
            bridge: place.as_ref().map(bridge),
        },
        Event::CaughtUp => What::CaughtUp,
        Event::ChannelCreated { channel: snapshot } => What::Created {
            channel: channel(&snapshot),
        },
        Event::ChannelChanged {
            channel: snapshot, ..
        } => What::Changed {
            channel: channel(&snapshot),
        },
        Event::ChannelGone { channel: snapshot } => What::Gone {
            channel: channel(&snapshot),
        },
        Event::BridgeEntered {
            channel: snapshot,
            bridge: place,
            swapped,
        } => What::Entered {
            channel: channel(&snapshot),
            bridge: bridge(&place),
            swapped: swapped.map(text),
        },
        Event::BridgeLeft {
            channel: snapshot,
            bridge: place,
        } => What::Left {
            channel: channel(&snapshot),
            bridge: bridge(&place),
        },
        Event::Dial {
            phase,
            status,
            caller,
            peer,
            dial_string,
            forward,
            forwarded,
        } => What::Dial {
            phase: match phase {
                DialPhase::Begin => Phase::Begin,
                DialPhase::Progress => Phase::Progress,
                DialPhase::End => Phase::End,
            },
            status: text(status),
            caller: caller.as_ref().map(boxed),
            peer: channel(&peer),
            dial_string: text(dial_string),
            forward: text(forward),
            forwarded: forwarded.as_ref().map(boxed),
        },
        Event::BlindTransfer {
            outcome,
            transferer,
            transferee,
            exten,
            context,
            ..
        } => What::BlindTransfer {
            success: outcome == Transfer::Success,
            transferer: channel(&transferer),
            transferee: transferee.as_ref().map(boxed),
            exten: text(exten),
            context: text(context),
        },
        Event::AttendedTransfer {
            outcome,
            transferer,
            consulting,
            transferee,
            target,
            ..
        } => What::AttendedTransfer {
            success: outcome == Transfer::Success,
            transferer: channel(&transferer),
            consulting: boxed(&consulting),
            transferee: transferee.as_ref().map(boxed),
            target: target.as_ref().map(boxed),
        },
        Event::Pickup {
            channel: snapshot,
            target,
        } => What::Pickup {
            channel: channel(&snapshot),
            target: boxed(&target),
        },
        Event::Hold {
            channel: snapshot, ..
        } => What::Hold {
            channel: channel(&snapshot),
        },
        Event::Unhold { channel: snapshot } => What::Unhold {
            channel: channel(&snapshot),
        },
        Event::Parking {
            what,
            parkee,
            retriever,
            ..
        } => What::Parking {
            what: parking(what).into(),
            parkee: channel(&parkee),
            retriever: retriever.as_ref().map(boxed),
        },
        Event::Recording { channel: snapshot } => return Some(recorded(record, &snapshot)),
        Event::VariableSet {
            channel: snapshot,
            name,
            value,
        } => {
            if !wants(name) {
                return None;
            }
            What::Variable {
                uniqueid: text(snapshot.uniqueid()),
                linkedid: text(snapshot.linkedid()),
                name: text(name),
                value: text(value),
            }
        }
    };
    Some(record::Record {
        time: micros(record.time),
        what,
    })
}

/// Where a channel is recorded to stands in a variable of it, which must not be asked for here: it has a lock. Until the thread
/// that follows calls has asked, the path is empty.
fn recorded(record: &Record<'_>, channel: &Snapshot<'_>) -> record::Record {
    record::Record {
        time: micros(record.time),
        what: What::Variable {
            uniqueid: text(channel.uniqueid()),
            linkedid: text(channel.linkedid()),
            name: RECORDING.into(),
            value: Text::default(),
        },
    }
}

fn text(bytes: &[u8]) -> Text {
    str::from_utf8(bytes).map_or_else(|_| Text::from_utf8_lossy(bytes), Text::new)
}

fn bridge(bridge: &Bridge<'_>) -> record::Bridge {
    record::Bridge {
        uniqueid: text(bridge.uniqueid()),
        technology: text(bridge.technology()),
    }
}

fn parking(what: Parking) -> &'static str {
    match what {
        Parking::Parked => "parked",
        Parking::TimedOut => "timed-out",
        Parking::GaveUp => "gave-up",
        Parking::Retrieved => "retrieved",
        Parking::Failed => "failed",
        Parking::Swapped => "swapped",
    }
}

/// For the side of a record that few records have.
fn boxed(snapshot: &Snapshot<'_>) -> Box<Channel> {
    Box::new(channel(snapshot))
}

fn channel(snapshot: &Snapshot<'_>) -> Channel {
    let application = snapshot.application();
    let telling = TELLING.iter().any(|name| name.to_bytes() == application);
    let data = if telling { snapshot.application_data() } else { b"" };
    Channel {
        uniqueid: text(snapshot.uniqueid()),
        linkedid: text(snapshot.linkedid()),
        name: text(snapshot.name()),
        stage: match snapshot.state() {
            State::Down | State::Reserved => Stage::Down,
            State::Ring => Stage::Ring,
            State::Ringing => Stage::Ringing,
            State::Up => Stage::Up,
            State::OffHook | State::Dialing | State::Busy | State::Other => Stage::Other,
        },
        caller: text(snapshot.caller_number()),
        connected: text(snapshot.connected_number()),
        dialed: text(snapshot.dialed()),
        rdnis: text(snapshot.rdnis()),
        restricted: snapshot.caller_restricted(),
        context: text(snapshot.context()),
        exten: text(snapshot.exten()),
        application: if telling {
            text(application)
        } else {
            Text::default()
        },
        data: text(&data[..data.len().min(MOST_DATA)]),
        cause: snapshot.hangup_cause(),
        created: micros(snapshot.created()),
    }
}
