//! A raw TCP client: it shows exactly what came over the wire, and every wait has an end.

#![allow(dead_code, reason = "each test program uses its own part")]

use planfix_sandbox::{Options, Sandbox};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

pub(crate) const KEY: &str = "93d80b7404f50479f87cccf64b5a07bb";
/// For whatever takes milliseconds on a machine with nothing else to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn options() -> Options {
    Options {
        token: KEY.to_owned(),
        ..Options::default()
    }
}

pub(crate) fn sandbox() -> Sandbox {
    Sandbox::start(options()).unwrap()
}

/// A body with the key at its end.
pub(crate) fn with_key(fields: &str) -> String {
    format!("{fields}&planfix_token={KEY}")
}

pub(crate) fn incoming(callid: &str, ext: &str) -> String {
    with_key(&format!(
        "cmd=event&type=in&event=INCOMING&phone=79101234567&ext={ext}&callid={callid}"
    ))
}

pub(crate) fn post(body: &str) -> String {
    format!(
        "POST /tel/api HTTP/1.1\r\nHost: sandbox\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap()
    }

    pub(crate) fn try_connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
        })
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// Sends a body and takes the reply.
    pub(crate) fn ask(&mut self, body: &str) -> Reply {
        self.send(&post(body));
        self.reply()
    }

    fn more(&mut self) -> usize {
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(size) => {
                self.buffer.extend_from_slice(&piece[..size]);
                size
            }
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&self.buffer)),
        }
    }

    /// Takes one reply with its Content-Length.
    pub(crate) fn reply(&mut self) -> Reply {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            assert!(
                self.more() > 0,
                "closed after {:?}",
                String::from_utf8_lossy(&self.buffer)
            );
        };
        let head = String::from_utf8(self.buffer[..end].to_vec()).unwrap();
        let length = head
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length: ")
                    .map(|n| n.parse().unwrap())
            })
            .unwrap_or(0);
        while self.buffer.len() < end + 4 + length {
            assert!(self.more() > 0, "closed within the body of {head}");
        }
        let body = String::from_utf8(self.buffer[end + 4..end + 4 + length].to_vec()).unwrap();
        self.buffer.drain(..end + 4 + length);
        Reply {
            status: head[9..12].parse().unwrap(),
            head,
            body,
        }
    }

    /// Everything until the other side closes; whether it closed in order.
    pub(crate) fn rest(&mut self) -> (String, bool) {
        let mut all = std::mem::take(&mut self.buffer);
        let mut piece = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return (String::from_utf8_lossy(&all).into_owned(), true),
                Ok(size) => all.extend_from_slice(&piece[..size]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return (String::from_utf8_lossy(&all).into_owned(), false);
                }
                Err(error) => panic!("{error} after {} bytes", all.len()),
            }
        }
    }

    /// Whether nothing comes for so long.
    pub(crate) fn silent(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let silent = self.buffer.is_empty()
            && matches!(self.stream.read(&mut [0; 1]), Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        silent
    }
}

/// One request on a connection of its own.
pub(crate) fn ask(sandbox: &Sandbox, body: &str) -> Reply {
    Client::connect(sandbox.address()).ask(body)
}

/// One request to the control side.
pub(crate) fn control(sandbox: &Sandbox, method: &str, path: &str, body: &str) -> Reply {
    let address = sandbox.control().trim_start_matches("http://").parse().unwrap();
    let mut client = Client::connect(address);
    client.send(&format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    ));
    client.reply()
}

/// Looks again and again until `check` holds.
pub(crate) fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
