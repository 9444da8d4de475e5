//! An Asterisk with the module under test and a stand-in CRM, set up as an administrator would: what most live tests
//! begin with.
//!
//! Invariant: whatever a test does, in the end neither token stands in anything that Asterisk wrote, nor does the key of the
//! status, and the module has caught no panic.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{Ami, Asterisk, Builder, Sandbox, Version, module_path, until, workspace_root};

/// Long for a loaded machine; a request takes milliseconds.
const BOUND: Duration = Duration::from_secs(30);
/// Lines of Asterisk's log that a failed test shows, those for debugging left out.
const SHOWN: usize = 60;

/// What a [`Stage`] is to be like.
#[must_use]
pub struct Plan {
    builder: Builder,
    crm: Vec<String>,
    mode: &'static str,
    calls: String,
    delivery: String,
    sections: String,
    status_key: String,
}

impl Plan {
    /// The module follows calls by itself: `mode = auto`.
    pub fn auto(mut self) -> Self {
        self.mode = "auto";
        self
    }

    /// Describes the Asterisk further: phones, a dialplan, an environment.
    pub fn asterisk(mut self, describe: impl FnOnce(Builder) -> Builder) -> Self {
        self.builder = describe(self.builder);
        self
    }

    /// An argument of the sandbox's command line.
    pub fn crm(mut self, argument: &str) -> Self {
        self.crm.push(argument.to_owned());
        self
    }

    /// Lines of `[calls]` in planfix.conf.
    pub fn calls(mut self, lines: &str) -> Self {
        self.calls.push_str(lines);
        self.calls.push('\n');
        self
    }

    /// Lines of `[delivery]` in planfix.conf.
    pub fn delivery(mut self, lines: &str) -> Self {
        self.delivery.push_str(lines);
        self.delivery.push('\n');
        self
    }

    /// A further section of planfix.conf.
    pub fn section(mut self, name: &str, lines: &str) -> Self {
        self.sections.push_str(&format!("\n[{name}]\n{lines}\n"));
        self
    }

    /// The module says how it does to whoever shows [`Stage::status_key`].
    pub fn watched(mut self) -> Self {
        self.status_key = std::iter::repeat_with(fastrand::alphanumeric).take(24).collect();
        let line = format!("key = {}", self.status_key);
        self.section("status", &line)
    }

    /// Starts the CRM and lays Asterisk out, without starting it.
    ///
    /// # Errors
    /// As [`Sandbox::start`] and [`Builder::prepare`].
    pub fn prepare(self) -> Result<Stage> {
        let arguments: Vec<&str> = self.crm.iter().map(String::as_str).collect();
        let crm = Sandbox::start(&arguments)?;
        let settings = format!(
            "[general]\nmode = {}\n\n[planfix]\nurl = {}\ntoken = {}\npbx_token = {}\n\n[calls]\n{}\n\
             [delivery]\n{}{}",
            self.mode,
            crm.url(),
            crm.token(),
            crm.pbx_token(),
            self.calls,
            self.delivery,
            self.sections
        );
        let asterisk = self.builder.file("planfix.conf", &settings).prepare()?;
        Ok(Stage {
            asterisk,
            crm,
            settings,
            status_key: self.status_key,
        })
    }

    /// Starts the CRM and Asterisk, with the module loaded.
    ///
    /// # Errors
    /// As [`Plan::prepare`] and [`Asterisk::start`], and when the module is not at work then.
    pub fn start(self) -> Result<Stage> {
        let mut stage = self.prepare()?;
        stage.asterisk.start()?;
        stage.at_work()?;
        Ok(stage)
    }

    /// Starts everything, lets `test` play on it, and looks after the invariant.
    ///
    /// # Errors
    /// Whatever `test` fails with, together with the end of Asterisk's log.
    pub fn play(self, test: impl FnOnce(&mut Stage) -> Result<()>) -> Result<()> {
        let mut stage = self.start()?;
        stage.play(test)
    }
}

/// Asterisk, the module, the CRM.
pub struct Stage {
    /// The Asterisk.
    pub asterisk: Asterisk,
    /// The CRM.
    pub crm: Sandbox,
    settings: String,
    status_key: String,
}

