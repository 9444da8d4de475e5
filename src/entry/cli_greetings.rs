//! `planfix show greetings` and `planfix greeting …`.
//!
//! Invariant: however many operators a command is about, its output is short: a number, and the first few that went wrong.

use std::ffi::CStr;
use std::path::PathBuf;
use std::time::Duration;

use super::cli::ROWS;
use super::greetings::{self, Done, yes};
use super::sentence;
use crate::ast::cli::{Command, CommandRegistration, Completion, Out, Outcome};
use crate::ast::registration::RegistrationError;
use crate::ast::voice;
use crate::core::greeting::attribute::{self, Attribute, Change};
use crate::core::greeting::choice::Source;
use crate::core::greeting::greeting::{Greeting, Sheet, language};
use crate::core::greeting::kind::{Kind, Presence};
use crate::core::greeting::operator::Operator;
use crate::core::greeting::selection::Selection;
use crate::core::quantity::{show_bytes, show_duration};
use crate::core::table::{Column, fields, lines};
use crate::delivery::greetings::{Chosen, Greetings, random_pin};

/// Who did it, for whoever listens to changes.
const BY: &str = "CLI";
/// Faults that are named one by one.
const NAMED: usize = 5;

pub(super) fn register() -> Result<Vec<CommandRegistration>, RegistrationError> {
    Ok(vec![
        CommandRegistration::new::<ShowGreetings>()?,
        CommandRegistration::new::<Enable>()?,
        CommandRegistration::new::<Disable>()?,
        CommandRegistration::new::<Delete>()?,
        CommandRegistration::new::<State>()?,
        CommandRegistration::new::<Import>()?,
        CommandRegistration::new::<Export>()?,
        CommandRegistration::new::<TemplateSet>()?,
        CommandRegistration::new::<TemplateDelete>()?,
        CommandRegistration::new::<TemplateShow>()?,
        CommandRegistration::new::<Pin>()?,
    ])
}

/// Why a command did not come to its end.
enum Stop {
    Usage,
    /// A sentence.
    Fault(String),
    /// It was said already.
    Said,
}

impl From<String> for Stop {
    fn from(sentence: String) -> Self {
        Self::Fault(sentence)
    }
}

/// Runs a command's body, and says what stopped it.
fn run(out: &mut Out, body: impl FnOnce(&mut Out, &Greetings) -> Result<(), Stop>) -> Outcome {
    let done = greetings::available()
        .map_err(Stop::Fault)
        .and_then(|greetings| body(out, &greetings));
    match done {
        Ok(()) => Outcome::Success,
        Err(Stop::Usage) => Outcome::ShowUsage,
        Err(Stop::Said) => Outcome::Failure,
        Err(Stop::Fault(sentence)) => {
            say(out, &sentence);
            Outcome::Failure
        }
    }
}

/// A sentence, in lines that fit.
fn say(out: &mut Out, sentence: &str) {
    let end = if sentence.ends_with(['.', ':', '?']) {
        ""
    } else {
        "."
    };
    sentence::say(out, &format!("{sentence}{end}"));
}

/// What came of a change for many: how many it was made for, and who was left out.
fn tell(out: &mut Out, done: &Done, what: &str) -> Result<(), Stop> {
    match done.operators.as_slice() {
        [] => {}
        [operator] => say(out, &format!("{operator}: {what}")),
        operators => say(out, &format!("{} operators: {what}", operators.len())),
    }
    left_out(out, &done.refused)
}

/// Names the first of those who were left out.
fn left_out(out: &mut Out, refused: &[String]) -> Result<(), Stop> {
    for sentence in refused.iter().take(NAMED) {
        say(out, sentence);
    }
    if refused.len() > NAMED {
        out.line(&format!("… and {} more like these.", refused.len() - NAMED));
    }
    if refused.is_empty() {
        Ok(())
    } else {
        Err(Stop::Said)
    }
}

