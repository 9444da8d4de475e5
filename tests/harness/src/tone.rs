//! What phones say so that a recording can be told from silence, and how it is found again.
//!
//! Invariants: a tone goes on from one packet to the next without a crack; a tone is found by its frequency alone,
//! however many others sound at the same time; the length of a sound is that of its samples, without what an mp3 encoder
//! puts before and behind.

use std::f64::consts::TAU;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// Samples of a telephone in a second.
pub(crate) const RATE: u32 = 8_000;
/// Two tones at once do not reach the limit together.
const LOUDNESS: f64 = 8_000.0;
/// So long a piece of a sound is looked at at once: tones that are 40 Hz apart are told apart in it.
const WINDOW: Duration = Duration::from_millis(50);
/// Beside another tone as loud as itself a tone has half of the power.
const SHARE: f64 = 0.25;
/// Where one tone follows another, the piece with both belongs to neither.
const MOST: f64 = 0.75;

/// A sine tone, by its frequency in Hz. Multiples of 20 fit into the pieces that are looked at without a rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tone(pub u16);

impl Tone {
    /// Samples from the one with that number on, so many of them in a second.
    #[must_use]
    pub fn samples(self, rate: u32, first: u32, count: u32) -> Vec<i16> {
        (first..first.wrapping_add(count))
            .map(|number| {
                // A second is a whole number of periods, and a small number keeps the sine exact.
                let angle = TAU * f64::from(self.0) * f64::from(number % rate) / f64::from(rate);
                #[allow(clippy::cast_possible_truncation, reason = "LOUDNESS is far within i16")]
                let sample = (LOUDNESS * angle.sin()) as i16;
                sample
            })
            .collect()
    }
}

/// Something that was heard or recorded: samples of one channel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sound {
    rate: u32,
    samples: Vec<f32>,
}

impl Sound {
    /// What an mp3 file holds.
    ///
    /// # Errors
    /// When it is none, or holds no audio.
    pub fn mp3(file: &[u8]) -> Result<Self> {
        let decoded = nanomp3::decode_all::<f32>(file);
        ensure!(
            decoded.layer == 3 && !decoded.format_changed,
            "{} bytes are not an mp3 file throughout",
            file.len()
        );
        let channels = decoded.channels.map_or(1, |channels| usize::from(channels.num()));
        Ok(Self::interleaved(decoded.sample_rate, channels, &decoded.samples))
    }

    /// What a wav file holds: 16 bits a sample, as Asterisk writes them.
    ///
    /// # Errors
    /// When it is another one.
    pub fn wav(file: &[u8]) -> Result<Self> {
        let number = |at: usize, size: usize| -> Option<u32> {
            let bytes = file.get(at..at + size)?;
            Some(
                bytes
                    .iter()
                    .rev()
                    .fold(0, |sum, byte| sum << 8 | u32::from(*byte)),
            )
        };
        let known = file.get(..4) == Some(b"RIFF") && file.get(8..16) == Some(b"WAVEfmt ");
        ensure!(
            known && number(20, 2) == Some(1) && number(34, 2) == Some(16),
            "not a wav file of 16 bits a sample"
        );
        let (channels, rate) = number(22, 2).zip(number(24, 4)).context("a wav file is cut")?;
        let mut at = 20 + number(16, 4).context("a wav file is cut")? as usize;
        loop {
            let size = number(at + 4, 4).context("a wav file holds no data")? as usize;
            if file.get(at..at + 4) == Some(b"data") {
                let data = file.get(at + 8..).unwrap_or_default();
                let data = &data[..size.min(data.len())];
                let samples: Vec<f32> = data
                    .chunks_exact(2)
                    .map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])))
                    .collect();
                return Ok(Self::interleaved(rate, channels as usize, &samples));
            }
            at += 8 + size + size % 2;
        }
    }

    /// What these samples sound like, so many of them in a second.
    #[must_use]
    pub fn of(rate: u32, samples: &[i16]) -> Self {
        Self {
            rate,
            samples: samples.iter().map(|sample| f32::from(*sample)).collect(),
        }
    }

    fn interleaved(rate: u32, channels: usize, samples: &[f32]) -> Self {
        let samples = samples.chunks_exact(channels.max(1));
        Self {
            rate,
            samples: samples.map(|of_all| of_all.iter().sum()).collect(),
        }
    }

    /// How long it is.
    #[must_use]
    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.samples.len() as f64 / f64::from(self.rate.max(1)))
    }

    /// How long that tone is heard in it, to a piece of 50 ms.
    #[must_use]
    pub fn presence(&self, tone: Tone) -> Duration {
        let window = (f64::from(self.rate) * WINDOW.as_secs_f64()) as usize;
        let pieces = self.samples.chunks_exact(window.max(1));
        let heard = pieces.filter(|piece| share(piece, self.rate, tone) >= SHARE);
        WINDOW * u32::try_from(heard.count()).unwrap_or(u32::MAX)
    }

    /// Which of these tones are heard in it alone, one after another, and how long each, to a piece of 50 ms. What is none
    /// of them is left out.
    #[must_use]
    pub fn melody(&self, among: &[Tone]) -> Vec<(Tone, Duration)> {
        let window = (f64::from(self.rate) * WINDOW.as_secs_f64()) as usize;
        let mut melody: Vec<(Tone, Duration)> = Vec::new();
        for piece in self.samples.chunks_exact(window.max(1)) {
            let mut tones = among.iter();
            let Some(&tone) = tones.find(|tone| share(piece, self.rate, **tone) >= MOST) else {
                continue;
            };
            match melody.last_mut() {
                Some((last, time)) if *last == tone => *time += WINDOW,
                _ => melody.push((tone, WINDOW)),
            }
        }
        melody
    }
}

