//! The Planfix telephony API as a receiver sees it: one POST body in, one command or one refusal out.
//!
//! Invariants: only what the protocol description lists is accepted; every refusal says which field and why; the keys
//! are masked before any other part of this crate can see the fields. What the description leaves open and a known
//! integration does (empty strings for fields that do not apply) is accepted with a note.

use crate::form;
use serde::Serialize;

/// What stands for a key in everything that is kept or shown.
pub const MASK: &str = "***";

/// Shorter secrets are not searched for inside other fields: they would blacken ordinary numbers.
const SHORTEST_SECRET: usize = 6;

/// Whose call it is. Field `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// `in`: a client called.
    In,
    /// `out`: an employee called.
    Out,
}

/// What happened. Field `event`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Moment {
    /// A phone starts to ring.
    Incoming,
    /// An employee starts a call.
    Outgoing,
    /// The call is taken.
    Accepted,
    /// The call is over for this extension.
    Completed,
}

/// How it ended. Field `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Status {
    /// Answered, in both directions.
    Success,
    /// Inbound and missed.
    Missed,
    /// Inbound and over for this extension, because another one took it.
    Cancelled,
    /// Outbound, busy.
    Busy,
    /// Outbound, no answer in time.
    NoAnswer,
    /// Outbound, subscriber unavailable.
    NotAvailable,
    /// Outbound, direction forbidden.
    NotAllowed,
}

/// The fields that only COMPLETED carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// Seconds; `None` when the field came empty.
    pub duration: Option<u64>,
    /// Whether a recording exists.
    pub is_recorded: bool,
    /// How it ended.
    pub status: Status,
    /// Where the recording is, if known already.
    pub record_link: Option<String>,
    /// Analytics fields, without their `data_` prefix.
    pub data: Vec<(String, String)>,
}

/// cmd=event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// In or out.
    pub direction: Direction,
    /// What happened.
    pub moment: Moment,
    /// The client's number.
    pub phone: String,
    /// The outside number of the PBX, if sent.
    pub diversion: Option<String>,
    /// The employee's extension.
    pub ext: String,
    /// The call.
    pub callid: String,
    /// Present exactly at COMPLETED.
    pub completion: Option<Completion>,
}

/// cmd=record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The call.
    pub callid: String,
    /// Where the recording is.
    pub record_link: String,
    /// The link works once and is meant for saving only.
    pub is_temp: bool,
}

/// One accepted request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Who is this number?
    Contact {
        /// The client's number.
        phone: String,
        /// The call, if sent.
        callid: Option<String>,
    },
    /// A call moved on.
    Event(Event),
    /// A recording is ready.
    Record(Record),
    /// Settings check.
    Ping,
}

/// Why a request is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// 401; the sentence never holds a key.
    Token(String),
    /// 400, one sentence for each thing that is wrong.
    Parameters(Vec<String>),
}

impl Refusal {
    /// The HTTP status that the protocol gives it.
    pub fn http_status(&self) -> u16 {
        match self {
            Self::Token(_) => 401,
            Self::Parameters(_) => 400,
        }
    }

    /// The sentences.
    pub fn into_reasons(self) -> Vec<String> {
        match self {
            Self::Token(reason) => vec![reason],
            Self::Parameters(reasons) => reasons,
        }
    }
}

/// A body after reading: what may be kept, and what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Names and values in order, keys masked, invalid UTF-8 replaced.
    pub fields: Vec<(String, String)>,
    /// The body as it came, as ASCII, keys masked.
    pub raw_body: String,
    /// The command, or why there is none.
    pub outcome: Result<Command, Refusal>,
    /// What was tolerated.
    pub notes: Vec<String>,
}

impl Reading {
    /// The first value of a field, masked.
    pub fn field(&self, name: &str) -> Option<&str> {
        first(&self.fields, name)
    }
}

