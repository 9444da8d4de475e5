//! What is known of a call: for `planfix show call` and its AMI action.

use std::time::Duration;

use super::calls::now;
use super::state::State;
use crate::core::running::{Running, running};
use crate::core::settings::Mode;
use crate::delivery::question::{Answer, Question};
use crate::delivery::spool::{self, Listed};

/// Longest wait for an answer: the spool's thread answers between two commits.
pub(super) const ANSWER: Duration = Duration::from_secs(5);

/// A call.
#[derive(Debug)]
pub(super) struct Explained {
    /// Its linkedid.
    pub(super) callid: String,
    /// When it ended, milliseconds since 1970; `None` while it is running, or when only its events are known.
    pub(super) ended: Option<u64>,
    /// When it began, microseconds since 1970; `None` unless it is running.
    pub(super) began: Option<u64>,
    /// What happened; empty when only its events are known.
    pub(super) text: String,
    /// What the CRM was told or is to be told.
    pub(super) events: Vec<Listed>,
}

/// The calls that are running, or why there is no list of them.
pub(super) fn running_calls(state: &State) -> Result<Vec<Running>, &'static str> {
    match &state.calls {
        Some(calls) if !calls.is_over() => Ok(running(&calls.tracker(), now())),
        _ => Err(not_followed(state)),
    }
}

/// Why no call is followed.
pub(super) fn not_followed(state: &State) -> &'static str {
    match &state.settings {
        Some(settings) if settings.enabled && settings.mode == Mode::Dialplan => {
            "Calls are not followed: mode = dialplan in planfix.conf, so only PLANFIX_EVENT reports."
        }
        _ => "The module is disabled: see 'planfix check'.",
    }
}

/// What is known of a call, by its linkedid or the unique id of one of its channels.
///
/// # Errors
/// A sentence for the operator.
pub(super) fn explain(state: &State, name: &str) -> Result<Option<Explained>, String> {
    let Some(delivery) = &state.delivery else {
        return Err("The module is disabled: see 'planfix check'.".to_owned());
    };
    let ask = |name: &str| match delivery.ask(Question::Story(name.to_owned()), ANSWER) {
        Some(Answer::Story { story, events }) => Ok((story, events)),
        Some(Answer::Failed(sentence)) => Err(format!("That was not possible: {sentence}.")),
        _ => Err("The spool does not answer: the disk may stall. See 'planfix show status'.".to_owned()),
    };
    let running = state.calls.as_ref().and_then(|calls| {
        let tracker = calls.tracker();
        let (linkedid, began, text) = tracker.explain(name)?;
        let callids = tracker.callids(&linkedid);
        Some((linkedid, began, text, callids))
    });
    if let Some((callid, began, text, callids)) = running {
        let mut events = Vec::new();
        for callid in callids {
            events.extend(ask(&callid)?.1);
        }
        events.sort_by_key(|event| event.id);
        return Ok(Some(Explained {
            callid,
            ended: None,
            began: Some(began),
            text,
            events,
        }));
    }
    let (story, events) = ask(name)?;
    Ok(match story {
        Some(story) => Some(Explained {
            callid: story.callid,
            ended: Some(story.ended),
            began: None,
            text: story.text,
            events,
        }),
        None if events.is_empty() => None,
        None => Some(Explained {
            callid: name.to_owned(),
            ended: None,
            began: None,
            text: String::new(),
            events,
        }),
    })
}

/// How often an event was sent: the failures, and the success.
pub(super) fn tries(event: &Listed) -> u32 {
    event.attempts + u32::from(event.state == Some(spool::State::Delivered))
}

/// Where an event stands, as a word.
pub(super) fn delivery_state(event: &Listed) -> &'static str {
    match event.state {
        None => "waiting",
        Some(spool::State::Delivered) => "delivered",
        Some(spool::State::Failed) => "failed",
        Some(spool::State::Dropped) => "dropped",
    }
}
