//! Random calls, faults, pauses and restarts against two rules: everything that was accepted arrives, and within a call
//! nothing arrives before what was accepted before it; and the open cards are those that were shown and not closed, in the
//! answer and on the disk. A failure prints its seed; RES_PLANFIX_SEED repeats it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use planfix_sandbox::{Options, Sandbox};
use res_planfix::core::draft::{Draft, Form, Kind};
use res_planfix::core::secret::Secret;
use res_planfix::core::settings::{self, Crm};
use res_planfix::delivery::clock::SystemClock;
use res_planfix::delivery::question::{Answer, Question};
use res_planfix::delivery::threads::StdThreads;
use res_planfix::delivery::{Delivery, Surroundings};

/// For whatever takes milliseconds on a machine with nothing else to do.
const BOUND: Duration = Duration::from_secs(60);
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Some of them let the CRM take the request in although its answer is lost, which leads to repetitions.
const FAULTS: [&str; 12] = [
    "500,next=9",
    "503,next=2",
    "429,next=2,retry-after=1",
    "cut,next=6,processed=yes",
    "reset,next=6",
    "cut-header,next=4,processed=yes",
    "html,next=4",
    "long-length,next=4,processed=yes",
    "endless-body,next=2",
    "hang,next=4",
    "delay=30,next=40",
    "refuse,for=600",
];

fn draft(call: usize, step: usize) -> Draft {
    let kind = [Kind::Incoming, Kind::Accepted, Kind::Completed, Kind::Record][step];
    let callid = format!("c{call}");
    let body = match kind {
        Kind::Record => Form::command("record")
            .field(b"callid", callid.as_bytes())
            .field(b"record_link", b"https://x/1.mp3"),
        _ => Form::command("event")
            .field(b"type", b"in")
            .field(b"event", kind.word().as_bytes())
            .field(b"phone", b"79101234567")
            .field(b"ext", b"101")
            .field(b"callid", callid.as_bytes()),
    };
    let body = match kind {
        Kind::Completed => body
            .field(b"duration", b"5")
            .field(b"is_recorded", b"1")
            .field(b"status", b"Success"),
        _ => body,
    };
    Draft {
        callid,
        kind,
        ext: "101".to_owned(),
        body: body.finish(),
    }
}

/// Each open card's call, and whether it was accepted.
type Open = BTreeMap<String, bool>;

/// The open cards by the answer, which holds whatever was submitted before, and by the table as another process sees it.
fn open_cards(delivery: &Delivery, folder: &std::path::Path) -> (Open, Open) {
    let Some(Answer::OpenCards(cards)) = delivery.ask(Question::OpenCards, Duration::from_secs(30)) else {
        panic!("no answer")
    };
    let answer = cards
        .into_iter()
        .map(|card| (card.callid, card.accepted.is_some()))
        .collect();
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let file = rusqlite::Connection::open_with_flags(folder.join("spool.db"), flags).unwrap();
    let mut statement = file
        .prepare("SELECT callid, accepted IS NOT NULL FROM open_card")
        .unwrap();
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    (answer, rows.collect::<Result<_, _>>().unwrap())
}

