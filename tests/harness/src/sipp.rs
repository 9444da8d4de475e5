//! SIP phones and a SIP provider, played by sipp.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::port::{PHONES, TRUNK, free_media_ports, free_udp_port, udp_is_bound};
use crate::process::{Launch, Process};
use crate::until;

/// Nothing that is played here lasts longer unless the caller says so.
const BOUND: Duration = Duration::from_secs(60);
/// sipp ends itself at its bound; this is what it gets for that.
const GRACE: Duration = Duration::from_secs(15);
/// Up to here a run keeps every message; a load would fill the disk with them.
const TRACED_CALLS: u32 = 100;

/// What sipp is to play: a scenario, where, against whom and how often.
#[derive(Clone, Debug)]
#[must_use]
pub struct Sipp {
    scenario: String,
    local: SocketAddr,
    remote: Option<SocketAddr>,
    number: String,
    calls: u32,
    at_once: Option<u32>,
    rate: f64,
    lines: String,
    bound: Duration,
}

impl Sipp {
    /// A scenario of the caller's own. Needs [`Sipp::to`] when it begins with sending.
    pub fn xml(scenario: &str) -> Self {
        Self {
            scenario: scenario.to_owned(),
            local: SocketAddr::from((PHONES, 0)),
            remote: None,
            number: String::new(),
            calls: 1,
            at_once: None,
            rate: 10.0,
            lines: String::new(),
            bound: BOUND,
        }
    }

    fn built_in(scenario: &str, values: &[(&str, &str)]) -> Self {
        let filled = values.iter().fold(scenario.to_owned(), |text, (name, value)| {
            text.replace(&format!("{{{name}}}"), &escape(value))
        });
        Self::xml(&filled)
    }

    fn caller(scenario: &str, from: &str, to: &str, values: &[(&str, &str)]) -> Self {
        let mut sipp = Self::built_in(scenario, &[&[("from", from)], values].concat());
        to.clone_into(&mut sipp.number);
        sipp
    }

    /// Calls `to` as `from`, talks for that long once it is answered, and hangs up.
    pub fn uac_call(from: &str, to: &str, talk: Duration) -> Self {
        Self::caller(
            include_str!("../scenarios/uac_call.xml"),
            from,
            to,
            &[("talk_ms", &millis(talk))],
        )
    }

    /// Calls `to` as `from` and waits, once it is answered, until the other side hangs up.
    pub fn uac_listen(from: &str, to: &str) -> Self {
        Self::caller(include_str!("../scenarios/uac_listen.xml"), from, to, &[])
    }

    /// Calls `to` as `from` and expects that final refusal, such as 486.
    pub fn uac_refused(from: &str, to: &str, code: u16) -> Self {
        Self::caller(
            include_str!("../scenarios/uac_refused.xml"),
            from,
            to,
            &[("code", &code.to_string())],
        )
    }

    /// Calls `to` as `from` and gives up that long after it began to ring.
    pub fn uac_cancel(from: &str, to: &str, ring: Duration) -> Self {
        Self::caller(
            include_str!("../scenarios/uac_cancel.xml"),
            from,
            to,
            &[("ring_ms", &millis(ring))],
        )
    }

    /// Rings for that long, answers and waits for the other side to hang up.
    pub fn uas_answer(ring: Duration) -> Self {
        Self::built_in(
            include_str!("../scenarios/uas_answer.xml"),
            &[("ring_ms", &millis(ring))],
        )
    }

    /// Rings for that long, answers, talks for that long and hangs up.
    pub fn uas_hangup(ring: Duration, talk: Duration) -> Self {
        Self::built_in(
            include_str!("../scenarios/uas_hangup.xml"),
            &[("ring_ms", &millis(ring)), ("talk_ms", &millis(talk))],
        )
    }

    /// Refuses with 486.
    pub fn uas_busy() -> Self {
        Self::uas_refuse(486, "Busy Here")
    }

    /// Refuses with 603.
    pub fn uas_decline() -> Self {
        Self::uas_refuse(603, "Decline")
    }

    /// Refuses with that answer.
    pub fn uas_refuse(code: u16, reason: &str) -> Self {
        Self::built_in(
            include_str!("../scenarios/uas_refuse.xml"),
            &[("code", &code.to_string()), ("reason", reason)],
        )
    }

    /// Rings until the other side gives up.
    pub fn uas_noanswer() -> Self {
        Self::built_in(include_str!("../scenarios/uas_noanswer.xml"), &[])
    }

