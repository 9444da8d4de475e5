//! Recorded traces, played again: each gives exactly the requests that stand beside it, and keeps the rules whatever is done to
//! the order of its records.
//!
//! A trace is `tests/traces/NAME.jsonl`, as `planfix record` writes it, with `NAME.requests` beside it. `UPDATE_TRACES=1` writes
//! the expected requests anew; the test fails where that changed something, so that somebody reads the difference.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::BuildHasherDefault;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use res_planfix::core::draft::{Draft, Kind};
use res_planfix::core::durations::Micros;
use res_planfix::core::mask::Mask;
use res_planfix::core::record::{Record, What};
use res_planfix::core::trace::{Player, Trace, play, show};

/// How often each trace is played with its records out of order.
const SHUFFLES: u64 = 20;
/// Neighbours that change places in one of these.
const SWAPS: usize = 200;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces")
}

/// All traces by their names. There are some, or the tests below would say nothing.
fn traces() -> BTreeMap<String, Trace> {
    let mut traces = BTreeMap::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).unwrap();
            let trace = Trace::read(text.lines()).unwrap_or_else(|fault| panic!("{name}: {fault}"));
            traces.insert(name, trace);
        }
    }
    assert!(!traces.is_empty(), "there is no trace");
    traces
}

fn text(requests: &[(Micros, Draft)]) -> String {
    requests
        .iter()
        .map(|(at, draft)| show(*at, draft) + "\n")
        .collect()
}

