//! One recording, and all that is known of an operator's.

use std::collections::BTreeMap;
use std::time::Duration;

use super::kind::{Kind, Presence};

/// One recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// What it is for.
    pub kind: Kind,
    /// Its language, as CHANNEL(language) has it.
    pub language: String,
    /// How long it plays.
    pub length: Duration,
    /// Bytes of its file at 8 kHz.
    pub bytes: u64,
    /// When it was recorded: seconds since 1970.
    pub modified: u64,
    /// Whether there is one at 16 kHz, too.
    pub wide: bool,
    /// How often it was played.
    pub plays: u64,
}

/// All that is known of an operator's greetings. The templates have one, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sheet {
    /// Whether anything is played for him at all.
    pub enabled: bool,
    /// What he says of himself.
    pub presence: Presence,
    /// From when on a kind does not apply any more: seconds since 1970. For vacation it is his presence that ends.
    pub expires: BTreeMap<Kind, u64>,
    /// His recordings, by kind and language; no two have both in common.
    pub greetings: Vec<Greeting>,
    /// Whether he has a PIN.
    pub has_pin: bool,
    /// Whether what the article's dialplan had of him was taken over once.
    pub adopted: bool,
    /// Whether somebody records for him now.
    pub locked: bool,
}

/// Nobody has to be switched on to be given the template: what is off was switched off.
impl Default for Sheet {
    fn default() -> Self {
        Self {
            enabled: true,
            presence: Presence::default(),
            expires: BTreeMap::new(),
            greetings: Vec::new(),
            has_pin: false,
            adopted: false,
            locked: false,
        }
    }
}

impl Sheet {
    /// Whether the time of this kind has passed: at that very second it has.
    #[must_use]
    pub fn is_expired(&self, kind: Kind, now: u64) -> bool {
        self.expires.get(&kind).is_some_and(|end| *end <= now)
    }

    /// What he says of himself at this second: a vacation may have ended.
    #[must_use]
    pub fn presence_at(&self, now: u64) -> Presence {
        match self.presence {
            Presence::Vacation if self.is_expired(Kind::Vacation, now) => Presence::Available,
            presence => presence,
        }
    }

    /// Whether there is a call for which something of his own would be played now.
    #[must_use]
    pub fn is_active(&self, now: u64) -> bool {
        let applies = |greeting: &Greeting| match greeting.kind {
            Kind::Vacation => self.presence_at(now) == Presence::Vacation,
            kind => !self.is_expired(kind, now),
        };
        self.enabled && self.greetings.iter().any(applies)
    }

    /// The kinds that he has recorded, each once.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> {
        Kind::ALL
            .into_iter()
            .filter(|kind| self.greetings.iter().any(|greeting| greeting.kind == *kind))
    }

    /// How long all recordings play together.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.greetings.iter().map(|greeting| greeting.length).sum()
    }

    /// Takes a recording in, in place of the one of its kind and language.
    pub fn put(&mut self, greeting: Greeting) {
        self.remove(|other| other.kind == greeting.kind && other.language == greeting.language);
        let key = |greeting: &Greeting| (greeting.kind, greeting.language.clone());
        let place = self
            .greetings
            .partition_point(|other| key(other) < key(&greeting));
        self.greetings.insert(place, greeting);
    }

    /// Takes recordings out.
    pub fn remove(&mut self, is_unwanted: impl Fn(&Greeting) -> bool) {
        self.greetings.retain(|greeting| !is_unwanted(greeting));
    }

    /// The recording of that kind in that very language.
    #[must_use]
    pub fn find(&self, kind: Kind, language: &str) -> Option<&Greeting> {
        self.greetings
            .iter()
            .find(|greeting| greeting.kind == kind && greeting.language == language)
    }

    /// The recording of that kind for somebody who speaks `language`: in it, in one that it is a variety of (`ru_RU`, `ru`;
    /// `main/file.c`, fileexists_core), in the PBX's own, or the one that was recorded last.
    #[must_use]
    pub fn best(&self, kind: Kind, language: &str, default_language: &str) -> Option<&Greeting> {
        let mut last: Option<&Greeting> = None;
        let mut best: Option<(usize, &Greeting)> = None;
        for greeting in self.greetings.iter().filter(|greeting| greeting.kind == kind) {
            if last.is_none_or(|last| last.modified <= greeting.modified) {
                last = Some(greeting);
            }
            let steps = steps(language, &greeting.language)
                .or_else(|| steps(default_language, &greeting.language).map(|steps| FAR + steps));
            if let Some(steps) = steps
                && best.is_none_or(|(fewest, _)| steps < fewest)
            {
                best = Some((steps, greeting));
            }
        }
        best.map(|(_, greeting)| greeting).or(last)
    }
}

