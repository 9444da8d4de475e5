//! What OP_GREETING reads and writes.
//!
//! Without a kind, an attribute speaks of what would be played now; with one, of the recording of that kind, whether it would
//! be played now or not, and where the operator has none of the template's.
//!
//! Invariant: reading has no error. What is not there is blank.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::choice::{Choice, Question, Source, choose};
use super::greeting::{Greeting, Sheet, language};
use super::kind::{Kind, Presence, list};
use crate::core::quantity;
use crate::core::settings::is_yes;

/// An attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attribute {
    /// Whether he has recorded anything, or this kind: 1 or 0.
    Exists,
    /// Whether his greetings are switched on: 1 or 0.
    Enabled,
    /// The kind.
    Kind,
    /// The kinds that he has recorded.
    Kinds,
    /// Path for Playback, without an extension.
    File,
    /// own, template or none.
    Source,
    /// Milliseconds.
    Duration,
    /// Bytes at 8 kHz.
    Size,
    /// When it was recorded: seconds since 1970.
    Mtime,
    /// The best format that there is: wav16 or wav.
    Format,
    /// Its language.
    Language,
    /// Until when it applies: seconds since 1970.
    Expires,
    /// What the operator says of himself.
    State,
    /// How often it was played.
    Plays,
    /// Whether somebody records for him now: 1 or 0.
    Locked,
    /// Deletes; nothing to read.
    Delete,
}

impl Attribute {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Exists,
        Self::Enabled,
        Self::Kind,
        Self::Kinds,
        Self::File,
        Self::Source,
        Self::Duration,
        Self::Size,
        Self::Mtime,
        Self::Format,
        Self::Language,
        Self::Expires,
        Self::State,
        Self::Plays,
        Self::Locked,
        Self::Delete,
    ];

    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Exists => "exists",
            Self::Enabled => "enabled",
            Self::Kind => "kind",
            Self::Kinds => "kinds",
            Self::File => "file",
            Self::Source => "source",
            Self::Duration => "duration",
            Self::Size => "size",
            Self::Mtime => "mtime",
            Self::Format => "format",
            Self::Language => "language",
            Self::Expires => "expires",
            Self::State => "state",
            Self::Plays => "plays",
            Self::Locked => "locked",
            Self::Delete => "delete",
        }
    }

    /// Reads the word, in any case of letters and with blanks around it.
    ///
    /// # Errors
    /// A sentence that lists the words.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let wanted = number(text.trim_ascii());
        let known = NUMBERS.iter().position(|number| Some(*number) == wanted);
        known.map(|at| Self::ALL[at]).ok_or_else(|| {
            let shown: String = String::from_utf8_lossy(text).chars().take(40).collect();
            format!(
                "'{}' is not an attribute of a greeting: expected {}",
                shown.escape_debug(),
                list(&Self::ALL.map(Self::word))
            )
        })
    }
}

/// The words as numbers, in the order of [`Attribute::ALL`]: a channel that looks one up finds them all in one place.
const NUMBERS: [u64; Attribute::ALL.len()] = {
    let mut numbers = [0; Attribute::ALL.len()];
    let mut at = 0;
    while at < numbers.len() {
        numbers[at] = match number(Attribute::ALL[at].word().as_bytes()) {
            Some(number) => number,
            None => panic!("an attribute's word has eight letters at most"),
        };
        at += 1;
    }
    numbers
};

/// A word of one to eight bytes, its letters small, as one number. Words of other lengths have none.
const fn number(word: &[u8]) -> Option<u64> {
    if word.is_empty() || word.len() > 8 {
        return None;
    }
    let mut bytes = [0; 8];
    let mut at = 0;
    while at < word.len() {
        bytes[at] = word[at].to_ascii_lowercase();
        at += 1;
    }
    Some(u64::from_le_bytes(bytes))
}

/// What an attribute reads, where that stands in what is known of the operator himself and is no matter of time.
#[must_use]
pub fn plain_value(attribute: Attribute, own: &Sheet, kind: Option<Kind>) -> Option<String> {
    let yes_or_no = |yes: bool| Some(if yes { "1" } else { "0" }.to_owned());
    match attribute {
        Attribute::Exists => {
            let wanted = |greeting: &Greeting| kind.is_none_or(|kind| greeting.kind == kind);
            yes_or_no(own.greetings.iter().any(wanted))
        }
        Attribute::Enabled => yes_or_no(own.enabled),
        Attribute::Locked => yes_or_no(own.locked),
        Attribute::Kinds => {
            let kinds: Vec<&str> = own.kinds().map(Kind::word).collect();
            Some(kinds.join(","))
        }
        // An end can be set before there is something that ends.
        Attribute::Expires => kind.map(|kind| {
            own.expires
                .get(&kind)
                .map_or_else(String::new, ToString::to_string)
        }),
        Attribute::Delete => Some(String::new()),
        _ => None,
    }
}

