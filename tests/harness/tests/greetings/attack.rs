//! Names that are no operators, by every way in.

use std::fs;

use anyhow::{Context, Result, ensure};
use harness::{Tone, Version, files, until};

use crate::desk::{BOUND, DIALPLAN, Desk, play};

/// NAME is the operator, COUNT tells one run from another.
const RUNS: &str = "\
exten => play,1,Set(GLOBAL(SAID)=)
 same => n,Set(GLOBAL(READ)=${OP_GREETING(${NAME},file)}${OP_GREETING(${NAME},exists)})
 same => n,OpGreeting(${NAME})
 same => n,Set(GLOBAL(SAID)=${OPGREETINGSTATUS})
 same => n,Hangup()
exten => write,1,Set(OP_GREETING(${NAME},enabled)=no)
 same => n,Hangup()
exten => import,1,Set(OP_GREETING(${NAME},file)=${FILE})
 same => n,Hangup()
exten => delete,1,Set(OP_GREETING(${NAME},delete)=1)
 same => n,Hangup()
exten => menu,1,OpGreetingMenu(${NAME})
 same => n,Hangup()
exten => system,1,System(true)
 same => n,Hangup()
exten => h,1,Set(GLOBAL(RUN)=${COUNT})
";

/// `{owned}` is the path of a file that must never be.
const NAMES: [&str; 21] = [
    "",
    " ",
    ".",
    "..",
    "../101",
    "../../owned",
    "101/../102",
    "/etc/passwd",
    "101;touch {owned}",
    "101|touch {owned}",
    "$(touch {owned})",
    "`touch {owned}`",
    "${SHELL(touch {owned})}",
    "${GLOBAL(LANG)}",
    "$[1+100]",
    "101 102",
    "101@../x",
    "101@",
    "101@a@b",
    "сто один",
    "999",
];

pub(crate) fn names_of_an_attacker_touch_nothing(version: Version) -> Result<()> {
    let describe = |builder: harness::Builder| builder.extensions(&format!("{DIALPLAN}{RUNS}"));
    play(version, "", describe, |desk| {
        desk.give("101", "default", Tone(440))?;
        let file = desk.sound(Tone(620), 8_000)?.display().to_string();
        desk.set("FILE", &file)?;
        desk.set("SAID", "")?;
        let owned = desk.stage.asterisk.scratch().join("owned");
        let mut run = Runner { desk, count: 0 };
        // Once as it should be, so that everything that is made on the way is there.
        run.run("play", "101")?;
        ensure!(desk.get("SAID")? == "PLAYED", "{}", desk.get("SAID")?);
        let before = (tree(desk)?, children(desk)?);

        let mut names: Vec<String> = NAMES
            .iter()
            .map(|name| name.replace("{owned}", &owned.display().to_string()))
            .collect();
        names.push("1".repeat(300));
        names.push(format!("101@{}", "x".repeat(300)));
        for name in &names {
            attack(&mut run, name, &file).with_context(|| format!("the name \"{name}\""))?;
        }

        desk.empties()?;
        ensure!(!owned.exists(), "a command of the attacker's was run");
        let after = (tree(desk)?, children(desk)?);
        ensure!(before.0 == after.0, "{:#?}", difference(&before.0, &after.0));
        ensure!(before.1 == after.1, "a process was started");
        ensure!(desk.greeting("101,exists")? == "1" && desk.greeting("101,enabled")? == "1");
        // That a process would have been seen.
        run.run("system", "")?;
        until("the trace of a process", BOUND, || {
            Ok((children(desk)? != after.1).then_some(()))
        })
    })
}

struct Runner<'a, 'b> {
    desk: &'a Desk<'b>,
    count: u32,
}

impl Runner<'_, '_> {
    /// Runs that extension for this name, until its end.
    fn run(&mut self, what: &str, name: &str) -> Result<()> {
        self.count += 1;
        let count = self.count.to_string();
        self.desk.set("NAME", name)?;
        self.desk.set("COUNT", &count)?;
        self.desk.manage(&[
            ("Action", "Originate"),
            ("Channel", &format!("Local/{what}@run")),
            ("Context", "run"),
            ("Exten", "s"),
            ("Priority", "1"),
            ("Async", "true"),
        ])?;
        self.desk.until_is("RUN", &count)
    }
}

fn attack(run: &mut Runner<'_, '_>, name: &str, file: &str) -> Result<()> {
    let desk = run.desk;
    // The function, on no channel and on one; both applications.
    for attribute in ["file", "exists", "enabled", "state", "size"] {
        let said = desk
            .get(&format!("OP_GREETING({name},{attribute})"))
            .unwrap_or_default();
        ensure!(said.is_empty(), "OP_GREETING(…,{attribute}) says \"{said}\"");
    }
    run.run("play", name)?;
    // Without a name it is that of whoever was called, and here that is nobody.
    let said = desk.get("SAID")?;
    let refused = said == "FAILED" || said == "NONE" && name.trim().is_empty();
    ensure!(refused, "OpGreeting says \"{said}\"");
    ensure!(desk.get("READ")?.is_empty(), "{}", desk.get("READ")?);
    for what in ["write", "import", "delete", "menu"] {
        run.run(what, name).with_context(|| what.to_owned())?;
    }
    // The manager interface.
    for (attribute, value) in [("enabled", "no"), ("state", "away"), ("file", file)] {
        desk.refused(&[
            ("Action", "PlanfixGreetingSet"),
            ("Operator", name),
            ("Attribute", attribute),
            ("Kind", "default"),
            ("Value", value),
        ])?;
    }
    desk.refused(&[
        ("Action", "PlanfixGreetingDelete"),
        ("Operator", name),
        ("Kind", ""),
    ])?;
    // The console, which takes patterns where it can: none of these is one that means 101.
    let quoted = format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""));
    for command in [
        format!("planfix greeting delete {quoted}"),
        format!("planfix greeting disable {quoted}"),
        format!("planfix greeting state {quoted} vacation"),
        format!("planfix greeting import {file} {quoted}"),
        format!("planfix greeting pin {quoted} 8306172945"),
        format!("planfix show greetings {quoted}"),
    ] {
        desk.command(&command)?;
    }
    Ok(())
}

/// Everything in the scratch folder that is neither a log nor Asterisk's own, and what is in it.
fn tree(desk: &Desk<'_>) -> Result<Vec<(String, u64)>> {
    let root = desk.stage.asterisk.scratch();
    let mut tree = Vec::new();
    for name in files(root) {
        let own = [
            "log/",
            "run/",
            "db/",
            "modules/",
            "spool/planfix/spool",
            "spool/planfix/call",
        ]
        .iter()
        .any(|beginning| name.starts_with(beginning));
        if !own {
            let size = fs::symlink_metadata(root.join(&name))?.len();
            tree.push((name, size));
        }
    }
    Ok(tree)
}

fn difference(before: &[(String, u64)], after: &[(String, u64)]) -> Vec<String> {
    let gone = before.iter().filter(|entry| !after.contains(entry));
    let new = after.iter().filter(|entry| !before.contains(entry));
    gone.map(|(name, size)| format!("- {name} ({size})"))
        .chain(new.map(|(name, size)| format!("+ {name} ({size})")))
        .collect()
}

/// What the kernel has counted of Asterisk's children that have ended: it grows with every one of them (proc(5), cminflt).
fn children(desk: &Desk<'_>) -> Result<String> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", desk.stage.asterisk.pid()?))?;
    let (_, fields) = stat.rsplit_once(") ").context("the kernel has another format")?;
    Ok(fields.split(' ').nth(8).unwrap_or_default().to_owned())
}
