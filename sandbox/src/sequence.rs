//! Calls as the CRM sees them, and the rules of order that the official scenarios imply.
//!
//! Invariants: a breach never changes the reply, because the real CRM does not check order; the state always follows
//! what was sent, so that one breach is reported once and not again for everything after it; no clock of its own.

use crate::protocol::{Command, Completion, Direction, Event, Moment, Record, Status};
use serde::Serialize;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::str::FromStr;

/// Violations kept for a query; the total goes on counting.
const KEPT_VIOLATIONS: usize = 10_000;

macro_rules! rules {
    ($($rule:ident $name:literal $meaning:literal)*) => {
        /// A rule of order within one call.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule { $(#[doc = $meaning] $rule),* }

        impl Rule {
            /// Every rule.
            pub const ALL: &[Self] = &[$(Self::$rule),*];

            /// The short name, as `--allow` takes it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$rule => $name),* }
            }

            /// What is forbidden, in one line.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$rule => $meaning),* }
            }
        }
    };
}

rules! {
    CompletedNotShown "completed-not-shown" "COMPLETED for an extension that was never shown by INCOMING or OUTGOING"
    ShownTwice "shown-twice" "INCOMING or OUTGOING for an extension that is shown and not closed"
    ClosedTwice "closed-twice" "COMPLETED for an extension that is closed already"
    AcceptedNotShown "accepted-not-shown" "ACCEPTED for an extension that was never shown"
    AcceptedTwice "accepted-twice" "ACCEPTED again for an extension that is talking"
    AfterEnd "after-end" "ACCEPTED or OUTGOING for an extension after its end; only a new INCOMING may follow"
    TypeChanged "type-changed" "a callid whose type changes between in and out"
    PhoneChanged "phone-changed" "a callid whose client number changes"
    SuccessNotAccepted "success-not-accepted" "COMPLETED with Success for an extension that was not ACCEPTED"
    MissedAfterAccepted "missed-after-accepted" "COMPLETED with Missed for an extension that was ACCEPTED"
    DurationNotAnswered "duration-not-answered" "COMPLETED with a duration above 0 and a status other than Success"
    RecordedNotAnswered "recorded-not-answered" "COMPLETED with is_recorded=1 and a status other than Success"
    LinkNotRecorded "link-not-recorded" "COMPLETED with a record_link and is_recorded=0"
    RecordBeforeEvent "record-before-event" "record for a callid without any event"
    RecordBeforeCompleted "record-before-completed" "record for a call of which no extension is closed yet"
    RecordNotRecorded "record-not-recorded" "record for a call that was closed with is_recorded=0 only"
    RecordTwice "record-twice" "record for a call whose recording is known already"
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Rule {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl FromStr for Rule {
    type Err = String;

    /// Fails with a sentence that lists the rules.
    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .iter()
            .find(|rule| rule.name() == name)
            .copied()
            .ok_or_else(|| {
                let names: Vec<&str> = Self::ALL.iter().map(|rule| rule.name()).collect();
                format!("`{name}` is not a rule; the rules are {}", names.join(", "))
            })
    }
}

/// One breach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// The number of the request.
    pub n: u64,
    /// The call.
    pub callid: String,
    /// The extension, for the rules that speak of one.
    pub ext: Option<String>,
    /// What happened, in one sentence.
    pub text: String,
}

/// Where an extension is within its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The popup rings.
    Ringing,
    /// The employee talks.
    Talking,
    /// The popup is closed.
    Ended,
}

/// One extension of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leg {
    /// The extension.
    pub ext: String,
    /// Where it is.
    pub stage: Stage,
    /// When it was shown last, milliseconds of the epoch; `None` for one that was never shown.
    pub shown_ms: Option<u64>,
    /// When it was accepted in this round.
    pub accepted_ms: Option<u64>,
    /// When it was closed.
    pub ended_ms: Option<u64>,
    /// How often it was shown.
    pub rounds: u32,
    /// How it ended.
    pub status: Option<Status>,
    /// Seconds, as sent.
    pub duration: Option<u64>,
}

