//! PLANFIX_EVENT from its arguments to the requests, without Asterisk.

use res_planfix::core::direction::Direction;
use res_planfix::core::disposition::StatusMap;
use res_planfix::core::pattern::Patterns;
use res_planfix::core::planfix_event::{Surroundings, Verdict, read};
use res_planfix::core::settings::Calls;

#[derive(Default)]
struct Channel {
    linkedid: Option<&'static str>,
    caller: Option<&'static str>,
    dialed: Option<&'static str>,
    exten: Option<&'static str>,
    name: Option<&'static str>,
    variables: Vec<(&'static str, &'static str)>,
    talked: Option<u64>,
    answered: Option<u64>,
    exists: bool,
}

fn bytes(text: Option<&'static str>) -> Option<Vec<u8>> {
    text.map(|text| text.as_bytes().to_vec())
}

impl Surroundings for Channel {
    fn linkedid(&self) -> Option<Vec<u8>> {
        bytes(self.linkedid)
    }
    fn caller_number(&self) -> Option<Vec<u8>> {
        bytes(self.caller)
    }
    fn dialed_number(&self) -> Option<Vec<u8>> {
        bytes(self.dialed)
    }
    fn exten(&self) -> Option<Vec<u8>> {
        bytes(self.exten)
    }
    fn name(&self) -> Option<Vec<u8>> {
        bytes(self.name)
    }
    fn variable(&self, name: &str) -> Option<Vec<u8>> {
        bytes(
            self.variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| *value),
        )
    }
    fn talk_seconds(&self) -> Option<u64> {
        self.talked
    }
    fn answered_seconds(&self) -> Option<u64> {
        self.answered
    }
    fn exists(&self) -> bool {
        self.exists
    }
    fn is_recorded(&self) -> bool {
        self.variable("MIXMONITOR_FILENAME").is_some()
    }
}

fn calls(status_map: StatusMap) -> Calls {
    Calls {
        internal: Patterns::parse("_XXX,_XXXX").unwrap(),
        status_map,
        ..Calls::default()
    }
}

fn ask(args: &[u8], channel: &Channel, calls: &Calls) -> Verdict {
    read(args, channel, calls, &|_| None)
}

fn bodies(verdict: Verdict) -> Vec<String> {
    match verdict {
        Verdict::Queue { drafts, .. } => drafts.into_iter().map(|draft| draft.body).collect(),
        other => panic!("{other:?}"),
    }
}

fn one(args: &str) -> String {
    let mut bodies = bodies(ask(args.as_bytes(), &Channel::default(), &calls(StatusMap::Api)));
    assert_eq!(bodies.len(), 1);
    bodies.remove(0)
}

fn rejection(args: &[u8]) -> String {
    match ask(args, &Channel::default(), &calls(StatusMap::Api)) {
        Verdict::Reject(sentence) => sentence,
        other => panic!("{other:?}"),
    }
}

/// What planfix-in.php and planfix-end.php give to http_build_query(), without the token.
fn php(fields: &[(&str, &str)]) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields {
        form.append_pair(name, value);
    }
    form.finish()
}

#[test]
fn incoming_is_what_planfix_in_php_sends() {
    let expected = php(&[
        ("cmd", "event"),
        ("type", "in"),
        ("event", "INCOMING"),
        ("phone", "84959898533"),
        ("diversion", "101"),
        ("ext", "101"),
        ("callid", "1574.3"),
    ]);
    assert_eq!(one("INCOMING,84959898533,101,1574.3"), expected);
    assert_eq!(one(" incoming ,84959898533,101,1574.3"), expected);
}

