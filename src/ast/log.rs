//! The `log` crate's messages, handed to Asterisk's logger.
//!
//! Invariants:
//! - only our own targets pass: the HTTP client and the TLS library log through the same crate, and what they
//!   say may hold tokens and is not an operator's language;
//! - a message that is not wanted costs two comparisons and no allocation;
//! - one message is one line of at most 4 KiB, without control characters, and never a format.

use std::ffi::c_int;
use std::fmt;
use std::sync::Once;

use ::log::{LevelFilter, Log, Metadata, Record};

use super::text::Line;
use crate::sys;

/// Every target begins with this, as our module paths do.
const TARGET: &str = "res_planfix";
/// A line of Asterisk's log, at most.
const MESSAGE_SIZE: usize = 4096;

/// Asterisk's levels, as far as we use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Error,
    Warning,
    Notice,
    Debug,
}

impl From<::log::Level> for Level {
    fn from(level: ::log::Level) -> Self {
        match level {
            ::log::Level::Error => Self::Error,
            ::log::Level::Warn => Self::Warning,
            ::log::Level::Info => Self::Notice,
            ::log::Level::Debug | ::log::Level::Trace => Self::Debug,
        }
    }
}

impl Level {
    fn number(self) -> c_int {
        let number = match self {
            Self::Error => sys::__LOG_ERROR,
            Self::Warning => sys::__LOG_WARNING,
            Self::Notice => sys::__LOG_NOTICE,
            Self::Debug => sys::__LOG_DEBUG,
        };
        c_int::try_from(number).unwrap_or_default()
    }
}

/// Writes one line. Asterisk shows only the last part of the file's path.
pub(super) fn write(level: Level, file: &str, line: u32, function: &str, message: impl fmt::Display) {
    let file = Line::<64>::of(file.rsplit('/').next().unwrap_or(file));
    let function = Line::<64>::of(function);
    let message = Line::<MESSAGE_SIZE>::of(message);
    let line = c_int::try_from(line).unwrap_or_default();
    // SAFETY: three NUL-terminated strings that live until the call is over; Asterisk copies what it keeps.
    unsafe {
        sys::shim_log(
            level.number(),
            file.as_ptr(),
            line,
            function.as_ptr(),
            message.as_ptr(),
        );
    };
}

struct AsteriskLog;

impl Log for AsteriskLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        if !metadata.target().starts_with(TARGET) {
            return false;
        }
        let depth = match metadata.level() {
            ::log::Level::Error | ::log::Level::Warn | ::log::Level::Info => return true,
            ::log::Level::Debug => 1,
            ::log::Level::Trace => 3,
        };
        // SAFETY: reads Asterisk's debug settings, as ast_debug() does on any thread.
        unsafe { sys::shim_debug_atleast(depth) != 0 }
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let module = record.module_path().unwrap_or(TARGET);
            let function = module.rsplit("::").next().unwrap_or(module);
            write(
                record.level().into(),
                record.file().unwrap_or("?"),
                record.line().unwrap_or(0),
                function,
                record.args(),
            );
        }
    }

    fn flush(&self) {}
}

/// Sends the `log` crate's messages to Asterisk from now on. May be called again, since an image can be
/// loaded more than once.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if ::log::set_logger(&AsteriskLog).is_ok() {
            ::log::set_max_level(LevelFilter::Trace);
        }
    });
}
