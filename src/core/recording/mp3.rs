//! What is in an mp3: enough to tell a whole one from garbage, and how long it plays.
//!
//! Invariants: nothing here panics on any input, and reading ends.

use std::time::Duration;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mp3 {
    /// Frames with sound.
    pub frames: u64,
    /// How long it plays: without what the encoder added at both ends, where it says how much that is.
    pub length: Duration,
}

/// Kilobits a second of layer III, by the four bits of the header: MPEG 1, then MPEG 2 and 2.5 (ISO 11172-3, 2.4.2.3).
const RATES: [[u32; 15]; 2] = [
    [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];
const SAMPLING: [u32; 3] = [44_100, 48_000, 32_000];

/// One frame's header.
#[derive(Clone, Copy)]
struct Frame {
    /// Bytes, the header included.
    bytes: usize,
    samples: u64,
    sampling: u32,
    /// Where an encoder's own note would be.
    note: usize,
}

impl Frame {
    fn read(bytes: &[u8]) -> Option<Self> {
        let [first, second, third, fourth] = *bytes.first_chunk::<4>()?;
        if first != 0xff || second & 0xe0 != 0xe0 || second & 0x06 != 0x02 {
            return None;
        }
        let version = (second >> 3) & 3;
        let (low, divisor) = match version {
            3 => (false, 1),
            2 => (true, 2),
            0 => (true, 4),
            _ => return None,
        };
        let rate = *RATES[usize::from(low)].get(usize::from(third >> 4))?;
        let sampling = SAMPLING.get(usize::from((third >> 2) & 3))? / divisor;
        if rate == 0 {
            return None;
        }
        let samples = if low { 576 } else { 1_152 };
        let padding = usize::from((third >> 1) & 1);
        let bytes = (samples / 8 * rate * 1_000 / sampling) as usize + padding;
        let mono = fourth >> 6 == 3;
        let side = match (low, mono) {
            (false, false) => 32,
            (false, true) | (true, false) => 17,
            (true, true) => 9,
        };
        Some(Self {
            bytes,
            samples: u64::from(samples),
            sampling,
            note: 4 + side,
        })
    }
}

/// Examines a whole file.
///
/// # Errors
/// Why it is none that plays.
pub fn examine(file: &[u8]) -> Result<Mp3, &'static str> {
    let mut at = beginning(file);
    let (mut frames, mut samples, mut sampling, mut trimmed) = (0_u64, 0_u64, 0_u32, 0_u64);
    while let Some(frame) = file.get(at..).and_then(Frame::read) {
        let Some(body) = file.get(at..at + frame.bytes) else {
            break;
        };
        if frames == 0 && sampling == 0 {
            sampling = frame.sampling;
            if let Some(ends) = note(body, frame.note) {
                trimmed = ends;
                at += frame.bytes;
                continue;
            }
        }
        if frame.sampling != sampling {
            return Err("its frames do not belong together");
        }
        frames += 1;
        samples += frame.samples;
        at += frame.bytes;
    }
    if frames == 0 {
        return Err("it holds no mp3 frame");
    }
    let rest = file.len().saturating_sub(at);
    // A tag of 128 bytes may follow; half a frame or garbage may not.
    let tag = file.get(at..).is_some_and(|rest| rest.starts_with(b"TAG"));
    if rest > 0 && !tag {
        return Err("it is cut off or has garbage in it");
    }
    let samples = samples.saturating_sub(trimmed);
    Ok(Mp3 {
        frames,
        length: Duration::from_millis(samples * 1_000 / u64::from(sampling.max(1))),
    })
}

/// Behind an ID3v2 tag, where there is one.
fn beginning(file: &[u8]) -> usize {
    match file.get(..10) {
        Some([b'I', b'D', b'3', _, _, _, a, b, c, d]) => {
            [a, b, c, d]
                .iter()
                .fold(0, |size, &&byte| size << 7 | usize::from(byte & 0x7f))
                + 10
        }
        _ => 0,
    }
}

/// The samples that the encoder added at both ends, if this frame is its note and no sound (the LAME tag's 21st byte on).
fn note(frame: &[u8], at: usize) -> Option<u64> {
    let note = frame.get(at..)?;
    if !note.starts_with(b"Info") && !note.starts_with(b"Xing") {
        return None;
    }
    let flags = *note.get(7)?;
    let mut tag = 8;
    for (flag, bytes) in [(1, 4), (2, 4), (4, 100), (8, 4)] {
        tag += if flags & flag == 0 { 0 } else { bytes };
    }
    let ends = note.get(tag + 21..tag + 24);
    Some(ends.map_or(0, |ends| {
        let packed = u64::from(ends[0]) << 16 | u64::from(ends[1]) << 8 | u64::from(ends[2]);
        (packed >> 12) + (packed & 0xfff)
    }))
}

#[cfg(test)]
mod tests {
    use super::examine;
    use std::time::Duration;

    /// MPEG 2.5, 8 kHz, 32 kbit/s, mono: 288 bytes and 72 ms a frame.
    fn frame() -> Vec<u8> {
        let mut frame = vec![0xff, 0xe3, 0x48, 0xc4];
        frame.resize(288, 0);
        frame
    }

    fn noted(delay: u16, padding: u16) -> Vec<u8> {
        let mut frame = frame();
        frame[13..17].copy_from_slice(b"Info");
        frame[20] = 0x0f;
        let at = 13 + 8 + 4 + 4 + 100 + 4 + 21;
        frame[at] = (delay >> 4) as u8;
        frame[at + 1] = ((delay & 0xf) << 4) as u8 | (padding >> 8) as u8;
        frame[at + 2] = padding as u8;
        frame
    }

    #[test]
    fn frames_are_counted() {
        let found = examine(&frame().repeat(10)).unwrap();
        assert_eq!((found.frames, found.length), (10, Duration::from_millis(720)));
    }

    #[test]
    fn what_the_encoder_added_does_not_play() {
        let file = [noted(576, 144), frame().repeat(10)].concat();
        let found = examine(&file).unwrap();
        assert_eq!(
            (found.frames, found.length),
            (10, Duration::from_millis(720 - 90))
        );
    }

    #[test]
    fn tags_at_both_ends_are_no_sound() {
        let mut file = b"ID3\x04\0\0\0\0\0\x02xx".to_vec();
        file.extend(frame().repeat(3));
        file.extend(b"TAG");
        file.resize(file.len() + 125, b' ');
        assert_eq!(examine(&file).unwrap().frames, 3);
    }

    #[test]
    fn what_is_cut_off_empty_or_garbage_is_refused() {
        let whole = frame().repeat(3);
        assert!(examine(&whole[..whole.len() - 1]).is_err());
        assert!(examine(b"").is_err());
        assert!(examine(&noted(0, 0)).is_err(), "a note alone is no sound");
        assert!(examine(b"this is no mp3 at all").is_err());
        let mut garbage = whole.clone();
        garbage.extend(b"garbage");
        assert!(examine(&garbage).is_err());
        for length in 0..whole.len() {
            let _ = examine(&whole[..length]);
        }
    }
}
