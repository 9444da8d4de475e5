//! The dialplan application OpGreeting.
//!
//! `OpGreeting([ext[@tenant]][,kind][,options])` plays the operator's greeting to a caller who is not answered, and goes on
//! with the dialplan. Without `ext`: that of whoever was called. Without `kind`: by DIALSTATUS.
//!
//! Options: `a` answers the call first, if there is something to play; `x` plays that kind or nothing; `s` plays the operator's
//! own or nothing (no template); `r(N)` plays it N times, at most 10; `d` or `d(keys)` lets any key, or one of those, end it,
//! and OPGREETINGDIGIT names it.
//!
//! OPGREETINGSTATUS: PLAYED (his own), FALLBACK (the template), NONE (there is nothing, or whoever was called is no operator),
//! DISABLED (he has switched his greetings off), HANGUP (the caller hung up), FAILED (wrong arguments, nobody was called, or a
//! file that cannot be played: the log says which).

use std::ffi::{CStr, CString};
use std::path::Path;

use super::func_op_greeting::of_the_operator;
use super::greetings;
use crate::ast::application::{Application, Flow};
use crate::ast::channel::Channel;
use crate::ast::voice::{HungUp, Played};
use crate::core::greeting::arguments::Play;
use crate::core::greeting::choice::Source;
use crate::core::greeting::kind::Kind;
use crate::core::greeting::phone::dialed_ext;
use crate::delivery::greetings::Chosen;

pub(super) struct OpGreeting;

impl Application for OpGreeting {
    const NAME: &'static CStr = c"OpGreeting";

    fn run(channel: &Channel<'_>, text: &[u8]) -> Flow {
        channel.set_variable(c"OPGREETINGDIGIT", c"");
        let status = play(channel, text).unwrap_or_else(|sentence| {
            log::warn!("OpGreeting: {sentence}");
            Status::Failed
        });
        channel.set_variable(c"OPGREETINGSTATUS", status.word());
        if status == Status::HangUp {
            Flow::HangUp
        } else {
            Flow::Continue
        }
    }
}

/// OPGREETINGSTATUS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Played,
    Fallback,
    None,
    Disabled,
    HangUp,
    Failed,
}

impl Status {
    fn word(self) -> &'static CStr {
        match self {
            Self::Played => c"PLAYED",
            Self::Fallback => c"FALLBACK",
            Self::None => c"NONE",
            Self::Disabled => c"DISABLED",
            Self::HangUp => c"HANGUP",
            Self::Failed => c"FAILED",
        }
    }
}

fn play(channel: &Channel<'_>, text: &[u8]) -> Result<Status, String> {
    let wish = Play::parse(text)?;
    let greetings = greetings::available()?;
    let operator = if wish.ext.is_empty() {
        let called = called(channel);
        if called.is_empty() {
            return Err(
                "argument 1 (operator) is empty, and so are EXTTOCALL, DIALEDPEERNUMBER and the connected line's number"
                    .to_owned(),
            );
        }
        let operator = called.iter().find_map(|ext| greetings.operator(ext).ok());
        let Some(operator) = operator else {
            log::info!("OpGreeting: whoever was called is no operator, so there is no greeting");
            return Ok(Status::None);
        };
        operator
    } else {
        greetings
            .operator(&wish.ext)
            .map_err(|fault| of_the_operator(&fault))?
    };
    let why = wish.kind.unwrap_or_else(|| how_it_ended(channel));
    let language = channel.language();
    // A recording may be deleted after it is chosen and before it is opened: then there is another answer. Not so twice.
    for is_last in [false, true] {
        match greetings.choose(&operator, why, wish.exact, &language) {
            Chosen::Disabled => return Ok(Status::Disabled),
            Chosen::Nothing => return Ok(Status::None),
            Chosen::Play {
                source: Source::Template,
                ..
            } if wish.own => return Ok(Status::None),
            Chosen::Play {
                source,
                greeting,
                path,
            } => match sound(channel, &wish, &path, &language) {
                Err(HungUp) => return Ok(Status::HangUp),
                Ok(true) if source == Source::Own => {
                    greetings.played(Some(&operator), &greeting);
                    return Ok(Status::Played);
                }
                Ok(true) => {
                    greetings.played(None, &greeting);
                    return Ok(Status::Fallback);
                }
                Ok(false) if is_last => {
                    return Err(format!(
                        "{} cannot be played: it is missing, or Asterisk cannot read it",
                        path.display()
                    ));
                }
                Ok(false) => {}
            },
        }
    }
    Ok(Status::Failed)
}

/// Whether it was played.
fn sound(channel: &Channel<'_>, wish: &Play<'_>, path: &Path, language: &str) -> Result<bool, HungUp> {
    let Some(sound) = path.to_str() else {
        return Ok(false);
    };
    if wish.answer {
        channel.answer()?;
    }
    for time in 0..wish.times {
        match channel.play(sound, language, &wish.keys)? {
            Played::Whole => {}
            Played::Missing => return Ok(time > 0),
            Played::Digit(digit) => {
                if let Ok(digit) = CString::new([digit]) {
                    channel.set_variable(c"OPGREETINGDIGIT", &digit);
                }
                break;
            }
        }
    }
    Ok(true)
}

/// Who was called: as FreePBX says it, as Dial does, as the caller's phone was told.
fn called(channel: &Channel<'_>) -> Vec<Vec<u8>> {
    let channel = channel.lock();
    let dialed = channel.variable(c"DIALEDPEERNUMBER");
    let mut called = vec![
        channel.variable(c"EXTTOCALL").unwrap_or_default(),
        dialed_ext(&dialed.unwrap_or_default()).to_vec(),
        channel.connected_number().unwrap_or_default().to_vec(),
    ];
    called.retain(|ext| !ext.is_empty());
    called
}

fn how_it_ended(channel: &Channel<'_>) -> Kind {
    let status = channel.variable(c"DIALSTATUS").unwrap_or_default();
    Kind::of_dialstatus(&String::from_utf8_lossy(&status))
}
