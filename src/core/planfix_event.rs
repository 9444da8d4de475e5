//! PLANFIX_EVENT: from its arguments to requests for the CRM.
//!
//! Invariants:
//! - the first six arguments after the event stand in the order of the command lines of the article's two PHP scripts,
//!   so that `System(/usr/bin/php /opt/planfix-in.php A B C)` becomes `${PLANFIX_EVENT(INCOMING,A,B,C)}`;
//! - an end of a call is never refused for a doubtful duration or disposition: it goes out and a warning says so;
//! - a phone that is given is sent as it is, like the scripts do; one that is taken from the channel is brought into the
//!   CRM's form, as in mode = auto, unless the article's table asks for what the scripts would have sent;
//! - nothing here waits or allocates beyond the size of its arguments, which is bounded.

use std::borrow::Cow;

use super::args;
use super::direction::Direction;
use super::disposition::{self, StatusMap};
use super::draft::{self, Draft, Form, Kind};
use super::phone::ANONYMOUS;
use super::settings::Calls;

/// What the channel can tell when an argument is left empty. Without a channel (AMI Getvar, CLI) it tells nothing.
pub trait Surroundings {
    /// The channel's linkedid.
    fn linkedid(&self) -> Option<Vec<u8>>;
    /// The caller's number; `None` when it is withheld or unknown.
    fn caller_number(&self) -> Option<Vec<u8>>;
    /// The number that was dialled on this channel.
    fn dialed_number(&self) -> Option<Vec<u8>>;
    /// The dialplan extension that runs now.
    fn exten(&self) -> Option<Vec<u8>>;
    /// The channel's name, such as `PJSIP/101-00000001`.
    fn name(&self) -> Option<Vec<u8>>;
    /// A channel variable that is set and not empty.
    fn variable(&self, name: &str) -> Option<Vec<u8>>;
    /// Seconds that the channel has spent in bridges, as CALL_DURATION tells; `None` when that is not known.
    fn talk_seconds(&self) -> Option<u64>;
    /// Seconds since the channel was answered; `None` when it never was.
    fn answered_seconds(&self) -> Option<u64>;
    /// Whether there is a channel at all.
    fn exists(&self) -> bool;
    /// Whether the channel is recorded and the recording will get a link, so that it may be promised.
    fn is_recorded(&self) -> bool {
        false
    }
}

/// What to do with the call of the function.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send these, in this order.
    Queue {
        /// The requests.
        drafts: Vec<Draft>,
        /// A doubt that the operator should hear of.
        warning: Option<String>,
        /// Which way the call goes, to be remembered for its next event; RECORD does not tell.
        direction: Option<Direction>,
    },
    /// Nothing to tell, and that is right: the reason.
    Ignore(&'static str),
    /// The arguments are wrong: a sentence that names the argument.
    Reject(String),
}

const NAMES: [&str; 7] = [
    "event",
    "phone",
    "ext",
    "callid",
    "record_link",
    "duration",
    "disposition",
];
const EVENTS: &str = "INCOMING, OUTGOING, ACCEPTED, COMPLETED, RECORD or END";

/// Longest accepted value. A phone number or an extension is at most AST_MAX_EXTENSION (80), a linkedid at most
/// AST_MAX_UNIQUEID (150); links and analytics fields are given room for real ones and no more.
const LONGEST_NUMBER: usize = 128;
const LONGEST_CALLID: usize = 150;
const LONGEST_VALUE: usize = 2_000;
const LONGEST_NAME: usize = 200;
const MOST_DATA_FIELDS: usize = 32;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Event {
    Plain(Kind),
    End,
}

impl Event {
    fn parse(word: &[u8]) -> Option<Self> {
        let word = std::str::from_utf8(word).ok()?.trim().to_ascii_uppercase();
        if word == "END" {
            Some(Self::End)
        } else {
            Kind::from_word(&word).map(Self::Plain)
        }
    }
}

/// The name and the value of a `data_` field.
type Field<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

#[derive(Default)]
struct Keys<'a> {
    direction: Option<Direction>,
    diversion: Option<Cow<'a, [u8]>>,
    is_recorded: Option<bool>,
    is_temp: Option<bool>,
    data: Vec<Field<'a>>,
}

/// Reads one call of the function. `known` tells which way a recent call goes, so that ACCEPTED and COMPLETED need not
/// repeat it; a call that is not remembered counts as inbound, which is what the scripts send for every call.
///
/// Neither `known` nor `around` is called while the other runs: one takes our lock and the other the channel's.
pub fn read(
    text: &[u8],
    around: &dyn Surroundings,
    calls: &Calls,
    known: &dyn Fn(&str) -> Option<Direction>,
) -> Verdict {
    judge(text, around, calls, known).unwrap_or_else(Verdict::Reject)
}

