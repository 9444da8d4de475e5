//! How the module does, in figures, for those who watch it: as JSON and as Prometheus's text.
//!
//! Invariants:
//! - both are made of one list, so that a figure has the same name and the same value in both: in JSON without `planfix_` before
//!   it and without `_total` behind it;
//! - nothing in there tells of anybody: all texts but the versions are words of the module's own;
//! - what is not known, because the module is disabled, is `null` in JSON and absent from the text; the names stay the same.

use std::fmt::{self, Write as _};
use std::time::Duration;

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::histogram::Histogram;
use super::refusal::Refusal;
use super::settings::Mode;

/// What stands before every name in Prometheus's text.
const PREFIX: &str = "planfix_";

/// What says who reports calls.
const MODES: &[&str] = &[Mode::Auto.word(), Mode::Dialplan.word()];

/// The media type of [`Gauges::metrics`].
pub const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The media type of [`Gauges::json`].
pub const JSON_TYPE: &str = "application/json; charset=utf-8";

/// Which program this is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Build {
    /// The module's version.
    pub version: String,
    /// Its build id.
    pub id: String,
    /// Asterisk's version.
    pub asterisk: String,
}

/// What became of the dialplan's events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// Accepted.
    pub queued: u64,
    /// None of the CRM's business.
    pub ignored: u64,
    /// Not accepted, or wrong.
    pub rejected: u64,
}

/// What something takes of Asterisk's threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// How often.
    pub count: u64,
    /// Half of them took no longer.
    pub median: Duration,
    /// 99 of a hundred took no longer.
    pub p99: Duration,
    /// None took longer.
    pub longest: Duration,
}

impl From<&Histogram> for Times {
    fn from(histogram: &Histogram) -> Self {
        Self {
            count: histogram.count(),
            median: histogram.quantile(0.5),
            p99: histogram.quantile(0.99),
            longest: histogram.longest(),
        }
    }
}

/// What the CRM has asked of the PBX.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clicks {
    /// Calls that were begun.
    pub calls: u64,
    /// Those of them whose first phone could not be called.
    pub unreachable: u64,
    /// Times that `setup` was taken over.
    pub setups: u64,
    /// What was refused, each reason at its number's place.
    pub refused: [u64; Refusal::COUNT],
}

/// Who has asked for these figures and was refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watchers {
    /// By the ACL.
    pub acl: u64,
    /// For lack of the right key.
    pub key: u64,
}

/// How the CRM stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Crm {
    /// Nothing was sent yet.
    #[default]
    Untried,
    /// It answers.
    Reachable,
    /// The network, or its server, fails.
    Unreachable,
    /// Its address or its key is wrong.
    Stopped,
}

/// How much room the spool has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Room {
    /// Everything is accepted.
    #[default]
    Ample,
    /// New popups are refused.
    Tight,
    /// Everything is refused.
    Full,
}

/// How requests leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// How the CRM stands.
    pub crm: Crm,
    /// How long it has been away; zero while it is not.
    pub away: Duration,
    /// How long ago it last answered well.
    pub last_answer: Option<Duration>,
    /// The operator has paused delivery.
    pub paused: bool,
    /// Requests that wait, those under way included.
    pub waiting: u64,
    /// How old the oldest of them is.
    pub oldest: Duration,
    /// Requests under way.
    pub under_way: u64,
    /// Requests at the same time.
    pub workers: u64,
    /// Requests that were acknowledged.
    pub delivered: u64,
    /// Requests that the CRM has refused.
    pub failed: u64,
    /// Popups that were stale.
    pub stale: u64,
    /// Popups of cards that were never shown.
    pub unshown: u64,
    /// Requests for which there was no room.
    pub no_room: u64,
    /// Bytes of the spool.
    pub spool: u64,
    /// And its limit.
    pub spool_limit: u64,
    /// How much room there is.
    pub room: Room,
    /// The disk refuses to be written to.
    pub disk_fails: bool,
    /// The slowest commit.
    pub commit: Duration,
    /// The slowest confirmation by the disk.
    pub confirmation: Duration,
}

