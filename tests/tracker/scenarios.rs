//! One call each, and all that the CRM is told of it: what ARCHITECTURE.md promises, rule by rule.

use std::sync::Arc;

use res_planfix::core::draft::{Draft, Form, Kind};
use res_planfix::core::open_card::OpenCard;
use res_planfix::core::record::{Record, What};
use res_planfix::core::settings::{Calls, Missed};
use res_planfix::core::tracker::Output;
use res_planfix::core::trunks::Trunks;

use crate::office::{CLIENT, DID, Office, PHONE, calls};
use crate::pbx::{Chan, Owner};

const OTHER: &str = "89165550000";

/// 101 talks with the client for ten seconds.
fn talk() -> (Office, Chan, Chan) {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    let [phone] = office.dials(client, ["101"]);
    office.rings(phone);
    office.told(["101 INCOMING"]);
    office.answers(phone);
    office.told(["101 ACCEPTED"]);
    office.wait(10);
    (office, client, phone)
}

/// 101 has called the client, and talks with him for ten seconds.
fn talk_out() -> (Office, Chan, Chan) {
    let mut office = Office::new();
    let phone = office.phone_calls("101", CLIENT);
    let client = office.dials_out(phone, CLIENT, Owner::Client);
    office.told(["101 OUTGOING"]);
    office.answers(client);
    office.told(["101 ACCEPTED"]);
    office.wait(10);
    (office, client, phone)
}

fn mobile(of: &str) -> Owner {
    Owner::Mobile(of.to_owned())
}

// ---- inbound ----------------------------------------------------------------------------------------------------------

#[test]
fn answered() {
    let (mut office, client, _) = talk();
    office.wait(2);
    office.hangs_up(client);
    office.told(["101 COMPLETED Success 12"]);
    office.closes();
}

#[test]
fn answered_and_hung_up_by_the_employee() {
    let (mut office, client, phone) = talk();
    assert_eq!(office.hangs_up_alone(phone), [client]);
    office.told(["101 COMPLETED Success 10"]);
    office.wait(60);
    office.hangs_up(client);
    office.closes();
}

#[test]
fn no_answer() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    let [phone] = office.dials(client, ["101"]);
    office.told([]);
    office.rings(phone);
    office.told(["101 INCOMING"]);
    office.fails(phone, "NOANSWER", 0);
    office.told([]);
    office.hangs_up(client);
    office.told(["101 COMPLETED Missed 0"]);
    office.closes();
}

#[test]
fn given_up_while_it_rings() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    let [phone] = office.dials(client, ["101"]);
    office.rings(phone);
    office.hangs_up(client);
    office.told(["101 INCOMING", "101 COMPLETED Missed 0"]);
    office.closes();
}

#[test]
fn busy_before_it_rings() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    let [phone] = office.dials(client, ["101"]);
    office.fails(phone, "BUSY", 17);
    office.told([]);
    office.hangs_up(client);
    office.told(["101 INCOMING", "101 COMPLETED Missed 0"]);
    office.closes();
}

#[test]
fn the_last_one_who_was_tried_has_missed_it() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    for ext in ["101", "102"] {
        let [phone] = office.dials(client, [ext]);
        office.fails(phone, "CHANUNAVAIL", 20);
    }
    // Nobody there: a Dial() without a channel.
    office.runs(client, "Dial", "PJSIP/103,20");
    office.hangs_up(client);
    office.told(["103 INCOMING", "103 COMPLETED Missed 0"]);
    office.closes();
}

#[test]
fn a_menu_alone_is_told_to_nobody() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    office.is_answered(client);
    office.goes_to(client, "1");
    office.hangs_up(client);
    office.told([]);
    office.closes();
}

#[test]
fn a_menu_alone_is_told_to_whom_the_configuration_names() {
    let mut office = Office::with(Calls {
        nobody: "100".to_owned(),
        ..calls()
    });
    let client = office.client_calls(CLIENT, DID);
    office.is_answered(client);
    office.hangs_up(client);
    office.told(["100 INCOMING", "100 COMPLETED Missed 0"]);
    office.closes();
}

#[test]
fn a_number_that_is_withheld() {
    for number in ["", "anonymous"] {
        let mut office = Office::new();
        let client = office.client_calls(number, DID);
        let [phone] = office.dials(client, ["101"]);
        office.rings(phone);
        assert_eq!(office.news()[0].field("phone"), "anonymous");
        office.hangs_up(client);
        office.told(["101 COMPLETED Missed 0"]);
        office.closes();
    }
}

#[test]
fn the_dialplan_does_not_uncover_a_number_that_is_withheld() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    for mut record in office.pbx.records() {
        if let What::Created { channel } = &mut record.what {
            channel.restricted = true;
        }
        office.follows(&record);
    }
    // Its next snapshots say that the number may be shown.
    office.goes_to(client, "s");
    let [phone] = office.dials(client, ["101"]);
    office.rings(phone);
    assert_eq!(office.news()[0].field("phone"), "anonymous");
    office.hangs_up(client);
    office.told(["101 COMPLETED Missed 0"]);
    office.closes();
}

#[test]
fn a_number_that_comes_later_than_its_channel() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    for mut record in office.pbx.records() {
        if let What::Created { channel } = &mut record.what {
            channel.restricted = true;
            channel.caller = "".into();
        }
        office.follows(&record);
    }
    office.goes_to(client, "s");
    let [phone] = office.dials(client, ["101"]);
    office.rings(phone);
    assert_eq!(office.news()[0].field("phone"), PHONE);
    office.hangs_up(client);
    office.told(["101 COMPLETED Missed 0"]);
    office.closes();
}

#[test]
fn phone_diversion_and_callid() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    let [phone] = office.dials(client, ["101"]);
    office.rings(phone);
    let news = office.news();
    assert_eq!(news[0].field("type"), "in");
    assert_eq!(news[0].field("phone"), PHONE);
    assert_eq!(news[0].field("diversion"), "74951112233");
    assert_eq!(news[0].field("callid"), office.uniqueid(client));
    office.hangs_up(client);
    assert_eq!(office.news()[0].field("callid"), "1700000000.1");
    office.closes();
}

#[test]
fn the_number_that_was_called_may_be_found_in_the_dialplan() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, "s");
    office.goes_to(client, "84957778899");
    let [phone] = office.dials(client, ["101"]);
    office.rings(phone);
    assert_eq!(office.news()[0].field("diversion"), "74957778899");
    office.hangs_up(client);
    office.told(["101 COMPLETED Missed 0"]);
    office.closes();
}

#[test]
fn freepbx_need_not_dial_a_phone_that_is_off() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, "74951112233");
    office.is_at(client, "app-blackhole", "102");
    office.is_at(client, "ext-local", "101");
    office.is_at(client, "app-blackhole", "103");
    office.told([]);
    office.hangs_up(client);
    office.told(["101 INCOMING", "101 COMPLETED Missed 0"]);
    office.closes();
}

#[test]
fn variables_become_analytics_fields() {
    let (mut office, client, _) = talk();
    office.sets(client, "UTM_SOURCE", "яндекс");
    office.sets(client, "OTHER", "1");
    office.hangs_up(client);
    let news = office.news();
    assert_eq!(news[0].line(), "101 COMPLETED Success 10");
    assert_eq!(news[0].field("data_source"), "яндекс");
    assert_eq!(news[0].field("data_OTHER"), "");
    office.closes();
}

#[test]
fn inherited_variables_become_analytics_fields() {
    for name in ["_UTM_SOURCE", "__UTM_SOURCE"] {
        let (mut office, client, _) = talk();
        office.sets(client, name, "яндекс");
        office.hangs_up(client);
        assert_eq!(office.news()[0].field("data_source"), "яндекс");
        office.closes();
    }
}

