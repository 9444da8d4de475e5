//! `make chaos`: calls of every kind while everything around the module fails, and whether the CRM was told the truth.
//!
//! A real Asterisk, 22 and then 16, with a stand-in CRM, sipp's many phones and some of the harness's own. Faults come as one
//! seed has drawn them: of the CRM, the name service, the disk, the clock, planfix.conf, the encoder; kills, unloads, floods.
//! In the end everything is well again, and it is proved from the CRM's own log that nothing was lost, nothing was told twice
//! without a reason, and every card was closed. `--cycles` loads, reloads and unloads the module during calls instead.
//!
//! Invariant: the exit status is 0 only when all of that was so on each version that was asked for.

mod complaints;
mod cycles;
mod desk;
mod disk;
mod fault;
mod flood;
mod footprint;
mod journal;
mod ledger;
mod namespace;
mod references;
mod rig;
mod run;
mod schedule;
mod script;
mod shim;
mod verdict;
mod witness;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::{Interruption, Version, command, each_option};

use crate::run::Wanted;

const HELP: &str = "\
chaos: calls while everything around the module fails, and whether the CRM was told the truth

  --minutes N      for how long faults come, on each version (1)
  --seed N         what everything is drawn from; a new one each time without it
  --rate N         calls of sipp's that begin in a second (20)
  --cycles N       load, reload and unload so many times during calls, and nothing else
  --version 22|16  on this Asterisk alone
  --help           this text

Start it with `make chaos`, which builds what it needs and knows MINUTES=, SEED=, VERSION= and CYCLES=.
With CHAOS_KEEP=FOLDER in the environment the logs of a run that failed are kept there.
";

struct Asked {
    wanted: Wanted,
    cycles: Option<usize>,
    versions: Vec<Version>,
}

fn main() -> ExitCode {
    command("chaos", HELP, read, |asked| play(&asked, namespace::enter()))
}

fn play(asked: &Asked, own_disks: bool) -> Result<()> {
    let interruption = Interruption::watch()?;
    for version in &asked.versions {
        match asked.cycles {
            Some(cycles) => cycles::play(*version, cycles, asked.wanted.seed, &interruption)?,
            None => {
                let wanted = Wanted {
                    own_disks,
                    ..asked.wanted
                };
                run::play(*version, wanted, &interruption)?;
            }
        }
    }
    Ok(())
}

fn read(arguments: &mut dyn Iterator<Item = String>) -> Result<Option<Asked>> {
    let mut asked = Asked {
        wanted: Wanted {
            length: Duration::from_secs(60),
            seed: u64::from(fastrand::u32(..)),
            rate: 20.0,
            own_disks: false,
        },
        cycles: None,
        versions: Version::ALL.to_vec(),
    };
    let whole = each_option(arguments, |option, value| {
        match option {
            "--minutes" => {
                let minutes: f64 = value.parse().context("--minutes needs a number")?;
                ensure!(
                    (0.2..=100_000.0).contains(&minutes),
                    "--minutes: less than a run needs, or too many"
                );
                asked.wanted.length = Duration::from_secs_f64(60.0 * minutes);
            }
            "--seed" => asked.wanted.seed = value.parse().context("--seed needs a number")?,
            "--rate" => asked.wanted.rate = value.parse().context("--rate needs a number")?,
            "--cycles" => asked.cycles = Some(value.parse().context("--cycles needs a number")?),
            "--version" => {
                asked.versions.retain(|version| version.major() == value);
                ensure!(!asked.versions.is_empty(), "there is 22 and 16, and no {value}");
            }
            other => anyhow::bail!("there is no option \"{other}\""),
        }
        Ok(())
    })?;
    Ok(whole.then_some(asked))
}
