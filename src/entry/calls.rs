//! The thread that follows calls and tells the CRM of them: `mode = auto`.
//!
//! Invariants:
//! - the stasis callback never waits for it: records go through a bounded queue, and when that is full they are counted as
//!   lost and all channels are looked at anew;
//! - what the tracker has decided goes to the delivery in its order; an end of a call is kept here until it is accepted;
//! - the tracker's lock is held while records are worked on, in portions, and for a look by the console; never across a
//!   submit, a file or anything of Asterisk's that waits.

use std::collections::VecDeque;
use std::ffi::CString;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use super::follow::copy;
use super::recordings::{Take, Takes};
use super::threads::AsteriskThreads;
use super::{call_event, contacts, recordings, state};
use crate::ast::channel::name_caller;
use crate::ast::stasis::{running_channels, tells_of_recordings};
use crate::core::contact::Contact;
use crate::core::draft::Draft;
use crate::core::durations::Micros;
use crate::core::open_card::OpenCard;
use crate::core::record::{Record, What, bare};
use crate::core::recording::News;
use crate::core::settings::{self, Missed};
use crate::core::tracker::{Output, Tracker};
use crate::delivery::question::{Answer, Question};
use crate::delivery::recorder::Recorder;
use crate::delivery::story::Story;
use crate::delivery::threads::{Thread, Threads};
use crate::delivery::{Delivery, Refusal};

/// Records that may wait: some six seconds of 50 calls a second, in 3 MB.
const QUEUE: usize = 8_192;
/// Records that are worked on without a break.
const PORTION: usize = 256;
/// While there is something to do the thread looks by itself, because waking it costs the callback a system call.
const GLANCE: Duration = Duration::from_millis(10);
/// How long it goes on looking after the last record.
const LINGER: Duration = Duration::from_secs(1);
/// For the cards that were left open, before it looks whether it is to end: the spool may be large, or its disk slow.
const OPEN_CARDS: Duration = Duration::from_millis(250);
/// So often it is asked in vain before a word is said.
const PATIENCE: u32 = 40;
/// For whoever starts or ends a recording: the thread needs milliseconds, or the machine is overloaded.
const HAND_OVER: Duration = Duration::from_secs(2);
/// Requests that may wait for a spool that is full or stalled.
const MOST_WAITING: usize = 20_000;

#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are records; what one thread allocates and another frees costs the callback more than the copy"
)]
enum Item {
    Record(Record),
    Configure(Arc<settings::Calls>),
    /// The CRM has said something of whoever calls with this number.
    Contact(Box<str>, Contact),
    /// A recording begins, or ends; and somebody waits for that.
    Recorder(Option<Arc<Recorder>>, Sender<()>),
    /// Calls that begin from now on are told by the dialplan.
    WindUp,
    Stop,
}

/// The thread, and what others share with it.
pub(super) struct Calls {
    queue: Sender<Item>,
    shared: Arc<Shared>,
    thread: Mutex<Option<Box<dyn Thread>>>,
}

struct Shared {
    tracker: Mutex<Tracker>,
    variables: RwLock<Vec<Box<[u8]>>>,
    /// Records count from now on: what came before is seen when all channels are looked at.
    listening: AtomicBool,
    /// The channel variable that names recordings, where they are wanted.
    recorded: RwLock<Option<CString>>,
    lost: AtomicBool,
    winding_up: AtomicBool,
    records: AtomicU64,
    lost_records: AtomicU64,
    lost_requests: AtomicU64,
    /// The recording that was started last, unless the operator stopped it.
    recorder: Mutex<Option<Arc<Recorder>>>,
}

/// How the thread does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Health {
    /// Records that were taken.
    pub(super) records: u64,
    /// Records for which there was no room.
    pub(super) lost_records: u64,
    /// Requests that were never accepted.
    pub(super) lost_requests: u64,
    /// Records that wait.
    pub(super) waiting: usize,
}

