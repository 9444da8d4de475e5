//! The folder that greetings lie in.
//!
//! `operators/TENANT/EXT/KIND-LANGUAGE.wav` at 8 kHz, with `.wav16` beside it (Asterisk's name for 16 kHz, `formats/format_wav.c`)
//! and `sheet.json`; `-` is the tenant of those who have none. `template/` is like one operator's folder. `tmp/` is for what is
//! under way.
//!
//! Invariants:
//! - the files are the truth for what exists; nothing that is no regular file counts, and no link is followed below the folder;
//! - `.wav` and `.wav16` hold the same recording. They are renamed one after the other, and a crash in between leaves them
//!   apart: then the `.wav`, which goes first, counts, and the other is removed.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::exchange::Exchange;
use super::notes;
use crate::core::greeting::greeting::{Greeting, language};
use crate::core::greeting::kind::Kind;
use crate::core::greeting::operator::Operator;
use crate::core::greeting::sound::{self, Sound};
use crate::core::recording::pcm::{self, Coding};

pub(super) const OPERATORS: &str = "operators";
pub(super) const TEMPLATE: &str = "template";
/// The tenant of those who have none.
pub(super) const NO_TENANT: &str = "-";
const TMP: &str = "tmp";
/// Bytes of all names below the folder that are not unusually long.
const ROOM: usize = 96;
/// Samples a second of a `.wav` and of a `.wav16`.
pub(super) const NARROW: u32 = 8_000;
pub(super) const WIDE: u32 = 16_000;
/// Bytes of a file that is read: ten minutes in stereo at 48 kHz.
pub(super) const LARGEST: u64 = 128 << 20;

/// What a recording is called, without extension.
pub(super) fn name(kind: Kind, language: &str) -> String {
    format!("{}-{language}", kind.word())
}

/// What a name without extension means.
pub(super) fn read_name(name: &str) -> Option<(Kind, &str)> {
    let (kind, spoken) = name.split_once('-')?;
    let kind = Kind::ALL.into_iter().find(|known| known.word() == kind)?;
    Some((kind, language(spoken).ok()?))
}

/// The folder of an operator, or of the templates.
pub(super) fn folder(root: &Path, operator: Option<&Operator>) -> PathBuf {
    // With room for a recording's name: a channel may wait for its path.
    let mut folder = PathBuf::with_capacity(root.as_os_str().len() + ROOM);
    folder.push(root);
    match operator {
        None => folder.push(TEMPLATE),
        Some(operator) => {
            folder.push(OPERATORS);
            folder.push(if operator.tenant().is_empty() {
                NO_TENANT
            } else {
                operator.tenant()
            });
            folder.push(operator.ext());
        }
    }
    folder
}

/// Where what is under way lies.
pub(super) fn tmp(root: &Path) -> PathBuf {
    root.join(TMP)
}

/// Makes the folders that are not there, and empties what a crash has left.
pub(super) fn open(root: &Path) -> Result<(), String> {
    let named = |path: &Path, error: &io::Error| format!("{}: {error}", path.display());
    if !root.is_dir() {
        // The folder above is the spool's too, which is for nobody else (`delivery::spool`).
        let above = root.parent().unwrap_or(root);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(above)
            .and_then(|()| make(root, 0o750))
            .map_err(|error| named(root, &error))?;
    }
    for below in [OPERATORS, TEMPLATE] {
        let folder = root.join(below);
        make(&folder, 0o750).map_err(|error| named(&folder, &error))?;
    }
    let tmp = tmp(root);
    make(&tmp, 0o700)
        .and_then(|()| fs::read_dir(&tmp))
        .and_then(|entries| {
            for entry in entries {
                let entry = entry?;
                if !entry.file_type()?.is_dir() {
                    fs::remove_file(entry.path())?;
                }
            }
            Ok(())
        })
        .map_err(|error| named(&tmp, &error))
}

/// Makes one folder where there is none. What leads elsewhere is refused.
fn make(folder: &Path, mode: u32) -> io::Result<()> {
    match fs::symlink_metadata(folder) {
        Ok(about) if about.is_dir() => Ok(()),
        Ok(_) => Err(io::Error::new(
            ErrorKind::NotADirectory,
            "it is no folder, and a link is not followed",
        )),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            match DirBuilder::new().mode(mode).create(folder) {
                // Somebody else's recording of the same operator.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
                Err(error) => Err(error),
                Ok(()) => fs::set_permissions(folder, Permissions::from_mode(mode)),
            }
        }
        Err(error) => Err(error),
    }
}

