//! What has been received, what it meant, and what is answered: the state that every connection shares.
//!
//! Invariants: requests are numbered in the order in which they are judged, and calls, violations and log lines follow
//! that same order; no key is kept in anything that can be shown; nobody waits for a disk or a peer under the lock.

use crate::clock;
use crate::fault::{About, Fault, FaultKind, Faults, Struck};
use crate::gate::Mode;
use crate::http::{Incoming, Response};
use crate::journal::Journal;
use crate::options::{Contact, Options};
use crate::pbx::Deed;
use crate::protocol::{self, Command};
use crate::sequence::{Call, Sequence, Violation};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Where the protocol lives.
pub(crate) const PATH: &str = "/tel/api";
/// Calls on the page.
const SHOWN_CALLS: usize = 60;
/// Problems and violations on the page.
const SHOWN_TROUBLE: usize = 100;
/// What was asked of the PBX, on the page.
const SHOWN_DEEDS: usize = 10;
/// Contacts on the page.
const SHOWN_CONTACTS: usize = 50;

/// One request as it was received and answered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Request {
    /// Its number, from 1.
    pub n: u64,
    /// When it had arrived in full, RFC 3339 in UTC.
    pub time: String,
    /// The same in milliseconds since the start of the sandbox.
    pub arrival_ms: f64,
    /// The connection it came on.
    pub connection: u64,
    /// Its number on that connection, from 1.
    pub request: u64,
    /// The HTTP method.
    pub method: String,
    /// The path and query.
    pub path: String,
    /// Field `cmd`.
    pub cmd: Option<String>,
    /// All fields in order, keys masked.
    pub fields: Vec<(String, String)>,
    /// The body as it came, in ASCII, keys masked.
    pub raw: String,
    /// The HTTP status of the answer; `None` where none was sent.
    pub status: Option<u16>,
    /// Whether the CRM has taken it in, so that it counts for calls and order.
    pub processed: bool,
    /// Why it was refused.
    pub problems: Vec<String>,
    /// What was tolerated.
    pub notes: Vec<String>,
    /// Which rules of order it violates.
    pub violations: Vec<Violation>,
    /// The faults that struck it.
    pub fault: Option<String>,
}

impl Request {
    /// The first value of a field, keys masked.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether it was correct, taken in and answered as the protocol says.
    pub fn accepted(&self) -> bool {
        self.processed && self.status == Some(200)
    }
}

/// What was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Requests of any kind.
    pub requests: u64,
    /// Correct and taken in.
    pub accepted: u64,
    /// Refused with 400 or 401, or for their HTTP.
    pub refused: u64,
    /// Struck by a fault.
    pub faulted: u64,
    /// Connections to `/tel/api`.
    pub connections: u64,
    /// Breaches of order.
    pub violations: u64,
    /// Correct and taken in, by cmd.
    pub by_cmd: BTreeMap<String, u64>,
}

/// A line for the list of what went wrong.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Trouble {
    n: u64,
    time_ms: u64,
    kind: &'static str,
    rule: Option<&'static str>,
    callid: Option<String>,
    text: String,
}

/// What a connection does next.
pub(crate) struct Plan {
    pub(crate) response: Response,
    pub(crate) delay: Option<Struck>,
    pub(crate) fault: Option<Struck>,
}

struct Inner {
    requests: VecDeque<Arc<Request>>,
    last_n: u64,
    revision: u64,
    sequence: Sequence,
    faults: Faults,
    counters: Counters,
    trouble: VecDeque<Trouble>,
    contacts: HashMap<String, Contact>,
    pbx_token: String,
    pbx_url: String,
    deeds: VecDeque<Deed>,
}

/// The shared state.
pub(crate) struct Exchange {
    inner: Mutex<Inner>,
    changed: Condvar,
    pub(crate) journal: Option<Journal>,
    token: String,
    unknown_contact: String,
    keep: usize,
    started: Instant,
    stopping: AtomicBool,
    /// Whoever sleeps in a fault sleeps here.
    bed: (Mutex<()>, Condvar),
}

/// Everything the page shows.
#[derive(Serialize)]
pub(crate) struct View<'a> {
    now_ms: u64,
    url: &'a str,
    mode: &'static str,
    counters: &'a Counters,
    open_popups: usize,
    calls_known: usize,
    calls: Vec<Card<'a>>,
    pbx_url: &'a str,
    deeds: Vec<&'a Deed>,
    contacts: Vec<&'a Contact>,
    faults: Vec<FaultLine<'a>>,
    trouble: Vec<&'a Trouble>,
    allowed: Vec<&'static str>,
    log_error: Option<String>,
    revision: u64,
}

