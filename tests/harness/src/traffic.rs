//! Many calls at once, as a busy company has them: clients who give up, phones that refuse, groups, hunts, queues, menus and
//! forwarding, and meanwhile somebody who transfers and cuts calls.
//!
//! Invariants: the dialplan has no word of the CRM; who calls whom and what everybody will do is drawn from one seed, so that
//! two runs differ in nothing but the machine's timing; nothing that is held against the module depends on how fast that is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use fastrand::Rng;
use serde_json::Value;

use crate::port::{PHONES, TRUNK};
use crate::{
    Ami, Asterisk, Builder, Message, Outcome, Sipp, SippRun, Stage, Version, field, flat, is_taken_in,
    own_udp_port, until,
};

/// 100 to 129, all behind one address.
const NUMBERS: std::ops::Range<u32> = 100..130;
/// For what goes on when the last call has begun: the longest way through the dialplan, on a slow machine.
const LAST: Duration = Duration::from_secs(180);
/// For channels to go and requests to arrive.
const BOUND: Duration = Duration::from_secs(120);
/// The ways through the dialplan (extensions.conf) that begin with an answer: a menu and a queue.
const ANSWERS_FIRST: [u8; 2] = [3, 6];
/// Who never gives up by himself, in milliseconds.
const PATIENT: u32 = 3_600_000;
/// Between two looks at the task processors and at the channels.
const LOOK: Duration = Duration::from_secs(1);
/// Calls that are going on at most; nobody gets there unless Asterisk is stuck.
const AT_ONCE: u32 = 5_000;
/// How many different breaches of an invariant a report shows.
const SHOWN: usize = 10;

/// What is to go on.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    calls: u32,
    rate: f64,
    seed: u64,
}

/// A client's or an employee's call, as it is planned.
#[derive(Debug)]
struct Planned {
    caller: String,
    dialled: String,
    /// As the CRM is told it.
    client: String,
    patience: u32,
    talk: u32,
    /// Somebody is called for it before the caller can hang up.
    reaches: bool,
}

impl Traffic {
    /// So many calls, so many of them begun in a second.
    #[must_use]
    pub fn new(calls: u32, rate: f64) -> Self {
        Self { calls, rate, seed: 1 }
    }

    /// Draws everything from another seed than 1.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// An Asterisk for it, and the CRM with its rules of order.
    ///
    /// # Errors
    /// As [`crate::Plan::start`].
    ///
    /// # Panics
    /// When the module is not built.
    pub fn stage(version: Version) -> Result<Stage> {
        Stage::plan(version)
            .auto()
            .crm("--log-flush=100")
            .asterisk(|builder| Self::equip(builder, ""))
            .start()
    }

    /// Describes an Asterisk as the calls need it. `more` is what its dialplan has besides.
    pub fn equip(builder: Builder, more: &str) -> Builder {
        let phones = own_udp_port();
        // Above the ports that are given for SIP: that of an Asterisk that is being started again must not become another's RTP.
        let first = 12_000 + 2 * fastrand::u16(0..5_000);
        let rtp = format!(
            "[general]\nrtpstart = {first}\nrtpend = {}\nicesupport = no\nstrictrtp = no\n",
            first + 10_000
        );
        NUMBERS
            .fold(builder, |builder, number| {
                builder.phone_at(&number.to_string(), phones)
            })
            .load("app_queue.so")
            .extensions(&format!("{}\n{more}", include_str!("../traffic/extensions.conf")))
            .file("queues.conf", include_str!("../traffic/queues.conf"))
            .file("rtp.conf", &rtp)
            .verbose(0)
            .debug(0)
    }

    /// Lets calls begin until somebody ends them, or `calls` of them were made.
    ///
    /// # Errors
    /// When sipp does not start.
    pub fn begin(&self, asterisk: &Asterisk) -> Result<Going> {
        let mut rng = Rng::with_seed(self.seed);
        let (inbound, outbound) = self.plan(&mut rng);
        let called = vec![
            called("From").at(asterisk.phone("100")).start()?,
            called("To").at(asterisk.trunk()).start()?,
        ];
        let mut callers = vec![self.calling(asterisk, TRUNK, &inbound, self.share(&inbound))?];
        if !outbound.is_empty() {
            callers.push(self.calling(asterisk, PHONES, &outbound, self.share(&outbound))?);
        }
        Ok(Going { called, callers })
    }

