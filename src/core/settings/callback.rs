//! `[callback]`: click-to-call, for which the CRM makes requests of the PBX.

use std::time::Duration;

use super::{quantity, within, yes_or_no};
use crate::core::pattern::Patterns;

/// Name and default of every option.
pub(super) const OPTIONS: [(&str, &str, &str); 8] = [
    ("callback", "context", "from-internal"),
    ("callback", "timeout", "30"),
    ("callback", "allow", "_X."),
    ("callback", "deny", ""),
    ("callback", "rate_per_minute", "30"),
    ("callback", "acl", ""),
    ("callback", "auto_answer", "no"),
    ("callback", "device", "Local/EXT@CONTEXT/n"),
];

/// `[callback]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callback {
    /// Where the employee's phone and the number are dialled.
    pub context: String,
    /// How long the employee's phone rings.
    pub timeout: Duration,
    /// Numbers that may be dialled.
    pub allow: Patterns,
    /// Numbers that may not, although they are allowed.
    pub deny: Patterns,
    /// Calls that an employee, and requests that an address, may make in a minute.
    pub rate_per_minute: u32,
    /// A named ACL of acl.conf that says who may make requests; empty: everybody who knows the key.
    pub acl: String,
    /// Whether the employee's phone is asked to take the call by itself.
    pub auto_answer: bool,
    /// How the employee's phone is called: `EXT` and `CONTEXT` stand for his number and for `context`.
    pub device: String,
}

impl Default for Callback {
    fn default() -> Self {
        Self {
            context: "from-internal".to_owned(),
            timeout: Duration::from_secs(30),
            allow: Patterns::parse("_X.").unwrap_or_default(),
            deny: Patterns::default(),
            rate_per_minute: 30,
            acl: String::new(),
            auto_answer: false,
            device: "Local/EXT@CONTEXT/n".to_owned(),
        }
    }
}

impl Callback {
    /// Sets one option; `None` for one that is not known.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Option<Result<(), String>> {
        let set = match name {
            "context" => context(value).map(|context| self.context = context),
            "timeout" => within(quantity::duration(value), 5, 300).map(|time| self.timeout = time),
            "allow" => Patterns::parse(value).map(|patterns| self.allow = patterns),
            "deny" => Patterns::parse(value).map(|patterns| self.deny = patterns),
            "rate_per_minute" => value
                .parse()
                .ok()
                .filter(|count| (1..=6_000).contains(count))
                .map(|count| self.rate_per_minute = count)
                .ok_or_else(|| format!("'{value}' is not a number of calls: expected 1 to 6000")),
            "acl" => {
                value.clone_into(&mut self.acl);
                Ok(())
            }
            "auto_answer" => yes_or_no(value).map(|yes| self.auto_answer = yes),
            "device" => device(value).map(|device| self.device = device),
            _ => return None,
        };
        Some(set)
    }
}

/// A context's name is one word (main/pbx_config.c, `pbx_load_config`).
fn context(value: &str) -> Result<String, String> {
    if value.is_empty()
        || value.contains(|c: char| c.is_whitespace() || c.is_control() || "[]@/&,|".contains(c))
    {
        return Err(format!(
            "'{value}' is not a context: expected the name of one of your dialplan, such as from-internal"
        ));
    }
    Ok(value.to_owned())
}

fn device(value: &str) -> Result<String, String> {
    let technology = value.split_once('/').map_or("", |(technology, _)| technology);
    let plain = !technology.is_empty() && technology.chars().all(|c| c.is_ascii_alphanumeric());
    // CONTEXT ends with it.
    let names_ext = value.replace("CONTEXT", "").contains("EXT");
    if !plain || !names_ext || value.contains(|c: char| c.is_whitespace() || "&|,${}".contains(c)) {
        return Err(format!(
            "'{value}' does not say how an employee's phone is called: expected such as PJSIP/EXT or \
             Local/EXT@CONTEXT/n, where EXT stands for his number"
        ));
    }
    Ok(value.to_owned())
}
