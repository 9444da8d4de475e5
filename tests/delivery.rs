//! From an accepted event to the CRM's acknowledgement: real threads, a real disk, a real HTTP server that misbehaves on
//! demand. No Asterisk.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use planfix_sandbox::{Fault, FaultKind, Options, Request, Sandbox, Tls};
use res_planfix::core::draft::{Draft, Form, Kind};
use res_planfix::core::gate::Condition;
use res_planfix::core::lanes::Parcel;
use res_planfix::core::secret::Secret;
use res_planfix::core::settings::{self, Crm};
use res_planfix::delivery::clock::{Clock as _, ShiftedClock};
use res_planfix::delivery::question::{Answer, Question};
use res_planfix::delivery::spool::{Change, Replay, Spool, State};
use res_planfix::delivery::status::{Room, Status};
use res_planfix::delivery::threads::StdThreads;
use res_planfix::delivery::{Delivery, Refusal, Surroundings};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// For whatever takes milliseconds on a machine with nothing else to do.
const BOUND: Duration = Duration::from_secs(60);

/// Everything that was logged in this process by anybody, at every level.
static LOGGED: Mutex<String> = Mutex::new(String::new());

struct Ear;

impl log::Log for Ear {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        let mut logged = LOGGED.lock().unwrap();
        logged.push_str(&format!(
            "{} {} {}\n",
            record.level(),
            record.target(),
            record.args()
        ));
    }
    fn flush(&self) {}
}

fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Ear).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
    });
}

fn logged(text: &str) -> bool {
    LOGGED.lock().unwrap().contains(text)
}

/// A delivery in a folder of its own.
struct Bench {
    delivery: Delivery,
    clock: Arc<ShiftedClock>,
    folder: tempfile::TempDir,
    crm: Crm,
    config: settings::Delivery,
}

fn crm(url: &str) -> Crm {
    Crm {
        url: url.to_owned(),
        token: Secret::new(TOKEN),
        pbx_token: Secret::new("pbx"),
        pbx_url: String::new(),
        tls_ca_file: String::new(),
    }
}

fn config() -> settings::Delivery {
    settings::Delivery {
        // Nothing here waits for a time-out unless it says so: an answer that comes later than it may is asked for
        // again.
        connect_timeout: BOUND,
        response_timeout: BOUND,
        retry_max: Duration::from_secs(1),
        ..settings::Delivery::default()
    }
}

fn start(folder: &Path, crm: &Crm, config: &settings::Delivery, clock: &Arc<ShiftedClock>) -> Delivery {
    listen();
    let around = Surroundings {
        folder: folder.to_owned(),
        threads: Arc::new(StdThreads),
        clock: Arc::clone(clock) as Arc<_>,
    };
    Delivery::start(crm, config, around).unwrap()
}

impl Bench {
    fn new(url: &str) -> Self {
        Self::with(crm(url), config())
    }

    fn with(crm: Crm, config: settings::Delivery) -> Self {
        Self::within(tempfile::tempdir().unwrap(), crm, config)
    }

    /// With a file in place of the spool's folder, so that the spool is in memory.
    fn without_a_disk(url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("planfix"), "a file in place of the folder").unwrap();
        Self::within(folder, crm(url), config())
    }

    /// Paused, and the ends of fifty calls wait.
    fn with_fifty_waiting(url: &str) -> Self {
        let bench = Self::new(url);
        bench.ask(Question::Pause(true));
        for n in 0..50 {
            bench.tell(&format!("c{n}"), Kind::Completed);
        }
        bench.until("fifty waiting", |status| status.pending == 50);
        bench
    }

    fn within(folder: tempfile::TempDir, crm: Crm, config: settings::Delivery) -> Self {
        let clock = Arc::new(ShiftedClock::default());
        let delivery = start(&folder.path().join("planfix"), &crm, &config, &clock);
        Self {
            delivery,
            clock,
            folder,
            crm,
            config,
        }
    }

    fn spool(&self) -> PathBuf {
        self.folder.path().join("planfix")
    }

    /// Stops and starts again on the same spool.
    fn restart(&mut self) {
        assert!(self.delivery.stop(BOUND));
        self.delivery = start(&self.spool(), &self.crm, &self.config, &self.clock);
    }

    fn tell(&self, callid: &str, kind: Kind) {
        self.delivery.submit(vec![draft(callid, kind)]).unwrap();
    }

    fn until(&self, what: &str, mut holds: impl FnMut(&Status) -> bool) -> Status {
        let until = Instant::now() + BOUND;
        loop {
            let status = self.delivery.status();
            if holds(&status) {
                return status;
            }
            assert!(Instant::now() < until, "{what} did not happen: {status:#?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn settled(&self) -> Status {
        self.until("an empty queue", |status| {
            status.pending == 0 && status.inbox == 0
        })
    }

    fn ask(&self, question: Question) -> Answer {
        self.delivery.ask(question, BOUND).unwrap()
    }

    /// The spool's file as another program sees it.
    fn file(&self) -> rusqlite::Connection {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
        rusqlite::Connection::open_with_flags(self.spool().join("spool.db"), flags).unwrap()
    }

    /// Somebody overwrites these of the spool's files.
    fn overwrite(&self, files: &[&str]) {
        for file in files {
            let path = self.spool().join(file);
            let length = fs::metadata(&path).unwrap().len();
            let garbage = vec![0x5a; usize::try_from(length).unwrap()];
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &garbage, 0).unwrap();
        }
    }

    /// Whether one was moved aside.
    fn has_damaged_spool(&self) -> bool {
        fs::read_dir(self.spool())
            .unwrap()
            .any(|file| file.unwrap().file_name().to_string_lossy().contains(".damaged-"))
    }
}

fn sandbox() -> Sandbox {
    Sandbox::start(Options {
        token: TOKEN.to_owned(),
        ..Options::default()
    })
    .unwrap()
}

