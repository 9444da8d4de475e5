//! One request to the CRM, as the spool keeps it.
//!
//! Invariants:
//! - `body` is the form-encoded request without the token: ASCII, whatever bytes the values hold, so that the spool is
//!   readable with `sqlite3` and a token that changes needs no rewriting;
//! - `callid` is what orders requests: two drafts of one `callid` are never under way together.

use std::borrow::Cow;
use std::fmt;

use super::direction::Direction;

/// What a request tells the CRM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An inbound call rings at an extension.
    Incoming,
    /// An outbound call has started.
    Outgoing,
    /// The call was taken.
    Accepted,
    /// The call is over for an extension.
    Completed,
    /// The recording's link, later than COMPLETED.
    Record,
}

impl Kind {
    /// Every kind, in the protocol's order.
    pub const ALL: [Self; 5] = [
        Self::Incoming,
        Self::Outgoing,
        Self::Accepted,
        Self::Completed,
        Self::Record,
    ];

    /// The word that the spool and the operator see; for events the protocol's own.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Incoming => "INCOMING",
            Self::Outgoing => "OUTGOING",
            Self::Accepted => "ACCEPTED",
            Self::Completed => "COMPLETED",
            Self::Record => "RECORD",
        }
    }

    /// The kind of a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// Whether the request only matters while the call is fresh: it opens or changes a card on a screen.
    #[must_use]
    pub fn is_popup(self) -> bool {
        matches!(self, Self::Incoming | Self::Outgoing | Self::Accepted)
    }

    /// Whether the request opens a card.
    #[must_use]
    pub fn opens(self) -> bool {
        matches!(self, Self::Incoming | Self::Outgoing)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A request that waits for the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The call, as text for people and for ordering; the exact bytes stand in `body`.
    pub callid: String,
    /// What it tells.
    pub kind: Kind,
    /// The employee's number; empty for RECORD.
    pub ext: String,
    /// The form, without the token.
    pub body: String,
}

impl Draft {
    /// Puts this popup before its card's end, where that waits already; says whether it does. An end that goes alone would close
    /// what was never shown.
    pub fn joins_its_end<'w>(&self, waiting: impl IntoIterator<Item = &'w mut Vec<Self>>) -> bool {
        let closes = |draft: &Self| {
            draft.kind == Kind::Completed && draft.ext == self.ext && draft.callid == self.callid
        };
        for drafts in waiting {
            if let Some(place) = drafts.iter().position(closes) {
                drafts.insert(place, self.clone());
                return true;
            }
        }
        false
    }

    /// The form's fields, in order; what is not UTF-8 in them is U+FFFD.
    pub fn fields(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        form_urlencoded::parse(self.body.as_bytes())
    }

    /// A field's value; empty where there is none.
    #[must_use]
    pub fn field(&self, name: &str) -> String {
        let found = self.fields().find(|(known, _)| known == name);
        found.map(|(_, value)| value.into_owned()).unwrap_or_default()
    }
}

/// What every event says of a call and an employee.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// In or out.
    pub direction: Direction,
    /// The client's number.
    pub phone: &'a [u8],
    /// The company's number.
    pub diversion: &'a [u8],
    /// The employee's number.
    pub ext: &'a [u8],
    /// The CRM's key.
    pub callid: &'a [u8],
}

impl Event<'_> {
    /// The fields that every event has, in the order in which the article's scripts send them.
    #[must_use]
    pub fn form(&self, kind: Kind) -> Form {
        Form::command("event")
            .field(b"type", self.direction.word().as_bytes())
            .field(b"event", kind.word().as_bytes())
            .field(b"phone", self.phone)
            .field(b"diversion", self.diversion)
            .field(b"ext", self.ext)
            .field(b"callid", self.callid)
    }

    /// The request with this form.
    #[must_use]
    pub fn draft(&self, kind: Kind, form: Form) -> Draft {
        Draft {
            callid: String::from_utf8_lossy(self.callid).into_owned(),
            kind,
            ext: String::from_utf8_lossy(self.ext).into_owned(),
            body: form.finish(),
        }
    }
}

/// Writes a form field by field, in order.
#[derive(Debug)]
pub struct Form(String);

impl Form {
    /// A form that begins with `cmd`.
    #[must_use]
    pub fn command(cmd: &str) -> Self {
        let mut form = Self(String::with_capacity(256));
        form.0.push_str("cmd=");
        form.0.push_str(cmd);
        form
    }

    /// Adds a field; the name and the value may hold any bytes.
    #[must_use]
    pub fn field(mut self, name: &[u8], value: &[u8]) -> Self {
        self.0.push('&');
        self.0.extend(form_urlencoded::byte_serialize(name));
        self.0.push('=');
        self.0.extend(form_urlencoded::byte_serialize(value));
        self
    }

    /// The encoded text.
    #[must_use]
    pub fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::{Draft, Form, Kind};

    #[test]
    fn a_popup_that_found_no_room_goes_before_the_end_of_its_card() {
        let draft = |kind, callid: &str, ext: &str| Draft {
            callid: callid.to_owned(),
            kind,
            ext: ext.to_owned(),
            body: String::new(),
        };
        let mut waiting = vec![
            vec![draft(Kind::Incoming, "1.1", "102")],
            vec![draft(Kind::Completed, "2.1", "101")],
            vec![
                draft(Kind::Completed, "1.1", "102"),
                draft(Kind::Completed, "1.1", "101"),
            ],
        ];
        for kind in [Kind::Incoming, Kind::Accepted] {
            assert!(draft(kind, "1.1", "101").joins_its_end(&mut waiting));
        }
        assert!(!draft(Kind::Incoming, "1.1", "103").joins_its_end(&mut waiting));
        let last: Vec<(Kind, &str)> = waiting[2]
            .iter()
            .map(|draft| (draft.kind, draft.ext.as_str()))
            .collect();
        assert_eq!(
            last,
            [
                (Kind::Completed, "102"),
                (Kind::Incoming, "101"),
                (Kind::Accepted, "101"),
                (Kind::Completed, "101"),
            ]
        );
        assert_eq!((waiting[0].len(), waiting[1].len()), (1, 1));
    }

    #[test]
    fn encodes_every_byte_exactly() {
        for (value, encoded) in [
            (&b"7 910"[..], "7+910"),
            ("Привет".as_bytes(), "%D0%9F%D1%80%D0%B8%D0%B2%D0%B5%D1%82"),
            (b"+7&a=b%c", "%2B7%26a%3Db%25c"),
            ("😀".as_bytes(), "%F0%9F%98%80"),
            (b"\xff\xd0", "%FF%D0"),
            (b"%s\n\"'<>", "%25s%0A%22%27%3C%3E"),
            (b"-._*", "-._*"),
        ] {
            assert_eq!(
                Form::command("event").field(b"v", value).finish(),
                format!("cmd=event&v={encoded}")
            );
        }
        assert_eq!(
            Form::command("event").field("data_имя".as_bytes(), b"1").finish(),
            "cmd=event&data_%D0%B8%D0%BC%D1%8F=1"
        );
    }

    #[test]
    fn words_round_trip() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_word(kind.word()), Some(kind));
        }
        assert_eq!(Kind::from_word("incoming"), None);
    }
}
