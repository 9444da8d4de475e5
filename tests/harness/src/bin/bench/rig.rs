//! What is measured with: one Asterisk with the module and the probe, a stand-in CRM, a disk that can stall.
//!
//! Invariant: every event that was accepted is counted, and [`Rig::settle`] holds the CRM to that number.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::{
    Ami, Asterisk, Sandbox, Sipp, Version, build_probe, build_shim, module_path, row, until, workspace_root,
};
use tempfile::TempDir;

use crate::duration;
use crate::samples::Samples;

/// A phone dials 700, and its channel's thread measures what the global variable PROBE says. At 701 it does so COUNT times
/// in a dialplan that waits in between, each time with the next number.
const EXTENSIONS: &str = "\
[from-internal]
exten => 700,1,Answer()
 same => n,Set(MEASURED=${PLANFIX_PROBE(${PROBE})})
 same => n,Hangup()
exten => 701,1,Answer()
 same => n,Set(N=0)
 same => n,While($[${N} < ${COUNT}])
 same => n,Wait(0.02)
 same => n,Set(MEASURED=${PLANFIX_PROBE(${STRREPLACE(PROBE,{n},${N})})})
 same => n,Set(N=$[${N} + 1])
 same => n,EndWhile()
 same => n,Hangup()
";
/// What the arguments of every event in this program are, but for the callid.
pub(crate) const PHONE: &str = "74951234567";
pub(crate) const EXT: &str = "101";
/// How long a backlog may take to be delivered, and a measurement to be made.
const LONG: Duration = Duration::from_secs(300);
/// Events before the first measurement.
const WARM_UP: usize = 500;

/// When a call follows the one before.
#[derive(Clone, Copy)]
pub(crate) enum Pace {
    /// After this pause.
    Every(Duration),
    /// After some lines of dialplan, the first of which waits for 20 ms: 50 times a second.
    Dialplan,
}

impl Pace {
    /// Without a pause.
    pub(crate) const BURST: Self = Self::Every(Duration::ZERO);
}

pub(crate) struct Rig {
    pub(crate) asterisk: Asterisk,
    pub(crate) sandbox: Sandbox,
    ami: Ami,
    folder: TempDir,
    flag: PathBuf,
    /// Requests that the CRM must have taken in by the next [`Rig::settle`].
    pub(crate) expected: u64,
    phase: u32,
}

impl Rig {
    pub(crate) fn set_up(version: Version) -> Result<Self> {
        let folder = TempDir::with_prefix("bench-").context("cannot make a folder for the benchmark")?;
        let flag = folder.path().join("stall");
        let stall = folder.path().join("stall.so");
        let probe = folder.path().join("planfix_probe.so");
        build_shim("stall.c", &stall, &[])?;
        build_probe(version, &probe)?;

        duration::lay_out(folder.path())?;

        // What it logs and remembers would be measured too.
        let sandbox = Sandbox::start(&["--log", "/dev/null", "--log-flush", "1000", "--keep", "100"])?;
        let mut asterisk = Asterisk::builder(version)
            .module(module_path(version))
            .load("res_planfix.so")
            .load("planfix_probe.so")
            .load("res_speech.so")
            .load("res_agi.so")
            .load("res_odbc_transaction.so")
            .load("res_odbc.so")
            .load("func_odbc.so")
            .file("res_odbc.conf", duration::RES_ODBC)
            .file("func_odbc.conf", duration::FUNC_ODBC)
            .env("ODBCSYSINI", folder.path())
            .env("ODBCINI", folder.path().join("odbc.ini"))
            .documentation(workspace_root().join("documentation/res_planfix-en_US.xml"))
            .phone("100")
            .extensions(EXTENSIONS)
            .file("planfix.conf", &configuration(&sandbox))
            .env("LD_PRELOAD", &stall)
            .env("PLANFIX_STALL_FLAG", &flag)
            .env("PLANFIX_STALL_PATH", "/spool/planfix/")
            .env("PLANFIX_BENCH_URL", sandbox.url())
            .env("PLANFIX_BENCH_TOKEN", sandbox.token())
            .verbose(0)
            .debug(0)
            .prepare()?;
        std::fs::copy(&probe, asterisk.scratch().join("modules/planfix_probe.so"))?;
        asterisk.start()?;
        let mut ami = asterisk.ami()?;
        // Nobody reads the events here, and Asterisk closes the session of who does not.
        ami.action(&[("Action", "Events"), ("EventMask", "off")])?;
        Ok(Self {
            asterisk,
            sandbox,
            ami,
            folder,
            flag,
            expected: 0,
            phase: 0,
        })
    }

    /// Brings everything into the state of a PBX that has run for a while.
    pub(crate) fn warm_up(&mut self) -> Result<()> {
        self.events(WARM_UP, Pace::Every(Duration::from_millis(1)))?;
        self.settle()
    }

    /// A console command by a session that is open already, and how long its answer took.
    pub(crate) fn cli(&mut self, command: &str) -> Result<(String, Duration)> {
        let begin = Instant::now();
        let text = self.ami.command(command)?;
        Ok((text, begin.elapsed()))
    }

