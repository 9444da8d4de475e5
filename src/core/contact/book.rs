//! What is known of callers, which of them the CRM is being asked about, and whether it may be asked at all.
//!
//! Invariants:
//! - for one number at most one request is under way, however many ask for it;
//! - at most [`MOST_UNDER_WAY`] requests are under way, and what is kept is bounded in number and in bytes: what was
//!   looked at longest ago goes first;
//! - while the breaker is open, and while a request is late already, nobody is told to wait;
//! - every [`Ticket`] is answered once, by [`Book::answered`].

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::breaker::{Breaker, Permission, Severity};
use super::{Contact, How};
use crate::core::gate::{Millis, millis};
use crate::core::reply::{Policy, Trouble};

/// Requests that are made or wait to be made. A PBX with more new callers at the same time than this has a slow CRM, and
/// asking it more will not help.
pub const MOST_UNDER_WAY: usize = 64;
/// Callers that are remembered.
const MOST_CALLERS: usize = 10_000;
/// And at most so many bytes of them.
const MOST_BYTES: usize = 4 << 20;
/// What a caller costs beside his texts: a place in two tables.
const OVERHEAD: usize = 192;

/// How long it is believed that the CRM does not know somebody, unless `cache` is shorter: he may be entered there
/// after his first call.
const UNKNOWN: Millis = 60_000;
/// How long a number is let alone after its request failed.
const FAILED: Millis = 5_000;

/// The right and the duty to make one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The number to ask for, in the CRM's form.
    pub number: Arc<str>,
    /// Tells it from every other.
    pub serial: u64,
}

/// What an asker is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// A request that he has to send off.
    pub send: Option<Ticket>,
    /// And what is known.
    pub then: Then,
}

/// What is known of a caller now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// This, and there is nothing to wait for.
    Take(Contact, How),
    /// The request of this serial number is under way: it is worth waiting for.
    Wait(u64),
}

/// What an answer changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing that an operator should know.
    None,
    /// The CRM is left alone from now on.
    Opened,
    /// It is asked again.
    Closed,
}

/// How things stand, for the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Callers that are remembered.
    pub callers: usize,
    /// Requests that are made or wait to be made.
    pub under_way: usize,
    /// The breaker is open: for how many milliseconds no probe goes; `None` in there while one is under way.
    pub rests: Option<Option<Millis>>,
    /// What failed last, while nothing was answered since.
    pub trouble: Option<Trouble>,
}

#[derive(Debug)]
struct Entry {
    used: u64,
    known: Option<(Contact, Millis)>,
    failed: Option<Millis>,
}

#[derive(Debug)]
struct UnderWay {
    serial: u64,
    since: Millis,
    late: bool,
    probe: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Book {
    fresh: Millis,
    late: Millis,
    entries: HashMap<Arc<str>, Entry>,
    order: BTreeMap<u64, Arc<str>>,
    bytes: usize,
    under_way: HashMap<Arc<str>, UnderWay>,
    breaker: Breaker,
    trouble: Option<Trouble>,
    count: u64,
    /// A failure of a request that was begun before this tells of other settings.
    failures_from: u64,
    /// And an answer to one before this is another CRM's.
    answers_from: u64,
}

impl Book {
    /// An empty one. An answer is good for `fresh` milliseconds; a request that took `late` is late.
    #[must_use]
    pub fn new(fresh: Millis, late: Millis) -> Self {
        Self {
            fresh,
            late,
            ..Self::default()
        }
    }

    /// Takes new settings over, and the CRM's failures are forgotten with the old ones. `another` says that it is another
    /// CRM, or another account: what the one before knew is forgotten too.
    pub fn configure(&mut self, fresh: Millis, late: Millis, another: bool) {
        self.fresh = fresh;
        self.late = late;
        self.breaker = Breaker::default();
        self.trouble = None;
        self.failures_from = self.count;
        for entry in self.entries.values_mut() {
            entry.failed = None;
        }
        if another {
            self.answers_from = self.count;
            self.entries.clear();
            self.order.clear();
            self.bytes = 0;
        }
    }