#[test]
fn without_trunks_whatever_is_not_internal_is_outside() {
    let mut office = Office::with(Calls {
        trunks: Trunks::default(),
        ..calls()
    });
    let client = office.comes_in("PJSIP/provider", CLIENT, DID);
    let [phone] = office.dials(client, ["101"]);
    office.answers(phone);
    office.told(["101 INCOMING", "101 ACCEPTED"]);
    office.hangs_up(client);
    office.told(["101 COMPLETED Success 0"]);
    office.closes();
}

#[test]
fn with_trunks_a_door_phone_is_no_client() {
    let mut office = Office::new();
    let door = office.comes_in("PJSIP/door", "door", "101");
    let [phone] = office.dials(door, ["101"]);
    office.rings(phone);
    office.answers(phone);
    office.hangs_up(door);
    office.told([]);
    office.closes();
}

#[test]
fn somebody_whom_the_crm_does_not_know_answers() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    let [phone] = office.dials(client, ["101"]);
    let reception = office.dials_phone(client, "reception");
    office.rings(phone);
    office.told(["101 INCOMING"]);
    office.answers(reception);
    office.told(["101 COMPLETED Cancelled 0"]);
    office.wait(60);
    office.hangs_up(client);
    office.told([]);
    office.closes();
}

#[test]
fn somebody_whom_the_crm_does_not_know_picks_the_call_up() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    let [phone] = office.dials(client, ["101"]);
    office.rings(phone);
    office.picks_up("reception", phone);
    office.wait(60);
    office.hangs_up(client);
    office.told(["101 INCOMING", "101 COMPLETED Cancelled 0"]);
    office.closes();
}

#[test]
fn an_application_calls_the_phone_for_the_client() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    office.is_answered(client);
    let phone = office.originates_for(client, "101");
    office.told([]);
    office.rings(phone);
    office.told(["101 INCOMING"]);
    office.hangs_up(phone);
    office.hangs_up(client);
    office.told(["101 COMPLETED Missed 0"]);
    office.closes();
}

#[test]
fn the_phone_that_an_application_has_called_answers() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    office.is_answered(client);
    let phones = ["101", "102"].map(|ext| office.originates_for(client, ext));
    for phone in phones {
        office.rings(phone);
    }
    office.answers(phones[0]);
    office.hangs_up(phones[1]);
    let room = office.room("softmix");
    office.enters(client, room);
    office.enters(phones[0], room);
    office.told([
        "101 INCOMING",
        "102 INCOMING",
        "101 ACCEPTED",
        "102 COMPLETED Cancelled 0",
    ]);
    office.wait(5);
    office.hangs_up(phones[0]);
    office.hangs_up(client);
    office.told(["101 COMPLETED Success 5"]);
    office.closes();
}

// ---- several phones ---------------------------------------------------------------------------------------------------

#[test]
fn a_group_is_answered_by_the_second() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    let [first, second, third] = office.dials(client, ["101", "102", "103"]);
    office.rings(first);
    office.rings(second);
    office.told(["101 INCOMING", "102 INCOMING"]);
    office.answers(second);
    // 103 never rang, and is told nothing.
    assert!(!office.alive(third));
    office.told(["102 ACCEPTED", "101 COMPLETED Cancelled 0"]);
    office.wait(7);
    office.hangs_up(client);
    office.told(["102 COMPLETED Success 7"]);
    office.closes();
}

#[test]
fn a_group_answers_not_and_the_rule_says_who_missed_it() {
    for (missed, expected) in [
        (
            Missed::First,
            ["101 COMPLETED Missed 0", "102 COMPLETED Cancelled 0"],
        ),
        (
            Missed::Last,
            ["101 COMPLETED Cancelled 0", "102 COMPLETED Missed 0"],
        ),
        (Missed::All, ["101 COMPLETED Missed 0", "102 COMPLETED Missed 0"]),
    ] {
        let mut office = Office::with(Calls { missed, ..calls() });
        let client = office.client_calls(CLIENT, DID);
        let [first, second] = office.dials(client, ["101", "102"]);
        office.rings(first);
        office.rings(second);
        office.told(["101 INCOMING", "102 INCOMING"]);
        office.hangs_up(client);
        office.told(expected);
        office.closes();
    }
}

/// The CRM says that this employee is responsible for the client.
fn is_responsible(office: &mut Office, responsible: &str) {
    let record = Record {
        time: office.pbx.now,
        what: What::Contact {
            phone: PHONE.into(),
            responsible: responsible.into(),
        },
    };
    office.passes_on();
    office.follows(&record);
}

fn responsible() -> Office {
    Office::with(Calls {
        missed: Missed::Responsible,
        ..calls()
    })
}

#[test]
fn the_responsible_employee_has_missed_it_once_the_crm_has_named_him() {
    // 101 and 102 ring.
    let group = |named: Option<&str>| {
        let mut office = responsible();
        let client = office.client_calls(CLIENT, DID);
        let [first, second] = office.dials(client, ["101", "102"]);
        office.rings(first);
        office.rings(second);
        office.told(["101 INCOMING", "102 INCOMING"]);
        if let Some(named) = named {
            is_responsible(&mut office, named);
        }
        office.told([]);
        office.hangs_up(client);
        office
    };
    let mut office = group(Some("102"));
    office.told(["101 COMPLETED Cancelled 0", "102 COMPLETED Missed 0"]);
    office.closes();
    let mut office = group(Some("103"));
    office.told([
        "101 COMPLETED Cancelled 0",
        "102 COMPLETED Cancelled 0",
        "103 INCOMING",
        "103 COMPLETED Missed 0",
    ]);
    office.closes();
    // A number that is none of the PBX's, and none at all: as if the rule were `first`.
    for named in [Some("1003"), None] {
        let mut office = group(named);
        office.told(["101 COMPLETED Missed 0", "102 COMPLETED Cancelled 0"]);
        office.closes();
    }
}

#[test]
fn the_responsible_employee_has_missed_what_reached_nobodys_phone() {
    // Only a menu was heard.
    let mut office = responsible();
    let client = office.client_calls(CLIENT, DID);
    is_responsible(&mut office, "103");
    office.is_answered(client);
    office.hangs_up(client);
    office.told(["103 INCOMING", "103 COMPLETED Missed 0"]);
    office.closes();

    // Somebody else was busy; and he himself has rung before, and the next one was tried.
    let mut office = responsible();
    let client = office.client_calls(CLIENT, DID);
    let [phone] = office.dials(client, ["103"]);
    office.rings(phone);
    office.fails(phone, "NOANSWER", 0);
    let [phone] = office.dials(client, ["101"]);
    office.rings(phone);
    office.told(["103 INCOMING", "103 COMPLETED Cancelled 0", "101 INCOMING"]);
    is_responsible(&mut office, "103");
    office.hangs_up(client);
    office.told([
        "101 COMPLETED Cancelled 0",
        "103 INCOMING",
        "103 COMPLETED Missed 0",
    ]);
    office.closes();
}

#[test]
fn the_responsible_employee_is_told_of_nothing_that_was_not_missed() {
    let mut office = responsible();
    let client = office.client_calls(CLIENT, DID);
    is_responsible(&mut office, "103");
    let [phone] = office.dials(client, ["101"]);
    office.rings(phone);
    office.answers(phone);
    office.hangs_up(client);
    office.told(["101 INCOMING", "101 ACCEPTED", "101 COMPLETED Success 0"]);
    office.closes();

    // Under another rule it does not matter who he is; and what comes after the end is nobody's.
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    is_responsible(&mut office, "103");
    let [phone] = office.dials(client, ["101"]);
    office.rings(phone);
    office.hangs_up(client);
    office.told(["101 INCOMING", "101 COMPLETED Missed 0"]);
    is_responsible(&mut office, "103");
    office.told([]);
    office.closes();
}

