//! planfix.conf as a value.
//!
//! Invariants:
//! - a [`Settings`] is complete and consistent: whoever holds one need not check anything again;
//! - every fault is found in one pass and named with its file, its line and what to write instead;
//! - tokens are [`Secret`]s from the first moment.

use std::fmt;
use std::time::Duration;

use ureq::http::Uri;

use super::disposition::StatusMap;
use super::greeting::prompt;
use super::pattern::Patterns;
use super::phone::Numbering;
use super::quantity;
use super::secret::Secret;
use super::trunks::Trunks;

pub use self::callback::Callback;
pub use self::contact::Contact;
pub use self::greetings::{Adopt, Greetings, OwnPhone};
pub use self::recordings::{Convert, Recordings};
pub use self::status::Status;

mod callback;
mod contact;
pub mod greetings;
mod recordings;
mod status;

/// One `name = value` line of the file, as Asterisk's reader gives it.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The section, without brackets.
    pub section: String,
    /// The option's name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// The file that holds the line: planfix.conf or a file that it includes.
    pub file: String,
    /// The line's number.
    pub line: u32,
}

/// Something in the file that an operator must mend, or should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `file:line`, or the file alone where a line is missing.
    pub place: String,
    /// What is wrong and how to mend it.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// Who reports calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The module: it follows every call.
    #[default]
    Auto,
    /// The dialplan, through PLANFIX_EVENT.
    Dialplan,
}

impl Mode {
    /// The word in the file.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Dialplan => "dialplan",
        }
    }
}

/// Who is told as having missed a call that rang for several and was answered by none. The others are told as
/// cancelled: one missed call is one entry in the CRM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missed {
    /// Whose phone rang first.
    #[default]
    First,
    /// Whose phone rang last.
    Last,
    /// Everybody whose phone still rang.
    All,
    /// Who is responsible for the client in the CRM, if that is known by then; else as [`Missed::First`].
    Responsible,
}

impl Missed {
    /// The word in the file.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Last => "last",
            Self::All => "all",
            Self::Responsible => "responsible",
        }
    }
}

/// `[planfix]`: the CRM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crm {
    /// Where requests go.
    pub url: String,
    /// The CRM's key for what the PBX sends.
    pub token: Secret,
    /// The PBX's key for what the CRM sends; empty when not configured.
    pub pbx_token: Secret,
    /// The PBX's address as entered in Planfix, for `planfix check` to compare; empty when not configured.
    pub pbx_url: String,
    /// A file of CA certificates that is used instead of the system's; empty: the system's.
    pub tls_ca_file: String,
}

impl Crm {
    /// Host and port of the URL.
    #[must_use]
    pub fn host_and_port(&self) -> (String, u16) {
        let uri: Uri = self.url.parse().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(if self.is_tls() { 443 } else { 80 });
        (
            uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned(),
            port,
        )
    }

    /// Whether requests go over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        // A scheme may be written in capitals (RFC 3986, section 3.1).
        let scheme = self.url.split(':').next().unwrap_or_default();
        scheme.eq_ignore_ascii_case("https")
    }
}

/// `[calls]`: how a call is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Employees' numbers.
    pub internal: Patterns,
    /// Outside endpoints; empty: whatever is not internal.
    pub trunks: Trunks,
    /// Who missed a call that nobody answered.
    pub missed: Missed,
    /// The extension that missed a call which reached nobody's phone; empty: such a call is not told.
    pub nobody: String,
    /// From a client's number to the CRM's form of it.
    pub numbering: Numbering,
    /// From a disposition to a status.
    pub status_map: StatusMap,
    /// Analytics field name and the channel variable that fills it.
    pub data: Vec<(String, String)>,
}

impl Calls {
    /// The options by which calls are followed, as planfix.conf would have them: what [`Calls::from_options`] reads.
    #[must_use]
    pub fn options(&self) -> Vec<(String, String)> {
        let mut options = vec![
            ("internal".to_owned(), self.internal.to_string()),
            ("trunks".to_owned(), self.trunks.to_string()),
            ("missed".to_owned(), self.missed.word().to_owned()),
            ("nobody".to_owned(), self.nobody.clone()),
        ];
        let numbering = self.numbering.options();
        options.extend(numbering.map(|(name, value)| (name.to_owned(), value)));
        let data = self.data.iter();
        options.extend(data.map(|(field, variable)| (format!("data_{field}"), variable.clone())));
        options
    }

