//! Devices whose state this module tells: what a hint names as `Planfix:greeting_101`.
//!
//! Asterisk asks for a state on any thread, and holds its list of providers locked meanwhile (`main/devicestate.c`,
//! `getproviderstate`): a provider must not wait, and whoever unregisters one waits until nobody is being asked.

use std::borrow::Cow;
use std::ffi::{CStr, c_char};

use super::function::name_of;
use super::guard::{Refused, guard};
use super::registration::RegistrationError;
use super::text;
use crate::sys;

/// What a lamp shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceState {
    /// There is no such device.
    Invalid,
    Unknown,
    NotInUse,
    InUse,
}

impl DeviceState {
    fn number(self) -> sys::ast_device_state {
        match self {
            Self::Invalid => sys::AST_DEVICE_INVALID,
            Self::Unknown => sys::AST_DEVICE_UNKNOWN,
            Self::NotInUse => sys::AST_DEVICE_NOT_INUSE,
            Self::InUse => sys::AST_DEVICE_INUSE,
        }
    }
}

impl Refused for DeviceState {
    const REFUSED: Self = Self::Unknown;
}

/// Who knows the devices of one kind.
pub trait DeviceStates {
    /// What stands before the colon, at most 39 bytes; Asterisk finds it in any case.
    const PROVIDER: &'static CStr;

    /// The state of the device of that name, which is what stands behind the colon. It must neither wait nor ask for another
    /// device.
    fn state(device: &str) -> DeviceState;
}

/// Called by `getproviderstate` with a NUL-terminated string, or null where the name ends before the colon.
unsafe extern "C" fn state<P: DeviceStates>(device: *const c_char) -> sys::ast_device_state {
    let name = const { name_of(P::PROVIDER) };
    guard(name, || {
        // SAFETY: the caller's guarantee, which holds until this callback returns.
        let device: Cow<'_, str> = unsafe { text::lossy(device) };
        P::state(&device)
    })
    .number()
}

/// A provider that Asterisk knows. Dropping it unregisters it; nobody is inside any more when that is done.
///
/// Invariant: the provider of that name is registered by us.
pub struct DeviceStateRegistration {
    provider: &'static CStr,
}

impl DeviceStateRegistration {
    /// Registers a provider. Asterisk does not look whether another has the name.
    ///
    /// # Errors
    ///
    /// Asterisk has no memory.
    pub fn new<P: DeviceStates>() -> Result<Self, RegistrationError> {
        // SAFETY: a static string, of which Asterisk keeps a copy, and the callback is what it asks for.
        let refused = unsafe { sys::ast_devstate_prov_add(P::PROVIDER.as_ptr(), Some(state::<P>)) } != 0;
        if refused {
            return Err(RegistrationError::new("device state provider", P::PROVIDER));
        }
        Ok(Self {
            provider: P::PROVIDER,
        })
    }
}

impl Drop for DeviceStateRegistration {
    fn drop(&mut self) {
        // SAFETY: a static string. By the type's invariant a provider of that name is ours.
        unsafe { sys::ast_devstate_prov_del(self.provider.as_ptr()) };
    }
}

/// Tells everybody who watches the device that its state is another. Asterisk keeps no copy of it: a copy would outlive the module,
/// and whoever looks at the device on his own asks the provider.
pub fn changed(provider: &CStr, device: &str, state: DeviceState) {
    let name = text::c_line(&format!("{}:{device}", provider.to_string_lossy()));
    // SAFETY: a NUL-terminated string, which Asterisk copies.
    unsafe {
        sys::ast_devstate_changed_literal(state.number(), sys::AST_DEVSTATE_NOT_CACHABLE, name.as_ptr())
    };
}
