//! The stasis subscriber: follows every channel through ringing, bridges and its end.
//!
//! Invariant: it runs on one thread of Asterisk's, takes one lock for as long as a table is changed, and waits for nothing
//! else.

use std::sync::PoisonError;

use super::state;
use crate::ast::stasis::{Event, Record, Snapshot, State, Subscriber};
use crate::core::durations::{Durations, Micros};

pub(super) struct Follower;

impl Subscriber for Follower {
    fn record(record: Record<'_>) {
        let Some(state) = state::current() else { return };
        let mut durations = state
            .lasting
            .durations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        note(&mut durations, &record);
    }
}

fn note(durations: &mut Durations, record: &Record<'_>) {
    let at = micros(record.time);
    match record.event {
        Event::Running { channel, bridge } => {
            begin(durations, &channel, at);
            // When it entered is not known: time in this bridge counts from now.
            if bridge.is_some() {
                durations.entered(&uniqueid(&channel), at);
            }
        }
        Event::ChannelCreated { channel } => begin(durations, &channel, at),
        Event::ChannelChanged { channel, changes, .. } if changes.state() => {
            rings_or_talks(durations, &channel, at);
        }
        Event::ChannelGone { channel } => durations.ended(&uniqueid(&channel), at),
        Event::BridgeEntered { channel, .. } => durations.entered(&uniqueid(&channel), at),
        Event::BridgeLeft { channel, .. } => durations.left(&uniqueid(&channel), at),
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
