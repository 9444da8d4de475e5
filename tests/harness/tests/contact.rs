//! PLANFIX_CONTACT on a real Asterisk: who is rung first, what a dead CRM costs a call, which name the phones show, and who
//! has missed a call.

use std::env;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::{
    Ami, Builder, Caller, Phone, Stage, Version, field, is_taken_in, on_both, until, workspace_root,
};
use serde_json::{Value, json};

on_both! {
    the_responsible_employee_is_rung_first,
    a_dead_crm_costs_a_call_next_to_nothing,
    channelvars_tell_what_is_known_and_make_nobody_wait,
    phones_show_the_name_and_the_responsible_employee_has_missed_the_call,
}

/// Long for a loaded machine.
const BOUND: Duration = Duration::from_secs(30);
const PHONES: [&str; 3] = ["101", "102", "103"];
const CLIENT: &str = "79101234567";
const STRANGER: &str = "79160000000";
/// Whom the CRM knows, with a name that means something to a dialplan that is careless.
const KNOWN: &str = "79101234567=ООО \"Ромашка, ${EXTEN}\":103";
const NAME: &str = "ООО \"Ромашка, ${EXTEN}\"";

/// The phones of a stage and the provider's switch.
struct Phones {
    phones: Vec<Phone>,
    trunk: Phone,
}

impl Phones {
    fn plug_in(stage: &Stage) -> Result<Self> {
        let server = stage.asterisk.sip();
        let open = |number: &str| Phone::open(number, stage.asterisk.phone(number), server);
        Ok(Self {
            phones: PHONES.into_iter().map(open).collect::<Result<_>>()?,
            trunk: Phone::open("trunk", stage.asterisk.trunk(), server)?,
        })
    }

    fn of(&self, number: &str) -> &Phone {
        let at = PHONES.iter().position(|known| *known == number);
        &self.phones[at.expect("it is plugged in")]
    }

    fn came(&self) -> Vec<usize> {
        self.phones.iter().map(Phone::came).collect()
    }
}

/// The events of this client's calls, as `103 INCOMING`, `103 COMPLETED Missed`.
fn told(log: &[Value], phone: &str) -> Vec<String> {
    let events = log
        .iter()
        .filter(|entry| field(entry, "cmd") == "event" && field(entry, "phone") == phone)
        .filter(|entry| is_taken_in(entry));
    events
        .map(|entry| {
            let words = [field(entry, "ext"), field(entry, "event"), field(entry, "status")];
            words.join(" ").trim_end().to_owned()
        })
        .collect()
}

/// Waits until the CRM was told exactly this of the client's calls.
fn hears(stage: &Stage, phone: &str, expected: &[&str]) -> Result<()> {
    stage
        .crm
        .wait_for(&format!("{expected:?}"), BOUND, |log| {
            told(log, phone) == expected
        })
        .map(drop)
}

/// How often the CRM was asked for this number.
fn asked(stage: &Stage, phone: &str) -> Result<usize> {
    let log = stage.crm.log()?;
    let contact = |entry: &&Value| field(entry, "cmd") == "contact" && field(entry, "phone") == phone;
    Ok(log.iter().filter(contact).count())
}

fn with_phones(builder: Builder) -> Builder {
    PHONES.into_iter().fold(builder, Builder::phone)
}

// ---- the sample -------------------------------------------------------------------------------------------------------

