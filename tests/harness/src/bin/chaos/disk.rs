//! A small file system of its own, that can be filled.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Room for what a run writes; what is delivered is forgotten before it is full.
const SIZE: &str = "size=96m,mode=0755";
/// What fills it.
const FILLER: &str = "filler";

/// A mounted file system.
#[derive(Debug)]
pub(crate) struct Disk(PathBuf);

impl Disk {
    /// Mounts one there.
    pub(crate) fn mount(at: &Path) -> Result<Self> {
        fs::create_dir_all(at)?;
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", SIZE, "planfix-chaos"])
            .arg(at)
            .output()
            .context("no mount")?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(Self(at.to_owned()))
    }

    /// Leaves no byte free.
    pub(crate) fn fill(&self) -> Result<()> {
        let mut file = File::create(self.0.join(FILLER))?;
        let full = io::copy(&mut io::repeat(0), &mut file);
        ensure!(full.is_err(), "the file system has no end");
        Ok(())
    }

    /// Gives all of that back.
    pub(crate) fn free(&self) -> Result<()> {
        match fs::remove_file(self.0.join(FILLER)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: Asterisk may still hold files of it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
