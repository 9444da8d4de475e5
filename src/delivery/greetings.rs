//! Operators' greetings: kept in files, looked up in memory.
//!
//! Invariants:
//! - whoever looks one up never waits for a disk: all of them are in memory (`catalogue`);
//! - a change is on the disk when it returns without an error, and with one everything is as it was (`exchange`);
//! - changes of one operator are made one after the other, and told in that order; those of others do not wait for them;
//! - what comes from outside is an [`Operator`], a [`Kind`] and a checked language before it becomes a path.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Sender, bounded};

use self::catalogue::{Catalogue, Desk};
use self::exchange::Exchange;
use self::legacy::{Legacy, Look};
use self::notes::Notes;
use self::pin::StoredPin;
use self::shelf::Kept;
use super::clock::Clock;
use super::threads::{Thread, Threads};
use crate::core::greeting::attribute::{self, Attribute, Change};
use crate::core::greeting::choice::{self, Choice, Question, Source};
use crate::core::greeting::greeting::{self, Greeting, Sheet};
use crate::core::greeting::kind::{Kind, Presence};
use crate::core::greeting::operator::Operator;
use crate::core::greeting::pin::{Attempts, acceptable};
use crate::core::greeting::selection::Selection;
use crate::core::greeting::sound::Sound;
use crate::core::pattern::Patterns;
use crate::core::settings;

pub use self::folders::Imported;
pub use self::pin::random_pin;
pub use self::recording::{Draft, Recording};
pub use crate::core::greeting::pin::PinAnswer;

mod catalogue;
mod exchange;
mod expiry;
mod folders;
mod legacy;
mod notes;
mod pin;
mod recording;
mod shelf;

/// Where Asterisk has no default language of its own (DEFAULT_LANGUAGE, include/asterisk/options.h).
const LANGUAGE: &str = "en";

/// How greetings are kept.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where they lie.
    pub folder: PathBuf,
    /// `[greetings]` of planfix.conf.
    pub settings: settings::Greetings,
    /// Who is an operator.
    pub operators: Patterns,
    /// The PBX's language.
    pub default_language: String,
    /// The folder of the article's recordings; `None`: nothing is taken over.
    pub adopt: Option<PathBuf>,
    /// Where the dialplan may import from.
    pub import_folders: Vec<PathBuf>,
}

/// What the greetings need of their surroundings.
pub trait Around: Send + Sync {
    /// Something has changed. One operator's changes are told in their order; it must not change him again.
    fn told(&self, news: &News);

    /// The article's flags in Asterisk's database: number and value.
    fn legacy_flags(&self) -> Vec<(String, String)>;

    /// Sets such a flag.
    fn set_legacy_flag(&self, ext: &str, on: bool);

    /// Reads a sound file of a format that only Asterisk reads. What is longer than
    /// [`LONGEST`](settings::greetings::LONGEST) need not be read to its end.
    ///
    /// # Errors
    /// A sentence; the file is named to whoever gets it.
    fn decode(&self, file: &Path) -> Result<Sound, String>;
}

/// What has changed.
#[derive(Clone, Debug)]
pub struct News {
    /// Whose; `None`: the template.
    pub operator: Option<Operator>,
    /// Which kind, if it is about one.
    pub kind: Option<Kind>,
    /// recorded, deleted, enabled, disabled, state, expires, expired, language, imported or adopted.
    pub change: &'static str,
    /// Who did it; empty: time.
    pub by: String,
    /// How it is now.
    pub sheet: Arc<Sheet>,
}

/// What is played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// The operator has switched his greetings off.
    Disabled,
    /// There is none.
    Nothing,
    /// This one.
    Play {
        /// Whose it is.
        source: Source,
        /// The recording.
        greeting: Greeting,
        /// Where it lies, without extension.
        path: PathBuf,
    },
}

struct Shared {
    setup: RwLock<Arc<Setup>>,
    catalogue: Catalogue,
    legacy: Legacy,
    around: Arc<dyn Around>,
    clock: Arc<dyn Clock>,
    stopping: AtomicBool,
    /// Wakes the thread.
    wake: Sender<()>,
}

