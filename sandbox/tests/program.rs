//! The program: its lines, its environment, its TLS, its end.

mod client;

use client::{Client, KEY, PATIENCE, eventually, incoming, post, with_key};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

struct Program {
    child: Child,
    output: BufReader<ChildStdout>,
    url: String,
    control: String,
}

impl Program {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_planfix-sandbox"))
            .args(arguments)
            .env("PLANFIX_SANDBOX_TOKEN", KEY)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = || {
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            line.trim_end().to_owned()
        };
        let (first, second) = (line(), line());
        let url = first
            .strip_prefix("listening on ")
            .unwrap_or_else(|| panic!("{first}"))
            .to_owned();
        let control = second
            .strip_prefix("control on http://")
            .unwrap_or_else(|| panic!("{second}"))
            .to_owned();
        Self {
            child,
            output,
            url,
            control,
        }
    }

    fn address(&self) -> SocketAddr {
        let host = self.url.split("://").nth(1).unwrap();
        host.strip_suffix("/tel/api").unwrap().parse().unwrap()
    }

    fn ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Already ended is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn serves_and_ends_with_its_starter() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut program = Program::start(&[
        "--log",
        log.to_str().unwrap(),
        "--log-flush",
        "60000",
        "--contact",
        "7910=Ада:101",
        "--fault",
        "500,next=1",
        "--until-stdin-closes",
    ]);
    assert!(program.url.starts_with("http://127.0.0.1:"));
    let mut client = Client::connect(program.address());
    assert_eq!(client.ask(&with_key("cmd=ping")).status, 500);
    assert_eq!(
        client.ask(&with_key("cmd=contact&phone=7910")).json()["contact_name"],
        "Ада"
    );
    assert!(Client::try_connect(program.control.parse().unwrap()).is_ok());
    drop(program.child.stdin.take());
    eventually("the program ends", || program.ended());
    assert!(program.child.wait().unwrap().success());
    assert_eq!(std::fs::read_to_string(&log).unwrap().lines().count(), 2);
    let mut rest = String::new();
    program.output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

#[test]
fn a_signal_flushes_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut program = Program::start(&["--log", log.to_str().unwrap(), "--log-flush", "60000"]);
    assert_eq!(
        Client::connect(program.address())
            .ask(&incoming("c1", "101"))
            .status,
        200
    );
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "");
    let killed = Command::new("kill")
        .arg(program.child.id().to_string())
        .status()
        .unwrap();
    assert!(killed.success());
    eventually("the program ends", || program.ended());
    assert!(program.child.wait().unwrap().success());
    assert!(
        std::fs::read_to_string(&log)
            .unwrap()
            .contains("\"callid\",\"c1\"")
    );
}

#[test]
fn says_what_is_wrong_with_its_arguments() {
    for (arguments, code, part) in [
        (&["--fault", "boom"][..], 2, "is not a fault"),
        (&["--listen", "192.0.2.1:1"], 1, "cannot listen at 192.0.2.1:1"),
        (
            &["--log", "/nonexistent/log"],
            1,
            "the log /nonexistent/log cannot be opened",
        ),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_planfix-sandbox"))
            .args(arguments)
            .env("PLANFIX_SANDBOX_TOKEN", KEY)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(part) && output.stdout.is_empty(), "{text}");
    }
}

#[test]
fn speaks_tls() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let program = Program::start(&[
        "--tls-cert",
        cert.to_str().unwrap(),
        "--tls-key",
        key.to_str().unwrap(),
    ]);
    assert!(program.url.starts_with("https://127.0.0.1:"));

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = Client::connect(program.address()).stream;
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut tls = rustls::StreamOwned::new(connection, socket);
    for n in 0..2 {
        tls.write_all(post(&incoming(&format!("c{n}"), "101")).as_bytes())
            .unwrap();
        let mut text = String::new();
        while !text.contains("\r\n\r\n") {
            let mut piece = [0; 1024];
            let size = tls.read(&mut piece).unwrap();
            assert!(size > 0, "closed after {text}");
            text.push_str(&String::from_utf8_lossy(&piece[..size]));
        }
        assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
    }
}
