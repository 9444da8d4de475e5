//! The dispatcher's thread by itself: it sleeps where it can do nothing. Real threads, a real disk, a real HTTP server.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use planfix_sandbox::{Fault, FaultKind, Options, Sandbox};
use res_planfix::core::draft::Kind;
use res_planfix::core::recording::News;
use res_planfix::core::secret::Secret;
use res_planfix::core::settings::{self, Crm};
use res_planfix::delivery::clock::{Clock, ShiftedClock};
use res_planfix::delivery::question::Question;
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

/// A clock that counts how often the dispatcher asks it, which it does in each of its rounds.
#[derive(Default)]
struct CountingClock {
    clock: ShiftedClock,
    asked: AtomicU64,
}

impl Clock for CountingClock {
    fn wall(&self) -> u64 {
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
