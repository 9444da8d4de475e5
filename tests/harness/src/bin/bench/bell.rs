//! A phone that notes when it rang, and for whom.
//!
//! Invariants: it takes the calls of one Asterisk on the loopback network, in which nothing is lost: it says nothing twice;
//! its thread is gone when it is dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};

/// How long it rings.
const RINGS: Duration = Duration::from_millis(100);
/// How often it looks whether somebody has lifted the handset.
const GLANCE: Duration = Duration::from_millis(2);
/// A datagram is never longer.
const LONGEST: usize = 65_536;

type Rung = BTreeMap<String, SystemTime>;

/// A phone. Dropping it ends its thread.
pub(crate) struct Bell {
    rung: Arc<Mutex<Rung>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Bell {
    pub(crate) fn hang_up_at(address: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind(address).with_context(|| format!("no phone can be at {address}"))?;
        socket.set_read_timeout(Some(GLANCE))?;
        let (rung, over) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let phone = Phone {
            socket,
            address,
            rung: Arc::clone(&rung),
            known: BTreeSet::new(),
            due: Vec::new(),
        };
        let thread = thread::Builder::new().name("bell".into()).spawn({
            let over = Arc::clone(&over);
            move || phone.live(&over)
        })?;
        Ok(Self {
            rung,
            over,
            thread: Some(thread),
        })
    }

    /// When it began to ring for each caller since the last time this was asked.
    pub(crate) fn rung(&self) -> Rung {
        std::mem::take(&mut self.rung.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // Whatever it died of, the calls that it did not take have said so.
            let _ = thread.join();
        }
    }
}

struct Phone {
    socket: UdpSocket,
    address: SocketAddr,
    rung: Arc<Mutex<Rung>>,
    known: BTreeSet<String>,
    due: Vec<(Instant, SocketAddr, String)>,
}

impl Phone {
    fn live(mut self, over: &AtomicBool) {
        let mut buffer = vec![0; LONGEST];
        while !over.load(Ordering::Acquire) {
            if let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
                let request = String::from_utf8_lossy(&buffer[..length]).into_owned();
                self.hear(&request, from);
            }
            let now = Instant::now();
            let (lifted, later) = self.due.drain(..).partition(|(when, ..)| *when <= now);
            self.due = later;
            let lifted: Vec<_> = lifted;
            for (_, from, invite) in lifted {
                self.say(&invite, from, "200 OK", &self.description());
            }
        }
    }

    fn hear(&mut self, request: &str, from: SocketAddr) {
        match request.split(' ').next() {
            Some("INVITE") if self.known.insert(header(request, "Call-ID").to_owned()) => {
                let caller = header(request, "From");
                let caller = caller.split("sip:").nth(1).unwrap_or_default();
                let caller = caller.split('@').next().unwrap_or_default().to_owned();
                self.rung
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(caller, SystemTime::now());
                self.say(request, from, "180 Ringing", "");
                self.due.push((Instant::now() + RINGS, from, request.to_owned()));
            }
            Some("BYE" | "CANCEL" | "OPTIONS") => self.say(request, from, "200 OK", ""),
            _ => (),
        }
    }

    fn say(&self, request: &str, to: SocketAddr, status: &str, body: &str) {
        let mut text = format!("SIP/2.0 {status}\r\n");
        for line in request.split("\r\n").filter(|line| line.starts_with("Via:")) {
            text.push_str(line);
            text.push_str("\r\n");
        }
        let to_header = header(request, "To");
        let tag = if to_header.contains(";tag=") {
            ""
        } else {
            ";tag=bell"
        };
        text.push_str(&format!(
            "From: {}\r\nTo: {to_header}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: <sip:{}>\r\n",
            header(request, "From"),
            header(request, "Call-ID"),
            header(request, "CSeq"),
            self.address
        ));
        if !body.is_empty() {
            text.push_str("Content-Type: application/sdp\r\n");
        }
        text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        // What does not get through is a call that fails, and sipp says so.
        let _ = self.socket.send_to(text.as_bytes(), to);
    }

    /// Nobody says anything in these calls: no sound comes to that port.
    fn description(&self) -> String {
        let ip = self.address.ip();
        format!(
            "v=0\r\no=bell 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 9 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"
        )
    }
}

/// A header as Asterisk writes it, in its long form.
fn header<'a>(request: &'a str, name: &str) -> &'a str {
    let mut lines = request.split("\r\n");
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    value.unwrap_or_default()
}
