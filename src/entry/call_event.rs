//! The AMI event PlanfixCall: what the CRM is going to be told, as soon as it is accepted.
//!
//! Invariants: no lock of ours is held when an event is told, because Asterisk takes its own; and no channel's thread tells one,
//! because Asterisk wakes every manager session for it (main/manager.c, `__ast_manager_event_multichan`).

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};

use super::threads::AsteriskThreads;
use crate::ast::manager::{Authority, event};
use crate::core::draft::{Draft, Kind};
use crate::delivery::threads::{Thread, Threads};

/// Requests whose events may wait. What finds no room has no event: whoever listens could not keep up.
const WAITING: usize = 4_096;
/// While there is something to tell the thread looks by itself, because waking it costs the channel a system call.
const GLANCE: Duration = Duration::from_millis(10);
/// How long it goes on looking after the last.
const LINGER: Duration = Duration::from_secs(1);

/// AMI's header, the request's field.
const HEADERS: [(&str, &str); 3] = [("Type", "type"), ("Phone", "phone"), ("Diversion", "diversion")];
/// Those that only the end of a call has.
const AT_THE_END: [(&str, &str); 2] = [("Status", "status"), ("Duration", "duration")];

/// Tells of requests that the spool has accepted.
pub(super) fn tell(drafts: &[Draft]) {
    for draft in drafts {
        let more = if draft.kind == Kind::Completed {
            &AT_THE_END[..]
        } else {
            &[]
        };
        let values: Vec<(&str, String)> = HEADERS
            .iter()
            .chain(more)
            .map(|(header, field)| (*header, draft.field(field)))
            .collect();
        let mut headers = vec![
            ("PlanfixEvent", draft.kind.word()),
            ("CallId", &draft.callid),
            ("Exten", &draft.ext),
        ];
        headers.extend(values.iter().map(|(header, value)| (*header, value.as_str())));
        event(Authority::CALL, "PlanfixCall", &headers);
    }
}

/// What one channel reported at once.
type Report = Vec<Draft>;

#[derive(Default)]
struct Running {
    /// `None` before the first event and after the end.
    queue: Option<(Sender<Report>, Box<dyn Thread>)>,
    ended: bool,
}

/// The thread that tells of what channels have reported. It begins with the first event and ends with the unload.
#[derive(Default)]
pub(super) struct Herald(Mutex<Running>);

impl Herald {
    /// Has it told soon. Never waits.
    pub(super) fn tell(&self, drafts: Report) {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if running.ended {
            return;
        }
        if running.queue.is_none() {
            let (sender, queue) = bounded(WAITING);
            let body = Box::new(move || work_off(&queue));
            match AsteriskThreads.spawn("planfix/events", body) {
                Ok(thread) => running.queue = Some((sender, thread)),
                Err(error) => {
                    log::warn!("No thread could be started for AMI's events: {error}");
                    return;
                }
            }
        }
        if let Some((queue, _)) = &running.queue {
            // The events are for whoever watches; the requests themselves are in the spool.
            let _ = queue.try_send(drafts);
        }
    }

    /// Takes no more, and waits until everything is told. False when that hangs.
    pub(super) fn end(&self, within: Duration) -> bool {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        running.ended = true;
        let queue = running.queue.take();
        drop(running);
        queue.is_none_or(|(sender, thread)| {
            drop(sender);
            thread.join(within)
        })
    }
}

fn work_off(queue: &Receiver<Report>) {
    while let Ok(first) = queue.recv() {
        tell(&first);
        let mut last = Instant::now();
        while last.elapsed() < LINGER {
            match queue.try_recv() {
                Ok(drafts) => {
                    tell(&drafts);
                    last = Instant::now();
                }
                Err(TryRecvError::Empty) => std::thread::sleep(GLANCE),
                Err(TryRecvError::Disconnected) => return,
            }
        }
    }
}
