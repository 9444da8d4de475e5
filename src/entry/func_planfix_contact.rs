//! The dialplan function PLANFIX_CONTACT.

use std::borrow::Cow;
use std::ffi::{CStr, CString};

use super::contacts::Found;
use super::{contacts, state};
use crate::ast::channel::Channel;
use crate::ast::function::{ReadFunction, Unreadable};
use crate::core::args;
use crate::core::contact::{Status, What, value};
use crate::core::settings::{Calls, Mode};

pub(super) struct PlanfixContact;

impl ReadFunction for PlanfixContact {
    const NAME: &'static CStr = c"PLANFIX_CONTACT";

    fn read(channel: Option<&Channel<'_>>, text: &[u8]) -> Result<Cow<'static, [u8]>, Unreadable> {
        let answer = answer(channel, text);
        let status = answer.as_ref().map_or(Status::Error, |(_, status)| *status);
        if let (Some(channel), Ok(word)) = (channel, CString::new(status.word())) {
            channel.set_variable(c"PLANFIX_CONTACT_STATUS", &word);
        }
        let (value, _) = answer.map_err(|sentence| {
            log::warn!("PLANFIX_CONTACT: {sentence}");
            Unreadable
        })?;
        Ok(Cow::Owned(value.into_bytes()))
    }
}

fn answer(channel: Option<&Channel<'_>>, text: &[u8]) -> Result<(String, Status), String> {
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
    // Nothing of the channel's is locked from here on.
    let found = state::current().and_then(|state| {
        let settings = state.settings.as_ref()?;
        state.contacts.as_ref()?.note_use();
        let found = contacts::find(&state, &phone)?;
        if settings.mode == Mode::Auto && settings.contact.set_name {
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
