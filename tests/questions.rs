//! What the dispatcher answers about calls: which cards are open, and what became of each request. Real threads, a real
//! disk; what a crash leaves behind is a copy of the file as another process sees it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use planfix_sandbox::{Options, Sandbox};
use res_planfix::core::draft::{Draft, Kind};
use res_planfix::core::open_card::OpenCard;
use res_planfix::core::secret::Secret;
use res_planfix::core::settings::{self, Crm};
use res_planfix::delivery::clock::{Clock as _, ShiftedClock};
use res_planfix::delivery::question::{Answer, Question};
use res_planfix::delivery::spool::{Listed, State};
use res_planfix::delivery::status::{Room, Status};
use res_planfix::delivery::story::{Story, Told};
use res_planfix::delivery::threads::{StdThreads, Thread, Threads};
use res_planfix::delivery::{Delivery, Surroundings};
use rusqlite::{Connection, OpenFlags};

mod draft;
use draft::{DIVERSION, draft};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// Long: ThreadSanitizer makes a thousand requests take a minute and more.
const BOUND: Duration = Duration::from_secs(180);

/// Threads of which the dispatcher begins when the test says so.
#[derive(Default)]
struct Held {
    released: Arc<(Mutex<bool>, Condvar)>,
}

impl Held {
    fn release(&self) {
        *self.released.0.lock().unwrap() = true;
        self.released.1.notify_all();
    }
}

impl Threads for Held {
    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> io::Result<Box<dyn Thread>> {
        let released = Arc::clone(&self.released);
        let waits = name == "planfix/spool";
        let body = Box::new(move || {
            if waits {
                let held = released.0.lock().unwrap();
                drop(released.1.wait_while(held, |released| !*released).unwrap());
            }
            body();
        });
        StdThreads.spawn(name, body)
    }
}

struct Bench {
    delivery: Delivery,
    sandbox: Sandbox,
    clock: Arc<ShiftedClock>,
    folder: tempfile::TempDir,
    config: settings::Delivery,
}

impl Bench {
    fn new() -> Self {
        Self::with(settings::Delivery::default(), Arc::new(StdThreads))
    }

