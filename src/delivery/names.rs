//! Names to addresses, off the workers' threads.
//!
//! Invariants:
//! - `getaddrinfo` cannot be interrupted, so it runs on one thread of its own; whoever waits for it waits no longer than
//!   `connect_timeout` and can be called off;
//! - an address that was good once is used while the name servers are silent: losing DNS does not lose the CRM.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, io};

use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use ureq::{Error, config::Config};

use super::threads::{Thread, Threads};

/// How long an answer is used without asking again.
const FRESH: Duration = Duration::from_secs(60);
/// Addresses tried for one name.
const MOST_ADDRESSES: usize = 8;

/// The table of names and the thread that fills it.
pub struct Names {
    shared: Arc<Shared>,
    thread: Mutex<Option<Box<dyn Thread>>>,
}

struct Shared {
    table: Mutex<Table>,
    changed: Condvar,
}

#[derive(Default)]
struct Table {
    closed: bool,
    wanted: Vec<String>,
    entries: HashMap<String, Entry>,
}

#[derive(Default)]
struct Entry {
    addresses: Vec<IpAddr>,
    asked: Option<Instant>,
    answered: Option<Instant>,
    error: String,
    answers: u64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names")
    }
}

impl Names {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(threads: &dyn Threads) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            table: Mutex::default(),
            changed: Condvar::new(),
        });
        let worker = Arc::clone(&shared);
        let thread = threads.spawn("planfix/names", Box::new(move || answer(&worker)))?;
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// The addresses of `host`.
    ///
    /// # Errors
    /// When there is no answer in time and none from before.
    pub fn look_up(&self, host: &str, within: Duration) -> io::Result<Vec<IpAddr>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![address]);
        }
        let until = Instant::now() + within;
        let mut table = self.shared.lock();
        let entry = table.entries.entry(host.to_owned()).or_default();
        if entry.answered.is_some_and(|at| at.elapsed() < FRESH) && !entry.addresses.is_empty() {
            return Ok(entry.addresses.clone());
        }
        let answers_before = entry.answers;
        if entry.asked.is_none() {
            entry.asked = Some(Instant::now());
            table.wanted.push(host.to_owned());
            self.shared.changed.notify_all();
        }
        loop {
            if table.closed {
                return Err(io::Error::new(
                    io::ErrorKind::NotConnected,
                    "delivery is stopping",
                ));
            }
            let entry = table.entries.entry(host.to_owned()).or_default();
            let answered = entry.answers > answers_before;
            let left = until.saturating_duration_since(Instant::now());
            // While a lookup hangs, what was known serves at once: it is at most as wrong as an answer in a cache.
            let hangs = entry
                .asked
                .is_some_and(|at| at.elapsed() > Duration::from_secs(1));
            if !entry.addresses.is_empty() && (answered || hangs || left.is_zero()) {
                return Ok(entry.addresses.clone());
            }
            if answered {
                return Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    format!("the name {host} was not found: {}", entry.error),
                ));
            }
            if left.is_zero() {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("no name server answered for {host}"),
                ));
            }
            table = self
                .shared
                .changed
                .wait_timeout(table, left.min(Duration::from_millis(500)))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Calls off everybody who waits, and the thread if it does.
    pub fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }

    /// Waits for the thread. False when a lookup holds it: the thread touches nothing but its own table and ends with
    /// the lookup.
    pub fn join(&self, within: Duration) -> bool {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        thread.is_none_or(|thread| thread.join(within))
    }
}

fn answer(shared: &Shared) {
    let mut table = shared.lock();
    loop {
        if table.closed {
            return;
        }
        let Some(host) = table.wanted.pop() else {
            table = shared.changed.wait(table).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        drop(table);
        let found = (host.as_str(), 0).to_socket_addrs();
        table = shared.lock();
        let entry = table.entries.entry(host).or_default();
        entry.asked = None;
        entry.answers += 1;
        match found {
            Ok(found) => {
                let mut addresses: Vec<IpAddr> = Vec::new();
                for address in found.map(|address| address.ip()) {
                    if !addresses.contains(&address) && addresses.len() < MOST_ADDRESSES {
                        addresses.push(address);
                    }
                }
                entry.addresses = addresses;
                entry.answered = Some(Instant::now());
                entry.error = "no address".to_owned();
            }
            Err(error) => entry.error = error.to_string(),
        }
        shared.changed.notify_all();
    }
}

/// The table as ureq's resolver.
#[derive(Debug)]
pub(super) struct NameResolver(pub(super) Arc<Names>);

impl Resolver for NameResolver {
    fn resolve(&self, uri: &Uri, config: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = uri
            .port_u16()
            .unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
        // The phase of resolving has no timeout of its own: setting one makes ureq start threads.
        let within = config.timeouts().connect.unwrap_or(Duration::from_secs(5));
        let mut addresses = self.empty();
        for address in self.0.look_up(host, within)? {
            addresses.push(SocketAddr::new(address, port));
        }
        if addresses.is_empty() {
            Err(Error::HostNotFound)
        } else {
            Ok(addresses)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Names;
    use crate::delivery::threads::StdThreads;
    use std::time::Duration;

    #[test]
    fn addresses_need_no_lookup_and_unknown_names_are_named() {
        let names = Names::start(&StdThreads).unwrap();
        assert_eq!(names.look_up("127.0.0.1", Duration::ZERO).unwrap().len(), 1);
        assert!(
            !names
                .look_up("localhost", Duration::from_secs(5))
                .unwrap()
                .is_empty()
        );
        let error = names
            .look_up("no-such-host.invalid", Duration::from_secs(30))
            .unwrap_err();
        assert!(error.to_string().contains("no-such-host.invalid"), "{error}");
        names.close();
        assert!(names.join(Duration::from_secs(5)));
        let error = names
            .look_up("other.invalid", Duration::from_secs(5))
            .unwrap_err();
        assert_eq!(error.to_string(), "delivery is stopping");
    }
}