    /// The address it plays at: [`crate::Asterisk::phone`] or [`crate::Asterisk::trunk`] for one that is called. Port
    /// 0 means a free one.
    pub fn at(mut self, local: SocketAddr) -> Self {
        self.local = local;
        self
    }

    /// Plays at the provider's address, from which Asterisk takes calls as `trunk`.
    pub fn from_trunk(self) -> Self {
        self.at(SocketAddr::from((TRUNK, 0)))
    }

    /// Where its calls go: [`crate::Asterisk::sip`].
    pub fn to(mut self, remote: SocketAddr) -> Self {
        self.remote = Some(remote);
        self
    }

    /// How many calls it makes, or takes before it ends; 1 without further word.
    pub fn calls(mut self, count: u32) -> Self {
        self.calls = count;
        self
    }

    /// How many calls it begins in a second; 10 without further word.
    pub fn rate(mut self, per_second: f64) -> Self {
        self.rate = per_second;
        self
    }

    /// How many calls it has going at most, whatever the rate says.
    pub fn at_once(mut self, most: u32) -> Self {
        self.at_once = Some(most);
        self
    }

    /// A line for each call, whose parts between semicolons the scenario knows as `[field0]`, `[field1]` and so on.
    pub fn lines(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.lines);
        self
    }

    /// After this time it gives up and counts as failed; 60 s without further word.
    pub fn bound(mut self, bound: Duration) -> Self {
        self.bound = bound;
        self
    }

    /// Starts it. One that is called is ready when this returns.
    ///
    /// # Errors
    /// When sipp is not installed or its port is taken.
    pub fn start(mut self) -> Result<SippRun> {
        let called = self.remote.is_none();
        if self.local.port() == 0 {
            self.local.set_port(free_udp_port());
        }
        let folder = TempDir::with_prefix("sipp-").context("cannot make a folder for sipp")?;
        fs::write(folder.path().join("scenario.xml"), &self.scenario)?;
        let mut words: Vec<String> = ["sipp", "-sf", "scenario.xml", "-nostdin", "-aa", "-skip_rlimit"]
            .map(String::from)
            .into();
        let mut option =
            |name: &str, value: &dyn ToString| words.extend([name.to_owned(), value.to_string()]);
        option("-i", &self.local.ip());
        option("-p", &self.local.port());
        option("-mi", &self.local.ip());
        option("-mp", &free_media_ports());
        option("-m", &self.calls);
        option("-timeout", &format!("{}s", self.bound.as_secs().max(1)));
        option("-fd", &1);
        option("-stf", &"stat.csv");
        option("-error_file", &"errors");
        // Call-IDs of two runs must never be equal: they stand for calls in the CRM.
        option("-cid_str", &format!("%u-%p-{:08x}@%s", fastrand::u32(..)));
        if let Some(most) = self.at_once {
            option("-l", &most);
        }
        if !self.lines.is_empty() {
            fs::write(folder.path().join("lines"), format!("SEQUENTIAL\n{}", self.lines))?;
            option("-inf", &"lines");
        }
        if self.calls <= TRACED_CALLS {
            option("-message_file", &"messages");
            words.push("-trace_msg".into());
        }
        words.extend(["-timeout_error", "-trace_stat", "-trace_err"].map(String::from));
        if let Some(remote) = self.remote {
            words.extend([
                "-r".into(),
                self.rate.to_string(),
                "-s".into(),
                self.number,
                remote.to_string(),
            ]);
        }
        let words: Vec<_> = words.into_iter().map(Into::into).collect();
        let output = fs::File::create(folder.path().join("screen"))?;
        let process = Process::start(Launch {
            name: "sipp",
            words: &words,
            env: &[],
            dir: folder.path(),
            errors: Stdio::from(output.try_clone()?),
            output: Stdio::from(output),
        })
        .context("run `tools/prepare demo`, which installs sipp")?;
        let mut run = SippRun {
            process,
            folder,
            local: self.local,
            bound: self.bound + GRACE,
        };
        if called {
            run.await_ready()?;
        }
        Ok(run)
    }

    /// Starts it and waits for its end.
    ///
    /// # Errors
    /// As [`Sipp::start`] and [`SippRun::wait`].
    pub fn run(self) -> Result<Outcome> {
        self.start()?.wait()
    }
}

