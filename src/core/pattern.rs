//! Dialplan patterns, as extensions.conf writes them.
//!
//! Rules (main/pbx.c, `_extension_match_core`): without a leading `_` the text stands for itself; after it `X` is
//! 0-9, `Z` 1-9, `N` 2-9, `[1-37]` a set, `.` one or more of anything, `!` zero or more of anything; `-` and blanks
//! are decoration and match nothing.

use std::fmt;
use std::iter::once;

/// One dialplan pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    atoms: Vec<Atom>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Atom {
    Set(Bytes),
    OneOrMore,
    ZeroOrMore,
}

/// A set of bytes, one bit for each: channels wait while numbers are matched, so no atom leads to memory of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bytes([u64; 4]);

impl Bytes {
    fn has(self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1
    }
}

impl FromIterator<u8> for Bytes {
    fn from_iter<I: IntoIterator<Item = u8>>(bytes: I) -> Self {
        let mut set = Self::default();
        for byte in bytes {
            set.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
        }
        set
    }
}

impl Pattern {
    /// Reads one pattern.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("a pattern is empty".to_owned());
        }
        let Some(pattern) = text.strip_prefix('_') else {
            let atoms = text.bytes().map(|byte| Atom::Set(once(byte).collect())).collect();
            return Ok(Self {
                text: text.to_owned(),
                atoms,
            });
        };
        let mut atoms = Vec::new();
        let mut bytes = pattern.bytes();
        while let Some(byte) = bytes.next() {
            if matches!(atoms.last(), Some(Atom::OneOrMore | Atom::ZeroOrMore)) {
                return Err(format!("pattern '{text}' goes on after its wildcard"));
            }
            match byte.to_ascii_uppercase() {
                b'X' => atoms.push(Atom::Set((b'0'..=b'9').collect())),
                b'Z' => atoms.push(Atom::Set((b'1'..=b'9').collect())),
                b'N' => atoms.push(Atom::Set((b'2'..=b'9').collect())),
                b'[' => atoms.push(Atom::Set(Self::set(text, &mut bytes)?.into_iter().collect())),
                b'.' => atoms.push(Atom::OneOrMore),
                b'!' => atoms.push(Atom::ZeroOrMore),
                b'-' | b' ' => {}
                _ => atoms.push(Atom::Set(once(byte).collect())),
            }
        }
        if atoms.is_empty() {
            return Err(format!("pattern '{text}' matches nothing"));
        }
        Ok(Self {
            text: text.to_owned(),
            atoms,
        })
    }

    fn set(text: &str, bytes: &mut impl Iterator<Item = u8>) -> Result<Vec<u8>, String> {
        let mut members: Vec<u8> = Vec::new();
        let mut range_from = None;
        loop {
            let byte = bytes
                .next()
                .ok_or_else(|| format!("pattern '{text}' has a '[' without its ']'"))?;
            match (byte, range_from.take()) {
                (b']', None) => break,
                (b']', Some(_)) => {
                    members.push(b'-');
                    break;
                }
                (_, Some(from)) if from <= byte => members.extend(from..=byte),
                (_, Some(_)) => return Err(format!("pattern '{text}' has a range that runs backwards")),
                (b'-', None) if !members.is_empty() => {
                    range_from = members.last().copied();
                    continue;
                }
                (_, None) => members.push(byte),
            }
        }
        if members.is_empty() {
            return Err(format!("pattern '{text}' has an empty set"));
        }
        Ok(members)
    }

    /// Whether `number` matches.
    #[must_use]
    pub fn matches(&self, number: &[u8]) -> bool {
        let mut rest = number;
        for atom in &self.atoms {
            match atom {
                Atom::ZeroOrMore => return true,
                Atom::OneOrMore => return !rest.is_empty(),
                Atom::Set(members) => match rest.split_first() {
                    Some((first, tail)) if members.has(*first) => rest = tail,
                    _ => return false,
                },
            }
        }
        rest.is_empty()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A list of patterns: it matches when one of them does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns(Vec<Pattern>);

impl Patterns {
    /// Reads a comma-separated list; an empty text is an empty list, which matches nothing.
    ///
    /// # Errors
    /// As [`Pattern::parse`].
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        // A comma may stand inside a set only by mistake: Asterisk's own sets never hold one.
        text.split(',')
            .map(Pattern::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether one of the patterns matches `number`.
    #[must_use]
    pub fn matches(&self, number: &[u8]) -> bool {
        self.0.iter().any(|pattern| pattern.matches(number))
    }
}

impl fmt::Display for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, pattern) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{pattern}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Pattern, Patterns};

    #[test]
    fn matches_as_the_dialplan_does() {
        for (pattern, number, expected) in [
            ("_XXX", "101", true),
            ("_XXX", "1010", false),
            ("_XXX", "1a1", false),
            ("_NXX", "101", false),
            ("_ZXX", "101", true),
            ("_x.", "1", false),
            ("_X.", "12", true),
            ("_X!", "1", true),
            ("_!", "", true),
            ("_[1-37]00", "300", true),
            ("_[1-37]00", "700", true),
            ("_[1-37]00", "400", false),
            ("_[13-]0", "-0", true),
            ("_8-XXX", "8123", true),
            ("101", "101", true),
            ("101", "1011", false),
            ("_+7.", "+79101234567", true),
            ("_*6X", "*60", true),
        ] {
            assert_eq!(
                Pattern::parse(pattern).unwrap().matches(number.as_bytes()),
                expected,
                "{pattern} {number}"
            );
        }
    }

    #[test]
    fn wrong_patterns_are_named() {
        for wrong in ["_", "_[12", "_[]", "_[9-1]", "_X.5", "_!!"] {
            assert!(Pattern::parse(wrong).unwrap_err().contains(wrong), "{wrong}");
        }
        assert!(Patterns::parse("_XXX,,_XXXX").is_err());
    }

    #[test]
    fn a_list_matches_when_one_does_and_an_empty_one_never() {
        let list = Patterns::parse("_XXX, _XXXX").unwrap();
        assert!(list.matches(b"101") && list.matches(b"1010") && !list.matches(b"10"));
        assert_eq!(list.to_string(), "_XXX,_XXXX");
        assert!(!Patterns::parse(" ").unwrap().matches(b""));
    }
}