/// The sample as it is shipped, only that phones ring shorter.
fn the_responsible_employee_is_rung_first(version: Version) -> Result<()> {
    const DID: &str = "74951234503";
    let path = workspace_root().join("configs/samples/extensions_planfix.conf.sample");
    let mut text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    ensure!(
        text.contains("Dial(PJSIP/${FIRST},15)"),
        "the sample does not ring for 15 s any more: this test must change with it"
    );
    text = text.replace("Dial(PJSIP/${FIRST},15)", "Dial(PJSIP/${FIRST},2)");
    text.push_str("\n[from-trunk]\ninclude => from-provider\n\n[from-internal]\ninclude => from-phones\n");
    let plan = Stage::plan(version)
        .crm("--contact")
        .crm(KNOWN)
        .section("contact", "timeout_ms = 5000")
        .asterisk(|builder| with_phones(builder).extensions(&text));
    plan.play(|stage| {
        let phones = Phones::plug_in(stage)?;
        let client = |number: &str| phones.trunk.call_as(&Caller::number(number), DID);

        // As long as nobody uses the function, nobody is asked for.
        stage.queue("INCOMING,79161111111,101,first")?;
        stage.queue("COMPLETED,79161111111,101,first,,0,Missed")?;
        stage.drained()?;
        ensure!(asked(stage, "79161111111")? == 0, "{:?}", stage.crm.log()?);
        let shown = stage.asterisk.cli("core show function PLANFIX_CONTACT")?;
        for word in ["PLANFIX_CONTACT_STATUS", "responsible", "STALE"] {
            ensure!(shown.contains(word), "{word} is missing: {shown}");
        }

        // He does not answer, and the usual way follows.
        let line = client(CLIENT)?;
        let first = phones.of("103").expect_call()?;
        ensure!(
            !first.caller_name().contains("ООО"),
            "nobody asked for the name on the phone"
        );
        first.wait_cancelled()?;
        let phone = phones.of("101").expect_call()?;
        phone.answer()?;
        line.wait_answered()?;
        line.hangup()?;
        phone.wait_hung_up()?;
        hears(
            stage,
            CLIENT,
            &[
                "103 INCOMING",
                "103 COMPLETED Cancelled",
                "101 INCOMING",
                "101 ACCEPTED",
                "101 COMPLETED Success",
            ],
        )?;
        ensure!(phones.came() == [1, 0, 1], "{:?}", phones.came());
        ensure!(asked(stage, CLIENT)? == 1, "the CRM was asked once");

        // He answers.
        stage.crm.post("/_sandbox/reset", &Value::Null)?;
        let before = stage.crm.log()?.len();
        let line = client(CLIENT)?;
        let phone = phones.of("103").expect_call()?;
        phone.answer()?;
        line.wait_answered()?;
        phone.hangup()?;
        line.wait_hung_up()?;
        let expected = ["103 INCOMING", "103 ACCEPTED", "103 COMPLETED Success"];
        stage
            .crm
            .wait_for("his talk", BOUND, |log| told(&log[before..], CLIENT) == expected)?;
        ensure!(asked(stage, CLIENT)? == 1, "its answer was kept");

        // Whom the CRM does not know, and an employee who calls by the outside line, go the usual way at once.
        for caller in [STRANGER, "102"] {
            let line = client(caller)?;
            let _ringing = phones.of("101").expect_call()?;
            line.hangup()?;
            line.wait_ended()?;
        }
        ensure!(
            asked(stage, STRANGER)? == 1 && asked(stage, "102")? == 0,
            "{:?}",
            stage.crm.log()?
        );
        ensure!(phones.came() == [3, 0, 2], "{:?}", phones.came());

        // And now they are asked for as soon as they call.
        stage.queue("INCOMING,+7 916 222-22-22,101,second")?;
        stage.queue("COMPLETED,+7 916 222-22-22,101,second,,0,Missed")?;
        until("a question before anybody asks", BOUND, || {
            Ok((asked(stage, "79162222222")? == 1).then_some(()))
        })
    })
}

// ---- time -------------------------------------------------------------------------------------------------------------

/// `ask` notes what one question gave and how many milliseconds it took; `lots` asks a thousand times.
const QUESTIONS: &str = "[contact]
exten => _ask-.,1,Set(from=${STRFTIME(,,%s%3q)})
 same => n,Set(name=${PLANFIX_CONTACT(${EXTEN:4},name)})
 same => n,Set(GLOBAL(GOT-${EXTEN:4})=${PLANFIX_CONTACT_STATUS})
 same => n,Set(GLOBAL(TOOK-${EXTEN:4})=$[${STRFTIME(,,%s%3q)} - ${from}])
exten => _lots-.,1,Set(from=${STRFTIME(,,%s%3q)})
 same => n,Set(count=0)
 same => n(next),Set(count=$[${count} + 1])
 same => n,Set(name=${PLANFIX_CONTACT(7917${EXTEN:5}${count},name)})
 same => n,GotoIf($[${count} < 1000]?next)
 same => n,Set(GLOBAL(GOT-${EXTEN:5})=${PLANFIX_CONTACT_STATUS})
 same => n,Set(GLOBAL(LOTS-${EXTEN:5})=$[${STRFTIME(,,%s%3q)} - ${from}])
exten => _crowd-X.,1,Set(GLOBAL(CROWD-${EXTEN:6})=${PLANFIX_CONTACT(8 (910) 123-45-67,responsible)} ${PLANFIX_CONTACT_STATUS})
";

