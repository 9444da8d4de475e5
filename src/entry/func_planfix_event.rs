//! The dialplan function PLANFIX_EVENT.

use std::borrow::Cow;
use std::ffi::{CStr, CString};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::func_call_duration::{duration, own};
use super::{calls, contacts, recordings, state};
use crate::ast::channel::Channel;
use crate::ast::function::{ReadFunction, Unreadable};
use crate::core::draft::Kind;
use crate::core::durations::What;
use crate::core::planfix_event::{self, Surroundings, Verdict};
use crate::core::recording::{News, promises};
use crate::core::settings::Mode;

pub(super) struct PlanfixEvent;

impl ReadFunction for PlanfixEvent {
    const NAME: &'static CStr = c"PLANFIX_EVENT";

    fn read(channel: Option<&Channel<'_>>, args: &[u8]) -> Result<Cow<'static, [u8]>, Unreadable> {
        Ok(Cow::Borrowed(tell(channel, args).as_bytes()))
    }
}

fn tell(channel: Option<&Channel<'_>>, args: &[u8]) -> &'static str {
    let Some(state) = state::current() else {
        return "IGNORED";
    };
    let lasting = &state.lasting;
    let (Some(settings), Some(delivery)) = (&state.settings, &state.delivery) else {
        lasting.ignored.fetch_add(1, Ordering::Relaxed);
        return "IGNORED";
    };
    let around = Around(channel, recordings::variable(settings));
    // Our lock and the channel's are never held together: whoever calls us may hold the channel's already.
    let directions = || lasting.directions.lock().unwrap_or_else(PoisonError::into_inner);
    let verdict = planfix_event::read(args, &around, &settings.calls, &|callid| {
        directions().of(callid).copied()
    });
    match verdict {
        Verdict::Ignore(reason) => {
            log::debug!("PLANFIX_EVENT{around}: ignored, {reason}");
            lasting.ignored.fetch_add(1, Ordering::Relaxed);
            "IGNORED"
        }
        Verdict::Reject(sentence) => {
            log::warn!("PLANFIX_EVENT{around}: {sentence}; nothing is sent to Planfix");
            lasting.rejected.fetch_add(1, Ordering::Relaxed);
            "REJECTED"
        }
        Verdict::Queue {
            drafts,
            warning,
            direction,
        } => {
            if settings.mode == Mode::Auto && drafts.iter().any(|draft| draft.kind != Kind::Record) {
                // The module follows the call itself: told twice, every card would be opened and closed twice.
                log::debug!("PLANFIX_EVENT{around}: ignored, mode = auto reports the call by itself");
                lasting.ignored.fetch_add(1, Ordering::Relaxed);
                return "IGNORED";
            }
            if let Some(calls) = &state.calls
                && drafts
                    .iter()
                    .any(|draft| draft.kind != Kind::Record && calls.tells(&draft.callid))
            {
                log::debug!(
                    "PLANFIX_EVENT{around}: ignored, the call began under mode = auto, which reports it to its end"
                );
                lasting.ignored.fetch_add(1, Ordering::Relaxed);
                return "IGNORED";
            }
            if let Some(warning) = warning {
                log::warn!("PLANFIX_EVENT{around}: {warning}");
            }
            if let (Some(direction), Some(draft)) = (direction, drafts.first()) {
                directions().note(&draft.callid, direction);
            }
            if let Some(draft) = drafts.iter().find(|draft| promises(draft))
                && let Some(said) = around.recording()
            {
                let callid = &draft.callid;
                let recorded = News::Recorded {
                    callid: callid.clone(),
                    said,
                    at: calls::now() / 1_000,
                };
                let over = News::Over {
                    callid: callid.clone(),
                };
                // An inbox without room refuses the end of the call too, which is said below.
                for news in [recorded, over] {
                    let _ = delivery.submit_recording(news);
                }
            }
            match delivery.submit(drafts.clone()) {
                Ok(()) => {
                    // The dialplan is about to ring somebody, and may want to know whom.
                    for draft in drafts.iter().filter(|draft| draft.kind == Kind::Incoming) {
                        if let Some(number) = contacts::client(&settings.calls, &draft.field("phone")) {
                            contacts::prefetch(&state, &number);
                        }
                    }
                    lasting.herald.tell(drafts);
                    lasting.queued.fetch_add(1, Ordering::Relaxed);
                    "QUEUED"
                }
                Err(refusal) => {
                    if lasting.may_log_refusal() {
                        log::error!("PLANFIX_EVENT{around}: the event is lost, {refusal}");
                    }
                    lasting.rejected.fetch_add(1, Ordering::Relaxed);
                    "REJECTED"
                }
            }
        }
    }
}

/// The channel that the function was called on, if any. Displayed, it is a prefix for a message.
///
/// With it goes the name of the channel variable that tells where it is recorded to, if recordings get links.
struct Around<'a>(Option<&'a Channel<'a>>, Option<CString>);

impl Around<'_> {
    /// Where the channel is recorded to.
    fn recording(&self) -> Option<String> {
        recordings::said(self.0?, self.1.as_ref()?)
    }

    fn text(
        &self,
        read: impl FnOnce(&crate::ast::channel::Locked<'_>) -> Option<Vec<u8>>,
    ) -> Option<Vec<u8>> {
        self.0
            .and_then(|channel| read(&channel.lock()))
            .filter(|text| !text.is_empty())
    }
}

impl std::fmt::Display for Around<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name() {
            Some(name) => write!(f, " on {}", String::from_utf8_lossy(&name)),
            None => Ok(()),
        }
    }
}

impl Surroundings for Around<'_> {
    /// AMI's Getvar without a channel and its like work on one that they make for it (main/manager.c, `action_getvar`).
    /// It has no name, and its linkedid stands for no call.
    fn linkedid(&self) -> Option<Vec<u8>> {
        self.text(|channel| (!channel.name().is_empty()).then(|| channel.linkedid().to_vec()))
    }

    fn caller_number(&self) -> Option<Vec<u8>> {
        self.text(|channel| channel.caller_number().map(<[u8]>::to_vec))
    }

    fn dialed_number(&self) -> Option<Vec<u8>> {
        self.text(|channel| Some(channel.dialed().to_vec()))
    }

    fn exten(&self) -> Option<Vec<u8>> {
        // Inside Macro() the extension is `s`; the caller's own stands in MACRO_EXTEN.
        self.text(|channel| {
            channel
                .macro_exten()
                .map_or_else(|| Some(channel.exten().to_vec()), |exten| Some(exten.to_vec()))
        })
    }

    fn name(&self) -> Option<Vec<u8>> {
        self.text(|channel| Some(channel.name().to_vec()))
    }

    fn variable(&self, name: &str) -> Option<Vec<u8>> {
        let name = CString::new(name).ok()?;
        self.text(|channel| channel.variable(&name))
    }

    fn talk_seconds(&self) -> Option<u64> {
        let talk = duration(&own(self.0?), What::Talk)?;
        Some(talk / 1_000_000)
    }

    fn answered_seconds(&self) -> Option<u64> {
        let up = self.0?.lock().up_time();
        (!up.is_zero()).then_some(up.as_secs())
    }

    fn exists(&self) -> bool {
        self.name().is_some()
    }

    fn is_recorded(&self) -> bool {
        self.recording().is_some()
    }
}