fn draft(callid: &str, kind: Kind) -> Draft {
    let mut form = Form::command(if kind == Kind::Record { "record" } else { "event" });
    if kind == Kind::Record {
        form = form
            .field(b"callid", callid.as_bytes())
            .field(b"record_link", b"https://x/1.mp3");
    } else {
        form = form
            .field(b"type", b"in")
            .field(b"event", kind.word().as_bytes())
            .field(b"phone", b"79101234567")
            .field(b"diversion", b"101")
            .field(b"ext", b"101")
            .field(b"callid", callid.as_bytes());
    }
    if kind == Kind::Completed {
        form = form
            .field(b"duration", b"5")
            .field(b"is_recorded", b"1")
            .field(b"status", b"Success");
    }
    let ext = if kind == Kind::Record { "" } else { "101" };
    Draft {
        callid: callid.to_owned(),
        kind,
        ext: ext.to_owned(),
        body: form.finish(),
    }
}

/// `INCOMING a`, as the CRM has taken them in.
fn received(sandbox: &Sandbox) -> Vec<String> {
    sandbox
        .requests()
        .iter()
        .filter(|request| request.accepted())
        .map(|request| name(request))
        .collect()
}

fn name(request: &Request) -> String {
    let what = request
        .field("event")
        .or(request.cmd.as_deref())
        .unwrap_or_default();
    format!("{what} {}", request.field("callid").unwrap_or_default())
}

fn wait_for(sandbox: &Sandbox, count: usize) {
    let arrived = sandbox.wait_for(
        |requests| requests.iter().filter(|request| request.accepted()).count() >= count,
        BOUND,
    );
    assert!(arrived, "{:#?}", received(sandbox));
}

const CALL: [Kind; 4] = [Kind::Incoming, Kind::Accepted, Kind::Completed, Kind::Record];

#[test]
fn a_call_arrives_in_order_over_kept_connections() {
    let sandbox = sandbox();
    let bench = Bench::new(sandbox.url());
    for kind in CALL {
        bench.tell("a", kind);
    }
    wait_for(&sandbox, 4);
    assert_eq!(
        received(&sandbox),
        ["INCOMING a", "ACCEPTED a", "COMPLETED a", "record a"]
    );
    assert!(sandbox.violations().is_empty(), "{:?}", sandbox.violations());
    let status = bench.settled();
    assert_eq!(
        (status.delivered, status.failed, status.condition),
        (4, 0, Condition::Open)
    );
    let connections: std::collections::HashSet<u64> = sandbox
        .requests()
        .iter()
        .map(|request| request.connection)
        .collect();
    for n in 0..40 {
        bench.tell(&format!("k{n}"), Kind::Incoming);
        wait_for(&sandbox, 5 + n);
    }
    let after: std::collections::HashSet<u64> = sandbox
        .requests()
        .iter()
        .map(|request| request.connection)
        .collect();
    assert!(
        after.len() <= connections.len() + 4,
        "connections are kept: {after:?}"
    );
}

#[test]
fn calls_do_not_wait_for_each_other_and_each_keeps_its_order() {
    let sandbox = sandbox();
    sandbox.set_fault(Fault::new(FaultKind::Delay(10)));
    let hang = sandbox.set_fault(Fault::new(FaultKind::Hang).callid("slow"));
    let bench = Bench::new(sandbox.url());
    bench.tell("slow", Kind::Incoming);
    bench.tell("slow", Kind::Accepted);
    for kind in CALL {
        for call in 0..12 {
            bench.tell(&format!("c{call}"), kind);
        }
    }
    wait_for(&sandbox, 48);
    bench.until("the slow one alone", |status| {
        status.pending == 2 && status.under_way == 1
    });
    let all = received(&sandbox);
    for call in 0..12 {
        let own: Vec<&String> = all
            .iter()
            .filter(|name| name.ends_with(&format!(" c{call}")))
            .collect();
        let expected = ["INCOMING", "ACCEPTED", "COMPLETED", "record"].map(|word| format!("{word} c{call}"));
        assert!(own.iter().copied().eq(&expected), "{own:?}");
    }
    assert!(sandbox.violations().is_empty(), "{:?}", sandbox.violations());
    sandbox.clear_fault(hang);
    wait_for(&sandbox, 50);
    assert_eq!(received(&sandbox)[48..], ["INCOMING slow", "ACCEPTED slow"]);
}

#[test]
fn what_the_crm_refuses_is_listed_with_its_reason_and_can_be_retried_and_dropped() {
    let sandbox = sandbox();
    sandbox.set_fault("400,next=3".parse().unwrap());
    let bench = Bench::new(sandbox.url());
    for call in ["a", "b", "c"] {
        bench.tell(call, Kind::Completed);
    }
    bench.until("three failures", |status| {
        status.failed == 3 && status.pending == 0
    });
    let Answer::Events { rows, total } = bench.ask(Question::Failed { limit: 2 }) else {
        panic!()
    };
    assert_eq!((rows.len(), total), (2, 3));
    assert_eq!(rows[0].attempts, 1);
    assert!(
        rows[0]
            .reason
            .starts_with("refused (HTTP 400): Invalid parameters"),
        "{}",
        rows[0].reason
    );
    assert_eq!(bench.ask(Question::Drop(rows[0].id)), Answer::Count(1));
    assert_eq!(bench.ask(Question::Drop(rows[0].id)), Answer::Count(0));
    assert_eq!(bench.ask(Question::Retry(Some(rows[1].id))), Answer::Count(1));
    assert_eq!(bench.ask(Question::Retry(None)), Answer::Count(1));
    wait_for(&sandbox, 2);
    assert_eq!(bench.settled().failed, 0);
    assert!(logged("Planfix does not accept event"));
}

