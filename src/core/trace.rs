//! What the subscriber saw, line by line, and what the tracker makes of it.
//!
//! Invariants:
//! - a trace replays by itself: its first line has the settings, and every moment is in its records;
//! - the same trace gives the same requests every time, wherever it is played;
//! - what is read is bounded: the length of a line, the number of bytes, the time that passes between two records.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::draft::Draft;
use super::durations::Micros;
use super::record::Record;
use super::settings::Calls;
use super::tracker::{Output, Tracker};

/// The shape of the lines. A later one is not read.
pub const FORMAT: u32 = 1;
/// Bytes of a line. A record of some channels has one or two thousand.
pub const MOST_LINE: usize = 1 << 20;
/// Bytes of a trace: hours of a small company, minutes of a busy one.
pub const MOST_BYTES: u64 = 64 << 20;

const SECOND: Micros = 1_000_000;
/// So many seconds after a record nothing comes of time alone any more: a card on a silent phone is closed after 30.
const QUIET: u64 = 120;

/// The first line: under what circumstances the records were seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The shape of what follows: [`FORMAT`].
    #[serde(rename = "trace")]
    pub format: u32,
    /// The module's version.
    pub module: String,
    /// Asterisk's version.
    pub asterisk: String,
    /// Whether clients' numbers were replaced by others.
    pub masked: bool,
    /// The options of `[calls]` by which calls are followed: names and values. No key is ever among them.
    pub calls: Vec<(String, String)>,
}

impl Header {
    /// That of a trace which begins now.
    #[must_use]
    pub fn new(module: &str, asterisk: &str, calls: &Calls) -> Self {
        Self {
            format: FORMAT,
            module: module.to_owned(),
            asterisk: asterisk.to_owned(),
            masked: false,
            calls: calls.options(),
        }
    }

    /// Reads the first line.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(line: &str) -> Result<Self, Fault> {
        let fault = |text: String| Fault { line: 1, text };
        if line.len() > MOST_LINE {
            return Err(fault(too_long()));
        }
        let header: Self = serde_json::from_str(line).map_err(|error| {
            fault(format!(
                "this is no trace of 'planfix record': {}",
                sentence(&error)
            ))
        })?;
        if header.format != FORMAT {
            return Err(fault(format!(
                "the trace has format {}, and this version reads format {FORMAT}",
                header.format
            )));
        }
        Ok(header)
    }

    /// The settings under which the records were seen.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn settings(&self) -> Result<Arc<Calls>, Fault> {
        let calls = Calls::from_options(&self.calls);
        calls.map(Arc::new).map_err(|text| Fault { line: 1, text })
    }
}

/// Why a trace cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Counted from 1.
    pub line: u64,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

impl std::error::Error for Fault {}

fn too_long() -> String {
    format!("it is longer than {MOST_LINE} bytes")
}

/// A line is always its own line 1, which says nothing.
fn sentence(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at character ")
}

/// Reads one of the lines after the first; `number` counts from 1 with the header. `None` for an empty one.
///
/// # Errors
/// What is wrong with it.
pub fn record(number: u64, line: &str) -> Result<Option<Record>, Fault> {
    let fault = |text| Fault { line: number, text };
    if line.len() > MOST_LINE {
        return Err(fault(too_long()));
    }
    if line.trim().is_empty() {
        return Ok(None);
    }
    serde_json::from_str(line)
        .map(Some)
        .map_err(|error| fault(sentence(&error)))
}

/// A header or a record as one line, its end included.
///
/// # Errors
/// Never for these; the serializer's type has one.
pub fn line(what: &impl Serialize) -> serde_json::Result<String> {
    let mut line = serde_json::to_string(what)?;
    line.push('\n');
    Ok(line)
}

/// A whole trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The first line.
    pub header: Header,
    /// What it says of the settings.
    pub settings: Arc<Calls>,
    /// The other lines.
    pub records: Vec<Record>,
}

impl Trace {
    /// Reads it line by line.
    ///
    /// # Errors
    /// The first line with a fault.
    pub fn read<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Self, Fault> {
        let mut lines = lines.into_iter();
        let header = Header::read(lines.next().unwrap_or_default())?;
        let settings = header.settings()?;
        let mut records = Vec::new();
        let mut bytes = 0;
        for (number, line) in (2..).zip(lines) {
            bytes += line.len() as u64;
            if bytes > MOST_BYTES {
                let text = format!("the trace is longer than {MOST_BYTES} bytes");
                return Err(Fault { line: number, text });
            }
            records.extend(record(number, line)?);
        }
        Ok(Self {
            header,
            settings,
            records,
        })
    }
}

/// A call that has ended, or the trace with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its linkedid.
    pub linkedid: String,
    /// The unique ids of its channels.
    pub channels: Vec<String>,
    /// What happened in it.
    pub text: String,
}

impl Told {
    /// Whether this is the call that somebody calls by a linkedid or the unique id of a channel.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.linkedid == name || self.channels.iter().any(|channel| channel == name)
    }
}

