//! What the article's dialplan has: `op_alert/EXT` in Asterisk's database and `rec_EXT.wav`.
//!
//! Invariants:
//! - each operator's is taken over once, so that a greeting which was deleted here does not come back;
//! - from then on it is kept in step, one way: what is ours counts. A dialplan that has not been switched over yet goes on to
//!   play what callers hear from us;
//! - a flag without a recording is nothing: the article's dialplan sets it before there is one, and leaves it after a hangup.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::exchange::write;
use super::shelf::{self, Kept};
use super::{Setup, Shared};
use crate::core::greeting::greeting::{Greeting, Sheet};
use crate::core::greeting::kind::Kind;
use crate::core::greeting::operator::Operator;
use crate::core::settings::greetings::LONGEST;

/// What the article's dialplan plays is Russian: it says so in the path.
const LANGUAGE: &str = "ru";

/// How closely the article's file is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// At all of it: ours has just changed.
    Inside,
    /// At size and time: nothing has changed since, and there may be hundreds.
    AtDates,
}

/// Whose flags there are.
#[derive(Default)]
pub(super) struct Legacy(Mutex<HashSet<String>>);

impl Legacy {
    fn knows(&self, ext: &str) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(ext)
    }
}

fn file(folder: &Path, ext: &str) -> PathBuf {
    folder.join(format!("rec_{ext}.wav"))
}

impl Shared {
    /// Takes over what was not taken over yet, and brings the rest into step.
    pub(super) fn adopt(&self) {
        let setup = self.setup();
        let Some(folder) = &setup.adopt else {
            *self.legacy.0.lock().unwrap_or_else(PoisonError::into_inner) = HashSet::new();
            return;
        };
        let flags: HashMap<String, String> = self.around.legacy_flags().into_iter().collect();
        let known = flags.keys().cloned().collect();
        *self.legacy.0.lock().unwrap_or_else(PoisonError::into_inner) = known;
        let recorded = shelf::files(folder).unwrap_or_else(|error| {
            log::warn!(
                "Greetings cannot be taken over from {}: {error}",
                folder.display()
            );
            Vec::new()
        });
        let recorded = recorded
            .iter()
            .filter_map(|name| name.strip_prefix("rec_")?.strip_suffix(".wav"));
        let exts: BTreeSet<&str> = flags.keys().map(String::as_str).chain(recorded).collect();
        let mut adopted = 0;
        for ext in exts {
            let Ok(operator) = Operator::parse(ext.as_bytes(), &setup.operators) else {
                continue;
            };
            // No tenant has flags of his own.
            if !operator.tenant().is_empty() {
                continue;
            }
            let sheet = self.catalogue.sheet(Some(&operator));
            if sheet.adopted || sheet.kinds().any(|kind| kind == Kind::Default) {
                self.catalogue.at_desk(Some(&operator), |_| {
                    let sheet = self.catalogue.sheet(Some(&operator));
                    self.keep_in_step(&setup, &operator, &sheet, Look::AtDates);
                });
                continue;
            }
            let on = flags.get(ext).is_some_and(|flag| flag == "true");
            // Who has others here has begun with ours: what the article's dialplan did not play is not played now.
            if !sheet.greetings.is_empty() && !on {
                continue;
            }
            let enabled = sheet.enabled && (on || !sheet.greetings.is_empty());
            match self.adopt_one(&file(folder, ext), &operator, enabled) {
                Ok(true) => adopted += 1,
                Ok(false) => {}
                Err(text) => log::warn!("The greeting of {operator} is not taken over: {text}"),
            }
        }
        if adopted > 0 {
            log::info!("{adopted} greetings were taken over from {}", folder.display());
        }
    }

    /// False when there is none.
    fn adopt_one(&self, file: &Path, operator: &Operator, enabled: bool) -> Result<bool, String> {
        let about = match fs::symlink_metadata(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            about => about.map_err(|error| format!("{}: {error}", file.display()))?,
        };
        let sound = self.sound(file)?;
        // The article's dialplan knows no limits, so ours do not hold for what it has recorded.
        if sound.samples.is_empty() || sound.length() > LONGEST {
            return Err(format!(
                "{} plays {:.1} s",
                file.display(),
                sound.length().as_secs_f64()
            ));
        }
        let modified = about.modified().unwrap_or(std::time::SystemTime::UNIX_EPOCH);
        let kept = Kept::new(Kind::Default, LANGUAGE, &sound, modified);
        self.keep(Some(operator), &kept, None, "adopted", "op_alert", &|sheet| {
            sheet.enabled = enabled;
            sheet.adopted = true;
        })?;
        Ok(true)
    }

    /// Has the article's dialplan play what ours does. At the operator's desk.
    pub(super) fn keep_in_step(&self, setup: &Setup, operator: &Operator, sheet: &Sheet, look: Look) {
        let Some(folder) = &setup.adopt else {
            return;
        };
        let ext = operator.ext();
        if !operator.tenant().is_empty() || !self.legacy.knows(ext) {
            return;
        }
        let greeting = sheet.best(Kind::Default, LANGUAGE, &setup.default_language);
        let path = file(folder, ext);
        let done = match greeting {
            None => match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    Err(format!("{}: {error}", path.display()))
                }
                _ => Ok(()),
            },
            Some(greeting) if look == Look::AtDates && is_of_date(&path, greeting) => Ok(()),
            Some(greeting) => {
                Kept::read(&shelf::folder(&setup.folder, Some(operator)), greeting).and_then(|kept| {
                    replace(&path, &kept).map_err(|error| format!("{}: {error}", path.display()))
                })
            }
        };
        if let Err(text) = done {
            log::warn!("The article's greeting of {operator} is not in step with ours: {text}");
        }
        self.around
            .set_legacy_flag(ext, sheet.enabled && greeting.is_some());
    }
}

/// Puts our recording in the place of the article's.
fn replace(path: &Path, kept: &Kept) -> io::Result<()> {
    if shelf::read_file(path).is_ok_and(|bytes| bytes == kept.narrow()) {
        return Ok(());
    }
    let folder = path.parent().ok_or(ErrorKind::InvalidInput)?;
    let beside = folder.join(format!(".{:016x}.wav", fastrand::u64(..)));
    let replaced = write(&beside, kept.narrow(), kept.moment()).and_then(|()| fs::rename(&beside, path));
    if replaced.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&beside);
    }
    replaced
}

/// By its size and its time.
fn is_of_date(path: &Path, greeting: &Greeting) -> bool {
    fs::symlink_metadata(path).is_ok_and(|about| {
        about.is_file()
            && about.size() == greeting.bytes
            && u64::try_from(about.mtime()).is_ok_and(|modified| modified == greeting.modified)
    })
}
