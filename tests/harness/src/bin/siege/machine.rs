//! What it ran on.

use std::fs;
use std::process::Command;

use anyhow::Result;
use harness::Stage;

/// A list of what the figures depend on.
pub(crate) fn describe(stage: &Stage, command: &str) -> Result<String> {
    let version = stage.asterisk.cli("core show version")?;
    let version = version.split(" built by").next().unwrap_or_default().trim();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split(' ').take(3).collect();
    let facts = [
        ("Date", said("date", &["+%F"])),
        ("Command", command.to_owned()),
        (
            "Machine",
            format!(
                "{}, {cores} cores, {} GiB of memory",
                field("/proc/cpuinfo", "model name"),
                memory()
            ),
        ),
        ("Load before", load.join(" ")),
        ("Asterisk", version.to_owned()),
        ("Module", format!("res_planfix.so {}", stage.row("Version")?)),
        ("SQLite", rusqlite::version().to_owned()),
    ];
    Ok(facts
        .iter()
        .map(|(name, value)| format!("- {name}: {value}\n"))
        .collect())
}

/// What a program prints; a question mark when it does not run.
fn said(program: &str, arguments: &[&str]) -> String {
    Command::new(program).args(arguments).output().map_or_else(
        |_| "?".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// The value of the first line `name : value`.
fn field(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let value = text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    });
    value.unwrap_or_else(|| "unknown".to_owned())
}

fn memory() -> u64 {
    let kib: u64 = field("/proc/meminfo", "MemTotal")
        .trim_end_matches(" kB")
        .parse()
        .unwrap_or(0);
    kib.div_ceil(1024 * 1024)
}
