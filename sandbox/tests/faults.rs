//! Every fault, as a raw TCP client sees it.

mod client;

use client::{Client, PATIENCE, ask, control, eventually, incoming, options, post, sandbox, with_key};
use planfix_sandbox::{Fault, FaultKind, Options, Sandbox};
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn fault(spec: &str) -> Fault {
    spec.parse().unwrap()
}

/// A sandbox with one fault, and a connection that has sent an event.
fn struck(spec: &str) -> (Sandbox, Client) {
    let sandbox = sandbox();
    sandbox.set_fault(fault(spec));
    let mut client = Client::connect(sandbox.address());
    client.send(&post(&incoming("c1", "101")));
    (sandbox, client)
}

#[test]
fn statuses() {
    for (spec, status, part) in [
        ("500", 500, "text/html"),
        ("502", 502, "text/html"),
        ("503", 503, "Retry-After: 1"),
        ("429,retry-after=7", 429, "Retry-After: 7"),
        ("401", 401, "application/json"),
        ("403", 403, "text/html"),
        ("404", 404, "text/html"),
        ("302", 302, "Location: /user/login"),
        ("400", 400, "application/json"),
    ] {
        let (sandbox, mut client) = struck(spec);
        let reply = client.reply();
        assert_eq!(reply.status, status);
        assert!(reply.head.contains(part), "{spec}: {}", reply.head);
        let request = &sandbox.requests()[0];
        assert_eq!((request.status, request.processed), (Some(status), false));
        assert!(
            sandbox.open_popups().is_empty(),
            "a failed request is not taken in"
        );
        sandbox.clear_faults();
        assert_eq!(
            client.ask(&incoming("c1", "101")).status,
            200,
            "the connection goes on"
        );
        assert!(sandbox.violations().is_empty());
    }
}

#[test]
fn delay_comes_on_top() {
    let sandbox = sandbox();
    sandbox.set_fault(fault("delay=80"));
    sandbox.set_fault(fault("500,next=1"));
    for status in [500, 200] {
        let start = Instant::now();
        assert_eq!(ask(&sandbox, &incoming("c1", "101")).status, status);
        assert!(start.elapsed() >= Duration::from_millis(80));
    }
    let requests = sandbox.requests();
    assert_eq!(requests[0].fault.as_deref(), Some("delay=80 + status=500,next=1"));
    assert_eq!((requests[0].processed, requests[1].processed), (false, true));
    sandbox.set_fault(fault("delay=60000"));
    let mut client = Client::connect(sandbox.address());
    sandbox.clear_faults();
    sandbox.set_fault(fault("delay=60000,next=1"));
    client.send(&post(&incoming("c2", "101")));
    assert!(client.silent(Duration::from_millis(60)));
    sandbox.clear_faults();
    assert_eq!(client.reply().status, 200, "clearing releases what waits");
}

#[test]
fn faults_pick_their_requests() {
    let sandbox = sandbox();
    sandbox.set_fault(Fault::new(FaultKind::Status(500, None)).next(2));
    let two: Vec<u16> = (0..3)
        .map(|_| ask(&sandbox, &with_key("cmd=ping")).status)
        .collect();
    assert_eq!(two, [500, 500, 200]);
    sandbox.set_fault(Fault::new(FaultKind::Status(502, None)).callid("bad"));
    sandbox.set_fault(Fault::new(FaultKind::Status(503, None)).cmd("contact"));
    sandbox.set_fault(fault("504,event=COMPLETED"));
    assert_eq!(ask(&sandbox, &incoming("bad", "101")).status, 502);
    assert_eq!(ask(&sandbox, &incoming("good", "101")).status, 200);
    assert_eq!(ask(&sandbox, &with_key("cmd=contact&phone=1")).status, 503);
    let end =
        incoming("good", "101").replace("INCOMING", "COMPLETED") + "&duration=0&is_recorded=0&status=Missed";
    assert_eq!(ask(&sandbox, &end).status, 504);
    let id = sandbox.set_fault(fault("500"));
    sandbox.clear_fault(id);
    assert_eq!(ask(&sandbox, &with_key("cmd=ping")).status, 200);
    sandbox.set_fault(fault("500,for=3000"));
    assert_eq!(ask(&sandbox, &with_key("cmd=ping")).status, 500);
    eventually("the fault runs out", || {
        ask(&sandbox, &with_key("cmd=ping")).status == 200
    });
}

#[test]
fn processed_faults_count() {
    let (sandbox, mut client) = struck("cut,next=1,processed=yes");
    client.rest();
    assert_eq!(sandbox.open_popups().len(), 1);
    assert_eq!(ask(&sandbox, &incoming("c1", "101")).status, 200);
    assert_eq!(sandbox.violations().len(), 1, "the repetition shows it twice");
    sandbox.set_fault(fault("delay=1,processed=no"));
    ask(&sandbox, &incoming("c2", "101"));
    assert_eq!(sandbox.open_popups().len(), 1);
}

#[test]
fn hang_and_its_end() {
    let (sandbox, mut client) = struck("hang");
    assert!(client.silent(Duration::from_millis(80)));
    assert_eq!(sandbox.requests()[0].status, None);
    sandbox.clear_faults();
    assert_eq!(client.rest(), (String::new(), true));
}

