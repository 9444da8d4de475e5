//! What Planfix does at the PBX: switches the integration on, clicks to call, fetches recordings.
//!
//! Invariants: every request has an end, and what it brings has a limit; the keys are in no answer that is shown; what is
//! asked of the PBX is as the protocol says (section 3), unless a test asks for something else by name.

use crate::control::body;
use crate::http::{Incoming, Response};
use crate::{Shared, clock, protocol};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

/// From the first byte of a request to the last of its answer.
const TIME: Duration = Duration::from_secs(20);
/// A recording of a day is smaller.
const LARGEST: u64 = 256 * 1024 * 1024;
/// What is shown of an answer's text.
const TEXT: u64 = 4096;
/// How much of a recording's beginning is told.
const FIRST: usize = 16;

/// Asks the PBX.
#[derive(Default)]
pub(crate) struct Pbx {
    /// Made when it is needed: reading the system's certificates takes longer than everything else at a start.
    agent: OnceLock<Agent>,
}

/// What was asked of the PBX, and what it said.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Deed {
    time_ms: u64,
    cmd: &'static str,
    /// The employee and the number, for a click.
    from: String,
    to: String,
    /// `None` when nobody answered.
    status: Option<u16>,
    /// The answer's text, or why there is none.
    text: String,
    ms: u64,
}

/// What a link led to.
struct Fetched {
    status: u16,
    kind: String,
    /// As the header says, not as it came.
    length: Option<u64>,
    range: Option<String>,
    bytes: Vec<u8>,
}

impl Pbx {
    fn agent(&self) -> &Agent {
        self.agent.get_or_init(agent)
    }

    /// Sends a form and returns the status and the text of the answer.
    fn post(&self, url: &str, fields: &[(&str, &str)]) -> Result<(u16, String), String> {
        let request = self.agent().post(url).config().max_redirects(0).build();
        let mut response = request
            .send_form(fields.iter().copied())
            .map_err(|error| error.to_string())?;
        Ok((response.status().as_u16(), text(response.body_mut())))
    }

    /// Follows a link, as a browser does that plays what is behind it.
    fn fetch(&self, link: &str, range: Option<&str>) -> Result<Fetched, String> {
        let mut request = self.agent().get(link);
        if let Some(range) = range {
            request = request.header("Range", range);
        }
        let mut response = request.call().map_err(|error| error.to_string())?;
        let header = |name: &str| {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let kind = header("content-type").unwrap_or_default();
        let length = header("content-length").and_then(|value| value.parse().ok());
        let range = header("content-range");
        let status = response.status().as_u16();
        let bytes = response
            .body_mut()
            .with_config()
            .limit(LARGEST)
            .read_to_vec()
            .map_err(|error| error.to_string())?;
        Ok(Fetched {
            status,
            kind,
            length,
            range,
            bytes,
        })
    }
}

fn agent() -> Agent {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots: Vec<_> = rustls_native_certs::load_native_certs()
        .certs
        .iter()
        .map(|der| ureq::tls::Certificate::from_der(der).to_owned())
        .collect();
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(provider)
        .root_certs(RootCerts::new_with_certs(&roots))
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        // The PBX may stand anywhere; what is asked of it is for it alone.
        .proxy(None)
        .http_status_as_error(false)
        .timeout_global(Some(TIME))
        .user_agent("planfix-sandbox")
        .build();
    config.new_agent()
}

/// The beginning of an answer's text.
fn text(body: &mut Body) -> String {
    let read = body.with_config().limit(TEXT).lossy_utf8(true).read_to_string();
    read.map_or_else(
        |error| format!("(cannot be read: {error})"),
        |text| text.trim().to_owned(),
    )
}

/// What the integration is switched on with; what is not said is as Planfix has it.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Setup {
    pbx_url: Option<String>,
    pbx_token: Option<String>,
    planfix_url: Option<String>,
    planfix_token: Option<String>,
}

/// Switches the integration on. The address and the key are kept when the PBX agrees.
pub(crate) fn setup(shared: &Shared, bytes: &[u8]) -> Response {
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    let wanted: Setup = match body(bytes) {
        Ok(wanted) => wanted,
        Err(response) => return response,
    };
    let (url, token) = shared.exchange.pbx();
    let url = wanted.pbx_url.unwrap_or(url);
    let token = wanted.pbx_token.unwrap_or(token);
    let planfix_token = wanted
        .planfix_token
        .as_deref()
        .unwrap_or_else(|| shared.exchange.token());
    let planfix_url = wanted.planfix_url.as_deref().unwrap_or(&shared.url);
    let fields = [
        ("cmd", "setup"),
        ("token", token.as_str()),
        ("planfix_token", planfix_token),
        ("planfix_url", planfix_url),
    ];
    let (deed, response) = ask(shared, &url, &fields);
    if deed.status == Some(200) {
        shared.exchange.set_ping(Some(token), Some(url));
    }
    shared.exchange.did(deed);
    response
}

/// A click; what is not said is as Planfix has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Click {
    from: String,
    to: String,
    token: Option<String>,
}

/// Has an employee called, and then the number.
pub(crate) fn click(shared: &Shared, bytes: &[u8]) -> Response {
    let click: Click = match body(bytes) {
        Ok(click) => click,
        Err(response) => return response,
    };
    let (url, token) = shared.exchange.pbx();
    let token = click.token.unwrap_or(token);
    let fields = [
        ("cmd", "makeCall"),
        ("from", click.from.as_str()),
        ("to", click.to.as_str()),
        ("token", token.as_str()),
    ];
    let (deed, response) = ask(shared, &url, &fields);
    shared.exchange.did(deed);
    response
}

