//! What comes from outside and means no good: a planfix.conf, a spool file, an HTTP answer, arguments. Each ends in a clear
//! message and nothing else: Asterisk stays up, and the next good event is delivered.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::{Stage, Version, field, flat, is_taken_in, on_both, until};

on_both! {
    a_hostile_configuration,
    a_hostile_spool,
    a_spool_in_memory_goes_back_to_the_disk,
    hostile_answers,
    hostile_arguments,
    hostile_commands,
}

const BOUND: Duration = Duration::from_secs(30);

/// A good event gets through.
fn delivers(stage: &Stage, callid: &str) -> Result<()> {
    stage.queue(&format!("INCOMING,79101234567,101,{callid}"))?;
    stage
        .crm
        .wait_for(&format!("the event of {callid}"), BOUND, |entries| {
            entries
                .iter()
                .any(|entry| is_taken_in(entry) && field(entry, "callid") == callid)
        })
        .map(drop)
}

fn logs(stage: &Stage, since: usize, text: &str) -> Result<()> {
    until(&format!("the log to hold: {text}"), BOUND, || {
        Ok(stage.asterisk.log()[since..].contains(text).then_some(()))
    })
    .with_context(|| stage.asterisk.log()[since..].to_owned())
}

// ---- planfix.conf ----------------------------------------------------------------------------------------------------

