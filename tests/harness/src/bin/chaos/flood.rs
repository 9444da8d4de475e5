//! Many requests at Asterisk's HTTP server, few of them right.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fastrand::Rng;

/// At the same time; some connections of Asterisk's are left to others.
const HANDS: usize = 12;
/// Between two requests of one.
const PAUSE: Duration = Duration::from_millis(10);
/// Nobody waits longer for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Requests that go on until this is dropped.
#[derive(Debug)]
pub(crate) struct Flood {
    over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    hands: Vec<JoinHandle<()>>,
}

impl Flood {
    /// Begins.
    pub(crate) fn begin(server: SocketAddr, seed: u64) -> Self {
        let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let hands = (0..HANDS)
            .map(|hand| {
                let (over, sent) = (Arc::clone(&over), Arc::clone(&sent));
                let mut rng = Rng::with_seed(seed ^ hand as u64);
                thread::spawn(move || {
                    while !over.load(Ordering::Acquire) {
                        request(server, &mut rng);
                        sent.fetch_add(1, Ordering::Relaxed);
                        thread::sleep(PAUSE);
                    }
                })
            })
            .collect();
        Self { over, sent, hands }
    }

    /// Ends, and tells how many there were.
    pub(crate) fn end(mut self) -> u64 {
        self.stop();
        self.sent.load(Ordering::Relaxed)
    }

    fn stop(&mut self) {
        self.over.store(true, Ordering::Release);
        for hand in self.hands.drain(..) {
            // One that has panicked has said so; there is nothing to add.
            let _ = hand.join();
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop();
    }
}

/// One connection. Whatever comes back is right: that it comes at all is for others to see.
fn request(server: SocketAddr, rng: &mut Rng) {
    let Ok(mut stream) = TcpStream::connect_timeout(&server, PATIENCE) else {
        return;
    };
    let text = text(rng);
    let mut answer = [0; 4096];
    let waited = stream
        .set_read_timeout(Some(PATIENCE))
        .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
        .and_then(|()| stream.write_all(text.as_bytes()))
        .and_then(|()| match rng.u8(0..8) {
            // Somebody who does not wait for the answer.
            0 => Ok(0),
            _ => stream.read(&mut answer),
        });
    // Refused, cut off, too late: all of that may be.
    drop(waited);
}

fn text(rng: &mut Rng) -> String {
    let name: String = std::iter::repeat_with(|| rng.alphanumeric()).take(24).collect();
    let post = |body: &str, length: usize| {
        format!(
            "POST /planfix/api HTTP/1.1\r\nHost: pbx\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    let wrong = format!("cmd=makeCall&token={name}&from=204&to=79101234567");
    match rng.u8(0..7) {
        0 => format!("GET /planfix/records/{name}.mp3 HTTP/1.1\r\nHost: pbx\r\nConnection: close\r\n\r\n"),
        1 => format!("GET /planfix/records/../../{name} HTTP/1.1\r\nHost: pbx\r\nConnection: close\r\n\r\n"),
        2 => post(&wrong, wrong.len()),
        3 => post(&"&".repeat(4_000), 4_000),
        // Half a request, half a body, and no request at all.
        4 => format!("GET /planfix/api HTTP/1.1\r\nHost: {name}"),
        5 => post(&wrong, 60_000),
        _ => format!("{name}\r\n\r\n"),
    }
}
