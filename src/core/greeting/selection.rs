//! Which operators a command or an AMI action is about: `101`, `101@office`, `_1XX,205`, `_X.@office`, `all`.
//!
//! Invariants:
//! - whoever is named is an operator by planfix.conf's own rules, or the whole selection is refused;
//! - a pattern is only compared with operators of whom something is known: nobody is made up by it.

use std::collections::BTreeSet;

use super::operator::Operator;
use crate::core::pattern::{Pattern, Patterns};

/// Bytes of one part between commas: a pattern with some sets, and a tenant.
const LONGEST: usize = 120;
/// Bytes that are shown of what is refused.
const SHOWN: usize = 40;

/// Some operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    All,
    Named(Operator),
    Like { ext: Pattern, tenant: String },
}

impl Selection {
    /// Everybody.
    #[must_use]
    pub fn all() -> Self {
        Self(vec![Part::All])
    }

    /// Reads numbers and patterns with commas between. Without `@tenant` those are meant who have none.
    ///
    /// # Errors
    /// A sentence that names what is neither.
    pub fn parse(text: &str, operators: &Patterns) -> Result<Self, String> {
        text.split(',')
            .map(|part| Part::parse(part.trim(), operators))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The operator, if it is one and named by his number.
    #[must_use]
    pub fn one(&self) -> Option<&Operator> {
        match self.0.as_slice() {
            [Part::Named(operator)] => Some(operator),
            _ => None,
        }
    }

    /// Those of the operators who are meant, and whoever is named by his number, known or not.
    #[must_use]
    pub fn of<'a>(&'a self, known: impl IntoIterator<Item = &'a Operator>) -> BTreeSet<&'a Operator> {
        let named = self.0.iter().filter_map(|part| match part {
            Part::Named(operator) => Some(operator),
            Part::All | Part::Like { .. } => None,
        });
        let meant = known.into_iter().filter(|operator| self.means(operator));
        named.chain(meant).collect()
    }

    /// Whether this operator is meant.
    #[must_use]
    pub fn means(&self, operator: &Operator) -> bool {
        self.0.iter().any(|part| match part {
            Part::All => true,
            Part::Named(named) => named == operator,
            Part::Like { ext, tenant } => {
                tenant == operator.tenant() && ext.matches(operator.ext().as_bytes())
            }
        })
    }
}

impl Part {
    fn parse(text: &str, operators: &Patterns) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        if !text.starts_with('_') {
            return Operator::parse(text.as_bytes(), operators).map(Self::Named);
        }
        let usual = |c: char| c.is_ascii_alphanumeric() || "_+-*#[].!@".contains(c);
        if text.len() > LONGEST || !text.chars().all(usual) {
            let shown: String = text.chars().take(SHOWN).collect();
            return Err(format!(
                "'{}' is no dialplan pattern: expected such as _1XX or _2XX@office",
                shown.escape_default()
            ));
        }
        let (ext, tenant) = text.split_once('@').unwrap_or((text, ""));
        Ok(Self::Like {
            ext: Pattern::parse(ext)?,
            tenant: tenant.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Selection;
    use crate::core::greeting::operator::Operator;
    use crate::core::pattern::Patterns;

    fn operators() -> Patterns {
        Patterns::parse("_XXX,_XXXX").unwrap()
    }

    fn known(texts: &[&str]) -> Vec<Operator> {
        let parse = |text: &&str| Operator::parse(text.as_bytes(), &operators()).unwrap();
        texts.iter().map(parse).collect()
    }

    fn chosen(text: &str, of: &[&str]) -> Vec<String> {
        let (selection, known) = (Selection::parse(text, &operators()).unwrap(), known(of));
        selection
            .of(&known)
            .into_iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn patterns_choose_from_the_known_and_numbers_name_anybody() {
        let of = ["101", "102", "201", "101@office"];
        assert_eq!(chosen("_1XX", &of), ["101", "102"]);
        assert_eq!(chosen("_1XX, 201", &of), ["101", "102", "201"]);
        assert_eq!(chosen("_X.@office", &of), ["101@office"]);
        assert_eq!(chosen("555,_9XX", &of), ["555"]);
        assert_eq!(chosen("101,_10X", &of), ["101", "102"]);
        assert_eq!(chosen("all", &of).len(), 4);
    }

    #[test]
    fn one_operator_is_told_from_a_pattern_that_has_one() {
        let parse = |text| Selection::parse(text, &operators()).unwrap();
        assert_eq!(
            parse("101@office").one().map(ToString::to_string),
            Some("101@office".to_owned())
        );
        assert_eq!(parse("_101").one(), None);
        assert_eq!(parse("101,102").one(), None);
        assert_eq!(parse("all").one(), None);
    }

    #[test]
    fn whatever_is_neither_is_refused_and_shown_short() {
        let long = "_".to_owned() + &"X".repeat(300);
        for hostile in [
            "",
            ",",
            "101,",
            "../101",
            "_../X",
            "_1XX;rm -rf /",
            "_$(id)",
            "_1X\nX",
            "_Ж",
            "_",
            "_[",
            "_@office",
            "12345",
            "abc",
            &long,
        ] {
            let refused = Selection::parse(hostile, &operators());
            let sentence = refused.expect_err(hostile);
            assert!(sentence.len() < 250, "{sentence}");
            assert!(!sentence.chars().any(char::is_control), "{sentence:?}");
        }
    }
}
