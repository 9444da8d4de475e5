//! The tokens stay secret, and the spool is Asterisk's alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::{Message, Stage, Version, flat, on_both, until};

on_both! {
    the_tokens_are_in_nothing_that_can_be_read,
    the_spool_is_asterisks_alone,
}

const BOUND: Duration = Duration::from_secs(30);

/// Every command of the module, and those of Asterisk that show what it is set to.
const COMMANDS: [&str; 24] = [
    "planfix show status",
    "planfix show queue",
    "planfix show failed",
    "planfix show link nonsense",
    "planfix rotate links nonsense",
    "planfix check",
    "planfix retry all",
    "planfix retry 1",
    "planfix retry x",
    "planfix drop 1",
    "planfix drop x",
    "planfix replay secret.1",
    "planfix replay nonsense nonsense",
    "planfix replay 2026-01-01 2036-01-01",
    "planfix pause",
    "planfix resume",
    "planfix nonsense",
    "core show help planfix",
    "core show function PLANFIX_EVENT",
    "core show settings",
    "core show threads",
    "core show taskprocessors",
    "module show like planfix",
    "manager show command PlanfixShowStatus",
];

/// Everything that was read, with its origin.
#[derive(Default)]
struct Heard(Vec<(String, String)>);

impl Heard {
    fn add(&mut self, what: &str, text: impl Into<String>) {
        self.0.push((what.to_owned(), text.into()));
    }

    fn all_commands(&mut self, stage: &Stage) -> Result<()> {
        for command in COMMANDS {
            self.add(command, stage.asterisk.cli(command)?);
        }
        for word in ["1", "al", ""] {
            let command = format!("_command matchesarray \"planfix retry\" \"{word}\"");
            self.add(&command, stage.asterisk.cli(&command)?);
        }
        let mut ami = stage.asterisk.ami()?;
        for action in [
            &[("Action", "PlanfixShowStatus")][..],
            &[("Action", "PlanfixShowQueue")],
            &[("Action", "PlanfixShowQueue"), ("Limit", "nonsense")],
            &[("Action", "PlanfixShowFailed")],
            &[("Action", "CoreSettings")],
            &[("Action", "ModuleCheck"), ("Module", "res_planfix")],
            &[("Action", "ListCommands")],
        ] {
            let reply = ami.action(action)?;
            self.add(action[0].1, format!("{:?}{:?}", reply.response, reply.events));
        }
        Ok(())
    }

    /// The arguments of all processes that this user may look at.
    fn processes(&mut self) -> Result<()> {
        for entry in fs::read_dir("/proc")? {
            let file = entry?.path().join("cmdline");
            if let Ok(words) = fs::read(&file) {
                self.add(&file.display().to_string(), String::from_utf8_lossy(&words));
            }
        }
        Ok(())
    }

    fn files(&mut self, folder: &Path) -> Result<()> {
        for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_file() {
                self.add(
                    &path.display().to_string(),
                    String::from_utf8_lossy(&fs::read(&path)?),
                );
            }
        }
        Ok(())
    }

    fn holds_none_of(&self, secrets: &[&str]) -> Result<()> {
        for (what, text) in &self.0 {
            for secret in secrets {
                let line = text.lines().find(|line| line.contains(secret));
                ensure!(line.is_none(), "{what} holds a token: {line:?}");
            }
        }
        Ok(())
    }
}

fn reason(stage: &Stage, reason: &str) -> Result<()> {
    until(reason, BOUND, || {
        Ok(flat(&stage.status()?).contains(reason).then_some(()))
    })
    .with_context(|| stage.status().unwrap_or_default())
}

