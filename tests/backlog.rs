//! A CRM that was away for days is back: what has waited leaves evenly and in order, and the calls of now do not wait behind it.
//! Real threads, a real disk, a real HTTP server; the clock goes forward by itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use planfix_sandbox::{Fault, FaultKind, Options, Request, Sandbox};
use res_planfix::core::draft::Kind;
use res_planfix::core::secret::Secret;
use res_planfix::core::settings::{self, Crm};
use res_planfix::delivery::clock::ShiftedClock;
use res_planfix::delivery::question::{Answer, Question};
use res_planfix::delivery::status::Status;
use res_planfix::delivery::threads::StdThreads;
use res_planfix::delivery::{Delivery, Surroundings};

mod draft;
use draft::draft;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// For whatever takes seconds on a machine with nothing else to do.
const BOUND: Duration = Duration::from_secs(120);
/// Two events of each: more than lie in memory, the places for calls of now included.
const CALLS: usize = 4_200;
const RATE: u32 = 1_000;
/// Requests that a call of now has passed at least, on a machine that is slow to tell of it.
const PASSED: usize = 400;

fn tell(delivery: &Delivery, callid: &str, kind: Kind) {
    let until = Instant::now() + BOUND;
    while delivery.submit(vec![draft(callid, kind)]).is_err() {
        assert!(Instant::now() < until, "{callid} is refused");
        std::thread::yield_now();
    }
}

fn until(delivery: &Delivery, what: &str, mut holds: impl FnMut(&Status) -> bool) {
    let until = Instant::now() + BOUND;
    while !holds(&delivery.status()) {
        assert!(
            Instant::now() < until,
            "{what} did not happen: {:#?}",
            delivery.status()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn name(request: &Request) -> &str {
    request
        .field("event")
        .or(request.cmd.as_deref())
        .unwrap_or_default()
}

#[test]
fn an_old_backlog_leaves_evenly_in_order_and_behind_the_calls_of_now() {
    let sandbox = Sandbox::start(Options {
        token: TOKEN.to_owned(),
        ..Options::default()
    })
    .unwrap();
    let refuse = sandbox.set_fault(Fault::new(FaultKind::Refuse));
    let crm = Crm {
        url: sandbox.url().to_owned(),
        token: Secret::new(TOKEN),
        pbx_token: Secret::new(""),
        pbx_url: String::new(),
        tls_ca_file: String::new(),
    };
    let config = settings::Delivery {
        backlog_rate: RATE,
        connect_timeout: BOUND,
        response_timeout: BOUND,
        retry_max: Duration::from_secs(1),
        ..settings::Delivery::default()
    };
    let clock = Arc::new(ShiftedClock::default());
    let folder = tempfile::tempdir().unwrap();
    let around = Surroundings {
        folder: folder.path().to_owned(),
        threads: Arc::new(StdThreads),
        clock: Arc::clone(&clock) as Arc<_>,
    };
    let delivery = Delivery::start(&crm, &config, around).unwrap();

    // Ends only, because nothing of them is ever given up: memory stays as full as it may be.
    for call in 0..CALLS {
        for kind in [Kind::Completed, Kind::Record] {
            tell(&delivery, &format!("c{call}"), kind);
        }
    }
    until(&delivery, "the backlog", |status| {
        status.pending == 2 * CALLS as u64
    });
    clock.advance(Duration::from_secs(3 * 86_400));
    // With new settings the chores come at once, and see how old it is; an answer shows that a round has passed since.
    delivery.reconfigure(&crm, &config).unwrap();
    for _ in 0..2 {
        let answer = delivery.ask(Question::Queue { limit: 5 }, BOUND);
        assert!(matches!(answer, Some(Answer::Events { total, .. }) if total == 2 * CALLS as u64));
    }
    // It rings when the CRM comes back, and is taken after that.
    tell(&delivery, "rings", Kind::Incoming);
    sandbox.clear_fault(refuse);
    until(&delivery, "the return", |status| status.delivered > 0);
    tell(&delivery, "rings", Kind::Accepted);
    tell(&delivery, "new", Kind::Incoming);
    until(&delivery, "an empty queue", |status| {
        status.pending == 0 && status.inbox == 0
    });

    let requests = sandbox.requests();
    assert_eq!(requests.len(), 2 * CALLS + 3, "each once");
    let mut last: HashMap<&str, &str> = HashMap::new();
    for request in &requests {
        let before = last.insert(request.field("callid").unwrap(), name(request));
        match name(request) {
            "record" => assert_eq!(before, Some("COMPLETED")),
            "ACCEPTED" => assert_eq!(before, Some("INCOMING")),
            _ => assert_eq!(before, None),
        }
    }
    for (callid, event) in [("rings", "INCOMING"), ("rings", "ACCEPTED"), ("new", "INCOMING")] {
        let place = requests
            .iter()
            .position(|request| request.field("callid") == Some(callid) && name(request) == event);
        assert!(
            place.is_some_and(|place| place + PASSED < requests.len()),
            "{event} of {callid} is number {place:?} of {}",
            requests.len()
        );
    }
    // A tenth may make up for what was not used, some are under way, and each of the two clocks counts whole milliseconds.
    let arrivals: Vec<f64> = requests.iter().map(|request| request.arrival_ms).collect();
    let most = (0..arrivals.len())
        .map(|first| {
            arrivals[first..]
                .iter()
                .take_while(|at| **at < arrivals[first] + 1_000.0)
                .count()
        })
        .max();
    let bound = RATE as usize * 5 / 4;
    assert!(most.is_some_and(|most| most <= bound), "{most:?} in a second");
}