/// sipp at work. Dropping it kills it.
#[derive(Debug)]
pub struct SippRun {
    process: Process,
    folder: TempDir,
    local: SocketAddr,
    bound: Duration,
}

impl SippRun {
    fn await_ready(&mut self) -> Result<()> {
        let (ip, port): (IpAddr, u16) = (self.local.ip(), self.local.port());
        until(&format!("sipp on {ip}:{port}"), GRACE, || {
            if let Some(status) = self.process.ended()? {
                bail!("sipp ended at once ({status})");
            }
            Ok(udp_is_bound(ip, port).then_some(()))
        })
        .with_context(|| self.screen())
    }

    /// Where it plays.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.local
    }

    /// Waits until it has made or taken all its calls.
    ///
    /// # Errors
    /// When it does not end within its bound, or left no statistics. A failed call is no error: see
    /// [`Outcome::ensure_success`].
    pub fn wait(mut self) -> Result<Outcome> {
        let status = self.process.wait(self.bound).with_context(|| self.screen())?;
        let read = |name| read_lossy(&self.folder.path().join(name));
        let stats = last_row(&read("stat.csv"));
        ensure!(
            !stats.is_empty(),
            "sipp ended with {status} and no statistics:\n{}",
            self.screen()
        );
        Ok(Outcome {
            status,
            stats,
            errors: read("errors"),
            messages: read("messages"),
        })
    }

    /// Makes no further call; those that go on go on. [`SippRun::wait`] then waits for their ends.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn begin_no_more(&mut self) -> Result<()> {
        // sipp(1), "Exiting SIPp": this signal is the key q.
        self.process.signal(Signal::USR1)
    }

    /// A count of the statistics as it stands, such as `CurrentCall`; it is written down once a second. Nothing before the
    /// first time.
    #[must_use]
    pub fn count(&self, column: &str) -> u64 {
        let text = read_lossy(&self.folder.path().join("stat.csv"));
        // A row that is still being written is left alone.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        count(&last_row(whole), column)
    }

    /// What went otherwise than the scenario says, up to now.
    #[must_use]
    pub fn errors(&self) -> String {
        read_lossy(&self.folder.path().join("errors"))
    }

    fn screen(&self) -> String {
        let screen = read_lossy(&self.folder.path().join("screen"));
        format!(
            "sipp said:\n{}{}",
            screen.trim(),
            read_lossy(&self.folder.path().join("errors"))
        )
    }
}

/// How a run of sipp ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// 0 when every call went as the scenario says.
    pub status: ExitStatus,
    /// The last row of sipp's statistics by column name, such as `SuccessfulCall(C)`.
    pub stats: BTreeMap<String, String>,
    /// What went otherwise than the scenario says.
    pub errors: String,
    /// Every SIP message, where not more than a hundred calls were made.
    pub messages: String,
}

impl Outcome {
    /// A count of the statistics, 0 where there is none of that name.
    #[must_use]
    pub fn count(&self, column: &str) -> u64 {
        count(&self.stats, column)
    }

    /// Calls that went as the scenario says.
    #[must_use]
    pub fn successful(&self) -> u64 {
        self.count("SuccessfulCall(C)")
    }

    /// Calls that did not.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.count("FailedCall(C)")
    }

    /// Turns failed calls into an error that shows what went wrong.
    ///
    /// # Errors
    /// When a call failed.
    pub fn ensure_success(self) -> Result<Self> {
        ensure!(
            self.status.success() && self.failed() == 0,
            "sipp ended with {}, {} calls went well and {} did not:\n{}\n{}",
            self.status,
            self.successful(),
            self.failed(),
            self.errors,
            self.messages
        );
        Ok(self)
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

fn escape(value: &str) -> String {
    value
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn read_lossy(path: &Path) -> String {
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

fn count(row: &BTreeMap<String, String>, column: &str) -> u64 {
    row.get(column).and_then(|value| value.parse().ok()).unwrap_or(0)
}

fn last_row(csv: &str) -> BTreeMap<String, String> {
    let mut lines = csv.lines();
    let (Some(names), Some(values)) = (lines.next(), lines.next_back()) else {
        return BTreeMap::new();
    };
    let cells = |line: &str| {
        line.split(';')
            .map(|cell| cell.trim().to_owned())
            .collect::<Vec<_>>()
    };
    cells(names)
        .into_iter()
        .zip(cells(values))
        .filter(|(name, _)| !name.is_empty())
        .collect()
}
