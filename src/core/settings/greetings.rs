//! `[greetings]`: what callers hear when an operator does not answer.

use std::path::PathBuf;
use std::time::Duration;

use super::{quantity, within};
use crate::core::greeting::prompt::Prompts;
use crate::core::pattern::Patterns;

/// Name and default of every option but the prompts.
pub(super) const OPTIONS: [(&str, &str, &str); 13] = [
    ("greetings", "folder", ""),
    ("greetings", "operators", ""),
    ("greetings", "max", "60"),
    ("greetings", "min", "1"),
    ("greetings", "max_silence", "5"),
    ("greetings", "silence_threshold", "256"),
    ("greetings", "max_total", "600"),
    ("greetings", "own_phone", "endpoint"),
    ("greetings", "pin_attempts", "3"),
    ("greetings", "pin_lock", "15m"),
    ("greetings", "adopt", ""),
    ("greetings", "import_folders", ""),
    ("greetings", "menu_timeout", "5"),
];

/// The longest that a greeting may be made by `max`.
pub const LONGEST: Duration = Duration::from_secs(600);

/// How a phone is known to be the operator's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OwnPhone {
    /// By its endpoint's name.
    #[default]
    Endpoint,
    /// By its caller number, too, unless it is a trunk.
    Caller,
    /// Not at all: everybody is asked for the PIN.
    No,
}

impl OwnPhone {
    /// The word in the file.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::Caller => "caller",
            Self::No => "no",
        }
    }
}

/// What is taken over from the article's dialplan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Adopt {
    /// The recordings in `sounds/ru/custom` below Asterisk's data folder.
    #[default]
    Usual,
    /// Nothing.
    No,
    /// The recordings in this folder.
    Folder(PathBuf),
}

/// `[greetings]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greetings {
    /// Where greetings are kept; `None`: `planfix/greetings` below Asterisk's spool folder.
    pub folder: Option<PathBuf>,
    /// Whose numbers may have one; `None`: those of `[calls] internal`.
    pub operators: Option<Patterns>,
    /// The longest that one may be.
    pub max: Duration,
    /// The shortest.
    pub min: Duration,
    /// A silence that ends a recording. Zero: none does.
    pub max_silence: Duration,
    /// What counts as silence: the mean of the samples' magnitudes, as in Asterisk's dsp.conf.
    pub silence_threshold: u32,
    /// How long all greetings of an operator may be together.
    pub max_total: Duration,
    /// Which phones are not asked for a PIN.
    pub own_phone: OwnPhone,
    /// Wrong PINs until it is locked.
    pub pin_attempts: u32,
    /// For how long.
    pub pin_lock: Duration,
    /// What is taken over.
    pub adopt: Adopt,
    /// Folders from which the dialplan may import; empty: `sounds` below Asterisk's data folder.
    pub import_folders: Vec<PathBuf>,
    /// How long the menu waits for a key.
    pub menu_timeout: Duration,
    /// What the menu says.
    pub prompts: Prompts,
}

impl Default for Greetings {
    fn default() -> Self {
        Self {
            folder: None,
            operators: None,
            max: Duration::from_secs(60),
            min: Duration::from_secs(1),
            max_silence: Duration::from_secs(5),
            silence_threshold: 256,
            max_total: Duration::from_secs(600),
            own_phone: OwnPhone::default(),
            pin_attempts: 3,
            pin_lock: Duration::from_secs(900),
            adopt: Adopt::default(),
            import_folders: Vec::new(),
            menu_timeout: Duration::from_secs(5),
            prompts: Prompts::default(),
        }
    }
}

