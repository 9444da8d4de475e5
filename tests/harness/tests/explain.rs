//! What the module says of calls: while they run, after their end, on the console, over AMI, and as a trace that is played
//! again.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::{Ami, CLIENT, Message, Office, Stage, Version, did, field, flat, is_taken_in, on_both, until};
use serde_json::Value;

on_both! {
    a_call_is_explained_while_it_runs_and_after_its_end,
    a_trace_gives_what_the_crm_was_told,
    without_following_there_are_events_alone,
}

const BOUND: Duration = Duration::from_secs(30);

/// Waits until a console command prints something with all of these in it, and returns what it prints then.
fn shows(stage: &Stage, command: &str, texts: &[&str]) -> Result<String> {
    let mut said = String::new();
    until(&format!("{texts:?} of '{command}'"), BOUND, || {
        said = stage.asterisk.cli(command)?;
        let text = flat(&said);
        Ok(texts.iter().all(|wanted| text.contains(wanted)).then_some(()))
    })
    .with_context(|| said.clone())?;
    Ok(said)
}

/// The unique id of the one channel of that endpoint.
fn uniqueid(office: &Office, endpoint: &str) -> Result<String> {
    let name = office.channel_of(endpoint)?;
    office
        .ami()
        .getvar(Some(&name), "UNIQUEID")
        .with_context(|| name.clone())
}

/// An office whose phones ring until somebody answers, however slow the machine is.
fn patient_office(version: Version) -> Result<Office> {
    let office = Office::open(version)?;
    let headers = [("Action", "Setvar"), ("Variable", "RING"), ("Value", "120")];
    let reply = office.ami().action(&headers)?;
    ensure!(reply.is_success(), "{reply:?}");
    Ok(office)
}

fn entries<'a>(events: &'a [Message], name: &str) -> Vec<&'a Message> {
    events.iter().filter(|event| event.is_event(name)).collect()
}

/// The next PlanfixCall, short, such as `in 101 INCOMING 79101234567 74950000101 1700000000.1`.
fn told(ami: &mut Ami) -> Result<String> {
    let event = ami
        .event(BOUND, |event| event.is_event("PlanfixCall"))?
        .context("no event PlanfixCall comes")?;
    let headers = [
        "Type",
        "Exten",
        "PlanfixEvent",
        "Phone",
        "Diversion",
        "CallId",
        "Status",
        "Duration",
    ];
    let values: Vec<&str> = headers
        .into_iter()
        .filter_map(|header| event.get(header))
        .collect();
    Ok(values.join(" "))
}

fn a_call_is_explained_while_it_runs_and_after_its_end(version: Version) -> Result<()> {
    let mut office = patient_office(version)?;
    let outcome = explained(&office);
    office.stage.play(|_| outcome)
}

