//! `[status]`: who may ask how the module does.

use super::key;
use crate::core::secret::Secret;

/// Name and default of every option.
pub(super) const OPTIONS: [(&str, &str, &str); 2] = [("status", "key", ""), ("status", "acl", "")];

/// `[status]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What whoever asks has to show; empty: nobody is answered.
    pub key: Secret,
    /// A named ACL of acl.conf that says who may ask; empty: everybody who knows the key.
    pub acl: String,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            key: Secret::new(""),
            acl: String::new(),
        }
    }
}

impl Status {
    /// Sets one option; `None` for one that is not known.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Option<Result<(), String>> {
        let set = match name {
            "key" => long_key(value).map(|key| self.key = key),
            "acl" => {
                value.clone_into(&mut self.acl);
                Ok(())
            }
            _ => return None,
        };
        Some(set)
    }
}

/// How often a key may be guessed at is not bounded, so it has to be one that nobody guesses.
fn long_key(value: &str) -> Result<Secret, String> {
    let key = key(value)?;
    if !key.is_empty() && key.can_be_guessed() {
        return Err(format!(
            "the key is shorter than {} characters: make up a longer one, such as 'openssl rand -hex 16' prints",
            Secret::SHORTEST_GOOD
        ));
    }
    Ok(key)
}