/// One call, keyed by its callid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Call {
    /// The key.
    pub callid: String,
    /// In or out, as the first event said.
    #[serde(rename = "type")]
    pub direction: Direction,
    /// The client's number.
    pub phone: String,
    /// The outside number, if any event named it.
    pub diversion: Option<String>,
    /// When the first event came, milliseconds of the epoch.
    pub started_ms: u64,
    /// When the latest event came.
    pub changed_ms: u64,
    /// The extensions in the order of their first appearance.
    pub legs: Vec<Leg>,
    /// `None` until an extension is closed.
    pub is_recorded: Option<bool>,
    /// The recording.
    pub record_link: Option<String>,
    /// The link works once.
    pub is_temp: bool,
    /// Analytics fields.
    pub data: Vec<(String, String)>,
    /// How many violations it has.
    pub violations: u32,
}

impl Call {
    /// Whether any extension still shows a popup.
    pub fn open(&self) -> bool {
        self.legs.iter().any(|leg| leg.stage != Stage::Ended)
    }
}

/// A popup that was shown and not closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Popup {
    /// The call.
    pub callid: String,
    /// The extension.
    pub ext: String,
    /// Ringing or talking.
    pub stage: Stage,
    /// When it was shown, milliseconds of the epoch.
    pub since_ms: u64,
}

/// A call that was closed with is_recorded=1, and whose recording has not come. It may still: nothing says by when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MissingRecording {
    /// The call.
    pub callid: String,
    /// When it was closed, milliseconds of the epoch.
    pub since_ms: u64,
}

/// All calls, and what was wrong with their order.
#[derive(Debug)]
pub struct Sequence {
    calls: HashMap<String, Call>,
    order: VecDeque<String>,
    keep: usize,
    /// How many popups are shown and not closed: counting them anew would take long among a hundred thousand calls.
    open: usize,
    allowed: BTreeSet<Rule>,
    violations: Vec<Violation>,
    total: u64,
}

impl Sequence {
    /// Nothing has happened. Above `keep` calls the oldest ended ones are forgotten.
    pub fn new(keep: usize) -> Self {
        Self {
            calls: HashMap::new(),
            order: VecDeque::new(),
            keep: keep.max(1),
            open: 0,
            allowed: BTreeSet::new(),
            violations: Vec::new(),
            total: 0,
        }
    }

    /// Allows or checks a rule from now on.
    pub fn allow(&mut self, rule: Rule, allowed: bool) {
        if allowed {
            self.allowed.insert(rule);
        } else {
            self.allowed.remove(&rule);
        }
    }

    /// The rules that are not checked.
    pub fn allowed(&self) -> &BTreeSet<Rule> {
        &self.allowed
    }

    /// Forgets all calls and violations; the allowed rules stay.
    pub fn clear(&mut self) {
        self.calls.clear();
        self.order.clear();
        self.open = 0;
        self.violations.clear();
        self.total = 0;
    }

    /// The violations, oldest first; at most ten thousand are kept.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// How many violations there were.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// How many calls are known.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether no call is known.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// The calls, latest first.
    pub fn latest(&self) -> impl Iterator<Item = &Call> {
        self.order
            .iter()
            .rev()
            .filter_map(|callid| self.calls.get(callid))
    }

    /// How many popups are shown and not closed.
    pub fn open(&self) -> usize {
        self.open
    }

    /// Every popup that is shown and not closed.
    pub fn open_popups(&self) -> Vec<Popup> {
        self.order
            .iter()
            .filter_map(|callid| self.calls.get(callid))
            .flat_map(|call| {
                call.legs
                    .iter()
                    .filter(|leg| leg.stage != Stage::Ended)
                    .map(|leg| Popup {
                        callid: call.callid.clone(),
                        ext: leg.ext.clone(),
                        stage: leg.stage,
                        since_ms: leg.shown_ms.unwrap_or(call.started_ms),
                    })
            })
            .collect()
    }

