//! What the stand-in does at the PBX: setup, clicks, recordings.

mod client;

use client::{KEY, PATIENCE, ask, control, incoming, options, with_key};
use planfix_sandbox::{Options, Sandbox};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

const PBX_KEY: &str = "the-key-of-the-pbx";
/// What lies behind `/a.mp3`.
const AUDIO: &[u8] = b"0123456789";

/// A PBX that answers each request by its path, and remembers it.
struct Pbx {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Pbx {
    fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let thread = std::thread::spawn({
            let requests = Arc::clone(&requests);
            move || {
                let note = |request: &str| requests.lock().unwrap().push(request.to_owned());
                while listener.accept().is_ok_and(|(stream, _)| serve(stream, note)) {}
            }
        });
        Self {
            address,
            requests,
            thread: Some(thread),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The requests so far.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }
}

impl Drop for Pbx {
    fn drop(&mut self) {
        // A connection without a request ends it.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// Notes one request on its connection and answers it; `false` when there is none.
fn serve(mut stream: TcpStream, note: impl Fn(&str)) -> bool {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut request = String::new();
    let header = |request: &str, name: &str| {
        let head = request.split("\r\n\r\n").next().unwrap_or_default().to_owned();
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_owned())
    };
    loop {
        if let Some((_, body)) = request.split_once("\r\n\r\n") {
            let length = header(&request, "content-length").map_or(0, |value| value.parse().unwrap());
            if body.len() >= length {
                break;
            }
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return false,
            Ok(size) => request.push_str(&String::from_utf8_lossy(&piece[..size])),
        }
    }
    note(&request);
    let path = request.split(' ').nth(1).unwrap();
    let from = header(&request, "range").map(|range| {
        let from = range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap();
        from.parse::<usize>().unwrap()
    });
    let last = AUDIO.len() - 1;
    let (status, headers, body) = match (path, from) {
        ("/api", _) => ("200 OK", String::new(), Vec::new()),
        ("/refuses", _) => (
            "401 Unauthorized",
            String::new(),
            format!("{{\"error\":\"Invalid token {PBX_KEY} {KEY}\"}}").into_bytes(),
        ),
        ("/elsewhere", _) => ("302 Found", "Location: /api\r\n".to_owned(), Vec::new()),
        ("/a.mp3", Some(from)) => (
            "206 Partial Content",
            format!(
                "Content-Type: audio/mpeg\r\nContent-Range: bytes {from}-{last}/{}\r\n",
                last + 1
            ),
            AUDIO[from..].to_vec(),
        ),
        ("/a.mp3" | "/deaf.mp3", _) => (
            "200 OK",
            "Content-Type: audio/mpeg\r\n".to_owned(),
            AUDIO.to_vec(),
        ),
        _ => (
            "404 Not Found",
            "Content-Type: text/html\r\n".to_owned(),
            b"<p>no".to_vec(),
        ),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), &body].concat()).unwrap();
    true
}

fn with_pbx(url: &str) -> Sandbox {
    Sandbox::start(Options {
        pbx_token: PBX_KEY.to_owned(),
        pbx_url: url.to_owned(),
        ..options()
    })
    .unwrap()
}

/// A recorded call whose recording lies there.
fn recorded(sandbox: &Sandbox, callid: &str, link: &str, is_temp: u8) {
    let end = format!(
        "cmd=event&type=in&event=COMPLETED&phone=79101234567&ext=101&callid={callid}&duration=3&is_recorded=1&status=Success"
    );
    let accepted = incoming(callid, "101").replace("INCOMING", "ACCEPTED");
    let mut link = link.replace(':', "%3A");
    link = link.replace('/', "%2F");
    let record = format!("cmd=record&callid={callid}&record_link={link}&is_temp={is_temp}");
    for body in [
        incoming(callid, "101"),
        accepted,
        with_key(&end),
        with_key(&record),
    ] {
        assert_eq!(ask(sandbox, &body).status, 200);
    }
    assert!(sandbox.violations().is_empty(), "{:?}", sandbox.violations());
}

