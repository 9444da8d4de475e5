//! The dialplan application OpGreetingMenu.
//!
//! `OpGreetingMenu([ext[@tenant]][,options])` answers, makes sure that the operator speaks, and lets him record, listen to,
//! switch and delete his greetings. Without `ext`: whose phone it is.
//!
//! Options: `p` asks for the PIN on every phone; `s` never asks, because the dialplan knows who it is; `k(kind)` speaks of the
//! greetings of that kind first.
//!
//! OPGREETINGMENUSTATUS: DONE (he left), TIMEOUT (he said nothing, or nothing that is understood), DENIED (no PIN, a wrong one, or
//! too many), HANGUP (he hung up), FAILED (wrong arguments, or no greetings: the log says which).
//!
//! Invariant: what he records is in memory, and so are his choices, until he says that it be kept.

use std::ffi::CStr;
use std::time::Duration;

use super::func_op_greeting::of_the_operator;
use super::{greetings, state};
use crate::ast::application::{Application, Flow};
use crate::ast::channel::Channel;
use crate::ast::local_time;
use crate::ast::voice::{Ended, HungUp, Played, RecordLimits, default_language};
use crate::core::greeting::arguments::{AskPin, Enter, KEYS};
use crate::core::greeting::attribute::Change;
use crate::core::greeting::day::Day;
use crate::core::greeting::kind::{Kind, Presence};
use crate::core::greeting::menu::{Ending, Facts, Identity, Input, Menu, Next, PinCheck, Say, room};
use crate::core::greeting::operator::Operator;
use crate::core::greeting::phone::Phone;
use crate::core::greeting::pin::MOST;
use crate::core::greeting::prompt::Prompt;
use crate::core::greeting::sound::Sound;
use crate::core::settings::Settings;
use crate::delivery::greetings::{Greetings, PinAnswer, Recording};

/// How long a number that has all its digits waits for the # that may follow: it would be the menu's way out.
const POUND: Duration = Duration::from_millis(1_500);

/// Samples a second of what is recorded from a phone that sends wideband sound, and from others.
const WIDE: u32 = 16_000;
const NARROW: u32 = 8_000;

pub(super) struct OpGreetingMenu;

impl Application for OpGreetingMenu {
    const NAME: &'static CStr = c"OpGreetingMenu";

    fn run(channel: &Channel<'_>, text: &[u8]) -> Flow {
        let (status, flow) = match run(channel, text) {
            Ok(Ending::Done) => (c"DONE", Flow::Continue),
            Ok(Ending::Timeout) => (c"TIMEOUT", Flow::Continue),
            Ok(Ending::Denied) => (c"DENIED", Flow::Continue),
            Ok(Ending::HangUp) => (c"HANGUP", Flow::HangUp),
            Err(sentence) => {
                log::warn!("OpGreetingMenu: {sentence}");
                (c"FAILED", Flow::Continue)
            }
        };
        channel.set_variable(c"OPGREETINGMENUSTATUS", status);
        flow
    }
}

fn run(channel: &Channel<'_>, text: &[u8]) -> Result<Ending, String> {
    let enter = Enter::parse(text)?;
    let greetings = greetings::available()?;
    let settings = state::current().and_then(|state| state.settings.clone());
    let settings = settings.ok_or("planfix.conf is not in force")?;
    let (name, number) = {
        let channel = channel.lock();
        let number = channel.caller_number().filter(|_| !channel.caller_restricted());
        (
            String::from_utf8_lossy(channel.name()).into_owned(),
            String::from_utf8_lossy(number.unwrap_or_default()).into_owned(),
        )
    };
    let phone = Phone {
        name: &name,
        number: &number,
    };
    let operator = if enter.ext.is_empty() {
        let own = [phone.endpoint(&settings.calls.trunks), &number];
        let own = own
            .into_iter()
            .find_map(|ext| greetings.operator(ext.as_bytes()).ok());
        own.ok_or("argument 1 (operator) is empty, and neither the phone's endpoint nor the caller's number is an operator's")?
    } else {
        greetings
            .operator(&enter.ext)
            .map_err(|fault| of_the_operator(&fault))?
    };
    let session = Session {
        channel,
        greetings: &greetings,
        operator: &operator,
        language: Some(channel.language())
            .filter(|language| !language.is_empty())
            .unwrap_or_else(default_language),
        by: format!("menu {name}"),
        settings: &settings,
        recording: None,
        sound: None,
        longest: Duration::ZERO,
        missing: Vec::new(),
    };
    let is_own = || {
        let by = settings.greetings.own_phone;
        phone.is_own(operator.ext(), operator.tenant(), by, &settings.calls.trunks)
    };
    let identity = match enter.pin {
        AskPin::Never => Identity::Own,
        AskPin::Elsewhere if is_own() => Identity::Own,
        _ if greetings.sheet(&operator).has_pin => Identity::Pin,
        _ => Identity::NoPin,
    };
    Ok(session.run(identity, enter.kind).unwrap_or(Ending::HangUp))
}

