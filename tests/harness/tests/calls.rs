//! Real SIP calls through a dialplan that uses PLANFIX_EVENT: the CRM gets exactly the requests that it should, and its
//! rules of order are kept.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::{
    Outcome, Plan, Sipp, Stage, Version, event, field, free_udp_port, on_both, until, workspace_root,
};
use serde_json::Value;

on_both! {
    a_number_that_rings_one_extension,
    a_group_that_rings_at_once,
    a_call_to_outside_with_its_recording,
    calls_among_employees_are_not_told,
    the_articles_dialplan_with_the_function_in_place_of_php,
    empty_arguments_are_taken_from_the_channel,
    analytics_fields_in_any_language,
    the_function_without_a_channel,
}

/// Long enough to tell talking from ringing, short beside a test.
const TALK: Duration = Duration::from_millis(2_200);
/// How long a phone may ring, in seconds: a phone that is to answer must have done so by then.
const RING: u64 = 5;
const BOUND: Duration = Duration::from_secs(30);
const CLIENT: &str = "79101234567";

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// What one request says, short: `in 101 COMPLETED Missed 0`. About as many seconds as [`TALK`] are `talk`. They can be
/// less by one, as the two sides do not begin at the same moment; on a machine that is held up they can be more, but not
/// more than the whole call has `lasted`.
fn line(entry: &Value, lasted: Duration) -> String {
    let [direction, ext, event] = ["type", "ext", "event"].map(|name| field(entry, name));
    match (field(entry, "cmd"), event) {
        ("record", _) => format!("record {}", field(entry, "record_link")),
        (_, "COMPLETED") => {
            let (status, duration) = (field(entry, "status"), field(entry, "duration"));
            let talk = duration
                .parse()
                .is_ok_and(|seconds| (TALK.as_secs() - 1..=lasted.as_secs()).contains(&seconds));
            format!(
                "{direction} {ext} COMPLETED {status} {}",
                if talk { "talk" } else { duration }
            )
        }
        _ => format!("{direction} {ext} {event}"),
    }
}

/// Lets a call happen and compares what the CRM was told of it, in order, with what is expected. Whatever else it was
/// told since the last call is a fault too. Returns the requests.
fn expect(
    stage: &Stage,
    what: &str,
    call: impl FnOnce() -> Result<()>,
    expected: &[&str],
) -> Result<Vec<Value>> {
    let before = stage.crm.log()?.len();
    let begin = Instant::now();
    call().with_context(|| what.to_owned())?;
    let lasted = begin.elapsed();
    stage
        .crm
        .wait_for(what, BOUND, |entries| entries.len() >= before + expected.len())?;
    stage.drained()?;
    let told = stage.crm.log()?.split_off(before);
    let lines: Vec<String> = told.iter().map(|entry| line(entry, lasted)).collect();
    ensure!(
        lines == expected,
        "{what} was told as\n{lines:#?}\nand not as\n{expected:#?}"
    );
    for entry in &told {
        for trouble in ["problems", "violations", "notes"] {
            ensure!(
                entry[trouble].as_array().is_some_and(Vec::is_empty),
                "{what}: the CRM has {trouble}: {entry}"
            );
        }
        ensure!(
            field(entry, "callid") == field(&told[0], "callid"),
            "{what} has two numbers: {told:#?}"
        );
    }
    Ok(told)
}

fn no_card_is_open(stage: &Stage) -> Result<()> {
    let state = stage.crm.get("/_sandbox/violations")?;
    let open = state["open_popups"].as_array().context("no list of cards")?;
    ensure!(state["total"] == 0 && open.is_empty(), "{state}");
    Ok(())
}

fn from_client(stage: &Stage, sipp: Sipp) -> Result<Outcome> {
    sipp.from_trunk().to(stage.asterisk.sip()).run()?.ensure_success()
}