#[test]
fn setup_is_as_the_protocol_has_it() {
    let pbx = Pbx::start();
    let sandbox = with_pbx(&pbx.url("/api"));
    let reply = control(&sandbox, "POST", "/_sandbox/setup", "");
    assert_eq!((reply.status, &reply.json()["status"]), (200, &200.into()));
    let asked = pbx.asked();
    let (head, body) = asked[0].split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /api HTTP/1.1"), "{head}");
    assert!(
        head.to_ascii_lowercase()
            .contains("content-type: application/x-www-form-urlencoded"),
        "{head}"
    );
    let url = sandbox.url().replace(':', "%3A").replace('/', "%2F");
    assert_eq!(
        body,
        format!("cmd=setup&token={PBX_KEY}&planfix_token={KEY}&planfix_url={url}")
    );
}

#[test]
fn what_was_entered_is_kept_when_the_pbx_agrees() {
    let pbx = Pbx::start();
    let sandbox = with_pbx("");
    let set = |body: &str| control(&sandbox, "POST", "/_sandbox/setup", body);
    let none = set("{}");
    assert_eq!(none.status, 502);
    assert!(none.body.contains("--pbx-url"), "{}", none.body);

    let refused = set(&format!(
        r#"{{"pbx_url":"{}","pbx_token":"{PBX_KEY}"}}"#,
        pbx.url("/refuses")
    ));
    assert_eq!(refused.json()["status"], 401);
    assert_eq!(ask(&sandbox, &with_key("cmd=ping")).json()["pbxUrl"], "");

    let agreed = set(&format!(
        r#"{{"pbx_url":"{}","pbx_token":"another-key-here"}}"#,
        pbx.url("/api")
    ));
    assert_eq!(agreed.json()["status"], 200);
    let pong = ask(&sandbox, &with_key("cmd=ping")).json();
    assert_eq!(
        (&pong["pbxUrl"], &pong["pbxToken"]),
        (&pbx.url("/api").into(), &"another-key-here".into())
    );
    assert_eq!(set(r#"{"url":"x"}"#).status, 400);
}

#[test]
fn a_click_tells_what_the_pbx_said() {
    let pbx = Pbx::start();
    let sandbox = with_pbx(&pbx.url("/api"));
    let click = |body: &str| control(&sandbox, "POST", "/_sandbox/click", body);
    assert_eq!(click(r#"{"from":"101","to":"+7910&x"}"#).json()["status"], 200);
    let asked = pbx.asked();
    let body = asked[0].split("\r\n\r\n").nth(1).unwrap();
    assert_eq!(
        body,
        format!("cmd=makeCall&from=101&to=%2B7910%26x&token={PBX_KEY}")
    );

    sandbox.set_ping(PBX_KEY, &pbx.url("/elsewhere"));
    assert_eq!(click(r#"{"from":"101","to":"1"}"#).json()["status"], 302);
    assert_eq!(pbx.asked().len(), 1, "a redirected form is not sent on");

    sandbox.set_ping(PBX_KEY, &pbx.url("/refuses"));
    let refused = click(r#"{"from":"101","to":"1","token":"a-wrong-key"}"#);
    assert_eq!(refused.json()["status"], 401);
    assert!(refused.body.contains("Invalid token"), "{}", refused.body);
    drop(pbx);
    let gone = click(r#"{"from":"101","to":"1"}"#);
    assert_eq!(gone.status, 502);

    let state = control(&sandbox, "GET", "/_sandbox/state", "");
    let deeds = state.json()["deeds"].clone();
    let told: Vec<_> = deeds
        .as_array()
        .unwrap()
        .iter()
        .map(|deed| &deed["status"])
        .collect();
    assert_eq!(
        told,
        [&serde_json::Value::Null, &401.into(), &302.into(), &200.into()]
    );
    for secret in [KEY, PBX_KEY] {
        assert!(!refused.body.contains(secret) && !state.body.contains(secret));
    }
    control(&sandbox, "POST", "/_sandbox/reset", "");
    assert_eq!(
        control(&sandbox, "GET", "/_sandbox/state", "").json()["deeds"],
        serde_json::json!([])
    );
}

#[test]
fn a_recording_is_fetched_as_a_browser_does() {
    let pbx = Pbx::start();
    let sandbox = with_pbx("");
    recorded(&sandbox, "c1", &pbx.url("/a.mp3"), 0);
    let report = control(&sandbox, "GET", "/_sandbox/recording?callid=c1", "").json();
    assert_eq!(
        report["sha256"],
        "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882"
    );
    assert_eq!(
        (
            &report["status"],
            &report["type"],
            &report["length"],
            &report["bytes"]
        ),
        (&200.into(), &"audio/mpeg".into(), &10.into(), &10.into())
    );
    assert_eq!(report["first"], "30313233343536373839");
    assert_eq!(report["ranges"][1]["content_range"], "bytes 5-9/10");
    assert_eq!(report["plays"], true, "{report}");
    assert_eq!(pbx.asked().len(), 3);

    let whole = control(&sandbox, "GET", "/_sandbox/listen?callid=c1", "");
    assert_eq!((whole.status, whole.body.as_bytes()), (200, AUDIO));
    let address = sandbox.control().trim_start_matches("http://").parse().unwrap();
    let mut browser = client::Client::connect(address);
    browser.send("GET /_sandbox/listen?callid=c1 HTTP/1.1\r\nHost: localhost\r\nRange: bytes=4-\r\n\r\n");
    let part = browser.reply();
    assert_eq!((part.status, part.body.as_str()), (206, "456789"));
    assert!(part.head.contains("Content-Range: bytes 4-9/10"), "{}", part.head);
}

#[test]
fn what_does_not_play_is_told() {
    let pbx = Pbx::start();
    let sandbox = with_pbx("");
    let get = |path: &str| control(&sandbox, "GET", &format!("/_sandbox/{path}"), "");
    recorded(&sandbox, "deaf", &pbx.url("/deaf.mp3"), 0);
    let report = get("recording?callid=deaf").json();
    assert_eq!(
        (&report["status"], &report["plays"]),
        (&200.into(), &false.into())
    );
    recorded(&sandbox, "gone", &pbx.url("/gone.mp3"), 0);
    let report = get("recording?callid=gone").json();
    assert_eq!(
        (&report["status"], &report["plays"]),
        (&404.into(), &false.into())
    );
    let page = get("listen?callid=gone");
    assert_eq!((page.status, page.body.contains("<p>")), (502, false));

    recorded(&sandbox, "once", &pbx.url("/a.mp3"), 1);
    pbx.asked();
    assert_eq!(get("recording?callid=once").json()["plays"], true);
    assert_eq!(pbx.asked().len(), 1, "a temporary link works once");

    drop(pbx);
    assert_eq!(get("recording?callid=deaf").status, 502);
    for (query, status) in [("", 400), ("?callid=a&callid=b", 400), ("?callid=nobody", 404)] {
        assert_eq!(get(&format!("recording{query}")).status, status, "{query}");
        assert_eq!(get(&format!("listen{query}")).status, status, "{query}");
    }
    ask(&sandbox, &incoming("rings", "101"));
    assert_eq!(get("recording?callid=rings").status, 404);
}

#[test]
fn a_recording_that_does_not_come_is_told() {
    let sandbox = with_pbx("");
    let missing =
        || control(&sandbox, "GET", "/_sandbox/violations", "").json()["missing_recordings"].clone();
    ask(&sandbox, &incoming("c1", "101"));
    ask(&sandbox, &incoming("c1", "101").replace("INCOMING", "ACCEPTED"));
    let end = "cmd=event&type=in&event=COMPLETED&phone=79101234567&ext=101&callid=c1&duration=3&is_recorded=1&status=Success";
    ask(&sandbox, &with_key(end));
    assert_eq!(missing()[0]["callid"], "c1");
    let record = "cmd=record&callid=c1&record_link=https%3A%2F%2Fpbx%2Fa.mp3";
    ask(&sandbox, &with_key(record));
    assert_eq!(missing(), serde_json::json!([]));
    assert!(sandbox.violations().is_empty());
}
