//! Sound in memory: out of a wav file, into one, and from one rate to another.
//!
//! Invariants:
//! - nothing here panics on any input;
//! - a sound is mono, 16 bits;
//! - what is heard at the new rate was in the old one: frequencies that do not fit are taken out, not folded down.

use std::f32::consts::PI;
use std::time::Duration;

use crate::core::recording::pcm;

/// Sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sound {
    /// Samples a second.
    pub rate: u32,
    /// The samples.
    pub samples: Vec<i16>,
}

/// Of the headers that we write.
pub const HEADER: usize = 44;
/// Periods of the lower rate on each side of a sample that count for it.
const REACH: f32 = 24.0;
/// How much of the lower rate's band passes untouched.
const PASSES: f32 = 0.93;
/// How much of a silence stays: a word's end is soft (`main/app.c`, __ast_play_and_record leaves as much).
const LEFT: Duration = Duration::from_millis(200);
/// In which portions silence is looked for, as Asterisk's frames are.
const PORTIONS: u32 = 50;

impl Sound {
    /// How long it plays.
    #[must_use]
    pub fn length(&self) -> Duration {
        length(self.samples.len() as u64, self.rate)
    }

    /// Reads a wav file. Two channels are mixed.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_wav(bytes: &[u8]) -> Result<Self, String> {
        let head = &bytes[..bytes.len().min(pcm::HEAD)];
        let wave = pcm::wave(head, bytes.len() as u64)?;
        let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX).min(bytes.len());
        let body = &bytes[at(wave.start)..at(wave.start.saturating_add(wave.length))];
        let mut linear = Vec::with_capacity(body.len() * 2 / wave.coding.width());
        wave.coding.decode(body, &mut linear);
        let samples = linear
            .chunks_exact(2)
            .map(|sample| i16::from_le_bytes([sample[0], sample[1]]));
        let samples = if wave.channels == 2 {
            let both: Vec<i16> = samples.collect();
            both.chunks_exact(2)
                .map(|both| i16::midpoint(both[0], both[1]))
                .collect()
        } else {
            samples.collect()
        };
        Ok(Self {
            rate: wave.rate,
            samples,
        })
    }

    /// A wav file at that rate.
    #[must_use]
    pub fn to_wav(&self, rate: u32) -> Vec<u8> {
        let resampled;
        let samples = if rate == self.rate {
            &self.samples
        } else {
            resampled = self.resampled(rate);
            &resampled.samples
        };
        let length = u32::try_from(samples.len() * 2).unwrap_or(u32::MAX - 36);
        let mut wav = Vec::with_capacity(HEADER + samples.len() * 2);
        wav.extend(b"RIFF");
        wav.extend((36 + length).to_le_bytes());
        wav.extend(b"WAVEfmt ");
        wav.extend(16_u32.to_le_bytes());
        wav.extend(1_u16.to_le_bytes());
        wav.extend(1_u16.to_le_bytes());
        wav.extend(rate.to_le_bytes());
        wav.extend((rate * 2).to_le_bytes());
        wav.extend(2_u16.to_le_bytes());
        wav.extend(16_u16.to_le_bytes());
        wav.extend(b"data");
        wav.extend(length.to_le_bytes());
        wav.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
        wav
    }

    /// The same at another rate, through a windowed sinc.
    #[must_use]
    pub fn resampled(&self, rate: u32) -> Self {
        if rate == self.rate || rate == 0 || self.rate == 0 {
            return self.clone();
        }
        let filter = Filter::new(self.rate, rate);
        Self {
            rate,
            samples: filter.run(&self.samples),
        }
    }

    /// The same without the silence at its end: what is below `threshold`, by Asterisk's measure (`main/dsp.c`,
    /// __ast_dsp_silence_noise: the mean of the samples' magnitudes). Where nothing is louder nothing is left.
    #[must_use]
    pub fn trimmed(&self, threshold: u32) -> Self {
        let portion = (self.rate / PORTIONS).max(1) as usize;
        let is_loud = |samples: &[i16]| {
            let sum: u64 = samples
                .iter()
                .map(|sample| u64::from(sample.unsigned_abs()))
                .sum();
            sum >= u64::from(threshold) * samples.len() as u64
        };
        let last = self.samples.chunks(portion).rposition(is_loud);
        let left = (self.rate as usize * LEFT.as_millis() as usize) / 1_000;
        let end = last.map_or(0, |last| {
            ((last + 1) * portion)
                .saturating_add(left)
                .min(self.samples.len())
        });
        Self {
            rate: self.rate,
            samples: self.samples[..end].to_vec(),
        }
    }
}