    /// Reads options of `[calls]`, without a file.
    ///
    /// # Errors
    /// A sentence that names the option.
    pub fn from_options(options: &[(String, String)]) -> Result<Self, String> {
        let mut draft = Settings::initial();
        for (name, value) in options {
            draft.set(&Entry {
                section: "calls".to_owned(),
                name: name.clone(),
                value: value.clone(),
                file: String::new(),
                line: 0,
            })?;
        }
        Ok(draft.calls)
    }
}

/// `[delivery]`: how requests leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Requests at the same time.
    pub workers: usize,
    /// Requests a second of what is older than `stale_popup`; 0: as many as the workers make.
    pub backlog_rate: u32,
    /// For the name, the connection and TLS, each.
    pub connect_timeout: Duration,
    /// For the answer.
    pub response_timeout: Duration,
    /// Longest wait between two tries.
    pub retry_max: Duration,
    /// Hard limit of the spool's files, in bytes.
    pub max_spool: u64,
    /// How long failed requests stay in the list.
    pub keep_failed: Duration,
    /// How long delivered requests stay for replay.
    pub keep_delivered: Duration,
    /// Age after which a popup is not shown any more (`[calls] stale_popup`).
    pub stale_popup: Duration,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            workers: 4,
            backlog_rate: 50,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(15),
            retry_max: Duration::from_secs(300),
            max_spool: 1 << 30,
            keep_failed: Duration::from_secs(30 * 86_400),
            keep_delivered: Duration::from_secs(7 * 86_400),
            stale_popup: Duration::from_secs(60),
        }
    }
}

/// The whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether anything is reported at all.
    pub enabled: bool,
    /// Who reports calls.
    pub mode: Mode,
    /// The CRM.
    pub crm: Crm,
    /// How a call is read.
    pub calls: Calls,
    /// How requests leave.
    pub delivery: Delivery,
    /// What the CRM is asked about a caller.
    pub contact: Contact,
    /// What the CRM may ask of the PBX.
    pub callback: Callback,
    /// Who may ask how the module does.
    pub status: Status,
    /// What becomes of a recording.
    pub recordings: Recordings,
    /// What callers hear when an operator does not answer.
    pub greetings: Greetings,
}

/// Every option that this version reads: section, name, default as it would be written.
pub fn options() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    OPTIONS
        .into_iter()
        .chain(contact::OPTIONS)
        .chain(recordings::OPTIONS)
        .chain(callback::OPTIONS)
        .chain(status::OPTIONS)
        .chain(greetings::OPTIONS)
        .chain(prompt::OPTIONS)
}

const OPTIONS: [(&str, &str, &str); 25] = [
    ("general", "enabled", "yes"),
    ("general", "mode", "auto"),
    ("planfix", "url", ""),
    ("planfix", "token", ""),
    ("planfix", "pbx_token", ""),
    ("planfix", "pbx_url", ""),
    ("planfix", "tls_ca_file", ""),
    ("calls", "internal", "_XXX,_XXXX"),
    ("calls", "trunks", ""),
    ("calls", "missed", "first"),
    ("calls", "nobody", ""),
    ("calls", "country", "7"),
    ("calls", "area_code", ""),
    ("calls", "rewrite", ""),
    ("calls", "stale_popup", "60"),
    ("calls", "status_map", "api"),
    ("calls", "data_NAME", "VARIABLE"),
    ("delivery", "workers", "4"),
    ("delivery", "backlog_rate", "50"),
    ("delivery", "connect_timeout", "5"),
    ("delivery", "response_timeout", "15"),
    ("delivery", "retry_max", "300"),
    ("delivery", "max_spool", "1G"),
    ("delivery", "keep_failed", "30d"),
    ("delivery", "keep_delivered", "7d"),
];

/// AST_MAX_EXTENSION (include/asterisk/channel.h) without its NUL.
const LONGEST_EXT: usize = 79;

/// Problems that are named one by one.
const MOST_PROBLEMS: usize = 20;

/// What reading the file gave.
#[derive(Debug, PartialEq, Eq)]
pub struct Read {
    /// The settings, or every problem that must be mended first.
    pub settings: Result<Settings, Vec<Problem>>,
    /// What the operator should know although the settings hold; nothing that the lines alone show.
    pub notices: Vec<Problem>,
}

impl Settings {
    /// What holds for an empty file.
    fn initial() -> Self {
        Self {
            enabled: true,
            mode: Mode::default(),
            crm: Crm {
                url: String::new(),
                token: Secret::new(""),
                pbx_token: Secret::new(""),
                pbx_url: String::new(),
                tls_ca_file: String::new(),
            },
            calls: Calls {
                internal: Patterns::parse("_XXX,_XXXX").unwrap_or_default(),
                ..Calls::default()
            },
            delivery: Delivery::default(),
            contact: Contact::default(),
            callback: Callback::default(),
            status: Status::default(),
            recordings: Recordings::default(),
            greetings: Greetings::default(),
        }
    }

