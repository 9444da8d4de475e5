//! Operators' greetings as an administrator has them: hundreds at once, on the console and over the manager interface; and the
//! sample as it is shipped, in a dialplan of one's own.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::{
    Ami, Behaviour, CLIENT, Caller, Codec, End, Heard, Phase, Phone, Stage, Tone, Version, flat, on_both,
    until, wav, workspace_root,
};

on_both!(
    hundreds_at_once,
    the_manager_interface_lists_and_changes,
    only_who_may_rule_the_system_changes_greetings,
    the_sample_greets_and_lights_the_lamp,
    without_a_crm_there_are_greetings,
);

const BOUND: Duration = Duration::from_secs(30);
/// A tone is heard for certain when it is heard for so long.
const LONG: Duration = Duration::from_millis(700);
const MANY: usize = 500;

/// A sound file of a second and a half.
fn sound(stage: &Stage, tone: Tone) -> Result<PathBuf> {
    let file = stage.asterisk.scratch().join(format!("{}.wav", tone.0));
    fs::write(&file, wav(8_000, &tone.samples(8_000, 0, 12_000)))?;
    Ok(file)
}

fn import(stage: &Stage, operator: &str, kind: &str, tone: Tone) -> Result<()> {
    let file = sound(stage, tone)?;
    let said = stage.asterisk.cli(&format!(
        "planfix greeting import {} {operator} {kind}",
        file.display()
    ))?;
    ensure!(said.contains("is that file now"), "{said}");
    Ok(())
}

fn hundreds_at_once(version: Version) -> Result<()> {
    Stage::plan(version).calls("internal = _XXXX").play(|stage| {
        let asterisk = &stage.asterisk;
        let say = |command: &str| asterisk.cli(command).map(|text| flat(&text));
        let shows = |command: &str, text: &str| -> Result<()> {
            let said = say(command)?;
            ensure!(said.contains(text), "\"{command}\" says {said} and not {text}");
            Ok(())
        };
        shows("planfix show greetings", "There are none.")?;

        // What 'planfix greeting export' writes for one becomes what it would write for hundreds.
        import(stage, "1000", "busy", Tone(440))?;
        let folder = asterisk.scratch().join("exported");
        shows(
            &format!("planfix greeting export {}", folder.display()),
            "What belongs to one operator and the templates are in",
        )?;
        let below = folder.join("operators/-");
        let files: Vec<_> = fs::read_dir(below.join("1000"))
            .context("the folder of one operator")?
            .collect::<Result<_, _>>()?;
        for number in 1001..1000 + MANY {
            let other = below.join(number.to_string());
            fs::create_dir(&other)?;
            for file in &files {
                fs::copy(file.path(), other.join(file.file_name()))?;
            }
        }
        shows(
            &format!("planfix greeting import {}", folder.display()),
            &format!("{MANY} greetings taken over, for {MANY} operators."),
        )?;

        shows(
            "planfix show greetings",
            &format!("… 50 of {MANY} are shown; name some by a pattern."),
        )?;
        shows(
            "planfix greeting disable _1[0-4]XX",
            &format!("{MANY} operators: greetings are off."),
        )?;
        shows(
            "planfix show status",
            &format!("{MANY} switched off, 0 on vacation"),
        )?;
        shows(
            "planfix greeting enable 1000,_14XX",
            "101 operators: greetings are on.",
        )?;
        shows(
            "planfix greeting state _10XX vacation +2d",
            "100 operators: vacation, for 2d",
        )?;
        shows(
            "planfix show status",
            &format!("{} switched off, 100 on vacation", MANY - 101),
        )?;
        shows(
            "planfix greeting state _10XX away +2d",
            "Only a vacation has an end.",
        )?;

        // There and back: whatever belongs to a greeting.
        let whole = asterisk.scratch().join("whole");
        shows(
            &format!("planfix greeting export {}", whole.display()),
            &format!("What belongs to {MANY} operators and the templates are in"),
        )?;
        let before = say("planfix show greetings 1400")?;
        ensure!(before.contains("busy") && before.contains("On: yes"), "{before}");
        shows(
            "planfix greeting delete all",
            &format!("{MANY} operators: deleted."),
        )?;
        shows(
            "planfix greeting delete all",
            "There is nothing to delete of all.",
        )?;
        ensure!(say("planfix show greetings 1400")?.contains("Nothing is recorded."));
        shows(
            &format!("planfix greeting import {}", whole.display()),
            &format!("{MANY} greetings taken over, for {MANY} operators."),
        )?;
        shows("planfix show greetings 1400", "On: yes")?;
        shows("planfix show greetings 1399", "On: no")?;

        // What is neither an operator nor a pattern, and what is no kind, changes nothing.
        let long = "1".repeat(300);
        for (command, sentence) in [
            ("planfix greeting disable ../1000", "'../1000' is not an operator"),
            ("planfix greeting disable _1XXX,99", "'99' is not an operator"),
            ("planfix greeting disable _1X;", "'_1X;' is no dialplan pattern"),
            (
                "planfix greeting disable _2XXX",
                "Of no operator that _2XXX means anything is known",
            ),
            (
                "planfix greeting delete 1000 lunch",
                "'lunch' is not a kind of greeting",
            ),
            (
                "planfix greeting state 1000 asleep",
                "'asleep' is not a state of an operator",
            ),
            (
                "planfix greeting state 1000 vacation yesterday",
                "is not a moment",
            ),
            (
                "planfix greeting import sound.wav 1000",
                "sound.wav is not a whole path",
            ),
            (
                "planfix greeting import /nowhere/sound.wav 1000",
                "/nowhere/sound.wav",
            ),
            ("planfix greeting template delete", "There is no such template."),
            ("planfix greeting pin 1000 12", "PIN"),
            (
                &format!("planfix greeting disable {long}"),
                "is longer than 40 characters",
            ),
            ("planfix greeting disable ñ", "is not an operator"),
        ] {
            shows(command, sentence)?;
            // Asterisk repeats the command.
            let said = say(command)?;
            ensure!(said.len() < 400 + command.len(), "{said}");
        }
        shows("planfix greeting enable", "Usage: planfix greeting enable")?;
        shows("planfix show status", &format!("{MANY} of {MANY} operators"))?;
        Ok(())
    })
}

