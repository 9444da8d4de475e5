//! `makeCall`: an employee clicks on a number (protocol section 3.1).
//!
//! Invariants:
//! - of a number only digits go on, `*`, `#` and a leading `+`: nothing that means something in a dial string or in the dialplan;
//! - of an employee's number only digits go on.

use super::form::Form;
use super::pattern::Patterns;
use super::refusal::Refusal;
use super::settings::Callback;

/// Longer than any number with its prefixes (E.164 has 15 digits); `AST_MAX_EXTENSION` is 80.
const LONGEST_NUMBER: usize = 40;
const LONGEST_EXT: usize = 20;

/// What an employee wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Click {
    /// The employee's number.
    pub from: String,
    /// The number to be called, as it is dialled.
    pub to: String,
}

impl Click {
    /// Reads the request.
    ///
    /// # Errors
    /// Why nobody is called.
    pub fn read(form: &Form, internal: &Patterns, settings: &Callback) -> Result<Self, Refusal> {
        let from = form.get("from");
        let digits =
            !from.is_empty() && from.len() <= LONGEST_EXT && from.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || !internal.matches(from.as_bytes()) {
            return Err(Refusal::From);
        }
        let to = dialled(form.get("to")).ok_or(Refusal::To)?;
        if to == from {
            return Err(Refusal::To);
        }
        if !may_be_called(&to, settings) {
            return Err(Refusal::Denied);
        }
        Ok(Self {
            from: from.to_owned(),
            to,
        })
    }
}

/// The number without what people write for the eye: blanks, hyphens, dots and parentheses. `None` when anything else is in it; an
/// extension behind a comma too, because what it means differs between PBXs.
fn dialled(text: &str) -> Option<String> {
    let mut number = String::new();
    for character in text.chars() {
        match character {
            '0'..='9' | '*' | '#' => number.push(character),
            '+' if number.is_empty() => number.push(character),
            ' ' | '\u{a0}' | '(' | ')' | '-' | '.' => {}
            _ => return None,
        }
    }
    let has_digit = number.bytes().any(|byte| byte.is_ascii_digit());
    (has_digit && number.len() <= LONGEST_NUMBER).then_some(number)
}

/// A plus does not get a number past a pattern that was written without it.
fn may_be_called(number: &str, settings: &Callback) -> bool {
    let bare = number.trim_start_matches('+');
    let matches =
        |patterns: &Patterns| patterns.matches(number.as_bytes()) || patterns.matches(bare.as_bytes());
    matches(&settings.allow) && !matches(&settings.deny)
}

/// How a phone is called: channel technology and the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// `PJSIP`, `Local`.
    pub technology: String,
    /// `101`, `101@from-internal/n`.
    pub resource: String,
}

impl Device {
    /// The phone of that employee.
    #[must_use]
    pub fn of(ext: &str, settings: &Callback) -> Self {
        let (technology, resource) = settings.device.split_once('/').unwrap_or_default();
        // One word ends with the other, and neither may be looked for in what was put in.
        let pieces = resource.split("CONTEXT").map(|piece| piece.replace("EXT", ext));
        let resource = pieces.collect::<Vec<_>>().join(&settings.context);
        Self {
            technology: technology.to_owned(),
            resource,
        }
    }

    /// Whether its technology can be asked if there is such a phone: not where a peer is asked for a number.
    #[must_use]
    pub fn can_be_asked_for(&self) -> bool {
        self.is_local() || !self.resource.contains(['@', '/'])
    }

    /// Whether the dialplan calls the phone.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.technology.eq_ignore_ascii_case("Local")
    }

    /// Whether PJSIP calls the phone, and nothing in between.
    #[must_use]
    pub fn is_pjsip(&self) -> bool {
        self.technology.eq_ignore_ascii_case("PJSIP")
    }
}

/// What a phone takes for the wish that it answers by itself. Which phone reads which differs.
pub const ALERT_INFO: &str = "info=alert-autoanswer";
/// As [`ALERT_INFO`].
pub const CALL_INFO: &str = "<sip:planfix>;answer-after=0";