    /// Reads the lines of `file`.
    #[must_use]
    pub fn read(file: &str, entries: &[Entry]) -> Read {
        let mut draft = Self::initial();
        let mut problems = Vec::new();
        let mut faulty = Vec::new();
        for entry in entries {
            let place = format!("{}:{}", entry.file, entry.line);
            if let Err(text) = draft.set(entry) {
                faulty.push((entry.section.as_str(), entry.name.as_str()));
                problems.push(Problem { place, text });
            }
        }
        if draft.enabled {
            // Without a token Planfix's own `setup` brings both, and shows that it may by the PBX's key.
            let set_up_later = draft.crm.token.is_empty() && !draft.crm.pbx_token.is_empty();
            for (name, missing, what) in [
                (
                    "url",
                    draft.crm.url.is_empty() && !set_up_later,
                    "the address for requests that Planfix shows, such as https://ACCOUNT.planfix.ru/tel/api",
                ),
                (
                    "token",
                    draft.crm.token.is_empty() && !set_up_later,
                    "the authorization key that Planfix shows; or set pbx_token and let Planfix bring both (setup)",
                ),
            ] {
                // A line with a fault of its own was named already; one that an empty line takes back was not.
                if missing && !faulty.contains(&("planfix", name)) {
                    problems.push(Problem {
                        place: file.to_owned(),
                        text: format!("'{name}' is missing in section [planfix]: set it to {what}"),
                    });
                }
            }
        }
        if let Some(text) = draft.greetings.contradiction() {
            problems.push(Problem {
                place: file.to_owned(),
                text,
            });
        }
        if draft.status.key == draft.crm.pbx_token && !draft.status.key.is_empty() {
            problems.push(Problem {
                place: file.to_owned(),
                text: "'key' in [status] is the same as 'pbx_token': make up another one, because whoever watches the module \
                       need not be able to make calls"
                    .to_owned(),
            });
        }
        shorten(&mut problems, file);
        Read {
            settings: if problems.is_empty() {
                Ok(draft)
            } else {
                Err(problems)
            },
            notices: Vec::new(),
        }
    }

    /// Planfix has to send its address and its key first.
    #[must_use]
    pub fn awaits_setup(&self) -> bool {
        self.crm.url.is_empty() || self.crm.token.is_empty()
    }