    fn with(config: settings::Delivery, threads: Arc<dyn Threads>) -> Self {
        let sandbox = Sandbox::start(Options {
            token: TOKEN.to_owned(),
            ..Options::default()
        })
        .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ShiftedClock::default());
        let place = folder.path().join("planfix");
        Self {
            delivery: start(&sandbox, &place, &config, &clock, threads),
            sandbox,
            clock,
            folder,
            config,
        }
    }

    fn small(threads: Arc<dyn Threads>) -> Self {
        let config = settings::Delivery {
            max_spool: 1 << 20,
            stale_popup: Duration::from_secs(86_400),
            ..settings::Delivery::default()
        };
        Self::with(config, threads)
    }

    fn place(&self) -> PathBuf {
        self.folder.path().join("planfix")
    }

    fn stop(&self) {
        assert!(self.delivery.stop(Duration::from_secs(20)));
    }

    fn start(&mut self) {
        let threads = Arc::new(StdThreads);
        self.delivery = start(&self.sandbox, &self.place(), &self.config, &self.clock, threads);
    }

    fn restart(&mut self) {
        self.stop();
        self.start();
    }

    fn reconfigure(&self, config: &settings::Delivery) {
        self.delivery.reconfigure(&crm(&self.sandbox), config).unwrap();
    }

    fn tell(&self, callid: &str, kind: Kind) {
        self.delivery.submit(vec![draft(callid, kind)]).unwrap();
    }

    fn ask(&self, question: Question) -> Answer {
        self.delivery.ask(question, BOUND).unwrap()
    }

    /// The dispatcher has gone through its chores with the clock as it is now.
    fn chores(&self) {
        // Each question is answered in a round of its own, and the chores follow in that round.
        for _ in 0..2 {
            assert_eq!(self.ask(Question::Hurry), Answer::Done);
        }
    }

    fn cards(&self) -> Vec<OpenCard> {
        match self.ask(Question::OpenCards) {
            Answer::OpenCards(cards) => cards,
            other => panic!("{other:?}"),
        }
    }

    fn callids(&self) -> BTreeSet<String> {
        self.cards().into_iter().map(|card| card.callid).collect()
    }

    fn call(&self, name: &str) -> (Option<Story>, Vec<Listed>) {
        match self.ask(Question::Story(name.to_owned())) {
            Answer::Story { story, events } => (story, events),
            other => panic!("{other:?}"),
        }
    }

    fn file(&self) -> Connection {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(self.place().join("spool.db"), flags).unwrap()
    }

    /// The calls of which the table on the disk has an open card.
    fn table(&self) -> BTreeSet<String> {
        let file = self.file();
        let mut statement = file.prepare("SELECT callid FROM open_card").unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    fn alive(&self) -> Option<u64> {
        let file = self.file();
        let text: Option<String> = file
            .query_row("SELECT max(value) FROM meta WHERE name = 'alive'", [], |row| {
                row.get(0)
            })
            .unwrap();
        text.map(|text| text.parse().unwrap())
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

    /// So many requests were acknowledged, and that is on the disk.
    fn delivered(&self, count: u64) {
        self.until("the delivery", |status| {
            status.delivered == count && status.pending == 0
        });
        assert_eq!(self.ask(Question::Hurry), Answer::Done);
    }
}

fn crm(sandbox: &Sandbox) -> Crm {
    Crm {
        url: sandbox.url().to_owned(),
        token: Secret::new(TOKEN),
        pbx_token: Secret::new("pbx"),
        pbx_url: String::new(),
        tls_ca_file: String::new(),
    }
}

fn start(
    sandbox: &Sandbox,
    folder: &Path,
    config: &settings::Delivery,
    clock: &Arc<ShiftedClock>,
    threads: Arc<dyn Threads>,
) -> Delivery {
    let around = Surroundings {
        folder: folder.to_owned(),
        threads,
        clock: Arc::clone(clock) as Arc<_>,
    };
    Delivery::start(&crm(sandbox), config, around).unwrap()
}

/// A request whose value is so long; the sandbox takes any length.
fn large(callid: &str, kind: Kind, length: usize) -> Draft {
    let mut draft = draft(callid, kind);
    draft.body = draft.body.replace(DIVERSION, &"1".repeat(length));
    draft
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn story(callid: &str, channels: &[&str], ended: u64) -> Story {
    Story {
        callid: callid.to_owned(),
        channels: channels.iter().map(|name| (*name).to_owned()).collect(),
        ended,
        text: "x".repeat(8_000),
    }
}

#[test]
fn cards_are_open_until_their_end_through_restarts_and_whatever_becomes_of_the_requests() {
    let mut bench = Bench::new();
    bench.ask(Question::Pause(true));
    for callid in ["rings", "talks", "over"] {
        bench.tell(callid, Kind::Incoming);
    }
    bench.tell("out", Kind::Outgoing);
    bench.tell("talks", Kind::Accepted);
    bench.tell("over", Kind::Completed);
    // What was submitted before the question belongs to the answer, and is on the disk by then.
    let open = set(&["out", "rings", "talks"]);
    assert_eq!(bench.callids(), open);
    assert_eq!(bench.table(), open);
    // Stale ones are given up, their cards stay open.
    bench.clock.advance(Duration::from_secs(61));
    bench.chores();
    bench.until("the stale cards", |status| status.dropped_stale == 5);
    assert_eq!(bench.callids(), open);
    for _ in 0..2 {
        bench.restart();
        assert_eq!(bench.callids(), open);
    }
    let answered = |card: &OpenCard| card.accepted.is_some() == (card.callid == "talks");
    assert!(bench.cards().iter().all(answered));
    for card in bench.cards() {
        bench.delivery.submit(vec![card.closing()]).unwrap();
    }
    assert_eq!(bench.callids(), set(&[]));
    bench.restart();
    assert_eq!(bench.callids(), set(&[]));
    bench.ask(Question::Pause(false));
    bench.delivered(4);
    let requests = bench.sandbox.requests();
    let told: BTreeSet<_> = requests
        .iter()
        .map(|request| {
            let field = |name: &str| request.field(name).unwrap_or_default().to_owned();
            [field("event"), field("callid"), field("type"), field("status")].join(" ")
        })
        .collect();
    assert_eq!(
        told,
        set(&[
            "COMPLETED out out NoAnswer",
            "COMPLETED over in Success",
            "COMPLETED rings in Missed",
            "COMPLETED talks in Success",
        ])
    );
    assert!(requests.iter().all(|request| request.accepted()), "{requests:#?}");
}

#[test]
fn a_question_waits_until_the_spool_is_open() {
    let mut bench = Bench::new();
    bench.tell("a", Kind::Incoming);
    bench.stop();
    let threads = Arc::new(Held::default());
    bench.delivery = start(
        &bench.sandbox,
        &bench.place(),
        &bench.config,
        &bench.clock,
        Arc::clone(&threads) as Arc<_>,
    );
    bench.tell("b", Kind::Incoming);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| bench.callids());
        threads.release();
        assert_eq!(asked.join().unwrap(), set(&["a", "b"]));
    });
}

