//! load, reload and unload.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::app_op_greeting::OpGreeting;
use super::app_op_greeting_menu::OpGreetingMenu;
use super::calls::Calls;
use super::follow::{COSTS, Follower};
use super::func_call_duration::CallDuration;
use super::func_op_greeting::OpGreetingFunction;
use super::func_planfix_contact::PlanfixContact;
use super::func_planfix_event::PlanfixEvent;
use super::greetings::Lamps;
use super::http::Door;
use super::state::{self, Lasting, State};
use super::threads::AsteriskThreads;
use super::{cli, contacts, links, manager, recordings};
use crate::ast::application::ApplicationRegistrations;
use crate::ast::cli::CommandRegistration;
use crate::ast::device_state::DeviceStateRegistration;
use crate::ast::function::FunctionRegistration;
use crate::ast::http::HttpRegistration;
use crate::ast::manager::ActionRegistration;
use crate::ast::module::{Load, Module, Reload, Unload};
use crate::ast::registration::RegistrationError;
use crate::ast::stasis::{Subscription, tells_of_recordings};
use crate::ast::{config, guard, module, paths};
use crate::core::settings::{Entry, Mode, Problem, Read, Settings};
use crate::core::setup::Setup;
use crate::delivery::clock::SystemClock;
use crate::delivery::contacts::Contacts;
use crate::delivery::{Delivery, Surroundings, setup_file};

const FILE: &str = "planfix.conf";

/// An unload must end within two seconds; the rest is for Asterisk's own part of it.
const STOP: Duration = Duration::from_millis(1_700);

/// What is registered with Asterisk. Dropping it unregisters everything, in this order.
struct Registrations {
    /// First: who enters one while the others go is not hung up by anybody, and would be waited for.
    #[expect(dead_code, reason = "held for its Drop")]
    applications: ApplicationRegistrations,
    subscription: Subscription,
    #[expect(dead_code, reason = "held for its Drop")]
    door: HttpRegistration,
    #[expect(dead_code, reason = "held for its Drop")]
    functions: Vec<FunctionRegistration>,
    #[expect(dead_code, reason = "held for its Drop")]
    commands: Vec<CommandRegistration>,
    #[expect(dead_code, reason = "held for its Drop")]
    actions: Vec<ActionRegistration>,
    #[expect(dead_code, reason = "held for its Drop")]
    lamps: DeviceStateRegistration,
}

static REGISTRATIONS: Mutex<Option<Registrations>> = Mutex::new(None);

/// Held by whoever puts another state in place: the loader's thread, or that of Planfix's `setup`.
static CHANGING: Mutex<()> = Mutex::new(());

/// Why `setup` is not in force.
pub(super) enum NotSetUp {
    /// planfix.conf holds a token.
    Pinned,
    /// A sentence for the operator, without the key.
    Fault(String),
}

/// The module.
pub struct PlanfixModule;