/// What is followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Calls with clients.
    pub followed: u64,
    /// Channels of all calls.
    pub channels: u64,
    /// Cards on employees' screens.
    pub cards: u64,
    /// Records that were taken.
    pub records: u64,
    /// Records for which there was no room.
    pub lost_records: u64,
    /// Records that wait.
    pub waiting: u64,
    /// Requests that were never accepted.
    pub lost_requests: u64,
}

/// What the CRM was asked about callers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contacts {
    /// Questions.
    pub asked: u64,
    /// Answered from what was known.
    pub known: u64,
    /// Answered by the CRM in time.
    pub in_time: u64,
    /// Answered with something old.
    pub old: u64,
    /// Not answered in time.
    pub late: u64,
    /// Not answered at all.
    pub failed: u64,
    /// Requests that were made.
    pub requests: u64,
    /// Requests under way.
    pub under_way: u64,
    /// Callers that are remembered.
    pub remembered: u64,
    /// The CRM is not asked for a while, because it did not answer.
    pub rests: bool,
}

/// How recordings stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recordings {
    /// Those that wait.
    pub waiting: u64,
    /// Those of them that have failed at least once.
    pub failed: u64,
    /// Those that are being converted.
    pub converting: u64,
    /// Those that are done.
    pub converted: u64,
    /// Those that are left as they are.
    pub left: u64,
}

/// What operators have recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Greetings {
    /// Greetings.
    pub recorded: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Operators who have any.
    pub operators: u64,
    /// Operators of whom callers hear one.
    pub heard: u64,
    /// Operators who have switched them off.
    pub switched_off: u64,
    /// Operators on vacation.
    pub on_vacation: u64,
}

/// Everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Which program this is.
    pub build: Build,
    /// How long it has been loaded.
    pub loaded: Duration,
    /// Whether calls are reported.
    pub enabled: bool,
    /// Whether the CRM has to send its address and its key first.
    pub awaits_setup: bool,
    /// Faults of planfix.conf as it is now.
    pub problems: u64,
    /// Who reports calls.
    pub mode: Mode,
    /// Panics that were caught.
    pub panics: u64,
    /// What became of events.
    pub events: Events,
    /// Asterisk's messages.
    pub messages: Times,
    /// Those of them that became records.
    pub records: Times,
    /// What the CRM has asked of the PBX.
    pub clicks: Clicks,
    /// Recordings that are being sent.
    pub downloads: u64,
    /// Who was refused these figures.
    pub watchers: Watchers,
    /// `None` while the module is disabled.
    pub delivery: Option<Delivery>,
    /// `None` unless the module follows calls.
    pub calls: Option<Calls>,
    /// `None` while the module is disabled.
    pub contacts: Option<Contacts>,
    /// `None` while recordings are left alone.
    pub recordings: Option<Recordings>,
    /// `None` where there are none.
    pub greetings: Option<Greetings>,
}

/// A figure.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Number {
    Whole(u64),
    Seconds(f64),
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<bool> for Number {
    fn from(value: bool) -> Self {
        Self::Whole(value.into())
    }
}

impl From<Duration> for Number {
    fn from(value: Duration) -> Self {
        Self::Seconds(value.as_secs_f64())
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(value) => value.fmt(f),
            Self::Seconds(value) => value.fmt(f),
        }
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Whole(value) => serializer.serialize_u64(*value),
            Self::Seconds(value) => serializer.serialize_f64(*value),
        }
    }
}

/// How a figure changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Up and down.
    Gauge,
    /// Up, and from zero again after a load.
    Counter,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Gauge => "",
            Self::Counter => "_total",
        }
    }
}

/// What stands under one name.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Unknown,
    One(Number),
    /// One for each value of a label.
    Each(&'static str, Vec<(String, Number)>),
    /// The label's value that holds now, among all that there are.
    State(&'static str, &'static str, &'static [&'static str]),
    /// Texts that stand beside each other.
    Texts(Vec<(&'static str, String)>),
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unknown => serializer.serialize_none(),
            Self::One(number) => number.serialize(serializer),
            Self::Each(_, numbers) => {
                serializer.collect_map(numbers.iter().map(|(name, number)| (name, number)))
            }
            Self::State(_, now, _) => serializer.serialize_str(now),
            Self::Texts(texts) => serializer.collect_map(texts.iter().map(|(name, text)| (name, text))),
        }
    }
}