/// What an attribute reads. `path` tells where a recording lies.
#[must_use]
pub fn value(
    attribute: Attribute,
    own: &Sheet,
    template: &Sheet,
    kind: Option<Kind>,
    question: &Question<'_>,
    path: &dyn Fn(Source, &Greeting) -> String,
) -> String {
    if let Some(value) = plain_value(attribute, own, kind) {
        return value;
    }
    if attribute == Attribute::State {
        return own.presence_at(question.now).word().to_owned();
    }
    let found = match kind {
        None => match choose(own, template, question) {
            Choice::Play { source, greeting } => Some((source, greeting)),
            Choice::Disabled | Choice::Nothing => None,
        },
        Some(kind) => {
            let own = own.best(kind, question.language, question.default_language);
            own.map(|greeting| (Source::Own, greeting)).or_else(|| {
                let template = template.best(kind, question.language, question.default_language);
                template.map(|greeting| (Source::Template, greeting))
            })
        }
    };
    let Some((source, greeting)) = found else {
        return if attribute == Attribute::Source {
            "none".to_owned()
        } else {
            String::new()
        };
    };
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = match attribute {
        Attribute::Kind => text.write_str(greeting.kind.word()),
        Attribute::File => text.write_str(&path(source, greeting)),
        Attribute::Source => text.write_str(source.word()),
        Attribute::Duration => write!(text, "{}", greeting.length.as_millis()),
        Attribute::Size => write!(text, "{}", greeting.bytes),
        Attribute::Mtime => write!(text, "{}", greeting.modified),
        Attribute::Format => text.write_str(if greeting.wide { "wav16" } else { "wav" }),
        Attribute::Language => text.write_str(&greeting.language),
        Attribute::Plays => write!(text, "{}", greeting.plays),
        Attribute::Expires => {
            let sheet = if source == Source::Own { own } else { template };
            sheet
                .expires
                .get(&greeting.kind)
                .map_or(Ok(()), |end| write!(text, "{end}"))
        }
        _ => Ok(()),
    };
    text
}

/// What is to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Switched on or off.
    Enabled(bool),
    /// What he says of himself.
    Presence(Presence),
    /// Until when a kind applies; `None`: for good.
    Expires(Kind, Option<u64>),
    /// The recording of this kind, the last one, is in that language.
    Language(Kind, String),
    /// This file becomes the recording of this kind.
    File(Kind, PathBuf),
    /// The recordings of this kind go, or all.
    Delete(Option<Kind>),
}

/// Reads what is written to an attribute at `now`.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn change(attribute: Attribute, kind: Option<Kind>, value: &str, now: u64) -> Result<Change, String> {
    let word = attribute.word();
    let value = value.trim();
    let named = |fault: String| format!("'{word}': {fault}");
    match attribute {
        Attribute::Enabled => yes_or_no(value).map(Change::Enabled).map_err(named),
        Attribute::State => Presence::parse(value).map(Change::Presence).map_err(named),
        Attribute::Expires => {
            let kind = kind.ok_or_else(|| {
                named(
                    "it needs a kind, such as vacation, until whose end the operator is away, or temp"
                        .to_owned(),
                )
            })?;
            expires(value, now)
                .map(|end| Change::Expires(kind, end))
                .map_err(named)
        }
        Attribute::Language => language(value)
            .map(|value| Change::Language(kind.unwrap_or(Kind::Default), value.to_owned()))
            .map_err(named),
        Attribute::File if value.is_empty() || value.contains('\0') => {
            Err(named("expected the path of a sound file".to_owned()))
        }
        Attribute::File => Ok(Change::File(kind.unwrap_or(Kind::Default), PathBuf::from(value))),
        Attribute::Delete => match yes_or_no(value) {
            Ok(true) => Ok(Change::Delete(kind)),
            _ => Err(named(format!(
                "'{}' deletes nothing: expected 1",
                value.escape_debug()
            ))),
        },
        _ => Err(format!("'{word}' can be read and not written")),
    }
}

