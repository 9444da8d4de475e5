//! What was measured on.

use std::fs;

use anyhow::Result;
use harness::Version;
use harness::machine::{asterisk_of, list, load, machine, said};

use crate::rig::Rig;

/// A list of what the figures depend on. Without a rig nobody knows what Asterisk and the module say of themselves.
pub(crate) fn describe(major: Version, rig: Option<&mut Rig>) -> Result<String> {
    let (said_version, status, folder) = match rig {
        Some(rig) => (
            rig.asterisk.cli("core show version")?,
            rig.asterisk.cli("planfix show status")?,
            rig.asterisk.scratch().to_owned(),
        ),
        None => (format!("Asterisk {major}"), String::new(), std::env::temp_dir()),
    };
    let module = status
        .lines()
        .find_map(|line| line.strip_prefix("Version:"))
        .unwrap_or("?")
        .trim();
    Ok(list(&[
        ("Date", said("date", &["+%F"])),
        (
            "Command",
            match major {
                Version::V22 => "make bench".to_owned(),
                Version::V16 => "target/release/bench --version 16".to_owned(),
            },
        ),
        ("Machine", machine()),
        (
            "Kernel",
            fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim()
                .to_owned(),
        ),
        (
            "File system of the spool",
            said(
                "stat",
                &["--file-system", "--format=%T", &folder.to_string_lossy()],
            ),
        ),
        ("Load before", load()),
        ("Asterisk", asterisk_of(&said_version).to_owned()),
        ("Module", format!("res_planfix.so {module}")),
        ("SQLite", rusqlite::version().to_owned()),
        ("PHP", first_line(&said("php", &["--version"])).to_owned()),
        ("Python", said("python3", &["--version"])),
        ("Valgrind", said("valgrind", &["--version"])),
    ]))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