#[test]
fn each_trace_gives_its_requests() {
    let update = std::env::var_os("UPDATE_TRACES").is_some_and(|value| value == "1");
    let mut wrong = Vec::new();
    for (name, trace) in traces() {
        let path = folder().join(&name).with_extension("requests");
        let found = text(&play(&trace));
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if found == expected && path.exists() {
            continue;
        }
        if update {
            fs::write(&path, &found).unwrap();
            wrong.push(format!("{name}.requests was written anew"));
        } else {
            wrong.push(format!("{name} gives\n{found}and not\n{expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_requests_beside_a_trace_belong_to_one() {
    let names: BTreeSet<String> = traces().into_keys().collect();
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(names.contains(&name), "{} belongs to no trace", path.display());
    }
}

/// The rules that hold for whatever the tracker tells, in whatever order it was told.
fn keeps_the_rules(requests: &[(Micros, Draft)]) -> Result<(), String> {
    let mut calls: BTreeMap<&str, (String, String)> = BTreeMap::new();
    let mut cards: BTreeMap<(&str, &str), Kind> = BTreeMap::new();
    let mut last = 0;
    for (at, draft) in requests {
        let fault = |text: &str| Err(format!("{text}: {}", show(*at, draft)));
        if *at < last {
            return fault("time goes back");
        }
        last = *at;
        if draft.ext.is_empty() || draft.field("phone").is_empty() || draft.callid.is_empty() {
            return fault("something that the protocol demands is missing");
        }
        let about = (draft.field("type"), draft.field("phone"));
        if *calls.entry(&draft.callid).or_insert_with(|| about.clone()) != about {
            return fault("the call has changed its direction or its client");
        }
        let card = (&*draft.callid, &*draft.ext);
        let before = cards.insert(card, draft.kind);
        let open = matches!(before, Some(Kind::Incoming | Kind::Outgoing | Kind::Accepted));
        match draft.kind {
            Kind::Incoming | Kind::Outgoing if open => return fault("the card is open already"),
            Kind::Outgoing if before.is_some() => return fault("an outbound card is opened a second time"),
            Kind::Incoming | Kind::Outgoing => {}
            Kind::Accepted if before == Some(Kind::Accepted) => return fault("it was accepted already"),
            Kind::Accepted | Kind::Completed if !open => return fault("the card is not open"),
            Kind::Accepted => {}
            Kind::Completed => {
                // A number that went below zero does not read as one that is this small.
                let seconds: Result<u64, _> = draft.field("duration").parse();
                if seconds.is_err() || seconds.is_ok_and(|seconds| seconds > 86_400) {
                    return fault("the duration is none");
                }
                if (draft.field("status") == "Success") != (before == Some(Kind::Accepted)) {
                    return fault("Success is for whoever talked");
                }
            }
            Kind::Record => return fault("a recording is nothing of the tracker's"),
        }
    }
    Ok(())
}

/// Every card that was opened has been closed.
fn closes_all(requests: &[(Micros, Draft)]) -> Result<(), String> {
    let mut open = BTreeSet::new();
    for (_, draft) in requests {
        let card = (&draft.callid, &draft.ext);
        if draft.kind == Kind::Completed {
            open.remove(&card);
        } else {
            open.insert(card);
        }
    }
    open.is_empty()
        .then_some(())
        .ok_or(format!("these cards stay: {open:?}"))
}

/// The unique ids of all channels that a record is about.
fn channels(record: &Record) -> BTreeSet<&str> {
    fn of<'a>(
        channels: impl IntoIterator<Item = &'a res_planfix::core::record::Channel>,
    ) -> BTreeSet<&'a str> {
        channels.into_iter().map(|channel| &*channel.uniqueid).collect()
    }
    match &record.what {
        What::Lost | What::CaughtUp | What::Contact { .. } => BTreeSet::new(),
        What::Running { channel, .. }
        | What::Created { channel }
        | What::Changed { channel }
        | What::Gone { channel }
        | What::Entered { channel, .. }
        | What::Left { channel, .. }
        | What::Hold { channel }
        | What::Unhold { channel } => of([channel]),
        What::Dial {
            caller,
            peer,
            forwarded,
            ..
        } => of([peer]
            .into_iter()
            .chain(caller.as_deref())
            .chain(forwarded.as_deref())),
        What::BlindTransfer {
            transferer,
            transferee,
            ..
        } => of([transferer].into_iter().chain(transferee.as_deref())),
        What::AttendedTransfer {
            transferer,
            consulting,
            transferee,
            target,
            ..
        } => of([transferer, consulting]
            .into_iter()
            .chain(transferee.as_deref())
            .chain(target.as_deref())),
        What::Pickup { channel, target } => of([channel, target]),
        What::Parking {
            parkee, retriever, ..
        } => of([parkee].into_iter().chain(retriever.as_deref())),
        What::Variable { uniqueid, .. } => BTreeSet::from([&**uniqueid]),
    }
}

/// Whether every channel of the trace has ended in it: nothing may be left then.
fn is_whole(trace: &Trace) -> bool {
    let mut alive = BTreeSet::new();
    for record in &trace.records {
        match &record.what {
            What::Gone { channel } => {
                alive.remove(&*channel.uniqueid);
            }
            _ => alive.extend(channels(record)),
        }
    }
    alive.is_empty()
}

/// Plays these records and looks whether the rules are kept and nothing is left.
fn holds(trace: &Trace, records: &[Record], what: &str) {
    let mut player = Player::new(Arc::clone(&trace.settings));
    records.iter().for_each(|record| player.record(record));
    player.finish();
    let requests = player.requests();
    let mut held = keeps_the_rules(&requests);
    if is_whole(trace) {
        held = held.and_then(|()| closes_all(&requests)).and_then(|()| {
            let empty = player.tracker().is_empty();
            empty
                .then_some(())
                .ok_or_else(|| format!("something is left: {:#?}", player.tracker()))
        });
    }
    if let Err(fault) = held {
        panic!("{what}: {fault}\n{}", text(&requests));
    }
}

#[test]
fn each_trace_keeps_the_rules_and_leaves_nothing() {
    for (name, trace) in traces() {
        holds(&trace, &trace.records, &name);
    }
}

#[test]
fn a_record_that_comes_twice_does_no_harm() {
    for (name, trace) in traces() {
        let twice: Vec<Record> = trace
            .records
            .iter()
            .flat_map(|record| [record.clone(), record.clone()])
            .collect();
        holds(&trace, &twice, &format!("{name} with each record twice"));
    }
}

#[test]
fn records_of_different_channels_may_change_places() {
    for (name, trace) in traces() {
        for seed in 0..SHUFFLES {
            let mut draw = fastrand::Rng::with_seed(seed);
            let mut records = trace.records.clone();
            if records.len() < 2 {
                continue;
            }
            for _ in 0..SWAPS {
                let at = draw.usize(0..records.len() - 1);
                let (one, other) = (channels(&records[at]), channels(&records[at + 1]));
                if !one.is_empty() && !other.is_empty() && one.is_disjoint(&other) {
                    records.swap(at, at + 1);
                }
            }
            holds(
                &trace,
                &records,
                &format!("{name} with neighbours swapped, seed {seed}"),
            );
        }
    }
}

#[test]
fn a_masked_trace_gives_the_same_requests_with_other_numbers() {
    for (name, trace) in traces() {
        let key = BuildHasherDefault::<DefaultHasher>::default();
        let mask = Mask::new(key, trace.settings.internal.clone());
        let header = mask.header(&trace.header);
        let masked = Trace {
            settings: header.settings().unwrap(),
            header,
            records: trace
                .records
                .iter()
                .map(|record| mask.record(record).unwrap())
                .collect(),
        };
        let hidden = |draft: &Draft| {
            let fields = draft.fields();
            let fields = fields.map(|(name, value)| match &*name {
                "phone" | "diversion" => (name.into_owned(), mask.text(&value).into_owned()),
                _ => (name.into_owned(), value.into_owned()),
            });
            fields.collect::<Vec<_>>()
        };
        let plain = |draft: &Draft| {
            let fields = draft.fields();
            fields
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect::<Vec<_>>()
        };
        let expected: Vec<_> = play(&trace)
            .iter()
            .map(|(at, draft)| (*at, hidden(draft)))
            .collect();
        let found: Vec<_> = play(&masked)
            .iter()
            .map(|(at, draft)| (*at, plain(draft)))
            .collect();
        assert_eq!(found, expected, "{name}");
    }
}
