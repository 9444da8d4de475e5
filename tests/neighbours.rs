//! Other programs have the spool's file open, as administrators, backups and database browsers do: calls are told all the same.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use planfix_sandbox::{Options, Request, Sandbox};
use res_planfix::core::draft::Kind;
use res_planfix::core::secret::Secret;
use res_planfix::core::settings::{self, Crm};
use res_planfix::delivery::clock::SystemClock;
use res_planfix::delivery::question::{Answer, Question};
use res_planfix::delivery::status::{Room, Status};
use res_planfix::delivery::threads::StdThreads;
use res_planfix::delivery::{Delivery, Surroundings};

mod draft;
use draft::draft;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// For whatever takes seconds on a machine with nothing else to do.
const BOUND: Duration = Duration::from_secs(60);

/// What was logged in this process by anybody.
static LOGGED: Mutex<String> = Mutex::new(String::new());

struct Ear;

impl log::Log for Ear {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        LOGGED
            .lock()
            .unwrap()
            .push_str(&format!("{} {}\n", record.level(), record.args()));
    }
    fn flush(&self) {}
}

/// How often something was logged about this spool.
fn logged(folder: &Path, text: &str) -> usize {
    let folder = folder.display().to_string();
    let logged = LOGGED.lock().unwrap();
    logged
        .lines()
        .filter(|line| line.contains(text) && line.contains(&folder))
        .count()
}

struct Bench {
    delivery: Delivery,
    sandbox: Sandbox,
    folder: tempfile::TempDir,
    crm: Crm,
    config: settings::Delivery,
}

fn start(folder: &Path, crm: &Crm, config: &settings::Delivery) -> Delivery {
    let around = Surroundings {
        folder: folder.to_owned(),
        threads: Arc::new(StdThreads),
        clock: Arc::new(SystemClock::new()),
    };
    Delivery::start(crm, config, around).unwrap()
}

impl Bench {
    fn new(max_spool: u64) -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            log::set_logger(&Ear).unwrap();
            log::set_max_level(log::LevelFilter::Info);
        });
        let sandbox = Sandbox::start(Options {
            token: TOKEN.to_owned(),
            ..Options::default()
        })
        .unwrap();
        let crm = Crm {
            url: sandbox.url().to_owned(),
            token: Secret::new(TOKEN),
            pbx_token: Secret::new(""),
            pbx_url: String::new(),
            tls_ca_file: String::new(),
        };
        let config = settings::Delivery {
            connect_timeout: BOUND,
            response_timeout: BOUND,
            retry_max: Duration::from_secs(1),
            max_spool,
            ..settings::Delivery::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let delivery = start(folder.path(), &crm, &config);
        Self {
            delivery,
            sandbox,
            folder,
            crm,
            config,
        }
    }

    /// Stops and starts again on the same spool.
    fn restart(&mut self) {
        assert!(self.delivery.stop(BOUND));
        self.delivery = start(self.folder.path(), &self.crm, &self.config);
    }

    fn spool(&self) -> PathBuf {
        self.folder.path().join("spool.db")
    }

    /// Another program.
    fn neighbour(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.spool()).unwrap()
    }

    fn ask(&self, question: Question) -> Answer {
        self.delivery.ask(question, BOUND).unwrap()
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

    /// `INCOMING a`, as the CRM has taken them in.
    fn received(&self) -> Vec<String> {
        self.sandbox
            .requests()
            .iter()
            .map(|request| name(request))
            .collect()
    }
}

fn name(request: &Request) -> String {
    let what = request
        .field("event")
        .or(request.cmd.as_deref())
        .unwrap_or_default();
    format!("{what} {}", request.field("callid").unwrap_or_default())
}

/// No part of the log that was written since somebody began to read can be copied and begun anew.
#[test]
fn a_program_that_reads_for_long_makes_the_room_tight_and_is_named() {
    let bench = Bench::new(2 << 20);
    assert_eq!(bench.ask(Question::Write), Answer::Done);
    let reader = bench.neighbour();
    reader.execute_batch("BEGIN").unwrap();
    let count: i64 = reader
        .query_row("SELECT count(*) FROM event", [], |row| row.get(0))
        .unwrap();
    assert_eq!(count, 0);
    let mut accepted = 0;
    let until = Instant::now() + BOUND;
    while bench.delivery.status().room == Room::Ample {
        assert!(Instant::now() < until, "{:#?}", bench.delivery.status());
        for _ in 0..20 {
            // What was told since the room was looked at may be refused.
            let draft = draft(&format!("c{accepted}"), Kind::Completed);
            accepted += u64::from(bench.delivery.submit(vec![draft]).is_ok());
        }
        bench.until("its delivery", |status| status.delivered == accepted);
    }
    assert!(
        bench
            .delivery
            .submit(vec![draft("card", Kind::Incoming)])
            .is_err(),
        "a card is refused"
    );
    let warning = "Another program has been reading";
    bench.until("the warning", |_| logged(bench.folder.path(), warning) > 0);
    assert!(
        std::fs::metadata(bench.spool()).unwrap().len() < 1 << 20,
        "it is the log that has grown"
    );
    reader.execute_batch("COMMIT").unwrap();
    bench.until("room", |status| status.room == Room::Ample);
    bench.until("its notice", |_| {
        logged(bench.folder.path(), "is short again") > 0
    });
    assert_eq!(logged(bench.folder.path(), warning), 1);
    bench.tell("after", Kind::Incoming);
    bench.until("the last", |status| status.delivered == accepted + 1);
    assert_eq!(bench.received().len() as u64, accepted + 1, "each once");
}

