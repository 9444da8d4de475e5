//! PLANFIX_EVENT against PHP: the same arguments make the same requests, field by field and in the same order.
//!
//! The yardsticks are two scripts of our own below `tests/live/oracle`, and, where the article lies beside the
//! checkout, the two scripts in it, cut out at run time.

use std::env;
use std::ffi::OsStr;
use std::fmt::Debug;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use harness::{Sandbox, Stage, Version, field, on_both, workspace_root};
use serde_json::Value;

on_both! {
    our_scripts_and_the_function_tell_the_same,
    the_articles_scripts_and_the_function_tell_the_same,
    the_encoding_is_that_of_http_build_query,
    bytes_that_are_no_utf8_are_sent_as_they_are,
}

const DISPOSITIONS: [&str; 10] = [
    "ANSWERED",
    "ANSWER",
    "NO ANSWER",
    "BUSY",
    "FAILED",
    "CONGESTION",
    "",
    "nonsense",
    "0",
    "answered",
];
const PHONE: &str = "84959898533";
const LINK: &str = "http://192.168.170.197:8077/monitor/2019/12/04/in-101-84959898533.mp3";

/// The two scripts, however they come by the address and the token.
struct Scripts {
    incoming: PathBuf,
    end: PathBuf,
}

impl Scripts {
    fn ours() -> Self {
        let folder = workspace_root().join("tests/live/oracle");
        Self {
            incoming: folder.join("in.php"),
            end: folder.join("end.php"),
        }
    }

    /// The article's own, with the address and the token of this sandbox, or `None` where there is no article.
    fn of_the_article(crm: &Sandbox, folder: &Path) -> Result<Option<Self>> {
        let seeds = env::var_os("RES_PLANFIX_SEEDS")
            .map_or_else(|| workspace_root().join("../shared/seeds"), PathBuf::from);
        let article = seeds.join("planfix-voxlink.txt");
        if !article.is_file() {
            println!(
                "{} does not exist: only our own scripts are compared",
                article.display()
            );
            return Ok(None);
        }
        let text = fs::read_to_string(&article)?;
        let mut scripts = text.split("<?php").skip(1);
        let mut next = |name: &str| -> Result<PathBuf> {
            let script = scripts
                .next()
                .with_context(|| format!("the article lacks {name}"))?;
            let end = script
                .find("Ключевые переменные")
                .context("the script has no end")?;
            let script = quoted(&script[..end], "'planfix_token' => '", crm.token())?;
            let script = quoted(&script, "$url = '", crm.url())?;
            let path = folder.join(name);
            fs::write(&path, format!("<?php{script}"))?;
            Ok(path)
        };
        Ok(Some(Self {
            incoming: next("planfix-in.php")?,
            end: next("planfix-end.php")?,
        }))
    }
}

/// Puts `value` into every pair of quotes that follows `before`.
fn quoted(script: &str, before: &str, value: &str) -> Result<String> {
    let mut parts = script.split(before);
    let mut text = parts.next().unwrap_or_default().to_owned();
    let mut found = 0;
    for part in parts {
        let (_, rest) = part.split_once('\'').context("a quote is not closed")?;
        text.extend([before, value, "'", rest]);
        found += 1;
    }
    ensure!(found > 0, "the script lacks {before}");
    Ok(text)
}