/// Asks the PBX, and tells both the list and whoever wanted it what it said.
fn ask(shared: &Shared, url: &str, fields: &[(&str, &str)]) -> (Deed, Response) {
    let field = |name: &str| {
        let found = fields.iter().find(|(known, _)| *known == name);
        found.map_or("", |(_, value)| value)
    };
    let (_, key) = shared.exchange.pbx();
    let secrets: Vec<&str> = ["token", "planfix_token"]
        .map(field)
        .into_iter()
        .chain([shared.exchange.token(), key.as_str()])
        .filter(|secret| !secret.is_empty())
        .collect();
    let begin = Instant::now();
    let answer = if url.is_empty() {
        Err("the PBX has no address: start with --pbx-url, or enter it on the page".to_owned())
    } else {
        shared.pbx.post(url, fields)
    };
    let (status, text) = match answer {
        Ok((status, text)) => (Some(status), text),
        Err(error) => (None, error),
    };
    let deed = Deed {
        time_ms: clock::epoch_ms(),
        cmd: if field("cmd") == "setup" {
            "setup"
        } else {
            "makeCall"
        },
        from: protocol::mask(field("from"), &secrets),
        to: protocol::mask(field("to"), &secrets),
        status,
        text: protocol::mask(&text, &secrets),
        ms: u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    let response = match deed.status {
        Some(status) => Response::json(
            200,
            &serde_json::json!({ "status": status, "text": deed.text, "ms": deed.ms }),
        ),
        None => Response::error(502, &deed.text),
    };
    (deed, response)
}

/// The link of the call that the query names, and whether it works but once.
fn link(shared: &Shared, incoming: &Incoming) -> Result<(String, bool), Response> {
    let query = crate::form::decode(incoming.query().unwrap_or_default().as_bytes());
    let [pair] = query.pairs.as_slice() else {
        return Err(Response::error(400, "the query has to be callid=ID"));
    };
    if pair.name != b"callid" || !query.problems.is_empty() {
        return Err(Response::error(400, "the query has to be callid=ID"));
    }
    let callid = String::from_utf8_lossy(&pair.value);
    shared.exchange.with_sequence(|sequence| {
        let call = sequence
            .call(&callid)
            .ok_or_else(|| Response::error(404, "there is no such call"))?;
        let link = call
            .record_link
            .clone()
            .ok_or_else(|| Response::error(404, "the call has no recording yet"))?;
        Ok((link, call.is_temp))
    })
}

/// What is behind the link of a call: fetched whole, as Planfix does to save it, and in the ranges by which a browser
/// plays it from the beginning and from the middle.
pub(crate) fn recording(shared: &Shared, incoming: &Incoming) -> Response {
    let (link, once) = match link(shared, incoming) {
        Ok(found) => found,
        Err(response) => return response,
    };
    let begin = Instant::now();
    let whole = match shared.pbx.fetch(&link, None) {
        Ok(whole) => whole,
        Err(error) => return Response::error(502, &error),
    };
    let ms = begin.elapsed().as_millis();
    let size = whole.bytes.len();
    let mut report = serde_json::json!({
        "link": link,
        "status": whole.status,
        "type": whole.kind,
        "length": whole.length,
        "bytes": size,
        "sha256": hex(ring::digest::digest(&ring::digest::SHA256, &whole.bytes).as_ref()),
        "first": hex(&whole.bytes[..FIRST.min(size)]),
        "ms": ms,
    });
    let mut plays = whole.status == 200
        && size > 0
        && whole.kind.starts_with("audio/")
        && whole.length == Some(size as u64);
    // Looking at a temporary link once more would use up what is not there any more.
    if !once {
        let mut ranges = Vec::new();
        for from in [0, size / 2] {
            let asked = format!("bytes={from}-");
            let (status, found, same) = match shared.pbx.fetch(&link, Some(&asked)) {
                Ok(part) => {
                    let same = part.bytes == whole.bytes[from.min(size)..];
                    let told = format!("bytes {from}-{}/{size}", size.saturating_sub(1));
                    let right = part.status == 206 && part.range.as_deref() == Some(told.as_str());
                    plays &= same && right;
                    (Some(part.status), part.range, same)
                }
                Err(error) => {
                    plays = false;
                    (None, Some(error), false)
                }
            };
            ranges.push(
                serde_json::json!({ "asked": asked, "status": status, "content_range": found, "same": same }),
            );
        }
        report["ranges"] = ranges.into();
    }
    report["plays"] = plays.into();
    Response::json(200, &report)
}

/// The recording itself, for a browser that does not reach the PBX by itself.
pub(crate) fn listen(shared: &Shared, incoming: &Incoming) -> Response {
    let (link, _) = match link(shared, incoming) {
        Ok(found) => found,
        Err(response) => return response,
    };
    match shared.pbx.fetch(&link, incoming.header("range")) {
        // Whatever else a link leads to is not shown under this page's name.
        Ok(part) if matches!(part.status, 200 | 206) && part.kind.starts_with("audio/") => {
            let response = Response::new(part.status, &part.kind, part.bytes).with("Accept-Ranges", "bytes");
            match part.range {
                Some(range) => response.with("Content-Range", range),
                None => response,
            }
        }
        Ok(part) => Response::error(
            502,
            &format!("the link is answered with {} and \"{}\"", part.status, part.kind),
        ),
        Err(error) => Response::error(502, &error),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
