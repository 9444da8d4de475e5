//! Operators' greetings inside Asterisk.
//!
//! Invariants:
//! - they are there whenever planfix.conf could be read, whether or not calls are reported: callers are greeted without a CRM;
//! - a reload that goes wrong leaves them as they were;
//! - what changes is told by a thread of ours, and no channel's: a device state is asked for anew by whoever hears of the
//!   change, and AMI's event wakes every manager session.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use crossbeam_channel::Receiver;

use super::state;
use super::threads::{AsteriskThreads, NotTaken, OnDemand};
use crate::ast::audio::Audio;
use crate::ast::device_state::{self, DeviceState, DeviceStates};
use crate::ast::manager::{Authority, event};
use crate::ast::thread::Place;
use crate::ast::{database, paths, voice};
use crate::core::greeting::attribute::Change;
use crate::core::greeting::greeting::Sheet;
use crate::core::greeting::kind::Kind;
use crate::core::greeting::operator::Operator;
use crate::core::greeting::selection::Selection;
use crate::core::greeting::sound::Sound;
use crate::core::pattern::Patterns;
use crate::core::settings::greetings::LONGEST;
use crate::core::settings::{Adopt, Settings};
use crate::delivery::clock::{Clock, SystemClock};
use crate::delivery::greetings::{Around, Greetings, News, Setup};

/// The article's family of Asterisk's database: `op_alert/101` is `true` or `false`.
const FLAGS: &str = "op_alert";
/// Changes that may wait to be told. Thousands of operators can be changed by one command.
const WAITING: usize = 16_384;
/// So many in one go, and a rest: Asterisk queues device states for each who listens, warns of more than 500 in one queue
/// (main/taskprocessor.c, `AST_TASKPROCESSOR_HIGH_WATER_LEVEL`) and has SIP calls refused then.
const BURST: usize = 50;
const REST: Duration = Duration::from_millis(20);

/// The greetings of the loaded module.
#[derive(Default)]
pub(super) struct Held {
    running: RwLock<Option<Arc<Greetings>>>,
    /// Why they are not as planfix.conf has them.
    trouble: Mutex<Option<String>>,
    crier: Arc<Crier>,
}

/// The greetings now; `None` while planfix.conf is not in force or their folder cannot be used.
pub(super) fn current() -> Option<Arc<Greetings>> {
    state::current()?.lasting.greetings.running()
}

/// The same, or a sentence that says why there are none.
pub(super) fn available() -> Result<Arc<Greetings>, String> {
    let state = state::current().ok_or("The module is being unloaded")?;
    let held = &state.lasting.greetings;
    held.running().ok_or_else(|| match held.trouble() {
        Some(trouble) => format!("There are no greetings: {trouble}"),
        None => "planfix.conf is not in force: see the command 'planfix check'".to_owned(),
    })
}