    /// Transfers and cuts about one call in ten until `over`, but none with a channel that is `spared`.
    ///
    /// # Errors
    /// When the manager interface is gone.
    pub fn disturb(&self, ami: Ami, over: &AtomicBool, spared: impl Fn(&Message) -> bool) -> Result<()> {
        let rng = Rng::with_seed(self.seed ^ 1);
        Meanwhile::default().go_on(ami, rng, self.rate, over, spared)
    }

    fn plan(&self, rng: &mut Rng) -> (Vec<Planned>, Vec<Planned>) {
        let outbound = self.calls / 5;
        let inbound = (0..self.calls - outbound).map(|n| client(rng, n)).collect();
        (inbound, (0..outbound).map(|n| employee(rng, n)).collect())
    }

    fn share(&self, calls: &[Planned]) -> f64 {
        self.rate * calls.len() as f64 / f64::from(self.calls)
    }

    /// Lets it go on, from the first call to the last request.
    ///
    /// # Errors
    /// When sipp does not play, a channel stays, or the module does not come to rest.
    pub fn play(&self, stage: &Stage) -> Result<Report> {
        let mut rng = Rng::with_seed(self.seed);
        let (inbound, outbound) = self.plan(&mut rng);
        let before = stage.crm.log()?.len();
        let begin = Instant::now();

        let asterisk = &stage.asterisk;
        let _phones = called("From").at(asterisk.phone("100")).start()?;
        let _switch = called("To").at(asterisk.trunk()).start()?;
        let clients = self.calling(asterisk, TRUNK, &inbound, self.share(&inbound))?;
        let employees = match outbound.len() {
            0 => None,
            _ => Some(self.calling(asterisk, PHONES, &outbound, self.share(&outbound))?),
        };
        let over = AtomicBool::new(false);
        let mut meanwhile = Meanwhile::default();
        let outcomes = thread::scope(|scope| {
            let somebody = scope.spawn(|| meanwhile.go_on(asterisk.ami()?, rng, self.rate, &over, |_| false));
            let outcomes = std::iter::once(clients)
                .chain(employees)
                .map(SippRun::wait)
                .collect::<Result<Vec<_>>>();
            over.store(true, Ordering::Release);
            somebody
                .join()
                .map_err(|_| anyhow!("who transfers calls has panicked"))??;
            outcomes
        })?;
        let took = begin.elapsed();
        at_rest(stage)?;
        meanwhile.look_at_queues(&asterisk.cli("core show taskprocessors")?);
        let told = Told::of(&stage.crm.log()?[before..]);
        let reached = inbound.into_iter().chain(outbound).filter(|call| call.reaches);
        let untold = reached
            .filter(|call| !told.phones.contains(&call.client))
            .collect();
        let crm = stage.crm.get("/_sandbox/violations")?;
        Ok(Report {
            version: asterisk.version(),
            calls: self.calls,
            took,
            failed: outcomes.iter().map(Outcome::failed).sum(),
            meanwhile,
            told,
            untold,
            violations: crm["total"].as_u64().context("the CRM counts no violations")?,
            stuck: crm["open_popups"]
                .as_array()
                .context("the CRM lists no cards")?
                .len(),
            following: stage.row("Calls")?,
            callbacks: stage.row("Callbacks")?,
        })
    }

    fn calling(
        &self,
        asterisk: &Asterisk,
        address: Ipv4Addr,
        calls: &[Planned],
        rate: f64,
    ) -> Result<SippRun> {
        let mut lines = String::new();
        for call in calls {
            let _ = writeln!(
                lines,
                "{};{};{};{}",
                call.dialled, call.caller, call.patience, call.talk
            );
        }
        let count = u32::try_from(calls.len())?;
        Sipp::xml(include_str!("../traffic/caller.xml"))
            .at(SocketAddr::from((address, 0)))
            .to(asterisk.sip())
            .lines(&lines)
            .calls(count)
            .at_once(AT_ONCE)
            .rate(rate)
            .bound(Duration::from_secs_f64(f64::from(count) / rate) + LAST)
            .start()
    }
}