#[test]
fn cuts() {
    let (_sandbox, mut client) = struck("cut");
    assert_eq!(client.rest(), (String::new(), true));
    let (_sandbox, mut client) = struck("reset");
    assert_eq!(client.rest(), (String::new(), false));
    let (_sandbox, mut client) = struck("cut-header");
    let (text, _) = client.rest();
    assert!(
        text.starts_with("HTTP/1.1 200 OK\r\n") && !text.contains("\r\n\r\n"),
        "{text:?}"
    );
    let (_sandbox, mut client) = struck("cut-body");
    let (text, _) = client.rest();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains("Content-Length: 64") && body.len() == 32,
        "{text:?}"
    );
}

#[test]
fn bodies() {
    let (_sandbox, mut client) = struck("slow-body=2");
    let start = Instant::now();
    let reply = client.reply();
    assert_eq!((reply.status, reply.body.trim()), (200, ""));
    assert!(
        start.elapsed() >= Duration::from_millis(64 * 2),
        "{:?}",
        start.elapsed()
    );

    let (sandbox, mut client) = struck("endless-body");
    let mut piece = vec![0; 256 * 1024];
    let mut total = 0;
    while total < 8 * 1024 * 1024 {
        total += client.stream.read(&mut piece).unwrap();
    }
    drop(client);
    drop(sandbox);

    let (_sandbox, mut client) = struck("html");
    let reply = client.reply();
    assert!(reply.status == 200 && reply.head.contains("text/html") && reply.body.contains("<html>"));
}

#[test]
fn lengths_and_headers() {
    let (sandbox, mut client) = struck("long-length");
    eventually("the body", || {
        let mut text = [0; 4096];
        let size = client.stream.peek(&mut text).unwrap();
        let text = String::from_utf8_lossy(&text[..size]).into_owned();
        text.contains("Content-Length: 164") && text.ends_with(&" ".repeat(64))
    });
    sandbox.clear_faults();
    let (text, _) = client.rest();
    assert_eq!(text.split_once("\r\n\r\n").unwrap().1.len(), 64);

    let (sandbox, mut client) = struck("short-length,next=1");
    assert_eq!(client.reply().body.len(), 2);
    assert!(sandbox.wait_for(|requests| requests.len() == 1, PATIENCE));
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(
        client.rest().0.len(),
        62,
        "what the length did not promise comes all the same"
    );

    let (_sandbox, mut client) = struck("huge-header");
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    let (text, _) = client.rest();
    assert!(text.len() > 10 * 1024 * 1024 && text.ends_with("\r\nContent-Length: 0\r\n\r\n"));
    assert_eq!(
        text[..text.len() - 30].matches("\r\n").count(),
        1,
        "all of it is one header"
    );
}

#[test]
fn refuse_and_return_on_the_same_port() {
    let sandbox = sandbox();
    let mut old = Client::connect(sandbox.address());
    assert_eq!(old.ask(&with_key("cmd=ping")).status, 200);
    for round in 0..5 {
        sandbox.set_fault(fault("refuse"));
        for _ in 0..5 {
            let error = TcpStream::connect_timeout(&sandbox.address(), PATIENCE).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "round {round}");
        }
        if round == 0 {
            old.rest();
            assert_eq!(
                control(&sandbox, "GET", "/_sandbox/health", "").json()["mode"],
                "refuse"
            );
        }
        sandbox.clear_faults();
        assert_eq!(ask(&sandbox, &with_key("cmd=ping")).status, 200, "round {round}");
    }
    sandbox.set_fault(fault("refuse,for=3000"));
    assert!(Client::try_connect(sandbox.address()).is_err());
    eventually("the listener is back", || {
        Client::try_connect(sandbox.address()).is_ok()
    });
    let reply = control(&sandbox, "POST", "/_sandbox/faults", r#"{"set":"refuse"}"#);
    assert_eq!(reply.status, 200);
    assert!(Client::try_connect(sandbox.address()).is_err());
    assert_eq!(control(&sandbox, "POST", "/_sandbox/reset", "").status, 200);
    assert_eq!(ask(&sandbox, &with_key("cmd=ping")).status, 200);
    sandbox.set_fault(fault("refuse"));
    let start = Instant::now();
    drop(sandbox);
    assert!(start.elapsed() < PATIENCE);
}

#[test]
fn refused_from_the_start() {
    let sandbox = Sandbox::start(Options {
        faults: vec![fault("refuse")],
        ..options()
    })
    .unwrap();
    assert!(Client::try_connect(sandbox.address()).is_err());
    sandbox.clear_faults();
    assert_eq!(ask(&sandbox, &with_key("cmd=ping")).status, 200);
}

#[test]
fn black_hole() {
    let sandbox = sandbox();
    let mut old = Client::connect(sandbox.address());
    assert_eq!(old.ask(&with_key("cmd=ping")).status, 200);
    sandbox.set_fault(fault("black-hole"));
    old.send(&post(&with_key("cmd=ping")));
    assert!(old.silent(Duration::from_millis(80)));
    let error = TcpStream::connect_timeout(&sandbox.address(), Duration::from_millis(150)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert_eq!(
        control(&sandbox, "GET", "/_sandbox/health", "").json()["mode"],
        "black-hole"
    );
    sandbox.clear_faults();
    old.rest();
    assert_eq!(ask(&sandbox, &with_key("cmd=ping")).status, 200);
    sandbox.set_fault(fault("black-hole"));
    sandbox.set_fault(fault("refuse"));
    assert_eq!(
        Client::try_connect(sandbox.address())
            .err()
            .map(|error| error.kind()),
        Some(ErrorKind::ConnectionRefused)
    );
    let start = Instant::now();
    drop(sandbox);
    assert!(start.elapsed() < PATIENCE);
}
