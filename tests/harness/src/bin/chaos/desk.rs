//! The harness's own phones among the many of sipp's: talks that go on all the time, recorded calls, transfers, clicks,
//! greetings.
//!
//! Invariants: a talk that goes on is ended by nobody but Asterisk's death, so one that ends was dropped; how the others go
//! is counted and not judged, because a fault may be in the way of each.
//!
//! A further kind of call is a method like [`Desk::recorded`] and a line in [`Desk::work`].

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use harness::{Asterisk, Behaviour, Builder, Caller, Line, Message, Phase, Phone, Tone, free_udp_port, wav};

/// Whose talks go on all the time.
const ANCHORS: [&str; 3] = ["211", "212", "213"];
/// Everybody's numbers.
const NUMBERS: [&str; 8] = [
    "201", "202", "203", "204", ABSENT, ANCHORS[0], ANCHORS[1], ANCHORS[2],
];
/// Who never answers, and has recorded a greeting.
const ABSENT: &str = "205";
/// What the company's numbers of theirs begin with.
const COMPANY: &str = "7495111";
/// The company's number that leads to his greeting.
const UNANSWERED: &str = "74951110305";
const EMPLOYEE: Tone = Tone(440);
const CLIENT: Tone = Tone(1_000);
const GREETING: Tone = Tone(620);
/// The greeting's file, and how many samples it has.
const FILE: &str = "data/sounds/custom/chaos.wav";
const LENGTH: u32 = 16_000;
const RINGS: Duration = Duration::from_millis(300);
/// Nobody waits longer for anything here; a fault may be in the way.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at a call.
const GLANCE: Duration = Duration::from_millis(50);
/// Between two calls of a kind.
const PAUSE: Duration = Duration::from_millis(700);
/// So much voice shows that a talk goes on.
const VOICE: Duration = Duration::from_millis(300);

/// A call of one kind, until its end or until all is over; whether it went well.
type Kind = fn(&Desk, &mut Rng, &AtomicBool) -> Result<bool>;

/// The phones.
pub(crate) struct Desk {
    phones: Vec<(&'static str, Phone)>,
    /// The clients of the talks that go on, of the recorded calls, of the transferred ones and of those that nobody answers.
    clients: [Phone; 4],
    /// Where the CRM takes clicks.
    clicks: String,
    counts: [AtomicU64; 4],
}

/// The company's number of an employee.
fn company(employee: &str) -> String {
    format!("{COMPANY}02{}", &employee[1..])
}

impl Desk {
    /// Describes the phones to that Asterisk.
    pub(crate) fn plug(builder: Builder) -> Builder {
        NUMBERS.into_iter().fold(builder, Builder::phone)
    }

    /// Opens them. `crm` is the address of the CRM's control interface.
    pub(crate) fn open(asterisk: &Asterisk, crm: &str) -> Result<Self> {
        let server = asterisk.sip();
        let phones = NUMBERS.into_iter().map(|number| {
            let phone = Phone::open(number, asterisk.phone(number), server)?;
            Ok((number, phone))
        });
        let phones = phones.collect::<Result<_>>()?;
        let client = || {
            let address = SocketAddr::new(asterisk.trunk().ip(), free_udp_port());
            Phone::open("79101234567", address, server)
        };
        let desk = Self {
            phones,
            clients: [client()?, client()?, client()?, client()?],
            clicks: format!("{crm}/_sandbox/click"),
            counts: Default::default(),
        };
        desk.tidy()?;
        Ok(desk)
    }

    /// Whether a channel of Asterisk's list belongs to a call of theirs, from whichever side.
    pub(crate) fn has(channel: &Message) -> bool {
        let of = |name| channel.get(name).unwrap_or_default();
        NUMBERS.iter().any(|number| {
            ["CallerIDNum", "ConnectedLineNum", "Exten"]
                .iter()
                .any(|field| of(field) == *number)
                || of("Channel").starts_with(&format!("PJSIP/{number}-"))
        }) || of("Exten").starts_with(COMPANY)
    }

