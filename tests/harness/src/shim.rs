//! Libraries that are put before an Asterisk's own, or into it: the files of tests/live/shim, built on this machine.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::workspace_root;

/// Builds `source`, a file of tests/live/shim, as the library `target`.
///
/// # Errors
/// When there is no C compiler, or it refuses, with what it says.
pub fn build_shim(source: &str, target: &Path, flags: &[&str]) -> Result<()> {
    let source = workspace_root().join("tests/live/shim").join(source);
    let output = Command::new("cc")
        .args(["-std=gnu11", "-O2", "-shared", "-fPIC", "-o"])
        .arg(target)
        .arg(&source)
        .args(flags)
        .output()
        .context("cannot run cc")?;
    ensure!(
        output.status.success(),
        "{} does not compile:\n{}",
        source.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