impl Stage {
    /// Describes a new one: the module is loaded at the start, the CRM is the sandbox, everything else is as a fresh
    /// planfix.conf has it.
    ///
    /// # Panics
    /// When the module is not built.
    pub fn plan(version: Version) -> Plan {
        let mut builder = Asterisk::builder(version).module(module_path(version));
        let documentation = workspace_root().join("documentation/res_planfix-en_US.xml");
        if documentation.is_file() {
            builder = builder.documentation(documentation);
        }
        Plan {
            builder: builder.load("res_planfix.so"),
            crm: Vec::new(),
            mode: "dialplan",
            calls: String::new(),
            delivery: String::new(),
            sections: String::new(),
            status_key: String::new(),
        }
    }

    /// Lets `test` play, and looks after the invariant.
    ///
    /// # Errors
    /// Whatever `test` fails with, together with the end of Asterisk's log.
    pub fn play(&mut self, test: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        test(self).and_then(|()| self.is_clean()).with_context(|| {
            let log = self.asterisk.log();
            let lines: Vec<&str> = log.lines().filter(|line| !line.contains("] DEBUG[")).collect();
            format!(
                "Asterisk {} wrote last:\n{}\nThe sandbox complained: {}",
                self.asterisk.version(),
                lines[lines.len().saturating_sub(SHOWN)..].join("\n"),
                self.crm.complaints()
            )
        })
    }

    fn is_clean(&self) -> Result<()> {
        for (what, text) in [("log", self.asterisk.log()), ("console", self.asterisk.console())] {
            for (name, key) in [
                ("token", self.crm.token()),
                ("pbx_token", self.crm.pbx_token()),
                ("key of the status", &self.status_key),
            ] {
                let line = text.lines().find(|line| !key.is_empty() && line.contains(key));
                ensure!(line.is_none(), "the {what} holds the {name}: {line:?}");
            }
            let line = text.lines().find(|line| line.contains("panic"));
            ensure!(line.is_none(), "the {what} tells of a panic: {line:?}");
        }
        Ok(())
    }

    /// Waits until the module has opened its spool.
    ///
    /// # Errors
    /// When it has not within 30 s, with what it says instead.
    pub fn at_work(&self) -> Result<()> {
        until("the module at work", BOUND, || {
            let status = self.status()?;
            Ok((status.contains("Spool:") && !status.contains("being opened")).then_some(()))
        })
        .with_context(|| self.status().unwrap_or_default())
    }

    /// The text of planfix.conf as it was at the start.
    #[must_use]
    pub fn settings(&self) -> &str {
        &self.settings
    }

    /// The key that [`Plan::watched`] has set; empty without it.
    #[must_use]
    pub fn status_key(&self) -> &str {
        &self.status_key
    }

    /// Writes another planfix.conf and reloads the module. Returns what the console said.
    ///
    /// # Errors
    /// As [`Asterisk::configure`] and [`Asterisk::cli`].
    pub fn reload_with(&self, settings: &str) -> Result<String> {
        self.asterisk.configure("planfix.conf", settings)?;
        self.asterisk.cli("module reload res_planfix.so")
    }

    /// What `planfix show status` prints.
    ///
    /// # Errors
    /// As [`Asterisk::cli`].
    pub fn status(&self) -> Result<String> {
        self.asterisk.cli("planfix show status")
    }

    /// A row of `planfix show status`.
    ///
    /// # Errors
    /// As [`Asterisk::cli`], and when there is no such row.
    pub fn row(&self, label: &str) -> Result<String> {
        row(&self.status()?, label)
    }

    /// Calls PLANFIX_EVENT through the manager interface, on no channel, and returns its result.
    ///
    /// # Errors
    /// As [`Ami::getvar`].
    pub fn event(&self, arguments: &str) -> Result<String> {
        event(&mut self.asterisk.ami()?, arguments)
    }

