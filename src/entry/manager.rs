//! The AMI list actions: what the `show` commands show.

use std::ffi::CStr;

use super::{manager_calls, manager_contact, manager_greetings, report, state};
use crate::ast::manager::{Action, ActionRegistration, Authority, Reply, Request};
use crate::ast::registration::RegistrationError;
use crate::delivery::listing::List;

/// Rows of a list unless the action's Limit says otherwise, and at most.
const ROWS: usize = 100;
const MOST_ROWS: usize = 1_000;

pub(super) fn register() -> Result<Vec<ActionRegistration>, RegistrationError> {
    let mut actions = vec![
        ActionRegistration::new::<ShowStatus>()?,
        ActionRegistration::new::<ShowQueue>()?,
        ActionRegistration::new::<ShowFailed>()?,
    ];
    actions.extend(manager_calls::register()?);
    actions.extend(manager_contact::register()?);
    actions.extend(manager_greetings::register()?);
    Ok(actions)
}

struct ShowStatus;

impl Action for ShowStatus {
    const NAME: &'static CStr = c"PlanfixShowStatus";
    const AUTHORITY: Authority = Authority::REPORTING;

    fn run(_: &Request<'_>, reply: Reply<'_>) {
        let Some(state) = state::current() else {
            return reply.error("The module is being unloaded");
        };
        let rows = report::rows(&state);
        let fields: Vec<(&str, &str)> = rows
            .iter()
            .map(|(_, header, value)| (*header, value.as_str()))
            .collect();
        reply
            .list("The status follows", "PlanfixShowStatusComplete")
            .event("PlanfixStatus", &fields);
    }
}

struct ShowQueue;

impl Action for ShowQueue {
    const NAME: &'static CStr = c"PlanfixShowQueue";
    const AUTHORITY: Authority = Authority::REPORTING;

    fn run(request: &Request<'_>, reply: Reply<'_>) {
        list(
            request,
            reply,
            List::Queue,
            "PlanfixQueueEntry",
            "PlanfixShowQueueComplete",
        );
    }
}

struct ShowFailed;

impl Action for ShowFailed {
    const NAME: &'static CStr = c"PlanfixShowFailed";
    const AUTHORITY: Authority = Authority::REPORTING;

    fn run(request: &Request<'_>, reply: Reply<'_>) {
        list(
            request,
            reply,
            List::Failed,
            "PlanfixFailedEntry",
            "PlanfixShowFailedComplete",
        );
    }
}

/// How many rows the request wants.
pub(super) fn limit(request: &Request<'_>) -> Result<usize, String> {
    match request.header(c"Limit") {
        None => Ok(ROWS),
        Some(text) => match text.parse() {
            Ok(limit) if (1..=MOST_ROWS).contains(&limit) => Ok(limit),
            _ => Err("Limit must be a number from 1 to 1000".to_owned()),
        },
    }
}

fn list(request: &Request<'_>, reply: Reply<'_>, which: List, entry: &str, complete: &str) {
    let limit = match limit(request) {
        Ok(limit) => limit,
        Err(sentence) => return reply.error(&sentence),
    };
    let Some(delivery) = state::current().and_then(|state| state.delivery.clone()) else {
        return reply.error("The module is disabled: see the command 'planfix check'");
    };
    let listing = match delivery.list(which, limit) {
        Ok(listing) => listing,
        Err(sentence) => return reply.error(&sentence),
    };
    let (total, caution) = (listing.total.to_string(), listing.caution());
    let mut list = reply.list(caution.as_deref().unwrap_or("The list follows"), complete);
    for row in listing.rows {
        list.event(
            entry,
            &[
                ("Id", &row.id.to_string()),
                ("Accepted", &row.accepted),
                ("PlanfixEvent", &row.kind),
                ("Exten", &row.ext),
                ("CallId", &row.callid),
                ("Attempts", &row.attempts.to_string()),
                ("Reason", &row.reason),
                ("Total", &total),
            ],
        );
    }
}
