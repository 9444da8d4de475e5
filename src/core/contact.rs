//! What the CRM says of a caller: his name, and the employee who is responsible for him (protocol, section 2.1).
//!
//! Invariants:
//! - the answer comes from outside and goes into caller IDs and dial strings: a name has no control character and a
//!   bounded length, and a responsible is digits alone, which mean nothing but themselves in a dialplan;
//! - a responsible is told only while he matches `internal`: a number that the PBX does not have must not be dialled;
//! - whatever is missing or of another kind than the protocol says is blank, and never a reason to fail.

use std::fmt;
use std::time::SystemTime;

use serde_json::Value;

use super::pattern::Patterns;
use super::reply::{Reply, Trouble};

pub mod book;
pub mod breaker;

/// Characters of a name: phones show some 30.
const LONGEST_NAME: usize = 80;
/// Digits of an internal number.
const LONGEST_EXT: usize = 20;

/// What the CRM knows of a caller. Nothing at all: it does not know him.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contact {
    /// His name; empty when the CRM gave none.
    name: Box<str>,
    /// The employee's number; empty when the CRM gave none.
    responsible: Box<str>,
}

impl Contact {
    /// From what the CRM says, cleaned.
    #[must_use]
    pub fn new(name: &str, responsible: &str) -> Self {
        let responsible = responsible.trim();
        let is_number =
            responsible.len() <= LONGEST_EXT && responsible.bytes().all(|byte| byte.is_ascii_digit());
        Self {
            name: clean(name).into(),
            responsible: if is_number {
                responsible.into()
            } else {
                Box::default()
            },
        }
    }

    /// Reads the answer to `contact`. An unknown caller is `{}`, `[]`, `null` or nothing (the page shows none of them,
    /// section 2.1).
    ///
    /// # Errors
    /// When the CRM did not answer the question.
    pub fn read(reply: &Reply, now: SystemTime) -> Result<Self, Trouble> {
        reply.acknowledged(now)?;
        if reply.body.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        match serde_json::from_slice(&reply.body) {
            Ok(Value::Null) => Ok(Self::default()),
            Ok(Value::Array(list)) if list.is_empty() => Ok(Self::default()),
            Ok(Value::Object(fields)) => {
                let text = |name: &str| match fields.get(name) {
                    Some(Value::String(text)) => text.clone(),
                    // The page's example shows a bare number for the responsible.
                    Some(Value::Number(number)) => number.to_string(),
                    _ => String::new(),
                };
                Ok(Self::new(&text("contact_name"), &text("responsible")))
            }
            _ => Err(Trouble::Foreign(
                "'contact' was answered with something else than contact_name and responsible".to_owned(),
            )),
        }
    }

    /// Whether the CRM does not know the caller.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.name.is_empty() && self.responsible.is_empty()
    }

    /// The caller's name; empty when there is none.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The responsible employee's number, if it is one of the PBX's.
    #[must_use]
    pub fn responsible(&self, internal: &Patterns) -> Option<&str> {
        let ext = Some(&*self.responsible).filter(|ext| !ext.is_empty());
        ext.filter(|ext| internal.matches(ext.as_bytes()))
    }

    /// The number as the CRM gave it, for a person to look at.
    #[must_use]
    pub fn responsible_in_the_crm(&self) -> &str {
        &self.responsible
    }

    /// How much it occupies beside itself.
    fn bytes(&self) -> usize {
        self.name.len() + self.responsible.len()
    }
}

/// The text on one line: no control characters, none that turn the direction of what is around them, and no blanks in a
/// row.
fn clean(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    let mut out = String::new();
    let mut length = 0;
    let mut gap = false;
    for c in text.chars() {
        if c.is_control() || c.is_whitespace() {
            gap = true;
            continue;
        }
        if turns(c) {
            continue;
        }
        if gap && !out.is_empty() {
            out.push(' ');
            length += 1;
        }
        gap = false;
        if length >= LONGEST_NAME {
            break;
        }
        out.push(c);
        length += 1;
    }
    out.truncate(out.trim_end().len());
    out
}

/// What the dialplan wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The caller's name.
    Name,
    /// The employee's number.
    Responsible,
}

