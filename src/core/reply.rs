//! What the CRM's answer means, and what follows from it.
//!
//! Invariants:
//! - only a 200 that looks like Planfix's own acknowledges: an empty body or JSON (planfix-telephony-api, sections 1
//!   and 2.2); a page of HTML with 200 is some other server and acknowledges nothing;
//! - the policy lies in the error: whoever holds a [`Trouble`] asks it what to do.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

/// Why a request is not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No connection, no name, no answer in time, or it broke: the text of the transport.
    Network(String),
    /// The server's certificate was not accepted, or TLS failed otherwise.
    Tls(String),
    /// The server is busy (429) or asks to come back later.
    Busy {
        /// The HTTP status.
        status: u16,
        /// From Retry-After.
        after: Option<Duration>,
    },
    /// The server failed (5xx): the HTTP status.
    Server(u16),
    /// The answer is not the CRM's: HTML, too long, malformed.
    Foreign(String),
    /// The CRM does not accept the token (401).
    Token,
    /// The address is wrong: a redirect, 403, 404, 405.
    Address(u16),
    /// The CRM does not accept this request (400): its words.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The CRM's `error`, if it gave one.
        error: String,
    },
}

/// What follows from a [`Trouble`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The CRM is out of reach: every call waits, one request probes.
    Wait(Option<Duration>),
    /// This call waits and tries again; the others go on unless it happens to them too.
    Retry,
    /// The configuration is wrong: stop, re-check slowly, go on after a reload.
    Stop,
    /// This request will never be accepted: to the failed list.
    Fail,
}

impl Trouble {
    /// What to do about it.
    #[must_use]
    pub fn policy(&self) -> Policy {
        match self {
            Self::Network(_) | Self::Tls(_) => Policy::Wait(None),
            Self::Busy { after, .. } => Policy::Wait(*after),
            Self::Server(_) | Self::Foreign(_) => Policy::Retry,
            Self::Token | Self::Address(_) => Policy::Stop,
            Self::Refused { .. } => Policy::Fail,
        }
    }

    /// What the operator can do about it.
    #[must_use]
    pub fn cure(&self) -> &'static str {
        match self {
            Self::Network(_) => "check the network and 'url' in planfix.conf",
            Self::Tls(_) => "check the clock, the system's CA certificates and 'tls_ca_file' in planfix.conf",
            Self::Busy { .. } | Self::Server(_) => "wait: the CRM is asked again by itself",
            Self::Foreign(_) => "check 'url' in planfix.conf and any proxy in between",
            Self::Token => {
                "set 'token' in planfix.conf to the key that Planfix shows and run 'module reload res_planfix.so'"
            }
            Self::Address(_) => {
                "set 'url' in planfix.conf to the address that Planfix shows and run 'module reload res_planfix.so'"
            }
            Self::Refused { .. } => "see 'planfix show failed'",
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(text) => write!(f, "no answer: {text}"),
            Self::Tls(text) => write!(f, "no trusted connection: {text}"),
            Self::Busy {
                status,
                after: Some(after),
            } => write!(f, "busy (HTTP {status}), asks for {} s", after.as_secs()),
            Self::Busy { status, after: None } => write!(f, "busy (HTTP {status})"),
            Self::Server(status) => write!(f, "the server failed (HTTP {status})"),
            Self::Foreign(text) => write!(f, "the answer is not Planfix's: {text}"),
            Self::Token => write!(f, "the token is not accepted (HTTP 401)"),
            Self::Address(status) => write!(f, "the address is not Planfix's (HTTP {status})"),
            Self::Refused { status, error } if error.is_empty() => write!(f, "refused (HTTP {status})"),
            Self::Refused { status, error } => write!(f, "refused (HTTP {status}): {error}"),
        }
    }
}

impl std::error::Error for Trouble {}

/// An HTTP answer, its body already cut to a bounded length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The Retry-After header.
    pub retry_after: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

