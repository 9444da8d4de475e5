//! What the dialplan gives to OP_GREETING, OpGreeting and OpGreetingMenu.
//!
//! Invariant: what is not understood is refused with a sentence that names it, and nothing is done.

use std::borrow::Cow;

use super::attribute::Attribute;
use super::kind::Kind;
use crate::core::args;

/// Whoever listens more often than so does not listen.
const MOST_TIMES: u32 = 10;

/// The keys of a phone, and those that only few have.
pub const KEYS: &str = "0123456789*#ABCD";

/// `OP_GREETING(ext[@tenant],attribute[,kind])`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask<'a> {
    pub ext: Cow<'a, [u8]>,
    pub attribute: Attribute,
    pub kind: Option<Kind>,
}

impl<'a> Ask<'a> {
    /// Reads the arguments.
    ///
    /// # Errors
    /// A sentence that names the argument.
    pub fn parse(text: &'a [u8]) -> Result<Self, String> {
        // One by one: a channel waits for this, and a list would have to be allocated.
        let (ext, rest) = args::first(text);
        let (attribute, rest) = rest.map(args::first).unwrap_or_default();
        let (kind, rest) = rest.map(args::first).unwrap_or_default();
        if let Some(rest) = rest {
            let count = 3 + args::split(rest).len();
            return Err(too_many(count, "an operator, an attribute and a kind"));
        }
        Ok(Self {
            ext: trim(ext),
            attribute: Attribute::parse(&attribute)
                .map_err(|fault| format!("argument 2 (attribute): {fault}"))?,
            kind: read_kind(&trim(kind)).map_err(|fault| format!("argument 3 (kind): {fault}"))?,
        })
    }
}

/// `OpGreeting([ext][,kind][,options])`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Play<'a> {
    /// Blank: whoever was called.
    pub ext: Cow<'a, [u8]>,
    /// `None`: by how the call ended.
    pub kind: Option<Kind>,
    /// `a`: the call is answered first.
    pub answer: bool,
    /// `x`: that kind or nothing.
    pub exact: bool,
    /// `s`: the operator's own or nothing.
    pub own: bool,
    /// `r(N)`: how often.
    pub times: u32,
    /// `d` or `d(keys)`: the keys that end it.
    pub keys: String,
}

impl<'a> Play<'a> {
    /// Reads the arguments.
    ///
    /// # Errors
    /// A sentence that names the argument.
    pub fn parse(text: &'a [u8]) -> Result<Self, String> {
        let mut list = split(text, 3, "an operator, a kind and options")?.into_iter();
        let ext = list.next().unwrap_or_default();
        let kind = list.next().unwrap_or_default();
        let mut play = Self {
            ext,
            kind: read_kind(&kind).map_err(|fault| format!("argument 2 (kind): {fault}"))?,
            answer: false,
            exact: false,
            own: false,
            times: 1,
            keys: String::new(),
        };
        for (letter, value) in options(&list.next().unwrap_or_default())
            .map_err(|fault| format!("argument 3 (options): {fault}"))?
        {
            play.set(letter, value)
                .map_err(|fault| format!("argument 3 (options): {fault}"))?;
        }
        Ok(play)
    }

    fn set(&mut self, letter: char, value: Option<String>) -> Result<(), String> {
        match (letter, value) {
            ('a', None) => self.answer = true,
            ('x', None) => self.exact = true,
            ('s', None) => self.own = true,
            ('d', None) => KEYS.clone_into(&mut self.keys),
            ('d', Some(keys)) if !keys.is_empty() && keys.chars().all(|key| KEYS.contains(key)) => {
                self.keys = keys;
            }
            ('d', Some(keys)) => {
                return Err(format!(
                    "d({}) names no keys: expected some of {KEYS}",
                    shown(&keys)
                ));
            }
            ('r', Some(times)) => {
                let count = times.trim().parse().ok();
                self.times = count
                    .filter(|count| (1..=MOST_TIMES).contains(count))
                    .ok_or_else(|| {
                        format!(
                            "r({}) is not how often: expected r(1) to r({MOST_TIMES})",
                            shown(&times)
                        )
                    })?;
            }
            (letter, value) => return Err(unknown(letter, value, "a, d, d(keys), r(N), s and x")),
        }
        Ok(())
    }
}

