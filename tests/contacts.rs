//! What the CRM says of callers: real threads and a real HTTP server that misbehaves on demand. No Asterisk.
//!
//! Bounds in time are wide, because the machine may be loaded: the exact figures come from the benchmark.

use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use planfix_sandbox::{Contact as Known, Fault, FaultKind, Options, Sandbox};
use res_planfix::core::contact::{Contact, How};
use res_planfix::core::secret::Secret;
use res_planfix::core::settings::{Entry, Settings};
use res_planfix::delivery::clock::ShiftedClock;
use res_planfix::delivery::contacts::{Contacts, THREADS};
use res_planfix::delivery::threads::{StdThreads, Thread, Threads};
use res_planfix::delivery::{Delivery, Surroundings};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const IVAN: &str = "79101234567";
const STRANGER: &str = "79160000000";
/// For whatever takes milliseconds on a machine with nothing else to do.
const BOUND: Duration = Duration::from_secs(30);

fn ivan() -> Contact {
    Contact::new("Иван Петров", "103")
}

/// Counts the threads that were started, and those that run.
#[derive(Default)]
struct Counted {
    started: AtomicUsize,
    running: Arc<AtomicUsize>,
}

impl Threads for Counted {
    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> io::Result<Box<dyn Thread>> {
        self.started.fetch_add(1, Ordering::SeqCst);
        let running = Arc::clone(&self.running);
        running.fetch_add(1, Ordering::SeqCst);
        let body = Box::new(move || {
            body();
            running.fetch_sub(1, Ordering::SeqCst);
        });
        StdThreads.spawn(name, body)
    }
}

/// Settings with these lines of planfix.conf added.
fn settings(url: &str, lines: &[(&str, &str, &str)]) -> Settings {
    let all = [("planfix", "url", url), ("planfix", "token", TOKEN)];
    let entries: Vec<Entry> = all
        .iter()
        .chain(lines)
        .map(|(section, name, value)| Entry {
            section: (*section).to_owned(),
            name: (*name).to_owned(),
            value: (*value).to_owned(),
            file: "planfix.conf".to_owned(),
            line: 1,
        })
        .collect();
    Settings::read("planfix.conf", &entries).settings.unwrap()
}

/// Nobody waits in vain, and nothing comes late unless a test says so.
const PATIENT: (&str, &str, &str) = ("contact", "timeout_ms", "10000");
const IMPATIENT: (&str, &str, &str) = ("contact", "timeout_ms", "100");

