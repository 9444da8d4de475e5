//! The samples for FreePBX as they are shipped, in what FreePBX generates: macros on Asterisk 16 (FreePBX 13 to 16),
//! subroutines on 22 (FreePBX 17).
//!
//! Invariant: of a sample nothing is changed but how long a phone rings.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::{
    Asterisk, Behaviour, Caller, Codec, End, Heard, Line, Phase, Phone, Sandbox, Tone, Version, field, flat,
    module_path, on_both, until, wav, workspace_root,
};
use serde_json::{Value, json};

on_both!(
    calls_that_are_followed,
    calls_that_the_dialplan_tells,
    operators_that_greet
);

const ANNA: &str = "79101234567";
const STRANGER: &str = "79160000001";
const PHONES: [&str; 3] = ["101", "102", "103"];
const TALK: Duration = Duration::from_millis(1_200);
const RINGING: Duration = Duration::from_millis(300);
const BOUND: Duration = Duration::from_secs(30);

/// A FreePBX.
struct FreePbx {
    asterisk: Asterisk,
    crm: Sandbox,
    phones: BTreeMap<&'static str, Phone>,
    trunk: Phone,
    /// How much of the CRM's log belongs to earlier calls.
    before: usize,
}

impl FreePbx {
    fn open(version: Version, sample: &str, settings: &str) -> Result<Self> {
        let crm = Sandbox::start(&["--contact", "79101234567=Anna Petrova:103"])?;
        let path = workspace_root().join("configs/samples").join(sample);
        let mut text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        if sample == AUTO {
            ensure!(
                text.contains(",15,${DIAL_OPTIONS})"),
                "the sample does not ring for 15 s any more: this test must change with it"
            );
            text = text.replace(",15,${DIAL_OPTIONS})", ",2,${DIAL_OPTIONS})");
        }
        let builder = PHONES
            .into_iter()
            .fold(Asterisk::builder(version), |builder, number| {
                builder.phone(number)
            })
            .module(module_path(version))
            .documentation(workspace_root().join("documentation/res_planfix-en_US.xml"))
            .load("res_planfix.so")
            .load("func_dialplan.so")
            .extensions(&generated(version, sample))
            .file("extensions_custom.conf", &text);
        let builder = if version == Version::V16 {
            builder.load("app_macro.so")
        } else {
            builder
        };
        let mut asterisk = builder.prepare()?;
        let settings = format!(
            "[planfix]\nurl = {}\ntoken = {}\npbx_token = {}\n\n[calls]\ninternal = _10X\n\n{}",
            crm.url(),
            crm.token(),
            crm.pbx_token(),
            settings.replace("{http}", &asterisk.http().to_string())
        );
        asterisk.configure("planfix.conf", &settings)?;
        let server = asterisk.sip();
        let phones = PHONES
            .into_iter()
            .map(|number| Ok((number, Phone::open(number, asterisk.phone(number), server)?)))
            .collect::<Result<_>>()?;
        let trunk = Phone::open("trunk", asterisk.trunk(), server)?;
        asterisk.start()?;
        for number in PHONES {
            for (family, key, value) in [
                ("AMPUSER", "device", number.to_owned()),
                ("AMPUSER", "recording/in/external", "force".to_owned()),
                ("DEVICE", "user", number.to_owned()),
                ("DEVICE", "dial", format!("PJSIP/{number}")),
            ] {
                asterisk.cli(&format!("database put {family} {number}/{key} {value}"))?;
            }
        }
        until("the module at work", BOUND, || {
            let status = asterisk.cli("planfix show status")?;
            Ok((status.contains("Spool:") && !status.contains("being opened")).then_some(()))
        })?;
        crm.post(
            "/_sandbox/ping",
            &json!({ "pbx_url": format!("http://{}/planfix/api", asterisk.http()) }),
        )?;
        Ok(Self {
            asterisk,
            crm,
            phones,
            trunk,
            before: 0,
        })
    }

    fn phone(&self, number: &str) -> &Phone {
        &self.phones[number]
    }

    /// Lets a call happen, and demands that the CRM is told so of it, each extension's part in its order. Returns the
    /// call's requests.
    fn flow(
        &mut self,
        name: &str,
        client: &str,
        call: impl FnOnce(&Self) -> Result<()>,
        told: &[&str],
    ) -> Result<Vec<Value>> {
        let done = call(self)
            .and_then(|()| self.told(client, told))
            .and_then(|entries| self.tidy().map(|()| entries));
        let entries = done.with_context(|| {
            let log = self.asterisk.log();
            let lines: Vec<&str> = log.lines().filter(|line| !line.contains("] DEBUG[")).collect();
            format!("{name}:\n{}", lines[lines.len().saturating_sub(80)..].join("\n"))
        })?;
        self.before = self.crm.log()?.len();
        Ok(entries)
    }

