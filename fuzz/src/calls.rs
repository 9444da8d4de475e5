//! The tracker, shown records in any order: those of a trace that somebody sends, and those of calls made up from bytes.

use std::cell::RefCell;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasherDefault;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use res_planfix::core::draft::{Draft, Kind};
use res_planfix::core::durations::Micros;
use res_planfix::core::mask::Mask;
use res_planfix::core::pattern::Patterns;
use res_planfix::core::record::{Bridge, Channel, Phase, RECORDING, Record, Stage, Text, What};
use res_planfix::core::running::running;
use res_planfix::core::settings::{Calls, Missed};
use res_planfix::core::trace::{Header, Player, Trace, line, record, show};
use res_planfix::core::tracker::{Output, Tracker};
use res_planfix::core::trunks::Trunks;

use super::bytes::Bytes;
use super::event::is_of_the_protocol;
use super::readers::is_line;

const SECOND: Micros = 1_000_000;

/// The cards as the CRM shows them, by callid and employee, and how many of them were refused by the spool.
#[derive(Default)]
struct Cards {
    last: BTreeMap<(String, String), Kind>,
    calls: BTreeMap<String, (String, String)>,
}

impl Cards {
    /// Every card is opened, accepted at most once and closed exactly once; a call keeps its direction and its client.
    fn told(&mut self, draft: &Draft) {
        is_of_the_protocol(draft);
        assert!(is_line(&show(0, draft)));
        let about = (draft.field("type"), draft.field("phone"));
        let known = self
            .calls
            .entry(draft.callid.clone())
            .or_insert_with(|| about.clone());
        assert_eq!(*known, about, "the call keeps its direction and its client");
        let card = (draft.callid.clone(), draft.ext.clone());
        let before = self.last.insert(card, draft.kind);
        let open = before.is_some_and(Kind::is_popup);
        match draft.kind {
            Kind::Incoming => assert!(!open, "opened twice: {}", draft.body),
            Kind::Outgoing => assert!(before.is_none(), "opened again: {}", draft.body),
            Kind::Accepted => assert!(
                open && before != Some(Kind::Accepted),
                "{before:?} {}",
                draft.body
            ),
            Kind::Completed => {
                assert!(open, "closed without being open: {}", draft.body);
                let success = draft.field("status") == "Success";
                assert_eq!(success, before == Some(Kind::Accepted), "{}", draft.body);
            }
            Kind::Record => panic!("a recording is nothing of the tracker's: {}", draft.body),
        }
    }

    fn are_closed(&self) {
        let open: Vec<_> = self.last.iter().filter(|(_, kind)| kind.is_popup()).collect();
        assert!(open.is_empty(), "{open:?}");
    }
}

/// What `planfix play` reads.
pub fn trace(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let trace = match Trace::read(text.lines()) {
        Ok(trace) => trace,
        Err(fault) => {
            assert!(fault.line > 0 && !fault.text.is_empty());
            return;
        }
    };
    let mask = Mask::new(
        BuildHasherDefault::<DefaultHasher>::default(),
        trace.settings.internal.clone(),
    );
    black_box(mask.header(&trace.header));
    let mut player = Player::new(Arc::clone(&trace.settings));
    for shown in &trace.records {
        let written = line(shown).unwrap();
        assert_eq!(
            record(2, &written).unwrap().as_ref(),
            Some(shown),
            "what is written is read"
        );
        mask.record(shown).unwrap();
        player.record(shown);
    }
    player.finish();
    let requests = player.requests();
    assert!(requests.iter().all(|(at, draft)| is_line(&show(*at, draft))));
    if !can_be_asterisks(&trace.records) {
        return;
    }
    let mut cards = Cards::default();
    for (_, draft) in &requests {
        cards.told(draft);
    }
    if player.tracker().channels() == 0 {
        cards.are_closed();
        assert!(player.tracker().is_empty(), "{:#?}", player.tracker());
    }
}

/// Every channel has a name, and none comes back from the dead: of other traces nothing is promised but that they can be read.
fn can_be_asterisks(records: &[Record]) -> bool {
    let mut dead = BTreeSet::new();
    records.iter().all(|record| {
        let text = line(record).unwrap();
        let named = !text.contains("\"uniqueid\":\"\"") && !text.contains("\"linkedid\":\"\"");
        named
            && match &record.what {
                What::Gone { channel } => dead.insert(&channel.uniqueid),
                What::Created { channel } | What::Running { channel, .. } => {
                    !dead.contains(&channel.uniqueid)
                }
                _ => true,
            }
    })
}

