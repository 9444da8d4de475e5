//! The thread that owns the spool and decides what goes when.
//!
//! Invariants:
//! - every change of the spool goes through `unsaved`, in order, and is written in groups; an event is given to a worker
//!   only after its group is on the disk, except while the disk refuses (then it is delivered from memory, and said so);
//! - in memory lies a window of the pending events, never all of them; `cursor` is the number up to which everything
//!   pending has been read, and what lies beyond it in memory is known to the lanes by its number;
//! - an event of a call never overtakes an older one of the same call, wherever either of them lies.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, select, unbounded};

mod chores;
mod ending;
mod intake;
mod keeping;
mod listing;
mod orders;
mod recordings;
mod resending;
mod sending;
mod stories;

use self::recordings::Recordings;
use super::clock::Clock;
use super::question::{Answer, Question};
use super::recordings::{Outcome as Treated, Setup};
use super::spool::{Change, Resending, Spool};
use super::status::Status;
use super::story::Story;
use super::syncer::Syncer;
use super::threads::{Thread, Threads};
use super::worker::{Job, Outcome};
use super::{Accepted, Shared, process};
use crate::core::backoff::Backoff;
use crate::core::gate::{Condition, Gate, Millis, Permission};
use crate::core::lanes::{Lanes, Parcel};
use crate::core::leap::Leap;
use crate::core::open_card::OpenCards;
use crate::core::pace::Pace;
use crate::core::recent::Recent;
use crate::core::settings;

/// Pending events that lie in memory.
const WINDOW: usize = 4_096;
/// Changes in one transaction, so that a burst does not make one commit slow.
const GROUP: usize = 1_024;
/// After an event the thread looks at the inbox this often instead of sleeping on it: a channel's thread that finds
/// nobody asleep has nobody to wake, and waking costs it more than everything else together.
const GLANCE: Duration = Duration::from_millis(2);
/// For so long after the last event.
const LINGER: Millis = 1_000;
/// Settled events may wait this long for their group, because losing them costs a repetition only.
const SETTLE_WAIT: Millis = 20;
/// Rows that one round of housekeeping touches.
const CHORE: usize = 2_000;
/// Cards known not to have been shown.
const UNSHOWN: usize = 10_000;

/// What the dispatcher is told.
#[derive(Debug)]
pub(crate) enum Control {
    /// A request went this way.
    Outcome(Arc<Parcel>, Outcome),
    /// An operator asks.
    Ask(Asked),
    /// This Asterisk was started at this moment, milliseconds since 1970: cards of an earlier one have no living channel.
    CloseLeftOpen(u64),
    /// How recordings are treated from now on.
    Recordings(Option<Arc<Setup>>),
    /// What became of a recording.
    Treated(u64, Treated),
    /// New settings; the client was exchanged already.
    Reconfigure(settings::Delivery),
    /// The end. Requests under way get so much time.
    Stop { grace: Duration },
}

/// What an operator asks.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) question: Question,
    pub(crate) reply: Sender<Answer>,
    /// He waits until then.
    pub(crate) until: Instant,
}

type Ears = (
    Receiver<Accepted>,
    Receiver<Story>,
    Receiver<Control>,
    Sender<Control>,
);

