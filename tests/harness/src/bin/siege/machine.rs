//! What it ran on.

use anyhow::Result;
use harness::Stage;
use harness::machine::{asterisk_of, list, load, machine, said};

/// A list of what the figures depend on.
pub(crate) fn describe(stage: &Stage, command: &str) -> Result<String> {
    let version = stage.asterisk.cli("core show version")?;
    Ok(list(&[
        ("Date", said("date", &["+%F"])),
        ("Command", command.to_owned()),
        ("Machine", machine()),
        ("Load before", load()),
        ("Asterisk", asterisk_of(&version).to_owned()),
        ("Module", format!("res_planfix.so {}", stage.row("Version")?)),
        ("SQLite", rusqlite::version().to_owned()),
    ]))
}