    /// As [`Stage::event`], and it must be accepted.
    ///
    /// # Errors
    /// When it is not.
    pub fn queue(&self, arguments: &str) -> Result<()> {
        let answer = self.event(arguments)?;
        ensure!(answer == "QUEUED", "PLANFIX_EVENT({arguments}) is {answer}");
        Ok(())
    }

    /// Waits until the CRM has taken in so many requests, and returns them.
    ///
    /// # Errors
    /// When they are fewer after 30 s, with what came instead.
    pub fn taken_in(&self, count: usize) -> Result<Vec<Value>> {
        let entries = self
            .crm
            .wait_for(&format!("{count} requests"), BOUND, |entries| {
                entries.iter().filter(|entry| is_taken_in(entry)).count() >= count
            })?;
        Ok(entries.into_iter().filter(is_taken_in).collect())
    }

    /// Waits until the CRM's log holds all that the CRM has accepted.
    ///
    /// # Errors
    /// When it does not after `bound`.
    pub fn logged(&self, bound: Duration) -> Result<()> {
        until("the whole log of the CRM", bound, || {
            let accepted = self.crm.get("/_sandbox/state")?["counters"]["accepted"].as_u64();
            let lines = self.crm.log()?;
            let written = lines.iter().filter(|line| line["processed"] == true).count();
            Ok((accepted == u64::try_from(written).ok()).then_some(()))
        })
    }

    /// Waits until nothing of what was told up to now waits any more. The status alone would not do: it is how things
    /// stood a moment ago, while the list is answered from the spool, when the module has taken in whatever it had said
    /// QUEUED to.
    ///
    /// # Errors
    /// When something does after 30 s, with what waits.
    pub fn drained(&self) -> Result<()> {
        let mut queue = String::new();
        until("an empty queue", BOUND, || {
            queue = self.asterisk.cli("planfix show queue")?;
            let nothing = queue.contains("Nothing waits.")
                && flat(&self.status()?).contains("Queue: 0 waiting, 0 under way");
            Ok(nothing.then_some(()))
        })
        .with_context(|| queue.clone())
    }
}

/// The value of a row of `planfix show status`, however the console has wrapped it.
///
/// # Errors
/// When there is no such row.
pub fn row(status: &str, label: &str) -> Result<String> {
    let mut lines = status.lines().skip_while(|line| !is_row(line, label));
    let first = lines
        .next()
        .with_context(|| format!("the status has no {label}: {status}"))?;
    let (_, first) = first.split_once(':').unwrap_or_default();
    // A long value goes on in the next line.
    let rest = lines.take_while(|line| line.starts_with(' '));
    Ok(flat(
        &std::iter::once(first).chain(rest).collect::<Vec<_>>().join(" "),
    ))
}

fn is_row(line: &str, label: &str) -> bool {
    line.strip_prefix(label).is_some_and(|rest| rest.starts_with(':'))
}

/// Text as one line, however the console has wrapped it.
#[must_use]
pub fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether this entry of the sandbox's log tells of a call, and the CRM took it in and said so.
#[must_use]
pub fn is_taken_in(entry: &Value) -> bool {
    entry["cmd"] != "ping" && entry["processed"] == true && entry["status"] == 200
}

/// A field of a request in the sandbox's log; empty where there is none.
#[must_use]
pub fn field<'a>(entry: &'a Value, name: &str) -> &'a str {
    entry["fields"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|pair| pair[0] == name)
        .and_then(|pair| pair[1].as_str())
        .unwrap_or_default()
}

/// Calls PLANFIX_EVENT on no channel and returns its result.
///
/// # Errors
/// As [`Ami::getvar`].
pub fn event(ami: &mut Ami, arguments: &str) -> Result<String> {
    ami.getvar(None, &format!("PLANFIX_EVENT({arguments})"))
}

/// Makes each function `fn(Version) -> Result<()>` two tests, one on Asterisk 22 and one on 16.
#[macro_export]
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod asterisk_22 {
            $(#[test]
            fn $name() -> ::anyhow::Result<()> {
                super::$name($crate::Version::V22)
            })+
        }
        mod asterisk_16 {
            $(#[test]
            fn $name() -> ::anyhow::Result<()> {
                super::$name($crate::Version::V16)
            })+
        }
    };
}
