//! Where a recording lies, below the folder of the recordings.
//!
//! Invariants:
//! - an [`AudioPath`] is relative and stays below: none of its parts is empty or begins with a dot, so neither `..` nor a
//!   hidden or half-made file can be named by one;
//! - it ends like a recording; nothing else that lies below the folder can be named;
//! - it is bytes, because the dialplan makes the name and not all dialplans are written in UTF-8.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Longer than any recording's; a link of it still fits into Asterisk's 4096 bytes for a request line (main/http.c,
/// MAX_HTTP_LINE_LENGTH).
const LONGEST: usize = 1_024;

/// NAME_MAX of every file system.
const LONGEST_PART: usize = 255;

/// How the formats that MixMonitor writes end, and what they are called on the wire. `sln` has no registered type: L16 is
/// its samples in the other byte order.
const TYPES: [(&str, &str); 13] = [
    ("mp3", "audio/mpeg"),
    ("wav", "audio/wav"),
    ("wav49", "audio/wav"),
    ("gsm", "audio/x-gsm"),
    ("ulaw", "audio/basic"),
    ("ul", "audio/basic"),
    ("mu", "audio/basic"),
    ("pcm", "audio/basic"),
    ("alaw", "audio/x-alaw-basic"),
    ("al", "audio/x-alaw-basic"),
    ("alw", "audio/x-alaw-basic"),
    ("sln", "application/octet-stream"),
    ("raw", "application/octet-stream"),
];

/// A recording's path below the folder of the recordings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AudioPath {
    bytes: Box<[u8]>,
    kind: usize,
}

impl AudioPath {
    /// Takes a path that is relative to the folder.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence about the file.
    pub fn new(path: &Path) -> Result<Self, &'static str> {
        Self::from_bytes(path.as_os_str().as_bytes())
    }

    /// As [`AudioPath::new`], from bytes that somebody sent.
    ///
    /// # Errors
    /// As [`AudioPath::new`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes.is_empty() || bytes.len() > LONGEST {
            return Err("its path is empty or too long");
        }
        if bytes.starts_with(b"/") {
            return Err("it is not below the folder of the recordings");
        }
        if bytes.iter().any(u8::is_ascii_control) {
            return Err("its path holds a control character");
        }
        for part in bytes.split(|byte| *byte == b'/') {
            if part.is_empty() || part.len() > LONGEST_PART {
                return Err("a part of its path is empty or too long");
            }
            if part.starts_with(b".") {
                return Err("a part of its path begins with a dot");
            }
        }
        let kind = kind(bytes).ok_or("its name does not end like that of a recording")?;
        Ok(Self {
            bytes: bytes.into(),
            kind,
        })
    }

    /// The path itself.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The path for the file system.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.bytes))
    }

    /// The folders on the way, and last the file.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.split(|byte| *byte == b'/')
    }

    /// The file's own name with everything replaced that could mean something in a header or on somebody's disk.
    #[must_use]
    pub fn harmless_name(&self) -> String {
        let name = self.parts().last().unwrap_or_default();
        name.iter()
            .map(|byte| match byte {
                b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'.' | b'-' | b'_' => char::from(*byte),
                _ => '_',
            })
            .collect()
    }

    /// How the name ends, in small letters.
    #[must_use]
    pub fn extension(&self) -> &'static str {
        TYPES[self.kind].0
    }

    /// What it is on the wire.
    #[must_use]
    pub fn media_type(&self) -> &'static str {
        TYPES[self.kind].1
    }
}

fn kind(path: &[u8]) -> Option<usize> {
    let dot = path.iter().rposition(|byte| *byte == b'.')?;
    let extension = &path[dot + 1..];
    TYPES
        .iter()
        .position(|(known, _)| extension.eq_ignore_ascii_case(known.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::AudioPath;

    #[test]
    fn recordings_are_taken() {
        for (path, extension, media_type) in [
            ("2026/11/21/out-79101234567-101-1.2.mp3", "mp3", "audio/mpeg"),
            ("a.wav", "wav", "audio/wav"),
            ("msg0001.WAV", "wav", "audio/wav"),
            ("x/y.gsm", "gsm", "audio/x-gsm"),
            ("разговор с клиентом.mp3", "mp3", "audio/mpeg"),
            ("a..b.sln", "sln", "application/octet-stream"),
        ] {
            let taken = AudioPath::from_bytes(path.as_bytes()).unwrap();
            assert_eq!((taken.extension(), taken.media_type()), (extension, media_type));
            assert_eq!(taken.as_bytes(), path.as_bytes());
            assert_eq!(taken.as_path().to_str(), Some(path));
        }
        assert!(AudioPath::from_bytes(b"\xff\xfe.wav").is_ok(), "not UTF-8");
    }

    #[test]
    fn nothing_else_is() {
        let long = "x".repeat(256) + ".mp3";
        let longer = "xxxxxxx/".repeat(128) + "x.mp3";
        for path in [
            "",
            "/",
            ".",
            "..",
            "a",
            "mp3",
            "a.mp3/",
            "/a.mp3",
            "//a.mp3",
            "../a.mp3",
            "a/../b.mp3",
            "a/./b.mp3",
            "./a.mp3",
            "a//b.mp3",
            ".a.mp3",
            ".mp3",
            "a/.b.mp3",
            "a/.b/c.mp3",
            "a.mp3\0",
            "a\0.mp3",
            "a\n.mp3",
            "a.mp3 ",
            "a.conf",
            "a.mp3.conf",
            "a.mp3.part",
            "a.",
            "../../etc/asterisk/planfix.conf",
            &long,
            &longer,
        ] {
            assert!(AudioPath::from_bytes(path.as_bytes()).is_err(), "{path:?}");
        }
    }

    #[test]
    fn a_name_is_made_harmless() {
        let name = |path: &str| AudioPath::from_bytes(path.as_bytes()).unwrap().harmless_name();
        assert_eq!(name("a/b/c-1.mp3"), "c-1.mp3");
        assert_eq!(name("a\\..\\\"; x=1.mp3"), "a_..____x_1.mp3");
        assert_eq!(name("я.mp3"), "__.mp3");
    }
}