/// Calls that go on. Dropping this ends who calls and who is called, in the middle of a word.
#[derive(Debug)]
pub struct Going {
    called: Vec<SippRun>,
    callers: Vec<SippRun>,
}

/// How calls went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Went {
    /// Begun.
    pub begun: u64,
    /// Over, and as SIP has it.
    pub well: u64,
    /// Over, and otherwise.
    pub failed: u64,
    /// What sipp says of those.
    pub errors: String,
}

impl Going {
    /// How calls went up to about a second ago.
    #[must_use]
    pub fn went(&self) -> Went {
        let mut went = Went::default();
        for run in &self.callers {
            went.begun += run.count("TotalCallCreated");
            went.well += run.count("SuccessfulCall(C)");
            went.failed += run.count("FailedCall(C)");
            went.errors += &run.errors();
        }
        went
    }

    /// Begins no more calls and waits for the ends of the others.
    ///
    /// # Errors
    /// When one does not end.
    pub fn end(mut self) -> Result<Went> {
        let mut went = Went::default();
        for run in &mut self.callers {
            run.begin_no_more()?;
        }
        for run in self.callers {
            let outcome = run.wait()?;
            went.begun += outcome.count("TotalCallCreated");
            went.well += outcome.successful();
            went.failed += outcome.failed();
            went.errors += &outcome.errors;
        }
        drop(self.called);
        Ok(went)
    }
}

/// Phones that do what the client's number says; it stands in that header of what they are sent.
fn called(header: &str) -> Sipp {
    Sipp::xml(&include_str!("../traffic/phone.xml").replace("{client}", header))
        .calls(u32::MAX)
        .bound(Duration::from_secs(24 * 3_600))
}

/// The number of a client: what phones do for it, and how long.
fn number(rng: &mut Rng, n: u32) -> String {
    let mut number = String::from("79");
    for _ in 0..5 {
        let _ = write!(number, "{}", rng.u8(0..10));
    }
    let _ = write!(number, "{:04}", n % 10_000);
    number
}

fn client(rng: &mut Rng, n: u32) -> Planned {
    let client = number(rng, n);
    let way = rng.u8(0..8);
    let call = Planned {
        caller: client.clone(),
        client,
        dialled: format!("7495000{way}{}", rng.u32(NUMBERS)),
        ..planned(rng)
    };
    Planned {
        // Where the dialplan answers first, the client may be gone before a phone is called.
        reaches: call.reaches && !ANSWERS_FIRST.contains(&way),
        ..call
    }
}

fn employee(rng: &mut Rng, n: u32) -> Planned {
    let client = number(rng, n);
    Planned {
        caller: rng.u32(NUMBERS).to_string(),
        dialled: client.replacen('7', "8", 1),
        client,
        ..planned(rng)
    }
}

fn planned(rng: &mut Rng) -> Planned {
    let patient = rng.u8(0..4) > 0;
    Planned {
        caller: String::new(),
        dialled: String::new(),
        client: String::new(),
        patience: if patient { PATIENT } else { rng.u32(600..3_000) },
        talk: rng.u32(100..4_000),
        reaches: patient,
    }
}

/// What is done to calls while they go on, and how deep the queues of Asterisk's task processors became.
#[derive(Debug, Default)]
struct Meanwhile {
    transfers: u32,
    redirects: u32,
    cuts: u32,
    /// The most messages that waited for the module, of all moments and at the moments when somebody looked.
    deepest: u64,
    seen: u64,
    /// The same of any other task processor, and its name.
    others: (u64, String),
}