fn explained(office: &Office) -> Result<()> {
    let stage = &office.stage;
    let mut events = stage.asterisk.ami()?;
    shows(
        stage,
        "planfix show calls",
        &["No call with a client is running."],
    )?;

    for (command, text) in [
        (
            "manager show command PlanfixShowCall",
            "Explain what Planfix is told of a call, and why.",
        ),
        (
            "manager show event PlanfixCall",
            "Raised when Planfix is going to be told of a call.",
        ),
    ] {
        shows(stage, command, &[text])?;
    }

    let client = office.client_calls("101")?;
    let employee = office.phone("101").expect_call()?;
    client.wait_ringing()?;
    let company = did("101");
    shows(
        stage,
        "planfix show calls",
        &[
            "Call Type Phone Diversion Lasts",
            &format!("in {CLIENT} {company}"),
            "101 rings",
        ],
    )?;
    employee.answer()?;
    client.wait_answered()?;
    let linkedid = uniqueid(office, "trunk")?;
    let uniqueid = uniqueid(office, "101")?;
    shows(stage, "planfix show calls", &[&linkedid, "101 talks"])?;
    shows(
        stage,
        "planfix show status",
        &["Calls: 1 followed on 2 channels", "Recording: off"],
    )?;
    for name in [&linkedid, &uniqueid] {
        shows(
            stage,
            &format!("planfix show call {name}"),
            &[
                &format!("Call {linkedid}, running for"),
                &format!("inbound call from {CLIENT}"),
                "=> INCOMING 101: his phone rings",
                "=> ACCEPTED 101: he is joined with the client",
                "Id Event Ext Accepted State At Tries",
                "ACCEPTED 101",
            ],
        )?;
    }
    let names = stage.asterisk.cli(&format!(
        "_command matchesarray \"planfix show call {0}\" \"{0}\"",
        &linkedid[..8]
    ))?;
    ensure!(names.contains(&linkedid), "the name is completed to {names}");

    let reply = office.ami().action(&[("Action", "PlanfixShowCalls")])?;
    let (calls, cards) = (
        entries(&reply.events, "PlanfixCallEntry"),
        entries(&reply.events, "PlanfixCardEntry"),
    );
    ensure!(calls.len() == 1 && cards.len() == 1, "{reply:?}");
    for (header, value) in [
        ("CallId", linkedid.as_str()),
        ("Type", "in"),
        ("Phone", CLIENT),
        ("Diversion", &company),
    ] {
        ensure!(calls[0].get(header) == Some(value), "{:?}", calls[0]);
    }
    ensure!(
        cards[0].get("Exten") == Some("101") && cards[0].get("State") == Some("talks"),
        "{:?}",
        cards[0]
    );
    ensure!(reply.end.is_event("PlanfixShowCallsComplete"), "{reply:?}");

    client.hangup()?;
    employee.wait_hung_up()?;
    office.empties()?;
    stage.drained()?;
    for name in [&linkedid, &uniqueid] {
        let story = shows(
            stage,
            &format!("planfix show call {name}"),
            &[
                &format!("Call {linkedid}, ended"),
                "=> COMPLETED 101 Success",
                "INCOMING 101",
                "COMPLETED 101",
                "delivered",
            ],
        )?;
        ensure!(flat(&story).matches(" delivered ").count() == 3, "{story}");
        ensure!(story.lines().all(|line| line.chars().count() <= 80), "{story}");
    }
    let names = stage
        .asterisk
        .cli("_command matchesarray \"planfix show call \" \"\"")?;
    ensure!(names.contains(&linkedid), "the names are {names}");
    shows(
        stage,
        "planfix show call no.such",
        &["Nothing is known of a call no.such"],
    )?;
    shows(
        stage,
        "planfix show calls",
        &["No call with a client is running."],
    )?;

    let reply = office
        .ami()
        .action(&[("Action", "PlanfixShowCall"), ("Call", &uniqueid)])?;
    let (lines, requests) = (
        entries(&reply.events, "PlanfixStoryEntry"),
        entries(&reply.events, "PlanfixCallEventEntry"),
    );
    let line = |text: &str| {
        lines
            .iter()
            .any(|entry| entry.get("Line").is_some_and(|line| line.contains(text)))
    };
    ensure!(
        line("=> INCOMING 101") && line("=> COMPLETED 101 Success"),
        "{lines:?}"
    );
    let kinds: Vec<_> = requests
        .iter()
        .filter_map(|entry| entry.get("PlanfixEvent"))
        .collect();
    ensure!(kinds == ["INCOMING", "ACCEPTED", "COMPLETED"], "{requests:?}");
    ensure!(
        requests
            .iter()
            .all(|entry| entry.get("State") == Some("delivered")
                && entry.get("CallId") == Some(&linkedid)
                && entry.get("Settled").is_some_and(|settled| settled.len() == 19)),
        "{requests:?}"
    );
    for headers in [
        &[("Action", "PlanfixShowCall")][..],
        &[("Action", "PlanfixShowCall"), ("Call", "no.such")],
    ] {
        ensure!(!office.ami().action(headers)?.is_success(), "{headers:?}");
    }

    let about = format!("{CLIENT} {company} {linkedid}");
    ensure!(told(&mut events)? == format!("in 101 INCOMING {about}"));
    ensure!(told(&mut events)? == format!("in 101 ACCEPTED {about}"));
    let end = told(&mut events)?;
    ensure!(
        end.starts_with(&format!("in 101 COMPLETED {about} Success ")),
        "{end}"
    );
    Ok(())
}

