//! Instructions counted by valgrind's callgrind, for a program that goes on.
//!
//! Invariant: what [`Callgrind::count`] returns was executed since the count before, and nothing of it is counted twice.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// Instructions in user space by the file of the program or library that they stand in, without its folder.
#[derive(Clone, Debug, Default)]
pub(crate) struct Instructions(BTreeMap<String, u64>);

impl Instructions {
    pub(crate) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Those of the files whose name begins so.
    pub(crate) fn of(&self, name: &str) -> u64 {
        let these = self.0.iter().filter(|(file, _)| file.starts_with(name));
        these.map(|(_, count)| count).sum()
    }
}

/// The folder that a program writes its counts to.
pub(crate) struct Callgrind {
    folder: TempDir,
    counts: u32,
}

impl Callgrind {
    /// What is used, such as `valgrind-3.19.0`, or why nothing is.
    pub(crate) fn version() -> Result<String> {
        let missing = "install valgrind";
        let output = Command::new("valgrind")
            .arg("--version")
            .output()
            .context(missing)?;
        Command::new("vgdb").arg("--help").output().context(missing)?;
        ensure!(output.status.success(), "valgrind does not run");
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    pub(crate) fn new() -> Result<Self> {
        Self::version()?;
        Ok(Self {
            folder: TempDir::with_prefix("callgrind-")?,
            counts: 0,
        })
    }

    /// The words that stand before those of the program.
    pub(crate) fn words(&self) -> Vec<OsString> {
        let mut file = OsString::from("--callgrind-out-file=");
        file.push(self.file());
        vec![
            "valgrind".into(),
            "--quiet".into(),
            "--tool=callgrind".into(),
            file,
        ]
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("count")
    }

    /// What the process has executed since this was asked last.
    pub(crate) fn count(&mut self, pid: u32) -> Result<Instructions> {
        let output = Command::new("vgdb")
            .args([&format!("--pid={pid}"), "dump"])
            .output()
            .context("install valgrind")?;
        ensure!(
            output.status.success(),
            "valgrind does not answer: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        self.counts += 1;
        // Each file has a number; this process alone is asked, and by nobody else.
        let file = PathBuf::from(format!("{}.{}", self.file().display(), self.counts));
        let text = String::from_utf8_lossy(&fs::read(&file)?).into_owned();
        let counted = read(&text).with_context(|| format!("callgrind wrote {}", file.display()))?;
        fs::remove_file(&file)?;
        Ok(counted)
    }
}

/// Sums up what a file in callgrind's format says (valgrind's manual, "Callgrind Format Specification"): a line of costs
/// belongs to the object that was named last, but the one after `calls=` tells what the called function cost as a whole.
fn read(text: &str) -> Result<Instructions> {
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    let mut costs: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut object, mut called, mut said) = ("", false, None);
    for line in text.lines() {
        if let Some((key @ ("ob" | "cob"), name)) = line.split_once('=') {
            // "(3) name" the first time, "(3)" from then on.
            let (number, name) = name.split_once(' ').unwrap_or((name, ""));
            if !name.is_empty() {
                names.insert(number, name);
            }
            if key == "ob" {
                object = names.get(number).copied().unwrap_or(number);
            }
        } else if line.starts_with("calls=") {
            called = true;
        } else if let Some(all) = line.strip_prefix("totals: ") {
            said = all.trim().parse::<u64>().ok();
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first))
            && !std::mem::take(&mut called)
        {
            let cost = line.split(' ').nth(1).and_then(|cost| cost.parse::<u64>().ok());
            *costs.entry(object).or_default() += cost.with_context(|| format!("\"{line}\""))?;
        }
    }
    let mut counted = Instructions::default();
    for (object, cost) in costs {
        let name = object.rsplit('/').next().unwrap_or(object);
        *counted.0.entry(name.to_owned()).or_default() += cost;
    }
    ensure!(
        said == Some(counted.total()),
        "its total is {said:?}, its lines amount to {}",
        counted.total()
    );
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use super::read;

    const FILE: &str = "\
# callgrind format
events: Ir

ob=(1) /usr/lib/libc.so.6
fl=(1) ???
fn=(1) malloc
0 100
+3 7

ob=(2) /scratch/modules/res_planfix.so
fn=(2) told
0 20
cob=(1)
cfn=(1)
calls=3 0
0 107
* 5

ob=(1)
fn=(3) free
-2 1
";

    #[test]
    fn what_a_called_function_costs_is_counted_once() {
        let counted = read(&format!("{FILE}\ntotals: 133\n")).unwrap();
        assert_eq!(counted.total(), 133);
        assert_eq!(counted.of("libc."), 108);
        assert_eq!(counted.of("res_planfix.so"), 25);
        assert_eq!(counted.of("libsqlite3"), 0);
    }

    #[test]
    fn lines_that_do_not_amount_to_the_total_are_an_error() {
        assert!(read(&format!("{FILE}\ntotals: 134\n")).is_err());
        assert!(read(FILE).is_err());
    }
}