    /// One call.
    pub fn call(&self, callid: &str) -> Option<&Call> {
        self.calls.get(callid)
    }

    /// Every call that is over and recorded, and has neither a link nor its `record` yet.
    pub fn missing_recordings(&self) -> Vec<MissingRecording> {
        let calls = self.order.iter().filter_map(|callid| self.calls.get(callid));
        calls
            .filter(|call| call.is_recorded == Some(true) && call.record_link.is_none() && !call.open())
            .map(|call| MissingRecording {
                callid: call.callid.clone(),
                since_ms: call.changed_ms,
            })
            .collect()
    }

    /// Takes in request number `n`, which came at `now_ms` of the epoch, and returns what it violates.
    pub fn apply(&mut self, n: u64, now_ms: u64, command: &Command) -> Vec<Violation> {
        let (callid, ext, breaches) = match command {
            Command::Event(event) => (&event.callid, Some(&event.ext), self.event(now_ms, event)),
            Command::Record(record) => (&record.callid, None, self.record(now_ms, record)),
            Command::Contact { .. } | Command::Ping => return Vec::new(),
        };
        let mut violations = Vec::new();
        for (rule, text) in breaches {
            if !self.allowed.contains(&rule) {
                violations.push(Violation {
                    rule,
                    n,
                    callid: callid.clone(),
                    ext: ext.cloned(),
                    text,
                });
            }
        }
        if !violations.is_empty() {
            self.total += violations.len() as u64;
            if let Some(call) = self.calls.get_mut(callid) {
                call.violations += u32::try_from(violations.len()).unwrap_or(u32::MAX);
            }
            let room = KEPT_VIOLATIONS.saturating_sub(self.violations.len());
            self.violations.extend(violations.iter().take(room).cloned());
        }
        violations
    }

