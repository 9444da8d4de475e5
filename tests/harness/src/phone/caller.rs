//! Who calls.

/// Who calls, as the From header and its companions say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub(crate) number: String,
    pub(crate) name: String,
    pub(crate) anonymous: bool,
}

impl Caller {
    /// One with a number and no name.
    #[must_use]
    pub fn number(number: &str) -> Self {
        Self {
            number: number.to_owned(),
            name: String::new(),
            anonymous: false,
        }
    }

    /// Gives the caller a name.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// One who withholds everything.
    #[must_use]
    pub fn anonymous() -> Self {
        Self {
            number: "anonymous".to_owned(),
            name: "Anonymous".to_owned(),
            anonymous: true,
        }
    }
}