/// The CRM's answer to `ping` (section 2.4). It holds a secret and therefore has no `Debug`.
#[derive(Deserialize)]
pub struct Pong {
    /// The key that Planfix will send to the PBX.
    #[serde(rename = "pbxToken", default)]
    pub pbx_token: String,
    /// The PBX's address as entered in Planfix.
    #[serde(rename = "pbxUrl", default)]
    pub pbx_url: String,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: String,
}

/// Longest wait that a Retry-After can ask for: a wrong header must not silence the PBX for a day.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3_600);

impl Reply {
    /// Whether the request is acknowledged.
    ///
    /// # Errors
    /// Why it is not. `now` is the wall clock, for a Retry-After that holds a date.
    pub fn acknowledged(&self, now: SystemTime) -> Result<(), Trouble> {
        let after = || {
            self.retry_after
                .as_deref()
                .and_then(|text| retry_after(text, now))
        };
        let error = || {
            serde_json::from_slice::<ErrorBody>(&self.body)
                .map(|body| one_line(&body.error))
                .unwrap_or_default()
        };
        match self.status {
            200..=299 if self.body.trim_ascii().is_empty() => Ok(()),
            200..=299 => match serde_json::from_slice::<serde_json::Value>(&self.body) {
                Ok(_) if error() == "Invalid token" => Err(Trouble::Token),
                Ok(_) if !error().is_empty() => Err(Trouble::Refused {
                    status: self.status,
                    error: error(),
                }),
                Ok(_) => Ok(()),
                Err(_) => Err(Trouble::Foreign(format!(
                    "HTTP {} with {}",
                    self.status,
                    excerpt(&self.body)
                ))),
            },
            401 => Err(Trouble::Token),
            300..=399 | 403 | 404 | 405 | 407 | 410 => Err(Trouble::Address(self.status)),
            408 | 425 | 429 => Err(Trouble::Busy {
                status: self.status,
                after: after(),
            }),
            400..=499 => Err(Trouble::Refused {
                status: self.status,
                error: error(),
            }),
            // A server that names a time speaks for all of itself, not for one request.
            503 if after().is_some() => Err(Trouble::Busy {
                status: 503,
                after: after(),
            }),
            500..=599 => Err(Trouble::Server(self.status)),
            _ => Err(Trouble::Foreign(format!("HTTP status {}", self.status))),
        }
    }

    /// Reads the answer to `ping`.
    ///
    /// # Errors
    /// As [`Reply::acknowledged`], and when the body is not the documented one.
    pub fn pong(&self, now: SystemTime) -> Result<Pong, Trouble> {
        if !(200..=299).contains(&self.status) {
            self.acknowledged(now)?;
        }
        // No message may quote this body: it holds the PBX's key. A map first, because serde reads a struct from a list too.
        let pong = serde_json::from_slice::<serde_json::Map<_, _>>(&self.body)
            .and_then(|map| serde_json::from_value(serde_json::Value::Object(map)));
        pong.map_err(|_| Trouble::Foreign("ping was not answered with pbxToken and pbxUrl".to_owned()))
    }
}

fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text)
            .ok()?
            .duration_since(now)
            .unwrap_or_default(),
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

/// The beginning of a body for a message.
fn excerpt(body: &[u8]) -> String {
    let text = one_line(&String::from_utf8_lossy(&body[..body.len().min(200)]));
    let short: String = text.chars().take(60).collect();
    format!("{} bytes that begin '{short}'", body.len())
}