    fn phone(&self, number: &str) -> Result<&Phone> {
        let found = self.phones.iter().find(|(known, _)| *known == number);
        found
            .map(|(_, phone)| phone)
            .with_context(|| format!("no phone {number}"))
    }

    /// All phones forget what was, and answer from now on.
    pub(crate) fn tidy(&self) -> Result<()> {
        for (number, phone) in &self.phones {
            ready(phone, EMPLOYEE, ANCHORS.contains(number))?;
        }
        self.clients
            .iter()
            .try_for_each(|phone| ready(phone, CLIENT, true))
    }

    /// Gives who never answers a greeting.
    pub(crate) fn greet(&self, asterisk: &Asterisk) -> Result<()> {
        let file = asterisk.scratch().join(FILE);
        fs::write(&file, wav(8_000, &GREETING.samples(8_000, 0, LENGTH)))?;
        let said = asterisk.cli(&format!("planfix greeting import {} {ABSENT}", file.display()))?;
        ensure!(said.contains("is that file now"), "no greeting: {said}");
        Ok(())
    }

    /// Begins the talks that go on, and waits until all talk.
    pub(crate) fn talks(&self) -> Result<Vec<Line>> {
        let begin = |(number, employee): (usize, &&str)| {
            let caller = Caller::number(&format!("7916000000{number}"));
            let line = self.clients[0].call_as(&caller, &company(employee))?;
            line.wait_answered()
                .with_context(|| format!("the call to {employee}"))?;
            Ok(line)
        };
        ANCHORS.iter().enumerate().map(begin).collect()
    }

    /// Makes sure that the talks go on and both sides hear each other.
    pub(crate) fn still_talk(&self, lines: &[Line]) -> Result<()> {
        for line in lines {
            let phase = line.phase()?;
            ensure!(
                phase == Phase::Talking,
                "a call was dropped: {} is {phase:?}",
                line.dialled()
            );
            let here = line.hears_from_here()?;
            line.wait_hears(EMPLOYEE, VOICE, here)
                .context("a client does not hear the employee any more")?;
        }
        for employee in ANCHORS {
            ensure!(
                self.phone(employee)?.talks(),
                "a call was dropped: {employee} does not talk any more"
            );
        }
        Ok(())
    }

    /// Ends the talks that go on.
    pub(crate) fn farewell(lines: &[Line]) -> Result<()> {
        lines.iter().try_for_each(Line::hangup)
    }

