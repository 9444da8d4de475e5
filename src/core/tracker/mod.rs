//! From what happens to channels to what the CRM is told.
//!
//! Invariants:
//! - every card that is opened is closed exactly once, whatever comes in whatever order;
//! - what is told follows from who is joined with whom *now*, not from the way there: transfers, pickups, parking and
//!   Local channels need no rules of their own;
//! - nothing is kept of a call once its last channel is gone.
//!
//! The rules for what the protocol leaves open stand in ARCHITECTURE.md.

mod beginning;
pub mod call;
mod dialing;
pub mod party;
mod recordings;
mod records;
mod settling;
pub mod story;
pub mod world;

use std::collections::BTreeMap;
use std::fmt::Arguments;
use std::sync::Arc;

use self::call::{Call, Progress};
use self::world::{Id, World};
use super::direction::Direction;
use super::draft::{Draft, Kind};
use super::durations::Micros;
use super::open_card::OpenCard;
use super::record::{Record, Text, bare};
use super::recording::{News, promises};
use super::settings::Calls;

/// How long a card stays on the screen of a phone that does not ring, while the client waits for another round.
const LINGER: Micros = 30 * 1_000_000;

/// Something that comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Requests, all or none of which are to be accepted.
    Tell(Vec<Draft>),
    /// A client whose number is known calls: it is time to ask the CRM for him.
    Inbound {
        /// His number in the CRM's form.
        phone: Text,
    },
    /// What becomes known of a call's recordings, in its place among what is told.
    Recording(News),
    /// A call has ended, and this is what happened in it.
    Ended {
        /// Its linkedid.
        linkedid: String,
        /// The unique ids of its channels.
        channels: Vec<String>,
        /// When it began: microseconds since 1970.
        began: Micros,
        /// What happened.
        text: String,
    },
}

/// Follows every call.
#[derive(Debug, Default)]
pub struct Tracker {
    settings: Arc<Calls>,
    world: World,
    // Boxed, as all that is many: a node of the map has room for eleven.
    calls: BTreeMap<u64, Box<Call>>,
    next: u64,
    now: Micros,
    following: bool,
    winding_up: bool,
    resumed: Vec<OpenCard>,
    output: Vec<Output>,
}

impl Tracker {
    /// One that knows of no channel. `open` are the cards that were left open by the one before.
    #[must_use]
    pub fn new(settings: Arc<Calls>, open: Vec<OpenCard>) -> Self {
        Self {
            settings,
            resumed: open,
            ..Self::default()
        }
    }

    /// Takes new settings over. Calls that are running keep their direction, their phone and whose channels are whose.
    pub fn configure(&mut self, settings: Arc<Calls>) {
        self.settings = settings;
    }

    /// Calls that begin from now on are told by somebody else; those that are running are told to their end.
    pub fn wind_up(&mut self) {
        self.winding_up = true;
    }

    /// The callids of the running calls that are told by this tracker.
    pub fn told(&self) -> impl Iterator<Item = &Id> {
        let told = self.calls().filter(|call| !call.silent);
        told.map(|call| &call.callid)
    }

    /// The channel variables whose [`Variable`](super::record::What::Variable) it wants.
    pub fn variables(settings: &Calls) -> impl Iterator<Item = &str> {
        settings.data.iter().map(|(_, variable)| bare(variable))
    }