/// The operators that are meant by a pattern; at least one.
fn chosen(greetings: &Greetings, text: &str) -> Result<Vec<Operator>, String> {
    let operators = greetings::meant(greetings, &greetings::selection(text)?);
    if operators.is_empty() {
        return Err(format!(
            "Of no operator that {text} means anything is known: see 'planfix show greetings'"
        ));
    }
    Ok(operators)
}

/// `one operator`, `500 operators`.
fn many(count: usize, what: &str) -> String {
    match count {
        1 => format!("one {what}"),
        _ => format!("{count} {what}s"),
    }
}

/// Completes the word to operators of whom something is known.
fn operators(word: &str) -> Vec<String> {
    let Ok(greetings) = greetings::available() else {
        return Vec::new();
    };
    let known = greetings.known().into_iter();
    let names = known.map(|(operator, _)| operator.to_string());
    names.filter(|name| name.starts_with(word)).take(ROWS).collect()
}

/// Completes words.
fn words<const N: usize>(words: [&'static str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

struct ShowGreetings;

impl Command for ShowGreetings {
    const COMMAND: &'static CStr = c"planfix show greetings";
    const SUMMARY: &'static CStr = c"Show the operators' own greetings";
    const USAGE: &'static CStr = c"Usage: planfix show greetings [<operators>]\n       Lists who has recorded what, and what a caller would hear now. Operators are numbers\n       and dialplan patterns with commas between, such as 101,_2XX or _1XX@office; a single\n       number shows all of that operator's greetings.\n";

    fn complete(at: &Completion<'_>) -> Vec<String> {
        if at.position == 0 {
            operators(at.word)
        } else {
            Vec::new()
        }
    }

    fn run(args: &[&str], out: &mut Out) -> Outcome {
        run(out, |out, greetings| match args {
            [] => list(out, greetings, &Selection::all()),
            [text] => {
                let selection = greetings::selection(text)?;
                match selection.one() {
                    Some(operator) => details(out, greetings, operator),
                    None => list(out, greetings, &selection),
                }
            }
            _ => Err(Stop::Usage),
        })
    }
}

/// A line for each operator.
fn list(out: &mut Out, greetings: &Greetings, selection: &Selection) -> Result<(), Stop> {
    let mut known = greetings.known();
    known.retain(|(operator, _)| selection.means(operator));
    if known.is_empty() {
        out.line("There are none.");
        return Ok(());
    }
    let columns = [
        Column::text("Operator"),
        Column::text("On"),
        Column::text("State"),
        Column::text("Heard now"),
        Column::stretch("Recorded"),
        Column::number("Played"),
    ];
    let language = voice::default_language();
    let cells: Vec<Vec<String>> = known
        .iter()
        .take(ROWS)
        .map(|(operator, sheet)| {
            vec![
                operator.to_string(),
                yes(sheet.enabled).to_owned(),
                sheet.presence_at(greetings.now()).word().to_owned(),
                heard(greetings, operator, &language),
                recorded(sheet),
                plays(sheet).to_string(),
            ]
        })
        .collect();
    for line in lines(&columns, &cells) {
        out.line(&line);
    }
    if known.len() > ROWS {
        out.line(&format!(
            "… {ROWS} of {} are shown; name some by a pattern.",
            known.len()
        ));
    }
    Ok(())
}

/// What a caller would hear who gets no answer.
fn heard(greetings: &Greetings, operator: &Operator, language: &str) -> String {
    match greetings.choose(operator, Kind::NoAnswer, false, language) {
        Chosen::Disabled | Chosen::Nothing => "-".to_owned(),
        Chosen::Play {
            source: Source::Own,
            greeting,
            ..
        } => greeting.kind.word().to_owned(),
        Chosen::Play {
            source: Source::Template,
            ..
        } => "template".to_owned(),
    }
}

/// `default ru 12s, busy ru 5s`.
fn recorded(sheet: &Sheet) -> String {
    if sheet.greetings.is_empty() {
        return "-".to_owned();
    }
    let one = |greeting: &Greeting| {
        format!(
            "{} {} {}",
            greeting.kind.word(),
            greeting.language,
            seconds(greeting.length)
        )
    };
    sheet.greetings.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// `1.5s`.
fn seconds(length: Duration) -> String {
    format!("{:.1}s", length.as_secs_f64())
}

fn plays(sheet: &Sheet) -> u64 {
    sheet.greetings.iter().map(|greeting| greeting.plays).sum()
}

/// All of one operator.
fn details(out: &mut Out, greetings: &Greetings, operator: &Operator) -> Result<(), Stop> {
    let sheet = greetings.sheet(operator);
    let now = greetings.now();
    let state = match (sheet.presence_at(now), sheet.expires.get(&Kind::Vacation)) {
        (Presence::Vacation, Some(end)) => {
            format!("vacation for another {}", show_duration(until(*end, now)))
        }
        (presence, _) => presence.word().to_owned(),
    };
    let mut rows = vec![
        ("Operator", operator.to_string()),
        ("On", yes(sheet.enabled).to_owned()),
        ("State", state),
        (
            "Heard now",
            heard(greetings, operator, &voice::default_language()),
        ),
        ("PIN", yes(sheet.has_pin).to_owned()),
    ];
    if sheet.adopted {
        rows.push((
            "Taken over",
            "from op_alert and rec_*.wav, and kept in step with them".to_owned(),
        ));
    }
    if sheet.locked {
        rows.push(("Being recorded", "yes".to_owned()));
    }
    for line in fields(&rows) {
        out.line(&line);
    }
    table(out, &sheet, now);
    Ok(())
}

fn until(end: u64, now: u64) -> Duration {
    Duration::from_secs(end.saturating_sub(now))
}

/// A line for each greeting.
fn table(out: &mut Out, sheet: &Sheet, now: u64) {
    if sheet.greetings.is_empty() {
        out.line("Nothing is recorded.");
        return;
    }
    let columns = [
        Column::text("Kind"),
        Column::text("Language"),
        Column::number("Length"),
        Column::number("Size"),
        Column::text("Recorded"),
        Column::text("Expires"),
        Column::number("Played"),
    ];
    let cells: Vec<Vec<String>> = sheet
        .greetings
        .iter()
        .map(|greeting| {
            let expires = match sheet.expires.get(&greeting.kind) {
                None => "never".to_owned(),
                Some(end) if *end <= now => "has".to_owned(),
                Some(end) => format!("in {}", show_duration(until(*end, now))),
            };
            vec![
                greeting.kind.word().to_owned(),
                greeting.language.clone(),
                seconds(greeting.length),
                show_bytes(greeting.bytes),
                format!("{} ago", show_duration(until(now, greeting.modified))),
                expires,
                greeting.plays.to_string(),
            ]
        })
        .collect();
    for line in lines(&columns, &cells) {
        out.line(&line);
    }
}

/// Makes a change for the operators that a pattern means.
fn set(out: &mut Out, text: &str, changes: &[Change], what: &str) -> Outcome {
    run(out, |out, greetings| {
        let operators = chosen(greetings, text)?;
        tell(out, &greetings::change(greetings, operators, changes, BY), what)
    })
}

struct Enable;

impl Command for Enable {
    const COMMAND: &'static CStr = c"planfix greeting enable";
    const SUMMARY: &'static CStr = c"Switch operators' greetings on";
    const USAGE: &'static CStr = c"Usage: planfix greeting enable <operators>\n       Operators are numbers and dialplan patterns with commas between, such as 101,_2XX;\n       all means everybody of whom something is known.\n";

    fn complete(at: &Completion<'_>) -> Vec<String> {
        if at.position == 0 {
            operators(at.word)
        } else {
            Vec::new()
        }
    }

    fn run(args: &[&str], out: &mut Out) -> Outcome {
        let [text] = args else { return Outcome::ShowUsage };
        set(out, text, &[Change::Enabled(true)], "greetings are on")
    }
}

struct Disable;

impl Command for Disable {
    const COMMAND: &'static CStr = c"planfix greeting disable";
    const SUMMARY: &'static CStr = c"Switch operators' greetings off";
    const USAGE: &'static CStr = c"Usage: planfix greeting disable <operators>\n       What was recorded stays, and callers hear nothing of it, and no template either.\n       Operators are as in 'planfix greeting enable'.\n";

    fn complete(at: &Completion<'_>) -> Vec<String> {
        if at.position == 0 {
            operators(at.word)
        } else {
            Vec::new()
        }
    }

    fn run(args: &[&str], out: &mut Out) -> Outcome {
        let [text] = args else { return Outcome::ShowUsage };
        set(out, text, &[Change::Enabled(false)], "greetings are off")
    }
}

struct Delete;

impl Command for Delete {
    const COMMAND: &'static CStr = c"planfix greeting delete";
    const SUMMARY: &'static CStr = c"Delete operators' greetings";
    const USAGE: &'static CStr = c"Usage: planfix greeting delete <operators> [<kind>]\n       Deletes what was recorded, all of it or one kind: default, noanswer, busy,\n       unreachable, vacation or temp. Operators are as in 'planfix greeting enable'.\n";

    fn complete(at: &Completion<'_>) -> Vec<String> {
        match at.position {
            0 => operators(at.word),
            1 => words(Kind::ALL.map(Kind::word)),
            _ => Vec::new(),
        }
    }

    fn run(args: &[&str], out: &mut Out) -> Outcome {
        let (text, kind) = match args {
            [text] => (text, None),
            [text, kind] => (text, Some(kind)),
            _ => return Outcome::ShowUsage,
        };
        run(out, |out, greetings| {
            let kind = kind.map(|kind| Kind::parse(kind)).transpose()?;
            let done = greetings::delete(greetings, &greetings::selection(text)?, kind, BY);
            if done.operators.is_empty() && done.refused.is_empty() {
                return Err(Stop::Fault(format!("There is nothing to delete of {text}")));
            }
            tell(out, &done, "deleted")
        })
    }
}

struct State;

impl Command for State {
    const COMMAND: &'static CStr = c"planfix greeting state";
    const SUMMARY: &'static CStr = c"Say whether operators are there";
    const USAGE: &'static CStr = c"Usage: planfix greeting state <operators> available|away|vacation [<end>]\n       Who is away is greeted as unreachable; who is on vacation by that greeting, until he\n       is available again. The end of a vacation is a time from now such as +14d or +8h, or\n       seconds since 1970. Operators are as in 'planfix greeting enable'.\n";

    fn complete(at: &Completion<'_>) -> Vec<String> {
        match at.position {
            0 => operators(at.word),
            1 => words(Presence::ALL.map(Presence::word)),
            _ => Vec::new(),
        }
    }

    fn run(args: &[&str], out: &mut Out) -> Outcome {
        let (text, word, end) = match args {
            [text, word] => (text, word, ""),
            [text, word, end] => (text, word, *end),
            _ => return Outcome::ShowUsage,
        };
        run(out, |out, greetings| {
            let presence = Presence::parse(word)?;
            let mut changes = vec![Change::Presence(presence)];
            let mut what = presence.word().to_owned();
            if presence == Presence::Vacation {
                let change =
                    attribute::change(Attribute::Expires, Some(Kind::Vacation), end, greetings.now())?;
                if let Change::Expires(_, Some(end)) = change {
                    what = format!("vacation, for {}", show_duration(until(end, greetings.now())));
                }
                changes.push(change);
            } else if !end.is_empty() {
                return Err(Stop::Fault("Only a vacation has an end".to_owned()));
            }
            let operators = chosen(greetings, text)?;
            tell(out, &greetings::change(greetings, operators, &changes, BY), &what)
        })
    }
}

/// A kind and a language that were given, or not.
fn kind_and_language(rest: &[&str]) -> Result<(Kind, String), Stop> {
    let (kind, spoken) = match rest {
        [] => (None, None),
        [kind] => (Some(kind), None),
        [kind, spoken] => (Some(kind), Some(spoken)),
        _ => return Err(Stop::Usage),
    };
    let kind = kind.map_or(Ok(Kind::Default), |kind| Kind::parse(kind))?;
    let spoken = match spoken {
        Some(spoken) => language(spoken)?.to_owned(),
        None => voice::default_language(),
    };
    Ok((kind, spoken))
}

/// A path that does not depend on where Asterisk was started.
fn whole(path: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(path);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(format!(
            "{} is not a whole path: it has to begin with /",
            path.display()
        ))
    }
}

struct Import;

impl Command for Import {
    const COMMAND: &'static CStr = c"planfix greeting import";
    const SUMMARY: &'static CStr = c"Take greetings from sound files";
    const USAGE: &'static CStr = c"Usage: planfix greeting import <file> <operator> [<kind> [<language>]]\n       planfix greeting import <folder>\n       Takes a sound file of any format that Asterisk reads as an operator's greeting; the\n       kind is default and the language Asterisk's own if nothing is said. Or all greetings\n       of a folder that 'planfix greeting export' has written.\n";

    fn complete(at: &Completion<'_>) -> Vec<String> {
        match at.position {
            1 => operators(at.word),
            2 => words(Kind::ALL.map(Kind::word)),
            _ => Vec::new(),
        }
    }

    fn run(args: &[&str], out: &mut Out) -> Outcome {
        run(out, |out, greetings| match args {
            [] => Err(Stop::Usage),
            [folder] => {
                let path = whole(folder)?;
                if path.is_file() {
                    return Err(Stop::Fault(format!(
                        "{folder} is a file: whose greeting shall it be? Write 'planfix greeting import {folder} 101'"
                    )));
                }
                let imported = greetings.import_folder(&path, BY)?;
                say(
                    out,
                    &format!(
                        "{} taken over, for {}",
                        many(imported.greetings, "greeting"),
                        many(imported.operators, "operator")
                    ),
                );
                left_out(out, &imported.refused)
            }
            [file, operator, rest @ ..] => {
                let (kind, language) = kind_and_language(rest)?;
                let operator = greetings.operator(operator.as_bytes())?;
                greetings.import(Some(&operator), kind, &language, &whole(file)?, BY)?;
                say(
                    out,
                    &format!("{operator}: {} in {language} is that file now", kind.word()),
                );
                Ok(())
            }
        })
    }
}

struct Export;

impl Command for Export {
    const COMMAND: &'static CStr = c"planfix greeting export";
    const SUMMARY: &'static CStr = c"Write operators' greetings into a folder";
    const USAGE: &'static CStr = c"Usage: planfix greeting export <folder> [<patterns>]\n       Writes the greetings of all operators, or of those whose numbers match, with all that\n       belongs to them. 'planfix greeting import <folder>' takes them up again.\n";

    fn complete(at: &Completion<'_>) -> Vec<String> {
        if at.position == 1 {
            operators(at.word)
        } else {
            Vec::new()
        }
    }

    fn run(args: &[&str], out: &mut Out) -> Outcome {
        let (folder, which) = match args {
            [folder] => (folder, "all"),
            [folder, which] => (folder, *which),
            _ => return Outcome::ShowUsage,
        };
        run(out, |out, greetings| {
            let count = greetings.export(&whole(folder)?, &greetings::selection(which)?)?;
            say(
                out,
                &match count {
                    0 => format!("There was no operator to export; the templates are in {folder}"),
                    _ => format!(
                        "What belongs to {} and the templates are in {folder}",
                        many(count, "operator")
                    ),
                },
            );
            Ok(())
        })
    }
}

struct TemplateSet;

impl Command for TemplateSet {
    const COMMAND: &'static CStr = c"planfix greeting template set";
    const SUMMARY: &'static CStr = c"Set what is heard of who has recorded nothing";
    const USAGE: &'static CStr = c"Usage: planfix greeting template set <file> [<kind> [<language>]]\n       Takes a sound file of any format that Asterisk reads as the template: callers hear it\n       in place of an operator who has recorded nothing that applies.\n";

    fn complete(at: &Completion<'_>) -> Vec<String> {
        if at.position == 1 {
            words(Kind::ALL.map(Kind::word))
        } else {
            Vec::new()
        }
    }

    fn run(args: &[&str], out: &mut Out) -> Outcome {
        let [file, rest @ ..] = args else {
            return Outcome::ShowUsage;
        };
        run(out, |out, greetings| {
            let (kind, language) = kind_and_language(rest)?;
            greetings.import(None, kind, &language, &whole(file)?, BY)?;
            say(
                out,
                &format!("The template {} in {language} is that file now", kind.word()),
            );
            Ok(())
        })
    }
}

struct TemplateDelete;

impl Command for TemplateDelete {
    const COMMAND: &'static CStr = c"planfix greeting template delete";
    const SUMMARY: &'static CStr = c"Delete templates";
    const USAGE: &'static CStr = c"Usage: planfix greeting template delete [<kind>]\n       Deletes the templates of that kind, or all.\n";

    fn complete(at: &Completion<'_>) -> Vec<String> {
        if at.position == 0 {
            words(Kind::ALL.map(Kind::word))
        } else {
            Vec::new()
        }
    }

    fn run(args: &[&str], out: &mut Out) -> Outcome {
        let kind = match args {
            [] => None,
            [kind] => Some(kind),
            _ => return Outcome::ShowUsage,
        };
        run(out, |out, greetings| {
            let kind = kind.map(|kind| Kind::parse(kind)).transpose()?;
            let template = greetings.template();
            let mut kinds = template.greetings.iter().map(|greeting| greeting.kind);
            if !kinds.any(|of| kind.is_none_or(|kind| kind == of)) {
                return Err(Stop::Fault("There is no such template".to_owned()));
            }
            greetings.delete_template(kind, BY)?;
            say(out, "Deleted");
            Ok(())
        })
    }
}

struct TemplateShow;

impl Command for TemplateShow {
    const COMMAND: &'static CStr = c"planfix greeting template show";
    const SUMMARY: &'static CStr = c"Show the templates";
    const USAGE: &'static CStr = c"Usage: planfix greeting template show\n       Lists what callers hear of operators who have recorded nothing that applies.\n";

    fn run(args: &[&str], out: &mut Out) -> Outcome {
        run(out, |out, greetings| {
            if !args.is_empty() {
                return Err(Stop::Usage);
            }
            table(out, &greetings.template(), greetings.now());
            Ok(())
        })
    }
}

struct Pin;

impl Command for Pin {
    const COMMAND: &'static CStr = c"planfix greeting pin";
    const SUMMARY: &'static CStr = c"Give an operator a PIN for other phones";
    const USAGE: &'static CStr = c"Usage: planfix greeting pin <operator> [<pin>|none]\n       With it the operator records and changes his greetings from phones that are not his\n       own; without one he cannot. Unless it is given one is made up, and printed this once.\n       It also ends a lock after wrong ones. 'none' takes it away.\n";

    fn complete(at: &Completion<'_>) -> Vec<String> {
        match at.position {
            0 => operators(at.word),
            1 => words(["none"]),
            _ => Vec::new(),
        }
    }

    fn run(args: &[&str], out: &mut Out) -> Outcome {
        let (operator, pin) = match args {
            [operator] => (operator, None),
            [operator, pin] => (operator, Some(*pin)),
            _ => return Outcome::ShowUsage,
        };
        run(out, |out, greetings| {
            let operator = greetings.operator(operator.as_bytes())?;
            let (pin, said) = match pin {
                Some("none") => (None, format!("{operator} has no PIN any more")),
                Some(pin) => (Some(pin.to_owned()), format!("{operator} has that PIN now")),
                None => {
                    let pin = random_pin()?;
                    let said = format!("{operator}: the PIN is {pin} now, and will not be shown again");
                    (Some(pin), said)
                }
            };
            let set = greetings.set_pin(&operator, pin.as_deref());
            set.map_err(|fault| format!("Nothing was changed: {fault}"))?;
            say(out, &said);
            Ok(())
        })
    }
}
