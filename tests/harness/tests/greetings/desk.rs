//! What the tests of the greetings begin with: an Asterisk whose dialplan has the article's service code and its
//! announcement, phones, and a client behind a trunk.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::{
    Ami, Builder, CLIENT, Caller, Codec, End, Heard, Line, Log, Message, Phase, Phone, Stage, Tone, Version,
    did, files, until, wav,
};

pub(crate) const BOUND: Duration = Duration::from_secs(30);
/// A tone is heard for certain when it is heard for so long.
pub(crate) const LONG: Duration = Duration::from_millis(400);
/// How long what is recorded is: more than the shortest that `min` allows.
pub(crate) const TAKE: Duration = Duration::from_millis(1_200);

/// 104 has the wide band.
const NARROW: [(&str, Codec); 3] = [("101", Codec::Alaw), ("102", Codec::Ulaw), ("103", Codec::Alaw)];
const WIDE: &str = "104";

/// LANG is the language of the next calls. What a caller was told is in DIALED and SAID.
pub(crate) const DIALPLAN: &str = "\
[from-internal]
; Before a call PJSIP of 16 looks for the extension without regard to the caller, and must find one.
exten => _*600,1,Hangup(21)
exten => _*600/_10X,1,Set(CHANNEL(language)=${LANG})
 same => n,OpGreetingMenu()
 same => n,Hangup()
; A phone that is not the operator's own.
exten => _*601XXX,1,Set(CHANNEL(language)=${LANG})
 same => n,OpGreetingMenu(${EXTEN:4})
 same => n,Hangup()
exten => *6101,hint,Planfix:greeting_101
; What the greeting sounds like to somebody who has not called anybody.
exten => _*7XXX,1,Set(CHANNEL(language)=${LANG})
 same => n,OpGreeting(${EXTEN:2})
 same => n,Set(GLOBAL(SAID)=${OPGREETINGSTATUS})
 same => n,Wait(0.2)
 same => n,Hangup()
exten => _10X,1,Set(CHANNEL(language)=${LANG})
 same => n,Set(GLOBAL(SAID)=)
 same => n,Dial(PJSIP/${EXTEN},1)
 same => n,Set(GLOBAL(DIALED)=${DIALSTATUS})
 same => n,OpGreeting(${EXTEN})
 same => n,Set(GLOBAL(SAID)=${OPGREETINGSTATUS})
 same => n,Wait(0.2)
 same => n,Hangup()

[from-trunk]
exten => _74950000XXX,1,Goto(from-internal,${EXTEN:-3},1)
exten => _74950007XXX,1,Goto(from-internal,*7${EXTEN:-3},1)

[run]
exten => s,1,Hangup()
";

/// Where everything that a test needs is.
pub(crate) struct Desk<'a> {
    pub(crate) stage: &'a mut Stage,
    pub(crate) trunk: &'a Phone,
    phones: &'a BTreeMap<&'static str, Phone>,
    ami: RefCell<Ami>,
}