#[test]
fn end_is_what_planfix_end_php_sends_for_every_disposition() {
    let settings = calls(StatusMap::Voxlink);
    for (disposition, status, accepted) in [
        ("ANSWERED", "Success", true),
        ("ANSWER", "Success", false),
        ("NO ANSWER", "Cancelled", false),
        ("BUSY", "Missed", false),
        ("FAILED", "Cancelled", false),
        ("CONGESTION", "Cancelled", false),
        ("", "Missed", false),
        ("nonsense", "Cancelled", false),
    ] {
        let args = format!(
            "END,84959898533,101,1574.3,http://192.168.170.197:8077/monitor/a b.mp3,17,{disposition}"
        );
        let common = [
            ("phone", "84959898533"),
            ("diversion", "101"),
            ("ext", "101"),
            ("callid", "1574.3"),
        ];
        let mut expected = Vec::new();
        if accepted {
            expected.push(php(&[
                &[("cmd", "event"), ("type", "in"), ("event", "ACCEPTED")][..],
                &common,
            ]
            .concat()));
        }
        expected.push(php(&[
            &[("cmd", "event"), ("type", "in"), ("event", "COMPLETED")][..],
            &common,
            &[
                ("duration", "17"),
                ("is_recorded", "1"),
                ("status", status),
                ("record_link", "http://192.168.170.197:8077/monitor/a b.mp3"),
            ],
        ]
        .concat()));
        assert_eq!(
            bodies(ask(args.as_bytes(), &Channel::default(), &settings)),
            expected,
            "{disposition}"
        );
    }
}

#[test]
fn end_with_the_protocols_statuses() {
    let body = |args: &str| bodies(ask(args.as_bytes(), &Channel::default(), &calls(StatusMap::Api)));
    let missed = body("END,79101234567,101,c,,0,NO ANSWER");
    assert_eq!(missed.len(), 1);
    assert!(
        missed[0].ends_with("&duration=0&is_recorded=0&status=Missed"),
        "{missed:?}"
    );
    let answered = body("END,79101234567,101,c,https://x/1.mp3,42,ANSWER");
    assert!(answered[0].contains("event=ACCEPTED"));
    assert!(
        answered[1]
            .ends_with("&duration=42&is_recorded=1&status=Success&record_link=https%3A%2F%2Fx%2F1.mp3")
    );
    let busy = body("END,79101234567,101,c,,0,BUSY,type=out");
    assert!(
        busy[0].contains("type=out") && busy[0].ends_with("status=Busy"),
        "{busy:?}"
    );
}

#[test]
fn keys_set_what_has_no_place_of_its_own() {
    let body = one(
        "COMPLETED,79101234567,101,c,,5,ANSWERED,type=out,diversion=74950000000,is_recorded=1,data_Источник=Яндекс & Ко=1, data_x=",
    );
    let pairs: Vec<(String, String)> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let value = |name: &str| {
        pairs
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    };
    assert_eq!(value("type"), Some("out"));
    assert_eq!(value("diversion"), Some("74950000000"));
    assert_eq!(value("is_recorded"), Some("1"));
    assert_eq!(value("data_Источник"), Some("Яндекс & Ко=1"));
    assert_eq!(value("data_x"), Some(""));
    // A key may also stand where the link would.
    assert!(one("INCOMING,79101234567,101,c,diversion=74950000000").contains("diversion=74950000000"));
}

#[test]
fn record_needs_only_the_call_and_the_link() {
    assert_eq!(
        one("RECORD,,,c 1,https://x/a.mp3"),
        "cmd=record&callid=c+1&record_link=https%3A%2F%2Fx%2Fa.mp3"
    );
    assert_eq!(
        one("RECORD,,,c,https://x/a,is_temp=1"),
        "cmd=record&callid=c&record_link=https%3A%2F%2Fx%2Fa&is_temp=1"
    );
    assert!(rejection(b"RECORD,,,c").contains("argument 5 (record_link)"));
}

#[test]
fn every_byte_arrives_as_it_was() {
    for value in [
        "Иван +7 & co=100%".as_bytes(),
        "😀".as_bytes(),
        b"\xff\xfe\xd0",
        b"%s%n",
        b"a'b<c>",
    ] {
        let args = [b"INCOMING,79101,101,c,,,,data_x=".as_slice(), value].concat();
        let args = [b"COMPLETED".as_slice(), &args[8..]].concat();
        let body = bodies(ask(&args, &Channel::default(), &calls(StatusMap::Api))).remove(0);
        let encoded = body.rsplit_once("data_x=").unwrap().1;
        let decoded: Vec<u8> = percent_decode(encoded);
        assert_eq!(decoded, value);
        assert!(body.is_ascii());
    }
}

