//! A small company whose CRM switches everything on by itself: what `make demo` shows and tests/tour.rs demands.
//!
//! Invariants: at the start the module knows the PBX's key alone, so that whatever it tells the CRM it can tell by
//! `setup`; employees and clients say a tone each, so that a recording shows who was heard in it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{
    Asterisk, Behaviour, Builder, Caller, Heard, Line, Log, Phase, Phone, Reception, Sandbox, Sound, Tone,
    Version, field, module_path, until, workspace_root,
};

/// extensions.conf of the company.
pub const DIALPLAN: &str = include_str!("../tour/extensions.conf");
/// The company's number.
pub const COMPANY: &str = "74950000100";

const PHONES: [&str; 3] = ["101", "102", "103"];
/// What employees say.
pub const EMPLOYEE: Tone = Tone(440);
/// What clients say.
pub const CLIENT: Tone = Tone(1_000);
/// What an operator says for callers whom he does not answer.
pub const GREETING: Tone = Tone(620);
const NOBODY: Tone = Tone(700);
/// How long a greeting is, and longer than the signal before it.
const GREETED: Duration = Duration::from_millis(1_500);
const BEEP: Duration = Duration::from_millis(600);
/// How far the length of a recording may be from that of the talk.
const CLOSE: Duration = Duration::from_millis(100);
/// What the first and the last packets of a talk may lack of a tone, beside what is cut into pieces of 50 ms.
const EDGES: Duration = Duration::from_millis(200);
/// Whatever pauses for longer loses voice: MixMonitor() drops what one side has said when the other's comes 100 ms later
/// (main/audiohook.c, AST_AUDIOHOOK_SYNC_TOLERANCE).
const PAUSE: Duration = Duration::from_millis(80);
/// A phone rings so long before it is answered.
const RINGING: Duration = Duration::from_millis(500);
/// Long for a loaded machine: a request takes milliseconds, a recording is converted in less than a second.
const BOUND: Duration = Duration::from_secs(30);

/// The company at work.
pub struct Tour {
    /// Its Asterisk.
    pub asterisk: Asterisk,
    /// Its CRM.
    pub crm: Sandbox,
    phones: BTreeMap<&'static str, Phone>,
    trunk: Phone,
}

/// A talk that is over.
#[derive(Debug)]
pub struct Talk {
    /// How long the client spoke.
    pub said: Duration,
    /// The caller as the employee's phone showed him.
    pub shown: String,
    /// What the employee heard of the client.
    pub employee_heard: Duration,
    /// What the client heard of the employee.
    pub client_heard: Duration,
    /// How whole the voice came at both, at worst.
    pub reception: Reception,
}

/// A recording as the CRM fetched it by its link.
#[derive(Debug)]
pub struct Recording {
    /// What the CRM says of it.
    pub report: Value,
    /// What is heard in it.
    pub sound: Sound,
}

impl Tour {
    /// Opens the company, with contacts (`NUMBER=NAME[:EXT]`) in its CRM: `mode = auto`, recordings are converted and
    /// linked.
    ///
    /// # Errors
    /// When one of its parts does not start.
    ///
    /// # Panics
    /// When the module is not built.
    pub fn open(version: Version, contacts: &[&str]) -> Result<Self> {
        Self::open_as(version, contacts, |builder| builder)
    }

    /// As [`Tour::open`], with an Asterisk that is described further.
    ///
    /// # Errors
    /// As [`Tour::open`].
    ///
    /// # Panics
    /// As [`Tour::open`].
    pub fn open_as(
        version: Version,
        contacts: &[&str],
        describe: impl FnOnce(Builder) -> Builder,
    ) -> Result<Self> {
        let arguments: Vec<&str> = contacts
            .iter()
            .flat_map(|contact| ["--contact", contact])
            .collect();
        let crm = Sandbox::start(&arguments)?;
        let builder = PHONES
            .into_iter()
            .fold(Asterisk::builder(version), |builder, number| {
                builder.phone(number)
            })
            .module(module_path(version))
            .documentation(workspace_root().join("documentation/res_planfix-en_US.xml"))
            .load("res_planfix.so")
            .extensions(DIALPLAN);
        let mut asterisk = describe(builder).prepare()?;
        let server = asterisk.sip();
        let phones = PHONES
            .into_iter()
            .map(|number| Ok((number, Phone::open(number, asterisk.phone(number), server)?)))
            .collect::<Result<_>>()?;
        let trunk = Phone::open("trunk", asterisk.trunk(), server)?;
        asterisk.configure("planfix.conf", &settings(&asterisk, &crm))?;
        asterisk.start()?;
        let tour = Self {
            asterisk,
            crm,
            phones,
            trunk,
        };
        tour.everybody(Phone::listen)?;
        Ok(tour)
    }

