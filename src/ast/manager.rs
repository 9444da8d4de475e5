//! AMI: actions that are asked for, and events that are told.
//!
//! Invariants:
//! - every action is answered exactly once, even one that panics: a client waits for nothing else;
//! - no value ends its line: CR, LF and other control characters are escaped, so nobody writes headers into
//!   another's event;
//! - an action never ends the session (Asterisk does when the callback returns anything but 0).
//!
//! Asterisk holds a reference to the module around an action.

use std::borrow::Cow;
use std::ffi::{CStr, CString, c_int};
use std::fmt::Write as _;
use std::marker::PhantomData;
use std::ops::BitOr;

use super::function::name_of;
use super::guard::guard;
use super::registration::RegistrationError;
use super::text;
use crate::sys;

/// Which classes of manager.conf's `read` and `write` are needed: any one of those named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority(u32);

impl Authority {
    pub const SYSTEM: Self = Self(sys::EVENT_FLAG_SYSTEM);
    pub const CALL: Self = Self(sys::EVENT_FLAG_CALL);
    pub const REPORTING: Self = Self(sys::EVENT_FLAG_REPORTING);
    pub const COMMAND: Self = Self(sys::EVENT_FLAG_COMMAND);
    pub const CONFIG: Self = Self(sys::EVENT_FLAG_CONFIG);
    pub const ORIGINATE: Self = Self(sys::EVENT_FLAG_ORIGINATE);
    pub const USER: Self = Self(sys::EVENT_FLAG_USER);

    fn bits(self) -> c_int {
        c_int::try_from(self.0).unwrap_or_default()
    }
}

impl BitOr for Authority {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// An action. What it does and takes stands in the XML documentation.
pub trait Action {
    /// `PlanfixShowStatus`.
    const NAME: &'static CStr;
    const AUTHORITY: Authority;

    /// Answers the request.
    fn run(request: &Request<'_>, reply: Reply<'_>);
}

/// Who asked, and what; both as long as the action's callback.
#[derive(Clone, Copy)]
struct Exchange<'a> {
    session: *mut sys::mansession,
    message: *const sys::message,
    callback: PhantomData<&'a ()>,
}

/// A request, for the time of the action.
///
/// Invariant: session and message are those of the callback that is running.
pub struct Request<'a>(Exchange<'a>);

impl Request<'_> {
    /// The value of the first header of that name; `None` when there is none or it is empty.
    pub fn header(&self, name: &CStr) -> Option<Cow<'_, str>> {
        // SAFETY: the message lives as long as `self`, and Asterisk changes none of its headers. The name is
        // only read, whatever the prototype says.
        let value = unsafe { text::lossy(sys::astman_get_header(self.0.message, name.as_ptr().cast_mut())) };
        Some(value).filter(|value| !value.is_empty())
    }
}

/// One header, clean.
fn header(out: &mut String, name: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = write!(out, "{}: {}\r\n", text::one_line(name), text::one_line(value));
}

/// The place for the one answer to a request.
///
/// Invariant: session and message are those of the callback that is running.
pub struct Reply<'a> {
    exchange: Exchange<'a>,
    answered: bool,
}

impl<'a> Reply<'a> {
    fn append(&self, text: String) {
        append(self.exchange, text);
    }

    fn action_id(&self) -> String {
        let mut out = String::new();
        if let Some(id) = Request(self.exchange).header(c"ActionID") {
            header(&mut out, "ActionID", &id);
        }
        out
    }

    /// `Response: Error`.
    pub fn error(mut self, message: &str) {
        self.send_error(message);
    }

    fn send_error(&mut self, message: &str) {
        self.answered = true;
        let message = text::c_line(message);
        // SAFETY: the callback's session and message, and a NUL-terminated string that is only read, whatever
        // the prototype says.
        unsafe {
            sys::astman_send_error(
                self.exchange.session,
                self.exchange.message,
                message.as_ptr().cast_mut(),
            );
        }
    }

    /// `Response: Success`.
    pub fn ack(mut self, message: &str) {
        self.answered = true;
        let message = text::c_line(message);
        // SAFETY: as in `send_error`.
        unsafe {
            sys::astman_send_ack(
                self.exchange.session,
                self.exchange.message,
                message.as_ptr().cast_mut(),
            );
        }
    }

