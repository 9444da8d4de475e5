//! PINs, as they are kept.
//!
//! Invariants:
//! - the PIN itself is nowhere: what is kept is a slow hash of it with a salt of its own;
//! - how long a comparison takes does not depend on what is compared (`ring::pbkdf2::verify`).

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::pbkdf2::{self, PBKDF2_HMAC_SHA256};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::core::greeting::pin::FEWEST;

/// Some 50 ms: nobody at a phone notices.
const ROUNDS: u32 = 100_000;
/// What a file may ask for at most.
const MOST_ROUNDS: u32 = 10_000_000;

/// A PIN's hash.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredPin {
    rounds: u32,
    salt: String,
    hash: String,
}

impl StoredPin {
    /// Of a new PIN.
    pub(super) fn new(pin: &str) -> Result<Self, String> {
        let salt: [u8; 16] = random()?;
        let mut hash = [0; 32];
        let rounds = NonZeroU32::new(ROUNDS).unwrap_or(NonZeroU32::MIN);
        pbkdf2::derive(PBKDF2_HMAC_SHA256, rounds, &salt, pin.as_bytes(), &mut hash);
        Ok(Self {
            rounds: ROUNDS,
            salt: STANDARD.encode(salt),
            hash: STANDARD.encode(hash),
        })
    }

    /// Whether this is the PIN.
    pub(super) fn matches(&self, pin: &str) -> bool {
        let rounds = NonZeroU32::new(self.rounds.min(MOST_ROUNDS));
        let (Some(rounds), Ok(salt), Ok(hash)) =
            (rounds, STANDARD.decode(&self.salt), STANDARD.decode(&self.hash))
        else {
            return false;
        };
        // Of a shorter one every beginning would be right.
        hash.len() == 32 && pbkdf2::verify(PBKDF2_HMAC_SHA256, rounds, &salt, pin.as_bytes(), &hash).is_ok()
    }
}

/// A PIN that nobody has thought of.
///
/// # Errors
/// The system has no random numbers.
pub fn random_pin() -> Result<String, String> {
    let mut pin = String::new();
    while pin.len() < FEWEST {
        let [byte]: [u8; 1] = random()?;
        // Beyond 250 some digits would come more often.
        if byte < 250 {
            pin.push(char::from(b'0' + byte % 10));
        }
    }
    Ok(pin)
}

fn random<const BYTES: usize>() -> Result<[u8; BYTES], String> {
    let mut bytes = [0; BYTES];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| "the system gives no random numbers".to_owned())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::{StoredPin, random_pin};
    use crate::core::greeting::pin::acceptable;

    #[test]
    fn a_pin_is_known_again_and_is_nowhere() {
        let stored = StoredPin::new("4711").unwrap();
        assert!(stored.matches("4711"));
        for wrong in ["4712", "471", "47110", ""] {
            assert!(!stored.matches(wrong), "{wrong}");
        }
        let again = StoredPin::new("4711").unwrap();
        assert!(stored.salt != again.salt && stored.hash != again.hash);
        let text = serde_json::to_string(&stored).unwrap();
        assert!(!text.contains("4711"), "{text}");
    }

    #[test]
    fn what_is_no_hash_lets_nobody_in() {
        let good = StoredPin::new("4711").unwrap();
        for stored in [
            StoredPin {
                hash: String::new(),
                ..good.clone()
            },
            StoredPin {
                hash: "AAAA".to_owned(),
                ..good.clone()
            },
            StoredPin {
                salt: "%".to_owned(),
                ..good.clone()
            },
            StoredPin { rounds: 0, ..good },
        ] {
            assert!(!stored.matches("4711") && !stored.matches(""));
        }
    }

    #[test]
    fn one_that_is_made_up_is_acceptable() {
        let pins: Vec<String> = (0..50).map(|_| random_pin().unwrap()).collect();
        assert!(pins.iter().all(|pin| acceptable(pin).is_ok()));
        assert!(pins.iter().any(|pin| *pin != pins[0]));
    }
}
