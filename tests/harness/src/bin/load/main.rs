//! `make load`: ten thousand calls at fifty a second with random endings, and whether every card that was opened is closed.
//!
//! Invariant: the exit status is 0 only when that is so on each version that was asked for, and no record was lost.

use std::process::ExitCode;

use anyhow::{Context, Result};
use harness::{Traffic, Version};

const HELP: &str = "\
load: many calls at once, and what the stand-in CRM was told of them

  --calls N        how many (10000)
  --rate N         how many begin in a second (50)
  --seed N         what everything is drawn from (1)
  --version 22|16  on this Asterisk alone
  --help           this text

Start it with `make load`, which builds what it needs.
";

struct Wanted {
    calls: u32,
    rate: f64,
    seed: u64,
    versions: Vec<Version>,
}

fn main() -> ExitCode {
    let wanted = match read(std::env::args().skip(1)) {
        Ok(Some(wanted)) => wanted,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("load: {error:#}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    for version in wanted.versions {
        let traffic = Traffic::new(wanted.calls, wanted.rate).seed(wanted.seed);
        if let Err(error) = play(traffic, version) {
            eprintln!("\nload: {error:#}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn read(mut arguments: impl Iterator<Item = String>) -> Result<Option<Wanted>> {
    let mut wanted = Wanted {
        calls: 10_000,
        rate: 50.0,
        seed: 1,
        versions: Version::ALL.to_vec(),
    };
    while let Some(argument) = arguments.next() {
        if argument == "--help" {
            return Ok(None);
        }
        let value = arguments
            .next()
            .with_context(|| format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--calls" => wanted.calls = value.parse().context("--calls needs a number")?,
            "--rate" => wanted.rate = value.parse().context("--rate needs a number")?,
            "--seed" => wanted.seed = value.parse().context("--seed needs a number")?,
            "--version" => {
                wanted.versions.retain(|version| version.major() == value);
                anyhow::ensure!(!wanted.versions.is_empty(), "there is 22 and 16, and no {value}");
            }
            other => anyhow::bail!("there is no option \"{other}\""),
        }
    }
    Ok(Some(wanted))
}

fn play(traffic: Traffic, version: Version) -> Result<()> {
    let mut stage = Traffic::stage(version)?;
    stage.play(|stage| {
        let report = traffic.play(stage)?;
        println!("{report}");
        report.ensure_true()
    })
}