    fn told(&self, client: &str, told: &[&str]) -> Result<Vec<Value>> {
        let mut last = Vec::new();
        until("what the CRM is told", BOUND, || {
            let entries: Vec<Value> = self.crm.log()?.split_off(self.before);
            let events: Vec<Value> = entries
                .into_iter()
                .filter(|entry| entry["cmd"] == "event" && field(entry, "phone") == client)
                .collect();
            last = events.iter().map(line).collect();
            let (mut sorted, mut wanted) = (last.clone(), told.to_vec());
            sorted.sort();
            wanted.sort_unstable();
            Ok((sorted == wanted).then_some(events))
        })
        .with_context(|| format!("the CRM was told {last:?} and not {told:?}"))
    }

    /// Ends what goes on.
    fn tidy(&self) -> Result<()> {
        let all = || self.phones.values().chain([&self.trunk]);
        all().try_for_each(Phone::hangup_all)?;
        until("an Asterisk without channels", BOUND, || {
            let count = self.asterisk.cli("core show channels count")?;
            Ok(count.contains("0 active channels").then_some(()))
        })?;
        all().try_for_each(Phone::reset)
    }

    fn client_calls(&self, client: &str, number: &str) -> Result<Line> {
        self.trunk.call_as(&Caller::number(client), number)
    }

    /// The client calls, this employee answers, and they talk.
    fn talk(&self, client: &str, number: &str, employee: &str) -> Result<Line> {
        let phone = self.phone(employee);
        phone.will(Behaviour::RingThenAnswer(RINGING));
        let line = self.client_calls(client, number)?;
        let other = phone.expect_call()?;
        line.talk(TALK)?;
        line.hangup()?;
        other.wait_ended()?;
        Ok(other)
    }

    /// Waits for the recording of the call, which FreePBX has named so, and has the CRM fetch it.
    fn recording(&self, events: &[Value], beginning: &str) -> Result<()> {
        let end = events
            .iter()
            .find(|entry| field(entry, "status") == "Success")
            .context("the call has no good end")?;
        ensure!(field(end, "is_recorded") == "1", "it was recorded: {end}");
        let callid = field(end, "callid");
        self.crm.wait_for("a recording", BOUND, |entries| {
            let told =
                |entry: &Value| field(entry, "callid") == callid && !field(entry, "record_link").is_empty();
            entries.iter().any(told)
        })?;
        let days = self.asterisk.spool().join("monitor");
        let files = files_below(&days)?;
        ensure!(
            files
                .iter()
                .any(|name| name.starts_with(beginning) && name.ends_with(".mp3")),
            "no mp3 is named {beginning}…: {files:?}"
        );
        let report = self.crm.get(&format!("/_sandbox/recording?callid={callid}"))?;
        ensure!(report["plays"] == true, "it does not play: {report}");
        Ok(())
    }

    fn is_clean(&self) -> Result<()> {
        let state = self.crm.get("/_sandbox/violations")?;
        ensure!(
            state["total"] == 0 && state["open_popups"] == json!([]),
            "the CRM complains of {state}"
        );
        let log = self.asterisk.log();
        let wrong = log.lines().find(|line| {
            line.contains(" ERROR[")
                || line.contains("No application") && line.contains("for extension")
                || line.contains("Function ") && line.contains("not registered")
        });
        ensure!(wrong.is_none(), "Asterisk complains: {wrong:?}");
        Ok(())
    }
}

const AUTO: &str = "extensions_planfix_freepbx.conf.sample";
const DIALPLAN: &str = "extensions_planfix_freepbx_dialplan.conf.sample";
const GREETINGS: &str = "extensions_planfix_greetings.conf.sample";

/// What FreePBX generates for that version of Asterisk: macros, or subroutines where there are none any more.
fn generated(version: Version, sample: &str) -> String {
    let macros = version == Version::V16;
    let text = include_str!("../freepbx/extensions.conf");
    // What it generates for an extension whose Optional Destinations lead to the sample's Custom Destination.
    let destinations = ["NOANSWER", "BUSY", "CHANUNAVAIL"].map(|status| {
        format!(" same => n,GotoIf($[\"${{DIALSTATUS}}\"=\"{status}\"]?planfix-greeting,s,1)\n")
    });
    let called = "{call exten-vm(novm,${EXTEN})}\n";
    let text = if sample == GREETINGS {
        text.replace(called, &(called.to_owned() + &destinations.concat()))
    } else {
        text.to_owned()
    };
    let text = text.replace("{end}", if macros { "MacroExit()" } else { "Return()" });
    let mut pieces = text.split("{call ");
    let mut whole = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (call, rest) = piece.split_once(")}").unwrap_or((piece, ""));
        let (name, arguments) = call.split_once('(').unwrap_or((call, ""));
        let comma = if arguments.is_empty() { "" } else { "," };
        whole += &if macros {
            format!("Macro({name}{comma}{arguments})")
        } else {
            format!("Gosub(macro-{name},s,1({arguments}))")
        };
        whole += rest;
    }
    whole
}

