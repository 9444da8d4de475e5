//! `planfix record` and `planfix play`: strange calls, to be shown to others.

use std::collections::hash_map::RandomState;
use std::ffi::CStr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::explain::not_followed;
use super::sentence::say;
use super::threads::AsteriskThreads;
use super::{report, state};
use crate::ast::cli::{Command, CommandRegistration, Completion, Out, Outcome};
use crate::ast::module::running;
use crate::ast::paths;
use crate::ast::registration::RegistrationError;
use crate::core::mask::Mask;
use crate::core::quantity::show_bytes;
use crate::core::trace::Header;
use crate::delivery::player;
use crate::delivery::recorder::{Limits, Recorder, create};

/// Longest wait for the disk at the end of a recording.
const WRITTEN: Duration = Duration::from_secs(5);

pub(super) fn register() -> Result<Vec<CommandRegistration>, RegistrationError> {
    Ok(vec![
        CommandRegistration::new::<RecordStart>()?,
        CommandRegistration::new::<RecordStop>()?,
        CommandRegistration::new::<Play>()?,
    ])
}

/// A file's place: below Asterisk's log directory unless it says otherwise.
fn place(file: &str) -> PathBuf {
    paths::log_dir().join(file)
}

/// Says what came of it.
fn said(out: &mut Out, outcome: Result<String, String>) -> Outcome {
    match outcome {
        Ok(sentence) => {
            say(out, &sentence);
            Outcome::Success
        }
        Err(sentence) => {
            say(out, &sentence);
            Outcome::Failure
        }
    }
}

struct RecordStart;

impl Command for RecordStart {
    const COMMAND: &'static CStr = c"planfix record start";
    const SUMMARY: &'static CStr = c"Write what is seen of calls into a file";
    const USAGE: &'static CStr = c"Usage: planfix record start <file> [masked]\n       Writes what is seen of calls into a new file, for 'planfix play' or for a report of a\n       fault, until 'planfix record stop', for an hour, or up to 64 MiB. A name without a\n       path is a file in Asterisk's log directory. With 'masked' clients' numbers are\n       replaced by others.\n";

    fn complete(at: &Completion<'_>) -> Vec<String> {
        if at.position == 1 {
            vec!["masked".to_owned()]
        } else {
            Vec::new()
        }
    }

    fn run(args: &[&str], out: &mut Out) -> Outcome {
        let (file, masked) = match args {
            [file] => (file, false),
            [file, "masked"] => (file, true),
            _ => return Outcome::ShowUsage,
        };
        said(out, start(file, masked))
    }
}

fn start(file: &str, masked: bool) -> Result<String, String> {
    let state = state::current().ok_or("The module is being unloaded.")?;
    let (Some(calls), Some(settings)) = (&state.calls, &state.settings) else {
        return Err(not_followed(&state).to_owned());
    };
    let under_way = |recorder: &Recorder| {
        format!(
            "A recording is under way, into {}: end it with 'planfix record stop'.",
            recorder.path().display()
        )
    };
    if let Some(recorder) = calls.recorder().filter(|recorder| !recorder.is_over()) {
        return Err(under_way(&recorder));
    }
    let path = place(file);
    let header = Header::new(&report::version(), &running().text, &settings.calls);
    let mask = masked.then(|| Mask::new(RandomState::new(), settings.calls.internal.clone()));
    let file = create(&path).map_err(|fault| format!("{fault}."))?;
    let recorder = Recorder::start(&path, file, &header, mask, Limits::default(), &AsteriskThreads)
        .map_err(|fault| format!("{fault}."))?;
    let recorder = Arc::new(recorder);
    if !calls.record(Arc::clone(&recorder)) {
        recorder.stop(WRITTEN);
        return Err("Another recording has begun at this moment, or the machine is overloaded.".to_owned());
    }
    Ok(format!(
        "What is seen of calls goes into {} from now on; end it with 'planfix record stop'.",
        path.display()
    ))
}

struct RecordStop;

impl Command for RecordStop {
    const COMMAND: &'static CStr = c"planfix record stop";
    const SUMMARY: &'static CStr = c"End what 'planfix record start' began";
    const USAGE: &'static CStr =
        c"Usage: planfix record stop\n       Ends the recording and says where it lies.\n";

    fn run(args: &[&str], out: &mut Out) -> Outcome {
        if !args.is_empty() {
            return Outcome::ShowUsage;
        }
        said(out, stop())
    }
}

fn stop() -> Result<String, String> {
    let state = state::current().ok_or("The module is being unloaded.")?;
    let recorder = state.calls.as_ref().and_then(|calls| calls.take_recorder());
    let Some(recorder) = recorder else {
        return Err("Nothing is being recorded.".to_owned());
    };
    let in_time = recorder.stop(WRITTEN);
    let progress = recorder.progress();
    let path = recorder.path().display();
    if !in_time {
        return Err(format!("The disk does not answer: {path} may lack its end."));
    }
    let (records, size) = (progress.records, show_bytes(progress.bytes));
    let before = progress
        .ended
        .map(|why| format!(" It had ended by itself: {why}."));
    Ok(format!(
        "{records} records, {size}, are in {path}.{}",
        before.unwrap_or_default()
    ))
}

struct Play;

impl Command for Play {
    const COMMAND: &'static CStr = c"planfix play";
    const SUMMARY: &'static CStr = c"Show what a recorded trace would have told Planfix";
    const USAGE: &'static CStr = c"Usage: planfix play <file> [<linkedid>|<uniqueid>]\n       Shows the requests that a file of 'planfix record' leads to, and the story of one\n       call. Nothing is sent. A name without a path is a file in Asterisk's log directory.\n";

    fn run(args: &[&str], out: &mut Out) -> Outcome {
        let (file, callid) = match args {
            [file] => (file, None),
            [file, callid] => (file, Some(*callid)),
            _ => return Outcome::ShowUsage,
        };
        let count = player::play(&place(file), callid, |line| out.line(line));
        said(
            out,
            count
                .map(|count| {
                    let (records, requests, left) = (count.records, count.requests, count.channels);
                    format!("{records} records, {requests} requests, {left} channels left. Nothing was sent.")
                })
                .map_err(|fault| format!("{fault}.")),
        )
    }
}
