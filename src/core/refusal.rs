//! Why a request from outside is refused, and what its sender is told.
//!
//! Invariant: the protocol's two errors are answered in its own words (section 1); nothing more is said to who does not have the key.

/// A reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The address is not in the ACL.
    Acl,
    /// The address was refused too often lately.
    Flood,
    /// It is no POST.
    Method,
    /// The body is longer than any request.
    TooLarge,
    /// The body did not come in time.
    Late,
    /// The body is no form, or is cut.
    Form,
    /// No `pbx_token` is set, so that no key can be right.
    NoKey,
    /// The key is wrong.
    Token,
    /// The module is disabled, being unloaded, or waits for Planfix's `setup`.
    Disabled,
    /// The command is neither `makeCall` nor `setup`.
    Command,
    /// `from` is no employee's number, or there is no such phone.
    From,
    /// `to` is no number, or none that the dialplan knows.
    To,
    /// `allow` does not let the number be called, or `deny` forbids it.
    Denied,
    /// The employee has clicked too often.
    Rate,
    /// Too many calls wait to be made.
    Busy,
    /// `setup` brings no usable address or key.
    Setup,
    /// `setup`, but planfix.conf holds a token.
    Pinned,
}

impl Refusal {
    /// How many there are.
    pub const COUNT: usize = 17;

    /// All of them, each at the place of its number.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Acl,
        Self::Flood,
        Self::Method,
        Self::TooLarge,
        Self::Late,
        Self::Form,
        Self::NoKey,
        Self::Token,
        Self::Disabled,
        Self::Command,
        Self::From,
        Self::To,
        Self::Denied,
        Self::Rate,
        Self::Busy,
        Self::Setup,
        Self::Pinned,
    ];

    /// One word or two for a count of it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Acl => "acl",
            Self::Flood => "flood",
            Self::Method => "method",
            Self::TooLarge => "too large",
            Self::Late => "too slow",
            Self::Form => "no form",
            Self::NoKey => "no pbx_token",
            Self::Token => "wrong token",
            Self::Disabled => "disabled",
            Self::Command => "unknown command",
            Self::From => "from",
            Self::To => "to",
            Self::Denied => "not allowed",
            Self::Rate => "too many clicks",
            Self::Busy => "busy",
            Self::Setup => "bad setup",
            Self::Pinned => "token pinned",
        }
    }

    /// What the log says.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Acl => "the address is not allowed by the ACL (acl in [callback])",
            Self::Flood => {
                "the address was refused too often in the last minute (rate_per_minute in [callback])"
            }
            Self::Method => "only POST is taken here",
            Self::TooLarge => "the body is larger than 8 KB",
            Self::Late => "the body did not come in time",
            Self::Form => "the body is no form, or is cut",
            Self::NoKey => "no pbx_token is set in planfix.conf, so nothing from Planfix is accepted",
            Self::Token => {
                "the key is not pbx_token: enter pbx_token in Planfix as the PBX's authorization key («Ключ авторизации АТС»)"
            }
            Self::Disabled => "the module is disabled, or waits for Planfix's setup",
            Self::Command => "the command is neither makeCall nor setup",
            Self::From => {
                "'from' is no employee's number (internal in [calls]), or there is no such phone (device in [callback])"
            }
            Self::To => {
                "'to' is no telephone number, or the dialplan does not know it (context in [callback])"
            }
            Self::Denied => "the number may not be called (allow and deny in [callback])",
            Self::Rate => {
                "the employee has clicked too often in the last minute (rate_per_minute in [callback])"
            }
            Self::Busy => "too many calls wait to be made",
            Self::Setup => "setup brings no usable address or key",
            Self::Pinned => "setup is refused while a token is set in planfix.conf",
        }
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Acl => 403,
            Self::Flood | Self::Rate => 429,
            Self::Method => 405,
            Self::TooLarge => 413,
            Self::Late => 408,
            Self::NoKey | Self::Token => 401,
            Self::Disabled | Self::Busy => 503,
            Self::Form
            | Self::Command
            | Self::From
            | Self::To
            | Self::Denied
            | Self::Setup
            | Self::Pinned => 400,
        }
    }

    /// The `error` of the answer. Planfix shows what `setup` is answered (section 3.2), so that tells what to do.
    #[must_use]
    pub fn error(self) -> &'static str {
        match self {
            Self::NoKey | Self::Token => "Invalid token",
            Self::Acl => "Forbidden",
            Self::Flood => "Too many requests",
            Self::Rate => "Too many calls",
            Self::Method => "Method not allowed",
            Self::TooLarge
            | Self::Late
            | Self::Form
            | Self::Command
            | Self::From
            | Self::To
            | Self::Denied => "Invalid parameters",
            Self::Disabled => "The PBX does not take calls from Planfix now",
            Self::Busy => "The PBX is busy",
            Self::Setup => "The PBX cannot use this address or key",
            Self::Pinned => {
                "The PBX has a key of Planfix in its planfix.conf: remove token there and load the module again, or enter the key there by hand"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Refusal;

    #[test]
    fn each_is_counted_at_its_own_place() {
        for (place, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, place);
            let others = Refusal::ALL.iter().filter(|other| other.word() == refusal.word());
            assert_eq!(others.count(), 1);
            assert!(!refusal.sentence().is_empty());
        }
    }

    #[test]
    fn the_protocols_errors_are_in_its_words() {
        for refusal in Refusal::ALL {
            match refusal.status() {
                401 => assert_eq!(refusal.error(), "Invalid token"),
                400 if !matches!(refusal, Refusal::Setup | Refusal::Pinned) => {
                    assert_eq!(refusal.error(), "Invalid parameters");
                }
                _ => assert!(!refusal.error().is_empty()),
            }
        }
    }
}
