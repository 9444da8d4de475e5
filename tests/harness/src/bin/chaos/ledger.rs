//! Events that somebody tells the module one by one, and what became of each: the module has said QUEUED to it, so it is
//! the module's.
//!
//! Invariant: the judgement is pure; an event counts as accepted only when the word QUEUED has come back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Ami, event};

use crate::journal::{Request, What};
use crate::verdict::Excuses;

/// Between two events.
const PACE: Duration = Duration::from_millis(50);
/// How many one call has.
const EVENTS: usize = 5;
/// What stands before the number in their callids.
const CALLS: &str = "ledger.";
const LINK: &str = "https://pbx.example.com/ledger/";

/// An event that was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    accepted: Option<Instant>,
    /// Accepted long enough before a kill, or no kill came.
    due: bool,
}

/// Everything that was told.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: Mutex<Vec<Entry>>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// Accepted, and not in the last moment before a kill.
    pub(crate) due: usize,
    /// Told and not accepted: the module was away, or said no.
    pub(crate) refused: usize,
    /// What is wrong.
    pub(crate) breaches: Vec<String>,
}

/// Whether a request of the CRM's log is one of these.
pub(crate) fn is_ours(request: &Request) -> bool {
    request.callid.starts_with(CALLS)
}

impl Ledger {
    /// Tells events until `over`, at the manager interface at that address.
    pub(crate) fn write(&self, manager: SocketAddr, over: &AtomicBool) {
        let mut ami = None;
        while !over.load(Ordering::Acquire) {
            if ami.is_none() {
                ami = Ami::connect(manager).ok();
            }
            if let Some(session) = &mut ami {
                let number = self.lock().len();
                let call = number / EVENTS;
                let arguments = format!("RECORD,,,{CALLS}{call},{LINK}{number}.wav");
                let answer = event(session, &arguments);
                if answer.is_err() {
                    ami = None;
                }
                let accepted = answer.is_ok_and(|answer| answer == "QUEUED").then(Instant::now);
                self.lock().push(Entry {
                    accepted,
                    due: accepted.is_some(),
                });
            }
            thread::sleep(PACE);
        }
    }

    /// After a kill at that moment: what was accepted in the last `margin` may be lost.
    pub(crate) fn killed(&self, moment: Instant, margin: Duration) {
        for entry in self.lock().iter_mut() {
            // Earlier ones stay as they are: they are older than any margin.
            entry.due &= entry.accepted.is_some_and(|accepted| accepted + margin < moment);
        }
    }

    /// What became of the events.
    pub(crate) fn judge(&self, requests: &[Request], excuses: &Excuses) -> Account {
        let entries = self.lock().clone();
        account(&entries, requests, excuses)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn account(entries: &[Entry], requests: &[Request], excuses: &Excuses) -> Account {
    let mut account = Account {
        due: entries.iter().filter(|entry| entry.due).count(),
        refused: entries.iter().filter(|entry| entry.accepted.is_none()).count(),
        breaches: Vec::new(),
    };
    let mut first: BTreeMap<usize, &Request> = BTreeMap::new();
    let mut furthest: BTreeMap<&str, usize> = BTreeMap::new();
    for request in requests.iter().filter(|request| is_ours(request)) {
        let Some(number) = number(request) else {
            account.breaches.push(format!("nobody told of {request:?}"));
            continue;
        };
        if let Some(earlier) = first.get(&number) {
            if !excuses.cover(earlier, request) {
                account
                    .breaches
                    .push(format!("event {number} came again without a reason"));
            }
            continue;
        }
        first.insert(number, request);
        let furthest = furthest.entry(&request.callid).or_insert(number);
        if number < *furthest {
            account
                .breaches
                .push(format!("event {number} came after {furthest} of its call"));
        }
        *furthest = number.max(*furthest);
    }
    let came: BTreeSet<usize> = first.into_keys().collect();
    for (number, entry) in entries.iter().enumerate() {
        if entry.due && !came.contains(&number) {
            account
                .breaches
                .push(format!("event {number} was accepted and is lost"));
        }
    }
    account
}

fn number(request: &Request) -> Option<usize> {
    let number = request
        .link
        .strip_prefix(LINK)?
        .strip_suffix(".wav")?
        .parse()
        .ok()?;
    (request.what == What::Record && request.callid == format!("{CALLS}{}", number / EVENTS))
        .then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(numbers: &[usize]) -> Vec<Request> {
        numbers
            .iter()
            .enumerate()
            .map(|(place, number)| Request {
                place,
                what: What::Record,
                callid: format!("{CALLS}{}", number / EVENTS),
                ext: String::new(),
                phone: String::new(),
                status: String::new(),
                is_recorded: false,
                link: format!("{LINK}{number}.wav"),
                text: number.to_string(),
                faulty: false,
            })
            .collect()
    }

    fn accepted(count: usize) -> Vec<Entry> {
        vec![
            Entry {
                accepted: Some(Instant::now()),
                due: true
            };
            count
        ]
    }

    fn breaches(entries: &[Entry], numbers: &[usize], excuses: &Excuses) -> usize {
        account(entries, &told(numbers), excuses).breaches.len()
    }

    #[test]
    fn each_arrives_once_and_in_order_within_its_call() {
        let none = Excuses::default();
        assert_eq!(breaches(&accepted(7), &[0, 1, 5, 2, 3, 6, 4], &none), 0);
        assert_eq!(breaches(&accepted(7), &[0, 1, 5, 2, 3, 6], &none), 1, "4 is lost");
        assert_eq!(
            breaches(&accepted(7), &[0, 1, 5, 3, 2, 6, 4], &none),
            1,
            "2 after 3"
        );
        assert_eq!(
            breaches(&accepted(7), &[0, 1, 5, 2, 3, 6, 4, 4], &none),
            1,
            "4 twice"
        );
        assert_eq!(
            breaches(
                &accepted(7),
                &[0, 1, 5, 2, 3, 6, 4, 4],
                &Excuses {
                    restarts: vec![7],
                    ..none
                }
            ),
            0,
            "4 twice, a restart in between"
        );
    }

    #[test]
    fn what_was_accepted_in_the_last_moment_before_a_kill_may_be_lost() {
        let ledger = Ledger::default();
        ledger.lock().extend(accepted(2));
        let margin = Duration::from_secs(10);
        ledger.killed(Instant::now() + 2 * margin, margin);
        assert_eq!(ledger.judge(&[], &Excuses::default()).breaches.len(), 2);
        ledger.killed(Instant::now(), margin);
        assert_eq!(ledger.judge(&[], &Excuses::default()), Account::default());
    }

    #[test]
    fn what_was_not_accepted_may_not_arrive_in_vain() {
        let mut entries = accepted(2);
        entries[1] = Entry {
            accepted: None,
            due: false,
        };
        let account = account(&entries, &told(&[0]), &Excuses::default());
        assert_eq!((account.due, account.refused, account.breaches.len()), (1, 1, 0));
    }
}
