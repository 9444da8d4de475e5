//! A client's number in the CRM's form: international digits without a plus, such as 79101234567.
//!
//! Invariants:
//! - bringing a number into the form a second time changes nothing, as long as no `rewrite` of the administrator's
//!   matches its own result;
//! - a number is never made into another subscriber's: what no rule knows keeps its digits, and a number that was
//!   written internationally keeps its plus in the few cases where its bare digits are also somebody's in Russia
//!   (+3652123456 in Hungary, 3652 123456 in Simferopol);
//! - what holds no digit at all is told as [`ANONYMOUS`].
//!
//! No crate does this for us. rlibphonenumber and phonenumber are under Apache-2.0 alone, which a GPL-2.0-only module
//! may not link. phonelib may be linked, but it tells valid numbers from others by tables of its own; what is needed
//! here is how numbers are dialled and sent in Russia and Kazakhstan, and that is the few rules below. They also leave
//! short and internal numbers alone, where those libraries read a subscriber out of every 101.

use super::pattern::{Pattern, Patterns};

/// What is told for a number that is withheld or unknown. The protocol has no word for it: SIP's own serves.
pub const ANONYMOUS: &str = "anonymous";

/// Up to here a number is a short, service or internal one: 112, 0611, 101.
const LONGEST_SHORT: usize = 6;

/// A number within a town without its area code, in Russia.
const LOCAL: usize = 7;

/// Behind an exit prefix there are at least so many: +290 22222 is a whole number of St Helena.
const SHORTEST_INTERNATIONAL: usize = 8;

/// How digits are read: `country` in planfix.conf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Country {
    /// As they are.
    None,
    /// By the rules of Russia and Kazakhstan.
    #[default]
    Seven,
}

/// One `rewrite` of planfix.conf.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rewrite {
    pattern: Pattern,
    strip: usize,
    prepend: String,
}

impl Rewrite {
    fn parse(text: &str) -> Result<Self, String> {
        let expected =
            || format!("'{text}' is not a rewrite: expected PATTERN,STRIP,PREPEND such as _98XXXXXXXXXX,1,");
        let mut fields = text.splitn(3, ',').map(str::trim);
        let (Some(pattern), Some(strip)) = (fields.next(), fields.next()) else {
            return Err(expected());
        };
        let prepend = fields.next().unwrap_or_default();
        let digits = prepend.strip_prefix('+').unwrap_or(prepend);
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(expected());
        }
        Ok(Self {
            pattern: Pattern::parse(pattern)?,
            strip: strip.parse().map_err(|_| expected())?,
            prepend: prepend.to_owned(),
        })
    }

    /// `None` when it does not match, or would leave nothing.
    fn apply(&self, number: &str) -> Option<String> {
        if !self.pattern.matches(number.as_bytes()) {
            return None;
        }
        let mut rest = number.get(self.strip..).unwrap_or_default();
        if !self.prepend.is_empty() {
            rest = rest.trim_start_matches('+');
        }
        let rewritten = format!("{}{rest}", self.prepend);
        has_digit(&rewritten).then_some(rewritten)
    }
}

/// How numbers are brought into the CRM's form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbering {
    country: Country,
    /// Three digits, or empty.
    area_code: String,
    rewrites: Vec<Rewrite>,
}

