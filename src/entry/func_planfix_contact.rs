//! The dialplan function PLANFIX_CONTACT.
//!
//! Invariant: with its channel locked it waits for nobody and changes nothing. That is how it is read for `channelvars` of
//! manager.conf and ari.conf, at every snapshot of every channel (`main/channel.c`, `channel_get_external_vars`): whoever waited there
//! would hold the channel for as long, and a variable that is set makes another snapshot.

use std::borrow::Cow;
use std::cell::Cell;
use std::ffi::{CStr, CString};

use super::contacts::{Found, Patience};
use super::{contacts, state};
use crate::ast::channel::Channel;
use crate::ast::function::{ReadFunction, Unreadable};
use crate::core::args;
use crate::core::contact::{Status, What, value};
use crate::core::settings::{Calls, Mode};

const STATUS: &CStr = c"PLANFIX_CONTACT_STATUS";

pub(super) struct PlanfixContact;

thread_local! {
    /// This thread is in here. Without a destructor, so Asterisk's threads keep nothing of ours.
    static IS_ASKING: Cell<bool> = const { Cell::new(false) };
}

/// A reading under way. Dropping it ends it.
///
/// What a reading changes of the channel makes a snapshot of it, for which Asterisk may read this very function
/// (`main/stasis_channels.c`, `ast_channel_publish_varset`): without end, if such a reading changed something in its turn.
struct Asking;

impl Asking {
    /// `None` within another one.
    fn begin() -> Option<Self> {
        (!IS_ASKING.replace(true)).then_some(Self)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        IS_ASKING.set(false);
    }
}

impl ReadFunction for PlanfixContact {
    const NAME: &'static CStr = c"PLANFIX_CONTACT";

    fn read(channel: Option<&Channel<'_>>, text: &[u8]) -> Result<Cow<'static, [u8]>, Unreadable> {
        let looks_only = channel.is_some_and(Channel::is_locked_here);
        let asking = Asking::begin();
        // One that only looks ends there, within another one too.
        if asking.is_none() && !looks_only {
            return Ok(Cow::Borrowed(b""));
        }
        let answer = answer(channel, text, looks_only);
        let status = answer.as_ref().map_or(Status::Error, |(_, status)| *status);
        if let (Some(channel), Ok(word)) = (channel.filter(|_| !looks_only), CString::new(status.word()))
            && channel.variable(STATUS).as_deref() != Some(word.to_bytes())
        {
            channel.set_variable(STATUS, &word);
        }
        let (value, _) = answer.map_err(|sentence| {
            log::warn!("PLANFIX_CONTACT: {sentence}");
            Unreadable
        })?;
        Ok(Cow::Owned(value.into_bytes()))
    }
}

fn answer(channel: Option<&Channel<'_>>, text: &[u8], looks_only: bool) -> Result<(String, Status), String> {
    let list = args::split(text);
    let argument = |index: usize| list.get(index).map(|value| String::from_utf8_lossy(value));
    if list.len() > 2 {
        return Err(format!(
            "{} arguments were given, it takes the caller's number and what to tell of him",
            list.len()
        ));
    }
    let what = What::parse(&argument(1).unwrap_or_default())
        .map_err(|sentence| format!("argument 2 (what) {sentence}"))?;
    let given = argument(0).unwrap_or_default();
    let phone = match given.trim() {
        "" => channel
            .and_then(own)
            .ok_or("argument 1 (phone) is empty, and there is no channel to take it from")?,
        phone => phone.to_owned(),
    };
    // Nothing of the channel's is locked by us from here on.
    let patience = if looks_only {
        Patience::None
    } else {
        Patience::Configured
    };
    let found = state::current().and_then(|state| {
        let settings = state.settings.as_ref()?;
        state.contacts.as_ref()?.note_use();
        let found = contacts::find(&state, &phone, patience)?;
        if settings.mode == Mode::Auto && settings.contact.set_name && !looks_only {
            channel
                .into_iter()
                .for_each(|channel| name(channel, &found, &settings.calls));
        }
        Some(value(what, &found.contact, found.how, &settings.calls.internal))
    });
    Ok(found.unwrap_or((String::new(), Status::Error)))
}

/// The answer is in hand before the dialplan goes on to ring anybody: if it is about this channel's own caller, the phones
/// show his name from the first moment.
fn name(channel: &Channel<'_>, found: &Found, calls: &Calls) {
    let is_his = || own(channel).and_then(|own| contacts::client(calls, &own)) == Some(found.number.clone());
    if !found.contact.name().is_empty()
        && let Ok(name) = CString::new(found.contact.name())
        && is_his()
    {
        channel.set_caller_name(&name);
    }
}

/// The channel's caller: nothing if he does not want to be known. `None` on the channel that AMI's Getvar makes for itself,
/// which has no name (main/manager.c, `action_getvar`).
fn own(channel: &Channel<'_>) -> Option<String> {
    let channel = channel.lock();
    let number = channel.caller_number().filter(|_| !channel.caller_restricted());
    let number = String::from_utf8_lossy(number.unwrap_or_default()).into_owned();
    (!channel.name().is_empty()).then_some(number)
}
