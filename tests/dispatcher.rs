//! The dispatcher's thread by itself: it sleeps where it can do nothing, and where the disk holds it up operators are answered
//! all the same. Real threads, a real disk, a real HTTP server.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use planfix_sandbox::{Fault, FaultKind, Options, Sandbox};
use res_planfix::core::draft::Kind;
use res_planfix::core::recording::News;
use res_planfix::core::secret::Secret;
use res_planfix::core::settings::{self, Crm};
use res_planfix::delivery::clock::{Clock, ShiftedClock};
use res_planfix::delivery::listing::{List, Listing};
use res_planfix::delivery::question::{Answer, Question};
use res_planfix::delivery::recordings::{Setup, StdHost};
use res_planfix::delivery::status::Status;
use res_planfix::delivery::threads::{StdThreads, Thread, Threads};
use res_planfix::delivery::{Delivery, Surroundings};

mod draft;
use draft::draft;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// For whatever takes milliseconds on a machine with nothing else to do.
const BOUND: Duration = Duration::from_secs(60);
/// How often a thread that sleeps asks what time it is, within a second and with much to spare. One that runs in circles asks
/// a hundred thousand times.
const SELDOM: u64 = 1_000;

/// A clock that counts how often the dispatcher asks it, which it does in each of its rounds. Where the dispatcher asks for the
/// wall clock it can be held up, as by a disk that stalls: that is while it writes, answers or does its chores.
#[derive(Default)]
struct CountingClock {
    clock: ShiftedClock,
    asked: AtomicU64,
    stalls: Mutex<bool>,
    goes_on: Condvar,
    is_held: AtomicBool,
}

impl CountingClock {
    fn stall(&self, stalls: bool) {
        *self.stalls.lock().unwrap() = stalls;
        self.goes_on.notify_all();
    }
}

impl Clock for CountingClock {
    fn wall(&self) -> u64 {
        if is_dispatcher() {
            let stalls = self.stalls.lock().unwrap();
            let stalls = self.goes_on.wait_while(stalls, |stalls| {
                self.is_held.store(*stalls, Ordering::SeqCst);
                *stalls
            });
            drop(stalls.unwrap());
        }
        self.clock.wall()
    }

    fn steady(&self) -> u64 {
        if is_dispatcher() {
            self.asked.fetch_add(1, Ordering::Relaxed);
        }
        self.clock.steady()
    }
}

fn is_dispatcher() -> bool {
    std::thread::current().name() == Some("planfix/spool")
}

/// No thread for the encoder.
struct WithoutEncoder;

impl Threads for WithoutEncoder {
    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> io::Result<Box<dyn Thread>> {
        if name == "planfix/encoder" {
            return Err(io::Error::from(io::ErrorKind::OutOfMemory));
        }
        StdThreads.spawn(name, body)
    }
}

struct Bench {
    delivery: Delivery,
    sandbox: Sandbox,
    clock: Arc<CountingClock>,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(threads: Arc<dyn Threads>) -> Self {
        let sandbox = Sandbox::start(Options {
            token: TOKEN.to_owned(),
            ..Options::default()
        })
        .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(CountingClock::default());
        Self {
            delivery: start(&sandbox, folder.path(), Arc::clone(&clock) as Arc<_>, threads),
            sandbox,
            clock,
            folder,
        }
    }

    fn tell(&self, callid: &str, kind: Kind) {
        self.delivery.submit(vec![draft(callid, kind)]).unwrap();
    }