impl Numbering {
    /// The options that make this, as planfix.conf has them.
    pub fn options(&self) -> impl Iterator<Item = (&'static str, String)> + '_ {
        let country = match self.country {
            Country::None => "none",
            Country::Seven => "7",
        };
        let rewrites = self.rewrites.iter().map(|rewrite| {
            let Rewrite {
                pattern,
                strip,
                prepend,
            } = rewrite;
            ("rewrite", format!("{pattern},{strip},{prepend}"))
        });
        [
            ("country", country.to_owned()),
            ("area_code", self.area_code.clone()),
        ]
        .into_iter()
        .chain(rewrites)
    }

    /// Takes over `country`.
    ///
    /// # Errors
    /// A sentence that says what is expected.
    pub fn set_country(&mut self, text: &str) -> Result<(), String> {
        self.country = match text.to_ascii_lowercase().as_str() {
            "7" => Country::Seven,
            "none" => Country::None,
            _ => {
                return Err(format!(
                    "'{text}' is not a country: expected 7 (Russia and Kazakhstan) or none"
                ));
            }
        };
        Ok(())
    }

    /// Takes over `area_code`.
    ///
    /// # Errors
    /// A sentence that says what is expected.
    pub fn set_area_code(&mut self, text: &str) -> Result<(), String> {
        let three_digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        if !three_digits && !text.is_empty() {
            return Err(format!(
                "'{text}' is not an area code: expected three digits such as 495"
            ));
        }
        text.clone_into(&mut self.area_code);
        Ok(())
    }

    /// Takes over one `rewrite`, after those that came before.
    ///
    /// # Errors
    /// A sentence that says what is expected.
    pub fn add_rewrite(&mut self, text: &str) -> Result<(), String> {
        if !text.is_empty() {
            self.rewrites.push(Rewrite::parse(text)?);
        }
        Ok(())
    }

    /// The number as the CRM wants it. `raw` is what a channel, a dial string or a SIP header has; that it is none of
    /// the employees' must be known already.
    #[must_use]
    pub fn crm_form(&self, raw: &str) -> String {
        let bare = Bare::of(raw);
        if !has_digit(&bare.text) {
            return ANONYMOUS.to_owned();
        }
        let text = self.rewritten(bare.text);
        if is_code(&text) {
            return text;
        }
        match text.strip_prefix('+') {
            Some(digits) => self.international(digits),
            None => self.national(&text),
        }
    }

    /// Whether an employee who dials `raw` means a subscriber outside: a number that is long enough and none of the
    /// employees', no feature code (`*600`), and no extension of the dialplan's own (`s`, `vmu101`).
    #[must_use]
    pub fn is_outside(&self, raw: &str, internal: &Patterns) -> bool {
        let bare = Bare::of(raw);
        if bare.lettered || internal.matches(raw.trim().as_bytes()) || internal.matches(bare.text.as_bytes())
        {
            return false;
        }
        let form = self.crm_form(raw);
        !is_code(&form) && form.bytes().filter(u8::is_ascii_digit).count() > LONGEST_SHORT
    }

    fn rewritten(&self, text: String) -> String {
        self.rewrites
            .iter()
            .find_map(|rewrite| rewrite.apply(&text))
            .unwrap_or(text)
    }

    /// `digits` came without a plus.
    fn national(&self, digits: &str) -> String {
        if self.country == Country::None || digits.len() <= LONGEST_SHORT {
            return digits.to_owned();
        }
        if digits.len() == LOCAL && !self.area_code.is_empty() {
            return format!("7{}{digits}", self.area_code);
        }
        // The exit prefixes of Russia and of most of the world. No country's code begins with a zero.
        for prefix in ["810", "00"] {
            if let Some(rest) = digits.strip_prefix(prefix)
                && rest.len() >= SHORTEST_INTERNATIONAL
                && !rest.starts_with('0')
            {
                return self.international(rest);
            }
        }
        match digits.len() {
            10 if is_in_plan(digits) => format!("7{digits}"),
            11 if digits.starts_with('8') && is_in_plan(&digits[1..]) => format!("7{}", &digits[1..]),
            _ => digits.to_owned(),
        }
    }

    /// `digits` came with a plus or after an exit prefix.
    fn international(&self, digits: &str) -> String {
        let read_again = self.national(digits);
        // Where no country's code begins like this, the plus stands before a number as it is dialled: +8 916 1234567.
        let no_country = ["0", "810", "83", "89", "8800"]
            .iter()
            .any(|prefix| digits.starts_with(prefix));
        if read_again == digits || no_country {
            read_again
        } else {
            format!("+{digits}")
        }
    }
}

/// Whether ten digits are a number of Russia or Kazakhstan without its country code. The decades of area codes that
/// neither uses begin numbers of other countries (3725123456 in Estonia, 4512345678 in Denmark); whole decades are
/// told apart and no single codes, because new ones are allocated now and then.
fn is_in_plan(ten: &str) -> bool {
    match ten.as_bytes() {
        [b'7' | b'9', ..] => true,
        [b'3', second, ..] => b"045689".contains(second),
        [b'4', second, ..] => b"012789".contains(second),
        [b'8', second, ..] => b"01234567".contains(second),
        _ => false,
    }
}

fn has_digit(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_digit())
}

