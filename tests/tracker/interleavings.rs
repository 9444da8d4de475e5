//! Random days in the life of the PBX, against what must hold whatever happens: every card is opened, accepted at most
//! once, closed exactly once; who talked is credited, and nobody else; nothing is kept when the last channel is gone.
//!
//! A failure prints the seed of its day and which kind of day it was; `RES_PLANFIX_SEED` repeats it. `RES_PLANFIX_DAYS` runs
//! more days than every test run has time for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fastrand::Rng;
use res_planfix::core::draft::Kind;
use res_planfix::core::durations::Micros;
use res_planfix::core::record::{Record, Stage, What};
use res_planfix::core::settings::{Calls, Missed};
use res_planfix::core::trunks::Trunks;

use crate::crm::Request;
use crate::office::{DID, Office, calls};
use crate::pbx::{Chan, Owner};

/// Prints what repeats a day that failed.
struct Seed(u64, &'static str);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("RES_PLANFIX_SEED={} repeats this {} day", self.0, self.1);
        }
    }
}

/// Runs so many days, each from a seed of its own.
fn days(kind: &'static str, count: usize, day: impl Fn(Rng)) {
    if let Ok(seed) = std::env::var("RES_PLANFIX_SEED") {
        let seed = Seed(seed.parse().expect("RES_PLANFIX_SEED is a number"), kind);
        day(Rng::with_seed(seed.0));
        return;
    }
    let more =
        std::env::var("RES_PLANFIX_DAYS").map(|days| days.parse().expect("RES_PLANFIX_DAYS is a number"));
    for _ in 0..more.unwrap_or(count) {
        let seed = Seed(fastrand::u64(..), kind);
        day(Rng::with_seed(seed.0));
    }
}

const EXTS: [&str; 6] = ["101", "102", "103", "104", "105", "106"];

/// What must come of one client's call.
#[derive(Clone, Debug, Default)]
struct Truth {
    inbound: bool,
    /// Employees who were joined with the client, and for how long.
    talked: BTreeMap<String, Micros>,
    /// Employees whose phones rang for the client.
    rang: BTreeSet<String>,
    /// Somebody outside talked with the client, or a machine took a message.
    elsewhere: bool,
}

/// Who may have missed a call.
const RULES: [Missed; 4] = [Missed::First, Missed::Last, Missed::All, Missed::Responsible];

/// A day.
struct Day {
    office: Office,
    random: Rng,
    clients: u64,
    /// The client behind a channel, by his number in the CRM's form.
    phones: BTreeMap<Chan, String>,
    /// What an employee's channel wants to call outside, as long as nobody answered.
    wants: BTreeMap<Chan, String>,
    /// Who rings, where the channel's state does not say so.
    progress: BTreeSet<Chan>,
    /// Transfers by keys: the employee, who waits for him, and the Local channel to the target.
    consulting: Vec<(Chan, Chan, Chan)>,
    truths: BTreeMap<String, Truth>,
    missed: Missed,
}

impl Day {
    fn new(mut random: Rng) -> Self {
        let missed = RULES[random.usize(..RULES.len())];
        let mut calls = Calls { missed, ..calls() };
        if random.bool() {
            calls.trunks = Trunks::default();
        }
        Self {
            office: Office::with(calls),
            random,
            clients: 0,
            phones: BTreeMap::new(),
            wants: BTreeMap::new(),
            progress: BTreeSet::new(),
            consulting: Vec::new(),
            truths: BTreeMap::new(),
            missed,
        }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.u32(..100) < percent
    }