/// The sample dialplan as it is shipped. What an administrator has to put in is put in: the provider's endpoint and the
/// time a phone rings.
fn sample(version: Version) -> Result<Plan> {
    let path = workspace_root().join("configs/samples/extensions_planfix.conf.sample");
    let trunk = free_udp_port();
    let mut text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    for (theirs, ours) in [
        (
            "PJSIP/${EXTEN}@provider",
            format!("PJSIP/trunk/sip:${{EXTEN}}@127.0.0.2:{trunk}"),
        ),
        (",30)", format!(",{RING})")),
        (",30,U(", format!(",{RING},U(")),
    ] {
        ensure!(
            text.contains(theirs),
            "the sample has no {theirs} any more: this test must change with it"
        );
        text = text.replace(theirs, &ours);
    }
    text.push_str(&format!(
        "\n[from-trunk]\ninclude => from-provider\n\n[from-internal]\ninclude => from-phones\n\
         exten => _1XX,1,Set(CHANNEL(hangup_handler_push)=planfix-end,s,1(${{EXTEN}}))\n \
         same => n,Set(PLANFIX=${{PLANFIX_EVENT(INCOMING,${{CALLERID(num)}},${{EXTEN}})}})\n \
         same => n,Dial(PJSIP/${{EXTEN}},{RING})\n",
    ));
    Ok(Stage::plan(version).asterisk(|builder| {
        ["101", "102", "103"]
            .into_iter()
            .fold(builder, harness::Builder::phone)
            .trunk_at(trunk)
            .extensions(&text)
    }))
}

fn a_number_that_rings_one_extension(version: Version) -> Result<()> {
    const DID: &str = "74951234501";
    sample(version)?.play(|stage| {
        let phone = stage.asterisk.phone("101");
        let told = expect(
            stage,
            "an answered call",
            || {
                let callee = Sipp::uas_answer(millis(300)).at(phone).start()?;
                from_client(stage, Sipp::uac_call(CLIENT, DID, TALK))?;
                callee.wait()?.ensure_success().map(drop)
            },
            &[
                "in 101 INCOMING",
                "in 101 ACCEPTED",
                "in 101 COMPLETED Success talk",
            ],
        )?;
        for entry in &told {
            ensure!(
                field(entry, "phone") == CLIENT && field(entry, "diversion") == DID,
                "{entry}"
            );
        }
        ensure!(field(&told[2], "is_recorded") == "0", "{}", told[2]);

        expect(
            stage,
            "a call that the employee ends",
            || {
                let callee = Sipp::uas_hangup(millis(0), TALK).at(phone).start()?;
                from_client(stage, Sipp::uac_listen(CLIENT, DID))?;
                callee.wait()?.ensure_success().map(drop)
            },
            &[
                "in 101 INCOMING",
                "in 101 ACCEPTED",
                "in 101 COMPLETED Success talk",
            ],
        )?;
        let missed = ["in 101 INCOMING", "in 101 COMPLETED Missed 0"];
        expect(
            stage,
            "a busy phone",
            || {
                let callee = Sipp::uas_busy().at(phone).start()?;
                from_client(stage, Sipp::uac_refused(CLIENT, DID, 486))?;
                callee.wait()?.ensure_success().map(drop)
            },
            &missed,
        )?;
        expect(
            stage,
            "a call that the employee declines",
            || {
                let callee = Sipp::uas_decline().at(phone).start()?;
                from_client(stage, Sipp::uac_refused(CLIENT, DID, 403))?;
                callee.wait()?.ensure_success().map(drop)
            },
            &missed,
        )?;
        expect(
            stage,
            "a call that nobody answers",
            || {
                let callee = Sipp::uas_noanswer().at(phone).start()?;
                from_client(stage, Sipp::uac_refused(CLIENT, DID, 603))?;
                callee.wait()?.ensure_success().map(drop)
            },
            &missed,
        )?;
        expect(
            stage,
            "a caller who gives up",
            || {
                let callee = Sipp::uas_noanswer().at(phone).start()?;
                from_client(stage, Sipp::uac_cancel(CLIENT, DID, millis(300)))?;
                callee.wait()?.ensure_success().map(drop)
            },
            &missed,
        )?;
        expect(
            stage,
            "a phone that is not there",
            || from_client(stage, Sipp::uac_refused(CLIENT, DID, 603)).map(drop),
            &missed,
        )?;
        no_card_is_open(stage)
    })
}

