//! Greetings from files and folders, and into a folder.
//!
//! Invariants:
//! - the dialplan and AMI import from the folders of `import_folders` alone, once every link in the path is resolved;
//! - what was exported and is imported again is the same, byte by byte;
//! - one that cannot be imported keeps no other from it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::exchange::{Exchange, write};
use super::notes::{self, Notes};
use super::shelf::{self, Kept, OPERATORS, TEMPLATE};
use super::{Setup, Shared, spoken};
use crate::core::greeting::greeting::Sheet;
use crate::core::greeting::kind::Kind;
use crate::core::greeting::operator::Operator;
use crate::core::greeting::selection::Selection;
use crate::core::greeting::sound::Sound;
use crate::delivery::private_file;

/// Refusals that are named one by one.
const NAMED: usize = 20;

/// What an import of a folder came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Operators who were given something.
    pub operators: usize,
    /// Recordings, the templates' too.
    pub greetings: usize,
    /// What was left out and why: the first 20, and how many more.
    pub refused: Vec<String>,
    more: usize,
}

impl Imported {
    fn refuse(&mut self, text: String) {
        if self.refused.len() < NAMED {
            self.refused.push(text);
        } else {
            self.more += 1;
        }
    }

    fn finish(mut self) -> Self {
        if self.more > 0 {
            self.refused
                .push(format!("{} more were refused as well", self.more));
        }
        self
    }
}

