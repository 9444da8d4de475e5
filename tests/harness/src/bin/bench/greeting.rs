//! OP_GREETING beside the pair of the article that it replaces: `DB()` for the flag and `STAT()` for the file.

use std::fs;

use anyhow::{Context, Result, ensure};
use harness::{Tone, wav};

use crate::rig::{Pace, Rig};
use crate::samples::{Nanos, Samples};
use crate::table::{Table, Target};

/// Of each, in a burst.
const BURST: usize = 10_000;
/// Of each, in a dialplan.
const PACED: usize = 250;
/// A large company: so many operators have a greeting.
const OPERATORS: u16 = 500;
const FIRST: u16 = 100;
/// The one who is asked for.
const OPERATOR: u16 = 350;

const LIMIT: Nanos = Nanos(10_000);

pub(crate) fn measure(rig: &mut Rig) -> Result<Table> {
    let file = lay_out(rig)?;
    let mut table = Table::new(
        "OP_GREETING beside DB() and STAT()",
        format!(
            "On the same channel's thread, in one burst and in a dialplan that waits for 20 ms before each. {OPERATORS} operators \
             have a greeting. The article asks AstDB whether the greeting is on, and would have to ask the disk whether it is \
             there: the pair is both. OP_GREETING answers both at once, with the file to play or nothing. After a wait the processor \
             has to fetch code and data anew, for each of them."
        ),
        &[
            "what",
            "pace",
            "calls",
            "median",
            "p99",
            "worst",
            "share of the pair",
        ],
    );
    let path = file.display().to_string();
    let flag = format!("DB(op_alert/{OPERATOR})");
    let stat = format!("STAT(e,{path}.wav)");
    let of = |attribute: &str| format!("OP_GREETING({OPERATOR},{attribute})");
    for (name, pace, count) in [("burst", Pace::BURST, BURST), ("50/s", Pace::Dialplan, PACED)] {
        let flag = rig.probe("read", count, pace, "true", &flag)?;
        let stat = rig.probe("read", count, pace, "1", &stat)?;
        let pair = flag.median().0 + stat.median().0;
        let share = |samples: &Samples| format!("{:.2}", samples.median().0 as f64 / pair.max(1) as f64);
        table.row(row("`DB(op_alert/…)`", name, &flag, share(&flag)), None);
        table.row(row("`STAT(e,…)`", name, &stat, share(&stat)), None);
        for (attribute, expected) in [
            ("enabled", "1"),
            ("exists", "1"),
            ("file", ""),
            ("kinds", "default"),
        ] {
            let ours = rig.probe("read", count, pace, expected, &of(attribute))?;
            let what = format!("`OP_GREETING(…,{attribute})`");
            let target = if count == BURST {
                Target::new(format!("p99 ≤ {LIMIT}"), ours.at(990) <= LIMIT)
            } else {
                Target::new(format!("median ≤ {LIMIT}"), ours.median() <= LIMIT)
            };
            table.row(row(&what, name, &ours, share(&ours)), Some(target));
        }
    }
    Ok(table)
}

/// Gives every operator a greeting, and one the article's as well. Returns the article's file, without its extension.
fn lay_out(rig: &mut Rig) -> Result<std::path::PathBuf> {
    let sound = wav(8_000, &Tone(440).samples(8_000, 0, 16_000));
    let given = rig.asterisk.scratch().join("given.wav");
    fs::write(&given, &sound)?;
    for operator in FIRST..FIRST + OPERATORS {
        rig.cli(&format!("planfix greeting import {} {operator}", given.display()))?;
    }
    let (shown, _) = rig.cli(&format!("planfix show greetings {OPERATOR}"))?;
    ensure!(
        shown.contains("default"),
        "the import of {OPERATOR} shows nothing: {shown}"
    );
    // As the article has it: below the sounds, in the language's folder.
    let file = rig
        .asterisk
        .scratch()
        .join(format!("data/sounds/ru/custom/rec_{OPERATOR}"));
    fs::write(file.with_extension("wav"), &sound).context("the article's folder")?;
    rig.cli(&format!("database put op_alert {OPERATOR} true"))?;
    Ok(file)
}

fn row(what: &str, pace: &str, samples: &Samples, share: String) -> [String; 7] {
    [
        what.to_owned(),
        pace.to_owned(),
        samples.len().to_string(),
        samples.median().to_string(),
        samples.at(990).to_string(),
        samples.worst().to_string(),
        share,
    ]
}
