//! Which recordings are of which call.
//!
//! Invariants:
//! - a recording is of the calls in which its channel is the client's, the employee's who dialled or the Local channel's that
//!   dialled for him, or one's who talked; that of any other channel (half of a Local channel, a room) is of the calls that
//!   were there when it began. So nobody's recording comes to another client's card;
//! - it is told of when an employee talks with the client, before the end that promises it, and once for each call;
//! - the last channel's end says that nobody goes on with the files.

use std::sync::Arc;

use super::call::Call;
use super::world::{Group, Id};
use super::{Output, Tracker};
use crate::core::durations::Micros;
use crate::core::record::Text;
use crate::core::recording::News;

/// Recordings of one linkedid that are remembered: a conference that starts one anew every minute, all day.
const MOST: usize = 2_000;

/// A recording.
#[derive(Debug)]
pub struct Take {
    /// The channel that was recorded.
    line: Text,
    /// What the dialplan says of its place.
    said: Text,
    /// When it began.
    at: Micros,
    /// Some call's channel it was.
    is_of_a_call: bool,
    /// The callids for which it was told.
    told: Vec<Id>,
}

impl Tracker {
    /// MixMonitor() records this channel.
    pub(super) fn is_recorded(&mut self, uniqueid: &str, said: &Text) -> Vec<Id> {
        let Some((id, line)) = self.world.line_with_id(uniqueid) else {
            return Vec::new();
        };
        let (id, group, name) = (Arc::clone(id), Arc::clone(&line.group), line.channel.name.clone());
        let at = self.now;
        self.note(&id, format_args!("{name} is recorded to {said}"));
        let takes = &mut self.world.group_mut(&group).takes;
        if takes.len() < MOST
            && !takes
                .iter()
                .any(|take| take.said == *said && *take.line == *uniqueid)
        {
            takes.push(Take {
                line: uniqueid.into(),
                said: said.clone(),
                at,
                is_of_a_call: false,
                told: Vec::new(),
            });
        }
        vec![id]
    }

    /// Notes which channels are the call's, and whether it has a recording.
    pub(super) fn find_recordings(&mut self, call: &mut Call) {
        if self
            .world
            .group(&call.group)
            .is_none_or(|group| group.takes.is_empty())
        {
            return;
        }
        let talking = call.cards.iter().flat_map(|card| &card.lines);
        // After a click the dialplan runs on half of the Local channel to the employee, and records that (app_mixmonitor.c)
        // before it dials the client.
        let dialing = call
            .clients
            .iter()
            .filter_map(|client| self.world.line(client)?.dialer.as_ref());
        let lines: Vec<Id> = call
            .clients
            .iter()
            .chain(&call.root)
            .chain(talking)
            .chain(dialing)
            .filter(|line| !call.lines.contains(line))
            .cloned()
            .collect();
        call.lines.extend(lines);
        let group = self.world.group_mut(&call.group);
        for take in &mut group.takes {
            take.is_of_a_call |= call.lines.iter().any(|line| **line == *take.line);
        }
        call.recorded = group.takes.iter().any(|take| take.is_of(call));
        if call.taken {
            self.tell_of_recordings(call);
        }
    }

    /// Somebody talks with the client, or his talk is over: its recordings are told of first. Told at the end alone, that of a
    /// call which a crash cuts off would never be found.
    pub(super) fn tell_of_recordings(&mut self, call: &Call) {
        if !call.recorded || call.silent || self.world.group(&call.group).is_none() {
            return;
        }
        let group = self.world.group_mut(&call.group);
        if !group.promised.contains(&call.callid) {
            group.promised.push(Arc::clone(&call.callid));
        }
        for take in group.takes.iter_mut().filter(|take| take.is_of(call)) {
            if !take.told.contains(&call.callid) {
                take.told.push(Arc::clone(&call.callid));
                self.output.push(Output::Recording(take.news(&call.callid)));
            }
        }
    }

    /// The last channel of a linkedid is gone.
    pub(super) fn recordings_are_over(&mut self, group: &Group) {
        for callid in &group.promised {
            self.output.push(Output::Recording(News::Over {
                callid: callid.to_string(),
            }));
        }
    }
}

impl Take {
    fn is_of(&self, call: &Call) -> bool {
        call.lines.iter().any(|line| **line == *self.line) || (!self.is_of_a_call && self.at >= call.began)
    }

    fn news(&self, callid: &Id) -> News {
        News::Recorded {
            callid: callid.to_string(),
            said: self.said.to_string(),
            at: self.at / 1_000,
        }
    }
}