/// Lets a channel run through this extension, and waits until it has left this in a global variable.
fn result(stage: &Stage, ami: &mut Ami, extension: &str, variable: &str) -> Result<String> {
    stage.asterisk.cli(&format!(
        "channel originate Local/{extension}@contact/n application Wait 1"
    ))?;
    until(variable, BOUND, || {
        Ok(Some(ami.getvar(None, variable)?).filter(|value| !value.is_empty()))
    })
}

fn a_dead_crm_costs_a_call_next_to_nothing(version: Version) -> Result<()> {
    let plan = Stage::plan(version)
        .crm("--contact")
        .crm(KNOWN)
        .section("contact", "timeout_ms = 200")
        .asterisk(|builder| builder.extensions(QUESTIONS));
    plan.play(|stage| {
        let mut ami = stage.asterisk.ami()?;
        // With nothing but the name of the function: what AMI and the console see, and what wrong arguments give.
        let settings = stage.settings().to_owned();
        stage.reload_with(&settings.replace("timeout_ms = 200", "timeout_ms = 10000"))?;
        for (argument, value) in [
            (format!("{CLIENT},name"), NAME),
            ("+7 910 123-45-67,responsible".to_owned(), "103"),
            (format!("{STRANGER},name"), ""),
            ("101,name".to_owned(), ""),
        ] {
            let told = ami.getvar(None, &format!("PLANFIX_CONTACT({argument})"))?;
            ensure!(told == value, "{argument}: {told:?}");
        }
        for (argument, sentence) in [
            (
                "79101234567",
                "argument 2 (what) is missing: expected name or responsible",
            ),
            (
                "79101234567,fax",
                "argument 2 (what) 'fax' is unknown: expected name or responsible",
            ),
            (
                ",name",
                "argument 1 (phone) is empty, and there is no channel to take it from",
            ),
            ("1,name,2", "3 arguments were given"),
        ] {
            ami.getvar(None, &format!("PLANFIX_CONTACT({argument})")).ok();
            until(sentence, BOUND, || {
                Ok(stage.asterisk.log().contains(sentence).then_some(()))
            })?;
        }
        let shown = stage.asterisk.cli("planfix show contact 8(910)1234567")?;
        for word in [CLIENT, NAME, "103", "HIT"] {
            ensure!(shown.contains(word), "{word} is missing: {shown}");
        }
        let shown = stage.asterisk.cli("planfix show contact 101")?;
        ensure!(shown.contains("is not asked"), "{shown}");
        let reply = ami.action(&[("Action", "PlanfixShowContact"), ("Phone", CLIENT)])?;
        let got = |name: &str| reply.response.get(name).unwrap_or_default();
        ensure!(
            [got("Phone"), got("Name"), got("Responsible"), got("Status")] == [CLIENT, NAME, "103", "HIT"],
            "{:?}",
            reply.response.headers()
        );
        ensure!(
            asked(stage, CLIENT)? == 1 && asked(stage, STRANGER)? == 1,
            "{:?}",
            stage.crm.log()?
        );

        fifty_ask_at_once(stage, &mut ami)?;

        // The first callers lose what they may lose, and then nobody waits any more. Exact figures are the benchmark's.
        stage.crm.fault("black-hole")?;
        stage.reload_with(&settings)?;
        for number in 0..3 {
            let number = format!("7918000000{number}");
            let took: u64 = result(
                stage,
                &mut ami,
                &format!("ask-{number}"),
                &format!("TOOK-{number}"),
            )?
            .parse()?;
            let status = ami.getvar(None, &format!("GOT-{number}"))?;
            ensure!(status == "TIMEOUT", "{number}: {status}");
            ensure!((190..20_000).contains(&took), "{number} took {took} ms");
        }
        let took: u64 = result(stage, &mut ami, "lots-1", "LOTS-1")?.parse()?;
        ensure!(ami.getvar(None, "GOT-1")? == "ERROR", "the breaker is open");
        ensure!(took < 20_000, "a thousand questions took {took} ms");
        let row = stage.row("Contacts")?;
        ensure!(row.contains("Planfix is not asked"), "{row}");
        // What is known serves all the same.
        ensure!(
            ami.getvar(None, &format!("PLANFIX_CONTACT({CLIENT},responsible)"))? == "102",
            "it is known"
        );

        // An unload calls off whoever waits.
        stage.reload_with(&settings.replace("timeout_ms = 200", "timeout_ms = 10000"))?;
        stage
            .asterisk
            .cli("channel originate Local/ask-79169999999@contact/n application Wait 1")?;
        until("a question", BOUND, || {
            Ok(stage.row("Contacts")?.contains("1 under way").then_some(()))
        })?;
        let begun = Instant::now();
        stage.asterisk.cli("module unload res_planfix.so")?;
        ensure!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
        stage.crm.clear_faults()?;
        stage.asterisk.cli("module load res_planfix.so")?;
        stage.at_work()
    })
}

