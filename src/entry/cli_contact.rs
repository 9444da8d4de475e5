//! `planfix show contact`.

use std::ffi::CStr;

use super::contacts::{Patience, Told};
use super::sentence::say;
use super::{contacts, report, state};
use crate::ast::cli::{Command, CommandRegistration, Out, Outcome};
use crate::ast::registration::RegistrationError;
use crate::core::contact::How;
use crate::core::table::fields;

pub(super) fn register() -> Result<Vec<CommandRegistration>, RegistrationError> {
    Ok(vec![CommandRegistration::new::<ShowContact>()?])
}

struct ShowContact;

impl Command for ShowContact {
    const COMMAND: &'static CStr = c"planfix show contact";
    const SUMMARY: &'static CStr = c"Show what Planfix knows of a caller";
    const USAGE: &'static CStr = c"Usage: planfix show contact <phone>\n       Asks Planfix as PLANFIX_CONTACT does: the caller's name, and the employee who is\n       responsible for him.\n";

    fn run(args: &[&str], out: &mut Out) -> Outcome {
        let [phone] = args else {
            return Outcome::ShowUsage;
        };
        let Some(state) = state::current() else {
            return Outcome::Failure;
        };
        let (Some(settings), Some(found)) = (
            &state.settings,
            contacts::find(&state, phone, Patience::Configured),
        ) else {
            out.line("The module is disabled: see 'planfix check'.");
            return Outcome::Failure;
        };
        if found.number.is_empty() {
            say(
                out,
                &format!(
                    "Planfix is not asked for {phone}: it is no client's number, see 'internal' in planfix.conf."
                ),
            );
            return Outcome::Success;
        }
        let Told {
            name,
            mut responsible,
            status,
        } = found.told(&settings.calls.internal);
        let told = found.contact.responsible_in_the_crm();
        if responsible.is_empty() && !told.is_empty() {
            responsible = format!("{told} in Planfix, which does not match 'internal' in planfix.conf");
        }
        let shown = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        let rows = [
            ("Phone", found.number),
            ("Name", shown(name)),
            ("Responsible", shown(responsible)),
            ("Status", status.word().to_owned()),
        ];
        for line in fields(&rows) {
            out.line(&line);
        }
        if found.how != How::Fresh
            && let Some(contacts) = &state.contacts
        {
            say(out, &report::standing(&contacts.standing()));
        }
        Outcome::Success
    }
}
