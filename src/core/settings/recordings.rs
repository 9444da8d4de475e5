//! `[recordings]`: what becomes of a call's recording.

use std::time::Duration;

use super::{quantity, within, yes_or_no};

/// Name and default of every option.
pub(super) const OPTIONS: [(&str, &str, &str); 8] = [
    ("recordings", "variable", "MIXMONITOR_FILENAME"),
    ("recordings", "directory", ""),
    ("recordings", "convert", "mp3"),
    ("recordings", "encoder", "lame"),
    ("recordings", "keep_original", "no"),
    ("recordings", "link", ""),
    ("recordings", "link_expires", "0"),
    ("recordings", "wait", "0"),
];

/// What a recording is converted to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Convert {
    /// mp3, by the encoder.
    #[default]
    Mp3,
    /// Nothing: it is left as it is.
    No,
}

/// `[recordings]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recordings {
    /// The channel variable that holds a recording's path.
    pub variable: String,
    /// Where recordings are kept; empty: Asterisk's own `monitor` folder. Nothing outside of it is touched or served.
    pub directory: String,
    /// What they are converted to.
    pub convert: Convert,
    /// The program that makes mp3: a name to be found in PATH, or a path.
    pub encoder: String,
    /// Whether the original stays beside the mp3.
    pub keep_original: bool,
    /// The public base of the links; empty: the CRM is given none.
    pub link: String,
    /// How long a link is good for. Zero: for ever.
    pub link_expires: Duration,
    /// How long the end of a call waits for its recording, to carry the link by itself. Zero: not at all.
    pub wait: Duration,
}

impl Default for Recordings {
    fn default() -> Self {
        Self {
            variable: "MIXMONITOR_FILENAME".to_owned(),
            directory: String::new(),
            convert: Convert::Mp3,
            encoder: "lame".to_owned(),
            keep_original: false,
            link: String::new(),
            link_expires: Duration::ZERO,
            wait: Duration::ZERO,
        }
    }
}

impl Recordings {
    /// Sets one option; `None` for one that is not known.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Option<Result<(), String>> {
        let set = match name {
            "variable" => variable(value).map(|variable| self.variable = variable),
            "directory" => directory(value).map(|directory| self.directory = directory),
            "convert" => match value.to_ascii_lowercase().as_str() {
                "mp3" => {
                    self.convert = Convert::Mp3;
                    Ok(())
                }
                "no" => {
                    self.convert = Convert::No;
                    Ok(())
                }
                _ => Err(format!("'{value}' is no conversion: expected mp3 or no")),
            },
            "encoder" => {
                if value.is_empty() || value.contains(char::is_control) {
                    Err("expected a program, such as lame or /usr/bin/lame".to_owned())
                } else {
                    value.clone_into(&mut self.encoder);
                    Ok(())
                }
            }
            "keep_original" => yes_or_no(value).map(|yes| self.keep_original = yes),
            "link" => link(value).map(|link| self.link = link),
            "link_expires" => {
                within(quantity::duration(value), 0, 36_500 * 86_400).map(|time| self.link_expires = time)
            }
            "wait" => within(quantity::duration(value), 0, 600).map(|time| self.wait = time),
            _ => return None,
        };
        Some(set)
    }
}

fn variable(value: &str) -> Result<String, String> {
    if value.is_empty() || value.contains(|c: char| c.is_whitespace() || "${}()".contains(c)) {
        return Err(format!(
            "'{value}' is not a channel variable: write its bare name, such as MIXMONITOR_FILENAME or CALLFILENAME"
        ));
    }
    Ok(value.to_owned())
}

fn directory(value: &str) -> Result<String, String> {
    let clean = !value.split('/').any(|part| part == "..") && !value.contains(char::is_control);
    if value.is_empty() || (value.starts_with('/') && value.len() > 1 && clean) {
        Ok(value.trim_end_matches('/').to_owned())
    } else {
        Err(format!(
            "'{value}' is not a folder: expected its whole path, such as /var/spool/asterisk/monitor"
        ))
    }
}

fn link(value: &str) -> Result<String, String> {
    if value.is_empty() {
        return Ok(String::new());
    }
    let uri: Option<ureq::http::Uri> = value.parse().ok();
    let known = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.query().is_none()
    });
    if known && !value.contains('#') {
        Ok(value.trim_end_matches('/').to_owned())
    } else {
        Err(format!(
            "'{value}' is not the base of a link: expected such as https://pbx.example.com/planfix/records"
        ))
    }
}