/// Starts an Asterisk with these lines of `[greetings]`, lets `test` play, and looks after the stage's invariant.
pub(crate) fn play(
    version: Version,
    greetings: &str,
    describe: impl FnOnce(Builder) -> Builder,
    test: impl FnOnce(&mut Desk<'_>) -> Result<()>,
) -> Result<()> {
    let mut stage = Stage::plan(version)
        .calls("internal = _10X\ntrunks = PJSIP/trunk")
        .section("greetings", greetings)
        .asterisk(|builder| {
            let builder = NARROW
                .iter()
                .fold(builder, |builder, (number, _)| builder.phone(number));
            describe(builder.wide_phone(WIDE).extensions(DIALPLAN))
        })
        .prepare()?;
    let asterisk = &stage.asterisk;
    let mut phones = BTreeMap::new();
    for (number, codec) in NARROW.into_iter().chain([(WIDE, Codec::Wide)]) {
        let phone = Phone::open(number, asterisk.phone(number), asterisk.sip())?;
        phone.equip(codec);
        phone.listen()?;
        phones.insert(number, phone);
    }
    let trunk = Phone::open(CLIENT, asterisk.trunk(), asterisk.sip())?;
    trunk.equip(Codec::Alaw);
    trunk.listen()?;
    stage.asterisk.start()?;
    stage.at_work()?;
    let quiet = quiet(&stage)?;
    stage.play(|stage| {
        let mut desk = Desk {
            stage,
            trunk: &trunk,
            phones: &phones,
            ami: RefCell::new(quiet),
        };
        desk.speak("en")?;
        test(&mut desk)
    })
}

/// A session of the manager interface that gets no events.
fn quiet(stage: &Stage) -> Result<Ami> {
    let mut ami = stage.asterisk.ami()?;
    ami.action(&[("Action", "Events"), ("EventMask", "off")])?;
    Ok(ami)
}

impl Desk<'_> {
    pub(crate) fn phone(&self, number: &str) -> Result<&Phone> {
        self.phones
            .get(number)
            .with_context(|| format!("there is no phone {number}"))
    }

    /// Restarts Asterisk.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.stage.asterisk.restart()?;
        self.stage.at_work()?;
        self.ami.replace(quiet(self.stage)?);
        Ok(())
    }

    /// The language of the next calls.
    pub(crate) fn speak(&self, language: &str) -> Result<()> {
        self.set("LANG", language)
    }

    /// Sets a global variable.
    pub(crate) fn set(&self, name: &str, value: &str) -> Result<()> {
        self.manage(&[("Action", "Setvar"), ("Variable", name), ("Value", value)])
    }

    /// A global variable, or a function on no channel.
    pub(crate) fn get(&self, what: &str) -> Result<String> {
        self.ami.borrow_mut().getvar(None, what)
    }

    /// What OP_GREETING says.
    pub(crate) fn greeting(&self, arguments: &str) -> Result<String> {
        self.get(&format!("OP_GREETING({arguments})"))
    }

    /// Waits until OP_GREETING says that.
    pub(crate) fn until_greeting(&self, arguments: &str, expected: &str) -> Result<()> {
        let mut last = String::new();
        until(&format!("OP_GREETING({arguments}) = {expected}"), BOUND, || {
            last = self.greeting(arguments)?;
            Ok((last == expected).then_some(()))
        })
        .with_context(|| format!("it is \"{last}\""))
    }

    /// Waits until a global variable has that value.
    pub(crate) fn until_is(&self, name: &str, expected: &str) -> Result<()> {
        let mut last = String::new();
        until(&format!("{name} = {expected}"), BOUND, || {
            last = self.get(name)?;
            Ok((last == expected).then_some(()))
        })
        .with_context(|| format!("it is \"{last}\""))
    }

    /// An action of the manager interface that must succeed.
    pub(crate) fn manage(&self, headers: &[(&str, &str)]) -> Result<()> {
        let reply = self.ami.borrow_mut().action(headers)?;
        ensure!(reply.is_success(), "{headers:?}: {:?}", reply.response);
        Ok(())
    }

    /// An action that must be refused; returns the reason.
    pub(crate) fn refused(&self, headers: &[(&str, &str)]) -> Result<String> {
        let reply = self.ami.borrow_mut().action(headers)?;
        ensure!(!reply.is_success(), "{headers:?} was done");
        Ok(reply.response.get("Message").unwrap_or_default().to_owned())
    }

    /// What a console command says.
    pub(crate) fn command(&self, command: &str) -> Result<String> {
        self.ami.borrow_mut().command(command)
    }

    /// Changes an attribute by the manager interface.
    pub(crate) fn change(&self, operator: &str, attribute: &str, kind: &str, value: &str) -> Result<()> {
        let mut headers = vec![
            ("Action", "PlanfixGreetingSet"),
            ("Operator", operator),
            ("Attribute", attribute),
            ("Value", value),
        ];
        if !kind.is_empty() {
            headers.push(("Kind", kind));
        }
        self.manage(&headers)
    }

    /// As long as [`TAKE`], a file that may be imported.
    pub(crate) fn sound(&self, tone: Tone, rate: u32) -> Result<PathBuf> {
        let folder = self.stage.asterisk.scratch().join("data/sounds/custom");
        let file = folder.join(format!("{}-{rate}.wav", tone.0));
        fs::write(&file, wav(rate, &tone.samples(rate, 0, rate / 5 * 6)))?;
        Ok(file)
    }

    /// Gives an operator a greeting that is this tone.
    pub(crate) fn give(&self, operator: &str, kind: &str, tone: Tone) -> Result<()> {
        let file = self.sound(tone, 8_000)?;
        self.change(operator, "file", kind, &file.display().to_string())
    }

    /// The folder of all greetings.
    pub(crate) fn folder(&self) -> PathBuf {
        self.stage.asterisk.spool().join("planfix/greetings")
    }

    /// A file of an operator's.
    pub(crate) fn file(&self, operator: &str, name: &str) -> PathBuf {
        self.folder().join("operators/-").join(operator).join(name)
    }

    /// Nothing lies about that is no greeting.
    pub(crate) fn is_tidy(&self) -> Result<()> {
        let left = files(&self.folder().join("tmp"));
        ensure!(left.is_empty(), "left behind: {left:?}");
        for name in files(&self.folder().join("operators")) {
            let known = name.ends_with(".wav") || name.ends_with(".wav16") || name.ends_with("/sheet.json");
            ensure!(known, "{name} is no greeting");
        }
        Ok(())
    }

    /// The client calls that extension, and its phone rings in vain.
    pub(crate) fn client_calls(&self, extension: &str) -> Result<Line> {
        self.trunk.call_as(&Caller::number(CLIENT), &did(extension))
    }

    /// The client calls, nobody answers, and he hears that tone.
    pub(crate) fn client_hears(&self, extension: &str, tone: Tone) -> Result<()> {
        let line = self.client_calls(extension)?;
        line.wait_hears(tone, LONG, Heard::ALL)?;
        ensure!(
            line.phase()? == Phase::Ringing,
            "the call was answered: {:?}",
            line.phase()?
        );
        let end = line.wait_ended()?;
        ensure!(matches!(end, End::Refused(_)), "the call was answered: {end:?}");
        self.until_is("SAID", "PLAYED")
    }

    /// Somebody hears that greeting of an operator's who was not called, and hangs up.
    pub(crate) fn is_heard(&self, operator: &str, tone: Tone) -> Result<()> {
        let caller = Caller::number(CLIENT);
        let line = self.trunk.call_as(&caller, &format!("74950007{operator}"))?;
        line.wait_hears(tone, LONG, Heard::ALL)?;
        line.hangup()
    }

    /// The client calls and nothing is played to him; OpGreeting said why.
    pub(crate) fn client_hears_nothing(&self, extension: &str, status: &str) -> Result<()> {
        let line = self.client_calls(extension)?;
        let end = line.wait_ended()?;
        ensure!(matches!(end, End::Refused(_)), "{end:?}");
        let heard = line.heard()?.duration();
        ensure!(heard.is_zero(), "{heard:?} were played");
        self.until_is("SAID", status)
    }

    /// Waits until there is no channel any more.
    pub(crate) fn empties(&self) -> Result<()> {
        until("an Asterisk without channels", BOUND, || {
            let count = self.command("core show channels count")?;
            Ok(count.contains("0 active channels").then_some(()))
        })
    }
}

