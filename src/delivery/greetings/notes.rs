//! `sheet.json`: what is known of an operator's greetings and is no sound.
//!
//! Invariants:
//! - it is a private file (`delivery::private_file`), because a PIN of four digits is guessed from its hash in a minute;
//! - what is damaged counts as nothing, which lets nobody in: without a PIN none is right.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::pin::StoredPin;
use super::shelf;
use crate::core::greeting::greeting::Sheet;
use crate::core::greeting::kind::{Kind, Presence};
use crate::core::greeting::pin::Attempts;
use crate::delivery::private_file;

/// Longer ones are not ours.
const LONGEST: u64 = 1 << 20;

/// The file's contents.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Notes {
    pub(super) enabled: bool,
    presence: String,
    /// By a kind's word.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    expires: BTreeMap<String, u64>,
    /// By a recording's name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    plays: BTreeMap<String, u64>,
    pub(super) adopted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pin: Option<StoredPin>,
    wrong: u32,
    locked_until: u64,
}

impl Default for Notes {
    fn default() -> Self {
        Self::new(&Sheet::default(), None, Attempts::default())
    }
}

impl Notes {
    /// What there is to note.
    pub(super) fn new(sheet: &Sheet, pin: Option<StoredPin>, attempts: Attempts) -> Self {
        let plays = sheet.greetings.iter().filter(|greeting| greeting.plays > 0);
        Self {
            enabled: sheet.enabled,
            presence: sheet.presence.word().to_owned(),
            expires: sheet
                .expires
                .iter()
                .map(|(kind, end)| (kind.word().to_owned(), *end))
                .collect(),
            plays: plays
                .map(|greeting| (shelf::name(greeting.kind, &greeting.language), greeting.plays))
                .collect(),
            adopted: sheet.adopted,
            pin,
            wrong: attempts.wrong,
            locked_until: attempts.until,
        }
    }

    /// The same for somebody else's eyes: without what belongs to this PBX alone.
    pub(super) fn exported(sheet: &Sheet) -> Self {
        Self {
            adopted: false,
            ..Self::new(sheet, None, Attempts::default())
        }
    }

    /// Enters everything into a sheet whose recordings are there already.
    pub(super) fn apply(&self, sheet: &mut Sheet) {
        sheet.enabled = self.enabled;
        sheet.presence = Presence::parse(&self.presence).unwrap_or_default();
        let expires = self.expires.iter();
        sheet.expires = expires
            .filter_map(|(kind, end)| Some((Kind::parse(kind).ok()?, *end)))
            .collect();
        for greeting in &mut sheet.greetings {
            let name = shelf::name(greeting.kind, &greeting.language);
            greeting.plays = self.plays.get(&name).copied().unwrap_or(0);
        }
        sheet.adopted = self.adopted;
        sheet.has_pin = self.pin.is_some();
    }

    /// What is remembered of wrong PINs.
    pub(super) fn attempts(&self) -> Attempts {
        Attempts {
            wrong: self.wrong,
            until: self.locked_until,
        }
    }

    /// The file's text.
    pub(super) fn to_text(&self) -> String {
        // Maps with texts for keys, and numbers: nothing of it can fail.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Makes the file hold this, as far as the disk; nothing to note needs no file. True when that has synced the folder, too.
    pub(super) fn write(&self, folder: &Path) -> Result<bool, String> {
        let path = path(folder);
        let named = |error: &io::Error| format!("{}: {error}", path.display());
        if *self == Self::default() {
            return match fs::remove_file(&path) {
                Ok(()) => fs::File::open(folder)
                    .and_then(|folder| folder.sync_all())
                    .map(|()| true)
                    .map_err(|error| named(&error)),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
                Err(error) => Err(named(&error)),
            };
        }
        private_file::replace(&path, &self.to_text()).map_err(|error| named(&error))?;
        Ok(true)
    }

    /// Reads the file.
    pub(super) fn read(folder: &Path) -> Self {
        let path = path(folder);
        let read = shelf::open_file(&path).and_then(|file| {
            let mut text = String::new();
            file.take(LONGEST).read_to_string(&mut text)?;
            serde_json::from_str(&text).map_err(io::Error::other)
        });
        match read {
            Ok(notes) => notes,
            Err(error) if error.kind() == ErrorKind::NotFound => Self::default(),
            Err(error) => {
                log::error!(
                    "{} is damaged and counts as empty, the PIN in it too: {error}",
                    path.display()
                );
                Self::default()
            }
        }
    }
}

/// Where it lies.
pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join("sheet.json")
}

/// Whether this is what a crash has left of one that was being written.
pub(super) fn is_left_over(name: &str) -> bool {
    name.strip_prefix("sheet.json.")
        .is_some_and(|rest| rest.len() == 16 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
