//! OP_GREETING beside channels, and which language it speaks.

use anyhow::{Result, ensure};
use harness::{Heard, Log, Tone, Version, until};

use crate::desk::{BOUND, LONG, play};

const ENGLISH: Tone = Tone(440);
const RUSSIAN: Tone = Tone(620);

/// Everything is written by the dialplan; ARGUMENTS is what stands in the brackets.
const WRITER: &str = "\
exten => write,1,Set(OP_GREETING(${ARGUMENTS})=${VALUE})
 same => n,Set(GLOBAL(WRITTEN)=${NUMBER})
 same => n,Hangup()
exten => read,1,Set(GLOBAL(READ)=${OP_GREETING(${ARGUMENTS})})
 same => n,Set(GLOBAL(WRITTEN)=${NUMBER})
 same => n,Hangup()
";

pub(crate) fn the_function_reads_without_a_channel_and_is_written_by_the_dialplan_alone(
    version: Version,
) -> Result<()> {
    let describe =
        |builder: harness::Builder| builder.extensions(&format!("{}{WRITER}", crate::desk::DIALPLAN));
    play(version, "", describe, |desk| {
        let mut log = Log::from_here(&desk.stage.asterisk)?;
        let is = |arguments: &str, expected: &str| -> Result<()> {
            let said = desk.greeting(arguments)?;
            ensure!(
                said == expected,
                "OP_GREETING({arguments}) is \"{said}\" and not \"{expected}\""
            );
            Ok(())
        };
        // Nothing is there, and that is no error.
        for attribute in [
            "kind", "kinds", "file", "duration", "size", "mtime", "format", "language", "expires", "plays",
        ] {
            is(&format!("101,{attribute}"), "")?;
        }
        for (arguments, expected) in [
            ("101,exists", "0"),
            ("101,exists,busy", "0"),
            ("101,source", "none"),
            ("101,state", "available"),
            ("101,locked", "0"),
        ] {
            is(arguments, expected)?;
        }
        let quiet = desk.stage.asterisk.log();
        ensure!(
            !quiet
                .lines()
                .any(|line| line.contains("OP_GREETING") && line.contains("WARNING")),
            "a greeting that is not there is warned about"
        );
        ensure!(desk.greeting("101,nonsense")?.is_empty());
        log.wait("a warning of an attribute that there is not", |line| {
            (line.contains("WARNING") && line.contains("nonsense")).then_some(())
        })?;

        // The manager interface may not write, whatever it may do else.
        desk.give("101", "default", ENGLISH)?;
        is("101,enabled", "1")?;
        for (attribute, value) in [("enabled", "no"), ("delete", "1"), ("state", "vacation")] {
            // Asterisk answers it with success in some versions.
            let _ = desk.set(&format!("OP_GREETING(101,{attribute})"), value);
        }
        log.wait("that a write is refused", |line| {
            (line.contains("Dangerous function OP_GREETING write blocked")).then_some(())
        })?;
        is("101,enabled", "1")?;
        is("101,exists", "1")?;
        is("101,state", "available")?;

        // The dialplan may.
        let mut number = 0;
        let mut runs = |what: &str, arguments: &str, value: &str| -> Result<()> {
            number += 1;
            let variables = format!(
                "NUMBER={number},VALUE={value},ARGUMENTS={}",
                arguments.replace(',', "\\,")
            );
            desk.manage(&[
                ("Action", "Originate"),
                ("Channel", &format!("Local/{what}@run")),
                ("Context", "run"),
                ("Exten", "s"),
                ("Priority", "1"),
                ("Async", "true"),
                ("Variable", &variables),
            ])?;
            until("a line of the dialplan", BOUND, || {
                Ok((desk.get("WRITTEN")? == number.to_string()).then_some(()))
            })
        };
        runs("write", "101,enabled", "no")?;
        is("101,enabled", "0")?;
        runs("write", "101,enabled", "yes")?;
        runs("write", "101,state", "away")?;
        is("101,state", "away")?;
        runs("write", "101,state", "available")?;
        runs("write", "101,expires,temp", "+2h")?;
        ensure!(!desk.greeting("101,expires,temp")?.is_empty());
        runs("write", "101,expires,temp", "")?;
        is("101,expires,temp", "")?;
        let busy = desk.sound(RUSSIAN, 8_000)?.display().to_string();
        runs("write", "101,file,busy", &busy)?;
        is("101,kinds", "default,busy")?;
        is("101,duration,busy", "1200")?;
        runs("write", "101,file,busy", "/etc/hostname")?;
        is("101,duration,busy", "1200")?;
        runs("write", "101,delete,busy", "1")?;
        is("101,kinds", "default")?;
        runs("read", "101,source", "")?;
        ensure!(desk.get("READ")? == "own", "{}", desk.get("READ")?);

        // The language of the channel, its parent, and the one that there is otherwise.
        runs("write", "101,delete", "1")?;
        desk.give("101", "default", ENGLISH)?;
        runs("write", "101,language", "ru")?;
        is("101,language,default", "ru")?;
        let hears = |language: &str, tone: Tone| -> Result<()> {
            desk.speak(language)?;
            let line = desk.phone("102")?.call("*7101")?;
            line.wait_hears(tone, LONG, Heard::ALL)?;
            line.hangup()
        };
        hears("en", ENGLISH)?;
        desk.give("101", "default", RUSSIAN)?;
        // Imported in the language of the PBX, which is English.
        hears("en", RUSSIAN)?;
        hears("ru", ENGLISH)?;
        hears("ru_RU", ENGLISH)?;
        hears("de", RUSSIAN)?;
        desk.is_tidy()
    })
}