#[test]
fn who_calls_is_told_at_once_and_a_withheld_number_never() {
    let numbers = |office: &mut Office| -> Vec<String> {
        let output = office.tracker.take().into_iter();
        let numbers = output.filter_map(|output| match output {
            Output::Inbound { phone } => Some(phone.to_string()),
            _ => None,
        });
        numbers.collect()
    };
    let mut office = Office::new();
    let client = office.pbx.client_calls(CLIENT, DID);
    for record in office.pbx.records() {
        office.tracker.record(&record);
    }
    assert_eq!(numbers(&mut office), [PHONE]);
    assert_eq!(office.tracker.callers(PHONE).count(), 1);
    assert_eq!(office.tracker.callers("79990000000").count(), 0);
    office.hangs_up(client);
    let client = office.pbx.client_calls("", DID);
    for record in office.pbx.records() {
        office.tracker.record(&record);
    }
    assert!(numbers(&mut office).is_empty());
    office.hangs_up(client);
    office.closes();
}

#[test]
fn one_phone_after_another() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    let [first] = office.dials(client, ["101"]);
    office.rings(first);
    office.fails(first, "NOANSWER", 0);
    office.told(["101 INCOMING"]);
    let [second] = office.dials(client, ["102"]);
    office.told([]);
    office.rings(second);
    office.told(["101 COMPLETED Cancelled 0", "102 INCOMING"]);
    office.answers(second);
    office.told(["102 ACCEPTED"]);
    office.hangs_up(client);
    office.told(["102 COMPLETED Success 0"]);
    office.closes();
}

#[test]
fn a_queue_rings_the_same_phones_in_rounds() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    office.runs(client, "Queue", "sales");
    for round in 0..3 {
        let phones = ["101", "102"].map(|ext| office.dials_phone(client, ext));
        for phone in phones {
            office.rings(phone);
        }
        if round == 0 {
            office.told(["101 INCOMING", "102 INCOMING"]);
        }
        office.wait(15);
        for phone in phones {
            office.fails(phone, "NOANSWER", 0);
        }
        office.wait(5);
        office.told([]);
    }
    let phone = office.dials_phone(client, "102");
    office.rings(phone);
    office.answers(phone);
    office.told(["102 ACCEPTED", "101 COMPLETED Cancelled 0"]);
    office.hangs_up(client);
    office.told(["102 COMPLETED Success 0"]);
    office.closes();
}

#[test]
fn a_card_does_not_linger_while_the_client_waits() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    let [phone] = office.dials(client, ["101"]);
    office.rings(phone);
    office.fails(phone, "NOANSWER", 0);
    office.wait(20);
    office.told(["101 INCOMING"]);
    office.wait(20);
    office.told(["101 COMPLETED Cancelled 0"]);
    office.wait(300);
    office.hangs_up(client);
    office.told(["101 INCOMING", "101 COMPLETED Missed 0"]);
    office.closes();
}

#[test]
fn a_phone_that_rings_for_long_keeps_its_card() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    let [phone] = office.dials(client, ["101"]);
    office.rings(phone);
    office.wait(120);
    office.told(["101 INCOMING"]);
    office.answers(phone);
    office.told(["101 ACCEPTED"]);
    office.hangs_up(client);
    office.told(["101 COMPLETED Success 0"]);
    office.closes();
}

#[test]
fn voicemail_concludes() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    let [first, second] = office.dials(client, ["101", "102"]);
    office.rings(first);
    office.rings(second);
    office.fails(first, "NOANSWER", 0);
    office.fails(second, "NOANSWER", 0);
    office.told(["101 INCOMING", "102 INCOMING"]);
    office.is_answered(client);
    office.runs(client, "VoiceMail", "101@default,u");
    office.told(["101 COMPLETED Missed 0", "102 COMPLETED Cancelled 0"]);
    office.wait(20);
    office.hangs_up(client);
    office.closes();
}

#[test]
fn members_behind_local_channels() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    office.runs(client, "Queue", "sales");
    let [first, second] = ["101", "102"].map(|ext| {
        let [_, two] = office.dials_local(client, ext);
        office.dials_phone(two, ext)
    });
    office.told([]);
    office.rings(first);
    office.rings(second);
    office.told(["101 INCOMING", "102 INCOMING"]);
    office.answers(second);
    office.told(["102 ACCEPTED", "101 COMPLETED Cancelled 0"]);
    office.wait(5);
    office.hangs_up(client);
    office.told(["102 COMPLETED Success 5"]);
    office.closes();
}

#[test]
fn a_local_channel_is_optimized_away() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    let [one, two] = office.dials_local(client, "101");
    let phone = office.dials_phone(two, "101");
    office.rings(phone);
    office.answers(phone);
    office.wait(3);
    office.told(["101 INCOMING", "101 ACCEPTED"]);
    office.optimizes(one);
    office.wait(4);
    office.told([]);
    office.hangs_up(phone);
    office.told(["101 COMPLETED Success 7"]);
    office.closes();
}

// ---- transfers --------------------------------------------------------------------------------------------------------

#[test]
fn a_blind_transfer_is_answered() {
    let (mut office, client, phone) = talk();
    office.transfers(phone, "102");
    office.told(["101 COMPLETED Success 10"]);
    let [other] = office.dials(client, ["102"]);
    office.rings(other);
    office.told(["102 INCOMING"]);
    office.answers(other);
    office.wait(5);
    office.hangs_up(other);
    office.told(["102 ACCEPTED", "102 COMPLETED Success 5"]);
    office.closes();
}

#[test]
fn a_blind_transfer_is_not_answered() {
    let (mut office, client, phone) = talk();
    office.transfers(phone, "102");
    let [other] = office.dials(client, ["102"]);
    office.rings(other);
    office.told(["101 COMPLETED Success 10", "102 INCOMING"]);
    office.hangs_up(client);
    // The client was served: it is no missed call.
    office.told(["102 COMPLETED Cancelled 0"]);
    office.closes();
}

#[test]
fn a_transferred_client_comes_back() {
    let (mut office, client, phone) = talk();
    office.transfers(phone, "102");
    let [other] = office.dials(client, ["102"]);
    office.rings(other);
    office.fails(other, "NOANSWER", 0);
    let [again] = office.dials(client, ["101"]);
    office.rings(again);
    office.told([
        "101 COMPLETED Success 10",
        "102 INCOMING",
        "102 COMPLETED Cancelled 0",
        "101 INCOMING",
    ]);
    office.answers(again);
    office.wait(3);
    office.hangs_up(client);
    office.told(["101 ACCEPTED", "101 COMPLETED Success 3"]);
    office.closes();
}

#[test]
fn a_transferred_client_waits_in_a_queue() {
    let (mut office, client, phone) = talk();
    office.transfers(phone, "600");
    office.told(["101 COMPLETED Success 10"]);
    for round in 0..3 {
        let phones = ["102", "103"].map(|ext| office.dials_phone(client, ext));
        for phone in phones {
            office.rings(phone);
        }
        if round == 0 {
            office.told(["102 INCOMING", "103 INCOMING"]);
        }
        office.wait(15);
        for phone in phones {
            office.fails(phone, "NOANSWER", 0);
        }
        office.wait(5);
        office.told([]);
    }
    office.hangs_up(client);
    office.told(["102 COMPLETED Cancelled 0", "103 COMPLETED Cancelled 0"]);
    office.closes();
}

#[test]
fn an_attended_transfer() {
    let (mut office, client, first) = talk();
    office.holds(first);
    let second = office.phone_calls("101", "102");
    let [other] = office.dials(second, ["102"]);
    office.rings(other);
    office.answers(other);
    office.wait(5);
    office.told([]);
    office.joins_calls(first, second);
    // 101 was in the call while he asked: holds count.
    office.told(["102 INCOMING", "102 ACCEPTED", "101 COMPLETED Success 15"]);
    office.wait(8);
    office.hangs_up(client);
    office.told(["102 COMPLETED Success 8"]);
    office.closes();
}