/// A tracker of its own, which is shown one record after the other and lets their time pass. It sends nothing.
#[derive(Debug)]
pub struct Player {
    tracker: Tracker,
    began: Option<Micros>,
    now: Micros,
    requests: Vec<(Micros, Draft)>,
    told: Vec<Told>,
}

impl Player {
    /// One that has seen nothing.
    #[must_use]
    pub fn new(settings: Arc<Calls>) -> Self {
        Self {
            tracker: Tracker::new(settings, Vec::new()),
            began: None,
            now: 0,
            requests: Vec::new(),
            told: Vec::new(),
        }
    }

    /// Shows it the next record.
    pub fn record(&mut self, record: &Record) {
        if self.began.is_none() {
            self.began = Some(record.time);
            self.now = record.time;
        }
        self.pass(record.time);
        self.tracker.record(record);
        self.take();
    }

    /// There are no more records: time goes on, until nothing comes of it any more.
    pub fn finish(&mut self) {
        self.pass(self.now.saturating_add(QUIET * SECOND));
    }

    /// The requests since the last time, each with the microseconds since the first record.
    pub fn requests(&mut self) -> Vec<(Micros, Draft)> {
        std::mem::take(&mut self.requests)
    }

    /// The calls that have ended since the last time.
    pub fn told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    /// The tracker, for a look.
    #[must_use]
    pub fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// Lets the time pass in steps of a second, as the thread that follows calls does.
    fn pass(&mut self, until: Micros) {
        // A trace can hold any two times. What is longer than the tracker's patience is one step.
        for _ in 0..QUIET {
            if self.now.saturating_add(SECOND) >= until {
                break;
            }
            self.tick(self.now + SECOND);
        }
        if until > self.now {
            self.tick(until);
        }
    }

    fn tick(&mut self, now: Micros) {
        self.now = now;
        self.tracker.tick(now);
        self.take();
    }

    fn take(&mut self) {
        let at = self.now.saturating_sub(self.began.unwrap_or(self.now));
        for output in self.tracker.take() {
            match output {
                Output::Tell(drafts) => self.requests.extend(drafts.into_iter().map(|draft| (at, draft))),
                // What came of it stands in the trace.
                Output::Inbound { .. } | Output::Recording(_) => {}
                Output::Ended {
                    linkedid,
                    channels,
                    text,
                    ..
                } => self.told.push(Told {
                    linkedid,
                    channels,
                    text,
                }),
            }
        }
    }
}

/// The requests of a whole trace, each with the microseconds since its first record.
#[must_use]
pub fn play(trace: &Trace) -> Vec<(Micros, Draft)> {
    let mut player = Player::new(Arc::clone(&trace.settings));
    for record in &trace.records {
        player.record(record);
    }
    player.finish();
    player.requests()
}

