//! The `planfix …` commands.

use std::ffi::CStr;
use std::sync::Arc;
use std::time::Duration;

use super::explain::ANSWER;
use super::sentence::say;
use super::{check, cli_calls, cli_contact, cli_greetings, cli_links, cli_trace, report, state};
use crate::ast::cli::{Command, CommandRegistration, Completion, Out, Outcome};
use crate::ast::registration::RegistrationError;
use crate::core::table::{Column, WIDTH, fields, lines, wrap};
use crate::delivery::Delivery;
use crate::delivery::listing::List;
use crate::delivery::question::{Answer, Question};
use crate::delivery::spool::{Listed, Replay};

/// Longest wait for a completion: whoever presses the key notices more.
pub(super) const COMPLETION: Duration = Duration::from_millis(200);
/// Rows of a list.
pub(super) const ROWS: usize = 50;

pub(super) fn register() -> Result<Vec<CommandRegistration>, RegistrationError> {
    let mut commands = vec![
        CommandRegistration::new::<ShowStatus>()?,
        CommandRegistration::new::<ShowQueue>()?,
        CommandRegistration::new::<ShowFailed>()?,
        CommandRegistration::new::<Check>()?,
        CommandRegistration::new::<Retry>()?,
        CommandRegistration::new::<DropRequest>()?,
        CommandRegistration::new::<ReplayDelivered>()?,
        CommandRegistration::new::<Pause>()?,
        CommandRegistration::new::<Resume>()?,
    ];
    commands.extend(cli_calls::register()?);
    commands.extend(cli_contact::register()?);
    commands.extend(cli_greetings::register()?);
    commands.extend(cli_links::register()?);
    commands.extend(cli_trace::register()?);
    Ok(commands)
}

/// The delivery, or a line that says why there is none.
fn delivery(out: &mut Out) -> Option<Arc<Delivery>> {
    let delivery = state::current().and_then(|state| state.delivery.clone());
    if delivery.is_none() {
        out.line("The module is disabled: see 'planfix check'.");
    }
    delivery
}

/// Asks, and says why there is no answer.
fn ask(out: &mut Out, question: Question) -> Option<Answer> {
    let is_order = question.is_order();
    match delivery(out)?.ask(question, ANSWER) {
        Some(Answer::Failed(sentence)) => {
            say(out, &format!("That was not possible: {sentence}."));
            None
        }
        Some(answer) => Some(answer),
        None if is_order => {
            say(
                out,
                "The disk does not answer. The order waits and is carried out when it does: see 'planfix show status'.",
            );
            None
        }
        None => {
            out.line("The spool does not answer: the disk may stall. See 'planfix show status'.");
            None
        }
    }
}

/// An order that concerns many requests is carried out while everything else goes on.
fn goes_on(answer: &Answer) -> String {
    let so_far = match answer {
        Answer::GoesOn(count) => *count,
        _ => 0,
    };
    format!(
        "{so_far} requests wait again so far, and the others follow by themselves: see 'planfix show status'."
    )
}

fn outcome(done: Option<()>) -> Outcome {
    done.map_or(Outcome::Failure, |()| Outcome::Success)
}

/// What can be completed to: texts for an empty question, none when the spool does not answer at once.
fn candidates(question: Question, text: impl Fn(&Listed) -> String) -> Vec<String> {
    let answer = state::current().and_then(|state| state.delivery.as_ref()?.ask(question, COMPLETION));
    match answer {
        Some(Answer::Events { rows, .. }) => {
            let mut texts: Vec<String> = rows.iter().map(text).collect();
            texts.dedup();
            texts
        }
        _ => Vec::new(),
    }
}

struct ShowStatus;

impl Command for ShowStatus {
    const COMMAND: &'static CStr = c"planfix show status";
    const SUMMARY: &'static CStr = c"Show how the connection to Planfix stands";
    const USAGE: &'static CStr = c"Usage: planfix show status\n       Shows versions, the CRM's state, the queue, counters and the spool.\n";

    fn run(args: &[&str], out: &mut Out) -> Outcome {
        if !args.is_empty() {
            return Outcome::ShowUsage;
        }
        let Some(state) = state::current() else {
            return Outcome::Failure;
        };
        let rows: Vec<(&str, String)> = report::rows(&state)
            .into_iter()
            .map(|(label, _, value)| (label, value))
            .collect();
        for line in fields(&rows) {
            out.line(&line);
        }
        Outcome::Success
    }
}

/// The list of pending or failed events.
fn list(out: &mut Out, which: List, nothing: &str) -> Option<()> {
    let listing = match delivery(out)?.list(which, ROWS) {
        Ok(listing) => listing,
        Err(sentence) => {
            say(out, &format!("That was not possible: {sentence}."));
            return None;
        }
    };
    show_list(out, &listing.rows, listing.total, nothing);
    if let Some(caution) = listing.caution() {
        say(out, &caution);
    }
    Some(())
}