#[test]
fn a_wrong_token_stops_delivery_until_a_reload_and_loses_nothing() {
    let sandbox = sandbox();
    let mut crm = crm(sandbox.url());
    crm.token = Secret::new("wrong-token-4711");
    let bench = Bench::with(
        crm.clone(),
        settings::Delivery {
            retry_max: Duration::from_secs(3_600),
            ..config()
        },
    );
    for kind in CALL {
        bench.tell("a", kind);
    }
    let status = bench.until("the stop", |status| status.condition == Condition::Misconfigured);
    assert!(status.reason.contains("token"), "{}", status.reason);
    assert!(status.next_try.is_some());
    bench.tell("b", Kind::Incoming);
    bench.until("five waiting", |status| {
        status.pending == 5 && status.under_way == 0
    });
    let before = sandbox.requests().len();
    assert!(before <= 2, "it does not knock again and again: {before}");
    crm.token = Secret::new(TOKEN);
    bench.delivery.reconfigure(&crm, &bench.config).unwrap();
    wait_for(&sandbox, 5);
    assert_eq!(
        received(&sandbox)
            .iter()
            .filter(|name| name.ends_with(" a"))
            .count(),
        4
    );
    assert!(logged("Delivery to Planfix stops, the token is not accepted"));
}

#[test]
fn an_outage_keeps_everything_and_stale_cards_are_left_out() {
    let sandbox = sandbox();
    let refuse = sandbox.set_fault(Fault::new(FaultKind::Refuse));
    let bench = Bench::new(sandbox.url());
    bench.tell("old", Kind::Incoming);
    bench.tell("old", Kind::Accepted);
    bench.tell("old", Kind::Completed);
    bench.tell("rings", Kind::Incoming);
    bench.until("the outage", |status| {
        status.condition == Condition::Down && status.pending == 4
    });
    // A request that is under way when the clock moves was begun while the card was fresh, and may be sent.
    bench.ask(Question::Pause(true));
    bench.until("a rest", |status| status.under_way == 0);
    bench.clock.advance(Duration::from_secs(61));
    bench.tell("rings", Kind::Accepted);
    bench.tell("rings", Kind::Completed);
    bench.tell("new", Kind::Incoming);
    sandbox.clear_fault(refuse);
    bench.ask(Question::Pause(false));
    wait_for(&sandbox, 3);
    let status = bench.settled();
    let mut all = received(&sandbox);
    all.sort();
    assert_eq!(all, ["COMPLETED old", "COMPLETED rings", "INCOMING new"]);
    assert_eq!((status.dropped_stale, status.dropped_unshown), (3, 1));
    assert_eq!(status.condition, Condition::Open);
}

#[test]
fn one_call_that_makes_the_server_fail_does_not_hold_the_others_up() {
    let sandbox = sandbox();
    let fault = sandbox.set_fault(Fault::new(FaultKind::Status(500, None)).callid("bad"));
    let bench = Bench::new(sandbox.url());
    bench.tell("bad", Kind::Incoming);
    bench.tell("bad", Kind::Completed);
    for n in 0..3 {
        bench.tell(&format!("good{n}"), Kind::Incoming);
    }
    wait_for(&sandbox, 3);
    bench.until("two waiting", |status| status.pending == 2);
    sandbox.clear_fault(fault);
    wait_for(&sandbox, 5);
    assert_eq!(received(&sandbox)[3..], ["INCOMING bad", "COMPLETED bad"]);
}

/// A proxy before the CRM that dislikes what stands in one request answers as a wrong address does.
#[test]
fn one_request_that_is_turned_away_does_not_stop_the_others() {
    let sandbox = sandbox();
    let bench = Bench::with(
        crm(sandbox.url()),
        settings::Delivery {
            // One after the other, and for its own sake it would be tried again long after this test.
            workers: 1,
            retry_max: 10 * BOUND,
            ..config()
        },
    );
    bench.tell("before", Kind::Incoming);
    wait_for(&sandbox, 1);
    sandbox.set_fault(Fault::new(FaultKind::Status(403, None)).callid("bad"));
    bench.ask(Question::Pause(true));
    bench.tell("bad", Kind::Incoming);
    for n in 0..3 {
        bench.tell(&format!("good{n}"), Kind::Incoming);
    }
    bench.ask(Question::Pause(false));
    wait_for(&sandbox, 4);
    let status = bench.until("its failure", |status| status.failed == 1 && status.pending == 0);
    assert_eq!(status.condition, Condition::Open);
    let Answer::Events { rows, .. } = bench.ask(Question::Failed { limit: 9 }) else {
        panic!()
    };
    assert_eq!(
        (rows[0].callid.as_str(), rows[0].reason.as_str()),
        (
            "bad",
            "refused (HTTP 403): other requests are accepted at this address"
        )
    );
    // Where nothing else waits, the next card tells that the address is right.
    bench.tell("bad", Kind::Completed);
    bench.until("the doubt", |status| status.condition == Condition::Misconfigured);
    bench.clock.advance(Duration::from_secs(10));
    bench.tell("next", Kind::Incoming);
    wait_for(&sandbox, 5);
    bench.until("the second failure", |status| {
        status.failed == 2 && status.pending == 0
    });
}

#[test]
fn an_address_that_is_wrong_for_all_stops_delivery_and_nothing_goes_to_the_failed_list() {
    let sandbox = sandbox();
    let bench = Bench::new(sandbox.url());
    for before in [None, Some("before")] {
        let calls = ["a", "b", "c"].map(|name| format!("{name}{before:?}"));
        if let Some(before) = before {
            bench.tell(before, Kind::Completed);
            bench.until("the good one", |status| status.delivered == 4);
        }
        let (asked, arrived) = (sandbox.requests().len(), received(&sandbox).len());
        let fault = sandbox.set_fault(Fault::new(FaultKind::Status(403, None)));
        for call in &calls {
            bench.tell(call, Kind::Completed);
        }
        assert!(
            sandbox.wait_for(|requests| requests.len() >= asked + 6, BOUND),
            "it is tried again"
        );
        let status = bench.until("the stop", |status| {
            status.condition == Condition::Misconfigured && status.pending == 3
        });
        assert_eq!(status.failed, 0);
        sandbox.clear_fault(fault);
        wait_for(&sandbox, arrived + 3);
        assert_eq!(bench.settled().failed, 0);
    }
}

