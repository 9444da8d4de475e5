//! The protocol, byte for byte: every request and every reply of it lies in `tests/wire`, and is held against what the module
//! sends and how it reads what it is sent. `tests/wire/README.md` tells what is where.
//!
//! Requests to Planfix come from a listener's socket, so their headers are those of the wire; what tells of calls goes the whole
//! way through the spool and a worker. Of the other direction this test has what needs no Asterisk: how a request is read, and
//! the status and the body of its answer. The rest of the answer's bytes are made on Asterisk's floor: the harness's test `wire`
//! holds the same files against a real one.
//!
//! `UPDATE_WIRE=1` writes anew what the module makes; the test fails where that changed something, so that somebody reads the
//! difference.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use res_planfix::core::contact::{What, value};
use res_planfix::core::direction::Direction;
use res_planfix::core::draft::Draft;
use res_planfix::core::form::{Form, is_form};
use res_planfix::core::gate::Condition;
use res_planfix::core::make_call::Click;
use res_planfix::core::pattern::Patterns;
use res_planfix::core::planfix_event::{Surroundings, Verdict, read};
use res_planfix::core::recording;
use res_planfix::core::refusal::Refusal;
use res_planfix::core::reply::{Policy, Trouble};
use res_planfix::core::secret::Secret;
use res_planfix::core::settings::{Callback, Calls, Entry, Settings};
use res_planfix::core::setup::Setup;
use res_planfix::core::tracker::{Output, Tracker};
use res_planfix::core::trunks::Trunks;
use res_planfix::delivery::client::Client;
use res_planfix::delivery::clock::ShiftedClock;
use res_planfix::delivery::contacts::Contacts;
use res_planfix::delivery::status::Status;
use res_planfix::delivery::threads::StdThreads;
use res_planfix::delivery::{self, Delivery};

#[path = "tracker/pbx.rs"]
#[expect(dead_code, reason = "it can do more than a few simple calls")]
mod pbx;

use pbx::{Owner, Pbx};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const PBX_TOKEN: &str = "fedcba9876543210fedcba9876543210";
const PLANFIX_URL: &str = "https://acme.planfix.ru/tel/api";
const PHONE: &str = "79101234567";
const LINK: &str = "https://pbx.example.com/planfix/records/a.mp3";
/// For whatever takes milliseconds on a machine with nothing else to do.
const BOUND: Duration = Duration::from_secs(60);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire")
}

fn file(name: &str) -> Vec<u8> {
    fs::read(folder().join(name)).unwrap_or_else(|error| panic!("tests/wire/{name}: {error}"))
}

/// What is wrong with the files, all of it at once.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    /// The file must hold this; with `UPDATE_WIRE=1` it does from then on.
    fn compare(&mut self, name: &str, found: &[u8]) {
        let path = folder().join(name);
        let expected = fs::read(&path).ok();
        if expected.as_deref() == Some(found) {
            return;
        }
        if std::env::var_os("UPDATE_WIRE").is_some_and(|value| value == "1") {
            fs::write(&path, found).unwrap();
            self.0.push(format!("{name} was written anew"));
        } else {
            let expected = expected.map_or("no file".to_owned(), |expected| {
                expected.escape_ascii().to_string()
            });
            self.0.push(format!(
                "{name}\n  is    {expected}\n  not   {}",
                found.escape_ascii()
            ));
        }
    }

    fn none(self) {
        assert!(self.0.is_empty(), "{}", self.0.join("\n"));
    }
}

/// The part of an HTTP message behind its headers.
fn body(message: &[u8]) -> &[u8] {
    let end = message.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    &message[end + 4..]
}

/// The value of a header of a message.
fn header<'a>(message: &'a [u8], name: &str) -> Option<&'a str> {
    let head = &message[..message.len() - body(message).len()];
    let mut lines = std::str::from_utf8(head).unwrap().split("\r\n");
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

