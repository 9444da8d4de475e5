//! A channel, borrowed from the callback that was given it.
//!
//! Invariants:
//! - a [`Channel`] cannot outlive its callback, in which Asterisk holds a reference to it;
//! - strings of a channel are looked at under its lock only: a masquerade or a rename frees them. [`Locked`]
//!   lends them for as long as the lock is held;
//! - the channel's lock is the only one taken here. It is recursive, and a dialplan function may be called
//!   with it held, so taking it again on the same thread waits for nothing. Callbacks search no container.
//!   Threads of ours do ([`found`], [`each`]), and hold it for no channel: whoever holds the container of all
//!   channels and waits for one stops every call that begins (asterisk issues 1872, 1873 and 1946).
//!
//! Nothing that waits may be done while a [`Locked`] lives, and no lock of ours may be taken that is held
//! over a call of this module.

use std::cell::Cell;
use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::time::Duration;

use super::text;
use crate::sys;

/// A channel, for the time of a callback.
///
/// Invariant: points to a channel that is referenced by somebody else for all of `'a`.
pub struct Channel<'a> {
    channel: NonNull<sys::ast_channel>,
    /// The caller has been told that there is something to hear before the answer.
    pub(super) progressed: Cell<bool>,
    // Not Send, not Sync: a callback's channel belongs to the callback's thread.
    callback: PhantomData<(&'a (), *mut ())>,
}

impl<'a> Channel<'a> {
    /// `None` for a null pointer.
    ///
    /// # Safety
    ///
    /// `channel` is null, or a channel that stays referenced during `'a`.
    pub(super) unsafe fn borrow(channel: *mut sys::ast_channel) -> Option<Self> {
        // INVARIANT: the caller vouches for it.
        NonNull::new(channel).map(|channel| Self {
            channel,
            progressed: Cell::new(false),
            callback: PhantomData,
        })
    }

    pub(super) fn as_ptr(&self) -> *mut sys::ast_channel {
        self.channel.as_ptr()
    }

    /// Locks the channel until the result is dropped.
    pub fn lock(&self) -> Locked<'_> {
        // SAFETY: a live channel, by the type's invariant. INVARIANT of Locked: it is locked now.
        unsafe { sys::shim_channel_lock(self.channel.as_ptr()) };
        Locked {
            channel: self.channel,
            borrow: PhantomData,
        }
    }

    /// Whether whoever calls us has locked the channel, as Asterisk does when it looks at it for a snapshot of it (`channelvars` of
    /// manager.conf and ari.conf: `main/channel.c`, `channel_get_external_vars`). False also where the C library does not tell.
    pub fn is_locked_here(&self) -> bool {
        // SAFETY: a live channel, by the type's invariant; its lock is only looked at.
        unsafe { sys::shim_channel_is_locked_here(self.channel.as_ptr()) != 0 }
    }

    /// Everything that can be asked of the channel but its variables, copied under one lock.
    pub fn facts(&self) -> Facts {
        let locked = self.lock();
        Facts {
            name: locked.name().to_vec(),
            uniqueid: locked.uniqueid().to_vec(),
            linkedid: locked.linkedid().to_vec(),
            exten: locked.exten().to_vec(),
            context: locked.context().to_vec(),
            dialed: locked.dialed().to_vec(),
            caller_number: locked.caller_number().map(<[u8]>::to_vec),
            caller_restricted: locked.caller_restricted(),
            connected_number: locked.connected_number().map(<[u8]>::to_vec),
            macro_exten: locked.macro_exten().map(<[u8]>::to_vec),
            up_time: locked.up_time(),
        }
    }

    /// The value of a variable of the channel, or else of a global one.
    pub fn variable(&self, name: &CStr) -> Option<Vec<u8>> {
        self.lock().variable(name)
    }

    /// `CDR(recordingfile)`, empty when it is not set; `None` where there are no CDRs. It waits for what Asterisk has queued for
    /// its CDRs, as a line of the dialplan would.
    pub fn recordingfile(&self) -> Option<Vec<u8>> {
        let mut value = [0_u8; 1_024];
        // SAFETY: a live channel, and room for that many bytes, which end with a NUL when it succeeds.
        let failed = unsafe {
            sys::shim_channel_recordingfile(self.channel.as_ptr(), value.as_mut_ptr().cast(), value.len())
        };
        let text = CStr::from_bytes_until_nul(&value).ok()?;
        (failed == 0).then(|| text.to_bytes().to_vec())
    }

    /// Sets `CDR(recordingfile)`.
    pub fn set_recordingfile(&self, value: &CStr) {
        // SAFETY: a live channel and a NUL-terminated string, which Asterisk copies.
        unsafe { sys::shim_channel_set_recordingfile(self.channel.as_ptr(), value.as_ptr()) };
    }

    /// Gives the caller another name, for the phones that are called from now on.
    pub fn set_caller_name(&self, name: &CStr) {
        // SAFETY: a live channel and a NUL-terminated string, which Asterisk copies. What is freed is the caller's former
        // name, which a `Locked` does not lend.
        unsafe { sys::shim_channel_set_caller_name(self.channel.as_ptr(), name.as_ptr()) };
    }

    /// Sets a variable of the channel. An empty value removes it. A name with a parenthesis would call a function,
    /// which is not done here.
    pub fn set_variable(&self, name: &CStr, value: &CStr) {
        if name.to_bytes().contains(&b'(') {
            return;
        }
        // SAFETY: a live channel and two NUL-terminated strings, which Asterisk copies. What is freed is the
        // variable's former value, of which a `Locked` gives copies alone; everything else of a channel could
        // only be changed through a function, and the name calls none.
        unsafe { sys::pbx_builtin_setvar_helper(self.channel.as_ptr(), name.as_ptr(), value.as_ptr()) };
    }
}

