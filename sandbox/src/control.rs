//! The control side: the page, the control API and the recordings, on a listener of their own.
//!
//! Invariants: it stays reachable whatever the faults do to the other listener; nothing it shows holds a key; a page of
//! another site can neither read nor change anything.

use crate::Shared;
use crate::fault::Fault;
use crate::http::{Incoming, ReadError, Reader, Response};
use crate::options::Contact;
use crate::pbx;
use crate::sequence::Rule;
use crate::wire::Wire;
use serde::Deserialize;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

const PAGE: &str = include_str!("../page/index.html");
const STYLE: &str = include_str!("../page/style.css");
const SCRIPT: &str = include_str!("../page/page.js");
/// Scripts and styles from here only; recordings come from wherever the PBX keeps them.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      media-src 'self' http: https:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Between two states on one stream.
const STREAM_PACE: Duration = Duration::from_millis(150);
/// A stream says so often that it is alive.
const STREAM_PULSE: Duration = Duration::from_secs(10);
/// Requests in one answer, unless asked otherwise.
const LIMIT: usize = 1000;

/// Serves a connection until it ends.
pub(crate) fn serve(shared: &Shared, wire: Wire, idle: Duration) {
    let mut reader = Reader::lenient(wire);
    if reader.stream.set_read_timeout(idle).is_err() {
        return;
    }
    loop {
        match reader.next() {
            Ok(Some(incoming)) => {
                let keep_alive = incoming.keep_alive && !shared.exchange.stopping();
                let done = if incoming.path() == "/_sandbox/stream" && foreign(shared, &incoming).is_none() {
                    stream(shared, &mut reader.stream);
                    Ok(())
                } else {
                    let response = answer(shared, &incoming)
                        .with("X-Content-Type-Options", "nosniff")
                        .with("Referrer-Policy", "no-referrer");
                    let mut bytes = response.encode(keep_alive, None);
                    if incoming.method == "HEAD" {
                        bytes.truncate(bytes.len() - response.body.len());
                    }
                    reader
                        .stream
                        .write_all(&bytes)
                        .and_then(|()| reader.stream.flush())
                };
                if done.is_err() {
                    return;
                }
                if !keep_alive || incoming.path() == "/_sandbox/stream" {
                    return reader.stream.close();
                }
            }
            Ok(None) | Err(ReadError::Gone) => return,
            Err(ReadError::Bad { status, reason }) => {
                let bytes = Response::error(status, &reason).encode(false, None);
                if reader.stream.write_all(&bytes).is_ok() {
                    reader.stream.close();
                }
                return;
            }
        }
    }
}

/// Sends the state as server-sent events, after each change and at a steady pace at most.
fn stream(shared: &Shared, wire: &mut Wire) {
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\
                 X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n";
    if wire.write_all(head).is_err() {
        return;
    }
    while !shared.exchange.stopping() {
        let (state, revision) = shared.exchange.view(&shared.url);
        let mut event = b"data: ".to_vec();
        event.extend_from_slice(&state);
        event.extend_from_slice(b"\n\n");
        if wire.write_all(&event).and_then(|()| wire.flush()).is_err() {
            return;
        }
        std::thread::sleep(STREAM_PACE);
        shared.exchange.wait_change(revision, STREAM_PULSE);
    }
}

/// Why a request of a browser is not let in, if it is not.
fn foreign(shared: &Shared, incoming: &Incoming) -> Option<&'static str> {
    let host = incoming.header("host").unwrap_or_default();
    if let Some(origin) = incoming.header("origin")
        && origin.split_once("://").map(|(_, origin)| origin) != Some(host)
    {
        return Some("requests of other sites' pages are refused");
    }
    // On a loopback address, a public name in Host is a page that has pointed its own name here (DNS rebinding).
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|byte| byte.is_ascii_digit()) {
            name
        } else {
            host
        }
    });
    let near = name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() || !name.contains('.');
    (shared.control.ip().is_loopback() && !near).then_some("use the numeric address or localhost")
}

