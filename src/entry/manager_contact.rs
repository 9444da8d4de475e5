//! The AMI action for a caller: what `planfix show contact` shows.

use std::ffi::CStr;

use super::{contacts, state};
use crate::ast::manager::{Action, ActionRegistration, Authority, Reply, Request};
use crate::ast::registration::RegistrationError;
use crate::core::contact::{Status, What, value};

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
        let (Some(settings), Some(found)) = (&state.settings, contacts::find(&state, &phone)) else {
            return reply.error("The module is disabled: see the command 'planfix check'");
        };
        let internal = &settings.calls.internal;
        let (name, mut status) = value(What::Name, &found.contact, found.how, internal);
        let (responsible, other) = value(What::Responsible, &found.contact, found.how, internal);
        if status == Status::Miss {
            status = other;
        }
        reply.fields(
            "This is what Planfix knows of the caller",
            &[
                ("Phone", &found.number),
                ("Name", &name),
                ("Responsible", &responsible),
                ("Status", status.word()),
            ],
        );
    }
}