/// All greetings.
pub struct Greetings {
    shared: Arc<Shared>,
    thread: Mutex<Option<Box<dyn Thread>>>,
    /// Held by whoever takes new settings over.
    changing: Mutex<()>,
}

impl std::fmt::Debug for Greetings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Greetings")
    }
}

impl Greetings {
    /// Reads what is there, takes over what the article's dialplan has, and starts the thread `planfix/greetings`.
    ///
    /// # Errors
    /// A sentence that names the folder which cannot be used.
    pub fn start(
        setup: Setup,
        around: Arc<dyn Around>,
        threads: &dyn Threads,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, String> {
        shelf::open(&setup.folder)?;
        let (wake, woken) = bounded(1);
        let shared = Arc::new(Shared {
            setup: RwLock::new(Arc::new(setup)),
            catalogue: Catalogue::default(),
            legacy: Legacy::default(),
            around,
            clock,
            stopping: AtomicBool::new(false),
            wake,
        });
        shared.load()?;
        shared.adopt();
        let body = {
            let shared = Arc::clone(&shared);
            Box::new(move || shared.wait_for_ends(&woken))
        };
        let thread = threads
            .spawn("planfix/greetings", body)
            .map_err(|error| format!("no thread could be started: {error}"))?;
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread)),
            changing: Mutex::new(()),
        })
    }

    /// Takes new settings over, and what was done to the files meanwhile.
    ///
    /// # Errors
    /// A sentence that names the folder which cannot be used; the old settings hold then.
    pub fn reconfigure(&self, setup: Setup) -> Result<(), String> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &self.shared;
        let old = shared.setup();
        if old.folder != setup.folder {
            shelf::open(&setup.folder)?;
        }
        *shared.setup.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(setup);
        if let Err(text) = shared.load() {
            *shared.setup.write().unwrap_or_else(PoisonError::into_inner) = old;
            // What was read of the new folder is not known any more; that the old one is there was seen before.
            let _ = shared.load();
            return Err(text);
        }
        shared.adopt();
        shared.wake();
        Ok(())
    }

    /// Ends the thread, which writes down how often greetings were played. False when it still hangs at the deadline.
    pub fn stop(&self, within: Duration) -> bool {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.shared.wake();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        thread.is_none_or(|thread| thread.join(within))
    }

    /// Reads an operator's name.
    ///
    /// # Errors
    /// As [`Operator::parse`].
    pub fn operator(&self, text: &[u8]) -> Result<Operator, String> {
        Operator::parse(text, &self.shared.setup().operators)
    }

    /// What is known of an operator's greetings.
    #[must_use]
    pub fn sheet(&self, operator: &Operator) -> Arc<Sheet> {
        self.shared.catalogue.sheet(Some(operator))
    }

    /// What is known of the templates.
    #[must_use]
    pub fn template(&self) -> Arc<Sheet> {
        self.shared.catalogue.sheet(None)
    }

    /// Every operator of whom something is known, in order.
    #[must_use]
    pub fn known(&self) -> Vec<(Operator, Arc<Sheet>)> {
        self.shared.catalogue.known()
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.shared.now()
    }

    /// The settings that hold now.
    #[must_use]
    pub fn setup(&self) -> Arc<Setup> {
        self.shared.setup()
    }

    /// Where greetings lie.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.shared.setup().folder.clone()
    }

    /// Tries whether a greeting could be saved now.
    ///
    /// # Errors
    /// A sentence that names the file which cannot be written.
    pub fn probe(&self) -> Result<(), String> {
        let folder = self.folder();
        let path = exchange::private_name(&shelf::tmp(&folder));
        let written = exchange::write(&path, &[0; 4_096], UNIX_EPOCH);
        let removed = fs::remove_file(&path);
        written
            .and(removed)
            .map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Where a recording of an operator's, or of the templates, lies: without extension, as Playback wants it.
    #[must_use]
    pub fn path(&self, operator: Option<&Operator>, greeting: &Greeting) -> PathBuf {
        path(&self.shared.setup().folder, operator, greeting)
    }

    /// What a caller hears now.
    #[must_use]
    pub fn choose(&self, operator: &Operator, why: Kind, exact: bool, language: &str) -> Chosen {
        let setup = self.shared.setup();
        let (own, template) = (self.sheet(operator), self.template());
        let question = Question {
            why,
            exact,
            language,
            default_language: &setup.default_language,
            now: self.now(),
        };
        match choice::choose(&own, &template, &question) {
            Choice::Disabled => Chosen::Disabled,
            Choice::Nothing => Chosen::Nothing,
            Choice::Play { source, greeting } => Chosen::Play {
                source,
                greeting: greeting.clone(),
                path: path(&setup.folder, owner(source, operator), greeting),
            },
        }
    }

    /// What OP_GREETING reads.
    #[must_use]
    pub fn read(
        &self,
        operator: &Operator,
        attribute: Attribute,
        kind: Option<Kind>,
        language: &str,
    ) -> String {
        let own = self.sheet(operator);
        // Most of what dialplans ask, and the rest of what is known is not even looked at for it.
        if let Some(value) = attribute::plain_value(attribute, &own, kind) {
            return value;
        }
        let (setup, template) = (self.shared.setup(), self.template());
        let question = Question {
            why: Kind::Default,
            exact: false,
            language,
            default_language: &setup.default_language,
            now: self.now(),
        };
        let path = |source, greeting: &Greeting| {
            let path = path(&setup.folder, owner(source, operator), greeting);
            let text = path.into_os_string().into_string();
            text.unwrap_or_else(|path| path.to_string_lossy().into_owned())
        };
        attribute::value(attribute, &own, &template, kind, &question, &path)
    }

    /// Changes something. It is on the disk when this returns.
    ///
    /// # Errors
    /// A sentence; everything is as it was then.
    pub fn change(&self, operator: &Operator, change: &Change, by: &str) -> Result<(), String> {
        let shared = &self.shared;
        match change {
            Change::Enabled(on) => {
                let told = if *on { "enabled" } else { "disabled" };
                shared.set(operator, None, told, by, &|sheet| sheet.enabled = *on)
            }
            Change::Presence(presence) => {
                let now = shared.now();
                shared.set(operator, None, "state", by, &|sheet| {
                    // Until when he is away is a matter of this vacation, not of the next.
                    if *presence != Presence::Vacation || sheet.is_expired(Kind::Vacation, now) {
                        sheet.expires.remove(&Kind::Vacation);
                    }
                    sheet.presence = *presence;
                })
            }
            Change::Expires(kind, end) => {
                shared.set(operator, Some(*kind), "expires", by, &|sheet| {
                    match end {
                        Some(end) => sheet.expires.insert(*kind, *end),
                        None => sheet.expires.remove(kind),
                    };
                })?;
                shared.wake();
                Ok(())
            }
            Change::Language(kind, language) => shared.relabel(operator, *kind, language, by),
            Change::File(kind, file) => shared.import_permitted(operator, *kind, file, by),
            Change::Delete(kind) => shared.delete(Some(operator), *kind, by),
        }
    }

    /// Begins a recording; `None` while somebody else records for him.
    #[must_use]
    pub fn record(&self, operator: &Operator) -> Option<Recording<'_>> {
        Recording::begin(self, operator)
    }

    /// Counts that a greeting of an operator's, or of the templates, was played.
    pub fn played(&self, operator: Option<&Operator>, greeting: &Greeting) {
        self.shared.catalogue.played(operator, greeting);
    }

    /// Gives an operator a PIN, or takes it. Wrong ones are forgotten.
    ///
    /// # Errors
    /// A sentence without the PIN; the old one holds then.
    pub fn set_pin(&self, operator: &Operator, pin: Option<&str>) -> Result<(), String> {
        let stored = match pin {
            None => None,
            Some(pin) => {
                acceptable(pin)?;
                Some(StoredPin::new(pin)?)
            }
        };
        let shared = &self.shared;
        shared.catalogue.at_desk(Some(operator), |desk| {
            let sheet = shared.catalogue.sheet(Some(operator));
            let has_pin = stored.is_some();
            let notes = Notes::new(&sheet, stored, Attempts::default());
            shared.note(desk, operator, notes)?;
            shared
                .catalogue
                .alter(Some(operator), |sheet| sheet.has_pin = has_pin);
            Ok(())
        })
    }

    /// Tries a PIN. Wrong ones are counted on the disk, so that a restart frees nobody.
    #[must_use]
    pub fn try_pin(&self, operator: &Operator, pin: &str) -> PinAnswer {
        let shared = &self.shared;
        let setup = shared.setup();
        let (most, lock) = (setup.settings.pin_attempts, setup.settings.pin_lock);
        // Two phones at once get no two chances for one.
        shared.catalogue.at_desk(Some(operator), |desk| {
            let now = shared.now();
            let mut attempts = desk.notes.attempts();
            let Some(stored) = desk.notes.pin.clone() else {
                return PinAnswer::NotSet;
            };
            if let Some(seconds) = attempts.locked(now, lock) {
                return PinAnswer::Locked { seconds };
            }
            let answer = if stored.matches(pin) {
                attempts.right();
                PinAnswer::Right
            } else {
                PinAnswer::Wrong {
                    left: attempts.wrong(now, most, lock),
                }
            };
            if attempts != desk.notes.attempts() {
                let sheet = shared.catalogue.sheet(Some(operator));
                let notes = Notes::new(&sheet, Some(stored), attempts);
                if let Err(text) = shared.note(desk, operator, notes.clone()) {
                    log::error!("A wrong PIN of {operator} is counted until the next restart alone: {text}");
                    desk.notes = notes;
                }
            }
            if answer == (PinAnswer::Wrong { left: 0 }) {
                log::warn!(
                    "The PIN of {operator} was wrong {most} times and is locked for {} s",
                    lock.as_secs()
                );
            }
            answer
        })
    }

    /// A file becomes a greeting of an operator's, or a template.
    ///
    /// # Errors
    /// A sentence; the old greeting is as it was.
    pub fn import(
        &self,
        operator: Option<&Operator>,
        kind: Kind,
        language: &str,
        file: &Path,
        by: &str,
    ) -> Result<(), String> {
        self.shared.import(operator, kind, language, file, by)
    }

    /// Imports everything in a folder: an export, or files that are called by an operator's number, such as `101.wav`,
    /// `rec_101.wav` or `101-busy-ru.gsm`.
    ///
    /// # Errors
    /// A sentence, when it holds nothing of that kind or cannot be read.
    pub fn import_folder(&self, folder: &Path, by: &str) -> Result<Imported, String> {
        self.shared.import_folder(folder, by)
    }

    /// Writes the operators who are meant, and the templates, into a new folder. PINs are not exported. Returns how many
    /// operators there were.
    ///
    /// # Errors
    /// A sentence that names the file which cannot be written.
    pub fn export(&self, folder: &Path, which: &Selection) -> Result<usize, String> {
        self.shared.export(folder, which)
    }

    /// Deletes the templates of that kind, or all.
    ///
    /// # Errors
    /// A sentence; everything is as it was then.
    pub fn delete_template(&self, kind: Option<Kind>, by: &str) -> Result<(), String> {
        self.shared.delete(None, kind, by)
    }
}