#[test]
fn an_attended_transfer_is_called_off() {
    let (mut office, client, first) = talk();
    let second = office.phone_calls("101", "102");
    let [other] = office.dials(second, ["102"]);
    office.rings(other);
    office.answers(other);
    office.hangs_up(second);
    office.wait(5);
    office.hangs_up(client);
    assert!(!office.alive(first));
    office.told(["101 COMPLETED Success 15"]);
    office.closes();
}

#[test]
fn an_attended_transfer_while_the_target_rings() {
    let (mut office, client, first) = talk();
    let second = office.phone_calls("101", "102");
    let [other] = office.dials(second, ["102"]);
    office.rings(other);
    office.told([]);
    office.joins_ringing(first, second);
    office.told(["102 INCOMING", "101 COMPLETED Success 10"]);
    office.answers(other);
    office.wait(4);
    office.hangs_up(client);
    office.told(["102 ACCEPTED", "102 COMPLETED Success 4"]);
    office.closes();
}

#[test]
fn an_attended_transfer_in_the_moment_of_the_answer() {
    for told_first in [true, false] {
        let (mut office, client, first) = talk();
        let second = office.phone_calls("101", "102");
        let [other] = office.dials(second, ["102"]);
        office.rings(other);
        office.told([]);
        office.joins_answered(first, second, told_first);
        office.wait(4);
        office.hangs_up(client);
        office.told([
            "102 INCOMING",
            "102 ACCEPTED",
            "101 COMPLETED Success 10",
            "102 COMPLETED Success 4",
        ]);
        office.closes();
    }
}

#[test]
fn an_attended_transfer_by_keys() {
    let (mut office, client, phone) = talk();
    let [one, other] = office.consults_by_keys(phone, "102");
    office.rings(other);
    office.answers(other);
    office.wait(5);
    office.told([]);
    office.completes_by_keys(phone, client, one);
    office.told(["102 INCOMING", "102 ACCEPTED", "101 COMPLETED Success 10"]);
    office.wait(6);
    office.hangs_up(other);
    office.told(["102 COMPLETED Success 6"]);
    office.closes();
}

#[test]
fn an_attended_transfer_by_keys_is_called_off() {
    let (mut office, client, phone) = talk();
    let [one, other] = office.consults_by_keys(phone, "102");
    office.rings(other);
    office.answers(other);
    office.wait(5);
    office.goes_back_by_keys(phone, client, one);
    office.wait(2);
    office.hangs_up(client);
    // The time with 102 is none with the client.
    office.told(["101 COMPLETED Success 12"]);
    office.closes();
}

#[test]
fn an_attended_transfer_by_keys_to_somebody_outside_is_a_call_of_its_own() {
    let (mut office, client, phone) = talk();
    let [one, two] = office.consults_outside_by_keys(phone, OTHER);
    let other = office.dials_out(two, OTHER, Owner::Client);
    let news = office.news();
    assert_eq!(news[0].line(), "101 OUTGOING");
    assert_eq!(news[0].field("phone"), "79165550000");
    office.answers(other);
    office.told(["101 ACCEPTED"]);
    office.wait(5);
    office.completes_by_keys(phone, client, one);
    office.told(["101 COMPLETED Success 10", "101 COMPLETED Success 5"]);
    office.hangs_up(client);
    office.closes();
}

#[test]
fn a_transfer_to_somebody_outside() {
    let (mut office, client, phone) = talk();
    office.transfers(phone, OTHER);
    office.told(["101 COMPLETED Success 10"]);
    let other = office.dials_out(client, OTHER, mobile(""));
    office.rings(other);
    office.answers(other);
    office.wait(5);
    office.hangs_up(client);
    office.told([]);
    office.closes();
}

#[test]
fn an_outbound_call_is_transferred() {
    let (mut office, client, phone) = talk_out();
    office.transfers(phone, "102");
    office.told(["101 COMPLETED Success 10"]);
    let [other] = office.dials(client, ["102"]);
    office.rings(other);
    // There is no event for a phone that rings in an outbound call.
    office.told([]);
    office.answers(other);
    office.told(["102 OUTGOING", "102 ACCEPTED"]);
    office.wait(5);
    office.hangs_up(client);
    office.told(["102 COMPLETED Success 5"]);
    office.closes();
}

// ---- pickup, parking, conference --------------------------------------------------------------------------------------

#[test]
fn another_phone_picks_the_call_up() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    let [first, second] = office.dials(client, ["101", "102"]);
    office.rings(first);
    office.rings(second);
    office.told(["101 INCOMING", "102 INCOMING"]);
    office.picks_up("103", second);
    office.told([
        "103 INCOMING",
        "103 ACCEPTED",
        "101 COMPLETED Cancelled 0",
        "102 COMPLETED Cancelled 0",
    ]);
    office.wait(9);
    office.hangs_up(client);
    office.told(["103 COMPLETED Success 9"]);
    office.closes();
}

#[test]
fn a_call_is_parked_and_retrieved_by_another() {
    let (mut office, client, phone) = talk();
    office.parks(phone);
    office.told(["101 COMPLETED Success 10"]);
    office.wait(20);
    let other = office.retrieves("102", client);
    office.told(["102 INCOMING", "102 ACCEPTED"]);
    office.wait(5);
    office.hangs_up(other);
    office.told(["102 COMPLETED Success 5"]);
    office.closes();
}

#[test]
fn a_parked_call_comes_back() {
    let (mut office, client, phone) = talk();
    office.parks(phone);
    office.wait(45);
    office.parked_for_long(client);
    let [again] = office.dials(client, ["101"]);
    office.rings(again);
    office.told(["101 COMPLETED Success 10", "101 INCOMING"]);
    office.hangs_up(client);
    office.told(["101 COMPLETED Cancelled 0"]);
    office.closes();
}

#[test]
fn two_parked_clients_do_not_hear_each_other() {
    let (mut office, client, phone) = talk();
    let other = office.client_calls(OTHER, DID);
    let [second] = office.dials(other, ["102"]);
    office.rings(second);
    office.answers(second);
    office.parks(phone);
    office.parks(second);
    office.told([
        "102 INCOMING",
        "102 ACCEPTED",
        "101 COMPLETED Success 10",
        "102 COMPLETED Success 0",
    ]);
    office.hangs_up(client);
    office.hangs_up(other);
    office.closes();
}

#[test]
fn two_clients_in_one_conference() {
    let mut office = Office::new();
    let room = office.room("softmix");
    let first = office.client_calls(CLIENT, DID);
    let second = office.client_calls(OTHER, DID);
    let phone = office.phone_calls("101", "600");
    for chan in [first, second, phone] {
        office.is_answered(chan);
        office.enters(chan, room);
    }
    let news = office.news();
    let told: Vec<(String, &str)> = news
        .iter()
        .map(|news| (news.line(), news.field("phone")))
        .collect();
    assert_eq!(
        told,
        [
            ("101 INCOMING".to_owned(), PHONE),
            ("101 ACCEPTED".to_owned(), PHONE),
            ("101 INCOMING".to_owned(), "79165550000"),
            ("101 ACCEPTED".to_owned(), "79165550000"),
        ]
    );
    office.wait(10);
    office.hangs_up(first);
    office.told(["101 COMPLETED Success 10"]);
    office.wait(5);
    office.hangs_up(phone);
    office.told(["101 COMPLETED Success 15"]);
    office.hangs_up(second);
    office.closes();
}

#[test]
fn a_conference_credits_everybody_with_his_own_seconds() {
    let (mut office, client, first) = talk();
    let room = office.room("softmix");
    office.enters(first, room);
    office.enters(client, room);
    office.wait(5);
    let second = office.phone_calls("102", "600");
    office.is_answered(second);
    office.enters(second, room);
    office.told(["102 INCOMING", "102 ACCEPTED"]);
    office.wait(5);
    office.hangs_up(first);
    office.told(["101 COMPLETED Success 20"]);
    office.wait(5);
    office.hangs_up(client);
    office.told(["102 COMPLETED Success 10"]);
    office.hangs_up(second);
    office.closes();
}

