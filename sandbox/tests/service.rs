//! The stand-in over HTTP: protocol, keep-alive, limits, log, control API, page.

mod client;

use client::{Client, KEY, PATIENCE, ask, control, eventually, incoming, options, post, sandbox, with_key};
use planfix_sandbox::sequence::Rule;
use planfix_sandbox::{Options, Sandbox};
use std::io::Write;
use std::time::{Duration, Instant};

#[test]
fn answers_as_the_protocol_says() {
    let sandbox = Sandbox::start(Options {
        pbx_token: "pbx-secret-key".into(),
        pbx_url: "https://pbx.example.com/planfix/api".into(),
        contacts: vec![
            "+7 (910) 123-45-67=Иван «Ё»:103".parse().unwrap(),
            "7800=Anna".parse().unwrap(),
        ],
        ..options()
    })
    .unwrap();
    let event = ask(&sandbox, &incoming("c1", "101"));
    assert_eq!((event.status, event.body.as_str()), (200, ""));
    let end = "cmd=event&type=in&event=COMPLETED&phone=79101234567&ext=101&callid=c1&duration=0&is_recorded=1&status=Missed";
    assert_eq!(ask(&sandbox, &with_key(end)).status, 200);
    let record = ask(
        &sandbox,
        &with_key("cmd=record&callid=c1&record_link=https%3A%2F%2Fpbx%2Fa.mp3"),
    );
    assert_eq!((record.status, record.body.as_str()), (200, ""));
    let ping = ask(&sandbox, &with_key("cmd=ping"));
    assert_eq!(
        ping.json(),
        serde_json::json!({"pbxToken": "pbx-secret-key", "pbxUrl": "https://pbx.example.com/planfix/api"})
    );
    let contact = ask(&sandbox, &with_key("cmd=contact&phone=79101234567"));
    assert_eq!(
        contact.json(),
        serde_json::json!({"contact_name": "Иван «Ё»", "responsible": 103})
    );
    assert_eq!(
        ask(&sandbox, &with_key("cmd=contact&phone=7800")).json(),
        serde_json::json!({"contact_name": "Anna"})
    );
    assert_eq!(ask(&sandbox, &with_key("cmd=contact&phone=1")).body, "{}");
    let refused = ask(&sandbox, &with_key("cmd=event&type=in"));
    assert_eq!(
        (refused.status, refused.body.as_str()),
        (400, r#"{"error":"Invalid parameters"}"#)
    );
    let stranger = ask(&sandbox, "cmd=ping&planfix_token=another");
    assert_eq!(
        (stranger.status, stranger.body.as_str()),
        (401, r#"{"error":"Invalid token"}"#)
    );

    let requests = sandbox.requests();
    assert_eq!(requests.len(), 9);
    assert!(requests[0].accepted() && !requests[7].accepted());
    assert!(
        requests[7]
            .problems
            .iter()
            .any(|problem| problem == "field `event` is missing")
    );
    assert_eq!(requests[0].field("ext"), Some("101"));
    let rules: Vec<Rule> = sandbox
        .violations()
        .iter()
        .map(|violation| violation.rule)
        .collect();
    assert_eq!(rules, [Rule::RecordedNotAnswered]);
    assert_eq!(
        sandbox.calls()[0].record_link.as_deref(),
        Some("https://pbx/a.mp3")
    );
    let counters = sandbox.counters();
    assert_eq!(
        (counters.requests, counters.accepted, counters.refused),
        (9, 7, 2)
    );
    assert_eq!(counters.by_cmd["event"], 2);
}

#[test]
fn refuses_other_methods_paths_and_types() {
    let sandbox = sandbox();
    let body = with_key("cmd=ping");
    let form = "application/x-www-form-urlencoded";
    for (method, path, kind, status) in [
        ("POST", "/tel/api", form, 200),
        (
            "POST",
            "/tel/api",
            "Application/X-WWW-Form-Urlencoded; charset=\"UTF-8\"",
            200,
        ),
        ("POST", "/tel/api/", form, 200),
        ("GET", "/tel/api", form, 405),
        ("PUT", "/tel/api", form, 405),
        ("POST", "/", form, 404),
        ("POST", "/tel/ats", form, 404),
        ("POST", "/tel/api/x", form, 404),
        ("POST", "/tel/api?cmd=ping", form, 400),
        ("POST", "/tel/api", "application/json", 400),
        ("POST", "/tel/api", "multipart/form-data; boundary=x", 400),
        (
            "POST",
            "/tel/api",
            "application/x-www-form-urlencoded; charset=windows-1251",
            400,
        ),
    ] {
        let mut client = Client::connect(sandbox.address());
        client.send(&format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        let reply = client.reply();
        assert_eq!(reply.status, status, "{method} {path} {kind}: {reply:?}");
        let last = sandbox.requests().last().unwrap().clone();
        assert_eq!(last.status, Some(status));
        assert_eq!(last.problems.is_empty(), status == 200, "{last:?}");
        assert!(!format!("{last:?}").contains(KEY));
    }
    let mut bare = Client::connect(sandbox.address());
    bare.send(&format!(
        "POST /tel/api HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    assert_eq!(bare.reply().status, 400);
    assert!(sandbox.requests().last().unwrap().problems[0].contains("is missing"));
}

#[test]
fn order_is_checked_and_the_reply_stays_200() {
    let sandbox = sandbox();
    for _ in 0..2 {
        assert_eq!(ask(&sandbox, &incoming("c1", "101")).status, 200);
    }
    assert_eq!(sandbox.requests()[1].violations[0].rule, Rule::ShownTwice);
    assert_eq!(sandbox.open_popups().len(), 1);
    sandbox.allow(Rule::ShownTwice);
    assert_eq!(ask(&sandbox, &incoming("c1", "101")).status, 200);
    assert_eq!(sandbox.violations().len(), 1);
    let reply = control(
        &sandbox,
        "POST",
        "/_sandbox/allow",
        r#"{"check":["shown-twice"],"allow":["closed-twice"]}"#,
    );
    assert_eq!(reply.status, 200);
    assert_eq!(ask(&sandbox, &incoming("c1", "101")).status, 200);
    assert_eq!(sandbox.violations().len(), 2);
}

#[test]
fn keeps_connections_alive() {
    let sandbox = sandbox();
    let mut client = Client::connect(sandbox.address());
    for n in 0..3 {
        assert_eq!(client.ask(&incoming(&format!("c{n}"), "101")).status, 200);
    }
    // Two at once, and the second in chunks.
    let body = incoming("c4", "101");
    let (left, right) = body.split_at(20);
    client.send(&format!(
        "{}POST /tel/api HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Transfer-Encoding: chunked\r\n\r\n14\r\n{left}\r\n{:x}\r\n{right}\r\n0\r\n\r\n",
        post(&incoming("c3", "101")),
        right.len()
    ));
    assert_eq!((client.reply().status, client.reply().status), (200, 200));
    client.send(&post(&incoming("c5", "101")).replacen("Host", "Connection: close\r\nHost", 1));
    let last = client.reply();
    assert!(last.head.contains("Connection: close"), "{}", last.head);
    assert_eq!(client.rest(), (String::new(), true));
    let requests = sandbox.requests();
    let serials: Vec<u64> = requests.iter().map(|request| request.request).collect();
    assert_eq!(serials, [1, 2, 3, 4, 5, 6]);
    assert!(
        requests
            .iter()
            .all(|request| request.connection == requests[0].connection)
    );
    assert_eq!(sandbox.counters().connections, 1);
}

#[test]
fn silent_connections_are_closed() {
    let sandbox = Sandbox::start(Options {
        idle_timeout: Duration::from_secs(1),
        ..options()
    })
    .unwrap();
    let mut client = Client::connect(sandbox.address());
    assert_eq!(client.ask(&with_key("cmd=ping")).status, 200);
    assert_eq!(client.rest(), (String::new(), true));
}

#[test]
fn limits_are_answered() {
    let sandbox = sandbox();
    let long = format!(
        "POST /tel/api HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nA: {}\r\n\r\n",
        "a".repeat(70_000)
    );
    for (text, status) in [
        ("garbage\r\n\r\n".to_owned(), 400),
        (
            "POST /tel/api HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n".to_owned(),
            413,
        ),
        ("POST /tel/api HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 411),
        (
            "POST /tel/api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFF\r\n".to_owned(),
            413,
        ),
        (long, 431),
    ] {
        let mut client = Client::connect(sandbox.address());
        // The answer may come before everything is sent.
        let _ = client.stream.write_all(text.as_bytes());
        let reply = client.reply();
        assert_eq!(reply.status, status, "{text:.60}");
        assert!(client.rest().1, "{text:.60}");
    }
    assert_eq!(sandbox.counters().refused, 5);
    assert!(
        sandbox
            .requests()
            .iter()
            .all(|request| !request.problems.is_empty())
    );
}

#[test]
fn fifty_connections_at_once() {
    let sandbox = sandbox();
    std::thread::scope(|scope| {
        for worker in 0..50 {
            let address = sandbox.address();
            scope.spawn(move || {
                let mut client = Client::connect(address);
                for n in 0..20 {
                    assert_eq!(client.ask(&incoming(&format!("{worker}.{n}"), "101")).status, 200);
                }
            });
        }
    });
    let requests = sandbox.requests();
    assert_eq!(requests.len(), 1000);
    assert!(
        requests
            .iter()
            .enumerate()
            .all(|(at, request)| request.n == at as u64 + 1 && request.accepted())
    );
    assert_eq!(
        (sandbox.open_popups().len(), sandbox.violations().len()),
        (1000, 0)
    );
    assert_eq!(sandbox.counters().connections, 50);
}

#[test]
fn waiting_ends_when_it_should() {
    let sandbox = sandbox();
    assert!(!sandbox.wait_for(|requests| !requests.is_empty(), Duration::from_millis(30)));
    std::thread::scope(|scope| {
        scope.spawn(|| ask(&sandbox, &incoming("c1", "101")));
        assert!(sandbox.wait_for(
            |requests| requests.iter().any(|r| r.field("callid") == Some("c1")),
            PATIENCE
        ));
    });
}

#[test]
fn the_log_holds_everything_but_the_keys() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log.jsonl");
    let pbx = "the-pbx-key-itself";
    let options = Options {
        log: Some(log.clone()),
        pbx_token: pbx.into(),
        ..options()
    };
    let sandbox = Sandbox::start(options).unwrap();
    ask(&sandbox, &with_key("cmd=contact&phone=%FF%D0%98&callid=a%20b"));
    ask(
        &sandbox,
        &with_key(&format!("cmd=contact&phone={KEY}&callid={pbx}")),
    );
    ask(
        &sandbox,
        &format!("cmd=ping&token={KEY}&planfix_token=wrong-one-here"),
    );
    ask(&sandbox, &with_key("cmd=ping"));
    let mut raw = Client::connect(sandbox.address());
    raw.send(&format!("GET /tel/api/{KEY} HTTP/1.1\r\nHost: x\r\n\r\n"));
    raw.reply();
    let shown = [
        "/",
        "/_sandbox/state",
        "/_sandbox/requests",
        "/_sandbox/violations",
        "/_sandbox/health",
    ]
    .map(|path| control(&sandbox, "GET", path, "").body)
    .join("\n");
    let text = std::fs::read_to_string(&log).unwrap();
    for kept in [&text, &shown] {
        for secret in [KEY, pbx, "wrong-one-here"] {
            assert!(!kept.contains(secret), "{secret} in {kept}");
        }
    }
    assert!(text.is_ascii() || text.contains('И'));
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 5);
    let first = &lines[0];
    assert_eq!(first["n"], 1);
    assert_eq!(first["fields"][1], serde_json::json!(["phone", "\u{fffd}И"]));
    assert_eq!(
        first["raw"],
        "cmd=contact&phone=%FF%D0%98&callid=a%20b&planfix_token=***"
    );
    assert_eq!(first["status"], 200);
    assert!(first["notes"][0].as_str().unwrap().contains("not valid UTF-8"));
    assert!(first["time"].as_str().unwrap().ends_with('Z') && first["arrival_ms"].is_f64());
    drop(sandbox);
    assert_eq!(std::fs::read_to_string(&log).unwrap().lines().count(), 5);
}

#[test]
fn the_control_api_does_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.mp3"), b"0123456789").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link.mp3")).unwrap();
    let sandbox = Sandbox::start(Options {
        recordings: Some(folder.path().into()),
        ..options()
    })
    .unwrap();
    for n in 0..3 {
        ask(&sandbox, &incoming(&format!("c{n}"), "101"));
    }
    let get = |path: &str| control(&sandbox, "GET", path, "");
    let set = |path: &str, body: &str| control(&sandbox, "POST", path, body);
    assert_eq!(get("/_sandbox/health").json()["mode"], "open");
    let some = get("/_sandbox/requests?since=1&limit=1").json();
    assert_eq!(
        (some["requests"].as_array().unwrap().len(), &some["last"]),
        (1, &2.into())
    );
    let state = get("/_sandbox/state").json();
    assert_eq!(
        (&state["open_popups"], &state["calls"][0]["callid"]),
        (&3.into(), &"c2".into())
    );
    assert_eq!(
        get("/_sandbox/violations").json()["open_popups"]
            .as_array()
            .unwrap()
            .len(),
        3
    );

    assert_eq!(
        set(
            "/_sandbox/ping",
            r#"{"pbx_token":"new","pbx_url":"https://new/"}"#
        )
        .status,
        200
    );
    assert_eq!(ask(&sandbox, &with_key("cmd=ping")).json()["pbxToken"], "new");
    assert_eq!(
        set(
            "/_sandbox/contacts",
            r#"{"number":"7910","name":"Ада","ext":"007"}"#
        )
        .status,
        200
    );
    let contact = ask(&sandbox, &with_key("cmd=contact&phone=%2B7910")).json();
    assert_eq!(
        contact,
        serde_json::json!({"contact_name": "Ада", "responsible": "007"})
    );

    let reply = set("/_sandbox/faults", r#"{"set":["500,next=9","delay=1"]}"#).json();
    assert_eq!(reply["ids"].as_array().unwrap().len(), 2);
    assert_eq!(ask(&sandbox, &with_key("cmd=ping")).status, 500);
    assert_eq!(
        set("/_sandbox/faults", r#"{"clear":"status"}"#).json()["cleared"],
        1
    );
    assert_eq!(ask(&sandbox, &with_key("cmd=ping")).status, 200);
    assert_eq!(set("/_sandbox/faults", r#"{"clear":true}"#).json()["cleared"], 1);

    for (path, body, part) in [
        ("faults", "{", "not accepted"),
        ("faults", r#"{"set":"boom"}"#, "the faults are"),
        ("faults", r#"{"sett":"500"}"#, "unknown field"),
        ("allow", r#"{"allow":["boom"]}"#, "is not a rule"),
        ("ping", r#"{"token":"x"}"#, "unknown field"),
        ("contacts", r#"{"number":"x","name":"y"}"#, "no digit"),
    ] {
        let reply = set(&format!("/_sandbox/{path}"), body);
        assert_eq!(reply.status, 400, "{path} {body}");
        assert!(
            reply.json()["error"].as_str().unwrap().contains(part),
            "{reply:?}"
        );
    }
    assert_eq!(
        (get("/_sandbox/faults").status, set("/_sandbox/state", "").status),
        (405, 405)
    );
    assert_eq!(
        (get("/nothing").status, get("/_sandbox/requests?x=1").status),
        (404, 400)
    );

    assert_eq!(get("/recordings/a.mp3").body, "0123456789");
    for name in ["link.mp3", "b.mp3", "..%2fa.mp3", "../a.mp3", "./a.mp3", ""] {
        assert_eq!(get(&format!("/recordings/{name}")).status, 404, "{name}");
    }
    let page = get("/");
    assert!(
        page.head.contains("Content-Security-Policy: default-src 'none'") && page.body.contains("/page.js")
    );
    assert_eq!((get("/page.js").status, get("/style.css").status), (200, 200));

    assert_eq!(set("/_sandbox/reset", "").status, 200);
    assert!(sandbox.requests().is_empty() && sandbox.calls().is_empty());
    ask(&sandbox, &with_key("cmd=ping"));
    assert!(sandbox.requests()[0].n > 3, "numbers go on");

    let mut bare = Client::connect(sandbox.control().trim_start_matches("http://").parse().unwrap());
    bare.send("POST /_sandbox/reset HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(bare.reply().status, 200, "curl -X POST sends no length");
}

#[test]
fn other_sites_pages_are_kept_out() {
    let sandbox = sandbox();
    let address = sandbox.control().trim_start_matches("http://").parse().unwrap();
    for (host, origin, status) in [
        ("127.0.0.1:1", None, 200),
        ("localhost:1", Some("http://localhost:1"), 200),
        ("[::1]:1", None, 200),
        ("127.0.0.1:1", Some("https://evil.example.com"), 403),
        ("127.0.0.1:1", Some("null"), 403),
        ("evil.example.com:1", Some("http://evil.example.com:1"), 403),
        ("evil.example.com", None, 403),
    ] {
        for path in ["/_sandbox/state", "/_sandbox/stream"] {
            let mut client = Client::connect(address);
            let origin = origin
                .map(|origin| format!("Origin: {origin}\r\n"))
                .unwrap_or_default();
            client.send(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{origin}\r\n"));
            assert_eq!(client.reply().status, status, "{host} {origin} {path}");
        }
    }
}

#[test]
fn recordings_are_served_in_ranges() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.wav"), b"0123456789").unwrap();
    let sandbox = Sandbox::start(Options {
        recordings: Some(folder.path().into()),
        ..options()
    })
    .unwrap();
    let address = sandbox.control().trim_start_matches("http://").parse().unwrap();
    let mut client = Client::connect(address);
    let mut get = |range: &str| {
        client.send(&format!(
            "GET /recordings/a.wav HTTP/1.1\r\nHost: localhost\r\nRange: {range}\r\n\r\n"
        ));
        client.reply()
    };
    let part = get("bytes=2-4");
    assert_eq!((part.status, part.body.as_str()), (206, "234"));
    assert!(
        part.head.contains("Content-Range: bytes 2-4/10") && part.head.contains("audio/wav"),
        "{}",
        part.head
    );
    assert_eq!(get("bytes=20-").status, 416);
    assert_eq!(get("bytes=0-1,4-5").body.len(), 10);
}

#[test]
fn the_stream_follows_changes() {
    let sandbox = sandbox();
    let address = sandbox.control().trim_start_matches("http://").parse().unwrap();
    let mut client = Client::connect(address);
    client.send("GET /_sandbox/stream HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(client.reply().head.contains("text/event-stream"));
    ask(&sandbox, &incoming("streamed", "101"));
    let mut seen = String::new();
    eventually("the call on the stream", || {
        let mut piece = [0; 4096];
        let size = std::io::Read::read(&mut client.stream, &mut piece).unwrap();
        seen.push_str(&String::from_utf8_lossy(&piece[..size]));
        seen.contains("\"streamed\"")
    });
}

#[test]
fn dropping_ends_everything_at_once() {
    let sandbox = sandbox();
    sandbox.set_fault("hang,callid=held".parse().unwrap());
    let address = sandbox.address();
    let mut idle = Client::connect(address);
    assert_eq!(idle.ask(&with_key("cmd=ping")).status, 200);
    let mut held = Client::connect(address);
    held.send(&post(&incoming("held", "101")));
    assert!(sandbox.wait_for(|requests| requests.len() == 2, PATIENCE));
    let start = Instant::now();
    drop(sandbox);
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    idle.rest();
    held.rest();
    assert!(Client::try_connect(address).is_err());
    std::net::TcpListener::bind(address).expect("the port is free again");
}

#[test]
fn a_taken_port_is_named() {
    let sandbox = sandbox();
    let error = Sandbox::start(Options {
        listen: sandbox.address(),
        ..options()
    })
    .unwrap_err()
    .to_string();
    assert!(error.contains("cannot listen at 127.0.0.1:"), "{error}");
}
