//! load, reload and unload.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::calls::Calls;
use super::follow::Follower;
use super::func_call_duration::CallDuration;
use super::func_planfix_event::PlanfixEvent;
use super::state::{self, Lasting, State};
use super::threads::AsteriskThreads;
use super::{cli, manager};
use crate::ast::cli::CommandRegistration;
use crate::ast::function::FunctionRegistration;
use crate::ast::manager::ActionRegistration;
use crate::ast::module::{Load, Module, Reload, Unload};
use crate::ast::registration::RegistrationError;
use crate::ast::stasis::Subscription;
use crate::ast::{config, guard, module, paths};
use crate::core::settings::{Entry, Mode, Problem, Read, Settings};
use crate::delivery::clock::SystemClock;
use crate::delivery::{Delivery, Surroundings};

const FILE: &str = "planfix.conf";

/// An unload must end within two seconds; the rest is for Asterisk's own part of it.
const STOP: Duration = Duration::from_millis(1_700);

/// What is registered with Asterisk. Dropping it unregisters everything.
struct Registrations {
    subscription: Subscription,
    #[expect(dead_code, reason = "held for its Drop")]
    functions: Vec<FunctionRegistration>,
    #[expect(dead_code, reason = "held for its Drop")]
    commands: Vec<CommandRegistration>,
    #[expect(dead_code, reason = "held for its Drop")]
    actions: Vec<ActionRegistration>,
}

static REGISTRATIONS: Mutex<Option<Registrations>> = Mutex::new(None);

/// The module.
pub struct PlanfixModule;

impl Module for PlanfixModule {
    fn load() -> Load {
        let read = read_file();
        for problem in &read.notices {
            log::warn!("{problem}");
        }
        let lasting = Arc::new(Lasting::new());
        let state = match read.settings {
            Ok(settings) => begin(Arc::new(settings), lasting),
            Err(problems) => disabled(None, problems, lasting),
        };
        if !state.problems.is_empty() {
            for problem in &state.problems {
                log::error!("{problem}");
            }
            log::error!(
                "The module is loaded but disabled; mend the above and run 'module reload res_planfix.so'"
            );
        }
        state::exchange(Some(Arc::new(state)));
        match register() {
            Ok(registrations) => {
                *REGISTRATIONS.lock().unwrap_or_else(PoisonError::into_inner) = Some(registrations);
                accept_variables();
                Load::Loaded
            }
            Err(error) => {
                log::error!("The module is not loaded: {error}");
                end();
                Load::Declined
            }
        }
    }

    fn reload() -> Reload {
        let Some(old) = state::current() else {
            return Reload::Failed;
        };
        let read = read_file();
        for problem in &read.notices {
            log::warn!("{problem}");
        }
        let outcome = match read.settings {
            Ok(settings) => change(&old, Arc::new(settings)),
            Err(problems) => Err(problems),
        };
        match outcome {
            Ok(state) => {
                state::exchange(Some(Arc::new(state)));
                accept_variables();
                log::info!("{FILE} was read again");
                Reload::Done
            }
            Err(problems) => {
                for problem in &problems {
                    log::error!("{problem}");
                }
                log::error!(
                    "{FILE} was not taken over; {}",
                    if old.settings.is_some() {
                        "the settings from before stay in force"
                    } else {
                        "the module stays disabled"
                    }
                );
                let state = State {
                    settings: old.settings.clone(),
                    problems,
                    delivery: old.delivery.clone(),
                    calls: old.calls.clone(),
                    lasting: Arc::clone(&old.lasting),
                };
                state::exchange(Some(Arc::new(state)));
                Reload::Failed
            }
        }
    }