/// `known` asks for its caller; `strange` does not, and notes how many milliseconds ten steps took.
const SNAPSHOTS: &str = "[contact]
exten => known,1,Set(CALLERID(num)=79101234567)
 same => n,Set(name=${PLANFIX_CONTACT(,name)})
 same => n,Set(name=${PLANFIX_CONTACT(,name)})
 same => n,Wait(0.2)
exten => strange,1,Set(from=${STRFTIME(,,%s%3q)})
 same => n,Set(CALLERID(num)=79160000000)
 same => n,Set(step=0)
 same => n(next),Set(step=$[${step} + 1])
 same => n,GotoIf($[${step} < 10]?next)
 same => n,Set(GLOBAL(TOOK)=$[${STRFTIME(,,%s%3q)} - ${from}])
";

/// `channelvars` reads a function at every snapshot of every channel, with the channel locked; a variable that is set makes a
/// snapshot.
fn channelvars_tell_what_is_known_and_make_nobody_wait(version: Version) -> Result<()> {
    const VARIABLES: &str = "channelvars = PLANFIX_CONTACT(,name),CALL_DURATION()";
    let mut stage = Stage::plan(version)
        .crm("--contact")
        .crm(KNOWN)
        .section("contact", "timeout_ms = 10000")
        .asterisk(|builder| builder.extensions(SNAPSHOTS))
        .prepare()?;
    let file = stage.asterisk.scratch().join("etc/manager.conf");
    let manager = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let manager = manager.replacen("[general]\n", &format!("[general]\n{VARIABLES}\n"), 1);
    ensure!(manager.contains(VARIABLES), "{manager}");
    stage.asterisk.configure("manager.conf", &manager)?;
    stage.asterisk.start()?;
    stage.play(|stage| {
        stage.at_work()?;
        let mut ami = stage.asterisk.ami()?;
        // Asterisk puts a stroke before quotes there.
        let told = r#"PLANFIX_CONTACT(,name)=ООО \"Ромашка, ${EXTEN}\""#;
        for _ in 0..5 {
            // Waiting for the last channel's end, below, has switched them off.
            ami.action(&[("Action", "Events"), ("EventMask", "on")])?;
            stage
                .asterisk
                .cli("channel originate Local/known@contact/n application Wait 1")?;
            let event = ami.event(BOUND, |event| {
                let variables: Vec<&str> = event.get_all("ChanVariable").collect();
                variables.contains(&told)
                    && variables
                        .iter()
                        .any(|variable| variable.starts_with("CALL_DURATION()="))
            })?;
            ensure!(event.is_some(), "no event has {told}");
            ami.without_channels(BOUND)?;
        }
        stage.crm.fault("black-hole")?;
        let took: u64 = result(stage, &mut ami, "strange", "TOOK")?.parse()?;
        ensure!(took < 8_000, "ten steps took {took} ms");
        ami.without_channels(BOUND)?;
        stage.crm.clear_faults()?;
        stage.at_work()
    })
}

fn fifty_ask_at_once(stage: &Stage, ami: &mut Ami) -> Result<()> {
    let known = json!({ "number": "79101234567", "name": "Anna", "ext": "102" });
    stage.crm.post("/_sandbox/contacts", &known)?;
    // The cache goes with the reload that changes it.
    let settings = stage.settings().to_owned();
    stage.reload_with(&settings.replace("timeout_ms = 200", "timeout_ms = 10000\ncache = 0"))?;
    let before = asked(stage, CLIENT)?;
    stage.crm.fault("delay=3000,cmd=contact,next=1")?;
    for number in 100..150 {
        let channel = format!("Local/crowd-{number}@contact/n");
        let reply = ami.action(&[
            ("Action", "Originate"),
            ("Channel", &channel),
            ("Application", "Wait"),
            ("Data", "1"),
            ("Async", "true"),
        ])?;
        ensure!(reply.is_success(), "{:?}", reply.response.headers());
    }
    for number in 100..150 {
        let variable = format!("CROWD-{number}");
        let value = until(&variable, BOUND, || {
            Ok(Some(ami.getvar(None, &variable)?).filter(|value| !value.is_empty()))
        })?;
        ensure!(value == "102 HIT", "{variable}: {value}");
    }
    let after = asked(stage, CLIENT)?;
    ensure!(
        after == before + 1,
        "fifty channels made {} requests",
        after - before
    );
    stage.reload_with(&settings).map(drop)
}

