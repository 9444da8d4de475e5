//! What a stand-in is started with, from code or from a command line.

use crate::fault::Fault;
use crate::sequence::Rule;
use lexopt::prelude::*;
use serde::Serialize;
use std::ffi::OsString;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// A certificate chain and its key, both PEM.
#[derive(Clone)]
pub struct Tls {
    /// The chain, the server's own certificate first.
    pub certificates: Vec<u8>,
    /// The private key.
    pub key: Vec<u8>,
}

/// Somebody the CRM knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Contact {
    /// The number; compared by its digits only.
    pub number: String,
    /// The name.
    pub name: String,
    /// The responsible employee's extension.
    pub ext: Option<String>,
}

impl FromStr for Contact {
    type Err = String;

    /// `NUMBER=NAME[:EXT]`.
    fn from_str(text: &str) -> Result<Self, String> {
        let Some((number, rest)) = text.split_once('=') else {
            return Err(format!("contact `{text}` is not NUMBER=NAME[:EXT]"));
        };
        if !number.bytes().any(|byte| byte.is_ascii_digit()) {
            return Err(format!("contact `{text}`: the number has no digit"));
        }
        let (name, ext) = match rest.rsplit_once(':') {
            Some((name, ext)) if !ext.is_empty() && ext.bytes().all(|byte| byte.is_ascii_digit()) => {
                (name, Some(ext.to_owned()))
            }
            _ => (rest, None),
        };
        Ok(Self {
            number: number.to_owned(),
            name: name.to_owned(),
            ext,
        })
    }
}

/// What a stand-in is started with.
#[derive(Clone)]
pub struct Options {
    /// Where `/tel/api` listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the page and the control API listen.
    pub control: SocketAddr,
    /// The key that requests must carry as `planfix_token`.
    pub token: String,
    /// The PBX's key: what `ping` answers as `pbxToken`, and what `setup` and clicks carry.
    pub pbx_token: String,
    /// The PBX's address: what `ping` answers as `pbxUrl`, and where `setup` and clicks go.
    pub pbx_url: String,
    /// The log file, appended to.
    pub log: Option<PathBuf>,
    /// How long log lines may gather in memory; zero writes each before its answer.
    pub log_flush: Duration,
    /// Speak TLS at `/tel/api`.
    pub tls: Option<Tls>,
    /// Whom `contact` knows.
    pub contacts: Vec<Contact>,
    /// The body that answers `contact` for an unknown number.
    pub unknown_contact: String,
    /// A folder whose files the control listener serves under `/recordings/`.
    pub recordings: Option<PathBuf>,
    /// Rules that are not checked.
    pub allow: Vec<Rule>,
    /// Faults from the start.
    pub faults: Vec<Fault>,
    /// How long a connection may be silent.
    pub idle_timeout: Duration,
    /// How many requests and calls are kept in memory.
    pub keep: usize,
}

impl Default for Options {
    fn default() -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            listen: any,
            control: any,
            token: "sandbox-token".to_owned(),
            pbx_token: "sandbox-pbx-token".to_owned(),
            pbx_url: "https://pbx.example.com/planfix/api".to_owned(),
            log: None,
            log_flush: Duration::from_millis(100),
            tls: None,
            contacts: Vec::new(),
            unknown_contact: "{}".to_owned(),
            recordings: None,
            allow: Vec::new(),
            faults: Vec::new(),
            idle_timeout: Duration::from_secs(60),
            keep: 1_000_000,
        }
    }
}

impl fmt::Debug for Options {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("listen", &self.listen)
            .field("control", &self.control)
            .field("tls", &self.tls.is_some())
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}

/// What a command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// Run.
    Run {
        /// With these.
        options: Box<Options>,
        /// End when standard input ends, so that nothing outlives whoever started this.
        until_stdin_closes: bool,
    },
    /// Print this text and end.
    Print(String),
}

/// The help text.
pub fn help() -> String {
    let mut text = include_str!("help.txt").to_owned();
    text.push_str("\nRules of order for --allow:\n");
    for rule in Rule::ALL {
        text.push_str(&format!("  {:<24} {}\n", rule.name(), rule.meaning()));
    }
    text
}

