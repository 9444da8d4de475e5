//! How threads are started and ended.
//!
//! The module starts them through Asterisk, so that `core show threads` lists them; tests and tools through std.

use std::io;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

/// A place that starts threads.
pub trait Threads: Send + Sync {
    /// Starts a thread. `name` is what `top -H` shows; the kernel keeps its first 15 bytes.
    ///
    /// # Errors
    /// When the system has no thread to give.
    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> io::Result<Box<dyn Thread>>;

    /// The same for one that may come last of all when the processor has too much to do: no channel and no other thread waits
    /// for what it does, and it holds no lock that any of them wants.
    ///
    /// # Errors
    /// As [`Threads::spawn`].
    fn spawn_last(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> io::Result<Box<dyn Thread>> {
        self.spawn(name, body)
    }
}

/// A started thread. Dropping it lets the thread go its own way.
pub trait Thread: Send {
    /// Waits for its end, at most so long. False when it still runs.
    fn join(self: Box<Self>, within: Duration) -> bool;
}

/// Threads of the standard library.
#[derive(Debug, Default)]
pub struct StdThreads;

struct StdThread {
    handle: JoinHandle<()>,
    ended: mpsc::Receiver<()>,
}

impl Threads for StdThreads {
    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> io::Result<Box<dyn Thread>> {
        let (alive, ended) = mpsc::channel();
        let handle = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            // Its drop tells the end, also when the body panics.
            let _alive: mpsc::Sender<()> = alive;
            body();
        })?;
        Ok(Box::new(StdThread { handle, ended }))
    }
}

impl Thread for StdThread {
    fn join(self: Box<Self>, within: Duration) -> bool {
        match self.ended.recv_timeout(within) {
            Err(mpsc::RecvTimeoutError::Timeout) => false,
            _ => {
                // A panic in it has ended it as well.
                let _ = self.handle.join();
                true
            }
        }
    }
}
