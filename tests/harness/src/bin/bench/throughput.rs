//! How fast a backlog is delivered, compared with a client that does nothing but send.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ureq::Agent;

use crate::rig::{EXT, PHONE, Pace, Rig};
use crate::table::{Table, Target};

/// Of one round.
const REQUESTS: usize = 10_000;
const ROUNDS: usize = 5;
/// The module's default number of workers.
const CONNECTIONS: usize = 4;
/// Of what the plain client does.
const SHARE: f64 = 0.5;

pub(crate) fn measure(rig: &mut Rig) -> Result<Table> {
    let mut table = Table::new(
        "Throughput of the delivery",
        format!(
            "The module reads a backlog from the spool, delivers it and notes that it is delivered. The plain client sends \
             the same requests from memory, by ureq and keep-alive connections too. They take turns, {ROUNDS} times; what \
             is compared is the median."
        ),
        &[
            "client",
            "connections",
            "requests",
            "per second",
            "lowest",
            "highest",
            "share",
        ],
    );
    let (mut plain_rates, mut our_rates) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        plain_rates.push(plain(rig)?);
        our_rates.push(module(rig)?);
    }
    let (yardstick, ours) = (Rates::of(plain_rates), Rates::of(our_rates));
    let share = ours.median / yardstick.median;
    let mut row = |name: &str, rates: &Rates, share: f64, target| {
        table.row(
            [
                name.to_owned(),
                CONNECTIONS.to_string(),
                format!("{ROUNDS} × {REQUESTS}"),
                format!("{:.0}", rates.median),
                format!("{:.0}", rates.lowest),
                format!("{:.0}", rates.highest),
                format!("{share:.2}"),
            ],
            target,
        );
    };
    row("plain", &yardstick, 1.0, None);
    row(
        "res_planfix",
        &ours,
        share,
        Some(Target::new(format!("≥ {SHARE}"), share >= SHARE)),
    );
    Ok(table)
}

/// Requests a second.
struct Rates {
    lowest: f64,
    median: f64,
    highest: f64,
}

impl Rates {
    fn of(mut rounds: Vec<f64>) -> Self {
        rounds.sort_by(f64::total_cmp);
        Self {
            lowest: rounds[0],
            median: rounds[rounds.len() / 2],
            highest: rounds[rounds.len() - 1],
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate is shown without fractions")]
fn rate(took: Duration) -> f64 {
    REQUESTS as f64 / took.as_secs_f64()
}

/// Requests a second by the module, with the spool full and the workers let go at once.
fn module(rig: &mut Rig) -> Result<f64> {
    rig.cli("planfix pause")?;
    rig.events(REQUESTS, Pace::Every(Duration::from_micros(50)))?;
    rig.await_queue(REQUESTS as u64)?;
    let begin = Instant::now();
    rig.cli("planfix resume")?;
    let expected = rig.expected;
    harness::until("the backlog at the CRM", Duration::from_secs(120), || {
        Ok((rig.arrived()? >= expected).then_some(()))
    })?;
    let took = begin.elapsed();
    rig.settle()?;
    Ok(rate(took))
}

/// Requests a second by a client without a spool.
fn plain(rig: &mut Rig) -> Result<f64> {
    let phase = rig.next_phase();
    let share = REQUESTS / CONNECTIONS;
    let (url, token) = (rig.sandbox.url(), rig.sandbox.token());
    let begin = Instant::now();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|client| scope.spawn(move || send(url, token, &format!("plain-{phase}-{client}"), share)))
            .collect();
        clients
            .into_iter()
            .try_for_each(|client| client.join().ok().context("a client panicked")?)
    })?;
    let took = begin.elapsed();
    rig.expected += REQUESTS as u64;
    rig.settle()?;
    Ok(rate(took))
}

fn send(url: &str, token: &str, callid: &str, count: usize) -> Result<()> {
    let agent = Agent::new_with_defaults();
    for n in 0..count {
        let body = format!(
            "cmd=event&type=in&event=INCOMING&phone={PHONE}&diversion={EXT}&ext={EXT}&callid={callid}-{n}&planfix_token={token}"
        );
        let mut answer = agent
            .post(url)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .send(body)?;
        ensure!(answer.status() == 200, "answered with {}", answer.status());
        answer.body_mut().read_to_string()?;
    }
    Ok(())
}
