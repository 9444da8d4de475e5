//! `make bench`: the figures of docs/benchmarks.md, from one run on one Asterisk.
//!
//! Invariants: everything that is compared is measured in the same run, against the same stand-in CRM; an event that was
//! not accepted or did not arrive makes the run fail, however fast it was; a missed target is printed and fails nothing,
//! because speed belongs to the machine.

mod backlog;
mod channel;
mod commit;
mod contact;
mod duration;
mod following;
mod greeting;
mod machine;
mod records;
mod rig;
mod samples;
mod table;
mod throughput;

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result};
use harness::{Version, workspace_root};

use crate::rig::Rig;
use crate::table::Table;

const HELP: &str = "\
bench: what a channel pays for PLANFIX_EVENT, what the delivery does, what following calls costs, what OP_GREETING costs, how
       recordings are served

  --version 22|16   which Asterisk (22; the figures of 16 are printed and not written)
  --only PART       channel, contact, duration, greeting, throughput, backlog, commit, memory, messages, rate or records; the
                    figures are not written
  --help            this text

Start it with `make bench`, which builds what it needs.
";

/// In the order in which they are measured.
const PARTS: [&str; 11] = [
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
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nbench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(version: Version, only: Option<&str>) -> Result<()> {
    let mut rig = Rig::set_up(version)?;
    let about = machine::describe(&rig)?;
    println!("{about}");
    // The backlog comes early: later the heap has been stretched by bursts, and its growth would not be seen.
    rig.warm_up()?;
    let mut parts = Vec::new();
    for part in PARTS {
        if only.is_none_or(|only| only == part) {
            let measured = match part {
                "messages" => vec![following::messages(version)?],
                "rate" => vec![following::rate(version)?],
                "records" => vec![records::measure(version)?],
                "memory" => vec![following::memory(version)?],
                "commit" => vec![commit::measure(&mut rig)?],
                "contact" => vec![contact::measure(&mut rig)?],
                "greeting" => vec![greeting::measure(&mut rig)?],
                "duration" => vec![duration::measure(&mut rig)?],
                "backlog" => vec![backlog::measure(&mut rig)?],
                "throughput" => vec![throughput::measure(&mut rig)?],
                _ => channel::measure(&mut rig)?,
            };
            for table in &measured {
                println!("{table}");
            }
            parts.push(measured);
        }
    }
    rig.settle()?;

    // What a channel pays is what everybody asks first.
    let tables: Vec<Table> = parts.into_iter().rev().flatten().collect();
    let (met, all) = tables
        .iter()
        .flat_map(Table::verdicts)
        .fold((0, 0), |(met, all), verdict| {
            (met + usize::from(verdict), all + 1)
        });
    println!("{met} of {all} targets are met.");
    if version == Version::V22 && only.is_none() {
        let file = workspace_root().join("docs/benchmarks.md");
        fs::create_dir_all(file.parent().context("the file lies in a folder")?)?;
        fs::write(&file, document(&about, &tables))
            .with_context(|| format!("cannot write {}", file.display()))?;
        println!("The figures are in {}.", file.display());
    }
    Ok(())
}

fn document(about: &str, tables: &[Table]) -> String {
    let mut text = String::from(
        "# Benchmarks\n\n\
         Written by `make bench`, from one run on one Asterisk. Compare the columns of a table with each other, and not \
         with those of another machine.\n\n",
    );
    text.push_str(about);
    for table in tables {
        text.push('\n');
        text.push_str(&table.to_string());
    }
    text
}