/// A name, and what stands under it.
#[derive(Clone, Debug, PartialEq)]
struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    value: Value,
}

impl Family {
    fn new(kind: Kind, name: &'static str, help: &'static str, value: Value) -> Self {
        Self {
            name,
            help,
            kind,
            value,
        }
    }

    fn gauge(name: &'static str, help: &'static str, value: impl Into<Number>) -> Self {
        Self::new(Kind::Gauge, name, help, Value::One(value.into()))
    }

    fn counter(name: &'static str, help: &'static str, value: u64) -> Self {
        Self::new(Kind::Counter, name, help, Value::One(value.into()))
    }

    /// It is not known now.
    fn unknown(self) -> Self {
        Self {
            value: Value::Unknown,
            ..self
        }
    }

    /// Appends its lines of Prometheus's text. Writing to a String cannot fail.
    fn write(&self, out: &mut String) {
        if self.value == Value::Unknown {
            return;
        }
        let (help, kind) = (escaped(self.help, false), self.kind.word());
        let name = format!("{PREFIX}{}{}", self.name, self.kind.suffix());
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        let mut sample = |labels: &[(&str, &str)], number: Number| {
            out.push_str(&name);
            for (index, (label, value)) in labels.iter().enumerate() {
                let before = if index == 0 { '{' } else { ',' };
                let _ = write!(out, "{before}{label}=\"{}\"", escaped(value, true));
            }
            let after = if labels.is_empty() { "" } else { "}" };
            let _ = writeln!(out, "{after} {number}");
        };
        match &self.value {
            Value::Unknown => {}
            Value::One(number) => sample(&[], *number),
            Value::Each(label, numbers) => {
                for (value, number) in numbers {
                    sample(&[(label, value)], *number);
                }
            }
            Value::State(label, now, all) => {
                for value in *all {
                    sample(&[(label, value)], (value == now).into());
                }
            }
            Value::Texts(texts) => {
                let labels: Vec<(&str, &str)> =
                    texts.iter().map(|(name, text)| (*name, text.as_str())).collect();
                sample(&labels, Number::Whole(1));
            }
        }
    }
}

/// As Prometheus's text has a label's value, or a help, in which quotation marks mean nothing.
fn escaped(text: &str, quoted: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quoted => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out
}

/// A value for each of some words.
fn each<const COUNT: usize>(
    kind: Kind,
    name: &'static str,
    help: &'static str,
    label: &'static str,
    numbers: [(&str, Number); COUNT],
) -> Family {
    let numbers = numbers.map(|(word, number)| (word.to_owned(), number));
    Family::new(kind, name, help, Value::Each(label, numbers.to_vec()))
}

/// The whole list as an object.
struct Object(Vec<Family>);

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for family in &self.0 {
            map.serialize_entry(family.name, &family.value)?;
        }
        map.end()
    }
}

impl Gauges {
    /// All of it as one JSON object, in a line of its own.
    ///
    /// # Errors
    /// Never for this; the serializer's type has one.
    pub fn json(&self) -> serde_json::Result<String> {
        let mut text = serde_json::to_string(&Object(self.families()))?;
        text.push('\n');
        Ok(text)
    }

    /// All of it as Prometheus's text, in its version 0.0.4.
    #[must_use]
    pub fn metrics(&self) -> String {
        let mut text = String::new();
        for family in self.families() {
            family.write(&mut text);
        }
        text
    }

    fn families(&self) -> Vec<Family> {
        let mut families = self.module();
        families.extend(known(self.delivery.as_ref(), Delivery::families));
        families.extend(known(self.calls.as_ref(), Calls::families));
        families.extend(self.callbacks());
        families.extend(self.clicks.families());
        families.extend(known(self.contacts.as_ref(), Contacts::families));
        families.extend(known(self.recordings.as_ref(), Recordings::families));
        families.push(Family::gauge(
            "recordings_playing",
            "Recordings that are being sent to listeners.",
            self.downloads,
        ));
        families.extend(known(self.greetings.as_ref(), Greetings::families));
        families.push(each(
            Kind::Counter,
            "status_refused",
            "Requests for these figures that were refused.",
            "reason",
            [
                ("acl", self.watchers.acl.into()),
                ("key", self.watchers.key.into()),
            ],
        ));
        families
    }

