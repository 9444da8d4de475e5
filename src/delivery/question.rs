//! What an operator can ask of the dispatcher, and what it answers.

use super::spool::{Listed, Replay};
use super::story::{Story, Told};
use crate::core::open_card::OpenCard;

/// A question or an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// The first pending events.
    Queue {
        /// How many.
        limit: usize,
    },
    /// The latest failed events.
    Failed {
        /// How many.
        limit: usize,
    },
    /// The latest delivered events.
    Delivered {
        /// How many.
        limit: usize,
    },
    /// Failed events go again: one, or all.
    Retry(Option<u64>),
    /// A failed event is dropped, or one that waits and is not under way.
    Drop(u64),
    /// Delivered events go again.
    Replay(Replay),
    /// Delivery is paused or resumed.
    Pause(bool),
    /// The CRM was seen to answer: try now.
    Hurry,
    /// Whether the spool can be written now.
    Write,
    /// The cards that were shown and not closed yet.
    OpenCards,
    /// What is known of a call, by its linkedid or by the uniqueid of one of its channels.
    Story(String),
    /// The names of the calls that ended last.
    Stories {
        /// How many.
        limit: usize,
    },
}

impl Question {
    /// Whether it changes something, also when nobody waits for the answer any more.
    #[must_use]
    pub fn is_order(&self) -> bool {
        matches!(
            self,
            Self::Retry(_) | Self::Drop(_) | Self::Replay(_) | Self::Pause(_) | Self::Hurry
        )
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Events, and how many there are in all.
    Events {
        /// The rows.
        rows: Vec<Listed>,
        /// How many there are.
        total: u64,
    },
    /// How many events it concerned.
    Count(usize),
    /// How many events it concerned so far; the others follow in portions, while everything else goes on.
    GoesOn(usize),
    /// Done.
    Done,
    /// Cards, the oldest first.
    OpenCards(Vec<OpenCard>),
    /// A call.
    Story {
        /// Its story, if one was kept.
        story: Option<Story>,
        /// Every event of the call in the order of their numbers; without a story, those of the call of that very name.
        events: Vec<Listed>,
    },
    /// Names of calls, the latest first.
    Stories(Vec<Told>),
    /// It could not be done: a sentence.
    Failed(String),
}