#[test]
fn whatever_happens_everything_arrives_in_the_order_of_its_call() {
    let seed =
        std::env::var("RES_PLANFIX_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("RES_PLANFIX_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let sandbox = Sandbox::start(Options {
        token: TOKEN.to_owned(),
        ..Options::default()
    })
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let crm = Crm {
        url: sandbox.url().to_owned(),
        token: Secret::new(TOKEN),
        pbx_token: Secret::new(""),
        pbx_url: String::new(),
        tls_ca_file: String::new(),
    };
    let config = settings::Delivery {
        // A request that the sandbox takes in later than this would be out of order, and rightly be asked for again.
        connect_timeout: Duration::from_secs(10),
        response_timeout: Duration::from_secs(10),
        retry_max: Duration::from_secs(1),
        stale_popup: Duration::from_secs(86_400),
        ..settings::Delivery::default()
    };
    let start = || {
        let around = Surroundings {
            folder: folder.path().join("planfix"),
            threads: Arc::new(StdThreads),
            clock: Arc::new(SystemClock::new()),
        };
        Delivery::start(&crm, &config, around).unwrap()
    };
    let mut delivery = start();
    let mut steps: HashMap<usize, usize> = HashMap::new();
    let mut open = Open::new();
    let place = folder.path().join("planfix");
    let mut accepted = 0;
    for _ in 0..60 {
        if random.u8(..3) == 0 {
            sandbox.set_fault(FAULTS[random.usize(..FAULTS.len())].parse().unwrap());
        }
        for _ in 0..random.usize(..30) {
            let call = random.usize(..400);
            let step = steps.entry(call).or_default();
            if *step < 4 && delivery.submit(vec![draft(call, *step)]).is_ok() {
                match *step {
                    0 | 1 => drop(open.insert(format!("c{call}"), *step == 1)),
                    _ => drop(open.remove(&format!("c{call}"))),
                }
                *step += 1;
                accepted += 1;
            }
        }
        // Some rounds follow at once, others let requests come through first.
        let enough = sandbox.requests().len() + random.usize(..25);
        let _ = sandbox.wait_for(|requests| requests.len() >= enough, Duration::from_millis(250));
        match random.u8(..12) {
            0 => {
                assert!(delivery.stop(BOUND), "seed {seed}");
                delivery = start();
            }
            1 => drop(delivery.ask(Question::Pause(true), BOUND)),
            2 | 3 => drop(delivery.ask(Question::Pause(false), BOUND)),
            4 => delivery
                .reconfigure(
                    &crm,
                    &settings::Delivery {
                        workers: random.usize(1..6),
                        ..config.clone()
                    },
                )
                .unwrap(),
            _ => {}
        }
        if random.u8(..4) == 0 {
            let (answer, table) = open_cards(&delivery, &place);
            assert_eq!(answer, open, "seed {seed}");
            assert_eq!(table, open, "seed {seed}: on the disk");
        }
    }
    sandbox.clear_faults();
    let _ = delivery.ask(Question::Pause(false), BOUND);
    let complete = |requests: &[Arc<planfix_sandbox::Request>]| {
        let mut seen: HashMap<&str, std::collections::HashSet<&str>> = HashMap::new();
        for request in requests.iter().filter(|request| request.processed) {
            let what = request
                .field("event")
                .or(request.cmd.as_deref())
                .unwrap_or_default();
            seen.entry(request.field("callid").unwrap_or_default())
                .or_default()
                .insert(what);
        }
        seen.values().map(std::collections::HashSet::len).sum::<usize>() == accepted
    };
    let arrived = sandbox.wait_for(complete, 5 * BOUND);
    assert!(
        arrived,
        "seed {seed}: {accepted} were accepted; {:#?}",
        delivery.status()
    );

    drop(delivery);
    delivery = start();
    let (answer, table) = open_cards(&delivery, &place);
    assert_eq!(answer, open, "seed {seed}");
    assert_eq!(table, open, "seed {seed}: on the disk");

    let order = ["INCOMING", "ACCEPTED", "COMPLETED", "record"];
    let mut reached: HashMap<String, usize> = HashMap::new();
    for request in sandbox.requests().iter().filter(|request| request.processed) {
        let what = request
            .field("event")
            .or(request.cmd.as_deref())
            .unwrap_or_default();
        let step = order.iter().position(|known| *known == what).unwrap();
        let callid = request.field("callid").unwrap().to_owned();
        let before = reached.entry(callid.clone()).or_default();
        assert!(
            step >= *before,
            "seed {seed}: {what} of {callid} came after {}",
            order[*before]
        );
        *before = step;
    }
}
