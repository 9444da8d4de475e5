//! `make bench`: the figures of docs/benchmarks.md, from one run on one Asterisk.
//!
//! Invariants: everything that is compared is measured in the same run, against the same stand-in CRM; an event that was
//! not accepted or did not arrive makes its part fail, however fast it was; a part that fails is named in the document and
//! fails the run, and takes no other part with it; a missed target is printed and fails nothing, because speed belongs to the
//! machine.

mod backlog;
mod bell;
mod callgrind;
mod channel;
mod commit;
mod contact;
mod duration;
mod following;
mod greeting;
mod instructions;
mod listener;
mod machine;
mod records;
mod rig;
mod samples;
mod summary;
mod table;
mod throughput;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use harness::{Version, workspace_root};

use crate::rig::Rig;
use crate::summary::Summary;
use crate::table::Table;

const HELP: &str = "\
bench: what a channel pays for PLANFIX_EVENT, what the delivery does, what following calls costs, what OP_GREETING costs, how
       recordings are served; and what the peers pay for the same

  --version 22|16   which Asterisk (22; the figures of 16 are printed and not written)
  --only PART       channel, listener, instructions, contact, duration, greeting, throughput, backlog, commit, memory, messages,
                    rate or records; the figures are not written
  --help            this text

Start it with `make bench`, which builds what it needs.
";

/// In the order in which they are measured. The backlog comes early: later the heap has been stretched by bursts, and its
/// growth would not be seen.
const PARTS: [&str; 13] = [
    "records",
    "rate",
    "messages",
    "memory",
    "commit",
    "backlog",
    "throughput",
    "duration",
    "greeting",
    "contact",
    "instructions",
    "listener",
    "channel",
];

fn main() -> ExitCode {
    let mut version = Version::V22;
    let mut only = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = if argument == "--help" {
            None
        } else {
            arguments.next()
        };
        match (argument.as_str(), value.as_deref()) {
            ("--version", Some("22")) => version = Version::V22,
            ("--version", Some("16")) => version = Version::V16,
            ("--only", Some(part)) if PARTS.contains(&part) => only = Some(part.to_owned()),
            ("--help", _) => {
                print!("{HELP}");
                return ExitCode::SUCCESS;
            }
            (other, _) => {
                eprintln!("bench: \"{other}\" is not understood\n\n{HELP}");
                return ExitCode::from(2);
            }
        }
    }
    match run(version, only.as_deref()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("\nbench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One run.
struct Bench {
    version: Version,
    rig: Option<Rig>,
    summary: Summary,
}

impl Bench {
    /// The common Asterisk, which is set up when it is needed first, and again after a part that broke off.
    fn rig(&mut self) -> Result<&mut Rig> {
        if self.rig.is_none() {
            let mut rig = Rig::set_up(self.version)?;
            rig.warm_up()?;
            self.rig = Some(rig);
        }
        self.rig.as_mut().context("it was set up")
    }

    fn measure(&mut self, part: &str) -> Result<Vec<Table>> {
        let version = self.version;
        // What several parts find goes to the summary, which is lent apart from the rig.
        let mut summary = std::mem::take(&mut self.summary);
        let measured = match part {
            "messages" => following::messages(version).map(|table| vec![table]),
            "rate" => following::rate(version).map(|table| vec![table]),
            "records" => records::measure(version).map(|table| vec![table]),
            "memory" => following::memory(version).map(|table| vec![table]),
            "instructions" => instructions::measure(version, &mut summary).map(|table| vec![table]),
            "listener" => listener::measure(version, &mut summary).map(|table| vec![table]),
            _ => self.rig().and_then(|rig| on_the_rig(part, rig, &mut summary)),
        };
        self.summary = summary;
        measured
    }

    /// As [`Bench::measure`], and whatever breaks, a panic too, breaks this part alone.
    fn attempt(&mut self, part: &str) -> Result<Vec<Table>> {
        let measured = catch_unwind(AssertUnwindSafe(|| self.measure(part)))
            .unwrap_or_else(|_| Err(anyhow!("it panicked, see above")));
        if measured.is_err() {
            // Nobody knows what it was in the middle of.
            self.rig = None;
        }
        measured
    }
}

fn on_the_rig(part: &str, rig: &mut Rig, summary: &mut Summary) -> Result<Vec<Table>> {
    let tables = match part {
        "commit" => vec![commit::measure(rig)?],
        "contact" => vec![contact::measure(rig)?],
        "greeting" => vec![greeting::measure(rig)?],
        "duration" => vec![duration::measure(rig, summary)?],
        "backlog" => vec![backlog::measure(rig)?],
        "throughput" => vec![throughput::measure(rig)?],
        _ => channel::measure(rig, summary)?,
    };
    // Nothing that was accepted may be missing, however fast it was.
    rig.settle()?;
    Ok(tables)
}

/// A part that broke off, and why.
struct Failure {
    part: &'static str,
    why: String,
}

/// Whether all parts ran to their end.
fn run(version: Version, only: Option<&str>) -> Result<bool> {
    let begin = Instant::now();
    let mut bench = Bench {
        version,
        rig: None,
        summary: Summary::default(),
    };
    // Whichever part needs it says why there is none.
    let about = machine::describe(version, bench.rig().ok())?;
    println!("{about}");
    let mut parts = Vec::new();
    let mut failures = Vec::new();
    for part in PARTS {
        if only.is_some_and(|only| only != part) {
            continue;
        }
        match bench.attempt(part) {
            Ok(measured) => {
                for table in &measured {
                    println!("{table}");
                }
                parts.push(measured);
            }
            Err(error) => {
                eprintln!("bench: {part}: {error:#}\n");
                failures.push(Failure {
                    part,
                    why: format!("{error:#}"),
                });
            }
        }
    }
    // What a channel pays is what everybody asks first.
    let summary = bench.summary.table();
    if let Some(summary) = &summary {
        println!("{summary}");
    }
    let tables: Vec<Table> = summary
        .into_iter()
        .chain(parts.into_iter().rev().flatten())
        .collect();
    let (met, all) = tables
        .iter()
        .flat_map(Table::verdicts)
        .fold((0, 0), |(met, all), verdict| {
            (met + usize::from(verdict), all + 1)
        });
    if all > 0 {
        println!("{met} of {all} targets are met.");
    }
    let took = begin.elapsed().as_secs() / 60 + 1;
    if version == Version::V22 && only.is_none() {
        let file = workspace_root().join("docs/benchmarks.md");
        fs::create_dir_all(file.parent().context("the file lies in a folder")?)?;
        let about = format!("{about}- Took: {took} minutes\n");
        fs::write(&file, document(&about, &tables, &failures))
            .with_context(|| format!("cannot write {}", file.display()))?;
        println!("The figures are in {}.", file.display());
    }
    for failure in &failures {
        println!("Not measured: {}", failure.part);
    }
    Ok(failures.is_empty())
}

fn document(about: &str, tables: &[Table], failures: &[Failure]) -> String {
    let mut text = String::from(
        "# Benchmarks\n\n\
         Written by `make bench`, from one run on one Asterisk. Compare the columns of a table with each other, and not \
         with those of another machine.\n\n",
    );
    text.push_str(about);
    if !failures.is_empty() {
        text.push_str("\n## Not measured\n\nThese parts broke off in this run.\n\n");
        for Failure { part, why } in failures {
            // What a program printed may be long.
            let why: String = why.lines().next().unwrap_or_default().chars().take(300).collect();
            text.push_str(&format!("- {part}: {why}\n"));
        }
    }
    for table in tables {
        text.push('\n');
        text.push_str(&table.to_string());
    }
    text
}