/// Reads one body. `token` is the key that `planfix_token` must equal; `secrets` are further texts to mask.
pub fn read(body: &[u8], token: &str, secrets: &[&str]) -> Reading {
    let form = form::decode(body);
    let mut problems = form.problems;
    let mut notes = Vec::new();
    let mut fields: Vec<(String, String)> = Vec::with_capacity(form.pairs.len());
    let mut raw_body = String::with_capacity(body.len());
    let mut keys: Vec<&[u8]> = Vec::new();

    for pair in &form.pairs {
        if pair.name == b"planfix_token" {
            keys.push(&pair.value);
        }
        let name = text(&pair.name, "a field's name", &mut notes);
        let secret = |text: &str| hides_secret(text, token) || secrets.iter().any(|s| hides_secret(text, s));
        if !raw_body.is_empty() {
            raw_body.push('&');
        }
        if secret(&name) {
            // A body that is nothing but a key is a mistake too, and the key is no less secret for it.
            raw_body.push_str(MASK);
            fields.push((MASK.to_owned(), MASK.to_owned()));
            continue;
        }
        raw_body.push_str(&form::ascii(pair.raw_name));
        let value = text(&pair.value, &format!("field `{}`", shorten(&name)), &mut notes);
        let value = if name.to_ascii_lowercase().contains("token") || secret(&value) {
            MASK.to_owned()
        } else {
            value
        };
        if let Some(raw) = pair.raw_value {
            raw_body.push('=');
            raw_body.push_str(&if value == MASK {
                MASK.to_owned()
            } else {
                form::ascii(raw)
            });
        }
        fields.push((name, value));
    }

    let outcome = match check_token(&keys, token, &fields) {
        Some(reason) => Err(Refusal::Token(reason)),
        None => {
            let command = interpret(&fields, &mut problems, &mut notes);
            match command {
                Some(command) if problems.is_empty() => Ok(command),
                _ => Err(Refusal::Parameters(problems)),
            }
        }
    };
    Reading {
        fields,
        raw_body,
        outcome,
        notes,
    }
}

/// The text with every secret in it replaced; for paths and the like.
pub fn mask(text: &str, secrets: &[&str]) -> String {
    let mut masked = text.to_owned();
    for secret in secrets {
        if hides_secret(&masked, secret) {
            masked = masked.replace(secret, MASK);
        }
    }
    masked
}

fn hides_secret(text: &str, secret: &str) -> bool {
    secret.len() >= SHORTEST_SECRET && text.contains(secret)
}

fn text(bytes: &[u8], what: &str, notes: &mut Vec<String>) -> String {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(error) => {
            notes.push(format!(
                "{what} is not valid UTF-8 from byte {}",
                error.valid_up_to()
            ));
            String::from_utf8_lossy(bytes).into_owned()
        }
    };
    if text.chars().any(char::is_control) {
        notes.push(format!("{what} holds a control character"));
    }
    text
}

fn check_token(keys: &[&[u8]], token: &str, fields: &[(String, String)]) -> Option<String> {
    match keys.first() {
        None if fields.iter().any(|(name, _)| name == "token") => {
            Some("field `planfix_token` is missing; `token` is the key of the other direction".to_owned())
        }
        None => Some("field `planfix_token` is missing".to_owned()),
        Some([]) => Some("field `planfix_token` is empty".to_owned()),
        Some(key) if !same(key, token.as_bytes()) => {
            Some("field `planfix_token` is not the key of this account".to_owned())
        }
        Some(_) => None,
    }
}

/// Equal, in a time that does not tell where they differ.
fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |bits, (a, b)| bits | (a ^ b)) == 0
}

const EVENT: &[&str] = &[
    "cmd",
    "type",
    "event",
    "phone",
    "diversion",
    "ext",
    "callid",
    "duration",
    "is_recorded",
    "status",
    "record_link",
    "planfix_token",
];
const CONTACT: &[&str] = &["cmd", "phone", "callid", "planfix_token"];
const RECORD: &[&str] = &["cmd", "callid", "record_link", "is_temp", "planfix_token"];
const PING: &[&str] = &["cmd", "planfix_token"];
const COMMANDS: &[&str] = &["contact", "event", "record", "ping"];
const COMPLETED_ONLY: &[&str] = &["duration", "is_recorded", "status", "record_link"];

fn first<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields
        .iter()
        .find(|(field, _)| field == name)
        .map(|(_, value)| value.as_str())
}

/// The fields of one request, and what is to be said about them.
struct Reader<'a> {
    fields: &'a [(String, String)],
    problems: &'a mut Vec<String>,
    notes: &'a mut Vec<String>,
}

