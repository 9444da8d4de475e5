//! Replaces clients' numbers by others, so that what a PBX saw can be shown to strangers.
//!
//! Invariants:
//! - the same number has the same mask in all its forms: `+79101234567`, `89101234567`, `9101234567`,
//!   `+7 (910) 123-45-67`; and two numbers never have the same one;
//! - what the tracker decides is the same: lengths, signs, country and area codes stay, a number that is the end of another
//!   stays its end, and whatever matches `internal` stays as it is, while nothing else becomes such;
//! - without the key, which is written nowhere, nobody tells the number from the mask.
//!
//! It leaves alone what is no number of a subscriber: less than seven digits, a channel's sequence number, the unique ids that
//! Asterisk makes, IPv4 addresses.

use std::borrow::Cow;
use std::hash::BuildHasher;

use serde_json::Value;

use super::pattern::Patterns;
use super::record::Record;
use super::trace::Header;

/// Fewer digits are an internal, a short or a service number, or no number at all.
const SHORTEST: usize = 7;
/// So many digits at the end are a subscriber's own; those before say the country, the area or the operator, by which the
/// rules for numbers go.
const OWN: usize = 7;
/// What stands inside a number that is written for people.
const DECORATION: &str = " -.()";
/// At most so much of it between two digits: `7) (9`.
const MOST_DECORATION: usize = 3;
/// A list of patterns that matches almost every number of a length does not keep us busy for ever.
const MOST_TRIES: usize = 1_000;

/// The way from a number to its mask. The hasher is the key.
#[derive(Clone, Debug)]
pub struct Mask<S> {
    key: S,
    internal: Patterns,
}

impl<S: BuildHasher> Mask<S> {
    /// One with this key, for employees with these numbers.
    pub fn new(key: S, internal: Patterns) -> Self {
        Self { key, internal }
    }

    /// The header with the numbers in its options masked.
    #[must_use]
    pub fn header(&self, header: &Header) -> Header {
        let mut header = header.clone();
        header.masked = true;
        for (name, value) in &mut header.calls {
            // A pattern is no number, whatever digits are in it, and these hold patterns alone.
            if name != "internal" && name != "rewrite" {
                *value = self.text(value).into_owned();
            }
        }
        header
    }

    /// The record with every number in it masked.
    ///
    /// # Errors
    /// Never for a record; the serializer's type has one.
    pub fn record(&self, record: &Record) -> serde_json::Result<Record> {
        // By its written form, so that no field is forgotten, those of a later version included.
        let mut value = serde_json::to_value(record)?;
        self.value("", &mut value);
        serde_json::from_value(value)
    }