impl What {
    /// Reads the word of the dialplan.
    ///
    /// # Errors
    /// The end of a sentence that begins with the argument.
    pub fn parse(word: &str) -> Result<Self, String> {
        match word.trim().to_ascii_lowercase().as_str() {
            "name" => Ok(Self::Name),
            "responsible" => Ok(Self::Responsible),
            "" => Err("is missing: expected name or responsible".to_owned()),
            _ => Err(format!(
                "'{}' is unknown: expected name or responsible",
                word.trim()
            )),
        }
    }
}

/// How an answer was come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// From the CRM, now or not long ago.
    Fresh,
    /// From the CRM, longer ago than it is good for: there is no newer one.
    Stale,
    /// There is none: it did not come in time.
    Late,
    /// There is none: the CRM cannot be asked, or did not answer the question.
    Failed,
}

/// PLANFIX_CONTACT_STATUS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The CRM's answer.
    Hit,
    /// An answer from before, because the CRM does not answer now.
    Stale,
    /// The CRM knows no such caller, or not this of him.
    Miss,
    /// The CRM did not answer in time, and nothing is known from before.
    Timeout,
    /// The CRM could not be asked, and nothing is known from before.
    Error,
}

impl Status {
    /// The word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Hit => "HIT",
            Self::Stale => "STALE",
            Self::Miss => "MISS",
            Self::Timeout => "TIMEOUT",
            Self::Error => "ERROR",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What the dialplan is given: a value exactly with [`Status::Hit`] and [`Status::Stale`].
#[must_use]
pub fn value(what: What, contact: &Contact, how: How, internal: &Patterns) -> (String, Status) {
    let value = match what {
        What::Name => contact.name(),
        What::Responsible => contact.responsible(internal).unwrap_or_default(),
    };
    let status = match (how, value) {
        (How::Late, _) => Status::Timeout,
        (How::Failed, _) => Status::Error,
        (_, "") => Status::Miss,
        (How::Fresh, _) => Status::Hit,
        (How::Stale, _) => Status::Stale,
    };
    let told = matches!(status, Status::Hit | Status::Stale);
    (if told { value.to_owned() } else { String::new() }, status)
}

#[cfg(test)]
mod tests {
    use super::{Contact, How, Status, What, value};
    use crate::core::pattern::Patterns;
    use crate::core::reply::{Reply, Trouble};
    use std::time::SystemTime;

