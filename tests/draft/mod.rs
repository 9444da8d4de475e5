//! Requests of a call of 101's, for tests of what becomes of them.

use res_planfix::core::direction::Direction;
use res_planfix::core::draft::{Draft, Event, Kind};
use res_planfix::core::recording;

/// The main number, which the client has dialled.
pub(crate) const DIVERSION: &str = "74951234567";

/// The request of that kind. A call ends after five seconds, and was recorded.
pub(crate) fn draft(callid: &str, kind: Kind) -> Draft {
    if kind == Kind::Record {
        return recording::draft(callid, "https://x/1.mp3");
    }
    let event = Event {
        direction: if kind == Kind::Outgoing {
            Direction::Out
        } else {
            Direction::In
        },
        phone: b"79101234567",
        diversion: DIVERSION.as_bytes(),
        ext: b"101",
        callid: callid.as_bytes(),
    };
    let mut form = event.form(kind);
    if kind == Kind::Completed {
        form = form
            .field(b"duration", b"5")
            .field(b"is_recorded", b"1")
            .field(b"status", b"Success");
    }
    event.draft(kind, form)
}