/// A moment: seconds since 1970, `+3d` from now, or blank for none.
///
/// # Errors
/// A sentence that says what is expected.
pub fn expires(value: &str, now: u64) -> Result<Option<u64>, String> {
    let shown: String = value.chars().take(40).collect();
    let expected = || {
        format!(
            "'{}' is not a moment: expected seconds since 1970, or such as +3d or +2h from now, or nothing",
            shown.escape_debug()
        )
    };
    let end = match value.trim() {
        "" => return Ok(None),
        value => match value.strip_prefix('+') {
            Some(after) => quantity::duration(after)
                .ok()
                .filter(|after| after.as_secs() <= FARTHEST)
                .and_then(|after| now.checked_add(after.as_secs())),
            None => value
                .parse()
                .ok()
                .filter(|end| *end <= now.saturating_add(FARTHEST)),
        },
    };
    match end {
        Some(end) if end > now => Ok(Some(end)),
        Some(_) => Err(format!("'{}' is over already", shown.escape_debug())),
        None => Err(expected()),
    }
}

/// A hundred years: what lies beyond was written by mistake, in milliseconds perhaps.
const FARTHEST: u64 = 36_525 * 86_400;

fn yes_or_no(value: &str) -> Result<bool, String> {
    is_yes(value).ok_or_else(|| {
        let shown: String = value.chars().take(40).collect();
        format!("'{}' is neither yes nor no", shown.escape_debug())
    })
}

#[cfg(test)]
mod tests {
    use super::{Attribute, Change, change, expires, value};
    use crate::core::greeting::choice::{Question, Source};
    use crate::core::greeting::greeting::{Greeting, Sheet};
    use crate::core::greeting::kind::{Kind, Presence};
    use std::path::PathBuf;
    use std::time::Duration;

    const NOW: u64 = 1_000;

    fn sheet(kinds: &[Kind]) -> Sheet {
        let mut sheet = Sheet::default();
        for kind in kinds {
            sheet.put(Greeting {
                kind: *kind,
                language: "ru".to_owned(),
                length: Duration::from_millis(2_345),
                bytes: 37_564,
                modified: 900,
                wide: *kind == Kind::Busy,
                plays: 7,
            });
        }
        sheet
    }

    fn read(attribute: Attribute, own: &Sheet, template: &Sheet, kind: Option<Kind>) -> String {
        let question = Question {
            why: Kind::Default,
            exact: false,
            language: "ru",
            default_language: "en",
            now: NOW,
        };
        let path = |source: Source, greeting: &Greeting| {
            format!(
                "/{}/{}-{}",
                source.word(),
                greeting.kind.word(),
                greeting.language
            )
        };
        value(attribute, own, template, kind, &question, &path)
    }

    #[test]
    fn what_is_there_can_be_read() {
        let mut own = sheet(&[Kind::Default, Kind::Busy, Kind::Temp]);
        own.expires.insert(Kind::Temp, 2_000);
        own.expires.insert(Kind::Vacation, 3_000);
        own.locked = true;
        let template = sheet(&[Kind::Unreachable]);
        let busy = Some(Kind::Busy);
        let unreachable = Some(Kind::Unreachable);
        for (attribute, kind, expected) in [
            (Attribute::Exists, None, "1"),
            (Attribute::Exists, busy, "1"),
            (Attribute::Exists, unreachable, "0"),
            (Attribute::Enabled, None, "1"),
            (Attribute::Kind, None, "temp"),
            (Attribute::Kind, busy, "busy"),
            (Attribute::Kinds, None, "default,busy,temp"),
            (Attribute::File, None, "/own/temp-ru"),
            (Attribute::File, busy, "/own/busy-ru"),
            (Attribute::File, unreachable, "/template/unreachable-ru"),
            (Attribute::Source, None, "own"),
            (Attribute::Source, unreachable, "template"),
            (Attribute::Source, Some(Kind::NoAnswer), "none"),
            (Attribute::Duration, None, "2345"),
            (Attribute::Size, None, "37564"),
            (Attribute::Mtime, None, "900"),
            (Attribute::Format, None, "wav"),
            (Attribute::Format, busy, "wav16"),
            (Attribute::Language, None, "ru"),
            (Attribute::Expires, None, "2000"),
            (Attribute::Expires, busy, ""),
            (Attribute::Expires, Some(Kind::Vacation), "3000"),
            (Attribute::State, None, "available"),
            (Attribute::Plays, None, "7"),
            (Attribute::Locked, None, "1"),
            (Attribute::Delete, None, ""),
        ] {
            assert_eq!(
                read(attribute, &own, &template, kind),
                expected,
                "{attribute:?} {kind:?}"
            );
        }
    }