impl Held {
    pub(super) fn running(&self) -> Option<Arc<Greetings>> {
        self.running
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Why they are not as planfix.conf has them, if they are not.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Has them as these settings want them. What goes wrong is logged, and concerns nothing but greetings. Returns whose
    /// lamps may be shown as they were before: whoever watched one before the load has an old state of it, and another
    /// folder may know others.
    #[must_use]
    pub(super) fn follow(&self, settings: &Settings) -> BTreeSet<Operator> {
        let setup = setup(settings);
        let folder = setup.folder.display().to_string();
        let before = self.running();
        let mut operators = before.as_deref().map_or_else(BTreeSet::new, operators_of);
        let done = match before {
            Some(greetings) => greetings.reconfigure(setup),
            None => self.start(setup),
        };
        if let Some(greetings) = self.running() {
            operators.extend(operators_of(&greetings));
        }
        if let Err(fault) = &done {
            log::error!(
                "Operators' greetings in {folder}: {fault}; mend it and run 'module reload res_planfix.so'"
            );
        }
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = done.err();
        operators
    }

    /// Has the lamps of these operators shown as they are. Asterisk asks for a lamp's state when it is told of a change, so
    /// [`Lamps`] must be registered.
    pub(super) fn light(&self, operators: BTreeSet<Operator>) {
        let Some(greetings) = self.running() else {
            return;
        };
        for operator in operators {
            self.crier.tell(Told::Lamp(operator, Arc::clone(&greetings)));
        }
    }

    fn start(&self, setup: Setup) -> Result<(), String> {
        let clock = Arc::new(SystemClock::new());
        let around = Arc::new(AsteriskAround {
            crier: Arc::clone(&self.crier),
            clock: Arc::clone(&clock),
        });
        let greetings = Arc::new(Greetings::start(setup, around, &AsteriskThreads, clock)?);
        *self.running.write().unwrap_or_else(PoisonError::into_inner) = Some(greetings);
        Ok(())
    }

    /// Ends them. False when a thread of theirs hangs.
    pub(super) fn end(&self, within: Duration) -> bool {
        let running = self
            .running
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let stopped = running.is_none_or(|greetings| greetings.stop(within / 2));
        let told = self.crier.0.end(within / 2);
        stopped && told
    }
}

fn setup(settings: &Settings) -> Setup {
    let own = &settings.greetings;
    let sounds = paths::data_dir().join("sounds");
    Setup {
        folder: own
            .folder
            .clone()
            .unwrap_or_else(|| paths::spool_dir().join("planfix/greetings")),
        operators: operators(settings).clone(),
        default_language: voice::default_language(),
        adopt: match &own.adopt {
            Adopt::Usual => Some(sounds.join("ru/custom")),
            Adopt::No => None,
            Adopt::Folder(folder) => Some(folder.clone()),
        },
        import_folders: match own.import_folders.as_slice() {
            [] => vec![sounds],
            folders => folders.to_vec(),
        },
        settings: own.clone(),
    }
}

/// Whose numbers may have greetings.
fn operators(settings: &Settings) -> &Patterns {
    settings
        .greetings
        .operators
        .as_ref()
        .unwrap_or(&settings.calls.internal)
}

/// Something to be told.
enum Told {
    /// A greeting has changed, and this is how the operator's lamp is now.
    News(Box<News>, DeviceState),
    /// Somebody may have an old state of an operator's lamp.
    Lamp(Operator, Arc<Greetings>),
}

/// The thread that tells Asterisk of changes.
#[derive(Default)]
struct Crier(OnDemand<Told>);

impl Crier {
    /// Has it told soon. Never waits.
    fn tell(&self, told: Told) {
        match self
            .0
            .bring(told, WAITING, ("planfix/lamps", Place::Behind), work_off)
        {
            Ok(()) => {}
            Err(NotTaken::NoRoom) => log::warn!("A change of a greeting is not told: too many wait already"),
            Err(NotTaken::NoThread(error)) => {
                log::warn!("No thread could be started to tell of a change of a greeting: {error}");
            }
        }
    }
}

fn work_off(queue: &Receiver<Told>) {
    let mut told = 0;
    while let Ok(next) = queue.recv() {
        match next {
            Told::News(news, lamp) => cry(&news, lamp),
            Told::Lamp(operator, greetings) => {
                let lamp = lamp(&greetings.sheet(&operator), greetings.now());
                light(&operator, lamp);
            }
        }
        told = if queue.is_empty() { 0 } else { told + 1 };
        if told == BURST {
            told = 0;
            std::thread::sleep(REST);
        }
    }
}

fn light(operator: &Operator, state: DeviceState) {
    device_state::changed(Lamps::PROVIDER, &format!("{LAMP}{operator}"), state);
}

fn cry(news: &News, lamp: DeviceState) {
    if let Some(operator) = &news.operator {
        light(operator, lamp);
    }
    let operator = news.operator.as_ref().map(ToString::to_string);
    event(
        Authority::CALL,
        "PlanfixGreeting",
        &[
            ("Operator", operator.as_deref().unwrap_or_default()),
            ("Kind", news.kind.map_or("", Kind::word)),
            ("Change", news.change),
            ("By", &news.by),
            ("Enabled", yes(news.sheet.enabled)),
            ("State", news.sheet.presence.word()),
            (
                "Lamp",
                if lamp == DeviceState::InUse {
                    "INUSE"
                } else {
                    "NOT_INUSE"
                },
            ),
        ],
    );
}

pub(super) fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

/// What stands before the operator in the name of his lamp: `Planfix:greeting_101`.
const LAMP: &str = "greeting_";

/// The lamp is on when a caller could hear something of the operator's own now.
fn lamp(sheet: &Sheet, now: u64) -> DeviceState {
    if sheet.is_active(now) {
        DeviceState::InUse
    } else {
        DeviceState::NotInUse
    }
}

/// The device states `Planfix:greeting_…`.
pub(super) struct Lamps;

impl DeviceStates for Lamps {
    const PROVIDER: &'static CStr = c"Planfix";

