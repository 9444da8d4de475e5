//! Sound from files of any format that this Asterisk reads: GSM, wav49 and others, by its own readers and codecs.
//!
//! Invariant: an [`Audio`] is used by one thread at a time, and closes its file when it goes.
//!
//! Opening takes Asterisk's lock of formats for reading, for as long as a file is opened (`main/file.c`, ast_readfile), and
//! reading takes none; so this may be done on a thread of ours beside calls, and never on one of theirs.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;

use crate::sys;

/// Bytes of a frame at most: a fifth of a second at 192 kHz.
const FRAME: usize = 80_000;

/// An opened file.
pub struct Audio {
    audio: NonNull<sys::shim_audio>,
    frame: Vec<u8>,
}

// SAFETY: a file of Asterisk's belongs to no thread; whoever has the value is the only one who uses it.
unsafe impl Send for Audio {}

impl Audio {
    /// Opens a file by its extension. `None` when Asterisk cannot, which it says in the log.
    pub fn open(file: &Path) -> Option<Self> {
        let extension = CString::new(file.extension()?.as_bytes()).ok()?;
        let name = CString::new(file.with_extension("").as_os_str().as_bytes()).ok()?;
        // Asterisk would look for a relative name below its sounds.
        if !file.is_absolute() {
            return None;
        }
        // SAFETY: two NUL-terminated strings, which Asterisk copies.
        let audio = unsafe { sys::shim_audio_open(name.as_ptr(), extension.as_ptr()) };
        // INVARIANT: opened here, and closed by our drop alone.
        Some(Self {
            audio: NonNull::new(audio)?,
            frame: vec![0; FRAME],
        })
    }

    /// Samples a second.
    pub fn rate(&self) -> u32 {
        // SAFETY: open, by the type's invariant.
        let rate = unsafe { sys::shim_audio_rate(self.audio.as_ptr()) };
        u32::try_from(rate).unwrap_or(0)
    }

    /// The next samples, 16 bits in the machine's order; empty at the end.
    ///
    /// # Errors
    /// When they cannot be read or decoded.
    pub fn read(&mut self) -> Result<&[u8], Undecodable> {
        // SAFETY: open, and room for that many bytes.
        let length = unsafe {
            sys::shim_audio_read(
                self.audio.as_ptr(),
                self.frame.as_mut_ptr().cast(),
                self.frame.len(),
            )
        };
        let length = usize::try_from(length).map_err(|_| Undecodable)?;
        self.frame.get(..length).ok_or(Undecodable)
    }
}

impl Drop for Audio {
    fn drop(&mut self) {
        // SAFETY: open, by the type's invariant, and never used again.
        unsafe { sys::shim_audio_close(self.audio.as_ptr()) };
    }
}

/// Asterisk has no reader or codec for what is in the file, or it is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecodable;