#[test]
fn an_agent_who_logged_in_in_the_morning() {
    let mut office = Office::new();
    let agent = office.phone_calls("105", "*45");
    office.is_answered(agent);
    let pool = office.room("holding_bridge");
    office.enters(agent, pool);
    office.wait(100);
    let mut callids = Vec::new();
    for number in [CLIENT, OTHER, CLIENT] {
        let client = office.client_calls(number, DID);
        let callid = office.uniqueid(client).to_owned();
        office.is_answered(client);
        let room = office.room("simple_bridge");
        office.enters(client, room);
        office.enters(agent, room);
        let news = office.news();
        assert_eq!(news[0].line(), "105 INCOMING");
        assert_eq!(news[1].line(), "105 ACCEPTED");
        assert_eq!(news[0].field("callid"), callid);
        callids.push(callid);
        office.wait(5);
        assert_eq!(office.hangs_up_alone(client), [agent]);
        office.told(["105 COMPLETED Success 5"]);
        let pool = office.room("holding_bridge");
        office.enters(agent, pool);
        office.wait(20);
    }
    office.hangs_up(agent);
    office.closes();
    assert_eq!(callids.len(), 3);
}

// ---- forwarding -------------------------------------------------------------------------------------------------------

#[test]
fn a_phone_that_forwards_to_a_mobile() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    let [phone] = office.dials(client, ["101"]);
    let [_, two] = office.forwards(phone, OTHER);
    let mobile = office.dials_out(two, OTHER, mobile("101"));
    office.told([]);
    office.rings(mobile);
    office.told(["101 INCOMING"]);
    office.answers(mobile);
    office.told(["101 ACCEPTED"]);
    office.wait(5);
    office.hangs_up(client);
    office.told(["101 COMPLETED Success 5"]);
    office.closes();
}

#[test]
fn a_phone_that_forwards_to_a_colleague() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    let [phone] = office.dials(client, ["101"]);
    office.rings(phone);
    office.told(["101 INCOMING"]);
    let [_, two] = office.forwards(phone, "102");
    let other = office.dials_phone(two, "102");
    office.rings(other);
    office.told(["101 COMPLETED Cancelled 0", "102 INCOMING"]);
    office.answers(other);
    office.told(["102 ACCEPTED"]);
    office.wait(5);
    office.hangs_up(client);
    office.told(["102 COMPLETED Success 5"]);
    office.closes();
}

#[test]
fn the_dialplan_calls_the_employees_mobile() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    office.goes_to(client, "101");
    let mobile = office.dials_out(client, OTHER, mobile("101"));
    office.progresses(mobile);
    office.told(["101 INCOMING"]);
    office.answers(mobile);
    office.told(["101 ACCEPTED"]);
    office.hangs_up(mobile);
    office.told(["101 COMPLETED Success 0"]);
    office.closes();
}

#[test]
fn freepbx_calls_the_employees_mobile_from_a_subroutine() {
    for (context, tells) in [
        ("from-did-direct", true),
        ("followme-check", true),
        ("office", false),
    ] {
        let mut office = Office::new();
        let client = office.client_calls(CLIENT, DID);
        office.is_at(client, context, "101");
        office.is_at(client, "macro-dial-one", "s");
        let [_, two] = office.dials_local(client, OTHER);
        office.is_at(two, "macro-dialout-trunk", "s");
        let mobile = office.dials_out(two, OTHER, mobile("101"));
        office.progresses(mobile);
        office.answers(mobile);
        office.wait(5);
        office.hangs_up(client);
        if tells {
            office.told(["101 INCOMING", "101 ACCEPTED", "101 COMPLETED Success 5"]);
        } else {
            // Elsewhere it can be a group's number.
            office.told([]);
        }
        office.closes();
    }
}

#[test]
fn freepbx_rings_the_desk_and_the_mobile_of_one_employee() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    office.is_at(client, "followme-check", "101");
    office.is_at(client, "macro-dial", "s");
    let [_, desk] = office.dials_local(client, "101");
    let [_, out] = office.dials_local(client, OTHER);
    let phone = office.dials_phone(desk, "101");
    office.is_at(out, "macro-dialout-trunk", "s");
    let mobile = office.dials_out(out, OTHER, mobile("101"));
    office.rings(phone);
    office.progresses(mobile);
    office.told(["101 INCOMING"]);
    office.answers(mobile);
    office.told(["101 ACCEPTED"]);
    office.wait(5);
    office.hangs_up(client);
    office.told(["101 COMPLETED Success 5"]);
    office.closes();
}

#[test]
fn freepbx_goes_on_from_an_employee_to_a_group() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    office.is_at(client, "from-did-direct", "101");
    let [phone] = office.dials(client, ["101"]);
    office.rings(phone);
    office.fails(phone, "NOANSWER", 0);
    office.is_at(client, "ext-group", "600");
    office.is_at(client, "macro-dial", "s");
    let [_, two] = office.dials_local(client, OTHER);
    office.is_at(two, "macro-dialout-trunk", "s");
    let mobile = office.dials_out(two, OTHER, mobile(""));
    office.progresses(mobile);
    office.hangs_up(client);
    office.told(["101 INCOMING", "101 COMPLETED Missed 0"]);
    office.closes();
}

#[test]
fn freepbx_sends_a_client_on_to_where_the_employee_forwards() {
    // With a prefix for the trunk, and without.
    for dialled in ["89165550000", "9989165550000"] {
        let mut office = Office::new();
        let client = office.client_calls(CLIENT, DID);
        office.is_at(client, "ext-local", "101");
        office.is_at(client, "macro-exten-vm", "s");
        office.is_at(client, "from-internal", dialled);
        office.is_at(client, "macro-dialout-trunk", "s");
        office.is_at(client, "trunk-dial-with-exten", OTHER);
        let mobile = office.dials_out_at(OTHER, client, OTHER, mobile("101"));
        office.progresses(mobile);
        office.told(["101 INCOMING"]);
        office.answers(mobile);
        office.wait(5);
        office.hangs_up(client);
        office.told(["101 ACCEPTED", "101 COMPLETED Success 5"]);
        office.closes();
    }
}

#[test]
fn freepbx_sends_an_employee_on_to_where_a_colleague_forwards() {
    let mut office = Office::new();
    let phone = office.phone_calls("102", "101");
    office.is_at(phone, "macro-exten-vm", "s");
    office.is_at(phone, "from-internal", "89165550000");
    office.is_at(phone, "macro-dialout-trunk", "s");
    let mobile = office.dials_out_at(OTHER, phone, OTHER, mobile("101"));
    office.progresses(mobile);
    office.answers(mobile);
    office.wait(5);
    office.hangs_up(phone);
    office.told([]);
    office.closes();
}

#[test]
fn freepbx_tells_the_channels_that_a_group_calls_of_the_groups_number() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    office.is_at(client, "ext-group", "600");
    office.is_at(client, "macro-dial", "s");
    office.is_at(client, "dial-with-exten", "600");
    let [_, desk] = office.dials_local(client, "LC-101");
    let [_, out] = office.dials_local(client, OTHER);
    let phone = office.dials_phone(desk, "101");
    let mobile = office.dials_out(out, OTHER, mobile(""));
    office.rings(phone);
    office.progresses(mobile);
    office.answers(mobile);
    office.wait(5);
    office.hangs_up(client);
    office.told(["101 INCOMING", "101 COMPLETED Cancelled 0"]);
    office.closes();
}

#[test]
fn a_mobile_that_is_nobodys() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    let mobile = office.dials_out(client, OTHER, mobile(""));
    office.rings(mobile);
    office.answers(mobile);
    office.wait(5);
    office.hangs_up(client);
    office.told([]);
    office.closes();
}