/// Whether the menu asks for the PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskPin {
    /// On phones that are not the operator's.
    Elsewhere,
    /// `p`: on every phone.
    Always,
    /// `s`: never; the dialplan knows who it is.
    Never,
}

/// `OpGreetingMenu([ext][,options])`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enter<'a> {
    /// Blank: whose phone it is.
    pub ext: Cow<'a, [u8]>,
    pub pin: AskPin,
    /// `k(kind)`: of which greetings it speaks first.
    pub kind: Kind,
}

impl<'a> Enter<'a> {
    /// Reads the arguments.
    ///
    /// # Errors
    /// A sentence that names the argument.
    pub fn parse(text: &'a [u8]) -> Result<Self, String> {
        let mut list = split(text, 2, "an operator and options")?.into_iter();
        let mut enter = Self {
            ext: list.next().unwrap_or_default(),
            pin: AskPin::Elsewhere,
            kind: Kind::Default,
        };
        for (letter, value) in options(&list.next().unwrap_or_default())
            .map_err(|fault| format!("argument 2 (options): {fault}"))?
        {
            enter
                .set(letter, value)
                .map_err(|fault| format!("argument 2 (options): {fault}"))?;
        }
        Ok(enter)
    }

    fn set(&mut self, letter: char, value: Option<String>) -> Result<(), String> {
        match (letter, value) {
            ('p', None) if self.pin != AskPin::Never => self.pin = AskPin::Always,
            ('s', None) if self.pin != AskPin::Always => self.pin = AskPin::Never,
            ('p' | 's', None) => return Err("p and s contradict each other".to_owned()),
            ('k', Some(kind)) => self.kind = Kind::parse(&kind)?,
            (letter, value) => return Err(unknown(letter, value, "k(kind), p and s")),
        }
        Ok(())
    }
}

/// The arguments without the blanks around them. There may be fewer than `most`.
fn split<'a>(text: &'a [u8], most: usize, what: &str) -> Result<Vec<Cow<'a, [u8]>>, String> {
    let mut list = args::split(text);
    if list.len() > most {
        return Err(too_many(list.len(), what));
    }
    for argument in &mut list {
        *argument = trim(std::mem::take(argument));
    }
    Ok(list)
}

fn too_many(count: usize, what: &str) -> String {
    format!("{count} arguments were given, it takes {what}")
}

fn trim(argument: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    match argument {
        Cow::Borrowed(bytes) => Cow::Borrowed(bytes.trim_ascii()),
        Cow::Owned(bytes) => Cow::Owned(bytes.trim_ascii().to_vec()),
    }
}

fn read_kind(text: &[u8]) -> Result<Option<Kind>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let text: String = String::from_utf8_lossy(text).chars().take(40).collect();
    Kind::parse(&text).map(Some)
}

/// Letters, each with what stands in parentheses behind it: `ar(2)`.
fn options(text: &[u8]) -> Result<Vec<(char, Option<String>)>, String> {
    let text = String::from_utf8_lossy(text);
    let mut rest = text.trim_start();
    let mut list = Vec::new();
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        let mut value = None;
        if let Some(inner) = rest.strip_prefix('(') {
            let (inside, after) = inner
                .split_once(')')
                .ok_or_else(|| format!("'(' after {} has no ')'", letter.escape_debug()))?;
            value = Some(inside.to_owned());
            rest = after;
        }
        list.push((letter, value));
        rest = rest.trim_start();
    }
    Ok(list)
}

fn unknown(letter: char, value: Option<String>, known: &str) -> String {
    let value = value.map_or_else(String::new, |value| format!("({})", shown(&value)));
    format!("'{}{value}' is unknown: there are {known}", letter.escape_debug())
}