#[test]
fn after_a_crash_the_talk_time_is_what_the_module_lived_through() {
    let bench = Bench::new();
    bench.tell("rings", Kind::Incoming);
    bench.tell("talks", Kind::Incoming);
    bench.tell("talks", Kind::Accepted);
    assert_eq!(bench.cards().len(), 2);
    bench.delivered(3);
    bench.clock.advance(Duration::from_secs(65));
    bench.chores();
    let shown = bench.cards()[1].shown;
    assert!(
        bench.alive().unwrap() >= shown + 65_000,
        "while somebody talks it is written"
    );

    // What another process finds after kill -9.
    let left = tempfile::tempdir().unwrap();
    let copy = left.path().join("spool.db");
    bench
        .file()
        .execute("VACUUM INTO ?", [copy.to_str().unwrap()])
        .unwrap();
    bench.clock.advance(Duration::from_secs(3_600));
    let begin = |count: usize| {
        let threads = Arc::new(StdThreads);
        let delivery = start(&bench.sandbox, left.path(), &bench.config, &bench.clock, threads);
        match delivery.ask(Question::OpenCards, BOUND) {
            Some(Answer::OpenCards(cards)) => {
                assert_eq!(cards.len(), count);
                (delivery, cards)
            }
            other => panic!("{other:?}"),
        }
    };
    // The first run after the crash ends before it could close anything.
    drop(begin(2));
    bench.clock.advance(Duration::from_secs(3_600));
    let (delivery, cards) = begin(2);
    let drafts: Vec<Draft> = cards.iter().map(OpenCard::closing).collect();
    let seconds = |draft: &Draft| -> u64 {
        let fields = form_urlencoded::parse(draft.body.as_bytes());
        let mut durations = fields.filter(|(name, _)| name == "duration");
        durations.next().unwrap().1.parse().unwrap()
    };
    assert!(
        drafts[0]
            .body
            .ends_with("&duration=0&is_recorded=0&status=Missed")
    );
    assert!(drafts[1].body.ends_with("&status=Success"));
    assert!(
        (64..65 + BOUND.as_secs()).contains(&seconds(&drafts[1])),
        "{}",
        drafts[1].body
    );
    delivery.submit(drafts).unwrap();
    drop(delivery);
    begin(0);
}

