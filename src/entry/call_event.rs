//! The AMI event PlanfixCall: what the CRM is going to be told, as soon as it is accepted.
//!
//! Invariant: no lock of ours is held here, because Asterisk takes its own.

use crate::ast::manager::{Authority, event};
use crate::core::draft::{Draft, Kind};

/// AMI's header, the request's field.
const HEADERS: [(&str, &str); 3] = [("Type", "type"), ("Phone", "phone"), ("Diversion", "diversion")];
/// Those that only the end of a call has.
const AT_THE_END: [(&str, &str); 2] = [("Status", "status"), ("Duration", "duration")];

/// Tells of requests that the spool has accepted.
pub(super) fn tell(drafts: &[Draft]) {
    for draft in drafts {
        let more = if draft.kind == Kind::Completed {
            &AT_THE_END[..]
        } else {
            &[]
        };
        let values: Vec<(&str, String)> = HEADERS
            .iter()
            .chain(more)
            .map(|(header, field)| (*header, draft.field(field)))
            .collect();
        let mut headers = vec![
            ("PlanfixEvent", draft.kind.word()),
            ("CallId", &draft.callid),
            ("Exten", &draft.ext),
        ];
        headers.extend(values.iter().map(|(header, value)| (*header, value.as_str())));
        event(Authority::CALL, "PlanfixCall", &headers);
    }
}