impl Drop for Greetings {
    fn drop(&mut self) {
        self.stop(Duration::from_secs(2));
    }
}

impl Shared {
    fn setup(&self) -> Arc<Setup> {
        Arc::clone(&self.setup.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn now(&self) -> u64 {
        self.clock.wall() / 1_000
    }

    fn clock_time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.clock.wall())
    }

    fn wake(&self) {
        // When it has been woken already it will look.
        let _ = self.wake.try_send(());
    }

    /// Reads what is on the disk.
    fn load(&self) -> Result<(), String> {
        let setup = self.setup();
        let mut found = Vec::new();
        for (tenant, ext) in shelf::operators(&setup.folder)? {
            match Operator::parse(shelf::operator_name(&tenant, &ext).as_bytes(), &setup.operators) {
                Ok(operator) => found.push(operator),
                Err(fault) => log::debug!("{}: {fault}", setup.folder.display()),
            }
        }
        let gone = self.catalogue.known().into_iter().map(|(operator, _)| operator);
        let gone: Vec<Operator> = gone.filter(|operator| !found.contains(operator)).collect();
        for operator in gone {
            self.catalogue.at_desk(Some(&operator), |desk| {
                *desk = Desk::default();
                self.catalogue.alter(Some(&operator), |sheet| {
                    *sheet = Sheet {
                        locked: sheet.locked,
                        ..Sheet::default()
                    };
                });
            });
        }
        for operator in found.iter().map(Some).chain([None]) {
            self.catalogue.at_desk(operator, |desk| {
                let folder = shelf::folder(&setup.folder, operator);
                let mut read = Sheet {
                    greetings: shelf::load(&folder)?,
                    ..Sheet::default()
                };
                let notes = Notes::read(&folder);
                notes.apply(&mut read);
                desk.notes = notes;
                self.catalogue.alter(operator, |sheet| {
                    read.locked = sheet.locked;
                    for greeting in &mut read.greetings {
                        // Those of the last minutes are not on the disk yet.
                        let counted = sheet.find(greeting.kind, &greeting.language);
                        greeting.plays = greeting.plays.max(counted.map_or(0, |counted| counted.plays));
                    }
                    *sheet = read;
                });
                Ok::<(), String>(())
            })?;
        }
        Ok(())
    }

