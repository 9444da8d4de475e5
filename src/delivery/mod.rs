//! Threads and sockets, in safe Rust: from an accepted event to the CRM's acknowledgement.
//!
//! Invariants:
//! - [`Delivery::submit`] copies and returns: it takes no lock that is held across I/O and waits for nothing;
//! - the spool is written by one thread, the dispatcher; requests are made by the workers;
//! - what is accepted while the delivery is being stopped is written, and what comes later is refused: nothing falls between;
//! - an accepted event reaches the spool before it reaches a worker, unless the disk refuses it, which is said aloud;
//! - [`Delivery::stop`] ends within its deadline whatever the network or the disk does.

#![forbid(unsafe_code)]

pub mod checks;
pub mod client;
mod clients;
pub mod clock;
mod connection;
pub mod contacts;
pub mod dispatcher;
pub mod greetings;
pub mod link_keys;
pub mod links;
pub mod listing;
pub mod names;
pub mod player;
mod private_file;
mod process;
pub mod question;
pub mod recorder;
pub mod recordings;
pub mod served_file;
pub mod setup_file;
pub mod sounds;
pub mod spool;
pub mod status;
pub mod story;
mod syncer;
pub mod threads;
mod worker;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};

use self::client::Client;
use self::clients::Clients;
use self::clock::Clock;
use self::dispatcher::{Asked, Control, Dispatcher};
use self::listing::{List, Listing, OPENING, PROMPT, Published};
use self::names::Names;
use self::question::{Answer, Question};
use self::status::{Room, Status};
use self::story::Story;
use self::threads::{Thread, Threads};
use crate::core::draft::Draft;
use crate::core::gate::Millis;
use crate::core::recording::News;
use crate::core::settings;

/// Calls of the function that may wait for the dispatcher. At 20 events a second and a disk that does not answer at all
/// this is a quarter of an hour.
pub const INBOX: usize = 16_384;

/// A dispatcher that has not listened for so long is held up by the disk.
const STALLED: Duration = Duration::from_secs(1);

/// What the delivery needs from outside.
pub struct Surroundings {
    /// Where the spool lies.
    pub folder: PathBuf,
    /// Who starts threads.
    pub threads: Arc<dyn Threads>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

/// What is accepted together, so that both requests of one END reach the spool or none does.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) drafts: Vec<Draft>,
    /// What became known of a call's recordings before these.
    pub(crate) news: Option<News>,
    pub(crate) wall: u64,
    pub(crate) steady: Millis,
}

/// Why an event was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The disk has not answered for so long that the inbox is full.
    Stalled,
    /// The spool is at its limit.
    Full,
    /// The delivery is being stopped.
    Stopped,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Stalled => "the disk does not answer and the inbox is full",
            Self::Full => "the spool is full: see 'planfix show status', and max_spool in planfix.conf",
            Self::Stopped => "the module is being unloaded or disabled",
        })
    }
}

/// State that both sides read.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) room: AtomicU8,
    pub(crate) closed: AtomicBool,
    pub(crate) stopping: AtomicBool,
    /// Threads that are putting something into the inbox.
    pub(crate) submitting: AtomicUsize,
    /// A thread of the dispatcher's still ran when it ended.
    pub(crate) left_behind: AtomicBool,
    pub(crate) refused: AtomicU64,
    pub(crate) stories_left_out: AtomicU64,
    /// Since when the dispatcher does something else than listen, steady; 0 while it listens.
    pub(crate) busy_since: AtomicU64,
    pub(crate) published: Mutex<Option<Arc<Published>>>,
    pub(crate) status: Mutex<Status>,
    pub(crate) clients: Clients,
}

/// The running delivery.
pub struct Delivery {
    inbox: Sender<Accepted>,
    stories: Sender<Story>,
    control: Sender<Control>,
    shared: Arc<Shared>,
    names: Arc<Names>,
    clock: Arc<dyn Clock>,
    dispatcher: Mutex<Option<Box<dyn Thread>>>,
}

