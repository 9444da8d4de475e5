//! What a phone does by itself when it is called.

use std::time::Duration;

/// What a phone does by itself when it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Rings until the caller gives up, or the test does something with the call.
    Ring,
    /// Rings for that long and answers.
    RingThenAnswer(Duration),
    /// Answers without ringing.
    Answer,
    /// Refuses with that code, without ringing.
    Refuse(u16),
    /// Rings for that long and refuses with that code.
    RingThenRefuse(Duration, u16),
    /// Sends the caller on to that number (302).
    Redirect(String),
    /// Says nothing at all, as one that is switched off.
    Silent,
}

impl Behaviour {
    /// The employee talks already.
    pub const BUSY: Self = Self::Refuse(486);
    /// The employee pressed the red key.
    pub const DECLINE: Self = Self::Refuse(603);
    /// Nobody is logged in there.
    pub const UNAVAILABLE: Self = Self::Refuse(480);
    /// The provider does not let this call through.
    pub const FORBIDDEN: Self = Self::Refuse(403);
    /// The provider has no free line.
    pub const CONGESTION: Self = Self::Refuse(503);
    /// There is no such number.
    pub const NOT_FOUND: Self = Self::Refuse(404);
}
