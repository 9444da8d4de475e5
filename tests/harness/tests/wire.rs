//! What Planfix asks of the PBX, byte for byte: the requests of `tests/wire/pbx` are sent to a real Asterisk, and its answers are held
//! against the files. `tests/wire/README.md` tells what is where; the test `wire` of the project itself has the other direction.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::{Stage, Version, on_both, until, workspace_root};

const BOUND: Duration = Duration::from_secs(30);
/// Where an employee's phone and a number are dialled; nobody answers.
const DIALPLAN: &str = "[from-internal]\nexten => _X.,1,Wait(1)\nexten => _+X.,1,Wait(1)\n";

on_both! {
    what_planfix_asks_is_answered_to_the_byte,
}

fn folder() -> PathBuf {
    workspace_root().join("tests/wire/pbx")
}

/// Fills in what differs from one Asterisk to the next.
fn filled(request: &[u8], stage: &Stage) -> Result<Vec<u8>> {
    let encoded: String = stage
        .crm
        .url()
        .bytes()
        .map(|byte| format!("%{byte:02X}"))
        .collect();
    let text = std::str::from_utf8(request)?
        .replace("{pbx_token}", stage.crm.pbx_token())
        .replace("{planfix_token}", stage.crm.token())
        .replace("{planfix_url}", &encoded);
    let (_, body) = text
        .split_once("\r\n\r\n")
        .context("a request has an empty line")?;
    let length = body.len().to_string();
    Ok(text.replace("{length}", &length).into_bytes())
}

/// The whole answer, its date named. It ends where the server ends it or its length says.
fn answer(stage: &Stage, request: &[u8]) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&stage.asterisk.http(), BOUND)?;
    stream.set_read_timeout(Some(BOUND))?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        if let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
            let text = std::str::from_utf8(&answer[..head])?;
            let length = text
                .split("\r\n")
                .find_map(|line| line.strip_prefix("Content-Length: "));
            let length: usize = length.context("an answer has a length")?.parse()?;
            if answer.len() >= head + 4 + length {
                break;
            }
        }
        match stream.read(&mut piece)? {
            0 => break,
            read => answer.extend_from_slice(&piece[..read]),
        }
    }
    let text = String::from_utf8(answer)?;
    let dated = text.split("\r\n").find(|line| line.starts_with("Date: "));
    let dated = dated.context("an answer has a date")?;
    ensure!(
        dated.ends_with(" GMT") && dated.len() == "Date: Sat, 21 Nov 2026 05:00:00 GMT".len(),
        "{dated}"
    );
    Ok(text.replacen(dated, "Date: {date}", 1).into_bytes())
}

/// Sends the request of that name; the fault, if the answer is another than the file's.
fn compare(stage: &Stage, name: &str, faults: &mut Vec<String>) -> Result<()> {
    let file = format!("{name}.http");
    let request = fs::read(folder().join("requests").join(&file))?;
    let found = answer(stage, &filled(&request, stage)?)?;
    let path = folder().join("replies").join(&file);
    let expected = fs::read(&path).unwrap_or_default();
    if found == expected {
        return Ok(());
    }
    if std::env::var_os("UPDATE_WIRE").is_some_and(|value| value == "1") {
        fs::write(&path, &found)?;
        faults.push(format!("{file} was written anew"));
    } else {
        let (found, expected) = (found.escape_ascii(), expected.escape_ascii());
        faults.push(format!("{file}\n  is    {found}\n  not   {expected}"));
    }
    Ok(())
}

/// The names of the requests.
fn names() -> Result<BTreeSet<String>> {
    let entries = fs::read_dir(folder().join("requests"))?;
    let paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    let stem = |path: &Path| Some(path.file_stem()?.to_str()?.to_owned());
    Ok(paths
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "http"))
        .filter_map(|path| stem(path))
        .collect())
}

fn take_over(stage: &Stage, settings: &str, mode: &str) -> Result<()> {
    stage.reload_with(settings)?;
    until("the new settings", BOUND, || {
        Ok(stage.row("Key from")?.contains(mode).then_some(()))
    })
}

fn what_planfix_asks_is_answered_to_the_byte(version: Version) -> Result<()> {
    let mut stage = Stage::plan(version)
        .asterisk(|asterisk| asterisk.extensions(DIALPLAN))
        .prepare()?;
    let pinned = stage.settings().to_owned();
    let waiting = pinned
        .replace(&format!("token = {}\npbx", stage.crm.token()), "token =\npbx")
        .replace(&format!("url = {}", stage.crm.url()), "url =");
    ensure!(!waiting.contains(stage.crm.token()), "{waiting}");
    stage.asterisk.configure("planfix.conf", &waiting)?;
    stage.asterisk.start()?;
    stage.play(|stage| {
        let mut faults = Vec::new();
        let mut left = names()?;
        // `setup` is for a PBX that has no key of Planfix's.
        for name in [
            "setup-wrong-key",
            "setup-without-address",
            "setup-unencrypted",
            "setup",
        ] {
            ensure!(left.remove(name), "there is no request {name}");
            compare(stage, name, &mut faults)?;
        }
        take_over(stage, &pinned, "planfix.conf")?;
        let too_often = "make-call-too-often";
        ensure!(left.remove(too_often), "there is no request {too_often}");
        for name in left {
            compare(stage, &name, &mut faults)?;
        }
        // Loaded anew, so that nobody has asked for too much before.
        stage.asterisk.cli("module unload res_planfix.so")?;
        let once = format!("{pinned}\n[callback]\nrate_per_minute = 1\n");
        stage.asterisk.configure("planfix.conf", &once)?;
        stage.asterisk.cli("module load res_planfix.so")?;
        stage.at_work()?;
        compare(stage, "make-call", &mut faults)?;
        compare(stage, too_often, &mut faults)?;
        ensure!(faults.is_empty(), "{}", faults.join("\n"));
        Ok(())
    })
}
