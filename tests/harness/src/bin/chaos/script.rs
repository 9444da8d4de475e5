//! The encoder: a script that is what it should be, or is not.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::fault::Encoder;

const RIGHT: &str = "#!/bin/sh\nexec lame \"$@\"\n";
/// It ends with whoever has started it, so that nothing is left behind.
const HANGS: &str = "#!/bin/sh\nwhile [ -d /proc/$PPID ]; do sleep 0.2; done\n";
const CRASHES: &str = "#!/bin/sh\nkill -SEGV $$\n";

/// The script.
#[derive(Debug)]
pub(crate) struct Script(PathBuf);

impl Script {
    /// Writes one that is right.
    pub(crate) fn write(at: &Path) -> Result<Self> {
        let script = Self(at.to_owned());
        script.be(None)?;
        Ok(script)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// From now on it is wrong in that way, or right.
    pub(crate) fn be(&self, wrong: Option<Encoder>) -> Result<()> {
        let text = match wrong {
            None => RIGHT,
            Some(Encoder::Hanging) => HANGS,
            Some(Encoder::Crashing) => CRASHES,
            Some(Encoder::Missing) => {
                return match fs::remove_file(&self.0) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
                    _ => Ok(()),
                };
            }
        };
        // Never written in place: one that runs is not to be found busy, or half.
        let fresh = self.0.with_extension("new");
        fs::write(&fresh, text)?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
        fs::rename(&fresh, &self.0)?;
        Ok(())
    }
}