/// The answer to an action that succeeds.
fn manage(ami: &mut Ami, headers: &[(&str, &str)]) -> Result<String> {
    let reply = ami.action(headers)?;
    ensure!(reply.is_success(), "{headers:?}: {:?}", reply.response);
    Ok(reply.response.get("Message").unwrap_or_default().to_owned())
}

fn the_manager_interface_lists_and_changes(version: Version) -> Result<()> {
    Stage::plan(version).play(|stage| {
        import(stage, "101", "default", Tone(440))?;
        import(stage, "101", "busy", Tone(620))?;
        import(stage, "102", "busy", Tone(620))?;
        let mut ami = stage.asterisk.ami()?;

        let reply = ami.action(&[("Action", "PlanfixShowGreetings"), ("Operator", "_1XX")])?;
        ensure!(
            reply.events.len() == 2 && reply.end.get("ListItems") == Some("2"),
            "{reply:?}"
        );
        let first = &reply.events[0];
        for (header, value) in [
            ("Operator", "101"),
            ("Enabled", "yes"),
            ("State", "available"),
            ("Kind", "default"),
            ("Source", "own"),
            ("Greetings", "default/en,busy/en"),
            ("Seconds", "3"),
            ("Plays", "0"),
            ("Pin", "no"),
            ("Locked", "no"),
            ("Total", "2"),
        ] {
            ensure!(
                first.get(header) == Some(value),
                "{header}: {:?}",
                first.headers()
            );
        }
        let reply = ami.action(&[("Action", "PlanfixShowGreetings"), ("Limit", "1")])?;
        ensure!(
            reply.events.len() == 1 && reply.events[0].get("Total") == Some("2"),
            "{reply:?}"
        );

        let said = manage(
            &mut ami,
            &[
                ("Action", "PlanfixGreetingSet"),
                ("Operator", "101,102"),
                ("Attribute", "enabled"),
                ("Value", "no"),
            ],
        )?;
        ensure!(said == "Done for 2 operators", "{said}");
        for operator in ["101", "102"] {
            let event = ami
                .event(BOUND, |event| {
                    event.is_event("PlanfixGreeting") && event.get("Change") == Some("disabled")
                })?
                .context("no event came")?;
            for (header, value) in [
                ("Operator", operator),
                ("Kind", ""),
                ("By", "AMI"),
                ("Enabled", "no"),
                ("State", "available"),
                ("Lamp", "NOT_INUSE"),
            ] {
                ensure!(
                    event.get(header) == Some(value),
                    "{header}: {:?}",
                    event.headers()
                );
            }
        }
        let said = manage(
            &mut ami,
            &[
                ("Action", "PlanfixGreetingDelete"),
                ("Operator", "_1XX"),
                ("Kind", "default"),
            ],
        )?;
        ensure!(said == "Done for one operator", "{said}");
        let event = ami.event(BOUND, |event| event.is_event("PlanfixGreeting"))?;
        let event = event.context("no event came")?;
        ensure!(
            event.get("Change") == Some("deleted") && event.get("Kind") == Some("default"),
            "{:?}",
            event.headers()
        );

        for (headers, sentence) in [
            (
                &[
                    ("Action", "PlanfixGreetingSet"),
                    ("Attribute", "enabled"),
                    ("Value", "no"),
                ][..],
                "Operator is missing",
            ),
            (
                &[("Action", "PlanfixGreetingSet"), ("Operator", "101")],
                "Attribute is missing",
            ),
            (
                &[
                    ("Action", "PlanfixGreetingSet"),
                    ("Operator", "101"),
                    ("Attribute", "pin"),
                    ("Value", "1"),
                ],
                "'pin' is not an attribute",
            ),
            (
                &[
                    ("Action", "PlanfixGreetingSet"),
                    ("Operator", "101"),
                    ("Attribute", "plays"),
                    ("Value", "1"),
                ],
                "can be read and not written",
            ),
            (
                &[
                    ("Action", "PlanfixGreetingSet"),
                    ("Operator", "101"),
                    ("Attribute", "enabled"),
                ],
                "is neither yes nor no",
            ),
            (
                &[
                    ("Action", "PlanfixGreetingSet"),
                    ("Operator", "101"),
                    ("Attribute", "file"),
                    ("Value", "/etc/passwd"),
                ],
                "101: ",
            ),
            (
                &[("Action", "PlanfixGreetingDelete"), ("Operator", "101/..")],
                "is not an operator",
            ),
            (
                &[("Action", "PlanfixShowGreetings"), ("Limit", "0")],
                "Limit must be",
            ),
        ] {
            let reply = ami.action(headers)?;
            let said = reply.response.get("Message").unwrap_or_default();
            ensure!(
                !reply.is_success() && said.contains(sentence),
                "{headers:?}: {:?}",
                reply.response
            );
        }
        Ok(())
    })
}