/// Whether it is something for a PBX to act on, such as `*600` or `#31#79101234567`, and no number.
fn is_code(text: &str) -> bool {
    text.contains(['*', '#'])
}

/// A number without its decoration.
struct Bare {
    /// Digits, `*` and `#`, and a plus in front if there was one.
    text: String,
    /// Whether letters stood before the digits: a name, but no number that somebody dials.
    lettered: bool,
}

impl Bare {
    fn of(raw: &str) -> Self {
        // "Name" <sip:number@host;user=phone>
        let address = raw.rsplit_once('<').map_or(raw, |(_, address)| address).trim();
        let number = ["sips:", "sip:", "tel:"]
            .iter()
            .find_map(|scheme| {
                let (head, rest) = address.split_at_checked(scheme.len())?;
                head.eq_ignore_ascii_case(scheme).then_some(rest)
            })
            .unwrap_or(address);
        let mut bare = Self {
            text: String::new(),
            lettered: false,
        };
        for c in number.chars() {
            match c {
                // The host, parameters, digits to be sent after the answer.
                '@' | ';' | ',' | '>' => break,
                '+' if bare.text.is_empty() => bare.text.push(c),
                '0'..='9' | '*' | '#' => bare.text.push(c),
                // An extension behind the number: `доб. 12`, `ext. 12`, `x12`, `w12`.
                _ if c.is_alphabetic() && has_digit(&bare.text) => break,
                _ if c.is_alphabetic() => bare.lettered = true,
                _ => {}
            }
        }
        // The key that ends dialling.
        if has_digit(&bare.text) && !bare.text.starts_with(['*', '#']) {
            bare.text.truncate(bare.text.trim_end_matches('#').len());
        }
        bare
    }
}

#[cfg(test)]
mod tests {
    use super::{ANONYMOUS, Numbering};
    use crate::core::pattern::Patterns;

    fn numbering(country: &str, area_code: &str, rewrites: &[&str]) -> Numbering {
        let mut numbering = Numbering::default();
        numbering.set_country(country).unwrap();
        numbering.set_area_code(area_code).unwrap();
        for rewrite in rewrites {
            numbering.add_rewrite(rewrite).unwrap();
        }
        numbering
    }

    fn assert_forms(numbering: &Numbering, table: &[(&str, &str)]) {
        for (raw, expected) in table {
            let form = numbering.crm_form(raw);
            assert_eq!(form, *expected, "{raw:?}");
            assert_eq!(numbering.crm_form(&form), form, "{raw:?} for the second time");
        }
    }

    #[test]
    fn numbers_of_russia_and_kazakhstan() {
        assert_forms(
            &Numbering::default(),
            &[
                ("89161234567", "79161234567"),
                ("9161234567", "79161234567"),
                ("+7 (916) 123-45-67", "79161234567"),
                ("79161234567", "79161234567"),
                ("+79161234567", "79161234567"),
                ("8 (495) 645-12-34", "74956451234"),
                ("4956451234", "74956451234"),
                ("3432123456", "73432123456"),
                ("8123456789", "78123456789"),
                ("84959898533", "74959898533"),
                ("87011234567", "77011234567"),
                ("7011234567", "77011234567"),
                ("77272501234", "77272501234"),
                ("88001234567", "78001234567"),
                ("8-800-555-35-35", "78005553535"),
                ("8005553535", "78005553535"),
                ("8.916.123.45.67", "79161234567"),
                // Written by many, although no country's code begins so.
                ("+8 916 123-45-67", "79161234567"),
                ("+8 800 555-35-35", "78005553535"),
                ("+09161234567", "09161234567"),
            ],
        );
    }