/// A phone in the menu.
pub(crate) struct Menu<'a> {
    pub(crate) line: Line,
    phone: &'a Phone,
    number: String,
    log: Log,
}

impl<'a> Menu<'a> {
    /// That phone dials that service code.
    pub(crate) fn dial(desk: &'a Desk<'_>, number: &str, code: &str) -> Result<Self> {
        let (log, phone) = (Log::from_here(&desk.stage.asterisk)?, desk.phone(number)?);
        let line = phone.call(code)?;
        line.wait_answered()?;
        Ok(Self {
            line,
            phone,
            number: number.to_owned(),
            log,
        })
    }

    /// Waits until one of these is played to the phone; returns it, and the language that it was looked for in.
    pub(crate) fn says_any(&mut self, sounds: &[&str]) -> Result<(String, String)> {
        self.log.wait_played(&self.number, sounds)
    }

    /// Waits until that is played to the phone; returns the language.
    pub(crate) fn says(&mut self, sound: &str) -> Result<String> {
        Ok(self.says_any(&[sound])?.1)
    }

    /// Waits for the beginning of the menu, which tells of which greeting it speaks; returns the language.
    pub(crate) fn begins(&mut self) -> Result<String> {
        self.says("vm-message")
    }

    pub(crate) fn press(&self, keys: &str) -> Result<()> {
        self.line.press(keys)
    }

