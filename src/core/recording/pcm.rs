//! Samples out of the formats that need no codec: RIFF, headerless, G.711.
//!
//! Invariants:
//! - nothing here panics on any input;
//! - a header that a crash has left behind does not cut the sound: MixMonitor writes the lengths when it closes the file
//!   (`formats/format_wav.c`, wav_close), so after a `kill -9` they are zero.

/// What a RIFF header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wave {
    /// Samples a second.
    pub rate: u32,
    /// 1 or 2.
    pub channels: u16,
    /// Where the samples begin.
    pub start: u64,
    /// How many bytes of them there are.
    pub length: u64,
    /// How they are written.
    pub coding: Coding,
}

/// How a sample is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// 16 bits, little end first.
    Linear,
    /// G.711 µ-law.
    Ulaw,
    /// G.711 A-law.
    Alaw,
}

impl Coding {
    /// Bytes of one sample.
    #[must_use]
    pub fn width(self) -> usize {
        match self {
            Self::Linear => 2,
            Self::Ulaw | Self::Alaw => 1,
        }
    }

    /// Adds what these bytes mean to `samples` as 16 bits, little end first. A last half sample is left out.
    pub fn decode(self, bytes: &[u8], samples: &mut Vec<u8>) {
        match self {
            Self::Linear => samples.extend_from_slice(&bytes[..bytes.len() & !1]),
            Self::Ulaw => bytes
                .iter()
                .for_each(|&byte| samples.extend(ulaw(byte).to_le_bytes())),
            Self::Alaw => bytes
                .iter()
                .for_each(|&byte| samples.extend(alaw(byte).to_le_bytes())),
        }
    }
}

/// Bytes at the beginning of a file in which [`wave`] finds the header.
pub const HEAD: usize = 4_096;

/// Reads the header in the first bytes of a file of that length.
///
/// # Errors
/// What is wrong with it.
pub fn wave(head: &[u8], file: u64) -> Result<Wave, &'static str> {
    let word =
        |at: usize| -> Option<u32> { Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?)) };
    let half =
        |at: usize| -> Option<u16> { Some(u16::from_le_bytes(head.get(at..at + 2)?.try_into().ok()?)) };
    if head.get(..4) != Some(b"RIFF") || head.get(8..12) != Some(b"WAVE") {
        return Err("it does not begin like a wav file");
    }
    let whole = word(4).map_or(0, u64::from) + 8;
    let mut at = 12;
    let mut format = None;
    loop {
        let (Some(name), Some(length)) = (head.get(at..at + 4), word(at + 4)) else {
            return Err("its header has no end");
        };
        let body = at + 8;
        match name {
            b"fmt " => {
                let (Some(tag), Some(channels), Some(rate), Some(bits)) =
                    (half(body), half(body + 2), word(body + 4), half(body + 14))
                else {
                    return Err("its header is cut off");
                };
                let coding = match (tag, bits) {
                    (1, 16) => Coding::Linear,
                    (6, 8) => Coding::Alaw,
                    (7, 8) => Coding::Ulaw,
                    _ => return Err("its samples are of a kind that is not known"),
                };
                if !(1..=2).contains(&channels) || !(4_000..=192_000).contains(&rate) {
                    return Err("its header makes no sense");
                }
                format = Some((rate, channels, coding));
            }
            b"data" => {
                let (rate, channels, coding) = format.ok_or("its header does not say what is in it")?;
                let start = body as u64;
                let rest = file.saturating_sub(start);
                let length = u64::from(length);
                // The header counts if it was written to its end; otherwise all that follows is sound.
                let length = if whole == file && length <= rest {
                    length
                } else {
                    rest
                };
                return Ok(Wave {
                    rate,
                    channels,
                    start,
                    length,
                    coding,
                });
            }
            _ => {}
        }
        // Chunks begin at even places.
        let next = u64::from(length) + u64::from(length & 1) + body as u64;
        at = usize::try_from(next).map_err(|_| "its header makes no sense")?;
        if at >= head.len() {
            return Err("its header is too long");
        }
    }
}