    /// Changes what is known, first on the disk. At the operator's desk.
    fn alter(
        &self,
        desk: &mut Desk,
        operator: Option<&Operator>,
        exchange: Exchange,
        change: &dyn Fn(&mut Sheet),
    ) -> Result<Arc<Sheet>, String> {
        let setup = self.setup();
        let mut after = (*self.catalogue.sheet(operator)).clone();
        change(&mut after);
        let notes = Notes::new(&after, desk.notes.pin.clone(), desk.notes.attempts());
        let folder = shelf::folder(&setup.folder, operator);
        if !exchange.is_empty() || notes != desk.notes {
            let written = shelf::make_folder(&setup.folder, operator).and_then(|_| {
                exchange.commit(&folder, || {
                    if notes == desk.notes {
                        Ok(false)
                    } else {
                        notes.write(&folder)
                    }
                })
            });
            if operator.is_some() && (written.is_err() || notes == Notes::default()) {
                // It stays when there is anything in it.
                let _ = fs::remove_dir(&folder);
            }
            written?;
        }
        desk.notes = notes;
        let sheet = self.catalogue.alter(operator, change);
        if let Some(operator) = operator {
            self.keep_in_step(&setup, operator, &sheet, Look::Inside);
        }
        Ok(sheet)
    }

    /// Notes something that is no part of what others see. At the operator's desk.
    fn note(&self, desk: &mut Desk, operator: &Operator, notes: Notes) -> Result<(), String> {
        let setup = self.setup();
        let folder = shelf::make_folder(&setup.folder, Some(operator))?;
        let written = notes.write(&folder);
        if written.is_err() || notes == Notes::default() {
            // It stays when there is anything in it.
            let _ = fs::remove_dir(&folder);
        }
        written?;
        desk.notes = notes;
        Ok(())
    }