    fn module(&self) -> Vec<Family> {
        let texts = vec![
            ("version", self.build.version.clone()),
            ("build", self.build.id.clone()),
            ("asterisk", self.build.asterisk.clone()),
        ];
        vec![
            Family::new(
                Kind::Gauge,
                "build_info",
                "Which build of the module runs, in which Asterisk.",
                Value::Texts(texts),
            ),
            Family::gauge("loaded_seconds", "Since the module was loaded.", self.loaded),
            Family::gauge("enabled", "1 while calls are reported to the CRM.", self.enabled),
            Family::gauge(
                "awaits_setup",
                "1 while the CRM has to send its address and its key first.",
                self.awaits_setup,
            ),
            Family::gauge(
                "configuration_problems",
                "Faults of planfix.conf, because of which it was not taken over.",
                self.problems,
            ),
            Family::new(
                Kind::Gauge,
                "mode",
                "Who reports calls.",
                Value::State("mode", self.mode.word(), MODES),
            ),
            Family::counter("panics", "Faults of the module that were caught.", self.panics),
            each(
                Kind::Counter,
                "events",
                "What PLANFIX_EVENT has answered.",
                "answer",
                [
                    ("queued", self.events.queued.into()),
                    ("ignored", self.events.ignored.into()),
                    ("rejected", self.events.rejected.into()),
                ],
            ),
        ]
    }

    /// What Asterisk pays for being listened to.
    fn callbacks(&self) -> Vec<Family> {
        let times = |name, help, times: &Times| {
            each(
                Kind::Gauge,
                name,
                help,
                "statistic",
                [
                    ("median", times.median.into()),
                    ("p99", times.p99.into()),
                    ("longest", times.longest.into()),
                ],
            )
        };
        vec![
            Family::counter(
                "callback_messages",
                "Messages of Asterisk's that the module has seen.",
                self.messages.count,
            ),
            times(
                "callback_message_seconds",
                "What a message costs Asterisk's thread.",
                &self.messages,
            ),
            Family::counter(
                "callback_records",
                "Those of the messages that became records.",
                self.records.count,
            ),
            times(
                "callback_record_seconds",
                "What such a message costs Asterisk's thread.",
                &self.records,
            ),
        ]
    }
}

/// These families; without a value where there is nothing to tell of, so that their names are there all the same.
fn known<T: Default>(what: Option<&T>, families: fn(&T) -> Vec<Family>) -> Vec<Family> {
    match what {
        Some(what) => families(what),
        None => families(&T::default()).into_iter().map(Family::unknown).collect(),
    }
}

impl Crm {
    const WORDS: &'static [&'static str] = &["untried", "reachable", "unreachable", "stopped"];

    fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }
}

impl Room {
    const WORDS: &'static [&'static str] = &["ample", "tight", "full"];

    fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }
}

