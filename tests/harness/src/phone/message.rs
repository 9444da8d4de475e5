//! A SIP message as text and back: as much of RFC 3261 as Asterisk uses on a loopback.
//!
//! Invariants: headers keep their order; names are compared in any case, and their compact forms count as the long
//! ones; what is written has a Content-Length that is right.

use std::fmt::Write as _;
use std::str;

/// The compact forms of RFC 3261, section 20, and of REFER (RFC 3515).
const COMPACT: &[(&str, &str)] = &[
    ("i", "Call-ID"),
    ("m", "Contact"),
    ("l", "Content-Length"),
    ("c", "Content-Type"),
    ("f", "From"),
    ("r", "Refer-To"),
    ("t", "To"),
    ("v", "Via"),
];

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// `INVITE sip:101@127.0.0.1 SIP/2.0`
    Request {
        /// The method, in capitals.
        method: String,
        /// The address that is asked.
        uri: String,
    },
    /// `SIP/2.0 180 Ringing`
    Response {
        /// The code.
        code: u16,
        /// The words behind it.
        reason: String,
    },
}

/// A request or a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) start: Start,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Message {
    /// A request without headers.
    pub(crate) fn request(method: &str, uri: &str) -> Self {
        Self {
            start: Start::Request {
                method: method.to_owned(),
                uri: uri.to_owned(),
            },
            headers: Vec::new(),
            body: String::new(),
        }
    }

    /// The response to `request`, with the headers that every response takes over (RFC 3261, section 8.2.6.2). `tag`
    /// marks the To header where the request has none in it.
    pub(crate) fn response(request: &Self, code: u16, tag: &str) -> Self {
        let mut response = Self {
            start: Start::Response {
                code,
                reason: reason(code).to_owned(),
            },
            headers: Vec::new(),
            body: String::new(),
        };
        for (name, value) in &request.headers {
            match name.as_str() {
                "Via" | "Record-Route" | "From" | "Call-ID" | "CSeq" => response.push(name, value),
                "To" if parameter(value, "tag").is_none() && code > 100 => {
                    response.push("To", &format!("{value};tag={tag}"));
                }
                "To" => response.push("To", value),
                _ => {}
            }
        }
        response
    }

    /// Reads a datagram. `None` for what is no SIP, such as the blank lines that keep a path through NAT open.
    pub(crate) fn parse(datagram: &[u8]) -> Option<Self> {
        let text = str::from_utf8(datagram).ok()?;
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let mut lines = head.split("\r\n");
        let first = lines.next()?;
        let start = if let Some(status) = first.strip_prefix("SIP/2.0 ") {
            let (code, reason) = status.split_once(' ').unwrap_or((status, ""));
            Start::Response {
                code: code.parse().ok()?,
                reason: reason.to_owned(),
            }
        } else {
            let mut words = first.split(' ');
            let (method, uri, version) = (words.next()?, words.next()?, words.next()?);
            if version != "SIP/2.0" {
                return None;
            }
            Start::Request {
                method: method.to_owned(),
                uri: uri.to_owned(),
            }
        };
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in lines {
            if line.starts_with([' ', '\t']) {
                // A header goes on in the next line (RFC 3261, section 7.3.1).
                let (_, value) = headers.last_mut()?;
                value.push(' ');
                value.push_str(line.trim());
            } else {
                let (name, value) = line.split_once(':')?;
                headers.push((long_name(name.trim()).to_owned(), value.trim().to_owned()));
            }
        }
        Some(Self {
            start,
            headers,
            body: body.to_owned(),
        })
    }

    /// The text for the wire.
    pub(crate) fn write(&self) -> String {
        let mut text = match &self.start {
            Start::Request { method, uri } => format!("{method} {uri} SIP/2.0\r\n"),
            Start::Response { code, reason } => format!("SIP/2.0 {code} {reason}\r\n"),
        };
        for (name, value) in &self.headers {
            if !name.eq_ignore_ascii_case("Content-Length") {
                let _ = write!(text, "{name}: {value}\r\n");
            }
        }
        let _ = write!(text, "Content-Length: {}\r\n\r\n{}", self.body.len(), self.body);
        text
    }

    /// Adds a header.
    pub(crate) fn push(&mut self, name: &str, value: &str) {
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    /// Adds a body.
    pub(crate) fn carry(&mut self, content: &str, body: &str) {
        self.push("Content-Type", content);
        body.clone_into(&mut self.body);
    }

    /// The first header of that name, empty where there is none.
    pub(crate) fn get(&self, name: &str) -> &str {
        let mut headers = self.headers.iter();
        headers
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map_or("", |(_, value)| value)
    }

    /// All headers of that name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The number and the method of the CSeq header.
    pub(crate) fn sequence(&self) -> Option<(u32, &str)> {
        let (number, method) = self.get("CSeq").split_once(' ')?;
        Some((number.parse().ok()?, method.trim()))
    }

    /// What marks the transaction: the branch of the topmost Via.
    pub(crate) fn branch(&self) -> &str {
        parameter(self.get("Via"), "branch").unwrap_or_default()
    }

    /// One line for a transcript.
    pub(crate) fn summary(&self) -> String {
        let sequence = self.get("CSeq");
        match &self.start {
            Start::Request { method, uri } => format!("{method} {uri} ({sequence}, {})", self.get("Call-ID")),
            Start::Response { code, reason } => {
                format!("{code} {reason} ({sequence}, {})", self.get("Call-ID"))
            }
        }
    }
}