    /// The PBX's address, as it is entered in the CRM.
    #[must_use]
    pub fn pbx(&self) -> String {
        format!("http://{}/planfix/api", self.asterisk.http())
    }

    /// The CRM switches the integration on. Returns what the PBX answered.
    ///
    /// # Errors
    /// When it did not answer.
    pub fn switch_on(&self) -> Result<Value> {
        self.crm
            .post("/_sandbox/setup", &json!({ "pbx_url": self.pbx() }))
    }

    /// Somebody clicks on a number in the CRM. Returns what the PBX answered.
    ///
    /// # Errors
    /// When it did not answer.
    pub fn click(&self, from: &str, to: &str) -> Result<Value> {
        self.crm
            .post("/_sandbox/click", &json!({ "from": from, "to": to }))
    }

    /// An employee's phone.
    ///
    /// # Panics
    /// When no such phone is plugged in.
    #[must_use]
    pub fn phone(&self, number: &str) -> &Phone {
        let Some(phone) = self.phones.get(number) else {
            panic!("no phone {number} is plugged in")
        };
        phone
    }

    /// The client calls the company.
    ///
    /// # Errors
    /// As [`Phone::call_as`].
    pub fn client_calls(&self, client: &str) -> Result<Line> {
        self.trunk.call_as(&Caller::number(client), COMPANY)
    }

    /// The client calls, the employee's phone rings and is answered, and they talk for that long.
    ///
    /// # Errors
    /// When it goes otherwise.
    pub fn call_in(&self, client: &str, employee: &str, time: Duration) -> Result<Talk> {
        self.tidy()?;
        let phone = self.phone(employee);
        phone.will(Behaviour::RingThenAnswer(RINGING));
        let line = self.client_calls(client)?;
        let other = phone.expect_call()?;
        let talk = talk(&line, &other, &line, time)?;
        self.empties()?;
        Ok(talk)
    }

    /// Somebody clicks: the employee's phone rings and is answered, then the client's, and they talk for that long.
    ///
    /// # Errors
    /// When it goes otherwise.
    pub fn call_by_click(&self, employee: &str, client: &str, time: Duration) -> Result<Talk> {
        self.tidy()?;
        let phone = self.phone(employee);
        phone.will(Behaviour::RingThenAnswer(RINGING));
        self.trunk.will_for(client, Behaviour::RingThenAnswer(RINGING));
        let answer = self.click(employee, client)?;
        ensure!(answer["status"] == 200, "the click was answered with {answer}");
        let other = phone.expect_call()?;
        ensure!(
            self.trunk.came_to(client) == 0,
            "the client was called before the employee had answered"
        );
        let line = self.trunk.expect_call_to(client)?;
        let talk = talk(&line, &other, &other, time)?;
        self.empties()?;
        Ok(talk)
    }

    /// An employee dials the service code, says a greeting, and keeps it.
    ///
    /// # Errors
    /// When it goes otherwise.
    pub fn record_greeting(&self, employee: &str) -> Result<()> {
        self.tidy()?;
        let mut log = Log::from_here(&self.asterisk)?;
        let phone = self.phone(employee);
        phone.say(Some(GREETING));
        let line = phone.call("*600")?;
        line.wait_answered()?;
        line.press("1")?;
        log.wait_played(employee, &["beep"])?;
        let until_said = line.said()? + BEEP + GREETED;
        until("a greeting that is said", BOUND, || {
            Ok((line.said()? >= until_said).then_some(()))
        })?;
        for (key, then) in [("#", "vm-review"), ("1", "vm-msgsaved")] {
            line.press(key)?;
            log.wait_played(employee, &[then])?;
        }
        line.hangup()?;
        self.empties()
    }

    /// The client calls, 102 is busy, and nobody answers at 101. Returns how long the client heard the greeting of 101
    /// before the call ended, unanswered.
    ///
    /// # Errors
    /// When it goes otherwise.
    pub fn call_in_vain(&self, client: &str) -> Result<Duration> {
        self.tidy()?;
        self.phone("102").will(Behaviour::BUSY);
        let line = self.client_calls(client)?;
        line.wait_hears(GREETING, GREETED - EDGES, Heard::ALL)?;
        ensure!(
            line.phase()? == Phase::Ringing,
            "a greeting does not answer the call, but it is {:?}",
            line.phase()?
        );
        line.wait_ended()?;
        self.empties()?;
        Ok(line.heard()?.presence(GREETING))
    }

    /// From now on everybody answers who is called, so that clicks in the CRM's page lead to somebody.
    ///
    /// # Errors
    /// As [`Tour::empties`].
    pub fn everybody_answers(&self) -> Result<()> {
        self.tidy()?;
        for phone in self.phones.values().chain([&self.trunk]) {
            phone.will(Behaviour::RingThenAnswer(RINGING));
        }
        Ok(())
    }