    /// Somebody wants to know of a caller.
    pub fn look(&mut self, number: &str, now: Millis) -> Look {
        self.pass(now);
        self.touch(number);
        let take = |contact, how| Look {
            send: None,
            then: Then::Take(contact, how),
        };
        if let Some(contact) = self.fresh(number, now) {
            return take(contact, How::Fresh);
        }
        let permission = self.breaker.permission(now);
        if let Some(under_way) = self.under_way.get(number) {
            let late = now.saturating_sub(under_way.since) >= self.late;
            if permission == Permission::All && !late {
                return Look {
                    send: None,
                    then: Then::Wait(under_way.serial),
                };
            }
            let why = if permission == Permission::All {
                How::Late
            } else {
                How::Failed
            };
            let (contact, how) = self.otherwise(number, why);
            return take(contact, how);
        }
        let rests = self.entries.get(number).and_then(|entry| entry.failed);
        let rests = rests.is_some_and(|failed| now.saturating_sub(failed) < FAILED);
        if permission == Permission::Nothing || rests || self.under_way.len() >= MOST_UNDER_WAY {
            let (contact, how) = self.otherwise(number, How::Failed);
            return take(contact, how);
        }
        let probe = permission == Permission::Probe;
        let ticket = self.ticket(number, probe, now);
        let then = if probe {
            self.breaker.probes();
            let (contact, how) = self.otherwise(number, How::Failed);
            Then::Take(contact, how)
        } else {
            Then::Wait(ticket.serial)
        };
        Look {
            send: Some(ticket),
            then,
        }
    }

    /// What there is for somebody who does not wait any longer, or had better not: an old answer, or nothing for that
    /// reason. That the CRM did not know somebody is not worth telling once it is old.
    #[must_use]
    pub fn otherwise(&self, number: &str, why: How) -> (Contact, How) {
        let known = self.entries.get(number).and_then(|entry| entry.known.as_ref());
        match known.filter(|(contact, _)| !contact.is_unknown()) {
            Some((contact, _)) => (contact.clone(), How::Stale),
            None => (Contact::default(), why),
        }
    }

    /// Time passes: requests that take too long count as failures before they end, because somebody waited for them in vain.
    /// True when that opens the breaker.
    pub fn pass(&mut self, now: Millis) -> bool {
        let mut opened = false;
        for under_way in self.under_way.values_mut() {
            // Nobody waits for a probe; and one that is still under way must not let a second one go.
            let late = now.saturating_sub(under_way.since) >= self.late;
            if under_way.late || under_way.probe || !late {
                continue;
            }
            under_way.late = true;
            if under_way.serial >= self.failures_from {
                self.trouble = Some(Trouble::Network("no answer in time".to_owned()));
                opened |= self.breaker.failed(Severity::Perhaps, false, now);
            }
        }
        opened
    }

    /// A request has ended.
    pub fn answered(&mut self, ticket: &Ticket, outcome: &Result<Contact, Trouble>, now: Millis) -> Change {
        let is_it = |under_way: &UnderWay| under_way.serial == ticket.serial;
        if !self.under_way.get(&ticket.number).is_some_and(is_it) {
            return Change::None;
        }
        let Some(under_way) = self.under_way.remove(&ticket.number) else {
            return Change::None;
        };
        if ticket.serial < self.answers_from {
            return Change::None;
        }
        match outcome {
            Ok(contact) => {
                self.know(&ticket.number, contact.clone(), now);
                self.trouble = None;
                if self.breaker.succeeded() {
                    Change::Closed
                } else {
                    Change::None
                }
            }
            Err(_) if ticket.serial < self.failures_from => Change::None,
            Err(trouble) => {
                self.entry(&ticket.number).failed = Some(now);
                self.bound();
                let severity = match trouble.policy() {
                    // It was answered; the number was not to its liking.
                    Policy::Fail => None,
                    Policy::Stop => Some(Severity::Certain),
                    Policy::Wait(Some(wait)) => Some(Severity::Asked(millis(wait))),
                    Policy::Wait(None) | Policy::Retry => Some(Severity::Perhaps),
                };
                let Some(severity) = severity else {
                    self.trouble = None;
                    return if self.breaker.succeeded() {
                        Change::Closed
                    } else {
                        Change::None
                    };
                };
                self.trouble = Some(trouble.clone());
                // One that was late has been counted.
                let counted = under_way.late && severity == Severity::Perhaps;
                if !counted && self.breaker.failed(severity, under_way.probe, now) {
                    Change::Opened
                } else {
                    Change::None
                }
            }
        }
    }