impl Shared {
    /// Sound from a file of any format.
    pub(super) fn sound(&self, file: &Path) -> Result<Sound, String> {
        let named = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let about = shelf::open_file(file)
            .and_then(|file| file.metadata())
            .map_err(|error| named(&error))?;
        if about.len() > shelf::LARGEST {
            return Err(named(&"it is too large"));
        }
        let is_wave = file
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("wav") || extension == "wav16");
        if !is_wave {
            return self.around.decode(file).map_err(|fault| named(&fault));
        }
        let bytes = shelf::read_file(file).map_err(|error| named(&error))?;
        // wav49 is GSM in such a file, which Asterisk reads.
        Sound::from_wav(&bytes).or_else(|fault| {
            self.around
                .decode(file)
                .map_err(|other| named(&format!("{fault}, and Asterisk: {other}")))
        })
    }

    /// Refuses what is shorter or longer than it may be.
    pub(super) fn fits(&self, sound: &Sound) -> Result<(), String> {
        let setup = self.setup();
        let (length, settings) = (sound.length(), &setup.settings);
        if sound.samples.is_empty() {
            return Err("there is no sound in it".to_owned());
        }
        if length < settings.min {
            return Err(format!(
                "it lasts {:.1} s, and min in [greetings] is {} s",
                length.as_secs_f64(),
                settings.min.as_secs()
            ));
        }
        // A frame more is nobody's fault.
        if length > settings.max + Duration::from_millis(100) {
            return Err(format!(
                "it lasts {:.1} s, and max in [greetings] is {} s",
                length.as_secs_f64(),
                settings.max.as_secs()
            ));
        }
        Ok(())
    }

    /// A file becomes a greeting.
    pub(super) fn import(
        &self,
        operator: Option<&Operator>,
        kind: Kind,
        language: &str,
        file: &Path,
        by: &str,
    ) -> Result<(), String> {
        let real = fs::canonicalize(file).map_err(|error| format!("{}: {error}", file.display()))?;
        self.import_as(operator, kind, language, &real, self.clock_time(), by)
    }

    /// The dialplan's, or AMI's.
    pub(super) fn import_permitted(
        &self,
        operator: &Operator,
        kind: Kind,
        file: &Path,
        by: &str,
    ) -> Result<(), String> {
        let real = permitted(&self.setup(), file)?;
        self.import_as(Some(operator), kind, "", &real, self.clock_time(), by)
    }

    fn import_as(
        &self,
        operator: Option<&Operator>,
        kind: Kind,
        language: &str,
        file: &Path,
        modified: SystemTime,
        by: &str,
    ) -> Result<(), String> {
        let sound = self.sound(file)?;
        self.fits(&sound)
            .map_err(|fault| format!("{}: {fault}", file.display()))?;
        let setup = self.setup();
        let kept = Kept::new(kind, &spoken(&setup, language)?, &sound, modified);
        let most = Some(setup.settings.max_total);
        self.keep(operator, &kept, most, "imported", by, &|_| {})
    }

    /// Everything in a folder: what was exported, or files that are called by the operator's number, such as `101.wav`,
    /// `rec_101.wav` or `101-busy-ru.wav`.
    pub(super) fn import_folder(&self, folder: &Path, by: &str) -> Result<Imported, String> {
        let mut imported = Imported::default();
        let mut found = false;
        if fs::symlink_metadata(folder.join(OPERATORS)).is_ok_and(|about| about.is_dir()) {
            found = true;
            for (tenant, ext) in shelf::operators(folder)? {
                let name = shelf::operator_name(&tenant, &ext);
                let from = folder.join(OPERATORS).join(&tenant).join(&ext);
                match Operator::parse(name.as_bytes(), &self.setup().operators) {
                    Ok(operator) => self.import_exported(Some(&operator), &from, by, &mut imported),
                    Err(fault) => imported.refuse(fault),
                }
            }
        }
        let template = folder.join(TEMPLATE);
        if fs::symlink_metadata(&template).is_ok_and(|about| about.is_dir()) {
            found = true;
            self.import_exported(None, &template, by, &mut imported);
        }
        let names = shelf::files(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut last = None;
        for name in names {
            // What is no sound, such as a list of what is there.
            if name.starts_with('.') || !name.contains('.') {
                continue;
            }
            found = true;
            let file = folder.join(&name);
            let done = self.read_file_name(&name).and_then(|(operator, kind, language)| {
                self.import_as(Some(&operator), kind, language, &file, self.clock_time(), by)?;
                Ok(operator)
            });
            match done {
                Ok(operator) => {
                    imported.greetings += 1;
                    // In order, those of one operator stand together, mostly.
                    if last.as_ref() != Some(&operator) {
                        imported.operators += 1;
                        last = Some(operator);
                    }
                }
                Err(fault) => imported.refuse(fault),
            }
        }
        if !found {
            return Err(format!(
                "{} holds neither an export nor sound files that are called by an operator's number",
                folder.display()
            ));
        }
        Ok(imported.finish())
    }

    /// Whose greeting a file is, by its name.
    fn read_file_name<'a>(&self, name: &'a str) -> Result<(Operator, Kind, &'a str), String> {
        let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
        let stem = stem.strip_prefix("rec_").unwrap_or(stem);
        let operators = &self.setup().operators;
        // A number may have a hyphen in it, so the kind is looked for from each.
        for (at, _) in stem.match_indices('-') {
            let (ext, rest) = (&stem[..at], &stem[at + 1..]);
            let (kind, language) = match shelf::read_name(rest) {
                Some((kind, language)) => (Some(kind), language),
                None => (Kind::ALL.into_iter().find(|kind| kind.word() == rest), ""),
            };
            if let Some(kind) = kind {
                return Operator::parse(ext.as_bytes(), operators).map(|operator| (operator, kind, language));
            }
        }
        Operator::parse(stem.as_bytes(), operators).map(|operator| (operator, Kind::Default, ""))
    }

    fn import_exported(&self, operator: Option<&Operator>, from: &Path, by: &str, imported: &mut Imported) {
        let names = match shelf::files(from) {
            Ok(names) => names,
            Err(error) => return imported.refuse(format!("{}: {error}", from.display())),
        };
        let mut any = false;
        for file in &names {
            let Some((kind, language)) = file.strip_suffix(".wav").and_then(shelf::read_name) else {
                continue;
            };
            let narrow = from.join(file);
            let wide = narrow.with_extension("wav16");
            let best = if names.iter().any(|name| from.join(name) == wide) {
                &wide
            } else {
                &narrow
            };
            let modified = fs::symlink_metadata(&narrow).and_then(|about| about.modified());
            let modified = modified.unwrap_or_else(|_| self.clock_time());
            match self.import_as(operator, kind, language, best, modified, by) {
                Ok(()) => {
                    any = true;
                    imported.greetings += 1;
                }
                Err(fault) => imported.refuse(fault),
            }
        }
        let Some(operator) = operator else {
            return;
        };
        if names.iter().any(|name| from.join(name) == notes::path(from)) {
            match self.apply_exported(operator, &Notes::read(from), by) {
                Ok(()) => any = true,
                Err(fault) => imported.refuse(format!("{operator}: {fault}")),
            }
        }
        imported.operators += usize::from(any);
    }

    /// What was exported of an operator and is no sound; his PIN stays what it is.
    fn apply_exported(&self, operator: &Operator, notes: &Notes, by: &str) -> Result<(), String> {
        self.catalogue.at_desk(Some(operator), |desk| {
            let exchange = Exchange::new(shelf::tmp(&self.setup().folder));
            let now = self.now();
            self.alter(desk, Some(operator), exchange, &|sheet| {
                let before = sheet.clone();
                notes.apply(sheet);
                sheet.adopted = before.adopted;
                sheet.has_pin = before.has_pin;
                // What had ended by then did not come back because it was imported.
                if sheet.presence_at(now) != sheet.presence {
                    sheet.presence = sheet.presence_at(now);
                }
                sheet.expires.retain(|_, end| *end > now);
            })?;
            self.tell(Some(operator), None, "imported", by);
            Ok(())
        })
    }

    /// Writes the operators that match and the templates into a new folder.
    pub(super) fn export(&self, folder: &Path, which: &Selection) -> Result<usize, String> {
        let named = |path: &Path, error: &io::Error| format!("{}: {error}", path.display());
        for below in [OPERATORS, TEMPLATE] {
            let below = folder.join(below);
            if fs::symlink_metadata(&below).is_ok() {
                return Err(format!(
                    "{} is there already: export into an empty folder",
                    below.display()
                ));
            }
        }
        let known = self.catalogue.known();
        let wanted: Vec<Operator> = known
            .into_iter()
            .map(|(operator, _)| operator)
            .filter(|operator| which.means(operator))
            .collect();
        let make = |folder: &Path| {
            DirBuilder::new()
                .recursive(true)
                .mode(0o750)
                .create(folder)
                .map_err(|error| named(folder, &error))
        };
        make(&folder.join(OPERATORS))?;
        for operator in wanted.iter().map(Some).chain([None]) {
            self.catalogue.at_desk(operator, |_| {
                let sheet = self.catalogue.sheet(operator);
                if *sheet == Sheet::default() {
                    return Ok(());
                }
                let to = shelf::folder(folder, operator);
                make(&to)?;
                let from = shelf::folder(&self.setup().folder, operator);
                for greeting in &sheet.greetings {
                    let kept = Kept::read(&from, greeting)?;
                    let name = shelf::name(greeting.kind, &greeting.language);
                    for (extension, bytes) in kept.files() {
                        let path = to.join(format!("{name}.{extension}"));
                        write(&path, bytes, kept.moment()).map_err(|error| named(&path, &error))?;
                    }
                }
                let path = notes::path(&to);
                private_file::replace(&path, &Notes::exported(&sheet).to_text())
                    .map_err(|error| named(&path, &error))
            })?;
        }
        Ok(wanted.len())
    }
}