#[test]
fn nothing_is_written_while_nobody_talks() {
    let bench = Bench::new();
    bench.tell("rings", Kind::Incoming);
    bench.tell("over", Kind::Incoming);
    bench.tell("over", Kind::Accepted);
    bench.tell("over", Kind::Completed);
    bench.cards();
    bench.delivered(4);
    bench.chores();
    let before = bench.alive();
    assert!(before.is_some());
    for _ in 0..3 {
        bench.clock.advance(Duration::from_secs(30));
        bench.chores();
    }
    assert_eq!(bench.alive(), before);
}

#[test]
fn open_cards_are_known_without_a_disk_and_move_to_it() {
    let mut bench = Bench::new();
    for callid in ["closed", "open"] {
        bench.tell(callid, Kind::Incoming);
    }
    bench.stop();
    // The disk is away when the module is loaded again.
    let away = bench.folder.path().join("away");
    fs::rename(bench.place(), &away).unwrap();
    fs::write(bench.place(), "a file in place of the folder").unwrap();
    bench.start();
    bench.tell("closed", Kind::Completed);
    for callid in ["new", "short"] {
        bench.tell(callid, Kind::Incoming);
    }
    bench.tell("new", Kind::Accepted);
    bench.tell("short", Kind::Completed);
    assert_eq!(bench.callids(), set(&["new"]));
    bench
        .delivery
        .keep_story(story("short", &["1.1"], bench.clock.wall()));
    assert_eq!(bench.call("1.1").1.len(), 2);
    bench.until("memory", |status| status.spool == "memory");
    fs::remove_file(bench.place()).unwrap();
    fs::rename(&away, bench.place()).unwrap();
    bench.reconfigure(&bench.config);
    bench.until("the disk", |status| status.spool.ends_with("spool.db"));
    let open = set(&["new", "open"]);
    assert_eq!(bench.callids(), open);
    bench.restart();
    assert_eq!(bench.callids(), open);
    assert_eq!(bench.table(), open);
    let (kept, events) = bench.call("1.1");
    assert_eq!(kept.map(|story| story.callid).as_deref(), Some("short"));
    assert_eq!(events.len(), 2);
    let accepted = |card: &OpenCard| (card.callid == "new") == card.accepted.is_some();
    assert!(bench.cards().iter().all(accepted));
}

#[test]
fn open_cards_outlive_a_spool_that_is_damaged_while_it_is_in_use() {
    let mut bench = Bench::new();
    for callid in ["rings", "talks", "over"] {
        bench.tell(callid, Kind::Incoming);
    }
    bench.tell("talks", Kind::Accepted);
    bench.tell("over", Kind::Completed);
    bench.cards();
    bench.delivered(5);
    for file in ["spool.db", "spool.db-wal", "spool.db-shm"] {
        let path = bench.place().join(file);
        let length = fs::metadata(&path).unwrap().len();
        let garbage = vec![0x5a; usize::try_from(length).unwrap()];
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &garbage, 0).unwrap();
    }
    bench.tell("after", Kind::Incoming);
    let open = set(&["after", "rings", "talks"]);
    assert_eq!(bench.callids(), open);
    bench.restart();
    assert_eq!(bench.callids(), open);
}

/// The spool says whose cards it has: the clock of the next Asterisk may be wherever it wants.
#[test]
fn what_an_earlier_asterisk_left_open_is_closed_and_nothing_else_is() {
    left_open_is_closed("UPDATE meta SET value = 'another' WHERE name = 'process'", |_| 0);
}

/// It was written by a module that did not say so.
#[test]
fn what_was_shown_before_asterisk_started_is_closed_and_nothing_else_is() {
    left_open_is_closed("DELETE FROM meta WHERE name = 'process'", |now| now);
}