#[test]
fn what_waits_can_be_dropped_unless_it_is_under_way() {
    let sandbox = sandbox();
    let bench = Bench::new(sandbox.url());
    let hang = sandbox.set_fault(Fault::new(FaultKind::Hang));
    bench.tell("a", Kind::Incoming);
    assert!(sandbox.wait_for(|requests| !requests.is_empty(), BOUND));
    for kind in [Kind::Accepted, Kind::Completed] {
        bench.tell("a", kind);
    }
    bench.ask(Question::Pause(true));
    for kind in CALL {
        bench.tell("b", kind);
    }
    let Answer::Events { rows, .. } = bench.ask(Question::Queue { limit: 99 }) else {
        panic!()
    };
    let id = |callid: &str, kind: Kind| {
        let row = rows
            .iter()
            .find(|row| row.callid == callid && row.kind == kind.word());
        row.unwrap().id
    };
    let Answer::Failed(sentence) = bench.ask(Question::Drop(id("a", Kind::Incoming))) else {
        panic!()
    };
    assert!(sentence.contains("is under way"), "{sentence}");
    for dropped in [id("a", Kind::Accepted), id("b", Kind::Incoming)] {
        assert_eq!(bench.ask(Question::Drop(dropped)), Answer::Count(1));
        assert_eq!(bench.ask(Question::Drop(dropped)), Answer::Count(0));
    }
    assert_eq!(bench.ask(Question::Drop(99)), Answer::Count(0));
    bench.until("the count", |status| status.pending == 5);
    sandbox.clear_fault(hang);
    bench.ask(Question::Pause(false));
    wait_for(&sandbox, 4);
    let status = bench.settled();
    assert_eq!(
        (status.failed, status.dropped_unshown),
        (0, 1),
        "ACCEPTED b has no card"
    );
    let of = |callid: &str| -> Vec<String> {
        let all = received(&sandbox).into_iter();
        all.filter(|name| name.ends_with(callid)).collect()
    };
    assert_eq!(of(" a"), ["INCOMING a", "COMPLETED a"]);
    assert_eq!(of(" b"), ["COMPLETED b", "record b"]);
}

#[test]
fn retry_after_is_waited_for() {
    let sandbox = sandbox();
    sandbox.set_fault("429,next=1,retry-after=2".parse().unwrap());
    let bench = Bench::new(sandbox.url());
    bench.tell("a", Kind::Incoming);
    bench.tell("b", Kind::Incoming);
    wait_for(&sandbox, 2);
    let requests = sandbox.requests();
    let refused = requests
        .iter()
        .find(|request| request.status == Some(429))
        .unwrap();
    let again = requests
        .iter()
        .find(|request| request.accepted() && request.raw == refused.raw)
        .unwrap();
    assert!(
        again.arrival_ms - refused.arrival_ms >= 1_990.0,
        "{} after {}",
        again.arrival_ms,
        refused.arrival_ms
    );
}

#[test]
fn hostile_answers_end_in_a_message_and_nothing_is_lost() {
    for (spec, expected) in [
        ("endless-body", "its body is longer than"),
        ("huge-header=10000000", "the answer is not Planfix's"),
        ("long-length", "no answer"),
        ("html", "bytes that begin '<"),
        ("cut", "no answer"),
        ("reset", "no answer"),
        ("cut-header", "no answer"),
        ("slow-body=400", "no answer in time"),
        ("hang", "no answer in time"),
        ("302", "the address is not Planfix's (HTTP 302)"),
        ("500", "the server failed (HTTP 500)"),
    ] {
        let sandbox = sandbox();
        let id = sandbox.set_fault(spec.parse().unwrap());
        let mut config = config();
        if expected.starts_with("no answer") {
            config.response_timeout = Duration::from_secs(1);
        }
        let bench = Bench::with(crm(sandbox.url()), config);
        bench.tell("a", Kind::Completed);
        let status = bench.until(spec, |status| !status.reason.is_empty());
        assert!(status.reason.contains(expected), "{spec}: {}", status.reason);
        assert!(status.pending == 1 && status.failed == 0, "{spec}");
        sandbox.clear_fault(id);
        wait_for(&sandbox, 1);
        let status = bench.settled();
        assert_eq!((status.delivered, status.panics), (1, 0), "{spec}");
    }
}

#[test]
fn an_answer_that_is_longer_than_it_says_still_acknowledges() {
    let sandbox = sandbox();
    sandbox.set_fault("short-length,next=1,processed=yes".parse().unwrap());
    let bench = Bench::new(sandbox.url());
    bench.tell("a", Kind::Incoming);
    bench.tell("a", Kind::Completed);
    wait_for(&sandbox, 1);
    bench.settled();
}

#[test]
fn stopping_is_quick_whatever_the_crm_does_and_nothing_is_lost() {
    for spec in ["hang", "black-hole", "refuse", "slow-body=10000", "delay=600000"] {
        let sandbox = sandbox();
        let id = sandbox.set_fault(spec.parse().unwrap());
        let config = settings::Delivery {
            connect_timeout: 10 * BOUND,
            response_timeout: 10 * BOUND,
            ..config()
        };
        let mut bench = Bench::with(crm(sandbox.url()), config);
        for n in 0..20 {
            bench.tell(&format!("c{n}"), Kind::Completed);
        }
        bench.until(spec, |status| {
            status.pending == 20 && (status.under_way > 0 || status.condition == Condition::Down)
        });
        assert!(bench.delivery.stop(BOUND), "{spec}: a thread was left behind");
        assert_eq!(
            bench.delivery.submit(vec![draft("late", Kind::Completed)]),
            Err(Refusal::Stopped),
            "{spec}"
        );
        sandbox.clear_fault(id);
        bench.restart();
        let arrived = sandbox.wait_for(
            |requests| {
                (0..20).all(|n| {
                    requests.iter().any(|request| {
                        request.accepted() && request.field("callid") == Some(&format!("c{n}"))
                    })
                })
            },
            BOUND,
        );
        assert!(arrived, "{spec}: {:?}", received(&sandbox));
    }
}

