//! The outside endpoints: `trunks` in planfix.conf.

use std::fmt;

/// A list of endpoints that lead out of the company.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trunks(Vec<Trunk>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Trunk {
    /// Empty: any.
    technology: String,
    endpoint: String,
    /// Whether more may follow the endpoint's name.
    open: bool,
}

impl Trunk {
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (technology, name) = text.split_once('/').unwrap_or(("", text));
        let (endpoint, open) = name
            .strip_suffix('*')
            .map_or((name, false), |beginning| (beginning, true));
        // Dial() takes a free channel of the group, and that has a name of its own (channels/chan_dahdi.c, `determine_starting_point`,
        // `create_channel_name`).
        let mut beginning = endpoint.chars();
        if technology.eq_ignore_ascii_case("DAHDI")
            && beginning.next().is_some_and(|first| "gGrR".contains(first))
            && beginning.next().is_some_and(|second| second.is_ascii_digit())
        {
            return Err(format!(
                "'{text}' is a group of channels, and no channel has its name: write the span, such as DAHDI/i1, or DAHDI/*"
            ));
        }
        let strange = |c: char| c.is_whitespace() || c == '*' || c == '/';
        // A bare star would make trunks of the employees' phones.
        if name.is_empty()
            || technology.is_empty() && (endpoint.is_empty() || text.starts_with('/'))
            || technology.contains(strange)
            || endpoint.contains(strange)
        {
            return Err(format!(
                "'{text}' is not an endpoint: expected PJSIP/provider, provider or a beginning such as PJSIP/trunk-*"
            ));
        }
        Ok(Self {
            technology: technology.to_owned(),
            endpoint: endpoint.to_owned(),
            open,
        })
    }

    fn matches(&self, technology: &str, endpoint: &str) -> bool {
        (self.technology.is_empty() || self.technology.eq_ignore_ascii_case(technology))
            && if self.open {
                endpoint.starts_with(&self.endpoint)
            } else {
                // An ISDN channel has the number behind its span: `DAHDI/i1/89161234567-1` (channels/chan_dahdi.c, `create_channel_name`).
                let rest = endpoint.strip_prefix(self.endpoint.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
    }
}

impl fmt::Display for Trunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.technology.is_empty() {
            write!(f, "{}/", self.technology)?;
        }
        f.write_str(&self.endpoint)?;
        f.write_str(if self.open { "*" } else { "" })
    }
}

/// As the file has it.
impl fmt::Display for Trunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, trunk) in self.0.iter().enumerate() {
            f.write_str(if index > 0 { "," } else { "" })?;
            write!(f, "{trunk}")?;
        }
        Ok(())
    }
}

impl Trunks {
    /// Reads a comma-separated list; an empty text is an empty list, which matches nothing.
    ///
    /// # Errors
    /// A sentence that names the item that is no endpoint.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        text.split(',')
            .map(Trunk::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether the endpoint of a channel `technology/endpoint-…` is one of the trunks. Technologies are compared as
    /// Asterisk does, in any case of letters (main/channel.c, `ast_get_channel_tech`); names are not.
    #[must_use]
    pub fn matches(&self, technology: &str, endpoint: &str) -> bool {
        self.0.iter().any(|trunk| trunk.matches(technology, endpoint))
    }

    /// Whether none is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::Trunks;

    #[test]
    fn an_endpoint_is_found_by_its_name() {
        let trunks = Trunks::parse("PJSIP/provider, gsm ,dahdi/*,PJSIP/mts-*").unwrap();
        for (technology, endpoint, expected) in [
            ("PJSIP", "provider", true),
            ("pjsip", "provider", true),
            ("SIP", "provider", false),
            ("PJSIP", "Provider", false),
            ("PJSIP", "provider2", false),
            ("PJSIP", "gsm", true),
            ("Dongle", "gsm", true),
            ("DAHDI", "i1", true),
            ("DAHDI", "", true),
            ("PJSIP", "mts-4951234567", true),
            ("PJSIP", "mts", false),
            ("PJSIP", "101", false),
        ] {
            assert_eq!(
                trunks.matches(technology, endpoint),
                expected,
                "{technology}/{endpoint}"
            );
        }
    }

    #[test]
    fn a_span_is_found_whatever_number_is_called() {
        let trunks = Trunks::parse("DAHDI/i1,PJSIP/provider").unwrap();
        for (technology, endpoint, expected) in [
            ("DAHDI", "i1/89161234567", true),
            ("DAHDI", "i1/", true),
            ("DAHDI", "i11/89161234567", false),
            ("DAHDI", "1", false),
            ("PJSIP", "provider2", false),
        ] {
            assert_eq!(
                trunks.matches(technology, endpoint),
                expected,
                "{technology}/{endpoint}"
            );
        }
    }

    #[test]
    fn a_group_of_dahdi_channels_has_no_channel_of_its_name() {
        for wrong in [
            "DAHDI/g0",
            "dahdi/G1",
            "DAHDI/r12",
            "DAHDI/R0",
            "DAHDI/g0/89161234567",
        ] {
            let fault = Trunks::parse(wrong).unwrap_err();
            assert!(
                fault.starts_with(&format!("'{wrong}' is a group")) && fault.contains("DAHDI/i1"),
                "{fault}"
            );
        }
        assert!(Trunks::parse("DAHDI/gate,g0,PJSIP/g0").is_ok());
    }

    #[test]
    fn it_is_written_as_it_is_read() {
        for text in ["", "PJSIP/provider,gsm,DAHDI/*,PJSIP/mts-*,mts-*"] {
            let trunks = Trunks::parse(text).unwrap();
            assert_eq!(trunks.to_string(), text);
        }
    }

    #[test]
    fn an_empty_list_matches_nothing() {
        let trunks = Trunks::parse("  ").unwrap();
        assert!(trunks.is_empty() && !trunks.matches("PJSIP", ""));
        assert!(!Trunks::parse("provider").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_endpoint_is_named() {
        for wrong in [
            "*",
            "/*",
            "/provider",
            "PJSIP/",
            "PJ*/provider",
            "PJSIP/pro*der",
            "PJSIP/a PJSIP/b",
            "PJSIP/provider/79101234567",
        ] {
            let fault = Trunks::parse(&format!("gsm,{wrong}")).unwrap_err();
            assert!(
                fault.starts_with(&format!("'{wrong}' is not an endpoint")),
                "{fault}"
            );
        }
        assert!(Trunks::parse("a,,b").is_err());
    }
}
