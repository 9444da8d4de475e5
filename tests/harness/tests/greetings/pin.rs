//! Whose phone it is, and the PIN where it is another's.

use std::fs;

use anyhow::{Result, ensure};
use harness::{Tone, Version, files, until};

use crate::desk::{BOUND, Desk, Menu, play};

/// Long, so that it is nowhere by chance.
const PIN: &str = "83061729";
const WRONG: &str = "77777777";
const TONE: Tone = Tone(440);

pub(crate) fn a_strange_phone_needs_the_pin(version: Version) -> Result<()> {
    let limits = "pin_attempts = 2\npin_lock = 3s\nmenu_timeout = 2s";
    play(
        version,
        limits,
        |builder| builder,
        |desk| {
            let mut events = desk.stage.asterisk.ami()?;
            // No PIN, no way in.
            let mut menu = Menu::dial(desk, "102", "*601101")?;
            menu.says("feature-not-avail-line")?;
            menu.hangs_up()?;
            let said = desk.command(&format!("planfix greeting pin 101 {PIN}"))?;
            ensure!(said.contains("101") && !said.contains(PIN), "{said}");
            // The own phone is not asked.
            let mut menu = Menu::dial(desk, "101", "*600")?;
            menu.begins()?;
            menu.hangs_up()?;

            let mut menu = Menu::dial(desk, "102", "*601101")?;
            menu.says("confbridge-pin")?;
            menu.press(&format!("{WRONG}#"))?;
            menu.says("vm-incorrect")?;
            menu.says("confbridge-pin")?;
            menu.press(&format!("{PIN}#"))?;
            menu.begins()?;
            menu.records_listens_and_saves(TONE)?;
            menu.hangs_up()?;
            desk.is_heard("101", TONE)?;

            // Locked, for every phone, and for the right PIN too; but never for his own.
            let mut menu = Menu::dial(desk, "102", "*601101")?;
            for _ in 0..2 {
                menu.says("confbridge-pin")?;
                menu.press(&format!("{WRONG}#"))?;
            }
            menu.says("confbridge-pin-bad")?;
            menu.hangs_up()?;
            let mut menu = Menu::dial(desk, "103", "*601101")?;
            let (said, _) = menu.says_any(&["confbridge-pin", "confbridge-pin-bad"])?;
            if said == "confbridge-pin" {
                menu.press(&format!("{PIN}#"))?;
                menu.says("confbridge-pin-bad")?;
            }
            menu.hangs_up()?;
            let mut own = Menu::dial(desk, "101", "*600")?;
            own.begins()?;
            own.hangs_up()?;
            until("the end of the lock", BOUND, || {
                let mut menu = Menu::dial(desk, "103", "*601101")?;
                let (said, _) = menu.says_any(&["confbridge-pin", "confbridge-pin-bad"])?;
                if said == "confbridge-pin-bad" {
                    menu.hangs_up()?;
                    return Ok(None);
                }
                menu.press(&format!("{PIN}#"))?;
                let (said, _) = menu.says_any(&["vm-message", "confbridge-pin-bad"])?;
                menu.hangs_up()?;
                Ok((said == "vm-message").then_some(()))
            })?;
            desk.empties()?;
            is_nowhere(desk, &mut events)
        },
    )
}

/// Neither in a log nor in an event nor in a file, nor in what an administrator is shown.
fn is_nowhere(desk: &Desk<'_>, events: &mut harness::Ami) -> Result<()> {
    let mut found = Vec::new();
    // What nobody waits for brings everything that has come.
    events.event(std::time::Duration::from_millis(100), |event| {
        let holds = |text: &str| [PIN, WRONG].iter().any(|pin| text.contains(pin));
        if event.headers().iter().any(|(_, value)| holds(value)) {
            found.push(format!("{event:?}"));
        }
        false
    })?;
    for (what, text) in [
        ("the log", desk.stage.asterisk.log()),
        ("the console", desk.stage.asterisk.console()),
        (
            "planfix show greetings",
            desk.command("planfix show greetings 101")?,
        ),
        ("planfix show status", desk.command("planfix show status")?),
    ] {
        let mut lines = text.lines();
        found.extend(
            lines
                .find(|line| line.contains(PIN) || line.contains(WRONG))
                .map(|line| format!("{what}: {line}")),
        );
    }
    let spool = desk.stage.asterisk.spool();
    for name in files(&spool) {
        let bytes = fs::read(spool.join(&name)).unwrap_or_default();
        if String::from_utf8_lossy(&bytes).contains(PIN) {
            found.push(name);
        }
    }
    ensure!(found.is_empty(), "the PIN is in {found:#?}");
    Ok(())
}
