//! The AMI list actions for calls: what `planfix show calls` and `planfix show call` show.

use std::ffi::CStr;

use super::explain::{delivery_state, explain, running_calls, tries};
use super::state;
use crate::ast::manager::{Action, ActionRegistration, Authority, Reply, Request};
use crate::ast::registration::RegistrationError;

pub(super) fn register() -> Result<Vec<ActionRegistration>, RegistrationError> {
    Ok(vec![
        ActionRegistration::new::<ShowCalls>()?,
        ActionRegistration::new::<ShowCall>()?,
    ])
}

struct ShowCalls;

impl Action for ShowCalls {
    const NAME: &'static CStr = c"PlanfixShowCalls";
    const AUTHORITY: Authority = Authority::REPORTING;

    fn run(_: &Request<'_>, reply: Reply<'_>) {
        let Some(state) = state::current() else {
            return reply.error("The module is being unloaded");
        };
        let calls = match running_calls(&state) {
            Ok(calls) => calls,
            Err(sentence) => return reply.error(sentence),
        };
        let mut list = reply.list("The calls follow", "PlanfixShowCallsComplete");
        for call in calls {
            list.event(
                "PlanfixCallEntry",
                &[
                    ("CallId", &call.callid),
                    ("Type", call.direction),
                    ("Phone", &call.phone),
                    ("Diversion", &call.diversion),
                    ("Seconds", &call.seconds.to_string()),
                ],
            );
            for card in &call.cards {
                list.event(
                    "PlanfixCardEntry",
                    &[
                        ("CallId", &call.callid),
                        ("Exten", &card.ext),
                        ("State", card.state),
                        ("Seconds", &card.seconds.to_string()),
                    ],
                );
            }
        }
    }
}

struct ShowCall;

impl Action for ShowCall {
    const NAME: &'static CStr = c"PlanfixShowCall";
    const AUTHORITY: Authority = Authority::REPORTING;

    fn run(request: &Request<'_>, reply: Reply<'_>) {
        let Some(state) = state::current() else {
            return reply.error("The module is being unloaded");
        };
        let Some(name) = request.header(c"Call") else {
            return reply.error("The header Call is missing: a linkedid or a unique id");
        };
        let call = match explain(&state, &name) {
            Ok(Some(call)) => call,
            Ok(None) => return reply.error("Nothing is known of this call"),
            Err(sentence) => return reply.error(&sentence),
        };
        let mut list = reply.list("The story follows", "PlanfixShowCallComplete");
        for line in call.text.lines() {
            list.event(
                "PlanfixStoryEntry",
                &[("CallId", &call.callid), ("Line", line.trim())],
            );
        }
        for event in &call.events {
            list.event(
                "PlanfixCallEventEntry",
                &[
                    ("Id", &event.id.to_string()),
                    ("Accepted", &event.accepted),
                    ("PlanfixEvent", &event.kind),
                    ("Exten", &event.ext),
                    ("CallId", &event.callid),
                    ("State", delivery_state(event)),
                    ("Settled", &event.settled),
                    ("Attempts", &tries(event).to_string()),
                    ("Reason", &event.reason),
                ],
            );
        }
    }
}