/// The channels that there can be.
const NAMES: [&str; 8] = [
    "PJSIP/trunk",
    "PJSIP/101",
    "PJSIP/102",
    "PJSIP/trunk2",
    "PJSIP/103",
    "Local/101@office-00000001;1",
    "Local/101@office-00000001;2",
    "Local/79161112233@office-00000002;1",
];
const NUMBERS: [&str; 8] = ["89101234567", "101", "102", "", "84951112233", "103", "s", "*8"];
const APPLICATIONS: [(&str, &str); 6] = [
    ("", ""),
    ("Dial", "PJSIP/101&PJSIP/102,20"),
    ("Dial", "PJSIP/89101234567@trunk,60"),
    ("Queue", "sales"),
    ("VoiceMail", "101@default,u"),
    ("Playback", "hello"),
];
const STATUSES: [&str; 8] = [
    "",
    "RINGING",
    "ANSWER",
    "BUSY",
    "NOANSWER",
    "CANCEL",
    "CHANUNAVAIL",
    "CONGESTION",
];
const STAGES: [Stage; 5] = [Stage::Ring, Stage::Down, Stage::Ringing, Stage::Up, Stage::Other];
const BRIDGES: [&str; 3] = ["simple_bridge", "softmix", "holding_bridge"];
const PARKING: [&str; 4] = ["parked", "retrieved", "timed-out", "gave-up"];

/// Channels that come, do anything to each other and go, decided by bytes.
struct Day<'a> {
    bytes: Bytes<'a>,
    tracker: Tracker,
    cards: Cards,
    /// What the spool had no room for is still owed: the CRM has not heard of it.
    tight: bool,
    now: Micros,
    serial: u64,
    channels: [Option<Channel>; NAMES.len()],
    /// Where the records are written down, if anybody wants to read them.
    log: Option<&'a RefCell<String>>,
}

impl Day<'_> {
    fn calls(&mut self) -> Arc<Calls> {
        Arc::new(Calls {
            internal: Patterns::parse("_XXX").unwrap(),
            trunks: Trunks::parse(self.bytes.pick(&["PJSIP/trunk*", ""])).unwrap(),
            missed: self
                .bytes
                .pick(&[Missed::First, Missed::Last, Missed::All, Missed::Responsible]),
            nobody: self.bytes.pick(&["", "100"]).to_owned(),
            data: vec![("source".to_owned(), "UTM_SOURCE".to_owned())],
            ..Calls::default()
        })
    }

    fn tell(&mut self, what: What) {
        let record = Record { time: self.now, what };
        if let Some(log) = self.log {
            log.borrow_mut().push_str(&line(&record).unwrap());
        }
        self.tracker.record(&record);
        self.now += 100;
        self.take();
    }

    fn take(&mut self) {
        let outputs = self.tracker.take();
        // What comes at the same moment finds the same room.
        let tight = self.tight && !outputs.is_empty() && self.bytes.yes();
        for output in outputs {
            match output {
                Output::Tell(drafts) => {
                    let popups = drafts.iter().all(|draft| draft.kind.is_popup());
                    if popups && tight {
                        self.tracker.refused(&drafts);
                    } else {
                        drafts.iter().for_each(|draft| self.cards.told(draft));
                    }
                }
                Output::Inbound { phone } => assert!(!phone.is_empty()),
                Output::Recording(_) => {}
                Output::Ended { text, .. } => assert!(!text.is_empty()),
            }
        }
    }

    fn passes(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += SECOND;
            self.tracker.tick(self.now);
            self.take();
        }
        for call in running(&self.tracker, self.now) {
            assert!(!call.callid.is_empty());
        }
    }

    /// One of the channels; it is made where there is none.
    fn channel(&mut self) -> Channel {
        let at = self.bytes.below(NAMES.len());
        self.made(at)
    }

    fn made(&mut self, at: usize) -> Channel {
        if let Some(channel) = &self.channels[at] {
            return channel.clone();
        }
        self.serial += 1;
        let uniqueid: Text = format!("1700000000.{}", self.serial).into();
        let name = if NAMES[at].starts_with("Local") {
            NAMES[at].into()
        } else {
            format!("{}-{:08x}", NAMES[at], self.serial).into()
        };
        let group = self.bytes.below(NAMES.len() + 1);
        let group = self.channels.get(group).and_then(Option::as_ref);
        let channel = Channel {
            linkedid: group.map_or_else(|| uniqueid.clone(), |channel| channel.linkedid.clone()),
            uniqueid,
            name,
            stage: self.bytes.pick(&STAGES),
            caller: self.bytes.pick(&NUMBERS).into(),
            dialed: self.bytes.pick(&NUMBERS).into(),
            exten: self.bytes.pick(&NUMBERS).into(),
            context: "office".into(),
            created: self.now,
            ..Channel::default()
        };
        self.channels[at] = Some(channel.clone());
        self.tell(What::Created {
            channel: channel.clone(),
        });
        channel
    }

    fn maybe(&mut self) -> Option<Box<Channel>> {
        self.bytes.yes().then(|| Box::new(self.channel()))
    }

    fn bridge(&mut self) -> Bridge {
        let at = self.bytes.below(BRIDGES.len());
        Bridge {
            uniqueid: format!("bridge-{at}").into(),
            technology: BRIDGES[at].into(),
        }
    }

    fn changes(&mut self) {
        let at = self.bytes.below(NAMES.len());
        let mut channel = self.made(at);
        match self.bytes.below(6) {
            0 => channel.stage = self.bytes.pick(&STAGES),
            1 => channel.exten = self.bytes.pick(&NUMBERS).into(),
            2 => {
                let (application, data) = self.bytes.pick(&APPLICATIONS);
                (channel.application, channel.data) = (application.into(), data.into());
            }
            3 => channel.linkedid = self.channel().linkedid,
            4 => channel.caller = self.bytes.pick(&NUMBERS).into(),
            _ => channel.connected = self.bytes.pick(&NUMBERS).into(),
        }
        self.channels[at] = Some(channel.clone());
        self.tell(What::Changed { channel });
    }

    fn gone(&mut self, at: usize) {
        if let Some(mut channel) = self.channels[at].take() {
            channel.cause = self.bytes.pick(&[16, 17, 19, 20, 21]);
            self.tell(What::Gone { channel });
        }
    }

    /// Records were lost, and all channels are looked at.
    fn look(&mut self) {
        self.tell(What::Lost);
        for channel in self.channels.clone().into_iter().flatten() {
            let bridge = self.bytes.yes().then(|| self.bridge());
            self.tell(What::Running { channel, bridge });
        }
        self.tell(What::CaughtUp);
    }

    fn step(&mut self) {
        let what = match self.bytes.below(18) {
            0 => return self.changes(),
            1 => {
                let at = self.bytes.below(NAMES.len());
                return self.gone(at);
            }
            2 => {
                let seconds = self.bytes.pick(&[1, 3, 31, 70]);
                return self.passes(seconds);
            }
            3 => return self.look(),
            4 => {
                let calls = self.calls();
                return self.tracker.configure(calls);
            }
            5..=7 => What::Dial {
                phase: self.bytes.pick(&[Phase::Begin, Phase::Progress, Phase::End]),
                status: self.bytes.pick(&STATUSES).into(),
                caller: self.maybe(),
                peer: self.channel(),
                dial_string: self.bytes.pick(&["101", "89101234567@trunk", ""]).into(),
                forward: self.bytes.pick(&["", "102", "79161112233"]).into(),
                forwarded: self.maybe(),
            },
            8 | 9 => What::Entered {
                channel: self.channel(),
                bridge: self.bridge(),
                swapped: self.maybe().map(|channel| channel.uniqueid),
            },
            10 => What::Left {
                channel: self.channel(),
                bridge: self.bridge(),
            },
            11 => What::BlindTransfer {
                success: self.bytes.yes(),
                transferer: self.channel(),
                transferee: self.maybe(),
                exten: self.bytes.pick(&NUMBERS).into(),
                context: "office".into(),
            },
            12 => What::AttendedTransfer {
                success: self.bytes.yes(),
                transferer: self.channel(),
                consulting: Box::new(self.channel()),
                transferee: self.maybe(),
                target: self.maybe(),
            },
            13 => What::Pickup {
                channel: self.channel(),
                target: Box::new(self.channel()),
            },
            14 => What::Parking {
                what: self.bytes.pick(&PARKING).into(),
                parkee: self.channel(),
                retriever: self.maybe(),
            },
            15 => {
                let channel = self.channel();
                What::Variable {
                    uniqueid: channel.uniqueid,
                    linkedid: channel.linkedid,
                    name: self.bytes.pick(&["UTM_SOURCE", RECORDING, "OTHER"]).into(),
                    value: self.bytes.pick(&["Yandex", "a/b.wav", ""]).into(),
                }
            }
            16 => What::Contact {
                phone: "79101234567".into(),
                responsible: self.bytes.pick(&["101", "102", "103", ""]).into(),
            },
            _ if self.bytes.yes() => What::Hold {
                channel: self.channel(),
            },
            _ => What::Unhold {
                channel: self.channel(),
            },
        };
        self.tell(what);
    }
}