/// The module is disabled or unloaded while calls go on: an event that was accepted in that very moment is on the disk.
#[test]
fn what_is_accepted_while_the_delivery_stops_is_kept() {
    let sandbox = sandbox();
    let mut bench = Bench::new(sandbox.url());
    let mut accepted = 0;
    for _ in 0..6 {
        bench.ask(Question::Pause(true));
        let (delivery, begun) = (&bench.delivery, AtomicBool::new(false));
        accepted += std::thread::scope(|scope| {
            let submitting = [0, 1].map(|_| {
                scope.spawn(|| {
                    let mut taken = 0;
                    loop {
                        match delivery.submit(vec![draft("a", Kind::Completed)]) {
                            Ok(()) => taken += 1,
                            Err(Refusal::Stopped) => return taken,
                            Err(_) => std::thread::yield_now(),
                        }
                        begun.store(true, Ordering::SeqCst);
                    }
                })
            });
            while !begun.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            assert!(delivery.stop(BOUND));
            submitting
                .map(|thread| thread.join().unwrap())
                .iter()
                .sum::<u64>()
        });
        let opened = Spool::open(&bench.spool(), 1 << 30, 0).unwrap();
        assert_eq!(opened.spool.totals().unwrap().pending, accepted);
        opened.spool.close();
        bench.delivery = start(&bench.spool(), &bench.crm, &bench.config, &bench.clock);
    }
}

#[test]
fn stopping_breaks_off_what_was_begun_before_a_reload_too() {
    let sandbox = sandbox();
    let id = sandbox.set_fault("long-length".parse().unwrap());
    let config = settings::Delivery {
        response_timeout: 10 * BOUND,
        ..config()
    };
    let mut bench = Bench::with(crm(sandbox.url()), config.clone());
    bench.tell("c1", Kind::Incoming);
    assert!(sandbox.wait_for(|requests| requests.len() == 1, BOUND));
    bench.delivery.reconfigure(&crm(sandbox.url()), &config).unwrap();
    assert!(bench.delivery.stop(BOUND), "a thread was left behind");
    sandbox.clear_fault(id);
    bench.restart();
    bench.tell("c1", Kind::Accepted);
    wait_for(&sandbox, 2);
    assert_eq!(received(&sandbox), ["INCOMING c1", "ACCEPTED c1"]);
    assert_eq!(sandbox.requests().len(), 3, "the old request was made again");
}

#[test]
fn a_pause_holds_back_and_outlives_a_restart() {
    let sandbox = sandbox();
    let mut bench = Bench::new(sandbox.url());
    assert_eq!(bench.ask(Question::Pause(true)), Answer::Done);
    bench.tell("a", Kind::Completed);
    bench.until("one waiting", |status| status.paused && status.pending == 1);
    bench.restart();
    bench.tell("b", Kind::Completed);
    bench.until("two waiting", |status| status.paused && status.pending == 2);
    assert!(sandbox.requests().is_empty());
    assert_eq!(bench.ask(Question::Pause(false)), Answer::Done);
    wait_for(&sandbox, 2);
    let mut all = received(&sandbox);
    all.sort();
    assert_eq!(all, ["COMPLETED a", "COMPLETED b"]);
}

/// Two requests are under way when the CRM goes away and comes back. One is answered, which opens the gate; the other
/// fails later, and that is no second outage.
#[test]
fn a_failure_that_was_begun_before_the_last_good_answer_is_no_news() {
    let sandbox = sandbox();
    let bench = Bench::new(sandbox.url());
    let answered = sandbox.set_fault(Fault::new(FaultKind::Delay(600_000)).callid("answered").next(1));
    let hanging = sandbox.set_fault(Fault::new(FaultKind::Hang).callid("hanging"));
    // For the client's second try, when the first one is broken off.
    sandbox.set_fault(Fault::new(FaultKind::Cut).callid("hanging").next(1));
    bench.tell("answered", Kind::Completed);
    bench.tell("hanging", Kind::Completed);
    assert!(sandbox.wait_for(|requests| requests.len() == 2, BOUND));

    sandbox.set_fault(Fault::new(FaultKind::Cut).callid("first").next(2));
    bench.tell("first", Kind::Completed);
    bench.until("the outage", |status| status.condition == Condition::Down);
    sandbox.clear_fault(answered);
    let back = bench.until("the answer", |status| status.condition == Condition::Open);
    sandbox.clear_fault(hanging);
    wait_for(&sandbox, 3);
    let status = bench.settled();
    assert_eq!(
        (status.condition, status.condition_since, status.delivered),
        (Condition::Open, back.condition_since, 3),
        "{}",
        status.reason
    );
    let cut = |request: &Arc<Request>| {
        request.field("callid") == Some("hanging")
            && request
                .fault
                .as_deref()
                .is_some_and(|fault| fault.starts_with("cut"))
    };
    assert!(
        sandbox.requests().iter().any(cut),
        "the old request did fail: {:#?}",
        sandbox.requests()
    );
}

#[test]
fn what_was_delivered_can_be_sent_again() {
    let sandbox = sandbox();
    let bench = Bench::new(sandbox.url());
    for kind in CALL {
        bench.tell("a", kind);
    }
    wait_for(&sandbox, 4);
    bench.settled();
    bench.clock.advance(Duration::from_secs(61));
    assert_eq!(
        bench.ask(Question::Replay(Replay::Call("a".to_owned()))),
        Answer::Count(4)
    );
    wait_for(&sandbox, 6);
    assert_eq!(bench.settled().dropped_stale, 2, "cards are not shown again");
    assert_eq!(received(&sandbox)[4..], ["COMPLETED a", "record a"]);
    let Answer::Failed(sentence) =
        bench.ask(Question::Replay(Replay::Between("x".to_owned(), "y".to_owned())))
    else {
        panic!()
    };
    assert!(sentence.contains("'x' is not a time"), "{sentence}");
}