fn judge(
    text: &[u8],
    around: &dyn Surroundings,
    calls: &Calls,
    known: &dyn Fn(&str) -> Option<Direction>,
) -> Result<Verdict, String> {
    let mut list = args::split(text);
    let keys = take_keys(&mut list)?;
    let event = Event::parse(&list[0])
        .ok_or_else(|| format!("argument 1 (event) is '{}': expected {EVENTS}", show(&list[0])))?;
    for (index, value) in list.iter().enumerate().skip(1) {
        let limit = match index {
            1 | 2 => LONGEST_NUMBER,
            3 => LONGEST_CALLID,
            _ => LONGEST_VALUE,
        };
        check(value, limit).map_err(|fault| format!("argument {} ({}) {fault}", index + 1, NAMES[index]))?;
    }
    let given = |index: usize| list.get(index).map(Cow::as_ref).filter(|value| !value.is_empty());

    let callid = given(3)
        .map(<[u8]>::to_vec)
        .or_else(|| around.linkedid())
        .ok_or("argument 4 (callid) is empty and there is no channel to take the linkedid from")?;
    let name = String::from_utf8_lossy(&callid).into_owned();

    if event == Event::Plain(Kind::Record) {
        let link =
            given(4).ok_or("argument 5 (record_link) is empty: RECORD needs the recording's address")?;
        let mut form = Form::command("record")
            .field(b"callid", &callid)
            .field(b"record_link", link);
        if let Some(is_temp) = keys.is_temp {
            form = form.field(b"is_temp", flag(is_temp));
        }
        let draft = Draft {
            callid: name,
            kind: Kind::Record,
            ext: String::new(),
            body: form.finish(),
        };
        return Ok(Verdict::Queue {
            drafts: vec![draft],
            warning: None,
            direction: None,
        });
    }

    let direction = direction_of(event, keys.direction, || known(&name))?;
    let ext = match given(2) {
        Some(ext) => ext.to_vec(),
        None => default_ext(around, direction, calls)
            .ok_or("argument 3 (ext) is empty and the channel does not tell the employee's number")?,
    };
    let phone = match given(1) {
        Some(phone) => phone.to_vec(),
        None => default_phone(around, direction)
            .ok_or("argument 2 (phone) is empty and the channel does not tell the client's number")?,
    };
    let of_an_employee = calls.internal.matches(&phone);
    if of_an_employee && calls.internal.matches(&ext) {
        return Ok(Verdict::Ignore("both numbers are internal"));
    }
    let phone = if given(1).is_none() && !of_an_employee && calls.status_map == StatusMap::Api {
        calls
            .numbering
            .crm_form(&String::from_utf8_lossy(&phone))
            .into_bytes()
    } else {
        phone
    };

    let common = draft::Event {
        direction,
        phone: &phone,
        diversion: &keys
            .diversion
            .clone()
            .unwrap_or_else(|| default_diversion(around, calls, &ext)),
        ext: &ext,
        callid: &callid,
    };
    let kind = match event {
        Event::Plain(Kind::Completed) | Event::End => Kind::Completed,
        Event::Plain(kind) => {
            let drafts = vec![common.draft(kind, common.form(kind))];
            return Ok(Verdict::Queue {
                drafts,
                warning: None,
                direction: Some(direction),
            });
        }
    };

    let mut doubts: Vec<String> = Vec::new();
    let disposition = match given(6) {
        Some(word) => word.to_vec(),
        None if calls.status_map == StatusMap::Api => around.variable("DIALSTATUS").unwrap_or_default(),
        None => Vec::new(),
    };
    // The article's table is for END; COMPLETED may also name a status of the protocol.
    let map = match event {
        Event::Plain(_) if disposition::is_status(&disposition, direction) => StatusMap::Api,
        _ => calls.status_map,
    };
    let ending = disposition::ending(&disposition, direction, map);
    // An unanswered call has no talk time, however long the channel itself was up in a menu or a queue.
    let talked = || {
        if ending.status == "Success" {
            talk_seconds(around)
        } else {
            None
        }
    };
    if !ending.known {
        doubts.push(format!(
            "argument 7 (disposition) is '{}', which is not a disposition; it was told as {}",
            show(&disposition),
            ending.status
        ));
    }
    let duration = match given(5).map(whole_seconds) {
        Some(Some(seconds)) => Some(seconds),
        Some(None) => {
            doubts.push(format!(
                "argument 6 (duration) is '{}', not a number of seconds; the channel's own count was used",
                show(given(5).unwrap_or_default())
            ));
            talked()
        }
        None => talked(),
    };

    let link = list.get(4).map(Cow::as_ref);
    let as_the_script = calls.status_map == StatusMap::Voxlink && event == Event::End;
    let mut form = common
        .form(kind)
        .field(b"duration", duration.unwrap_or(0).to_string().as_bytes())
        // planfix-end.php says is_recorded=1 whatever happened.
        .field(
            b"is_recorded",
            flag(keys.is_recorded.unwrap_or_else(|| {
                as_the_script || given(4).is_some() || (ending.status == "Success" && around.is_recorded())
            })),
        )
        .field(b"status", ending.status.as_bytes());
    // http_build_query() leaves out what is missing and keeps what is empty.
    if let Some(link) = link.filter(|link| as_the_script || !link.is_empty()) {
        form = form.field(b"record_link", link);
    }
    for (field, variable) in &calls.data {
        let overridden = keys
            .data
            .iter()
            .any(|(name, _)| name.strip_prefix(b"data_") == Some(field.as_bytes()));
        if !overridden && let Some(value) = around.variable(variable) {
            form = form.field(format!("data_{field}").as_bytes(), cut(&value, LONGEST_VALUE));
        }
    }
    for (field, value) in &keys.data {
        form = form.field(field, value);
    }
    let mut drafts = Vec::with_capacity(2);
    if event == Event::End && ending.accepted {
        drafts.push(common.draft(Kind::Accepted, common.form(Kind::Accepted)));
    }
    drafts.push(common.draft(kind, form));
    let warning = (!doubts.is_empty()).then(|| doubts.join("; "));
    Ok(Verdict::Queue {
        drafts,
        warning,
        direction: Some(direction),
    })
}

