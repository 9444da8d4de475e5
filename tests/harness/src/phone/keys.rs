//! Keys that are pressed along with the voice (RFC 4733).
//!
//! Invariants: the packets of one key bear the time at which it was pressed, and the next key begins only after a pause in
//! which the voice goes on, so that no key is lost or heard twice however fast they are asked for.

use std::collections::VecDeque;

use anyhow::{Context, Result};

/// What a key is called in an event, by its number (RFC 4733, section 3.2).
const NAMES: &str = "0123456789*#ABCD";
/// Packets of one key while it is held: as short as Asterisk lets a key be (main/channel.c, `AST_MIN_DTMF_DURATION`).
const HELD: u16 = 4;
/// Its end is told thrice, as one of them may get lost (section 2.5.1.4).
const ENDS: u16 = 3;
/// Packets of voice before the next key: with two of the ends more than the shortest gap (`AST_MIN_DTMF_GAP`).
const PAUSE: u16 = 2;
/// As loud as a phone's keys are, in dBm0 below zero.
const VOLUME: u8 = 10;

/// The keys that are to be pressed, the first of them just now.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    waiting: VecDeque<u8>,
    /// How many packets of the first key are out, those of the pause behind it among them.
    packets: u16,
    /// The time of its first packet.
    pressed: u32,
}

/// A packet of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Whether it is the first packet of the key.
    pub(crate) first: bool,
    /// The time of all packets of the key.
    pub(crate) time: u32,
    /// What they carry.
    pub(crate) payload: [u8; 4],
}

impl Keys {
    /// Presses one more when all before it are released.
    pub(crate) fn press(&mut self, key: char) -> Result<()> {
        let number = NAMES
            .find(key)
            .with_context(|| format!("there is no key {key}"))?;
        self.waiting.push_back(u8::try_from(number)?);
        Ok(())
    }

    /// Whether all are released.
    pub(crate) fn done(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What goes out in the next packet's stead, `samples` long. `None` where it is the voice.
    pub(crate) fn next(&mut self, time: u32, samples: u16) -> Option<Event> {
        let key = *self.waiting.front()?;
        let number = self.packets;
        self.packets += 1;
        if number == 0 {
            self.pressed = time;
        }
        if number >= HELD + ENDS {
            if number + 1 == HELD + ENDS + PAUSE {
                self.packets = 0;
                self.waiting.pop_front();
            }
            return None;
        }
        let end = if number >= HELD { 0x80 } else { 0 };
        let [high, low] = ((number + 1).min(HELD) * samples).to_be_bytes();
        Some(Event {
            first: number == 0,
            time: self.pressed,
            payload: [key, end | VOLUME, high, low],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_held_told_of_and_followed_by_a_pause() {
        let mut keys = Keys::default();
        assert_eq!(keys.next(0, 160), None);
        keys.press('7').unwrap();
        keys.press('#').unwrap();
        assert!(keys.press('x').is_err());
        let mut events = Vec::new();
        for number in 0_u32..18 {
            events.push(keys.next(1_000 + number * 160, 160));
            assert_eq!(keys.done(), number == 17, "{number}");
        }
        let of = |events: &[Option<Event>]| -> Vec<(bool, u32, [u8; 4])> {
            let events = events.iter().flatten();
            events
                .map(|event| (event.first, event.time, event.payload))
                .collect()
        };
        let key = |number, time| {
            [
                (true, time, [number, 10, 0, 160]),
                (false, time, [number, 10, 1, 64]),
                (false, time, [number, 10, 1, 224]),
                (false, time, [number, 10, 2, 128]),
                (false, time, [number, 138, 2, 128]),
                (false, time, [number, 138, 2, 128]),
                (false, time, [number, 138, 2, 128]),
            ]
        };
        assert_eq!(of(&events[..9]), key(7, 1_000));
        assert_eq!(of(&events[9..]), key(11, 1_000 + 9 * 160));
        assert!(events[7..9].iter().all(Option::is_none));
    }
}