#[derive(Serialize)]
struct Card<'a> {
    #[serde(flatten)]
    call: &'a Call,
    contact_name: Option<&'a str>,
}

#[derive(Serialize)]
struct FaultLine<'a> {
    id: u64,
    kind: &'static str,
    spec: &'a Fault,
    hits: u64,
}

impl Exchange {
    pub(crate) fn new(options: &Options, journal: Option<Journal>) -> Self {
        let mut sequence = Sequence::new(options.keep);
        for &rule in &options.allow {
            sequence.allow(rule, true);
        }
        let mut faults = Faults::default();
        for fault in &options.faults {
            faults.set(fault.clone(), Instant::now());
        }
        let inner = Inner {
            requests: VecDeque::new(),
            last_n: 0,
            revision: 0,
            sequence,
            faults,
            counters: Counters::default(),
            trouble: VecDeque::new(),
            contacts: options
                .contacts
                .iter()
                .map(|contact| (digits(&contact.number), contact.clone()))
                .collect(),
            pbx_token: options.pbx_token.clone(),
            pbx_url: options.pbx_url.clone(),
            deeds: VecDeque::new(),
        };
        Self {
            inner: Mutex::new(inner),
            changed: Condvar::new(),
            journal,
            token: options.token.clone(),
            unknown_contact: options.unknown_contact.clone(),
            keep: options.keep.max(1),
            started: Instant::now(),
            stopping: AtomicBool::new(false),
            bed: (Mutex::new(()), Condvar::new()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touch(&self, mut inner: MutexGuard<'_, Inner>) {
        inner.revision += 1;
        drop(inner);
        self.changed.notify_all();
    }

    /// Judges a request: what it means, what is wrong with it, which faults strike it.
    pub(crate) fn receive(&self, connection: u64, request: u64, incoming: &Incoming) -> Plan {
        let (now_ms, arrival) = (clock::epoch_ms(), self.started.elapsed());
        let pbx_token = self.lock().pbx_token.clone();
        let secrets = [self.token.as_str(), pbx_token.as_str()];
        let (fields, raw, mut notes, outcome) = if incoming.body.is_empty() && incoming.method != "POST" {
            (Vec::new(), String::new(), Vec::new(), None)
        } else {
            let reading = protocol::read(&incoming.body, &self.token, &secrets[1..]);
            (
                reading.fields,
                reading.raw_body,
                reading.notes,
                Some(reading.outcome),
            )
        };
        let (answer, problems) = match (transport_problem(incoming), outcome) {
            (Some((status, problem)), _) => (Err(status), vec![problem]),
            (None, Some(Ok(command))) => (Ok(command), Vec::new()),
            (None, Some(Err(refusal))) => (Err(refusal.http_status()), refusal.into_reasons()),
            (None, None) => (Err(400), vec!["the request has no body".to_owned()]),
        };
        if incoming.path() == "/tel/api/" {
            notes.push("the path ends with a slash, which the official address does not".to_owned());
        }
        let field = |name: &str| {
            fields
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.as_str())
        };
        let about = About {
            cmd: field("cmd"),
            event: field("event"),
            callid: field("callid"),
            ext: field("ext"),
        };

        let mut inner = self.lock();
        let now = Instant::now();
        inner.faults.expire(now);
        let (delay, fault) = inner.faults.strike(&about);
        let processed = answer.is_ok()
            && match (&fault, &delay) {
                (Some(fault), _) => fault.processed.unwrap_or(false),
                (None, Some(delay)) => delay.processed.unwrap_or(true),
                (None, None) => true,
            };
        inner.last_n += 1;
        let n = inner.last_n;
        let violations = match &answer {
            Ok(command) if processed => inner.sequence.apply(n, now_ms, command),
            _ => Vec::new(),
        };
        let response = match &answer {
            Ok(command) => inner.respond(command, &self.unknown_contact),
            Err(401) => Response::error(401, "Invalid token"),
            Err(405) => Response::error(405, "Method not allowed").with("Allow", "POST"),
            Err(404) => Response::error(404, "Not found"),
            Err(status) => Response::error(*status, "Invalid parameters"),
        };
        let status = match fault.as_ref().map(|fault| &fault.kind) {
            None | Some(FaultKind::SlowBody(_) | FaultKind::HugeHeader(_)) => Some(response.status),
            Some(FaultKind::LongLength | FaultKind::ShortLength | FaultKind::Delay(_)) => {
                Some(response.status)
            }
            Some(FaultKind::Html | FaultKind::EndlessBody | FaultKind::CutBody) => Some(200),
            Some(FaultKind::Status(code, _)) => Some(*code),
            Some(
                FaultKind::Refuse
                | FaultKind::BlackHole
                | FaultKind::Hang
                | FaultKind::Cut
                | FaultKind::Reset
                | FaultKind::CutHeader,
            ) => None,
        };
        let fault_text = match (&delay, &fault) {
            (None, None) => None,
            (Some(one), None) | (None, Some(one)) => Some(one.text.clone()),
            (Some(delay), Some(fault)) => Some(format!("{} + {}", delay.text, fault.text)),
        };
        let cmd = about.cmd.map(str::to_owned);
        let entry = Request {
            n,
            time: clock::rfc3339(now_ms),
            arrival_ms: milliseconds(arrival),
            connection,
            request,
            method: incoming.method.clone(),
            path: protocol::mask(&incoming.target, &secrets),
            cmd,
            fields,
            raw,
            status,
            processed,
            problems,
            notes,
            violations,
            fault: fault_text,
        };
        self.keep(inner, entry, now_ms);
        Plan {
            response,
            delay,
            fault,
        }
    }

    /// Notes down what came but is no HTTP request.
    pub(crate) fn receive_nonsense(&self, connection: u64, request: u64, status: u16, reason: String) {
        let now_ms = clock::epoch_ms();
        let arrival = self.started.elapsed();
        let mut inner = self.lock();
        inner.last_n += 1;
        let entry = Request {
            n: inner.last_n,
            time: clock::rfc3339(now_ms),
            arrival_ms: milliseconds(arrival),
            connection,
            request,
            method: String::new(),
            path: String::new(),
            cmd: None,
            fields: Vec::new(),
            raw: String::new(),
            status: Some(status),
            processed: false,
            problems: vec![reason],
            notes: Vec::new(),
            violations: Vec::new(),
            fault: None,
        };
        self.keep(inner, entry, now_ms);
    }

    fn keep(&self, mut inner: MutexGuard<'_, Inner>, request: Request, now_ms: u64) {
        let counters = &mut inner.counters;
        counters.requests += 1;
        counters.violations += request.violations.len() as u64;
        counters.faulted += u64::from(request.fault.is_some());
        if request.processed {
            counters.accepted += 1;
            if let Some(cmd) = &request.cmd {
                match counters.by_cmd.get_mut(cmd) {
                    Some(count) => *count += 1,
                    None => {
                        counters.by_cmd.insert(cmd.clone(), 1);
                    }
                }
            }
        }
        counters.refused += u64::from(!request.problems.is_empty());
        let problems = request.problems.iter().map(|text| ("problem", text));
        let notes = request.notes.iter().map(|text| ("note", text));
        for (kind, text) in problems.chain(notes) {
            let callid = request.field("callid").map(str::to_owned);
            let trouble = Trouble {
                n: request.n,
                time_ms: now_ms,
                kind,
                rule: None,
                callid,
                text: text.clone(),
            };
            inner.trouble.push_back(trouble);
        }
        for violation in &request.violations {
            inner.trouble.push_back(Trouble {
                n: request.n,
                time_ms: now_ms,
                kind: "violation",
                rule: Some(violation.rule.name()),
                callid: Some(violation.callid.clone()),
                text: violation.text.clone(),
            });
        }
        while inner.trouble.len() > SHOWN_TROUBLE {
            inner.trouble.pop_front();
        }
        if let Some(journal) = &self.journal {
            match serde_json::to_vec(&request) {
                Ok(line) => journal.append(&line),
                Err(error) => eprintln!("planfix-sandbox: request {} has no log line: {error}", request.n),
            }
        }
        inner.requests.push_back(Arc::new(request));
        while inner.requests.len() > self.keep {
            inner.requests.pop_front();
        }
        self.touch(inner);
    }

    pub(crate) fn connected(&self) {
        self.lock().counters.connections += 1;
    }

    pub(crate) fn requests_since(&self, n: u64, limit: usize) -> Vec<Arc<Request>> {
        let inner = self.lock();
        let from = inner.requests.partition_point(|request| request.n <= n);
        inner.requests.range(from..).take(limit).cloned().collect()
    }

    /// Waits until `predicate` holds for the requests kept, looking after each change but at most every 5 ms.
    pub(crate) fn wait_for(
        &self,
        predicate: &mut dyn FnMut(&[Arc<Request>]) -> bool,
        timeout: Duration,
    ) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            let (mut snapshot, revision) = {
                let inner = self.lock();
                (inner.requests.clone(), inner.revision)
            };
            if predicate(snapshot.make_contiguous()) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stopping() {
                return false;
            }
            self.wait_change(revision, left);
            std::thread::sleep(Duration::from_millis(5).min(left));
        }
    }