    #[test]
    fn numbers_of_other_countries() {
        assert_forms(
            &Numbering::default(),
            &[
                ("810491711234567", "491711234567"),
                ("8 10 44 20 7946 0000", "442079460000"),
                ("81079161234567", "79161234567"),
                ("00491711234567", "491711234567"),
                ("0079161234567", "79161234567"),
                ("+00491711234567", "491711234567"),
                ("+810491711234567", "491711234567"),
                ("+491711234567", "491711234567"),
                ("375291234567", "375291234567"),
                ("+375291234567", "375291234567"),
                ("998901234567", "998901234567"),
                ("37491123456", "37491123456"),
                ("12025550123", "12025550123"),
                // Eleven digits after an 8, ten after a 3 or a 4, and yet not of Russia.
                ("85212345678", "85212345678"),
                ("81312345678", "81312345678"),
                ("3725123456", "3725123456"),
                ("+3725123456", "3725123456"),
                ("4512345678", "4512345678"),
                // Their bare digits are numbers in Simferopol, Belgorod and Moscow: the plus has to stay.
                ("+3652123456", "+3652123456"),
                ("+4722123456", "+4722123456"),
                ("+84991234567", "+84991234567"),
                ("81084991234567", "+84991234567"),
            ],
        );
    }

    #[test]
    fn short_and_service_numbers_stay_and_codes_too() {
        assert_forms(
            &numbering("7", "495", &[]),
            &[
                ("112", "112"),
                ("102", "102"),
                ("101", "101"),
                ("1234", "1234"),
                ("0611", "0611"),
                ("01", "01"),
                ("123456", "123456"),
                ("+101", "101"),
                ("sip:101@10.0.0.5", "101"),
                ("*600", "*600"),
                ("*21*89161234567#", "*21*89161234567#"),
                ("#31#89161234567", "#31#89161234567"),
            ],
        );
    }

    #[test]
    fn decoration_goes() {
        assert_forms(
            &Numbering::default(),
            &[
                ("8 916 1234567 доб. 12", "79161234567"),
                ("8 916 1234567 ДОБ 12", "79161234567"),
                ("8 (916) 123-45-67, доб. 12", "79161234567"),
                ("+7 916 123 45 67 ext. 12", "79161234567"),
                ("+7 916 123 45 67x12", "79161234567"),
                ("+79161234567,,101", "79161234567"),
                ("89161234567#", "79161234567"),
                ("sip:+79161234567@10.0.0.1:5060;user=phone", "79161234567"),
                ("SIPS:89161234567@pbx2.example.com", "79161234567"),
                ("\"Иван 2\" <sip:+79161234567@example.com>;tag=1", "79161234567"),
                ("tel:+7-916-123-45-67;phone-context=example.com", "79161234567"),
                ("тел. 8\u{a0}916\u{a0}123‑45‑67", "79161234567"),
                ("\u{202a}+79161234567\u{202c}", "79161234567"),
                ("(+7) 916 1234567", "79161234567"),
            ],
        );
    }

    #[test]
    fn words_are_anonymous() {
        for raw in [
            "",
            " ",
            "+",
            "-",
            "anonymous",
            "Anonymous",
            "unknown",
            "restricted",
            "sip:anonymous@anonymous.invalid",
            "\"Anonymous\" <sip:anonymous@10.0.0.1>",
            "Скрытый номер",
            "s",
        ] {
            assert_eq!(Numbering::default().crm_form(raw), ANONYMOUS, "{raw:?}");
        }
    }