    /// How things stand.
    #[must_use]
    pub fn standing(&self, now: Millis) -> Standing {
        let rests = self.breaker.open();
        Standing {
            callers: self
                .entries
                .values()
                .filter(|entry| entry.known.is_some())
                .count(),
            under_way: self.under_way.len(),
            rests: rests.map(|next| next.map(|next| next.saturating_sub(now))),
            trouble: self.trouble.clone(),
        }
    }

    fn fresh(&self, number: &str, now: Millis) -> Option<Contact> {
        let (contact, at) = self.entries.get(number)?.known.as_ref()?;
        let good = if contact.is_unknown() {
            self.fresh.min(UNKNOWN)
        } else {
            self.fresh
        };
        (now.saturating_sub(*at) < good).then(|| contact.clone())
    }

    fn ticket(&mut self, number: &str, probe: bool, now: Millis) -> Ticket {
        let ticket = Ticket {
            number: number.into(),
            serial: self.count,
        };
        self.count += 1;
        let under_way = UnderWay {
            serial: ticket.serial,
            since: now,
            late: false,
            probe,
        };
        self.under_way.insert(Arc::clone(&ticket.number), under_way);
        ticket
    }

    fn know(&mut self, number: &Arc<str>, contact: Contact, now: Millis) {
        let entry = self.entry(number);
        let before = entry.known.as_ref().map_or(0, |(contact, _)| contact.bytes());
        let after = contact.bytes();
        entry.known = Some((contact, now));
        entry.failed = None;
        self.bytes = self.bytes - before + after;
        self.bound();
    }

    fn entry(&mut self, number: &Arc<str>) -> &mut Entry {
        if !self.entries.contains_key(number) {
            self.bytes += number.len() + OVERHEAD;
            self.count += 1;
            self.order.insert(self.count, Arc::clone(number));
        }
        let used = self.count;
        self.entries.entry(Arc::clone(number)).or_insert(Entry {
            used,
            known: None,
            failed: None,
        })
    }

    /// It was looked at: it goes last.
    fn touch(&mut self, number: &str) {
        if let Some(entry) = self.entries.get_mut(number)
            && let Some(number) = self.order.remove(&entry.used)
        {
            self.count += 1;
            entry.used = self.count;
            self.order.insert(self.count, number);
        }
    }