/// The address within `"Name" <sip:101@host;transport=udp>;tag=1` or `sip:101@host`.
pub(crate) fn uri_of(value: &str) -> &str {
    let after_name = value.rfind('"').map_or(value, |quote| &value[quote + 1..]);
    match after_name.split_once('<') {
        Some((_, rest)) => rest.split('>').next().unwrap_or_default(),
        None => after_name.split(';').next().unwrap_or_default().trim(),
    }
}

/// The user part of an address: `101` of `sip:101@127.0.0.1:5060`.
pub(crate) fn user_of(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    rest.split_once('@').map_or("", |(user, _)| user)
}

/// A parameter behind the address of a header, such as its tag. Those within angle brackets belong to the address.
pub(crate) fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let outside = value.rfind('>').map_or(value, |end| &value[end + 1..]);
    outside.split(';').skip(1).find_map(|part| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        key.trim().eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

fn long_name(name: &str) -> &str {
    COMPACT
        .iter()
        .find(|(compact, _)| compact.eq_ignore_ascii_case(name))
        .map_or(name, |(_, long)| long)
}

fn reason(code: u16) -> &'static str {
    match code {
        100 => "Trying",
        180 => "Ringing",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        302 => "Moved Temporarily",
        403 => "Forbidden",
        404 => "Not Found",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        486 => "Busy Here",
        487 => "Request Terminated",
        491 => "Request Pending",
        503 => "Service Unavailable",
        603 => "Decline",
        _ => "Something Else",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &str = "INVITE sip:101@127.0.0.1:6000 SIP/2.0\r\n\
        v: SIP/2.0/UDP 127.0.0.1:5060;rport;branch=z9hG4bKPj1\r\n\
        From: \"O'Hara; <x>\" <sip:79101234567@127.0.0.1>;tag=abc\r\n\
        To: <sip:101@127.0.0.1;line=7>\r\nCall-ID: one\r\nCSeq: 17 INVITE\r\n\
        Subject: first\r\n  second\r\nContent-Length: 4\r\n\r\nv=0\n";

    #[test]
    fn a_request_is_read_and_written_back() {
        let message = Message::parse(INVITE.as_bytes()).unwrap();
        assert_eq!(message.sequence(), Some((17, "INVITE")));
        assert_eq!(message.branch(), "z9hG4bKPj1");
        assert_eq!(message.get("subject"), "first second");
        assert_eq!(uri_of(message.get("From")), "sip:79101234567@127.0.0.1");
        assert_eq!(parameter(message.get("From"), "tag"), Some("abc"));
        assert_eq!(parameter(message.get("To"), "line"), None);
        assert_eq!(user_of(uri_of(message.get("To"))), "101");
        assert_eq!(Message::parse(message.write().as_bytes()), Some(message.clone()));
        assert!(message.write().ends_with("\r\nContent-Length: 4\r\n\r\nv=0\n"));
    }

    #[test]
    fn a_response_takes_over_what_it_must() {
        let request = Message::parse(INVITE.as_bytes()).unwrap();
        let response = Message::response(&request, 486, "own");
        assert!(
            response
                .write()
                .starts_with("SIP/2.0 486 Busy Here\r\nVia: SIP/2.0/UDP")
        );
        assert_eq!(response.get("To"), "<sip:101@127.0.0.1;line=7>;tag=own");
        assert_eq!(response.get("Subject"), "");
        // 100 makes no dialog.
        assert_eq!(
            parameter(Message::response(&request, 100, "own").get("To"), "tag"),
            None
        );
    }

    #[test]
    fn what_is_no_sip_is_nothing() {
        for text in ["\r\n\r\n", "", "GET / HTTP/1.1\r\n\r\n", "SIP/2.0 abc OK\r\n\r\n"] {
            assert_eq!(Message::parse(text.as_bytes()), None, "{text:?}");
        }
    }
}