    #[test]
    fn what_no_rule_knows_keeps_its_digits() {
        assert_forms(
            &Numbering::default(),
            &[
                ("6451234", "6451234"),
                ("645-12-34", "6451234"),
                ("64512345", "64512345"),
                ("1234567890123456789", "1234567890123456789"),
                ("line12345678", "12345678"),
                ("0009161234567", "0009161234567"),
            ],
        );
    }

    #[test]
    fn a_local_number_gets_the_area_code() {
        assert_forms(
            &numbering("7", "495", &[]),
            &[
                ("6451234", "74956451234"),
                ("645-12-34 доб. 5", "74956451234"),
                ("9161234567", "79161234567"),
                // Not a local number.
                ("+6451234", "+6451234"),
            ],
        );
    }

    #[test]
    fn without_a_country_the_digits_are_kept() {
        assert_forms(
            &numbering("none", "495", &[]),
            &[
                ("8 (029) 123-45-67", "80291234567"),
                ("+375 29 123-45-67", "375291234567"),
                ("6451234", "6451234"),
                ("00491711234567", "00491711234567"),
                ("unknown", ANONYMOUS),
            ],
        );
        let belarus = ["_80XXXXXXXXX,2,375", "_XXXXXXX,0,37517"];
        assert_forms(
            &numbering("none", "", &belarus),
            &[
                ("8 (029) 123-45-67", "375291234567"),
                ("245-67-89", "375172456789"),
                ("+375291234567", "375291234567"),
            ],
        );
    }

    #[test]
    fn the_first_rewrite_that_matches_goes_before_the_rules() {
        let rewrites = ["_98X.,1,", "_9.,0,8", "_+380X.,1,00", "_*67X.,3,", "_55XXX,9,"];
        assert_forms(
            &numbering("7", "", &rewrites),
            &[
                ("989161234567", "79161234567"),
                // The second one matches as well, and an empty PREPEND keeps what is left.
                ("98 10 49 171 1234567", "491711234567"),
                ("9161234567", "79161234567"),
                ("*6789161234567", "79161234567"),
                ("+380441234567", "380441234567"),
                ("89161234567", "79161234567"),
                // It would leave nothing, so it does not apply.
                ("55123", "55123"),
            ],
        );
        let international = numbering("7", "", &["_XX.,0,+"]);
        assert_forms(&international, &[("491711234567", "491711234567")]);
        assert_eq!(
            international.crm_form("+4722123456"),
            "+4722123456",
            "one plus is enough"
        );
    }

    #[test]
    fn wrong_options_are_named() {
        let mut numbering = Numbering::default();
        assert_eq!(
            numbering.set_country("RU").unwrap_err(),
            "'RU' is not a country: expected 7 (Russia and Kazakhstan) or none"
        );
        for wrong in ["49", "4951", "49a", "８１２"] {
            assert!(
                numbering
                    .set_area_code(wrong)
                    .unwrap_err()
                    .contains("expected three digits"),
                "{wrong}"
            );
        }
        for wrong in [
            "_9X.",
            "_9X.,x,7",
            "_9X.,-1,7",
            "_9X.,,7",
            "_9X.,1,7a",
            "_9X.,1,7,8",
        ] {
            assert_eq!(
                numbering.add_rewrite(wrong).unwrap_err(),
                format!(
                    "'{wrong}' is not a rewrite: expected PATTERN,STRIP,PREPEND such as _98XXXXXXXXXX,1,"
                )
            );
        }
        assert_eq!(
            numbering.add_rewrite("_[9,1,").unwrap_err(),
            "pattern '_[9' has a '[' without its ']'"
        );
        assert_eq!(numbering, Numbering::default(), "nothing of it was taken over");
    }