/// A request as one line: `   3.214  in 101 INCOMING phone=79101234567 diversion=74951234501 callid=1700000000.1`.
#[must_use]
pub fn show(at: Micros, draft: &Draft) -> String {
    /// They stand at the beginning, without their names.
    const FIRST: [&str; 4] = ["cmd", "type", "event", "ext"];
    let mut line = format!(
        "{:4}.{:03}  {} {} {}",
        at / SECOND,
        at / 1_000 % 1_000,
        draft.field("type"),
        draft.ext,
        draft.kind
    );
    for (name, value) in draft.fields().filter(|(name, _)| !FIRST.contains(&&**name)) {
        let _ = write!(line, " {name}={value}");
    }
    line.replace(char::is_control, "?")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{FORMAT, Header, MOST_LINE, Player, Trace, line, play, show};
    use crate::core::durations::Micros;
    use crate::core::pattern::Patterns;
    use crate::core::record::{Bridge, Channel, Phase, Record, Stage, What};
    use crate::core::settings::Calls;
    use crate::core::trunks::Trunks;

    const BEGIN: Micros = 1_700_000_000_000_000;

    fn calls() -> Calls {
        let mut calls = Calls {
            internal: Patterns::parse("_1XX").unwrap(),
            trunks: Trunks::parse("PJSIP/trunk").unwrap(),
            data: vec![("source".to_owned(), "UTM".to_owned())],
            ..Calls::default()
        };
        calls.numbering.add_rewrite("_98X.,1,").unwrap();
        calls
    }

    fn channel(id: &str, name: &str, stage: Stage, caller: &str) -> Channel {
        Channel {
            uniqueid: id.into(),
            linkedid: "1.1".into(),
            name: name.into(),
            stage,
            caller: caller.into(),
            exten: "74951234501".into(),
            created: BEGIN,
            ..Channel::default()
        }
    }

    /// A client calls, 101 rings after a second, talks from the third to the eighth.
    fn records() -> Vec<Record> {
        let client = |stage| channel("1.1", "PJSIP/trunk-00000001", stage, "89101234567");
        let phone = |stage| channel("1.2", "PJSIP/101-00000002", stage, "101");
        let bridge = Bridge {
            uniqueid: "b".into(),
            technology: "simple_bridge".into(),
        };
        let entered = |channel| What::Entered {
            channel,
            bridge: bridge.clone(),
            swapped: None,
        };
        let dial = |phase, status: &str, stage| What::Dial {
            phase,
            status: status.into(),
            caller: Some(client(Stage::Ring).into()),
            peer: phone(stage),
            dial_string: "101".into(),
            forward: "".into(),
            forwarded: None,
        };
        let whats = [
            (0, What::CaughtUp),
            (
                0,
                What::Created {
                    channel: client(Stage::Ring),
                },
            ),
            (
                1_000,
                What::Created {
                    channel: phone(Stage::Down),
                },
            ),
            (1_000, dial(Phase::Begin, "", Stage::Down)),
            (1_100, dial(Phase::Progress, "RINGING", Stage::Ringing)),
            (3_000, dial(Phase::End, "ANSWER", Stage::Up)),
            (3_000, entered(phone(Stage::Up))),
            (3_000, entered(client(Stage::Up))),
            (
                8_500,
                What::Gone {
                    channel: phone(Stage::Up),
                },
            ),
            (
                8_500,
                What::Gone {
                    channel: client(Stage::Up),
                },
            ),
        ];
        let records = whats.into_iter().map(|(millis, what)| Record {
            time: BEGIN + millis * 1_000,
            what,
        });
        records.collect()
    }

    fn written() -> String {
        let mut text = line(&Header::new("0.1.0", "22.1.0", &calls())).unwrap();
        for record in records() {
            text += &line(&record).unwrap();
        }
        text
    }

    #[test]
    fn a_trace_that_is_written_and_read_gives_the_requests() {
        let text = written();
        let trace = Trace::read(text.lines()).unwrap();
        assert_eq!(trace.records, records());
        assert_eq!(*trace.settings, calls());
        let lines: Vec<String> = play(&trace).iter().map(|(at, draft)| show(*at, draft)).collect();
        let about = "phone=79101234567 diversion=74951234501 callid=1.1";
        assert_eq!(
            lines,
            [
                format!("   1.100  in 101 INCOMING {about}"),
                format!("   3.000  in 101 ACCEPTED {about}"),
                format!("   8.500  in 101 COMPLETED {about} duration=5 is_recorded=0 status=Success"),
            ]
        );
    }

    #[test]
    fn time_passes_between_records_and_after_the_last_and_not_for_ever() {
        let mut player = Player::new(Arc::new(calls()));
        let rings = &records()[..5];
        for record in rings {
            player.record(record);
        }
        // The phone falls silent, and the client stays.
        let Record {
            what: What::Dial { peer, .. },
            ..
        } = rings[4].clone()
        else {
            panic!("the fifth record is a Dial")
        };
        let time = BEGIN + 2_000_000;
        player.record(&Record {
            time,
            what: What::Gone { channel: peer },
        });
        assert_eq!(player.requests().len(), 1);
        player.finish();
        let after = player.requests();
        let lines: Vec<String> = after.iter().map(|(at, draft)| show(*at, draft)).collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].starts_with("  32.000  in 101 COMPLETED") && lines[0].ends_with("status=Cancelled"),
            "{lines:?}"
        );
        // A leap of the clock over thousands of years is some steps.
        player.record(&Record {
            time: Micros::MAX,
            what: What::CaughtUp,
        });
        player.record(&Record {
            time: 0,
            what: What::CaughtUp,
        });
        player.finish();
    }

    #[test]
    fn the_story_of_a_call_is_told() {
        let mut player = Player::new(Arc::new(calls()));
        records().iter().for_each(|record| player.record(record));
        assert!(player.tracker().is_empty());
        let told = player.told();
        assert_eq!(told.len(), 1);
        assert!(told[0].is("1.1") && told[0].is("1.2") && !told[0].is("1.3"));
        assert!(
            told[0].text.contains("=> INCOMING 101: his phone rings"),
            "{}",
            told[0].text
        );
    }

    #[test]
    fn a_fault_names_its_line() {
        let text = written();
        let fault = |text: &str| Trace::read(text.lines()).unwrap_err().to_string();
        assert!(fault("").starts_with("line 1: this is no trace of 'planfix record': "));
        assert!(fault("{\"t\":1,\"event\":\"lost\"}").starts_with("line 1: this is no trace"));
        let later = text.replacen(&format!("\"trace\":{FORMAT}"), "\"trace\":9", 1);
        assert_eq!(
            fault(&later),
            "line 1: the trace has format 9, and this version reads format 1"
        );
        let strange = text.replacen("_1XX", "_[", 1);
        assert!(
            fault(&strange).starts_with("line 1: 'internal': pattern '_['"),
            "{}",
            fault(&strange)
        );
        let unknown = text.replacen("\"internal\"", "\"eternal\"", 1);
        assert!(fault(&unknown).starts_with("line 1: unknown option 'eternal'"));
        let torn: Vec<&str> = text.lines().collect();
        let torn = format!("{}\n\n{}", torn[..3].join("\n"), &torn[3][..40]);
        assert!(fault(&torn).starts_with("line 5: EOF"), "{}", fault(&torn));
        let long = format!("{text}{}\n", " ".repeat(MOST_LINE + 1));
        assert_eq!(
            fault(&long),
            format!(
                "line {}: it is longer than 1048576 bytes",
                text.lines().count() + 1
            )
        );
    }
}
