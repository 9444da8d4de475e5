//! `[contact]`: what the CRM is asked about a caller.

use std::time::Duration;

use super::{quantity, within, yes_or_no};

/// Name and default of every option.
pub(super) const OPTIONS: [(&str, &str, &str); 3] = [
    ("contact", "timeout_ms", "300"),
    ("contact", "cache", "600"),
    ("contact", "set_name", "no"),
];

/// `[contact]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// The longest that a channel waits for the CRM's answer.
    pub timeout: Duration,
    /// How long an answer is good for. Zero: it is asked for again each time.
    pub cache: Duration,
    /// Whether a caller is given the name that the CRM knows, under `mode = auto`.
    pub set_name: bool,
}

impl Default for Contact {
    fn default() -> Self {
        Self {
            timeout: Duration::from_millis(300),
            cache: Duration::from_secs(600),
            set_name: false,
        }
    }
}

impl Contact {
    /// Sets one option; `None` for one that is not known.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Option<Result<(), String>> {
        let set = match name {
            "timeout_ms" => value
                .parse()
                .ok()
                .filter(|count| (10..=10_000).contains(count))
                .map(|count| self.timeout = Duration::from_millis(count))
                .ok_or_else(|| {
                    format!("'{value}' is not a time in milliseconds: expected 10 to 10000, such as 300")
                }),
            "cache" => within(quantity::duration(value), 0, 7 * 86_400).map(|time| self.cache = time),
            "set_name" => yes_or_no(value).map(|yes| self.set_name = yes),
            _ => return None,
        };
        Some(set)
    }
}
