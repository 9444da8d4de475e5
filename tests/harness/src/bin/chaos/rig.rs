//! An Asterisk with the module, a CRM and everything that can go wrong with them.
//!
//! Invariants: each fault can be undone; what is set up here is gone when this is dropped; the module is loaded and follows its
//! own planfix.conf whenever no fault says otherwise.

use std::fs;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::{Stage, Traffic, Version, flat, until};
use serde_json::json;

use crate::desk::Desk;
use crate::disk::Disk;
use crate::fault::{Fault, Names};
use crate::journal;
use crate::script::Script;
use crate::shim::{HOST, Shim};
use crate::verdict::Excuses;
use crate::witness;

/// Long for a loaded machine.
const BOUND: Duration = Duration::from_secs(60);
/// What was accepted in so short a time before a kill may not have reached the spool. The figure that the module promises is
/// 10 ms, and tests/kill.rs holds it to that on a machine that has nothing else to do.
pub(crate) const MARGIN: Duration = Duration::from_millis(300);
/// And what has happened in so short a time before the module's end may not have been followed yet: its threads stand behind
/// Asterisk's for the processor.
pub(crate) const BEHIND: Duration = Duration::from_secs(1);
/// Requests that may be under way when answers begin to go wrong.
const UNDER_WAY: usize = 32;
/// `ENOSPC` and `EROFS`.
const NO_ROOM: i32 = 28;
const READ_ONLY: i32 = 30;

/// Other settings that are right, each in place of one of the module's own.
const GOOD: [(&str, &str); 5] = [
    ("workers = 4", "workers = 1"),
    ("workers = 4", "workers = 12"),
    ("retry_max = 2", "retry_max = 1"),
    ("response_timeout = 4", "response_timeout = 6"),
    ("set_name = yes", "set_name = no"),
];
/// Settings that are wrong.
const BAD: [(&str, &str); 5] = [
    ("workers = 4", "workers = many"),
    ("retry_max = 2", "retry_most = 2"),
    ("[delivery]", "[delivery"),
    ("mode = auto", "mode = sometimes"),
    ("url = https", "url = ftp"),
];

/// See the module.
pub(crate) struct Rig {
    // Before the stage, whose folder it is mounted in.
    disk: Option<Disk>,
    /// Asterisk and the CRM.
    pub(crate) stage: Stage,
    shim: Shim,
    script: Script,
    settings: String,
    /// Where in the witness's log the module was there.
    pub(crate) lives: Vec<Range<usize>>,
    /// What may have been repeated, and why.
    pub(crate) excuses: Excuses,
    trouble: usize,
    turn: usize,
}

