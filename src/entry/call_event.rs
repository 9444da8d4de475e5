//! The AMI event PlanfixCall: what the CRM is going to be told, as soon as it is accepted.
//!
//! Invariants: no lock of ours is held when an event is told, because Asterisk takes its own; and no channel's thread tells one,
//! because Asterisk wakes every manager session for it (main/manager.c, `__ast_manager_event_multichan`).

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TryRecvError};

use super::threads::{NotTaken, OnDemand};
use crate::ast::manager::{Authority, event};
use crate::ast::thread::Place;
use crate::core::draft::{Draft, Kind};

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

/// The thread that tells of what channels have reported.
#[derive(Default)]
pub(super) struct Herald(OnDemand<Report>);

impl Herald {
    /// Has it told soon. Never waits.
    pub(super) fn tell(&self, drafts: Report) {
        let brought = self
            .0
            .bring(drafts, WAITING, ("planfix/events", Place::Behind), work_off);
        // The events are for whoever watches; the requests themselves are in the spool.
        if let Err(NotTaken::NoThread(error)) = brought {
            log::warn!("No thread could be started for AMI's events: {error}");
        }
    }

    /// Takes no more, and waits until everything is told. False when that hangs.
    pub(super) fn end(&self, within: Duration) -> bool {
        self.0.end(within)
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