pub(crate) struct Dispatcher {
    folder: PathBuf,
    config: settings::Delivery,
    shared: Arc<Shared>,
    accepted: Receiver<Accepted>,
    told: Receiver<Story>,
    orders: Receiver<Control>,
    control: Sender<Control>,
    threads: Arc<dyn Threads>,
    clock: Arc<dyn Clock>,
    jobs: Sender<Job>,
    waiting_jobs: Receiver<Job>,
    workers: Vec<Box<dyn Thread>>,
    hands: usize,
    spool: Option<Spool>,
    syncer: Option<Syncer>,
    lanes: Lanes,
    gate: Gate,
    pace: Pace,
    backoff: Backoff,
    unsaved: Vec<Change>,
    unsaved_since: Millis,
    recordings: Recordings,
    leap: Leap,
    open_cards: OpenCards,
    cards_wait: bool,
    /// The last write found no room, whatever the spool's own limit is.
    disk_is_full: bool,
    /// The operator was told that another program keeps the log long.
    log_told: bool,
    dead_before: Option<u64>,
    process: Option<String>,
    /// Whether the spool says that its cards are this process's.
    process_written: bool,
    /// Whether those that the spool had when it was opened are an earlier one's; `None` where it does not say.
    inherited_from_earlier: Option<bool>,
    look_for_dead: bool,
    alive_written: Millis,
    stories: Vec<Story>,
    stories_since: Millis,
    asked: Vec<Asked>,
    cursor: u64,
    chore_cursor: u64,
    pending: u64,
    next_save: Millis,
    next_chores: Millis,
    linger_until: Millis,
    published: Millis,
    /// What the lists held that were published, and when that was.
    listed: Option<listing::Counts>,
    listed_at: Millis,
    /// Tries that failed.
    tried: u64,
    unshown: Recent<()>,
    /// Pending events for which the address was wrong, and when the last such request was begun.
    turned_away: HashMap<u64, Millis>,
    /// What is being sent again in portions, in the order in which it was ordered.
    resending: VecDeque<Resending>,
    refused_since_warning: u64,
    next_refused_warning: Millis,
    reopen: bool,
    /// The file that takes the place of the spool in memory as soon as nothing is under way.
    regained: Option<Spool>,
    next_reopen: Millis,
    /// The first number that the spool in memory has given; those below are of the file that it stands in for.
    memory_from: u64,
    stop: Option<Duration>,
    status: Status,
}

impl Dispatcher {
    pub(super) fn new(
        folder: PathBuf,
        config: settings::Delivery,
        shared: Arc<Shared>,
        (accepted, told, orders, control): Ears,
        threads: Arc<dyn Threads>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (jobs, waiting_jobs) = unbounded();
        Self {
            gate: Gate::new(config.retry_max, false),
            pace: Pace::default(),
            backoff: Backoff::up_to(config.retry_max),
            folder,
            config,
            shared,
            accepted,
            told,
            orders,
            control,
            threads,
            clock,
            jobs,
            waiting_jobs,
            workers: Vec::new(),
            hands: 0,
            spool: None,
            syncer: None,
            lanes: Lanes::default(),
            unsaved: Vec::new(),
            unsaved_since: 0,
            recordings: Recordings::default(),
            leap: Leap::default(),
            open_cards: OpenCards::default(),
            cards_wait: false,
            disk_is_full: false,
            log_told: false,
            dead_before: None,
            process: process::name(),
            process_written: false,
            inherited_from_earlier: None,
            look_for_dead: false,
            alive_written: 0,
            stories: Vec::new(),
            stories_since: 0,
            asked: Vec::new(),
            cursor: 0,
            chore_cursor: 0,
            pending: 0,
            next_save: 0,
            next_chores: 0,
            linger_until: 0,
            published: 0,
            listed: None,
            listed_at: 0,
            tried: 0,
            unshown: Recent::new(UNSHOWN),
            turned_away: HashMap::new(),
            resending: VecDeque::new(),
            refused_since_warning: 0,
            next_refused_warning: 0,
            reopen: false,
            regained: None,
            next_reopen: 0,
            memory_from: 1,
            stop: None,
            status: Status::default(),
        }
    }

    /// The thread's life.
    pub(super) fn run(mut self) {
        self.is_busy();
        self.open();
        self.sync();
        self.employ();
        while self.stop.is_none() {
            if catch_unwind(AssertUnwindSafe(|| self.round())).is_err() {
                self.status.panics += 1;
                log::error!(
                    "The dispatcher caught a panic and goes on; please report the message before this one"
                );
                // A fault that repeats must not become a busy loop.
                let _ = self
                    .orders
                    .recv_timeout(Duration::from_millis(100))
                    .map(|order| self.obey(order));
            }
        }
        self.end();
    }

    fn round(&mut self) {
        let now = self.clock.steady();
        let wait = self.wait(now);
        self.publish(now, wait);
        self.publish_lists(now);
        let fresh = self.listen(wait, now);
        let now = self.clock.steady();
        self.accept(fresh, now);
        self.close_dead(now);
        self.treat_recordings(now);
        self.answer_all();
        self.resend(now);
        self.load(now);
        self.chores(now);
        self.hand_out(now);
        self.write_stories(now, false);
    }

