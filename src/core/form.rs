//! What a form sends: `application/x-www-form-urlencoded`, as Planfix speaks in both directions (protocol section 1).
//!
//! Invariant: a name stands once. Two parsers must not be able to read two different numbers out of one body.

/// Planfix sends five fields at most.
const MOST_FIELDS: usize = 32;

/// The fields of a form.
#[derive(Clone, PartialEq, Eq)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Reads a body. `None` when a name is doubled or there are more fields than anybody sends.
    ///
    /// What is not UTF-8 becomes U+FFFD, which no field of ours allows.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let mut fields: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(body) {
            if fields.len() == MOST_FIELDS || fields.iter().any(|(known, _)| **known == *name) {
                return None;
            }
            fields.push((name.into_owned(), value.into_owned()));
        }
        Some(Self(fields))
    }

    /// The value of that name; empty where there is none.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.0
            .iter()
            .find_map(|(known, value)| (known == name).then_some(value.as_str()))
            .unwrap_or_default()
    }
}

/// Whether a `Content-Type` says that the body is a form. Parameters, such as a charset, do not matter.
#[must_use]
pub fn is_form(content_type: &[u8]) -> bool {
    let essence = content_type
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default();
    essence
        .trim_ascii()
        .eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
}

#[cfg(test)]
mod tests {
    use super::{Form, is_form};

    #[test]
    fn fields_are_decoded() {
        let form = Form::parse(b"cmd=makeCall&from=101&to=%2B7+916&empty=&name").unwrap();
        assert_eq!(form.get("cmd"), "makeCall");
        assert_eq!(form.get("to"), "+7 916");
        assert_eq!(
            (form.get("empty"), form.get("name"), form.get("token")),
            ("", "", "")
        );
        assert_eq!(Form::parse(b"to=%ff").unwrap().get("to"), "\u{fffd}");
        assert!(Form::parse(b"").is_some());
    }

    #[test]
    fn a_name_that_stands_twice_is_no_form() {
        assert!(Form::parse(b"to=1&to=2").is_none());
        assert!(Form::parse(b"to=1&%74o=2").is_none());
        let many: String = (0..33).map(|at| format!("a{at}=&")).collect();
        assert!(Form::parse(many.as_bytes()).is_none());
    }

    #[test]
    fn only_the_type_of_forms_is_one() {
        assert!(is_form(b"application/x-www-form-urlencoded"));
        assert!(is_form(b"Application/X-WWW-Form-Urlencoded ; charset=UTF-8"));
        for other in [
            &b""[..],
            b"application/json",
            b"multipart/form-data; boundary=x",
            b"text/plain",
        ] {
            assert!(!is_form(other));
        }
    }
}