impl Meanwhile {
    fn go_on(
        &mut self,
        mut ami: Ami,
        mut rng: Rng,
        rate: f64,
        over: &AtomicBool,
        spared: impl Fn(&Message) -> bool,
    ) -> Result<()> {
        ami.action(&[("Action", "Events"), ("EventMask", "off")])?;
        // About one call in ten.
        let each = (rate / 10.0 * LOOK.as_secs_f64()).ceil() as usize;
        while !over.load(Ordering::Acquire) {
            let queues = ami.command("core show taskprocessors")?;
            self.look_at_queues(&queues);
            let mut channels = ami.action(&[("Action", "CoreShowChannels")])?.events;
            rng.shuffle(&mut channels);
            let busy = channels
                .iter()
                .filter(|channel| is_in_call(channel) && !spared(channel));
            for channel in busy.take(each) {
                self.disturb(&mut ami, &mut rng, channel)?;
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Does something to a channel, which may be gone by now: that is no error.
    fn disturb(&mut self, ami: &mut Ami, rng: &mut Rng, channel: &Message) -> Result<()> {
        let name = channel.get("Channel").unwrap_or_default();
        let talks = channel.get("BridgeId").is_some_and(|bridge| !bridge.is_empty());
        let client = name.starts_with("PJSIP/trunk-");
        let exten = match rng.u8(0..10) {
            0 => number(rng, 0).replacen('7', "8", 1),
            _ => rng.u32(NUMBERS).to_string(),
        };
        let to = [
            ("Channel", name),
            ("Context", "from-internal"),
            ("Exten", exten.as_str()),
        ];
        let (count, action): (&mut u32, Vec<(&str, &str)>) = match rng.u8(0..4) {
            0 => (
                &mut self.cuts,
                vec![("Action", "Hangup"), ("Channel", name), ("Cause", "16")],
            ),
            _ if talks && client => (
                &mut self.redirects,
                [&[("Action", "Redirect"), ("Priority", "1")][..], &to].concat(),
            ),
            _ if talks => (
                &mut self.transfers,
                [&[("Action", "BlindTransfer")][..], &to].concat(),
            ),
            _ => return Ok(()),
        };
        if ami.action(&action)?.is_success() {
            *count += 1;
        }
        Ok(())
    }

    /// Rows are `name processed waiting deepest low high`, and 22 adds two times.
    fn look_at_queues(&mut self, rows: &str) {
        for row in rows.lines() {
            let cells: Vec<&str> = row.split_whitespace().collect();
            let &[name, _, waiting, deepest, _, _, ..] = cells.as_slice() else {
                continue;
            };
            let (Ok(waiting), Ok(deepest)) = (waiting.parse(), deepest.parse()) else {
                continue;
            };
            if name.contains("res_planfix") {
                self.seen = self.seen.max(waiting);
                self.deepest = self.deepest.max(deepest);
            } else if deepest > self.others.0 {
                self.others = (deepest, name.to_owned());
            }
        }
    }
}

/// Whether it is an end of a call that somebody was called for: one that has just begun was told to nobody yet.
fn is_in_call(channel: &Message) -> bool {
    let application = channel.get("Application").unwrap_or_default();
    let name = channel.get("Channel").unwrap_or_default();
    name.starts_with("PJSIP/") && matches!(application, "Dial" | "AppDial" | "Queue" | "AppQueue")
}

/// Waits until no channel is left, the module follows nothing and the CRM has everything.
fn at_rest(stage: &Stage) -> Result<()> {
    stage.asterisk.ami()?.without_channels(BOUND)?;
    let mut calls = String::new();
    until("a module that follows no call", BOUND, || {
        calls = flat(&stage.status()?);
        Ok(calls.contains("Calls: 0 followed on 0 channels").then_some(()))
    })
    .with_context(|| calls.clone())?;
    stage.drained()?;
    stage.logged(BOUND)
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    version: Version,
    calls: u32,
    took: Duration,
    /// Calls that went otherwise than SIP has it: Asterisk was overloaded, or did not answer.
    failed: u64,
    meanwhile: Meanwhile,
    told: Told,
    /// Calls of which the CRM was not told although nobody gave up.
    untold: Vec<Planned>,
    /// What the CRM itself found wrong.
    violations: u64,
    /// Cards that it still shows.
    stuck: usize,
    /// Two rows of `planfix show status`.
    following: String,
    callbacks: String,
}

/// What the CRM was told.
#[derive(Debug, Default)]
struct Told {
    calls: BTreeSet<String>,
    phones: BTreeSet<String>,
    /// By call and employee: whether the card is open.
    cards: BTreeMap<(String, String), bool>,
    opened: usize,
    accepted: usize,
    closed: usize,
    statuses: BTreeMap<String, usize>,
    breaches: Vec<String>,
}

impl Told {
    fn of(lines: &[Value]) -> Self {
        let mut told = Self::default();
        for line in lines.iter().filter(|line| is_taken_in(line)) {
            told.take(line);
        }
        told
    }

    fn take(&mut self, line: &Value) {
        let (callid, ext, event) = (field(line, "callid"), field(line, "ext"), field(line, "event"));
        self.calls.insert(callid.to_owned());
        self.phones.insert(field(line, "phone").to_owned());
        let open = self.cards.entry((callid.to_owned(), ext.to_owned())).or_default();
        let was_open = *open;
        let expected = match event {
            "INCOMING" | "OUTGOING" => {
                self.opened += 1;
                *open = true;
                !was_open
            }
            "ACCEPTED" => {
                self.accepted += 1;
                was_open
            }
            "COMPLETED" => {
                self.closed += 1;
                *open = false;
                let status = field(line, "status").to_owned();
                *self.statuses.entry(status).or_default() += 1;
                was_open
            }
            _ => false,
        };
        if !expected {
            self.breaches.push(format!(
                "{event} {ext} of call {callid}, whose card is open: {was_open}"
            ));
        }
    }
}

impl Report {
    /// How many stasis messages waited for the module at most.
    #[must_use]
    pub fn deepest_queue(&self) -> u64 {
        self.meanwhile.deepest
    }

    /// That every card was opened and closed as often, that none is stuck, and that no record was lost.
    ///
    /// # Errors
    /// When one of that is not so.
    pub fn ensure_true(&self) -> Result<()> {
        let open = self.told.cards.iter().filter(|(_, open)| **open);
        let stuck: Vec<_> = open
            .map(|((callid, ext), _)| format!("{ext} of call {callid}"))
            .take(SHOWN)
            .collect();
        ensure!(stuck.is_empty() && self.stuck == 0, "cards are stuck: {stuck:?}");
        let breaches = &self.told.breaches[..self.told.breaches.len().min(SHOWN)];
        ensure!(breaches.is_empty(), "told out of order: {breaches:#?}");
        ensure!(
            self.violations == 0,
            "the CRM found {} breaches of order",
            self.violations
        );
        ensure!(
            self.told.opened == self.told.closed,
            "cards were opened and closed: {self}"
        );
        ensure!(!self.told.calls.is_empty(), "nothing was told");
        let untold = self
            .untold
            .iter()
            .take(SHOWN)
            .map(|call| format!("{} -> {}", call.caller, call.dialled));
        ensure!(
            self.untold.len() as u64 <= self.failed,
            "{} calls were not told: {:?}",
            self.untold.len(),
            untold.collect::<Vec<_>>()
        );
        ensure!(
            self.following.contains(" 0 lost"),
            "records were lost: {}",
            self.following
        );
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64();
        let rows = [
            ("Asterisk", self.version.to_string()),
            (
                "calls",
                format!(
                    "{} in {seconds:.0} s, {} of them failed by SIP",
                    self.calls, self.failed
                ),
            ),
            (
                "meanwhile",
                format!(
                    "{} blind transfers, {} redirects, {} channels cut",
                    self.meanwhile.transfers, self.meanwhile.redirects, self.meanwhile.cuts
                ),
            ),
            ("calls told", self.told.calls.len().to_string()),
            (
                "cards",
                format!(
                    "{} opened, {} accepted, {} closed, {} stuck",
                    self.told.opened, self.told.accepted, self.told.closed, self.stuck
                ),
            ),
            (
                "closed as",
                self.told
                    .statuses
                    .iter()
                    .map(|(status, count)| format!("{status} {count}"))
                    .collect::<Vec<_>>()
                    .join(", "),
            ),
            ("breaches of order", self.violations.to_string()),
            (
                "queue for the module",
                format!(
                    "{} at most when looked at, {} at any moment",
                    self.meanwhile.seen, self.meanwhile.deepest
                ),
            ),
            (
                "deepest other queue",
                format!("{} ({})", self.meanwhile.others.0, self.meanwhile.others.1),
            ),
            ("followed", self.following.clone()),
            ("callbacks", self.callbacks.clone()),
        ];
        rows.iter()
            .try_for_each(|(what, figure)| writeln!(f, "{what:<22}{figure}"))
    }
}