    /// Whether a client talks with an employee now.
    #[must_use]
    pub fn talks(&self) -> bool {
        self.trunk.talks()
    }

    /// Ends every call.
    ///
    /// # Errors
    /// When nothing can be sent.
    pub fn hangup_all(&self) -> Result<()> {
        self.everybody(Phone::hangup_all)
    }

    /// Waits for the CRM to be told of the call's recording, and has it fetch that.
    ///
    /// # Errors
    /// When no recording is told of, or what its link leads to is no mp3.
    pub fn recording(&self, callid: &str) -> Result<Recording> {
        self.crm
            .wait_for(&format!("the recording of {callid}"), BOUND, |entries| {
                entries.iter().any(|entry| {
                    field(entry, "callid") == callid && field(entry, "record_link").starts_with("http")
                })
            })?;
        let report = self.crm.get(&format!("/_sandbox/recording?callid={callid}"))?;
        let file = self
            .crm
            .fetch(&format!("/_sandbox/listen?callid={callid}"))
            .with_context(|| format!("the CRM fetched {report}"))?;
        let sound = Sound::mp3(&file).with_context(|| format!("the CRM fetched {report}"))?;
        Ok(Recording { report, sound })
    }

    /// Waits until the last call is over.
    ///
    /// # Errors
    /// When a channel stays.
    pub fn empties(&self) -> Result<()> {
        until("an Asterisk without channels", BOUND, || {
            let count = self.asterisk.cli("core show channels count")?;
            Ok(count.contains("0 active channels").then_some(()))
        })
    }

    /// Lets all phones forget what was, and say their tones.
    fn tidy(&self) -> Result<()> {
        self.everybody(Phone::hangup_all)?;
        self.empties()?;
        self.everybody(Phone::reset)?;
        for phone in self.phones.values() {
            phone.say(Some(EMPLOYEE));
        }
        self.trunk.say(Some(CLIENT));
        Ok(())
    }

    fn everybody(&self, what: impl Fn(&Phone) -> Result<()>) -> Result<()> {
        self.phones.values().chain([&self.trunk]).try_for_each(what)
    }
}

impl Talk {
    /// Whether the machine was too busy for the voice to come in time, so that nothing can be asked of a recording.
    #[must_use]
    pub fn was_disturbed(&self) -> bool {
        self.reception.lost > 0 || self.reception.longest_pause > PAUSE
    }
}

impl Recording {
    /// Whether a browser plays it, and what is heard in it is what the two said.
    ///
    /// # Errors
    /// What is wrong.
    pub fn holds(&self, talk: &Talk) -> Result<()> {
        ensure!(
            self.report["plays"] == true && self.report["type"] == "audio/mpeg",
            "no browser plays what the link leads to: {}",
            self.report
        );
        let (length, said) = (self.sound.duration(), talk.said);
        ensure!(
            length.abs_diff(said) <= CLOSE,
            "the recording is {length:?} long, and they talked for {said:?}"
        );
        for (who, tone) in [("the employee", EMPLOYEE), ("the client", CLIENT)] {
            let heard = self.sound.presence(tone);
            ensure!(
                heard + EDGES >= said,
                "{who} is heard for {heard:?} of {said:?} in the recording"
            );
        }
        let strange = self.sound.presence(NOBODY);
        ensure!(
            strange.is_zero(),
            "{strange:?} of the recording is what nobody said"
        );
        Ok(())
    }
}

/// The two talk until `ends` hangs up.
fn talk(client: &Line, employee: &Line, ends: &Line, time: Duration) -> Result<Talk> {
    client.wait_answered()?;
    employee.wait_answered()?;
    client.talk(time)?;
    ends.hangup()?;
    client.wait_ended()?;
    employee.wait_ended()?;
    let [one, other] = [client.reception()?, employee.reception()?];
    Ok(Talk {
        reception: Reception {
            packets: one.packets.min(other.packets),
            lost: one.lost.max(other.lost),
            longest_pause: one.longest_pause.max(other.longest_pause),
        },
        said: client.said()?,
        shown: employee.caller_name(),
        employee_heard: employee.heard()?.presence(CLIENT),
        client_heard: client.heard()?.presence(EMPLOYEE),
    })
}

/// planfix.conf before the CRM has sent anything.
fn settings(asterisk: &Asterisk, crm: &Sandbox) -> String {
    format!(
        "[general]\nmode = auto\n\n[planfix]\npbx_token = {}\n\n[calls]\ninternal = _10X\n\n\
         [delivery]\nretry_max = 2\n\n[contact]\nset_name = yes\ntimeout_ms = 5000\n\n\
         [recordings]\nlink = http://{}/planfix/records\n",
        crm.pbx_token(),
        asterisk.http()
    )
}
