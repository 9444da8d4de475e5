//! `make siege`: a million events while the CRM is away for three days, and how they reach it when it is back.
//!
//! A real Asterisk with the module; its clock goes three days forward while a channel tells call after call, and once it is
//! killed. Then the CRM is back. In the end it is proved from the CRM's own log that everything came once and in order, and what
//! it cost is printed and written to docs/outage.md.
//!
//! Invariant: the exit status is 0 only when everything that is judged was as it should be.

mod backlog;
mod clock;
mod latency;
mod ledger;
mod live;
mod machine;
mod prober;
mod processor;
mod report;
mod run;
mod watch;

use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use harness::{Interruption, Version, command, each_option};

use crate::run::Wanted;

const HELP: &str = "\
siege: a million events while the CRM is away for three days, and how they reach it then

  --events N       how many are told while it is away (1000000)
  --rate N         backlog_rate: how many requests a second the module may make of them then (1000)
  --version 22|16  which Asterisk (22)
  --help           this text

Start it with `make siege`, which builds what it needs and knows EVENTS=, RATE= and VERSION=. The figures of a million events on
Asterisk 22 are written to docs/outage.md.
";

fn main() -> ExitCode {
    command("siege", HELP, read, |wanted| {
        run::play(wanted, &Interruption::watch()?)
    })
}

fn read(arguments: &mut dyn Iterator<Item = String>) -> Result<Option<Wanted>> {
    let mut wanted = Wanted {
        events: run::MILLION,
        rate: run::RATE,
        version: Version::V22,
    };
    let whole = each_option(arguments, |option, value| {
        match option {
            "--events" => {
                wanted.events = value.parse().context("--events needs a number")?;
                ensure!(wanted.events >= 1_200, "--events: fewer than 1200 are no backlog");
            }
            "--rate" => {
                wanted.rate = value.parse().context("--rate needs a number")?;
                ensure!((1..=10_000).contains(&wanted.rate), "--rate: 1 to 10000");
            }
            "--version" => {
                wanted.version = *Version::ALL
                    .iter()
                    .find(|version| version.major() == value)
                    .with_context(|| format!("there is 22 and 16, and no {value}"))?;
            }
            other => bail!("there is no option \"{other}\""),
        }
        Ok(())
    })?;
    Ok(whole.then_some(wanted))
}
