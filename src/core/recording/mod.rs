//! Recordings of calls: where they lie, what is in them, and which one is converted when.
//!
//! Invariant: everything here decides and nothing here touches a file; `delivery::recordings` does what is decided.

pub mod mp3;
pub mod pcm;
pub mod place;
pub mod queue;

use super::draft::{Draft, Form, Kind};

/// What becomes known of a call's recordings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// There is one.
    Recorded {
        /// The call.
        callid: String,
        /// What the dialplan says of its place.
        said: String,
        /// When it began: milliseconds since 1970.
        at: u64,
    },
    /// The call is over, and nobody goes on with its files.
    Over {
        /// The call.
        callid: String,
    },
}

/// The request that brings a recording's link after the call's end.
#[must_use]
pub fn draft(callid: &str, link: &str) -> Draft {
    Draft {
        callid: callid.to_owned(),
        kind: Kind::Record,
        ext: String::new(),
        body: Form::command("record")
            .field(b"callid", callid.as_bytes())
            .field(b"record_link", link.as_bytes())
            .finish(),
    }
}

/// Whether this is the end of a call whose recording is promised and has no link yet.
#[must_use]
pub fn promises(draft: &Draft) -> bool {
    draft.kind == Kind::Completed
        && draft.field("is_recorded") == "1"
        && draft.field("record_link").is_empty()
}

/// Whether this is the end of a talk that promises no recording.
#[must_use]
pub fn denies(draft: &Draft) -> bool {
    draft.kind == Kind::Completed && draft.field("is_recorded") == "0" && draft.field("status") == "Success"
}

/// The body of a call's end that promises its recording after all.
#[must_use]
pub fn promising(body: &str) -> String {
    let pairs = body.split('&').map(|pair| match pair {
        "is_recorded=0" => "is_recorded=1",
        pair => pair,
    });
    pairs.collect::<Vec<_>>().join("&")
}

/// The body of a call's end with the link in it. Fields come in any order (protocol, section 2.2).
#[must_use]
pub fn with_link(body: &str, link: &str) -> String {
    let kept = body.split('&').filter(|pair| !pair.starts_with("record_link="));
    let kept: Vec<&str> = kept.collect();
    let link: String = form_urlencoded::byte_serialize(link.as_bytes()).collect();
    format!("{}&record_link={link}", kept.join("&"))
}

#[cfg(test)]
mod tests {
    use super::{denies, draft, promises, promising, with_link};
    use crate::core::draft::{Draft, Kind};

    #[test]
    fn a_promise_is_kept_by_a_link_or_by_a_request() {
        let end = |rest: &str| Draft {
            callid: "1.2".to_owned(),
            kind: Kind::Completed,
            ext: "101".to_owned(),
            body: format!("cmd=event&event=COMPLETED&{rest}"),
        };
        assert!(promises(&end("is_recorded=1&status=Success")));
        assert!(promises(&end("is_recorded=1&record_link=")));
        assert!(!promises(&end("is_recorded=0")));
        let denied = end("is_recorded=0&status=Success&data_x=is_recorded%3D0");
        assert!(denies(&denied) && !denies(&end("is_recorded=0&status=Missed")));
        assert_eq!(
            promising(&denied.body),
            "cmd=event&event=COMPLETED&is_recorded=1&status=Success&data_x=is_recorded%3D0"
        );
        let body = with_link(
            &end("is_recorded=1&record_link=&data_x=1").body,
            "https://pbx/a b.mp3",
        );
        assert_eq!(
            body,
            "cmd=event&event=COMPLETED&is_recorded=1&data_x=1&record_link=https%3A%2F%2Fpbx%2Fa+b.mp3"
        );
        let told = draft("1.2", "https://pbx/a.mp3");
        assert_eq!(
            told.body,
            "cmd=record&callid=1.2&record_link=https%3A%2F%2Fpbx%2Fa.mp3"
        );
        assert!(!promises(&told));
    }
}