    /// Changes what is no recording, and tells it if that was a change.
    fn set(
        &self,
        operator: &Operator,
        kind: Option<Kind>,
        told: &'static str,
        by: &str,
        change: &dyn Fn(&mut Sheet),
    ) -> Result<(), String> {
        self.catalogue.at_desk(Some(operator), |desk| {
            let before = self.catalogue.sheet(Some(operator));
            let exchange = Exchange::new(shelf::tmp(&self.setup().folder));
            let after = self.alter(desk, Some(operator), exchange, change)?;
            if before != after {
                self.tell(Some(operator), kind, told, by);
            }
            Ok(())
        })
    }

    /// Keeps a recording in place of the one of its kind and language, unless all together would be longer than `most`.
    fn keep(
        &self,
        operator: Option<&Operator>,
        kept: &Kept,
        most: Option<Duration>,
        told: &'static str,
        by: &str,
        also: &dyn Fn(&mut Sheet),
    ) -> Result<(), String> {
        let kind = kept.greeting.kind;
        self.catalogue.at_desk(operator, |desk| {
            let setup = self.setup();
            let sheet = self.catalogue.sheet(operator);
            let replaced = sheet.find(kind, &kept.greeting.language);
            let others = sheet.total() - replaced.map_or(Duration::ZERO, |replaced| replaced.length);
            let total = others + kept.greeting.length;
            if let Some(most) = most.filter(|most| total > *most) {
                return Err(format!(
                    "all greetings together would last {:.1} s, and max_total in [greetings] is {} s",
                    total.as_secs_f64(),
                    most.as_secs()
                ));
            }
            let mut exchange = Exchange::new(shelf::tmp(&setup.folder));
            kept.plan(&mut exchange, &shelf::folder(&setup.folder, operator))?;
            self.alter(desk, operator, exchange, &|sheet| {
                sheet.put(kept.greeting.clone());
                sheet.enabled = true;
                // When the old one was to end says nothing about the new one. A vacation's end is the operator's.
                if kind != Kind::Vacation {
                    sheet.expires.remove(&kind);
                }
                also(sheet);
            })?;
            self.tell(operator, Some(kind), told, by);
            Ok(())
        })
    }

