//! What a phone hears in one call.

use std::time::{Duration, Instant};

use super::codec::Codec;
use super::description::{number, voice};
use crate::tone::Sound;

/// What is heard is kept up to ten minutes of a call, in samples of the narrow band.
const KEPT: usize = 8_000 * 600;

/// How whole the voice came that a phone heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reception {
    /// Packets of voice that came, each a fiftieth of a second as Asterisk sends it.
    pub packets: u32,
    /// Packets that did not come, by the numbers of those that did.
    pub lost: u32,
    /// The longest time between two packets, to 10 ms.
    pub longest_pause: Duration,
}

/// What was heard, and when last.
#[derive(Debug, Default)]
pub(crate) struct Ears {
    codec: Codec,
    samples: Vec<i16>,
    pub(crate) reception: Reception,
    last: Option<(u16, Instant)>,
}

impl Ears {
    /// Takes in a packet.
    pub(crate) fn hear(&mut self, packet: &[u8], now: Instant) {
        let (Some((codec, said)), Some(number)) = (voice(packet), number(packet)) else {
            return;
        };
        self.codec = codec;
        if self.samples.len() + said.len() <= KEPT {
            self.samples.extend(said);
        }
        let reception = &mut self.reception;
        reception.packets += 1;
        if let Some((before, at)) = self.last {
            reception.longest_pause = reception.longest_pause.max(now - at);
            match number.wrapping_sub(before) {
                0 => {}
                // Out of order: what was counted as lost has come after all.
                0x8000.. => {
                    reception.lost = reception.lost.saturating_sub(1);
                    self.last = Some((before, now));
                    return;
                }
                step => reception.lost += u32::from(step) - 1,
            }
        }
        self.last = Some((number, now));
    }

    /// How much was heard, as a place to go on from.
    pub(crate) fn place(&self) -> usize {
        self.samples.len()
    }

    /// What was heard from there on.
    pub(crate) fn sound(&self, place: usize) -> Sound {
        let samples = self.samples.get(place..).unwrap_or_default();
        Sound::of(self.codec.rate(), samples)
    }

    /// When the last packet came.
    pub(crate) fn last(&self) -> Option<Instant> {
        self.last.map(|(_, at)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::super::description::packet;
    use super::*;

    #[test]
    fn what_is_lost_and_how_long_it_was_silent_is_counted() {
        let (mut ears, begin) = (Ears::default(), Instant::now());
        let at = |ms| begin + Duration::from_millis(ms);
        for (number, ms) in [(65_534, 0), (65_535, 20), (2, 80), (1, 90), (3, 100)] {
            ears.hear(&packet(Codec::Alaw, number, None), at(ms));
        }
        ears.hear(&[0x80, 101, 0, 9], at(500));
        let expected = Reception {
            packets: 5,
            lost: 1,
            longest_pause: Duration::from_millis(60),
        };
        assert_eq!((ears.reception, ears.place()), (expected, 5 * 160));
        assert_eq!(ears.sound(4 * 160).duration(), Duration::from_millis(20));
        assert_eq!(ears.last(), Some(at(100)));
    }
}
