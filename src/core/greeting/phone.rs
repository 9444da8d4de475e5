//! Who speaks at a phone, and who was called at one.
//!
//! Invariant: a phone is an operator's own only by the name that the PBX has given to its endpoint. A number is what the caller
//! says of himself; it counts where the administrator wants that, and never on a trunk.

use crate::core::record::{endpoint, technology};
use crate::core::settings::OwnPhone;
use crate::core::trunks::Trunks;

/// What is known of a channel.
#[derive(Clone, Copy, Debug)]
pub struct Phone<'a> {
    /// Such as `PJSIP/101-00000001`.
    pub name: &'a str,
    /// The caller's number; empty when there is none.
    pub number: &'a str,
}

/// Technologies whose endpoints have the names that the administrator gave them. A DAHDI channel has the number of a line, a
/// Local channel that of whoever it calls.
const NAMED: [&str; 4] = ["PJSIP", "SIP", "IAX2", "SCCP"];

impl Phone<'_> {
    /// The endpoint; empty for what is no phone.
    #[must_use]
    pub fn endpoint(&self, trunks: &Trunks) -> &str {
        let (technology, endpoint) = (technology(self.name), endpoint(self.name));
        let is_named = NAMED.iter().any(|named| named.eq_ignore_ascii_case(technology));
        if is_named && !trunks.matches(technology, endpoint) {
            endpoint
        } else {
            ""
        }
    }

    /// Whether it is the phone of the operator with this number. Which tenant's it is cannot be seen.
    #[must_use]
    pub fn is_own(&self, ext: &str, tenant: &str, by: OwnPhone, trunks: &Trunks) -> bool {
        let is_trunk = trunks.matches(technology(self.name), endpoint(self.name));
        let by_number = by == OwnPhone::Caller && !is_trunk && self.number == ext;
        let by_endpoint = by != OwnPhone::No && self.endpoint(trunks) == ext;
        tenant.is_empty() && (by_endpoint || by_number)
    }
}

/// The extension in DIALEDPEERNUMBER, which is what Dial was given after the technology: `101`, `101@context`,
/// `101/sip:101@10.0.0.7:5060`.
#[must_use]
pub fn dialed_ext(peer: &[u8]) -> &[u8] {
    let end = peer.iter().position(|byte| matches!(byte, b'@' | b'/'));
    &peer[..end.unwrap_or(peer.len())]
}

#[cfg(test)]
mod tests {
    use super::{Phone, dialed_ext};
    use crate::core::settings::OwnPhone;
    use crate::core::trunks::Trunks;

    #[test]
    fn a_phone_is_known_by_its_endpoint() {
        let trunks = Trunks::parse("PJSIP/provider,PJSIP/199").unwrap();
        for (name, number, by_endpoint, by_caller) in [
            ("PJSIP/101-00000001", "101", true, true),
            ("PJSIP/101-00000001", "", true, true),
            ("sip/101-00000001", "555", true, true),
            ("PJSIP/102-00000001", "101", false, true),
            // What a client shows as his number.
            ("PJSIP/provider-00000001", "101", false, false),
            ("PJSIP/199-00000001", "101", false, false),
            ("Local/101@from-internal-00000001;1", "102", false, false),
            ("Local/101-00000001;1", "", false, false),
            ("DAHDI/101-1", "84951234567", false, false),
            ("AsyncGoto/PJSIP/101-00000001", "", false, false),
            ("PJSIP/1011-00000001", "", false, false),
            ("PJSIP/101-00000001-00000002", "", false, false),
            ("", "", false, false),
            ("101", "", false, false),
        ] {
            let phone = Phone { name, number };
            for (by, is_own) in [
                (OwnPhone::Endpoint, by_endpoint),
                (OwnPhone::Caller, by_caller),
                (OwnPhone::No, false),
            ] {
                assert_eq!(
                    phone.is_own("101", "", by, &trunks),
                    is_own,
                    "{name} {number} {by:?}"
                );
                assert!(
                    !phone.is_own("101", "office", by, &trunks),
                    "a tenant's: {name} {number}"
                );
            }
        }
    }

    #[test]
    fn who_was_called_is_found() {
        for (peer, ext) in [
            ("101", "101"),
            ("101@from-internal", "101"),
            ("101/sip:101@10.0.0.7:5060", "101"),
            ("provider/84951234567", "provider"),
            ("", ""),
        ] {
            assert_eq!(dialed_ext(peer.as_bytes()), ext.as_bytes(), "{peer}");
        }
    }
}