    /// Applies one line.
    fn set(&mut self, entry: &Entry) -> Result<(), String> {
        let (name, value) = (entry.name.as_str(), entry.value.trim());
        let named = |fault: String| format!("'{name}': {fault}");
        match (entry.section.as_str(), name) {
            ("general", "enabled") => self.enabled = yes_or_no(value).map_err(named)?,
            ("general", "mode") => match value.to_ascii_lowercase().as_str() {
                "auto" => self.mode = Mode::Auto,
                "dialplan" => self.mode = Mode::Dialplan,
                _ => {
                    return Err(named(format!(
                        "'{value}' is not a mode: expected auto or dialplan"
                    )));
                }
            },
            ("planfix", "url") => {
                self.crm.url = url(value).map_err(named)?;
            }
            ("planfix", "token") => self.crm.token = key(value).map_err(named)?,
            ("planfix", "pbx_token") => self.crm.pbx_token = key(value).map_err(named)?,
            ("planfix", "pbx_url") => value.clone_into(&mut self.crm.pbx_url),
            ("planfix", "tls_ca_file") => value.clone_into(&mut self.crm.tls_ca_file),
            ("calls", "internal") => self.calls.internal = Patterns::parse(value).map_err(named)?,
            ("calls", "trunks") => self.calls.trunks = Trunks::parse(value).map_err(named)?,
            ("calls", "missed") => {
                self.calls.missed = match value.to_ascii_lowercase().as_str() {
                    "first" => Missed::First,
                    "last" => Missed::Last,
                    "all" => Missed::All,
                    "responsible" => Missed::Responsible,
                    _ => {
                        return Err(named(format!(
                            "'{value}' does not say who missed a call: expected first, last, all or responsible"
                        )));
                    }
                }
            }
            ("calls", "nobody") => {
                let plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
                if !value.chars().all(plain) || value.len() > LONGEST_EXT {
                    return Err(named(format!(
                        "'{value}' is not an employee's number: expected one such as 101"
                    )));
                }
                value.clone_into(&mut self.calls.nobody);
            }
            ("calls", "country") => self.calls.numbering.set_country(value).map_err(named)?,
            ("calls", "area_code") => self.calls.numbering.set_area_code(value).map_err(named)?,
            ("calls", "rewrite") => self.calls.numbering.add_rewrite(value).map_err(named)?,
            ("calls", "stale_popup") => {
                self.delivery.stale_popup = within(quantity::duration(value), 1, 86_400).map_err(named)?;
            }
            ("calls", "status_map") => {
                self.calls.status_map = match value.to_ascii_lowercase().as_str() {
                    "api" => StatusMap::Api,
                    "voxlink" => StatusMap::Voxlink,
                    _ => {
                        return Err(named(format!(
                            "'{value}' is not a status map: expected api or voxlink"
                        )));
                    }
                }
            }
            ("calls", _) if name.len() > 5 && name.starts_with("data_") => {
                if value.is_empty() || value.contains(|c: char| c.is_whitespace() || "${}()".contains(c)) {
                    return Err(named(format!(
                        "'{value}' is not a channel variable: write its bare name, such as UTM_SOURCE"
                    )));
                }
                self.calls
                    .data
                    .push((name["data_".len()..].to_owned(), value.to_owned()));
            }
            ("delivery", "workers") => {
                self.delivery.workers = value
                    .parse()
                    .ok()
                    .filter(|count| (1..=32).contains(count))
                    .ok_or_else(|| {
                        named(format!("'{value}' is not a number of workers: expected 1 to 32"))
                    })?;
            }
            ("delivery", "backlog_rate") => {
                self.delivery.backlog_rate =
                    value.parse().ok().filter(|rate| *rate <= 10_000).ok_or_else(|| {
                        named(format!(
                            "'{value}' is not a number of requests a second: expected 0 to 10000"
                        ))
                    })?;
            }
            ("delivery", "connect_timeout") => {
                self.delivery.connect_timeout = within(quantity::duration(value), 1, 60).map_err(named)?;
            }
            ("delivery", "response_timeout") => {
                self.delivery.response_timeout = within(quantity::duration(value), 1, 300).map_err(named)?;
            }
            ("delivery", "retry_max") => {
                self.delivery.retry_max = within(quantity::duration(value), 1, 86_400).map_err(named)?;
            }
            ("delivery", "max_spool") => {
                self.delivery.max_spool = quantity::bytes(value).map_err(named)?;
                if self.delivery.max_spool < 1 << 20 {
                    return Err(named(format!("'{value}' is too small: expected at least 1M")));
                }
            }
            ("delivery", "keep_failed") => {
                self.delivery.keep_failed =
                    within(quantity::duration(value), 0, 3_650 * 86_400).map_err(named)?;
            }
            ("delivery", "keep_delivered") => {
                self.delivery.keep_delivered =
                    within(quantity::duration(value), 0, 3_650 * 86_400).map_err(named)?;
            }
            (section, _) => {
                let set = match section {
                    "contact" => self.contact.set(name, value),
                    "recordings" => self.recordings.set(name, value),
                    "callback" => self.callback.set(name, value),
                    "status" => self.status.set(name, value),
                    "greetings" => self.greetings.set(name, value),
                    _ => None,
                };
                return match set {
                    Some(set) => set.map_err(named),
                    None => Err(unknown(section, name)),
                };
            }
        }
        Ok(())
    }
}

/// A file that is none of ours has a fault in every line; the first ones say as much as all of them.
fn shorten(problems: &mut Vec<Problem>, file: &str) {
    if problems.len() > MOST_PROBLEMS {
        let more = problems.len() - MOST_PROBLEMS;
        problems.truncate(MOST_PROBLEMS);
        problems.push(Problem {
            place: file.to_owned(),
            text: format!("{more} more lines like these are not listed"),
        });
    }
}

/// A sentence for an unknown option, with the nearest known one if there is any.
fn unknown(section: &str, name: &str) -> String {
    let sections = [
        "general",
        "planfix",
        "calls",
        "delivery",
        "contact",
        "recordings",
        "callback",
        "status",
        "greetings",
    ];
    if let Some((right, _, _)) = options().find(|(s, n, _)| *n == name && *s != section) {
        return format!("unknown option '{name}' in [{section}]: it belongs to [{right}]");
    }
    if !sections.contains(&section) {
        return format!(
            "unknown section [{section}]: expected one of [{}]",
            sections.join("], [")
        );
    }
    options()
        .filter(|(s, _, _)| *s == section)
        .map(|(_, known, _)| (strsim::damerau_levenshtein(known, name), known))
        .filter(|(distance, _)| *distance <= 2)
        .min()
        .map_or_else(
            || format!("unknown option '{name}' in [{section}]: see planfix.conf.sample for the known ones"),
            |(_, known)| format!("unknown option '{name}' in [{section}]: did you mean '{known}'?"),
        )
}