/// A reference of ours to a channel. Dropping it gives the reference back, also in a panic.
///
/// Invariant: it was given to us, and nobody else gives it back.
struct Reference(NonNull<sys::ast_channel>);

impl Drop for Reference {
    fn drop(&mut self) {
        // SAFETY: ours, by the type's invariant, and given back once.
        unsafe { sys::shim_channel_unref(self.0.as_ptr()) };
    }
}

impl Reference {
    /// The channel, for as long as it is referenced.
    fn channel(&self) -> Channel<'_> {
        // INVARIANT: referenced until `self` goes.
        Channel {
            channel: self.0,
            progressed: Cell::new(false),
            callback: PhantomData,
        }
    }
}

/// Looks at the channel with this unique id. `None` when it is gone. To be called from a thread of our own that holds no lock:
/// it goes through all channels, and waits for none of them.
pub fn found<R>(uniqueid: &CStr, look: impl FnOnce(&Channel<'_>) -> R) -> Option<R> {
    // SAFETY: a NUL-terminated string.
    let channel = unsafe { sys::shim_channel_find(uniqueid.as_ptr()) };
    // INVARIANT: the shim gives it to us with a reference.
    let reference = Reference(NonNull::new(channel)?);
    Some(look(&reference.channel()))
}

/// Looks at every channel, one after the other; those that come or go meanwhile may be among them. Nothing is held but a reference
/// to the one that is looked at. To be called from a thread of our own that holds no lock.
pub fn each(mut look: impl FnMut(&Channel<'_>)) {
    /// Gives the iterator back, also when `look` panics.
    struct Walk(NonNull<sys::ast_channel_iterator>);

    impl Drop for Walk {
        fn drop(&mut self) {
            // SAFETY: made by `ast_channel_iterator_all_new`, and destroyed once.
            unsafe { sys::ast_channel_iterator_destroy(self.0.as_ptr()) };
        }
    }

    // SAFETY: it takes nothing; null when there is no memory.
    let Some(walk) = NonNull::new(unsafe { sys::ast_channel_iterator_all_new() }).map(Walk) else {
        return;
    };
    loop {
        // SAFETY: the iterator lives until `walk` goes. It lets go of the channels' container before it returns, in every storage
        // that Asterisk has for them.
        let next = unsafe { sys::ast_channel_iterator_next(walk.0.as_ptr()) };
        // INVARIANT: it comes with a reference.
        let Some(reference) = NonNull::new(next).map(Reference) else {
            return;
        };
        look(&reference.channel());
    }
}

/// Gives the caller of the channel with this unique id another name, on the phones that ring for him too. False when the
/// channel is gone. As for [`found`].
pub fn name_caller(uniqueid: &CStr, name: &CStr) -> bool {
    let named = |channel: &Channel<'_>| {
        // SAFETY: a live channel and a NUL-terminated string, which Asterisk copies.
        unsafe { sys::shim_channel_name_caller(channel.as_ptr(), name.as_ptr()) };
    };
    found(uniqueid, named).is_some()
}

/// A channel that is locked by this thread. Dropping it unlocks.
///
/// Invariant: the channel is alive, and its lock is held once more for this value.
pub struct Locked<'a> {
    channel: NonNull<sys::ast_channel>,
    borrow: PhantomData<(&'a (), *mut ())>,
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // SAFETY: by the type's invariant this thread holds the lock.
        unsafe { sys::shim_channel_unlock(self.channel.as_ptr()) };
    }
}