// ---- mode = auto ------------------------------------------------------------------------------------------------------

/// 501 waits for a name before it rings, 502 rings at once, 504 asks the CRM; as FreePBX does it, a caller without a name has
/// his number for one.
const COMPANY: &str = "[from-trunk]
exten => 74951234501,1,Set(GLOBAL(NAMED)=)
 same => n(wait),Wait(0.05)
 same => n,GotoIf($[${LEN(${CALLERID(name)})} = 0]?wait)
 same => n,Set(GLOBAL(NAMED)=${CALLERID(name)})
 same => n,Dial(PJSIP/101&PJSIP/102,20)
 same => n,Hangup()
exten => 74951234502,1,Dial(PJSIP/101&PJSIP/102,20)
 same => n,Hangup()
exten => 74951234504,1,Set(CALLERID(name)=${CALLERID(num)})
 same => n,Set(NOBODY=${PLANFIX_CONTACT(79167777777,name)})
 same => n,Set(FIRST=${PLANFIX_CONTACT(,responsible)})
 same => n,Dial(PJSIP/${FIRST},20)
 same => n,Hangup()

[from-internal]
exten => _10X,1,Dial(PJSIP/${EXTEN},20)
 same => n,Hangup()
";

/// Where what is seen is recorded: with RES_PLANFIX_RECORD among the traces that are replayed without an Asterisk.
fn trace(stage: &Stage) -> PathBuf {
    let name = format!("missed_by_the_responsible-{}.jsonl", stage.asterisk.version());
    match env::var_os("RES_PLANFIX_RECORD") {
        Some(_) => workspace_root().join("tests/traces").join(name),
        None => stage.asterisk.scratch().join(name),
    }
}