    fn delete(&self, operator: Option<&Operator>, kind: Option<Kind>, by: &str) -> Result<(), String> {
        let is_meant = |other: Kind| kind.is_none_or(|kind| kind == other);
        self.catalogue.at_desk(operator, |desk| {
            let setup = self.setup();
            let mut exchange = Exchange::new(shelf::tmp(&setup.folder));
            shelf::plan_removal(&mut exchange, &shelf::folder(&setup.folder, operator), |file| {
                shelf::is_of(file, |kind, _| is_meant(kind))
            })?;
            let before = self.catalogue.sheet(operator);
            let after = self.alter(desk, operator, exchange, &|sheet| {
                sheet.remove(|greeting| is_meant(greeting.kind));
                sheet
                    .expires
                    .retain(|kind, _| *kind == Kind::Vacation || !is_meant(*kind));
            })?;
            if before != after {
                self.tell(operator, kind, "deleted", by);
            }
            Ok(())
        })
    }

    /// The recording of a kind, the last one if there are several, is in another language.
    fn relabel(&self, operator: &Operator, kind: Kind, language: &str, by: &str) -> Result<(), String> {
        let language = greeting::language(language)?;
        self.catalogue.at_desk(Some(operator), |desk| {
            let setup = self.setup();
            let sheet = self.catalogue.sheet(Some(operator));
            let Some(old) = sheet.best(kind, "", "") else {
                return Err(format!("{operator} has no {} greeting", kind.word()));
            };
            if old.language == language {
                return Ok(());
            }
            if sheet.find(kind, language).is_some() {
                return Err(format!(
                    "{operator} has a {} greeting in {language} already",
                    kind.word()
                ));
            }
            let folder = shelf::folder(&setup.folder, Some(operator));
            let kept = Kept::read(&folder, old)?.renamed(language);
            let mut exchange = Exchange::new(shelf::tmp(&setup.folder));
            kept.plan(&mut exchange, &folder)?;
            shelf::plan_removal(&mut exchange, &folder, |file| {
                shelf::is_of(file, |other, spoken| other == kind && spoken == old.language)
            })?;
            self.alter(desk, Some(operator), exchange, &|sheet| {
                sheet.remove(|greeting| greeting.kind == kind && greeting.language == old.language);
                sheet.put(kept.greeting.clone());
            })?;
            self.tell(Some(operator), Some(kind), "language", by);
            Ok(())
        })
    }
}

/// Whose recording it is.
fn owner(source: Source, operator: &Operator) -> Option<&Operator> {
    match source {
        Source::Own => Some(operator),
        Source::Template => None,
    }
}

fn path(folder: &Path, operator: Option<&Operator>, greeting: &Greeting) -> PathBuf {
    let mut path = shelf::folder(folder, operator);
    path.push(shelf::name(greeting.kind, &greeting.language));
    path
}

/// The language of a recording; where none is given, the PBX's.
fn spoken(setup: &Setup, language: &str) -> Result<String, String> {
    let given = [language, &setup.default_language, LANGUAGE]
        .into_iter()
        .find(|language| !language.is_empty());
    greeting::language(given.unwrap_or(LANGUAGE)).map(str::to_owned)
}