#[test]
fn a_program_that_holds_the_file_locked_delays_no_call() {
    let bench = Bench::new(1 << 30);
    bench.tell("before", Kind::Completed);
    bench.until("the first", |status| status.delivered == 1);
    let writer = bench.neighbour();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    let begin = Instant::now();
    for (count, kind) in [Kind::Incoming, Kind::Accepted, Kind::Completed]
        .into_iter()
        .enumerate()
    {
        bench.tell("a", kind);
        bench.until("its delivery", |status| status.delivered == 2 + count as u64);
    }
    // Half a second of patience, and much less than that again and again.
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    let status = bench.until("the lock to be noticed", |status| {
        !status.spool_trouble.is_empty()
    });
    assert!(
        status.spool_trouble.contains("another program holds it locked"),
        "{}",
        status.spool_trouble
    );
    // While the lock is held for seconds, the chores come and go, and calls are told as quickly.
    let until = Instant::now() + Duration::from_secs(4);
    let mut count = 4;
    while Instant::now() < until {
        let begin = Instant::now();
        bench.tell(&format!("b{count}"), Kind::Completed);
        count += 1;
        bench.until("one more", |status| status.delivered == count);
        assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    }
    bench.ask(Question::Pause(true));
    bench.tell("waits", Kind::Completed);
    writer.execute_batch("COMMIT").unwrap();
    bench.until("the end of the trouble", |status| status.spool_trouble.is_empty());
    let kept: i64 = writer
        .query_row(
            "SELECT count(*) FROM event WHERE callid = 'waits' AND state = 0",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(kept, 1);
    bench.ask(Question::Pause(false));
    bench.until("the last", |status| {
        status.delivered == count + 1 && status.pending == 0
    });
    let received = bench.received();
    assert_eq!(received.len() as u64, count + 1, "each once");
    assert_eq!(received[1..4], ["INCOMING a", "ACCEPTED a", "COMPLETED a"]);
    assert_eq!(
        logged(bench.folder.path(), "close the program that has spool.db open"),
        1
    );
}

/// More is pending than lies in memory, and nothing of what becomes of it can be written.
#[test]
fn a_backlog_larger_than_memory_holds_is_delivered_while_the_file_is_locked() {
    const CALLS: u64 = 4_000;
    let mut bench = Bench::new(1 << 30);
    bench.ask(Question::Pause(true));
    for kind in [Kind::Completed, Kind::Record] {
        for call in 0..CALLS {
            while bench
                .delivery
                .submit(vec![draft(&format!("c{call}"), kind)])
                .is_err()
            {
                std::thread::yield_now();
            }
        }
    }
    bench.until("the backlog", |status| status.pending == 2 * CALLS);
    bench.restart();
    bench.until("the backlog again", |status| status.pending == 2 * CALLS);
    let writer = bench.neighbour();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    // The order holds although it cannot be written.
    assert!(matches!(bench.ask(Question::Pause(false)), Answer::Failed(_)));
    for kind in [Kind::Incoming, Kind::Accepted, Kind::Completed] {
        bench.tell("new", kind);
    }
    // Of a call of which older requests lie on the disk alone.
    let behind = format!("c{}", CALLS - 1);
    bench.tell(&behind, Kind::Incoming);
    let all = 2 * CALLS + 4;
    let status = bench.until("the last", |status| status.delivered == all);
    assert!(!status.spool_trouble.is_empty(), "it is still locked");
    bench.until("an empty queue", |status| {
        status.pending == 0 && status.inbox == 0
    });
    writer.execute_batch("COMMIT").unwrap();
    bench.until("the end of the trouble", |status| status.spool_trouble.is_empty());
    let pending: i64 = writer
        .query_row("SELECT count(*) FROM event WHERE state = 0", [], |row| row.get(0))
        .unwrap();
    assert_eq!(pending, 0);

    let received = bench.received();
    assert_eq!(received.len() as u64, all, "each once");
    let place = |wanted: String| received.iter().position(|name| *name == wanted).unwrap();
    for call in 0..CALLS {
        assert!(place(format!("COMPLETED c{call}")) < place(format!("record c{call}")));
    }
    assert!(place(format!("record {behind}")) < place(format!("INCOMING {behind}")));
    let new = ["INCOMING", "ACCEPTED", "COMPLETED"].map(|word| place(format!("{word} new")));
    assert!(new.is_sorted(), "{new:?}");
    assert!(
        new[2] < 4_000,
        "a new call does not wait for the backlog: {new:?}"
    );
}
