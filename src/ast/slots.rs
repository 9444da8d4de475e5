//! Memory for what Asterisk may still look at after it was unregistered.
//!
//! `ast_func_read` looks a function's entry up under a lock, drops the lock and then reads the entry
//! (`main/pbx_functions.c`). Modules in C get away with it because their entries are static. Here an entry is
//! allocated once for each name and never freed; a later registration of the same name takes it up again, so
//! that loading and unloading for ever needs no more memory.
//!
//! Invariant: behind each entry there is room. Releases of one major version append to these structures, and Asterisk writes what
//! it has appended: `since` of a function came with 20.12, 21.7 and 22.2 and is in every 23, `provided_by` with 20.19,
//! 22.9 and 23.3. A module that was built for 22.1 is loaded by 22.9 like any other.

use std::ffi::CStr;
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

/// Words that an entry may grow by; so far none has grown by more than two.
const ROOM: usize = 32;

#[repr(C)]
struct Roomy<T> {
    entry: T,
    _room: [usize; ROOM],
}

/// Entries of one kind that nobody has registered at the moment.
pub(super) struct Slots<T>(Mutex<Vec<(&'static CStr, Slot<T>)>>);

/// One entry. Whoever has the slot, and Asterisk while it is registered, may write to it.
pub(super) struct Slot<T>(NonNull<T>);

// SAFETY: a slot is a pointer to memory that lives for ever; what is behind it is used by Asterisk under its
// own locks, on any thread.
unsafe impl<T> Send for Slot<T> {}
// SAFETY: a shared slot only gives the address away.
unsafe impl<T> Sync for Slot<T> {}

impl<T> Slot<T> {
    pub(super) fn as_ptr(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T> Slots<T> {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// The slot of that name, or a new one. It is the caller's until [`Slots::put`].
    pub(super) fn take(&self, name: &'static CStr, fresh: impl FnOnce() -> T) -> Slot<T> {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match free.iter().position(|(owner, _)| *owner == name) {
            Some(at) => free.swap_remove(at).1,
            None => {
                let roomy = Box::new(Roomy {
                    entry: fresh(),
                    _room: [0; ROOM],
                });
                // The entry stands first (`repr(C)`), and the address is good for what follows it, too.
                Slot(NonNull::from(Box::leak(roomy)).cast())
            }
        }
    }

    /// Gives a slot back that Asterisk no longer has in a list.
    pub(super) fn put(&self, name: &'static CStr, slot: Slot<T>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((name, slot));
    }
}