impl<'a> Reader<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        first(self.fields, name)
    }

    fn problem(&mut self, sentence: String) {
        self.problems.push(sentence);
    }

    fn required(&mut self, name: &str) -> Option<&'a str> {
        match self.get(name) {
            Some("") => {
                self.problem(format!("field `{name}` is empty"));
                None
            }
            Some(value) => Some(value),
            None => {
                self.problem(format!("field `{name}` is missing"));
                None
            }
        }
    }

    fn optional(&mut self, name: &str) -> Option<&'a str> {
        match self.get(name) {
            Some("") => {
                self.notes
                    .push(format!("field `{name}` is empty: better left out"));
                None
            }
            value => value,
        }
    }

    fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Option<T> {
        let value = self.required(name)?;
        let found = choices
            .iter()
            .find(|(text, _)| *text == value)
            .map(|&(_, choice)| choice);
        if found.is_none() {
            let names: Vec<&str> = choices.iter().map(|&(text, _)| text).collect();
            self.problem(format!(
                "field `{name}` is `{}`; it may be {}",
                shorten(value),
                names.join(", ")
            ));
        }
        found
    }

    fn link(&mut self, value: &str) -> Option<String> {
        let rest = value
            .strip_prefix("https://")
            .or_else(|| value.strip_prefix("http://"));
        if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#', ':'])) {
            self.problem(format!(
                "field `record_link` is `{}`, which is not an http or https address",
                shorten(value)
            ));
            return None;
        }
        if value.contains(char::is_whitespace) {
            self.notes
                .push("field `record_link` holds white space inside the address".to_owned());
        }
        Some(value.to_owned())
    }

    fn only(&mut self, cmd: &str, allowed: &[&str], data: bool) {
        for (at, (name, _)) in self.fields.iter().enumerate() {
            if self.fields[..at].iter().any(|(earlier, _)| earlier == name) {
                self.problems
                    .push(format!("field `{}` stands twice", shorten(name)));
            } else if data && name.starts_with("data_") {
                if name == "data_" {
                    self.problems
                        .push("field `data_` names no analytics field".to_owned());
                }
            } else if !allowed.contains(&name.as_str()) {
                let hint = nearest(name, allowed)
                    .map(|near| format!("; did you mean `{near}`?"))
                    .unwrap_or_default();
                self.problems
                    .push(format!("cmd `{cmd}` has no field `{}`{hint}", shorten(name)));
            }
        }
    }

    fn event(&mut self) -> Option<Command> {
        self.only("event", EVENT, true);
        let direction = self.choice("type", &[("in", Direction::In), ("out", Direction::Out)]);
        let moment = self.choice(
            "event",
            &[
                ("INCOMING", Moment::Incoming),
                ("OUTGOING", Moment::Outgoing),
                ("ACCEPTED", Moment::Accepted),
                ("COMPLETED", Moment::Completed),
            ],
        );
        match (direction, moment) {
            (Some(Direction::Out), Some(Moment::Incoming)) => {
                self.problem("event `INCOMING` goes with type `in` only".to_owned());
            }
            (Some(Direction::In), Some(Moment::Outgoing)) => {
                self.problem("event `OUTGOING` goes with type `out` only".to_owned());
            }
            _ => {}
        }
        let phone = self.required("phone");
        let diversion = self.optional("diversion").map(str::to_owned);
        let ext = self.required("ext");
        let callid = self.required("callid");
        let completion = match moment {
            Some(Moment::Completed) => Some(self.completion(direction)?),
            Some(_) => {
                self.not_yet();
                None
            }
            None => None,
        };
        Some(Command::Event(Event {
            direction: direction?,
            moment: moment?,
            phone: phone?.to_owned(),
            diversion,
            ext: ext?.to_owned(),
            callid: callid?.to_owned(),
            completion,
        }))
    }

    /// Before the end, the fields of the end may be there but must be empty, as a known integration sends them.
    fn not_yet(&mut self) {
        for name in COMPLETED_ONLY {
            if self.get(name).is_some_and(|value| !value.is_empty()) {
                self.problem(format!("field `{name}` goes with event `COMPLETED` only"));
            } else {
                self.optional(name);
            }
        }
        for (name, _) in self.fields.iter().filter(|(name, _)| name.starts_with("data_")) {
            self.problems.push(format!(
                "field `{}` goes with event `COMPLETED` only",
                shorten(name)
            ));
        }
    }

    fn completion(&mut self, direction: Option<Direction>) -> Option<Completion> {
        let duration = match self.get("duration") {
            None => {
                self.problem("field `duration` is missing; event `COMPLETED` needs it".to_owned());
                None
            }
            Some("") => {
                self.notes.push("field `duration` is empty".to_owned());
                None
            }
            Some(value) => {
                let seconds = value
                    .parse()
                    .ok()
                    .filter(|_| value.bytes().all(|byte| byte.is_ascii_digit()));
                if seconds.is_none() {
                    self.problem(format!(
                        "field `duration` is `{}`; it is a whole number of seconds",
                        shorten(value)
                    ));
                }
                seconds
            }
        };
        let is_recorded = self.choice("is_recorded", &[("0", false), ("1", true)]);
        let status = self.status(direction);
        let record_link = self.optional("record_link").and_then(|value| self.link(value));
        let data = self
            .fields
            .iter()
            .filter_map(|(name, value)| Some((name.strip_prefix("data_")?.to_owned(), value.clone())))
            .collect();
        Some(Completion {
            duration,
            is_recorded: is_recorded?,
            status: status?,
            record_link,
            data,
        })
    }

    fn status(&mut self, direction: Option<Direction>) -> Option<Status> {
        const IN: &[(&str, Status)] = &[
            ("Success", Status::Success),
            ("Missed", Status::Missed),
            ("Cancelled", Status::Cancelled),
        ];
        const OUT: &[(&str, Status)] = &[
            ("Success", Status::Success),
            ("Busy", Status::Busy),
            ("NoAnswer", Status::NoAnswer),
            ("NotAvailable", Status::NotAvailable),
            ("NotAllowed", Status::NotAllowed),
        ];
        let (mine, other, name) = match direction? {
            Direction::In => (IN, OUT, "in"),
            Direction::Out => (OUT, IN, "out"),
        };
        let value = self.get("status").unwrap_or_default();
        if !mine.iter().any(|(text, _)| *text == value) && other.iter().any(|(text, _)| *text == value) {
            self.problem(format!("status `{value}` does not go with type `{name}`"));
            return None;
        }
        self.choice("status", mine)
    }

    fn contact(&mut self) -> Option<Command> {
        self.only("contact", CONTACT, false);
        let phone = self.required("phone");
        let callid = self.optional("callid").map(str::to_owned);
        Some(Command::Contact {
            phone: phone?.to_owned(),
            callid,
        })
    }

    fn record(&mut self) -> Option<Command> {
        self.only("record", RECORD, false);
        let callid = self.required("callid");
        let record_link = self.required("record_link").and_then(|value| self.link(value));
        let is_temp = match self.optional("is_temp") {
            None => Some(false),
            Some(_) => self.choice("is_temp", &[("0", false), ("1", true)]),
        };
        Some(Command::Record(Record {
            callid: callid?.to_owned(),
            record_link: record_link?,
            is_temp: is_temp?,
        }))
    }

    fn command(&mut self) -> Option<Command> {
        match self.required("cmd")? {
            "event" => self.event(),
            "contact" => self.contact(),
            "record" => self.record(),
            "ping" => {
                self.only("ping", PING, false);
                Some(Command::Ping)
            }
            other => {
                let hint = nearest(other, COMMANDS)
                    .map(|near| format!("; did you mean `{near}`?"))
                    .unwrap_or_default();
                self.problem(format!("cmd `{}` is unknown{hint}", shorten(other)));
                None
            }
        }
    }
}

