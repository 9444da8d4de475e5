//! Dialplan applications.
//!
//! Invariants:
//! - an application runs on its channel's own thread, with the channel unlocked, and may take as long as the call lasts;
//! - while somebody is inside, Asterisk counts the module as used, and an unload that is not forced is refused (`main/pbx_app.c`,
//!   `pbx_exec`);
//! - a forced unload hangs up those who are inside (`main/loader.c`, `__ast_module_user_hangup_all`) and then comes here; another one
//!   comes when nobody is inside, and somebody may still enter. `pbx_exec` looks at the application's entry before we are asked to let
//!   him in and when we have returned, and unregistering frees the entry; so nobody is let in any more, and those who are inside
//!   are waited for first. Who does not leave keeps the entry: it stays, lets nobody in, and is taken up again by the next
//!   registration.

use std::ffi::{CStr, c_char, c_int};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::channel::Channel;
use super::function::name_of;
use super::guard::{Refused, guard};
use super::registration::RegistrationError;
use super::text;
use crate::sys;

/// How long unregistering waits for those who are inside. Mostly they are hung up, so what they still do is at most a file to be written.
const LEAVING: Duration = Duration::from_secs(2);

/// From our last line to `pbx_exec`'s last look at the entry, and from its first one to our first line. Nothing tells when that is over.
const THRESHOLD: Duration = Duration::from_millis(200);

/// Where the call goes when the application is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// To the next line of the dialplan.
    Continue,
    /// Nowhere. Also the answer for a channel that is hung up already, or that AMI sends elsewhere.
    HangUp,
}

/// What the dialplan runs on a channel. What it takes stands in the XML documentation.
pub trait Application {
    /// As the dialplan writes it; it is found in any case.
    const NAME: &'static CStr;

    /// Runs it. `args` is what stands between the parentheses after substitution, empty when there is nothing.
    fn run(channel: &Channel<'_>, args: &[u8]) -> Flow;
}

/// What the callback answers Asterisk: 0 to go on with the dialplan, -1 to hang up.
struct Answer(c_int);

impl Refused for Answer {
    // A bug of ours ends no call.
    const REFUSED: Self = Self(0);
}

impl From<Flow> for Answer {
    fn from(flow: Flow) -> Self {
        match flow {
            Flow::Continue => Self(0),
            Flow::HangUp => Self(-1),
        }
    }
}

/// An application of ours.
struct Door {
    name: &'static CStr,
    /// Whether it lets anybody in.
    open: bool,
    /// How many are inside.
    inside: usize,
    /// Asterisk knows it, open or not.
    known: bool,
}

/// All that were ever registered, each once.
static DOORS: Mutex<Vec<Door>> = Mutex::new(Vec::new());
/// Somebody has left.
static LEFT: Condvar = Condvar::new();

fn doors() -> MutexGuard<'static, Vec<Door>> {
    DOORS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn door<'a>(doors: &'a mut [Door], name: &'static CStr) -> Option<&'a mut Door> {
    doors.iter_mut().find(|door| door.name == name)
}

/// Lets people in, and tells whether Asterisk knows the application already: from a registration that somebody would not leave.
fn open(name: &'static CStr) -> bool {
    let mut doors = doors();
    match door(&mut doors, name) {
        Some(door) => {
            door.open = true;
            door.known
        }
        None => {
            doors.push(Door {
                name,
                open: true,
                inside: 0,
                known: false,
            });
            false
        }
    }
}

/// Lets nobody in any more, waits for those who are inside, and returns the applications in which there is nobody. The others stay
/// known to Asterisk.
fn close(names: &[&'static CStr]) -> Vec<&'static CStr> {
    let ours = |door: &&mut Door| names.contains(&door.name);
    let mut doors = doors();
    doors.iter_mut().filter(ours).for_each(|door| door.open = false);
    let occupied = |doors: &mut Vec<Door>| doors.iter_mut().filter(ours).any(|door| door.inside > 0);
    // A count is never half changed, so there is no poison to look for.
    drop(LEFT.wait_timeout_while(doors, LEAVING, occupied));
    thread::sleep(THRESHOLD);
    let mut empty = Vec::new();
    for door in self::doors()
        .iter_mut()
        .filter(ours)
        .filter(|door| door.inside == 0)
    {
        door.known = false;
        empty.push(door.name);
    }
    empty
}

/// Being inside. Dropping it leaves.
struct Visit(&'static CStr);

impl Visit {
    /// `None` when the application is being unregistered.
    fn begin(name: &'static CStr) -> Option<Self> {
        let mut doors = doors();
        let door = door(&mut doors, name).filter(|door| door.open)?;
        door.inside += 1;
        Some(Self(name))
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Some(door) = door(&mut doors(), self.0) {
            door.inside = door.inside.saturating_sub(1);
        }
        LEFT.notify_all();
    }
}

/// Called by `pbx_exec`, which guarantees: `channel` is that of this thread and stays referenced, `args` is NUL-terminated and stays
/// as it is.
unsafe extern "C" fn run<A: Application>(channel: *mut sys::ast_channel, args: *const c_char) -> c_int {
    let name = const { name_of(A::NAME) };
    guard(name, || {
        let Some(_visit) = Visit::begin(A::NAME) else {
            return Answer(0);
        };
        // SAFETY: the caller's guarantees, which hold until this callback returns; `Channel` cannot outlive it.
        let (channel, args) = unsafe { (Channel::borrow(channel), text::bytes(args)) };
        channel.map_or(Answer::REFUSED, |channel| A::run(&channel, args).into())
    })
    .0
}

/// Applications that Asterisk knows. Dropping them unregisters those in which there is nobody any more.
///
/// Invariant: the applications of these names are registered by us.
#[derive(Default)]
pub struct ApplicationRegistrations {
    names: Vec<&'static CStr>,
}

impl ApplicationRegistrations {
    /// Registers one more.
    ///
    /// # Errors
    ///
    /// The name is taken, or Asterisk has no memory.
    pub fn and<A: Application>(mut self) -> Result<Self, RegistrationError> {
        let known = open(A::NAME);
        // SAFETY: a static string, and the callback is what Asterisk asks for. One that is known has this very callback, because the
        // image stays mapped.
        if !known && unsafe { sys::shim_application_register(A::NAME.as_ptr(), Some(run::<A>)) } != 0 {
            return Err(RegistrationError::new("dialplan application", A::NAME));
        }
        if let Some(door) = door(&mut doors(), A::NAME) {
            door.known = true;
        }
        // INVARIANT: the application is registered, or this ended above.
        self.names.push(A::NAME);
        Ok(self)
    }
}

impl Drop for ApplicationRegistrations {
    fn drop(&mut self) {
        if self.names.is_empty() {
            return;
        }
        for name in close(&self.names) {
            // SAFETY: a static string. By the type's invariant the application of that name is ours, and nobody is inside or is let in.
            unsafe { sys::ast_unregister_application(name.as_ptr()) };
        }
    }
}