impl Invocation {
    /// Reads a command line without the program's name; `environment` looks a variable up. Fails with one sentence.
    pub fn parse(
        arguments: impl IntoIterator<Item = OsString>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let mut options = Options {
            pbx_token: String::new(),
            pbx_url: String::new(),
            ..Options::default()
        };
        options.token = environment("PLANFIX_SANDBOX_TOKEN").unwrap_or_default();
        if let Some(token) = environment("PLANFIX_SANDBOX_PBX_TOKEN") {
            options.pbx_token = token;
        }
        let (mut certificates, mut key) = (None, None);
        let mut until_stdin_closes = false;
        let mut parser = lexopt::Parser::from_args(arguments);
        while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
            let name = match argument {
                Short('h') | Long("help") => return Ok(Self::Print(help())),
                Short('V') | Long("version") => {
                    return Ok(Self::Print(
                        concat!("planfix-sandbox ", env!("CARGO_PKG_VERSION"), "\n").to_owned(),
                    ));
                }
                Long("until-stdin-closes") => {
                    until_stdin_closes = true;
                    continue;
                }
                Long(name) => name.to_owned(),
                other => return Err(format!("{}; --help lists the options", other.unexpected())),
            };
            let value = |parser: &mut lexopt::Parser| -> Result<String, String> {
                let value = parser.value().map_err(|error| error.to_string())?;
                value
                    .into_string()
                    .map_err(|value| format!("--{name}: {} is not UTF-8", value.display()))
            };
            let failed = |error: String| format!("--{name}: {error}");
            match name.as_str() {
                "listen" => options.listen = address(&value(&mut parser)?).map_err(failed)?,
                "control" => options.control = address(&value(&mut parser)?).map_err(failed)?,
                "token" => options.token = value(&mut parser)?,
                "pbx-token" => options.pbx_token = value(&mut parser)?,
                "pbx-url" => options.pbx_url = value(&mut parser)?,
                "log" => options.log = Some(value(&mut parser)?.into()),
                "log-flush" => {
                    options.log_flush = Duration::from_millis(number(&value(&mut parser)?).map_err(failed)?);
                }
                "tls-cert" => certificates = Some(file(&value(&mut parser)?).map_err(failed)?),
                "tls-key" => key = Some(file(&value(&mut parser)?).map_err(failed)?),
                "contact" => options
                    .contacts
                    .push(value(&mut parser)?.parse().map_err(failed)?),
                "unknown-contact" => options.unknown_contact = value(&mut parser)?,
                "recordings" => {
                    let folder = PathBuf::from(value(&mut parser)?);
                    if !folder.is_dir() {
                        return Err(failed(format!("{} is not a folder", folder.display())));
                    }
                    options.recordings = Some(folder);
                }
                "allow" => options.allow.push(value(&mut parser)?.parse().map_err(failed)?),
                "fault" => options.faults.push(value(&mut parser)?.parse().map_err(failed)?),
                "idle-timeout" => {
                    options.idle_timeout = Duration::from_secs(number(&value(&mut parser)?).map_err(failed)?);
                }
                "keep" => {
                    options.keep =
                        usize::try_from(number(&value(&mut parser)?).map_err(failed)?).unwrap_or(usize::MAX);
                }
                _ => return Err(format!("there is no option --{name}; --help lists the options")),
            }
        }
        options.tls = match (certificates, key) {
            (Some(certificates), Some(key)) => Some(Tls { certificates, key }),
            (None, None) => None,
            _ => return Err("--tls-cert and --tls-key go together".to_owned()),
        };
        if options.token.is_empty() {
            return Err(
                "there is no key for requests: set PLANFIX_SANDBOX_TOKEN, or give --token".to_owned(),
            );
        }
        Ok(Self::Run {
            options: Box::new(options),
            until_stdin_closes,
        })
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is not ADDRESS:PORT, such as 127.0.0.1:0"))
}

fn number(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is not a whole number"))
}

fn file(path: &str) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{path} cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Invocation, String> {
        Invocation::parse(line.split_whitespace().map(OsString::from), |_| None)
    }

    #[test]
    fn reads_a_whole_line() {
        let line = "--listen 127.0.0.1:8080 --control=[::1]:0 --token T --pbx-token P --pbx-url https://p/ --log /l \
                    --contact 79101234567=Иван:101 --contact +7=Петр --allow shown-twice --fault delay=5 --fault 500,next=1 \
                    --log-flush 0 --idle-timeout 5 --keep 7 --unknown-contact [] --until-stdin-closes";
        let Ok(Invocation::Run {
            options,
            until_stdin_closes,
        }) = parse(line)
        else {
            panic!("{:?}", parse(line))
        };
        assert!(until_stdin_closes);
        assert_eq!(options.listen.port(), 8080);
        assert!(options.control.is_ipv6());
        assert_eq!((options.token.as_str(), options.pbx_token.as_str()), ("T", "P"));
        assert_eq!(options.contacts[0].ext.as_deref(), Some("101"));
        assert_eq!(
            options.contacts[1],
            Contact {
                number: "+7".into(),
                name: "Петр".into(),
                ext: None
            }
        );
        assert_eq!(
            (options.allow.len(), options.faults.len(), options.keep),
            (1, 2, 7)
        );
        assert!(!format!("{options:?}").contains("\"T\""));
    }

    #[test]
    fn keys_may_come_from_the_environment() {
        let lookup = |name: &str| Some(format!("from {name}"));
        let Ok(Invocation::Run { options, .. }) = Invocation::parse([], lookup) else {
            panic!()
        };
        assert_eq!(options.token, "from PLANFIX_SANDBOX_TOKEN");
        assert_eq!(options.pbx_token, "from PLANFIX_SANDBOX_PBX_TOKEN");
    }

    #[test]
    fn says_what_is_wrong() {
        for (line, part) in [
            ("", "set PLANFIX_SANDBOX_TOKEN"),
            ("--token", "--token"),
            ("--tokn x", "no option --tokn"),
            ("stray", "--help lists"),
            ("--token t --listen 80", "is not ADDRESS:PORT"),
            ("--token t --fault boom", "--fault: `boom` is not a fault"),
            ("--token t --allow boom", "the rules are completed-not-shown"),
            ("--token t --contact x", "NUMBER=NAME"),
            ("--token t --contact x=y", "no digit"),
            ("--token t --keep x", "whole number"),
            ("--token t --tls-key /nonexistent", "cannot be read"),
            ("--token t --recordings /nonexistent", "is not a folder"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
        let Ok(Invocation::Print(help)) = parse("--help") else {
            panic!()
        };
        assert!(help.contains("--listen") && help.contains("shown-twice"));
    }
}