/// Takes the `key=value` arguments off the list. They follow the seventh argument; a known key may also stand where
/// the recording, the duration or the disposition would, because none of these looks like one.
fn take_keys<'a>(list: &mut Vec<Cow<'a, [u8]>>) -> Result<Keys<'a>, String> {
    let known = |value: &[u8]| {
        let value = value.trim_ascii_start();
        value.starts_with(b"data_") && value.contains(&b'=')
            || [&b"type="[..], b"diversion=", b"is_recorded=", b"is_temp="]
                .iter()
                .any(|key| value.starts_with(key))
    };
    let start = list
        .iter()
        .skip(4)
        .take(3)
        .position(|value| known(value))
        .map_or(7, |index| index + 4);
    let mut keys = Keys::default();
    if list.len() <= start {
        return Ok(keys);
    }
    for (offset, argument) in list.split_off(start).into_iter().enumerate() {
        let number = start + offset + 1;
        if argument.is_empty() {
            continue;
        }
        let wrong = |what: &str| Err(format!("argument {number} {what}"));
        let expected = |key: &str, what: &str, value: &[u8]| {
            format!("argument {number} ({key}) is '{}': expected {what}", show(value))
        };
        let Some(equals) = argument.iter().position(|&byte| byte == b'=') else {
            return wrong(&format!(
                "is '{}': expected key=value with type, diversion, is_recorded, is_temp or data_NAME",
                show(&argument)
            ));
        };
        let (key, value) = match argument {
            Cow::Borrowed(bytes) => (
                Cow::Borrowed(bytes[..equals].trim_ascii()),
                Cow::Borrowed(&bytes[equals + 1..]),
            ),
            Cow::Owned(bytes) => (
                Cow::Owned(bytes[..equals].trim_ascii().to_vec()),
                Cow::Owned(bytes[equals + 1..].to_vec()),
            ),
        };
        check(&value, LONGEST_VALUE)
            .map_err(|fault| format!("argument {number} ({}) {fault}", show(&key)))?;
        match &*key {
            b"type" => match &*value {
                b"in" => keys.direction = Some(Direction::In),
                b"out" => keys.direction = Some(Direction::Out),
                _ => return Err(expected("type", "in or out", &value)),
            },
            b"diversion" => keys.diversion = Some(value),
            b"is_recorded" => {
                keys.is_recorded =
                    Some(truth(&value).ok_or_else(|| expected("is_recorded", "0 or 1", &value))?);
            }
            b"is_temp" => {
                keys.is_temp = Some(truth(&value).ok_or_else(|| expected("is_temp", "0 or 1", &value))?);
            }
            _ if key.len() > 5 && key.starts_with(b"data_") => {
                check(&key, LONGEST_NAME)
                    .map_err(|fault| format!("argument {number} (name of the field) {fault}"))?;
                if keys.data.len() == MOST_DATA_FIELDS {
                    return wrong(&format!(
                        "is one data_ field too many: at most {MOST_DATA_FIELDS} are sent"
                    ));
                }
                keys.data.push((key, value));
            }
            _ => {
                return wrong(&format!(
                    "has the key '{}': expected type, diversion, is_recorded, is_temp or data_NAME",
                    show(&key)
                ));
            }
        }
    }
    Ok(keys)
}