fn interpret(
    fields: &[(String, String)],
    problems: &mut Vec<String>,
    notes: &mut Vec<String>,
) -> Option<Command> {
    Reader {
        fields,
        problems,
        notes,
    }
    .command()
}

/// A value for a sentence: not too long, and on one line.
fn shorten(value: &str) -> String {
    let mut text = String::new();
    for letter in value.chars().take(60) {
        if letter.is_control() {
            text.extend(letter.escape_default());
        } else {
            text.push(letter);
        }
    }
    if value.chars().nth(60).is_some() {
        text.push('…');
    }
    text
}

/// The known name that differs by case or by at most two letters.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    if name.len() > 32 {
        return None;
    }
    let lower = name.to_ascii_lowercase();
    known
        .iter()
        .map(|candidate| (distance(&lower, candidate), *candidate))
        .filter(|&(distance, candidate)| distance <= 2 && distance < candidate.len())
        .min()
        .map(|(_, candidate)| candidate)
}

fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &b) in right.iter().enumerate() {
            let cost = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef";

    fn outcome(body: &str) -> Result<Command, Refusal> {
        read(format!("{body}&planfix_token={KEY}").as_bytes(), KEY, &[]).outcome
    }

    fn reasons(body: &str) -> String {
        match outcome(body) {
            Err(Refusal::Parameters(reasons)) => reasons.join("; "),
            other => panic!("{body}: {other:?}"),
        }
    }

    const IN: &str = "cmd=event&type=in&phone=79101234567&ext=101&callid=c1";
    const OUT: &str = "cmd=event&type=out&phone=79101234567&ext=101&callid=c1";

    #[test]
    fn accepts_every_row_of_the_tables() {
        for body in [
            "cmd=ping".to_owned(),
            "cmd=contact&phone=79101234567".to_owned(),
            "cmd=contact&phone=79101234567&callid=c1".to_owned(),
            "cmd=record&callid=c1&record_link=https://pbx.example.com/a.mp3".to_owned(),
            "cmd=record&callid=c1&record_link=https://pbx.example.com/a.mp3&is_temp=0".to_owned(),
            "cmd=record&callid=c1&record_link=http://pbx.example.com/a.mp3&is_temp=1".to_owned(),
            format!("{IN}&event=INCOMING"),
            format!("{IN}&event=INCOMING&diversion=78001234567"),
            format!("{IN}&event=ACCEPTED"),
            format!("{OUT}&event=OUTGOING"),
            format!("{OUT}&event=ACCEPTED"),
        ] {
            assert!(outcome(&body).is_ok(), "{body}: {:?}", outcome(&body));
        }
        for status in ["Success", "Missed", "Cancelled"] {
            let body = format!("{IN}&event=COMPLETED&duration=0&is_recorded=0&status={status}");
            assert!(outcome(&body).is_ok(), "{body}");
        }
        for status in ["Success", "Busy", "NoAnswer", "NotAvailable", "NotAllowed"] {
            let body = format!(
                "{OUT}&event=COMPLETED&duration=7&is_recorded=1&status={status}&record_link=https://x/y"
            );
            assert!(outcome(&body).is_ok(), "{body}");
        }
    }

    #[test]
    fn reads_all_fields_of_an_end() {
        let body = format!(
            "{IN}&event=COMPLETED&diversion=7800&duration=63&is_recorded=1&status=Success\
             &record_link=https%3A%2F%2Fpbx%2Fa.mp3&data_utm_source=%D1%8F%2B1&data_%D0%93%D0%BE%D1%80%D0%BE%D0%B4="
        );
        let Ok(Command::Event(event)) = outcome(&body) else {
            panic!("{:?}", outcome(&body))
        };
        assert_eq!(event.direction, Direction::In);
        assert_eq!(event.diversion.as_deref(), Some("7800"));
        let completion = event.completion.unwrap();
        assert_eq!(completion.duration, Some(63));
        assert!(completion.is_recorded);
        assert_eq!(completion.status, Status::Success);
        assert_eq!(completion.record_link.as_deref(), Some("https://pbx/a.mp3"));
        assert_eq!(
            completion.data,
            [
                ("utm_source".into(), "я+1".into()),
                ("Город".into(), String::new())
            ]
        );
    }

    #[test]
    fn refuses_with_the_reason() {
        let end = format!("{IN}&event=COMPLETED&duration=1&is_recorded=0&status=Success");
        for (body, part) in [
            ("phone=1".to_owned(), "`cmd` is missing"),
            ("cmd=".to_owned(), "`cmd` is empty"),
            ("cmd=history".to_owned(), "cmd `history` is unknown"),
            ("cmd=Event".to_owned(), "did you mean `event`?"),
            ("cmd=ping&phone=1".to_owned(), "cmd `ping` has no field `phone`"),
            ("cmd=contact".to_owned(), "`phone` is missing"),
            (
                "cmd=contact&phone=1&ext=101".to_owned(),
                "cmd `contact` has no field `ext`",
            ),
            ("cmd=contact&phone=1&data_a=1".to_owned(), "no field `data_a`"),
            (
                "cmd=record&record_link=https://x/y".to_owned(),
                "`callid` is missing",
            ),
            ("cmd=record&callid=c".to_owned(), "`record_link` is missing"),
            (
                "cmd=record&callid=c&record_link=".to_owned(),
                "`record_link` is empty",
            ),
            (
                "cmd=record&callid=c&record_link=/a.mp3".to_owned(),
                "not an http or https address",
            ),
            (
                "cmd=record&callid=c&record_link=javascript:alert(1)".to_owned(),
                "not an http or https address",
            ),
            (
                "cmd=record&callid=c&record_link=https:///a.mp3".to_owned(),
                "not an http or https address",
            ),
            (
                "cmd=record&callid=c&record_link=https://x/y&is_temp=yes".to_owned(),
                "`is_temp` is `yes`",
            ),
            (IN.to_owned(), "`event` is missing"),
            (format!("{IN}&event=incoming"), "`event` is `incoming`"),
            (format!("{IN}&event=TRANSFERRED"), "`event` is `TRANSFERRED`"),
            (format!("{IN}&event=OUTGOING"), "`OUTGOING` goes with type `out`"),
            (format!("{OUT}&event=INCOMING"), "`INCOMING` goes with type `in`"),
            (
                "cmd=event&type=IN&event=INCOMING&phone=1&ext=1&callid=c".to_owned(),
                "`type` is `IN`",
            ),
            (
                "cmd=event&event=INCOMING&phone=1&ext=1&callid=c".to_owned(),
                "`type` is missing",
            ),
            (
                "cmd=event&type=in&event=INCOMING&ext=1&callid=c".to_owned(),
                "`phone` is missing",
            ),
            (
                "cmd=event&type=in&event=INCOMING&phone=&ext=1&callid=c".to_owned(),
                "`phone` is empty",
            ),
            (
                "cmd=event&type=in&event=INCOMING&phone=1&callid=c".to_owned(),
                "`ext` is missing",
            ),
            (
                "cmd=event&type=in&event=INCOMING&phone=1&ext=1".to_owned(),
                "`callid` is missing",
            ),
            (format!("{IN}&event=INCOMING&call_id=1"), "did you mean `callid`?"),
            (format!("{IN}&event=INCOMING&user=1"), "no field `user`"),
            (format!("{IN}&event=INCOMING&ext=101"), "`ext` stands twice"),
            (
                format!("{IN}&event=INCOMING&duration=3"),
                "`duration` goes with event `COMPLETED` only",
            ),
            (
                format!("{IN}&event=ACCEPTED&status=Success"),
                "`status` goes with event `COMPLETED` only",
            ),
            (
                format!("{IN}&event=ACCEPTED&is_recorded=0"),
                "`is_recorded` goes with event `COMPLETED` only",
            ),
            (
                format!("{IN}&event=ACCEPTED&record_link=https://x/y"),
                "`record_link` goes with event",
            ),
            (
                format!("{IN}&event=INCOMING&data_a="),
                "`data_a` goes with event `COMPLETED` only",
            ),
            (format!("{end}&data_=1"), "names no analytics field"),
            (format!("{end}&data_a=1&data_a=2"), "`data_a` stands twice"),
            (format!("{end}&is_temp=1"), "no field `is_temp`"),
            (
                format!("{end}&record_link=file:///a"),
                "not an http or https address",
            ),
            (
                format!("{IN}&event=COMPLETED&is_recorded=0&status=Success"),
                "`duration` is missing",
            ),
            (
                format!("{IN}&event=COMPLETED&duration=1&status=Success"),
                "`is_recorded` is missing",
            ),
            (
                format!("{IN}&event=COMPLETED&duration=1&is_recorded=0"),
                "`status` is missing",
            ),
            (
                format!("{IN}&event=COMPLETED&duration=1&is_recorded=0&status="),
                "`status` is empty",
            ),
            (
                format!("{IN}&event=COMPLETED&duration=1.5&is_recorded=0&status=Success"),
                "whole number of seconds",
            ),
            (
                format!("{IN}&event=COMPLETED&duration=-1&is_recorded=0&status=Success"),
                "whole number of seconds",
            ),
            (
                format!("{IN}&event=COMPLETED&duration=%2B1&is_recorded=0&status=Success"),
                "whole number of seconds",
            ),
            (
                format!("{IN}&event=COMPLETED&duration=1&is_recorded=true&status=Success"),
                "`is_recorded` is `true`",
            ),
            (
                format!("{IN}&event=COMPLETED&duration=1&is_recorded=&status=Success"),
                "`is_recorded` is empty",
            ),
            (
                format!("{IN}&event=COMPLETED&duration=1&is_recorded=0&status=success"),
                "`status` is `success`",
            ),
            (
                format!("{IN}&event=COMPLETED&duration=1&is_recorded=0&status=Busy"),
                "does not go with type `in`",
            ),
            (
                format!("{OUT}&event=COMPLETED&duration=1&is_recorded=0&status=Missed"),
                "does not go with type `out`",
            ),
            (
                format!("{OUT}&event=COMPLETED&duration=1&is_recorded=0&status=NotAvaliable"),
                "`status` is `NotAvaliable`",
            ),
            (format!("{IN}&event=INCOMING&diversion=%4"), "`%` without two"),
        ] {
            let text = reasons(&body);
            assert!(text.contains(part), "{body}\n  gave {text}\n  not {part}");
        }
    }

    #[test]
    fn tolerates_and_notes_empty_strings() {
        let empty = format!("{IN}&event=INCOMING&diversion=&duration=&is_recorded=&status=&record_link=");
        let reading = read(format!("{empty}&planfix_token={KEY}").as_bytes(), KEY, &[]);
        assert!(reading.outcome.is_ok(), "{:?}", reading.outcome);
        assert_eq!(reading.notes.len(), 5, "{:?}", reading.notes);
        let end = format!(
            "{IN}&event=COMPLETED&duration=&is_recorded=0&status=Missed&record_link=&planfix_token={KEY}"
        );
        let reading = read(end.as_bytes(), KEY, &[]);
        let Ok(Command::Event(Event {
            completion: Some(completion),
            ..
        })) = reading.outcome
        else {
            panic!()
        };
        assert_eq!((completion.duration, completion.record_link), (None, None));
        assert_eq!(reading.notes.len(), 2);
    }

    #[test]
    fn checks_the_token_first() {
        for (body, part) in [
            ("cmd=ping", "is missing"),
            ("cmd=ping&token=0123456789abcdef", "the other direction"),
            ("cmd=ping&planfix_token=", "is empty"),
            ("cmd=ping&planfix_token=0123456789abcdeF", "not the key"),
            ("cmd=nonsense&planfix_token=0123456789abcde", "not the key"),
            (
                "cmd=ping&planfix_token=wrong&planfix_token=0123456789abcdef",
                "not the key",
            ),
        ] {
            match read(body.as_bytes(), KEY, &[]).outcome {
                Err(refusal @ Refusal::Token(_)) => {
                    assert_eq!(refusal.http_status(), 401);
                    let reasons = refusal.into_reasons().join("; ");
                    assert!(reasons.contains(part), "{body}: {reasons}");
                }
                other => panic!("{body}: {other:?}"),
            }
        }
        assert!(reasons(&format!("cmd=ping&planfix_token={KEY}")).contains("`planfix_token` stands twice"));
    }

    #[test]
    fn keys_are_masked_wherever_they_stand() {
        for body in [
            format!("cmd=ping&planfix_token={KEY}"),
            format!("cmd=ping&token={KEY}&planfix_token=another"),
            format!("cmd=contact&phone=x{KEY}x&planfix_token={KEY}"),
            format!(
                "cmd=ping&planfix_token={}",
                KEY.bytes().map(|b| format!("%{b:02X}")).collect::<String>()
            ),
            format!(
                "cmd=ping&phone={}",
                KEY.bytes().map(|b| format!("%{b:02X}")).collect::<String>()
            ),
            KEY.to_owned(),
            format!("cmd={KEY}&planfix_token={KEY}"),
            "cmd=ping&planfix_token=pbx-secret".to_owned(),
            "cmd=ping&phone=pbx-secret".to_owned(),
        ] {
            let reading = read(body.as_bytes(), KEY, &["pbx-secret"]);
            let kept = format!("{reading:?}");
            assert!(
                !kept.contains(KEY) && !kept.contains("%30%31%32") && !kept.contains("pbx-secret"),
                "{kept}"
            );
        }
        assert_eq!(mask("/tel/api/0123456789abcdef?", &[KEY]), "/tel/api/***?");
    }

    #[test]
    fn broken_utf8_is_kept_and_noted() {
        let body = format!("cmd=contact&phone=%FFa&planfix_token={KEY}");
        let reading = read(body.as_bytes(), KEY, &[]);
        assert!(reading.outcome.is_ok());
        assert_eq!(reading.field("phone"), Some("\u{fffd}a"));
        assert_eq!(reading.raw_body, "cmd=contact&phone=%FFa&planfix_token=***");
        assert!(
            reading.notes[0].contains("not valid UTF-8 from byte 0"),
            "{:?}",
            reading.notes
        );
    }
}