impl Delivery {
    fn families(&self) -> Vec<Family> {
        let last_answer = Family::gauge(
            "crm_last_answer_seconds",
            "Since the CRM last acknowledged something.",
            self.last_answer.unwrap_or_default(),
        );
        vec![
            Family::new(
                Kind::Gauge,
                "crm_state",
                "How the CRM stands; stopped: its address or its key is wrong.",
                Value::State("state", self.crm.word(), Crm::WORDS),
            ),
            Family::gauge(
                "crm_away_seconds",
                "Since the CRM is out of reach or stopped; 0 while it is not.",
                self.away,
            ),
            if self.last_answer.is_some() {
                last_answer
            } else {
                last_answer.unknown()
            },
            Family::gauge("paused", "1 while the operator has paused delivery.", self.paused),
            Family::gauge(
                "queue_waiting",
                "Requests that wait for delivery, those under way included.",
                self.waiting,
            ),
            Family::gauge(
                "queue_oldest_seconds",
                "Age of the oldest of them; 0 when there is none.",
                self.oldest,
            ),
            Family::gauge("queue_under_way", "Requests under way.", self.under_way),
            Family::gauge("workers", "Requests that can be under way.", self.workers),
            Family::counter(
                "delivered",
                "Requests that the CRM has acknowledged.",
                self.delivered,
            ),
            Family::gauge(
                "failed",
                "Requests that the CRM has refused, in 'planfix show failed'.",
                self.failed,
            ),
            each(
                Kind::Counter,
                "dropped",
                "Requests that were given up: stale popups, popups of cards not shown, what found no room.",
                "reason",
                [
                    ("stale", self.stale.into()),
                    ("unshown", self.unshown.into()),
                    ("no_room", self.no_room.into()),
                ],
            ),
            Family::gauge("spool_bytes", "The spool's files.", self.spool),
            Family::gauge("spool_limit_bytes", "What they may grow to.", self.spool_limit),
            Family::new(
                Kind::Gauge,
                "spool_room",
                "Whether events find room; tight: new popups are refused, full: everything is.",
                Value::State("state", self.room.word(), Room::WORDS),
            ),
            Family::gauge(
                "spool_fails",
                "1 while the spool cannot be written and events are kept in memory.",
                self.disk_fails,
            ),
            Family::gauge(
                "spool_slowest_commit_seconds",
                "The slowest commit since the load.",
                self.commit,
            ),
            Family::gauge(
                "spool_slowest_confirmation_seconds",
                "The slowest confirmation by the disk since the load.",
                self.confirmation,
            ),
        ]
    }
}

impl Calls {
    fn families(&self) -> Vec<Family> {
        vec![
            Family::gauge("calls_followed", "Calls with clients now.", self.followed),
            Family::gauge("channels_followed", "Channels of all calls now.", self.channels),
            Family::gauge("cards_open", "Cards on employees' screens now.", self.cards),
            Family::counter("records", "What was seen of calls.", self.records),
            Family::counter(
                "records_lost",
                "What could not be seen, because too much came at once.",
                self.lost_records,
            ),
            Family::gauge(
                "records_waiting",
                "What was seen and waits to be looked at.",
                self.waiting,
            ),
            Family::counter(
                "requests_lost",
                "Requests that never found room in the spool.",
                self.lost_requests,
            ),
        ]
    }
}

impl Clicks {
    fn families(&self) -> Vec<Family> {
        let refused = Refusal::ALL
            .into_iter()
            .zip(self.refused)
            .map(|(refusal, count)| (refusal.word().replace(' ', "_"), count.into()))
            .collect();
        vec![
            Family::counter(
                "clicks",
                "Calls that were begun by a click in the CRM.",
                self.calls,
            ),
            Family::counter(
                "clicks_unreachable",
                "Those of them whose first phone could not be called.",
                self.unreachable,
            ),
            Family::counter(
                "setups",
                "Times that the CRM's setup was taken over.",
                self.setups,
            ),
            Family::new(
                Kind::Counter,
                "clicks_refused",
                "Requests of the CRM's, or of others, that were refused.",
                Value::Each("reason", refused),
            ),
        ]
    }
}

impl Contacts {
    fn families(&self) -> Vec<Family> {
        vec![
            Family::counter("contact_questions", "Questions about callers.", self.asked),
            each(
                Kind::Counter,
                "contact_answers",
                "How they were answered.",
                "answer",
                [
                    ("known", self.known.into()),
                    ("in_time", self.in_time.into()),
                    ("old", self.old.into()),
                    ("late", self.late.into()),
                    ("failed", self.failed.into()),
                ],
            ),
            Family::counter(
                "contact_requests",
                "Requests that were made for them.",
                self.requests,
            ),
            Family::gauge("contact_under_way", "Such requests under way.", self.under_way),
            Family::gauge(
                "contact_remembered",
                "Callers that are remembered.",
                self.remembered,
            ),
            Family::gauge(
                "contact_rests",
                "1 while the CRM is not asked, because it did not answer.",
                self.rests,
            ),
        ]
    }
}

