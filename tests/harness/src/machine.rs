//! What figures depend on, for the head of a document.

use std::fs;
use std::process::Command;

/// The processor, its cores and the memory.
#[must_use]
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kib: u64 = field("/proc/meminfo", "MemTotal")
        .trim_end_matches(" kB")
        .parse()
        .unwrap_or(0);
    format!(
        "{}, {cores} cores, {} GiB of memory",
        field("/proc/cpuinfo", "model name"),
        kib.div_ceil(1024 * 1024)
    )
}

/// The machine's load in the last one, five and fifteen minutes.
#[must_use]
pub fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// Asterisk's name and version, of what `core show version` prints.
#[must_use]
pub fn asterisk_of(said: &str) -> &str {
    said.split(" built by").next().unwrap_or_default().trim()
}

/// What a program prints; a question mark when it does not run.
#[must_use]
pub fn said(program: &str, arguments: &[&str]) -> String {
    Command::new(program).args(arguments).output().map_or_else(
        |_| "?".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// A list of facts, as the documents have it.
#[must_use]
pub fn list(facts: &[(&str, String)]) -> String {
    facts
        .iter()
        .map(|(name, value)| format!("- {name}: {value}\n"))
        .collect()
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
