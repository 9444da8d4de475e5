//! Dialplan functions.
//!
//! A function is called on a channel's thread, with the channel locked or not, and from AMI, ARI and the CLI
//! with no channel at all: it must not block.

use std::borrow::Cow;
use std::ffi::{CStr, c_char, c_int};

use super::channel::Channel;
use super::guard::{Refused, guard};
use super::registration::RegistrationError;
use super::slots::{Slot, Slots};
use super::text;
use crate::sys;

/// The function has no value: the call fails, and what stood for it in the dialplan is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// A function that the dialplan reads.
pub trait ReadFunction {
    /// In upper case, as the dialplan writes it.
    const NAME: &'static CStr;
    /// Reading it does or tells what AMI users and others outside must not: `live_dangerously=no` then keeps
    /// them off.
    const ESCALATES: bool = false;

    /// The value. `args` is what stands between the parentheses after substitution, empty when there is
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] makes Asterisk treat the call as failed.
    fn read(channel: Option<&Channel<'_>>, args: &[u8]) -> Result<Cow<'static, [u8]>, Unreadable>;
}

/// Nothing was written: the call fails, and the dialplan goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwritable;

/// A function that the dialplan can also set.
pub trait WriteFunction: ReadFunction {
    /// Setting it does what AMI users and others outside must not: `live_dangerously=no` then keeps them off.
    const WRITE_ESCALATES: bool;

    /// Takes the value. `args` is as for reading.
    ///
    /// # Errors
    ///
    /// [`Unwritable`] makes Asterisk treat the call as failed.
    fn write(channel: Option<&Channel<'_>>, args: &[u8], value: &[u8]) -> Result<(), Unwritable>;
}

/// What the callback answers Asterisk: 0 or -1.
struct Answer(c_int);

impl Refused for Answer {
    const REFUSED: Self = Self(-1);
}

/// Called by `ast_func_read` and its like. They guarantee (`main/pbx_functions.c`): `channel` is null or a
/// channel that the caller holds a reference to, `name` and `args` are NUL-terminated (`args` may be null),
/// `buffer` has `length` bytes.
unsafe extern "C" fn read<F: ReadFunction>(
    channel: *mut sys::ast_channel,
    _name: *const c_char,
    args: *mut c_char,
    buffer: *mut c_char,
    length: usize,
) -> c_int {
    let name = const { name_of(F::NAME) };
    let answer = guard(name, || {
        // SAFETY: the caller's guarantees, which hold until this callback returns; `Channel` cannot outlive
        // it.
        let (channel, args) = unsafe { (Channel::borrow(channel), text::bytes(args)) };
        let Ok(value) = F::read(channel.as_ref(), args) else {
            return Answer::REFUSED;
        };
        // SAFETY: the caller's guarantee.
        unsafe { text::write_truncated(&value, buffer, length) };
        Answer(0)
    });
    if answer.0 != 0 {
        // AMI's Getvar looks at the buffer even when the function has failed.
        // SAFETY: the caller's guarantee.
        unsafe { text::write_truncated(b"", buffer, length) };
    }
    answer.0
}

/// Called by `ast_func_write`, which guarantees (`main/pbx_functions.c`): `channel` is null or a channel that the caller holds a
/// reference to, `args` and `value` are NUL-terminated (either may be null).
unsafe extern "C" fn write<F: WriteFunction>(
    channel: *mut sys::ast_channel,
    _name: *const c_char,
    args: *mut c_char,
    value: *const c_char,
) -> c_int {
    let name = const { name_of(F::NAME) };
    guard(name, || {
        // SAFETY: the caller's guarantees, which hold until this callback returns; `Channel` cannot outlive it.
        let (channel, args, value) =
            unsafe { (Channel::borrow(channel), text::bytes(args), text::bytes(value)) };
        match F::write(channel.as_ref(), args, value) {
            Ok(()) => Answer(0),
            Err(Unwritable) => Answer::REFUSED,
        }
    })
    .0
}

/// The name for the log.
pub(super) const fn name_of(name: &'static CStr) -> &'static str {
    match name.to_str() {
        Ok(name) => name,
        Err(_) => panic!("a name that is registered with Asterisk is ASCII"),
    }
}

static SLOTS: Slots<sys::ast_custom_function> = Slots::new();

/// A function that Asterisk knows. Dropping it unregisters it; who is inside at that moment comes out
/// unharmed.
pub struct FunctionRegistration {
    name: &'static CStr,
    /// `None` only while it is being dropped.
    slot: Option<Slot<sys::ast_custom_function>>,
}

impl FunctionRegistration {
    /// Registers a function for reading.
    ///
    /// # Errors
    ///
    /// The name is taken, or Asterisk has no memory.
    pub fn read<F: ReadFunction>() -> Result<Self, RegistrationError> {
        Self::new::<F>(None, false)
    }

    /// Registers a function for reading and writing.
    ///
    /// # Errors
    ///
    /// As for [`FunctionRegistration::read`].
    pub fn read_write<F: WriteFunction>() -> Result<Self, RegistrationError> {
        Self::new::<F>(Some(write::<F>), F::WRITE_ESCALATES)
    }

    fn new<F: ReadFunction>(
        write: sys::ast_acf_write_fn_t,
        write_escalates: bool,
    ) -> Result<Self, RegistrationError> {
        let slot = SLOTS.take(F::NAME, || {
            // SAFETY: the structure is one of C: numbers, pointers and optional callbacks, for all of which
            // zero is a value.
            let mut entry: sys::ast_custom_function = unsafe { std::mem::zeroed() };
            entry.name = F::NAME.as_ptr();
            // `read`, not `read2`: with a buffer of the caller's there is nothing to allocate here. Asterisk
            // offers at least 4096 bytes wherever it has the choice (`VAR_BUF_SIZE`).
            entry.read = Some(read::<F>);
            entry.write = write;
            entry
        });
        // SAFETY: the entry is complete, lives for ever, and is in no list of Asterisk's, since we had the
        // slot.
        let refused = unsafe {
            sys::shim_function_register(
                slot.as_ptr(),
                c_int::from(F::ESCALATES),
                c_int::from(write_escalates),
            )
        };
        if refused != 0 {
            SLOTS.put(F::NAME, slot);
            return Err(RegistrationError::new("dialplan function", F::NAME));
        }
        // INVARIANT: the slot's entry is in Asterisk's list.
        Ok(Self {
            name: F::NAME,
            slot: Some(slot),
        })
    }
}

impl Drop for FunctionRegistration {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            // SAFETY: by the type's invariant the entry is in Asterisk's list, and this takes it out.
            unsafe { sys::ast_custom_function_unregister(slot.as_ptr()) };
            SLOTS.put(self.name, slot);
        }
    }
}