/// `done`: what becomes of the spool between two runs; `started`: when the second one says that Asterisk was started.
fn left_open_is_closed(done: &str, started: impl Fn(u64) -> u64) {
    let mut bench = Bench::new();
    for callid in ["rings", "talks"] {
        bench.tell(callid, Kind::Incoming);
    }
    bench.tell("talks", Kind::Accepted);
    bench.delivered(3);
    bench.stop();
    let spool = Connection::open(bench.place().join("spool.db")).unwrap();
    assert_eq!(spool.execute(done, []).unwrap(), 1);
    spool.close().unwrap();
    // The next one starts while the disk is away.
    let away = bench.folder.path().join("away");
    fs::rename(bench.place(), &away).unwrap();
    fs::write(bench.place(), "a file in place of the folder").unwrap();
    bench.clock.advance(Duration::from_secs(10));
    let started = started(bench.clock.wall());
    bench.start();
    bench.delivery.close_left_open(started);
    bench.clock.advance(Duration::from_secs(10));
    bench.tell("new", Kind::Incoming);
    assert_eq!(bench.callids(), set(&["new"]));
    fs::remove_file(bench.place()).unwrap();
    fs::rename(&away, bench.place()).unwrap();
    bench.reconfigure(&bench.config);
    bench.until("the disk", |status| status.spool.ends_with("spool.db"));
    bench.until("the ends", |_| bench.callids() == set(&["new"]));
    bench.delivered(3);
    // The module is loaded once more by the same Asterisk: its calls go on, whatever became of the clock.
    bench.restart();
    bench.delivery.close_left_open(bench.clock.wall() + 1);
    assert_eq!(bench.callids(), set(&["new"]));
    bench.stop();
    let requests = bench.sandbox.requests();
    let mut ends: Vec<_> = requests
        .iter()
        .filter(|request| request.field("event") == Some("COMPLETED"))
        .map(|request| (request.field("callid"), request.field("status")))
        .collect();
    ends.sort_unstable();
    assert_eq!(
        ends,
        [(Some("rings"), Some("Missed")), (Some("talks"), Some("Success"))]
    );
    assert!(
        bench.sandbox.violations().is_empty(),
        "{:?}",
        bench.sandbox.violations()
    );
}

#[test]
fn rows_of_cards_do_not_cost_events_their_place() {
    // Together the events fit into the spool, and their cards do not fit beside them.
    const CALLS: u64 = 680;
    let threads = Arc::new(Held::default());
    let mut bench = Bench::small(Arc::clone(&threads) as Arc<_>);
    for n in 0..CALLS {
        let draft = large(&format!("c{n}"), Kind::Incoming, 700);
        bench.delivery.submit(vec![draft]).unwrap();
    }
    bench.sandbox.set_fault("refuse".parse().unwrap());
    threads.release();
    let status = bench.until("all of them", |status| status.pending == CALLS);
    assert_eq!(status.spool_trouble, "");
    let events = || -> i64 {
        let file = bench.file();
        file.query_row("SELECT count(*) FROM event WHERE state = 0", [], |row| row.get(0))
            .unwrap()
    };
    assert_eq!(events().unsigned_abs(), CALLS);
    assert_eq!(bench.callids().len() as u64, CALLS);
    assert!((bench.table().len() as u64) < CALLS, "the case is what it says");
    // As soon as there is room, they follow.
    bench.sandbox.clear_faults();
    bench.ask(Question::Hurry);
    bench.delivered(CALLS);
    let until = Instant::now() + BOUND;
    while bench.table() != bench.callids() {
        assert!(Instant::now() < until, "{} of {CALLS}", bench.table().len());
        bench.clock.advance(Duration::from_secs(1));
        bench.chores();
    }
    bench.restart();
    assert_eq!(bench.callids().len() as u64, CALLS);
    for n in 0..CALLS {
        bench.tell(&format!("c{n}"), Kind::Completed);
    }
    assert_eq!(bench.callids(), set(&[]));
    assert_eq!(bench.table(), set(&[]));
}

