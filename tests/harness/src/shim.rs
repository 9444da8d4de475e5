//! Libraries that are put before an Asterisk's own, or into it: the files of tests/live/shim, built on this machine.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{Version, workspace_root};

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

/// Builds tests/live/shim/probe.c, a module for that Asterisk, as `target`.
///
/// # Errors
/// As [`build_shim`]; and when there are no headers of that Asterisk.
pub fn build_probe(version: Version, target: &Path) -> Result<()> {
    let output = Command::new(workspace_root().join("tools/asterisk"))
        .args(["include", version.major()])
        .output()
        .context("cannot run tools/asterisk")?;
    ensure!(
        output.status.success(),
        "`tools/asterisk include {version}` failed"
    );
    let headers = String::from_utf8(output.stdout).context("the headers' path is no UTF-8")?;
    build_shim(
        "probe.c",
        target,
        &[
            "-isystem",
            headers.trim_end(),
            "-DAST_MODULE=\"planfix_probe\"",
            "-DAST_MODULE_SELF_SYM=__internal_planfix_probe_self",
        ],
    )
}
