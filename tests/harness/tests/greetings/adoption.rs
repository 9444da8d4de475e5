//! An installation of the article that this replaces.

use std::fs;

use anyhow::{Result, ensure};
use harness::{Sound, Tone, Version, until, wav};

use crate::desk::{BOUND, Desk, Menu, play};

const OLD: Tone = Tone(440);
const SILENCED: Tone = Tone(620);
const NEW: Tone = Tone(1_000);

/// The article's flag of an operator.
fn flag(desk: &Desk<'_>, operator: &str) -> Result<String> {
    let said = desk.command(&format!("database get op_alert {operator}"))?;
    let value = said.lines().find_map(|line| line.strip_prefix("Value: "));
    Ok(value.unwrap_or_default().trim().to_owned())
}

/// The article's file of an operator.
fn file(desk: &Desk<'_>, operator: &str) -> std::path::PathBuf {
    let scratch = desk.stage.asterisk.scratch();
    scratch.join(format!("data/sounds/ru/custom/rec_{operator}.wav"))
}

fn is_flagged(desk: &Desk<'_>, operator: &str, expected: &str) -> Result<()> {
    until(&format!("op_alert/{operator} = {expected}"), BOUND, || {
        Ok((flag(desk, operator)? == expected).then_some(()))
    })
}

fn is(desk: &Desk<'_>, arguments: &str, expected: &str) -> Result<()> {
    let said = desk.greeting(arguments)?;
    ensure!(
        said == expected,
        "OP_GREETING({arguments}) is \"{said}\" and not \"{expected}\""
    );
    Ok(())
}

pub(crate) fn an_installation_of_the_article_is_taken_over_and_kept_in_step(version: Version) -> Result<()> {
    play(
        version,
        "",
        |builder| builder,
        |desk| {
            desk.speak("ru")?;
            // 101: on. 102: on, and nothing there. 103: off. 104: a file and no flag. 999: no operator.
            for (operator, value) in [
                ("101", "true"),
                ("102", "true"),
                ("103", "false"),
                ("999", "true"),
            ] {
                desk.set(&format!("DB(op_alert/{operator})"), value)
                    .or_else(|_| {
                        desk.command(&format!("database put op_alert {operator} {value}"))
                            .map(drop)
                    })?;
                desk.command(&format!("database put op_alert {operator} {value}"))?;
            }
            for (operator, tone) in [("101", OLD), ("103", SILENCED), ("104", SILENCED), ("999", OLD)] {
                fs::write(file(desk, operator), wav(8_000, &tone.samples(8_000, 0, 12_000)))?;
            }
            let before = fs::read(file(desk, "101"))?;
            desk.restart()?;
            desk.speak("ru")?;

            is(desk, "101,kinds", "default")?;
            is(desk, "101,enabled", "1")?;
            is(desk, "101,language", "ru")?;
            is(desk, "102,exists", "0")?;
            is(desk, "103,kinds", "default")?;
            is(desk, "103,enabled", "0")?;
            is(desk, "999,exists", "")?;
            ensure!(
                fs::read(file(desk, "101"))? == before,
                "adopting has changed the article's file"
            );
            ensure!(
                flag(desk, "999")? == "true",
                "the flag of somebody else was changed"
            );
            desk.client_hears("101", OLD)?;
            desk.client_hears_nothing("102", "NONE")?;
            desk.client_hears_nothing("103", "DISABLED")?;

            // From now on the article's dialplan, where it is still used, plays what is recorded here.
            let mut menu = Menu::dial(desk, "101", "*600")?;
            menu.begins()?;
            menu.records_listens_and_saves(NEW)?;
            menu.hangs_up()?;
            let kept = Sound::wav(&fs::read(file(desk, "101"))?)?;
            ensure!(
                !kept.presence(NEW).is_zero() && kept.presence(OLD).is_zero(),
                "the article's file is still the old one"
            );
            desk.change("101", "enabled", "", "no")?;
            is_flagged(desk, "101", "false")?;
            desk.change("103", "enabled", "", "yes")?;
            is_flagged(desk, "103", "true")?;
            desk.manage(&[
                ("Action", "PlanfixGreetingDelete"),
                ("Operator", "103"),
                ("Kind", "default"),
            ])?;
            is_flagged(desk, "103", "false")?;
            ensure!(
                !file(desk, "103").exists(),
                "the article's file outlives the greeting"
            );

            // Deleted is deleted: it does not come back, and neither do the article's own changes.
            fs::write(file(desk, "103"), &before)?;
            desk.stage.asterisk.cli("module reload res_planfix.so")?;
            is(desk, "103,exists", "0")?;
            desk.is_tidy()
        },
    )
}