#[test]
fn open_cards_and_events_are_known_while_more_comes_than_the_spool_holds() {
    const CALLS: u64 = 2_000;
    let threads = Arc::new(Held::default());
    let mut bench = Bench::small(Arc::clone(&threads) as Arc<_>);
    for n in 0..CALLS {
        let callid = format!("c{n}");
        bench
            .delivery
            .submit(vec![large(&callid, Kind::Incoming, 600)])
            .unwrap();
        if n % 10 > 0 {
            bench.tell(&callid, Kind::Completed);
        }
    }
    let fault = bench.sandbox.set_fault("refuse".parse().unwrap());
    threads.release();
    let all = CALLS + CALLS * 9 / 10;
    let status = bench.until("all of them", |status| status.pending == all && status.inbox == 0);
    assert!(
        status.spool_trouble.contains("no room"),
        "{}",
        status.spool_trouble
    );
    assert_eq!(bench.callids().len() as u64, CALLS / 10);
    // In memory alone, by now.
    let (story, events) = bench.call("c1990");
    assert!(story.is_none());
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].kind.as_str(), events[0].state), ("INCOMING", None));
    assert_eq!(events[0].accepted.len(), 19);
    assert_eq!(bench.call("c1999").1.len(), 2);
    bench.sandbox.clear_fault(fault);
    bench.ask(Question::Hurry);
    bench.delivered(all);
    bench.until("room", |status| status.room == Room::Ample);
    let open = bench.callids();
    assert_eq!(open.len() as u64, CALLS / 10);
    let until = Instant::now() + BOUND;
    while bench.table() != open {
        assert!(Instant::now() < until, "{} rows", bench.table().len());
        bench.clock.advance(Duration::from_secs(1));
        bench.chores();
    }
    bench.restart();
    assert_eq!(bench.callids(), open);
}

#[test]
fn a_call_is_explained_by_its_story_and_by_what_became_of_each_request() {
    let mut bench = Bench::new();
    for kind in [Kind::Incoming, Kind::Accepted] {
        bench.tell("1.1", kind);
    }
    bench.delivered(2);
    bench.sandbox.set_fault("400,next=1".parse().unwrap());
    bench.tell("1.1", Kind::Completed);
    bench.until("the failure", |status| status.failed == 1);
    bench.ask(Question::Pause(true));
    bench.tell("1.1", Kind::Record);
    bench.tell("2.1", Kind::Incoming);
    // A second call with the same linkedid goes by the name of its client's channel.
    bench.tell("1.2", Kind::Incoming);
    let now = bench.clock.wall();
    let (first, second) = (
        story("1.1", &["1.1", "1.2"], now),
        story("3.1", &["3.1"], now + 1),
    );
    bench.delivery.keep_story(first.clone());
    bench.delivery.keep_story(second.clone());
    for _ in 0..2 {
        for name in ["1.1", "1.2"] {
            let (story, events) = bench.call(name);
            assert_eq!(story.as_ref(), Some(&first), "{name}");
            let rows: Vec<_> = events
                .iter()
                .map(|row| (row.kind.as_str(), row.state, row.attempts))
                .collect();
            assert_eq!(
                rows,
                [
                    ("INCOMING", Some(State::Delivered), 0),
                    ("ACCEPTED", Some(State::Delivered), 0),
                    ("COMPLETED", Some(State::Failed), 1),
                    ("RECORD", None, 0),
                    ("INCOMING", None, 0),
                ]
            );
            assert_eq!(events[4].callid, "1.2");
            assert!(
                events[2].reason.contains("Invalid parameters"),
                "{}",
                events[2].reason
            );
            assert!(events[2].settled_at >= Some(events[2].accepted_at));
            assert!(events[2].body.contains("event=COMPLETED"));
        }
        // Of a call that goes on, or that the dialplan reports, there is no story; of an internal one no event.
        let (none, events) = bench.call("2.1");
        assert_eq!((none, events.len()), (None, 1));
        assert_eq!(bench.call("3.1"), (Some(second.clone()), Vec::new()));
        assert_eq!(bench.call("4.1"), (None, Vec::new()));
        let told = |story: &Story| Told {
            callid: story.callid.clone(),
            ended: story.ended,
        };
        let latest = bench.ask(Question::Stories { limit: 10 });
        assert_eq!(latest, Answer::Stories(vec![told(&second), told(&first)]));
        bench.restart();
    }
    assert_eq!(bench.delivery.status().stories_left_out, 0);
}

