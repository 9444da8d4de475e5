//! The CRM is asked about callers, on threads of its own.
//!
//! Invariants:
//! - [`Contacts::ask`] returns within the time it was given, whatever the name servers, the network, TLS or the CRM do:
//!   it waits on a condition variable and does nothing else;
//! - the lock is held for looks into a table, never across a request, a log line or a call of a stranger's;
//! - there are at most [`THREADS`] threads, started when they are needed; a request ends after a few seconds at most, so
//!   they come back;
//! - after [`Contacts::close`] nobody waits, and no request is begun or goes on.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::Delivery;
use super::client::Client;
use super::clients::Clients;
use super::clock::Clock;
use super::threads::{Thread, Threads};
use crate::core::contact::book::{Book, Change, Look, Standing, Then, Ticket};
use crate::core::contact::{Contact, How};
use crate::core::gate::millis;
use crate::core::reply::Trouble;
use crate::core::settings::{self, Settings};

/// Requests at the same time.
pub const THREADS: usize = 8;
/// For the name, the connection and TLS, and for each part of the answer: nobody waits for it as long, but the next call
/// may profit.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longer ones are nobody's: E.164 has 15 digits.
const LONGEST_NUMBER: usize = 40;

/// Who is told of every answer that comes, on the thread that got it.
pub type Tell = Box<dyn Fn(&str, &Contact) + Send + Sync>;

/// What became of the questions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Questions of the dialplan and of operators.
    pub asked: u64,
    /// Answered from the cache.
    pub cached: u64,
    /// Answered by the CRM while they waited.
    pub answered: u64,
    /// Answered with something old.
    pub stale: u64,
    /// The answer did not come in time.
    pub late: u64,
    /// There was no answer to be had.
    pub failed: u64,
    /// Requests that were made.
    pub requests: u64,
}

#[derive(Debug, Default)]
struct Counters {
    asked: AtomicU64,
    cached: AtomicU64,
    answered: AtomicU64,
    stale: AtomicU64,
    late: AtomicU64,
    failed: AtomicU64,
    requests: AtomicU64,
}

/// Somebody, or several, wait for one request.
#[derive(Debug, Default)]
struct Awaited {
    /// `None` in there when it failed.
    outcome: OnceLock<Option<Contact>>,
    changed: Condvar,
}

struct Desk {
    book: Book,
    wanted: VecDeque<Ticket>,
    awaited: HashMap<u64, Arc<Awaited>>,
    idle: usize,
    threads: Vec<Box<dyn Thread>>,
    timeout: Duration,
    closed: bool,
}

struct Shared {
    desk: Mutex<Desk>,
    work: Condvar,
    clients: Clients,
    clock: Arc<dyn Clock>,
    tell: Tell,
    counters: Counters,
    /// The breaker has opened, and nobody has said so yet.
    news: AtomicBool,
}

/// The threads that ask, and what they have found out.
pub struct Contacts {
    shared: Arc<Shared>,
    threads: Arc<dyn Threads>,
    crm: Mutex<settings::Crm>,
    used: AtomicBool,
}

impl fmt::Debug for Contacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Contacts")
    }
}