    /// Waits until the state is no longer at this revision, or the time is over.
    pub(crate) fn wait_change(&self, revision: u64, timeout: Duration) {
        let same = |inner: &mut Inner| inner.revision == revision && !self.stopping();
        drop(self.changed.wait_timeout_while(self.lock(), timeout, same));
    }

    pub(crate) fn violations(&self) -> (Vec<Violation>, u64) {
        let inner = self.lock();
        (inner.sequence.violations().to_vec(), inner.sequence.total())
    }

    /// Reads calls and their order.
    pub(crate) fn with_sequence<T>(&self, read: impl FnOnce(&Sequence) -> T) -> T {
        read(&self.lock().sequence)
    }

    /// Changes what is checked.
    pub(crate) fn change_sequence(&self, change: impl FnOnce(&mut Sequence)) {
        let mut inner = self.lock();
        change(&mut inner.sequence);
        self.touch(inner);
    }

    pub(crate) fn counters(&self) -> Counters {
        self.lock().counters.clone()
    }

    pub(crate) fn change_faults<T>(&self, change: impl FnOnce(&mut Faults) -> T) -> T {
        let mut inner = self.lock();
        let result = change(&mut inner.faults);
        self.touch(inner);
        self.rouse();
        result
    }

    /// How the listener shall behave now, and when to look again.
    pub(crate) fn mode(&self) -> (Mode, Option<Instant>) {
        let mut inner = self.lock();
        let expired = inner.faults.expire(Instant::now());
        let mode = match inner.faults.whole().map(|active| &active.fault.kind) {
            Some(FaultKind::Refuse) => Mode::Refuse,
            Some(FaultKind::BlackHole) => Mode::BlackHole,
            _ => Mode::Open,
        };
        let expiry = inner.faults.next_expiry();
        if expired > 0 {
            self.touch(inner);
        }
        (mode, expiry)
    }