    fn event(&mut self, now_ms: u64, event: &Event) -> Vec<(Rule, String)> {
        let mut breaches = Vec::new();
        let call = match self.calls.entry(event.callid.clone()) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                self.order.push_back(event.callid.clone());
                entry.insert(Call {
                    callid: event.callid.clone(),
                    direction: event.direction,
                    phone: event.phone.clone(),
                    diversion: None,
                    started_ms: now_ms,
                    changed_ms: now_ms,
                    legs: Vec::new(),
                    is_recorded: None,
                    record_link: None,
                    is_temp: false,
                    data: Vec::new(),
                    violations: 0,
                })
            }
        };
        call.changed_ms = now_ms;
        if call.direction != event.direction {
            breaches.push((Rule::TypeChanged, "the type of the call has changed".to_owned()));
            call.direction = event.direction;
        }
        if call.phone != event.phone {
            breaches.push((
                Rule::PhoneChanged,
                format!("the phone was {}, now it is {}", call.phone, event.phone),
            ));
            call.phone.clone_from(&event.phone);
        }
        if event.diversion.is_some() {
            call.diversion.clone_from(&event.diversion);
        }
        let known = call.legs.iter().position(|leg| leg.ext == event.ext);
        let at = known.unwrap_or_else(|| {
            call.legs.push(Leg {
                ext: event.ext.clone(),
                stage: Stage::Ended,
                shown_ms: None,
                accepted_ms: None,
                ended_ms: None,
                rounds: 0,
                status: None,
                duration: None,
            });
            call.legs.len() - 1
        });
        let leg = &mut call.legs[at];
        let before = known.map(|_| leg.stage);
        let was_open = usize::from(leg.stage != Stage::Ended);
        match event.moment {
            Moment::Incoming | Moment::Outgoing => show(leg, before, event.moment, now_ms, &mut breaches),
            Moment::Accepted => accept(leg, before, now_ms, &mut breaches),
            Moment::Completed => {}
        }
        if let Some(completion) = &event.completion {
            close(leg, before, completion, now_ms, &mut breaches);
            // One extension of a group talks and is recorded, the others are closed with 0: the 1 wins.
            call.is_recorded = Some(call.is_recorded.unwrap_or(false) || completion.is_recorded);
            if completion.record_link.is_some() {
                call.record_link.clone_from(&completion.record_link);
            }
            for (name, value) in &completion.data {
                match call.data.iter_mut().find(|(known, _)| known == name) {
                    Some(field) => field.1.clone_from(value),
                    None => call.data.push((name.clone(), value.clone())),
                }
            }
        }
        let is_open = usize::from(call.legs[at].stage != Stage::Ended);
        self.open = self.open + is_open - was_open;
        self.forget();
        breaches
    }

    fn record(&mut self, now_ms: u64, record: &Record) -> Vec<(Rule, String)> {
        let Some(call) = self.calls.get_mut(&record.callid) else {
            return vec![(
                Rule::RecordBeforeEvent,
                "record came for a call without any event".to_owned(),
            )];
        };
        let mut breaches = Vec::new();
        match call.is_recorded {
            None => breaches.push((
                Rule::RecordBeforeCompleted,
                "record came before any COMPLETED".to_owned(),
            )),
            Some(false) => {
                breaches.push((
                    Rule::RecordNotRecorded,
                    "record came for a call with is_recorded=0".to_owned(),
                ));
            }
            Some(true) => {}
        }
        if call.record_link.is_some() {
            breaches.push((
                Rule::RecordTwice,
                "record came for a call whose recording is known".to_owned(),
            ));
        }
        call.changed_ms = now_ms;
        call.record_link = Some(record.record_link.clone());
        call.is_temp = record.is_temp;
        breaches
    }

    /// Keeps memory bounded under a benchmark. Open calls get another turn, a few at a time, so that this stays cheap.
    fn forget(&mut self) {
        let mut spared = 0;
        while self.order.len() > self.keep {
            let Some(callid) = self.order.pop_front() else {
                return;
            };
            if spared < 4 && self.calls.get(&callid).is_some_and(Call::open) {
                spared += 1;
                self.order.push_back(callid);
            } else if let Some(call) = self.calls.remove(&callid) {
                self.open -= call.legs.iter().filter(|leg| leg.stage != Stage::Ended).count();
            }
        }
    }
}

fn show(
    leg: &mut Leg,
    before: Option<Stage>,
    moment: Moment,
    now_ms: u64,
    breaches: &mut Vec<(Rule, String)>,
) {
    match before {
        Some(Stage::Ringing | Stage::Talking) => {
            breaches.push((
                Rule::ShownTwice,
                format!("extension {} is shown already and not closed", leg.ext),
            ));
            // A talking extension goes on talking: the second popup is the mistake, not the talk.
            return;
        }
        Some(Stage::Ended) if moment == Moment::Outgoing => {
            breaches.push((
                Rule::AfterEnd,
                format!("OUTGOING came after the end of extension {}", leg.ext),
            ));
        }
        Some(Stage::Ended) | None => {}
    }
    *leg = Leg {
        ext: std::mem::take(&mut leg.ext),
        stage: Stage::Ringing,
        shown_ms: Some(now_ms),
        accepted_ms: None,
        ended_ms: None,
        rounds: leg.rounds + 1,
        status: None,
        duration: None,
    };
}

fn accept(leg: &mut Leg, before: Option<Stage>, now_ms: u64, breaches: &mut Vec<(Rule, String)>) {
    match before {
        Some(Stage::Ringing) => {}
        Some(Stage::Talking) => {
            breaches.push((
                Rule::AcceptedTwice,
                format!("extension {} is talking already", leg.ext),
            ));
            return;
        }
        Some(Stage::Ended) => {
            breaches.push((
                Rule::AfterEnd,
                format!("ACCEPTED came after the end of extension {}", leg.ext),
            ));
            return;
        }
        None => {
            breaches.push((
                Rule::AcceptedNotShown,
                format!("extension {} was never shown", leg.ext),
            ));
        }
    }
    leg.stage = Stage::Talking;
    leg.accepted_ms = Some(now_ms);
}