/// A week is sent again by mistake, and it rings meanwhile.
#[test]
fn sending_many_again_holds_nothing_up() {
    const MANY: usize = 8_000;
    let sandbox = sandbox();
    let mut bench = Bench::with(
        crm(sandbox.url()),
        settings::Delivery {
            backlog_rate: 0,
            stale_popup: Duration::from_secs(86_400),
            ..config()
        },
    );
    assert!(bench.delivery.stop(BOUND));
    let mut spool = Spool::open(&bench.spool(), 1 << 30, 0).unwrap().spool;
    let now = bench.clock.wall();
    for first in (0..MANY).step_by(1_000) {
        let mut changes = Vec::new();
        for n in first..first + 1_000 {
            let id = spool.take_id();
            changes.push(Change::Add(Arc::new(Parcel {
                id,
                accepted: now,
                born: 0,
                attempts: 0,
                // The two ends of each call are far apart.
                draft: draft(
                    &format!("c{}", n % (MANY / 2)),
                    if n < MANY / 2 {
                        Kind::Completed
                    } else {
                        Kind::Record
                    },
                ),
            })));
            changes.push(Change::Settle {
                id,
                state: State::Delivered,
                reason: None,
                at: now,
            });
        }
        spool.commit(&changes).unwrap();
    }
    spool.close();
    bench.delivery = start(&bench.spool(), &bench.crm, &bench.config, &bench.clock);
    let order = Replay::Between("2020-01-01".to_owned(), "2100-01-01".to_owned());
    let Answer::GoesOn(so_far) = bench.ask(Question::Replay(order)) else {
        panic!("all at once")
    };
    assert!(so_far < MANY / 10, "{so_far}");
    bench.tell("rings", Kind::Incoming);
    bench.tell("c7", Kind::Incoming);
    wait_for(&sandbox, MANY + 2);
    assert_eq!(bench.settled().delivered, MANY as u64 + 2);
    let all = received(&sandbox);
    assert_eq!(all.len(), MANY + 2, "each once");
    let place = |wanted: &str| all.iter().position(|name| name == wanted).unwrap();
    assert!(
        place("INCOMING rings") < MANY / 2,
        "{} of {MANY}",
        place("INCOMING rings")
    );
    let mut ended = std::collections::HashSet::new();
    for name in &all {
        if let Some(callid) = name.strip_prefix("COMPLETED ") {
            ended.insert(callid);
        } else if let Some(callid) = name.strip_prefix("record ") {
            assert!(ended.contains(callid), "{name} came before the end");
        }
    }
    assert!(
        place("INCOMING c7") > place("record c7"),
        "what goes again of a call stands before what is new"
    );
}

#[test]
fn a_backlog_larger_than_memory_holds_leaves_in_order_and_lets_new_calls_pass() {
    let sandbox = sandbox();
    let mut bench = Bench::with(
        crm(sandbox.url()),
        settings::Delivery {
            stale_popup: Duration::from_secs(86_400),
            ..config()
        },
    );
    bench.ask(Question::Pause(true));
    let calls = 5_000;
    for kind in [Kind::Incoming, Kind::Accepted, Kind::Completed] {
        for call in 0..calls {
            while bench
                .delivery
                .submit(vec![draft(&format!("c{call}"), kind)])
                .is_err()
            {
                std::thread::yield_now();
            }
        }
    }
    bench.until("the backlog", |status| status.pending == 3 * calls);
    bench.restart();
    bench.tell("c4999", Kind::Record);
    bench.tell("fresh", Kind::Incoming);
    bench.until("the backlog again", |status| status.pending == 3 * calls + 2);
    bench.ask(Question::Pause(false));
    let all = usize::try_from(3 * calls + 2).unwrap();
    assert!(
        sandbox.wait_for(|requests| requests.len() >= all, 5 * BOUND),
        "{}",
        sandbox.requests().len()
    );
    assert!(
        sandbox.violations().is_empty(),
        "{:?}",
        &sandbox.violations()[..3]
    );
    let requests = sandbox.requests();
    let place = |wanted: &str| {
        requests
            .iter()
            .position(|request| name(request) == wanted)
            .unwrap()
    };
    assert!(
        place("INCOMING fresh") < 200,
        "a new call does not wait for the backlog: {}",
        place("INCOMING fresh")
    );
    assert!(
        place("record c4999") > place("COMPLETED c4999"),
        "an older request of the call lies on the disk"
    );
    assert_eq!(bench.settled().delivered, 3 * calls + 2);
    assert_eq!(requests.len(), all, "nothing is sent twice");
}