fn a_group_that_rings_at_once(version: Version) -> Result<()> {
    const DID: &str = "74951234502";
    let shown = ["in 101 INCOMING", "in 102 INCOMING", "in 103 INCOMING"];
    sample(version)?.play(|stage| {
        let ringing = |number: &str| Sipp::uas_noanswer().at(stage.asterisk.phone(number)).start();
        expect(
            stage,
            "a group of which one answers",
            || {
                let others = [ringing("101")?, ringing("103")?];
                let callee = Sipp::uas_answer(millis(300))
                    .at(stage.asterisk.phone("102"))
                    .start()?;
                from_client(stage, Sipp::uac_call(CLIENT, DID, TALK))?;
                callee.wait()?.ensure_success()?;
                for other in others {
                    other.wait()?.ensure_success()?;
                }
                Ok(())
            },
            &[
                &shown[..],
                &[
                    "in 102 ACCEPTED",
                    "in 101 COMPLETED Cancelled 0",
                    "in 103 COMPLETED Cancelled 0",
                    "in 102 COMPLETED Success talk",
                ],
            ]
            .concat(),
        )?;
        expect(
            stage,
            "a group of which nobody answers",
            || {
                let others = [ringing("101")?, ringing("102")?, ringing("103")?];
                from_client(stage, Sipp::uac_refused(CLIENT, DID, 603))?;
                for other in others {
                    other.wait()?.ensure_success()?;
                }
                Ok(())
            },
            &[
                &shown[..],
                &[
                    "in 101 COMPLETED Missed 0",
                    "in 102 COMPLETED Cancelled 0",
                    "in 103 COMPLETED Cancelled 0",
                ],
            ]
            .concat(),
        )?;
        no_card_is_open(stage)
    })
}

fn a_call_to_outside_with_its_recording(version: Version) -> Result<()> {
    const DIALLED: &str = "89101234567";
    sample(version)?.play(|stage| {
        let provider = stage.asterisk.trunk();
        let call = |sipp: Sipp| sipp.to(stage.asterisk.sip()).run()?.ensure_success();
        let before = stage.crm.log()?.len();
        let begin = Instant::now();
        let callee = Sipp::uas_answer(millis(300)).at(provider).start()?;
        call(Sipp::uac_call("101", DIALLED, TALK))?;
        callee.wait()?.ensure_success()?;
        let lasted = begin.elapsed();
        stage.taken_in(before + 4)?;
        stage.drained()?;
        let told = stage.crm.log()?.split_off(before);
        let lines: Vec<String> = told.iter().map(|entry| line(entry, lasted)).collect();
        ensure!(
            lines[..3]
                == [
                    "out 101 OUTGOING",
                    "out 101 ACCEPTED",
                    "out 101 COMPLETED Success talk"
                ]
                && lines[3].starts_with("record https://pbx.example.com/records/")
                && lines.len() == 4,
            "{lines:#?}"
        );
        ensure!(
            field(&told[0], "phone") == DIALLED && field(&told[0], "diversion") == "74951234501",
            "{}",
            told[0]
        );
        ensure!(field(&told[2], "is_recorded") == "1", "{}", told[2]);

        expect(
            stage,
            "a client who is busy",
            || {
                let callee = Sipp::uas_busy().at(provider).start()?;
                call(Sipp::uac_refused("101", DIALLED, 486))?;
                callee.wait()?.ensure_success().map(drop)
            },
            &["out 101 OUTGOING", "out 101 COMPLETED Busy 0"],
        )?;
        expect(
            stage,
            "an employee who gives up",
            || {
                let callee = Sipp::uas_noanswer().at(provider).start()?;
                call(Sipp::uac_cancel("101", DIALLED, millis(300)))?;
                callee.wait()?.ensure_success().map(drop)
            },
            &["out 101 OUTGOING", "out 101 COMPLETED NoAnswer 0"],
        )?;
        no_card_is_open(stage)
    })
}

fn calls_among_employees_are_not_told(version: Version) -> Result<()> {
    sample(version)?.play(|stage| {
        expect(
            stage,
            "a call among employees",
            || {
                let callee = Sipp::uas_answer(millis(0))
                    .at(stage.asterisk.phone("101"))
                    .start()?;
                Sipp::uac_call("102", "101", millis(200))
                    .to(stage.asterisk.sip())
                    .run()?
                    .ensure_success()?;
                callee.wait()?.ensure_success().map(drop)
            },
            &[],
        )?;
        let status = stage.status()?;
        ensure!(status.contains("0 queued, 1 ignored, 0 rejected"), "{status}");
        Ok(())
    })
}