impl Delivery {
    /// Starts the threads. The spool is opened by the dispatcher, so that a large one does not hold the loader up.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn start(
        crm: &settings::Crm,
        config: &settings::Delivery,
        around: Surroundings,
    ) -> Result<Self, String> {
        let Surroundings {
            folder,
            threads,
            clock,
        } = around;
        let no_thread = |error: std::io::Error| format!("no thread could be started: {error}");
        let names = Arc::new(Names::start(&*threads).map_err(no_thread)?);
        let client = match Client::new(crm, config, Arc::clone(&names)) {
            Ok(client) => client,
            Err(error) => {
                names.close();
                names.join(Duration::from_secs(1));
                return Err(error);
            }
        };
        let shared = Arc::new(Shared {
            room: AtomicU8::new(Room::Ample as u8),
            closed: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            submitting: AtomicUsize::new(0),
            left_behind: AtomicBool::new(false),
            refused: AtomicU64::new(0),
            stories_left_out: AtomicU64::new(0),
            busy_since: AtomicU64::new(0),
            published: Mutex::default(),
            status: Mutex::default(),
            clients: Clients::new(client),
        });
        let (inbox, accepted): (_, Receiver<Accepted>) = bounded(INBOX);
        let (stories, told) = bounded(story::WAITING);
        let (control, orders) = unbounded();
        let dispatcher = Dispatcher::new(
            folder,
            config.clone(),
            Arc::clone(&shared),
            (accepted, told, orders, control.clone()),
            Arc::clone(&threads),
            Arc::clone(&clock),
        );
        let thread = threads.spawn("planfix/spool", Box::new(move || dispatcher.run()));
        let thread = match thread {
            Ok(thread) => thread,
            Err(error) => {
                names.close();
                names.join(Duration::from_secs(1));
                return Err(no_thread(error));
            }
        };
        Ok(Self {
            inbox,
            stories,
            control,
            shared,
            names,
            clock,
            dispatcher: Mutex::new(Some(thread)),
        })
    }

    /// Accepts requests: all of them or none. Never waits.
    ///
    /// # Errors
    /// Why they were not accepted; it is counted.
    pub fn submit(&self, drafts: Vec<Draft>) -> Result<(), Refusal> {
        let room = Room::from(self.shared.room.load(Ordering::Relaxed));
        let popups = drafts.iter().all(|draft| draft.kind.is_popup());
        let refusal = if room == Room::Full || (room == Room::Tight && popups) {
            Refusal::Full
        } else {
            let accepted = Accepted {
                drafts,
                news: None,
                wall: self.clock.wall(),
                steady: self.clock.steady(),
            };
            match self.put(accepted) {
                Ok(()) => return Ok(()),
                Err(refusal) => refusal,
            }
        };
        self.shared.refused.fetch_add(1, Ordering::Relaxed);
        Err(refusal)
    }

    /// Takes what became known of a call's recordings, in order with the requests that are submitted. Never waits.
    ///
    /// # Errors
    /// Why it was not accepted; it may be offered again.
    pub fn submit_recording(&self, news: News) -> Result<(), Refusal> {
        let accepted = Accepted {
            drafts: Vec::new(),
            news: Some(news),
            wall: self.clock.wall(),
            steady: self.clock.steady(),
        };
        self.put(accepted)
    }

    /// Into the inbox, unless the delivery is being stopped. Whoever empties the inbox for the last time does so after `stopping`
    /// is set and while nobody is counted here, so that nothing can come after it.
    fn put(&self, accepted: Accepted) -> Result<(), Refusal> {
        self.shared.submitting.fetch_add(1, Ordering::SeqCst);
        let put = if self.shared.stopping.load(Ordering::SeqCst) {
            Err(Refusal::Stopped)
        } else {
            self.inbox.try_send(accepted).map_err(|error| match error {
                TrySendError::Full(_) => Refusal::Stalled,
                TrySendError::Disconnected(_) => Refusal::Stopped,
            })
        };
        self.shared.submitting.fetch_sub(1, Ordering::SeqCst);
        put
    }

    /// How recordings are treated from now on; `None`: they are left alone. Never waits.
    pub fn treat_recordings(&self, setup: Option<recordings::Setup>) {
        // It cannot fail while the dispatcher lives, and without it there is nothing to treat.
        let _ = self.control.send(Control::Recordings(setup.map(Arc::new)));
    }

    /// Tells the ends of all calls whose cards an earlier Asterisk has left open, as soon as the spool is open. Where the spool does
    /// not say whose they are, they are those that were shown before this moment, at which this Asterisk was started. Never waits.
    pub fn close_left_open(&self, started: u64) {
        // It cannot fail while the dispatcher lives, and without it there is nothing to close.
        let _ = self.control.send(Control::CloseLeftOpen(started));
    }

    /// Keeps what explains a call, for a day and where there is room. Never waits; one that finds no room is counted.
    pub fn keep_story(&self, story: Story) {
        if self.stories.try_send(story).is_err() {
            self.shared.stories_left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How things stand, as of the dispatcher's last round.
    #[must_use]
    pub fn status(&self) -> Status {
        let mut status = self
            .shared
            .status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        status.refused = self.shared.refused.load(Ordering::Relaxed);
        status.stories_left_out = self.shared.stories_left_out.load(Ordering::Relaxed);
        status.inbox = self.inbox.len();
        status.now = self.clock.steady();
        status.wall = self.clock.wall();
        let busy_since = self.shared.busy_since.load(Ordering::Relaxed);
        status.stalled = (busy_since > 0)
            .then(|| status.since(busy_since))
            .filter(|busy| *busy > STALLED);
        status
    }

    /// The beginning of a list, of at most `limit` rows. While the disk holds the dispatcher up it is what was published before.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn list(&self, list: List, limit: usize) -> Result<Listing, String> {
        let published = || {
            let published = self.shared.published.lock();
            published.unwrap_or_else(PoisonError::into_inner).clone()
        };
        let within = if published().is_some() { PROMPT } else { OPENING };
        match self.ask(list.question(limit), within) {
            Some(Answer::Events { rows, total }) => {
                return Ok(Listing {
                    rows,
                    total,
                    ..Listing::default()
                });
            }
            Some(Answer::Failed(sentence)) => return Err(sentence),
            _ => {}
        }
        let published =
            published().ok_or("the spool does not answer: it is being opened, or the disk stalls")?;
        let mut listing = published.list(list).clone();
        listing.rows.truncate(limit);
        let age = self.clock.steady().saturating_sub(published.at);
        listing.old = Some(Duration::from_millis(age));
        listing.inbox = self.inbox.len();
        Ok(listing)
    }

    /// Asks the dispatcher something. `None` when it does not answer in time, because the disk does not: an order is carried out
    /// all the same when the disk answers, anything else is forgotten.
    #[must_use]
    pub fn ask(&self, question: Question, within: Duration) -> Option<Answer> {
        let (reply, answer) = bounded(1);
        let until = Instant::now() + within;
        self.control
            .send(Control::Ask(Asked {
                question,
                reply,
                until,
            }))
            .ok()?;
        answer.recv_timeout(within).ok()
    }

    /// A client of its own for `planfix check`, sharing the table of names. It ends with the delivery.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn client(&self, crm: &settings::Crm, config: &settings::Delivery) -> Result<Arc<Client>, String> {
        let client = Client::new(crm, config, Arc::clone(&self.names))?;
        Ok(self.shared.clients.watch(client))
    }

    /// The table of names, for `planfix check`.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Takes new settings over while everything runs. What waits stays.
    ///
    /// # Errors
    /// A sentence for the operator; the old settings hold then.
    pub fn reconfigure(&self, crm: &settings::Crm, config: &settings::Delivery) -> Result<(), String> {
        self.shared
            .clients
            .replace(Client::new(crm, config, Arc::clone(&self.names))?);
        // It cannot fail while the dispatcher lives, and without it there is nothing to configure.
        let _ = self.control.send(Control::Reconfigure(config.clone()));
        Ok(())
    }

    /// Stops everything: what was accepted is written, requests get a moment to end and are then broken off.
    /// False when a thread still hangs in the kernel at the deadline; it is let go and touches nothing of Asterisk's.
    pub fn stop(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        let left = || until.saturating_duration_since(Instant::now());
        let Some(dispatcher) = self
            .dispatcher
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        else {
            return true;
        };
        self.shared.stopping.store(true, Ordering::SeqCst);
        let _ = self.control.send(Control::Stop {
            grace: (within / 4).min(Duration::from_millis(500)),
        });
        let mut ended = dispatcher.join(left());
        self.names.close();
        // getaddrinfo cannot be called off; give it the rest of the time but no less than a moment.
        ended &= self.names.join(left().max(Duration::from_millis(50)));
        ended && !self.shared.left_behind.load(Ordering::SeqCst)
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.stop(Duration::from_secs(2));
    }
}