/// Makes an operator's folder.
pub(super) fn make_folder(root: &Path, operator: Option<&Operator>) -> Result<PathBuf, String> {
    let folder = folder(root, operator);
    let own = operator.and_then(|_| folder.parent());
    for folder in own.into_iter().chain([folder.as_path()]) {
        make(folder, 0o750).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    Ok(folder)
}

/// Opens a regular file and nothing else, without waiting.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(ErrorKind::InvalidInput, "it is not a file"))
    }
}

/// All of a regular file.
pub(super) fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let file = open_file(path)?;
    if file.metadata()?.len() > LARGEST {
        return Err(io::Error::new(ErrorKind::FileTooLarge, "it is too large"));
    }
    let mut bytes = Vec::new();
    // It may grow while it is read.
    file.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Tenants' names and numbers of those whose folders are there, as they are called.
pub(super) fn operators(root: &Path) -> Result<Vec<(String, String)>, String> {
    let root = root.join(OPERATORS);
    let mut found = Vec::new();
    for tenant in folders(&root)? {
        found.extend(
            folders(&root.join(&tenant))?
                .into_iter()
                .map(|ext| (tenant.clone(), ext)),
        );
    }
    Ok(found)
}

/// The operator's name in the dialplan, by those of his folders.
pub(super) fn operator_name(tenant: &str, ext: &str) -> String {
    if tenant == NO_TENANT {
        ext.to_owned()
    } else {
        format!("{ext}@{tenant}")
    }
}

