//! The one way in from Asterisk.
//!
//! Invariants:
//! - no panic crosses into C: since Rust 1.81 that would abort the process, and with it every call;
//! - whoever is inside is counted, so that an unload can wait until nobody is: HTTP callbacks hold no
//!   reference to the module (`main/http.c`, `handle_uri`), and an unload by force waits for nobody;
//! - a panic is logged once, with its place, through Asterisk's log; a flood of them is counted instead.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::log;

#[cfg(panic = "abort")]
compile_error!("a panic must not end Asterisk: build with panic = \"unwind\"");

/// Panics of one place are logged at most once in this time, and so are at most [`PLACES`] places.
const LOG_EVERY: Duration = Duration::from_secs(10);
const PLACES: usize = 16;

static INSIDE: AtomicUsize = AtomicUsize::new(0);
static PANICS: AtomicU64 = AtomicU64::new(0);
/// The places of panics logged lately.
static LOGGED: Mutex<Vec<(String, u32, Instant)>> = Mutex::new(Vec::new());

thread_local! {
    /// Which callback this thread is in, for the panic's log line. Without a destructor, so Asterisk's
    /// threads keep nothing of ours.
    static CALLBACK: Cell<&'static str> = const { Cell::new("outside of a callback") };
}

/// What a kind of callback returns when it could not do its work.
pub trait Refused {
    /// The failure value that Asterisk understands and that harms no call.
    const REFUSED: Self;
}

impl Refused for () {
    const REFUSED: Self = ();
}

/// One callback, or one thread of ours, being inside.
struct Inside {
    before: &'static str,
    counted: bool,
}

impl Inside {
    fn enter(name: &'static str, counted: bool) -> Self {
        if counted {
            INSIDE.fetch_add(1, Ordering::Relaxed);
        }
        Self {
            before: CALLBACK.replace(name),
            counted,
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        CALLBACK.set(self.before);
        if self.counted {
            // Release: what the callback did happens before the unload that sees nobody inside.
            INSIDE.fetch_sub(1, Ordering::Release);
        }
    }
}

/// Runs a callback; a panic in it becomes the callback's failure value.
pub fn guard<T: Refused>(name: &'static str, body: impl FnOnce() -> T) -> T {
    contained(Inside::enter(name, true), body)
}

/// As [`guard`], for load, reload and unload: those who wait for others to leave do not count themselves.
pub(super) fn uncounted<T: Refused>(name: &'static str, body: impl FnOnce() -> T) -> T {
    contained(Inside::enter(name, false), body)
}

fn contained<T: Refused>(_inside: Inside, body: impl FnOnce() -> T) -> T {
    // AssertUnwindSafe: what a callback shares is behind mutexes whose poison is overcome, and atomics.
    panic::catch_unwind(AssertUnwindSafe(body)).unwrap_or(T::REFUSED)
}

/// Runs what is not a callback, such as a thread's body, and tells whether it came to its end.
pub(super) fn completes(name: &'static str, body: impl FnOnce()) -> bool {
    let _inside = Inside::enter(name, false);
    panic::catch_unwind(AssertUnwindSafe(body)).is_ok()
}

/// Waits until no callback is running, and tells whether that came about in time. The unload that asks does not count.
///
/// To be called when everything is unregistered, so that nobody enters anew.
pub fn drained(within: Duration) -> bool {
    let start = Instant::now();
    while INSIDE.load(Ordering::Acquire) > 0 {
        if start.elapsed() >= within {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

/// Panics caught since the image was loaded.
pub fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

fn report(info: &PanicHookInfo<'_>) {
    let count = PANICS.fetch_add(1, Ordering::Relaxed) + 1;
    let (file, line) = info.location().map_or(("?", 0), |at| (at.file(), at.line()));
    let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    logged.retain(|(_, _, when)| when.elapsed() < LOG_EVERY);
    if logged.len() >= PLACES || logged.iter().any(|(known, at, _)| *at == line && known == file) {
        return;
    }
    logged.push((file.to_owned(), line, Instant::now()));
    drop(logged);
    // payload_as_str() is younger than our rust-version.
    let payload = info.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref().map(String::as_str));
    let message = message.unwrap_or("(no text)");
    let callback = CALLBACK.get();
    log::write(
        log::Level::Error,
        file,
        line,
        callback,
        format_args!(
            "A bug in res_planfix was caught ({callback}, {file}:{line}): {message}. Calls go on, this request failed; \
             {count} so far. Please report this line."
        ),
    );
}

/// Sends panics of this image to Asterisk's log instead of stderr, which on a daemon is nowhere.
pub(super) fn install_panic_hook() {
    panic::set_hook(Box::new(report));
}

/// Takes the hook back, which drops it.
pub(super) fn remove_panic_hook() {
    drop(panic::take_hook());
}