/// The file that the dialplan means, if it may be imported.
fn permitted(setup: &Setup, file: &Path) -> Result<PathBuf, String> {
    let outside = || {
        format!(
            "{} lies in none of the folders of import_folders in [greetings]",
            file.display()
        )
    };
    let roots: Vec<PathBuf> = setup
        .import_folders
        .iter()
        .filter_map(|folder| fs::canonicalize(folder).ok())
        .collect();
    // A relative one is looked for in each; an absolute one replaces them. As Playback does, the extension may be left off.
    for folder in &setup.import_folders {
        let path = folder.join(file);
        let with = |extension: &str| {
            let mut path = path.clone().into_os_string();
            path.push(extension);
            PathBuf::from(path)
        };
        for candidate in [path.clone(), with(".wav16"), with(".wav")] {
            let Ok(real) = fs::canonicalize(candidate) else {
                continue;
            };
            if !roots.iter().any(|root| real.starts_with(root)) {
                // Whether there is such a file is not told.
                return Err(outside());
            }
            if real.is_file() {
                return Ok(real);
            }
        }
    }
    let inside = setup.import_folders.iter().any(|folder| {
        folder.join(file).starts_with(folder) && !file.components().any(|part| part.as_os_str() == "..")
    });
    Err(if inside {
        format!("{} is not there", file.display())
    } else {
        outside()
    })
}