fn percent_decode(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => u8::from_str_radix(
                &String::from_utf8(vec![bytes.next().unwrap(), bytes.next().unwrap()]).unwrap(),
                16,
            )
            .unwrap(),
            byte => byte,
        });
    }
    decoded
}

#[test]
fn wrong_arguments_are_named() {
    for (args, expected) in [
        (&b""[..], "argument 1 (event) is ''"),
        (
            b"RINGING,1,2,3",
            "argument 1 (event) is 'RINGING': expected INCOMING, OUTGOING, ACCEPTED, COMPLETED, RECORD or END",
        ),
        (b"INCOMING,,101,c", "argument 2 (phone) is empty"),
        (b"INCOMING,7910,,c", "argument 3 (ext) is empty"),
        (b"INCOMING,79101,101", "argument 4 (callid) is empty"),
        (
            b"INCOMING,79\n10,101,c",
            "argument 2 (phone) holds the control character 0x0a",
        ),
        (
            b"INCOMING,79101,101,c,,,,colour=red",
            "argument 8 has the key 'colour'",
        ),
        (
            b"INCOMING,79101,101,c,,,,red",
            "argument 8 is 'red': expected key=value",
        ),
        (
            b"INCOMING,79101,101,c,,,,type=sideways",
            "argument 8 (type) is 'sideways': expected in or out",
        ),
        (
            b"INCOMING,79101,101,c,,,,type=out",
            "type=out contradicts the event",
        ),
        (
            b"COMPLETED,79101,101,c,,,,is_recorded=yes",
            "argument 8 (is_recorded) is 'yes': expected 0 or 1",
        ),
    ] {
        let sentence = rejection(args);
        assert!(sentence.contains(expected), "{sentence}");
    }
    let long = [b"INCOMING,".as_slice(), &[b'7'; 4096], b",101,c"].concat();
    assert_eq!(
        rejection(&long),
        "argument 2 (phone) is 4096 bytes long: at most 128 are accepted"
    );
    let nonsense = [b"\x1b[31m".as_slice(), &[0xd0; 300]].concat();
    assert!(rejection(&nonsense).len() < 300, "a message stays short");
}

