//! Plays flows in an office, one after another, and compares what the CRM was told of each. With `RES_PLANFIX_RECORD` in
//! the environment it records each as well: one flow, one trace in tests/traces.
//!
//! Invariants: one flow is alone in its office, so that whatever the CRM is told meanwhile is told of it; after it no
//! channel, no open card and nothing in the spool is left; every flow is played, whatever became of those before.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use harness::{Cel, Office, Version, is_taken_in, until, workspace_root};
use serde_json::Value;

use crate::told::{Told, compare, list};

/// Long for a loaded machine.
pub(crate) const BOUND: Duration = Duration::from_secs(30);
/// Long enough to tell talking from ringing by whole seconds, also where Asterisk hears of the answer late.
pub(crate) const TALK: Duration = Duration::from_millis(1_400);

/// Lets calls happen; returns what the CRM must be told of each.
type Play = fn(&Office) -> Result<Vec<Told>>;

/// One way in which a call can go.
#[derive(Clone, Copy)]
pub(crate) struct Flow {
    pub(crate) name: &'static str,
    pub(crate) play: Play,
}

/// Makes functions flows of their own names.
macro_rules! flows {
    ($($name:ident),+ $(,)?) => {
        pub(crate) const FLOWS: &[$crate::flow::Flow] = &[$($crate::flow::Flow {
            name: stringify!($name),
            play: $name,
        }),+];
    };
}
pub(crate) use flows;

/// Plays all of them in one office.
pub(crate) fn play(version: Version, flows: &[Flow]) -> Result<()> {
    let only = env::var("RES_PLANFIX_FLOW").unwrap_or_default();
    let mut failures = Vec::new();
    let mut scene: Option<Scene> = None;
    for flow in flows.iter().filter(|flow| flow.name.contains(&only)) {
        let mut now = match scene.take() {
            Some(scene) => scene,
            None => Scene::open(version)?,
        };
        let start = Instant::now();
        match now.play(flow) {
            Ok(()) => {
                println!("{version} {}: {} ms", flow.name, start.elapsed().as_millis());
                scene = Some(now);
            }
            // What is left of a failed flow must not spoil the next one, so that gets another office.
            Err(error) => {
                println!("{version} {}: FAILED", flow.name);
                failures.push(format!("{} on {version}: {error:?}", flow.name));
            }
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    bail!("{}", failures.join("\n\n"))
}

/// An office, and how much of what the CRM was told in it is accounted for.
struct Scene {
    office: Office,
    seen: usize,
}

impl Scene {
    fn open(version: Version) -> Result<Self> {
        let office = Office::open(version)?;
        Ok(Self { office, seen: 0 })
    }

    fn play(&mut self, flow: &Flow) -> Result<()> {
        let start = Instant::now();
        let trace = env::var_os("RES_PLANFIX_RECORD").map(|_| self.trace(flow));
        let outcome = self.calls(flow, trace.as_deref());
        let seen = &mut self.seen;
        self.office.stage.play(|stage| {
            let told = outcome?;
            let count: usize = told.iter().map(Told::count).sum();
            // A request of the last flow that came too late is counted here and fails this one.
            let new = |entries: &[Value]| -> Vec<Value> {
                let taken_in = entries.iter().filter(|entry| is_taken_in(entry));
                taken_in.skip(*seen).cloned().collect()
            };
            stage
                .crm
                .wait_for(flow.name, BOUND, |entries| new(entries).len() >= count)?;
            stage.drained()?;
            let requests = new(&stage.crm.log()?);
            *seen += requests.len();
            compare(&told, &requests, start.elapsed())
                .with_context(|| format!("the CRM was told:\n{}", list(&requests)))?;
            let state = stage.crm.get("/_sandbox/violations")?;
            let open = state["open_popups"].as_array().context("no list of cards")?;
            ensure!(state["total"] == 0 && open.is_empty(), "{state}");
            Cel::of(&stage.asterisk)
                .agrees(&mut stage.asterisk.ami()?)
                .map(drop)
        })
    }

    /// Lets the calls happen and end.
    fn calls(&self, flow: &Flow, trace: Option<&Path>) -> Result<Vec<Told>> {
        let office = &self.office;
        if let Some(trace) = trace {
            // An older trace is not overwritten by the module.
            fs::create_dir_all(trace.parent().context("a trace lies in a folder")?)?;
            if trace.exists() {
                fs::remove_file(trace)?;
            }
            let command = format!("planfix record start {}", trace.display());
            office.stage.asterisk.cli(&command)?;
        }
        let told = (flow.play)(office).with_context(|| format!("all phones:\n{}", office.transcript()))?;
        office.tidy()?;
        if let Some(trace) = trace {
            // The last end of a channel comes through stasis a moment after Asterisk has forgotten it.
            until("the end of all channels in the trace", BOUND, || {
                let calls = office.stage.row("Calls")?;
                Ok(calls.contains(" on 0 channels").then_some(()))
            })?;
            let said = office.stage.asterisk.cli("planfix record stop")?;
            ensure!(trace.is_file(), "no trace was written: {said}");
        }
        Ok(told)
    }

    /// Where the trace of this flow lies, among the traces that are replayed without an Asterisk.
    fn trace(&self, flow: &Flow) -> PathBuf {
        let name = format!("{}-{}.jsonl", flow.name, self.office.version());
        workspace_root().join("tests/traces").join(name)
    }
}