fn shown(text: &str) -> String {
    let short: String = text.chars().take(40).collect();
    short.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::{Ask, AskPin, Enter, KEYS, Play};
    use crate::core::greeting::attribute::Attribute;
    use crate::core::greeting::kind::Kind;

    #[test]
    fn the_function_takes_an_operator_an_attribute_and_a_kind() {
        let ask = Ask::parse(b" 101@office , Exists,busy").unwrap();
        assert_eq!(ask.ext.as_ref(), b"101@office");
        assert_eq!((ask.attribute, ask.kind), (Attribute::Exists, Some(Kind::Busy)));
        assert_eq!(Ask::parse(b"101,file").unwrap().kind, None);
        assert_eq!(Ask::parse(b"101,file,").unwrap().kind, None);
        for (wrong, named) in [
            (&b"101"[..], "argument 2 (attribute)"),
            (b"101,pin", "argument 2 (attribute)"),
            (b"101,file,lunch", "argument 3 (kind)"),
            (b"101,file,busy,x", "4 arguments"),
        ] {
            let text = Ask::parse(wrong).unwrap_err();
            assert!(text.contains(named), "{text}");
        }
    }

    #[test]
    fn a_greeting_is_played_with_options() {
        let plain = Play::parse(b"").unwrap();
        assert!(plain.ext.is_empty() && plain.kind.is_none() && plain.keys.is_empty());
        assert!(!plain.answer && !plain.exact && !plain.own);
        assert_eq!(plain.times, 1);
        let all = Play::parse(b"101,noanswer,axs r(3)d(0*)").unwrap();
        assert_eq!(all.kind, Some(Kind::NoAnswer));
        assert!(all.answer && all.exact && all.own);
        assert_eq!((all.times, all.keys.as_str()), (3, "0*"));
        assert_eq!(Play::parse(b",,d").unwrap().keys, KEYS);
    }

    #[test]
    fn the_menu_is_entered_with_options() {
        let plain = Enter::parse(b"").unwrap();
        assert_eq!((plain.pin, plain.kind), (AskPin::Elsewhere, Kind::Default));
        let always = Enter::parse(b"101,pk(busy)p").unwrap();
        assert_eq!((always.pin, always.kind), (AskPin::Always, Kind::Busy));
        assert_eq!(Enter::parse(b",s").unwrap().pin, AskPin::Never);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (text, named) in [
            (&b"101,lunch"[..], "argument 2 (kind): 'lunch'"),
            (b"101,,n", "argument 3 (options): 'n' is unknown: there are a, d"),
            (b"101,,a(1)", "'a(1)' is unknown"),
            (b"101,,r", "'r' is unknown"),
            (b"101,,r(0)", "r(0) is not how often: expected r(1) to r(10)"),
            (b"101,,r(11)", "r(11)"),
            (b"101,,r(x", "'(' after r has no ')'"),
            (b"101,,d()", "d() names no keys"),
            (b"101,,d(7x)", "d(7x) names no keys"),
            (b"101,,\xff", "is unknown"),
            (b"101,,\xd1\x8f(2)", "'\u{44f}(2)' is unknown"),
            (b"1,2,3,4", "4 arguments were given"),
        ] {
            let fault = Play::parse(text).unwrap_err();
            assert!(fault.contains(named), "{fault}");
        }
        for (text, named) in [
            (&b"101,ps"[..], "p and s contradict each other"),
            (b"101,sp", "p and s contradict each other"),
            (b"101,k", "'k' is unknown: there are k(kind), p and s"),
            (b"101,k(lunch)", "argument 2 (options): 'lunch'"),
            (b"101,p,x", "3 arguments were given"),
        ] {
            let fault = Enter::parse(text).unwrap_err();
            assert!(fault.contains(named), "{fault}");
        }
        let long = format!("101,,d({})", "x".repeat(5_000));
        assert!(Play::parse(long.as_bytes()).unwrap_err().len() < 200);
    }
}