    fn read(status: u16, body: &str) -> Result<Contact, Trouble> {
        let reply = Reply {
            status,
            retry_after: None,
            body: body.as_bytes().to_vec(),
        };
        Contact::read(&reply, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn a_known_caller_has_a_name_and_a_responsible_in_either_form() {
        let known = Contact::new("Иван Петров", "103");
        for body in [
            r#"{"contact_name":"Иван Петров","responsible":103}"#,
            r#"{"contact_name":"Иван Петров","responsible":"103"}"#,
            r#" {"responsible":" 103 ","contact_name":" Иван  Петров\n","more":[1]}"#,
        ] {
            assert_eq!(read(200, body).unwrap(), known, "{body}");
        }
        assert_eq!(
            read(200, r#"{"contact_name":"Иван"}"#).unwrap(),
            Contact::new("Иван", "")
        );
        assert_eq!(
            read(200, r#"{"responsible":103}"#).unwrap(),
            Contact::new("", "103")
        );
    }

    #[test]
    fn an_unknown_caller_is_an_answer() {
        for body in [
            "",
            "\r\n",
            "{}",
            "[]",
            "null",
            r#"{"contact_name":null,"responsible":null}"#,
        ] {
            assert!(read(200, body).unwrap().is_unknown(), "{body:?}");
        }
    }

    #[test]
    fn what_is_no_answer_is_trouble() {
        for body in [
            "<html>",
            r#""Ivan""#,
            "103",
            r#"[{"contact_name":"Ivan"}]"#,
            "true",
            "{",
        ] {
            assert!(matches!(read(200, body), Err(Trouble::Foreign(_))), "{body}");
        }
        assert_eq!(read(401, ""), Err(Trouble::Token));
        assert_eq!(read(200, r#"{"error":"Invalid token"}"#), Err(Trouble::Token));
        assert_eq!(read(500, ""), Err(Trouble::Server(500)));
    }

    #[test]
    fn a_responsible_is_digits_alone() {
        for wrong in [
            "103&SIP/900",
            "103,20",
            "103@x",
            "1-3",
            "${EXTEN}",
            "s",
            "+103",
            "1 03",
            "103\n",
            "١٠٣",
            "*21*1",
            "1e3",
            "-103",
            "123456789012345678901",
            "PJSIP/103",
            "103|",
            "103/1",
        ] {
            let body = serde_json::json!({ "responsible": wrong }).to_string();
            let contact = read(200, &body).unwrap();
            let shown = contact.responsible_in_the_crm();
            assert!(
                shown.is_empty() || shown == wrong.trim(),
                "{wrong:?} became {shown:?}"
            );
            assert!(
                shown.bytes().all(|byte| byte.is_ascii_digit()),
                "{wrong:?} became {shown:?}"
            );
        }
        for body in [
            r#"{"responsible":-3}"#,
            r#"{"responsible":10.5}"#,
            r#"{"responsible":[103]}"#,
            r#"{"responsible":{}}"#,
        ] {
            assert!(read(200, body).unwrap().is_unknown(), "{body}");
        }
    }

    #[test]
    fn a_responsible_is_one_of_the_pbxs_numbers() {
        let internal = Patterns::parse("_1XX").unwrap();
        assert_eq!(Contact::new("", "103").responsible(&internal), Some("103"));
        for other in ["203", "1034", ""] {
            assert_eq!(Contact::new("", other).responsible(&internal), None, "{other}");
        }
        let anything = Patterns::parse("_!").unwrap();
        assert_eq!(Contact::default().responsible(&anything), None);
    }

    #[test]
    fn a_name_is_one_short_clean_line() {
        for (raw, name) in [
            ("  ООО \"Ромашка\",\tотдел\r\n1 ", "ООО \"Ромашка\", отдел 1"),
            ("a\u{0}b\u{1b}[1mc", "a b [1mc"),
            ("a\u{202e}b\u{feff}", "ab"),
            ("${SHELL(id)}", "${SHELL(id)}"),
            (" \n ", ""),
        ] {
            assert_eq!(Contact::new(raw, "").name(), name, "{raw:?}");
        }
        for long in ["Я".repeat(1_000), "ab ".repeat(1_000), "😀 ".repeat(500)] {
            let name = Contact::new(&long, "").name().to_owned();
            assert!(
                name.chars().count() <= 80 && name.chars().count() >= 79,
                "{}",
                name.chars().count()
            );
            assert_eq!(name.trim(), name);
        }
    }

    #[test]
    fn the_status_says_where_the_value_comes_from() {
        let internal = Patterns::parse("_1XX").unwrap();
        let known = Contact::new("Иван", "103");
        let cases = [
            (What::Name, &known, How::Fresh, "Иван", Status::Hit),
            (What::Name, &known, How::Stale, "Иван", Status::Stale),
            (What::Responsible, &known, How::Fresh, "103", Status::Hit),
            (
                What::Responsible,
                &Contact::new("Иван", "903"),
                How::Fresh,
                "",
                Status::Miss,
            ),
            (What::Name, &Contact::new("", "103"), How::Stale, "", Status::Miss),
            (What::Name, &Contact::default(), How::Fresh, "", Status::Miss),
            (What::Name, &Contact::default(), How::Late, "", Status::Timeout),
            (What::Name, &known, How::Failed, "", Status::Error),
        ];
        for (what, contact, how, text, status) in cases {
            let told = value(what, contact, how, &internal);
            assert_eq!(
                told,
                (text.to_owned(), status),
                "{what:?} of {contact:?}, {how:?}"
            );
        }
    }

    #[test]
    fn the_argument_is_named_when_it_is_wrong() {
        assert_eq!(What::parse(" Responsible "), Ok(What::Responsible));
        assert_eq!(What::parse("name"), Ok(What::Name));
        assert_eq!(
            What::parse("").unwrap_err(),
            "is missing: expected name or responsible"
        );
        assert_eq!(
            What::parse("phone").unwrap_err(),
            "'phone' is unknown: expected name or responsible"
        );
    }
}