    fn unload() -> Unload {
        // Unregistering first: after that no callback can begin.
        drop(
            REGISTRATIONS
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        if !guard::drained(Duration::from_millis(200)) {
            log::warn!("A callback still runs while the module is unloaded");
        }
        end();
        Unload::Done
    }
}

fn end() {
    let Some(state) = state::exchange(None) else {
        return;
    };
    let followed = state.calls.as_ref().is_none_or(|calls| calls.stop(STOP / 4));
    let delivered = state
        .delivery
        .as_ref()
        .is_none_or(|delivery| delivery.stop(STOP / 4 * 3));
    if !followed || !delivered {
        log::warn!("A thread still waits for the network or the disk and is left behind; it ends by itself");
    }
}

fn register() -> Result<Registrations, RegistrationError> {
    Ok(Registrations {
        subscription: Subscription::channels_and_bridges::<Follower>()?,
        functions: vec![
            FunctionRegistration::read::<PlanfixEvent>()?,
            FunctionRegistration::read::<CallDuration>()?,
        ],
        commands: cli::register()?,
        actions: manager::register()?,
    })
}

/// Channel variables are told of only where analytics fields ask for some: a dialplan sets dozens in each call.
fn accept_variables() {
    let wanted = state::current().is_some_and(|state| {
        let settings = state.settings.as_ref();
        state.calls.is_some() && settings.is_some_and(|settings| !settings.calls.data.is_empty())
    });
    let registrations = REGISTRATIONS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(registrations) = registrations.as_ref().filter(|_| wanted) {
        registrations.subscription.accept_variables();
    }
}

fn read_file() -> Read {
    let fault = |text: &str| Read {
        settings: Err(vec![Problem {
            place: FILE.to_owned(),
            text: text.to_owned(),
        }]),
        notices: Vec::new(),
    };
    match config::load(c"planfix.conf") {
        config::Loaded::Missing => fault(&format!(
            "the file is missing in {}: copy planfix.conf.sample there and set url and token",
            paths::config_dir().display()
        )),
        config::Loaded::Invalid => {
            fault("Asterisk cannot read the file; the line is named in the message before this one")
        }
        config::Loaded::Entries(lines) => {
            let entries: Vec<Entry> = lines
                .into_iter()
                .map(|line| Entry {
                    section: line.section,
                    name: line.name,
                    value: line.value,
                    file: std::path::Path::new(&line.file)
                        .file_name()
                        .map_or(line.file.clone(), |name| name.to_string_lossy().into_owned()),
                    line: line.line,
                })
                .collect();
            Settings::read(FILE, &entries)
        }
    }
}

/// A state with these settings and a delivery of its own.
fn begin(settings: Arc<Settings>, lasting: Arc<Lasting>) -> State {
    if !settings.enabled {
        return State {
            settings: Some(settings),
            problems: Vec::new(),
            delivery: None,
            calls: None,
            lasting,
        };
    }
    let around = Surroundings {
        folder: paths::spool_dir().join("planfix"),
        threads: Arc::new(AsteriskThreads),
        clock: Arc::new(SystemClock::new()),
    };
    let started = Delivery::start(&settings.crm, &settings.delivery, around).map(Arc::new);
    let followed = started.and_then(|delivery| Ok((follow(&settings, &delivery)?, delivery)));
    match followed {
        Ok((calls, delivery)) => State {
            settings: Some(settings),
            problems: Vec::new(),
            delivery: Some(delivery),
            calls,
            lasting,
        },
        Err(text) => disabled(
            None,
            vec![Problem {
                place: FILE.to_owned(),
                text,
            }],
            lasting,
        ),
    }
}

/// The thread that follows calls, if these settings want one.
fn follow(settings: &Settings, delivery: &Arc<Delivery>) -> Result<Option<Arc<Calls>>, String> {
    match settings.mode {
        Mode::Auto => Calls::start(Arc::new(settings.calls.clone()), Arc::clone(delivery))
            .map(|calls| Some(Arc::new(calls))),
        Mode::Dialplan => {
            delivery.close_shown_before(module::started());
            Ok(None)
        }
    }
}

fn disabled(settings: Option<Arc<Settings>>, problems: Vec<Problem>, lasting: Arc<Lasting>) -> State {
    State {
        settings,
        problems,
        delivery: None,
        calls: None,
        lasting,
    }
}

/// Takes new settings over: the delivery goes on with them, is started, or is stopped.
fn change(old: &State, settings: Arc<Settings>) -> Result<State, Vec<Problem>> {
    let lasting = Arc::clone(&old.lasting);
    match (&old.delivery, settings.enabled) {
        (Some(delivery), true) => {
            let fault = |text| {
                vec![Problem {
                    place: FILE.to_owned(),
                    text,
                }]
            };
            delivery
                .reconfigure(&settings.crm, &settings.delivery)
                .map_err(fault)?;
            let calls = match (&old.calls, settings.mode) {
                (Some(calls), Mode::Auto) => {
                    calls.configure(Arc::new(settings.calls.clone()));
                    Some(Arc::clone(calls))
                }
                (Some(calls), Mode::Dialplan) => {
                    calls.stop(STOP / 4);
                    None
                }
                (None, _) => follow(&settings, delivery).map_err(fault)?,
            };
            Ok(State {
                settings: Some(settings),
                problems: Vec::new(),
                delivery: Some(Arc::clone(delivery)),
                calls,
                lasting,
            })
        }
        (Some(delivery), false) => {
            if let Some(calls) = &old.calls {
                calls.stop(STOP / 4);
            }
            delivery.stop(STOP);
            log::warn!("The module was disabled by {FILE}; what waits in the spool stays there");
            Ok(disabled(Some(settings), Vec::new(), lasting))
        }
        (None, _) => {
            let state = begin(settings, lasting);
            if state.problems.is_empty() {
                Ok(state)
            } else {
                Err(state.problems)
            }
        }
    }
}