    fn ext(&mut self) -> &'static str {
        EXTS[self.random.usize(..EXTS.len())]
    }

    fn number(&mut self) -> String {
        self.clients += 1;
        format!("8916{:07}", self.clients)
    }

    /// The client's channel is known by this number from now on.
    fn is_client(&mut self, chan: Chan, number: &str, inbound: bool) {
        let phone = format!("7{}", &number[1..]);
        self.truths.entry(phone.clone()).or_default().inbound = inbound;
        self.phones.insert(chan, phone);
    }

    /// The CRM says who is responsible for somebody, who calls now or has called.
    fn crm_names_a_responsible(&mut self) {
        let phones: Vec<String> = self.truths.keys().cloned().collect();
        if phones.is_empty() {
            return;
        }
        let record = Record {
            time: self.office.pbx.now,
            what: What::Contact {
                phone: phones[self.random.usize(..phones.len())].as_str().into(),
                responsible: self.ext().into(),
            },
        };
        self.office.follows(&record);
    }

    // ---- one step ---------------------------------------------------------------------------------------------------

    /// Something happens to somebody.
    fn step(&mut self) {
        let chans: Vec<Chan> = self.office.legs.keys().copied().collect();
        if chans.is_empty() || self.chance(15) {
            self.begins();
            return;
        }
        if !self.consulting.is_empty() && self.chance(20) {
            self.goes_on_by_keys();
            return;
        }
        if self.chance(5) {
            self.crm_names_a_responsible();
            return;
        }
        let chan = chans[self.random.usize(..chans.len())];
        let leg = self.office.leg(chan);
        let (owner, stage) = (leg.owner.clone(), leg.channel.stage);
        if leg.called {
            self.is_called(chan, &owner, stage);
        } else if !leg.dialing.is_empty() {
            // Whom it calls goes on; now and then it gives up.
            if self.chance(10) {
                self.hangs_up(chan);
            }
        } else if self.office.is_parked(chan) {
            match self.random.u32(..4) {
                0 => {
                    let ext = self.ext();
                    self.office.retrieves(ext, chan);
                }
                1 => self.office.parked_for_long(chan),
                2 => self.hangs_up(chan),
                _ => {}
            }
        } else if self.office.leg(chan).room.is_some() {
            self.is_bridged(chan, &owner);
        } else {
            self.is_alone(chan, &owner);
        }
    }

    fn begins(&mut self) {
        match self.random.u32(..10) {
            0..=4 => {
                let number = self.number();
                let chan = if self.chance(5) {
                    self.office.client_calls("", DID)
                } else {
                    self.office.client_calls(&number, DID)
                };
                if !self.office.leg(chan).channel.caller.is_empty() {
                    self.is_client(chan, &number, true);
                }
            }
            5 | 6 => {
                let (ext, number) = (self.ext(), self.number());
                let chan = self.office.phone_calls(ext, &number);
                self.wants.insert(chan, number);
            }
            7 => {
                let [ext, number] = [self.ext(), self.ext()];
                self.office.phone_calls(ext, number);
            }
            8 => {
                let (ext, number) = (self.ext(), self.number());
                let chan = self.office.originates(ext, &number);
                self.wants.insert(chan, number);
            }
            _ => {
                let (ext, number) = (self.ext(), self.number());
                let [one, two] = self.office.originates_local(ext);
                self.office.dials_phone(two, ext);
                self.wants.insert(one, number);
            }
        }
    }

    /// It is called, and rings or does not yet.
    fn is_called(&mut self, chan: Chan, owner: &Owner, stage: Stage) {
        if *owner == Owner::Wire {
            let half = self.office.leg(chan).half.unwrap();
            if self.office.leg(half).dialing.is_empty() && self.office.leg(half).room.is_none() {
                self.gives_up(half);
            }
            return;
        }
        match self.random.u32(..10) {
            0..=3 if stage == Stage::Down => self.office.rings(chan),
            4 if stage == Stage::Down && self.office.leg(chan).dialer.is_some() => {
                self.office.progresses(chan);
                self.progress.insert(chan);
            }
            0..=5 => {
                self.wants
                    .retain(|root, _| !self.office.leg(*root).dialing.contains(&chan));
                self.office.answers(chan);
            }
            6 | 7 => {
                let (status, cause) = [
                    ("BUSY", 17),
                    ("NOANSWER", 19),
                    ("CONGESTION", 34),
                    ("CHANUNAVAIL", 20),
                ][self.random.usize(..4)];
                let dialer = self.office.leg(chan).dialer;
                self.office.fails(chan, status, cause);
                if let Some(dialer) = dialer
                    && self.office.leg(dialer).dialing.is_empty()
                    && self.office.leg(dialer).owner == Owner::Wire
                {
                    self.gives_up(dialer);
                }
            }
            8 if self.office.leg(chan).dialer.is_some() => {
                if let Owner::Employee(ext) = owner {
                    self.forwards(chan, ext);
                }
            }
            9 if stage == Stage::Ringing
                && matches!(owner, Owner::Employee(_))
                && self.office.leg(chan).dialer.is_some() =>
            {
                let ext = self.ext();
                self.wants
                    .retain(|root, _| !self.office.leg(*root).dialing.contains(&chan));
                self.office.picks_up(ext, chan);
            }
            _ => {}
        }
    }

    fn forwards(&mut self, chan: Chan, ext: &str) {
        if self.chance(50) {
            let number = self.number();
            let [_, two] = self.office.forwards(chan, &number);
            self.office.dials_out(two, &number, Owner::Mobile(ext.to_owned()));
        } else {
            let other = self.ext();
            let [_, two] = self.office.forwards(chan, other);
            self.office.dials_phone(two, other);
        }
    }

    /// The second half of a Local channel has nobody to call any more.
    fn gives_up(&mut self, two: Chan) {
        match self.office.leg(two).half {
            Some(one) if self.office.leg(one).called => self.office.fails(one, "NOANSWER", 0),
            _ => self.hangs_up(two),
        }
    }

    /// It is in a bridge.
    fn is_bridged(&mut self, chan: Chan, owner: &Owner) {
        if *owner == Owner::Wire {
            self.optimizes(chan);
            return;
        }
        let is_conference = {
            let room = self.office.leg(chan).room.unwrap();
            self.office.rooms[&room].technology == "softmix"
        };
        let partner = self
            .office
            .partner(chan)
            .filter(|_| !is_conference && !self.is_click_to_call(chan));
        let is_employee = matches!(owner, Owner::Employee(_));
        match (self.random.u32(..12), partner) {
            (0, _) => self.hangs_up(chan),
            (1, _) => {
                let left = self.office.hangs_up_alone(chan);
                // Half of a Local channel does not go on by itself.
                for other in left {
                    if self.office.alive(other) && self.office.leg(other).owner == Owner::Wire {
                        self.hangs_up(other);
                    }
                }
            }
            (2, _) => self.office.holds(chan),
            (3, _) => self.office.unholds(chan),
            (4 | 5, Some(_)) if is_employee => {
                let ext = self.ext();
                self.office.transfers(chan, ext);
            }
            (6, Some(other)) if is_employee && matches!(self.office.leg(other).owner, Owner::Client) => {
                self.office.parks(chan);
            }
            (7, Some(_)) => {
                if let Owner::Employee(ext) = owner {
                    let other = self.ext();
                    let consulting = self.office.phone_calls(ext, other);
                    self.office.dials_phone(consulting, other);
                }
            }
            (8 | 9, Some(_)) => {
                if let Owner::Employee(ext) = owner {
                    self.joins(chan, ext);
                }
            }
            (10, Some(other)) => {
                let conference = self.conference();
                self.office.enters(chan, conference);
                self.office.enters(other, conference);
            }
            (11, Some(other)) if is_employee && !self.is_consulting(chan) && !self.is_consulting(other) => {
                let ext = self.ext();
                let [one, _] = self.office.consults_by_keys(chan, ext);
                self.consulting.push((chan, other, one));
            }
            _ => {}
        }
    }

    /// A click-to-call whose client is not called yet: there is nobody to talk to.
    fn is_click_to_call(&self, chan: Chan) -> bool {
        let heard = self.office.heard_by(chan);
        heard
            .iter()
            .any(|other| self.office.leg(*other).owner == Owner::Wire && self.wants.contains_key(other))
    }

    fn is_consulting(&self, chan: Chan) -> bool {
        let mut all = self.consulting.iter();
        all.any(|(employee, waiting, one)| [employee, waiting, one].contains(&&chan))
    }

    fn conference(&mut self) -> u64 {
        let conference = self
            .office
            .rooms
            .iter()
            .find(|(_, room)| room.technology == "softmix");
        let conference = conference.map(|(room, _)| *room);
        conference.unwrap_or_else(|| self.office.room("softmix"))
    }

    /// An attended transfer, if the employee has a second call.
    fn joins(&mut self, first: Chan, ext: &str) {
        let others: Vec<Chan> = self
            .office
            .legs
            .iter()
            .filter(|(chan, leg)| {
                **chan != first && leg.owner == Owner::Employee(ext.to_owned()) && !leg.called
            })
            .map(|(chan, _)| *chan)
            .collect();
        for second in others {
            let leg = self.office.leg(second);
            if self.is_consulting(first) || self.is_consulting(second) || self.is_click_to_call(second) {
                continue;
            }
            if leg.room.is_none() && !leg.dialing.is_empty() {
                if let Some(number) = self.wants.remove(&second) {
                    let other = self.office.partner(first).unwrap();
                    self.wants.insert(other, number);
                }
                self.office.joins_ringing(first, second);
                return;
            }
            let simple = |room: u64| self.office.rooms[&room].technology == "simple_bridge";
            if leg.room.is_some_and(simple) && leg.room != self.office.leg(first).room {
                self.office.joins_calls(first, second);
                return;
            }
        }
    }

    /// A transfer by keys comes to its end, one way or the other.
    fn goes_on_by_keys(&mut self) {
        let at = self.random.usize(..self.consulting.len());
        let (employee, waiting, one) = self.consulting[at];
        let all_live = [employee, waiting, one]
            .iter()
            .all(|chan| self.office.alive(*chan));
        let as_before = all_live
            && self.office.leg(waiting).room.is_some()
            && self.office.leg(employee).room.is_some()
            && self.office.leg(employee).room == self.office.leg(one).room;
        if !as_before {
            self.consulting.remove(at);
            if self.office.alive(waiting) && self.office.peers(waiting).is_empty() {
                self.hangs_up(waiting);
            }
            return;
        }
        let two = self.office.leg(one).half.unwrap();
        let is_answered = self.office.leg(two).room.is_some();
        match self.random.u32(..3) {
            0 if is_answered => self.office.completes_by_keys(employee, waiting, one),
            1 => self.office.goes_back_by_keys(employee, waiting, one),
            _ => return,
        }
        self.consulting.remove(at);
    }

    /// A Local channel between two bridges is taken out, if it can be.
    fn optimizes(&mut self, one: Chan) {
        if self.is_consulting(one) {
            return;
        }
        let Some(two) = self.office.leg(one).half else {
            return;
        };
        let rooms = [one, two].map(|half| self.office.leg(half).room);
        if let [Some(first), Some(second)] = rooms
            && first != second
            && self.office.rooms[&second].technology == "simple_bridge"
            && self.office.rooms[&first].members.len() > 1
            && let Some(peer) = self.office.partner(two)
            && !self.is_consulting(peer)
        {
            self.office.optimizes(one);
        }
    }

    /// It is in no bridge, calls nobody, and nobody calls it: it is in the dialplan.
    fn is_alone(&mut self, chan: Chan, owner: &Owner) {
        match owner {
            Owner::Client => self.client_is_alone(chan),
            Owner::Employee(_) => self.employee_is_alone(chan),
            Owner::Mobile(_) => self.hangs_up(chan),
            Owner::Wire if self.wants.contains_key(&chan) => self.employee_is_alone(chan),
            // The second half of a Local channel which is still to call somebody, or has done so.
            Owner::Wire => {
                if self.chance(50) {
                    let ext = self.ext();
                    self.office.dials_phone(chan, ext);
                } else {
                    self.gives_up(chan);
                }
            }
        }
    }

    fn client_is_alone(&mut self, chan: Chan) {
        match self.random.u32(..12) {
            0 | 1 => {
                let [first, second, third] = [self.ext(), self.ext(), self.ext()];
                match self.random.u32(..3) {
                    0 => drop(self.office.dials(chan, [first])),
                    1 => drop(self.office.dials(chan, [first, second])),
                    _ => drop(self.office.dials(chan, [first, second, third])),
                }
            }
            2..=4 => {
                self.office.runs(chan, "Queue", "sales");
                let count = self.random.usize(1..4);
                for ext in &EXTS[..count] {
                    if self.chance(50) {
                        self.office.dials_phone(chan, ext);
                    } else {
                        let [_, two] = self.office.dials_local(chan, ext);
                        self.office.dials_phone(two, ext);
                    }
                }
            }
            5 => {
                let (ext, number) = (self.ext(), self.number());
                // By a menu: where a group was called at this number before, it would be the group's.
                self.office.goes_to(chan, "1");
                self.office.goes_to(chan, ext);
                self.office
                    .dials_out(chan, &number, Owner::Mobile(ext.to_owned()));
            }
            6 if self.chance(20) => {
                self.office.is_answered(chan);
                self.office.runs(chan, "VoiceMail", "101@default,u");
                if let Some(truth) = self
                    .phones
                    .get(&chan)
                    .and_then(|phone| self.truths.get_mut(phone))
                {
                    truth.elsewhere = true;
                }
            }
            7 => {
                let conference = self.conference();
                self.office.is_answered(chan);
                self.office.enters(chan, conference);
            }
            8 => self.office.is_answered(chan),
            9 => self.office.sets(chan, "UTM_SOURCE", "somewhere"),
            10 => self.hangs_up(chan),
            _ => {}
        }
    }

    fn employee_is_alone(&mut self, chan: Chan) {
        if let Some(number) = self.wants.get(&chan).cloned() {
            match self.random.u32(..4) {
                0 | 1 => {
                    let client = self.office.dials_out(chan, &number, Owner::Client);
                    self.is_client(client, &number, false);
                }
                2 => self.hangs_up(chan),
                _ => {}
            }
            return;
        }
        match self.random.u32(..5) {
            0 => {
                let ext = self.ext();
                self.office.dials_phone(chan, ext);
            }
            1 => {
                let ext = self.ext();
                let [_, two] = self.office.dials_local(chan, ext);
                self.office.dials_phone(two, ext);
            }
            2 => {
                let conference = self.conference();
                self.office.is_answered(chan);
                self.office.enters(chan, conference);
            }
            _ => self.hangs_up(chan),
        }
    }

    fn hangs_up(&mut self, chan: Chan) {
        self.office.hangs_up(chan);
    }

    // ---- the truth --------------------------------------------------------------------------------------------------

    /// Looks who is with whom now, and has been for `lasted`.
    fn observes(&mut self, lasted: Micros) {
        self.progress.retain(|chan| self.office.pbx.alive(*chan));
        self.wants.retain(|chan, _| self.office.pbx.alive(*chan));
        self.phones.retain(|chan, _| self.office.pbx.alive(*chan));
        for (chan, phone) in &self.phones {
            let truth = self.truths.get_mut(phone).unwrap();
            // An employee may be there with two phones.
            let mut exts = BTreeSet::new();
            for other in self.office.heard_by(*chan) {
                match &self.office.leg(other).owner {
                    Owner::Mobile(ext) if ext.is_empty() => truth.elsewhere = true,
                    Owner::Employee(ext) | Owner::Mobile(ext) => drop(exts.insert(ext)),
                    Owner::Client | Owner::Wire => {}
                }
            }
            for ext in exts {
                *truth.talked.entry(ext.clone()).or_default() += lasted;
            }
            for called in self.office.called_for(*chan) {
                let leg = self.office.leg(called);
                let rings = leg.channel.stage == Stage::Ringing || self.progress.contains(&called);
                if let Owner::Employee(ext) | Owner::Mobile(ext) = &leg.owner
                    && rings
                {
                    truth.rang.insert(ext.clone());
                }
            }
        }
    }

    fn wait(&mut self, seconds: u64) {
        self.observes(0);
        self.office.wait(seconds);
        self.observes(seconds * 1_000_000);
    }

    /// Everybody goes home.
    fn ends(&mut self) {
        while let Some(chan) = {
            let chans: Vec<Chan> = self.office.legs.keys().copied().collect();
            (!chans.is_empty()).then(|| chans[self.random.usize(..chans.len())])
        } {
            self.hangs_up(chan);
            self.observes(0);
        }
    }

    /// The CRM was told what is true.
    fn compare(&self) {
        for (phone, truth) in &self.truths {
            let told = || {
                self.office
                    .crm
                    .requests
                    .iter()
                    .filter(|told| told.field("phone") == phone)
            };
            let with = |status: &'static str| told().filter(move |told| told.field("status") == status);
            let lines: Vec<String> = told().map(Request::line).collect();
            let lines = format!("{lines:#?}\n{}", self.office.explain_about(&phone[1..]));
            let credited: BTreeSet<&str> = with("Success").map(|told| told.field("ext")).collect();
            let talked: BTreeSet<&str> = truth.talked.keys().map(String::as_str).collect();
            assert_eq!(credited, talked, "who talked with {phone}: {lines}");
            for (ext, lasted) in &truth.talked {
                let (mut seconds, mut cards) = (0, 0);
                for success in with("Success").filter(|told| told.field("ext") == ext) {
                    seconds += success.seconds();
                    cards += 1;
                }
                let longest = lasted / 1_000_000;
                assert!(
                    seconds <= longest + 1,
                    "{ext} talked with {phone} for {longest} s: {lines}"
                );
                // An outbound card cannot be opened a second time.
                if truth.inbound {
                    assert!(
                        seconds + cards >= longest,
                        "{ext} talked with {phone} for {longest} s: {lines}"
                    );
                }
            }
            let shown: BTreeSet<&str> = told()
                .filter(|told| told.kind == Kind::Incoming)
                .map(|told| told.field("ext"))
                .collect();
            if truth.inbound {
                let rang: BTreeSet<&str> = truth.rang.iter().map(String::as_str).collect();
                let refuses = self.office.refuses.is_some();
                assert!(
                    refuses || rang.is_subset(&shown),
                    "{rang:?} rang for {phone}: {lines}"
                );
                if !rang.is_empty() && truth.talked.is_empty() && !truth.elsewhere {
                    let missed = with("Missed").count();
                    let is_right = if self.missed == Missed::All {
                        missed >= 1
                    } else {
                        missed == 1
                    };
                    assert!(is_right, "{missed} missed the call of {phone}: {lines}");
                }
                if !truth.talked.is_empty() && !truth.elsewhere {
                    assert_eq!(with("Missed").count(), 0, "{phone} was served: {lines}");
                }
            }
        }
    }

    /// Every card is closed, and nothing is kept.
    fn closes(&mut self) {
        self.office.wait(60);
        let open = self.office.crm.open();
        assert!(
            open.is_empty(),
            "cards are open: {open:?}\n{}",
            self.office.explain_about("")
        );
        assert!(
            self.office.tracker.is_empty(),
            "something is kept: {:#?}",
            self.office.tracker
        );
    }
}