struct Bench {
    contacts: Contacts,
    delivery: Delivery,
    clock: Arc<ShiftedClock>,
    threads: Arc<Counted>,
    told: Arc<Mutex<Vec<(String, Contact)>>>,
    #[expect(dead_code, reason = "held for its Drop")]
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(url: &str, lines: &[(&str, &str, &str)]) -> Self {
        let settings = settings(url, lines);
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ShiftedClock::default());
        let around = Surroundings {
            folder: folder.path().join("planfix"),
            threads: Arc::new(StdThreads),
            clock: Arc::clone(&clock) as Arc<_>,
        };
        let delivery = Delivery::start(&settings.crm, &settings.delivery, around).unwrap();
        let threads = Arc::new(Counted::default());
        let told = Arc::<Mutex<Vec<_>>>::default();
        let tell = Arc::clone(&told);
        let contacts = Contacts::start(
            &delivery,
            &settings,
            Arc::clone(&threads) as Arc<_>,
            Arc::clone(&clock) as Arc<_>,
            Box::new(move |number, contact| tell.lock().unwrap().push((number.to_owned(), contact.clone()))),
        )
        .unwrap();
        Self {
            contacts,
            delivery,
            clock,
            threads,
            told,
            folder,
        }
    }

    /// Waits for what comes of itself.
    fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let until = Instant::now() + BOUND;
        while !holds(self) {
            let standing = self.contacts.standing();
            assert!(
                Instant::now() < until,
                "{what} did not happen: {standing:?} {:?}",
                self.contacts.counts()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn quiet(&self) {
        self.until("an end of all requests", |bench| {
            bench.contacts.standing().under_way == 0
        });
    }

    fn is_open(&self) -> bool {
        self.contacts.standing().rests.is_some()
    }

    /// As an unload does it, and within its two seconds.
    fn stop(&self) {
        let begun = Instant::now();
        self.contacts.close();
        assert!(self.delivery.stop(Duration::from_millis(1_500)), "the delivery");
        assert!(self.contacts.join(Duration::from_millis(500)), "the lookups");
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        assert_eq!(self.threads.running.load(Ordering::SeqCst), 0);
    }
}

fn sandbox() -> Sandbox {
    Sandbox::start(Options {
        token: TOKEN.to_owned(),
        contacts: vec![Known {
            number: IVAN.to_owned(),
            name: "Иван Петров".to_owned(),
            ext: Some("103".to_owned()),
        }],
        ..Options::default()
    })
    .unwrap()
}

#[test]
fn the_crm_is_asked_once_and_its_answer_is_kept() {
    let sandbox = sandbox();
    let bench = Bench::new(sandbox.url(), &[PATIENT]);
    assert_eq!(
        bench.threads.started.load(Ordering::SeqCst),
        0,
        "not before they are needed"
    );
    for _ in 0..100 {
        assert_eq!(bench.contacts.ask(IVAN), (ivan(), How::Fresh));
        assert_eq!(bench.contacts.ask(STRANGER), (Contact::default(), How::Fresh));
    }
    assert_eq!(sandbox.requests().len(), 2);
    assert!(sandbox.violations().is_empty());
    let counts = bench.contacts.counts();
    assert_eq!(
        (counts.asked, counts.cached, counts.answered, counts.requests),
        (200, 198, 2, 2)
    );
    bench.until("both answers are told", |bench| {
        bench.told.lock().unwrap().len() == 2
    });
    assert!(bench.told.lock().unwrap().contains(&(IVAN.to_owned(), ivan())));
    bench.stop();
}

#[test]
fn fifty_who_ask_at_once_make_one_request() {
    let sandbox = sandbox();
    sandbox.set_fault(Fault::new(FaultKind::Delay(300)));
    let bench = Arc::new(Bench::new(sandbox.url(), &[PATIENT]));
    let together = Arc::new(Barrier::new(50));
    let askers: Vec<_> = (0..50)
        .map(|_| {
            let (bench, together) = (Arc::clone(&bench), Arc::clone(&together));
            std::thread::spawn(move || {
                together.wait();
                bench.contacts.ask(IVAN)
            })
        })
        .collect();
    for asker in askers {
        assert_eq!(asker.join().unwrap(), (ivan(), How::Fresh));
    }
    assert_eq!(sandbox.requests().len(), 1);
    bench.stop();
}

#[test]
fn a_black_hole_costs_the_first_callers_their_patience_and_the_others_nothing() {
    let sandbox = sandbox();
    sandbox.set_fault(Fault::new(FaultKind::BlackHole));
    let bench = Bench::new(sandbox.url(), &[IMPATIENT]);
    let mut asked = 0;
    while !bench.is_open() {
        let begun = Instant::now();
        let (contact, how) = bench.contacts.ask(&format!("7916000{asked:04}"));
        let took = begun.elapsed();
        assert!(contact.is_unknown());
        assert_eq!(how, How::Late);
        assert!(
            took >= Duration::from_millis(100) && took < Duration::from_secs(10),
            "{took:?}"
        );
        asked += 1;
        assert!(asked <= 3, "the breaker is closed after {asked}");
    }
    let begun = Instant::now();
    for number in 0..1_000 {
        let (_, how) = bench.contacts.ask(&format!("7917000{number:04}"));
        assert_eq!(how, How::Failed);
    }
    // None of them has waited: that would be a hundred seconds.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let counts = bench.contacts.counts();
    assert!(counts.requests <= 4, "{counts:?}");
    assert!(bench.threads.started.load(Ordering::SeqCst) <= THREADS);
    bench.quiet();

    // A probe goes from time to time, and finds out that the CRM is back.
    sandbox.clear_faults();
    bench.clock.advance(Duration::from_secs(31));
    let _ = bench.contacts.ask(IVAN);
    bench.until("a closed breaker", |bench| !bench.is_open());
    assert_eq!(bench.contacts.ask(IVAN), (ivan(), How::Fresh));
    bench.stop();
}

#[test]
fn what_comes_late_is_there_for_the_next_caller() {
    let sandbox = sandbox();
    sandbox.set_fault(Fault::new(FaultKind::Delay(500)));
    let bench = Bench::new(sandbox.url(), &[IMPATIENT]);
    assert_eq!(bench.contacts.ask(IVAN), (Contact::default(), How::Late));
    // Nobody waits for what is late already.
    assert_eq!(bench.contacts.ask(IVAN), (Contact::default(), How::Late));
    bench.quiet();
    assert_eq!(bench.contacts.ask(IVAN), (ivan(), How::Fresh));
    assert_eq!(sandbox.requests().len(), 1);
    bench.stop();
}

#[test]
fn an_old_answer_serves_while_the_crm_is_slow_or_away() {
    let sandbox = sandbox();
    let bench = Bench::new(sandbox.url(), &[IMPATIENT, ("contact", "cache", "60")]);
    bench.contacts.prefetch(IVAN);
    bench.quiet();
    assert_eq!(bench.contacts.ask(IVAN), (ivan(), How::Fresh));
    bench.clock.advance(Duration::from_secs(61));
    sandbox.set_fault(Fault::new(FaultKind::Hang));
    assert_eq!(bench.contacts.ask(IVAN), (ivan(), How::Stale));
    assert_eq!(bench.contacts.prefetch(IVAN), Some(ivan()));
    let counts = bench.contacts.counts();
    assert_eq!((counts.cached, counts.stale), (1, 1));
    bench.stop();
}

#[test]
fn an_answer_may_be_there_before_anybody_asks() {
    let sandbox = sandbox();
    let bench = Bench::new(sandbox.url(), &[PATIENT]);
    assert!(!bench.contacts.is_used());
    assert_eq!(bench.contacts.prefetch(IVAN), None);
    bench.until("the answer", |bench| {
        bench.contacts.prefetch(IVAN) == Some(ivan())
    });
    assert_eq!(bench.contacts.ask(IVAN), (ivan(), How::Fresh));
    assert!(!bench.contacts.is_used(), "an operator may ask as well");
    bench.contacts.note_use();
    assert!(bench.contacts.is_used());
    let counts = bench.contacts.counts();
    assert_eq!((counts.asked, counts.cached, counts.requests), (1, 1, 1));
    bench.stop();
}

#[test]
fn a_wrong_token_is_tried_once_and_a_reload_mends_it() {
    let sandbox = sandbox();
    let bench = Bench::new(sandbox.url(), &[PATIENT]);
    let mut wrong = settings(sandbox.url(), &[PATIENT]);
    wrong.crm.token = Secret::new("another");
    bench.contacts.reconfigure(&bench.delivery, &wrong).unwrap();
    for number in 0..20 {
        let (contact, how) = bench.contacts.ask(&format!("7916000{number:04}"));
        assert_eq!((contact.is_unknown(), how), (true, How::Failed));
    }
    assert_eq!(bench.contacts.counts().requests, 1);
    let trouble = bench.contacts.standing().trouble.unwrap();
    assert!(trouble.to_string().contains("401"), "{trouble}");
    let right = settings(sandbox.url(), &[PATIENT]);
    bench.contacts.reconfigure(&bench.delivery, &right).unwrap();
    assert_eq!(bench.contacts.ask(IVAN), (ivan(), How::Fresh));
    bench.stop();
}

#[test]
fn another_account_knows_nothing_of_the_one_before() {
    let (first, second) = (sandbox(), sandbox());
    let bench = Bench::new(first.url(), &[PATIENT]);
    assert_eq!(bench.contacts.ask(IVAN), (ivan(), How::Fresh));
    second.add_contact(Known {
        number: IVAN.to_owned(),
        name: "Пётр".to_owned(),
        ext: None,
    });
    let other = settings(second.url(), &[PATIENT]);
    bench.contacts.reconfigure(&bench.delivery, &other).unwrap();
    assert_eq!(bench.contacts.ask(IVAN), (Contact::new("Пётр", ""), How::Fresh));
    // And a reload that changes nothing keeps what is known.
    bench.contacts.reconfigure(&bench.delivery, &other).unwrap();
    let _ = bench.contacts.ask(IVAN);
    assert_eq!(second.requests().len(), 1);
    bench.stop();
}

#[test]
fn whatever_else_is_answered_is_no_answer() {
    let sandbox = sandbox();
    let bench = Bench::new(sandbox.url(), &[PATIENT]);
    for kind in [
        FaultKind::Html,
        FaultKind::Cut,
        FaultKind::Reset,
        FaultKind::CutHeader,
        FaultKind::CutBody,
        FaultKind::EndlessBody,
        FaultKind::HugeHeader(10 << 20),
        FaultKind::ShortLength,
        FaultKind::Status(500, None),
        FaultKind::Status(302, None),
        FaultKind::Status(429, None),
        FaultKind::Refuse,
    ] {
        sandbox.set_fault(Fault::new(kind.clone()));
        let (contact, how) = bench.contacts.ask(IVAN);
        assert_eq!((contact.is_unknown(), how), (true, How::Failed), "{kind}");
        sandbox.clear_faults();
        // A reload asks anew.
        let same = settings(sandbox.url(), &[PATIENT, ("contact", "cache", "0")]);
        bench.contacts.reconfigure(&bench.delivery, &same).unwrap();
        bench.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(bench.contacts.ask(IVAN), (ivan(), How::Fresh));
    bench.stop();
}

#[test]
fn requests_do_not_pile_up_and_an_unload_waits_for_none() {
    let sandbox = sandbox();
    sandbox.set_fault(Fault::new(FaultKind::BlackHole));
    let bench = Bench::new(sandbox.url(), &[PATIENT]);
    for number in 0..1_000 {
        bench.contacts.prefetch(&format!("7916000{number:04}"));
    }
    assert!(bench.contacts.standing().under_way <= 64);
    assert!(bench.threads.started.load(Ordering::SeqCst) <= THREADS);
    bench.stop();
}

#[test]
fn an_unload_calls_off_whoever_waits() {
    // It takes connections and says nothing: TLS hangs in the middle of its greeting.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let tls = format!(
        "https://127.0.0.1:{}/tel/api",
        silent.local_addr().unwrap().port()
    );
    let hangs = sandbox();
    hangs.set_fault(Fault::new(FaultKind::Hang));
    for url in [tls.as_str(), hangs.url(), "https://no-such-host.invalid/tel/api"] {
        let bench = Arc::new(Bench::new(url, &[PATIENT]));
        let asker = {
            let bench = Arc::clone(&bench);
            std::thread::spawn(move || bench.contacts.ask(IVAN))
        };
        bench.until("a request", |bench| bench.contacts.counts().requests > 0);
        bench.stop();
        let (contact, how) = asker.join().unwrap();
        assert_eq!((contact.is_unknown(), how), (true, How::Failed), "{url}");
        assert_eq!(
            bench.contacts.ask(IVAN).1,
            How::Failed,
            "nobody waits after the end: {url}"
        );
    }
}

#[test]
fn tls_that_hangs_and_names_that_do_not_resolve_take_no_longer_than_allowed() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let tls = format!(
        "https://127.0.0.1:{}/tel/api",
        silent.local_addr().unwrap().port()
    );
    for url in [tls.as_str(), "https://no-such-host.invalid/tel/api"] {
        let bench = Bench::new(url, &[IMPATIENT]);
        let begun = Instant::now();
        let (_, how) = bench.contacts.ask(IVAN);
        assert!(matches!(how, How::Late | How::Failed), "{url}: {how:?}");
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{url}: {:?}",
            begun.elapsed()
        );
        bench.quiet();
        bench.stop();
    }
}
