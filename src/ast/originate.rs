//! Calls that the PBX makes of itself: first one phone, then, in the dialplan, a number.
//!
//! Invariants:
//! - nothing here waits for the phone: it rings on a thread of its own;
//! - no channel is locked while its variables are set, because one of them may be a function that waits for somebody who waits for
//!   the channel. `ast_pbx_outgoing_exten` cannot promise that in most releases, so the steps of `main/pbx.c`, `pbx_outgoing_attempt`
//!   and `pbx_outgoing_exec`, stand in shim.c.

use std::error::Error;
use std::ffi::{CString, NulError, c_char, c_int};
use std::fmt;
use std::time::Duration;

use super::text;
use crate::sys;

/// A call to be made.
pub struct Originate<'a> {
    /// `PJSIP`, `Local`.
    pub technology: &'a str,
    /// `101`, `101@from-internal/n`.
    pub resource: &'a str,
    /// How long the phone rings.
    pub timeout: Duration,
    /// Where the channel goes in the dialplan when the phone has answered.
    pub context: &'a str,
    /// As `context`. The phone shows it as who calls.
    pub exten: &'a str,
    /// Who calls then, where the phone's technology does not know.
    pub caller: &'a str,
    /// Set on the channel before the phone is called; a name may be a function that is written to.
    pub variables: &'a [(&'a str, String)],
}

/// The phone cannot be called: there is none, it is not registered, or its technology has no channel for it.
#[derive(Debug)]
pub struct Unreachable;

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no such phone, or it is not registered")
    }
}

impl Error for Unreachable {}

impl From<NulError> for Unreachable {
    fn from(_: NulError) -> Self {
        Self
    }
}

impl Originate<'_> {
    /// Makes the call, and returns when the phone begins to be called.
    ///
    /// # Errors
    ///
    /// [`Unreachable`]; Asterisk has logged more about it.
    pub fn start(&self) -> Result<(), Unreachable> {
        let (technology, resource) = (CString::new(self.technology)?, CString::new(self.resource)?);
        let (context, exten) = (CString::new(self.context)?, CString::new(self.exten)?);
        let caller = CString::new(self.caller)?;
        let mut texts = Vec::new();
        for (name, value) in self.variables {
            texts.push(CString::new(*name)?);
            texts.push(CString::new(value.as_str())?);
        }
        let mut variables: Vec<*const c_char> = texts.iter().map(|text| text.as_ptr()).collect();
        variables.push(std::ptr::null());
        let timeout = c_int::try_from(self.timeout.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: strings that end with NUL, and a list of names and values that ends with NULL; Asterisk copies all of them.
        let failed = unsafe {
            sys::shim_originate(
                technology.as_ptr(),
                resource.as_ptr(),
                timeout,
                context.as_ptr(),
                exten.as_ptr(),
                caller.as_ptr(),
                variables.as_ptr(),
            )
        };
        if failed == 0 { Ok(()) } else { Err(Unreachable) }
    }
}

/// Whether a device of that name can be there, as its technology tells: `PJSIP/101`, `Local/101@from-internal/n`.
pub fn device_exists(device: &str) -> bool {
    let device = text::c_line(device);
    // SAFETY: a string that ends with NUL.
    unsafe { sys::shim_device_exists(device.as_ptr()) != 0 }
}

/// Whether the dialplan has a context of that name.
pub fn context_exists(name: &str) -> bool {
    let name = text::c_line(name);
    // SAFETY: a string that ends with NUL. What is found is only compared with null: it may go with the next reload.
    unsafe { !sys::ast_context_find(name.as_ptr()).is_null() }
}

/// Whether the dialplan knows the number, for that caller.
pub fn extension_exists(context: &str, exten: &str, caller: &str) -> bool {
    let (context, exten, caller) = (text::c_line(context), text::c_line(exten), text::c_line(caller));
    // SAFETY: strings that end with NUL; without a channel Asterisk looks nothing up in one.
    unsafe {
        sys::ast_exists_extension(
            std::ptr::null_mut(),
            context.as_ptr(),
            exten.as_ptr(),
            1,
            caller.as_ptr(),
        ) != 0
    }
}
