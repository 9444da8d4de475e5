//! `planfix check`: each item passes or fails, and a failure names its cure.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;

use super::links;
use super::state::State;
use super::threads::AsteriskThreads;
use super::{check_greetings, check_http};
use crate::ast::paths;
use crate::core::settings::{Convert, Settings};
use crate::delivery::checks::{Item, check_crm, check_spool, longest};
use crate::delivery::links::Links;
use crate::delivery::recordings::program;
use crate::delivery::threads::Threads;
use crate::delivery::{Delivery, setup_file};

/// Runs every check. The network is asked on a thread of its own; whoever waits here waits for a bounded time.
pub(super) fn run(state: &State) -> Vec<Item> {
    let mut items = vec![configuration(state)];
    items.push(permissions(state));
    match (&state.settings, &state.delivery) {
        (Some(settings), Some(delivery)) => items.extend(in_background(settings, delivery, links::of(state))),
        (Some(settings), None) if settings.enabled && settings.awaits_setup() => items.push(Item::fail(
            "Setup",
            "Planfix has not sent its address and its key yet, so nothing is reported",
            "enter the PBX's address (…/planfix/api) and pbx_token in Planfix («Адрес АТС», «Ключ авторизации АТС») and \
             switch the integration on; or set url and token in planfix.conf",
        )),
        _ => items.push(Item::skipped("Planfix, spool", "the module is disabled")),
    }
    if let Some(settings) = &state.settings {
        items.push(encoder(settings));
    }
    items.extend(check_http::items(state.settings.as_deref()));
    items.extend(check_greetings::items(state));
    items
}

fn configuration(state: &State) -> Item {
    let name = "planfix.conf";
    match (state.problems.as_slice(), &state.settings) {
        ([], Some(settings)) if settings.enabled => Item::pass(name, "read without a problem"),
        ([], _) => Item::fail(
            name,
            "enabled = no",
            "set enabled = yes in [general] and run 'module reload res_planfix.so'",
        ),
        (problems, _) => {
            let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Item::fail(
                name,
                &text.join("; "),
                "mend these lines and run 'module reload res_planfix.so'",
            )
        }
    }
}

/// The file holds keys, and so may those that the module has made.
fn permissions(state: &State) -> Item {
    let path = paths::config_dir().join("planfix.conf");
    let name = "File permissions";
    let about = match File::open(&path).and_then(|file| file.metadata()) {
        Ok(about) => about,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Item::fail(
                name,
                &format!("there is no {}", path.display()),
                "copy planfix.conf.sample there",
            );
        }
        Err(error) => {
            return Item::fail(
                name,
                &format!("{} cannot be read by Asterisk's user: {error}", path.display()),
                "make it his (chown) or his group's (chgrp, chmod 640)",
            );
        }
    };
    let made = [
        setup_file::path(&links::keys_folder()),
        state.lasting.link_keys.path().to_owned(),
    ];
    let mode = |path: &PathBuf| std::fs::metadata(path).map_or(0, |about| about.permissions().mode());
    // Asterisk may read planfix.conf by its group; what the module makes is for its user alone.
    let open = if about.permissions().mode() & 0o007 != 0 {
        Some((path, "o-rwx"))
    } else {
        let open = made.into_iter().find(|path| mode(path) & 0o077 != 0);
        open.map(|path| (path, "go-rwx"))
    };
    match open {
        Some((path, change)) => Item::fail(
            name,
            &format!(
                "{} holds keys and others on this machine can read it",
                path.display()
            ),
            &format!("run 'chmod {change} {}'", path.display()),
        ),
        None => Item::pass(name, "planfix.conf is not open to everybody"),
    }
}

fn in_background(settings: &Arc<Settings>, delivery: &Arc<Delivery>, links: Option<Links>) -> Vec<Item> {
    let (sender, receiver) = mpsc::channel();
    let (background_settings, background_delivery) = (Arc::clone(settings), Arc::clone(delivery));
    let body = Box::new(move || {
        for item in check_crm(&background_settings, &background_delivery) {
            let _ = sender.send(item);
        }
        for item in check_spool(&background_settings.delivery, &background_delivery) {
            let _ = sender.send(item);
        }
        if let Some(links) = links {
            let _ = sender.send(links.check(&background_settings.delivery, &background_delivery));
        }
    });
    if let Err(error) = AsteriskThreads.spawn("planfix/check", body) {
        return vec![Item::fail(
            "Planfix, spool",
            &format!("no thread could be started: {error}"),
            "look at the system's limits",
        )];
    }
    let until = std::time::Instant::now() + longest(&settings.delivery);
    let mut items = Vec::new();
    loop {
        match receiver.recv_timeout(until.saturating_duration_since(std::time::Instant::now())) {
            Ok(item) => items.push(item),
            Err(mpsc::RecvTimeoutError::Disconnected) => return items,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                items.push(Item::fail(
                    "Planfix, spool",
                    "no answer in time",
                    "check the network, the name servers and the disk",
                ));
                return items;
            }
        }
    }
}

/// Recordings become mp3 by a program that is not Asterisk's.
fn encoder(settings: &Settings) -> Item {
    let name = "Encoder";
    let recordings = &settings.recordings;
    if recordings.link.is_empty() {
        return Item::skipped(name, "recordings are left alone: no link is set in [recordings]");
    }
    if recordings.convert == Convert::No {
        return Item::skipped(name, "convert = no: recordings are linked as they are");
    }
    match program(&recordings.encoder) {
        Some(path) => Item::pass(name, &path.display().to_string()),
        None => Item::fail(
            name,
            &format!("there is no program '{}'", recordings.encoder),
            "install it (Debian, Ubuntu: apt install lame), or name another one in [recordings]: encoder",
        ),
    }
}