fn the_tokens_are_in_nothing_that_can_be_read(version: Version) -> Result<()> {
    const WRONG: &str = "wrong0token0of0secrecy";
    const MISPLACED: [&str; 7] = [
        "misspelt0option0secret",
        "elsewhere0secret",
        "blank0inside0secret here",
        "lineless0secret",
        "0123456789abcdef0123456789abcdef",
        "status0outside0secret",
        "short0status0k",
    ];
    let plan = Stage::plan(version)
        .watched()
        .delivery("response_timeout = 5\nconnect_timeout = 5\nretry_max = 1")
        .asterisk(|builder| builder.verbose(10).debug(10));
    plan.play(|stage| {
        let mut heard = Heard::default();
        let mut watcher = stage.asterisk.ami()?;
        for command in [
            "core set debug 10 res_planfix",
            "core set debug 10",
            "core set verbose 10",
        ] {
            stage.asterisk.cli(command)?;
        }
        let right = stage.settings().to_owned();

        // All is well; then the CRM fails in every way that gives a message of its own.
        stage.queue("INCOMING,79101234567,101,secret.1,data_a=b")?;
        stage.queue("COMPLETED,79101234567,101,secret.1,,3,ANSWERED")?;
        stage.taken_in(2)?;
        heard.all_commands(stage)?;
        for (fault, expected) in [
            ("hang", "no answer"),
            ("html", "the answer is not Planfix's"),
            ("status=500", "the server failed (HTTP 500)"),
            ("cut", "no answer"),
            ("refuse", "no answer"),
        ] {
            stage.crm.fault(fault)?;
            stage.queue(&format!("INCOMING,79101234567,101,secret.{fault}"))?;
            until("a failure", BOUND, || {
                let queue = stage.asterisk.cli("planfix show queue")?;
                Ok(queue.contains(&expected[..9]).then_some(()))
            })
            .with_context(|| fault.to_owned())?;
            heard.all_commands(stage)?;
            stage.crm.clear_faults()?;
            stage.drained()?;
        }
        // Refused for good.
        stage.crm.fault("status=400,next=1")?;
        stage.queue("INCOMING,79101234567,101,secret.400")?;
        reason(stage, "Failed: 1, see")?;
        heard.all_commands(stage)?;

        // A token that the CRM does not accept.
        let said = stage.reload_with(&right.replace(stage.crm.token(), WRONG))?;
        heard.add("reload", said);
        stage.queue("INCOMING,79101234567,101,secret.401")?;
        reason(stage, "the token is not accepted")?;
        heard.all_commands(stage)?;

        // Tokens where they do not belong: none of these files is taken over.
        for (index, line) in [
            format!("[planfix]\ntokn = {}", MISPLACED[0]),
            format!("[general]\ntoken = {}", MISPLACED[1]),
            format!("[planfix]\ntoken = {}", MISPLACED[2]),
            format!("[planfix]\ntoken {}", MISPLACED[3]),
            format!("[planfix]\nurl = {}", MISPLACED[4]),
            format!("[general]\nkey = {}", MISPLACED[5]),
            format!("[status]\nkey = {}", MISPLACED[6]),
        ]
        .into_iter()
        .enumerate()
        {
            let said = stage.reload_with(&format!("{right}{line}\n"))?;
            heard.add(&format!("the reload of misplaced token {index}"), said);
            heard.all_commands(stage)?;
        }
        heard.add("reload", stage.reload_with(&right)?);
        stage.drained()?;

        heard.processes()?;
        heard.files(&stage.asterisk.spool().join("planfix"))?;
        heard.add("the log", stage.asterisk.log());
        heard.add("the console", stage.asterisk.console());
        // Whatever was said before the answer to this is read with it.
        watcher.action(&[("Action", "Ping")])?;
        while let Some(event) = watcher.event(Duration::ZERO, |_: &Message| true)? {
            heard.add("an event of AMI", format!("{event:?}"));
        }
        let tokens = [
            stage.crm.token(),
            stage.crm.pbx_token(),
            stage.status_key(),
            WRONG,
        ];
        heard.holds_none_of(&[&tokens[..], &MISPLACED].concat())?;
        // The other way round, so that this test cannot pass by hearing nothing.
        for expected in [
            "the token is not accepted",
            "unknown option 'tokn'",
            "PlanfixStatus",
            "secret.400",
        ] {
            ensure!(
                heard.0.iter().any(|(_, text)| text.contains(expected)),
                "{expected} was not heard"
            );
        }
        Ok(())
    })
}

fn mode(path: &Path) -> Result<u32> {
    Ok(fs::metadata(path)
        .with_context(|| path.display().to_string())?
        .permissions()
        .mode()
        & 0o7777)
}

/// The names of the files in this folder, each of which its owner alone may read and write. Greetings lie in a folder of their
/// own, which may be elsewhere: there the owner's group reads them too, and others do not.
fn private_files(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let mode = mode(&entry.path())?;
        if entry.file_name() == "greetings" {
            ensure!(mode & 0o027 == 0, "{} has mode {mode:o}", entry.path().display());
            continue;
        }
        ensure!(mode == 0o600, "{} has mode {mode:o}", entry.path().display());
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn the_spool_is_asterisks_alone(version: Version) -> Result<()> {
    let mut stage = Stage::plan(version).prepare()?;
    let folder = stage.asterisk.spool().join("planfix");
    // As a careless hand or an older umask may have left it.
    fs::create_dir(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))?;
    for name in ["spool.db", "spool.lock"] {
        fs::write(folder.join(name), "")?;
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o666))?;
    }
    stage.asterisk.start()?;
    stage.play(|stage| {
        stage.at_work()?;
        stage.queue("INCOMING,79101234567,101,private.1")?;
        stage.taken_in(1)?;
        ensure!(
            mode(&folder)? == 0o700,
            "the folder has mode {:o}",
            mode(&folder)?
        );
        let names = private_files(&folder)?;
        ensure!(
            names == ["spool.db", "spool.db-shm", "spool.db-wal", "spool.lock"],
            "{names:?}"
        );
        stage.asterisk.stop_now(BOUND)?;
        private_files(&folder).map(drop)
    })
}
