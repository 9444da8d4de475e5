//! `setup`: what Planfix sends when the integration is switched on there (protocol section 3.2).
//!
//! Invariant: an address and a key that planfix.conf would take as well.

use serde::{Deserialize, Serialize};

use super::form::Form;
use super::secret::Secret;
use super::settings::{Crm, key, url};

/// Where requests go, and with which key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Where requests go.
    pub url: String,
    /// The CRM's key for what the PBX sends.
    pub token: Secret,
}

/// As it lies on the disk.
#[derive(Deserialize, Serialize)]
struct Stored {
    planfix_url: String,
    planfix_token: String,
}

impl Setup {
    fn new(address: &str, token: &str) -> Result<Self, String> {
        let address = url(address.trim()).map_err(|fault| format!("planfix_url: {fault}"))?;
        let token = key(token.trim()).map_err(|fault| format!("planfix_token: {fault}"))?;
        if address.is_empty() || token.is_empty() {
            return Err("planfix_url or planfix_token is missing".to_owned());
        }
        Ok(Self { url: address, token })
    }

    /// Reads the request.
    ///
    /// # Errors
    /// What is wrong, without the key.
    pub fn read(form: &Form) -> Result<Self, String> {
        Self::new(form.get("planfix_url"), form.get("planfix_token"))
    }

    /// The text of the file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let stored = Stored {
            planfix_url: self.url.clone(),
            planfix_token: self.token.expose().to_owned(),
        };
        serde_json::to_string_pretty(&stored).unwrap_or_default() + "\n"
    }

    /// Reads the text of the file.
    ///
    /// # Errors
    /// What is wrong, without the key.
    pub fn from_text(text: &str) -> Result<Self, String> {
        // serde's own message would show the key where a type is wrong.
        let stored: Stored = serde_json::from_str(text)
            .map_err(|error| format!("line {} is not what the module writes there", error.line()))?;
        Self::new(&stored.planfix_url, &stored.planfix_token)
    }

    /// Puts it in force.
    pub fn apply(self, crm: &mut Crm) {
        crm.url = self.url;
        crm.token = self.token;
    }
}

#[cfg(test)]
mod tests {
    use super::Setup;
    use crate::core::form::Form;

    fn read(url: &str, token: &str) -> Result<Setup, String> {
        let body: String = form_urlencoded::Serializer::new(String::new())
            .append_pair("planfix_url", url)
            .append_pair("planfix_token", token)
            .finish();
        Setup::read(&Form::parse(body.as_bytes()).unwrap())
    }

    #[test]
    fn what_is_stored_comes_back() {
        let setup = read("https://a.planfix.ru/tel/api", "0123456789abcdef\"\\").unwrap();
        assert_eq!(Setup::from_text(&setup.to_text()).unwrap(), setup);
        assert!(!format!("{setup:?}").contains("0123456789abcdef"));
    }

    #[test]
    fn an_address_that_planfix_conf_would_refuse_is_refused() {
        for (url, token) in [
            ("", "key"),
            ("https://a.planfix.ru/tel/api", ""),
            ("http://a.planfix.ru/tel/api", "key"),
            ("ftp://a.planfix.ru/", "key"),
            ("https://user:password@a.planfix.ru/", "key"),
            ("https://a.planfix.ru/tel/api", "two words"),
            ("https://a.planfix.ru/tel/api", "a\nb"),
        ] {
            assert!(read(url, token).is_err(), "{url} {token}");
        }
        assert!(read("https://a.planfix.ru/tel/api", &"k".repeat(257)).is_err());
    }

    #[test]
    fn a_file_that_is_none_of_ours_is_named_without_its_contents() {
        for text in [
            "",
            "{}",
            "[]",
            "{\"planfix_url\": 1, \"planfix_token\": \"secret\"}",
            "{\"planfix_url\":\"http://x.ru\",\"planfix_token\":\"secret\"}",
        ] {
            let fault = Setup::from_text(text).unwrap_err();
            assert!(!fault.contains("secret"), "{fault}");
        }
    }
}