    pub(crate) fn set_ping(&self, token: Option<String>, url: Option<String>) {
        let mut inner = self.lock();
        if let Some(token) = token {
            inner.pbx_token = token;
        }
        if let Some(url) = url {
            inner.pbx_url = url;
        }
        self.touch(inner);
    }

    /// Where the PBX is, and its key.
    pub(crate) fn pbx(&self) -> (String, String) {
        let inner = self.lock();
        (inner.pbx_url.clone(), inner.pbx_token.clone())
    }

    /// The key that requests carry.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Notes what was asked of the PBX.
    pub(crate) fn did(&self, deed: Deed) {
        let mut inner = self.lock();
        inner.deeds.push_back(deed);
        while inner.deeds.len() > SHOWN_DEEDS {
            inner.deeds.pop_front();
        }
        self.touch(inner);
    }

    pub(crate) fn add_contact(&self, contact: Contact) {
        let mut inner = self.lock();
        inner.contacts.insert(digits(&contact.number), contact);
        self.touch(inner);
    }

    /// Forgets requests, calls, violations, faults and counters. Settings stay, and numbers go on.
    pub(crate) fn reset(&self) {
        let mut inner = self.lock();
        inner.requests.clear();
        inner.sequence.clear();
        inner.faults.clear(|_| true);
        inner.trouble.clear();
        inner.deeds.clear();
        inner.counters = Counters::default();
        self.touch(inner);
        self.rouse();
    }

