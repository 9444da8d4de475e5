//! The end: what was accepted is written, requests under way get a moment, the others are broken off.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Control, Dispatcher};
use crate::delivery::Accepted;
use crate::delivery::spool::{Change, Spool};
use crate::delivery::worker::Job;

/// Putting an event into the inbox takes a microsecond, unless the machine has no processor for that thread: it took over 100 ms
/// on one with ten times as many threads that run as processors.
const SUBMITTING: Duration = Duration::from_secs(1);

impl Dispatcher {
    /// Writes what was accepted, lets requests end, breaks the others off.
    pub(super) fn end(mut self) {
        let grace = self.stop.unwrap_or_default();
        self.break_resending_off();
        self.keep_the_rest();
        let until = Instant::now() + grace;
        self.hear_out(until);
        self.shared.clients.shutdown();
        self.hear_out(Instant::now() + Duration::from_millis(300));
        self.keep_the_rest();
        self.hear_stories(None, self.clock.steady());
        self.write_stories(self.clock.steady(), true);
        self.write_alive(self.clock.steady());
        if !self.recordings.end() {
            self.shared.left_behind.store(true, Ordering::SeqCst);
            log::warn!("The encoder's thread still waits for the disk and is left behind; it ends by itself");
        }
        for _ in 0..self.hands {
            let _ = self.jobs.send(Job::Retire);
        }
        for worker in std::mem::take(&mut self.workers) {
            if !worker.join(Duration::from_millis(300)) {
                self.shared.left_behind.store(true, Ordering::SeqCst);
                log::warn!("A worker still waits for the network and is left behind; it ends by itself");
            }
        }
        // A thread that was held up in the middle of submitting may have had its event accepted meanwhile.
        self.keep_the_rest();
        self.leave_memory();
        if !self.open_cards.are_written() {
            self.save_open_cards();
        }
        let lost = self.lost_with_this_run();
        if lost > 0 {
            log::error!(
                "{lost} events could not be written to the spool and are lost: {}",
                self.status.spool_trouble
            );
        }
        if let Some(syncer) = self.syncer
            && !syncer.stop(Duration::from_millis(300))
        {
            self.shared.left_behind.store(true, Ordering::SeqCst);
            log::warn!("The disk still confirms the spool and that thread is left behind; it ends by itself");
        }
        if let Some(spool) = self.spool {
            spool.close();
        }
    }

    /// Whoever mends the disk and restarts Asterisk at once does not wait until the spool in memory looks for it again.
    fn leave_memory(&mut self) {
        if !self.is_in_memory() {
            return;
        }
        match Spool::open_at_once(&self.folder, self.config.max_spool, self.clock.wall()) {
            Ok(opened) => {
                self.regained = Some(self.opened(opened));
                self.return_to_disk(self.clock.steady());
            }
            Err(error) => self.status.spool_trouble = error.to_string(),
        }
    }

    /// Events that are nowhere but in memory.
    fn lost_with_this_run(&self) -> u64 {
        let unsaved = self
            .unsaved
            .iter()
            .filter(|change| matches!(change, Change::Add(_)));
        let in_memory = match &self.spool {
            Some(spool) if spool.path().is_none() => spool.totals().map_or(0, |totals| totals.pending),
            _ => 0,
        };
        unsaved.count() as u64 + in_memory
    }

    pub(super) fn keep_the_rest(&mut self) {
        let now = self.clock.steady();
        let until = Instant::now() + SUBMITTING;
        while self.shared.submitting.load(Ordering::SeqCst) > 0 && Instant::now() < until {
            std::thread::yield_now();
        }
        let fresh: Vec<Accepted> = self.accepted.try_iter().collect();
        self.take_in(fresh, now);
        self.next_save = 0;
        self.save(now, true);
    }

    /// Takes the outcomes of the requests that are under way.
    pub(super) fn hear_out(&mut self, until: Instant) {
        while self.lanes.under_way() > 0 {
            match self.orders.recv_deadline(until) {
                Ok(Control::Outcome(parcel, outcome)) => self.outcome(&parcel, outcome),
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }
}
