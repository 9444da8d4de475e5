//! A recording that is open to be served.
//!
//! Invariants:
//! - it lies below the folder: the way to it is walked part by part, and no link is followed on it. openat2() would do the
//!   same in one call, but not on the kernels of RHEL 8 and older FreePBX machines, and two ways would be two to get wrong;
//! - it is a regular file: a pipe or a device under a recording's name is not waited for and not read;
//! - it is opened once, and length, time and bytes are those of this one file, whatever is done to its name meanwhile.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::core::audio_path::AudioPath;
use crate::core::range;

/// An open recording.
#[derive(Debug)]
pub struct ServedFile {
    file: File,
    about: range::File,
}

impl ServedFile {
    /// Opens what lies at `path` below `folder`. The folder itself may be a link: an administrator has put it there.
    ///
    /// # Errors
    /// There is no such file, or it cannot be opened.
    pub fn open(folder: &Path, path: &AudioPath) -> io::Result<Self> {
        let way = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut at = openat(CWD, folder, way, Mode::empty())?;
        let mut parts = path.parts().peekable();
        while let Some(part) = parts.next() {
            let part = OsStr::from_bytes(part);
            at = if parts.peek().is_some() {
                openat(&at, part, way | OFlags::NOFOLLOW, Mode::empty())?
            } else {
                let flags =
                    OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                openat(&at, part, flags, Mode::empty())?
            };
        }
        let file = File::from(at);
        let about = file.metadata()?;
        if !about.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let modified = u64::try_from(about.mtime()).unwrap_or(0);
        Ok(Self {
            about: range::File {
                size: about.len(),
                // The inode too: a file that was put in another's place within one tick of the clock is another.
                etag: format!(
                    "\"{:x}-{:x}-{:x}-{:x}\"",
                    about.ino(),
                    modified,
                    about.mtime_nsec(),
                    about.len()
                ),
                modified,
            },
            file,
        })
    }

    /// Length, validator and time.
    #[must_use]
    pub fn about(&self) -> &range::File {
        &self.about
    }

    /// The file itself, for whoever sends it.
    #[must_use]
    pub fn into_file(self) -> File {
        self.file
    }
}