// ---- what the module sends to Planfix ---------------------------------------------------------------------------------

/// A CRM that answers everything with the same bytes, and keeps what it was sent.
struct Crm {
    url: String,
    port: u16,
    requests: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Crm {
    fn answering(reply: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::<Mutex<Vec<_>>>::default();
        let heard = Arc::clone(&requests);
        // It ends with the process: nobody connects any more when the test is over.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (reply, heard) = (reply.clone(), Arc::clone(&heard));
                thread::spawn(move || serve(stream.unwrap(), &reply, &heard));
            }
        });
        Self {
            url: format!("http://127.0.0.1:{port}/tel/api"),
            port,
            requests,
        }
    }

    /// The first request, its variable parts named. All others were the same.
    fn request(&self) -> Vec<u8> {
        let requests = self.requests.lock().unwrap();
        let first = &requests[0];
        assert!(requests.iter().all(|other| other == first), "{requests:?}");
        let text = String::from_utf8(first.clone()).unwrap();
        let (host, program) = (
            format!("Host: 127.0.0.1:{}\r\n", self.port),
            concat!("res_planfix/", env!("CARGO_PKG_VERSION")),
        );
        // Header names are small letters or not: that is of the wire, too.
        let (small, large) = (host.to_lowercase(), "Host: 127.0.0.1:{port}\r\n");
        let text = text
            .replacen(&host, large, 1)
            .replacen(&small, &large.to_lowercase(), 1)
            .replacen(program, "res_planfix/{version}", 1);
        text.into_bytes()
    }

    fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

fn serve(stream: TcpStream, reply: &[u8], heard: &Mutex<Vec<Vec<u8>>>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read_until(b'\n', &mut request) {
                Ok(1..) => {}
                _ => return,
            }
        }
        let head = String::from_utf8(request.clone()).unwrap().to_lowercase();
        let length = head
            .split("\r\n")
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        if stream.read_exact(&mut body).is_err() {
            return;
        }
        request.extend(body);
        heard.lock().unwrap().push(request);
        if stream.get_mut().write_all(reply).is_err() {
            return;
        }
    }
}

/// The delivery to such a CRM.
struct Bench {
    crm: Crm,
    settings: Settings,
    delivery: Delivery,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn answered_with(reply: Vec<u8>) -> Self {
        let crm = Crm::answering(reply);
        let lines = [
            ("planfix", "url", &*crm.url),
            ("planfix", "token", TOKEN),
            ("planfix", "pbx_token", PBX_TOKEN),
            ("contact", "timeout_ms", "10000"),
            ("delivery", "retry_max", "1"),
        ];
        let entries = lines.map(|(section, name, value)| Entry {
            section: section.to_owned(),
            name: name.to_owned(),
            value: value.to_owned(),
            file: "planfix.conf".to_owned(),
            line: 1,
        });
        let settings = Settings::read("planfix.conf", &entries).settings.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let around = delivery::Surroundings {
            folder: folder.path().join("planfix"),
            threads: Arc::new(StdThreads),
            clock: Arc::new(ShiftedClock::default()),
        };
        let delivery = Delivery::start(&settings.crm, &settings.delivery, around).unwrap();
        Self {
            crm,
            settings,
            delivery,
            _folder: folder,
        }
    }

    fn client(&self) -> Arc<Client> {
        self.delivery
            .client(&self.settings.crm, &self.settings.delivery)
            .unwrap()
    }