/// What the file is to be.
enum File {
    /// Accepted, with this in the log.
    Good(Vec<u8>, &'static str),
    /// Refused, with this in the log.
    Bad(Vec<u8>, &'static str),
    /// No file at all but a folder.
    Folder,
}

fn random_bytes(count: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    std::iter::repeat_with(|| random.u8(..)).take(count).collect()
}

fn a_hostile_configuration(version: Version) -> Result<()> {
    Stage::plan(version).play(|stage| {
        let right = stage.settings().to_owned();
        let text = |more: &str| format!("{right}{more}\n").into_bytes();
        let crm = format!("url = {}\ntoken = {}\n", stage.crm.url(), stage.crm.token());
        let mut binary = right.clone().into_bytes();
        binary.extend(random_bytes(65_536));
        let cases = [
            ("random bytes", File::Bad(random_bytes(65_536), "planfix.conf")),
            ("random bytes behind a good file", File::Bad(binary, "planfix.conf")),
            ("zeros", File::Bad(vec![0; 1 << 20], "is missing in section [planfix]")),
            (
                "a line of a megabyte",
                File::Good(text(&format!("workers = {}", "4".repeat(1 << 20))), "too long, skipping"),
            ),
            (
                "a token of four kilobytes",
                File::Bad(text(&format!("[planfix]\ntoken = {}", "a".repeat(4_096))), "the key is longer than 256 bytes"),
            ),
            (
                "an unknown section",
                File::Bad(text("[%s%n%n%n]\na = b"), "unknown section [%s%n%n%n]"),
            ),
            (
                "thousands of unknown options",
                File::Bad(text(&"a = b\n".repeat(5_000)), "4980 more lines like these are not listed"),
            ),
            (
                "a value with a format",
                File::Bad(text("workers = %s%n%x"), "'workers': '%s%n%x' is not a number of workers"),
            ),
            (
                "bytes that are no UTF-8",
                File::Bad([&text("")[..], b"w\xff\xfeorkers = \xd0\n"].concat(), "planfix.conf:"),
            ),
            (
                "a file that is not there",
                File::Bad(text("#include \"no-such-file.conf\""), "Asterisk cannot read the file"),
            ),
            (
                "a file that includes itself",
                File::Good(text("#include \"planfix.conf\""), "Maximum Include level"),
            ),
            (
                "a comment without an end",
                File::Bad(format!(";-- {right}").into_bytes(), "is missing in section [planfix]"),
            ),
            ("a section without an end", File::Bad(text("[delivery\nworkers = 4"), "planfix.conf")),
            ("nothing", File::Bad(Vec::new(), "'url' is missing in section [planfix]")),
            ("a folder", File::Folder),
            (
                "a file that may be absent",
                File::Good(text("#tryinclude \"no-such-file.conf\""), ""),
            ),
            (
                "sections and options twice",
                File::Good(format!("{right}[planfix]\n{crm}[delivery]\nworkers = 2\nworkers = 3\n[calls]\n").into_bytes(), ""),
            ),
            (
                "templates",
                File::Good(
                    format!("[general]\nmode = dialplan\n[unknown](!)\n{crm}[planfix](unknown)\n[base](!)\nworkers = 2\n[delivery](base)\nretry_max = 2\n")
                        .into_bytes(), ""),
            ),
        ];
        let file = stage.asterisk.etc().join("planfix.conf");
        for (index, (what, case)) in cases.into_iter().enumerate() {
            let since = stage.asterisk.log().len();
            let expected = match &case {
                File::Good(bytes, expected) | File::Bad(bytes, expected) => {
                    fs::write(&file, bytes)?;
                    *expected
                }
                File::Folder => {
                    fs::remove_file(&file)?;
                    fs::create_dir(&file)?;
                    "planfix.conf"
                }
            };
            let judged = (|| {
                let said = stage.asterisk.cli("module reload res_planfix.so")?;
                let check = flat(&stage.asterisk.cli("planfix check")?);
                logs(stage, since, expected)?;
                if !matches!(case, File::Good(..)) {
                    ensure!(!said.contains("reloaded successfully"), "{said}");
                    logs(stage, since, "the settings from before stay in force")?;
                    ensure!(check.contains("FAIL planfix.conf"), "{check}");
                } else {
                    ensure!(said.contains("reloaded successfully"), "{said}");
                    ensure!(check.contains("pass planfix.conf"), "{check}");
                }
                // Asterisk's own reader names every line that it does not understand; the module keeps it short.
                let lines = stage.asterisk.log()[since..].matches("] ERROR[").count();
                ensure!(lines < 40, "{lines} errors in the log");
                ensure!(check.len() < 8_192, "{} bytes of 'planfix check'", check.len());
                delivers(stage, &format!("configuration.{index}"))
            })();
            judged.with_context(|| what.to_owned())?;
            if matches!(case, File::Folder) {
                fs::remove_dir(&file)?;
            }
        }
        Ok(())
    })
}

// ---- the spool -------------------------------------------------------------------------------------------------------

/// What `sqlite3` makes of these statements.
fn sqlite(file: &Path, statements: &str) -> Result<String> {
    let output = Command::new("sqlite3")
        .arg(file)
        .arg(statements)
        .output()
        .context("run `tools/prepare test`, which installs sqlite3")?;
    ensure!(
        output.status.success(),
        "sqlite3 {statements}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

struct Spoiled<'a> {
    stage: &'a Stage,
    folder: PathBuf,
    file: PathBuf,
    round: usize,
}

impl Spoiled<'_> {
    /// Unloads the module, lets `spoil` do its worst to the folder, and loads the module again. A good event must get
    /// through then. `pending` of three events that waited must come too.
    fn round(
        &mut self,
        what: &str,
        pending: usize,
        expected: &str,
        spoil: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        self.try_round(pending, expected, spoil)
            .with_context(|| what.to_owned())
    }

    fn try_round(
        &mut self,
        pending: usize,
        expected: &str,
        spoil: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let Self { stage, round, .. } = *self;
        self.round += 1;
        stage.crm.fault("status=503")?;
        for event in ["INCOMING", "ACCEPTED", "COMPLETED"] {
            stage.queue(&format!("{event},79101234567,101,waiting.{round},,7,ANSWERED"))?;
        }
        until("three events in the spool", BOUND, || {
            Ok(flat(&stage.status()?).contains("Queue: 3 waiting").then_some(()))
        })?;
        let since = stage.asterisk.log().len();
        let said = stage.asterisk.cli("module unload res_planfix.so")?;
        ensure!(said.contains("Unloaded"), "{said}");
        spoil(&self.file)?;
        stage.crm.clear_faults()?;
        let said = stage.asterisk.cli("module load res_planfix.so")?;
        ensure!(said.contains("Loaded"), "{said}");
        stage.at_work()?;
        logs(stage, since, expected)?;
        delivers(stage, &format!("after.{round}"))?;
        stage.drained()?;
        let waited = stage
            .crm
            .log()?
            .iter()
            .filter(|entry| is_taken_in(entry) && field(entry, "callid") == format!("waiting.{round}"))
            .count();
        ensure!(
            waited == pending,
            "{waited} of the three events that waited came, not {pending}"
        );
        // The next round begins with a spool in order.
        let said = stage.asterisk.cli("module unload res_planfix.so")?;
        ensure!(said.contains("Unloaded"), "{said}");
        let _ = fs::remove_dir_all(&self.folder).or_else(|_| fs::remove_file(&self.folder));
        stage.asterisk.cli("module load res_planfix.so")?;
        stage.at_work()
    }
}

fn a_hostile_spool(version: Version) -> Result<()> {
    let plan = Stage::plan(version)
        .calls("stale_popup = 86400")
        .delivery("retry_max = 1");
    plan.play(|stage| {
        let folder = stage.asterisk.spool().join("planfix");
        let mut spoiled = Spoiled {
            stage,
            file: folder.join("spool.db"),
            folder: folder.clone(),
            round: 0,
        };
        let moved = "it was moved to";
        spoiled.round("random bytes", 0, moved, |file| {
            Ok(fs::write(file, random_bytes(65_536))?)
        })?;
        spoiled.round("text", 0, moved, |file| {
            Ok(fs::write(file, "%s%n".repeat(1_000))?)
        })?;
        spoiled.round("half a spool", 0, moved, |file| {
            let bytes = fs::read(file)?;
            Ok(fs::write(file, &bytes[..bytes.len() / 2])?)
        })?;
        spoiled.round("a header and zeros", 0, moved, |file| {
            let mut bytes = fs::read(file)?;
            bytes[100..].fill(0);
            Ok(fs::write(file, bytes)?)
        })?;
        spoiled.round("a trigger in our own tables", 3, moved, |file| {
            sqlite(
                file,
                "CREATE TRIGGER grab BEFORE INSERT ON event BEGIN DELETE FROM event; END;",
            )
            .map(drop)
        })?;
        spoiled.round("a foreign database", 0, moved, |file| {
            fs::remove_file(file)?;
            sqlite(
                file,
                "PRAGMA user_version = 1; CREATE TABLE event (id INTEGER, x); CREATE TABLE meta (name, value);
                 CREATE TRIGGER grab AFTER INSERT ON event BEGIN DELETE FROM event; END;",
            )
            .map(drop)
        })?;
        spoiled.round("the spool of a later version", 3, moved, |file| {
            sqlite(file, "PRAGMA user_version = 7").map(drop)
        })?;
        spoiled.round("an event that is none, among others", 2, moved, |file| {
            sqlite(
                file,
                "UPDATE event SET kind = '%s%n', callid = x'00ff' WHERE kind = 'ACCEPTED'",
            )
            .map(drop)
        })?;
        for number in ["0", "-1", "9223372036854775807"] {
            spoiled.round("an event with an impossible number", 2, moved, |file| {
                sqlite(
                    file,
                    &format!("UPDATE event SET id = {number} WHERE kind = 'ACCEPTED'"),
                )
                .map(drop)
            })?;
        }
        spoiled.round("a log of random bytes", 3, "", |file| {
            Ok(fs::write(
                file.with_file_name("spool.db-wal"),
                random_bytes(65_536),
            )?)
        })?;
        let victim = stage.asterisk.scratch().join("victim");
        fs::write(&victim, "precious")?;
        let memory = "events are kept in memory, a restart would lose them; mend it, and it is used";
        spoiled.round("a link to another file", 0, memory, |file| {
            fs::remove_file(file)?;
            Ok(symlink(&victim, file)?)
        })?;
        ensure!(
            fs::read_to_string(&victim)? == "precious",
            "the file behind the link was written"
        );
        spoiled.round("a folder in the spool's place", 0, memory, |file| {
            fs::remove_file(file)?;
            Ok(fs::create_dir(file)?)
        })?;
        spoiled.round("a file in the folder's place", 0, memory, |file| {
            let folder = file.parent().context("a folder")?;
            fs::remove_dir_all(folder)?;
            Ok(fs::write(folder, "")?)
        })?;
        spoiled.round("a pipe in the spool's place", 0, "", |file| {
            fs::remove_file(file)?;
            let made = Command::new("mkfifo").arg(file).status()?;
            ensure!(made.success(), "mkfifo failed");
            Ok(())
        })
    })
}

fn a_spool_in_memory_goes_back_to_the_disk(version: Version) -> Result<()> {
    let mut stage = Stage::plan(version).delivery("retry_max = 1").prepare()?;
    let file = stage.asterisk.spool().join("planfix/spool.db");
    fs::create_dir_all(&file)?;
    stage.asterisk.start()?;
    stage.play(|stage| {
        stage.at_work()?;
        logs(stage, 0, "cannot be opened")?;
        delivers(stage, "memory.1")?;
        let check = flat(&stage.asterisk.cli("planfix check")?);
        ensure!(check.contains("FAIL Spool it lies in memory only"), "{check}");
        stage.asterisk.cli("module reload res_planfix.so")?;
        logs(stage, 0, "still cannot be used")?;
        delivers(stage, "memory.2")?;

        stage.crm.fault("status=503")?;
        stage.queue("COMPLETED,79101234567,101,memory.3,,0,BUSY")?;
        until("an event in memory", BOUND, || {
            Ok(flat(&stage.status()?).contains("Queue: 1 waiting").then_some(()))
        })?;
        fs::remove_dir(&file)?;
        stage.asterisk.cli("module reload res_planfix.so")?;
        logs(
            stage,
            0,
            "is in use again; 1 events were written to it from memory",
        )?;
        // And from there it survives.
        stage.asterisk.kill9();
        stage.crm.clear_faults()?;
        stage.asterisk.start()?;
        stage
            .crm
            .wait_for("the event from memory", BOUND, |entries| {
                entries
                    .iter()
                    .any(|entry| is_taken_in(entry) && field(entry, "callid") == "memory.3")
            })
            .map(drop)
    })
}

// ---- answers ---------------------------------------------------------------------------------------------------------

fn hostile_answers(version: Version) -> Result<()> {
    let plan = Stage::plan(version)
        .delivery("retry_max = 1\nresponse_timeout = 1\nconnect_timeout = 1\nworkers = 8")
        .asterisk(|builder| builder.env("MALLOC_ARENA_MAX", "1"));
    plan.play(|stage| {
        delivers(stage, "answers.before")?;
        let before = stage.asterisk.rss_kib()?;
        let mut ami = stage.asterisk.ami()?;
        for fault in [
            "endless-body",
            "huge-header",
            "long-length",
            "html",
            "cut-header",
            "cut-body",
            "slow-body",
            "hang",
            "reset",
            "status=200,retry-after=9999999999999999999999",
            "status=302",
            "status=503,retry-after=nonsense",
        ] {
            // A status of success with an empty body is what an event is answered with.
            let good = fault.starts_with("status=200") || fault == "slow-body";
            stage.crm.fault(fault)?;
            let callid = format!("answers.{}", fault.split('=').next().unwrap_or(fault));
            stage.queue(&format!("COMPLETED,79101234567,101,{callid},,0,BUSY"))?;
            if !good {
                let reason = until("a reason", BOUND, || {
                    let reply = ami.action(&[("Action", "PlanfixShowQueue")])?;
                    let entry = reply
                        .events
                        .iter()
                        .find(|entry| entry.get("CallId") == Some(&callid));
                    let reason = entry.and_then(|entry| entry.get("Reason")).unwrap_or_default();
                    Ok((!reason.is_empty()).then(|| reason.to_owned()))
                })
                .with_context(|| fault.to_owned())?;
                println!("{version}: {fault}: {reason}");
                ensure!(reason.len() < 200, "{fault}: {reason}");
            }
            stage.crm.clear_faults()?;
            // What stopped the delivery, such as a redirect, is over with a reload.
            stage.asterisk.cli("module reload res_planfix.so")?;
            stage.drained().with_context(|| fault.to_owned())?;
        }
        // More is sent than the answer says, so the next answer on that connection begins with the rest.
        stage.crm.fault("short-length,next=3")?;
        for number in 0..6 {
            stage.queue(&format!("COMPLETED,79101234567,101,short.{number},,0,BUSY"))?;
        }
        stage.drained()?;
        delivers(stage, "answers.after")?;
        let after = stage.asterisk.rss_kib()?;
        ensure!(after < before + 8_192, "memory went from {before} to {after} KiB");
        Ok(())
    })
}

// ---- arguments -------------------------------------------------------------------------------------------------------

/// Each extension makes one argument that the manager interface could not carry.
const DIALPLAN: &str = "\
[hostile]
exten => long,1,Set(A=0123456789abcdef)
 same => n,Set(A=${A}${A}${A}${A}${A}${A}${A}${A})
 same => n,Set(A=${A}${A}${A}${A}${A}${A}${A}${A})
 same => n,Verbose(1,long phone is ${PLANFIX_EVENT(INCOMING,${A},101,long)})
 same => n,Verbose(1,long callid is ${PLANFIX_EVENT(INCOMING,79101234567,101,${A})})
 same => n,Verbose(1,long link is ${PLANFIX_EVENT(COMPLETED,79101234567,101,long,${A}${A}${A},0,BUSY)})
 same => n,Verbose(1,four kilobytes are ${PLANFIX_EVENT(${A}${A}${A}${A}${A}${A}${A}${A})})
 same => n,Goto(end,1)
exten => lines,1,Set(LF=${URIDECODE(%0d%0a)})
 same => n,Verbose(1,a newline is ${PLANFIX_EVENT(INCOMING,7910${LF}ERROR[1] injected line,101,lines)})
 same => n,Verbose(1,a newline in a key is ${PLANFIX_EVENT(COMPLETED,79101234567,101,lines,,0,BUSY,data_a${LF}b=c)})
 same => n,Verbose(1,a newline in the event is ${PLANFIX_EVENT(INCO${LF}MING,79101234567,101,lines)})
 same => n,Verbose(1,a terminal's command is ${PLANFIX_EVENT(INCOMING,${URIDECODE(%1b)}[2J,101,lines)})
 same => n,Goto(end,1)
exten => end,1,Wait(1)
";

fn hostile_arguments(version: Version) -> Result<()> {
    Stage::plan(version)
        .asterisk(|builder| builder.extensions(DIALPLAN))
        .play(|stage| {
            let brackets = format!("INCOMING,{},101,brackets", "(".repeat(700));
            let commas = ",".repeat(900);
            let keys: String = (0..40).map(|number| format!(",data_{number}=x")).collect();
            let keys = format!("COMPLETED,79101234567,101,keys,,0,BUSY{keys}");
            for (arguments, answer) in [
                ("INCOMING,%s%n%x%p,101,formats", "QUEUED"),
                ("%s%n,%s,%n,%p", "REJECTED"),
                ("INCOMING,\"7910,101,quote", "REJECTED"),
                ("INCOMING,7910\",\"101\",\"quotes\"", "REJECTED"),
                ("INCOMING,79101234567,101,backslash\\", "QUEUED"),
                (
                    "COMPLETED,79101234567,101,'; DROP TABLE event; --,,0,BUSY",
                    "QUEUED",
                ),
                (
                    "COMPLETED,79101234567,101,duration,,99999999999999999999999,ANSWER",
                    "QUEUED",
                ),
                ("COMPLETED,79101234567,101,duration,,-1,ANSWER", "QUEUED"),
                ("COMPLETED,79101234567,101,key,,0,BUSY,=x", "REJECTED"),
                ("COMPLETED,79101234567,101,key,,0,BUSY,data_=x", "REJECTED"),
                (
                    "COMPLETED,79101234567,101,key,,0,BUSY,planfix_token=x",
                    "REJECTED",
                ),
                ("COMPLETED,79101234567,101,key,,0,BUSY,cmd=ping", "REJECTED"),
                (&brackets, "REJECTED"),
                (&commas, "REJECTED"),
                (&keys, "REJECTED"),
            ] {
                let said = stage.event(arguments)?;
                ensure!(
                    said == answer,
                    "PLANFIX_EVENT({arguments}) is {said}, not {answer}"
                );
            }

            // Bytes that no text can hold; a NUL ends the argument for Asterisk.
            let raw = raw_getvar(stage, b"PLANFIX_EVENT(INCOMING,7910\xff\xfe\xd0,101,no-text)")?;
            ensure!(raw.contains("Value: QUEUED"), "{raw}");
            let raw = raw_getvar(stage, b"PLANFIX_EVENT(INCOMING,79101234567,101,nul\0%00\0)")?;
            ensure!(!raw.contains("Value: QUEUED"), "{raw}");

            for extension in ["long", "lines"] {
                stage.asterisk.cli(&format!(
                    "channel originate Local/{extension}@hostile application Wait 1"
                ))?;
            }
            for sentence in [
                "long phone is REJECTED",
                "argument 2 (phone) is 1024 bytes long: at most 128 are accepted",
                "long callid is REJECTED",
                "argument 4 (callid) is 1024 bytes long",
                "long link is REJECTED",
                "argument 5 (record_link) is 3072 bytes long: at most 2000 are accepted",
                "four kilobytes are REJECTED",
                "a newline is REJECTED",
                "argument 2 (phone) holds the control character 0x0d",
                "a newline in a key is REJECTED",
                "a newline in the event is REJECTED",
                "a terminal's command is REJECTED",
                "holds the control character 0x1b",
            ] {
                logs(stage, 0, sentence)?;
            }
            let log = stage.asterisk.log();
            let ours: Vec<&str> = log
                .lines()
                .filter(|line| line.contains("func_planfix_event"))
                .collect();
            ensure!(ours.len() > 15, "{ours:#?}");
            for line in &ours {
                ensure!(
                    line.len() < 600 && !line.chars().any(char::is_control),
                    "a line of {} bytes: {line:?}",
                    line.len()
                );
            }
            stage.drained()?;
            let told = stage.crm.log()?;
            ensure!(
                told.iter().any(|entry| field(entry, "phone") == "%s%n%x%p")
                    && told
                        .iter()
                        .any(|entry| entry["raw"].to_string().contains("7910%FF%FE%D0"))
                    && told
                        .iter()
                        .any(|entry| field(entry, "callid") == "'; DROP TABLE event; --")
                    && !told.iter().any(|entry| field(entry, "callid").starts_with("nul")),
                "{told:#?}"
            );
            delivers(stage, "arguments.after")
        })
}

/// A Getvar of any bytes, and all that is answered to it.
fn raw_getvar(stage: &Stage, variable: &[u8]) -> Result<String> {
    let mut stream = TcpStream::connect(stage.asterisk.ami_address())?;
    stream.set_read_timeout(Some(BOUND))?;
    let login = b"Action: Login\r\nUsername: harness\r\nSecret: harness\r\nEvents: off\r\n\r\n";
    let action = [b"Action: Getvar\r\nVariable: ", variable, b"\r\n\r\n"].concat();
    stream.write_all(&[login, &action[..], b"Action: Logoff\r\n\r\n"].concat())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

// ---- commands --------------------------------------------------------------------------------------------------------

fn hostile_commands(version: Version) -> Result<()> {
    Stage::plan(version).play(|stage| {
        delivers(stage, "commands.before")?;
        stage.drained()?;
        let long = "9".repeat(400);
        for (command, expected) in [
            ("planfix retry 99999999999999999999999", "Usage: planfix retry"),
            ("planfix retry 18446744073709551615", "There is no failed request"),
            ("planfix retry -1", "Usage: planfix retry"),
            ("planfix retry 1 2", "Usage: planfix retry"),
            ("planfix retry", "Usage: planfix retry"),
            ("planfix drop %s%n", "Usage: planfix drop"),
            ("planfix drop all", "Usage: planfix drop"),
            ("planfix drop 1", "There is no failed request 1"),
            ("planfix replay \"' OR 1=1 --\"", "No such delivered request"),
            ("planfix replay %s%n %s%n", "is not a time"),
            ("planfix replay 2026-99-99 2026-11-20", "is not a time"),
            ("planfix replay now now", "is not a time"),
            ("planfix replay", "Usage: planfix replay"),
            ("planfix replay 1 2 3", "Usage: planfix replay"),
            ("planfix show status x", "Usage: planfix show status"),
            ("planfix pause x", "Usage: planfix pause"),
            (&format!("planfix retry {long}"), "Usage: planfix retry"),
            (&format!("planfix replay {long}"), "No such delivered request"),
        ] {
            let said = stage.asterisk.cli(command)?;
            ensure!(said.contains(expected), "'{command}' said: {said}");
            ensure!(said.len() < 1_500, "'{command}' said {} bytes", said.len());
        }
        let mut ami = stage.asterisk.ami()?;
        for limit in ["0", "-1", "1001", "x", "99999999999999999999", "%s%n"] {
            let reply = ami.action(&[("Action", "PlanfixShowQueue"), ("Limit", limit)])?;
            ensure!(
                !reply.is_success()
                    && reply.response.get("Message") == Some("Limit must be a number from 1 to 1000"),
                "{limit}: {reply:?}"
            );
        }
        delivers(stage, "commands.after")
    })
}
