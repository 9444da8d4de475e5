//! Whose a channel is.
//!
//! Invariant: the answer depends on the channel and on planfix.conf alone, so the same channel is the same party in every
//! trace.

use crate::core::pattern::Patterns;
use crate::core::record::{self, Text};
use crate::core::settings::Calls;

/// Whose a channel is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Party {
    /// An employee's phone, with his number.
    Employee(Text),
    /// A line to the outside.
    Outside,
    /// One half of a Local channel: two ends of a wire inside Asterisk.
    Local,
    /// A device that is neither internal nor a trunk, where trunks are named: a reception without a number, a door phone.
    Device,
    /// A channel of Asterisk's own.
    Own,
}

/// Channels that Asterisk makes for itself and that stand for nobody (`ast_channel_alloc` in main/ and apps/): they play,
/// record, listen, or carry a call from one thread to another.
const OWN: [&str; 14] = [
    "Announcer",
    "AsyncGoto",
    "AudioSocket",
    "Bridge",
    "CBAnn",
    "CBRec",
    "Message",
    "MulticastRTP",
    "Parked",
    "Recorder",
    "Snoop",
    "Surrogate",
    "UnicastRTP",
    "WebSocket",
];

impl Party {
    /// Whose the channel of this name is, which has this caller's number. An employee is known by the name of the endpoint, else by the number that the endpoint has as
    /// its caller's: endpoints can be called anything. A trunk that is named in `trunks` is never taken for an employee,
    /// whatever number its caller shows.
    #[must_use]
    pub fn of(name: &str, caller: &str, calls: &Calls) -> Self {
        let (technology, endpoint) = (record::technology(name), record::endpoint(name));
        if technology == "Local" {
            return Self::Local;
        }
        if technology.is_empty() || OWN.contains(&technology) {
            return Self::Own;
        }
        if calls.trunks.matches(technology, endpoint) {
            return Self::Outside;
        }
        if let Some(ext) = internal(&calls.internal, [endpoint, caller]) {
            return Self::Employee(ext);
        }
        if calls.trunks.is_empty() {
            Self::Outside
        } else {
            Self::Device
        }
    }
}

/// The first of these that is an employee's number.
pub fn internal<'a>(patterns: &Patterns, numbers: impl IntoIterator<Item = &'a str>) -> Option<Text> {
    numbers
        .into_iter()
        .find(|number| !number.is_empty() && patterns.matches(number.as_bytes()))
        .map(Text::from)
}

/// The employees whom `Dial()` is to call, by its first argument: `PJSIP/101&PJSIP/102`, `Local/101@from-internal/n`.
pub fn targets<'a>(data: &'a str, calls: &'a Calls) -> impl Iterator<Item = Text> + 'a {
    let list = data.split(',').next().unwrap_or_default();
    list.split('&').filter_map(|target| {
        let (technology, rest) = target.split_once('/')?;
        let device = rest.split(['/', '@']).next().unwrap_or_default();
        if calls.trunks.matches(technology, device) {
            return None;
        }
        internal(&calls.internal, [device])
    })
}

/// The number in a dial string: `79101234567` of `79101234567@trunk` and of `trunk/sip:79101234567@192.0.2.1:5060`.
pub fn dialed_number(dial_string: &str) -> Option<&str> {
    dial_string
        .split('/')
        .filter_map(|part| {
            let part = part.strip_prefix("sip:").unwrap_or(part);
            let number = part.split('@').next().unwrap_or_default();
            let digits = number.bytes().filter(u8::is_ascii_digit).count();
            let is_number = number
                .bytes()
                .all(|byte| byte.is_ascii_digit() || b"+*#-() ".contains(&byte));
            (is_number && digits >= 3).then_some(number)
        })
        .next_back()
}

#[cfg(test)]
mod tests {
    use super::{Party, dialed_number, targets};
    use crate::core::pattern::Patterns;
    use crate::core::settings::Calls;
    use crate::core::trunks::Trunks;

    fn calls(trunks: &str) -> Calls {
        Calls {
            internal: Patterns::parse("_XXX").unwrap(),
            trunks: Trunks::parse(trunks).unwrap(),
            ..Calls::default()
        }
    }

    fn party(name: &str, caller: &str, trunks: &str) -> Party {
        Party::of(name, caller, &calls(trunks))
    }

    #[test]
    fn an_employee_is_known_by_the_endpoint_or_its_number() {
        let ext = |ext: &str| Party::Employee(ext.into());
        assert_eq!(party("PJSIP/101-00000001", "79101234567", ""), ext("101"));
        assert_eq!(party("PJSIP/ivanov-00000001", "102", ""), ext("102"));
        assert_eq!(party("SIP/103-0a", "", "PJSIP/provider"), ext("103"));
        assert_eq!(
            party("PJSIP/provider-00000001", "79101234567", ""),
            Party::Outside
        );
        assert_eq!(
            party("PJSIP/provider-00000001", "101", "PJSIP/provider"),
            Party::Outside,
            "a provider that shows a caller's number like an employee's is still outside"
        );
        assert_eq!(party("PJSIP/door-00000001", "", "PJSIP/provider"), Party::Device);
        assert_eq!(party("Local/101@x-00000001;1", "101", ""), Party::Local);
        assert_eq!(party("CBAnn/conf-00000001", "", ""), Party::Own);
        assert_eq!(party("nothing", "", ""), Party::Own);
    }

    #[test]
    fn the_targets_of_a_dial_are_read() {
        let calls = calls("trunk");
        let of = |data| targets(data, &calls).map(String::from).collect::<Vec<_>>();
        assert_eq!(
            of("PJSIP/101&Local/102@from-internal/n&PJSIP/79101234567@trunk,20,tT"),
            ["101", "102"]
        );
        assert_eq!(of("PJSIP/trunk/sip:101@192.0.2.1,20"), [""; 0]);
        assert_eq!(of(""), [""; 0]);
    }

    #[test]
    fn the_number_stands_in_the_dial_string() {
        for (dial_string, number) in [
            ("79101234567@trunk", Some("79101234567")),
            ("trunk/sip:+79101234567@127.0.0.2:5060", Some("+79101234567")),
            ("provider/89101234567", Some("89101234567")),
            ("g1/89101234567", Some("89101234567")),
            ("trunk", None),
            ("101/sip:operator@192.0.2.1", Some("101")),
            ("", None),
        ] {
            assert_eq!(dialed_number(dial_string), number, "{dial_string}");
        }
    }
}