fn direction_of(
    event: Event,
    asked: Option<Direction>,
    known: impl FnOnce() -> Option<Direction>,
) -> Result<Direction, String> {
    let own = match event {
        Event::Plain(Kind::Incoming) => Direction::In,
        Event::Plain(Kind::Outgoing) => Direction::Out,
        _ => return Ok(asked.or_else(known).unwrap_or(Direction::In)),
    };
    match asked {
        Some(asked) if asked != own => Err(format!(
            "type={} contradicts the event: INCOMING is in, OUTGOING is out",
            asked.word()
        )),
        _ => Ok(own),
    }
}

/// Inbound, the client is the caller; outbound, it is whoever was dialled.
fn default_phone(around: &dyn Surroundings, direction: Direction) -> Option<Vec<u8>> {
    match direction {
        // A withheld number still has to open a card.
        Direction::In => around
            .caller_number()
            .or_else(|| around.exists().then(|| ANONYMOUS.as_bytes().to_vec())),
        Direction::Out => around
            .dialed_number()
            .or_else(|| around.exten().filter(|exten| !is_special(exten))),
    }
}

/// FreePBX keeps the extension that it dials in DEXTEN; plain dialplans ring `${EXTEN}`. Outbound, the employee is the
/// caller: his number if it is one of the internal ones, else his endpoint.
fn default_ext(around: &dyn Surroundings, direction: Direction, calls: &Calls) -> Option<Vec<u8>> {
    let internal = |number: &Vec<u8>| calls.internal.matches(number);
    match direction {
        Direction::In => around
            .variable("DEXTEN")
            .or_else(|| around.exten().filter(internal))
            .or_else(|| around.dialed_number().filter(internal)),
        Direction::Out => around
            .variable("AMPUSER")
            .or_else(|| around.caller_number().filter(internal))
            .or_else(|| around.name().and_then(|name| endpoint(&name)).filter(internal)),
    }
}

/// The scripts put the extension here; so does their table. Otherwise FreePBX's FROM_DID is the company's number.
fn default_diversion<'a>(around: &dyn Surroundings, calls: &Calls, ext: &[u8]) -> Cow<'a, [u8]> {
    let did = match calls.status_map {
        StatusMap::Api => around.variable("FROM_DID"),
        StatusMap::Voxlink => None,
    };
    Cow::Owned(did.unwrap_or_else(|| ext.to_vec()))
}

/// What CALL_DURATION tells. Where the module did not see the call, Dial()'s own count of the leg that it bridged
/// (ANSWEREDTIME, apps/app_dial.c), or the time since the channel was answered.
fn talk_seconds(around: &dyn Surroundings) -> Option<u64> {
    around
        .talk_seconds()
        .or_else(|| around.variable("ANSWEREDTIME").as_deref().and_then(whole_seconds))
        .or_else(|| around.answered_seconds())
}

/// `101` of `PJSIP/101-00000001`.
fn endpoint(name: &[u8]) -> Option<Vec<u8>> {
    let device = name.split(|&byte| byte == b'/').nth(1)?;
    let end = device.iter().rposition(|&byte| byte == b'-')?;
    Some(device[..end].to_vec())
}

/// The dialplan's own extensions (`s`, `h`, `i`, `t`, `o`, `a`, …) are single letters and no numbers.
fn is_special(exten: &[u8]) -> bool {
    matches!(exten, [letter] if letter.is_ascii_alphabetic())
}

fn whole_seconds(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let whole = text.split_once('.').map_or(text, |(whole, fraction)| {
        if fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            whole
        } else {
            ""
        }
    });
    whole.parse().ok()
}

fn truth(value: &[u8]) -> Option<bool> {
    match value.trim_ascii() {
        b"0" => Some(false),
        b"1" => Some(true),
        _ => None,
    }
}

fn flag(value: bool) -> &'static [u8] {
    if value { b"1" } else { b"0" }
}

fn check(value: &[u8], limit: usize) -> Result<(), String> {
    if value.len() > limit {
        return Err(format!(
            "is {} bytes long: at most {limit} are accepted",
            value.len()
        ));
    }
    if let Some(byte) = value.iter().find(|byte| byte.is_ascii_control()) {
        return Err(format!("holds the control character 0x{byte:02x}"));
    }
    Ok(())
}

fn cut(value: &[u8], limit: usize) -> &[u8] {
    &value[..value.len().min(limit)]
}

/// A value for a message: readable, on one line and short.
fn show(value: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(value)
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