#[test]
fn certificates_are_verified() {
    let folder = tempfile::tempdir().unwrap();
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let ca_file = folder.path().join("ca.pem");
    fs::write(&ca_file, authority_certificate.pem()).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let server = |host: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec![host.to_owned()])
            .unwrap()
            .signed_by(&key, &issuer)
            .unwrap();
        let tls = Tls {
            certificates: certificate.pem().into_bytes(),
            key: key.serialize_pem().into_bytes(),
        };
        Sandbox::start(Options {
            token: TOKEN.to_owned(),
            tls: Some(tls),
            ..Options::default()
        })
        .unwrap()
    };
    let trusting = |sandbox: &Sandbox| {
        let mut crm = crm(sandbox.url());
        crm.tls_ca_file = ca_file.display().to_string();
        crm
    };

    let good = server("127.0.0.1");
    let bench = Bench::with(trusting(&good), config());
    bench.tell("a", Kind::Incoming);
    wait_for(&good, 1);

    let distrusting = Bench::with(crm(good.url()), config());
    distrusting.tell("b", Kind::Completed);
    let status = distrusting.until("the distrust", |status| status.condition == Condition::Down);
    assert!(
        status.reason.contains("no trusted connection"),
        "{}",
        status.reason
    );
    assert_eq!(status.pending, 1);

    let other = server("crm.example.com");
    let bench = Bench::with(trusting(&other), config());
    bench.tell("c", Kind::Completed);
    let status = bench.until("the wrong name", |status| status.condition == Condition::Down);
    assert!(
        status.reason.contains("no trusted connection"),
        "{}",
        status.reason
    );
    assert!(other.requests().is_empty());

    let mut unreadable = crm("https://127.0.0.1:1/");
    unreadable.tls_ca_file = folder.path().join("none.pem").display().to_string();
    assert!(
        bench
            .delivery
            .reconfigure(&unreadable, &bench.config)
            .unwrap_err()
            .contains("cannot be read")
    );
    fs::write(folder.path().join("empty.pem"), "nothing").unwrap();
    unreadable.tls_ca_file = folder.path().join("empty.pem").display().to_string();
    assert!(
        bench
            .delivery
            .reconfigure(&unreadable, &bench.config)
            .unwrap_err()
            .contains("holds no certificate")
    );
}

#[test]
fn a_full_spool_refuses_cards_before_ends_and_recovers() {
    let sandbox = sandbox();
    let bench = Bench::with(
        crm(sandbox.url()),
        settings::Delivery {
            max_spool: 1 << 20,
            ..config()
        },
    );
    bench.ask(Question::Pause(true));
    let mut accepted = 0;
    let mut fill = |kind: Kind, room: Room| {
        for n in 0..5_000 {
            let mut draft = draft(&format!("{kind}{n}"), kind);
            // The sandbox takes any length here, Planfix need not.
            draft.body = draft
                .body
                .replace("diversion=101", &format!("diversion={}", "1".repeat(1_000)));
            match bench.delivery.submit(vec![draft]) {
                Ok(()) => accepted += 1,
                Err(refusal) => {
                    assert_eq!(refusal, Refusal::Full);
                    break;
                }
            }
            // One at a time, so that the dispatcher's word on the room is heard before the next.
            bench.until("its writing", |status| {
                status.pending == accepted || status.room != Room::Ample
            });
        }
        bench.until("its room", |status| {
            status.room as u8 >= room as u8 && status.inbox == 0
        });
    };
    fill(Kind::Incoming, Room::Tight);
    assert_eq!(
        bench.delivery.submit(vec![draft("card", Kind::Incoming)]),
        Err(Refusal::Full)
    );
    fill(Kind::Completed, Room::Full);
    bench.until("the count", |status| {
        status.refused >= 2 && status.pending == accepted
    });
    assert!(fs::metadata(bench.spool().join("spool.db")).unwrap().len() <= 1 << 20);
    bench.ask(Question::Pause(false));
    let status = bench.settled();
    assert_eq!(status.delivered, accepted);
    bench.until("room", |status| status.room == Room::Ample);
    bench.tell("again", Kind::Incoming);
    bench.settled();
    assert!(logged("new popups are refused"));
}

#[test]
fn what_failed_is_kept_for_its_time_and_no_clock_that_is_set_for_a_moment_changes_that() {
    let sandbox = sandbox();
    let bench = Bench::new(sandbox.url());
    sandbox.set_fault(Fault::new(FaultKind::Status(400, None)).callid("refused").next(1));
    bench.tell("fine", Kind::Completed);
    bench.tell("refused", Kind::Completed);
    bench.until("the refusal", |status| {
        status.failed == 1 && status.delivered == 1
    });
    let day = Duration::from_secs(86_400);
    bench.clock.set_ahead(40 * day);
    bench.clock.advance(Duration::from_secs(61));
    let file = bench.file();
    // What was delivered goes in the same round, and before.
    bench.until("the chores", |_| {
        let query = "SELECT count(*) FROM event WHERE state = 1";
        file.query_row(query, [], |row| row.get(0)) == Ok(0)
    });
    let failed = |bench: &Bench| match bench.ask(Question::Failed { limit: 9 }) {
        Answer::Events { total, .. } => total,
        other => panic!("{other:?}"),
    };
    assert_eq!(failed(&bench), 1);
    bench.clock.set_ahead(Duration::ZERO);
    bench.clock.advance(28 * day);
    assert_eq!(failed(&bench), 1);
    bench.clock.advance(3 * day);
    bench.until("its end", |status| {
        // It may have looked at the clock for the first time only now.
        bench.clock.advance(Duration::from_secs(3_600));
        status.failed == 0
    });
    assert_eq!(failed(&bench), 0);
}

#[test]
fn what_is_in_memory_at_the_end_goes_to_a_disk_that_is_back() {
    let sandbox = sandbox();
    let refuse = sandbox.set_fault(Fault::new(FaultKind::Refuse));
    let mut bench = Bench::without_a_disk(sandbox.url());
    bench.tell("a", Kind::Incoming);
    bench.until("its waiting", |status| {
        status.pending == 1 && status.spool == "memory"
    });
    fs::remove_file(bench.spool()).unwrap();
    // At once, before the spool in memory looks for the disk by itself.
    bench.restart();
    let status = bench.until("it from the disk", |status| status.pending == 1);
    assert!(status.spool.ends_with("spool.db"), "{}", status.spool);
    sandbox.clear_fault(refuse);
    bench.settled();
    assert_eq!(received(&sandbox), ["INCOMING a"]);
}

#[test]
fn a_card_that_only_memory_knows_at_the_end_is_known_to_the_next_run() {
    let sandbox = sandbox();
    let mut bench = Bench::without_a_disk(sandbox.url());
    bench.tell("a", Kind::Incoming);
    wait_for(&sandbox, 1);
    assert_eq!(bench.settled().spool, "memory");
    fs::remove_file(bench.spool()).unwrap();
    bench.restart();
    let Answer::OpenCards(cards) = bench.ask(Question::OpenCards) else {
        panic!()
    };
    assert_eq!(cards.len(), 1);
    assert_eq!(cards[0].callid, "a");
}