fn yes_or_no(value: &str) -> Result<bool, String> {
    is_yes(value).ok_or_else(|| format!("'{value}' is neither yes nor no"))
}

/// Asterisk's words for true and false (main/utils.c, `ast_true` and `ast_false`); `None` for any other.
pub(super) fn is_yes(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "yes" | "true" | "y" | "t" | "1" | "on" => Some(true),
        "no" | "false" | "n" | "f" | "0" | "off" => Some(false),
        _ => None,
    }
}

/// A key of the CRM or of the PBX.
pub(super) fn key(value: &str) -> Result<Secret, String> {
    if value.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("the key holds a blank or a control character".to_owned());
    }
    if value.len() > Secret::LONGEST {
        return Err(format!("the key is longer than {} bytes", Secret::LONGEST));
    }
    Ok(Secret::new(value))
}

/// Planfix takes HTTPS alone (section 1); without TLS the token would travel readable. A sandbox on this machine may
/// do without.
pub(super) fn url(value: &str) -> Result<String, String> {
    if value.is_empty() {
        return Ok(String::new());
    }
    let example = "expected something like https://ACCOUNT.planfix.ru/tel/api";
    // The key pasted into the wrong line, or a password in the address, must not reach the log.
    let looks_secret = value.contains('@') || (value.len() >= 16 && !value.contains(['.', '/', ':']));
    // What `setup` brings can hold anything, and http::Uri takes anything behind a '#'; a log's line must stay one.
    let broken = value.contains(|c: char| c.is_control() || c.is_whitespace());
    let shown = if looks_secret || broken {
        "the value".to_owned()
    } else {
        format!("'{value}'")
    };
    let uri: Uri = value
        .parse()
        .map_err(|_| format!("{shown} is not an address: {example}"))?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    if broken
        || host.is_empty()
        || uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
    {
        return Err(format!("{shown} is not an address: {example}"));
    }
    let local = host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    match uri.scheme_str() {
        Some("https") => Ok(value.to_owned()),
        Some("http") if local => Ok(value.to_owned()),
        Some("http") => Err(format!("'{value}' would send the token unencrypted: {example}")),
        _ => Err(format!("{shown} is not an address: {example}")),
    }
}

