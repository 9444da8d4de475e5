//! The clients of one delivery: the one in use, and those whose requests are still under way.
//!
//! Invariants: [`Clients::shutdown`] reaches every request of every client that was ever handed out here, also of one that
//! a reload has replaced; from then on none can begin a request. Otherwise a worker that is left behind by an unload would
//! make its request after the next load has told how the call went on.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::client::Client;

/// See the module.
#[derive(Debug)]
pub(crate) struct Clients(Mutex<State>);

#[derive(Debug)]
struct State {
    current: Arc<Client>,
    all: Vec<Weak<Client>>,
    closed: bool,
}

impl Clients {
    pub(crate) fn new(first: Client) -> Self {
        let current = Arc::new(first);
        Self(Mutex::new(State {
            all: vec![Arc::downgrade(&current)],
            current,
            closed: false,
        }))
    }

    /// The client that new requests are to be made with.
    pub(crate) fn current(&self) -> Arc<Client> {
        Arc::clone(&self.lock().current)
    }

    /// Puts another client in its place. Requests under way end with theirs.
    pub(crate) fn replace(&self, client: Client) {
        let client = self.watch(client);
        self.lock().current = client;
    }

    /// Lets the shutdown reach a client that is used beside the current one.
    pub(crate) fn watch(&self, client: Client) -> Arc<Client> {
        let client = Arc::new(client);
        let mut state = self.lock();
        if state.closed {
            client.shutdown();
        }
        state.all.retain(|known| known.strong_count() > 0);
        state.all.push(Arc::downgrade(&client));
        client
    }

    /// Breaks off every request and refuses new ones.
    pub(crate) fn shutdown(&self) {
        let all = {
            let mut state = self.lock();
            state.closed = true;
            std::mem::take(&mut state.all)
        };
        for client in all.iter().filter_map(Weak::upgrade) {
            client.shutdown();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
