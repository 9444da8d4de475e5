//! Which way a call goes.

/// The protocol's `type` (planfix-telephony-api, section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A client calls the company.
    In,
    /// An employee calls a client.
    Out,
}

impl Direction {
    /// The word on the wire.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}