/// The client calls, nobody answers, and he hears that tone without being answered.
/// A panel that may make calls and look at things.
const PANEL: &str = "[panel]\nsecret = panel\nread = call,user\nwrite = call,user,reporting\n";

fn only_who_may_rule_the_system_changes_greetings(version: Version) -> Result<()> {
    Stage::plan(version).play(|stage| {
        import(stage, "101", "default", Tone(440))?;
        let file = stage.asterisk.etc().join("manager.conf");
        let users = fs::read_to_string(&file)?;
        stage
            .asterisk
            .configure("manager.conf", &format!("{users}\n{PANEL}"))?;
        stage.asterisk.cli("manager reload")?;
        let mut panel = Ami::connect_as(stage.asterisk.ami_address(), "panel", "panel")?;
        let reply = panel.action(&[("Action", "PlanfixShowGreetings"), ("Operator", "_1XX")])?;
        ensure!(reply.is_success(), "{:?}", reply.response);
        for headers in [
            &[("Action", "PlanfixGreetingDelete"), ("Operator", "all")][..],
            &[
                ("Action", "PlanfixGreetingSet"),
                ("Operator", "101"),
                ("Attribute", "enabled"),
                ("Value", "no"),
            ],
        ] {
            let reply = panel.action(headers)?;
            let said = reply.response.get("Message").unwrap_or_default();
            ensure!(
                !reply.is_success() && said.contains("Permission denied"),
                "{:?}",
                reply.response
            );
        }
        let mut ami = stage.asterisk.ami()?;
        let read = ami.getvar(None, "OP_GREETING(101,plays)")?;
        ensure!(!read.is_empty(), "the greeting is gone");
        Ok(())
    })
}

fn hears(trunk: &Phone, number: &str, tone: Tone) -> Result<()> {
    let line = trunk.call_as(&Caller::number(CLIENT), number)?;
    line.wait_hears(tone, LONG, Heard::ALL)?;
    ensure!(
        line.phase()? == Phase::Ringing,
        "the call was answered: {:?}",
        line.phase()?
    );
    ensure!(
        matches!(line.wait_ended()?, End::Refused(_)),
        "the call was answered"
    );
    Ok(())
}