    fn value(&self, name: &str, value: &mut Value) {
        match value {
            Value::String(text) => {
                let masked = match name {
                    "uniqueid" | "linkedid" | "swapped" => self.id(text),
                    "name" => self.name(text),
                    _ => self.text(text),
                };
                if let Cow::Owned(masked) = masked {
                    *text = masked;
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.value(name, value)),
            Value::Object(fields) => fields
                .iter_mut()
                .for_each(|(name, value)| self.value(name, value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// A unique id is `1700000000.12`, perhaps behind the system's name and a hyphen; whoever originates a call can choose
    /// another one, and put a number into it.
    fn id<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let own = text.rsplit('-').next().unwrap_or(text);
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        match own.split_once('.') {
            Some((seconds, count)) if digits(seconds) && digits(count) => {
                let before = &text[..text.len() - own.len()];
                join(self.text(before), own, text)
            }
            _ => self.text(text),
        }
    }

    /// A channel's name ends with its sequence number, behind the last hyphen: eight hexadecimal digits for most
    /// technologies, and a half of a Local channel or a mark of a masquerade behind them.
    fn name<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let Some((before, sequence)) = text.rsplit_once('-') else {
            return self.text(text);
        };
        let number = sequence.split([';', '<']).next().unwrap_or_default();
        if number.is_empty() || number.len() > 8 || !number.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return self.text(text);
        }
        join(self.text(before), &text[before.len()..], text)
    }

    /// The text with every number in it masked.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut out = String::new();
        let mut copied = 0;
        let mut at = 0;
        while let Some(start) = text[at..].find(|c: char| c.is_ascii_digit()) {
            let start = at + start;
            let found = number(text, start);
            if found.digits >= SHORTEST && !found.is_address {
                let raw = &text[start..found.end];
                let digits: String = raw.chars().filter(char::is_ascii_digit).collect();
                if let Some(masked) = self.number(&digits) {
                    out.push_str(&text[copied..start]);
                    let mut masked = masked.chars();
                    out.extend(raw.chars().map(|c| {
                        let digit = c.is_ascii_digit().then(|| masked.next());
                        digit.flatten().unwrap_or(c)
                    }));
                    copied = found.end;
                }
            }
            at = found.end;
        }
        if copied == 0 {
            return Cow::Borrowed(text);
        }
        out.push_str(&text[copied..]);
        Cow::Owned(out)
    }

    /// The mask of that many digits; `None` when they are an employee's number.
    fn number(&self, digits: &str) -> Option<String> {
        if self.internal.matches(digits.as_bytes()) {
            return None;
        }
        // Walking on along the cycle until a number fits keeps different numbers different.
        let mut masked = self.shifted(digits);
        for _ in 0..MOST_TRIES {
            if !self.internal.matches(masked.as_bytes()) {
                break;
            }
            masked = self.shifted(&masked);
        }
        Some(masked)
    }

    /// Each of the last digits moves on by what the digits behind it say, so the ends of numbers correspond.
    fn shifted(&self, digits: &str) -> String {
        let from = digits.len().saturating_sub(OWN);
        let mut shifted = digits[..from].to_owned();
        for (index, digit) in digits.bytes().enumerate().skip(from) {
            let behind = &digits[index + 1..];
            // The last digit always moves, so no number is its own mask.
            let by = match behind {
                "" => 1 + self.key.hash_one(behind) % 9,
                _ => self.key.hash_one(behind) % 10,
            };
            let moved = (u64::from(digit - b'0') + by) % 10;
            shifted.extend(char::from_digit(u32::try_from(moved).unwrap_or(0), 10));
        }
        shifted
    }
}

/// `before` masked, with what follows it in the text; the text itself where nothing was to be masked.
fn join<'a>(before: Cow<'_, str>, behind: &str, text: &'a str) -> Cow<'a, str> {
    match before {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        Cow::Owned(mut masked) => {
            masked.push_str(behind);
            Cow::Owned(masked)
        }
    }
}

struct Number {
    end: usize,
    digits: usize,
    is_address: bool,
}

/// What begins with the digit at `start`: digits in a row; or groups with decoration between them, if no group is long
/// enough to be a number of its own.
fn number(text: &str, start: usize) -> Number {
    let bytes = text.as_bytes();
    let row = |from: usize| {
        bytes[from..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    };
    let mut groups = vec![row(start)];
    let mut end = start + groups[0];
    let mut dots = 0;
    while groups[groups.len() - 1] < SHORTEST {
        let gap = bytes[end..]
            .iter()
            .take_while(|byte| DECORATION.as_bytes().contains(byte))
            .count();
        let next = row(end + gap);
        if gap == 0 || gap > MOST_DECORATION || next == 0 || next >= SHORTEST {
            break;
        }
        dots += usize::from(&bytes[end..end + gap] == b".");
        groups.push(next);
        end += gap + next;
    }
    Number {
        end,
        digits: groups.iter().sum(),
        is_address: groups.len() == 4 && dots == 3 && groups.iter().all(|group| *group <= 3),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::hash::{BuildHasherDefault, DefaultHasher};

    use super::Mask;
    use crate::core::pattern::Patterns;
    use crate::core::phone::Numbering;
    use crate::core::record::{Channel, Phase, Record, What};
    use crate::core::settings::Calls;
    use crate::core::trace::Header;
    use crate::core::trunks::Trunks;

    type Key = BuildHasherDefault<DefaultHasher>;

    fn mask(internal: &str) -> Mask<Key> {
        Mask::new(Key::default(), Patterns::parse(internal).unwrap())
    }

    fn digits(text: &str) -> String {
        text.chars().filter(char::is_ascii_digit).collect()
    }

    #[test]
    fn a_number_has_the_same_mask_in_all_its_forms() {
        let mask = mask("_XXX,_XXXX");
        let ten = mask.text("9101234567").into_owned();
        assert!(
            ten.starts_with("910") && ten != "9101234567" && ten.len() == 10,
            "{ten}"
        );
        for (form, before) in [
            ("+79101234567", "+7"),
            ("89101234567", "8"),
            ("79101234567", "7"),
            ("981089101234567", "98108"),
        ] {
            assert_eq!(mask.text(form), format!("{before}{ten}"), "{form}");
        }
        for form in [
            "+7 (910) 123-45-67",
            "8-910-123-45-67",
            "8.910.123.45.67",
            "7 910 1234567",
        ] {
            let masked = mask.text(form);
            assert!(digits(&masked).ends_with(&ten), "{form} is {masked}");
            assert_eq!(
                masked.replace(|c: char| c.is_ascii_digit(), "0"),
                form.replace(|c: char| c.is_ascii_digit(), "0")
            );
        }
        let numbering = Numbering::default();
        for form in ["+79101234567", "89101234567", "9101234567", "+7 (910) 123-45-67"] {
            assert_eq!(numbering.crm_form(&mask.text(form)), format!("7{ten}"), "{form}");
        }
    }

    #[test]
    fn the_end_of_a_number_stays_its_end() {
        let mask = mask("_XXX");
        for whole in ["981099105551234567", "89105551234567", "74951234567"] {
            let masked = mask.text(whole).into_owned();
            for from in 1..=whole.len() - 7 {
                assert!(
                    masked.ends_with(&*mask.text(&whole[from..])),
                    "{whole} from {from}"
                );
            }
        }
    }

    #[test]
    fn different_numbers_have_different_masks() {
        let mask = mask("_XXX");
        let mut draw = fastrand::Rng::with_seed(3);
        let numbers: BTreeSet<String> = (0..20_000)
            .map(|_| format!("7910{:07}", draw.u32(0..10_000_000)))
            .collect();
        let masks: BTreeSet<String> = numbers
            .iter()
            .map(|number| mask.text(number).into_owned())
            .collect();
        assert_eq!(masks.len(), numbers.len());
        assert!(numbers.iter().all(|number| mask.text(number) != **number));
    }

    #[test]
    fn what_is_no_clients_number_stays() {
        let mask = mask("_XXX,_749512345XX");
        for text in [
            "",
            "101",
            "112233",
            "s",
            "PJSIP/101&PJSIP/102,20,tT",
            "sip:101@192.168.100.101:5060",
            "74951234507",
            "Иван",
        ] {
            assert_eq!(mask.text(text), text);
        }
        for id in ["1700000000.12", "pbx-1700000000.12"] {
            assert_eq!(mask.id(id), id);
        }
        for name in [
            "PJSIP/101-00000001",
            "Local/101@from-internal-0000000a;2",
            "PJSIP/trunk-00000001<ZOMBIE>",
            "CBAnn/room-00000007;1",
        ] {
            assert_eq!(mask.name(name), name);
        }
    }

    #[test]
    fn no_other_number_becomes_an_employees() {
        // One in ten numbers of seven digits is an employee's.
        let mask = mask("_1XXXXXX");
        assert_eq!(mask.text("1234567"), "1234567");
        let masks: BTreeSet<String> = (2_000_000..2_020_000)
            .map(|number| mask.text(&number.to_string()).into_owned())
            .collect();
        assert_eq!(masks.len(), 20_000);
        assert!(masks.iter().all(|masked| !masked.starts_with('1')));
    }

    #[test]
    fn numbers_are_found_wherever_they_stand() {
        let mask = mask("_XXX");
        let number = mask.text("89101234567").into_owned();
        for (text, masked) in [
            (
                "trunk/sip:89101234567@192.0.2.1:5060",
                format!("trunk/sip:{number}@192.0.2.1:5060"),
            ),
            ("Client 89101234567 (VIP)", format!("Client {number} (VIP)")),
            (
                "PJSIP/101&PJSIP/89101234567@trunk,20",
                format!("PJSIP/101&PJSIP/{number}@trunk,20"),
            ),
            ("звонок с 89101234567", format!("звонок с {number}")),
        ] {
            assert_eq!(mask.text(text), masked);
        }
        assert_eq!(
            mask.name("DAHDI/i1/89101234567-1"),
            format!("DAHDI/i1/{number}-1")
        );
        assert_eq!(
            mask.name("SIP/89101234567-0000000a"),
            format!("SIP/{number}-0000000a")
        );
        assert_eq!(
            mask.name("Local/89101234567@x-00000001;1"),
            format!("Local/{number}@x-00000001;1")
        );
        assert_eq!(mask.id("click-89101234567"), format!("click-{number}"));
        assert_eq!(
            mask.id("89101234567-1700000000.1"),
            format!("{number}-1700000000.1")
        );
    }

    #[test]
    fn no_field_of_a_record_is_forgotten() {
        let mask = mask("_XXX");
        let secret = "9101234567";
        let channel = Channel {
            uniqueid: "1700000000.1".into(),
            linkedid: secret.into(),
            name: format!("PJSIP/{secret}-00000001").into(),
            caller: secret.into(),
            connected: secret.into(),
            dialed: secret.into(),
            rdnis: secret.into(),
            context: secret.into(),
            exten: secret.into(),
            application: "Dial".into(),
            data: format!("PJSIP/{secret}@trunk").into(),
            created: 1_700_000_000_000_000,
            ..Channel::default()
        };
        for what in [
            What::Dial {
                phase: Phase::Begin,
                status: "".into(),
                caller: Some(channel.clone().into()),
                peer: channel.clone(),
                dial_string: secret.into(),
                forward: secret.into(),
                forwarded: Some(channel.clone().into()),
            },
            What::Variable {
                uniqueid: "1700000000.1".into(),
                linkedid: secret.into(),
                name: "FROM_DID".into(),
                value: secret.into(),
            },
        ] {
            let record = Record {
                time: 1_700_000_000_000_000,
                what,
            };
            let masked = mask.record(&record).unwrap();
            let line = serde_json::to_string(&masked).unwrap();
            assert!(!line.contains(secret), "{line}");
            assert!(
                line.contains("\"uniqueid\":\"1700000000.1\"") && line.contains("1700000000000000"),
                "{line}"
            );
            assert_eq!(mask.record(&record).unwrap(), masked);
        }
    }

    #[test]
    fn the_header_keeps_its_patterns() {
        let calls = Calls {
            internal: Patterns::parse("_XXX,_7495123456X").unwrap(),
            trunks: Trunks::parse("PJSIP/74951112233,gsm").unwrap(),
            ..Calls::default()
        };
        let header = mask("_XXX,_7495123456X").header(&Header::new("0.1.0", "22.1.0", &calls));
        assert!(header.masked);
        let settings = header.settings().unwrap();
        assert_eq!(settings.internal, calls.internal);
        let trunk = mask("_XXX").text("74951112233").into_owned();
        assert!(settings.trunks.matches("PJSIP", &trunk) && settings.trunks.matches("PJSIP", "gsm"));
        assert_eq!((&*header.module, &*header.asterisk), ("0.1.0", "22.1.0"));
    }
}