fn close(
    leg: &mut Leg,
    before: Option<Stage>,
    completion: &Completion,
    now_ms: u64,
    breaches: &mut Vec<(Rule, String)>,
) {
    let ext = &leg.ext;
    let success = completion.status == Status::Success;
    match before {
        None => breaches.push((
            Rule::CompletedNotShown,
            format!("extension {ext} was never shown"),
        )),
        Some(Stage::Ended) => {
            breaches.push((Rule::ClosedTwice, format!("extension {ext} is closed already")));
        }
        Some(Stage::Ringing) if success => {
            breaches.push((
                Rule::SuccessNotAccepted,
                format!("extension {ext} ends with Success without ACCEPTED"),
            ));
        }
        Some(Stage::Talking) if completion.status == Status::Missed => {
            breaches.push((
                Rule::MissedAfterAccepted,
                format!("extension {ext} ends with Missed after ACCEPTED"),
            ));
        }
        Some(Stage::Ringing | Stage::Talking) => {}
    }
    if !success {
        if let Some(seconds @ 1..) = completion.duration {
            let text = format!(
                "extension {ext} ends with {:?} and a duration of {seconds} s",
                completion.status
            );
            breaches.push((Rule::DurationNotAnswered, text));
        }
        if completion.is_recorded {
            let text = format!(
                "extension {ext} ends with {:?} and is_recorded=1",
                completion.status
            );
            breaches.push((Rule::RecordedNotAnswered, text));
        }
    }
    if completion.record_link.is_some() && !completion.is_recorded {
        breaches.push((
            Rule::LinkNotRecorded,
            format!("extension {ext} ends with a record_link and is_recorded=0"),
        ));
    }
    leg.stage = Stage::Ended;
    leg.ended_ms = Some(now_ms);
    leg.status = Some(completion.status);
    leg.duration = completion.duration;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends requests written as `in 101 INCOMING`, `out 101 Busy 0 1 link`, `record`; returns the rules of the last.
    fn play(sequence: &mut Sequence, lines: &[&str]) -> Vec<Rule> {
        let mut last = Vec::new();
        for (at, line) in lines.iter().enumerate() {
            let words: Vec<&str> = line.split(' ').collect();
            let command = if words[0] == "record" {
                Command::Record(Record {
                    callid: "c".into(),
                    record_link: "https://x/y".into(),
                    is_temp: false,
                })
            } else {
                let moment = match words[2] {
                    "INCOMING" => Moment::Incoming,
                    "OUTGOING" => Moment::Outgoing,
                    "ACCEPTED" => Moment::Accepted,
                    _ => Moment::Completed,
                };
                let completion = (moment == Moment::Completed).then(|| Completion {
                    duration: words.get(3).map(|word| word.parse().unwrap()),
                    is_recorded: words.get(4) == Some(&"1"),
                    status: match words[2] {
                        "Success" => Status::Success,
                        "Missed" => Status::Missed,
                        "Cancelled" => Status::Cancelled,
                        "Busy" => Status::Busy,
                        other => panic!("{other}"),
                    },
                    record_link: words.get(5).map(|_| "https://x/y".into()),
                    data: Vec::new(),
                });
                let (direction, phone) = match words[0] {
                    "in" => (Direction::In, "7910"),
                    "other" => (Direction::In, "7999"),
                    "out" => (Direction::Out, "7910"),
                    other => panic!("{other}"),
                };
                Command::Event(Event {
                    direction,
                    moment,
                    phone: phone.into(),
                    diversion: None,
                    ext: words[1].into(),
                    callid: "c".into(),
                    completion,
                })
            };
            last = sequence
                .apply(at as u64 + 1, at as u64, &command)
                .iter()
                .map(|v| v.rule)
                .collect();
            if at + 1 < lines.len() {
                assert_eq!(last, [], "{line} of {lines:?}");
            }
        }
        last
    }

    #[test]
    fn official_scenarios_are_clean() {
        for lines in [
            // Ring group.
            &[
                "in 1 INCOMING",
                "in 2 INCOMING",
                "in 1 ACCEPTED",
                "in 2 Cancelled 0 0",
                "in 1 Success 9 1",
                "record",
            ][..],
            // Hunt, two rounds.
            &[
                "in 1 INCOMING",
                "in 1 Cancelled",
                "in 2 INCOMING",
                "in 2 Cancelled",
                "in 1 INCOMING",
                "in 1 ACCEPTED",
                "in 1 Success 5",
            ],
            &["out 1 OUTGOING", "out 1 ACCEPTED", "out 1 Success 5 1 link"],
            &["out 1 OUTGOING", "out 1 Busy 0 0"],
            &["out 1 OUTGOING", "out 1 ACCEPTED", "out 1 Busy 0 0"],
            &["in 1 INCOMING", "in 1 Missed 0 0"],
            // A transfer: the first talker is closed as Cancelled, the second ends the call.
            &[
                "in 1 INCOMING",
                "in 1 ACCEPTED",
                "in 2 INCOMING",
                "in 2 ACCEPTED",
                "in 1 Cancelled",
                "in 2 Success 3",
            ],
        ] {
            let mut sequence = Sequence::new(10);
            assert_eq!(play(&mut sequence, lines), [], "{lines:?}");
            assert_eq!((sequence.total(), sequence.open_popups()), (0, Vec::new()));
        }
    }

    #[test]
    fn each_rule_is_violated_once() {
        let cases: &[(Rule, &[&str])] = &[
            (Rule::CompletedNotShown, &["in 1 Cancelled"]),
            (Rule::ShownTwice, &["in 1 INCOMING", "in 1 INCOMING"]),
            (
                Rule::ClosedTwice,
                &["in 1 INCOMING", "in 1 Missed", "in 1 Missed"],
            ),
            (Rule::AcceptedNotShown, &["in 1 ACCEPTED"]),
            (
                Rule::AcceptedTwice,
                &["in 1 INCOMING", "in 1 ACCEPTED", "in 1 ACCEPTED"],
            ),
            (Rule::AfterEnd, &["in 1 INCOMING", "in 1 Missed", "in 1 ACCEPTED"]),
            (
                Rule::AfterEnd,
                &["out 1 OUTGOING", "out 1 Busy", "out 1 OUTGOING"],
            ),
            (Rule::TypeChanged, &["in 1 INCOMING", "out 1 ACCEPTED"]),
            (Rule::PhoneChanged, &["in 1 INCOMING", "other 1 ACCEPTED"]),
            (Rule::SuccessNotAccepted, &["in 1 INCOMING", "in 1 Success 4"]),
            (
                Rule::MissedAfterAccepted,
                &["in 1 INCOMING", "in 1 ACCEPTED", "in 1 Missed 0"],
            ),
            (Rule::DurationNotAnswered, &["in 1 INCOMING", "in 1 Missed 4"]),
            (Rule::RecordedNotAnswered, &["in 1 INCOMING", "in 1 Missed 0 1"]),
            (
                Rule::LinkNotRecorded,
                &["in 1 INCOMING", "in 1 ACCEPTED", "in 1 Success 4 0 link"],
            ),
            (Rule::RecordBeforeEvent, &["record"]),
            (Rule::RecordBeforeCompleted, &["in 1 INCOMING", "record"]),
            (
                Rule::RecordNotRecorded,
                &["in 1 INCOMING", "in 1 Missed 0 0", "record"],
            ),
            (
                Rule::RecordTwice,
                &[
                    "in 1 INCOMING",
                    "in 1 ACCEPTED",
                    "in 1 Success 1 1",
                    "record",
                    "record",
                ],
            ),
            (
                Rule::RecordTwice,
                &[
                    "in 1 INCOMING",
                    "in 1 ACCEPTED",
                    "in 1 Success 1 1 link",
                    "record",
                ],
            ),
        ];
        for (rule, lines) in cases {
            let mut sequence = Sequence::new(10);
            assert_eq!(play(&mut sequence, lines), [*rule], "{lines:?}");
            assert_eq!(sequence.total(), 1);
            assert_eq!(sequence.violations()[0].n, lines.len() as u64);
            let mut lenient = Sequence::new(10);
            lenient.allow(*rule, true);
            assert_eq!(play(&mut lenient, lines), [], "{lines:?} with {rule} allowed");
        }
        for rule in Rule::ALL {
            assert!(cases.iter().any(|(case, _)| case == rule), "{rule} has no case");
            assert_eq!(rule.name().parse(), Ok(*rule));
        }
        assert!("nonsense".parse::<Rule>().unwrap_err().contains("shown-twice"));
    }

    #[test]
    fn open_popups_are_those_shown_and_not_closed() {
        let mut sequence = Sequence::new(10);
        play(
            &mut sequence,
            &[
                "in 1 INCOMING",
                "in 2 INCOMING",
                "in 3 INCOMING",
                "in 2 ACCEPTED",
                "in 1 Cancelled",
            ],
        );
        let open: Vec<_> = sequence
            .open_popups()
            .into_iter()
            .map(|popup| (popup.ext, popup.stage))
            .collect();
        assert_eq!(
            open,
            [("2".to_owned(), Stage::Talking), ("3".to_owned(), Stage::Ringing)]
        );
    }

    #[test]
    fn a_recording_is_missing_from_the_end_until_it_comes() {
        let talk = [
            "in 1 INCOMING",
            "in 2 INCOMING",
            "in 1 ACCEPTED",
            "in 2 Cancelled 0 0",
        ];
        let mut sequence = Sequence::new(10);
        assert_eq!(play(&mut sequence, &talk), []);
        assert_eq!(sequence.missing_recordings(), []);
        assert_eq!(play(&mut sequence, &["in 1 Success 9 1"]), []);
        let missing = MissingRecording {
            callid: "c".into(),
            since_ms: 0,
        };
        assert_eq!(sequence.missing_recordings(), [missing]);
        assert_eq!(play(&mut sequence, &["record"]), []);
        assert_eq!(sequence.missing_recordings(), []);
        for end in ["in 1 Success 9 0", "in 1 Success 9 1 link"] {
            let mut sequence = Sequence::new(10);
            assert_eq!(play(&mut sequence, &[&talk[..], &[end]].concat()), []);
            assert_eq!(sequence.missing_recordings(), []);
        }
    }

    #[test]
    fn old_calls_are_forgotten_and_open_ones_spared() {
        let mut sequence = Sequence::new(3);
        for n in 0..100 {
            let event = Event {
                direction: Direction::In,
                moment: Moment::Incoming,
                phone: "1".into(),
                diversion: None,
                ext: "1".into(),
                callid: n.to_string(),
                completion: None,
            };
            sequence.apply(n, n, &Command::Event(event.clone()));
            if n > 0 {
                let status = Status::Cancelled;
                let completion = Some(Completion {
                    duration: None,
                    is_recorded: false,
                    status,
                    record_link: None,
                    data: vec![],
                });
                sequence.apply(
                    n,
                    n,
                    &Command::Event(Event {
                        moment: Moment::Completed,
                        completion,
                        ..event
                    }),
                );
            }
        }
        assert_eq!(sequence.len(), 3);
        assert_eq!((sequence.open_popups().len(), sequence.open()), (1, 1));
    }
}