fn show_list(out: &mut Out, rows: &[Listed], total: u64, nothing: &str) {
    if rows.is_empty() {
        // While the disk refuses, what is new waits in memory and stands in no list.
        if total == 0 {
            out.line(nothing);
        } else {
            out.line(&format!(
                "{total} in memory until the disk takes them: see 'planfix show status'."
            ));
        }
        return;
    }
    let columns = [
        Column::number("Id"),
        Column::text("Accepted"),
        Column::text("Event"),
        Column::text("Ext"),
        Column::number("Tries"),
        Column::stretch("Call"),
    ];
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.id.to_string(),
                row.accepted.get(5..).unwrap_or(&row.accepted).to_owned(),
                row.kind.clone(),
                row.ext.clone(),
                row.attempts.to_string(),
                row.callid.clone(),
            ]
        })
        .collect();
    let mut lines = lines(&columns, &cells).into_iter();
    out.line(&lines.next().unwrap_or_default());
    for (line, row) in lines.zip(rows) {
        out.line(&line);
        // A reason is a sentence: it has lines of its own, so that neither it nor the call is cut.
        if !row.reason.is_empty() {
            for line in wrap(&row.reason, WIDTH - 6) {
                out.line(&format!("      {line}"));
            }
        }
    }
    if total > rows.len() as u64 {
        out.line(&format!("… {} of {total} are shown.", rows.len()));
    }
}

struct ShowQueue;

impl Command for ShowQueue {
    const COMMAND: &'static CStr = c"planfix show queue";
    const SUMMARY: &'static CStr = c"Show the requests that wait for Planfix";
    const USAGE: &'static CStr = c"Usage: planfix show queue\n       Lists the oldest requests that wait, how often each was tried and why it failed.\n";

    fn run(args: &[&str], out: &mut Out) -> Outcome {
        if !args.is_empty() {
            return Outcome::ShowUsage;
        }
        outcome(list(out, List::Queue, "Nothing waits."))
    }
}

struct ShowFailed;

impl Command for ShowFailed {
    const COMMAND: &'static CStr = c"planfix show failed";
    const SUMMARY: &'static CStr = c"Show the requests that Planfix does not accept";
    const USAGE: &'static CStr = c"Usage: planfix show failed\n       Lists the latest requests that Planfix refused, with its reason.\n       See also: planfix retry, planfix drop.\n";

    fn run(args: &[&str], out: &mut Out) -> Outcome {
        if !args.is_empty() {
            return Outcome::ShowUsage;
        }
        outcome(list(out, List::Failed, "Nothing has failed."))
    }
}

struct Check;

impl Command for Check {
    const COMMAND: &'static CStr = c"planfix check";
    const SUMMARY: &'static CStr = c"Check the set-up, from planfix.conf to Planfix";
    const USAGE: &'static CStr = c"Usage: planfix check\n       Checks the configuration, the connection, both keys, the spool and the disk,\n       and says how to mend what is wrong.\n";

    fn run(args: &[&str], out: &mut Out) -> Outcome {
        if !args.is_empty() {
            return Outcome::ShowUsage;
        }
        let Some(state) = state::current() else {
            return Outcome::Failure;
        };
        let items = check::run(&state);
        let faults = items.iter().filter(|item| item.is_fault()).count();
        for item in &items {
            for line in item.lines() {
                out.line(&line);
            }
        }
        out.line(&match faults {
            0 => "Everything is in order.".to_owned(),
            1 => "One item needs mending.".to_owned(),
            _ => format!("{faults} items need mending."),
        });
        Outcome::Success
    }
}

struct Retry;

impl Command for Retry {
    const COMMAND: &'static CStr = c"planfix retry";
    const SUMMARY: &'static CStr = c"Send failed requests again";
    const USAGE: &'static CStr = c"Usage: planfix retry <id>|all\n       Puts a failed request, or all of them, back into the queue.\n";

    fn complete(at: &Completion<'_>) -> Vec<String> {
        if at.position > 0 {
            return Vec::new();
        }
        let mut texts = candidates(Question::Failed { limit: ROWS }, |row| row.id.to_string());
        texts.push("all".to_owned());
        texts
    }