impl Greetings {
    /// Sets one option; `None` for one that is not known.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Option<Result<(), String>> {
        let set = match name {
            "folder" if value.is_empty() => {
                self.folder = None;
                Ok(())
            }
            "folder" => folder(value).map(|folder| self.folder = Some(folder)),
            "operators" if value.is_empty() => {
                self.operators = None;
                Ok(())
            }
            "operators" => Patterns::parse(value).map(|patterns| self.operators = Some(patterns)),
            "max" => within(quantity::duration(value), 1, LONGEST.as_secs()).map(|time| self.max = time),
            "min" => within(quantity::duration(value), 0, 60).map(|time| self.min = time),
            "max_silence" => within(quantity::duration(value), 0, 60).map(|time| self.max_silence = time),
            "silence_threshold" => number(value, 1, 32_767).map(|count| self.silence_threshold = count),
            "max_total" => within(quantity::duration(value), 1, 86_400).map(|time| self.max_total = time),
            "own_phone" => match value.to_ascii_lowercase().as_str() {
                "endpoint" => {
                    self.own_phone = OwnPhone::Endpoint;
                    Ok(())
                }
                "caller" => {
                    self.own_phone = OwnPhone::Caller;
                    Ok(())
                }
                "no" => {
                    self.own_phone = OwnPhone::No;
                    Ok(())
                }
                _ => Err(format!(
                    "'{value}' does not say how an operator's phone is known: expected endpoint, caller or no"
                )),
            },
            "pin_attempts" => number(value, 1, 100).map(|count| self.pin_attempts = count),
            "pin_lock" => within(quantity::duration(value), 1, 30 * 86_400).map(|time| self.pin_lock = time),
            "adopt" if value.is_empty() => {
                self.adopt = Adopt::Usual;
                Ok(())
            }
            "adopt" if value.eq_ignore_ascii_case("no") => {
                self.adopt = Adopt::No;
                Ok(())
            }
            "adopt" => folder(value).map(|folder| self.adopt = Adopt::Folder(folder)),
            "import_folders" => folders(value).map(|folders| self.import_folders = folders),
            "menu_timeout" => within(quantity::duration(value), 1, 60).map(|time| self.menu_timeout = time),
            _ => return self.prompts.set(name, value),
        };
        Some(set)
    }

    /// What does not go together, although each option by itself would do.
    pub(super) fn contradiction(&self) -> Option<String> {
        (self.min > self.max).then(|| {
            format!(
                "'min' in [greetings] is longer than 'max': {} s and {} s",
                self.min.as_secs(),
                self.max.as_secs()
            )
        })
    }
}

fn number(value: &str, least: u32, most: u32) -> Result<u32, String> {
    value
        .parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| format!("'{value}' is not a number from {least} to {most}"))
}

fn folders(value: &str) -> Result<Vec<PathBuf>, String> {
    let parts = value.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(folder).collect()
}

/// A path that Playback takes: `&` would separate it from another file's, and `,` from the options.
fn folder(value: &str) -> Result<PathBuf, String> {
    let clean = !value.split('/').any(|part| part == "..")
        && !value.contains(|c: char| c.is_control() || "&,|".contains(c));
    let trimmed = value.trim_end_matches('/');
    if value.starts_with('/') && !trimmed.is_empty() && clean {
        Ok(PathBuf::from(trimmed))
    } else {
        Err(format!(
            "'{value}' is not a folder: expected its whole path, such as /var/spool/asterisk/greetings"
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Adopt, Greetings, OwnPhone};

    fn set(name: &str, value: &str) -> Result<Greetings, String> {
        let mut greetings = Greetings::default();
        greetings.set(name, value).unwrap().map(|()| greetings)
    }

    #[test]
    fn folders_are_whole_paths_that_playback_takes() {
        for (name, wrong) in [
            ("folder", "greetings"),
            ("folder", "/"),
            ("folder", "/a/../etc"),
            ("folder", "/a&b"),
            ("folder", "/a,b"),
            ("adopt", "yes"),
            ("import_folders", "/a,b"),
        ] {
            let fault = set(name, wrong).unwrap_err();
            assert!(fault.contains("is not a folder"), "{fault}");
        }
        assert_eq!(
            set("folder", "/srv/g/").unwrap().folder,
            Some(PathBuf::from("/srv/g"))
        );
        assert_eq!(set("folder", "").unwrap(), Greetings::default());
        assert_eq!(set("adopt", "No").unwrap().adopt, Adopt::No);
        assert_eq!(
            set("adopt", "/a/b").unwrap().adopt,
            Adopt::Folder(PathBuf::from("/a/b"))
        );
        assert_eq!(
            set("import_folders", "/a, /b/ ,").unwrap().import_folders,
            [PathBuf::from("/a"), PathBuf::from("/b")]
        );
    }

    #[test]
    fn limits_are_held_and_go_together() {
        for (name, wrong) in [
            ("max", "0"),
            ("max", "11m"),
            ("min", "61"),
            ("max_silence", "x"),
            ("silence_threshold", "0"),
            ("max_total", "2d"),
            ("own_phone", "yes"),
            ("pin_attempts", "0"),
            ("pin_lock", "0"),
            ("menu_timeout", "0"),
        ] {
            assert!(set(name, wrong).is_err(), "{name} {wrong}");
        }
        for own_phone in [OwnPhone::Endpoint, OwnPhone::Caller, OwnPhone::No] {
            assert_eq!(set("own_phone", own_phone.word()).unwrap().own_phone, own_phone);
        }
        assert!(set("max", "2").unwrap().contradiction().is_none());
        let mut greetings = set("max", "2").unwrap();
        greetings.set("min", "3").unwrap().unwrap();
        assert_eq!(
            greetings.contradiction().unwrap(),
            "'min' in [greetings] is longer than 'max': 3 s and 2 s"
        );
        assert!(greetings.set("nothing", "1").is_none());
    }
}
