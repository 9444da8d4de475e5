//! The programmable phone on a real Asterisk: its keys, its codecs, its ears.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::{Asterisk, Codec, Log, Phase, Phone, Tone, Version, on_both, until};

on_both!(keys_and_voices_come_through);

const BOUND: Duration = Duration::from_secs(30);
const TIME: Duration = Duration::from_millis(500);

const EXTENSIONS: &str = "\
[from-internal]
exten => 600,1,Answer()
 same => n,Read(KEYS,silence/1,6)
 same => n,Set(GLOBAL(GOT)=${KEYS} ${CHANNEL(audionativeformat)})
 same => n,Echo()
 same => n,Hangup()
; Early media: heard, and never answered.
exten => 601,1,Progress()
 same => n,Playback(hello-world,noanswer)
 same => n,Hangup()
";

/// Of these only the wide band carries the second.
const LOW: Tone = Tone(1_000);
const HIGH: Tone = Tone(5_000);

fn keys_and_voices_come_through(version: Version) -> Result<()> {
    let mut asterisk = Asterisk::builder(version)
        .phone("101")
        .phone("102")
        .wide_phone("103")
        .extensions(EXTENSIONS)
        .prepare()?;
    let mut phones = Vec::new();
    for (number, codec, format) in [
        ("101", Codec::Alaw, "alaw"),
        ("102", Codec::Ulaw, "ulaw"),
        ("103", Codec::Wide, "slin16"),
    ] {
        let phone = Phone::open(number, asterisk.phone(number), asterisk.sip())?;
        phone.equip(codec);
        phone.listen()?;
        phones.push((phone, codec, format));
    }
    asterisk.start()?;
    let mut ami = asterisk.ami()?;
    ami.action(&[("Action", "Events"), ("EventMask", "off")])?;
    for (phone, codec, format) in &phones {
        let line = phone.call("600")?;
        line.wait_answered()?;
        line.press("12*0#")?;
        let mut got = String::new();
        until("the keys", BOUND, || {
            got = ami.getvar(None, "GOT")?;
            Ok(got.ends_with(format!("({format})").as_str()).then_some(()))
        })?;
        // The # ends the input.
        ensure!(got == format!("12*0 ({format})"), "Asterisk got {got}");
        phone.say(Some(LOW));
        let place = line.hears_from_here()?;
        line.wait_hears(LOW, TIME, place)?;
        if *codec == Codec::Wide {
            phone.say(Some(HIGH));
            line.wait_hears(HIGH, TIME, place)?;
        }
        line.hangup()?;
        line.wait_ended()?;

        let mut log = Log::from_here(&asterisk)?;
        let line = phone.call("601")?;
        until("a word before the answer", BOUND, || {
            let phase = line.phase()?;
            ensure!(
                matches!(phase, Phase::Calling | Phase::Ringing),
                "the call is {phase:?}"
            );
            Ok((line.heard()?.duration() >= TIME).then_some(()))
        })?;
        line.wait_quiet(TIME)?;
        line.wait_ended()?;
        log.wait("the sound", |line| {
            line.contains("Playing 'hello-world.").then_some(())
        })?;
    }
    drop(phones);
    Ok(())
}