fn one_line(text: &str) -> String {
    text.chars()
        .take(200)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Policy, Reply, Trouble};
    use std::time::{Duration, SystemTime};

    fn reply(status: u16, body: &str) -> Reply {
        Reply {
            status,
            retry_after: None,
            body: body.as_bytes().to_vec(),
        }
    }

    fn policy(status: u16, body: &str) -> Option<Policy> {
        reply(status, body)
            .acknowledged(SystemTime::UNIX_EPOCH)
            .err()
            .map(|trouble| trouble.policy())
    }

    #[test]
    fn only_planfix_acknowledges() {
        assert_eq!(policy(200, ""), None);
        assert_eq!(policy(200, "\r\n"), None);
        assert_eq!(policy(200, "{}"), None);
        assert_eq!(policy(204, ""), None);
        assert_eq!(policy(200, "<html><body>Welcome to nginx"), Some(Policy::Retry));
        assert_eq!(
            policy(200, r#"{"error":"Invalid parameters"}"#),
            Some(Policy::Fail)
        );
        assert_eq!(policy(200, r#"{"error":"Invalid token"}"#), Some(Policy::Stop));
    }

    #[test]
    fn each_status_has_its_policy() {
        assert_eq!(
            policy(400, r#"{"error":"Invalid parameters"}"#),
            Some(Policy::Fail)
        );
        assert_eq!(policy(401, ""), Some(Policy::Stop));
        for status in [301, 302, 403, 404, 405] {
            assert_eq!(policy(status, ""), Some(Policy::Stop), "{status}");
        }
        for status in [408, 429] {
            assert_eq!(policy(status, ""), Some(Policy::Wait(None)), "{status}");
        }
        for status in [500, 502, 503, 599] {
            assert_eq!(policy(status, "<html>"), Some(Policy::Retry), "{status}");
        }
        assert_eq!(policy(100, ""), Some(Policy::Retry));
    }

    #[test]
    fn retry_after_is_read_in_both_forms_and_bounded() {
        let now = httpdate::parse_http_date("Sat, 21 Nov 2026 05:00:00 GMT").unwrap();
        let after = |text: &str| {
            let reply = Reply {
                status: 429,
                retry_after: Some(text.to_owned()),
                body: Vec::new(),
            };
            reply.acknowledged(now).unwrap_err().policy()
        };
        assert_eq!(after("7"), Policy::Wait(Some(Duration::from_secs(7))));
        assert_eq!(
            after("Sat, 21 Nov 2026 05:01:00 GMT"),
            Policy::Wait(Some(Duration::from_secs(60)))
        );
        assert_eq!(
            after("Sat, 21 Nov 2026 04:00:00 GMT"),
            Policy::Wait(Some(Duration::ZERO))
        );
        assert_eq!(after("99999999"), Policy::Wait(Some(Duration::from_secs(3_600))));
        assert_eq!(after("soon"), Policy::Wait(None));
    }

    #[test]
    fn messages_stay_on_one_line_and_say_what_came() {
        let text = reply(200, "<html>\n<script>")
            .acknowledged(SystemTime::now())
            .unwrap_err()
            .to_string();
        assert_eq!(
            text,
            "the answer is not Planfix's: HTTP 200 with 15 bytes that begin '<html> <script>'"
        );
        let refused = reply(400, r#"{"error":"Invalid\nparameters"}"#)
            .acknowledged(SystemTime::now())
            .unwrap_err();
        assert_eq!(refused.to_string(), "refused (HTTP 400): Invalid parameters");
        assert_eq!(
            reply(400, "")
                .acknowledged(SystemTime::now())
                .unwrap_err()
                .to_string(),
            "refused (HTTP 400)"
        );
    }

    #[test]
    fn pong_is_read_and_never_quoted() {
        let pong = reply(200, r#"{"pbxToken":"secret","pbxUrl":"https://pbx/"}"#)
            .pong(SystemTime::now())
            .ok()
            .unwrap();
        assert_eq!(
            (pong.pbx_token.as_str(), pong.pbx_url.as_str()),
            ("secret", "https://pbx/")
        );
        for body in [
            r#"["secret"]"#,
            "secret",
            r#"{"pbxToken":"secret""#,
            r#"{"pbxToken":["secret"]}"#,
            "",
        ] {
            let trouble = reply(200, body).pong(SystemTime::now()).err().unwrap();
            assert!(!trouble.to_string().contains("secret"), "{body}");
            assert!(matches!(trouble, Trouble::Foreign(_)), "{body}");
        }
        assert_eq!(reply(401, "").pong(SystemTime::now()).err(), Some(Trouble::Token));
    }
}