    #[test]
    fn what_is_not_there_is_blank() {
        let nothing = Sheet::default();
        let off = Sheet {
            enabled: false,
            presence: Presence::Away,
            ..sheet(&[Kind::Default])
        };
        for attribute in Attribute::ALL {
            let expected = match attribute {
                Attribute::Exists | Attribute::Locked => "0",
                Attribute::Enabled => "1",
                Attribute::Source => "none",
                Attribute::State => "available",
                _ => "",
            };
            assert_eq!(
                read(attribute, &nothing, &nothing, None),
                expected,
                "{attribute:?}"
            );
            let expected = match attribute {
                Attribute::Exists => "1",
                Attribute::Kinds => "default",
                Attribute::Locked | Attribute::Enabled => "0",
                Attribute::Source => "none",
                Attribute::State => "away",
                _ => "",
            };
            assert_eq!(
                read(attribute, &off, &sheet(&[Kind::Default]), None),
                expected,
                "{attribute:?}"
            );
        }
        assert_eq!(
            read(Attribute::File, &off, &nothing, Some(Kind::Default)),
            "/own/default-ru",
            "the recording of a kind is there, whether it is played or not"
        );
    }

    #[test]
    fn what_is_written_is_read_first() {
        let temp = Some(Kind::Temp);
        for (attribute, kind, text, expected) in [
            (Attribute::Enabled, None, "no", Change::Enabled(false)),
            (Attribute::Enabled, None, " ON ", Change::Enabled(true)),
            (
                Attribute::State,
                None,
                "Vacation",
                Change::Presence(Presence::Vacation),
            ),
            (
                Attribute::Expires,
                temp,
                "+3d",
                Change::Expires(Kind::Temp, Some(NOW + 259_200)),
            ),
            (
                Attribute::Expires,
                temp,
                "1001",
                Change::Expires(Kind::Temp, Some(1_001)),
            ),
            (Attribute::Expires, temp, "", Change::Expires(Kind::Temp, None)),
            (
                Attribute::Language,
                None,
                "en_GB",
                Change::Language(Kind::Default, "en_GB".to_owned()),
            ),
            (
                Attribute::File,
                temp,
                "/a/b.wav",
                Change::File(Kind::Temp, PathBuf::from("/a/b.wav")),
            ),
            (Attribute::Delete, None, "1", Change::Delete(None)),
            (Attribute::Delete, temp, "yes", Change::Delete(temp)),
        ] {
            assert_eq!(change(attribute, kind, text, NOW), Ok(expected));
        }
    }

    #[test]
    fn what_cannot_be_written_is_named() {
        let temp = Some(Kind::Temp);
        for (attribute, kind, text, fault) in [
            (
                Attribute::Enabled,
                None,
                "maybe",
                "'enabled': 'maybe' is neither yes nor no",
            ),
            (
                Attribute::State,
                None,
                "ill",
                "'state': 'ill' is not a state of an operator: expected available, away or vacation",
            ),
            (
                Attribute::Expires,
                temp,
                "1000",
                "'expires': '1000' is over already",
            ),
            (Attribute::Expires, temp, "+0", "'expires': '+0' is over already"),
            (
                Attribute::Expires,
                None,
                "+3d",
                "'expires': it needs a kind, such as vacation, until whose end the operator is away, or temp",
            ),
            (
                Attribute::Delete,
                None,
                "0",
                "'delete': '0' deletes nothing: expected 1",
            ),
            (Attribute::Size, None, "1", "'size' can be read and not written"),
            (
                Attribute::File,
                None,
                "",
                "'file': expected the path of a sound file",
            ),
            (
                Attribute::Language,
                None,
                "../x",
                "'language': '../x' is not a language: expected such as ru or en_GB",
            ),
        ] {
            assert_eq!(change(attribute, kind, text, NOW).unwrap_err(), fault);
        }
        for wrong in [
            "+",
            "+1w",
            "tomorrow",
            "-5",
            "1e9",
            "99999999999999999999",
            "+999999d",
        ] {
            assert!(
                expires(wrong, NOW).unwrap_err().contains("is not a moment"),
                "{wrong}"
            );
        }
        // Milliseconds are taken for what they are: a mistake.
        assert!(expires("1763755200000", 1_763_755_200).is_err());
        assert!(expires("+3d", u64::MAX).is_err());
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        for attribute in Attribute::ALL {
            assert_eq!(Attribute::parse(attribute.word().as_bytes()), Ok(attribute));
        }
        let fault = Attribute::parse(b"pin").unwrap_err();
        assert!(
            fault.starts_with("'pin' is not an attribute of a greeting: expected exists, enabled,"),
            "{fault}"
        );
    }
}
