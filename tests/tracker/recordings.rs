//! What the ends of calls promise of recordings, and which recordings are of which call.

use res_planfix::core::record::RECORDING;
use res_planfix::core::recording::News;

use crate::office::{CLIENT, DID, Office};
use crate::pbx::Owner;

const OTHER: &str = "89165550000";

/// What was told of recordings: `callid file`, and `callid over`.
fn told(office: &Office) -> Vec<String> {
    let news = office.recordings.iter();
    news.map(|news| match news {
        News::Recorded { callid, said, .. } => format!("{callid} {said}"),
        News::Over { callid } => format!("{callid} over"),
    })
    .collect()
}

/// The end of the last call: `101 COMPLETED Success 10`, and whether a recording is promised.
fn ends(office: &mut Office) -> Vec<(String, String)> {
    let news = office.news();
    let ends = news.iter().filter(|request| request.line().contains("COMPLETED"));
    ends.map(|request| (request.line(), request.field("is_recorded").to_owned()))
        .collect()
}

#[test]
fn a_recorded_talk_promises_its_recording_and_tells_of_it_first() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    let callid = office.uniqueid(client).to_owned();
    office.sets(client, RECORDING, "/monitor/a.wav");
    let [phone] = office.dials(client, ["101"]);
    office.rings(phone);
    office.passes_on();
    assert!(told(&office).is_empty(), "nobody knows yet whether they talk");
    office.answers(phone);
    office.wait(10);
    assert_eq!(
        told(&office),
        [format!("{callid} /monitor/a.wav")],
        "a crash must not lose it"
    );
    office.hangs_up(client);
    assert_eq!(
        ends(&mut office),
        [("101 COMPLETED Success 10".to_owned(), "1".to_owned())]
    );
    assert_eq!(
        told(&office),
        [format!("{callid} /monitor/a.wav"), format!("{callid} over")]
    );
    office.closes();
}

#[test]
fn a_missed_call_promises_nothing() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    office.sets(client, RECORDING, "/monitor/a.wav");
    let [phone] = office.dials(client, ["101"]);
    office.rings(phone);
    office.hangs_up(client);
    assert_eq!(
        ends(&mut office),
        [("101 COMPLETED Missed 0".to_owned(), "0".to_owned())]
    );
    assert!(told(&office).is_empty(), "{:?}", told(&office));
    office.closes();
}

#[test]
fn what_is_recorded_of_a_talk_with_nobodys_mobile_is_not_told() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    office.sets(client, RECORDING, "/monitor/a.wav");
    let phone = office.dials_phone(client, "101");
    office.rings(phone);
    office.fails(phone, "NOANSWER", 0);
    let mobile = office.dials_out(client, OTHER, Owner::Mobile(String::new()));
    office.answers(mobile);
    office.wait(10);
    office.hangs_up(client);
    assert_eq!(
        ends(&mut office),
        [("101 COMPLETED Cancelled 0".to_owned(), "0".to_owned())]
    );
    assert!(told(&office).is_empty(), "{:?}", told(&office));
    office.closes();
}

#[test]
fn both_cards_of_a_transferred_call_promise_it_and_both_recordings_are_told() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    let callid = office.uniqueid(client).to_owned();
    let [first] = office.dials(client, ["101"]);
    office.answers(first);
    office.sets(first, RECORDING, "/monitor/first.wav");
    office.wait(5);
    let second = office.transfers(first, "102");
    let second = if office.alive(second) { second } else { client };
    let [phone] = office.dials(second, ["102"]);
    office.answers(phone);
    office.sets(phone, RECORDING, "/monitor/second.wav");
    office.sets(phone, RECORDING, "/monitor/second.wav");
    office.wait(7);
    office.hangs_up(client);
    let ends = ends(&mut office);
    assert_eq!(
        ends,
        [
            ("101 COMPLETED Success 5".to_owned(), "1".to_owned()),
            ("102 COMPLETED Success 7".to_owned(), "1".to_owned())
        ]
    );
    assert_eq!(
        told(&office),
        [
            format!("{callid} /monitor/first.wav"),
            format!("{callid} /monitor/second.wav"),
            format!("{callid} over")
        ]
    );
    office.closes();
}

#[test]
fn an_outbound_call_has_the_recording_of_the_employees_channel() {
    let mut office = Office::new();
    let phone = office.phone_calls("101", CLIENT);
    office.sets(phone, RECORDING, "/monitor/out.wav");
    let client = office.dials_out(phone, CLIENT, Owner::Client);
    office.answers(client);
    office.wait(3);
    office.hangs_up(phone);
    assert_eq!(
        ends(&mut office),
        [("101 COMPLETED Success 3".to_owned(), "1".to_owned())]
    );
    assert_eq!(told(&office).len(), 2, "{:?}", told(&office));
    office.closes();
}

#[test]
fn a_click_has_the_recording_of_the_local_channel_that_dials() {
    let mut office = Office::new();
    let [one, two] = office.originates_local("101");
    let [phone] = office.dials(two, ["101"]);
    office.answers(phone);
    office.goes_to(one, CLIENT);
    office.sets(one, RECORDING, "/monitor/click.wav");
    let client = office.dials_out(one, CLIENT, Owner::Client);
    office.rings(client);
    office.answers(client);
    office.wait(3);
    office.hangs_up(client);
    assert_eq!(
        ends(&mut office),
        [("101 COMPLETED Success 3".to_owned(), "1".to_owned())]
    );
    assert_eq!(told(&office).len(), 2, "{:?}", told(&office));
    office.closes();
}

#[test]
fn nobodys_recording_comes_to_another_clients_card() {
    let mut office = Office::new();
    let client = office.client_calls(CLIENT, DID);
    office.sets(client, RECORDING, "/monitor/client.wav");
    let [phone] = office.dials(client, ["101"]);
    office.answers(phone);
    office.wait(4);
    // The employee asks somebody outside, and joins the two: from then on they are one linkedid.
    let own = office.phone_calls("101", OTHER);
    let other = office.dials_out(own, OTHER, Owner::Client);
    let second = office.uniqueid(own).to_owned();
    office.answers(other);
    office.wait(2);
    office.joins_calls(phone, own);
    office.wait(2);
    office.hangs_up(client);
    office.passes_on();
    let strange: Vec<String> = told(&office)
        .into_iter()
        .filter(|line| line.starts_with(&second) && line.contains("client.wav"))
        .collect();
    assert!(strange.is_empty(), "{strange:?}");
    office.news();
    office.closes();
}

#[test]
fn a_second_call_of_a_channel_has_no_recording_of_the_first_client() {
    let mut office = Office::new();
    let phone = office.phone_calls("101", CLIENT);
    let client = office.dials_out(phone, CLIENT, Owner::Client);
    office.answers(client);
    office.sets(client, RECORDING, "/monitor/first.wav");
    office.wait(3);
    office.hangs_up_alone(client);
    office.goes_to(phone, OTHER);
    let other = office.dials_out(phone, OTHER, Owner::Client);
    office.answers(other);
    office.wait(3);
    office.hangs_up(phone);
    let ends = ends(&mut office);
    let promised: Vec<&str> = ends.iter().map(|(_, promised)| promised.as_str()).collect();
    assert_eq!(promised, ["1", "0"], "{ends:?}");
    office.closes();
}
