//! A worker: takes a request, makes it, tells how it went.
//!
//! Invariants: it holds one request at a time; it tells the outcome of every request it took, also when making it
//! panicked; while the gate is closed it gives requests back unsent.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use crossbeam_channel::Receiver;

use super::Shared;
use super::clock::Clock;
use crate::core::gate::Millis;
use crate::core::lanes::Parcel;
use crate::core::reply::Trouble;

/// What a worker is given.
#[derive(Debug)]
pub(crate) enum Job {
    /// Make this request.
    Send(Arc<Parcel>),
    /// Make this request although the gate is closed: the probe.
    Probe(Arc<Parcel>),
    /// Go home: there are fewer workers now.
    Retire,
}

/// How a request went.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The CRM has taken it.
    Acknowledged {
        begun: Millis,
    },
    /// It failed; what that tells depends on when it was begun.
    Trouble {
        trouble: Trouble,
        begun: Millis,
    },
    NotSent,
    Panicked,
}

/// A worker's life. `tell` takes each outcome, and says whether anybody still listens.
pub(crate) fn work(
    jobs: &Receiver<Job>,
    shared: &Shared,
    clock: &dyn Clock,
    tell: &dyn Fn(Arc<Parcel>, Outcome) -> bool,
) {
    while let Ok(job) = jobs.recv() {
        let (parcel, probe) = match job {
            Job::Send(parcel) => (parcel, false),
            Job::Probe(parcel) => (parcel, true),
            Job::Retire => return,
        };
        let outcome =
            if shared.stopping.load(Ordering::SeqCst) || (!probe && shared.closed.load(Ordering::SeqCst)) {
                Outcome::NotSent
            } else {
                let begun = clock.steady();
                match catch_unwind(AssertUnwindSafe(|| attempt(&parcel, shared))) {
                    Ok(Ok(())) => Outcome::Acknowledged { begun },
                    Ok(Err(trouble)) => Outcome::Trouble { trouble, begun },
                    Err(_) => Outcome::Panicked,
                }
            };
        if !tell(parcel, outcome) {
            return;
        }
    }
}

fn attempt(parcel: &Parcel, shared: &Shared) -> Result<(), Trouble> {
    let client = shared.clients.current();
    client.send(&parcel.draft.body)?.acknowledged(SystemTime::now())
}