impl Rig {
    /// Sets everything up and starts it. `own_disks`: file systems can be mounted.
    pub(crate) fn set_up(version: Version, own_disks: bool, more: &[(&str, &str)]) -> Result<Self> {
        let shim = Shim::build()?;
        let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| shim.file(name));
        let pair = rcgen::KeyPair::generate()?;
        let own = rcgen::CertificateParams::new(vec![HOST.to_owned(), "127.0.0.1".to_owned()])?
            .self_signed(&pair)?;
        fs::write(&certificate, own.pem())?;
        fs::write(&key, pair.serialize_pem())?;
        let script = Script::write(&shim.file("encoder"))?;
        let mut plan = Stage::plan(version)
            .auto()
            .crm("--log-flush=100")
            .crm(&format!("--tls-cert={}", certificate.display()))
            .crm(&format!("--tls-key={}", key.display()))
            .crm("--contact=79160000000=Иван Петров:211")
            // Cards are never too old here, so that each that is owed has to come.
            .calls("stale_popup = 86400")
            .delivery(
                "workers = 4\nretry_max = 2\nresponse_timeout = 4\nconnect_timeout = 4\nmax_spool = 48M",
            )
            .section("contact", "set_name = yes")
            .section(
                "recordings",
                &format!(
                    "link = https://pbx.example.com/planfix/records\nencoder = {}",
                    script.path().display()
                ),
            )
            .asterisk(|builder| {
                let builder = Traffic::equip(builder, include_str!("extensions.conf"));
                witness::logged(version, Desk::plug(shim.preload(builder)))
                    // How malloc spreads over an arena for each thread would be most of what is measured otherwise.
                    .env("MALLOC_ARENA_MAX", "2")
            });
        for (name, value) in more {
            plan = plan.asterisk(|builder| builder.env(name, value));
        }
        let stage = plan.prepare()?;
        let named = stage.crm.url().replace("127.0.0.1", HOST);
        let settings = stage.settings().replace(stage.crm.url(), &named).replace(
            "[planfix]\n",
            &format!("[planfix]\ntls_ca_file = {}\n", certificate.display()),
        );
        stage.asterisk.configure("planfix.conf", &settings)?;
        let api = format!("http://{}/planfix/api", stage.asterisk.http());
        stage.crm.post("/_sandbox/ping", &json!({ "pbx_url": api }))?;
        let disk = own_disks
            .then(|| Disk::mount(&stage.asterisk.spool().join("planfix")))
            .transpose()?;
        Ok(Self {
            disk,
            stage,
            shim,
            script,
            settings,
            lives: Vec::new(),
            excuses: Excuses::default(),
            trouble: 0,
            turn: 0,
        })
    }

    /// Starts Asterisk, for the first time or again. From here on calls are followed.
    pub(crate) fn start(&mut self) -> Result<()> {
        self.stage.asterisk.start()?;
        self.stage.at_work()?;
        self.follows();
        Ok(())
    }

    /// Asterisk dies. Whatever it had told is in the CRM's log then.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.stage.asterisk.kill9();
        self.forgets()
    }

    fn log(&self) -> PathBuf {
        witness::log_of(&self.stage.asterisk)
    }

    /// The module follows calls from now on.
    fn follows(&mut self) {
        let from = witness::length(&self.log());
        self.lives.push(from..usize::MAX);
    }

    /// The module's life ends soon: calls that end from now on may not be told any more by it.
    pub(crate) fn follows_no_more(&mut self) {
        let until = witness::length(&self.log());
        if let Some(life) = self.lives.last_mut() {
            life.end = life.end.min(until);
        }
    }

    /// Notes how long the CRM's log is when all that the module has said is in it.
    fn forgets(&mut self) -> Result<()> {
        let path = self.stage.crm.log_path();
        let mut last = (0, 0);
        // The sandbox writes its log ten times a second.
        until("the CRM to have written down everything", BOUND, || {
            let bytes = fs::metadata(&path)?.len();
            last = if last.0 == bytes {
                (bytes, last.1 + 1)
            } else {
                (bytes, 0)
            };
            Ok((last.1 >= 20).then_some(()))
        })?;
        self.excuses.restarts.push(journal::length(&path));
        Ok(())
    }

    /// Load, reload or unload: the console's commands for this are closed to AMI. An unload that meets a channel in one of the
    /// module's functions is refused, and harmless to repeat.
    fn module(&self, what: &str) -> Result<()> {
        let mut ami = self.stage.asterisk.ami()?;
        ami.action(&[("Action", "Events"), ("EventMask", "off")])?;
        ami.module(what, BOUND)
    }

    /// Unloads the module.
    pub(crate) fn unload(&mut self) -> Result<()> {
        self.lost_nothing()?;
        self.follows_no_more();
        std::thread::sleep(BEHIND);
        self.module("unload")
    }

    /// Loads it again.
    pub(crate) fn load(&mut self) -> Result<()> {
        self.forgets()?;
        self.module("load")?;
        self.stage.at_work()?;
        self.follows();
        Ok(())
    }

    /// The module's own counters know of no loss.
    pub(crate) fn lost_nothing(&self) -> Result<()> {
        let status = self.stage.status()?;
        let calls = harness::row(&status, "Calls")?;
        ensure!(
            calls.contains(" 0 lost") && calls.contains("; 0 requests lost"),
            "the module has lost something: {calls}"
        );
        let workers = harness::row(&status, "Workers")?;
        ensure!(
            !workers.contains("panic"),
            "the module has caught a panic: {workers}"
        );
        let failed = harness::row(&status, "Failed")?;
        ensure!(failed == "0", "requests have failed: {failed}");
        Ok(())
    }

    /// What can go wrong here. Names what is left out.
    pub(crate) fn faults(&self) -> Vec<Fault> {
        if self.disk.is_none() {
            println!("  no file system of its own: a full disk is one whose writes fail");
        }
        Fault::ALL.to_vec()
    }

    /// A fault begins. [`Fault::Kill`] and [`Fault::Flood`] are not for here.
    pub(crate) fn begin(&mut self, fault: Fault) -> Result<()> {
        self.turn += 1;
        let turn = self.turn;
        match fault {
            Fault::Crm(spec) => {
                self.trouble = journal::length(&self.stage.crm.log_path()).saturating_sub(UNDER_WAY);
                self.stage.crm.fault(spec)
            }
            Fault::Names(names) => {
                self.unload()?;
                self.shim.change(|wrong| wrong.names = Some(names))?;
                self.load()
            }
            Fault::DiskFull => match &self.disk {
                Some(disk) => disk.fill(),
                None => self.shim.change(|wrong| wrong.refusal = NO_ROOM),
            },
            Fault::DiskReadOnly => self.shim.change(|wrong| wrong.refusal = READ_ONLY),
            Fault::SpoolDamaged => self.damage(),
            Fault::Clock(seconds) => self.shim.change(|wrong| wrong.ahead = seconds),
            Fault::ReloadGood => {
                let (from, to) = GOOD[turn % GOOD.len()];
                self.reload(from, to, true)
            }
            Fault::ReloadBad => {
                let (from, to) = BAD[turn % BAD.len()];
                self.reload(from, to, false)
            }
            Fault::Module => self.unload(),
            Fault::Encoder(encoder) => self.script.be(Some(encoder)),
            Fault::Kill | Fault::Flood => Ok(()),
        }
    }

    /// It ends.
    pub(crate) fn end(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Crm(_) => {
                self.stage.crm.clear_faults()?;
                // Connections that the fault has left half dead are found out with the next request of each.
                let until = journal::length(&self.stage.crm.log_path()) + UNDER_WAY;
                self.excuses.troubles.push(self.trouble..until);
                Ok(())
            }
            Fault::Names(Names::Dead | Names::Silent) => self.shim.change(|wrong| wrong.names = None),
            Fault::DiskFull => match &self.disk {
                Some(disk) => disk.free(),
                None => self.shim.change(|wrong| wrong.refusal = 0),
            },
            Fault::DiskReadOnly => self.shim.change(|wrong| wrong.refusal = 0),
            Fault::Clock(_) => self.shim.change(|wrong| wrong.ahead = 0),
            Fault::ReloadGood | Fault::ReloadBad => self.reload("", "", true),
            Fault::Module => self.load(),
            Fault::Encoder(_) => self.script.be(None),
            // What was overwritten is in memory alone until then, and a SIGKILL may be next.
            Fault::SpoolDamaged => until("the module's finding that the spool is damaged", BOUND, || {
                Ok((!self.moved_aside()?.is_empty()).then_some(()))
            }),
            Fault::Kill | Fault::Flood => Ok(()),
        }
    }

    fn moved_aside(&self) -> Result<Vec<PathBuf>> {
        let mut moved = Vec::new();
        for entry in fs::read_dir(self.stage.asterisk.spool().join("planfix"))? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().contains(".damaged-") {
                moved.push(entry.path());
            }
        }
        Ok(moved)
    }

    /// What was moved aside is the administrator's, who looks at it and removes it.
    fn tidy(&self) -> Result<()> {
        for file in self.moved_aside()? {
            fs::remove_file(file)?;
        }
        Ok(())
    }

    /// Reloads with other settings: one text in place of another, or its own.
    fn reload(&self, from: &str, to: &str, right: bool) -> Result<()> {
        let settings = if from.is_empty() {
            self.settings.clone()
        } else {
            self.settings.replacen(from, to, 1)
        };
        ensure!(
            from.is_empty() || settings != self.settings,
            "no '{from}' in planfix.conf"
        );
        self.stage.asterisk.configure("planfix.conf", &settings)?;
        let said = self.module("reload");
        ensure!(said.is_ok() == right, "a reload with '{to}': {said:?}");
        Ok(())
    }

    /// Somebody overwrites the spool's files.
    fn damage(&self) -> Result<()> {
        self.tidy()?;
        let folder = self.stage.asterisk.spool().join("planfix");
        // All are opened before the first is overwritten: the module may find that out before the last is.
        let open = |name: &str| {
            let file = fs::OpenOptions::new().write(true).open(folder.join(name));
            file.with_context(|| format!("no {name}"))
        };
        let files = ["spool.db", "spool.db-wal", "spool.db-shm"].map(open);
        for file in files.into_iter().collect::<Result<Vec<_>>>()? {
            let length = usize::try_from(file.metadata()?.len())?;
            file.write_all_at(&vec![0x5a; length], 0)?;
        }
        Ok(())
    }

    /// Waits until no call is left, and the CRM has been told everything.
    pub(crate) fn settle(&self) -> Result<()> {
        // What waits for a better time is tried at once.
        self.reload("", "", true)?;
        self.stage.asterisk.ami()?.without_channels(BOUND)?;
        let mut status = String::new();
        // An encoder that hangs is given up after some two minutes.
        until("a module at rest", 4 * BOUND, || {
            let told = self.stage.status()?;
            status = flat(&told);
            let recordings = harness::row(&told, "Recordings")?;
            let rests = status.contains("Calls: 0 followed on 0 channels")
                && recordings.starts_with("0 waiting, 0 converting");
            let failed = !recordings.contains(" 0 failed");
            if rests && failed {
                self.reload("", "", true)?;
            }
            Ok((rests && !failed).then_some(()))
        })
        .with_context(|| status.clone())?;
        self.stage.drained()?;
        self.stage.logged(BOUND)
    }
}