/// A wav file of 16 bits a sample, one channel.
#[must_use]
pub fn wav(rate: u32, samples: &[i16]) -> Vec<u8> {
    let bytes = u32::try_from(samples.len() * 2).unwrap_or(u32::MAX);
    let mut file = b"RIFF".to_vec();
    file.extend((36 + bytes).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend(rate.to_le_bytes());
    file.extend((rate * 2).to_le_bytes());
    file.extend(b"\x02\0\x10\0data");
    file.extend(bytes.to_le_bytes());
    file.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    file
}

/// The part of the power that a tone has, from 0 to 1 (Goertzel's algorithm).
fn share(piece: &[f32], rate: u32, tone: Tone) -> f64 {
    let step = TAU * f64::from(tone.0) / f64::from(rate);
    let factor = 2.0 * step.cos();
    let (mut last, mut before, mut power) = (0.0, 0.0, 0.0);
    for sample in piece {
        let sample = f64::from(*sample);
        (last, before) = (sample + factor * last - before, last);
        power += sample * sample;
    }
    let found = last * last + before * before - factor * last * before;
    // Silence has no power to share: a little keeps the quotient finite.
    2.0 * found / (piece.len() as f64 * power.max(f64::MIN_POSITIVE))
}

/// Which bits of an A-law byte are turned over on the wire.
const TURNED: u8 = 0x55;

/// A sample as its A-law byte (ITU-T G.711).
pub(crate) fn to_alaw(sample: i16) -> u8 {
    // Thirteen bits are what A-law knows of; the sign bit is set for what is not negative.
    let (sign, size) = if sample < 0 {
        (0, !sample >> 3)
    } else {
        (0x80, sample >> 3)
    };
    let size = size.unsigned_abs();
    let segment = (16 - size.leading_zeros()).saturating_sub(5);
    let shift = segment.max(1);
    let code = segment << 4 | u32::from(size >> shift & 0x0f);
    #[allow(
        clippy::cast_possible_truncation,
        reason = "seven segments of sixteen steps are 127"
    )]
    let code = code as u8;
    (code | sign) ^ TURNED
}

/// What an A-law byte stands for: the middle of its step.
pub(crate) fn of_alaw(byte: u8) -> i16 {
    let byte = byte ^ TURNED;
    let step = i16::from(byte & 0x0f) << 4;
    let size = match byte >> 4 & 7 {
        0 => step + 8,
        segment => (step + 0x108) << (segment - 1),
    };
    if byte & 0x80 == 0 { -size } else { size }
}

/// What is added to the size of a sample, so that the segments of µ-law are powers of two.
const BIAS: u16 = 0x84;

/// A sample as its µ-law byte (ITU-T G.711).
pub(crate) fn to_ulaw(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let size = sample.unsigned_abs().min(0x7fff - BIAS) + BIAS;
    let segment = 8 - size.leading_zeros();
    #[allow(
        clippy::cast_possible_truncation,
        reason = "eight segments of sixteen steps are 128"
    )]
    let code = (segment << 4) as u8 | (size >> (segment + 3) & 0x0f) as u8;
    !(code | sign)
}