#[test]
fn on_ordinary_days_the_crm_is_told_the_truth() {
    days("ordinary", 1_000, |random| {
        let mut day = Day::new(random);
        for _ in 0..day.random.usize(20..150) {
            day.step();
            day.observes(0);
            if day.chance(30) {
                let seconds = day.random.u64(1..40);
                day.wait(seconds);
            }
            if day.chance(3) {
                // Nothing was lost: looking at all changes nothing.
                day.office.passes_on();
                day.office.look();
            }
        }
        day.ends();
        day.closes();
        day.compare();
    });
}

// ---- wild days --------------------------------------------------------------------------------------------------------

/// The channels by whose records one may not be overtaken: Asterisk publishes what happens to one channel in its order.
fn about(record: &Record) -> &str {
    match &record.what {
        What::Created { channel }
        | What::Changed { channel }
        | What::Gone { channel }
        | What::Running { channel, .. }
        | What::Entered { channel, .. }
        | What::Left { channel, .. }
        | What::Hold { channel }
        | What::Unhold { channel }
        | What::Pickup { channel, .. } => &channel.uniqueid,
        What::Dial { peer, .. } => &peer.uniqueid,
        What::BlindTransfer { transferer, .. } | What::AttendedTransfer { transferer, .. } => {
            &transferer.uniqueid
        }
        What::Parking { parkee, .. } => &parkee.uniqueid,
        What::Variable { uniqueid, .. } => uniqueid,
        What::Contact { phone, .. } => phone,
        What::Lost | What::CaughtUp => "",
    }
}