impl Calls {
    /// Starts the thread.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(super) fn start(
        settings: Arc<settings::Calls>,
        recorded: Option<CString>,
        delivery: Arc<Delivery>,
    ) -> Result<Self, String> {
        let (queue, items) = bounded(QUEUE);
        let shared = Arc::new(Shared {
            tracker: Mutex::default(),
            variables: RwLock::new(variables(&settings)),
            listening: AtomicBool::new(false),
            recorded: RwLock::new(recorded),
            lost: AtomicBool::new(false),
            winding_up: AtomicBool::new(false),
            records: AtomicU64::new(0),
            lost_records: AtomicU64::new(0),
            lost_requests: AtomicU64::new(0),
            recorder: Mutex::default(),
        });
        let follower = Follower {
            items,
            delivery,
            settings,
            recorder: None,
            waiting: VecDeque::new(),
            takes: Takes::default(),
            ticked: None,
            shared: Arc::clone(&shared),
        };
        let thread = AsteriskThreads
            .spawn("planfix/calls", Box::new(move || follower.run()))
            .map_err(|error| format!("no thread could be started: {error}"))?;
        Ok(Self {
            queue,
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Takes a record, for which one asks while [`Calls::listens`]. Never waits.
    pub(super) fn take(&self, record: Record) {
        if recordings::is_one(&record) && self.shared.recorded().is_none() {
            return;
        }
        match self.queue.try_send(Item::Record(record)) {
            Ok(()) => {
                self.shared.records.fetch_add(1, Ordering::Relaxed);
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.shared.lost_records.fetch_add(1, Ordering::Relaxed);
                self.shared.lost.store(true, Ordering::Release);
            }
        }
    }

    /// The CRM's answer about whoever calls with this number. Never waits: without room it is as if it came too late.
    pub(super) fn knows(&self, number: &str, contact: &Contact) {
        let _ = self.queue.try_send(Item::Contact(number.into(), contact.clone()));
    }

    /// Whether the tracker wants to know of this channel variable.
    pub(super) fn wants(&self, variable: &[u8]) -> bool {
        let variables = self
            .shared
            .variables
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let variable = bare_bytes(variable);
        variables.iter().any(|wanted| **wanted == *variable)
    }

    /// Whether this channel variable tells that something is recorded, because this Asterisk has no message for it.
    pub(super) fn is_told_of_recordings_by(&self, variable: &[u8]) -> bool {
        !tells_of_recordings()
            && self
                .shared
                .recorded()
                .as_ref()
                .is_some_and(|name| bare_bytes(name.to_bytes()) == bare_bytes(variable))
    }

    /// The channel variable that names recordings from now on; `None`: recordings are left alone.
    pub(super) fn record_by(&self, variable: Option<CString>) {
        *self
            .shared
            .recorded
            .write()
            .unwrap_or_else(PoisonError::into_inner) = variable;
    }

    /// The tracker, for a look.
    pub(super) fn tracker(&self) -> MutexGuard<'_, Tracker> {
        self.shared.tracker()
    }

    /// How the thread does.
    pub(super) fn health(&self) -> Health {
        Health {
            records: self.shared.records.load(Ordering::Relaxed),
            lost_records: self.shared.lost_records.load(Ordering::Relaxed),
            lost_requests: self.shared.lost_requests.load(Ordering::Relaxed),
            waiting: self.queue.len(),
        }
    }

    /// New settings, for the calls that begin from now on.
    pub(super) fn configure(&self, settings: Arc<settings::Calls>) {
        *self
            .shared
            .variables
            .write()
            .unwrap_or_else(PoisonError::into_inner) = variables(&settings);
        // It waits for room at most as long as the thread needs for a portion.
        let _ = self
            .queue
            .send_timeout(Item::Configure(settings), Duration::from_secs(1));
    }

    /// Everything that is seen from now on goes to this recording too, all channels that exist before the rest. False when
    /// another one is under way, or the thread cannot be told.
    pub(super) fn record(&self, recorder: Arc<Recorder>) -> bool {
        {
            let mut known = self.shared.recorder();
            if known.as_ref().is_some_and(|known| !known.is_over()) {
                return false;
            }
            *known = Some(Arc::clone(&recorder));
        }
        let begun = self.hand_over(Some(recorder));
        if !begun {
            self.shared.recorder().take();
        }
        begun
    }

    /// Gives the recording to the thread or takes it away, behind everything that was seen before; and waits for it, so that
    /// what happens after the operator's command is in the trace, and what happened before its end too.
    fn hand_over(&self, recorder: Option<Arc<Recorder>>) -> bool {
        let (done, told) = bounded(1);
        let item = Item::Recorder(recorder, done);
        self.queue.send_timeout(item, HAND_OVER).is_ok() && told.recv_timeout(HAND_OVER).is_ok()
    }

    /// The recording that was started last, unless the operator stopped it.
    pub(super) fn recorder(&self) -> Option<Arc<Recorder>> {
        self.shared.recorder().clone()
    }

    /// Lets nothing more go to the recording, and gives it to whoever ends it.
    pub(super) fn take_recorder(&self) -> Option<Arc<Recorder>> {
        let recorder = self.shared.recorder().take()?;
        self.hand_over(None);
        Some(recorder)
    }

    /// Whether anything is followed: not before the thread has begun, nor when the last call has ended after [`Calls::wind_up`].
    pub(super) fn listens(&self) -> bool {
        self.shared.listening.load(Ordering::Acquire)
    }

    /// Leaves the calls that begin from now on to the dialplan, and tells those that are running to their end.
    pub(super) fn wind_up(&self) {
        self.shared.winding_up.store(true, Ordering::Release);
        // Without room in time the thread finds it out by itself.
        let _ = self.queue.send_timeout(Item::WindUp, HAND_OVER);
    }

    /// Whether the last call that was its to tell has ended.
    pub(super) fn is_over(&self) -> bool {
        self.winds_up() && !self.listens()
    }

    /// Whether calls that begin are the dialplan's to tell.
    pub(super) fn winds_up(&self) -> bool {
        self.shared.winding_up.load(Ordering::Acquire)
    }

    /// Whether a running call of that callid is told from here, although the dialplan tells the others.
    pub(super) fn tells(&self, callid: &str) -> bool {
        self.listens() && self.shared.tracker().told().any(|told| **told == *callid)
    }

    /// Lets the thread work off what it was given, and ends it. False when it still runs after that time.
    pub(super) fn stop(&self, within: Duration) -> bool {
        let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return true;
        };
        let until = Instant::now() + within;
        let left = || until.saturating_duration_since(Instant::now());
        let _ = self.queue.send_timeout(Item::Stop, within);
        let ended = thread.join(left());
        let recorder = self.shared.recorder().take();
        let recorded = recorder.is_none_or(|recorder| recorder.stop(left()));
        ended && recorded
    }
}

