//! A stand-in for the Planfix CRM.
//!
//! It answers `/tel/api` strictly by the protocol, keeps what it received, checks the order of events within each call,
//! shows call cards on a page, and fails on demand. At the PBX it does what Planfix does: it switches the integration on,
//! clicks to call, and fetches recordings. As a program it serves people without an account; as a library it is
//! the other end in tests:
//!
//! ```
//! use planfix_sandbox::{Options, Sandbox};
//! # fn main() -> std::io::Result<()> {
//! let sandbox = Sandbox::start(Options { token: "key".to_owned(), ..Options::default() })?;
//! assert!(sandbox.url().ends_with("/tel/api"));
//! assert!(sandbox.requests().is_empty() && sandbox.violations().is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! Invariants: the protocol and the rules of order are pure and know no socket; a key never reaches the log, the page or
//! a snapshot; dropping a [`Sandbox`] ends all its threads and frees its ports.

#![forbid(unsafe_code)]

mod clock;
mod connection;
mod control;
mod exchange;
mod fault;
pub mod form;
mod gate;
mod http;
mod journal;
mod options;
mod pbx;
pub mod protocol;
pub mod sequence;
mod wire;

pub use exchange::{Counters, Request};
pub use fault::{Fault, FaultKind};
pub use options::{Contact, Invocation, Options, Tls, help};

use exchange::Exchange;
use gate::{Gate, Mode};
use journal::Journal;
use pbx::Pbx;
use rustls::ServerConfig;
use sequence::{Call, Popup, Rule, Violation};
use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use wire::Wire;

/// A thread of a connection needs little; 50 connections should not look like 100 MB.
const STACK: usize = 512 * 1024;
/// How long a change of the listener or the end of the threads may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a listener that does not listen sleeps at most.
const NAP: Duration = Duration::from_secs(3);

/// What all threads share.
struct Shared {
    exchange: Exchange,
    pbx: Pbx,
    url: String,
    control: SocketAddr,
    recordings: Option<PathBuf>,
    address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    idle: Duration,
    /// The mode the listener is in, and a call for it to look again.
    listener: (Mutex<Mode>, Condvar),
    peers: Mutex<Peers>,
    peers_gone: Condvar,
    last_id: AtomicU64,
}

/// The connections that are open, and the threads that serve them.
#[derive(Default)]
struct Peers {
    sockets: HashMap<u64, (Side, TcpStream)>,
    threads: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Crm,
    Control,
}