impl Recordings {
    fn families(&self) -> Vec<Family> {
        vec![
            Family::gauge(
                "recordings_waiting",
                "Recordings of running calls, and those that wait for the encoder.",
                self.waiting,
            ),
            Family::gauge(
                "recordings_failed",
                "Those of them that have failed at least once.",
                self.failed,
            ),
            Family::gauge(
                "recordings_converting",
                "Recordings in the encoder.",
                self.converting,
            ),
            Family::counter(
                "recordings_converted",
                "Recordings that are done.",
                self.converted,
            ),
            Family::counter(
                "recordings_left",
                "Recordings that are left as they are.",
                self.left,
            ),
        ]
    }
}

impl Greetings {
    fn families(&self) -> Vec<Family> {
        vec![
            Family::gauge("greetings_recorded", "Operators' greetings.", self.recorded),
            Family::gauge("greetings_bytes", "Their files.", self.bytes),
            Family::gauge(
                "greetings_operators",
                "Operators who have recorded or set anything.",
                self.operators,
            ),
            Family::gauge(
                "greetings_operators_heard",
                "Operators of whom callers hear a greeting now.",
                self.heard,
            ),
            Family::gauge(
                "greetings_operators_switched_off",
                "Operators who have switched theirs off.",
                self.switched_off,
            ),
            Family::gauge(
                "greetings_operators_on_vacation",
                "Operators on vacation.",
                self.on_vacation,
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Every figure is another one, so that none can stand in another's place.
    fn reporting() -> Gauges {
        let millis = Duration::from_millis;
        let mut refused = [0; Refusal::COUNT];
        for (place, count) in (100..).zip(&mut refused) {
            *count = place;
        }
        let times = |count| Times {
            count,
            median: Duration::from_nanos(700 + count),
            p99: Duration::from_nanos(11_710 + count),
            longest: Duration::from_micros(12 + count),
        };
        Gauges {
            build: Build {
                version: "0.1.0".to_owned(),
                id: "e06529bddef8".to_owned(),
                asterisk: "22.10.1+dfsg".to_owned(),
            },
            loaded: millis(28_500),
            enabled: true,
            awaits_setup: false,
            problems: 1,
            mode: Mode::Dialplan,
            panics: 2,
            events: Events {
                queued: 3,
                ignored: 4,
                rejected: 5,
            },
            messages: times(71),
            records: times(6),
            clicks: Clicks {
                calls: 7,
                unreachable: 8,
                setups: 9,
                refused,
            },
            downloads: 10,
            watchers: Watchers { acl: 11, key: 12 },
            delivery: Some(Delivery {
                crm: Crm::Unreachable,
                away: millis(3_250),
                last_answer: Some(millis(4_000)),
                paused: true,
                waiting: 13,
                oldest: millis(5_125),
                under_way: 14,
                workers: 15,
                delivered: 16,
                failed: 17,
                stale: 18,
                unshown: 19,
                no_room: 20,
                spool: 77_926,
                spool_limit: 1 << 30,
                room: Room::Tight,
                disk_fails: true,
                commit: millis(1),
                confirmation: millis(2),
            }),
            calls: Some(Calls {
                followed: 21,
                channels: 22,
                cards: 23,
                records: 24,
                lost_records: 25,
                waiting: 26,
                lost_requests: 27,
            }),
            contacts: Some(Contacts {
                asked: 28,
                known: 29,
                in_time: 30,
                old: 31,
                late: 32,
                failed: 33,
                requests: 34,
                under_way: 35,
                remembered: 36,
                rests: true,
            }),
            recordings: Some(Recordings {
                waiting: 37,
                failed: 38,
                converting: 39,
                converted: 40,
                left: 41,
            }),
            greetings: Some(Greetings {
                recorded: 42,
                bytes: 43,
                operators: 44,
                heard: 45,
                switched_off: 46,
                on_vacation: 47,
            }),
        }
    }

    /// As the module is that planfix.conf has switched off.
    fn disabled() -> Gauges {
        Gauges {
            loaded: Duration::from_secs(60),
            ..Gauges::default()
        }
    }

    #[test]
    fn both_texts_are_these() {
        for (gauges, metrics, json) in [
            (
                reporting(),
                include_str!("../../tests/status/reporting.txt"),
                include_str!("../../tests/status/reporting.json"),
            ),
            (
                disabled(),
                include_str!("../../tests/status/disabled.txt"),
                include_str!("../../tests/status/disabled.json"),
            ),
        ] {
            assert_eq!(gauges.metrics(), metrics);
            assert_eq!(gauges.json().unwrap(), json);
        }
    }

    #[test]
    fn a_label_ends_where_it_ends() {
        let mut gauges = disabled();
        gauges.build.asterisk = "a\"b\\c\nd, «е»".to_owned();
        let text = gauges.metrics();
        let line = text
            .lines()
            .find(|line| line.starts_with("planfix_build_info"))
            .unwrap();
        assert_eq!(
            line,
            r#"planfix_build_info{version="",build="",asterisk="a\"b\\c\nd, «е»"} 1"#
        );
        assert_eq!(escaped("a\"b\\c\nd", false), r#"a"b\\c\nd"#);
    }

    /// The grammar of the text format: a HELP, a TYPE and then samples of that name, each name in one place and each sample once.
    #[test]
    fn every_metric_has_one_help_and_one_type_before_its_samples() {
        for gauges in [reporting(), disabled()] {
            let text = gauges.metrics();
            assert!(text.ends_with('\n'));
            let mut types = BTreeMap::new();
            let mut samples = BTreeMap::new();
            let mut lines = text.lines();
            let (mut now, mut count) = (String::new(), 1);
            while let Some(line) = lines.next() {
                if let Some(help) = line.strip_prefix("# HELP ") {
                    assert!(count > 0, "{now} has no sample");
                    let (name, prose) = help.split_once(' ').unwrap();
                    assert!(prose.ends_with('.') && prose.len() > 5, "{line}");
                    let kind = lines.next().unwrap();
                    let kind = kind.strip_prefix(&format!("# TYPE {name} ")).expect(kind);
                    assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
                    assert_eq!(types.insert(name.to_owned(), kind), None, "{name} is there twice");
                    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
                    assert!(name.starts_with(PREFIX) && name.chars().all(plain), "{name}");
                    (now, count) = (name.to_owned(), 0);
                } else {
                    let (sample, number) = line.rsplit_once(' ').unwrap();
                    assert_eq!(sample.split('{').next(), Some(now.as_str()), "{line}");
                    assert!(number.parse::<f64>().unwrap() >= 0.0, "{line}");
                    assert_eq!(
                        samples.insert(sample.to_owned(), number.to_owned()),
                        None,
                        "{line}"
                    );
                    count += 1;
                }
            }
            assert!(count > 0, "{now} has no sample");
        }
    }

    #[test]
    fn json_has_the_same_names_whatever_is_known() {
        let object = |gauges: &Gauges| -> serde_json::Map<String, serde_json::Value> {
            serde_json::from_str(&gauges.json().unwrap()).unwrap()
        };
        let (all, least) = (object(&reporting()), object(&disabled()));
        assert!(all.keys().eq(least.keys()));
        assert_eq!(all.len(), reporting().families().len());
        assert!(all.values().all(|value| !value.is_null()));
        assert!(least["delivered"].is_null() && least["enabled"] == 0);
        let text = reporting().metrics();
        for name in all.keys() {
            let known = [name.clone(), format!("{name}_total")];
            let is_there = known
                .iter()
                .any(|name| text.contains(&format!("\n# TYPE {PREFIX}{name} ")));
            assert!(is_there, "{name}");
        }
    }

    #[test]
    fn a_state_has_one_word_for_each_case() {
        for crm in [Crm::Untried, Crm::Reachable, Crm::Unreachable, Crm::Stopped] {
            assert_eq!(crm.word(), format!("{crm:?}").to_lowercase());
        }
        for room in [Room::Ample, Room::Tight, Room::Full] {
            assert_eq!(room.word(), format!("{room:?}").to_lowercase());
        }
    }
}
