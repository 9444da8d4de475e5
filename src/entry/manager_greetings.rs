//! The AMI actions for operators' greetings.

use std::ffi::CStr;

use super::greetings::{self, Done, yes};
use super::manager::limit;
use crate::ast::manager::{Action, ActionRegistration, Authority, Reply, Request};
use crate::ast::registration::RegistrationError;
use crate::ast::voice;
use crate::core::greeting::attribute::{self, Attribute};
use crate::core::greeting::greeting::Sheet;
use crate::core::greeting::kind::Kind;
use crate::core::greeting::operator::Operator;
use crate::core::greeting::selection::Selection;
use crate::delivery::greetings::{Chosen, Greetings};

/// Who did it, for whoever listens to changes.
const BY: &str = "AMI";

pub(super) fn register() -> Result<Vec<ActionRegistration>, RegistrationError> {
    Ok(vec![
        ActionRegistration::new::<ShowGreetings>()?,
        ActionRegistration::new::<GreetingSet>()?,
        ActionRegistration::new::<GreetingDelete>()?,
    ])
}

struct ShowGreetings;

impl Action for ShowGreetings {
    const NAME: &'static CStr = c"PlanfixShowGreetings";
    const AUTHORITY: Authority = Authority::REPORTING;

    fn run(request: &Request<'_>, reply: Reply<'_>) {
        let asked = limit(request).and_then(|limit| {
            let greetings = greetings::available()?;
            let selection = match request.header(c"Operator") {
                None => Selection::all(),
                Some(text) => greetings::selection(&text)?,
            };
            Ok((limit, greetings, selection))
        });
        let (limit, greetings, selection) = match asked {
            Ok(asked) => asked,
            Err(sentence) => return reply.error(&sentence),
        };
        let mut known = greetings.known();
        known.retain(|(operator, _)| selection.means(operator));
        let total = known.len().to_string();
        let language = voice::default_language();
        let mut list = reply.list("The list follows", "PlanfixShowGreetingsComplete");
        for (operator, sheet) in known.iter().take(limit) {
            let mut fields = entry(&greetings, operator, sheet, &language);
            fields.push(("Total", total.clone()));
            let fields: Vec<(&str, &str)> = fields
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            list.event("PlanfixGreetingEntry", &fields);
        }
    }
}

fn entry(
    greetings: &Greetings,
    operator: &Operator,
    sheet: &Sheet,
    language: &str,
) -> Vec<(&'static str, String)> {
    let now = greetings.now();
    let (kind, source) = match greetings.choose(operator, Kind::NoAnswer, false, language) {
        Chosen::Play { source, greeting, .. } => (greeting.kind.word(), source.word()),
        Chosen::Disabled | Chosen::Nothing => ("", "none"),
    };
    let recorded = sheet
        .greetings
        .iter()
        .map(|greeting| format!("{}/{}", greeting.kind.word(), greeting.language));
    let expires = sheet
        .expires
        .iter()
        .map(|(kind, end)| format!("{}/{end}", kind.word()));
    let bytes: u64 = sheet.greetings.iter().map(|greeting| greeting.bytes).sum();
    let plays: u64 = sheet.greetings.iter().map(|greeting| greeting.plays).sum();
    vec![
        ("Operator", operator.to_string()),
        ("Enabled", yes(sheet.enabled).to_owned()),
        ("State", sheet.presence_at(now).word().to_owned()),
        ("Kind", kind.to_owned()),
        ("Source", source.to_owned()),
        ("Greetings", recorded.collect::<Vec<_>>().join(",")),
        ("Expires", expires.collect::<Vec<_>>().join(",")),
        ("Seconds", sheet.total().as_secs().to_string()),
        ("Bytes", bytes.to_string()),
        ("Plays", plays.to_string()),
        ("Pin", yes(sheet.has_pin).to_owned()),
        ("Locked", yes(sheet.locked).to_owned()),
    ]
}

/// Answers with what came of a change.
fn answer(reply: Reply<'_>, done: &Done) {
    let said = match done.operators.len() {
        1 => "Done for one operator".to_owned(),
        count => format!("Done for {count} operators"),
    };
    let Some((first, others)) = done.refused.split_first() else {
        return reply.ack(&said);
    };
    let mut refused = match others.len() {
        0 => first.clone(),
        1 => format!("{first}; and so for one other operator"),
        count => format!("{first}; and so for {count} other operators"),
    };
    if !done.operators.is_empty() {
        refused = format!("{said}; not for {refused}");
    }
    reply.error(&refused);
}

struct GreetingSet;

impl Action for GreetingSet {
    const NAME: &'static CStr = c"PlanfixGreetingSet";
    const AUTHORITY: Authority = Authority::SYSTEM;

    fn run(request: &Request<'_>, reply: Reply<'_>) {
        match set(request) {
            Ok(done) => answer(reply, &done),
            Err(sentence) => reply.error(&sentence),
        }
    }
}

fn set(request: &Request<'_>) -> Result<Done, String> {
    let greetings = greetings::available()?;
    let selection = selection(request)?;
    let attribute = request
        .header(c"Attribute")
        .ok_or("The header Attribute is missing: enabled, state, expires, language or file")?;
    let attribute = Attribute::parse(attribute.as_bytes())?;
    let value = request.header(c"Value").unwrap_or_default();
    let change = attribute::change(attribute, kind(request)?, &value, greetings.now())?;
    let operators = greetings::meant(&greetings, &selection);
    Ok(greetings::change(&greetings, operators, &[change], BY))
}

fn selection(request: &Request<'_>) -> Result<Selection, String> {
    let text = request
        .header(c"Operator")
        .ok_or("The header Operator is missing: a number such as 101, or patterns such as _1XX,_2XX")?;
    greetings::selection(&text)
}

fn kind(request: &Request<'_>) -> Result<Option<Kind>, String> {
    request.header(c"Kind").map(|kind| Kind::parse(&kind)).transpose()
}

struct GreetingDelete;

impl Action for GreetingDelete {
    const NAME: &'static CStr = c"PlanfixGreetingDelete";
    const AUTHORITY: Authority = Authority::SYSTEM;

    fn run(request: &Request<'_>, reply: Reply<'_>) {
        let done = greetings::available().and_then(|greetings| {
            let (selection, kind) = (selection(request)?, kind(request)?);
            Ok(greetings::delete(&greetings, &selection, kind, BY))
        });
        match done {
            Ok(done) => answer(reply, &done),
            Err(sentence) => reply.error(&sentence),
        }
    }
}
