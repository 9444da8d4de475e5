//! A value that must never be shown.
//!
//! Invariant: the text inside leaves only through [`Secret::expose`]; `Debug` and `Display` print `***`,
//! so that neither a log line nor a panic message can carry a token.

use std::fmt;

use subtle::ConstantTimeEq as _;

/// A key of the CRM or of the PBX.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Bytes that a key may have.
    pub const LONGEST: usize = 256;

    /// Characters below which a key counts as one that can be guessed. Sixteen random letters and digits are 95 bits.
    pub const SHORTEST_GOOD: usize = 16;

    /// Wraps `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that puts it on the wire.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether nothing was configured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it is so short that trying keys one after another could find it.
    #[must_use]
    pub fn can_be_guessed(&self) -> bool {
        self.0.chars().count() < Self::SHORTEST_GOOD
    }

    /// Whether `other` is the same text; never when nothing was configured. How long it takes depends neither on how much of it
    /// agrees nor on how long the secret is.
    #[must_use]
    pub fn matches(&self, other: &[u8]) -> bool {
        let (own_length, own) = measured(self.0.as_bytes());
        let (other_length, other) = measured(other);
        let same = own.ct_eq(&other) & own_length.ct_eq(&other_length) & !own_length.ct_eq(&0);
        same.into()
    }
}

/// The length, and the bytes in a field that has the same size for all.
fn measured(text: &[u8]) -> (u64, [u8; Secret::LONGEST]) {
    let mut field = [0; Secret::LONGEST];
    for (place, byte) in field.iter_mut().zip(text) {
        *place = *byte;
    }
    (text.len() as u64, field)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::{Secret, measured};

    #[test]
    fn is_never_printed() {
        let secret = Secret::new("93d80b7404f5");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
    }

    #[test]
    fn a_short_key_can_be_guessed() {
        assert!(Secret::new("").can_be_guessed());
        assert!(Secret::new("fifteen letters").can_be_guessed());
        assert!(!Secret::new("sixteen letters!").can_be_guessed());
    }

    /// What is compared has the same size whatever was sent, and goes through `subtle`, which does not branch on it.
    #[test]
    fn everything_is_compared_in_a_field_of_one_size() {
        for text in [&b""[..], b"a", b"a\0", &[b'k'; 300]] {
            let (length, field) = measured(text);
            assert_eq!(length, text.len() as u64);
            let kept = text.len().min(Secret::LONGEST);
            assert_eq!(field[..kept], text[..kept]);
            assert!(field[kept..].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn matches_only_the_same_text_and_never_when_empty() {
        let secret = Secret::new("abc");
        assert!(secret.matches(b"abc"));
        for wrong in [&b"abd"[..], b"ab", b"abcd", b"", b"\0\0\0"] {
            assert!(!secret.matches(wrong), "{wrong:?}");
        }
        assert!(!Secret::new("").matches(b""));
        let long = "k".repeat(Secret::LONGEST);
        assert!(Secret::new(long.clone()).matches(long.as_bytes()));
        assert!(!Secret::new(long.clone()).matches((long + "k").as_bytes()));
    }
}
