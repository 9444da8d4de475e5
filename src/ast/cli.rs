//! Commands of Asterisk's console.
//!
//! Asterisk holds a reference to the module around a command, so an unload waits for it.

use std::ffi::{CStr, CString, c_char, c_int};
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use super::function::name_of;
use super::guard::{Refused, guard};
use super::registration::RegistrationError;
use super::slots::{Slot, Slots};
use super::text;
use crate::sys;

/// Asterisk prints this many characters of a summary in the list of commands.
const SUMMARY_LIMIT: usize = 60;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Success,
    /// Asterisk adds that the command failed; the command itself has said why.
    Failure,
    /// Asterisk prints the usage.
    ShowUsage,
}

/// A place where the operator pressed the tab key.
pub struct Completion<'a> {
    /// The words behind the command, before the one to be completed.
    pub args: Vec<&'a str>,
    /// What there is of the word, perhaps nothing.
    pub word: &'a str,
    /// Which word behind the command this is, from 0.
    pub position: usize,
}

/// A command.
pub trait Command {
    /// Its words, lower case: `planfix show status`.
    const COMMAND: &'static CStr;
    /// Shorter than 60 characters, for the list of commands.
    const SUMMARY: &'static CStr;
    /// `Usage: …`, several lines, each ended by a newline.
    const USAGE: &'static CStr;

    /// What the word could become. What does not begin with the word is left out by the caller.
    fn complete(_at: &Completion<'_>) -> Vec<String> {
        Vec::new()
    }

    /// Runs it. `args` are the words behind the command's own.
    fn run(args: &[&str], out: &mut Out) -> Outcome;
}

/// Where a command writes, line by line.
///
/// Invariant: the descriptor is that of the command being run; the value cannot leave the command, which only
/// borrows it.
pub struct Out {
    fd: c_int,
    pending: String,
    // Not Send: Asterisk's console knows the thread.
    thread: PhantomData<*mut ()>,
}

impl Out {
    fn new(fd: c_int) -> Self {
        Self {
            fd,
            pending: String::new(),
            thread: PhantomData,
        }
    }

    /// Writes one line, whose control characters are escaped.
    pub fn line(&mut self, text: &str) {
        // `asterisk -r` takes a first byte above 127 for the level of a verbose message, and shows no such line (main/asterisk.c,
        // `console_print`; logger.h, `VERBOSE_HASMAGIC`).
        let line = match text.as_bytes().first() {
            Some(128..) => text::c_line(&format!(" {text}")),
            _ => text::c_line(text),
        };
        // SAFETY: a NUL-terminated string; Asterisk copes with a descriptor whose other end is gone.
        unsafe { sys::shim_cli_line(self.fd, line.as_ptr()) };
    }
}

/// `writeln!` is [`Out::line`] for each line; a last line without an end is written when the command is over.
impl fmt::Write for Out {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.pending.push_str(text);
        while let Some(end) = self.pending.find('\n') {
            let line: String = self.pending.drain(..=end).collect();
            self.line(&line[..end]);
        }
        Ok(())
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        if !self.pending.is_empty() {
            let last = std::mem::take(&mut self.pending);
            self.line(&last);
        }
    }
}

/// What the callback answers Asterisk, a number dressed as a pointer.
struct Answer(*mut c_char);

impl Answer {
    fn number(number: u32) -> Self {
        Self(std::ptr::without_provenance_mut(number as usize))
    }
}

impl Refused for Answer {
    const REFUSED: Self = Self(std::ptr::without_provenance_mut(sys::RESULT_FAILURE as usize));
}

impl From<Outcome> for Answer {
    fn from(outcome: Outcome) -> Self {
        Self::number(match outcome {
            Outcome::Success => sys::RESULT_SUCCESS,
            Outcome::Failure => sys::RESULT_FAILURE,
            Outcome::ShowUsage => sys::RESULT_SHOWUSAGE,
        })
    }
}

/// How many words a command has.
fn words(command: &CStr) -> usize {
    command
        .to_bytes()
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .count()
}

/// The words that were typed.
///
/// # Safety
///
/// `argv` has `argc` NUL-terminated strings, unchanged during `'a`.
unsafe fn typed<'a>(args: &'a sys::ast_cli_args) -> Vec<std::borrow::Cow<'a, str>> {
    let count = usize::try_from(args.argc).unwrap_or(0);
    // SAFETY: the caller vouches for it.
    (0..count)
        .map(|at| unsafe { text::lossy(*args.argv.add(at)) })
        .collect()
}