#[test]
fn a_group_that_ends_at_a_mobile_is_no_employee() {
    for trunks in ["PJSIP/trunk*", ""] {
        let mut office = Office::with(Calls {
            trunks: Trunks::parse(trunks).unwrap(),
            ..calls()
        });
        let client = office.client_calls(CLIENT, DID);
        office.goes_to(client, "201");
        let [first] = office.dials(client, ["101"]);
        office.rings(first);
        office.fails(first, "NOANSWER", 0);
        let mobile = office.dials_out_at("201", client, OTHER, mobile(""));
        office.progresses(mobile);
        office.hangs_up(client);
        office.told(["101 INCOMING", "101 COMPLETED Missed 0"]);
        office.closes();
    }
}

#[test]
fn a_group_of_phones_and_a_mobile_is_no_employee() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    office.goes_to(client, "201");
    office.runs(client, "Dial", "PJSIP/89165550000@trunk&PJSIP/101,20");
    let mobile = office.dials_out(client, OTHER, mobile(""));
    let phone = office.dials_phone(client, "101");
    office.progresses(mobile);
    office.told([]);
    office.rings(phone);
    office.hangs_up(client);
    office.told(["101 INCOMING", "101 COMPLETED Missed 0"]);
    office.closes();
}

#[test]
fn a_client_is_transferred_to_one_who_is_at_his_mobile() {
    let (mut office, client, phone) = talk();
    office.transfers(phone, "103");
    let mobile = office.dials_out(client, OTHER, mobile("103"));
    office.rings(mobile);
    office.answers(mobile);
    office.wait(5);
    office.hangs_up(client);
    office.told([
        "101 COMPLETED Success 10",
        "103 INCOMING",
        "103 ACCEPTED",
        "103 COMPLETED Success 5",
    ]);
    office.closes();
}

#[test]
fn a_queue_that_calls_a_mobile_is_no_employee() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    office.goes_to(client, "600");
    office.runs(client, "Queue", "sales");
    let [_, two] = office.dials_local(client, OTHER);
    let mobile = office.dials_out(two, OTHER, mobile(""));
    office.progresses(mobile);
    office.told([]);
    office.hangs_up(client);
    office.told([]);
    office.closes();
}

#[test]
fn the_phone_and_the_mobile_of_one_employee_ring_together() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    office.goes_to(client, "101");
    office.runs(client, "Dial", "PJSIP/101&PJSIP/89165550000@trunk,20");
    let phone = office.dials_phone(client, "101");
    let mobile = office.dials_out(client, OTHER, mobile("101"));
    office.rings(phone);
    office.progresses(mobile);
    office.told(["101 INCOMING"]);
    office.answers(mobile);
    office.told(["101 ACCEPTED"]);
    office.hangs_up(client);
    office.told(["101 COMPLETED Success 0"]);
    office.closes();
}

// ---- outbound ---------------------------------------------------------------------------------------------------------

#[test]
fn outbound_answered() {
    let (mut office, client, phone) = talk_out();
    office.wait(2);
    office.hangs_up(client);
    office.told(["101 COMPLETED Success 12"]);
    assert!(!office.alive(phone));
    office.closes();
}

#[test]
fn outbound_phone_and_callid() {
    let mut office = Office::new();
    let phone = office.phone_calls("101", "99101234567");
    // The dialplan takes the prefix for the line away.
    let client = office.dials_out(phone, "89101234567", Owner::Client);
    let news = office.news();
    assert_eq!(news[0].line(), "101 OUTGOING");
    assert_eq!(news[0].field("type"), "out");
    assert_eq!(news[0].field("phone"), PHONE);
    assert_eq!(news[0].field("callid"), office.uniqueid(phone));
    office.hangs_up(phone);
    assert!(!office.alive(client));
    office.told(["101 COMPLETED NoAnswer 0"]);
    office.closes();
}

#[test]
fn a_prefix_for_the_trunk_is_not_the_clients() {
    for (dialed, sent) in [
        (CLIENT, "99989101234567"),
        (CLIENT, "99979101234567"),
        (CLIENT, "1234#89101234567"),
        ("+79101234567", "99989101234567"),
        ("9101234567", "99989101234567"),
    ] {
        let mut office = Office::new();
        let phone = office.phone_calls("101", dialed);
        office.dials_out(phone, sent, Owner::Client);
        assert_eq!(office.news()[0].field("phone"), PHONE, "{dialed} as {sent}");
    }
}

#[test]
fn outbound_and_how_it_failed() {
    for (status, cause, told) in [
        ("BUSY", 17, "101 COMPLETED Busy 0"),
        ("NOANSWER", 19, "101 COMPLETED NoAnswer 0"),
        ("CONGESTION", 34, "101 COMPLETED NotAvailable 0"),
        ("CHANUNAVAIL", 20, "101 COMPLETED NotAvailable 0"),
        ("CONGESTION", 21, "101 COMPLETED NotAllowed 0"),
        ("NOANSWER", 21, "101 COMPLETED NotAllowed 0"),
    ] {
        let mut office = Office::new();
        let phone = office.phone_calls("101", CLIENT);
        let client = office.dials_out(phone, CLIENT, Owner::Client);
        office.progresses(client);
        office.told(["101 OUTGOING"]);
        office.fails_with_a_late_cause(client, status, cause);
        office.told([]);
        office.hangs_up(phone);
        office.told([told]);
        office.closes();
    }
}

#[test]
fn a_second_trunk_is_the_same_call() {
    let mut office = Office::new();
    let phone = office.phone_calls("101", CLIENT);
    let first = office.dials_out(phone, CLIENT, Owner::Client);
    office.told(["101 OUTGOING"]);
    office.fails(first, "CONGESTION", 34);
    let second = office.dials_out_by(phone, "trunk2", CLIENT, Owner::Client);
    office.told([]);
    office.rings(second);
    office.answers(second);
    office.told(["101 ACCEPTED"]);
    office.wait(5);
    office.hangs_up(phone);
    office.told(["101 COMPLETED Success 5"]);
    office.closes();
}

#[test]
fn two_trunks_at_once_are_the_same_call() {
    let mut office = Office::new();
    let phone = office.phone_calls("101", CLIENT);
    let [first, second] =
        ["trunk", "trunk2"].map(|trunk| office.dials_out_by(phone, trunk, CLIENT, Owner::Client));
    office.told(["101 OUTGOING"]);
    office.rings(first);
    office.answers(second);
    office.told(["101 ACCEPTED"]);
    office.wait(5);
    office.hangs_up(phone);
    office.told(["101 COMPLETED Success 5"]);
    office.closes();
}

#[test]
fn a_number_that_the_dialplan_does_not_let_out() {
    let mut office = Office::new();
    let phone = office.phone_calls("101", "810441234567890");
    office.hangs_up(phone);
    office.told(["101 OUTGOING", "101 COMPLETED NotAllowed 0"]);
    office.closes();
}

#[test]
fn a_trunk_that_cannot_be_called() {
    let mut office = Office::new();
    let phone = office.phone_calls("101", CLIENT);
    office.runs(phone, "Dial", "PJSIP/89101234567@trunk,60");
    office.hangs_up(phone);
    office.told(["101 OUTGOING", "101 COMPLETED NotAvailable 0"]);
    office.closes();
}

#[test]
fn a_service_is_no_call() {
    let mut office = Office::new();
    for exten in ["*97", "999", "88005553535"] {
        let phone = office.phone_calls("101", exten);
        office.is_answered(phone);
        office.wait(5);
        office.hangs_up(phone);
    }
    office.told([]);
    office.closes();
}

#[test]
fn a_second_call_on_the_same_linkedid_has_a_callid_of_its_own() {
    let (mut office, client, phone) = talk_out();
    let first = office.uniqueid(phone).to_owned();
    // Dial() with the option g: the employee's channel goes on in the dialplan.
    assert_eq!(office.hangs_up_alone(client), [phone]);
    office.told(["101 COMPLETED Success 10"]);
    let other = office.dials_out(phone, OTHER, Owner::Client);
    let news = office.news();
    assert_eq!(news[0].line(), "101 OUTGOING");
    assert_eq!(news[0].field("phone"), "79165550000");
    assert_ne!(news[0].field("callid"), first);
    assert_eq!(news[0].field("callid"), office.uniqueid(other));
    office.answers(other);
    office.wait(3);
    office.hangs_up(phone);
    office.told(["101 ACCEPTED", "101 COMPLETED Success 3"]);
    office.closes();
}

