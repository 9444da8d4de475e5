//! What the CRM must have been told, and whether it was.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use harness::{CLIENT, field};
use serde_json::Value;

/// What the CRM must be told of one call, line by line: `in 101 INCOMING`, `in 101 COMPLETED Success 1`. A number of
/// seconds is the least; nobody can have talked longer than the flow lasted.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// Ways in which it may be told. Lines of one step may come in any order, steps come one after another.
    ways: Vec<Vec<Vec<String>>>,
    phone: String,
    diversion: Option<String>,
}

/// The requests of one call in their order: a line, or several in brackets that may change places.
macro_rules! told {
    ($([$($line:expr),+ $(,)?]),* $(,)?) => {
        $crate::told::Told::new(vec![$(vec![$($line.to_string()),+]),*])
    };
}
pub(crate) use told;

impl Told {
    pub(crate) fn new(steps: Vec<Vec<String>>) -> Self {
        Self {
            ways: vec![steps],
            phone: CLIENT.to_owned(),
            diversion: None,
        }
    }

    /// Told thus, or as the other one: where chance decides, such as whose phone begins to ring first.
    pub(crate) fn or(mut self, other: Self) -> Self {
        self.ways.extend(other.ways);
        self
    }

    /// The client's number, where it is another one.
    pub(crate) fn phone(mut self, number: &str) -> Self {
        number.clone_into(&mut self.phone);
        self
    }

    /// The company's number that was called or used.
    pub(crate) fn diversion(mut self, number: &str) -> Self {
        self.diversion = Some(number.to_owned());
        self
    }

    /// How many requests that are at least.
    pub(crate) fn count(&self) -> usize {
        let counts = self.ways.iter().map(|steps| steps.iter().map(Vec::len).sum());
        counts.min().unwrap_or(0)
    }

    /// Whether these requests, all of one call, are those.
    fn fits(&self, requests: &[&Value], longest: Duration) -> Result<()> {
        let lines: Vec<String> = requests.iter().map(|request| line(request)).collect();
        ensure!(
            self.ways.iter().any(|steps| follow(&lines, steps, longest)),
            "told\n{lines:#?}\nand not\n{:#?}",
            self.ways
        );
        for request in requests {
            let phone = field(request, "phone");
            ensure!(phone == self.phone, "the phone is {phone} and not {}", self.phone);
            if let Some(number) = &self.diversion {
                let diversion = field(request, "diversion");
                ensure!(
                    diversion == number,
                    "the diversion is {diversion} and not {number}"
                );
            }
        }
        Ok(())
    }
}

/// Whether these lines are those steps.
fn follow(lines: &[String], steps: &[Vec<String>], longest: Duration) -> bool {
    let mut rest = lines;
    steps.iter().all(|step| {
        let Some((now, later)) = rest.split_at_checked(step.len()) else {
            return false;
        };
        rest = later;
        let mut left: Vec<&String> = now.iter().collect();
        step.iter().all(|expected| {
            let at = left
                .iter()
                .position(|line| is_as_expected(line, expected, longest));
            at.map(|at| left.remove(at)).is_some()
        })
    }) && rest.is_empty()
}

/// Whether the CRM was told exactly of these calls. Two calls are told apart by their numbers; which of them is which does
/// not matter.
pub(crate) fn compare(expected: &[Told], requests: &[Value], longest: Duration) -> Result<()> {
    for request in requests {
        for trouble in ["problems", "violations", "notes"] {
            ensure!(
                request[trouble].as_array().is_some_and(Vec::is_empty),
                "the CRM has {trouble}: {request}"
            );
        }
    }
    let mut calls: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for request in requests {
        calls.entry(field(request, "callid")).or_default().push(request);
    }
    ensure!(
        calls.len() == expected.len(),
        "{} calls were told and not {}:\n{}",
        calls.len(),
        expected.len(),
        list(requests)
    );
    let mut left: Vec<&Told> = expected.iter().collect();
    for (callid, requests) in &calls {
        let verdicts: Vec<Result<()>> = left.iter().map(|told| told.fits(requests, longest)).collect();
        match verdicts.iter().position(Result::is_ok) {
            Some(at) => drop(left.remove(at)),
            None => {
                let reasons: Vec<String> = verdicts
                    .into_iter()
                    .filter_map(Result::err)
                    .map(|error| format!("{error:#}"))
                    .collect();
                bail!("the call {callid}: {}", reasons.join("\nor\n"));
            }
        }
    }
    Ok(())
}

/// What one request says, short: `in 101 COMPLETED Missed 0`.
pub(crate) fn line(request: &Value) -> String {
    let [direction, ext, event] = ["type", "ext", "event"].map(|name| field(request, name));
    match (field(request, "cmd"), event) {
        ("record", _) => format!("record {}", field(request, "record_link")),
        (_, "COMPLETED") => format!(
            "{direction} {ext} COMPLETED {} {}",
            field(request, "status"),
            field(request, "duration")
        ),
        _ => format!("{direction} {ext} {event}"),
    }
}

/// All of them, each with its call.
pub(crate) fn list(requests: &[Value]) -> String {
    requests
        .iter()
        .map(|request| format!("{} {}\n", field(request, "callid"), line(request)))
        .collect()
}

fn is_as_expected(line: &str, expected: &str, longest: Duration) -> bool {
    let seconds = |text: &str| -> Option<(String, u64)> {
        let (before, number) = text.rsplit_once(' ')?;
        Some((before.to_owned(), number.parse().ok()?))
    };
    match (seconds(line), seconds(expected)) {
        (Some((said, told)), Some((wanted, least))) if wanted.ends_with("Success") => {
            said == wanted && (least..=longest.as_secs() + 1).contains(&told)
        }
        _ => line == expected,
    }
}