impl Contacts {
    /// Ready to ask; no thread is started before there is something to ask for.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn start(
        delivery: &Delivery,
        settings: &Settings,
        threads: Arc<dyn Threads>,
        clock: Arc<dyn Clock>,
        tell: Tell,
    ) -> Result<Self, String> {
        let contact = &settings.contact;
        let desk = Desk {
            book: Book::new(millis(contact.cache), millis(contact.timeout)),
            wanted: VecDeque::new(),
            awaited: HashMap::new(),
            idle: 0,
            threads: Vec::new(),
            timeout: contact.timeout,
            closed: false,
        };
        Ok(Self {
            shared: Arc::new(Shared {
                desk: Mutex::new(desk),
                work: Condvar::new(),
                clients: Clients::new(client(delivery, settings)?),
                clock,
                tell,
                counters: Counters::default(),
                news: AtomicBool::new(false),
            }),
            threads,
            crm: Mutex::new(settings.crm.clone()),
            used: AtomicBool::new(false),
        })
    }

    /// Takes new settings over. Requests under way end with theirs.
    ///
    /// # Errors
    /// As [`Client::new`]; the old settings hold then.
    pub fn reconfigure(&self, delivery: &Delivery, settings: &Settings) -> Result<(), String> {
        self.shared.clients.replace(client(delivery, settings)?);
        let mut crm = self.crm.lock().unwrap_or_else(PoisonError::into_inner);
        // The token is the account's as much as the address is.
        let another = crm.url != settings.crm.url || crm.token != settings.crm.token;
        crm.clone_from(&settings.crm);
        let contact = &settings.contact;
        let mut desk = self.shared.desk();
        desk.timeout = contact.timeout;
        desk.book
            .configure(millis(contact.cache), millis(contact.timeout), another);
        Ok(())
    }

    /// What the CRM knows of the caller with this number, which is in the CRM's form. It takes `timeout_ms` at most, and
    /// no time at all when the CRM is known to be away.
    #[must_use]
    pub fn ask(&self, number: &str) -> (Contact, How) {
        let begun = Instant::now();
        let counters = &self.shared.counters;
        counters.asked.fetch_add(1, Ordering::Relaxed);
        let mut waited = false;
        let (contact, how) = self.find(number, begun, &mut waited);
        let counter = match how {
            How::Fresh if waited => &counters.answered,
            How::Fresh => &counters.cached,
            How::Stale => &counters.stale,
            How::Late => &counters.late,
            How::Failed => &counters.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.shared.tell_news();
        (contact, how)
    }

    fn find(&self, number: &str, begun: Instant, waited: &mut bool) -> (Contact, How) {
        if number.len() > LONGEST_NUMBER {
            return (Contact::default(), How::Fresh);
        }
        let mut desk = self.shared.desk();
        let until = begun + desk.timeout;
        let look = self.shared.look(&mut desk, number);
        let awaited = match &look.then {
            Then::Wait(serial) => Some(Arc::clone(desk.awaited.entry(*serial).or_default())),
            Then::Take(..) => None,
        };
        if let Some(ticket) = look.send {
            self.send(&mut desk, ticket);
        }
        let awaited = match (look.then, awaited) {
            (Then::Wait(_), Some(awaited)) => awaited,
            (Then::Take(contact, how), _) => return (contact, how),
            (Then::Wait(_), None) => return desk.book.otherwise(number, How::Failed),
        };
        *waited = true;
        loop {
            match awaited.outcome.get() {
                Some(Some(contact)) => return (contact.clone(), How::Fresh),
                Some(None) => return desk.book.otherwise(number, How::Failed),
                None if desk.closed => return desk.book.otherwise(number, How::Failed),
                None => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.shared.pass(&mut desk);
                return desk.book.otherwise(number, How::Late);
            }
            desk = awaited
                .changed
                .wait_timeout(desk, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// What is known of the caller already; where that is nothing, or old, the CRM is asked, and nobody waits for it.
    pub fn prefetch(&self, number: &str) -> Option<Contact> {
        if number.len() > LONGEST_NUMBER {
            return None;
        }
        let mut desk = self.shared.desk();
        let look = self.shared.look(&mut desk, number);
        if let Some(ticket) = look.send {
            self.send(&mut desk, ticket);
        }
        let (contact, how) = match look.then {
            Then::Take(contact, how) => (contact, how),
            Then::Wait(_) => desk.book.otherwise(number, How::Late),
        };
        drop(desk);
        self.shared.tell_news();
        matches!(how, How::Fresh | How::Stale).then_some(contact)
    }

    /// The dialplan asks: from now on it is worth asking before it does.
    pub fn note_use(&self) {
        self.used.store(true, Ordering::Relaxed);
    }

    /// Whether the dialplan has asked since the start.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    /// How things stand.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.shared.desk().book.standing(self.shared.clock.steady())
    }

    /// What became of the questions.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.shared.counters;
        Counts {
            asked: of(&counters.asked),
            cached: of(&counters.cached),
            answered: of(&counters.answered),
            stale: of(&counters.stale),
            late: of(&counters.late),
            failed: of(&counters.failed),
            requests: of(&counters.requests),
        }
    }

    /// Calls off everybody who waits and every request. It does not wait.
    pub fn close(&self) {
        let awaited: Vec<Arc<Awaited>> = {
            let mut desk = self.shared.desk();
            desk.closed = true;
            desk.wanted.clear();
            desk.awaited.drain().map(|(_, awaited)| awaited).collect()
        };
        for awaited in awaited {
            awaited.changed.notify_all();
        }
        self.shared.work.notify_all();
        self.shared.clients.shutdown();
    }

    /// Waits for the threads, after [`Contacts::close`]. False when one is still held by a name that is looked up; it
    /// touches nothing of Asterisk's and ends by itself.
    pub fn join(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        let threads = std::mem::take(&mut self.shared.desk().threads);
        let mut ended = true;
        for thread in threads {
            ended &= thread.join(until.saturating_duration_since(Instant::now()));
        }
        ended
    }

    /// Hands a request to a thread, and starts one if all are busy.
    fn send(&self, desk: &mut Desk, ticket: Ticket) {
        if desk.closed {
            self.shared.settle(desk, &ticket, &Err(stopping()));
            return;
        }
        desk.wanted.push_back(ticket);
        self.shared.work.notify_one();
        if desk.wanted.len() <= desk.idle || desk.threads.len() >= THREADS {
            return;
        }
        let shared = Arc::clone(&self.shared);
        match self
            .threads
            .spawn("planfix/contact", Box::new(move || shared.work_off()))
        {
            Ok(thread) => desk.threads.push(thread),
            Err(error) if desk.threads.is_empty() => {
                let trouble = Trouble::Network(format!("no thread could be started: {error}"));
                while let Some(ticket) = desk.wanted.pop_front() {
                    self.shared.settle(desk, &ticket, &Err(trouble.clone()));
                }
            }
            // Those that run will come to it.
            Err(_) => {}
        }
    }
}

impl Drop for Contacts {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread's life.
    fn work_off(&self) {
        let mut desk = self.desk();
        while !desk.closed {
            let Some(ticket) = desk.wanted.pop_front() else {
                desk.idle += 1;
                desk = self.work.wait(desk).unwrap_or_else(PoisonError::into_inner);
                desk.idle -= 1;
                continue;
            };
            drop(desk);
            let outcome = catch_unwind(AssertUnwindSafe(|| self.request(&ticket.number)))
                .unwrap_or_else(|_| Err(Trouble::Foreign("the request panicked".to_owned())));
            desk = self.desk();
            let change = self.settle(&mut desk, &ticket, &outcome);
            let closed = desk.closed;
            drop(desk);
            if !closed {
                self.tell_news();
                if change == Change::Closed {
                    log::info!("Planfix answers, and is asked about callers again");
                }
                if let Ok(contact) = &outcome {
                    // A thread that a listener's bug had ended would be missed.
                    let _ = catch_unwind(AssertUnwindSafe(|| (self.tell)(&ticket.number, contact)));
                }
            }
            desk = self.desk();
        }
    }

    fn request(&self, number: &str) -> Result<Contact, Trouble> {
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        let phone: String = form_urlencoded::byte_serialize(number.as_bytes()).collect();
        // No callid, which the protocol lets us leave out: one answer serves several calls.
        let reply = self
            .clients
            .current()
            .send(&format!("cmd=contact&phone={phone}"))?;
        Contact::read(&reply, SystemTime::now())
    }

    fn settle(&self, desk: &mut Desk, ticket: &Ticket, outcome: &Result<Contact, Trouble>) -> Change {
        let change = desk.book.answered(ticket, outcome, self.clock.steady());
        if change == Change::Opened {
            self.news.store(true, Ordering::Relaxed);
        }
        if let Some(awaited) = desk.awaited.remove(&ticket.serial) {
            // Nobody else has this ticket, so nobody has set it before.
            let _ = awaited.outcome.set(outcome.as_ref().ok().cloned());
            awaited.changed.notify_all();
        }
        change
    }

    fn look(&self, desk: &mut Desk, number: &str) -> Look {
        self.pass(desk);
        desk.book.look(number, self.clock.steady())
    }

    /// Lets time pass in the book, so that what takes too long is noticed.
    fn pass(&self, desk: &mut Desk) {
        if desk.book.pass(self.clock.steady()) {
            self.news.store(true, Ordering::Relaxed);
        }
    }

    /// Logs that the breaker has opened, once and without the lock.
    fn tell_news(&self) {
        if !self.news.swap(false, Ordering::Relaxed) {
            return;
        }
        let standing = self.desk().book.standing(self.clock.steady());
        if let Some(trouble) = standing.trouble {
            log::warn!(
                "Planfix is not asked about callers for now, and PLANFIX_CONTACT tells what is known from before: {trouble}; {}",
                trouble.cure()
            );
        }
    }
}

fn stopping() -> Trouble {
    Trouble::Network("the module is being unloaded".to_owned())
}

/// A client with timeouts that fit a caller who waits.
fn client(delivery: &Delivery, settings: &Settings) -> Result<Client, String> {
    let patience = PATIENCE.max(settings.contact.timeout);
    let config = settings::Delivery {
        workers: THREADS,
        connect_timeout: patience.min(settings.delivery.connect_timeout),
        response_timeout: patience.min(settings.delivery.response_timeout),
        ..settings.delivery.clone()
    };
    Client::new(&settings.crm, &config, Arc::clone(&delivery.names))
}