/// Records of different channels overtake each other.
fn mix(records: &mut [Record], random: &mut Rng) {
    for at in 1..records.len() {
        let mut at = at;
        while at > 0 && random.u32(..3) == 0 && about(&records[at]) != about(&records[at - 1]) {
            records.swap(at, at - 1);
            at -= 1;
        }
    }
}

/// Some records never come, some come twice, and some late.
fn spoil(records: &mut Vec<Record>, random: &mut Rng) {
    let mut at = 0;
    while at < records.len() {
        match random.u32(..40) {
            0 => drop(records.remove(at)),
            // A channel that has ended is not made a second time.
            1 if !matches!(records[at].what, What::Created { .. }) => {
                let again = records[at].clone();
                records.insert(random.usize(at..=records.len()), again);
            }
            2 => {
                let late = records.remove(at);
                records.insert(random.usize(at..=records.len()), late);
            }
            _ => {}
        }
        at += 1;
    }
}

impl Day {
    /// Steps whose records come as `spoils` leaves them.
    fn goes_wrong(&mut self, spoils: impl Fn(&mut Vec<Record>, &mut Rng)) {
        for _ in 0..self.random.usize(1..40) {
            for _ in 0..self.random.usize(1..6) {
                self.step();
                self.observes(0);
                if self.chance(20) {
                    let seconds = self.random.u64(1..40);
                    self.office.pbx.wait(seconds);
                }
                if self.chance(2) {
                    self.office.pbx.now -= self.random.u64(..3_600_000_000);
                }
            }
            self.publishes(&spoils);
            if self.chance(5) {
                self.office.look();
            }
            if self.chance(5) {
                let missed = RULES[self.random.usize(..RULES.len())];
                self.office
                    .tracker
                    .configure(Arc::new(Calls { missed, ..calls() }));
            }
        }
        self.ends();
        self.publishes(&spoils);
    }