    /// What came out since the last time.
    pub fn take(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.output)
    }

    /// The spool had no room for this: it is owed, and goes before the card's end.
    pub fn refused(&mut self, drafts: &[Draft]) {
        for draft in drafts {
            if let Some(call) = self.calls.values_mut().find(|call| *call.callid == *draft.callid) {
                call.owe(draft);
            }
        }
    }

    /// The calls with clients that are running.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.calls.values().map(|call| &**call)
    }

    /// The linkedid of a running call, clients' or not, and what happened in it, by its linkedid or the unique id of one of its
    /// channels.
    #[must_use]
    pub fn explain(&self, id: &str) -> Option<(String, Micros, String)> {
        let (linkedid, group) = self.world.groups().find(|(linkedid, group)| {
            ***linkedid == *id
                || group.seen.iter().any(|seen| **seen == *id)
                || group.callids.iter().any(|callid| **callid == *id)
        })?;
        Some((linkedid.to_string(), group.story.began(), group.story.text()))
    }

    /// The callids under which the CRM was told of this running call.
    #[must_use]
    pub fn callids(&self, linkedid: &str) -> Vec<String> {
        let group = self.world.group(linkedid);
        let callids = group.into_iter().flat_map(|group| &group.callids);
        callids.map(ToString::to_string).collect()
    }

    /// The channels of clients with this number who have called and whom somebody may still look at: their unique ids.
    pub fn callers<'a>(&'a self, phone: &'a str) -> impl Iterator<Item = &'a Id> {
        let calls = self.calls.values();
        let calls = calls.filter(move |call| call.direction == Direction::In && *call.phone == *phone);
        calls.flat_map(|call| &call.clients)
    }

    /// How many channels are known.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.world.len()
    }

    /// Whether nothing is known of any channel or call.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.world.is_empty() && self.calls.is_empty() && self.resumed.is_empty()
    }

    /// Time passes: to be called about once a second.
    pub fn tick(&mut self, now: Micros) {
        self.now = now;
        let keys: Vec<u64> = self.calls.keys().copied().collect();
        for key in keys {
            self.with_call(key, |tracker, call, data| {
                let lingering: Vec<Text> = call
                    .cards
                    .iter()
                    .filter(|card| card.progress == Progress::Open && call.direction == Direction::In)
                    .filter(|card| {
                        card.idle_since
                            .is_some_and(|since| now.saturating_sub(since) >= LINGER)
                    })
                    .map(|card| card.ext.clone())
                    .collect();
                for ext in lingering {
                    let told = call.close(&ext, "Cancelled", data, now);
                    tracker.tell(
                        call,
                        told,
                        "the phone has not rung for long, and the client still waits",
                    );
                }
            });
        }
    }

    /// Takes one record.
    pub fn record(&mut self, record: &Record) {
        self.now = record.time;
        let touched = self.apply(&record.what);
        self.settle(&touched);
    }

    fn note(&mut self, id: &Id, line: Arguments<'_>) {
        let at = self.now;
        if let Some(group) = self.world.line(id).map(|line| Arc::clone(&line.group)) {
            self.world.group_mut(&group).story.tell(at, line);
        }
    }

    fn tell(&mut self, call: &Call, drafts: impl IntoIterator<Item = Draft>, why: &str) {
        let drafts: Vec<Draft> = drafts.into_iter().collect();
        if let Some(group) = self.world.group(&call.group).map(|_| Arc::clone(&call.group)) {
            let at = self.now;
            let story = &mut self.world.group_mut(&group).story;
            for draft in &drafts {
                story.tell(at, format_args!("=> {}: {why}", summary(draft)));
            }
            if drafts.is_empty() {
                story.tell(at, format_args!("{why}"));
            }
        }
        if !drafts.is_empty() && !call.silent {
            let talk = |draft: &Draft| draft.kind == Kind::Accepted || promises(draft);
            if drafts.iter().any(talk) {
                self.tell_of_recordings(call);
            }
            self.output.push(Output::Tell(drafts));
        }
    }
}

/// `INCOMING 101`, `COMPLETED 101 Success, 12 s`.
fn summary(draft: &Draft) -> String {
    match draft.kind {
        Kind::Completed => format!(
            "{} {} {}, {} s",
            draft.kind,
            draft.ext,
            draft.field("status"),
            draft.field("duration")
        ),
        _ => format!("{} {}", draft.kind, draft.ext),
    }
}

fn line_group(world: &World, id: &Id) -> Id {
    world
        .line(id)
        .map_or_else(|| Arc::clone(id), |line| Arc::clone(&line.group))
}