fn answer(shared: &Shared, incoming: &Incoming) -> Response {
    if let Some(reason) = foreign(shared, incoming) {
        return Response::error(403, reason);
    }
    let get = matches!(incoming.method.as_str(), "GET" | "HEAD");
    let post = incoming.method == "POST";
    let path = incoming.path();
    let known = match path {
        "/" if get => {
            return Response::new(200, "text/html; charset=utf-8", PAGE)
                .with("Content-Security-Policy", POLICY);
        }
        "/style.css" if get => return Response::new(200, "text/css; charset=utf-8", STYLE),
        "/page.js" if get => return Response::new(200, "text/javascript; charset=utf-8", SCRIPT),
        "/favicon.ico" if get => return Response::empty(204),
        "/_sandbox/health" if get => return health(shared),
        "/_sandbox/state" if get => {
            let (state, _) = shared.exchange.view(&shared.url);
            return Response::new(200, "application/json; charset=utf-8", state);
        }
        "/_sandbox/requests" if get => return requests(shared, incoming.query().unwrap_or_default()),
        "/_sandbox/violations" if get => return violations(shared),
        "/_sandbox/recording" if get => return pbx::recording(shared, incoming),
        "/_sandbox/listen" if get => return pbx::listen(shared, incoming),
        "/_sandbox/setup" if post => return pbx::setup(shared, &incoming.body),
        "/_sandbox/click" if post => return pbx::click(shared, &incoming.body),
        "/_sandbox/faults" if post => return faults(shared, &incoming.body),
        "/_sandbox/allow" if post => return allow(shared, &incoming.body),
        "/_sandbox/ping" if post => return ping(shared, &incoming.body),
        "/_sandbox/contacts" if post => return contacts(shared, &incoming.body),
        "/_sandbox/reset" if post => {
            shared.exchange.reset();
            shared.settle();
            return done();
        }
        "/"
        | "/style.css"
        | "/page.js"
        | "/favicon.ico"
        | "/_sandbox/health"
        | "/_sandbox/state"
        | "/_sandbox/requests"
        | "/_sandbox/violations"
        | "/_sandbox/recording"
        | "/_sandbox/listen" => Some("GET"),
        "/_sandbox/faults" | "/_sandbox/allow" | "/_sandbox/ping" | "/_sandbox/contacts"
        | "/_sandbox/setup" | "/_sandbox/click" | "/_sandbox/reset" => Some("POST"),
        _ => None,
    };
    match (known, path.strip_prefix("/recordings/"), &shared.recordings) {
        (Some(method), ..) => Response::error(405, "method not allowed").with("Allow", method),
        (None, Some(name), Some(folder)) if get => recording(folder, name, incoming.header("range")),
        _ => Response::error(
            404,
            "there is no such page; planfix-sandbox --help lists the control API",
        ),
    }
}

fn done() -> Response {
    Response::json(200, &serde_json::json!({ "ok": true }))
}

fn health(shared: &Shared) -> Response {
    let (mode, _) = shared.exchange.mode();
    Response::json(
        200,
        &serde_json::json!({ "ok": true, "mode": mode.name(), "url": shared.url }),
    )
}

fn requests(shared: &Shared, query: &str) -> Response {
    let (mut since, mut limit) = (0, LIMIT as u64);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Ok(number) = value.parse() else {
            return Response::error(400, "since and limit are whole numbers");
        };
        match name {
            "since" => since = number,
            "limit" => limit = number,
            _ => return Response::error(400, "the query may hold since=N and limit=M"),
        }
    }
    if let Some(journal) = &shared.exchange.journal {
        journal.sync();
    }
    let requests = shared
        .exchange
        .requests_since(since, usize::try_from(limit).unwrap_or(usize::MAX));
    let last = requests.last().map_or(since, |request| request.n);
    let requests: Vec<_> = requests.iter().map(AsRef::as_ref).collect();
    Response::json(200, &serde_json::json!({ "requests": requests, "last": last }))
}

fn violations(shared: &Shared) -> Response {
    let (violations, total) = shared.exchange.violations();
    let (popups, missing) = shared
        .exchange
        .with_sequence(|sequence| (sequence.open_popups(), sequence.missing_recordings()));
    Response::json(
        200,
        &serde_json::json!({
            "violations": violations, "total": total, "open_popups": popups, "missing_recordings": missing
        }),
    )
}