/// One call of the menu.
struct Session<'a> {
    channel: &'a Channel<'a>,
    greetings: &'a Greetings,
    operator: &'a Operator,
    settings: &'a Settings,
    language: String,
    by: String,
    /// Nobody else records for him while it is held.
    recording: Option<Recording<'a>>,
    /// What he has recorded.
    sound: Option<Sound>,
    /// How long it may be.
    longest: Duration,
    /// Prompts that are missing are named once.
    missing: Vec<String>,
}

impl<'a> Session<'a> {
    fn run(mut self, identity: Identity, kind: Kind) -> Result<Ending, HungUp> {
        self.channel.answer()?;
        let shortest = self.settings.greetings.min;
        let (mut menu, mut step) = Menu::begin(identity, kind, shortest, &self.facts());
        loop {
            if !menu.is_recording() {
                self.recording = None;
                self.sound = None;
            }
            if let Next::Leave(ending) = step.next {
                self.say(&step.say, "")?;
                return Ok(ending);
            }
            let pressed = self.say(&step.say, KEYS)?;
            let input = self.perform(step.next, pressed)?;
            step = menu.step(&input, &self.facts());
        }
    }

    fn facts(&self) -> Facts {
        let now = self.greetings.now();
        let (year, month, day) = local_time::day(now).unwrap_or((1_970, 1, 1));
        Facts::of(
            &self.greetings.sheet(self.operator),
            now,
            Day { year, month, day },
        )
    }

    /// Says it until one of the keys is pressed.
    fn say(&mut self, list: &[Say], keys: &str) -> Result<Option<u8>, HungUp> {
        for say in list {
            let played = match say {
                Say::Prompt(prompt) => self.prompt(*prompt, keys)?,
                Say::Draft => self.draft(keys)?,
                Say::Greeting(kind) => self.greeting(*kind, keys)?,
                Say::Date(second) => self.channel.say_date(*second, &self.language, keys)?,
            };
            if let Played::Digit(digit) = played {
                return Ok(Some(digit));
            }
        }
        Ok(None)
    }

    fn prompt(&mut self, prompt: Prompt, keys: &str) -> Result<Played, HungUp> {
        for sound in self.settings.greetings.prompts.sounds(prompt) {
            match self.channel.play(sound, &self.language, keys)? {
                Played::Whole => {}
                Played::Digit(digit) => return Ok(Played::Digit(digit)),
                Played::Missing if self.missing.iter().any(|missing| missing == sound) => {}
                Played::Missing => {
                    log::warn!(
                        "OpGreetingMenu: the sound '{sound}' of '{}' is missing in language '{}': install Asterisk's core sounds \
                         in that language, or set another in [greetings]",
                        prompt.option(),
                        self.language
                    );
                    self.missing.push(sound.to_owned());
                }
            }
        }
        Ok(Played::Whole)
    }

    fn draft(&self, keys: &str) -> Result<Played, HungUp> {
        let (Some(recording), Some(sound)) = (&self.recording, &self.sound) else {
            return Ok(Played::Missing);
        };
        match recording.draft(sound) {
            Ok(draft) => {
                let path = draft.path().to_string_lossy().into_owned();
                self.channel.play(&path, &self.language, keys)
            }
            Err(fault) => {
                log::warn!("OpGreetingMenu: {fault}");
                Ok(Played::Missing)
            }
        }
    }

    fn greeting(&self, kind: Kind, keys: &str) -> Result<Played, HungUp> {
        let sheet = self.greetings.sheet(self.operator);
        let Some(greeting) = sheet.best(kind, &self.language, &default_language()) else {
            return Ok(Played::Missing);
        };
        let path = self.greetings.path(Some(self.operator), greeting);
        self.channel.play(&path.to_string_lossy(), &self.language, keys)
    }