/// Whatever happens in whatever order, every card is closed once, and nothing is kept of calls that are over.
pub fn tracker(input: &[u8]) {
    day(input, None);
}

/// The same, as the trace that `planfix record` would have written up to where it falls: it can be played, and mended by hand.
pub fn written_down(input: &[u8]) -> String {
    let log = RefCell::default();
    // What it falls over is what somebody wants to read.
    let _ = catch_unwind(AssertUnwindSafe(|| day(input, Some(&log))));
    log.into_inner()
}

fn day(input: &[u8], log: Option<&RefCell<String>>) {
    let mut day = Day {
        bytes: Bytes(input),
        tracker: Tracker::default(),
        cards: Cards::default(),
        tight: false,
        now: 1_700_000_000 * SECOND,
        serial: 0,
        channels: Default::default(),
        log,
    };
    day.tight = day.bytes.yes();
    let calls = day.calls();
    if let Some(log) = log {
        let header = Header::new("fuzz", "fuzz", &calls);
        log.borrow_mut().push_str(&line(&header).unwrap());
    }
    day.tracker = Tracker::new(calls, Vec::new());
    day.look();
    while !day.bytes.is_empty() {
        day.step();
    }
    for at in 0..NAMES.len() {
        day.gone(at);
    }
    day.passes(40);
    day.cards.are_closed();
    assert!(day.tracker.is_empty(), "{:#?}", day.tracker);
}
