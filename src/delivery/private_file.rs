//! Files that hold secrets.
//!
//! Invariants:
//! - nobody but their owner can read them, nor enter a folder that is made for them;
//! - a file appears and changes in one step: after a crash or a power cut it holds what it held before or what was written
//!   last, and what a crash has left half-written beside it is nobody's;
//! - one that somebody has opened to others since is private again once it was read: FreePBX's `fwconsole chown` sets the
//!   permissions of everything below Asterisk's folders at each start.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// What the file holds, at most `longest` bytes of it; `None` when there is none.
///
/// # Errors
/// When it cannot be read, or is no file.
pub(super) fn read(path: &Path, longest: u64) -> io::Result<Option<Vec<u8>>> {
    let file = OpenOptions::new()
        .read(true)
        // Whatever else lies there under this name, it is not waited for.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    let file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    if is_open(about.permissions().mode()) {
        log::warn!("{} could be read by others and is made private", path.display());
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    if let Some(folder) = path.parent()
        && is_open(fs::metadata(folder)?.permissions().mode())
    {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    let mut bytes = Vec::new();
    file.take(longest).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Whether these permissions let others than the owner in.
fn is_open(mode: u32) -> bool {
    mode & 0o077 != 0
}

/// Writes the file in place of the one that is there, as far as the disk.
///
/// # Errors
/// When that cannot be done; what was there before stays.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    put(path, text, |beside| fs::rename(beside, path))
}

/// Writes the file where there is none, as far as the disk.
///
/// # Errors
/// When that cannot be done; `AlreadyExists` when somebody else was faster.
pub(super) fn create(path: &Path, text: &str) -> io::Result<()> {
    // Unlike a rename this fails where there is one.
    put(path, text, |beside| {
        fs::hard_link(beside, path)?;
        fs::remove_file(beside)
    })
}

/// Writes the text to a file beside `path`, and has it take that name.
fn put(path: &Path, text: &str, name: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let folder = path.parent().ok_or(ErrorKind::InvalidInput)?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let beside = beside(path);
    let named = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| name(&beside));
    if let Err(error) = named {
        // The first error is the one to tell.
        let _ = fs::remove_file(&beside);
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

/// A name that nobody else has.
fn beside(path: &Path) -> PathBuf {
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    path.with_extension(format!("{extension}.{:016x}", fastrand::u64(..)))
}