/// More than a language has parts.
const FAR: usize = 1_000;

/// How many parts have to be left off at the end of `language` until it is `wanted`.
fn steps(language: &str, wanted: &str) -> Option<usize> {
    let rest = language.strip_prefix(wanted)?;
    (rest.is_empty() || rest.starts_with('_') && !wanted.is_empty())
        .then(|| rest.bytes().filter(|byte| *byte == b'_').count())
}

/// A channel's language as a part of a file's name.
///
/// # Errors
/// A sentence that names it.
pub fn language(text: &str) -> Result<&str, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    // MAX_LANGUAGE (include/asterisk/channel.h) with its NUL.
    if !text.is_empty() && text.len() < 40 && text.bytes().all(plain) {
        Ok(text)
    } else {
        let shown: String = text.chars().take(40).collect();
        Err(format!(
            "'{}' is not a language: expected such as ru or en_GB",
            shown.escape_debug()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::{Greeting, Sheet, language};
    use crate::core::greeting::kind::{Kind, Presence};
    use std::time::Duration;

    fn greeting(kind: Kind, language: &str, modified: u64) -> Greeting {
        Greeting {
            kind,
            language: language.to_owned(),
            length: Duration::from_secs(2),
            bytes: 32_044,
            modified,
            wide: false,
            plays: 0,
        }
    }

    #[test]
    fn a_caller_hears_his_own_language_or_the_nearest() {
        let sheet = Sheet {
            greetings: ["ru", "en", "de_AT", "kk"]
                .into_iter()
                .zip(1..)
                .map(|(language, modified)| greeting(Kind::Busy, language, modified))
                .collect(),
            ..Sheet::default()
        };
        for (language, default, expected) in [
            ("ru", "en", "ru"),
            ("ru_RU", "en", "ru"),
            ("ru_RU_x", "en", "ru"),
            ("rus", "en", "en"),
            ("de_AT", "en", "de_AT"),
            ("de", "en", "en"),
            ("de_AT_1990", "en", "de_AT"),
            ("fr", "de_AT", "de_AT"),
            ("fr", "en_US", "en"),
            ("fr", "it", "kk"),
            ("", "", "kk"),
            ("en", "ru", "en"),
        ] {
            let best = sheet.best(Kind::Busy, language, default).unwrap();
            assert_eq!(best.language, expected, "{language} {default}");
        }
        assert_eq!(sheet.best(Kind::Default, "ru", "ru"), None);
        assert_eq!(sheet.find(Kind::Busy, "kk").unwrap().modified, 4);
        assert_eq!(sheet.find(Kind::Busy, "k"), None);
        assert_eq!(sheet.total(), Duration::from_secs(8));
    }

    #[test]
    fn the_lamp_is_on_while_there_is_something_to_hear() {
        let mut sheet = Sheet::default();
        assert!(!sheet.is_active(10));
        sheet.greetings.push(greeting(Kind::Vacation, "ru", 1));
        assert!(!sheet.is_active(10), "he is here");
        sheet.presence = Presence::Vacation;
        assert!(sheet.is_active(10));
        sheet.expires.insert(Kind::Vacation, 11);
        assert!(sheet.is_active(10) && !sheet.is_active(11));
        assert_eq!(sheet.presence_at(11), Presence::Available);
        sheet.greetings.push(greeting(Kind::Busy, "ru", 1));
        assert!(sheet.is_active(11));
        sheet.expires.insert(Kind::Busy, 20);
        assert!(!sheet.is_active(20));
        sheet.enabled = false;
        assert!(!sheet.is_active(10));
        let kinds: Vec<Kind> = sheet.kinds().collect();
        assert_eq!(kinds, [Kind::Busy, Kind::Vacation]);
    }

    #[test]
    fn a_language_is_a_part_of_a_name() {
        for good in ["ru", "en_GB", "pt-BR", "es_419"] {
            assert_eq!(language(good), Ok(good));
        }
        let long = "a".repeat(40);
        for wrong in ["", "ru/x", "..", "ru.wav", "р", "ru ", long.as_str()] {
            assert!(language(wrong).is_err(), "{wrong}");
        }
    }
}