    fn publishes(&mut self, spoils: &impl Fn(&mut Vec<Record>, &mut Rng)) {
        let mut records = self.office.records();
        spoils(&mut records, &mut self.random);
        for record in &records {
            self.office.follows(record);
        }
        self.office.wait(0);
    }
}

#[test]
fn whatever_order_records_come_in_every_card_is_closed() {
    days("mixed", 1_000, |random| {
        let mut day = Day::new(random);
        day.goes_wrong(|records, random| mix(records, random));
        day.closes();
    });
}

#[test]
fn whatever_is_lost_every_card_is_closed_after_a_look_at_all() {
    days("spoiled", 1_000, |random| {
        let mut day = Day::new(random);
        day.goes_wrong(|records, random| {
            spoil(records, random);
            mix(records, random);
        });
        day.office.look();
        day.closes();
    });
}

#[test]
fn whatever_the_spool_refuses_no_request_comes_without_its_opening() {
    days("refused", 1_000, |random| {
        let mut day = Day::new(random);
        let seed = day.random.u64(..);
        day.office.refuses = Some(Rng::with_seed(seed));
        for _ in 0..day.random.usize(20..100) {
            day.step();
            day.observes(0);
            if day.chance(30) {
                let seconds = day.random.u64(1..40);
                day.wait(seconds);
            }
        }
        day.ends();
        day.closes();
        day.compare();
    });
}