fn within(value: Result<Duration, String>, least: u64, most: u64) -> Result<Duration, String> {
    let value = value?;
    if (least..=most).contains(&value.as_secs()) {
        Ok(value)
    } else {
        Err(format!(
            "{} s is out of range: expected {least} to {most} s",
            value.as_secs()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::{Adopt, Calls, Entry, Missed, Mode, OwnPhone, Read, Settings, options};
    use crate::core::disposition::StatusMap;
    use std::time::Duration;

    fn read(text: &str) -> Read {
        let mut section = String::new();
        let entries: Vec<Entry> = text
            .lines()
            .enumerate()
            .filter_map(|(index, line)| {
                if let Some(name) = line.strip_prefix('[') {
                    section = name.trim_end_matches(']').to_owned();
                    return None;
                }
                let (name, value) = line.split_once('=')?;
                Some(Entry {
                    section: section.clone(),
                    name: name.trim().to_owned(),
                    value: value.trim().to_owned(),
                    file: "planfix.conf".to_owned(),
                    line: u32::try_from(index + 1).unwrap(),
                })
            })
            .collect();
        Settings::read("planfix.conf", &entries)
    }

    const LEAST: &str = "[planfix]\nurl=https://acme.planfix.ru/tel/api\ntoken=93d80b74\n";

    fn problem(text: &str) -> String {
        let problems = read(text).settings.unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems[0].to_string()
    }

    #[test]
    fn without_a_token_planfix_may_bring_it_if_it_can_show_a_key() {
        let waiting = read("[planfix]\npbx_token=key\n").settings.unwrap();
        assert!(waiting.awaits_setup());
        assert!(
            !read("[planfix]\nurl=https://a/tel/api\ntoken=t\n")
                .settings
                .unwrap()
                .awaits_setup()
        );
        let problems = read("[planfix]\nurl=https://a/tel/api\n").settings.unwrap_err();
        assert!(problems[0].text.contains("'token' is missing") && problems[0].text.contains("pbx_token"));
        let problems = read("[planfix]\ntoken=t\npbx_token=key\n").settings.unwrap_err();
        assert!(problems[0].text.contains("'url' is missing"), "{problems:?}");
    }

    #[test]
    fn what_an_empty_line_takes_back_is_missing() {
        let taken_back = format!("{LEAST}url=\ntoken=\n");
        let problems = read(&taken_back).settings.unwrap_err();
        assert!(problems[0].text.contains("'url' is missing"), "{problems:?}");
        assert!(problems[1].text.contains("'token' is missing"), "{problems:?}");
        // A fault is named once.
        let fault = problem("[planfix]\nurl=acme\ntoken=1\n");
        assert!(fault.contains("is not an address"), "{fault}");
    }

    #[test]
    fn a_scheme_in_capitals_is_the_same_scheme() {
        let crm = |url: &str| {
            let text = LEAST.replace("https://acme.planfix.ru", url);
            read(&text).settings.unwrap().crm
        };
        let (encrypted, plain) = (crm("HTTPS://acme.planfix.ru"), crm("Http://127.0.0.1"));
        assert!(encrypted.is_tls() && !plain.is_tls());
        assert_eq!(encrypted.host_and_port(), ("acme.planfix.ru".to_owned(), 443));
        assert_eq!(plain.host_and_port(), ("127.0.0.1".to_owned(), 80));
    }

    #[test]
    fn an_address_with_a_line_end_makes_no_second_line_in_the_log() {
        for address in [
            "https://a\r\nb/",
            "a\nb",
            "http://a.example.com/\u{7f}",
            "https://acme.planfix.ru/#\r\nb",
        ] {
            let fault = super::url(address).unwrap_err();
            assert!(!fault.contains(char::is_control), "{fault:?}");
        }
    }

    #[test]
    fn url_and_token_suffice() {
        let settings = read(LEAST).settings.unwrap();
        assert!(settings.enabled);
        assert_eq!(settings.mode, Mode::Auto);
        assert_eq!(settings.calls.missed, Missed::First);
        assert!(settings.calls.trunks.is_empty() && settings.calls.nobody.is_empty());
        assert_eq!(settings.calls.numbering.crm_form("89161234567"), "79161234567");
        assert_eq!(settings.delivery.retry_max, Duration::from_secs(300));
        assert_eq!(settings.delivery.max_spool, 1 << 30);
        assert!(settings.calls.internal.matches(b"101"));
        assert_eq!(settings.crm.host_and_port(), ("acme.planfix.ru".to_owned(), 443));
    }

    #[test]
    fn defaults_are_what_the_table_says() {
        let mut text = LEAST.to_owned();
        for (section, name, default) in options() {
            if section != "planfix" && name != "data_NAME" {
                text += &format!("[{section}]\n{name}={default}\n");
            }
        }
        assert_eq!(read(&text), read(LEAST));
    }

    #[test]
    fn everything_can_be_set() {
        let text = "[general]\nenabled=on\nmode=dialplan\n[planfix]\nurl=https://[::1]:8443/tel/api\ntoken=a\npbx_token=b\n\
                    tls_ca_file=/etc/ca.pem\n[calls]\ninternal=_1XX\ntrunks=PJSIP/provider,gsm\nmissed=All\nnobody=100\n\
                    country=none\narea_code=495\nrewrite=_9X.,1,\nrewrite=_80X.,2,375\nstale_popup=2m\nstatus_map=voxlink\ndata_источник=UTM_SOURCE\n\
                    [delivery]\nworkers=8\nbacklog_rate=0\nconnect_timeout=2\nresponse_timeout=9\nretry_max=1h\nmax_spool=2M\nkeep_failed=1d\nkeep_delivered=0\n\
                    [contact]\ntimeout_ms=150\ncache=5m\nset_name=yes\n\
                    [recordings]\nvariable=CALLFILENAME\ndirectory=/srv/calls/\nconvert=no\nencoder=/opt/lame\nkeep_original=yes\n\
                    link=https://pbx.example.com/planfix/records/\nlink_expires=90d\nwait=20\n\
                    [callback]\ncontext=office\ntimeout=20\nallow=_8X.\ndeny=_8809X.\nrate_per_minute=5\nacl=planfix\nauto_answer=yes\ndevice=PJSIP/EXT\n\
                    [status]\nkey=0123456789abcdef\nacl=monitoring\n\
                    [greetings]\nfolder=/srv/greetings\noperators=_1XX\nmax=2m\nmin=2\nmax_silence=0\nsilence_threshold=500\nmax_total=5m\n\
                    own_phone=caller\npin_attempts=5\npin_lock=1h\nadopt=no\nimport_folders=/srv/a,/srv/b\nmenu_timeout=8\nprompt_pin=custom/pin&beep\n";
        let read = read(text);
        assert!(read.notices.is_empty());
        let settings = read.settings.unwrap();
        assert_eq!(settings.mode, Mode::Dialplan);
        assert_eq!(settings.contact.timeout, Duration::from_millis(150));
        assert!(settings.contact.set_name);
        assert_eq!(settings.recordings.directory, "/srv/calls");
        assert_eq!(
            settings.recordings.link,
            "https://pbx.example.com/planfix/records"
        );
        assert_eq!(settings.callback.device, "PJSIP/EXT");
        assert!(settings.status.key.matches(b"0123456789abcdef"));
        assert_eq!(settings.status.acl, "monitoring");
        assert_eq!(settings.greetings.max, Duration::from_secs(120));
        assert_eq!(settings.greetings.own_phone, OwnPhone::Caller);
        assert_eq!(settings.greetings.adopt, Adopt::No);
        assert!(settings.greetings.prompts != Settings::initial().greetings.prompts);
        assert!(settings.callback.deny.matches(b"88091234567"));
        assert!(settings.calls.trunks.matches("PJSIP", "provider"));
        assert_eq!(settings.calls.missed, Missed::All);
        assert_eq!(settings.calls.nobody, "100");
        assert_eq!(settings.calls.numbering.crm_form("980291234567"), "80291234567");
        assert_eq!(settings.calls.numbering.crm_form("80291234567"), "375291234567");
        assert_eq!(settings.calls.status_map, StatusMap::Voxlink);
        assert_eq!(
            settings.calls.data,
            [("источник".to_owned(), "UTM_SOURCE".to_owned())]
        );
        let again = Calls::from_options(&settings.calls.options()).unwrap();
        assert_eq!(again.options(), settings.calls.options());
        let Calls { status_map, .. } = settings.calls;
        assert_eq!(Calls { status_map, ..again }, settings.calls);
        assert_eq!(settings.delivery.stale_popup, Duration::from_secs(120));
        assert_eq!(settings.delivery.workers, 8);
        assert_eq!(settings.delivery.backlog_rate, 0);
        assert_eq!(settings.crm.host_and_port(), ("::1".to_owned(), 8443));
    }

    #[test]
    fn each_fault_is_named_with_its_line_and_its_cure() {
        for (line, expected) in [
            (
                "[general]\nenabled=maybe",
                "planfix.conf:5: 'enabled': 'maybe' is neither yes nor no",
            ),
            (
                "[general]\nmode=cel",
                "planfix.conf:5: 'mode': 'cel' is not a mode: expected auto or dialplan",
            ),
            (
                "[contact]\ntimeout_ms=0.3",
                "planfix.conf:5: 'timeout_ms': '0.3' is not a time in milliseconds: expected 10 to 10000, such as 300",
            ),
            (
                "[recordings]\ndirectory=/srv/../etc",
                "planfix.conf:5: 'directory': '/srv/../etc' is not a folder: expected its whole path, such as \
                 /var/spool/asterisk/monitor",
            ),
            (
                "[callback]\ndevice=PJSIP/101",
                "planfix.conf:5: 'device': 'PJSIP/101' does not say how an employee's phone is called: expected such as \
                 PJSIP/EXT or Local/EXT@CONTEXT/n, where EXT stands for his number",
            ),
            (
                "[status]\nkey=0123456789abcde",
                "planfix.conf:5: 'key': the key is shorter than 16 characters: make up a longer one, such as \
                 'openssl rand -hex 16' prints",
            ),
            (
                "[status]\nkey=0123456789 abcdef",
                "planfix.conf:5: 'key': the key holds a blank or a control character",
            ),
            (
                "pbx_token=0123456789abcdef\n[status]\nkey=0123456789abcdef",
                "planfix.conf: 'key' in [status] is the same as 'pbx_token': make up another one, because whoever watches the \
                 module need not be able to make calls",
            ),
            (
                "[delivery]\nworkers=0",
                "planfix.conf:5: 'workers': '0' is not a number of workers: expected 1 to 32",
            ),
            (
                "[delivery]\nbacklog_rate=fast",
                "planfix.conf:5: 'backlog_rate': 'fast' is not a number of requests a second: expected 0 to 10000",
            ),
            (
                "[delivery]\nretry_maks=1",
                "planfix.conf:5: unknown option 'retry_maks' in [delivery]: did you mean 'retry_max'?",
            ),
            (
                "[general]\nworkers=1",
                "planfix.conf:5: unknown option 'workers' in [general]: it belongs to [delivery]",
            ),
            (
                "[colour]\nx=1",
                "planfix.conf:5: unknown section [colour]: expected one of [general], [planfix], [calls], [delivery], [contact], \
                 [recordings], [callback], [status], [greetings]",
            ),
            (
                "[calls]\ninternal=_[1",
                "planfix.conf:5: 'internal': pattern '_[1' has a '[' without its ']'",
            ),
            (
                "[calls]\ntrunks=PJSIP/a PJSIP/b",
                "planfix.conf:5: 'trunks': 'PJSIP/a PJSIP/b' is not an endpoint: expected PJSIP/provider, provider or a beginning such as PJSIP/trunk-*",
            ),
            (
                "[calls]\nmissed=none",
                "planfix.conf:5: 'missed': 'none' does not say who missed a call: expected first, last, all or responsible",
            ),
            (
                "[calls]\nnobody=101,102",
                "planfix.conf:5: 'nobody': '101,102' is not an employee's number: expected one such as 101",
            ),
            (
                "[calls]\ncountry=49",
                "planfix.conf:5: 'country': '49' is not a country: expected 7 (Russia and Kazakhstan) or none",
            ),
            (
                "[calls]\narea_code=8495",
                "planfix.conf:5: 'area_code': '8495' is not an area code: expected three digits such as 495",
            ),
            (
                "[calls]\nrewrite=_9X.",
                "planfix.conf:5: 'rewrite': '_9X.' is not a rewrite: expected PATTERN,STRIP,PREPEND such as _98XXXXXXXXXX,1,",
            ),
            (
                "[calls]\ndata_x=${UTM}",
                "planfix.conf:5: 'data_x': '${UTM}' is not a channel variable: write its bare name, such as UTM_SOURCE",
            ),
            (
                "[delivery]\nmax_spool=10K",
                "planfix.conf:5: 'max_spool': '10K' is too small: expected at least 1M",
            ),
            (
                "[delivery]\nconnect_timeout=5m",
                "planfix.conf:5: 'connect_timeout': 300 s is out of range: expected 1 to 60 s",
            ),
            (
                "[planfix]\nurl=http://acme.planfix.ru/tel/api",
                "planfix.conf:5: 'url': 'http://acme.planfix.ru/tel/api' would send the token unencrypted: expected something like https://ACCOUNT.planfix.ru/tel/api",
            ),
            (
                "[planfix]\nurl=acme",
                "planfix.conf:5: 'url': 'acme' is not an address: expected something like https://ACCOUNT.planfix.ru/tel/api",
            ),
        ] {
            assert_eq!(problem(&format!("{LEAST}{line}\n")), expected);
        }
    }

    #[test]
    fn greetings_that_are_shorter_than_the_shortest_are_no_greetings() {
        assert_eq!(
            problem(&format!("{LEAST}[greetings]\nmin=5\nmax=3\n")),
            "planfix.conf: 'min' in [greetings] is longer than 'max': 5 s and 3 s"
        );
        assert_eq!(
            problem(&format!("{LEAST}[greetings]\nprompt_pim=beep\n")),
            "planfix.conf:5: unknown option 'prompt_pim' in [greetings]: did you mean 'prompt_pin'?"
        );
    }

    #[test]
    fn a_missing_key_is_named_unless_the_module_is_off() {
        assert!(problem("[planfix]\nurl=https://a.planfix.ru/tel/api\n").contains("'token' is missing"));
        assert!(problem("[planfix]\ntoken=1\n").contains("'url' is missing"));
        assert!(read("[general]\nenabled=no\n").settings.is_ok());
    }

    #[test]
    fn all_problems_are_found_in_one_pass_and_no_token_is_quoted() {
        let problems = read("[planfix]\ntoken=geheim nis\n[delivery]\nworkers=x\nretry_max=y\n")
            .settings
            .unwrap_err();
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert!(!format!("{problems:?}").contains("geheim"));
        for line in [
            "url=93d80b7404f50479f87cccf64b5a07bb",
            "url=https://user:93d80b74@a.planfix.ru/tel/api",
        ] {
            let problem = problem(&format!("[planfix]\ntoken=1\n{line}\n"));
            assert!(
                problem.contains("the value is not an address") && !problem.contains("93d80b74"),
                "{problem}"
            );
        }
    }

    #[test]
    fn a_file_that_is_none_of_ours_is_not_listed_line_by_line() {
        let problems = read(&"x = y\n".repeat(5_000)).settings.unwrap_err();
        assert_eq!(problems.len(), 21);
        assert!(
            problems[20]
                .text
                .ends_with("more lines like these are not listed")
        );
    }

    #[test]
    fn http_is_for_this_machine_alone() {
        for address in [
            "http://127.0.0.1:8080/tel/api",
            "http://localhost/tel/api",
            "http://[::1]:80/",
        ] {
            assert!(
                read(&format!("[planfix]\ntoken=1\nurl={address}\n"))
                    .settings
                    .is_ok(),
                "{address}"
            );
        }
    }
}
