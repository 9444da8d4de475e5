//! What all registrations with Asterisk have in common.

use std::error::Error;
use std::ffi::CStr;
use std::fmt;

/// Asterisk refused to register something.
#[derive(Debug)]
pub struct RegistrationError {
    kind: &'static str,
    name: &'static CStr,
}

impl RegistrationError {
    pub(super) fn new(kind: &'static str, name: &'static CStr) -> Self {
        Self { kind, name }
    }
}

impl fmt::Display for RegistrationError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name } = self;
        write!(
            formatter,
            "cannot register the {kind} {}: another module has the name, or there is no memory",
            name.to_string_lossy()
        )
    }
}

impl Error for RegistrationError {}
