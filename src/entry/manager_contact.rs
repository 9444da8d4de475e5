//! The AMI action for a caller: what `planfix show contact` shows.

use std::ffi::CStr;

use super::contacts::{self, Patience};
use super::state;
use crate::ast::manager::{Action, ActionRegistration, Authority, Reply, Request};
use crate::ast::registration::RegistrationError;

pub(super) fn register() -> Result<Vec<ActionRegistration>, RegistrationError> {
    Ok(vec![ActionRegistration::new::<ShowContact>()?])
}

struct ShowContact;

impl Action for ShowContact {
    const NAME: &'static CStr = c"PlanfixShowContact";
    const AUTHORITY: Authority = Authority::REPORTING;

    fn run(request: &Request<'_>, reply: Reply<'_>) {
        let Some(state) = state::current() else {
            return reply.error("The module is being unloaded");
        };
        let Some(phone) = request.header(c"Phone") else {
            return reply.error("The header Phone is missing: the caller's number");
        };
        let (Some(settings), Some(found)) = (
            &state.settings,
            contacts::find(&state, &phone, Patience::Configured),
        ) else {
            return reply.error("The module is disabled: see the command 'planfix check'");
        };
        let told = found.told(&settings.calls.internal);
        reply.fields(
            "This is what Planfix knows of the caller",
            &[
                ("Phone", &found.number),
                ("Name", &told.name),
                ("Responsible", &told.responsible),
                ("Status", told.status.word()),
            ],
        );
    }
}