    /// The state for the page, as JSON, and its revision.
    pub(crate) fn view(&self, url: &str) -> (Vec<u8>, u64) {
        let (mode, _) = self.mode();
        let log_error = self.journal.as_ref().and_then(Journal::error);
        let inner = self.lock();
        let card = |call| Card {
            call,
            contact_name: inner.contact(&call.phone).map(|contact| contact.name.as_str()),
        };
        let mut contacts: Vec<&Contact> = inner.contacts.values().collect();
        contacts.sort_by(|one, other| (&one.name, &one.number).cmp(&(&other.name, &other.number)));
        contacts.truncate(SHOWN_CONTACTS);
        let view = View {
            now_ms: clock::epoch_ms(),
            url,
            mode: mode.name(),
            counters: &inner.counters,
            open_popups: inner.sequence.open(),
            calls_known: inner.sequence.len(),
            calls: inner.sequence.latest().take(SHOWN_CALLS).map(card).collect(),
            pbx_url: &inner.pbx_url,
            deeds: inner.deeds.iter().rev().collect(),
            contacts,
            faults: inner
                .faults
                .active()
                .iter()
                .map(|active| FaultLine {
                    id: active.id,
                    kind: active.fault.kind.name(),
                    spec: &active.fault,
                    hits: active.hits,
                })
                .collect(),
            trouble: inner.trouble.iter().rev().collect(),
            allowed: inner.sequence.allowed().iter().map(|rule| rule.name()).collect(),
            log_error,
            revision: inner.revision,
        };
        (serde_json::to_vec(&view).unwrap_or_default(), inner.revision)
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        // Taking each lock once means that whoever has seen `false` is asleep by now and hears the call.
        drop(self.lock());
        self.changed.notify_all();
        self.rouse();
    }

    fn rouse(&self) {
        drop(self.bed.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.bed.1.notify_all();
    }

    /// Sleeps inside a fault: until the time is over, the fault is off, or everything stops.
    pub(crate) fn rest(&self, struck: &Struck, time: Duration) {
        let deadline = Instant::now() + time;
        let mut guard = self.bed.0.lock().unwrap_or_else(PoisonError::into_inner);
        while struck.holds() && !self.stopping() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            // A fault that runs out by itself tells nobody, hence the ceiling.
            let nap = left.min(Duration::from_millis(100));
            guard = self
                .bed
                .1
                .wait_timeout(guard, nap)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Inner {
    fn contact(&self, phone: &str) -> Option<&Contact> {
        if self.contacts.is_empty() {
            None
        } else {
            self.contacts.get(&digits(phone))
        }
    }

    fn respond(&self, command: &Command, unknown: &str) -> Response {
        match command {
            Command::Event(_) | Command::Record(_) => Response::empty(200),
            Command::Ping => Response::json(
                200,
                &serde_json::json!({ "pbxToken": self.pbx_token, "pbxUrl": self.pbx_url }),
            ),
            Command::Contact { phone, .. } => match self.contact(phone) {
                None => Response::new(200, "application/json; charset=utf-8", unknown),
                Some(contact) => {
                    let mut reply = serde_json::json!({ "contact_name": contact.name });
                    if let Some(ext) = &contact.ext {
                        // The official example shows a bare number; one that begins with 0 can only be a text.
                        reply["responsible"] = match ext.parse::<u64>() {
                            Ok(number) if number.to_string() == *ext => number.into(),
                            _ => ext.as_str().into(),
                        };
                    }
                    Response::json(200, &reply)
                }
            },
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

fn digits(number: &str) -> String {
    number.chars().filter(char::is_ascii_digit).collect()
}

/// What is wrong before the body is looked at, and the HTTP status for it.
fn transport_problem(incoming: &Incoming) -> Option<(u16, String)> {
    if incoming.path() != PATH && incoming.path() != "/tel/api/" {
        return Some((404, format!("the path is not {PATH}")));
    }
    if incoming.method != "POST" {
        return Some((405, format!("the method is {}, not POST", incoming.method)));
    }
    if incoming.query().is_some() {
        return Some((
            400,
            "the address has a query; all fields go into the body".to_owned(),
        ));
    }
    let content_type = incoming.header("content-type").unwrap_or_default();
    let mut parts = content_type.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default();
    if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        let found = if kind.is_empty() { "missing" } else { "another one" };
        return Some((
            400,
            format!("the content type must be application/x-www-form-urlencoded, and is {found}"),
        ));
    }
    let charset = parts.find_map(|part| {
        part.split_once('=')
            .filter(|(name, _)| name.eq_ignore_ascii_case("charset"))
    });
    match charset {
        Some((_, charset)) if !charset.trim_matches('"').eq_ignore_ascii_case("utf-8") => Some((
            400,
            "the content type names a charset other than UTF-8".to_owned(),
        )),
        _ => None,
    }
}