impl Module for PlanfixModule {
    fn load() -> Load {
        let mut read = read_file();
        let set_up = add_setup(&mut read);
        for problem in &read.notices {
            log::warn!("{problem}");
        }
        COSTS.start_over();
        let lasting = Arc::new(Lasting::new());
        lasting.set_up.store(set_up, Ordering::Relaxed);
        let mut unlit = BTreeSet::new();
        let state = match read.settings {
            Ok(settings) => {
                links::prepare(&settings, &lasting);
                unlit = lasting.greetings.follow(&settings);
                begin(Arc::new(settings), lasting)
            }
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
        if state.settings.as_deref().is_some_and(is_waiting) {
            log::warn!(
                "{FILE}: 'token' is not set: nothing is reported until Planfix sends its address and its key (setup); switch the \
                 integration on there"
            );
        }
        state::exchange(Some(Arc::new(state)));
        match register() {
            Ok(registrations) => {
                *REGISTRATIONS.lock().unwrap_or_else(PoisonError::into_inner) = Some(registrations);
                accept_variables();
                if let Some(state) = state::current() {
                    state.lasting.greetings.light(unlit);
                }
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
        let _changing = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(old) = state::current() else {
            return Reload::Failed;
        };
        let mut read = read_file();
        let set_up = add_setup(&mut read);
        for problem in &read.notices {
            log::warn!("{problem}");
        }
        let outcome = read.settings.and_then(|settings| {
            // What is reported goes on being reported until somebody says otherwise.
            if is_waiting(&settings) && old.delivery.is_some() {
                return Err(token_lost());
            }
            take_over(&old, Arc::new(settings))
        });
        match outcome {
            Ok(state) => {
                state.lasting.set_up.store(set_up, Ordering::Relaxed);
                if let Some(settings) = &state.settings {
                    let unlit = state.lasting.greetings.follow(settings);
                    state.lasting.greetings.light(unlit);
                }
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
                    contacts: old.contacts.clone(),
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
        if let Some(state) = state::current() {
            // Then what HTTP threads wait for.
            if !state.lasting.api.errands.end(STOP / 10) {
                log::warn!("Planfix's setup still waits for the disk and is left behind");
            }
            if !state.lasting.herald.end(STOP / 10) {
                log::warn!("AMI's events still wait for Asterisk and are left behind");
            }
            // A channel may wait for the CRM in PLANFIX_CONTACT.
            if let Some(contacts) = &state.contacts {
                contacts.close();
            }
        }
        if !guard::drained(Duration::from_millis(200)) {
            log::warn!("A callback still runs while the module is unloaded");
        }
        end();
        Unload::Done
    }
}

/// Whether these settings leave it to Planfix to send its address and its key, which it has not done yet.
fn is_waiting(settings: &Settings) -> bool {
    settings.enabled && settings.awaits_setup()
}

/// The fault of a file that a running module cannot go on with.
fn token_lost() -> Vec<Problem> {
    vec![Problem {
        place: FILE.to_owned(),
        text: "'token' is missing in section [planfix]: set it to the authorization key that Planfix shows; or, to have Planfix \
               bring another one (setup), unload the module and load it again"
            .to_owned(),
    }]
}

/// What Planfix has sent by `setup`, where planfix.conf leaves it to that; tells whether it does.
fn add_setup(read: &mut Read) -> bool {
    let Ok(settings) = &mut read.settings else {
        return false;
    };
    let pinned = !settings.crm.token.is_empty();
    let folder = links::keys_folder();
    let mut notice = |text: String| {
        read.notices.push(Problem {
            place: FILE.to_owned(),
            text,
        });
    };
    match setup_file::read(&folder) {
        Ok(Some(setup)) if !pinned => {
            setup.apply(&mut settings.crm);
            return true;
        }
        Ok(Some(_)) => notice(format!(
            "'token' is set, so what Planfix has sent by setup is not used; remove token, or {}",
            setup_file::path(&folder).display()
        )),
        Err(fault) if !pinned => notice(format!(
            "what Planfix has sent by setup cannot be used: {fault}; switch the integration off and on in Planfix"
        )),
        Ok(None) | Err(_) => {}
    }
    false
}

/// Keeps what Planfix has sent by `setup`, and puts it in force.
pub(super) fn set_up(setup: Setup) -> Result<(), NotSetUp> {
    let is_pinned = |state: &State| {
        let settings = state.settings.as_ref();
        let has_token = settings.is_some_and(|settings| !settings.crm.token.is_empty());
        has_token && !state.lasting.set_up.load(Ordering::Relaxed)
    };
    let gone = || NotSetUp::Fault("the module is being unloaded".to_owned());
    // The disk may take its time, and a reload need not wait for it.
    if is_pinned(&*state::current().ok_or_else(gone)?) {
        return Err(NotSetUp::Pinned);
    }
    setup_file::write(&links::keys_folder(), &setup).map_err(NotSetUp::Fault)?;
    let _changing = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
    let old = state::current().ok_or_else(gone)?;
    let Some(settings) = old.settings.as_ref().filter(|_| !is_pinned(&old)) else {
        return Err(NotSetUp::Pinned);
    };
    let mut settings = Settings::clone(settings);
    setup.apply(&mut settings.crm);
    let url = settings.crm.url.clone();
    let fault = |problems: Vec<Problem>| {
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        NotSetUp::Fault(texts.join("; "))
    };
    let mut state = take_over(&old, Arc::new(settings)).map_err(fault)?;
    state.problems.clone_from(&old.problems);
    state.lasting.set_up.store(true, Ordering::Relaxed);
    // An unload that waited in vain for this has gone on.
    if !state::replace(&old, state) {
        return Err(gone());
    }
    accept_variables();
    log::info!("Planfix has sent its address and its key (setup): requests go to {url}");
    Ok(())
}

/// Puts these settings in force, beside what runs.
fn take_over(old: &State, settings: Arc<Settings>) -> Result<State, Vec<Problem>> {
    links::prepare(&settings, &old.lasting);
    change(old, settings)
}

fn end() {
    // Whoever changes the state just now is done in a moment, and not waited for for ever.
    let until = Instant::now() + STOP / 10;
    let _changing = loop {
        match CHANGING.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(1));
            }
            locked => break locked,
        }
    };
    let Some(state) = state::exchange(None) else {
        return;
    };
    if let Some(contacts) = &state.contacts {
        contacts.close();
    }
    let greeted = state.lasting.greetings.end(STOP / 10);
    let followed = state.calls.as_ref().is_none_or(|calls| calls.stop(STOP / 4));
    let delivered = state
        .delivery
        .as_ref()
        .is_none_or(|delivery| delivery.stop(STOP / 4 * 3));
    // It was called off before, so that only what the delivery has called off too can still hold it: a name.
    let asked = state
        .contacts
        .as_ref()
        .is_none_or(|contacts| contacts.join(STOP / 20));
    if !greeted || !followed || !delivered || !asked {
        log::warn!("A thread still waits for the network or the disk and is left behind; it ends by itself");
    }
}

fn register() -> Result<Registrations, RegistrationError> {
    Ok(Registrations {
        subscription: Subscription::channels_and_bridges::<Follower>()?,
        door: HttpRegistration::handler::<Door>()?,
        functions: vec![
            FunctionRegistration::read::<PlanfixEvent>()?,
            FunctionRegistration::read::<CallDuration>()?,
            FunctionRegistration::read::<PlanfixContact>()?,
            FunctionRegistration::read_write::<OpGreetingFunction>()?,
        ],
        applications: ApplicationRegistrations::default()
            .and::<OpGreeting>()?
            .and::<OpGreetingMenu>()?,
        commands: cli::register()?,
        actions: manager::register()?,
        lamps: DeviceStateRegistration::new::<Lamps>()?,
    })
}

/// Channel variables are told of only where analytics fields ask for some: a dialplan sets dozens in each call.
fn accept_variables() {
    let wanted = state::current().is_some_and(|state| {
        let settings = state.settings.as_ref();
        let recorded =
            |settings: &Settings| !tells_of_recordings() && recordings::variable(settings).is_some();
        state.calls.is_some()
            && settings.is_some_and(|settings| !settings.calls.data.is_empty() || recorded(settings))
    });
    let registrations = REGISTRATIONS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(registrations) = registrations.as_ref().filter(|_| wanted) {
        registrations.subscription.accept_variables();
    }
}

/// Why Asterisk finds no file in that folder: it says the same of one that it may not read (main/config.c,
/// `config_text_file_load`).
fn absent(folder: &Path) -> String {
    match File::open(folder.join(FILE)) {
        Err(error) if error.kind() != ErrorKind::NotFound => format!(
            "the file in {} cannot be read by Asterisk's user ({error}): make it his (chown) or his group's (chgrp, chmod 640)",
            folder.display()
        ),
        _ => format!(
            "the file is missing in {}: copy planfix.conf.sample there and set url and token",
            folder.display()
        ),
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
        config::Loaded::Missing => fault(&absent(&paths::config_dir())),
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
                    file: Path::new(&line.file)
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
    if !settings.enabled || settings.awaits_setup() {
        return State {
            settings: Some(settings),
            problems: Vec::new(),
            delivery: None,
            calls: None,
            contacts: None,
            lasting,
        };
    }
    let around = Surroundings {
        folder: paths::spool_dir().join("planfix"),
        threads: Arc::new(AsteriskThreads),
        clock: Arc::new(SystemClock::new()),
    };
    let started = Delivery::start(&settings.crm, &settings.delivery, around).map(Arc::new);
    let followed = started.and_then(|delivery| {
        delivery.treat_recordings(recordings::setup(&settings, &lasting));
        let contacts = ask(&settings, &delivery)?;
        Ok((follow(&settings, &delivery)?, contacts, delivery))
    });
    match followed {
        Ok((calls, contacts, delivery)) => State {
            settings: Some(settings),
            problems: Vec::new(),
            delivery: Some(delivery),
            calls,
            contacts: Some(contacts),
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

/// Who asks the CRM about callers.
fn ask(settings: &Settings, delivery: &Delivery) -> Result<Arc<Contacts>, String> {
    let clock = Arc::new(SystemClock::new());
    let threads = Arc::new(AsteriskThreads);
    Contacts::start(delivery, settings, threads, clock, Box::new(contacts::tell)).map(Arc::new)
}

/// The thread that follows calls, if these settings want one.
fn follow(settings: &Settings, delivery: &Arc<Delivery>) -> Result<Option<Arc<Calls>>, String> {
    match settings.mode {
        Mode::Auto => Calls::start(
            Arc::new(settings.calls.clone()),
            recordings::variable(settings),
            Arc::clone(delivery),
        )
        .map(|calls| Some(Arc::new(calls))),
        Mode::Dialplan => {
            delivery.close_left_open(module::started());
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
        contacts: None,
        lasting,
    }
}

/// Takes new settings over: the delivery goes on with them, is started, or is stopped.
fn change(old: &State, settings: Arc<Settings>) -> Result<State, Vec<Problem>> {
    let lasting = Arc::clone(&old.lasting);
    match (&old.delivery, settings.enabled && !settings.awaits_setup()) {
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
            delivery.treat_recordings(recordings::setup(&settings, &lasting));
            let contacts = match &old.contacts {
                Some(contacts) => {
                    contacts.reconfigure(delivery, &settings).map_err(fault)?;
                    Arc::clone(contacts)
                }
                None => ask(&settings, delivery).map_err(fault)?,
            };
            let calls = match (&old.calls, settings.mode) {
                (Some(calls), Mode::Auto) if !calls.winds_up() => {
                    calls.configure(Arc::new(settings.calls.clone()));
                    calls.record_by(recordings::variable(&settings));
                    Some(Arc::clone(calls))
                }
                (Some(calls), Mode::Dialplan) => {
                    calls.wind_up();
                    Some(Arc::clone(calls))
                }
                (Some(calls), Mode::Auto) => {
                    calls.stop(STOP / 4);
                    follow(&settings, delivery).map_err(fault)?
                }
                (None, _) => follow(&settings, delivery).map_err(fault)?,
            };
            Ok(State {
                settings: Some(settings),
                problems: Vec::new(),
                delivery: Some(Arc::clone(delivery)),
                calls,
                contacts: Some(contacts),
                lasting,
            })
        }
        (Some(delivery), false) => {
            if let Some(contacts) = &old.contacts {
                contacts.close();
                contacts.join(STOP / 20);
            }
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