/// The one callback of a command, for three purposes. Called by `main/cli.c`, which guarantees for the two
/// latter that `args` is complete, with `argc` strings in `argv`.
unsafe extern "C" fn handle<C: Command>(
    entry: *mut sys::ast_cli_entry,
    what: c_int,
    args: *mut sys::ast_cli_args,
) -> *mut c_char {
    let name = const { name_of(C::COMMAND) };
    match what {
        sys::CLI_INIT => {
            // SAFETY: the entry is ours, and Asterisk has its list locked. Asterisk copies the command and
            // only reads the usage.
            unsafe {
                (*entry).command = C::COMMAND.as_ptr().cast_mut();
                (*entry).usage = C::USAGE.as_ptr();
            }
            std::ptr::null_mut()
        }
        sys::CLI_GENERATE => {
            // SAFETY: Asterisk's guarantee.
            guard(name, || unsafe { complete::<C>(&*args) });
            // The candidates were handed over one by one, so there is no next one to ask for.
            std::ptr::null_mut()
        }
        _ => {
            guard(name, || {
                // SAFETY: Asterisk's guarantee.
                let (typed, fd) = unsafe { (typed(&*args), (*args).fd) };
                let behind: Vec<&str> = typed.iter().skip(words(C::COMMAND)).map(AsRef::as_ref).collect();
                Answer::from(C::run(&behind, &mut Out::new(fd)))
            })
            .0
        }
    }
}

/// # Safety
///
/// `args` is complete, with `argc` strings in `argv`.
unsafe fn complete<C: Command>(args: &sys::ast_cli_args) {
    let own = words(C::COMMAND);
    let Some(position) = usize::try_from(args.pos)
        .ok()
        .and_then(|position| position.checked_sub(own))
    else {
        return;
    };
    // SAFETY: the caller vouches for it.
    let (typed, word) = unsafe { (typed(args), text::lossy(args.word)) };
    let at = Completion {
        args: typed.iter().skip(own).take(position).map(AsRef::as_ref).collect(),
        word: word.as_ref(),
        position,
    };
    let begins = |candidate: &str| {
        candidate
            .get(..word.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(&word))
    };
    for candidate in C::complete(&at).into_iter().filter(|candidate| begins(candidate)) {
        if let Ok(candidate) = CString::new(candidate) {
            // SAFETY: a NUL-terminated string, which the shim copies.
            unsafe { sys::shim_cli_completion(candidate.as_ptr()) };
        }
    }
}

static SLOTS: Slots<sys::ast_cli_entry> = Slots::new();

/// A command that Asterisk knows. Dropping it unregisters it.
pub struct CommandRegistration {
    name: &'static CStr,
    /// `None` only while it is being dropped.
    slot: Option<Slot<sys::ast_cli_entry>>,
}

impl CommandRegistration {
    /// An unload by force can meet a command that is running, which Asterisk then refuses to unregister.
    const PATIENCE: Duration = Duration::from_secs(1);

    /// Registers a command.
    ///
    /// # Errors
    ///
    /// Another command has the words, or Asterisk has no memory.
    pub fn new<C: Command>() -> Result<Self, RegistrationError> {
        const {
            assert!(
                C::SUMMARY.count_bytes() < SUMMARY_LIMIT,
                "a summary is shorter than 60 characters"
            );
        };
        let slot = SLOTS.take(C::COMMAND, || {
            // SAFETY: the structure is one of C: numbers, pointers and an optional callback, for all of which
            // zero is a value.
            let mut entry: sys::ast_cli_entry = unsafe { std::mem::zeroed() };
            entry.summary = C::SUMMARY.as_ptr();
            entry.handler = Some(handle::<C>);
            entry
        });
        // SAFETY: we have the slot, so nobody else writes to the entry.
        let left_over = unsafe { !(*slot.as_ptr()).command.is_null() };
        // A command that could not be unregistered (see `drop`) is in Asterisk's list still, with this very
        // callback.
        // SAFETY: the entry is complete, lives for ever, and is in no list of Asterisk's.
        if !left_over && unsafe { sys::shim_cli_register(slot.as_ptr()) } != 0 {
            SLOTS.put(C::COMMAND, slot);
            return Err(RegistrationError::new("CLI command", C::COMMAND));
        }
        // INVARIANT: the slot's entry is in Asterisk's list.
        Ok(Self {
            name: C::COMMAND,
            slot: Some(slot),
        })
    }
}

impl Drop for CommandRegistration {
    fn drop(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        // SAFETY: Asterisk counts those who run the command here, atomically; the entry lives for ever.
        let running = unsafe { AtomicI32::from_ptr(&raw mut (*slot.as_ptr()).inuse) };
        let start = Instant::now();
        while running.load(Ordering::Acquire) > 0 && start.elapsed() < Self::PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
        }
        // SAFETY: by the type's invariant the entry is in Asterisk's list. This takes it out, frees the copy of
        // the command and leaves null in its place, or does nothing but complain when the command is running
        // (`main/cli.c`, `ast_cli_unregister`): then the entry stays until the next registration finds it.
        unsafe { sys::ast_cli_unregister(slot.as_ptr()) };
        SLOTS.put(self.name, slot);
    }
}
