//! What the CRM knows of callers, for whoever wants to know it here: the dialplan, an operator, the thread that follows
//! calls.
//!
//! Invariant: the CRM is never asked for an employee's number or for a withheld one, nor before anybody asks unless an
//! option of planfix.conf or an earlier question of the dialplan's says that the answer is of use.

use super::state::{self, State};
use crate::core::contact::{Contact, How, Status, What, value};
use crate::core::pattern::Patterns;
use crate::core::phone::ANONYMOUS;
use crate::core::settings::{Calls, Missed, Settings};

/// A number as the CRM has it; `None` for what it cannot know: an employee's, a withheld one.
pub(super) fn client(calls: &Calls, raw: &str) -> Option<String> {
    if is_internal(calls, raw.trim()) {
        return None;
    }
    let form = calls.numbering.crm_form(raw);
    (form != ANONYMOUS && !is_internal(calls, &form)).then_some(form)
}

fn is_internal(calls: &Calls, number: &str) -> bool {
    calls.internal.matches(number.as_bytes())
}

/// What came of a question.
pub(super) struct Found {
    /// The number in the CRM's form; empty when the CRM was not asked.
    pub(super) number: String,
    pub(super) contact: Contact,
    pub(super) how: How,
}

/// What is shown of a caller to an operator.
pub(super) struct Told {
    /// Empty when nothing is known.
    pub(super) name: String,
    /// Empty when there is none, or none that `internal` matches.
    pub(super) responsible: String,
    pub(super) status: Status,
}

impl Found {
    pub(super) fn told(&self, internal: &Patterns) -> Told {
        let (name, status) = value(What::Name, &self.contact, self.how, internal);
        let (responsible, other) = value(What::Responsible, &self.contact, self.how, internal);
        Told {
            name,
            responsible,
            status: if status == Status::Miss { other } else { status },
        }
    }
}

/// How long the answer may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// `timeout_ms`.
    Configured,
    /// What is known already serves; what is not may be known the next time.
    None,
}

/// Asks, and waits no longer than that. `None` while the module is disabled.
pub(super) fn find(state: &State, raw: &str, patience: Patience) -> Option<Found> {
    let (settings, contacts) = (state.settings.as_ref()?, state.contacts.as_ref()?);
    Some(match client(&settings.calls, raw) {
        Some(number) => {
            let (contact, how) = match patience {
                Patience::Configured => contacts.ask(&number),
                Patience::None => match contacts.prefetch(&number) {
                    Some(contact) => (contact, How::Fresh),
                    None => (Contact::default(), How::Late),
                },
            };
            Found { number, contact, how }
        }
        None => Found {
            number: String::new(),
            contact: Contact::default(),
            how: How::Fresh,
        },
    })
}

/// Whether calls that are followed want to know their callers, whatever the dialplan does.
fn is_wanted(settings: &Settings) -> bool {
    settings.contact.set_name || settings.calls.missed == Missed::Responsible
}

/// A client with this number, in the CRM's form, calls: the answer may be there before the dialplan asks for it. Gives what is
/// known already, and never waits.
pub(super) fn prefetch(state: &State, number: &str) -> Option<Contact> {
    let (settings, contacts) = (state.settings.as_ref()?, state.contacts.as_ref()?);
    let of_use = contacts.is_used() || (state.calls.is_some() && is_wanted(settings));
    if !of_use || number == ANONYMOUS || is_internal(&settings.calls, number) {
        return None;
    }
    contacts.prefetch(number)
}

/// Takes every answer, on the thread that got it.
pub(super) fn tell(number: &str, contact: &Contact) {
    let Some(state) = state::current() else { return };
    if let (Some(settings), Some(calls)) = (&state.settings, &state.calls)
        && is_wanted(settings)
    {
        calls.knows(number, contact);
    }
}