fn php<A: AsRef<OsStr> + Debug>(crm: &Sandbox, script: &Path, arguments: &[A]) -> Result<()> {
    let output = Command::new("php")
        .arg(script)
        .args(arguments)
        .env("ORACLE_URL", crm.url())
        .env("ORACLE_TOKEN", crm.token())
        .output()
        .context("run `tools/prepare test`, which installs php")?;
    ensure!(
        output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(),
        "{} {arguments:?} ended with {} and said {}{}",
        script.display(),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn plan(version: Version) -> harness::Plan {
    Stage::plan(version).calls("status_map = voxlink")
}

/// What the request said, whatever came of it: the method, all fields in their order and the body as it came. The one
/// byte that PHP writes otherwise than a browser is the asterisk; both mean the same.
fn said(entry: &Value) -> (String, String, String) {
    (
        entry["method"].to_string(),
        entry["fields"].to_string(),
        entry["raw"].to_string().replace('*', "%2A"),
    )
}

/// The requests about a call. The second time the sandbox hears of one it complains of the order, and rightly so; what
/// was said is compared all the same.
fn about(stage: &Stage, callid: &str, count: usize) -> Result<Vec<Value>> {
    let entries = stage.crm.wait_for(
        &format!("{count} requests about {callid}"),
        std::time::Duration::from_secs(30),
        |entries| {
            entries
                .iter()
                .filter(|entry| field(entry, "callid") == callid)
                .count()
                >= count
        },
    )?;
    Ok(entries
        .into_iter()
        .filter(|entry| field(entry, "callid") == callid)
        .collect())
}

/// Both tell of the same call, PHP first, and must tell the same.
fn compare(
    stage: &Stage,
    callid: &str,
    script: &Path,
    event: &str,
    arguments: &[&str],
) -> Result<Vec<Value>> {
    php(&stage.crm, script, arguments)?;
    let by_php = about(stage, callid, 1)?;
    ensure!(!by_php.is_empty(), "PHP sent nothing");
    let quoted: Vec<String> = arguments.iter().map(|value| format!("\"{value}\"")).collect();
    stage.queue(&format!("{event},{}", quoted.join(",")))?;
    let all = about(stage, callid, 2 * by_php.len())?;
    let (by_php, by_us) = all.split_at(by_php.len());
    ensure!(
        by_us.len() == by_php.len(),
        "{event} {arguments:?} made other requests: {all:#?}"
    );
    for (theirs, ours) in by_php.iter().zip(by_us) {
        ensure!(
            said(theirs) == said(ours),
            "{event} {arguments:?}\nPHP:  {}\nours: {}",
            theirs["raw"],
            ours["raw"]
        );
        ensure!(
            theirs["problems"] == ours["problems"],
            "the CRM judges differently: {theirs} {ours}"
        );
    }
    Ok(by_us.to_vec())
}

fn compare_all(stage: &Stage, scripts: &Scripts) -> Result<()> {
    let said = compare(
        stage,
        "1575464581.11",
        &scripts.incoming,
        "INCOMING",
        &[PHONE, "101", "1575464581.11"],
    )?;
    ensure!(
        field(&said[0], "event") == "INCOMING" && said.len() == 1,
        "{said:?}"
    );
    for (index, disposition) in DISPOSITIONS.into_iter().enumerate() {
        let callid = format!("1575464582.{index}");
        let arguments = [PHONE, "101", &callid, LINK, "73", disposition];
        let said = compare(stage, &callid, &scripts.end, "END", &arguments)?;
        let expected = if disposition == "ANSWERED" { 2 } else { 1 };
        ensure!(said.len() == expected, "{disposition}: {said:?}");
        let last = said.last().context("at least one request")?;
        ensure!(
            field(last, "event") == "COMPLETED" && field(last, "duration") == "73",
            "{disposition}: {last}"
        );
    }
    stage.drained()
}

fn our_scripts_and_the_function_tell_the_same(version: Version) -> Result<()> {
    plan(version).play(|stage| compare_all(stage, &Scripts::ours()))
}

fn the_articles_scripts_and_the_function_tell_the_same(version: Version) -> Result<()> {
    let folder = tempfile::tempdir()?;
    plan(version).play(|stage| {
        if let Some(scripts) = Scripts::of_the_article(&stage.crm, folder.path())? {
            compare_all(stage, &scripts)?;
        }
        Ok(())
    })
}

/// What a number, an extension, a call or a link may hold. Commas and quotes are left to the tests of the arguments.
fn the_encoding_is_that_of_http_build_query(version: Version) -> Result<()> {
    let scripts = Scripts::ours();
    plan(version).play(|stage| {
        for (index, text) in [
            "+7 (910) 123-45-67",
            "a&b=c%d;e",
            "Привет, мир",
            "😀 𝄞",
            "~!@#$^*()_-=|/?<>.'`{}[]",
            "%s%n%x %00",
        ]
        .into_iter()
        .enumerate()
        {
            let callid = format!("call {index} {}", text.replace(['{', '}'], ""));
            compare(
                stage,
                &callid,
                &scripts.incoming,
                "INCOMING",
                &[text, "101", &callid],
            )?;
            let callid = format!("end {index}");
            compare(
                stage,
                &callid,
                &scripts.end,
                "END",
                &[PHONE, text, &callid, text, "0", "BUSY"],
            )?;
        }
        Ok(())
    })
}

/// Such bytes come from old provisioning tools and from SIP headers; only the dialplan can hand them over.
fn bytes_that_are_no_utf8_are_sent_as_they_are(version: Version) -> Result<()> {
    const DIALPLAN: &str = "[broken]\nexten => s,1,Answer()\n same => n,\
                            Set(TOLD=${PLANFIX_EVENT(INCOMING,${URIDECODE(%FF%D0a%C3)},101,broken)})\n";
    plan(version)
        .asterisk(|builder| builder.extensions(DIALPLAN))
        .play(|stage| {
            let phone = OsStr::from_bytes(b"\xff\xd0a\xc3");
            php(
                &stage.crm,
                &Scripts::ours().incoming,
                &[phone, OsStr::new("101"), OsStr::new("broken")],
            )?;
            about(stage, "broken", 1)?;
            stage
                .asterisk
                .cli("channel originate Local/s@broken application Wait 1")?;
            let told = about(stage, "broken", 2)?;
            ensure!(said(&told[0]) == said(&told[1]), "{told:#?}");
            ensure!(
                told[0]["raw"].to_string().contains("phone=%FF%D0a%C3&"),
                "{told:#?}"
            );
            Ok(())
        })
}
