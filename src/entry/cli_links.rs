//! `planfix show link` and `planfix rotate links`.

use std::ffi::CStr;
use std::path::Path;
use std::time::SystemTime;

use super::links;
use super::state::{self, State};
use crate::ast::cli::{Command, CommandRegistration, Completion, Out, Outcome};
use crate::ast::registration::RegistrationError;
use crate::core::link::Base;
use crate::core::table::{WIDTH, wrap};
use crate::delivery::link_keys::Before;

pub(super) fn register() -> Result<Vec<CommandRegistration>, RegistrationError> {
    Ok(vec![
        CommandRegistration::new::<ShowLink>()?,
        CommandRegistration::new::<RotateLinks>()?,
    ])
}

/// Says what came of it.
fn said(out: &mut Out, outcome: Result<Vec<String>, String>) -> Outcome {
    let (outcome, sentences) = match outcome {
        Ok(sentences) => (Outcome::Success, sentences),
        Err(sentence) => (Outcome::Failure, vec![sentence]),
    };
    for sentence in sentences {
        for line in wrap(&sentence, WIDTH) {
            out.line(&line);
        }
    }
    outcome
}

struct ShowLink;

impl Command for ShowLink {
    const COMMAND: &'static CStr = c"planfix show link";
    const SUMMARY: &'static CStr = c"Show the link to a recording";
    const USAGE: &'static CStr = c"Usage: planfix show link <file>\n       Prints the link that Planfix is given for a recording, so that you can try it. The\n       file is given by its path, whole or below the folder of the recordings.\n";

    fn run(args: &[&str], out: &mut Out) -> Outcome {
        let [file] = args else { return Outcome::ShowUsage };
        match state::current()
            .ok_or_else(|| "The module is being unloaded.".to_owned())
            .and_then(|state| link(&state, Path::new(file)))
        {
            // In one piece, to be copied.
            Ok(link) => {
                out.line(&link);
                Outcome::Success
            }
            Err(sentence) => said(out, Err(sentence)),
        }
    }
}

fn link(state: &State, file: &Path) -> Result<String, String> {
    let settings = state.settings.as_ref();
    let settings = settings.ok_or("planfix.conf is not in force: see 'planfix check'.")?;
    let folder = links::folder(settings);
    let relative = if file.is_absolute() {
        file.strip_prefix(&folder)
            .map_err(|_| format!("{} is not below {}.", file.display(), folder.display()))?
    } else {
        file
    };
    let link = links::of(state)
        .ok_or("planfix.conf is not in force: see 'planfix check'.")?
        .link(relative, SystemTime::now())?
        .ok_or("No links are given: set 'link' in section [recordings] of planfix.conf.")?;
    if folder.join(relative).is_file() {
        Ok(link)
    } else {
        Err(format!("There is no file {}.", folder.join(relative).display()))
    }
}

struct RotateLinks;

impl Command for RotateLinks {
    const COMMAND: &'static CStr = c"planfix rotate links";
    const SUMMARY: &'static CStr = c"Sign links to recordings with a new key";
    const USAGE: &'static CStr = c"Usage: planfix rotate links [revoke]\n       From now on links to recordings are signed with a new key. Those that Planfix has\n       already go on working; with 'revoke' they stop working at once and for good.\n";

    fn complete(at: &Completion<'_>) -> Vec<String> {
        if at.position == 0 {
            vec!["revoke".to_owned()]
        } else {
            Vec::new()
        }
    }

    fn run(args: &[&str], out: &mut Out) -> Outcome {
        let before = match args {
            [] => Before::Kept,
            ["revoke"] => Before::Revoked,
            _ => return Outcome::ShowUsage,
        };
        said(out, rotate(before))
    }
}

fn rotate(before: Before) -> Result<Vec<String>, String> {
    let state = state::current().ok_or("The module is being unloaded.")?;
    let served = links::of(&state).is_some_and(|links| matches!(links.base(), Base::Own(_)));
    if !served {
        return Err(
            "There is no key to rotate: links are not signed unless 'link' in section [recordings] of \
                    planfix.conf ends with /planfix/records."
                .to_owned(),
        );
    }
    let keys = state
        .lasting
        .link_keys
        .rotate(before)
        .map_err(|text| format!("Nothing was changed: {text}."))?;
    let path = state.lasting.link_keys.path().display();
    let told = match before {
        Before::Kept => format!(
            "Links that were given out before go on working: {} keys are kept for them. 'planfix rotate links revoke' \
             would end them.",
            keys.count() - 1
        ),
        Before::Revoked => {
            "Links that were given out before do not work any more, and nothing brings them back but the \
                            file from the backup."
                .to_owned()
        }
    };
    log::info!("Links to recordings are signed with a new key ({before:?})");
    Ok(vec![
        "Links to recordings are signed with a new key from now on.".to_owned(),
        told,
        format!("Put {path} into the backup again."),
    ])
}
