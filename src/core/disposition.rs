//! From Asterisk's word for how a call ended to the CRM's.
//!
//! Two tables. `api` gives the statuses of the protocol (planfix-telephony-api, section 2.2). `voxlink` is the table of
//! the article's planfix-end.php, kept to the letter for those who switch over: there, `NO ANSWER` becomes
//! `Cancelled` and `BUSY` becomes `Missed`, and only `ANSWERED`, not `ANSWER`, sends an ACCEPTED first.

use super::direction::Direction;

/// Which table PLANFIX_EVENT uses: `status_map` in planfix.conf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StatusMap {
    /// The protocol's own statuses.
    #[default]
    Api,
    /// The article's table, for inbound calls.
    Voxlink,
}

/// How the end of a call is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The protocol's `status`.
    pub status: &'static str,
    /// Whether ACCEPTED goes before COMPLETED.
    pub accepted: bool,
    /// Whether the word was in the table; an unknown one still ends the call.
    pub known: bool,
}

const INBOUND: [&str; 3] = ["Success", "Missed", "Cancelled"];
const OUTBOUND: [&str; 5] = ["Success", "Busy", "NoAnswer", "NotAvailable", "NotAllowed"];

fn statuses(direction: Direction) -> &'static [&'static str] {
    match direction {
        Direction::In => &INBOUND,
        Direction::Out => &OUTBOUND,
    }
}

/// Whether the word is one of the protocol's own statuses for this direction.
#[must_use]
pub fn is_status(word: &[u8], direction: Direction) -> bool {
    statuses(direction).iter().any(|status| status.as_bytes() == word)
}

/// The ending that `disposition` stands for: a word of `CDR(disposition)`, of `DIALSTATUS`, or one of the protocol's own.
#[must_use]
pub fn ending(disposition: &[u8], direction: Direction, map: StatusMap) -> Ending {
    if map == StatusMap::Voxlink && direction == Direction::In {
        return voxlink(disposition);
    }
    if let Some(status) = statuses(direction)
        .iter()
        .find(|status| status.as_bytes() == disposition)
    {
        return Ending {
            status,
            accepted: *status == "Success",
            known: true,
        };
    }
    let unanswered = |inbound, outbound| Ending {
        status: if direction == Direction::In {
            inbound
        } else {
            outbound
        },
        accepted: false,
        known: true,
    };
    match disposition.to_ascii_uppercase().as_slice() {
        b"ANSWERED" | b"ANSWER" => Ending {
            status: "Success",
            accepted: true,
            known: true,
        },
        b"BUSY" => unanswered("Missed", "Busy"),
        b"" | b"NO ANSWER" | b"NOANSWER" | b"CANCEL" => unanswered("Missed", "NoAnswer"),
        b"FAILED" | b"CONGESTION" | b"CHANUNAVAIL" => unanswered("Missed", "NotAvailable"),
        // FreePBX and privacy options of Dial() refuse a call in these words.
        b"DONTCALL" | b"TORTURE" | b"INVALIDARGS" => unanswered("Missed", "NotAllowed"),
        _ => Ending {
            known: false,
            ..unanswered("Missed", "NoAnswer")
        },
    }
}

/// planfix-end.php, its `switch` and its `if`. `empty()` in PHP holds for "0" as well.
fn voxlink(disposition: &[u8]) -> Ending {
    let (status, accepted, known) = match disposition {
        b"ANSWERED" => ("Success", true, true),
        b"ANSWER" => ("Success", false, true),
        b"NO ANSWER" => ("Cancelled", false, true),
        b"BUSY" | b"" | b"0" => ("Missed", false, true),
        b"FAILED" | b"CONGESTION" | b"NOANSWER" | b"CANCEL" | b"CHANUNAVAIL" | b"Cancelled" => {
            ("Cancelled", false, true)
        }
        _ => ("Cancelled", false, false),
    };
    Ending {
        status,
        accepted,
        known,
    }
}

#[cfg(test)]
mod tests {
    use super::{StatusMap, ending};
    use crate::core::direction::Direction::{In, Out};

    #[test]
    fn the_protocols_statuses() {
        for (word, inbound, outbound) in [
            ("ANSWERED", "Success", "Success"),
            ("ANSWER", "Success", "Success"),
            ("NO ANSWER", "Missed", "NoAnswer"),
            ("NOANSWER", "Missed", "NoAnswer"),
            ("CANCEL", "Missed", "NoAnswer"),
            ("BUSY", "Missed", "Busy"),
            ("CHANUNAVAIL", "Missed", "NotAvailable"),
            ("CONGESTION", "Missed", "NotAvailable"),
            ("FAILED", "Missed", "NotAvailable"),
            ("DONTCALL", "Missed", "NotAllowed"),
            ("", "Missed", "NoAnswer"),
        ] {
            let (i, o) = (
                ending(word.as_bytes(), In, StatusMap::Api),
                ending(word.as_bytes(), Out, StatusMap::Api),
            );
            assert_eq!((i.status, o.status), (inbound, outbound), "{word}");
            assert!(i.known && o.known, "{word}");
            assert_eq!(i.accepted, inbound == "Success", "{word}");
        }
        assert_eq!(ending(b"Cancelled", In, StatusMap::Api).status, "Cancelled");
        assert_eq!(ending(b"NotAllowed", Out, StatusMap::Api).status, "NotAllowed");
        // The same word for the other direction is not the protocol's.
        assert!(!ending(b"Cancelled", Out, StatusMap::Api).known);
        assert!(!ending(b"gibberish", In, StatusMap::Api).known);
    }

    #[test]
    fn the_articles_table() {
        for (word, status, accepted) in [
            ("ANSWERED", "Success", true),
            ("ANSWER", "Success", false),
            ("NO ANSWER", "Cancelled", false),
            ("BUSY", "Missed", false),
            ("FAILED", "Cancelled", false),
            ("CONGESTION", "Cancelled", false),
            ("", "Missed", false),
            ("0", "Missed", false),
            ("gibberish", "Cancelled", false),
            ("answered", "Cancelled", false),
        ] {
            let ending = ending(word.as_bytes(), In, StatusMap::Voxlink);
            assert_eq!((ending.status, ending.accepted), (status, accepted), "{word}");
        }
        // The scripts know no outbound call: the protocol's table serves there.
        assert_eq!(ending(b"BUSY", Out, StatusMap::Voxlink).status, "Busy");
    }
}
