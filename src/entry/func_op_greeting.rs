//! The dialplan function OP_GREETING.

use std::borrow::Cow;
use std::ffi::CStr;

use super::greetings;
use crate::ast::channel::Channel;
use crate::ast::function::{ReadFunction, Unreadable, Unwritable, WriteFunction};
use crate::core::greeting::arguments::Ask;
use crate::core::greeting::attribute::change;

pub(super) struct OpGreetingFunction;

impl ReadFunction for OpGreetingFunction {
    const NAME: &'static CStr = c"OP_GREETING";

    fn read(channel: Option<&Channel<'_>>, text: &[u8]) -> Result<Cow<'static, [u8]>, Unreadable> {
        read(channel, text)
            .map(|value| Cow::Owned(value.into_bytes()))
            .map_err(|sentence| {
                log::warn!("OP_GREETING: {sentence}");
                Unreadable
            })
    }
}

impl WriteFunction for OpGreetingFunction {
    // It deletes, and puts files in the place of others.
    const WRITE_ESCALATES: bool = true;

    fn write(channel: Option<&Channel<'_>>, text: &[u8], value: &[u8]) -> Result<(), Unwritable> {
        write(channel, text, value).map_err(|sentence| {
            log::warn!("OP_GREETING: {sentence}");
            Unwritable
        })
    }
}

fn read(channel: Option<&Channel<'_>>, text: &[u8]) -> Result<String, String> {
    let ask = Ask::parse(text)?;
    let greetings = greetings::available()?;
    let operator = greetings
        .operator(&ask.ext)
        .map_err(|fault| of_the_operator(&fault))?;
    // Blank without a channel, and on the one that AMI makes for its Getvar: the PBX's own language.
    let language = channel.map(Channel::language).unwrap_or_default();
    Ok(greetings.read(&operator, ask.attribute, ask.kind, &language))
}

fn write(channel: Option<&Channel<'_>>, text: &[u8], value: &[u8]) -> Result<(), String> {
    let ask = Ask::parse(text)?;
    let value = std::str::from_utf8(value).map_err(|_| "the value is not UTF-8".to_owned())?;
    let greetings = greetings::available()?;
    let operator = greetings
        .operator(&ask.ext)
        .map_err(|fault| of_the_operator(&fault))?;
    let change = change(ask.attribute, ask.kind, value, greetings.now())?;
    greetings.change(&operator, &change, &by(channel))
}

/// The fault, with the argument that it is about.
pub(super) fn of_the_operator(fault: &str) -> String {
    format!("argument 1 (operator): {fault}")
}

/// Who changes something, for whoever is told of it.
fn by(channel: Option<&Channel<'_>>) -> String {
    let name = channel.map(|channel| String::from_utf8_lossy(channel.lock().name()).into_owned());
    match name.filter(|name| !name.is_empty()) {
        Some(name) => format!("dialplan {name}"),
        None => "OP_GREETING".to_owned(),
    }
}