#[test]
fn click_to_call() {
    let mut office = Office::new();
    let phone = office.originates("101", CLIENT);
    office.rings(phone);
    office.answers(phone);
    office.told([]);
    let client = office.dials_out(phone, CLIENT, Owner::Client);
    office.rings(client);
    office.told(["101 OUTGOING"]);
    office.answers(client);
    office.told(["101 ACCEPTED"]);
    office.wait(5);
    office.hangs_up(client);
    office.told(["101 COMPLETED Success 5"]);
    office.closes();
}

#[test]
fn click_to_call_through_a_local_channel() {
    let mut office = Office::new();
    let [one, two] = office.originates_local("101");
    let phone = office.dials_phone(two, "101");
    office.rings(phone);
    office.answers(phone);
    office.told([]);
    office.goes_to(one, CLIENT);
    let client = office.dials_out(one, CLIENT, Owner::Client);
    office.rings(client);
    let news = office.news();
    assert_eq!(news.len(), 1);
    assert_eq!(
        (news[0].line(), news[0].field("phone")),
        ("101 OUTGOING".to_owned(), PHONE)
    );
    office.answers(client);
    office.told(["101 ACCEPTED"]);
    office.wait(5);
    office.hangs_up(client);
    office.told(["101 COMPLETED Success 5"]);
    office.closes();
}

#[test]
fn click_to_call_of_an_employee_who_is_at_his_mobile() {
    let mut office = Office::new();
    let [one, two] = office.originates_local("106");
    office.goes_to(two, "s");
    let mobile = office.dials_out(two, OTHER, mobile("106"));
    office.rings(mobile);
    office.answers(mobile);
    office.told([]);
    office.goes_to(one, CLIENT);
    let client = office.dials_out(one, CLIENT, Owner::Client);
    office.rings(client);
    let news = office.news();
    assert_eq!(news.len(), 1);
    assert_eq!(
        (news[0].line(), news[0].field("phone")),
        ("106 OUTGOING".to_owned(), PHONE)
    );
    office.answers(client);
    office.told(["106 ACCEPTED"]);
    office.wait(5);
    office.hangs_up(client);
    office.told(["106 COMPLETED Success 5"]);
    office.closes();
}

#[test]
fn a_call_from_the_crm_that_begins_with_the_client() {
    let mut office = Office::new();
    let [one, two] = office.originates_local(CLIENT);
    let client = office.dials_out(two, CLIENT, Owner::Client);
    office.rings(client);
    office.answers(client);
    office.goes_to(one, "106");
    let [phone] = office.dials(one, ["106"]);
    office.answers(phone);
    let news = office.news();
    assert_eq!(
        (news[0].line(), news[0].field("phone")),
        ("106 OUTGOING".to_owned(), PHONE)
    );
    office.wait(5);
    office.hangs_up(client);
    office.told(["106 COMPLETED Success 5"]);
    office.closes();
}

#[test]
fn click_to_call_and_the_employee_does_not_answer() {
    let mut office = Office::new();
    let phone = office.originates("101", CLIENT);
    office.rings(phone);
    office.fails(phone, "NOANSWER", 0);
    office.told([]);
    office.closes();
}

// ---- internal ---------------------------------------------------------------------------------------------------------

#[test]
fn an_internal_call_is_nobodys_business() {
    let mut office = Office::new();
    let first = office.phone_calls("101", "102");
    let [second] = office.dials(first, ["102"]);
    office.rings(second);
    office.answers(second);
    office.wait(5);
    office.hangs_up(first);
    office.told([]);
    office.closes();
}

#[test]
fn an_internal_call_that_is_forwarded_to_a_mobile() {
    let mut office = Office::new();
    let first = office.phone_calls("101", "102");
    let [second] = office.dials(first, ["102"]);
    let [_, two] = office.forwards(second, OTHER);
    let mobile = office.dials_out(two, OTHER, mobile("102"));
    office.rings(mobile);
    office.answers(mobile);
    office.wait(5);
    office.hangs_up(first);
    office.told([]);
    office.closes();
}

#[test]
fn a_colleague_sends_the_caller_to_a_client() {
    // The dialplan dials the trunk where it stands, or from a subroutine.
    for place in [CLIENT, "s"] {
        let mut office = Office::new();
        let boss = office.phone_calls("101", "102");
        let [secretary] = office.dials(boss, ["102"]);
        office.rings(secretary);
        office.answers(secretary);
        office.transfers(secretary, CLIENT);
        office.goes_to(boss, place);
        let client = office.dials_out(boss, CLIENT, Owner::Client);
        let news = office.news();
        assert_eq!(news.len(), 1);
        assert_eq!(
            (news[0].line(), news[0].field("phone")),
            ("101 OUTGOING".to_owned(), PHONE)
        );
        office.answers(client);
        office.wait(5);
        office.hangs_up(client);
        office.told(["101 ACCEPTED", "101 COMPLETED Success 5"]);
        office.closes();
    }
}

#[test]
fn a_colleague_sends_the_caller_to_one_who_is_at_his_mobile() {
    let mut office = Office::new();
    let boss = office.phone_calls("101", "102");
    let [secretary] = office.dials(boss, ["102"]);
    office.answers(secretary);
    office.transfers(secretary, "103");
    office.goes_to(boss, "s");
    let [_, two] = office.dials_local(boss, OTHER);
    let mobile = office.dials_out(two, OTHER, mobile("103"));
    office.answers(mobile);
    office.wait(5);
    office.hangs_up(boss);
    office.told([]);
    office.closes();
}

#[test]
fn who_has_called_a_colleague_consults_a_client_by_keys() {
    let mut office = Office::new();
    let first = office.phone_calls("101", "102");
    let [second] = office.dials(first, ["102"]);
    office.answers(second);
    let [one, two] = office.consults_outside_by_keys(first, OTHER);
    let client = office.dials_out(two, OTHER, Owner::Client);
    office.told(["101 OUTGOING"]);
    office.answers(client);
    office.told(["101 ACCEPTED"]);
    office.wait(5);
    office.goes_back_by_keys(first, second, one);
    office.told(["101 COMPLETED Success 5"]);
    office.hangs_up(first);
    office.closes();
}

// ---- the module comes and goes ----------------------------------------------------------------------------------------

/// A call that talks and one that rings, and nobody follows them.
fn unfollowed() -> (Office, [Chan; 4]) {
    let mut office = Office::unloaded(calls());
    let client = office.client_calls(CLIENT, DID);
    let [phone] = office.dials(client, ["101"]);
    office.rings(phone);
    office.answers(phone);
    let other = office.client_calls(OTHER, DID);
    let [second] = office.dials(other, ["102"]);
    office.rings(second);
    office.pbx.wait(30);
    (office, [client, phone, other, second])
}

fn card(callid: &str, ext: &str, phone: &str, kind: Kind, accepted: Option<u64>) -> OpenCard {
    let direction: &[u8] = if kind == Kind::Outgoing { b"out" } else { b"in" };
    let opening = Form::command("event")
        .field(b"type", direction)
        .field(b"event", kind.word().as_bytes())
        .field(b"phone", phone.as_bytes())
        .field(b"diversion", b"74951112233")
        .field(b"ext", ext.as_bytes())
        .field(b"callid", callid.as_bytes());
    OpenCard {
        callid: callid.to_owned(),
        ext: ext.to_owned(),
        opening: opening.finish(),
        shown: 1_700_000_000_000,
        accepted,
        alive: None,
    }
}