/// How long that many samples play.
#[must_use]
pub fn length(samples: u64, rate: u32) -> Duration {
    Duration::from_micros(samples.saturating_mul(1_000_000) / u64::from(rate.max(1)))
}

/// Weights for each place that a new sample can have between two old ones.
struct Filter {
    /// The new rate and the old one, without what they have in common.
    up: u64,
    down: u64,
    /// Old samples before the place that count.
    half: i64,
    /// Weights for one place after the other.
    weights: Vec<f32>,
}

impl Filter {
    fn new(from: u32, to: u32) -> Self {
        let common = gcd(from, to);
        let (up, down) = (u64::from(to / common), u64::from(from / common));
        // In cycles for each old sample.
        let cutoff = 0.5 * PASSES * (to as f32 / from as f32).min(1.0);
        let reach = REACH * (from as f32 / to as f32).max(1.0);
        let half = reach.ceil() as i64;
        let mut weights = Vec::with_capacity(up as usize * half as usize * 2);
        for place in 0..up {
            let fraction = place as f32 / up as f32;
            let begin = weights.len();
            for tap in 1 - half..=half {
                let distance = tap as f32 - fraction;
                weights.push(sinc(2.0 * cutoff * distance) * window(distance / reach));
            }
            // Silence and loudness stay what they were at every place.
            let sum: f32 = weights[begin..].iter().sum();
            weights[begin..].iter_mut().for_each(|weight| *weight /= sum);
        }
        Self {
            up,
            down,
            half,
            weights,
        }
    }