#[test]
fn stories_are_written_without_being_asked_for_and_go_after_a_day() {
    let bench = Bench::new();
    let now = bench.clock.wall();
    // Nothing else is written meanwhile.
    bench.delivery.keep_story(story("a", &["a"], now));
    let count = || -> i64 {
        let file = bench.file();
        file.query_row("SELECT count(*) FROM story", [], |row| row.get(0))
            .unwrap()
    };
    bench.until("the opening", |status| !status.spool.is_empty());
    bench.until("its writing", |_| count() == 1);
    bench.clock.advance(Duration::from_secs(23 * 3_600));
    bench.delivery.keep_story(story("b", &["b"], bench.clock.wall()));
    bench.chores();
    assert!(bench.call("a").0.is_some());
    bench.clock.advance(Duration::from_secs(2 * 3_600));
    bench.chores();
    bench.until("its end", |_| count() == 1);
    assert!(bench.call("a").0.is_none());
    assert!(bench.call("b").0.is_some());
}

#[test]
fn stories_leave_events_their_room() {
    let bench = Bench::small(Arc::new(StdThreads));
    bench.ask(Question::Pause(true));
    let now = bench.clock.wall();
    for n in 0..30 {
        let name = format!("s{n}");
        bench.delivery.keep_story(story(&name, &[&name], now + n));
        assert!(bench.call(&name).0.is_some(), "{name}");
    }
    // Events fill the spool; ends of calls are accepted until there is no room at all.
    let mut accepted = 0;
    while bench
        .delivery
        .submit(vec![large(&format!("c{accepted}"), Kind::Completed, 900)])
        .is_ok()
    {
        accepted += 1;
        bench.until("its writing", |status| {
            status.pending == accepted || status.room == Room::Full
        });
        assert!(accepted < 10_000, "the limit did not hold");
    }
    assert_eq!(bench.call("s0").0, None);
    assert_eq!(bench.call("s29").0, None, "stories went first");
    // Without stories just as many fit.
    let other = Bench::small(Arc::new(StdThreads));
    other.ask(Question::Pause(true));
    let mut without = 0;
    while other
        .delivery
        .submit(vec![large(&format!("c{without}"), Kind::Completed, 900)])
        .is_ok()
    {
        without += 1;
        other.until("its writing", |status| {
            status.pending == without || status.room == Room::Full
        });
    }
    assert!(
        accepted + 8 >= without,
        "{accepted} events beside stories, {without} without"
    );
    // More than half of the spool is in use: a story is left out, and counted.
    bench.delivery.keep_story(story("late", &["late"], now));
    assert_eq!(bench.call("late").0, None);
    bench.until("the count", |status| status.stories_left_out == 1);
}

#[test]
fn stories_that_nobody_takes_up_are_counted_and_nobody_waits() {
    let threads = Arc::new(Held::default());
    let bench = Bench::with(settings::Delivery::default(), Arc::clone(&threads) as Arc<_>);
    let now = bench.clock.wall();
    for n in 0..2_000 {
        let name = format!("s{n}");
        bench.delivery.keep_story(story(&name, &[&name], now + n));
    }
    let left_out = bench.delivery.status().stories_left_out;
    assert!(left_out > 0, "the inbox is bounded");
    threads.release();
    // Those that were taken up are written in the order in which they came.
    let last = 2_000 - left_out - 1;
    assert!(bench.call(&format!("s{last}")).0.is_some());
    assert!(bench.call(&format!("s{}", last + 1)).0.is_none());
    assert!(bench.call("s0").0.is_some());
}