/// ITU-T G.711, µ-law.
fn ulaw(byte: u8) -> i16 {
    let byte = !byte;
    let exponent = (byte >> 4) & 7;
    let mantissa = i16::from(byte & 0x0f);
    let magnitude = (((mantissa << 3) + 0x84) << exponent) - 0x84;
    if byte & 0x80 == 0 { magnitude } else { -magnitude }
}

/// ITU-T G.711, A-law.
fn alaw(byte: u8) -> i16 {
    let byte = byte ^ 0x55;
    let exponent = (byte >> 4) & 7;
    let mantissa = i16::from(byte & 0x0f) << 4;
    let magnitude = match exponent {
        0 => mantissa + 8,
        _ => (mantissa + 0x108) << (exponent - 1),
    };
    if byte & 0x80 == 0 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::{Coding, Wave, alaw, ulaw, wave};

    fn header(riff: u32, data: u32, tag: u16, bits: u16) -> Vec<u8> {
        let mut head = b"RIFF".to_vec();
        head.extend(riff.to_le_bytes());
        head.extend(b"WAVEfmt ");
        head.extend(16_u32.to_le_bytes());
        head.extend(tag.to_le_bytes());
        head.extend(1_u16.to_le_bytes());
        head.extend(8_000_u32.to_le_bytes());
        head.extend(16_000_u32.to_le_bytes());
        head.extend(2_u16.to_le_bytes());
        head.extend(bits.to_le_bytes());
        head.extend(b"data");
        head.extend(data.to_le_bytes());
        head
    }

    #[test]
    fn a_finished_header_counts() {
        let head = header(36 + 320, 320, 1, 16);
        let expected = Wave {
            rate: 8_000,
            channels: 1,
            start: 44,
            length: 320,
            coding: Coding::Linear,
        };
        assert_eq!(wave(&head, 44 + 320), Ok(expected));
    }

    #[test]
    fn a_header_that_a_crash_left_does_not_cut_the_sound() {
        for (riff, data) in [(0, 0), (u32::MAX, u32::MAX), (36 + 100, 100)] {
            let head = header(riff, data, 1, 16);
            assert_eq!(wave(&head, 44 + 320).unwrap().length, 320, "{riff} {data}");
        }
        assert_eq!(wave(&header(0, 0, 1, 16), 44).unwrap().length, 0);
    }

    #[test]
    fn what_follows_the_sound_is_no_sound() {
        let head = header(36 + 320 + 20, 320, 1, 16);
        assert_eq!(wave(&head, 44 + 320 + 20).unwrap().length, 320);
    }

    #[test]
    fn garbage_is_an_error_and_no_panic() {
        let good = header(36, 0, 1, 16);
        for length in 0..good.len() {
            assert!(wave(&good[..length], 44).is_err(), "{length}");
        }
        assert!(
            wave(&header(36, 0, 49, 0), 44).is_err(),
            "GSM in RIFF is Asterisk's to read"
        );
        for seed in 0..5_000_u32 {
            let mut bytes = good.clone();
            let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
            for _ in 0..4 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = (state >> 8) as usize % bytes.len();
                bytes[at] = (state >> 24) as u8;
            }
            let _ = wave(&bytes, u64::from(state));
        }
    }

    #[test]
    fn g711_decodes_as_its_tables_say() {
        // ITU-T G.711, tables 1 and 2, scaled to 16 bits.
        for (byte, value) in [
            (0xff, 0),
            (0x7f, 0),
            (0x80, 32_124),
            (0x00, -32_124),
            (0xfe, 8),
            (0x7e, -8),
        ] {
            assert_eq!(ulaw(byte), value, "µ-law {byte:#x}");
        }
        for (byte, value) in [(0xd5, 8), (0x55, -8), (0xaa, 32_256), (0x2a, -32_256), (0xd4, 24)] {
            assert_eq!(alaw(byte), value, "A-law {byte:#x}");
        }
    }

    #[test]
    fn half_a_sample_is_left_out() {
        let mut samples = Vec::new();
        Coding::Linear.decode(&[1, 2, 3], &mut samples);
        Coding::Ulaw.decode(&[0xff], &mut samples);
        assert_eq!(samples, [1, 2, 0, 0]);
    }
}