/// What `planfix play` prints of a request that the CRM has got, without its moment.
fn line(entry: &Value) -> String {
    let pairs = entry["fields"].as_array().into_iter().flatten();
    let fields = pairs.filter_map(|pair| Some((pair[0].as_str()?, pair[1].as_str()?)));
    let rest: String = fields
        .filter(|(name, _)| !["cmd", "type", "event", "ext", "planfix_token"].contains(name))
        .map(|(name, value)| format!(" {name}={value}"))
        .collect();
    let [direction, ext, event] = ["type", "ext", "event"].map(|name| field(entry, name));
    format!("{direction} {ext} {event}{rest}")
}

/// The requests among the lines that `planfix play` prints: what stands behind their moments.
fn requests(played: &str) -> Vec<String> {
    let lines = played.lines().filter(|line| line.contains(" callid="));
    lines
        .filter_map(|line| Some(line.trim_start().split_once("  ")?.1.to_owned()))
        .collect()
}

fn a_trace_gives_what_the_crm_was_told(version: Version) -> Result<()> {
    let mut office = patient_office(version)?;
    let outcome = recorded(&office);
    office.stage.play(|_| outcome)
}

fn recorded(office: &Office) -> Result<()> {
    let stage = &office.stage;
    let cli = |command: &str| stage.asterisk.cli(command);
    let said = cli("planfix record stop")?;
    ensure!(said.contains("Nothing is being recorded."), "{said}");
    let said = cli("planfix record start calls.jsonl")?;
    let path = stage.asterisk.scratch().join("log/calls.jsonl");
    ensure!(
        flat(&said).contains(&format!("goes into {}", path.display())),
        "{said}"
    );
    let said = cli("planfix record start another.jsonl")?;
    ensure!(said.contains("A recording is under way"), "{said}");
    shows(
        stage,
        "planfix show status",
        &["Recording: ", "calls.jsonl since", "1 records"],
    )?;

    let one_call = || -> Result<()> {
        let client = office.client_calls("201")?;
        let employee = office.phone("102").expect_call()?;
        client.wait_ringing()?;
        employee.answer()?;
        client.wait_answered()?;
        office.together(&["trunk", "102"])?;
        client.hangup()?;
        employee.wait_hung_up()?;
        office.empties()?;
        stage.drained()?;
        // The last word on a channel comes a moment after it is gone.
        shows(stage, "planfix show status", &["Calls: 0 followed on 0 channels"]).map(drop)
    };
    one_call()?;
    let said = cli("planfix record stop")?;
    ensure!(flat(&said).contains(" records, "), "{said}");
    shows(stage, "planfix show status", &["Recording: off"])?;
    let log = stage.crm.log()?;
    let got: Vec<String> = log.iter().filter(|entry| is_taken_in(entry)).map(line).collect();
    let played = cli("planfix play calls.jsonl")?;
    ensure!(
        !got.is_empty() && requests(&played) == got,
        "the CRM got {got:#?}, and\n{played}"
    );
    ensure!(played.contains("0 channels left. Nothing was sent."), "{played}");
    let callid = field(
        log.iter().find(|entry| is_taken_in(entry)).context("a request")?,
        "callid",
    );
    let played = cli(&format!("planfix play calls.jsonl {callid}"))?;
    ensure!(
        played.contains("=> ACCEPTED 102: he is joined with the client"),
        "{played}"
    );
    let text = fs::read_to_string(&path)?;
    for token in [stage.crm.token(), stage.crm.pbx_token()] {
        ensure!(!text.contains(token), "the trace holds a key");
    }
    ensure!(text.contains(CLIENT), "{text}");

    // A file that exists is left as it is.
    let said = cli("planfix record start calls.jsonl")?;
    ensure!(
        flat(&said).contains("exists already and is not overwritten"),
        "{said}"
    );
    ensure!(fs::read_to_string(&path)? == text, "the trace was touched");
    for (command, answer) in [
        ("planfix play no.such", "No such file"),
        ("planfix play full", "line 1: this is no trace"),
        ("planfix record start /no/such/folder/file", "cannot be made"),
    ] {
        let said = flat(&cli(command)?);
        ensure!(said.contains(answer), "'{command}' says {said}");
    }

    let before = got.len();
    cli("planfix record start masked.jsonl masked")?;
    one_call()?;
    cli("planfix record stop")?;
    let log = stage.crm.log()?;
    let got: Vec<String> = log
        .iter()
        .filter(|entry| is_taken_in(entry))
        .skip(before)
        .map(line)
        .collect();
    // Whose card it was and what became of it: such as `in 101 INCOMING`.
    let short = |lines: &[String]| -> Vec<String> {
        lines
            .iter()
            .map(|line| line.split(" phone=").next().unwrap_or_default().to_owned())
            .collect()
    };
    let masked = fs::read_to_string(stage.asterisk.scratch().join("log/masked.jsonl"))?;
    ensure!(
        masked.contains("\"masked\":true") && !masked.contains(&CLIENT[1..]) && !masked.contains(&did("201")),
        "{masked}"
    );
    let played = cli("planfix play masked.jsonl")?;
    ensure!(
        short(&requests(&played)) == short(&got) && !played.contains(&CLIENT[1..]),
        "the CRM got {got:#?}, and\n{played}"
    );

    // Other settings than those at the beginning of a trace would explain nothing of it.
    cli("planfix record start settings.jsonl")?;
    stage.reload_with(&stage.settings().replace("[calls]", "[calls]\nmissed = all"))?;
    shows(
        stage,
        "planfix show status",
        &["has ended by itself: planfix.conf was read again"],
    )?;
    let said = flat(&cli("planfix record stop")?);
    ensure!(said.contains("It had ended by itself"), "{said}");
    // Nothing that was played has reached the CRM.
    stage.drained()?;
    let requests = stage.crm.log()?.iter().filter(|entry| is_taken_in(entry)).count();
    ensure!(requests == before + got.len(), "{requests} requests");
    Ok(())
}