    fn until(&self, what: &str, holds: impl Fn(&Status) -> bool) {
        let until = Instant::now() + BOUND;
        while !holds(&self.delivery.status()) {
            assert!(
                Instant::now() < until,
                "{what} did not happen: {:#?}",
                self.delivery.status()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The dispatcher has nothing to do, and does nothing for a second.
    fn sleeps(&self) {
        // After an event it looks about for a while; that is over now, and what rested is due.
        self.clock.clock.advance(Duration::from_secs(30));
        let asked = || self.clock.asked.load(Ordering::Relaxed);
        let (before, begin) = (asked(), Instant::now());
        while begin.elapsed() < Duration::from_secs(1) {
            assert!(asked() < before + SELDOM, "it runs in circles");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn start(sandbox: &Sandbox, folder: &Path, clock: Arc<dyn Clock>, threads: Arc<dyn Threads>) -> Delivery {
    let crm = Crm {
        url: sandbox.url().to_owned(),
        token: Secret::new(TOKEN),
        pbx_token: Secret::new("pbx"),
        pbx_url: String::new(),
        tls_ca_file: String::new(),
    };
    let config = settings::Delivery {
        workers: 1,
        connect_timeout: BOUND,
        response_timeout: BOUND,
        // Whatever is late has a pace of its own.
        stale_popup: Duration::from_secs(86_400),
        ..settings::Delivery::default()
    };
    let around = Surroundings {
        folder: folder.join("planfix"),
        threads,
        clock,
    };
    Delivery::start(&crm, &config, around).unwrap()
}

/// A CRM that is slow but good: everything that may be handed out is, and a call that rested may go again.
#[test]
fn a_resting_call_that_finds_no_place_is_waited_for_without_running_in_circles() {
    let bench = Bench::new(Arc::new(StdThreads));
    let fails = bench
        .sandbox
        .set_fault(Fault::new(FaultKind::Status(500, None)).callid("rests"));
    bench.tell("rests", Kind::Completed);
    // It rests for longer after each failure; one more than these would count as the CRM's own.
    for tries in 1..=4 {
        assert!(bench.sandbox.wait_for(|requests| requests.len() == tries, BOUND));
        bench.until("its rest", |status| status.under_way == 0);
        if tries < 4 {
            bench.clock.clock.advance(Duration::from_secs(30));
            assert!(bench.delivery.ask(Question::Hurry, BOUND).is_some());
        }
    }
    let hang = bench.sandbox.set_fault(Fault::new(FaultKind::Hang));
    bench.sandbox.clear_fault(fails);
    for n in 0..30 {
        bench.tell(&format!("c{n}"), Kind::Completed);
    }
    bench.until("as much under way as may be", |status| {
        status.pending == 31 && status.under_way == 16
    });
    bench.sleeps();
    bench.sandbox.clear_fault(hang);
    bench.until("an empty queue", |status| status.pending == 0);
}

#[test]
fn recordings_that_nobody_can_convert_are_waited_for_without_running_in_circles() {
    let bench = Bench::new(Arc::new(WithoutEncoder));
    bench.delivery.treat_recordings(Some(Setup {
        directory: bench.folder.path().to_owned(),
        convert: false,
        encoder: "lame".to_owned(),
        keep_original: true,
        wait: Duration::ZERO,
        patience: BOUND,
        link: Arc::new(|path| Ok(format!("https://pbx.example.com/{}", path.display()))),
        host: Arc::new(StdHost),
    }));
    let callid = || "a".to_owned();
    for news in [
        News::Recorded {
            callid: callid(),
            said: "a.wav".to_owned(),
            at: bench.clock.wall(),
        },
        News::Over { callid: callid() },
    ] {
        bench.delivery.submit_recording(news).unwrap();
    }
    bench.until("the recording", |status| {
        let waiting = status.recordings.as_ref().map(|known| known.counts.waiting);
        waiting == Some(1) && status.inbox == 0
    });
    bench.sleeps();
}

#[test]
fn operators_are_answered_while_the_disk_stalls() {
    let bench = Bench::new(Arc::new(StdThreads));
    bench.sandbox.set_fault("400,next=1".parse().unwrap());
    bench.tell("refused", Kind::Completed);
    bench.until("the failure", |status| status.failed == 1);
    let ask = |question| bench.delivery.ask(question, BOUND);
    assert_eq!(ask(Question::Pause(true)), Some(Answer::Done));
    for callid in ["a", "b"] {
        bench.tell(callid, Kind::Completed);
    }
    bench.until("both", |status| status.pending == 2);
    let callids =
        |listing: &Listing| -> Vec<String> { listing.rows.iter().map(|row| row.callid.clone()).collect() };
    let queue = bench.delivery.list(List::Queue, 50).unwrap();
    assert_eq!((callids(&queue), queue.old), (vec!["a".into(), "b".into()], None));
    // What was published is read by whoever gets no answer at once; that it holds both shows in a moment.
    bench.until("the lists", |_| {
        bench.clock.stall(true);
        // An order is carried out however late, and what time it is belongs to it.
        let _ = bench.delivery.ask(Question::Hurry, Duration::from_millis(1));
        bench.until("the stall", |_| bench.clock.is_held.load(Ordering::SeqCst));
        let listing = bench.delivery.list(List::Queue, 50).unwrap();
        assert!(listing.old.is_some(), "{listing:?}");
        if listing.total == 2 {
            return true;
        }
        bench.clock.stall(false);
        bench.until("its end", |_| !bench.clock.is_held.load(Ordering::SeqCst));
        false
    });

    for n in 0..3 {
        bench.tell(&format!("new{n}"), Kind::Completed);
    }
    // A moment later than that it is said.
    bench.clock.clock.advance(Duration::from_secs(31));
    let status = bench.delivery.status();
    assert!(status.stalled >= Some(Duration::from_secs(31)), "{status:#?}");
    assert_eq!((status.inbox, status.pending, status.failed), (3, 2, 1));
    let begin = Instant::now();
    for (list, expected) in [(List::Queue, vec!["a", "b"]), (List::Failed, vec!["refused"])] {
        let listing = bench.delivery.list(list, 50).unwrap();
        assert_eq!(callids(&listing), expected);
        assert_eq!((listing.total, listing.inbox), (expected.len() as u64, 3));
        let caution = listing.caution().unwrap();
        assert!(
            caution.contains(" s ago: the disk does not answer; 3 more wait in memory."),
            "{caution}"
        );
    }
    assert_eq!(bench.delivery.list(List::Queue, 1).unwrap().rows.len(), 1);
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    // An order is carried out later, whoever gave it.
    let prompt = Duration::from_millis(1);
    assert_eq!(bench.delivery.ask(Question::Retry(None), prompt), None);
    bench.clock.stall(false);
    bench.until("its end", |status| {
        status.stalled.is_none() && status.inbox == 0 && status.pending == 6 && status.failed == 0
    });
    let queue = bench.delivery.list(List::Queue, 50);
    assert_eq!(queue.map(|queue| (queue.total, queue.old)), Ok((6, None)));
}