impl Shared {
    fn peers(&self) -> MutexGuard<'_, Peers> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listener_mode(&self) -> MutexGuard<'_, Mode> {
        self.listener.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the listener behaves as the faults want it to.
    fn settle(&self) {
        let deadline = Instant::now() + PATIENCE;
        let mut now = self.listener_mode();
        loop {
            let (wanted, _) = self.exchange.mode();
            if *now == wanted || self.exchange.stopping() || Instant::now() > deadline {
                return;
            }
            self.listener.1.notify_all();
            if *now == Mode::Open {
                drop(now);
                gate::wake(self.address);
                now = self.listener_mode();
            }
            now = self
                .listener
                .1
                .wait_timeout(now, Duration::from_millis(50))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Closes the connections of one side, or of both.
    fn sever(&self, side: Option<Side>) {
        for (of, socket) in self.peers().sockets.values() {
            if side.is_none_or(|side| side == *of) {
                // Already closed is as good.
                let _ = socket.shutdown(Shutdown::Both);
            }
        }
    }

    /// Serves a connection on a thread of its own.
    fn serve(self: &Arc<Self>, stream: TcpStream, side: Side) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let handle = stream.try_clone()?;
        {
            let mut peers = self.peers();
            peers.sockets.insert(id, (side, handle));
            peers.threads += 1;
        }
        // From here on the entry goes when this is dropped, also if the thread cannot be started.
        let entry = Entry {
            shared: Arc::clone(self),
            id,
        };
        let tls = if side == Side::Crm { self.tls.clone() } else { None };
        std::thread::Builder::new()
            .name(format!("sandbox-{id}"))
            .stack_size(STACK)
            .spawn(move || {
                let shared = &entry.shared;
                if let Ok(wire) = Wire::new(stream, tls.as_ref()) {
                    match side {
                        Side::Crm => {
                            shared.exchange.connected();
                            connection::serve(&shared.exchange, wire, entry.id, shared.idle);
                        }
                        Side::Control => control::serve(shared, wire, shared.idle),
                    }
                }
            })?;
        Ok(())
    }

    /// Accepts connections to `/tel/api` and follows the wanted mode, until everything stops.
    fn run_crm(self: &Arc<Self>, mut gate: Gate) {
        while !self.exchange.stopping() {
            let (wanted, expiry) = self.exchange.mode();
            if let Err(error) = gate.set(wanted) {
                eprintln!(
                    "planfix-sandbox: the listener cannot change to {}: {error}",
                    wanted.name()
                );
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
            if wanted == Mode::Refuse {
                self.sever(Some(Side::Crm));
            }
            let mut mode = self.listener_mode();
            *mode = wanted;
            self.listener.1.notify_all();
            if wanted == Mode::Open {
                // Under the lock: whoever stops everything after this sees that an accept has to be woken.
                if self.exchange.stopping() {
                    return;
                }
                drop(mode);
                match gate.accept() {
                    // Whoever wakes this thread up is the first to be accepted after a change of mode.
                    Ok(_) if self.exchange.stopping() || self.exchange.mode().0 != Mode::Open => {}
                    Ok(stream) => {
                        if let Err(error) = self.serve(stream, Side::Crm) {
                            eprintln!("planfix-sandbox: a connection cannot be served: {error}");
                        }
                    }
                    // Out of descriptors, most likely: others may close theirs.
                    Err(_) => std::thread::sleep(Duration::from_millis(10)),
                }
            } else {
                let left = expiry.map_or(NAP, |expiry| expiry.saturating_duration_since(Instant::now()));
                let nap = left.clamp(Duration::from_millis(1), NAP);
                // Looking once more under the lock: a change since then has nobody left to wake.
                if self.exchange.mode().0 == wanted && !self.exchange.stopping() {
                    drop(self.listener.1.wait_timeout(mode, nap));
                }
            }
        }
    }

    fn run_control(self: &Arc<Self>, gate: &Gate) {
        while !self.exchange.stopping() {
            match gate.accept() {
                Ok(_) if self.exchange.stopping() => {}
                Ok(stream) => {
                    if let Err(error) = self.serve(stream, Side::Control) {
                        eprintln!("planfix-sandbox: a control connection cannot be served: {error}");
                    }
                }
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }
}

/// A connection in the list of peers; leaves it when dropped.
struct Entry {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut peers = self.shared.peers();
        peers.sockets.remove(&self.id);
        peers.threads -= 1;
        drop(peers);
        self.shared.peers_gone.notify_all();
    }
}

/// A running stand-in. Dropping it closes all connections and ends all threads.
pub struct Sandbox {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox")
            .field("url", &self.shared.url)
            .field("control", &self.shared.control)
            .finish()
    }
}

impl Sandbox {
    /// Starts one.
    ///
    /// # Errors
    /// An address that cannot be listened at, a log that cannot be opened, a certificate that does not fit its key; the
    /// message says which.
    pub fn start(options: Options) -> io::Result<Self> {
        let named =
            |what: String| move |error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"));
        let tls = match &options.tls {
            Some(tls) => Some(wire::tls_config(&tls.certificates, &tls.key).map_err(io::Error::other)?),
            None => None,
        };
        let journal = match &options.log {
            Some(path) => {
                let open = Journal::open(path, options.log_flush);
                Some(open.map_err(named(format!("the log {} cannot be opened", path.display())))?)
            }
            None => None,
        };
        let listen = |address| Gate::bind(address).map_err(named(format!("cannot listen at {address}")));
        let crm = listen(options.listen)?;
        let control = listen(options.control)?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared {
            exchange: Exchange::new(&options, journal),
            pbx: Pbx::default(),
            url: format!("{scheme}://{}{}", crm.address(), exchange::PATH),
            control: control.address(),
            recordings: options.recordings,
            address: crm.address(),
            tls,
            idle: options.idle_timeout.max(Duration::from_millis(10)),
            listener: (Mutex::new(Mode::Open), Condvar::new()),
            peers: Mutex::default(),
            peers_gone: Condvar::new(),
            last_id: AtomicU64::new(0),
        });
        // Built first, so that a thread that does not start still ends the other one.
        let mut sandbox = Self {
            shared,
            threads: Vec::new(),
        };
        let shared = Arc::clone(&sandbox.shared);
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        sandbox
            .threads
            .push(thread("sandbox-crm").spawn(move || shared.run_crm(crm))?);
        let shared = Arc::clone(&sandbox.shared);
        sandbox
            .threads
            .push(thread("sandbox-control").spawn(move || shared.run_control(&control))?);
        sandbox.shared.settle();
        Ok(sandbox)
    }

    /// The address to send requests to, `http://127.0.0.1:PORT/tel/api`.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// Where `/tel/api` listens.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// The address of the page and the control API, `http://127.0.0.1:PORT`.
    pub fn control(&self) -> String {
        format!("http://{}", self.shared.control)
    }

    /// Sets a fault; it holds for every request and connection made from now on. Returns its id.
    pub fn set_fault(&self, fault: Fault) -> u64 {
        let id = self
            .shared
            .exchange
            .change_faults(|faults| faults.set(fault, Instant::now()));
        self.shared.settle();
        id
    }

    /// Clears all faults and releases whoever is held in one.
    pub fn clear_faults(&self) {
        self.shared
            .exchange
            .change_faults(|faults| faults.clear(|_| true));
        self.shared.settle();
    }

    /// Clears one fault.
    pub fn clear_fault(&self, id: u64) {
        self.shared
            .exchange
            .change_faults(|faults| faults.clear(|active| active.id == id));
        self.shared.settle();
    }

    /// The requests received so far, oldest first; as many as [`Options::keep`] says.
    pub fn requests(&self) -> Vec<Arc<Request>> {
        self.requests_since(0)
    }

    /// The requests with a number above `n`.
    pub fn requests_since(&self, n: u64) -> Vec<Arc<Request>> {
        self.shared.exchange.requests_since(n, usize::MAX)
    }

    /// Waits until `predicate` holds for the requests received so far; `false` when the time is over before.
    #[must_use = "the time may have run out"]
    pub fn wait_for(&self, mut predicate: impl FnMut(&[Arc<Request>]) -> bool, timeout: Duration) -> bool {
        self.shared.exchange.wait_for(&mut predicate, timeout)
    }

    /// The breaches of order so far.
    pub fn violations(&self) -> Vec<Violation> {
        self.shared.exchange.violations().0
    }

    /// The popups that are shown and not closed.
    pub fn open_popups(&self) -> Vec<Popup> {
        self.shared
            .exchange
            .with_sequence(sequence::Sequence::open_popups)
    }

    /// The calls known, latest first.
    pub fn calls(&self) -> Vec<Call> {
        self.shared
            .exchange
            .with_sequence(|sequence| sequence.latest().cloned().collect())
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        self.shared.exchange.counters()
    }

    /// Checks a rule of order no longer.
    pub fn allow(&self, rule: Rule) {
        self.shared
            .exchange
            .change_sequence(|sequence| sequence.allow(rule, true));
    }

    /// Adds somebody whom `contact` knows.
    pub fn add_contact(&self, contact: Contact) {
        self.shared.exchange.add_contact(contact);
    }

    /// Changes what `ping` answers, and where the PBX is for `setup` and clicks.
    pub fn set_ping(&self, pbx_token: &str, pbx_url: &str) {
        self.shared
            .exchange
            .set_ping(Some(pbx_token.to_owned()), Some(pbx_url.to_owned()));
    }

    /// Forgets requests, calls, violations, faults and counters.
    pub fn reset(&self) {
        self.shared.exchange.reset();
        self.shared.settle();
    }

    /// Closes all connections to `/tel/api` while it goes on listening, as a server does that is restarted.
    pub fn drop_connections(&self) {
        self.shared.sever(Some(Side::Crm));
    }

    /// Waits until all log lines so far are in the file.
    pub fn sync_log(&self) {
        if let Some(journal) = &self.shared.exchange.journal {
            journal.sync();
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.shared.exchange.stop();
        gate::wake(self.shared.control);
        // Taking the lock means that the listener has seen the stop or sleeps by now.
        let mode = *self.shared.listener_mode();
        self.shared.listener.1.notify_all();
        if mode == Mode::Open {
            gate::wake(self.shared.address);
        }
        for thread in self.threads.drain(..) {
            // A thread that has panicked has said so on stderr.
            let _ = thread.join();
        }
        self.shared.sever(None);
        let peers = self.shared.peers();
        drop(
            self.shared
                .peers_gone
                .wait_timeout_while(peers, PATIENCE, |peers| peers.threads > 0),
        );
        self.sync_log();
    }
}