    fn run(args: &[&str], out: &mut Out) -> Outcome {
        let id = match args {
            ["all"] => None,
            [id] => match id.parse() {
                Ok(id) => Some(id),
                Err(_) => return Outcome::ShowUsage,
            },
            _ => return Outcome::ShowUsage,
        };
        outcome(ask(out, Question::Retry(id)).map(|answer| {
            say(
                out,
                &match (answer, id) {
                    (Answer::Count(0), Some(id)) => {
                        format!("There is no failed request {id}: see 'planfix show failed'.")
                    }
                    (Answer::Count(0), None) => "Nothing has failed.".to_owned(),
                    (Answer::Count(1), _) => "One request waits again.".to_owned(),
                    (Answer::Count(count), _) => format!("{count} requests wait again."),
                    (answer, _) => goes_on(&answer),
                },
            );
        }))
    }
}

struct DropRequest;

impl Command for DropRequest {
    const COMMAND: &'static CStr = c"planfix drop";
    const SUMMARY: &'static CStr = c"Give a request up that has failed or waits";
    const USAGE: &'static CStr = c"Usage: planfix drop <id>\n       Takes a failed request out of the list, or a waiting one out of the queue, for good.\n       One that is under way to Planfix cannot be dropped.\n       See also: planfix show failed, planfix show queue.\n";

    fn complete(at: &Completion<'_>) -> Vec<String> {
        if at.position > 0 {
            return Vec::new();
        }
        let number = |row: &Listed| row.id.to_string();
        let mut texts = candidates(Question::Failed { limit: ROWS }, number);
        texts.extend(candidates(Question::Queue { limit: ROWS }, number));
        texts
    }

    fn run(args: &[&str], out: &mut Out) -> Outcome {
        let [id] = args else { return Outcome::ShowUsage };
        let Ok(id) = id.parse() else {
            return Outcome::ShowUsage;
        };
        outcome(ask(out, Question::Drop(id)).map(|answer| {
            say(out, &match answer {
                Answer::Count(0) => format!(
                    "There is no failed request {id}, and none of that number waits: see 'planfix show failed' and 'planfix show queue'."
                ),
                _ => format!("Request {id} was dropped."),
            });
        }))
    }
}

struct ReplayDelivered;

impl Command for ReplayDelivered {
    const COMMAND: &'static CStr = c"planfix replay";
    const SUMMARY: &'static CStr = c"Send delivered requests again";
    const USAGE: &'static CStr = c"Usage: planfix replay <callid>\n       planfix replay <from> <to>\n       Sends what was delivered once more: the requests of a call, or those accepted\n       from one local time until another, such as 2026-11-20 or \"2026-11-20 18:30\".\n       Cards are not shown again when they are stale; ends of calls and links are sent.\n";

    fn complete(at: &Completion<'_>) -> Vec<String> {
        if at.position > 0 {
            return Vec::new();
        }
        candidates(Question::Delivered { limit: ROWS }, |row| row.callid.clone())
    }

    fn run(args: &[&str], out: &mut Out) -> Outcome {
        let what = match args {
            [callid] => Replay::Call((*callid).to_owned()),
            [from, to] => Replay::Between((*from).to_owned(), (*to).to_owned()),
            _ => return Outcome::ShowUsage,
        };
        outcome(ask(out, Question::Replay(what)).map(|answer| {
            say(
                out,
                &match answer {
                    Answer::Count(0) => {
                        "No such delivered request is kept; see keep_delivered in planfix.conf.".to_owned()
                    }
                    Answer::Count(1) => "One request is sent again.".to_owned(),
                    Answer::Count(count) => format!("{count} requests are sent again."),
                    answer => goes_on(&answer),
                },
            );
        }))
    }
}

fn pause(out: &mut Out, paused: bool, done: &str) -> Outcome {
    outcome(ask(out, Question::Pause(paused)).map(|_| out.line(done)))
}

struct Pause;

impl Command for Pause {
    const COMMAND: &'static CStr = c"planfix pause";
    const SUMMARY: &'static CStr = c"Stop sending to Planfix for now";
    const USAGE: &'static CStr = c"Usage: planfix pause\n       Events are still accepted and kept; 'planfix resume' sends them. A pause outlives\n       a restart.\n";

    fn run(args: &[&str], out: &mut Out) -> Outcome {
        if !args.is_empty() {
            return Outcome::ShowUsage;
        }
        pause(
            out,
            true,
            "Delivery is paused. Events are kept until 'planfix resume'.",
        )
    }
}

struct Resume;

impl Command for Resume {
    const COMMAND: &'static CStr = c"planfix resume";
    const SUMMARY: &'static CStr = c"Go on sending to Planfix";
    const USAGE: &'static CStr = c"Usage: planfix resume\n       Ends a pause and tries at once.\n";

    fn run(args: &[&str], out: &mut Out) -> Outcome {
        if !args.is_empty() {
            return Outcome::ShowUsage;
        }
        pause(out, false, "Delivery goes on.")
    }
}