fn the_sample_greets_and_lights_the_lamp(version: Version) -> Result<()> {
    let path = workspace_root().join("configs/samples/extensions_planfix_greetings.conf.sample");
    let sample = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    ensure!(
        sample.contains("Dial(PJSIP/${EXTEN},20)"),
        "the sample does not ring for 20 s any more: this test must change with it"
    );
    let sample = sample.replace("Dial(PJSIP/${EXTEN},20)", "Dial(PJSIP/${EXTEN},1)");
    let dialplan = format!(
        "[from-internal]\ninclude => planfix-greetings\n\n[from-trunk]\n\
         exten => _74950000XXX,1,Goto(planfix-operators,${{EXTEN:-3}},1)\n\n{sample}"
    );
    let mut stage = Stage::plan(version)
        .asterisk(|builder| {
            let builder = builder.phone("101").phone("205").load("func_extstate.so");
            builder.extensions(&dialplan)
        })
        .prepare()?;
    let asterisk = &stage.asterisk;
    let phone = Phone::open("101", asterisk.phone("101"), asterisk.sip())?;
    let other = Phone::open("205", asterisk.phone("205"), asterisk.sip())?;
    let trunk = Phone::open(CLIENT, asterisk.trunk(), asterisk.sip())?;
    trunk.equip(Codec::Alaw);
    trunk.listen()?;
    stage.asterisk.start()?;
    stage.at_work()?;
    stage.play(|stage| {
        import(stage, "101", "default", Tone(440))?;
        import(stage, "101", "busy", Tone(620))?;
        hears(&trunk, "74950000101", Tone(440))?;
        phone.will(Behaviour::BUSY);
        hears(&trunk, "74950000101", Tone(620))?;
        // The service codes: his own, that of another for whom he would need a PIN, and for whom they are not meant.
        let line = phone.call("*600")?;
        line.wait_answered()?;
        line.hangup()?;
        let line = phone.call("*6102")?;
        line.wait_answered()?;
        line.wait_hung_up()?;
        let end = other.call("*600")?.wait_ended()?;
        ensure!(matches!(end, End::Refused(_)), "205 came to the menu: {end:?}");

        // A lamp is a subscription to the hint, which Asterisk makes of the pattern when it is asked for.
        let mut ami = stage.asterisk.ami()?;
        let lamp = |ami: &mut Ami| ami.getvar(None, "EXTENSION_STATE(*6101@planfix-greetings)");
        ensure!(lamp(&mut ami)? == "INUSE", "{}", lamp(&mut ami)?);
        stage.asterisk.cli("planfix greeting disable 101")?;
        until("the lamp to go out", BOUND, || {
            Ok((lamp(&mut ami)? == "NOT_INUSE").then_some(()))
        })?;
        Ok(())
    })
}

fn without_a_crm_there_are_greetings(version: Version) -> Result<()> {
    Stage::plan(version).play(|stage| {
        let settings = stage
            .settings()
            .replace("[general]\n", "[general]\nenabled = no\n");
        let said = stage.reload_with(&settings)?;
        ensure!(stage.row("Mode")?.contains("enabled = no"), "{said}");
        import(stage, "101", "default", Tone(440))?;
        let mut ami = stage.asterisk.ami()?;
        let read = |ami: &mut Ami| ami.getvar(None, "OP_GREETING(101,kind)");
        ensure!(read(&mut ami)? == "default");
        // A file with a fault is not taken over, and greetings stay.
        stage.reload_with("[greetings]\nmax = never\n")?;
        ensure!(read(&mut ami)? == "default");
        // A folder that cannot be used concerns nothing but greetings, and is told.
        let file = stage.asterisk.scratch().join("file");
        fs::write(&file, "")?;
        stage.reload_with(&format!(
            "{settings}\n[greetings]\nfolder = {}\n",
            file.join("below").display()
        ))?;
        ensure!(read(&mut ami)? == "default");
        ensure!(
            stage.row("Greetings")?.contains("planfix.conf is not followed"),
            "{}",
            stage.status()?
        );
        let check = stage.asterisk.cli("planfix check")?;
        ensure!(check.contains("FAIL  Greetings"), "{check}");
        stage.reload_with(&settings)?;
        ensure!(
            !stage.row("Greetings")?.contains("not followed"),
            "{}",
            stage.status()?
        );
        stage.asterisk.cli("module unload res_planfix.so")?;
        stage.asterisk.cli("module load res_planfix.so")?;
        ensure!(
            read(&mut ami)? == "default",
            "the greeting is gone after an unload"
        );
        Ok(())
    })
}