impl Shared {
    fn recorder(&self) -> MutexGuard<'_, Option<Arc<Recorder>>> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recorded(&self) -> RwLockReadGuard<'_, Option<CString>> {
        self.recorded.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn tracker(&self) -> MutexGuard<'_, Tracker> {
        self.tracker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of a variable that is set, as [`bare`] has it.
fn bare_bytes(variable: &[u8]) -> &[u8] {
    str::from_utf8(variable).map_or(variable, |name| bare(name).as_bytes())
}

fn variables(settings: &settings::Calls) -> Vec<Box<[u8]>> {
    Tracker::variables(settings)
        .map(|name| name.as_bytes().into())
        .collect()
}

/// What the delivery has not accepted yet.
enum Waiting {
    Told(Vec<Draft>),
    Recording(News),
}

/// What runs on the thread.
struct Follower {
    items: Receiver<Item>,
    delivery: Arc<Delivery>,
    settings: Arc<settings::Calls>,
    recorder: Option<Arc<Recorder>>,
    waiting: VecDeque<Waiting>,
    takes: Takes,
    /// When it looked at every call last; `None`: it is to do so now.
    ticked: Option<Instant>,
    shared: Arc<Shared>,
}

impl Follower {
    fn run(mut self) {
        let Some(open) = self.open_cards() else { return };
        *self.shared.tracker() = Tracker::new(Arc::clone(&self.settings), open);
        self.shared.listening.store(true, Ordering::Release);
        self.look_at_all();
        let mut last = Instant::now();
        loop {
            self.pass_on();
            let item = if last.elapsed() < LINGER || !self.waiting.is_empty() {
                std::thread::sleep(GLANCE);
                match self.items.try_recv() {
                    Ok(item) => item,
                    Err(_) => {
                        self.tick();
                        continue;
                    }
                }
            } else {
                match self.items.recv_timeout(LINGER) {
                    Ok(item) => item,
                    Err(RecvTimeoutError::Timeout) => {
                        self.tick();
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            };
            last = Instant::now();
            if self.work(item) {
                self.pass_on();
                return;
            }
            if self.shared.lost.swap(false, Ordering::AcqRel) {
                log::warn!(
                    "Stasis records were lost, because the machine is overloaded; all channels are looked at anew"
                );
                self.look_at_all();
            }
        }
    }

    /// The cards that were left open, as soon as the spool can tell: without them they would never be closed, and those of calls that go
    /// on be shown twice. `None` when it is time to end.
    fn open_cards(&mut self) -> Option<Vec<OpenCard>> {
        let mut asked = 0;
        loop {
            match self.delivery.ask(Question::OpenCards, OPEN_CARDS) {
                Some(Answer::OpenCards(cards)) => return Some(cards),
                Some(_) => return Some(Vec::new()),
                None => asked += 1,
            }
            if asked == PATIENCE {
                log::warn!(
                    "Calls are not followed yet: the spool is still being opened, because its disk is slow; they will be when it is open"
                );
            }
            // Records do not come yet. Whoever records begins with all channels.
            while let Ok(item) = self.items.try_recv() {
                match item {
                    Item::Stop => return None,
                    Item::Configure(settings) => self.settings = settings,
                    Item::Recorder(recorder, done) => {
                        self.recorder = recorder;
                        let _ = done.try_send(());
                    }
                    Item::Record(_) | Item::Contact(..) | Item::WindUp => {}
                }
            }
        }
    }

    /// Works on this item and on what waits behind it. True when it is time to end.
    fn work(&mut self, first: Item) -> bool {
        let mut next = Some(first);
        while let Some(item) = next {
            let shared = Arc::clone(&self.shared);
            let mut tracker = shared.tracker();
            let mut item = Some(item);
            let mut begins = None;
            let mut known = Vec::new();
            let mut recorded = None;
            let mut named = Vec::new();
            for _ in 0..PORTION {
                match item.take().or_else(|| self.items.try_recv().ok()) {
                    // Looking at a channel takes Asterisk's locks, so not under ours.
                    Some(Item::Record(record)) if recordings::is_one(&record) => {
                        recorded = Some(record);
                        break;
                    }
                    Some(Item::Record(record)) => {
                        tracker.record(&record);
                        named.extend(self.takes.follow(&record));
                        if let Some(recorder) = &self.recorder {
                            recorder.offer(Box::new(record));
                        }
                    }
                    Some(Item::Configure(settings)) => {
                        self.reads(&settings);
                        tracker.configure(settings);
                    }
                    Some(Item::Contact(number, contact)) => known.push((number, contact)),
                    // Looking at all channels takes Asterisk's locks, so not under ours.
                    Some(Item::Recorder(Some(recorder), done)) => begins = Some((recorder, done)),
                    Some(Item::Recorder(None, done)) => {
                        self.recorder = None;
                        let _ = done.try_send(());
                    }
                    Some(Item::WindUp) => {
                        tracker.wind_up();
                        self.ticked = None;
                    }
                    Some(Item::Stop) => {
                        tracker.tick(now());
                        return true;
                    }
                    None => break,
                }
            }
            drop(tracker);
            if let Some(record) = recorded {
                self.is_recorded(record);
            }
            named.iter().for_each(Take::name_in_cdr);
            for (number, contact) in known {
                self.knows(&number, &contact);
            }
            self.tick();
            if let Some((recorder, done)) = begins {
                self.begin(recorder);
                let _ = done.try_send(());
            }
            self.pass_on();
            next = self.items.try_recv().ok();
        }
        false
    }

    /// Once a second: it looks at every call.
    fn tick(&mut self) {
        if self.ticked.is_some_and(|ticked| ticked.elapsed() < LINGER) {
            return;
        }
        self.ticked = Some(Instant::now());
        let mut tracker = self.shared.tracker();
        tracker.tick(now());
        if self.shared.winding_up.load(Ordering::Acquire) {
            tracker.wind_up();
            if tracker.told().next().is_none() && self.shared.listening.swap(false, Ordering::AcqRel) {
                log::info!(
                    "The last call that began under mode = auto has ended; the dialplan tells the others"
                );
            }
        }
    }

    /// New settings: a trace holds those of its beginning alone.
    fn reads(&mut self, settings: &Arc<settings::Calls>) {
        if self.settings != *settings
            && let Some(recorder) = self.recorder.take()
        {
            recorder.end("planfix.conf was read again, and [calls] is another; start a new one");
        }
        self.settings = Arc::clone(settings);
    }

    /// Begins a recording with every channel that exists, so that it explains itself.
    fn begin(&mut self, recorder: Arc<Recorder>) {
        all_channels()
            .into_iter()
            .for_each(|record| recorder.offer(Box::new(record)));
        self.recorder = Some(recorder);
    }

    /// Tells the tracker of every channel that exists.
    fn look_at_all(&self) {
        let mut records = vec![Record {
            time: now(),
            what: What::Lost,
        }];
        records.extend(all_channels());
        let variable = self.shared.recorded().clone();
        let recorded: Vec<Record> = variable
            .iter()
            .flat_map(|variable| recordings::of_running(&records, variable))
            .collect();
        records.extend(recorded);
        let mut tracker = self.shared.tracker();
        for record in &records {
            tracker.record(record);
        }
        drop(tracker);
        if let Some(recorder) = &self.recorder {
            records
                .into_iter()
                .for_each(|record| recorder.offer(Box::new(record)));
        }
    }

    /// A channel is recorded: the record gets its path from the channel.
    fn is_recorded(&mut self, record: Record) {
        let variable = self.shared.recorded().clone();
        let Some((record, take)) = variable.and_then(|variable| recordings::with_path(record, &variable))
        else {
            return;
        };
        take.name_in_cdr();
        self.takes.add(take);
        self.shared.tracker().record(&record);
        if let Some(recorder) = &self.recorder {
            recorder.offer(Box::new(record));
        }
    }

    /// The CRM knows who calls with this number, and who is responsible for him.
    fn knows(&mut self, number: &str, contact: &Contact) {
        let responsible = contact
            .responsible(&self.settings.internal)
            .filter(|_| self.settings.missed == Missed::Responsible);
        if let Some(responsible) = responsible {
            let record = Record {
                time: now(),
                what: What::Contact {
                    phone: number.into(),
                    responsible: responsible.into(),
                },
            };
            self.shared.tracker().record(&record);
            if let Some(recorder) = &self.recorder {
                recorder.offer(Box::new(record));
            }
        }
        let settings = state::current().and_then(|state| state.settings.clone());
        if contact.name().is_empty() || !settings.is_some_and(|settings| settings.contact.set_name) {
            return;
        }
        // Finding a channel takes Asterisk's locks, so not under ours.
        let callers: Vec<_> = self.shared.tracker().callers(number).cloned().collect();
        for uniqueid in callers {
            if let (Ok(uniqueid), Ok(name)) = (CString::new(&*uniqueid), CString::new(contact.name())) {
                name_caller(&uniqueid, &name);
            }
        }
    }

    /// Passes on what the tracker has decided.
    fn pass_on(&mut self) {
        let output = self.shared.tracker().take();
        for output in output {
            match output {
                Output::Tell(drafts) => self.waiting.push_back(Waiting::Told(drafts)),
                Output::Recording(news) => self.waiting.push_back(Waiting::Recording(news)),
                Output::Inbound { phone } => {
                    let contact = state::current().and_then(|state| contacts::prefetch(&state, &phone));
                    if let Some(contact) = contact {
                        self.knows(&phone, &contact);
                    }
                }
                Output::Ended {
                    linkedid,
                    channels,
                    text,
                    ..
                } => self.delivery.keep_story(Story {
                    callid: linkedid,
                    channels,
                    ended: now() / 1_000,
                    text,
                }),
            }
        }
        while let Some(waiting) = self.waiting.pop_front() {
            let drafts = match waiting {
                Waiting::Told(drafts) => drafts,
                Waiting::Recording(news) => match self.delivery.submit_recording(news.clone()) {
                    Ok(()) => continue,
                    Err(_) => {
                        self.waiting.push_front(Waiting::Recording(news));
                        break;
                    }
                },
            };
            let Err(refusal) = self.delivery.submit(drafts.clone()) else {
                call_event::tell(&drafts);
                continue;
            };
            let popups = drafts.iter().all(|draft| draft.kind.is_popup());
            if popups && matches!(refusal, Refusal::Full) {
                // A card that cannot be shown is owed: its end brings it along. One end was drawn up already, before the tracker
                // could know of it, when the card was opened and closed within one portion.
                let owed = |draft: &Draft| {
                    let waiting = self.waiting.iter_mut().filter_map(|waiting| match waiting {
                        Waiting::Told(drafts) => Some(drafts),
                        Waiting::Recording(_) => None,
                    });
                    !draft.joins_its_end(waiting)
                };
                let owed: Vec<Draft> = drafts.into_iter().filter(owed).collect();
                self.shared.tracker().refused(&owed);
                continue;
            }
            self.waiting.push_front(Waiting::Told(drafts));
            break;
        }
        while self.waiting.len() > MOST_WAITING {
            let lost = match self.waiting.pop_front() {
                Some(Waiting::Told(drafts)) => drafts.len(),
                Some(Waiting::Recording(_)) | None => 0,
            };
            let before = self
                .shared
                .lost_requests
                .fetch_add(u64::try_from(lost).unwrap_or(0), Ordering::Relaxed);
            if before == 0 {
                log::error!("Events of calls are lost: the spool takes none, see 'planfix show status'");
            }
        }
    }
}

/// Every channel that exists, and that these are all.
fn all_channels() -> Vec<Record> {
    let mut records = Vec::new();
    running_channels(|record| records.extend(copy(&record, |_| false)));
    records.push(Record {
        time: now(),
        what: What::CaughtUp,
    });
    records
}

/// Microseconds since 1970, the clock of stasis' messages.
pub(super) fn now() -> Micros {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        Micros::try_from(since.as_micros()).unwrap_or(Micros::MAX)
    })
}
