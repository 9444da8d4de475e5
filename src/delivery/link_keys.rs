//! The keys of the links to recordings, in a file of their own.
//!
//! Invariants:
//! - links that were given out are as good as their keys, so a file that is there is never replaced by a new one: when it
//!   cannot be read or one letter of it is wrong there are no links until the operator has mended it;
//! - the file lies away from the spool, which may be moved aside, and what is installed or uninstalled does not touch it;
//! - it appears and changes in one step, the disk has it before a link is made with it, and only its owner can read it;
//! - whoever asks for the keys never waits for the disk;
//! - no key reaches a message.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ring::rand::{SecureRandom, SystemRandom};

use super::private_file;
use crate::core::link::{KEY_BYTES, Keys};

const NAME: &str = "links.key";

/// Room for every key that there can be.
const LONGEST: u64 = 8 << 20;

/// What happens to the links that were given out before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// They go on working.
    Kept,
    /// They are dead.
    Revoked,
}

/// The keys in use.
pub struct LinkKeys {
    path: PathBuf,
    keys: Mutex<Result<Arc<Keys>, String>>,
    /// Held by whoever reads or writes the file.
    at_file: Mutex<()>,
}

impl LinkKeys {
    /// Keys in a file in `folder`, which is not looked at yet.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self {
            path: folder.join(NAME),
            keys: Mutex::new(Err("they were not needed until now".to_owned())),
            at_file: Mutex::new(()),
        }
    }

    /// Reads the file, or makes it and its folder where there is none; does nothing while there are keys. What is wrong is
    /// logged, and told by [`Self::get`].
    pub fn open(&self) {
        let _alone = self.at_file.lock().unwrap_or_else(PoisonError::into_inner);
        if self.get().is_err() {
            let keys = read_or_make(&self.path).map(Arc::new);
            if let Err(text) = &keys {
                log::error!("There are no links to recordings: {text}");
            }
            self.set(keys);
        }
    }

    fn set(&self, keys: Result<Arc<Keys>, String>) {
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The keys.
    ///
    /// # Errors
    /// Why there are none, and what to do.
    pub fn get(&self) -> Result<Arc<Keys>, String> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Signs with a new key from now on. Returns the keys.
    ///
    /// # Errors
    /// Why everything is as it was.
    pub fn rotate(&self, before: Before) -> Result<Arc<Keys>, String> {
        let _alone = self.at_file.lock().unwrap_or_else(PoisonError::into_inner);
        // The file rules, not what was read of it once: an administrator may have put a backup back. Where it is gone it
        // comes back by this.
        let old = match read(&self.path)? {
            Some(old) => Arc::new(old),
            None => self.get()?,
        };
        let new = old.rotated(random()?).ok_or("there were 65535 keys already")?;
        let new = match before {
            Before::Kept => new,
            Before::Revoked => new.latest_only(),
        };
        let fault = |error: io::Error| format!("{} cannot be written: {error}", self.path.display());
        private_file::replace(&self.path, &new.to_text()).map_err(fault)?;
        let new = Arc::new(new);
        self.set(Ok(Arc::clone(&new)));
        Ok(new)
    }
}

fn read_or_make(path: &Path) -> Result<Keys, String> {
    if let Some(keys) = read(path)? {
        return Ok(keys);
    }
    let keys = Keys::first(random()?);
    match private_file::create(path, &keys.to_text()) {
        Ok(()) => {
            log::info!("A key for links to recordings was made: {}", path.display());
            Ok(keys)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            read(path)?.ok_or_else(|| format!("{} comes and goes", path.display()))
        }
        Err(error) => Err(format!(
            "a key for them cannot be written to {}: {error}; let Asterisk write there and run \
             'module reload res_planfix.so'",
            path.display()
        )),
    }
}

/// `None` when there is no such file.
fn read(path: &Path) -> Result<Option<Keys>, String> {
    let damaged = |what: &str| {
        format!(
            "{} {what}: put it back from the backup, so that the links which Planfix has go on working; only if there \
             is none, remove it and run 'module reload res_planfix.so': a new key is made and those links are dead",
            path.display()
        )
    };
    match private_file::read(path, LONGEST) {
        Ok(Some(bytes)) => String::from_utf8(bytes)
            .ok()
            .and_then(|text| Keys::from_text(&text).ok())
            .map(Some)
            .ok_or_else(|| damaged("is damaged")),
        Ok(None) => Ok(None),
        Err(error) => Err(damaged(&format!("cannot be read ({error})"))),
    }
}

fn random() -> Result<[u8; KEY_BYTES], String> {
    let mut bytes = [0; KEY_BYTES];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| "the system gives no random numbers".to_owned())?;
    Ok(bytes)
}
