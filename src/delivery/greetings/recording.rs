//! Somebody records for an operator.
//!
//! Invariants:
//! - one at a time for an operator: the others are told so;
//! - nothing of it lies on the disk under a name that anybody plays until it is saved, and a draft goes with its value.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::exchange::{private_name, write};
use super::shelf::{self, Kept};
use super::{Greetings, spoken};
use crate::core::greeting::kind::Kind;
use crate::core::greeting::operator::Operator;
use crate::core::greeting::sound::Sound;

/// A recording for an operator, under way. As long as it lives there is no other.
pub struct Recording<'a> {
    greetings: &'a Greetings,
    operator: Operator,
}

/// A recording to listen to before it is saved. Its files go with it.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
}

impl Draft {
    /// For Playback: without extension.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        for extension in ["wav", "wav16"] {
            // A narrow one has no wide file.
            let _ = fs::remove_file(self.path.with_extension(extension));
        }
    }
}

impl<'a> Recording<'a> {
    /// Begins; `None` while somebody else records for him.
    pub(super) fn begin(greetings: &'a Greetings, operator: &Operator) -> Option<Self> {
        greetings.shared.catalogue.lock(operator).then(|| Self {
            greetings,
            operator: operator.clone(),
        })
    }

    /// Writes the sound where it can be listened to.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn draft(&self, sound: &Sound) -> Result<Draft, String> {
        let setup = self.greetings.shared.setup();
        let draft = Draft {
            path: private_name(&shelf::tmp(&setup.folder)),
        };
        let kept = Kept::new(Kind::Default, "", sound, SystemTime::UNIX_EPOCH);
        for (extension, bytes) in kept.files() {
            let file = draft.path.with_extension(extension);
            write(&file, bytes, SystemTime::now()).map_err(|error| format!("{}: {error}", file.display()))?;
        }
        Ok(draft)
    }

    /// Saves it: what callers hear from now on. What is beyond the longest that it may be is cut off.
    ///
    /// # Errors
    /// A sentence; the old greeting is as it was.
    pub fn save(self, kind: Kind, language: &str, sound: &Sound, by: &str) -> Result<(), String> {
        let shared = &self.greetings.shared;
        let setup = shared.setup();
        let language = spoken(&setup, language)?;
        let most = setup.settings.max.as_secs() as usize * sound.rate as usize;
        let cut;
        let sound = if sound.samples.len() > most {
            cut = Sound {
                rate: sound.rate,
                samples: sound.samples[..most].to_vec(),
            };
            &cut
        } else {
            sound
        };
        shared.fits(sound)?;
        let kept = Kept::new(kind, &language, sound, shared.clock_time());
        let most = Some(setup.settings.max_total);
        shared.keep(Some(&self.operator), &kept, most, "recorded", by, &|_| {})
    }
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        self.greetings.shared.catalogue.unlock(&self.operator);
    }
}
