//! Calls of real phones, with everything that makes time in bridges hard to count, and CALL_DURATION beside the log.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use harness::{Behaviour, Cel, Logged, Office, Version, until};

/// Long for a loaded machine.
const BOUND: Duration = Duration::from_secs(30);
/// Enough to tell a bridge that counts from one that does not.
const TALK: Duration = Duration::from_millis(300);

pub(crate) fn agree_with_the_log(version: Version) -> Result<()> {
    let mut office = Office::open(version)?;
    let calls = play(&office);
    let transcript = office.transcript();
    office.stage.play(|_| calls.context(transcript))
}

fn play(office: &Office) -> Result<()> {
    let calls: &[fn(&Office) -> Result<()>] = &[
        passed_on_from_outside,
        whose_called_side_is_sent_elsewhere,
        held_by_both,
        behind_a_local_channel,
        behind_a_local_channel_that_stays,
        in_a_room,
        that_nobody_answers,
    ];
    for call in calls {
        call(office)?;
        office.tidy()?;
    }
    let cel = Cel::of(&office.stage.asterisk);
    let channels = cel.agrees(&mut office.ami())?;
    let entries = |channel: &Logged| channel.entered.len();
    let most = channels.values().map(entries).max().unwrap_or(0);
    println!(
        "{}: CALL_DURATION agrees with the log of {} channels, one of which entered {most} bridges",
        office.version(),
        channels.len()
    );
    ensure!(most >= 3, "no channel entered bridges again and again");
    ensure!(
        channels.values().any(|channel| entries(channel) == 0),
        "every channel was in a bridge"
    );
    is_known_from_everywhere(office, &channels)?;
    // A reload forgets nothing of what has ended.
    let said = office.stage.reload_with(office.stage.settings())?;
    ensure!(said.contains("reloaded successfully"), "{said}");
    cel.agrees(&mut office.ami()).map(drop)
}

fn action(office: &Office, headers: &[(&str, &str)]) -> Result<()> {
    let reply = office.ami().action(headers)?;
    ensure!(reply.is_success(), "{headers:?}: {:?}", reply.response);
    Ok(())
}

/// The caller's channel enters one bridge after another: AMI redirects it once, and transfers it once.
fn passed_on_from_outside(office: &Office) -> Result<()> {
    for number in ["101", "102", "103"] {
        office.phone(number).will(Behaviour::Answer);
    }
    let client = office.client_calls("101")?;
    client.wait_answered()?;
    office.together(&["trunk", "101"])?;
    let channel = office.channel_of("trunk")?;
    counts_up_to_now(office, &channel)?;
    action(
        office,
        &[
            ("Action", "Redirect"),
            ("Channel", &channel),
            ("Context", "company"),
            ("Exten", "102"),
            ("Priority", "1"),
        ],
    )?;
    office.together(&["trunk", "102"])?;
    thread::sleep(TALK);
    counts_up_to_now(office, &channel)?;
    action(
        office,
        &[
            ("Action", "BlindTransfer"),
            ("Channel", &office.channel_of("102")?),
            ("Context", "from-internal"),
            ("Exten", "103"),
        ],
    )?;
    office.together(&["trunk", "103"])?;
    counts_up_to_now(office, &channel)?;
    client.talk(TALK)?;
    client.hangup()
}

/// The called channel runs no dialplan. To send it elsewhere Asterisk makes a new one that takes its place, a masquerade
/// (main/pbx.c, ast_async_goto).
fn whose_called_side_is_sent_elsewhere(office: &Office) -> Result<()> {
    office.phone("101").will(Behaviour::Answer);
    let client = office.client_calls("101")?;
    let employee = office.phone("101").expect_call()?;
    office.together(&["trunk", "101"])?;
    thread::sleep(TALK);
    action(
        office,
        &[
            ("Action", "Redirect"),
            ("Channel", &office.channel_of("101")?),
            ("Context", "company"),
            ("Exten", "404"),
            ("Priority", "1"),
        ],
    )?;
    client.wait_hung_up()?;
    let other = office.phone("102").call("404")?;
    office.together(&["101", "102"])?;
    employee.talk(TALK)?;
    other.hangup()?;
    employee.hangup()
}

fn held_by_both(office: &Office) -> Result<()> {
    office.phone("101").will(Behaviour::Answer);
    let client = office.client_calls("101")?;
    let employee = office.phone("101").expect_call()?;
    employee.talk(TALK)?;
    for line in [&client, &employee] {
        line.hold()?;
        client.talk(TALK)?;
        line.unhold()?;
    }
    employee.hangup()
}