/// Strings that are never null, and those that are null when unknown, with the functions that read them.
macro_rules! strings {
    ($($(#[$doc:meta])* $name:ident = $accessor:ident;)*) => {
        $(
            $(#[$doc])*
            pub fn $name(&self) -> &[u8] {
                // SAFETY: the channel is alive and locked, so the string stays as it is while `self` is
                // borrowed.
                unsafe { text::bytes(sys::$accessor(self.channel.as_ptr())) }
            }
        )*
    };
}

macro_rules! optional_strings {
    ($($(#[$doc:meta])* $name:ident = $accessor:ident;)*) => {
        $(
            $(#[$doc])*
            pub fn $name(&self) -> Option<&[u8]> {
                // SAFETY: the channel is alive and locked, so the string stays as it is while `self` is
                // borrowed.
                Some(unsafe { text::bytes(sys::$accessor(self.channel.as_ptr())) }).filter(|text| !text.is_empty())
            }
        )*
    };
}

impl Locked<'_> {
    strings! {
        /// Such as `PJSIP/101-00000001`.
        name = ast_channel_name;
        uniqueid = ast_channel_uniqueid;
        linkedid = ast_channel_linkedid;
        exten = ast_channel_exten;
        context = ast_channel_context;
        /// `CHANNEL(language)`, such as `ru`; empty where Asterisk's default is meant.
        language = ast_channel_language;
        /// The number that was dialled to reach this channel (`CALLERID(dnid)`), empty when unknown.
        dialed = shim_channel_dialed_number;
    }

    optional_strings! {
        /// The caller's number, when it is valid.
        caller_number = shim_channel_caller_number;
        /// The connected line's number, when it is valid.
        connected_number = shim_channel_connected_number;
        /// The extension that called a `Macro()`; always `None` since Asterisk 21.
        macro_exten = shim_channel_macro_exten;
    }

    /// The caller asked for the number not to be shown, or it is not available.
    pub fn caller_restricted(&self) -> bool {
        // SAFETY: the channel is alive and locked.
        unsafe { sys::shim_channel_caller_restricted(self.channel.as_ptr()) != 0 }
    }

    /// Time since the channel was answered, zero while it is not.
    pub fn up_time(&self) -> Duration {
        // SAFETY: the channel is alive and locked.
        let milliseconds = unsafe { sys::ast_channel_get_up_time_ms(self.channel.as_ptr()) };
        Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))
    }

    /// The value of a variable of the channel, or else of a global one.
    pub fn variable(&self, name: &CStr) -> Option<Vec<u8>> {
        // SAFETY: the channel is alive, and its lock keeps its variables in place until the value is copied.
        // A global variable has no lock that a module could hold (`main/pbx_variables.c` returns the pointer
        // without it too); it is copied before anything else.
        unsafe {
            let value = sys::pbx_builtin_getvar_helper(self.channel.as_ptr(), name.as_ptr());
            (!value.is_null()).then(|| text::bytes(value).to_vec())
        }
    }
}

/// A copy of what a channel was at one moment. [`Locked`] tells what the fields are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub name: Vec<u8>,
    pub uniqueid: Vec<u8>,
    pub linkedid: Vec<u8>,
    pub exten: Vec<u8>,
    pub context: Vec<u8>,
    pub dialed: Vec<u8>,
    pub caller_number: Option<Vec<u8>>,
    pub caller_restricted: bool,
    pub connected_number: Option<Vec<u8>>,
    pub macro_exten: Option<Vec<u8>>,
    pub up_time: Duration,
}