/// What a µ-law byte stands for: the middle of its step.
pub(crate) fn of_ulaw(byte: u8) -> i16 {
    let byte = !byte;
    let step = (i16::from(byte & 0x0f) << 3) + 0x84;
    let size = (step << (byte >> 4 & 7)) - 0x84;
    if byte & 0x80 == 0 { size } else { -size }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over_the_wire(samples: &[i16]) -> Vec<i16> {
        samples.iter().map(|sample| of_alaw(to_alaw(*sample))).collect()
    }

    fn sound(tones: &[Tone], ms: u32) -> Sound {
        let count = RATE / 1000 * ms;
        let mut mixed = vec![0.0; count as usize];
        for tone in tones {
            let spoken = Sound::of(RATE, &over_the_wire(&tone.samples(RATE, 0, count)));
            for (sample, more) in mixed.iter_mut().zip(spoken.samples) {
                *sample += more;
            }
        }
        Sound {
            rate: RATE,
            samples: mixed,
        }
    }

    #[test]
    fn alaw_is_that_of_the_standard() {
        // Silence on the wire, and the two ends of the scale.
        assert_eq!([0, 32_767, -32_768].map(to_alaw), [0xd5, 0xaa, 0x2a]);
        assert_eq!([0xd5, 0xaa, 0x2a].map(of_alaw), [8, 32_256, -32_256]);
        for byte in 0..=255 {
            assert_eq!(to_alaw(of_alaw(byte)), byte);
        }
    }

    #[test]
    fn ulaw_is_that_of_the_standard() {
        assert_eq!([0, 32_767, -32_768].map(to_ulaw), [0xff, 0x80, 0x00]);
        assert_eq!([0xff, 0x80, 0x00].map(of_ulaw), [0, 32_124, -32_124]);
        for byte in (0..=255).filter(|byte| *byte != 0x7f) {
            assert_eq!(to_ulaw(of_ulaw(byte)), byte);
        }
        // There are two zeros, and a silent phone says the one.
        assert_eq!(of_ulaw(0x7f), 0);
    }

    #[test]
    fn a_tone_is_found_by_its_frequency() {
        let [low, high, other] = [440, 1_000, 700].map(Tone);
        let alone = sound(&[low], 1_000);
        assert_eq!(alone.duration(), Duration::from_secs(1));
        assert_eq!(alone.presence(low), Duration::from_secs(1));
        assert_eq!(alone.presence(high), Duration::ZERO);
        let both = sound(&[low, high], 1_000);
        assert_eq!(both.presence(low), Duration::from_secs(1));
        assert_eq!(both.presence(high), Duration::from_secs(1));
        assert_eq!(both.presence(other), Duration::ZERO);
        assert_eq!(sound(&[], 1_000).presence(low), Duration::ZERO);
    }

    #[test]
    fn a_tone_goes_on_over_the_end_of_a_packet() {
        let tone = Tone(440);
        let packets: Vec<i16> = (0..100).flat_map(|n| tone.samples(RATE, n * 160, 160)).collect();
        assert_eq!(packets, tone.samples(RATE, 0, 16_000));
        assert_eq!(Sound::of(RATE, &packets).presence(tone), Duration::from_secs(2));
    }

    #[test]
    fn tones_are_told_in_their_order() {
        let [low, high, other] = [440, 1_000, 700].map(Tone);
        for rate in [RATE, 2 * RATE] {
            let mut samples = low.samples(rate, 0, rate);
            samples.extend(vec![0; rate as usize / 10]);
            // In the middle of a piece: it belongs to neither.
            samples.extend(high.samples(rate, 0, rate / 40 * 21));
            samples.extend(low.samples(rate, 0, rate / 40 * 19));
            let melody = Sound::of(rate, &samples).melody(&[other, high, low]);
            let expected = [(low, 1_000), (high, 500), (low, 450)];
            assert_eq!(
                melody,
                expected.map(|(tone, ms)| (tone, Duration::from_millis(ms)))
            );
        }
    }

    #[test]
    fn a_wav_file_is_read() {
        let mut file =
            b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0".to_vec();
        file.extend(b"LIST\x02\0\0\0ab");
        file.extend(b"data\xff\xff\xff\x7f");
        for sample in sound(&[Tone(440)], 500).samples {
            #[allow(clippy::cast_possible_truncation, reason = "it was an i16 before")]
            file.extend((sample as i16).to_le_bytes());
        }
        let read = Sound::wav(&file).unwrap();
        assert_eq!(read, sound(&[Tone(440)], 500));
        let samples = Tone(440).samples(16_000, 0, 800);
        assert_eq!(
            Sound::wav(&wav(16_000, &samples)).unwrap(),
            Sound::of(16_000, &samples)
        );
        for wrong in [&b""[..], b"RIFF", &file[..40], b"ID3\x03"] {
            assert!(Sound::wav(wrong).is_err());
        }
    }

    #[test]
    fn what_is_no_mp3_is_refused() {
        for wrong in [&b""[..], b"RIFF\0\0\0\0WAVE", &[0xff; 5_000]] {
            assert!(Sound::mp3(wrong).is_err());
        }
    }
}
