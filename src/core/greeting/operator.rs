//! Whose greeting it is.
//!
//! Invariant: a name that passed here is a name of a folder and nothing else: it has no slash, no dot, no blank, no letter of
//! the shell's or of the dialplan's, and is as long as a file's name may be.

use std::fmt;

use compact_str::CompactString;

use crate::core::pattern::Patterns;

/// Bytes of a number and of a tenant, each.
const LONGEST: usize = 40;
/// What is shown of a name that is refused.
const SHOWN: usize = 40;

/// An operator: his number, and the tenant where numbers are given more than once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Operator {
    ext: CompactString,
    tenant: CompactString,
}

impl Operator {
    /// Reads `EXT` or `EXT@TENANT`. The number has to match one of `operators`.
    ///
    /// # Errors
    /// A sentence that names what is no operator.
    pub fn parse(text: &[u8], operators: &Patterns) -> Result<Self, String> {
        let (ext, tenant) = match text.iter().position(|byte| *byte == b'@') {
            Some(at) => (&text[..at], Some(&text[at + 1..])),
            None => (text, None),
        };
        let named = |fault: &str| format!("'{}' is not an operator: {fault}", shown(text));
        let ext = plain(ext).map_err(|fault| named(&format!("his number {fault}")))?;
        let tenant = match tenant {
            None => "",
            // The folder of those who have none.
            Some(b"-") => return Err(named("a tenant cannot be called '-'")),
            Some(tenant) => plain(tenant).map_err(|fault| named(&format!("the tenant {fault}")))?,
        };
        if !operators.matches(ext.as_bytes()) {
            return Err(named("no pattern of 'operators' in [greetings] matches it"));
        }
        Ok(Self {
            ext: ext.into(),
            tenant: tenant.into(),
        })
    }

    /// His number.
    #[must_use]
    pub fn ext(&self) -> &str {
        &self.ext
    }

    /// The tenant; empty when there is none.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.tenant
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.ext)?;
        if !self.tenant.is_empty() {
            write!(f, "@{}", self.tenant)?;
        }
        Ok(())
    }
}

/// The text, if it is one that may name a folder.
fn plain(text: &[u8]) -> Result<&str, String> {
    if text.is_empty() {
        return Err("is missing".to_owned());
    }
    if text.len() > LONGEST {
        return Err(format!("is longer than {LONGEST} characters"));
    }
    let strange = text
        .iter()
        .find(|byte| !byte.is_ascii_alphanumeric() && !b"_+-*#".contains(byte));
    if let Some(strange) = strange {
        return Err(format!("holds '{}'", strange.escape_ascii()));
    }
    std::str::from_utf8(text).map_err(|_| "is not text".to_owned())
}

/// What somebody gave, for a message: escaped and no longer than a line.
fn shown(text: &[u8]) -> String {
    let mut shown = text[..text.len().min(SHOWN)].escape_ascii().to_string();
    if text.len() > SHOWN {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::Operator;
    use crate::core::pattern::Patterns;

    fn parse(text: &[u8]) -> Result<Operator, String> {
        Operator::parse(text, &Patterns::parse("_XXX,_*6X!,_[a-zA-Z]!").unwrap())
    }

    #[test]
    fn a_number_with_or_without_a_tenant() {
        for (text, ext, tenant) in [
            ("101", "101", ""),
            ("101@office", "101", "office"),
            ("*60#1", "*60#1", ""),
            ("anna_p-2", "anna_p-2", ""),
            ("101@-a", "101", "-a"),
        ] {
            let operator = parse(text.as_bytes()).unwrap();
            assert_eq!((operator.ext(), operator.tenant()), (ext, tenant));
            assert_eq!(operator.to_string(), text);
        }
        let longest = "a".repeat(40);
        assert!(parse(longest.as_bytes()).is_ok());
    }

    #[test]
    fn what_an_attacker_tries_is_refused_and_named() {
        for (text, fault) in [
            (&b""[..], "'' is not an operator: his number is missing"),
            (b"@", "'@' is not an operator: his number is missing"),
            (b"101@", "'101@' is not an operator: the tenant is missing"),
            (
                b"101@-",
                "'101@-' is not an operator: a tenant cannot be called '-'",
            ),
            (b"../101", "'../101' is not an operator: his number holds '.'"),
            (b"..", "'..' is not an operator: his number holds '.'"),
            (
                b"101/../102",
                "'101/../102' is not an operator: his number holds '/'",
            ),
            (b"101;rm", "'101;rm' is not an operator: his number holds ';'"),
            (b"${EXTEN}", "'${EXTEN}' is not an operator: his number holds '$'"),
            (b"1 1", "'1 1' is not an operator: his number holds ' '"),
            (b"10\n", "'10\\n' is not an operator: his number holds '\\n'"),
            (b"10\0", "'10\\x00' is not an operator: his number holds '\\x00'"),
            (
                "1٠1".as_bytes(),
                "'1\\xd9\\xa01' is not an operator: his number holds '\\xd9'",
            ),
            (b"101@a@b", "'101@a@b' is not an operator: the tenant holds '@'"),
            (b"101@../x", "'101@../x' is not an operator: the tenant holds '.'"),
            (
                b"1010",
                "'1010' is not an operator: no pattern of 'operators' in [greetings] matches it",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err(), fault);
        }
        for long in ["7".repeat(300), format!("101@{}", "a".repeat(41))] {
            let fault = parse(long.as_bytes()).unwrap_err();
            assert!(
                fault.contains("is longer than 40 characters") && fault.len() < 150,
                "{fault}"
            );
        }
        assert!(Operator::parse(b"101", &Patterns::default()).is_err());
    }

    #[test]
    fn no_bytes_make_a_path() {
        for seed in 0..20_000_u32 {
            let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
            let bytes: Vec<u8> = (0..seed % 9)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    b"1a*./@\\-\0\xff;$ %&,"[(state >> 24) as usize % 16]
                })
                .collect();
            let all = Patterns::parse("_!").unwrap();
            if let Ok(operator) = Operator::parse(&bytes, &all) {
                for part in [operator.ext(), operator.tenant()] {
                    assert!(
                        !part.contains(['/', '.', '\0', '\\', ';', '$', ' ', '&', ',']),
                        "{bytes:?}"
                    );
                }
                assert_eq!(operator.to_string().as_bytes(), bytes);
            }
        }
    }
}
