//! What is kept of a call to explain it: the records that were seen and what was decided on them, as text.
//!
//! Invariant: a story never costs an event its place. It is written when nothing else is to be done, is left out when the
//! disk refuses or half of the spool is in use, and goes first when room is short.

/// Stories that a spool on a disk holds.
pub(super) const MOST: usize = 20_000;
/// And one in memory.
pub(super) const MOST_IN_MEMORY: usize = 500;
/// How long they are kept, in milliseconds.
pub(super) const KEPT: u64 = 24 * 3_600 * 1_000;
/// Thousandths of the spool's limit in use from which on no story is kept.
pub(super) const FILL_MOST: u32 = 500;
/// Stories that wait for the dispatcher at most.
pub(super) const WAITING: usize = 1_024;

/// The story of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// The call, as its events name it.
    pub callid: String,
    /// The uniqueids of its channels.
    pub channels: Vec<String>,
    /// When it ended, milliseconds since 1970.
    pub ended: u64,
    /// The text.
    pub text: String,
}

/// A story's name in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The call.
    pub callid: String,
    /// When it ended, milliseconds since 1970.
    pub ended: u64,
}
