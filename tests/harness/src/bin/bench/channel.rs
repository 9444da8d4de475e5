//! What the thread of a channel pays: for PLANFIX_EVENT, whatever state the CRM and the disk are in, and for the same
//! request by `CURL()`, `System(php …)` and an AGI script in PHP.

use anyhow::{Result, ensure};
use harness::workspace_root;

use crate::rig::{EXT, PHONE, Pace, Rig};
use crate::samples::{Nanos, Samples};
use crate::summary::{Means, Summary, What};
use crate::table::{Table, Target};

/// Below the capacity of the inbox, as a stalled disk takes nothing out of it.
const BURST: usize = 10_000;
/// Fifty a second, as a busy PBX does, for fifteen seconds. Between two of them the thread that takes the events up may
/// have gone to sleep.
const PACED: usize = 750;
/// Slow things need fewer.
const SLOW: usize = 200;
/// Less than it takes from many offices to the CRM's data centre and back.
const AWAY_MS: u64 = 20;

const SET: &str = "Set(A=1)";

const MEDIAN: Nanos = Nanos(5_000);
const P99: Nanos = Nanos(50_000);
const TIMES: u64 = 2_000;

pub(crate) fn measure(rig: &mut Rig, summary: &mut Summary) -> Result<Vec<Table>> {
    let mut table = Table::new(
        "Time on the channel's thread per PLANFIX_EVENT",
        "One SIP channel calls it, each time for another call: in one burst, and in a dialplan that waits for 20 ms before \
         each. After a wait the processor has to fetch code and data anew, which is what the second pace shows. What \
         Asterisk's own function `LEN(abc)` and its application `Set(A=1)` take at the same paces shows how much of it \
         is the machine's.",
        &["what", "pace", "calls", "median", "p99", "worst"],
    );
    let up = pair(rig, &mut table, "CRM up")?;
    rig.settle()?;
    let len = "LEN(abc)";
    let nothing = [
        (len, "burst", rig.probe("read", BURST, Pace::BURST, "3", len)?),
        (len, "50/s", rig.probe("read", PACED, Pace::Dialplan, "3", len)?),
        (SET, "50/s", rig.probe("exec", PACED, Pace::Dialplan, "", SET)?),
    ];
    let others = compare(rig, &up, summary)?;

    for (fault, state) in [("refuse", "CRM refuses"), ("black-hole", "CRM black-holed")] {
        rig.sandbox.fault(fault)?;
        cut_off(rig, &mut table, state)?;
        rig.sandbox.clear_faults()?;
        rig.settle()?;
    }
    let stall = rig.stall_disk()?;
    cut_off(rig, &mut table, "disk stalled")?;
    drop(stall);
    rig.settle()?;
    for (what, pace, samples) in &nothing {
        table.row(row(&format!("`{what}`"), pace, samples), None);
    }
    Ok(vec![table, others])
}

/// As [`pair`], and makes sure that nothing could arrive meanwhile: an event goes out after it is on the disk.
fn cut_off(rig: &mut Rig, table: &mut Table, state: &str) -> Result<()> {
    let before = rig.arrived()?;
    pair(rig, table, state)?;
    let arrived = rig.arrived()? - before;
    ensure!(arrived == 0, "{arrived} requests arrived while: {state}");
    Ok(())
}

/// Measures in a burst and at a pace; returns the burst.
fn pair(rig: &mut Rig, table: &mut Table, state: &str) -> Result<Samples> {
    let burst = rig.events(BURST, Pace::BURST)?;
    let what = format!("PLANFIX_EVENT, {state}");
    table.row(row(&what, "burst", &burst), Some(target(&burst)));
    let paced = rig.events(PACED, Pace::Dialplan)?;
    table.row(row(&what, "50/s", &paced), Some(target(&paced)));
    Ok(burst)
}

fn row(what: &str, pace: &str, samples: &Samples) -> [String; 6] {
    [
        what.to_owned(),
        pace.to_owned(),
        samples.len().to_string(),
        samples.median().to_string(),
        samples.at(990).to_string(),
        samples.worst().to_string(),
    ]
}

fn target(samples: &Samples) -> Target {
    Target::new(
        format!("median ≤ {MEDIAN}, p99 ≤ {P99}"),
        samples.median() <= MEDIAN && samples.at(990) <= P99,
    )
}

/// The same request by other means.
fn compare(rig: &mut Rig, ours: &Samples, summary: &mut Summary) -> Result<Table> {
    let mut table = Table::new(
        "The same request by other means",
        format!(
            "On the same channel's thread, to the same stand-in CRM on this machine, in bursts. It answers at once, or after \
             {AWAY_MS} ms like a CRM on the Internet, which PLANFIX_EVENT does not wait for. A server on the same machine \
             that answers at once, on a connection that is open already, is the best that `CURL()` can ever meet. The CRM has \
             received each of these requests."
        ),
        &[
            "means",
            "CRM answers",
            "calls",
            "median",
            "p99",
            "times PLANFIX_EVENT",
        ],
    );
    let cells = |name: &str, answers: &str, samples: &Samples, times: u64| {
        [
            name.to_owned(),
            answers.to_owned(),
            samples.len().to_string(),
            samples.median().to_string(),
            samples.at(990).to_string(),
            times.to_string(),
        ]
    };
    table.row(cells("`PLANFIX_EVENT`", "whenever", ours, 1), None);
    let scripts = workspace_root().join("tests/live/shim");
    let after = format!("after {AWAY_MS} ms");
    for (answers, what, fault) in [
        ("at once", What::EventNear, None),
        (after.as_str(), What::EventAway, Some(format!("delay={AWAY_MS}"))),
    ] {
        summary.note(what, Means::Module, ours.in_short());
        if let Some(fault) = &fault {
            rig.sandbox.fault(fault)?;
        }
        let (first, second, third) = (rig.next_phase(), rig.next_phase(), rig.next_phase());
        let curl = format!(
            "CURL({},cmd=event&type=in&event=INCOMING&phone={PHONE}&diversion={EXT}&ext={EXT}\
             &callid=bench-{first}-{{n}}&planfix_token={})",
            rig.sandbox.url(),
            rig.sandbox.token()
        );
        let php = format!(
            "System(php {} {PHONE} {EXT} bench-{second}-{{n}})",
            scripts.join("post.php").display()
        );
        let agi = format!(
            "AGI({},{PHONE},{EXT},bench-{third}-{{n}})",
            scripts.join("agi.php").display()
        );
        for (means, name, how, expected, expression) in [
            (Means::Curl, "`CURL()`", "read", "", curl),
            (Means::System, "`System(php …)`", "exec", "SUCCESS", php),
            (Means::Agi, "`AGI(….php)`", "exec", "SUCCESS", agi),
        ] {
            let samples = rig.probe(how, SLOW, Pace::BURST, expected, &expression)?;
            rig.expected += SLOW as u64;
            summary.note(what, means, samples.in_short());
            let times = samples.median().0 / ours.median().0.max(1);
            // The AGI script is no part of what was promised.
            let target = (means != Means::Agi).then(|| Target::new(format!("≥ {TIMES}"), times >= TIMES));
            table.row(cells(name, answers, &samples, times), target);
        }
        rig.sandbox.clear_faults()?;
        rig.settle()?;
    }
    Ok(table)
}