#[test]
fn an_end_is_never_lost_to_a_doubtful_argument() {
    match ask(
        b"END,79101,101,c,,soon,WHATEVER",
        &Channel::default(),
        &calls(StatusMap::Api),
    ) {
        Verdict::Queue { drafts, warning, .. } => {
            let warning = warning.unwrap();
            assert!(
                warning.contains("argument 7 (disposition) is 'WHATEVER'"),
                "{warning}"
            );
            assert!(warning.contains("argument 6 (duration) is 'soon'"), "{warning}");
            assert!(drafts[0].body.ends_with("duration=0&is_recorded=0&status=Missed"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn internal_calls_are_ignored() {
    assert_eq!(
        ask(b"INCOMING,102,101,c", &Channel::default(), &calls(StatusMap::Api)),
        Verdict::Ignore("both numbers are internal")
    );
}

#[test]
fn what_is_left_empty_comes_from_an_inbound_channel() {
    let channel = Channel {
        linkedid: Some("1763.7"),
        caller: Some("79101234567"),
        exten: Some("101"),
        variables: vec![
            ("FROM_DID", "74951112233"),
            ("ANSWEREDTIME", "31"),
            ("DIALSTATUS", "ANSWER"),
            ("UTM", "ads"),
        ],
        answered: Some(60),
        exists: true,
        ..Channel::default()
    };
    let mut settings = calls(StatusMap::Api);
    settings.data = vec![
        ("источник".to_owned(), "UTM".to_owned()),
        ("пусто".to_owned(), "NOT_SET".to_owned()),
    ];
    let bodies = bodies(ask(b"END", &channel, &settings));
    let pairs: Vec<(String, String)> = form_urlencoded::parse(bodies[1].as_bytes())
        .into_owned()
        .collect();
    for (name, expected) in [
        ("phone", "79101234567"),
        ("ext", "101"),
        ("callid", "1763.7"),
        ("diversion", "74951112233"),
        ("duration", "31"),
        ("status", "Success"),
        ("data_источник", "ads"),
    ] {
        assert!(
            pairs.contains(&(name.to_owned(), expected.to_owned())),
            "{name}: {pairs:?}"
        );
    }
    assert!(!bodies[1].contains("%D0%BF%D1%83%D1%81%D1%82%D0%BE"));
}

#[test]
fn freepbx_keeps_the_extension_in_dexten() {
    let channel = Channel {
        linkedid: Some("c"),
        caller: Some("79101"),
        exten: Some("s"),
        variables: vec![("DEXTEN", "205")],
        exists: true,
        ..Channel::default()
    };
    assert!(bodies(ask(b"INCOMING", &channel, &calls(StatusMap::Api)))[0].contains("&ext=205&"));
}

#[test]
fn a_withheld_number_still_opens_a_card() {
    let channel = Channel {
        linkedid: Some("c"),
        exten: Some("101"),
        exists: true,
        ..Channel::default()
    };
    assert!(bodies(ask(b"INCOMING", &channel, &calls(StatusMap::Api)))[0].contains("phone=anonymous"));
}

#[test]
fn an_outbound_channel_tells_the_number_and_the_employee() {
    let mut channel = Channel {
        linkedid: Some("c"),
        dialed: Some("89161234567"),
        exten: Some("89161234567"),
        name: Some("PJSIP/101-00000001"),
        exists: true,
        ..Channel::default()
    };
    for (caller, ampuser, expected) in [
        (Some("102"), None, "102"),
        (Some("74951112233"), None, "101"),
        (None, Some("103"), "103"),
    ] {
        channel.caller = caller;
        channel.variables = ampuser.map(|ext| ("AMPUSER", ext)).into_iter().collect();
        let body = bodies(ask(b"OUTGOING", &channel, &calls(StatusMap::Api))).remove(0);
        assert!(
            body.contains("phone=79161234567&") && body.contains(&format!("&ext={expected}&")),
            "{body}"
        );
    }
}

#[test]
fn only_a_phone_from_the_channel_is_brought_into_the_crms_form() {
    let inbound = |caller, args: &str, settings: &Calls| {
        let channel = Channel {
            linkedid: Some("c"),
            caller: Some(caller),
            exten: Some("101"),
            exists: true,
            ..Channel::default()
        };
        let body = bodies(ask(args.as_bytes(), &channel, settings)).remove(0);
        let (_, phone) = form_urlencoded::parse(body.as_bytes())
            .find(|(name, _)| name == "phone")
            .unwrap();
        phone.into_owned()
    };
    let (api, voxlink) = (calls(StatusMap::Api), calls(StatusMap::Voxlink));
    for (caller, expected) in [
        ("89161234567", "79161234567"),
        ("+7 916 123-45-67", "79161234567"),
        ("Anonymous", "anonymous"),
        ("112", "112"),
    ] {
        assert_eq!(inbound(caller, "INCOMING,,pult", &api), expected);
        assert_eq!(
            inbound(caller, "INCOMING,,pult", &voxlink),
            caller,
            "as in the scripts"
        );
        assert_eq!(
            inbound("84950000000", &format!("INCOMING,{caller},pult"), &api),
            caller,
            "given"
        );
    }
    let mut own = calls(StatusMap::Api);
    own.numbering.set_area_code("495").unwrap();
    assert_eq!(inbound("6451234", "INCOMING", &own), "74956451234");
    own.internal = Patterns::parse("_64XXXXX").unwrap();
    assert_eq!(
        inbound("6451234", "INCOMING,,pult", &own),
        "6451234",
        "an employee's number is none of a client's"
    );
    assert_eq!(inbound("79161234567", "INCOMING,,6451234", &own), "79161234567");
}

#[test]
fn the_direction_is_remembered_for_the_rest_of_the_call() {
    let settings = calls(StatusMap::Api);
    let known = |callid: &str| (callid == "c1").then_some(Direction::Out);
    let tell = |args: &str| bodies(read(args.as_bytes(), &Channel::default(), &settings, &known));
    match read(b"OUTGOING,79101,101,c1", &Channel::default(), &settings, &known) {
        Verdict::Queue { direction, .. } => assert_eq!(direction, Some(Direction::Out)),
        other => panic!("{other:?}"),
    }
    assert!(tell("ACCEPTED,79101,101,c1")[0].contains("type=out"));
    assert!(tell("COMPLETED,79101,101,c1,,5,BUSY")[0].ends_with("status=Busy"));
    assert!(tell("ACCEPTED,79101,101,c2")[0].contains("type=in"));
}

#[test]
fn an_unanswered_call_has_no_talk_time_of_its_own_accord() {
    let channel = Channel {
        linkedid: Some("c"),
        answered: Some(40),
        exists: true,
        ..Channel::default()
    };
    let end = |args: &str| {
        bodies(ask(args.as_bytes(), &channel, &calls(StatusMap::Api)))
            .pop()
            .unwrap()
    };
    assert!(
        end("END,79101234567,101,c,,,NO ANSWER").contains("&duration=0&"),
        "a menu had answered"
    );
    assert!(end("END,79101234567,101,c,,,ANSWERED").contains("&duration=40&"));
    assert!(
        end("END,79101234567,101,c,,7,NO ANSWER").contains("&duration=7&"),
        "what is given is sent"
    );
}

#[test]
fn the_talk_time_is_what_call_duration_tells() {
    let channel = Channel {
        linkedid: Some("c"),
        talked: Some(12),
        answered: Some(40),
        variables: vec![("ANSWEREDTIME", "13")],
        exists: true,
        ..Channel::default()
    };
    let end = bodies(ask(
        b"END,79101234567,101,c,,,ANSWERED",
        &channel,
        &calls(StatusMap::Api),
    ))
    .pop()
    .unwrap();
    assert!(end.contains("&duration=12&"), "{end}");
}

#[test]
fn the_articles_table_does_not_stand_in_the_way_of_the_protocols_words() {
    let settings = calls(StatusMap::Voxlink);
    for status in ["Success", "Missed", "Cancelled"] {
        let args = format!("COMPLETED,79101234567,101,c,,0,{status}");
        match ask(args.as_bytes(), &Channel::default(), &settings) {
            Verdict::Queue { drafts, warning, .. } => {
                assert!(
                    drafts[0].body.contains(&format!("status={status}")) && warning.is_none(),
                    "{status} {warning:?}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_recorded_talk_promises_its_recording_unless_it_has_a_link_or_is_told_otherwise() {
    let calls = calls(StatusMap::Api);
    let channel = Channel {
        variables: vec![
            ("MIXMONITOR_FILENAME", "/monitor/a.wav"),
            ("DIALSTATUS", "ANSWER"),
        ],
        ..Channel::default()
    };
    let end = |args: &[u8]| bodies(ask(args, &channel, &calls)).pop().unwrap();
    assert!(end(b"END,79101234567,101,c").contains("&is_recorded=1&status=Success"));
    let linked = end(b"END,79101234567,101,c,https://x/a.mp3");
    assert!(
        linked.contains("&is_recorded=1") && linked.contains("&record_link=https"),
        "{linked}"
    );
    assert!(end(b"END,79101234567,101,c,,5,,is_recorded=0").contains("&is_recorded=0"));
    assert!(end(b"END,79101234567,101,c,,,NOANSWER").contains("&is_recorded=0&status=Missed"));
    assert!(!end(b"END,79101234567,101,c").contains("record_link"));
}
