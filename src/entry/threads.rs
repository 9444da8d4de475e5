//! Asterisk's threads for the delivery floor, so that `core show threads` lists them; and one that begins when it is needed.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::ast::thread::{self, Joined, Place};
use crate::delivery::threads::{Thread, Threads};

/// Threads started through Asterisk.
#[derive(Debug)]
pub(super) struct AsteriskThreads;

impl Threads for AsteriskThreads {
    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> io::Result<Box<dyn Thread>> {
        Ok(Box::new(thread::spawn(name, Place::Behind, body)?))
    }

    fn spawn_last(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> io::Result<Box<dyn Thread>> {
        Ok(Box::new(thread::spawn(name, Place::Last, body)?))
    }
}

impl Thread for thread::Thread {
    fn join(self: Box<Self>, within: Duration) -> bool {
        !matches!(thread::Thread::join(*self, within), Joined::StillRunning)
    }
}

/// A thread for things to be done that nobody who brings them may wait for. It begins with the first and ends with the unload.
pub(super) struct OnDemand<T>(Mutex<Running<T>>);

struct Running<T> {
    /// `None` before the first and after the end.
    begun: Option<(Sender<T>, Box<dyn Thread>)>,
    ended: bool,
}

impl<T> Default for OnDemand<T> {
    fn default() -> Self {
        Self(Mutex::new(Running {
            begun: None,
            ended: false,
        }))
    }
}

/// Why a thing is not done.
#[derive(Debug)]
pub(super) enum NotTaken {
    /// So many wait already, or the module is being unloaded.
    NoRoom,
    /// The thread could not be started.
    NoThread(io::Error),
}

impl<T: Send + 'static> OnDemand<T> {
    /// Has it done soon, by a thread of that name and place which runs `work`, behind at most `waiting` others. Never waits.
    pub(super) fn bring(
        &self,
        thing: T,
        waiting: usize,
        (name, place): (&str, Place),
        work: fn(&Receiver<T>),
    ) -> Result<(), NotTaken> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if running.ended {
            return Err(NotTaken::NoRoom);
        }
        if running.begun.is_none() {
            let (sender, things) = bounded(waiting);
            let thread =
                thread::spawn(name, place, Box::new(move || work(&things))).map_err(NotTaken::NoThread)?;
            running.begun = Some((sender, Box::new(thread)));
        }
        let sent = running.begun.as_ref().map(|(sender, _)| sender.try_send(thing));
        sent.and_then(Result::ok).ok_or(NotTaken::NoRoom)
    }

    /// Takes no more, and waits until everything is done. False when that hangs.
    pub(super) fn end(&self, within: Duration) -> bool {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        running.ended = true;
        let begun = running.begun.take();
        drop(running);
        begun.is_none_or(|(sender, thread)| {
            drop(sender);
            thread.join(within)
        })
    }
}
