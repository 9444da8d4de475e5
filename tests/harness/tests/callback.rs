//! What Planfix asks of the PBX, live: clicks that ring real phones, `setup`, and everything that must not get anybody dialled.
//!
//! That nothing was dialled is proved three ways: no phone was called, no channel is left, and Asterisk's own count of calls has not
//! moved.

use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::{
    Behaviour, CLIENT, Http, HttpAnswer, Office, Stage, Version, field, flat, is_taken_in, on_both, until,
};
use serde_json::Value;

const BOUND: Duration = Duration::from_secs(30);
const TALK: Duration = Duration::from_millis(1_400);
/// What the office's dialplan makes of an employee's number on the way out.
const COMPANY: &str = "74950000100";
const API: &str = "/planfix/api";

on_both! {
    clicks,
    attacks,
    limits,
    setup,
    unloading,
}

fn in_an_office(version: Version, test: impl FnOnce(&Office) -> Result<()>) -> Result<()> {
    let mut office = Office::open(version)?;
    let outcome = test(&office);
    office.stage.play(|_| outcome)
}

/// A form, encoded to the last character.
fn form(fields: &[(&str, &str)]) -> String {
    let encoded = |text: &str| -> String { text.bytes().map(|byte| format!("%{byte:02x}")).collect() };
    let pairs: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{name}={}", encoded(value)))
        .collect();
    pairs.join("&")
}