    /// Loads or unloads the module under test and returns how long that took. A console command by the manager interface
    /// may not (main/manager.c, blacklist).
    pub(crate) fn module(&mut self, what: &str) -> Result<Duration> {
        let begin = Instant::now();
        let reply = self.ami.action(&[
            ("Action", "ModuleLoad"),
            ("Module", "res_planfix.so"),
            ("LoadType", what),
        ])?;
        ensure!(reply.is_success(), "{what} of the module: {:?}", reply.response);
        Ok(begin.elapsed())
    }

    /// A line of `planfix show status`.
    pub(crate) fn status(&mut self, label: &str) -> Result<String> {
        row(&self.cli("planfix show status")?.0, label)
    }

    /// How many requests wait in the module.
    pub(crate) fn waiting(&mut self) -> Result<u64> {
        let queue = self.status("Queue")?;
        let number = queue.split(' ').next().and_then(|number| number.parse().ok());
        number.with_context(|| format!("the queue is not counted: {queue}"))
    }

    /// Requests that the CRM has taken in.
    pub(crate) fn arrived(&self) -> Result<u64> {
        self.sandbox.get("/_sandbox/state")?["counters"]["accepted"]
            .as_u64()
            .context("the stand-in CRM does not count")
    }

    /// Waits until everything that was accepted has arrived, exactly once.
    pub(crate) fn settle(&mut self) -> Result<()> {
        let expected = self.expected;
        until("all events at the CRM", LONG, || {
            Ok((self.arrived()? >= expected && self.waiting()? == 0).then_some(()))
        })
        .with_context(|| self.status("CRM").unwrap_or_default())?;
        let arrived = self.arrived()?;
        ensure!(
            arrived == expected,
            "{expected} events were accepted and {arrived} requests arrived"
        );
        Ok(())
    }

    /// Waits until that many requests wait in the module.
    pub(crate) fn await_queue(&mut self, count: u64) -> Result<()> {
        until(&format!("{count} events in the queue"), LONG, || {
            Ok((self.waiting()? == count).then_some(()))
        })
    }

    /// Calls PLANFIX_EVENT that often on one channel, each for a call of its own.
    pub(crate) fn events(&mut self, count: usize, pace: Pace) -> Result<Samples> {
        let phase = self.next_phase();
        let expression = format!("PLANFIX_EVENT(INCOMING,{PHONE},{EXT},bench-{phase}-{{n}})");
        let samples = self.probe("read", count, pace, "QUEUED", &expression)?;
        self.expected += count as u64;
        Ok(samples)
    }

    /// A number for the callids of a measurement.
    pub(crate) fn next_phase(&mut self) -> u32 {
        self.phase += 1;
        self.phase
    }

    /// Has the thread of a SIP channel measure: see tests/live/shim/probe.c.
    pub(crate) fn probe(
        &mut self,
        how: &str,
        count: usize,
        pace: Pace,
        expected: &str,
        expression: &str,
    ) -> Result<Samples> {
        let file = self.folder.path().join("samples");
        let (extension, each, pause) = match pace {
            Pace::Every(pause) => ("700", count, pause),
            Pace::Dialplan => ("701", 1, Duration::ZERO),
        };
        let order = format!(
            "{how},{each},{},{expected},{},{expression}",
            pause.as_micros(),
            file.display()
        );
        for (variable, value) in [("PROBE", order), ("COUNT", count.to_string())] {
            let reply = self.ami.action(&[
                ("Action", "Setvar"),
                ("Variable", variable),
                ("Value", value.as_str()),
            ])?;
            ensure!(
                reply.is_success(),
                "the probe cannot be told: {:?}",
                reply.response
            );
        }
        Sipp::uac_listen("100", extension)
            .to(self.asterisk.sip())
            .bound(LONG)
            .run()?
            .ensure_success()?;
        let samples = Samples::read(&file, count).with_context(|| format!("measuring {expression}"))?;
        std::fs::remove_file(&file)?;
        Ok(samples)
    }

    /// From now on the disk below the spool does not answer, until what is returned is dropped.
    pub(crate) fn stall_disk(&self) -> Result<Stall> {
        File::create(&self.flag)?;
        Ok(Stall(self.flag.clone()))
    }

    /// The folder of the module's spool.
    pub(crate) fn spool(&self) -> PathBuf {
        self.asterisk.spool().join("planfix")
    }
}

/// A stalled disk.
pub(crate) struct Stall(PathBuf);

impl Drop for Stall {
    fn drop(&mut self) {
        // Without the file nothing stalls; if it is gone already, all the better.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// `stale_popup`: the cards of the backlog have to arrive, however long it takes. `retry_max`: so that a measurement goes
/// on soon after the CRM is back.
fn configuration(sandbox: &Sandbox) -> String {
    format!(
        "[general]\nmode = dialplan\n\n[planfix]\nurl = {}\ntoken = {}\n\n[calls]\nstale_popup = 1h\n\n[delivery]\nretry_max = 1\n\n\
         [greetings]\noperators = _XXX\n",
        sandbox.url(),
        sandbox.token()
    )
}