    /// Chooses to record, and does not listen to how that is done.
    pub(crate) fn begins_to_record(&mut self) -> Result<()> {
        self.press("1")?;
        self.says_any(&["vm-rec-unv", "vm-rec-temp"])?;
        self.press("0")?;
        self.says("beep").map(drop)
    }

    /// Records, and says the tone for that long.
    pub(crate) fn records(&mut self, tone: Tone, time: Duration) -> Result<()> {
        self.phone.say(Some(tone));
        self.begins_to_record()?;
        self.talks(BEEP + time)
    }

    /// Goes on saying what it says.
    pub(crate) fn talks(&self, time: Duration) -> Result<()> {
        let until_said = self.line.said()? + time;
        until("a word in the greeting", BOUND, || {
            ensure!(self.line.phase()? == Phase::Talking, "the call is over");
            Ok((self.line.said()? >= until_said).then_some(()))
        })
    }

    /// Ends the recording by a key.
    pub(crate) fn has_recorded(&mut self) -> Result<()> {
        self.press("#")?;
        self.phone.say(None);
        self.reviews()
    }

    /// Waits for the question what to do with the recording.
    pub(crate) fn reviews(&mut self) -> Result<()> {
        self.says_any(&["vm-review", SHORT_REVIEW]).map(drop)
    }

    /// Keeps the recording.
    pub(crate) fn saves(&mut self) -> Result<()> {
        self.press("1")?;
        self.says("vm-msgsaved").map(drop)
    }

    /// Records a greeting that is this tone, listens to it and saves it.
    pub(crate) fn records_listens_and_saves(&mut self, tone: Tone) -> Result<()> {
        self.records(tone, TAKE)?;
        self.has_recorded()?;
        let place = self.line.hears_from_here()?;
        self.press("2")?;
        self.line.wait_hears(tone, LONG, place)?;
        self.saves()
    }

    pub(crate) fn hangs_up(self) -> Result<()> {
        self.phone.say(None);
        self.line.hangup()
    }

    pub(crate) fn phone_says(&self, tone: Option<Tone>) {
        self.phone.say(tone);
    }
}

/// Longer than the signal to speak is.
const BEEP: Duration = Duration::from_millis(500);
/// What is asked after a recording where nobody wants to hear all of the question.
pub(crate) const SHORT_REVIEW: &str = "digits/9";

/// Whether this event is of that device, or of that hint, and says that it is lit, or not.
pub(crate) fn lamp(event: &Message, lit: bool) -> bool {
    let state = if lit { "INUSE" } else { "NOT_INUSE" };
    event.is_event("DeviceStateChange")
        && event.get("Device") == Some("Planfix:greeting_101")
        && event.get("State") == Some(state)
}