    /// What goes on besides until `over`: each kind on a thread of its own. Of these calls none is left then.
    pub(crate) fn work(&self, seed: u64, over: &AtomicBool) {
        let kinds: [Kind; 4] = [Self::recorded, Self::transferred, Self::clicked, Self::greeted];
        thread::scope(|scope| {
            for (number, (kind, count)) in kinds.into_iter().zip(&self.counts).enumerate() {
                let mut rng = Rng::with_seed(seed ^ number as u64);
                scope.spawn(move || {
                    while !over.load(Ordering::Acquire) {
                        // An error is a call that a fault was in the way of.
                        if kind(self, &mut rng, over).unwrap_or(false) {
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                        thread::sleep(PAUSE);
                    }
                });
            }
        });
        let employees = self.phones.iter().filter(|(number, _)| !ANCHORS.contains(number));
        for phone in employees.map(|(_, phone)| phone).chain(&self.clients[1..]) {
            // Whoever cannot send has no call.
            let _ = phone.hangup_all();
        }
    }

    /// How many recorded calls, transfers, clicks and greetings went well.
    pub(crate) fn counts(&self) -> [u64; 4] {
        self.counts.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// A client talks with an employee, and both are recorded.
    fn recorded(&self, rng: &mut Rng, over: &AtomicBool) -> Result<bool> {
        let (client, employee) = (&self.clients[1], self.phone("201")?);
        ready(client, CLIENT, false)?;
        ready(employee, EMPLOYEE, false)?;
        let line = client.call_as(&somebody(rng), &company("201"))?;
        let talked = talks(&line, over) && rests(over, Duration::from_millis(rng.u64(1_500..3_000)));
        line.hangup()?;
        Ok(talked && ends(&line))
    }

    /// An employee hands a client over, having asked a colleague or not.
    fn transferred(&self, rng: &mut Rng, over: &AtomicBool) -> Result<bool> {
        let (client, first, second) = (&self.clients[2], self.phone("202")?, self.phone("203")?);
        ready(client, CLIENT, false)?;
        for phone in [first, second] {
            ready(phone, EMPLOYEE, false)?;
        }
        let line = client.call_as(&somebody(rng), &company("202"))?;
        if !talks(&line, over) {
            line.hangup()?;
            return Ok(false);
        }
        let other = first.expect_call()?;
        let code = if rng.bool() {
            other.transfer("203")?;
            other.wait_transferred()?
        } else {
            other.hold()?;
            let asked = first.call("203")?;
            if !talks(&asked, over) {
                return Ok(false);
            }
            other.transfer_to(&asked)?;
            other.wait_transferred()?
        };
        let talked = code == 200 && rests(over, Duration::from_secs(1));
        line.hangup()?;
        Ok(talked && ends(&line))
    }

    /// An employee clicks on a number in the CRM.
    fn clicked(&self, rng: &mut Rng, over: &AtomicBool) -> Result<bool> {
        let phone = self.phone("204")?;
        ready(phone, EMPLOYEE, false)?;
        let to = number(rng);
        let answer = ureq::post(&self.clicks).send(format!("{{\"from\":\"204\",\"to\":\"{to}\"}}"))?;
        let taken = answer.status().is_success()
            && answer
                .into_body()
                .read_to_string()?
                .replace(' ', "")
                .contains("\"status\":200");
        let rang = taken && waits(over, || phone.came() > 0);
        let _ = rests(over, Duration::from_secs(2));
        phone.hangup_all()?;
        Ok(rang)
    }

    /// A client hears the greeting of somebody who does not answer.
    fn greeted(&self, rng: &mut Rng, over: &AtomicBool) -> Result<bool> {
        let (client, absent) = (&self.clients[3], self.phone(ABSENT)?);
        ready(client, CLIENT, true)?;
        absent.reset()?;
        absent.will(Behaviour::Ring);
        let line = client.call_as(&somebody(rng), UNANSWERED)?;
        let heard = waits(over, || {
            line.heard().is_ok_and(|heard| heard.presence(GREETING) >= VOICE)
                || matches!(line.phase(), Ok(Phase::Ended(_)) | Err(_))
        });
        let heard = heard && line.heard()?.presence(GREETING) >= VOICE;
        line.hangup()?;
        Ok(heard && ends(&line))
    }
}

/// The phone forgets what was, says its tone, and answers whoever calls.
fn ready(phone: &Phone, tone: Tone, listens: bool) -> Result<()> {
    phone.reset()?;
    phone.say(Some(tone));
    phone.will(Behaviour::RingThenAnswer(RINGS));
    if listens {
        phone.listen()?;
    }
    Ok(())
}

fn number(rng: &mut Rng) -> String {
    format!("79{:09}", rng.u32(0..1_000_000_000))
}

fn somebody(rng: &mut Rng) -> Caller {
    Caller::number(&number(rng))
}

/// Waits for something, not long, and not when all is over.
fn waits(over: &AtomicBool, mut until: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    loop {
        if until() {
            return true;
        }
        if over.load(Ordering::Acquire) || begin.elapsed() > PATIENCE {
            return false;
        }
        thread::sleep(GLANCE);
    }
}

/// Lets things be for so long. False when all is over before.
fn rests(over: &AtomicBool, time: Duration) -> bool {
    let begin = Instant::now();
    waits(over, || begin.elapsed() >= time)
}

fn talks(line: &Line, over: &AtomicBool) -> bool {
    let mut phase = None;
    waits(over, || {
        phase = line.phase().ok();
        !matches!(phase, Some(Phase::Calling | Phase::Ringing))
    });
    phase == Some(Phase::Talking)
}

fn ends(line: &Line) -> bool {
    waits(&AtomicBool::new(false), || {
        matches!(line.phase(), Ok(Phase::Ended(_)) | Err(_))
    })
}