fn phones_show_the_name_and_the_responsible_employee_has_missed_the_call(version: Version) -> Result<()> {
    let plan = Stage::plan(version)
        .auto()
        .crm("--contact")
        .crm(KNOWN)
        .calls("missed = responsible")
        .section("contact", "set_name = yes\ntimeout_ms = 5000")
        .asterisk(|builder| with_phones(builder).extensions(COMPANY));
    let mut stage = plan.prepare()?;
    // Phones are told of a change only where the endpoint sends identities at all.
    let file = stage.asterisk.etc().join("pjsip.conf");
    let endpoints = std::fs::read_to_string(&file)?;
    let telling = endpoints.replacen("type = endpoint\n", "type = endpoint\nsend_pai = yes\n", 1);
    ensure!(telling != endpoints, "pjsip.conf has no template for endpoints");
    stage.asterisk.configure("pjsip.conf", &telling)?;
    stage.asterisk.start()?;
    stage.at_work()?;
    stage.play(|stage| {
        let mut ami = stage.asterisk.ami()?;
        let phones = Phones::plug_in(stage)?;
        let client = |number: &str, did: &str| phones.trunk.call_as(&Caller::number(number), did);

        let trace = trace(stage);
        if trace.exists() {
            std::fs::remove_file(&trace)?;
        }
        stage
            .asterisk
            .cli(&format!("planfix record start {}", trace.display()))?;

        // The name is there before the phones ring; he gives up, and the responsible employee has missed it, whose phone
        // never rang.
        let line = client(CLIENT, "74951234501")?;
        let ringing = [phones.of("101").expect_call()?, phones.of("102").expect_call()?];
        ensure!(
            ami.getvar(None, "NAMED")? == NAME,
            "{}",
            ami.getvar(None, "NAMED")?
        );
        let shown = ringing[0].caller_name().replace('\\', "");
        // What quotes the name on the wire goes with the name's own at its end.
        ensure!(
            shown.trim_matches('"') == NAME.trim_matches('"'),
            "101 shows {shown}"
        );
        // In any order, as they ring at once.
        stage
            .crm
            .wait_for("both cards", BOUND, |log| told(log, CLIENT).len() == 2)?;
        line.hangup()?;
        line.wait_ended()?;
        let log = stage
            .crm
            .wait_for("the end", BOUND, |log| told(log, CLIENT).len() == 6)?;
        let mut ends = told(&log, CLIENT).split_off(2);
        ends[..2].sort();
        ensure!(
            ends == [
                "101 COMPLETED Cancelled",
                "102 COMPLETED Cancelled",
                "103 INCOMING",
                "103 COMPLETED Missed"
            ],
            "{ends:?}"
        );
        ensure!(phones.of("103").came() == 0, "his phone did not ring");
        // It depends on what the CRM has said, so that stands in the trace, and the trace explains itself.
        until("the end of all channels in the trace", BOUND, || {
            Ok(stage.row("Calls")?.contains(" on 0 channels").then_some(()))
        })?;
        stage.asterisk.cli("planfix record stop")?;
        let played = stage.asterisk.cli(&format!("planfix play {}", trace.display()))?;
        ensure!(
            played.contains("103 INCOMING") && played.contains("status=Missed"),
            "{played}"
        );
        ensure!(asked(stage, CLIENT)? == 1, "the CRM was asked once");

        // The answer comes while the phones ring already, and they are told of it.
        let known = json!({ "number": "79167777777", "name": "Late Larry", "ext": "102" });
        stage.crm.post("/_sandbox/contacts", &known)?;
        stage.crm.fault("delay=1500,cmd=contact,next=1")?;
        let line = client("79167777777", "74951234502")?;
        let phone = phones.of("101").expect_call()?;
        ensure!(phone.caller_name() != "Late Larry", "the answer is late");
        let channel = until("the client's channel", BOUND, || {
            let reply = ami.action(&[("Action", "CoreShowChannels")])?;
            let mut names = reply.events.iter().filter_map(|event| event.get("Channel"));
            Ok(names
                .find(|name| name.starts_with("PJSIP/trunk-"))
                .map(str::to_owned))
        })?;
        until("the client's name", BOUND, || {
            let name = ami.getvar(Some(&channel), "CALLERID(name)")?;
            Ok((name == "Late Larry").then_some(()))
        })?;
        until("an update at the phone", BOUND, || {
            let lines = phones.of("101").transcript();
            Ok(lines
                .iter()
                .any(|(_, line)| line.contains("UPDATE"))
                .then_some(()))
        })
        .with_context(|| {
            let lines = phones.of("101").transcript().into_iter();
            lines.map(|(_, line)| format!("101 {line}\n")).collect::<String>()
        })?;
        line.hangup()?;
        line.wait_ended()?;
        let log = stage
            .crm
            .wait_for("the end", BOUND, |log| told(log, "79167777777").len() == 4)?;
        let mut ends = told(&log, "79167777777").split_off(2);
        ends.sort();
        ensure!(
            ends == ["101 COMPLETED Cancelled", "102 COMPLETED Missed"],
            "{ends:?}"
        );

        // Who asks in the dialplan has the name before anybody rings, and only that of his own caller.
        let known = json!({ "number": "79168888888", "name": "Quick Quinn", "ext": "103" });
        stage.crm.post("/_sandbox/contacts", &known)?;
        let line = client("79168888888", "74951234504")?;
        let phone = phones.of("103").expect_call()?;
        ensure!(
            phone.caller_name() == "Quick Quinn",
            "103 shows {}",
            phone.caller_name()
        );
        line.hangup()?;
        line.wait_ended()?;

        // Without an answer it is as if the rule were `first`; and calls among employees are nobody's business.
        stage.crm.fault("black-hole")?;
        let line = client(STRANGER, "74951234502")?;
        let phone = phones.of("101").expect_call()?;
        ensure!(
            phone.caller_name().is_empty() || phone.caller_name() == STRANGER,
            "nobody named him"
        );
        let _ringing = phones.of("102").expect_call()?;
        line.hangup()?;
        line.wait_ended()?;
        stage.crm.clear_faults()?;
        let log = stage
            .crm
            .wait_for("the end", BOUND, |log| told(log, STRANGER).len() == 4)?;
        let missed: Vec<String> = told(&log, STRANGER)
            .into_iter()
            .filter(|line| line.contains("Missed"))
            .collect();
        ensure!(missed.len() == 1, "{missed:?}");
        let line = phones.of("102").call("103")?;
        let _ringing = phones.of("103").expect_call()?;
        line.hangup()?;
        line.wait_ended()?;
        ensure!(
            asked(stage, "102")? + asked(stage, "103")? == 0,
            "{:?}",
            stage.crm.log()?
        );
        Ok(())
    })
}
