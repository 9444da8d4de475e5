//! The Asterisk versions that `tools/asterisk` can obtain.

use std::fmt;

/// A major version of the private Asterisk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// Debian's 16.28, the oldest that is supported.
    V16,
    /// Debian's 22.
    V22,
}

impl Version {
    /// Both, the newer one first.
    pub const ALL: [Self; 2] = [Self::V22, Self::V16];

    /// The major version as `tools/asterisk` takes it.
    #[must_use]
    pub fn major(self) -> &'static str {
        match self {
            Self::V16 => "16",
            Self::V22 => "22",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.major())
    }
}