    /// `Response: Success` with further headers.
    pub fn fields(mut self, message: &str, fields: &[(&str, &str)]) {
        self.answered = true;
        let mut out = format!("Response: Success\r\n{}", self.action_id());
        header(&mut out, "Message", message);
        for (name, value) in fields {
            header(&mut out, name, value);
        }
        out.push_str("\r\n");
        self.append(out);
    }

    /// Begins a list: events follow, and at last the event `complete` with their number.
    pub fn list(mut self, message: &str, complete: &str) -> List<'a> {
        self.answered = true;
        let message = text::c_line(message);
        // SAFETY: as in `send_error`.
        unsafe {
            sys::astman_send_listack(
                self.exchange.session,
                self.exchange.message,
                message.as_ptr().cast_mut(),
                c"start".as_ptr().cast_mut(),
            );
        }
        List {
            exchange: self.exchange,
            action_id: self.action_id(),
            complete: text::c_line(complete),
            count: 0,
        }
    }
}

impl Drop for Reply<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.send_error("The action ended without an answer; the log tells more");
        }
    }
}

fn append(exchange: Exchange<'_>, text: String) {
    if let Ok(text) = CString::new(text) {
        // SAFETY: the callback's session, and a NUL-terminated string.
        unsafe { sys::shim_manager_append(exchange.session, text.as_ptr()) };
    }
}

/// A list under way. Dropping it ends it.
///
/// Invariant: session and message are those of the callback that is running.
pub struct List<'a> {
    exchange: Exchange<'a>,
    action_id: String,
    complete: CString,
    count: c_int,
}

impl List<'_> {
    /// One entry.
    pub fn event(&mut self, name: &str, fields: &[(&str, &str)]) {
        let mut out = String::new();
        header(&mut out, "Event", name);
        out.push_str(&self.action_id);
        for (name, value) in fields {
            header(&mut out, name, value);
        }
        out.push_str("\r\n");
        self.count = self.count.saturating_add(1);
        append(self.exchange, out);
    }
}

impl Drop for List<'_> {
    fn drop(&mut self) {
        let Exchange { session, message, .. } = self.exchange;
        // SAFETY: the callback's session and message, and a NUL-terminated string.
        unsafe {
            sys::astman_send_list_complete_start(session, message, self.complete.as_ptr(), self.count);
            sys::astman_send_list_complete_end(session);
        }
    }
}

/// Called by `main/manager.c`, `process_message`, with a session and a message that outlive the call.
unsafe extern "C" fn handle<A: Action>(session: *mut sys::mansession, message: *const sys::message) -> c_int {
    let name = const { name_of(A::NAME) };
    guard(name, || {
        // INVARIANT: Asterisk's guarantee, for the time of this callback.
        let exchange = Exchange {
            session,
            message,
            callback: PhantomData,
        };
        A::run(
            &Request(exchange),
            Reply {
                exchange,
                answered: false,
            },
        );
    });
    0
}

/// An action that Asterisk knows. Dropping it unregisters it; who is inside at that moment comes out
/// unharmed.
///
/// Invariant: the action of that name is registered by us.
pub struct ActionRegistration {
    name: &'static CStr,
}

impl ActionRegistration {
    /// Registers an action.
    ///
    /// # Errors
    ///
    /// The name is taken, or Asterisk has no memory.
    pub fn new<A: Action>() -> Result<Self, RegistrationError> {
        // SAFETY: the strings are static, and the callback is what Asterisk asks for.
        let refused =
            unsafe { sys::shim_manager_register(A::NAME.as_ptr(), A::AUTHORITY.bits(), Some(handle::<A>)) }
                != 0;
        if refused {
            return Err(RegistrationError::new("AMI action", A::NAME));
        }
        Ok(Self { name: A::NAME })
    }
}

impl Drop for ActionRegistration {
    fn drop(&mut self) {
        // SAFETY: a static string. By the type's invariant the action of that name is ours.
        unsafe { sys::ast_manager_unregister(self.name.as_ptr()) };
    }
}

/// Tells all AMI clients with that authority of an event.
pub fn event(authority: Authority, name: &str, fields: &[(&str, &str)]) {
    let mut out = String::new();
    for (name, value) in fields {
        header(&mut out, name, value);
    }
    let name = text::c_line(name);
    if let Ok(out) = CString::new(out) {
        // SAFETY: two NUL-terminated strings, which Asterisk copies.
        unsafe { sys::shim_manager_event(authority.bits(), name.as_ptr(), out.as_ptr()) };
    }
}
