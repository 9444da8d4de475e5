//! Threads of ours, made by Asterisk: `core show threads` lists them, and unlike `std::thread` they leave nothing on
//! the thread that makes them.
//!
//! Invariant: they stand behind Asterisk's own for the processor, so that a machine with too much to do is late with the
//! CRM and not with its calls; but for those that begin a call, because its threads begin where they stand.

use std::ffi::{CString, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::guard;
use super::text;
use crate::sys;

/// Asterisk's own size, 496 KiB, is small for a TLS handshake. Only what is touched is memory.
const STACK: usize = 2 << 20;

/// Where a thread stands for the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Among Asterisk's.
    Among,
    /// Behind Asterisk's: it gets a third of what one of them gets where both want all.
    Behind,
    /// Behind everybody: it gets a hundredth.
    Last,
}

impl Place {
    /// What is added to Asterisk's own nice value.
    fn nice(self) -> libc::c_int {
        match self {
            Self::Among => 0,
            Self::Behind => 5,
            Self::Last => 19,
        }
    }
}

/// How a thread was found when it was to be joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    Finished,
    /// The panic was logged when it happened.
    Panicked,
    /// It did not end in time and goes on by itself; the image stays mapped for it (`-z nodelete`).
    StillRunning,
}

#[derive(Default)]
struct Ending {
    how: Mutex<Option<Joined>>,
    told: Condvar,
}

impl Ending {
    fn tell(&self, how: Joined) {
        *self.how.lock().unwrap_or_else(PoisonError::into_inner) = Some(how);
        self.told.notify_all();
    }

    fn wait(&self, within: Duration) -> Option<Joined> {
        let how = self.how.lock().unwrap_or_else(PoisonError::into_inner);
        *self
            .told
            .wait_timeout_while(how, within, |how| how.is_none())
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }
}

/// What a new thread is given.
struct Start {
    name: CString,
    place: Place,
    body: Box<dyn FnOnce() + Send>,
    ending: Arc<Ending>,
}

/// A thread. Dropping it lets the thread go on by itself.
///
/// Invariant: `handle` is neither joined nor detached yet while `Some`.
pub struct Thread {
    handle: Option<libc::pthread_t>,
    ending: Arc<Ending>,
}

/// Puts this thread behind Asterisk's own. With `asterisk -p` those are at real-time priority, which a new thread inherits
/// (main/utils.c, `ast_pthread_create_stack`) and where a nice value means nothing. A thread that was started by one that stands
/// even further behind stays there.
fn stand_behind_calls(place: Place) {
    if place == Place::Among {
        return;
    }
    let normal = libc::sched_param { sched_priority: 0 };
    // SAFETY: numbers, and a struct that lives. On Linux 0 is the calling thread and the process's number its first thread, and
    // nobody needs to be allowed to ask for less. What fails leaves the priority as it was.
    unsafe {
        libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const normal);
        let process = libc::id_t::from(libc::getpid().unsigned_abs());
        let behind = libc::getpriority(libc::PRIO_PROCESS, process) + place.nice();
        if libc::getpriority(libc::PRIO_PROCESS, 0) < behind {
            libc::setpriority(libc::PRIO_PROCESS, 0, behind);
        }
    }
}

extern "C" fn start(data: *mut c_void) -> *mut c_void {
    // SAFETY: `spawn` made the pointer with Box::into_raw and gave it to this one thread.
    let Start {
        name,
        place,
        body,
        ending,
    } = *unsafe { Box::from_raw(data.cast::<Start>()) };
    stand_behind_calls(place);
    // SAFETY: this thread, and a NUL-terminated name of at most 15 bytes.
    unsafe { libc::pthread_setname_np(libc::pthread_self(), name.as_ptr()) };
    let completed = guard::completes("a thread of the module", body);
    ending.tell(if completed {
        Joined::Finished
    } else {
        Joined::Panicked
    });
    std::ptr::null_mut()
}

/// Starts a thread. A panic in `body` ends it, and is logged and counted.
///
/// `core show threads` prints the name, the system's tools its first 15 bytes.
///
/// # Errors
///
/// The system has no thread to give.
pub fn spawn(name: &str, place: Place, body: Box<dyn FnOnce() + Send>) -> io::Result<Thread> {
    let listed = text::c_line(name);
    let short = CString::new(text::cut(listed.to_bytes(), 15)).unwrap_or_default();
    let ending = Arc::new(Ending::default());
    let data = Box::into_raw(Box::new(Start {
        name: short,
        place,
        body,
        ending: Arc::clone(&ending),
    }));
    let mut handle = MaybeUninit::<libc::pthread_t>::uninit();
    // SAFETY: a place for the handle, a callback that takes exactly this data, and a NUL-terminated string
    // that Asterisk copies.
    let error = unsafe {
        sys::shim_thread_start(
            handle.as_mut_ptr().cast(),
            Some(start),
            data.cast(),
            STACK,
            listed.as_ptr(),
        )
    };
    if error != 0 {
        // SAFETY: no thread was made, so the data is still ours alone.
        drop(unsafe { Box::from_raw(data) });
        return Err(io::Error::from_raw_os_error(error));
    }
    // SAFETY: pthread_create wrote it.
    let handle = unsafe { handle.assume_init() };
    // INVARIANT: nobody has joined or detached it.
    Ok(Thread {
        handle: Some(handle),
        ending,
    })
}

impl Thread {
    /// The body has come to its end.
    pub fn is_finished(&self) -> bool {
        self.ending.wait(Duration::ZERO).is_some()
    }

    /// Waits for the thread's end, but no longer than that.
    pub fn join(mut self, within: Duration) -> Joined {
        let Some(how) = self.ending.wait(within) else {
            return Joined::StillRunning;
        };
        if let Some(handle) = self.handle.take() {
            // SAFETY: neither joined nor detached, by the type's invariant. The body is over, so this waits
            // for a few instructions.
            unsafe { libc::pthread_join(handle, std::ptr::null_mut()) };
        }
        how
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            // SAFETY: neither joined nor detached, by the type's invariant.
            unsafe { libc::pthread_detach(handle) };
        }
    }
}