    fn bound(&mut self) {
        while self.entries.len() > MOST_CALLERS || self.bytes > MOST_BYTES {
            let Some((_, number)) = self.order.pop_first() else {
                return;
            };
            if let Some(entry) = self.entries.remove(&number) {
                let known = entry.known.map_or(0, |(contact, _)| contact.bytes());
                self.bytes -= number.len() + OVERHEAD + known;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::{
        Book, Change, FAILED, Look, MOST_BYTES, MOST_CALLERS, MOST_UNDER_WAY, Then, Ticket, UNKNOWN,
    };
    use crate::core::contact::{Contact, How};
    use crate::core::gate::Millis;
    use crate::core::reply::Trouble;

    const FRESH: Millis = 600_000;
    const LATE: Millis = 300;
    const A: &str = "79101234567";

    fn book() -> Book {
        Book::new(FRESH, LATE)
    }

    fn ivan() -> Contact {
        Contact::new("Иван", "103")
    }

    fn down() -> Trouble {
        Trouble::Network("refused".to_owned())
    }

    fn asked(look: Look) -> Ticket {
        let ticket = look.send.expect("a request is to be made");
        assert_eq!(look.then, Then::Wait(ticket.serial));
        ticket
    }

    fn taken(look: Look) -> (Contact, How) {
        assert_eq!(look.send, None);
        match look.then {
            Then::Take(contact, how) => (contact, how),
            Then::Wait(_) => panic!("there is nothing to wait for"),
        }
    }

    /// Lets requests fail until the breaker is open.
    fn break_it(book: &mut Book, now: Millis) {
        for number in 0..3 {
            if let Some(ticket) = book.look(&number.to_string(), now).send {
                book.answered(&ticket, &Err(down()), now);
            }
        }
        assert!(book.standing(now).rests.is_some());
    }

    #[test]
    fn one_request_serves_everybody_and_its_answer_is_kept() {
        let mut book = book();
        let ticket = asked(book.look(A, 0));
        assert_eq!(&*ticket.number, A);
        for now in 0..50 {
            assert_eq!(
                book.look(A, now),
                Look {
                    send: None,
                    then: Then::Wait(ticket.serial)
                }
            );
        }
        assert_eq!(book.answered(&ticket, &Ok(ivan()), 50), Change::None);
        assert_eq!(taken(book.look(A, 50)), (ivan(), How::Fresh));
        assert_eq!(taken(book.look(A, 50 + FRESH - 1)), (ivan(), How::Fresh));
        let again = asked(book.look(A, 50 + FRESH));
        assert_ne!(again.serial, ticket.serial);
    }

    #[test]
    fn an_unknown_caller_and_a_failure_are_remembered_shortly() {
        let mut book = book();
        let ticket = asked(book.look(A, 0));
        book.answered(&ticket, &Ok(Contact::default()), 0);
        assert_eq!(taken(book.look(A, UNKNOWN - 1)), (Contact::default(), How::Fresh));
        let ticket = asked(book.look(A, UNKNOWN));
        book.answered(&ticket, &Err(down()), UNKNOWN);
        assert_eq!(
            taken(book.look(A, UNKNOWN + FAILED - 1)),
            (Contact::default(), How::Failed)
        );
        asked(book.look(A, UNKNOWN + FAILED));
    }

    #[test]
    fn an_old_answer_serves_while_there_is_no_new_one() {
        let mut book = book();
        let ticket = asked(book.look(A, 0));
        book.answered(&ticket, &Ok(ivan()), 0);
        let ticket = asked(book.look(A, FRESH));
        assert_eq!(book.otherwise(A, How::Late), (ivan(), How::Stale));
        assert_eq!(
            taken(book.look(A, FRESH + LATE)),
            (ivan(), How::Stale),
            "late already"
        );
        book.answered(&ticket, &Err(down()), FRESH + 2 * LATE);
        assert_eq!(taken(book.look(A, FRESH + 2 * LATE)), (ivan(), How::Stale));
        break_it(&mut book, FRESH + 10 * LATE);
        assert_eq!(taken(book.look(A, FRESH + 10 * LATE + 1)), (ivan(), How::Stale));
    }

    #[test]
    fn nobody_waits_for_a_request_that_is_late_already() {
        let mut book = book();
        let ticket = asked(book.look(A, 0));
        assert_eq!(book.look(A, LATE - 1).then, Then::Wait(ticket.serial));
        assert_eq!(taken(book.look(A, LATE)), (Contact::default(), How::Late));
        assert_eq!(book.answered(&ticket, &Ok(ivan()), 4 * LATE), Change::None);
        assert_eq!(taken(book.look(A, 4 * LATE)), (ivan(), How::Fresh));
    }

    #[test]
    fn late_requests_open_the_breaker_before_they_end() {
        let mut book = book();
        let tickets: Vec<Ticket> = ["1", "2", "3"].map(|number| asked(book.look(number, 0))).into();
        assert!(!book.pass(LATE - 1));
        assert!(book.pass(LATE));
        assert!(!book.pass(LATE), "each is counted once");
        assert_eq!(taken(book.look(A, LATE)), (Contact::default(), How::Failed));
        // And once one of them is answered after all, the CRM is asked again.
        assert_eq!(book.answered(&tickets[0], &Err(down()), 2 * LATE), Change::None);
        assert_eq!(book.answered(&tickets[1], &Ok(ivan()), 2 * LATE), Change::Closed);
        assert_eq!(book.standing(2 * LATE).trouble, None);
        asked(book.look(A, 2 * LATE));
    }

    #[test]
    fn an_open_breaker_lets_one_probe_go_and_nobody_waits_for_it() {
        let mut book = book();
        break_it(&mut book, 0);
        assert_eq!(taken(book.look(A, 1_999)), (Contact::default(), How::Failed));
        let look = book.look(A, 2_000);
        assert_eq!(look.then, Then::Take(Contact::default(), How::Failed));
        let probe = look.send.unwrap();
        for number in [A, "79160000000"] {
            assert_eq!(taken(book.look(number, 100_000)).1, How::Failed);
        }
        assert_eq!(book.standing(100_000).rests, Some(None));
        assert_eq!(book.answered(&probe, &Err(down()), 100_000), Change::None);
        assert_eq!(taken(book.look("79160000000", 103_999)).1, How::Failed);
        let probe = book.look("79160000000", 104_000).send.unwrap();
        assert_eq!(book.answered(&probe, &Ok(ivan()), 104_100), Change::Closed);
        asked(book.look(A, 110_000));
    }

    #[test]
    fn what_the_crm_says_of_the_token_opens_it_at_once_and_a_refused_number_never() {
        let mut book = book();
        for number in 0..10 {
            let ticket = asked(book.look(&number.to_string(), 0));
            let refused = Trouble::Refused {
                status: 400,
                error: String::new(),
            };
            assert_eq!(book.answered(&ticket, &Err(refused), 0), Change::None);
        }
        let ticket = asked(book.look(A, 0));
        assert_eq!(book.answered(&ticket, &Err(Trouble::Token), 0), Change::Opened);
        let standing = book.standing(500);
        assert_eq!(
            (standing.rests, standing.trouble),
            (Some(Some(1_500)), Some(Trouble::Token))
        );
        let mut book = Book::new(FRESH, LATE);
        let ticket = asked(book.look(A, 0));
        let busy = Trouble::Busy {
            status: 429,
            after: Some(Duration::from_secs(40)),
        };
        assert_eq!(book.answered(&ticket, &Err(busy), 0), Change::Opened);
        assert_eq!(book.standing(0).rests, Some(Some(40_000)));
    }

    #[test]
    fn a_reload_asks_anew_and_another_crm_knows_nothing_of_the_one_before() {
        let mut book = book();
        let ticket = asked(book.look(A, 0));
        book.answered(&ticket, &Ok(ivan()), 0);
        break_it(&mut book, 0);
        book.configure(FRESH, LATE, false);
        assert_eq!(taken(book.look(A, 0)), (ivan(), How::Fresh));
        let old = asked(book.look("1", 0));
        let other = asked(book.look("2", 0));
        book.configure(FRESH, LATE, true);
        assert_eq!(book.answered(&old, &Ok(ivan()), 0), Change::None);
        assert_eq!(book.answered(&other, &Err(Trouble::Token), 0), Change::None);
        asked(book.look(A, 0));
        asked(book.look("1", 0));
        assert_eq!(book.standing(0).callers, 0);
    }

    #[test]
    fn without_a_cache_every_question_is_asked() {
        let mut book = Book::new(0, LATE);
        for now in 0..10 {
            let ticket = asked(book.look(A, now));
            book.answered(&ticket, &Ok(ivan()), now);
        }
        assert_eq!(book.otherwise(A, How::Late), (ivan(), How::Stale));
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_is_used_stays() {
        let mut book = book();
        let keep = asked(book.look(A, 0));
        book.answered(&keep, &Ok(ivan()), 0);
        let long = Contact::new(&"Я".repeat(80), "12345678901234567890");
        for number in 0..3 * MOST_CALLERS {
            let ticket = asked(book.look(&format!("7910{number:07}"), 0));
            book.answered(&ticket, &Ok(long.clone()), 0);
            if number % 1_000 == 0 {
                assert_eq!(taken(book.look(A, 0)).1, How::Fresh, "it is used");
            }
            assert!(book.bytes <= MOST_BYTES && book.entries.len() <= MOST_CALLERS);
            assert_eq!(book.entries.len(), book.order.len());
        }
        assert_eq!(taken(book.look(A, 0)), (ivan(), How::Fresh));
        let mut small = Book::new(FRESH, LATE);
        for number in 0..2 * MOST_CALLERS {
            let ticket = asked(small.look(&format!("{number}"), 0));
            small.answered(&ticket, &Ok(Contact::default()), 0);
        }
        assert_eq!(small.standing(0).callers, MOST_CALLERS);
    }

    #[test]
    fn requests_under_way_are_bounded() {
        let mut book = book();
        for number in 0..MOST_UNDER_WAY {
            asked(book.look(&number.to_string(), 0));
        }
        assert_eq!(taken(book.look(A, 0)), (Contact::default(), How::Failed));
    }

    /// Any interleaving of questions, answers, failures, time and reloads.
    #[test]
    fn whatever_happens_a_number_has_one_request_and_every_wait_has_an_end() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut book = Book::new(random.u64(0..2_000), LATE);
            let mut now = 0;
            let mut out: BTreeMap<u64, (Ticket, Millis)> = BTreeMap::new();
            let mut probes = 0;
            for step in 0..2_000 {
                let about = || format!("seed {seed}, step {step}");
                match random.u32(0..100) {
                    0..55 => {
                        let number = format!("7910000{:04}", random.u32(0..12));
                        let was_open = book.standing(now).rests.is_some();
                        let look = book.look(&number, now);
                        let is_open = book.standing(now).rests.is_some();
                        if let Some(ticket) = look.send {
                            let clash = out.values().any(|(other, _)| other.number == ticket.number);
                            assert!(!clash, "two requests for one number: {}", about());
                            assert!(out.len() < MOST_UNDER_WAY, "{}", about());
                            if is_open {
                                probes += 1;
                                assert_eq!(book.standing(now).rests, Some(None), "{}", about());
                            }
                            out.insert(ticket.serial, (ticket, now));
                        }
                        match look.then {
                            Then::Wait(serial) => {
                                let (ticket, since) = out.get(&serial).expect("it is under way");
                                assert_eq!(*ticket.number, *number, "{}", about());
                                assert!(!was_open && !is_open, "nobody waits: {}", about());
                                assert!(
                                    now - since < LATE,
                                    "nobody waits for one that is late: {}",
                                    about()
                                );
                            }
                            Then::Take(contact, How::Late | How::Failed) => {
                                assert!(contact.is_unknown(), "{}", about());
                            }
                            Then::Take(contact, How::Stale) => assert!(!contact.is_unknown(), "{}", about()),
                            Then::Take(_, How::Fresh) => {}
                        }
                    }
                    55..80 => {
                        let serials: Vec<u64> = out.keys().copied().collect();
                        if let Some(serial) = random.choice(serials) {
                            let (ticket, _) = out.remove(&serial).unwrap();
                            let outcome = match random.u32(0..6) {
                                0 | 1 => Ok(ivan()),
                                2 => Ok(Contact::default()),
                                3 => Err(Trouble::Server(500)),
                                4 => Err(Trouble::Token),
                                _ => Err(down()),
                            };
                            book.answered(&ticket, &outcome, now);
                            book.answered(&ticket, &Ok(ivan()), now);
                        }
                    }
                    80..99 => {
                        let most = random.choice([50, 1_000, 20_000]).unwrap();
                        now += random.u64(0..most);
                    }
                    _ => book.configure(random.u64(0..2_000), LATE, random.bool()),
                }
                assert_eq!(book.standing(now).under_way, out.len(), "{}", about());
            }
            assert!(seed != 0 || probes > 0, "the breaker was never tried");
        }
    }
}