/// The lines of the article that call PHP, with the function in their place and their arguments as they were: the card
/// before Dial(), the end in a handler at the hangup.
const ARTICLE: &str = "\
[from-trunk]
exten => _X.,1,Set(DEXTEN=101)
 same => n,Set(CHANNEL(hangup_handler_push)=hangupcall,s,1)
 same => n,NoOp(${PLANFIX_EVENT(INCOMING,84959898533,${DEXTEN},${CHANNEL(LINKEDID)})})
 same => n,Dial(PJSIP/${DEXTEN},5)
 same => n,Hangup()

[hangupcall]
exten => s,1,Set(FullFname=http://192.168.170.197:8077/monitor/2019/12/04/${UNIQUEID}.mp3)
 same => n,Set(CallMeDURATION=0${ANSWEREDTIME})
 same => n,Set(CallMeDISPOSITION=${CDR(disposition)})
 same => n,NoOp(${PLANFIX_EVENT(END,84959898533,${DEXTEN},${CHANNEL(LINKEDID)},${FullFname},${CallMeDURATION},${CallMeDISPOSITION})})
 same => n,Return()
";

fn the_articles_dialplan_with_the_function_in_place_of_php(version: Version) -> Result<()> {
    let plan = Stage::plan(version)
        .calls("status_map = voxlink")
        // The script sends is_recorded=1 and a link for calls that nobody answered.
        .crm("--allow")
        .crm("recorded-not-answered")
        .asterisk(|builder| builder.phone("101").extensions(ARTICLE));
    plan.play(|stage| {
        let phone = stage.asterisk.phone("101");
        let told = expect(
            stage,
            "an answered call",
            || {
                let callee = Sipp::uas_answer(millis(0)).at(phone).start()?;
                from_client(stage, Sipp::uac_call(CLIENT, "74951234501", TALK))?;
                callee.wait()?.ensure_success().map(drop)
            },
            &[
                "in 101 INCOMING",
                "in 101 ACCEPTED",
                "in 101 COMPLETED Success talk",
            ],
        )?;
        ensure!(
            field(&told[2], "record_link").starts_with("http://192.168.170.197:8077/monitor/2019/12/04/")
                && field(&told[2], "is_recorded") == "1"
                && field(&told[0], "diversion") == "101"
                && field(&told[0], "phone") == "84959898533",
            "{told:#?}"
        );
        expect(
            stage,
            "a busy phone",
            || {
                let callee = Sipp::uas_busy().at(phone).start()?;
                from_client(stage, Sipp::uac_refused(CLIENT, "74951234501", 486))?;
                callee.wait()?.ensure_success().map(drop)
            },
            &["in 101 INCOMING", "in 101 COMPLETED Missed 0"],
        )?;
        expect(
            stage,
            "an unanswered call",
            || {
                let callee = Sipp::uas_noanswer().at(phone).start()?;
                from_client(stage, Sipp::uac_refused(CLIENT, "74951234501", 603))?;
                callee.wait()?.ensure_success().map(drop)
            },
            &["in 101 INCOMING", "in 101 COMPLETED Cancelled 0"],
        )?;
        no_card_is_open(stage)
    })
}

const DEFAULTS: &str = "\
[from-trunk]
exten => 101,1,Set(TOLD=${PLANFIX_EVENT(INCOMING)})
 same => n,Verbose(1,the linkedid is ${CHANNEL(linkedid)})
 same => n,Answer()
 same => n,Wait(5)
exten => h,1,Set(TOLD=${PLANFIX_EVENT(END,,101)})
[from-internal]
exten => _8X.,1,Set(TOLD=${PLANFIX_EVENT(OUTGOING)})
 same => n,Dial(PJSIP/trunk/sip:${EXTEN}@${TRUNK},30)
exten => h,1,Set(TOLD=${PLANFIX_EVENT(END)})
";

fn empty_arguments_are_taken_from_the_channel(version: Version) -> Result<()> {
    let trunk = free_udp_port();
    let dialplan = format!("[globals]\nTRUNK=127.0.0.2:{trunk}\n{DEFAULTS}");
    let plan = Stage::plan(version)
        .calls("data_source = SOURCE")
        .asterisk(|builder| builder.phone("102").trunk_at(trunk).extensions(&dialplan));
    plan.play(|stage| {
        let told = expect(
            stage,
            "an inbound call",
            // Nothing is bridged here and no disposition is known, so the call counts as missed; but the client did
            // not talk to anybody either.
            || from_client(stage, Sipp::uac_call(CLIENT, "101", millis(100))).map(drop),
            &["in 101 INCOMING", "in 101 COMPLETED Missed 0"],
        )?;
        let linkedid = field(&told[0], "callid");
        ensure!(
            field(&told[0], "phone") == CLIENT
                && stage
                    .asterisk
                    .log()
                    .contains(&format!("the linkedid is {linkedid}")),
            "{told:#?}"
        );
        let told = expect(
            stage,
            "an outbound call",
            || {
                let provider = Sipp::uas_answer(millis(0)).at(stage.asterisk.trunk()).start()?;
                Sipp::uac_call("102", "89101234567", TALK)
                    .to(stage.asterisk.sip())
                    .run()?
                    .ensure_success()?;
                provider.wait()?.ensure_success().map(drop)
            },
            &[
                "out 102 OUTGOING",
                "out 102 ACCEPTED",
                "out 102 COMPLETED Success talk",
            ],
        )?;
        ensure!(
            told.iter().all(|entry| field(entry, "phone") == CLIENT),
            "{told:#?}"
        );
        Ok(())
    })
}

const ANALYTICS: &str = "\
[told]
exten => s,1,Answer()
 same => n,Set(UTM_SOURCE=контекстная реклама & партнёры, 100%)
 same => n,NoOp(${PLANFIX_EVENT(INCOMING,79101234567,101,analytics)})
 same => n,Set(город=data_Город=Нижний Новгород)
 same => n,NoOp(${PLANFIX_EVENT(COMPLETED,79101234567,101,analytics,,0,Missed,${город},data_note=\"a, b = c\",data_emoji=😀)})
";

fn analytics_fields_in_any_language(version: Version) -> Result<()> {
    let plan = Stage::plan(version)
        .calls("data_Источник звонка = UTM_SOURCE\ndata_unset = NO_SUCH_VARIABLE")
        .asterisk(|builder| builder.extensions(ANALYTICS));
    plan.play(|stage| {
        stage
            .asterisk
            .cli("channel originate Local/s@told application Wait 1")?;
        let told = stage.taken_in(2)?;
        let end = &told[1];
        ensure!(
            field(end, "data_Источник звонка") == "контекстная реклама & партнёры, 100%"
                && field(end, "data_Город") == "Нижний Новгород"
                && field(end, "data_note") == "a, b = c"
                && field(end, "data_emoji") == "😀"
                && !end.to_string().contains("unset"),
            "{end}"
        );
        Ok(())
    })
}

fn the_function_without_a_channel(version: Version) -> Result<()> {
    Stage::plan(version).play(|stage| {
        let mut ami = stage.asterisk.ami()?;
        for (arguments, answer) in [
            ("INCOMING,79101234567,101,no-channel", "QUEUED"),
            ("INCOMING,102,101,no-channel-2", "IGNORED"),
            // There is no channel to take these from.
            ("INCOMING,79101234567,101", "REJECTED"),
            ("INCOMING,,101,no-channel-3", "REJECTED"),
            ("INCOMING,79101234567,,no-channel-3", "REJECTED"),
            ("NONSENSE,79101234567,101,no-channel-3", "REJECTED"),
            ("", "REJECTED"),
        ] {
            let said = event(&mut ami, arguments)?;
            ensure!(
                said == answer,
                "PLANFIX_EVENT({arguments}) is {said}, not {answer}"
            );
        }
        // The console has a command for it since 17.
        let eval = stage
            .asterisk
            .cli("dialplan eval function PLANFIX_EVENT(COMPLETED,79101234567,101,no-channel,,0,BUSY)")?;
        if eval.contains("No such command") {
            ensure!(version == Version::V16, "{eval}");
            stage.queue("COMPLETED,79101234567,101,no-channel,,0,BUSY")?;
        } else {
            ensure!(eval.contains("QUEUED"), "{eval}");
        }
        let told: Vec<String> = stage
            .taken_in(2)?
            .iter()
            .map(|entry| line(entry, Duration::ZERO))
            .collect();
        ensure!(
            told == ["in 101 INCOMING", "in 101 COMPLETED Missed 0"],
            "{told:?}"
        );
        for argument in [
            "argument 4 (callid)",
            "argument 2 (phone)",
            "argument 3 (ext)",
            "argument 1 (event)",
        ] {
            until(argument, BOUND, || {
                Ok(stage.asterisk.log().contains(argument).then_some(()))
            })?;
        }
        Ok(())
    })
}