/// The names of all files below that folder.
fn files_below(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.extend(files_below(&entry.path())?);
        } else {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

/// `in 101 COMPLETED Success`.
fn line(entry: &Value) -> String {
    let words = ["type", "ext", "event", "status"].map(|name| field(entry, name));
    words.join(" ").trim_end().to_owned()
}

fn calls_that_are_followed(version: Version) -> Result<()> {
    let settings = "[general]\nmode = auto\n\n[contact]\nset_name = yes\ntimeout_ms = 5000\n\n\
                    [recordings]\nvariable = CALLFILENAME\nlink = http://{http}/planfix/records\n";
    let mut pbx = FreePbx::open(version, AUTO, settings)?;

    let talked = ["in 103 ACCEPTED", "in 103 COMPLETED Success", "in 103 INCOMING"];
    let mut name = String::new();
    let events = pbx.flow(
        "an inbound route to the Custom Destination",
        ANNA,
        |pbx| {
            name = pbx.talk(ANNA, "74950000700", "103")?.caller_name();
            ensure!(pbx.phone("101").came() == 0, "101 rang too");
            Ok(())
        },
        &talked,
    )?;
    ensure!(name == "Anna Petrova", "the phone showed {name:?}");
    pbx.recording(&events, "exten-103-")?;
    let events = pbx.flow(
        "a trunk with the sample's Context",
        ANNA,
        |pbx| pbx.talk(ANNA, "74950000800", "103").map(drop),
        &talked,
    )?;
    pbx.recording(&events, "exten-103-")?;

    pbx.flow(
        "the responsible employee does not answer",
        ANNA,
        |pbx| {
            pbx.phone("103").will(Behaviour::Ring);
            pbx.talk(ANNA, "74950000700", "101").map(drop)
        },
        &[
            "in 103 INCOMING",
            "in 103 COMPLETED Cancelled",
            "in 101 INCOMING",
            "in 101 ACCEPTED",
            "in 101 COMPLETED Success",
        ],
    )?;
    let usual = ["in 101 INCOMING", "in 101 ACCEPTED", "in 101 COMPLETED Success"];
    pbx.asterisk.cli("database put DND 103 YES")?;
    pbx.flow(
        "the responsible employee does not want to be disturbed",
        ANNA,
        |pbx| pbx.talk(ANNA, "74950000700", "101").map(drop),
        &usual,
    )?;
    pbx.asterisk.cli("database del DND 103")?;
    pbx.flow(
        "somebody whom the CRM does not know",
        STRANGER,
        |pbx| pbx.talk(STRANGER, "74950000700", "101").map(drop),
        &usual,
    )?;
    let events = pbx.flow(
        "a group that nobody answers",
        STRANGER,
        |pbx| {
            pbx.phone("102").will(Behaviour::BUSY);
            pbx.client_calls(STRANGER, "74950000600")?.wait_ended()?;
            Ok(())
        },
        &["in 101 INCOMING", "in 101 COMPLETED Missed"],
    )?;
    ensure!(
        events.iter().all(|entry| field(entry, "is_recorded") != "1"),
        "nobody talked: {events:?}"
    );

    let events = pbx.flow(
        "a click in the CRM",
        ANNA,
        |pbx| {
            pbx.phone("101").will(Behaviour::RingThenAnswer(RINGING));
            pbx.trunk.will(Behaviour::RingThenAnswer(RINGING));
            let click = json!({ "from": "101", "to": ANNA });
            let answer = pbx.crm.post("/_sandbox/click", &click)?;
            ensure!(answer["status"] == 200, "the click was answered with {answer}");
            let employee = pbx.phone("101").expect_call()?;
            let client = pbx.trunk.expect_call_to(ANNA)?;
            client.talk(TALK)?;
            employee.hangup()?;
            client.wait_ended().map(drop)
        },
        &[
            "out 101 OUTGOING",
            "out 101 ACCEPTED",
            "out 101 COMPLETED Success",
        ],
    )?;
    pbx.recording(&events, "out-")?;

    pbx.phone("103").will(Behaviour::RingThenAnswer(RINGING));
    let inside = pbx.phone("101").call("103")?;
    inside.talk(RINGING)?;
    inside.hangup()?;
    pbx.tidy()?;
    let asked = pbx.crm.log()?.split_off(pbx.before);
    let asked: Vec<&Value> = asked.iter().filter(|entry| entry["cmd"] != "ping").collect();
    ensure!(
        asked.iter().all(|entry| entry["cmd"] == "record"),
        "a call among employees was told: {asked:?}"
    );
    pbx.is_clean()
}

fn calls_that_the_dialplan_tells(version: Version) -> Result<()> {
    let settings = "[general]\nmode = dialplan\n\n\
                    [recordings]\nvariable = CALLFILENAME\nlink = http://{http}/planfix/records\n";
    let mut pbx = FreePbx::open(version, DIALPLAN, settings)?;
    let talked = ["in 101 INCOMING", "in 101 ACCEPTED", "in 101 COMPLETED Success"];
    let events = pbx.flow(
        "an extension answers",
        ANNA,
        |pbx| pbx.talk(ANNA, "74950000101", "101").map(drop),
        &talked,
    )?;
    pbx.recording(&events, "exten-101-")?;
    let missed = ["in 102 INCOMING", "in 102 COMPLETED Missed"];
    pbx.flow(
        "an extension is busy",
        ANNA,
        |pbx| {
            pbx.phone("102").will(Behaviour::BUSY);
            pbx.client_calls(ANNA, "74950000102")?.wait_ended()?;
            Ok(())
        },
        &missed,
    )?;
    let events = pbx.flow(
        "one of a group answers",
        ANNA,
        |pbx| pbx.talk(ANNA, "74950000600", "102").map(drop),
        &[
            "in 101 INCOMING",
            "in 102 INCOMING",
            "in 101 COMPLETED Cancelled",
            "in 102 ACCEPTED",
            "in 102 COMPLETED Success",
        ],
    )?;
    pbx.recording(&events, "rg-600-")?;
    let events = pbx.flow(
        "a call out through a trunk",
        ANNA,
        |pbx| {
            pbx.trunk.will(Behaviour::RingThenAnswer(RINGING));
            let line = pbx.phone("103").call(ANNA)?;
            line.talk(TALK)?;
            line.hangup()
        },
        &[
            "out 103 OUTGOING",
            "out 103 ACCEPTED",
            "out 103 COMPLETED Success",
        ],
    )?;
    ensure!(
        events
            .iter()
            .all(|entry| field(entry, "diversion") == "74950000100"),
        "{}",
        flat(&format!("{events:?}"))
    );
    pbx.recording(&events, "out-")?;
    pbx.is_clean()
}

fn operators_that_greet(version: Version) -> Result<()> {
    const LONG: Duration = Duration::from_millis(700);
    let mut pbx = FreePbx::open(version, GREETINGS, "")?;
    pbx.trunk.equip(Codec::Alaw);
    pbx.trunk.listen()?;
    for (kind, tone) in [("noanswer", Tone(440)), ("busy", Tone(620))] {
        let file = pbx.asterisk.scratch().join(format!("{kind}.wav"));
        fs::write(&file, wav(8_000, &tone.samples(8_000, 0, 12_000)))?;
        let said = pbx
            .asterisk
            .cli(&format!("planfix greeting import {} 101 {kind}", file.display()))?;
        ensure!(said.contains("is that file now"), "{said}");
    }
    let missed = ["in 101 INCOMING", "in 101 COMPLETED Missed"];
    for (name, behaviour, tone) in [
        ("101 does not answer", Behaviour::Ring, Some(Tone(440))),
        ("101 is busy", Behaviour::BUSY, Some(Tone(620))),
        ("101 has switched his greetings off", Behaviour::BUSY, None),
    ] {
        if tone.is_none() {
            pbx.asterisk.cli("planfix greeting disable 101")?;
        }
        pbx.flow(
            name,
            ANNA,
            |pbx| {
                pbx.phone("101").will(behaviour);
                let line = pbx.client_calls(ANNA, "74950000101")?;
                if let Some(tone) = tone {
                    line.wait_hears(tone, LONG, Heard::ALL)?;
                    ensure!(line.phase()? == Phase::Ringing, "the call was answered");
                }
                let end = line.wait_ended()?;
                ensure!(matches!(end, End::Refused(_)), "{end:?}");
                let heard = line.heard()?.duration();
                ensure!(tone.is_some() || heard.is_zero(), "{heard:?} were played");
                Ok(())
            },
            &missed,
        )?;
    }
    let line = pbx.phone("101").call("*600")?;
    line.wait_answered()?;
    line.hangup()?;
    pbx.is_clean()
}
