//! `make sanitize WHAT=valgrind`: the module in a real Asterisk under valgrind's memcheck, for a short tour.
//!
//! Invariant: the exit status is 0 only when the whole tour was played, Asterisk ended by itself, and no finding of memcheck's has the
//! module in one of its stacks, on each version that was asked for.

mod judge;
mod play;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::{Tour, Version, be_patient, workspace_root};

use crate::judge::{Verdict, judge};

const HELP: &str = "\
memcheck: the module in a real Asterisk under valgrind's memcheck, for a short tour

  --version 22|16  on this Asterisk alone
  --into FOLDER    where memcheck's reports are left (target/sanitize)
  --help           this text

Start it with `make sanitize WHAT=valgrind`, which builds what it needs.
";
/// Asterisk is some thirty times slower, and everything else is not.
const PATIENCE: u32 = 8;
const BOUND: Duration = Duration::from_secs(60);
/// Blocks that the module has lost are told with the whole way that led to them, through Asterisk's own calls.
const OPTIONS: [&str; 9] = [
    "--xml=yes",
    "--leak-check=full",
    "--show-leak-kinds=definite",
    "--keep-debuginfo=yes",
    "--num-callers=40",
    "--fair-sched=yes",
    // What Asterisk starts begins as a copy of it, with the same report.
    "--child-silent-after-fork=yes",
    "--error-limit=no",
    // Where a value that was never set comes from counts too.
    "--track-origins=yes",
];

fn main() -> ExitCode {
    let (mut versions, mut into) = (Version::ALL.to_vec(), workspace_root().join("target/sanitize"));
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().unwrap_or_default();
        match argument.as_str() {
            "--help" => {
                print!("{HELP}");
                return ExitCode::SUCCESS;
            }
            "--version" if Version::ALL.iter().any(|version| version.major() == value) => {
                versions.retain(|version| version.major() == value);
            }
            "--into" if !value.is_empty() => into = PathBuf::from(value),
            _ => {
                eprintln!("memcheck: \"{argument} {value}\" is not understood\n\n{HELP}");
                return ExitCode::from(2);
            }
        }
    }
    be_patient(PATIENCE);
    let mut clean = true;
    for version in versions {
        clean &= examine(version, &into).unwrap_or_else(|error| {
            println!("Asterisk {version}: {error:#}");
            false
        });
    }
    ExitCode::from(u8::from(!clean))
}

/// Plays the tour below memcheck and tells what that has found, also of a tour that was not played to its end. Returns whether the module has
/// no part in any of it.
fn examine(version: Version, into: &Path) -> Result<bool> {
    fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
    let report = into.join(format!("memcheck-{version}.xml"));
    let mut under = valgrind(version)?;
    under.extend(OPTIONS.map(str::to_owned));
    under.push(format!("--xml-file={}", report.display()));
    let begun = Instant::now();
    let tell = |what: &str| println!("{:>5} s  {what}", begun.elapsed().as_secs());
    tell(&format!("Asterisk {version} starts below {}", under[0]));
    let mut tour = Tour::open_as(version, &[play::CONTACT], |builder| {
        builder
            .under(&under)
            .extensions(&play::dialplan())
            .verbose(3)
            .debug(0)
    })?;
    let played = play::play(&tour, &tell).with_context(|| {
        let log = tour.asterisk.log();
        let lines: Vec<&str> = log.lines().collect();
        format!(
            "Asterisk wrote last:\n{}",
            lines[lines.len().saturating_sub(40)..].join("\n")
        )
    });
    tell("the end");
    let stopped = tour.asterisk.stop_now(BOUND);
    tell("memcheck has ended");
    let text = fs::read(&report).with_context(|| format!("memcheck wrote no {}", report.display()))?;
    let verdict = judge(&String::from_utf8_lossy(&text), "res_planfix.so");
    if let Ok(Verdict { all, ours }) = &verdict {
        println!(
            "Asterisk {version}: {} findings have the module in a stack, {} have not.",
            ours.len(),
            all - ours.len()
        );
        for finding in ours {
            println!("\n{finding}");
        }
    }
    played?;
    stopped?;
    Ok(verdict?.ours.is_empty())
}

/// The words of a valgrind that can run this Asterisk.
fn valgrind(version: Version) -> Result<Vec<String>> {
    let output = Command::new(workspace_root().join("tools/asterisk"))
        .args(["valgrind", version.major()])
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot run tools/asterisk")?;
    let words: Vec<String> = String::from_utf8(output.stdout)?
        .lines()
        .map(str::to_owned)
        .collect();
    ensure!(
        output.status.success() && !words.is_empty(),
        "`tools/asterisk valgrind {version}` failed, see its message above"
    );
    Ok(words)
}