/// The names of the folders in a folder, in order.
fn folders(folder: &Path) -> Result<Vec<String>, String> {
    let named = |error: &io::Error| format!("{}: {error}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| named(&error))? {
        let entry = entry.map_err(|error| named(&error))?;
        // The type of the entry itself: a link to a folder is none.
        if entry.file_type().map_err(|error| named(&error))?.is_dir()
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The names of what is no folder in a folder, in order; none where there is no folder.
pub(super) fn files(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if !entry.file_type()?.is_dir()
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// What is recorded in a folder of ours.
pub(super) fn load(folder: &Path) -> Result<Vec<Greeting>, String> {
    let fault = |error: io::Error| format!("{}: {error}", folder.display());
    let names = files(folder).map_err(fault)?;
    let mut greetings = Vec::new();
    for file in &names {
        if notes::is_left_over(file) {
            // It may stay; it is nobody's.
            let _ = fs::remove_file(folder.join(file));
        }
        let Some(name) = file.strip_suffix(".wav") else {
            continue;
        };
        let Some((kind, language)) = read_name(name) else {
            log::warn!("{} is no greeting's name", folder.join(file).display());
            continue;
        };
        let path = folder.join(file);
        let narrow = match examine(&path, NARROW) {
            Ok(found) => found,
            Err(error) => {
                log::warn!("{} is not played: {error}", path.display());
                continue;
            }
        };
        greetings.push(Greeting {
            kind,
            language: language.to_owned(),
            length: sound::length(narrow.samples, NARROW),
            bytes: narrow.bytes,
            modified: u64::try_from(narrow.modified.0).unwrap_or(0),
            wide: has_twin(&path, &narrow),
            plays: 0,
        });
    }
    Ok(greetings)
}

struct Examined {
    samples: u64,
    bytes: u64,
    /// Seconds and the rest in nanoseconds.
    modified: (i64, i64),
}

/// Whether Asterisk would play the file, and how long it is.
fn examine(path: &Path, rate: u32) -> io::Result<Examined> {
    let file = open_file(path)?;
    let about = file.metadata()?;
    let mut head = Vec::new();
    file.take(pcm::HEAD as u64).read_to_end(&mut head)?;
    let wave = pcm::wave(&head, about.len()).map_err(io::Error::other)?;
    if (wave.rate, wave.channels, wave.coding) != (rate, 1, Coding::Linear) {
        return Err(io::Error::other(format!(
            "it is not mono with 16 bits at {rate} Hz"
        )));
    }
    Ok(Examined {
        samples: wave.length / 2,
        bytes: about.len(),
        modified: (about.mtime(), about.mtime_nsec()),
    })
}

/// Whether the same recording lies beside it at 16 kHz. What is another recording goes.
fn has_twin(narrow_path: &Path, narrow: &Examined) -> bool {
    let path = narrow_path.with_extension("wav16");
    let same = match examine(&path, WIDE) {
        Err(error) if error.kind() == ErrorKind::NotFound => return false,
        Err(_) => false,
        // Both are given the same moment when they are written, and no other two are (see `Kept::moment`); so this holds unless
        // somebody has copied them. Where a file system keeps seconds alone the length tells most others apart.
        Ok(wide) if wide.modified == narrow.modified => wide.samples.div_ceil(2) == narrow.samples,
        Ok(_) => {
            let read = |path: &Path| Sound::from_wav(&read_file(path).ok()?).ok();
            match (read(&path), read(narrow_path)) {
                (Some(wide), Some(narrow)) => wide.resampled(NARROW) == narrow,
                _ => false,
            }
        }
    };
    if !same {
        log::warn!(
            "{} is not what {} is, and is removed",
            path.display(),
            narrow_path.display()
        );
        if let Err(error) = fs::remove_file(&path) {
            log::error!("{}: {error}", path.display());
        }
    }
    same
}

/// A sound, as it is kept.
pub(super) struct Kept {
    narrow: Vec<u8>,
    wide: Option<Vec<u8>>,
    /// What its files are dated: the second in which it was recorded, and within it some nanosecond of its own. A crash that leaves
    /// one file of this recording beside one of another, made in the same second, is seen by that.
    moment: SystemTime,
    /// What will be known of it.
    pub(super) greeting: Greeting,
}

impl Kept {
    /// Converts it.
    pub(super) fn new(kind: Kind, language: &str, sound: &Sound, modified: SystemTime) -> Self {
        // By way of 16 kHz, so that the narrow one can be made of the wide one again, bit by bit.
        let wide = (sound.rate >= WIDE).then(|| sound.resampled(WIDE));
        let narrow = wide.as_ref().unwrap_or(sound).resampled(NARROW);
        let bytes = narrow.to_wav(NARROW);
        let modified = modified
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        Self {
            moment: moment(modified),
            greeting: Greeting {
                kind,
                language: language.to_owned(),
                length: narrow.length(),
                bytes: bytes.len() as u64,
                modified,
                wide: wide.is_some(),
                plays: 0,
            },
            narrow: bytes,
            wide: wide.map(|wide| wide.to_wav(WIDE)),
        }
    }

    /// The same under another language.
    pub(super) fn renamed(self, language: &str) -> Self {
        Self {
            greeting: Greeting {
                language: language.to_owned(),
                ..self.greeting
            },
            ..self
        }
    }

    /// One that is kept already.
    pub(super) fn read(folder: &Path, greeting: &Greeting) -> Result<Self, String> {
        let name = name(greeting.kind, &greeting.language);
        let read = |extension: &str| {
            let path = folder.join(format!("{name}.{extension}"));
            read_file(&path).map_err(|error| format!("{}: {error}", path.display()))
        };
        Ok(Self {
            narrow: read("wav")?,
            wide: greeting.wide.then(|| read("wav16")).transpose()?,
            moment: moment(greeting.modified),
            greeting: greeting.clone(),
        })
    }

    /// The file at 8 kHz.
    pub(super) fn narrow(&self) -> &[u8] {
        &self.narrow
    }

    /// Each file with its extension.
    pub(super) fn files(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        let wide = self.wide.iter().map(|wide| ("wav16", wide.as_slice()));
        [("wav", self.narrow.as_slice())].into_iter().chain(wide)
    }

    /// What its files are dated.
    pub(super) fn moment(&self) -> SystemTime {
        self.moment
    }

    /// Plans that it lies in that folder, and no other format of its name does.
    pub(super) fn plan(&self, exchange: &mut Exchange, folder: &Path) -> Result<(), String> {
        let name = name(self.greeting.kind, &self.greeting.language);
        for (extension, bytes) in self.files() {
            exchange.put(folder.join(format!("{name}.{extension}")), bytes, self.moment)?;
        }
        let wide = self.wide.is_some();
        plan_removal(exchange, folder, |file| {
            file.strip_prefix(&name)
                .and_then(|rest| rest.strip_prefix('.'))
                .is_some_and(|extension| extension != "wav" && !(wide && extension == "wav16"))
        })
    }
}

/// A moment of its own within this second since 1970.
fn moment(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(second, fastrand::u32(0..1_000_000_000))
}

/// Plans that files go whose names are unwanted.
pub(super) fn plan_removal(
    exchange: &mut Exchange,
    folder: &Path,
    is_unwanted: impl Fn(&str) -> bool,
) -> Result<(), String> {
    let names = files(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for name in names.iter().filter(|name| is_unwanted(name)) {
        exchange.remove(folder.join(name));
    }
    Ok(())
}

/// Whether a file's name is that of a recording of this kind and language, in whatever format.
pub(super) fn is_of(file: &str, wanted: impl Fn(Kind, &str) -> bool) -> bool {
    let Some((name, _)) = file.split_once('.') else {
        return false;
    };
    read_name(name).is_some_and(|(kind, language)| wanted(kind, language))
}