/// Parses a body, or says what is wrong with it.
pub(crate) fn body<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Response> {
    serde_json::from_slice(bytes)
        .map_err(|error| Response::error(400, &format!("the body is not accepted: {error}")))
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Which {
    All(bool),
    Id(u64),
    Kind(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultChange {
    clear: Option<OneOrMany<Which>>,
    set: Option<OneOrMany<String>>,
}

fn faults(shared: &Shared, bytes: &[u8]) -> Response {
    let change: FaultChange = match body(bytes) {
        Ok(change) => change,
        Err(response) => return response,
    };
    let specs = change.set.map(OneOrMany::into_vec).unwrap_or_default();
    let parsed: Result<Vec<Fault>, String> = specs.iter().map(|spec| spec.parse()).collect();
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return Response::error(400, &error),
    };
    let which = change.clear.map(OneOrMany::into_vec).unwrap_or_default();
    let (cleared, ids) = shared.exchange.change_faults(|faults| {
        let cleared = faults.clear(|active| {
            which.iter().any(|which| match which {
                Which::All(all) => *all,
                Which::Id(id) => active.id == *id,
                Which::Kind(kind) => {
                    kind == "all"
                        || active.fault.kind.to_string() == *kind
                        || active.fault.kind.name() == kind
                }
            })
        });
        let now = Instant::now();
        let ids: Vec<u64> = parsed.into_iter().map(|fault| faults.set(fault, now)).collect();
        (cleared, ids)
    });
    shared.settle();
    Response::json(
        200,
        &serde_json::json!({ "ok": true, "cleared": cleared, "ids": ids }),
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleChange {
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    check: Vec<String>,
}

fn allow(shared: &Shared, bytes: &[u8]) -> Response {
    let change: RuleChange = match body(bytes) {
        Ok(change) => change,
        Err(response) => return response,
    };
    let rules = |names: &[String]| {
        names
            .iter()
            .map(|name| name.parse())
            .collect::<Result<Vec<Rule>, String>>()
    };
    match (rules(&change.allow), rules(&change.check)) {
        (Ok(allow), Ok(check)) => {
            shared.exchange.change_sequence(|sequence| {
                allow.into_iter().for_each(|rule| sequence.allow(rule, true));
                check.into_iter().for_each(|rule| sequence.allow(rule, false));
            });
            done()
        }
        (Err(error), _) | (_, Err(error)) => Response::error(400, &error),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PingChange {
    pbx_token: Option<String>,
    pbx_url: Option<String>,
}

fn ping(shared: &Shared, bytes: &[u8]) -> Response {
    match body::<PingChange>(bytes) {
        Ok(change) => {
            shared.exchange.set_ping(change.pbx_token, change.pbx_url);
            done()
        }
        Err(response) => response,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewContact {
    number: String,
    name: String,
    ext: Option<String>,
}

fn contacts(shared: &Shared, bytes: &[u8]) -> Response {
    match body::<NewContact>(bytes) {
        Ok(NewContact { number, name, ext }) if number.bytes().any(|byte| byte.is_ascii_digit()) => {
            shared.exchange.add_contact(Contact { number, name, ext });
            done()
        }
        Ok(_) => Response::error(400, "the number has no digit"),
        Err(response) => response,
    }
}

/// A file of the recordings folder itself, in whole or the one range a player asks for.
fn recording(folder: &Path, name: &str, range: Option<&str>) -> Response {
    let missing = || Response::error(404, "there is no such recording");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'+' | b'@');
    // Plain names only: whatever could mean another folder, or would need decoding, is not one.
    if name.is_empty() || name.starts_with('.') || !name.bytes().all(plain) {
        return missing();
    }
    let path = folder.join(name);
    if !std::fs::symlink_metadata(&path).is_ok_and(|data| data.is_file()) {
        return missing();
    }
    let Ok(mut file) = File::open(&path) else {
        return missing();
    };
    let Ok(size) = file.metadata().map(|data| data.len()) else {
        return missing();
    };
    let kind = match path.extension().and_then(|ext| ext.to_str()) {
        Some("mp3") => "audio/mpeg",
        Some("wav" | "wave") => "audio/wav",
        Some("ogg" | "opus") => "audio/ogg",
        _ => "application/octet-stream",
    };
    let (status, from, until) = match range.and_then(|range| range.strip_prefix("bytes=")) {
        Some(range) if !range.contains(',') => match bounds(range, size) {
            Some((from, until)) => (206, from, until),
            None => return Response::empty(416).with("Content-Range", format!("bytes */{size}")),
        },
        _ => (200, 0, size),
    };
    let mut bytes = Vec::new();
    if file.seek(SeekFrom::Start(from)).is_err() || file.take(until - from).read_to_end(&mut bytes).is_err() {
        return Response::error(500, "the recording cannot be read");
    }
    let response = Response::new(status, kind, bytes).with("Accept-Ranges", "bytes");
    if status == 206 {
        response.with("Content-Range", format!("bytes {from}-{}/{size}", until - 1))
    } else {
        response
    }
}

/// The half-open span that `FROM-[TO]` or `-LAST` means within `size` bytes.
fn bounds(range: &str, size: u64) -> Option<(u64, u64)> {
    let (from, to) = range.trim().split_once('-')?;
    let span = if from.is_empty() {
        (size.saturating_sub(to.parse::<u64>().ok()?), size)
    } else {
        let to = if to.is_empty() {
            size
        } else {
            to.parse::<u64>().ok()?.saturating_add(1).min(size)
        };
        (from.parse().ok()?, to)
    };
    (span.0 < span.1).then_some(span)
}

#[cfg(test)]
mod tests {
    use super::bounds;

    #[test]
    fn ranges() {
        for (range, span) in [
            ("0-", Some((0, 10))),
            ("2-4", Some((2, 5))),
            ("2-99", Some((2, 10))),
            ("-3", Some((7, 10))),
            ("-99", Some((0, 10))),
            ("10-", None),
            ("4-2", None),
            ("x", None),
            ("-0", None),
        ] {
            assert_eq!(bounds(range, 10), span, "{range}");
        }
    }
}