/// The channel variables that ask the phone to answer by itself.
#[must_use]
pub fn auto_answer(device: &Device) -> Vec<(&'static str, String)> {
    let mut variables = vec![
        // For a dialplan that calls the phone: see planfix.conf.sample.
        ("__PLANFIX_AUTO_ANSWER", "yes".to_owned()),
        // FreePBX makes a header of it, for every technology (macro-dial-one).
        ("__ALERT_INFO", ALERT_INFO.to_owned()),
    ];
    if device.is_pjsip() {
        // A name with parentheses is a function that is written to (main/pbx_variables.c, pbx_builtin_setvar_helper), and variables
        // are set between the making of the channel and its call, with the channel unlocked (ast::originate).
        variables.push(("PJSIP_HEADER(add,Alert-Info)", ALERT_INFO.to_owned()));
        variables.push(("PJSIP_HEADER(add,Call-Info)", CALL_INFO.to_owned()));
    } else {
        // chan_sip, until Asterisk 20; also behind a Local channel.
        variables.push(("__SIPADDHEADER51", format!("Alert-Info: {ALERT_INFO}")));
        variables.push(("__SIPADDHEADER52", format!("Call-Info: {CALL_INFO}")));
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::{Click, Device, auto_answer, dialled};
    use crate::core::form::Form;
    use crate::core::pattern::Patterns;
    use crate::core::refusal::Refusal;
    use crate::core::settings::Callback;

    fn read(from: &str, to: &str, settings: &Callback) -> Result<Click, Refusal> {
        let body: String = form_urlencoded::Serializer::new(String::new())
            .append_pair("from", from)
            .append_pair("to", to)
            .finish();
        let internal = Patterns::parse("_XXX,_XXXX").unwrap();
        Click::read(&Form::parse(body.as_bytes()).unwrap(), &internal, settings)
    }

    #[test]
    fn a_number_is_taken_as_people_write_it() {
        for (text, number) in [
            ("79101234567", "79101234567"),
            ("+7 (910) 123-45-67", "+79101234567"),
            ("8\u{a0}910\u{a0}123.45.67", "89101234567"),
            ("*97", "*97"),
            ("#31#79101234567", "#31#79101234567"),
        ] {
            assert_eq!(dialled(text).as_deref(), Some(number));
        }
    }

    #[test]
    fn nothing_that_means_something_elsewhere_is_a_number() {
        for text in [
            "",
            " ",
            "+",
            "*",
            "()",
            "7910&SIP/1",
            "7910,123",
            "7910@evil",
            "7910|1",
            "7910/n",
            "7910;1",
            "7910\n1",
            "7910\r",
            "7910\t1",
            "${EXTEN}",
            "$[1+1]",
            "7910\0",
            "７９１０",
            "٧٩١٠",
            "7+910",
            "++7910",
            "7910w1",
            "7910p1",
            "tel:7910",
            "7910\u{fffd}",
            "7910'",
            "7910\"",
            "7910\\",
            "7910=1",
            "7910!",
            "_X.",
            "[12]",
            "79101234567\u{200b}",
            "7910<1>",
            "7910`id`",
            "7910:1",
        ] {
            assert_eq!(dialled(text), None, "{text:?}");
        }
        assert_eq!(dialled(&"1".repeat(41)), None);
    }

    #[test]
    fn whatever_comes_only_a_number_goes_on() {
        let mut random = fastrand::Rng::with_seed(4);
        let settings = Callback {
            allow: Patterns::parse("_!").unwrap(),
            ..Callback::default()
        };
        let mut taken = 0;
        for _ in 0..20_000 {
            let alphabet: Vec<char> = "0123456789+*# -().&,@|/;\n${}\0Я９".chars().collect();
            let to: String = (0..random.usize(1..6))
                .filter_map(|_| random.choice(&alphabet))
                .collect();
            let Ok(click) = read("101", &to, &settings) else {
                continue;
            };
            taken += 1;
            let digits = click.to.strip_prefix('+').unwrap_or(&click.to);
            let plain = |c: char| c.is_ascii_digit() || c == '*' || c == '#';
            assert!(
                !digits.is_empty() && digits.chars().all(plain),
                "{to:?} became {:?}",
                click.to
            );
        }
        assert!(taken > 500, "{taken} numbers");
    }

    #[test]
    fn only_an_employee_calls() {
        let settings = Callback::default();
        let to = "79101234567";
        assert!(read("101", to, &settings).is_ok());
        for from in [
            "",
            "1",
            "10101",
            "10a",
            "101&102",
            "101@x",
            "101/n",
            "１０１",
            "101\n",
            " 101",
            "+101",
            "*10",
            "_XXX",
            "${X}",
        ] {
            assert_eq!(read(from, to, &settings), Err(Refusal::From), "{from:?}");
        }
        assert_eq!(read("101", "101", &settings), Err(Refusal::To));
    }

    #[test]
    fn what_is_denied_is_denied_with_a_plus_too() {
        let settings = Callback {
            deny: Patterns::parse("_7809X.,_8809X.,_00.").unwrap(),
            ..Callback::default()
        };
        for to in [
            "78091234567",
            "+78091234567",
            "+7 (809) 123-45-67",
            "8-809-1234567",
            "0044123",
            "*97",
            "#1",
            "5",
        ] {
            assert_eq!(read("101", to, &settings), Err(Refusal::Denied), "{to:?}");
        }
        assert_eq!(read("101", "+79101234567", &settings).unwrap().to, "+79101234567");
        let with_plus = Callback {
            allow: Patterns::parse("_+7XXXXXXXXXX").unwrap(),
            ..Callback::default()
        };
        assert!(read("101", "+79101234567", &with_plus).is_ok());
        assert_eq!(read("101", "79101234567", &with_plus), Err(Refusal::Denied));
    }

    #[test]
    fn the_phone_is_called_as_the_template_says() {
        let device = |template: &str| {
            let settings = Callback {
                device: template.to_owned(),
                context: "from-EXT".to_owned(),
                ..Callback::default()
            };
            Device::of("101", &settings)
        };
        let local = device("Local/EXT@CONTEXT/n");
        assert_eq!(
            (&*local.technology, &*local.resource),
            ("Local", "101@from-EXT/n")
        );
        assert!(local.is_local() && local.can_be_asked_for());
        let phone = device("PJSIP/EXT");
        assert_eq!((&*phone.technology, &*phone.resource), ("PJSIP", "101"));
        assert!(phone.is_pjsip() && phone.can_be_asked_for());
        assert!(!device("PJSIP/EXT@gate").can_be_asked_for());
        let names = |device: &Device| {
            auto_answer(device)
                .into_iter()
                .map(|(name, _)| name)
                .collect::<Vec<_>>()
        };
        assert!(names(&phone).contains(&"PJSIP_HEADER(add,Alert-Info)"));
        assert!(!names(&local).iter().any(|name| name.contains("PJSIP_HEADER")));
    }
}
