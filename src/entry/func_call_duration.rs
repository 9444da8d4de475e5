//! The dialplan function CALL_DURATION.

use std::borrow::Cow;
use std::ffi::CStr;
use std::sync::PoisonError;
use std::time::{SystemTime, UNIX_EPOCH};

use super::state;
use crate::ast::channel::Channel;
use crate::ast::function::{ReadFunction, Unreadable};
use crate::core::args;
use crate::core::durations::{Micros, Question, What};

pub(super) struct CallDuration;

impl ReadFunction for CallDuration {
    const NAME: &'static CStr = c"CALL_DURATION";

    fn read(channel: Option<&Channel<'_>>, text: &[u8]) -> Result<Cow<'static, [u8]>, Unreadable> {
        let list = args::split(text);
        let argument = |index: usize| {
            list.get(index)
                .map(|value| String::from_utf8_lossy(value))
                .unwrap_or_default()
        };
        let question = Question::parse(&argument(1)).map_err(|sentence| {
            log::warn!("CALL_DURATION: argument 2 (what) {sentence}");
            Unreadable
        })?;
        if list.len() > 2 {
            log::warn!(
                "CALL_DURATION: {} arguments were given, it takes a uniqueid and what to tell",
                list.len()
            );
            return Err(Unreadable);
        }
        let given = argument(0);
        let uniqueid = match given.trim() {
            "" => channel.map(own).unwrap_or_default(),
            uniqueid => uniqueid.to_owned(),
        };
        let told = duration(&uniqueid, question.what).map(|duration| question.show(duration).to_string());
        Ok(Cow::Owned(told.unwrap_or_default().into_bytes()))
    }
}

/// The channel's uniqueid.
pub(super) fn own(channel: &Channel<'_>) -> String {
    String::from_utf8_lossy(channel.lock().uniqueid()).into_owned()
}

/// A duration of a channel, up to now if it goes on; `None` when the channel is not known.
pub(super) fn duration(uniqueid: &str, what: What) -> Option<Micros> {
    let state = state::current()?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| Micros::try_from(time.as_micros()).unwrap_or(0));
    state
        .lasting
        .durations
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .of(uniqueid, what, now)
}
