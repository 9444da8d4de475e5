//! What was measured on.

use std::fs;
use std::process::Command;

use anyhow::Result;
use harness::Version;

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
    let version = said_version
        .split(" built by")
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned();
    let module = status
        .lines()
        .find_map(|line| line.strip_prefix("Version:"))
        .unwrap_or("?")
        .trim();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let facts = [
        ("Date", said("date", &["+%F"])),
        (
            "Command",
            match major {
                Version::V22 => "make bench".to_owned(),
                Version::V16 => "target/release/bench --version 16".to_owned(),
            },
        ),
        (
            "Machine",
            format!(
                "{}, {cores} cores, {} of memory",
                field("/proc/cpuinfo", "model name"),
                memory()
            ),
        ),
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
        (
            "Load before",
            fs::read_to_string("/proc/loadavg")
                .unwrap_or_default()
                .split(' ')
                .take(3)
                .collect::<Vec<_>>()
                .join(" "),
        ),
        ("Asterisk", version),
        ("Module", format!("res_planfix.so {module}")),
        ("SQLite", rusqlite::version().to_owned()),
        ("PHP", first_line(&said("php", &["--version"])).to_owned()),
        ("Python", said("python3", &["--version"])),
        ("Valgrind", said("valgrind", &["--version"])),
    ];
    let mut text = String::new();
    for (name, value) in facts {
        text.push_str(&format!("- {name}: {value}\n"));
    }
    Ok(text)
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
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

fn memory() -> String {
    let kib = field("/proc/meminfo", "MemTotal");
    let kib: u64 = kib.trim_end_matches(" kB").parse().unwrap_or(0);
    format!("{} GiB", kib.div_ceil(1024 * 1024))
}