    /// Does it, and tells what came of it. `pressed`: the key that has ended what was said.
    fn perform(&mut self, next: Next, pressed: Option<u8>) -> Result<Input, HungUp> {
        let timeout = self.settings.greetings.menu_timeout;
        Ok(match next {
            Next::Key if pressed.is_some() => Input::Key(pressed),
            Next::Key => Input::Key(self.channel.digit(timeout)?),
            Next::Line(most) => match self.line(most, pressed)? {
                Some(line) => Input::Line(line),
                None => Input::GivenUp,
            },
            Next::Pin => match self.line(MOST, pressed)? {
                Some(pin) => Input::Pin(self.try_pin(&pin)),
                None => Input::GivenUp,
            },
            Next::Prepare(kind) => self.prepare(kind),
            Next::Record => self.record()?,
            Next::Save(kind) => {
                let done = self.save(kind);
                self.done(done)
            }
            Next::Delete(kind) => self.change(&[Change::Delete(Some(kind))]),
            Next::Enable(on) => self.change(&[Change::Enabled(on)]),
            Next::Away(day) => {
                let end = day.and_then(|day| local_time::midnight_after(day.year, day.month, day.day));
                self.change(&[
                    Change::Expires(Kind::Vacation, end),
                    Change::Presence(Presence::Vacation),
                ])
            }
            Next::Back => self.change(&[
                Change::Presence(Presence::Available),
                Change::Expires(Kind::Vacation, None),
            ]),
            // `run` has left.
            Next::Leave(_) => Input::HungUp,
        })
    }

    /// Digits up to a # or a pause; `None` when he gives it up with a star.
    fn line(&self, most: usize, pressed: Option<u8>) -> Result<Option<String>, HungUp> {
        let timeout = self.settings.greetings.menu_timeout;
        let mut line = String::new();
        let mut next = pressed;
        loop {
            let key = match next.take() {
                Some(key) => Some(key),
                None if line.len() < most => self.channel.digit(timeout)?,
                None => self.channel.digit(POUND)?,
            };
            match key {
                None | Some(b'#') => return Ok(Some(line)),
                Some(b'*') => return Ok(None),
                Some(key) => line.push(char::from(key)),
            }
            // One too many is wrong already, and a key that is stuck has no end.
            if line.len() > most {
                return Ok(Some(line));
            }
        }
    }

    fn try_pin(&self, pin: &str) -> PinCheck {
        if pin.is_empty() {
            return PinCheck::Nothing;
        }
        match self.greetings.try_pin(self.operator, pin) {
            PinAnswer::Right => PinCheck::Right,
            PinAnswer::Wrong { left: 0 } => {
                log::warn!(
                    "OpGreetingMenu: the PIN of {} is locked after too many wrong ones, the last from {}",
                    self.operator,
                    self.by
                );
                PinCheck::Locked
            }
            PinAnswer::Wrong { .. } => PinCheck::Wrong,
            PinAnswer::Locked { .. } => PinCheck::Locked,
            PinAnswer::NotSet => PinCheck::NotSet,
        }
    }

    fn prepare(&mut self, kind: Kind) -> Input {
        let (sheet, settings) = (self.greetings.sheet(self.operator), &self.settings.greetings);
        self.longest = room(&sheet, kind, &self.language, settings.max, settings.max_total);
        if self.longest < settings.min || self.longest.is_zero() {
            return Input::Full;
        }
        self.recording = self.greetings.record(self.operator);
        if self.recording.is_some() {
            Input::Ready
        } else {
            Input::Taken
        }
    }

    fn record(&mut self) -> Result<Input, HungUp> {
        self.sound = None;
        // Whoever speaks when it beeps shall hear that it has.
        self.prompt(Prompt::Beep, "")?;
        let settings = &self.settings.greetings;
        let rate = if self.channel.is_wideband() { WIDE } else { NARROW };
        let recorded = self.channel.record(&RecordLimits {
            rate,
            longest: self.longest,
            silence: Some(settings.max_silence).filter(|silence| !silence.is_zero()),
            threshold: settings.silence_threshold,
            ends: KEYS,
        })?;
        if recorded.why == Ended::Digit(b'*') {
            return Ok(Input::GivenUp);
        }
        let sound = Sound {
            rate,
            samples: recorded.samples,
        };
        let sound = sound.trimmed(settings.silence_threshold);
        let length = sound.length();
        self.sound = Some(sound);
        Ok(Input::Recorded(length))
    }

    fn save(&mut self, kind: Kind) -> Result<(), String> {
        let recording = self
            .recording
            .take()
            .or_else(|| self.greetings.record(self.operator));
        let recording = recording.ok_or("somebody else records for him now")?;
        let sound = self.sound.as_ref().ok_or("nothing was recorded")?;
        let saved = recording.save(kind, &self.language, sound, &self.by);
        if saved.is_err() {
            // What he has said is still his to listen to, and to save when there is room again.
            self.recording = self.greetings.record(self.operator);
        }
        saved
    }

    fn change(&self, changes: &[Change]) -> Input {
        let done = changes
            .iter()
            .try_for_each(|change| self.greetings.change(self.operator, change, &self.by));
        self.done(done)
    }

    fn done(&self, done: Result<(), String>) -> Input {
        match done {
            Ok(()) => Input::Done,
            Err(fault) => {
                log::warn!("OpGreetingMenu: {}: {fault}", self.operator);
                Input::Failed
            }
        }
    }
}
