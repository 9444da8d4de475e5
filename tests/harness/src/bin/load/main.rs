//! `make load`: ten thousand calls at fifty a second with random endings, and whether every card that was opened is closed.
//!
//! Invariant: the exit status is 0 only when that is so on each version that was asked for, and no record was lost.

use std::process::ExitCode;

use anyhow::{Context, Result};
use harness::{Traffic, Version, command, each_option};

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
    command("load", HELP, read, |wanted| {
        for version in wanted.versions {
            let traffic = Traffic::new(wanted.calls, wanted.rate).seed(wanted.seed);
            play(traffic, version)?;
        }
        Ok(())
    })
}

fn read(arguments: &mut dyn Iterator<Item = String>) -> Result<Option<Wanted>> {
    let mut wanted = Wanted {
        calls: 10_000,
        rate: 50.0,
        seed: 1,
        versions: Version::ALL.to_vec(),
    };
    let whole = each_option(arguments, |option, value| {
        match option {
            "--calls" => wanted.calls = value.parse().context("--calls needs a number")?,
            "--rate" => wanted.rate = value.parse().context("--rate needs a number")?,
            "--seed" => wanted.seed = value.parse().context("--seed needs a number")?,
            "--version" => {
                wanted.versions.retain(|version| version.major() == value);
                anyhow::ensure!(!wanted.versions.is_empty(), "there is 22 and 16, and no {value}");
            }
            other => anyhow::bail!("there is no option \"{other}\""),
        }
        Ok(())
    })?;
    Ok(whole.then_some(wanted))
}

fn play(traffic: Traffic, version: Version) -> Result<()> {
    let mut stage = Traffic::stage(version)?;
    stage.play(|stage| {
        let report = traffic.play(stage)?;
        println!("{report}");
        report.ensure_true()
    })
}