/// What the CRM had been told before.
fn knows(office: &mut Office, card: &OpenCard) {
    let kind = if card.opening.contains("type=out") {
        Kind::Outgoing
    } else {
        Kind::Incoming
    };
    let mut draft = Draft {
        callid: card.callid.clone(),
        kind,
        ext: card.ext.clone(),
        body: card.opening.clone(),
    };
    office.crm.take(&draft).unwrap();
    if card.accepted.is_some() {
        draft.kind = Kind::Accepted;
        draft.body = draft.body.replace(kind.word(), "ACCEPTED");
        office.crm.take(&draft).unwrap();
    }
    office.crm.news();
}

#[test]
fn the_module_is_loaded_in_the_middle_of_calls() {
    let (mut office, [client, _, other, second]) = unfollowed();
    office.loads(calls(), Vec::new());
    office.told(["101 INCOMING", "101 ACCEPTED", "102 INCOMING"]);
    office.wait(5);
    office.answers(second);
    office.hangs_up(client);
    office.told(["102 ACCEPTED", "101 COMPLETED Success 5"]);
    office.hangs_up(other);
    office.told(["102 COMPLETED Success 0"]);
    office.closes();
}

#[test]
fn cards_of_calls_that_still_run_are_taken_over() {
    let (mut office, [client, _, other, second]) = unfollowed();
    let cards = vec![
        card(
            "1700000000.1",
            "101",
            PHONE,
            Kind::Incoming,
            Some(1_700_000_010_000),
        ),
        card("1700000000.4", "102", "79165550000", Kind::Incoming, None),
    ];
    for card in &cards {
        knows(&mut office, card);
    }
    assert_eq!(office.uniqueid(other), "1700000000.4");
    office.loads(calls(), cards);
    office.told([]);
    office.wait(5);
    office.answers(second);
    office.hangs_up(client);
    // The time before counts from the ACCEPTED that the spool remembers.
    office.told(["102 ACCEPTED", "101 COMPLETED Success 25"]);
    office.hangs_up(other);
    office.told(["102 COMPLETED Success 0"]);
    office.closes();
}

#[test]
fn an_outbound_card_is_taken_over() {
    let mut office = Office::unloaded(calls());
    let phone = office.phone_calls("101", CLIENT);
    let client = office.dials_out(phone, CLIENT, Owner::Client);
    let cards = vec![card("1700000000.1", "101", PHONE, Kind::Outgoing, None)];
    knows(&mut office, &cards[0]);
    office.loads(calls(), cards);
    office.told([]);
    office.answers(client);
    office.told(["101 ACCEPTED"]);
    office.wait(5);
    office.hangs_up(client);
    office.told(["101 COMPLETED Success 5"]);
    office.closes();
}

#[test]
fn an_outbound_call_that_nobody_knew() {
    let mut office = Office::unloaded(calls());
    let phone = office.phone_calls("101", CLIENT);
    let client = office.dials_out(phone, CLIENT, Owner::Client);
    office.answers(client);
    office.loads(calls(), Vec::new());
    let news = office.news();
    assert_eq!(news[0].line(), "101 OUTGOING");
    assert_eq!(news[0].field("phone"), PHONE);
    assert_eq!(news[1].line(), "101 ACCEPTED");
    office.hangs_up(client);
    office.told(["101 COMPLETED Success 0"]);
    office.closes();
}

#[test]
fn cards_of_calls_that_ended_meanwhile_are_closed() {
    let mut office = Office::unloaded(calls());
    let cards = vec![
        card("1600000000.1", "101", PHONE, Kind::Incoming, None),
        card("1600000000.2", "102", PHONE, Kind::Outgoing, None),
    ];
    for card in &cards {
        knows(&mut office, card);
    }
    office.loads(calls(), cards);
    office.told(["101 COMPLETED Missed 0", "102 COMPLETED NoAnswer 0"]);
    office.closes();
}

#[test]
fn records_are_lost_and_all_is_looked_at_anew() {
    let (mut office, client, phone) = talk();
    let other = office.client_calls(OTHER, DID);
    office.passes_on();
    // Meanwhile the first call ends, and the second one is answered by somebody; no record says so.
    office.hangs_up(client);
    let [second] = office.dials(other, ["102"]);
    office.rings(second);
    office.answers(second);
    office.records();
    office.look();
    assert!(!office.alive(phone));
    office.told(["101 COMPLETED Success 10", "102 INCOMING", "102 ACCEPTED"]);
    office.wait(5);
    office.hangs_up(other);
    office.told(["102 COMPLETED Success 5"]);
    office.closes();
}

#[test]
fn a_look_changes_nothing_where_nothing_was_lost() {
    let (mut office, client, phone) = talk();
    let caller = office.phone_calls("102", OTHER);
    let other = office.dials_out(caller, OTHER, Owner::Client);
    office.told(["102 OUTGOING"]);
    for _ in 0..3 {
        office.look();
        office.wait(1);
        office.told([]);
    }
    office.hangs_up(phone);
    office.hangs_up(caller);
    assert!(!office.alive(client) && !office.alive(other));
    office.told(["101 COMPLETED Success 13", "102 COMPLETED NoAnswer 0"]);
    office.closes();
}

// ---- the spool has no room --------------------------------------------------------------------------------------------

/// Takes what the tracker says, and refuses what opens or changes a card.
fn refuse(office: &mut Office) -> Vec<String> {
    let mut told = Vec::new();
    for record in office.pbx.records() {
        office.tracker.record(&record);
        for output in office.tracker.take() {
            let Output::Tell(drafts) = output else { continue };
            told.extend(drafts.iter().map(|draft| format!("{} {}", draft.ext, draft.kind)));
            assert!(drafts.iter().all(|draft| draft.kind.is_popup()));
            office.tracker.refused(&drafts);
        }
    }
    told
}

#[test]
fn a_card_that_was_refused_comes_with_the_next_request() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    let [phone] = office.dials(client, ["101"]);
    office.rings(phone);
    assert_eq!(refuse(&mut office), ["101 INCOMING"]);
    office.answers(phone);
    office.told(["101 INCOMING", "101 ACCEPTED"]);
    office.hangs_up(client);
    office.told(["101 COMPLETED Success 0"]);
    office.closes();
}

#[test]
fn all_that_was_refused_comes_with_the_end() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    let [first, second] = office.dials(client, ["101", "102"]);
    office.rings(first);
    office.rings(second);
    assert_eq!(refuse(&mut office), ["101 INCOMING", "102 INCOMING"]);
    office.fails(first, "BUSY", 17);
    office.answers(second);
    assert_eq!(refuse(&mut office), ["102 INCOMING", "102 ACCEPTED"]);
    office.hangs_up(client);
    office.told(["102 INCOMING", "102 ACCEPTED", "102 COMPLETED Success 0"]);
    office.closes();
}

#[test]
fn settings_change_while_calls_run() {
    let (mut office, client, _) = talk();
    office.tracker.configure(Arc::new(Calls {
        missed: Missed::All,
        trunks: Trunks::default(),
        ..calls()
    }));
    office.wait(1);
    office.hangs_up(client);
    office.told(["101 COMPLETED Success 11"]);
    office.closes();
}

#[test]
fn what_begins_when_the_dialplan_takes_over_is_not_told() {
    let (mut office, client, _) = talk();
    office.tracker.wind_up();
    let other = office.client_calls(OTHER, DID);
    let [phone] = office.dials(other, ["102"]);
    office.rings(phone);
    office.answers(phone);
    let root = office.phone_calls("103", CLIENT);
    office.dials_out(root, CLIENT, Owner::Client);
    office.told([]);
    assert_eq!(office.tracker.told().count(), 1);
    office.wait(1);
    office.hangs_up(client);
    office.told(["101 COMPLETED Success 11"]);
    assert_eq!(office.tracker.told().count(), 0);
    office.hangs_up(other);
    office.hangs_up(root);
    office.told([]);
    office.closes();
}