fn request(body: &[u8], headers: &str) -> Vec<u8> {
    let head = format!(
        "POST {API} HTTP/1.1\r\nHost: pbx\r\nContent-Type: application/x-www-form-urlencoded\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Sends these bytes on a connection of their own, and reads one answer.
fn raw(stage: &Stage, bytes: &[u8]) -> Result<HttpAnswer> {
    let mut http = Http::connect(stage.asterisk.http())?;
    http.send(bytes)?;
    reply(&mut http)
}

fn reply(http: &mut Http) -> Result<HttpAnswer> {
    let mut answer = http.head()?;
    answer.body = http.body(&answer)?;
    Ok(answer)
}

fn post(stage: &Stage, fields: &[(&str, &str)]) -> Result<HttpAnswer> {
    raw(stage, &request(form(fields).as_bytes(), ""))
}

fn click(stage: &Stage, from: &str, to: &str) -> Result<HttpAnswer> {
    let token = stage.crm.pbx_token().to_owned();
    post(
        stage,
        &[("cmd", "makeCall"), ("from", from), ("to", to), ("token", &token)],
    )
}

/// A `pbx_token` that somebody was too lazy for.
const SHORT_KEY: &str = "planfix123";

/// Shows wrong keys until the address has used up its three.
fn guesses(stage: &Stage) -> Result<()> {
    let mut answers = Vec::new();
    for guess in 0..4 {
        let key = format!("guess{guess}");
        answers.push(post(stage, &[("cmd", "makeCall"), ("token", &key)])?.status);
    }
    // Some may have been used up before.
    ensure!(
        answers.is_sorted()
            && answers.last() == Some(&429)
            && answers.iter().all(|status| [401, 429].contains(status)),
        "{answers:?}"
    );
    Ok(())
}

fn error(answer: &HttpAnswer) -> String {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    body["error"].as_str().unwrap_or_default().to_owned()
}

/// Takes another `[callback]` over.
fn configure(stage: &Stage, callback: &str) -> Result<()> {
    let settings = format!("{}\n[callback]\n{callback}\n", stage.settings());
    stage.reload_with(&settings)?;
    until("the new settings", BOUND, || {
        Ok(stage
            .asterisk
            .cli("planfix check")?
            .contains("read without a problem")
            .then_some(()))
    })
}

/// How the calls were told that came after the first `seen` requests: ext, phone, event, status.
fn told(office: &Office, seen: usize, count: usize) -> Result<Vec<String>> {
    let new = |entries: &[Value]| -> Vec<Value> {
        entries
            .iter()
            .filter(|entry| is_taken_in(entry))
            .skip(seen)
            .cloned()
            .collect()
    };
    let stage = &office.stage;
    stage.crm.wait_for("the call to be told", BOUND, |entries| {
        new(entries).len() >= count
    })?;
    stage.drained()?;
    let lines = new(&stage.crm.log()?);
    Ok(lines
        .iter()
        .map(|entry| {
            let text = ["type", "ext", "phone", "event", "status"].map(|name| field(entry, name));
            text.join(" ").trim_end().to_owned()
        })
        .collect())
}

fn so_far(office: &Office) -> Result<usize> {
    Ok(office
        .stage
        .crm
        .log()?
        .iter()
        .filter(|entry| is_taken_in(entry))
        .count())
}

/// Lets the employee click, answer and talk; returns what his phone was sent with the call.
fn one_click(office: &Office, to: &str, headers: &[&str]) -> Result<Vec<String>> {
    let seen = so_far(office)?;
    let answer = click(&office.stage, "101", to)?;
    ensure!(answer.status == 200 && answer.body.is_empty(), "{answer:?}");
    let employee = office.phone("101").expect_call()?;
    ensure!(
        employee.caller() == CLIENT,
        "the phone shows {:?}",
        employee.caller()
    );
    let sent = headers.iter().map(|name| employee.header(name)).collect();
    ensure!(
        office.trunk().came() == 0,
        "the client was called before the employee had answered"
    );
    employee.answer()?;
    let client = office.trunk().expect_call_to(CLIENT)?;
    ensure!(
        client.caller() == COMPANY,
        "the client sees {:?}",
        client.caller()
    );
    client.answer()?;
    client.talk(TALK)?;
    // A thread begins where the one stands that makes it, and this call is like any other.
    let threads = office.stage.asterisk.threads()?;
    let first = threads.iter().map(|task| task.nice).min();
    ensure!(
        threads
            .iter()
            .all(|task| task.name != "planfix/errands" || Some(task.nice) == first),
        "{threads:?}"
    );
    employee.hangup()?;
    client.wait_hung_up()?;
    let told = told(office, seen, 3)?;
    let line = |rest: &str| format!("out 101 {CLIENT} {rest}");
    ensure!(
        told == [line("OUTGOING"), line("ACCEPTED"), line("COMPLETED Success")],
        "{told:#?}"
    );
    office.tidy()?;
    Ok(sent)
}

fn without_the_employee(office: &Office) -> Result<()> {
    let seen = so_far(office)?;
    ensure!(click(&office.stage, "101", CLIENT)?.status == 200);
    office.phone("101").expect_call()?.wait_cancelled()?;
    office.empties()?;
    ensure!(office.trunk().came() == 0);
    let told = told(office, seen, 0)?;
    ensure!(told.is_empty(), "{told:#?}");
    office.tidy()
}

fn clicks(version: Version) -> Result<()> {
    in_an_office(version, |office| {
        let stage = &office.stage;
        // Rings as the dialplan says: 2 s, which is shorter than the click's own time.
        one_click(office, CLIENT, &[])?;
        without_the_employee(office)?;
        // The dialplan asks the phone to answer by itself: planfix.conf.sample tells how.
        let dialplan =
            include_str!("../office/extensions.conf").replace(",tTkK)", ",tTkKb(planfix-auto-answer^s^1))");
        let dialplan = format!(
            "{dialplan}\n[planfix-auto-answer]\n\
         exten => s,1,ExecIf($[\"${{PLANFIX_AUTO_ANSWER}}\" = \"yes\"]?Set(PJSIP_HEADER(add,Alert-Info)=info=alert-autoanswer))\n \
         same => n,Return()\n"
        );
        stage.asterisk.configure("extensions.conf", &dialplan)?;
        stage.asterisk.cli("dialplan reload")?;
        configure(stage, "auto_answer = yes")?;
        let sent = one_click(office, CLIENT, &["Alert-Info"])?;
        ensure!(sent == ["info=alert-autoanswer"], "{sent:?}");
        // The phone itself, without the dialplan.
        configure(stage, "auto_answer = yes\ndevice = PJSIP/EXT\ntimeout = 5")?;
        let sent = one_click(office, "+7 (910) 123-45-67", &["Alert-Info", "Call-Info"])
            .err()
            .map(|error| format!("{error:#}"));
        ensure!(
            sent.is_some_and(|error| error.contains("400") || error.contains("body")),
            "a plus was dialled"
        );
        let sent = one_click(office, "7 (910) 123-45-67", &["Alert-Info", "Call-Info"])?;
        ensure!(
            sent == ["info=alert-autoanswer", "<sip:planfix>;answer-after=0"],
            "{sent:?}"
        );
        without_the_employee(office)?;
        // 106 is an employee's number, but there is no such endpoint.
        ensure!(click(stage, "106", CLIENT)?.status == 400);
        configure(stage, "device = PJSIP/EXT")?;
        let sent = one_click(office, CLIENT, &["Alert-Info", "Call-Info"])?;
        ensure!(sent == ["", ""], "{sent:?}");
        // A phone that cannot be called: Planfix has its answer by then, and the log tells.
        configure(stage, "device = PJSIP/EXT@nowhere")?;
        ensure!(click(stage, "101", CLIENT)?.status == 200);
        until("a word in the log", BOUND, || {
            let log = stage.asterisk.log();
            Ok(log
                .contains("the phone of 101 (PJSIP/101@nowhere) cannot be called")
                .then_some(()))
        })?;
        let row = office.stage.row("Clicks")?;
        ensure!(
            row.starts_with("7 calls, 1 of them to phones that cannot be called;"),
            "{row}"
        );
        Ok(())
    })
}

/// What has been dialled since the office opened.
fn nothing_dialled(office: &Office) -> Result<()> {
    let counts = flat(&office.stage.asterisk.cli("core show channels count")?);
    ensure!(counts.contains("0 active channels"), "{counts}");
    ensure!(counts.contains("0 calls processed"), "{counts}");
    for number in ["101", "102", "103"] {
        ensure!(office.phone(number).came() == 0, "{number} was called");
    }
    ensure!(
        office.trunk().came() == 0 && office.reserve().came() == 0,
        "somebody outside was called"
    );
    Ok(())
}

fn attacks(version: Version) -> Result<()> {
    in_an_office(version, |office| {
        let stage = &office.stage;
        configure(stage, "deny = _7809X.,_8809X.,_810.\nrate_per_minute = 6000")?;
        let token = stage.crm.pbx_token().to_owned();
        let right = [
            ("cmd", "makeCall"),
            ("from", "101"),
            ("to", CLIENT),
            ("token", &token),
        ];
        let with = |name: &str, value: &str| -> Vec<(String, String)> {
            right
                .iter()
                .map(|(known, old)| {
                    (
                        (*known).to_owned(),
                        (if *known == name { value } else { old }).to_owned(),
                    )
                })
                .collect()
        };
        let send = |fields: &[(String, String)]| -> Result<HttpAnswer> {
            let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
            post(stage, &fields)
        };

        // Keys.
        let longer = format!("{token}x");
        let long = "x".repeat(2_000);
        let zero = format!("{token}\0");
        for wrong in [
            "",
            "x",
            &token[1..],
            &token[..token.len() - 1],
            &longer,
            &long,
            &zero,
            &token.to_uppercase(),
            " ",
        ] {
            let answer = send(&with("token", wrong))?;
            ensure!(
                (answer.status, &*error(&answer)) == (401, "Invalid token"),
                "{wrong:?}: {answer:?}"
            );
        }
        let answer = post(stage, &right[..3])?;
        ensure!(answer.status == 401, "no key: {answer:?}");
        let in_query = request(form(&right[..3]).as_bytes(), "");
        let in_query = String::from_utf8(in_query)?.replace(API, &format!("{API}?token={token}"));
        ensure!(
            raw(stage, in_query.as_bytes())?.status == 401,
            "the key was taken from the address"
        );
        // Who does not have the key does not learn what else is wrong.
        ensure!(post(stage, &[("cmd", "nothing"), ("token", "x")])?.status == 401);

        // Numbers.
        for to in [
            "",
            " ",
            "7910&PJSIP/102",
            "7910,1",
            "7910@from-internal",
            "7910|1",
            "7910/n",
            "7910;1",
            "7910\n101",
            "7910\r\n1",
            "${EXTEN}",
            "${SHELL(id)}",
            "$[1]",
            "7910\0",
            "７９１０１２３４５６７",
            "+",
            "101",
            "79101234567,,102",
            "_X.",
            "s",
            "h",
            "t",
            "fax",
            "999999",
            "7910\u{1}",
            &"7".repeat(41),
            &"7".repeat(2_000),
        ] {
            let answer = send(&with("to", to))?;
            ensure!(
                (answer.status, &*error(&answer)) == (400, "Invalid parameters"),
                "{to:?}: {answer:?}"
            );
        }
        for denied in [
            "78091234567",
            "+78091234567",
            "8 (809) 123-45-67",
            "810442079460000",
            "*97",
            "#31#79101234567",
        ] {
            let answer = send(&with("to", denied))?;
            ensure!(
                (answer.status, &*error(&answer)) == (400, "Invalid parameters"),
                "{denied:?}: {answer:?}"
            );
        }
        for from in [
            "",
            "999",
            "1",
            "10101",
            "101&102",
            "101@x",
            "101/n",
            "101,1",
            "１０１",
            "101\0",
            CLIENT,
            "${X}",
            "_XXX",
            "*10",
            "+101",
        ] {
            let answer = send(&with("from", from))?;
            ensure!(
                (answer.status, &*error(&answer)) == (400, "Invalid parameters"),
                "{from:?}: {answer:?}"
            );
        }
        for cmd in ["", "makecall", "MAKECALL", "makeCall ", "originate", "event"] {
            ensure!(send(&with("cmd", cmd))?.status == 400, "{cmd:?}");
        }

        // Bodies.
        let good = form(&right);
        let doubled = format!("{good}&to=%31%30%32");
        ensure!(
            raw(stage, &request(doubled.as_bytes(), ""))?.status == 400,
            "a field twice"
        );
        let head =
            |method: &str, headers: &str| format!("{method} {API} HTTP/1.1\r\nHost: pbx\r\n{headers}\r\n");
        let length = good.len();
        let urlencoded = "Content-Type: application/x-www-form-urlencoded\r\n";
        for (headers, body, status) in [
            (format!("Content-Length: {length}\r\n"), &*good, 400),
            (
                format!("Content-Type: application/json\r\nContent-Length: {length}\r\n"),
                &*good,
                400,
            ),
            (
                format!("Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {length}\r\n"),
                &*good,
                400,
            ),
            (urlencoded.to_owned(), "", 401),
            (format!("{urlencoded}Content-Length: 8193\r\n"), "", 413),
            (format!("{urlencoded}Content-Length: 2000000000\r\n"), &*good, 413),
            (
                format!("{urlencoded}Content-Length: {length}\r\nContent-Length: 3\r\n"),
                &*good,
                400,
            ),
            (format!("{urlencoded}Content-Length: 0x10\r\n"), &*good, 400),
            (
                format!("{urlencoded}Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
                &*good,
                400,
            ),
            (
                format!("{urlencoded}Transfer-Encoding: chunked\r\n"),
                "zz\r\n",
                400,
            ),
            (
                format!("{urlencoded}Transfer-Encoding: chunked\r\n"),
                "2001\r\n",
                413,
            ),
            (
                format!("{urlencoded}Transfer-Encoding: chunked\r\n"),
                "1000\r\n",
                408,
            ),
            (
                format!("{urlencoded}Content-Length: {}\r\n", length + 1),
                &*good,
                408,
            ),
        ] {
            let answer = raw(
                stage,
                &[head("POST", &headers).as_bytes(), body.as_bytes()].concat(),
            )?;
            ensure!(answer.status == status, "{headers:?}: {answer:?}");
            ensure!(
                status == 401 || answer.header("Connection") == "close",
                "{headers:?} leaves the connection open"
            );
        }
        for method in ["GET", "PUT", "DELETE", "PATCH"] {
            let headers = format!("{urlencoded}Content-Length: {length}\r\n");
            let answer = raw(
                stage,
                &[head(method, &headers).as_bytes(), good.as_bytes()].concat(),
            )?;
            ensure!(answer.status == 405, "{method}: {answer:?}");
            ensure!(answer.header("Allow") == "OPTIONS, POST");
        }
        // A client that goes in the middle of its body.
        for _ in 0..20 {
            let mut http = Http::connect(stage.asterisk.http())?;
            http.send(&request(good.as_bytes(), "")[..200])?;
        }
        // Other addresses beside it.
        for path in [
            "/planfix",
            "/planfix/",
            "/planfix/apix",
            "/planfix/api/x",
            "/planfix/%61pi",
            "/planfix/api%00",
        ] {
            let bytes = String::from_utf8(request(good.as_bytes(), ""))?.replace(API, path);
            let answer = raw(stage, bytes.as_bytes())?;
            ensure!(
                answer.status == 404 && answer.body.is_empty(),
                "{path}: {answer:?}"
            );
        }
        // Two requests at once on one connection: the second is not part of the first.
        let mut http = Http::connect(stage.asterisk.http())?;
        let wrong = form(&[("cmd", "makeCall"), ("token", "x")]);
        http.send(&[request(wrong.as_bytes(), ""), request(wrong.as_bytes(), "")].concat())?;
        ensure!(reply(&mut http)?.status == 401 && reply(&mut http)?.status == 401);

        // A client that asks before it sends its body.
        let mut http = Http::connect(stage.asterisk.http())?;
        let whole = request(wrong.as_bytes(), "Expect: 100-continue\r\n");
        let (beginning, body) = whole.split_at(whole.len() - wrong.len());
        http.send(beginning)?;
        ensure!(reply(&mut http)?.status == 100);
        http.send(body)?;
        ensure!(reply(&mut http)?.status == 401);

        // 200 connections at once, each with a part of a request: Asterisk turns those away that are beyond its sessionlimit, and
        // answers others again when they are gone.
        let crowd: Vec<_> = (0..200)
            .filter_map(|_| {
                let mut http = Http::connect(stage.asterisk.http()).ok()?;
                http.send(&request(good.as_bytes(), "")[..150]).ok()?;
                Some(http)
            })
            .collect();
        drop(crowd);
        until("an answer after the crowd", BOUND, || {
            Ok(post(stage, &[("token", "x")])
                .ok()
                .filter(|answer| answer.status == 401)
                .map(drop))
        })?;
        nothing_dialled(office)?;
        let row = office.stage.row("Clicks")?;
        for word in [
            "0 calls",
            "wrong token",
            "not allowed",
            "unknown command",
            "too large",
            "too slow",
            "no form",
            "from",
            "to",
            "method",
        ] {
            ensure!(row.contains(word), "{row} has no {word}");
        }
        // And a right one is still taken, in pieces, too.
        let (first, second) = good.split_at(10);
        let chunked = format!(
            "{}{:x}\r\n{first}\r\n{:X};a=b\r\n{second}\r\n0\r\nTrailer: x\r\n\r\n",
            head("POST", &format!("{urlencoded}Transfer-Encoding: chunked\r\n")),
            first.len(),
            second.len()
        );
        ensure!(raw(&office.stage, chunked.as_bytes())?.status == 200);
        office.phone("101").expect_call()?.wait_cancelled()?;
        office.tidy()?;
        let log = office.stage.asterisk.log();
        let refusals = log
            .lines()
            .filter(|line| line.contains("was refused: the key"))
            .count();
        ensure!(refusals >= 1, "wrong keys are not in the log");
        Ok(())
    })
}

fn limits(version: Version) -> Result<()> {
    in_an_office(version, |office| {
        let stage = &office.stage;
        // An employee who clicks too often; another one is not concerned.
        configure(stage, "rate_per_minute = 3\ndevice = PJSIP/EXT")?;
        office.phone("101").will(Behaviour::BUSY);
        for _ in 0..3 {
            ensure!(click(stage, "101", CLIENT)?.status == 200);
        }
        let answer = click(stage, "101", CLIENT)?;
        ensure!(
            answer.status == 429 && answer.header("Retry-After") == "60",
            "{answer:?}"
        );
        office.phone("102").will(Behaviour::BUSY);
        ensure!(click(stage, "102", CLIENT)?.status == 200);
        until("the phones to be called", BOUND, || {
            Ok((office.phone("101").came() == 3 && office.phone("102").came() == 1).then_some(()))
        })?;
        office.tidy()?;
        // An address that guesses hears nothing more after its first wrong keys. Planfix has the same one behind a proxy, and is heard.
        guesses(stage)?;
        office.phone("103").will(Behaviour::BUSY);
        ensure!(click(stage, "103", CLIENT)?.status == 200);
        until("the phone to be called", BOUND, || {
            Ok((office.phone("103").came() == 1).then_some(()))
        })?;
        office.tidy()?;
        // A list that lets nobody in, one that lets this machine in, one that there is not.
        stage.asterisk.configure(
        "acl.conf",
        "[nobody]\ndeny = 0.0.0.0/0.0.0.0\n\n[here]\ndeny = 0.0.0.0/0.0.0.0\npermit = 127.0.0.1\n\n[empty]\n",
    )?;
        stage.asterisk.cli("module reload acl")?;
        for (list, status) in [("nobody", 403), ("nothing", 403), ("empty", 403), ("here", 200)] {
            configure(
                stage,
                &format!("acl = {list}\ndevice = PJSIP/EXT\nrate_per_minute = 6000"),
            )?;
            office.phone("103").will(Behaviour::BUSY);
            let answer = click(stage, "103", CLIENT)?;
            ensure!(answer.status == status, "{list}: {answer:?}");
        }
        until("the phone to be called", BOUND, || {
            Ok((office.phone("103").came() == 1).then_some(()))
        })?;
        office.tidy()?;
        // A key that so many guesses could find: then not even the right one is heard.
        let short = stage.settings().replace(stage.crm.pbx_token(), SHORT_KEY);
        stage.reload_with(&format!("{short}\n[callback]\nrate_per_minute = 3\n"))?;
        guesses(stage)?;
        let right = [
            ("cmd", "makeCall"),
            ("from", "103"),
            ("to", CLIENT),
            ("token", SHORT_KEY),
        ];
        ensure!(post(stage, &right)?.status == 429);
        // Without a key of its own the PBX takes nothing, not even an empty one, and says so once.
        let settings = stage
            .settings()
            .replace(&format!("pbx_token = {}", stage.crm.pbx_token()), "pbx_token =");
        stage.reload_with(&format!("{settings}\n[callback]\nrate_per_minute = 6000\n"))?;
        for token in ["", "x", stage.crm.pbx_token()] {
            let fields = [
                ("cmd", "makeCall"),
                ("from", "103"),
                ("to", CLIENT),
                ("token", token),
            ];
            let answer = post(stage, &fields)?;
            ensure!(
                (answer.status, &*error(&answer)) == (401, "Invalid token"),
                "{token:?}: {answer:?}"
            );
        }
        ensure!(office.phone("103").came() == 0);
        let said = || {
            office
                .stage
                .asterisk
                .log()
                .matches("no pbx_token is set in planfix.conf")
                .count()
        };
        until("a word in the log", BOUND, || Ok((said() > 0).then_some(())))?;
        ensure!(said() == 1, "said {} times", said());
        let check = flat(&office.stage.asterisk.cli("planfix check")?);
        ensure!(check.contains("pbx_token is not set"), "{check}");
        Ok(())
    })
}

fn setup(version: Version) -> Result<()> {
    let mut stage = Stage::plan(version).prepare()?;
    let pinned = stage.settings().to_owned();
    let (token, url) = (stage.crm.token().to_owned(), stage.crm.url().to_owned());
    let waiting = pinned
        .replace(&format!("token = {token}\npbx"), "token =\npbx")
        .replace(&format!("url = {url}"), "url =");
    ensure!(!waiting.contains(&token) && !waiting.contains(&url), "{waiting}");
    stage.asterisk.configure("planfix.conf", &waiting)?;
    stage.asterisk.start()?;
    let pbx_token = stage.crm.pbx_token().to_owned();
    let set_up = |stage: &Stage, pbx_token: &str, token: &str, url: &str| {
        let fields = [
            ("cmd", "setup"),
            ("token", pbx_token),
            ("planfix_token", token),
            ("planfix_url", url),
        ];
        post(stage, &fields)
    };
    stage.play(|stage| {
        let row = stage.row("Mode")?;
        ensure!(row.contains("waits for Planfix"), "{row}");
        ensure!(stage.event("INCOMING,79101234567,101,1.1")? == "IGNORED");
        // Bad ones change nothing.
        ensure!(set_up(stage, "wrong", &token, &url)?.status == 401);
        for (token, url) in [
            ("", &*url),
            (&token, ""),
            (&token, "http://crm.example.com/tel/api"),
            ("a b", &url),
            (&token, "file:///etc/passwd"),
        ] {
            let answer = set_up(stage, &pbx_token, token, url)?;
            ensure!(
                answer.status == 400 && error(&answer).contains("planfix_"),
                "{answer:?}"
            );
        }
        ensure!(stage.row("Mode")?.contains("waits for Planfix"));
        // The good one is in force when it is answered.
        let answer = set_up(stage, &pbx_token, &token, &url)?;
        ensure!(answer.status == 200 && answer.body.is_empty(), "{answer:?}");
        ensure!(stage.row("Key from")? == "Planfix's setup");
        stage.queue("INCOMING,79101234567,101,1.2")?;
        stage.taken_in(1)?;
        let file = stage.asterisk.scratch().join("db/planfix/setup.json");
        let mode = fs::metadata(&file)?.permissions().mode() & 0o777;
        ensure!(mode == 0o600, "{mode:o}");
        // It survives a reload and kill -9.
        stage.asterisk.cli("module reload res_planfix.so")?;
        stage.queue("INCOMING,79101234567,101,1.3")?;
        stage.taken_in(2)?;
        stage.asterisk.kill9();
        stage.asterisk.start()?;
        stage.at_work()?;
        stage.queue("INCOMING,79101234567,101,1.4")?;
        stage.taken_in(3)?;
        // A token in planfix.conf is the administrator's word.
        stage.reload_with(&pinned)?;
        ensure!(stage.row("Key from")? == "planfix.conf");
        let answer = set_up(stage, &pbx_token, &token, &url)?;
        ensure!(
            answer.status == 400 && error(&answer).contains("planfix.conf"),
            "{answer:?}"
        );
        stage.queue("INCOMING,79101234567,101,1.5")?;
        stage.taken_in(4)?;
        // A file that somebody has spoilt is named. What is reported goes on being reported; loaded anew, the module waits, and another
        // setup mends it.
        fs::write(&file, "{\"planfix_token\": 1}")?;
        let said = stage.reload_with(&waiting)?;
        ensure!(!said.contains("reloaded successfully"), "{said}");
        ensure!(stage.row("Key from")? == "planfix.conf");
        stage.asterisk.cli("module unload res_planfix.so")?;
        stage.asterisk.cli("module load res_planfix.so")?;
        until("the file's name in the log", BOUND, || {
            Ok(stage
                .asterisk
                .log()
                .contains("planfix/setup.json: ")
                .then_some(()))
        })?;
        ensure!(stage.row("Mode")?.contains("waits for Planfix"));
        ensure!(set_up(stage, &pbx_token, &token, &url)?.status == 200);
        stage.queue("INCOMING,79101234567,101,1.6")?;
        stage.taken_in(5)?;
        Ok(())
    })
}

/// An unload and a reload do not wait for who is slow, and who comes meanwhile is told so.
fn unloading(version: Version) -> Result<()> {
    let mut stage = Stage::plan(version).start()?;
    stage.play(|stage| {
        let body = form(&[("cmd", "makeCall"), ("token", "x")]);
        let bytes = request(body.as_bytes(), "");
        let (begun, rest) = bytes.split_at(bytes.len() - 5);
        let begin = || -> Result<Http> {
            let mut http = Http::connect(stage.asterisk.http())?;
            http.send(begun)?;
            Ok(http)
        };
        // A reload in the middle of a request harms it not.
        let mut slow = begin()?;
        stage.asterisk.cli("module reload res_planfix.so")?;
        slow.send(rest)?;
        ensure!(reply(&mut slow)?.status == 401);
        let crowd: Vec<Http> = (0..20).map(|_| begin()).collect::<Result<_>>()?;
        let start = Instant::now();
        stage.asterisk.cli("module unload res_planfix.so")?;
        let took = start.elapsed();
        until("the unload", BOUND, || {
            let listed = stage.asterisk.cli("module show like res_planfix")?;
            Ok((!listed.contains("Running") || listed.contains("Not Running")).then_some(()))
        })?;
        ensure!(took < BOUND, "the unload waited for a slow client: {took:?}");
        for mut http in crowd {
            let mut left = Vec::new();
            // Cut off, without an answer or with one; not left hanging.
            let _ = http.send(rest);
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = http.some(&mut buffer) {
                left.extend_from_slice(&buffer[..count]);
            }
        }
        ensure!(raw(stage, &bytes)?.status == 404);
        stage.asterisk.cli("module load res_planfix.so")?;
        stage.at_work()?;
        ensure!(raw(stage, &bytes)?.status == 401);
        // Again and again, while others ask.
        for _ in 0..5 {
            let mut streams: Vec<TcpStream> = Vec::new();
            for _ in 0..5 {
                let mut http = Http::connect(stage.asterisk.http())?;
                http.send(&bytes)?;
                drop(http);
                streams.push(TcpStream::connect(stage.asterisk.http())?);
            }
            stage.asterisk.cli("module unload res_planfix.so")?;
            stage.asterisk.cli("module load res_planfix.so")?;
            for mut stream in streams {
                stream.set_read_timeout(Some(Duration::from_millis(1)))?;
                let _ = stream.read(&mut [0; 16]);
            }
        }
        stage.at_work()?;
        ensure!(raw(stage, &bytes)?.status == 401);
        stage.asterisk.running().context("Asterisk has gone").map(drop)
    })
}