#[test]
fn what_is_lost_at_the_end_because_there_is_no_disk_is_said() {
    let sandbox = sandbox();
    sandbox.set_fault(Fault::new(FaultKind::Refuse));
    let bench = Bench::without_a_disk(sandbox.url());
    bench.tell("a", Kind::Incoming);
    bench.tell("a", Kind::Completed);
    bench.until("their waiting", |status| status.pending == 2);
    assert!(bench.delivery.stop(BOUND));
    assert!(logged("2 events could not be written to the spool and are lost"));
}

#[test]
fn without_a_disk_events_are_delivered_from_memory_and_moved_to_it_when_it_is_back() {
    let sandbox = sandbox();
    let mut bench = Bench::without_a_disk(sandbox.url());
    bench.tell("a", Kind::Incoming);
    wait_for(&sandbox, 1);
    let status = bench.settled();
    assert_eq!(status.spool, "memory");
    assert!(!status.spool_trouble.is_empty());
    sandbox.set_fault(Fault::new(FaultKind::Status(400, None)).callid("refused").next(1));
    bench.tell("refused", Kind::Completed);
    bench.until("the refusal", |status| status.failed == 1);
    bench.ask(Question::Pause(true));
    bench.tell("a", Kind::Accepted);
    bench.tell("a", Kind::Completed);
    bench.until("two waiting", |status| status.pending == 2);
    fs::remove_file(bench.spool()).unwrap();
    // Nobody reloads anything.
    bench.clock.advance(Duration::from_secs(61));
    let status = bench.until("the disk", |status| status.spool.ends_with("spool.db"));
    assert!(status.paused, "the operator's word holds");
    let Answer::Events { rows, total } = bench.ask(Question::Failed { limit: 9 }) else {
        panic!()
    };
    assert_eq!((rows.len(), total, rows[0].callid.as_str()), (1, 1, "refused"));
    assert!(
        rows[0].reason.starts_with("refused (HTTP 400)"),
        "{}",
        rows[0].reason
    );
    bench.restart();
    bench.until("the pause", |status| status.paused && status.failed == 1);
    bench.ask(Question::Pause(false));
    bench.ask(Question::Retry(None));
    wait_for(&sandbox, 3);
    // ACCEPTED has become stale.
    let mut arrived = received(&sandbox);
    arrived[1..].sort();
    assert_eq!(arrived, ["INCOMING a", "COMPLETED a", "COMPLETED refused"]);
    assert!(bench.settled().spool_trouble.is_empty());
    let again = bench.ask(Question::Replay(Replay::Call("a".to_owned())));
    assert_eq!(
        again,
        Answer::Count(2),
        "what was delivered from memory is kept for this"
    );
}

#[test]
fn a_spool_that_is_damaged_while_it_is_in_use_is_replaced_and_loses_nothing_in_memory() {
    let sandbox = sandbox();
    let bench = Bench::with_fifty_waiting(sandbox.url());
    bench.overwrite(&["spool.db", "spool.db-wal", "spool.db-shm"]);
    bench.tell("after", Kind::Completed);
    bench.ask(Question::Pause(false));
    wait_for(&sandbox, 51);
    bench.settled();
    assert!(logged("is damaged"));
    assert!(bench.has_damaged_spool());
}

/// What SQLite has read before it does not read again as long as nobody else has changed the file by its rules: without being made
/// to look it would go on for hours, and everything would be lost with the process.
#[test]
fn a_damage_that_sqlite_does_not_see_by_itself_is_found_while_everything_is_still_in_memory() {
    let sandbox = sandbox();
    let bench = Bench::with_fifty_waiting(sandbox.url());
    bench.overwrite(&["spool.db", "spool.db-wal"]);
    bench.until("the finding", |_| bench.has_damaged_spool());
    bench.ask(Question::Pause(true));
    let file = bench.file();
    let pending = file.query_row("SELECT count(*) FROM event WHERE state = 0", [], |row| row.get(0));
    assert_eq!(pending, Ok(50), "a process that is killed now loses nothing");
}

#[test]
fn the_number_of_workers_follows_the_settings() {
    let sandbox = sandbox();
    let bench = Bench::new(sandbox.url());
    for workers in [1, 8, 2] {
        let config = settings::Delivery { workers, ..config() };
        bench.delivery.reconfigure(&bench.crm, &config).unwrap();
        bench.until("the workers", |status| status.workers == workers);
        bench.tell(&format!("w{workers}"), Kind::Incoming);
    }
    wait_for(&sandbox, 3);
}

#[test]
fn no_token_is_ever_logged() {
    let sandbox = sandbox();
    let bench = Bench::new(sandbox.url());
    bench.tell("a", Kind::Incoming);
    wait_for(&sandbox, 1);
    sandbox.set_fault("400,next=1".parse().unwrap());
    bench.tell("a", Kind::Completed);
    bench.until("the failure", |status| status.failed == 1);
    bench.delivery.stop(BOUND);
    let logged = LOGGED.lock().unwrap();
    assert!(
        logged.contains("Planfix does not accept"),
        "the log is heard at all"
    );
    let ours: Vec<&str> = logged
        .lines()
        .filter(|line| line.contains("res_planfix") && line.contains(TOKEN))
        .collect();
    assert!(ours.is_empty(), "{ours:?}");
    assert!(!format!("{:?}", bench.crm).contains(TOKEN));
    for file in fs::read_dir(bench.spool()).unwrap() {
        let content = fs::read(file.unwrap().path()).unwrap();
        assert!(
            !content
                .windows(TOKEN.len())
                .any(|window| window == TOKEN.as_bytes()),
            "the spool holds no token"
        );
    }
}