    fn run(&self, old: &[i16]) -> Vec<i16> {
        let count = (old.len() as u64 * self.up).div_ceil(self.down);
        let taps = self.half as usize * 2;
        let new = (0..count).map(|index| {
            let place = index * self.down;
            let first = (place / self.up) as i64 + 1 - self.half;
            let row = (place % self.up) as usize * taps;
            let weights = &self.weights[row..row + taps];
            // Before the beginning and after the end it is silent.
            let skipped = usize::try_from(-first).unwrap_or(0).min(taps);
            let from = usize::try_from(first).unwrap_or(0).min(old.len());
            let sum: f32 = old[from..]
                .iter()
                .zip(&weights[skipped..])
                .map(|(sample, weight)| f32::from(*sample) * weight)
                .sum();
            // A cast keeps to the bounds of i16.
            sum.round() as i16
        });
        new.collect()
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn sinc(x: f32) -> f32 {
    if x.abs() < 1e-6 {
        1.0
    } else {
        (PI * x).sin() / (PI * x)
    }
}

/// Blackman's, from -1 to 1.
fn window(x: f32) -> f32 {
    if x.abs() >= 1.0 {
        return 0.0;
    }
    0.42 + 0.5 * (PI * x).cos() + 0.08 * (2.0 * PI * x).cos()
}

#[cfg(test)]
mod tests {
    use super::{HEADER, Sound};
    use std::time::Duration;

    fn tone(rate: u32, hertz: f32, seconds: f32, volume: f32) -> Sound {
        let count = (rate as f32 * seconds) as usize;
        let step = 2.0 * std::f64::consts::PI * f64::from(hertz) / f64::from(rate);
        Sound {
            rate,
            samples: (0..count)
                .map(|index| ((step * index as f64).sin() * f64::from(volume)) as i16)
                .collect(),
        }
    }

    /// How loud that frequency is in the middle of a sound (Goertzel's way).
    fn loudness(sound: &Sound, hertz: f32) -> f64 {
        let rate = sound.rate as usize;
        let middle = &sound.samples[rate / 10..sound.samples.len() - rate / 10];
        let middle = &middle[..middle.len() / (rate / 10) * (rate / 10)];
        let step = 2.0 * std::f64::consts::PI * f64::from(hertz) / f64::from(sound.rate);
        let (mut re, mut im) = (0.0, 0.0);
        for (index, sample) in middle.iter().enumerate() {
            re += f64::from(*sample) * (step * index as f64).cos();
            im += f64::from(*sample) * (step * index as f64).sin();
        }
        2.0 * re.hypot(im) / middle.len() as f64
    }

    #[test]
    fn a_tone_is_the_same_tone_at_another_rate() {
        for (from, to) in [
            (8_000, 16_000),
            (16_000, 8_000),
            (48_000, 16_000),
            (44_100, 8_000),
            (11_025, 16_000),
            (22_050, 8_000),
        ] {
            let sound = tone(from, 1_000.0, 1.0, 10_000.0).resampled(to);
            let heard = loudness(&sound, 1_000.0);
            assert!((heard - 10_000.0).abs() < 100.0, "{from} {to}: {heard}");
            for other in [500.0, 2_000.0, 3_000.0] {
                let heard = loudness(&sound, other);
                assert!(heard < 20.0, "{from} {to}: {other} Hz as loud as {heard}");
            }
            let length = sound.length();
            assert!(length.abs_diff(Duration::from_secs(1)) < Duration::from_millis(1));
        }
    }

    #[test]
    fn what_does_not_fit_is_not_heard_as_something_else() {
        let sound = tone(16_000, 6_000.0, 1.0, 20_000.0).resampled(8_000);
        let heard = loudness(&sound, 2_000.0);
        assert!(heard < 20.0, "folded down as loud as {heard}");
    }

    #[test]
    fn the_loudest_stays_within_bounds_and_a_constant_stays() {
        let square: Vec<i16> = (0..8_000)
            .map(|index| if index / 20 % 2 == 0 { i16::MAX } else { i16::MIN })
            .collect();
        let sound = Sound {
            rate: 8_000,
            samples: square,
        };
        assert_eq!(sound.resampled(16_000).samples.len(), 16_000);
        let level = Sound {
            rate: 44_100,
            samples: vec![12_345; 44_100],
        };
        let level = level.resampled(8_000).samples;
        assert!(
            level[100..7_900]
                .iter()
                .all(|sample| (12_344..=12_346).contains(sample))
        );
    }

    #[test]
    fn a_wav_file_is_read_as_it_was_written() {
        for rate in [8_000, 16_000] {
            let sound = tone(rate, 440.0, 0.5, 8_000.0);
            let wav = sound.to_wav(rate);
            assert_eq!(wav.len(), HEADER + sound.samples.len() * 2);
            assert_eq!(Sound::from_wav(&wav), Ok(sound));
        }
        let empty = Sound {
            rate: 8_000,
            samples: Vec::new(),
        };
        assert_eq!(Sound::from_wav(&empty.to_wav(8_000)), Ok(empty));
    }

    #[test]
    fn two_channels_become_one() {
        let mut wav = Sound {
            rate: 8_000,
            samples: vec![100, 200, -32_768, -32_768, 5, -5],
        }
        .to_wav(8_000);
        wav[22] = 2;
        assert_eq!(Sound::from_wav(&wav).unwrap().samples, [150, -32_768, 0]);
    }

    #[test]
    fn every_length_survives() {
        for count in [0, 1, 2, 47, 48, 49, 100] {
            for (from, to) in [
                (8_000, 16_000),
                (16_000, 8_000),
                (44_100, 16_000),
                (4_000, 192_000),
            ] {
                let sound = Sound {
                    rate: from,
                    samples: vec![i16::MAX; count],
                };
                let expected = (count as u64 * u64::from(to)).div_ceil(u64::from(from));
                assert_eq!(sound.resampled(to).samples.len() as u64, expected);
            }
        }
        let sound = tone(8_000, 440.0, 0.1, 100.0);
        assert_eq!(sound.resampled(0), sound);
        for length in 0..60 {
            let wav = sound.to_wav(8_000);
            let _ = Sound::from_wav(&wav[..length]);
        }
    }

    #[test]
    fn the_silence_at_the_end_goes_and_words_stay() {
        for rate in [8_000, 16_000] {
            let mut sound = tone(rate, 300.0, 1.0, 5_000.0);
            sound.samples.extend(vec![10_i16; rate as usize]);
            sound.samples.extend(tone(rate, 300.0, 1.0, 5_000.0).samples);
            sound.samples.extend(vec![-10_i16; rate as usize * 5]);
            let length = sound.trimmed(256).length();
            assert!(
                (Duration::from_millis(3_150)..=Duration::from_millis(3_250)).contains(&length),
                "{length:?}"
            );
            let silent = Sound {
                rate,
                samples: vec![20; rate as usize],
            };
            assert!(silent.trimmed(256).samples.is_empty());
            let loud = tone(rate, 300.0, 1.0, 5_000.0);
            assert_eq!(loud.trimmed(256), loud);
            assert_eq!(silent.trimmed(0), silent);
        }
    }
}
