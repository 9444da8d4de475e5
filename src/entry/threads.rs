//! Asterisk's threads for the delivery floor, so that `core show threads` lists them.

use std::io;
use std::time::Duration;

use crate::ast::thread::{self, Joined};
use crate::delivery::threads::{Thread, Threads};

/// Threads started through Asterisk.
#[derive(Debug)]
pub(super) struct AsteriskThreads;

impl Threads for AsteriskThreads {
    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> io::Result<Box<dyn Thread>> {
        Ok(Box::new(thread::spawn(name, body)?))
    }
}

impl Thread for thread::Thread {
    fn join(self: Box<Self>, within: Duration) -> bool {
        !matches!(thread::Thread::join(*self, within), Joined::StillRunning)
    }
}
