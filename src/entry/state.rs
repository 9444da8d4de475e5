//! What the loaded module holds, as one value that is exchanged whole.
//!
//! Invariant: a callback works with the [`State`] that it took at its beginning; a reload never changes it under its
//! hands.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use super::call_event::Herald;
use super::calls::Calls;
use super::greetings::Held;
use super::http_api::Api;
use super::http_records::Downloads;
use super::http_status::Watchers;
use super::links;
use crate::core::direction::Direction;
use crate::core::durations::Durations;
use crate::core::recent::Recent;
use crate::core::settings::{Problem, Settings};
use crate::delivery::Delivery;
use crate::delivery::contacts::Contacts;
use crate::delivery::link_keys::LinkKeys;

/// Calls whose direction is remembered: an hour of three calls a second.
const REMEMBERED_CALLS: usize = 10_000;

/// Everything.
pub(super) struct State {
    /// The settings in force; `None` when planfix.conf has never been right since the load.
    pub(super) settings: Option<Arc<Settings>>,
    /// What is wrong with planfix.conf as it is now.
    pub(super) problems: Vec<Problem>,
    /// The running delivery; `None` while the module is disabled.
    pub(super) delivery: Option<Arc<Delivery>>,
    /// The thread that follows calls, under `mode = auto`.
    pub(super) calls: Option<Arc<Calls>>,
    /// Who asks the CRM about callers; `None` while the module is disabled.
    pub(super) contacts: Option<Arc<Contacts>>,
    /// What survives a reload.
    pub(super) lasting: Arc<Lasting>,
}

/// What survives a reload.
pub(super) struct Lasting {
    pub(super) directions: Mutex<Recent<Direction>>,
    pub(super) durations: Mutex<Durations>,
    /// What links to recordings are signed with.
    pub(super) link_keys: Arc<LinkKeys>,
    /// Who tells AMI's listeners what channels have reported.
    pub(super) herald: Herald,
    /// Operators' greetings, which have nothing to do with the CRM.
    pub(super) greetings: Held,
    /// Requests from outside.
    pub(super) api: Api,
    /// Address and key of the CRM are those that Planfix has sent by `setup`.
    pub(super) set_up: AtomicBool,
    /// Recordings that are being sent.
    pub(super) downloads: Downloads,
    /// Who asks how the module does.
    pub(super) watchers: Watchers,
    pub(super) loaded: Instant,
    pub(super) queued: AtomicU64,
    pub(super) ignored: AtomicU64,
    pub(super) rejected: AtomicU64,
    /// When a refusal was last written to the log, in milliseconds since `loaded`.
    refusal_logged: AtomicU64,
}

impl Lasting {
    pub(super) fn new() -> Self {
        Self {
            directions: Mutex::new(Recent::new(REMEMBERED_CALLS)),
            durations: Mutex::default(),
            link_keys: Arc::new(LinkKeys::new(&links::keys_folder())),
            herald: Herald::default(),
            greetings: Held::default(),
            api: Api::new(),
            set_up: AtomicBool::new(false),
            downloads: Downloads::default(),
            watchers: Watchers::new(),
            loaded: Instant::now(),
            queued: AtomicU64::new(0),
            ignored: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            refusal_logged: AtomicU64::new(0),
        }
    }

    /// Whether a refusal may be logged now: a full spool refuses every event, and one line in ten seconds says as much.
    pub(super) fn may_log_refusal(&self) -> bool {
        let now = u64::try_from(self.loaded.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        let last = self.refusal_logged.load(Ordering::Relaxed);
        (last == 0 || now >= last + 10_000)
            && self
                .refusal_logged
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

static STATE: RwLock<Option<Arc<State>>> = RwLock::new(None);

/// The state now; `None` outside of load and unload.
pub(super) fn current() -> Option<Arc<State>> {
    STATE.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Puts another state in place and returns the one before.
pub(super) fn exchange(state: Option<Arc<State>>) -> Option<Arc<State>> {
    std::mem::replace(&mut *STATE.write().unwrap_or_else(PoisonError::into_inner), state)
}

/// Puts another state in the place of this one, and tells whether that was still there.
pub(super) fn replace(old: &Arc<State>, state: State) -> bool {
    let mut now = STATE.write().unwrap_or_else(PoisonError::into_inner);
    let is_there = now.as_ref().is_some_and(|now| Arc::ptr_eq(now, old));
    if is_there {
        *now = Some(Arc::new(state));
    }
    is_there
}
