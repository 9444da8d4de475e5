//! `planfix show calls` and `planfix show call`.

use std::ffi::CStr;
use std::time::Duration;

use super::calls::now;
use super::cli::{COMPLETION, ROWS};
use super::explain::{Explained, delivery_state, explain, running_calls, tries};
use super::sentence::say;
use super::state::{self, State};
use crate::ast::cli::{Command, CommandRegistration, Completion, Out, Outcome};
use crate::ast::registration::RegistrationError;
use crate::core::quantity::show_duration;
use crate::core::table::{Column, WIDTH, lines, wrap};
use crate::delivery::question::{Answer, Question};
use crate::delivery::spool::Listed;

/// The moment that stands before each line of a story.
const MOMENT: usize = 10;

pub(super) fn register() -> Result<Vec<CommandRegistration>, RegistrationError> {
    Ok(vec![
        CommandRegistration::new::<ShowCalls>()?,
        CommandRegistration::new::<ShowCall>()?,
    ])
}

struct ShowCalls;

impl Command for ShowCalls {
    const COMMAND: &'static CStr = c"planfix show calls";
    const SUMMARY: &'static CStr = c"Show the calls with clients that are running";
    const USAGE: &'static CStr = c"Usage: planfix show calls\n       Lists the calls with clients that are running, and what each employee's card shows.\n       See also: planfix show call.\n";

    fn run(args: &[&str], out: &mut Out) -> Outcome {
        if !args.is_empty() {
            return Outcome::ShowUsage;
        }
        let Some(state) = state::current() else {
            return Outcome::Failure;
        };
        let calls = match running_calls(&state) {
            Ok(calls) => calls,
            Err(sentence) => {
                say(out, sentence);
                return Outcome::Success;
            }
        };
        if calls.is_empty() {
            out.line("No call with a client is running.");
            return Outcome::Success;
        }
        let columns = [
            Column::stretch("Call"),
            Column::text("Type"),
            Column::text("Phone"),
            Column::text("Diversion"),
            Column::number("Lasts"),
        ];
        let cells: Vec<Vec<String>> = calls
            .iter()
            .map(|call| {
                vec![
                    call.callid.clone(),
                    call.direction.to_owned(),
                    call.phone.clone(),
                    call.diversion.clone(),
                    show_duration(Duration::from_secs(call.seconds)),
                ]
            })
            .collect();
        let mut lines = lines(&columns, &cells).into_iter();
        out.line(&lines.next().unwrap_or_default());
        for (line, call) in lines.zip(&calls) {
            out.line(&line);
            for card in &call.cards {
                out.line(&format!("      {} {}, {} s", card.ext, card.state, card.seconds));
            }
        }
        Outcome::Success
    }
}

struct ShowCall;

impl Command for ShowCall {
    const COMMAND: &'static CStr = c"planfix show call";
    const SUMMARY: &'static CStr = c"Explain what Planfix is told of a call, and why";
    const USAGE: &'static CStr = c"Usage: planfix show call <linkedid>|<uniqueid>\n       Shows what was seen of a call that is running or ended within a day, each decision\n       and its reason, and each event for Planfix with its delivery.\n";

    fn complete(at: &Completion<'_>) -> Vec<String> {
        if at.position > 0 {
            return Vec::new();
        }
        state::current().map(|state| names(&state)).unwrap_or_default()
    }

    fn run(args: &[&str], out: &mut Out) -> Outcome {
        let [name] = args else {
            return Outcome::ShowUsage;
        };
        let Some(state) = state::current() else {
            return Outcome::Failure;
        };
        match explain(&state, name) {
            Ok(Some(call)) => show(out, &call),
            Ok(None) => say(
                out,
                &format!(
                    "Nothing is known of a call {name}: no such call is running, and none that ended within a day \
                 is kept. 'planfix show call' completes the names of those that are."
                ),
            ),
            Err(sentence) => {
                say(out, &sentence);
                return Outcome::Failure;
            }
        }
        Outcome::Success
    }
}

/// The calls that can be explained: those that are running and those that ended last.
fn names(state: &State) -> Vec<String> {
    let mut names: Vec<String> = running_calls(state)
        .unwrap_or_default()
        .into_iter()
        .map(|call| call.callid)
        .collect();
    let delivery = state.delivery.as_ref();
    if let Some(Answer::Stories(told)) =
        delivery.and_then(|delivery| delivery.ask(Question::Stories { limit: ROWS }, COMPLETION))
    {
        names.extend(told.into_iter().map(|told| told.callid));
    }
    names.dedup();
    names
}

fn show(out: &mut Out, call: &Explained) {
    let since = |moment: u64| show_duration(Duration::from_micros(now().saturating_sub(moment)));
    out.line(&match (call.began, call.ended) {
        (Some(began), _) => format!("Call {}, running for {}", call.callid, since(began)),
        (None, Some(ended)) => format!(
            "Call {}, ended {} ago",
            call.callid,
            since(ended.saturating_mul(1_000))
        ),
        (None, None) => format!("Call {}: only its events are known", call.callid),
    });
    for line in call.text.lines() {
        let (moment, rest) = line.split_at_checked(MOMENT).unwrap_or(("", line));
        for (index, part) in wrap(rest, WIDTH - MOMENT).iter().enumerate() {
            let head = if index == 0 { moment } else { "" };
            out.line(&format!("{head:MOMENT$}{part}"));
        }
    }
    if call.events.is_empty() {
        out.line("Planfix was told nothing.");
        return;
    }
    let columns = [
        Column::number("Id"),
        Column::text("Event"),
        Column::text("Ext"),
        Column::text("Accepted"),
        Column::text("State"),
        Column::text("At"),
        Column::number("Tries"),
    ];
    let cells: Vec<Vec<String>> = call
        .events
        .iter()
        .map(|event| {
            vec![
                event.id.to_string(),
                event.kind.clone(),
                event.ext.clone(),
                time(&event.accepted).to_owned(),
                delivery_state(event).to_owned(),
                time(&event.settled).to_owned(),
                tries(event).to_string(),
            ]
        })
        .collect();
    let mut lines = lines(&columns, &cells).into_iter();
    out.line(&lines.next().unwrap_or_default());
    for (line, event) in lines.zip(&call.events) {
        out.line(&line);
        reason(out, event);
    }
}

/// A reason is a sentence: it has lines of its own.
fn reason(out: &mut Out, event: &Listed) {
    if !event.reason.is_empty() {
        for line in wrap(&event.reason, WIDTH - 6) {
            out.line(&format!("      {line}"));
        }
    }
}

/// The time of day of `YYYY-MM-DD HH:MM:SS`: a story is at most a day old.
fn time(moment: &str) -> &str {
    moment.get(11..).unwrap_or(moment)
}
