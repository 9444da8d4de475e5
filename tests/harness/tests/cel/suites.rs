//! Asterisk's own suites `test_cel` and `test_cdr`, which come with Debian's package asterisk-tests: both versions there are
//! built with TEST_FRAMEWORK. They make channels, bridges, transfers and pickups by Asterisk's inner functions, faster and
//! odder than any phone does.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use harness::{Ami, Asterisk, Builder, Cel, Stage, Version};

use crate::quiet;

/// A test sleeps for a second at a time and believes that everything has happened then, which is wrong on a machine that
/// is held up. So one that failed may try again.
const TRIES: usize = 3;

/// Plays a suite beside the module. What fails there must fail without the module too. Then CALL_DURATION must agree with
/// the log of the suite's channels.
pub(crate) fn passes(version: Version, suite: &str) -> Result<()> {
    // The tests of a suite sleep for up to a minute altogether, so two Asterisks share them.
    let plan = || {
        Stage::plan(version)
            .auto()
            .asterisk(|builder| Cel::logged(version, with_suite(builder, suite)))
    };
    let mut stages = [plan().start()?, plan().start()?];
    let category = format!("/main/{suite}/");
    let names = names(&stages[0].asterisk, &category)?;
    let count = names.len();
    let asterisks: Vec<&Asterisk> = stages.iter().map(|stage| &stage.asterisk).collect();
    let failed = play(&asterisks, &category, names)?;
    ensure!(failed.len() < count, "nothing passes: {failed:#?}");
    println!(
        "{version}: {} of {count} tests of {suite} pass with the module",
        count - failed.len()
    );
    let mut channels = BTreeMap::new();
    for stage in &mut stages {
        stage.play(|stage| {
            channels.extend(Cel::of(&stage.asterisk).agrees(&mut quiet(&stage.asterisk)?)?);
            no_card_is_open(stage)
        })?;
    }
    let bridged = channels.values().filter(|channel| channel.talk() > 0).count();
    println!(
        "{version}: CALL_DURATION agrees with the log of {} channels of {suite}, {bridged} of them with time in bridges",
        channels.len()
    );
    ensure!(bridged > 0, "no channel of the suite was in a bridge");
    drop(stages);
    fail_anyway(version, suite, &category, failed)
}

fn with_suite(builder: Builder, suite: &str) -> Builder {
    // One of the tests parks a channel.
    builder
        .load("bridge_holding.so")
        .load(&format!("test_{suite}.so"))
}

/// Tests by their names, and what they said.
type Failed = BTreeMap<String, String>;

/// What failed beside the module must fail without it as well.
fn fail_anyway(version: Version, suite: &str, category: &str, failed: Failed) -> Result<()> {
    if failed.is_empty() {
        return Ok(());
    }
    let alone = with_suite(Asterisk::builder(version), suite).start()?;
    let names = failed.keys().cloned().collect();
    let anyway = play(&[&alone], category, names)?;
    let (anyway, ours): (Failed, Failed) = failed
        .into_iter()
        .partition(|(name, _)| anyway.contains_key(name));
    println!("{version}: these fail without the module too: {anyway:#?}");
    ensure!(ours.is_empty(), "these fail with the module alone: {ours:#?}");
    Ok(())
}

/// Whatever the tests' channels looked like to the module, no employee is left with a card.
fn no_card_is_open(stage: &Stage) -> Result<()> {
    stage.drained()?;
    let state = stage.crm.get("/_sandbox/violations")?;
    let open = state["open_popups"].as_array().context("no list of cards")?;
    ensure!(open.is_empty(), "{state}");
    Ok(())
}

/// Plays these tests, each on whichever Asterisk is free, and returns those that failed.
fn play(asterisks: &[&Asterisk], category: &str, names: Vec<String>) -> Result<Failed> {
    let rest = Mutex::new(names);
    let failed = Mutex::new(Failed::new());
    thread::scope(|scope| {
        let players: Vec<_> = asterisks
            .iter()
            .map(|asterisk| scope.spawn(|| share(asterisk, category, &rest, &failed)))
            .collect();
        players
            .into_iter()
            .try_for_each(|player| player.join().map_err(|_| anyhow!("a player panicked"))?)
    })?;
    Ok(failed.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn share(
    asterisk: &Asterisk,
    category: &str,
    rest: &Mutex<Vec<String>>,
    failed: &Mutex<Failed>,
) -> Result<()> {
    let mut ami = quiet(asterisk)?;
    loop {
        let next = rest.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(name) = next else { return Ok(()) };
        if let Some(said) = failure(&mut ami, category, &name)? {
            failed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(name, said);
        }
    }
}

/// What the test says when it fails; `None` when it passes.
fn failure(ami: &mut Ami, category: &str, name: &str) -> Result<Option<String>> {
    let mut said = String::new();
    for _ in 0..TRIES {
        said = ami.command(&format!("test execute category {category} name {name}"))?;
        if said.contains("1 Test(s) Executed  1 Passed  0 Failed") {
            return Ok(None);
        }
    }
    Ok(Some(said))
}

/// The names of all tests of the category. The console's lists cut them off, the report does not.
fn names(asterisk: &Asterisk, category: &str) -> Result<Vec<String>> {
    let report = asterisk.scratch().join("tests.txt");
    let said = asterisk.cli(&format!("test generate results txt {}", report.display()))?;
    let text = fs::read_to_string(&report).with_context(|| format!("no report of the tests: {said}"))?;
    let mut names = Vec::new();
    let mut name = "";
    for line in text.lines() {
        if let Some(value) = line.strip_prefix("Name:") {
            name = value.trim();
        } else if line.strip_prefix("Category:").map(str::trim) == Some(category) {
            names.push(name.to_owned());
        }
    }
    ensure!(
        !names.is_empty(),
        "Asterisk {} has no test in {category}: its folder in the cache lacks the package asterisk-tests, delete it \
         and run tools/asterisk fetch",
        asterisk.version()
    );
    Ok(names)
}