    #[test]
    fn an_employee_dials_outside_or_not() {
        let internal = Patterns::parse("_XXX,_77XXXXX").unwrap();
        for (raw, expected) in [
            ("89161234567", true),
            ("+79161234567", true),
            ("9161234567", true),
            ("6451234", true),
            ("810491711234567", true),
            ("00491711234567", true),
            ("sip:89161234567@provider", true),
            ("089161234", true),
            ("101", false),
            ("7712345", false),
            ("771-23-45", false),
            ("112", false),
            ("0611", false),
            ("123456", false),
            ("*600", false),
            ("*21*89161234567", false),
            ("s", false),
            ("h", false),
            ("", false),
            ("vmu101", false),
            ("in-79161234567", false),
        ] {
            assert_eq!(
                Numbering::default().is_outside(raw, &internal),
                expected,
                "{raw:?}"
            );
        }
        let numbering = numbering("7", "", &["_9XX,1,78122345", "_*67X.,3,"]);
        assert!(numbering.is_outside("*6789161234567", &internal));
        assert!(numbering.is_outside("955", &Patterns::default()));
        assert!(!numbering.is_outside("955", &internal), "employees go first");
    }

    /// Text that looks like a number more often than not.
    fn text(random: &mut fastrand::Rng) -> String {
        const PIECES: [&str; 36] = [
            "+",
            "8",
            "7",
            "810",
            "00",
            "0",
            "3",
            "4",
            "9",
            "375",
            "998",
            "495",
            "800",
            "84",
            "372",
            "47",
            "(",
            ")",
            "-",
            " ",
            ".",
            "sip:",
            "tel:",
            "@10.0.0.1",
            ";user=phone",
            ",,101",
            "доб. 12",
            " ext. 5",
            "*",
            "#",
            "<",
            ">",
            "x",
            "\u{a0}",
            "anonymous",
            "й",
        ];
        let mut text = String::new();
        for _ in 0..random.usize(0..6) {
            text += random.choice(PIECES).unwrap();
        }
        for _ in 0..random.usize(0..13) {
            text.push(random.digit(10));
        }
        for _ in 0..random.usize(0..3) {
            text += random.choice(PIECES).unwrap();
        }
        text
    }

    #[test]
    fn the_form_is_a_number_and_stays_as_it_is() {
        let mut random = fastrand::Rng::with_seed(3);
        let all = [
            Numbering::default(),
            numbering("7", "812", &[]),
            numbering("none", "", &[]),
            numbering("7", "", &["_98X.,1,"]),
        ];
        for round in 0..30_000 {
            let raw = text(&mut random);
            for numbering in &all[..3] {
                let form = numbering.crm_form(&raw);
                assert_eq!(numbering.crm_form(&form), form, "{raw:?} in round {round}");
            }
            let form = all[round % all.len()].crm_form(&raw);
            assert!(
                form == ANONYMOUS
                    || form.strip_prefix('+').unwrap_or(&form).bytes().all(|byte| {
                        byte.is_ascii_digit() || raw.contains(['*', '#']) && b"*#".contains(&byte)
                    }),
                "{raw:?} became {form:?} in round {round}"
            );
            assert_eq!(
                form == ANONYMOUS,
                !form.bytes().any(|byte| byte.is_ascii_digit()),
                "{raw:?} in round {round}"
            );
        }
    }

    #[test]
    fn every_way_of_writing_a_number_is_the_same_number() {
        let mut random = fastrand::Rng::with_seed(4);
        let numbering = Numbering::default();
        for _ in 0..5_000 {
            let ten = format!(
                "{}{:08}",
                random.choice(["90", "91", "49", "34", "80", "70", "85"]).unwrap(),
                random.u32(0..100_000_000)
            );
            for prefix in ["", "7", "8", "+7", "+7 ", "8 (", "0 0 7", "8-10-7", "sip:+7"] {
                assert_eq!(
                    numbering.crm_form(&format!("{prefix}{ten}")),
                    format!("7{ten}"),
                    "{prefix}{ten}"
                );
            }
        }
    }
}