fn without_following_there_are_events_alone(version: Version) -> Result<()> {
    Stage::plan(version).start()?.play(|stage| {
        let mut events = stage.asterisk.ami()?;
        for (command, answer) in [
            ("planfix show calls", "Calls are not followed: mode = dialplan"),
            (
                "planfix record start calls.jsonl",
                "Calls are not followed: mode = dialplan",
            ),
            ("planfix show call call-1", "Nothing is known of a call call-1"),
        ] {
            let said = flat(&stage.asterisk.cli(command)?);
            ensure!(said.contains(answer), "'{command}' says {said}");
        }
        ensure!(!stage.asterisk.scratch().join("log/calls.jsonl").exists());
        stage.queue("INCOMING,79101234567,101,call-1")?;
        stage.queue("COMPLETED,79101234567,101,call-1,,,NOANSWER")?;
        stage.drained()?;
        let story = shows(
            stage,
            "planfix show call call-1",
            &[
                "Call call-1: only its events are known",
                "INCOMING 101",
                "COMPLETED 101",
                "delivered",
            ],
        )?;
        ensure!(!story.contains("=>"), "{story}");
        ensure!(told(&mut events)?.starts_with("in 101 INCOMING 79101234567 "));
        let end = told(&mut events)?;
        ensure!(
            end.starts_with("in 101 COMPLETED 79101234567 ") && end.ends_with(" Missed 0"),
            "{end}"
        );
        Ok(())
    })
}