    /// How long nothing needs doing unless somebody says something. What is due counts only where this round could do it: else
    /// the thread would run in circles until it can.
    fn wait(&self, now: Millis) -> Duration {
        let mut until = self.next_chores;
        if self.may_resend() {
            return Duration::ZERO;
        }
        until = until.min(self.lists_due(now).unwrap_or(until));
        if self.spool.is_some() {
            until = until.min(self.recordings.due().unwrap_or(until));
            if !self.unsaved.is_empty() {
                let due = self.unsaved_since + SETTLE_WAIT;
                until = until.min(if self.status.spool_trouble.is_empty() {
                    due
                } else {
                    due.max(self.next_save)
                });
            }
        }
        if !self.stories.is_empty() {
            until = until.min(self.stories_due());
        }
        match self.gate.permission(now) {
            Permission::All if self.has_place() => {
                until = until.min(self.lanes.next_wake().unwrap_or(until));
                until = until.min(self.next_turn().unwrap_or(until));
            }
            Permission::Wait(Some(moment)) if !self.lanes.is_empty() => until = until.min(moment),
            Permission::All | Permission::Wait(_) | Permission::Probe => {}
        }
        Duration::from_millis(until.saturating_sub(now))
    }

    /// Waits for events and orders; obeys the orders and returns the events.
    fn listen(&mut self, wait: Duration, now: Millis) -> Vec<Accepted> {
        let (mut fresh, mut told) = (Vec::new(), None);
        self.shared.busy_since.store(0, Ordering::Relaxed);
        let order = if now < self.linger_until {
            self.orders.recv_timeout(wait.min(GLANCE)).ok()
        } else {
            select! {
                recv(self.accepted) -> accepted => { fresh.extend(accepted); None }
                recv(self.told) -> story => { told = story.ok(); None }
                recv(self.orders) -> order => order.ok(),
                default(wait) => None,
            }
        };
        self.is_busy();
        self.hear_stories(told, now);
        if let Some(order) = order {
            self.obey(order);
        }
        for _ in 0..GROUP {
            let Ok(order) = self.orders.try_recv() else { break };
            self.obey(order);
        }
        fresh.extend(self.accepted.try_iter().take(GROUP));
        if !fresh.is_empty() {
            self.linger_until = self.clock.steady() + LINGER;
        }
        fresh
    }

    /// From now on it does not listen.
    fn is_busy(&self) {
        self.shared
            .busy_since
            .store(self.clock.steady(), Ordering::Relaxed);
    }

    fn obey(&mut self, order: Control) {
        match order {
            Control::Outcome(parcel, outcome) => self.outcome(&parcel, outcome),
            Control::Ask(asked) => self.asked.push(asked),
            Control::CloseLeftOpen(started) => {
                (self.dead_before, self.look_for_dead) = (Some(started), true);
            }
            Control::Recordings(setup) => self.set_up_recordings(setup),
            Control::Treated(id, outcome) => self.treated(id, outcome),
            Control::Reconfigure(config) => self.reconfigure(config),
            Control::Stop { grace } => self.stop = Some(grace),
        }
    }

    fn publish(&mut self, now: Millis, wait: Duration) {
        if wait < Duration::from_millis(5) && now < self.published + 50 {
            return;
        }
        self.published = now;
        let (condition, since) = self.gate.condition();
        self.status.condition = condition;
        self.status.condition_since = since;
        self.status.next_try = match self.gate.permission(now) {
            Permission::Wait(moment) if condition != Condition::Open => moment,
            _ => None,
        };
        self.status.paused = self.gate.is_paused();
        self.status.pending = self.pending;
        if self.pending == 0 {
            self.status.oldest = None;
        }
        self.status.under_way = self.lanes.under_way();
        self.status.workers = self.hands;
        if let Some(syncer) = &self.syncer {
            self.status.slowest_sync = syncer.slowest();
        }
        self.status.spool_limit = self.config.max_spool;
        self.status.recordings = self.recordings.status();
        self.shared
            .status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone_from(&self.status);
    }
}
