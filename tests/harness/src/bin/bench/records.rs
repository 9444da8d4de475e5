//! How fast recordings are served, beside nginx with the same files.

use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::{Http, Nginx, Stage, Version};

use crate::table::{Table, Target};

/// Of each server and kind.
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(1);
/// Listeners at the same time.
const LISTENERS: usize = 8;
/// Three minutes at 16 kbit/s, and a day of a conference line.
const CALL: usize = 360_000;
const LONG: usize = 100 << 20;
/// What a player asks for when somebody clicks into the middle.
const PIECE: usize = 64 << 10;
/// Of what nginx does: see the note of the table.
const SHARE: f64 = 0.5;

/// What is asked for.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    file: &'static str,
    length: usize,
    range: Option<usize>,
    /// Each request on a connection of its own, as a CRM fetches recordings.
    fresh: bool,
}

const KINDS: [Kind; 4] = [
    Kind {
        name: "a call of three minutes, a connection each",
        file: "call.mp3",
        length: CALL,
        range: None,
        fresh: true,
    },
    Kind {
        name: "a call of three minutes, connections kept",
        file: "call.mp3",
        length: CALL,
        range: None,
        fresh: false,
    },
    Kind {
        name: "64 KiB out of the middle, connections kept",
        file: "long.mp3",
        length: PIECE,
        range: Some(LONG / 2),
        fresh: false,
    },
    Kind {
        name: "100 MiB",
        file: "long.mp3",
        length: LONG,
        range: None,
        fresh: false,
    },
];

pub(crate) fn measure(version: Version) -> Result<Table> {
    let stage = Stage::plan(version)
        .section("recordings", "link = http://pbx/planfix/records")
        .asterisk(|builder| builder.verbose(0).debug(0))
        .start()?;
    let folder = stage.asterisk.spool().join("monitor");
    fs::create_dir_all(&folder)?;
    let mut links = Vec::new();
    for (name, length) in [("call.mp3", CALL), ("long.mp3", LONG)] {
        fs::write(folder.join(name), vec![0x55; length])?;
        let said = stage.asterisk.cli(&format!("planfix show link {name}"))?;
        let link = said.lines().find_map(|line| line.strip_prefix("http://pbx"));
        links.push((name, link.with_context(|| said.clone())?.to_owned()));
    }
    let mut table = Table::new(
        "Recordings served",
        format!(
            "By Asterisk's HTTP server with the module, which judges a signature for each request, and by nginx with the same \
             files and sendfile. {LISTENERS} listeners of this program share the machine with both. They take turns, {ROUNDS} \
             times for {} s; what is compared is the median. Asterisk makes a thread for each connection, which is what \
             it pays for those that are not kept.",
            ROUND.as_secs()
        ),
        &[
            "what",
            "server",
            "recordings per second",
            "lowest",
            "highest",
            "MiB/s",
            "share of nginx",
        ],
    );
    let nginx = Nginx::start(&folder);
    for kind in KINDS {
        let link = links.iter().find(|(name, _)| *name == kind.file);
        let link = &link.context("each file has a link")?.1;
        let plain = format!("/{}", kind.file);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            if let Ok(nginx) = &nginx {
                theirs.push(round(nginx.address(), &plain, kind)?);
            }
            ours.push(round(stage.asterisk.http(), link, kind)?);
        }
        if let Err(error) = &nginx {
            let why = format!("not to be had: {error}");
            table.row(
                [kind.name, "nginx", &why, "", "", "", ""].map(str::to_owned),
                None,
            );
        }
        let mut median = |server: &str, rates: &mut Vec<f64>, beside: Option<f64>| {
            rates.sort_by(f64::total_cmp);
            let middle = rates[rates.len() / 2];
            #[expect(clippy::cast_precision_loss, reason = "a rate is shown without fractions")]
            let bytes = middle * kind.length as f64 / f64::from(1 << 20);
            let share = beside.map(|beside| middle / beside);
            let is_yardstick = server == "nginx";
            table.row(
                [
                    kind.name.to_owned(),
                    server.to_owned(),
                    format!("{middle:.0}"),
                    format!("{:.0}", rates[0]),
                    format!("{:.0}", rates[rates.len() - 1]),
                    format!("{bytes:.0}"),
                    match share {
                        Some(share) => format!("{share:.2}"),
                        None if is_yardstick => "1.00".to_owned(),
                        None => "unknown".to_owned(),
                    },
                ],
                share.map(|share| Target::new(format!("≥ {SHARE}"), share >= SHARE)),
            );
            middle
        };
        let beside = if theirs.is_empty() {
            None
        } else {
            Some(median("nginx", &mut theirs, None))
        };
        median("res_planfix", &mut ours, beside);
    }
    Ok(table)
}

/// Recordings a second.
#[expect(clippy::cast_precision_loss, reason = "a rate is shown without fractions")]
fn round(address: SocketAddr, target: &str, kind: Kind) -> Result<f64> {
    let begin = Instant::now();
    let served: usize = thread::scope(|scope| {
        let listeners: Vec<_> = (0..LISTENERS)
            .map(|_| scope.spawn(|| listen(address, target, kind, begin + ROUND)))
            .collect();
        listeners
            .into_iter()
            .map(|listener| listener.join().ok().context("a listener panicked")?)
            .sum::<Result<usize>>()
    })?;
    Ok(served as f64 / begin.elapsed().as_secs_f64())
}

/// Asks until it is time to stop, at least once.
fn listen(address: SocketAddr, target: &str, kind: Kind, until: Instant) -> Result<usize> {
    let range = kind
        .range
        .map(|first| format!("bytes={first}-{}", first + kind.length - 1));
    let mut headers = Vec::new();
    if let Some(range) = &range {
        headers.push(("Range", range.as_str()));
    }
    if kind.fresh {
        headers.push(("Connection", "close"));
    }
    let status = if range.is_some() { 206 } else { 200 };
    let mut buffer = vec![0; 256 << 10];
    let mut kept = None;
    let mut served = 0;
    while served == 0 || Instant::now() < until {
        let mut http = match kept.take() {
            Some(http) => http,
            None => Http::connect(address)?,
        };
        let head = http.request("GET", target, &headers)?;
        ensure!(
            head.status == status && head.header("Content-Length") == kind.length.to_string(),
            "{address} answered {head:?}"
        );
        let mut rest = kind.length;
        while rest > 0 {
            let room = rest.min(buffer.len());
            let some = http.some(&mut buffer[..room])?;
            ensure!(some > 0, "{address} ended within a recording");
            rest -= some;
        }
        served += 1;
        if !kind.fresh {
            kept = Some(http);
        }
    }
    Ok(served)
}