    fn until(&self, what: &str, holds: impl Fn(&Status) -> bool) {
        let until = Instant::now() + BOUND;
        while !holds(&self.delivery.status()) {
            assert!(Instant::now() < until, "{what}: {:#?}", self.delivery.status());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Tells this, and waits until it is delivered.
    fn delivers(&self, draft: Draft) {
        self.delivery.submit(vec![draft]).unwrap();
        self.until("it is delivered", |status| status.delivered == 1);
    }

    fn contacts(&self) -> Contacts {
        Contacts::start(
            &self.delivery,
            &self.settings,
            Arc::new(StdThreads),
            Arc::new(ShiftedClock::default()),
            Box::new(|_, _| {}),
        )
        .unwrap()
    }
}

/// No channel: everything stands in the arguments.
struct Nowhere;

impl Surroundings for Nowhere {
    fn linkedid(&self) -> Option<Vec<u8>> {
        None
    }
    fn caller_number(&self) -> Option<Vec<u8>> {
        None
    }
    fn dialed_number(&self) -> Option<Vec<u8>> {
        None
    }
    fn exten(&self) -> Option<Vec<u8>> {
        None
    }
    fn name(&self) -> Option<Vec<u8>> {
        None
    }
    fn variable(&self, _: &str) -> Option<Vec<u8>> {
        None
    }
    fn talk_seconds(&self) -> Option<u64> {
        None
    }
    fn answered_seconds(&self) -> Option<u64> {
        None
    }
    fn exists(&self) -> bool {
        false
    }
}

fn calls() -> Calls {
    Calls {
        internal: Patterns::parse("_XXX").unwrap(),
        trunks: Trunks::parse("PJSIP/trunk*").unwrap(),
        ..Calls::default()
    }
}

/// Everything that is told of calls, and the dialplan that tells it: `CALL` stands for what is always the same.
const TOLD: [(&str, &str); 17] = [
    ("event-incoming", "INCOMING,CALL,type=in"),
    ("event-outgoing", "OUTGOING,CALL,type=out"),
    ("event-accepted-in", "ACCEPTED,CALL,type=in"),
    ("event-accepted-out", "ACCEPTED,CALL,type=out"),
    ("event-completed-in-success", "COMPLETED,CALL,,12,Success,type=in"),
    ("event-completed-in-missed", "COMPLETED,CALL,,0,Missed,type=in"),
    (
        "event-completed-in-cancelled",
        "COMPLETED,CALL,,0,Cancelled,type=in",
    ),
    (
        "event-completed-out-success",
        "COMPLETED,CALL,,12,Success,type=out",
    ),
    ("event-completed-out-busy", "COMPLETED,CALL,,0,Busy,type=out"),
    (
        "event-completed-out-no-answer",
        "COMPLETED,CALL,,0,NoAnswer,type=out",
    ),
    (
        "event-completed-out-not-available",
        "COMPLETED,CALL,,0,NotAvailable,type=out",
    ),
    (
        "event-completed-out-not-allowed",
        "COMPLETED,CALL,,0,NotAllowed,type=out",
    ),
    (
        "event-completed-recorded",
        "COMPLETED,CALL,,12,Success,type=in,is_recorded=1",
    ),
    ("event-completed-linked", "COMPLETED,CALL,LINK,12,Success,type=in"),
    (
        "event-completed-data",
        "COMPLETED,CALL,,12,Success,type=in,data_utm_source=yandex & co,data_Источник=Реклама",
    ),
    ("record", "RECORD,,,1700000000.1,LINK"),
    ("record-temporary", "RECORD,,,1700000000.1,LINK,is_temp=1"),
];

/// What PLANFIX_EVENT makes of such a line.
fn from_the_dialplan(line: &str) -> Draft {
    let call = format!("{PHONE},101,1700000000.1");
    let line = line.replace("CALL", &call).replace("LINK", LINK);
    let line = if line.starts_with("RECORD") {
        line
    } else {
        line + ",diversion=74951112233"
    };
    match read(line.as_bytes(), &Nowhere, &calls(), &|_| None) {
        Verdict::Queue {
            mut drafts,
            warning: None,
            ..
        } if drafts.len() == 1 => drafts.remove(0),
        other => panic!("{line}: {other:?}"),
    }
}

fn request(name: &str) -> String {
    format!("planfix/requests/{name}.http")
}

#[test]
fn what_is_told_of_calls_is_on_the_wire_as_the_protocol_has_it() {
    let mut faults = Faults::default();
    for (name, line) in TOLD {
        let bench = Bench::answered_with(file("planfix/replies/event-200.http"));
        bench.delivers(from_the_dialplan(line));
        faults.compare(&request(name), &bench.crm.request());
    }
    faults.none();
}

#[test]
fn contact_and_ping_are_on_the_wire_as_the_protocol_has_them() {
    let mut faults = Faults::default();
    let bench = Bench::answered_with(file("planfix/replies/contact-known.http"));
    let contacts = bench.contacts();
    assert_eq!(contacts.ask(PHONE).0.name(), "Иван Петров");
    contacts.close();
    faults.compare(&request("contact"), &bench.crm.request());
    let bench = Bench::answered_with(file("planfix/replies/ping-200.http"));
    assert!(bench.client().ping().is_ok());
    faults.compare(&request("ping"), &bench.crm.request());
    faults.none();
}

/// The tracker's requests for a call that the PBX has gone through, as names of files where they are of employee 101.
fn followed(call: impl FnOnce(&mut Pbx)) -> Vec<String> {
    let mut pbx = Pbx::new();
    let mut tracker = Tracker::new(Arc::new(calls()), Vec::new());
    let looked = pbx.look();
    call(&mut pbx);
    let mut told = Vec::new();
    for record in looked.into_iter().chain(pbx.records()) {
        tracker.record(&record);
        for output in tracker.take() {
            if let Output::Tell(drafts) = output {
                told.extend(drafts);
            }
        }
    }
    let own = told.into_iter().filter(|draft| draft.ext == "101");
    own.map(|draft| named(&draft)).collect()
}

/// The file whose body this is; the body itself where there is none.
fn named(draft: &Draft) -> String {
    let whole = format!("{}&planfix_token={TOKEN}", draft.body);
    let found = TOLD
        .iter()
        .find(|(name, _)| body(&file(&request(name))) == whole.as_bytes());
    found.map_or(whole, |(name, _)| (*name).to_owned())
}

#[test]
fn following_calls_sends_the_same_bytes_as_telling_of_them() {
    let talk = |pbx: &mut Pbx| {
        let client = pbx.client_calls("89101234567", "84951112233");
        let [phone] = pbx.dials(client, ["101"]);
        pbx.rings(phone);
        pbx.answers(phone);
        pbx.wait(12);
        pbx.hangs_up(client);
    };
    assert_eq!(
        followed(talk),
        [
            "event-incoming",
            "event-accepted-in",
            "event-completed-in-success"
        ]
    );
    let missed = |pbx: &mut Pbx| {
        let client = pbx.client_calls("89101234567", "84951112233");
        let [phone] = pbx.dials(client, ["101"]);
        pbx.rings(phone);
        pbx.hangs_up(client);
    };
    assert_eq!(followed(missed), ["event-incoming", "event-completed-in-missed"]);
    let taken_by_another = |pbx: &mut Pbx| {
        let client = pbx.client_calls("89101234567", "84951112233");
        let [one, two] = pbx.dials(client, ["101", "102"]);
        pbx.rings(one);
        pbx.rings(two);
        pbx.answers(two);
        pbx.hangs_up(client);
    };
    assert_eq!(
        followed(taken_by_another),
        ["event-incoming", "event-completed-in-cancelled"]
    );
}

#[test]
fn recordings_send_the_same_bytes_whoever_tells_of_them() {
    assert_eq!(named(&recording::draft("1700000000.1", LINK)), "record");
    let mut end = from_the_dialplan("COMPLETED,CALL,,12,Success,type=in");
    end.body = recording::promising(&end.body);
    assert_eq!(named(&end), "event-completed-recorded");
    end.body = recording::with_link(&end.body, LINK);
    assert_eq!(named(&end), "event-completed-linked");
}

#[test]
fn following_outbound_calls_sends_the_same_bytes_as_telling_of_them() {
    let calls = |end: &'static str| {
        move |pbx: &mut Pbx| {
            let phone = pbx.phone_calls("101", "89101234567");
            let client = pbx.dials_out(phone, "89101234567", Owner::Client);
            match end {
                "" => {
                    pbx.answers(client);
                    pbx.wait(12);
                }
                status => pbx.fails(client, status, 0),
            }
            pbx.hangs_up(phone);
        }
    };
    for (end, names) in [
        (
            "",
            &[
                "event-outgoing",
                "event-accepted-out",
                "event-completed-out-success",
            ][..],
        ),
        ("BUSY", &["event-outgoing", "event-completed-out-busy"]),
        ("NOANSWER", &["event-outgoing", "event-completed-out-no-answer"]),
        (
            "CHANUNAVAIL",
            &["event-outgoing", "event-completed-out-not-available"],
        ),
    ] {
        // The company's number is not among what such a call's channels know: the employee's stands there.
        let told = followed(calls(end));
        let told: Vec<&str> = told
            .iter()
            .map(|body| {
                let known = TOLD.iter().find(|(name, _)| {
                    let file = file(&request(name));
                    let file = String::from_utf8(self::body(&file).to_vec()).unwrap();
                    file.replace("diversion=74951112233", "diversion=101") == *body
                });
                known.map_or(&**body, |(name, _)| *name)
            })
            .collect();
        assert_eq!(told, names, "{end}");
    }
}

// ---- how Planfix's replies are read -----------------------------------------------------------------------------------

/// What the delivery does with a request that was answered so.
fn settles(bench: &Bench, policy: Option<Policy>) {
    bench.until(&format!("{policy:?}"), |status| {
        let heard = bench.crm.count() > 0 && status.inbox == 0;
        heard
            && match policy {
                None => (status.delivered, status.failed, status.pending) == (1, 0, 0),
                Some(Policy::Fail) => (status.delivered, status.failed, status.pending) == (0, 1, 0),
                Some(Policy::Stop) => status.condition == Condition::Misconfigured && status.pending == 1,
                Some(Policy::Wait(_)) => status.condition == Condition::Down && status.pending == 1,
                Some(Policy::Retry) => bench.crm.count() > 1 && status.delivered + status.failed == 0,
            }
    });
}

/// How the module reads it, in words.
fn understood(name: &str, reply: Vec<u8>) -> String {
    let bench = Bench::answered_with(reply);
    let trouble = |trouble: &Trouble| format!("{trouble}\n{:?}\n", trouble.policy());
    match name.split('-').next().unwrap() {
        "contact" => {
            let contacts = bench.contacts();
            let (contact, how) = contacts.ask(PHONE);
            contacts.close();
            let internal = calls().internal;
            let told = [What::Name, What::Responsible].map(|what| {
                let (value, status) = value(what, &contact, how, &internal);
                format!("{what:?}: {value} ({status})\n")
            });
            told.concat()
        }
        "ping" => match bench.client().ping() {
            Ok(pong) => format!("pbx_token: {}\npbx_url: {}\n", pong.pbx_token, pong.pbx_url),
            Err(fault) => trouble(&fault),
        },
        kind => {
            let line = if kind == "record" {
                "RECORD,,,1700000000.1,LINK"
            } else {
                TOLD[0].1
            };
            let draft = from_the_dialplan(line);
            let reply = bench.client().send(&draft.body).unwrap();
            let read = reply.acknowledged(SystemTime::UNIX_EPOCH);
            bench.delivery.submit(vec![draft]).unwrap();
            settles(&bench, read.as_ref().err().map(Trouble::policy));
            read.map_or_else(|fault| trouble(&fault), |()| "acknowledged\n".to_owned())
        }
    }
}

#[test]
fn planfixs_replies_are_read_as_the_protocol_has_them() {
    let mut faults = Faults::default();
    for name in names("planfix/replies", "http") {
        let reply = file(&format!("planfix/replies/{name}.http"));
        let read = understood(&name, reply);
        faults.compare(&format!("planfix/replies/{name}.read"), read.as_bytes());
    }
    faults.none();
}

// ---- what Planfix asks of the PBX -------------------------------------------------------------------------------------

/// The request as it is when its named parts are filled in.
fn filled(request: &[u8]) -> Vec<u8> {
    let encoded: String = form_urlencoded::byte_serialize(PLANFIX_URL.as_bytes()).collect();
    let text = String::from_utf8(request.to_vec())
        .unwrap()
        .replace("{pbx_token}", PBX_TOKEN)
        .replace("{planfix_token}", TOKEN)
        .replace("{planfix_url}", &encoded);
    let length = body(text.as_bytes()).len();
    text.replace("{length}", &length.to_string()).into_bytes()
}

/// What the PBX is to do, or why not and what Planfix is told in place of the refusal's own words: the steps of
/// `entry::http_api` that need no Asterisk, in its order.
fn taken(request: &[u8]) -> Result<String, (Refusal, Option<String>)> {
    if !request.starts_with(b"POST ") {
        return Err((Refusal::Method, None));
    }
    let kind = header(request, "Content-Type").unwrap_or_default();
    let form = Form::parse(body(request)).filter(|_| is_form(kind.as_bytes()));
    let form = form.ok_or((Refusal::Form, None))?;
    if !Secret::new(PBX_TOKEN).matches(form.get("token").as_bytes()) {
        return Err((Refusal::Token, None));
    }
    match form.get("cmd") {
        "makeCall" => match Click::read(&form, &calls().internal, &Callback::default()) {
            Ok(click) => Ok(format!("{} calls {}\n", click.from, click.to)),
            Err(refusal) => Err((refusal, None)),
        },
        "setup" => match Setup::read(&form) {
            Ok(setup) => Ok(format!("url: {}\ntoken: {}\n", setup.url, setup.token.expose())),
            Err(text) => Err((Refusal::Setup, Some(text))),
        },
        _ => Err((Refusal::Command, None)),
    }
}

/// What only the state of the module decides: the request by itself is a good one.
const BY_STATE: [(&str, Refusal); 2] = [
    ("make-call-too-often", Refusal::Rate),
    ("setup-pinned", Refusal::Pinned),
];

#[test]
fn planfixs_requests_are_read_and_answered_as_the_protocol_has_them() {
    let mut faults = Faults::default();
    for name in names("pbx/requests", "http") {
        let taken = taken(&filled(&file(&format!("pbx/requests/{name}.http"))));
        let read = match &taken {
            Ok(text) => text.clone(),
            Err((refusal, _)) => format!("{refusal:?}: {}\n", refusal.sentence()),
        };
        faults.compare(&format!("pbx/requests/{name}.read"), read.as_bytes());
        let by_state = BY_STATE.iter().find(|(known, _)| *known == name);
        let (status, told) = match (&taken, by_state) {
            (Ok(_), None) => (200, String::new()),
            (Ok(_), Some((_, refusal))) => (refusal.status(), refusal.error().to_owned()),
            (Err((refusal, told)), None) => (
                refusal.status(),
                told.clone().unwrap_or_else(|| refusal.error().to_owned()),
            ),
            (Err(_), Some(_)) => panic!("{name} is no good request"),
        };
        let expected = if told.is_empty() {
            String::new()
        } else {
            serde_json::json!({ "error": told }).to_string()
        };
        let reply = file(&format!("pbx/replies/{name}.http"));
        assert!(
            reply.starts_with(format!("HTTP/1.1 {status} ").as_bytes()),
            "{name} is answered {status}"
        );
        assert_eq!(std::str::from_utf8(body(&reply)).unwrap(), expected, "{name}");
        assert_eq!(
            header(&reply, "Content-Length"),
            Some(&*expected.len().to_string()),
            "{name}"
        );
    }
    faults.none();
}

// ---- that the files are these and no others ---------------------------------------------------------------------------

/// The files of a folder with that extension, without it.
fn names(of: &str, extension: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(folder().join(of)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let named = paths.filter(|path| path.extension().is_some_and(|own| own == extension));
    named
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn no_file_is_missing_and_none_is_there_for_nothing() {
    let mut requests = set(&["contact", "ping"]);
    requests.extend(TOLD.iter().map(|(name, _)| (*name).to_owned()));
    assert_eq!(names("planfix/requests", "http"), requests);
    // By the page: sections 1 and 2 of the protocol. Then what it leaves open and servers do all the same.
    let replies = set(&[
        "event-200",
        "event-400",
        "event-401",
        "record-200",
        "record-400",
        "record-401",
        "contact-known",
        "contact-known-as-text",
        "contact-without-responsible",
        "contact-400",
        "contact-401",
        "ping-200",
        "ping-401",
        "contact-of-somebody-else",
        "contact-unknown-object",
        "contact-unknown-list",
        "contact-unknown-null",
        "contact-unknown-empty",
        "contact-unquoted",
        "event-400-unquoted",
        "event-401-unquoted",
        "event-200-object",
        "event-200-error",
        "event-200-page",
        "event-301",
        "event-403",
        "event-404",
        "event-405",
        "event-429",
        "event-500",
        "event-502",
        "event-503",
    ]);
    assert_eq!(names("planfix/replies", "http"), replies);
    assert_eq!(names("planfix/replies", "read"), replies);
    let asked = set(&[
        "make-call",
        "make-call-as-written",
        "make-call-wrong-key",
        "make-call-without-key",
        "make-call-without-from",
        "make-call-without-to",
        "make-call-with-extension",
        "make-call-from-outside",
        "make-call-doubled",
        "make-call-as-json",
        "make-call-by-get",
        "make-call-too-often",
        "unknown-command",
        "setup",
        "setup-wrong-key",
        "setup-without-address",
        "setup-unencrypted",
        "setup-pinned",
    ]);
    assert_eq!(names("pbx/requests", "http"), asked);
    assert_eq!(names("pbx/requests", "read"), asked);
    assert_eq!(names("pbx/replies", "http"), asked);
    for (folder, extensions) in [
        ("planfix/requests", &["http"][..]),
        ("planfix/replies", &["http", "read"]),
        ("pbx/requests", &["http", "read"]),
        ("pbx/replies", &["http"]),
    ] {
        let known: usize = extensions
            .iter()
            .map(|extension| names(folder, extension).len())
            .sum();
        assert_eq!(
            fs::read_dir(self::folder().join(folder)).unwrap().count(),
            known,
            "{folder}"
        );
    }
}

#[test]
fn events_have_the_types_and_statuses_of_the_protocol_and_all_of_them() {
    let told: BTreeSet<(String, String, String)> = TOLD
        .iter()
        .map(|(_, line)| from_the_dialplan(line))
        .filter(|draft| draft.field("cmd") == "event")
        .map(|draft| (draft.field("type"), draft.field("event"), draft.field("status")))
        .collect();
    let mut expected = BTreeSet::new();
    let mut expect = |direction: Direction, event: &str, status: &str| {
        expected.insert((direction.word().to_owned(), event.to_owned(), status.to_owned()));
    };
    expect(Direction::In, "INCOMING", "");
    expect(Direction::Out, "OUTGOING", "");
    for direction in [Direction::In, Direction::Out] {
        expect(direction, "ACCEPTED", "");
    }
    for status in ["Success", "Missed", "Cancelled"] {
        expect(Direction::In, "COMPLETED", status);
    }
    for status in ["Success", "Busy", "NoAnswer", "NotAvailable", "NotAllowed"] {
        expect(Direction::Out, "COMPLETED", status);
    }
    assert_eq!(told, expected);
}
