//! When a greeting is meant to be heard, and what an operator says of himself.

/// What a greeting is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Whatever has none of its own.
    Default,
    /// He did not answer.
    NoAnswer,
    /// He is on the phone, or refused the call.
    Busy,
    /// His phone is not there.
    Unreachable,
    /// He is away for days.
    Vacation,
    /// For today: it goes before all others.
    Temp,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Default,
        Self::NoAnswer,
        Self::Busy,
        Self::Unreachable,
        Self::Vacation,
        Self::Temp,
    ];

    /// The word for it, in the dialplan and in files' names.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::NoAnswer => "noanswer",
            Self::Busy => "busy",
            Self::Unreachable => "unreachable",
            Self::Vacation => "vacation",
            Self::Temp => "temp",
        }
    }

    /// Reads the word, in any case of letters.
    ///
    /// # Errors
    /// A sentence that lists the words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let known = Self::ALL
            .into_iter()
            .find(|kind| kind.word().eq_ignore_ascii_case(text.trim()));
        known.ok_or_else(|| {
            format!(
                "'{}' is not a kind of greeting: expected {}",
                text.escape_debug(),
                list(&Self::ALL.map(Self::word))
            )
        })
    }

    /// The kind for a call that ended like this (`apps/app_dial.c`, DIALSTATUS).
    #[must_use]
    pub fn of_dialstatus(status: &str) -> Self {
        match status {
            "NOANSWER" => Self::NoAnswer,
            "BUSY" => Self::Busy,
            "CHANUNAVAIL" | "CONGESTION" => Self::Unreachable,
            _ => Self::Default,
        }
    }
}

/// What an operator says of himself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    /// He takes calls.
    #[default]
    Available,
    /// He is not at his desk.
    Away,
    /// He is away for days.
    Vacation,
}

impl Presence {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Available, Self::Away, Self::Vacation];

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Away => "away",
            Self::Vacation => "vacation",
        }
    }

    /// Reads the word, in any case of letters.
    ///
    /// # Errors
    /// A sentence that lists the words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let known = Self::ALL
            .into_iter()
            .find(|presence| presence.word().eq_ignore_ascii_case(text.trim()));
        known.ok_or_else(|| {
            format!(
                "'{}' is not a state of an operator: expected {}",
                text.escape_debug(),
                list(&Self::ALL.map(Self::word))
            )
        })
    }
}

/// `a, b or c`.
pub(super) fn list(words: &[&str]) -> String {
    match words {
        [most @ .., last] if !most.is_empty() => format!("{} or {last}", most.join(", ")),
        _ => words.join(""),
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Presence};

    #[test]
    fn words_are_read_as_they_are_written() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.word()), Ok(kind));
            assert_eq!(Kind::parse(&kind.word().to_uppercase()), Ok(kind));
        }
        for presence in Presence::ALL {
            assert_eq!(Presence::parse(presence.word()), Ok(presence));
        }
        assert_eq!(
            Kind::parse("lunch").unwrap_err(),
            "'lunch' is not a kind of greeting: expected default, noanswer, busy, unreachable, vacation or temp"
        );
        assert_eq!(
            Presence::parse("").unwrap_err(),
            "'' is not a state of an operator: expected available, away or vacation"
        );
    }

    #[test]
    fn three_ends_of_a_call_have_a_kind_of_their_own() {
        for (status, kind) in [
            ("NOANSWER", Kind::NoAnswer),
            ("BUSY", Kind::Busy),
            ("CHANUNAVAIL", Kind::Unreachable),
            ("CONGESTION", Kind::Unreachable),
            ("CANCEL", Kind::Default),
            ("ANSWER", Kind::Default),
            ("", Kind::Default),
        ] {
            assert_eq!(Kind::of_dialstatus(status), kind, "{status}");
        }
    }
}