/// The Local channel's halves leave their bridges when the phone takes their place.
fn behind_a_local_channel(office: &Office) -> Result<()> {
    office.phone("101").will(Behaviour::Answer);
    let client = office.client_calls("211")?;
    client.wait_answered()?;
    office.loses_its_local_channels()?;
    office.together(&["trunk", "101"])?;
    client.talk(TALK)?;
    client.hangup()
}

fn behind_a_local_channel_that_stays(office: &Office) -> Result<()> {
    office.phone("101").will(Behaviour::Answer);
    let client = office.client_calls("212")?;
    client.wait_answered()?;
    office.together(&["trunk", "101"])?;
    client.talk(TALK)?;
    client.hangup()
}

fn in_a_room(office: &Office) -> Result<()> {
    let lines = [
        office.client_calls("404")?,
        office.phone("101").call("404")?,
        office.phone("102").call("404")?,
    ];
    office.together(&["trunk", "101", "102"])?;
    thread::sleep(TALK);
    lines.iter().try_for_each(harness::Line::hangup)
}

fn that_nobody_answers(office: &Office) -> Result<()> {
    let client = office.client_calls("201")?;
    client.wait_ringing()?;
    client.hangup()
}

fn now() -> Result<u64> {
    Ok(u64::try_from(
        SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros(),
    )?)
}

/// Whether the time in bridges of a channel that is in one is what the log says up to this moment. The answer lies
/// between what would be right when it was asked for and when it was there.
fn counts_up_to_now(office: &Office, channel: &str) -> Result<()> {
    let mut ami = office.ami();
    let uniqueid = ami.getvar(Some(channel), "UNIQUEID")?;
    let cel = Cel::of(&office.stage.asterisk);
    until("an equal duration of a call that goes on", BOUND, || {
        let asked = now()?;
        let told = ami.getvar(Some(channel), "CALL_DURATION(,talk_ms)")?;
        let answered = now()?;
        let told: u64 = told.parse().with_context(|| format!("'{told}' is no duration"))?;
        let logged = cel.channels()?.remove(&uniqueid).unwrap_or_default();
        // The log may be behind what AMI shows.
        if logged.entered.len() != logged.left.len() + 1 {
            return Ok(None);
        }
        let up_to = |moment: u64| {
            let mut logged = logged.clone();
            logged.left.push(moment);
            logged.talk() / 1_000
        };
        Ok((up_to(asked)..=up_to(answered)).contains(&told).then_some(()))
    })
    .with_context(|| format!("{uniqueid}: {:?}", cel.channels()))
}

/// Whoever asks gets the same answer: AMI on no channel (so it was compared with the log), the console, another channel.
fn is_known_from_everywhere(office: &Office, channels: &BTreeMap<String, Logged>) -> Result<()> {
    let (uniqueid, logged) = channels
        .iter()
        .max_by_key(|(_, channel)| channel.talk())
        .context("no channel")?;
    let expression = format!("CALL_DURATION({uniqueid},talk_ms)");
    let wanted = (logged.talk() / 1_000).to_string();

    let said = office
        .stage
        .asterisk
        .cli(&format!("dialplan eval function {expression}"))?;
    ensure!(
        said.split_whitespace().any(|word| word == wanted),
        "{expression} is {wanted}, and the console says {said}"
    );

    let client = office.client_calls("405")?;
    client.wait_answered()?;
    let other = office.channel_of("trunk")?;
    let told = office.ami().getvar(Some(&other), &expression)?;
    ensure!(
        told == wanted,
        "{expression} is {wanted}, and {told} on another channel"
    );
    for (what, expected) in [("", "0"), ("talk", "0"), ("talk_ms", "0")] {
        let told = office
            .ami()
            .getvar(Some(&other), &format!("CALL_DURATION(,{what})"))?;
        ensure!(
            told == expected,
            "a channel that is in no bridge has talked for {told}"
        );
    }
    client.hangup()?;
    office.tidy()?;

    // Uniqueids are made of what a dialplan cannot break, but an administrator can mistype.
    for unknown in ["no.such.channel", "1700000000.1"] {
        let told = office.ami().getvar(None, &format!("CALL_DURATION({unknown})"))?;
        ensure!(told.is_empty(), "{unknown} is known: {told}");
    }
    Ok(())
}
