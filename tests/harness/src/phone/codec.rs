//! What a phone's voice is made of on the wire.

use crate::tone::{RATE, Tone, of_alaw, of_ulaw, to_alaw, to_ulaw};

/// What a phone's voice is made of on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// A-law at 8 kHz, as nearly every phone has it.
    #[default]
    Alaw,
    /// µ-law at 8 kHz.
    Ulaw,
    /// Sixteen bits a sample at 16 kHz: the wide band, without a codec that would have to be rebuilt here.
    Wide,
}

impl Codec {
    /// The payload type: those of the first two are fixed (RFC 3551, section 6), the last one is the one that Asterisk
    /// itself prefers.
    pub(crate) fn payload(self) -> u8 {
        match self {
            Self::Alaw => 8,
            Self::Ulaw => 0,
            Self::Wide => 118,
        }
    }

    /// The codec with that payload type.
    pub(crate) fn of(payload: u8) -> Option<Self> {
        [Self::Alaw, Self::Ulaw, Self::Wide]
            .into_iter()
            .find(|codec| codec.payload() == payload)
    }

    /// Its name in a description.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Alaw => "PCMA/8000",
            Self::Ulaw => "PCMU/8000",
            Self::Wide => "L16/16000",
        }
    }

    /// Samples in a second.
    pub(crate) fn rate(self) -> u32 {
        match self {
            Self::Alaw | Self::Ulaw => RATE,
            Self::Wide => 2 * RATE,
        }
    }

    /// So many samples of a tone, or of silence, from the one with that number on.
    pub(crate) fn encode(self, tone: Option<Tone>, first: u32, count: u32) -> Vec<u8> {
        let samples = match tone {
            Some(tone) => tone.samples(self.rate(), first, count),
            None => (0..count).map(|_| 0).collect(),
        };
        match self {
            Self::Alaw => samples.into_iter().map(to_alaw).collect(),
            Self::Ulaw => samples.into_iter().map(to_ulaw).collect(),
            Self::Wide => samples.into_iter().flat_map(i16::to_be_bytes).collect(),
        }
    }

    /// The samples that these bytes are.
    pub(crate) fn decode(self, bytes: &[u8]) -> Vec<i16> {
        match self {
            Self::Alaw => bytes.iter().map(|byte| of_alaw(*byte)).collect(),
            Self::Ulaw => bytes.iter().map(|byte| of_ulaw(*byte)).collect(),
            Self::Wide => {
                let pairs = bytes.chunks_exact(2);
                pairs.map(|pair| i16::from_be_bytes([pair[0], pair[1]])).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tone::Sound;

    #[test]
    fn a_tone_comes_through_every_codec() {
        let tone = Tone(1_000);
        for codec in [Codec::Alaw, Codec::Ulaw, Codec::Wide] {
            assert_eq!(Codec::of(codec.payload()), Some(codec));
            let samples = codec.decode(&codec.encode(Some(tone), 0, codec.rate()));
            let sound = Sound::of(codec.rate(), &samples);
            assert_eq!(
                (sound.duration(), sound.presence(tone)),
                (Duration::from_secs(1), Duration::from_secs(1))
            );
            let silence = codec.decode(&codec.encode(None, 0, 160));
            assert!(silence.len() == 160 && silence.iter().all(|sample| sample.abs() <= 8));
        }
        assert_eq!(Codec::of(101), None);
    }
}