    fn state(device: &str) -> DeviceState {
        let Some(name) = device.strip_prefix(LAMP) else {
            return DeviceState::Invalid;
        };
        let Some(greetings) = current() else {
            return DeviceState::Unknown;
        };
        match greetings.operator(name.as_bytes()) {
            Ok(operator) => lamp(&greetings.sheet(&operator), greetings.now()),
            Err(_) => DeviceState::Invalid,
        }
    }
}

/// Asterisk, for the greetings.
struct AsteriskAround {
    crier: Arc<Crier>,
    clock: Arc<SystemClock>,
}

impl Around for AsteriskAround {
    fn told(&self, news: &News) {
        let lamp = lamp(&news.sheet, self.clock.wall() / 1_000);
        self.crier.tell(Told::News(Box::new(news.clone()), lamp));
    }

    fn legacy_flags(&self) -> Vec<(String, String)> {
        database::family(FLAGS)
    }

    fn set_legacy_flag(&self, ext: &str, on: bool) {
        if !database::put(FLAGS, ext, if on { "true" } else { "false" }) {
            log::warn!("{FLAGS}/{ext} could not be written to Asterisk's database");
        }
    }

    fn decode(&self, file: &Path) -> Result<Sound, String> {
        let mut audio = Audio::open(file)
            .ok_or_else(|| "Asterisk cannot open it, see the message before this one".to_owned())?;
        let rate = audio.rate();
        // One second more than may be kept, so that the rest can be told to be too long.
        let most = (LONGEST.as_secs() + 1) * u64::from(rate);
        let mut samples = Vec::new();
        loop {
            let bytes = audio
                .read()
                .map_err(|_| "Asterisk cannot decode it: is its codec's module loaded?".to_owned())?;
            samples.extend(
                bytes
                    .chunks_exact(2)
                    .map(|sample| i16::from_ne_bytes([sample[0], sample[1]])),
            );
            if bytes.is_empty() || samples.len() as u64 > most {
                return Ok(Sound { rate, samples });
            }
        }
    }
}

/// What came of a change for several operators.
pub(super) struct Done {
    pub(super) operators: Vec<Operator>,
    /// One sentence for each who was not changed.
    pub(super) refused: Vec<String>,
}

/// Makes the same changes for every one of them.
pub(super) fn change(greetings: &Greetings, operators: Vec<Operator>, changes: &[Change], by: &str) -> Done {
    let mut done = Done {
        operators: Vec::new(),
        refused: Vec::new(),
    };
    for operator in operators {
        match changes
            .iter()
            .try_for_each(|change| greetings.change(&operator, change, by))
        {
            Ok(()) => done.operators.push(operator),
            Err(fault) => done.refused.push(format!("{operator}: {fault}")),
        }
    }
    done
}

/// The operators of whom something is known.
fn operators_of(greetings: &Greetings) -> BTreeSet<Operator> {
    greetings
        .known()
        .into_iter()
        .map(|(operator, _)| operator)
        .collect()
}

/// The operators of whom something is known and who are meant, and those who are named.
pub(super) fn meant(greetings: &Greetings, selection: &Selection) -> Vec<Operator> {
    let known = operators_of(greetings);
    selection.of(&known).into_iter().cloned().collect()
}

/// Deletes what those who are meant have recorded of that kind, or all of it. Who has nothing of it is left alone.
pub(super) fn delete(greetings: &Greetings, selection: &Selection, kind: Option<Kind>, by: &str) -> Done {
    let has = |operator: &Operator| {
        let sheet = greetings.sheet(operator);
        sheet.kinds().any(|of| kind.is_none_or(|kind| kind == of))
    };
    let mut operators = meant(greetings, selection);
    operators.retain(has);
    change(greetings, operators, &[Change::Delete(kind)], by)
}

/// Reads whom a command or an action means.
pub(super) fn selection(text: &str) -> Result<Selection, String> {
    let state = state::current().ok_or("The module is being unloaded")?;
    let settings = state.settings.as_ref();
    let settings = settings.ok_or("planfix.conf is not in force: see the command 'planfix check'")?;
    Selection::parse(text, operators(settings))
}
