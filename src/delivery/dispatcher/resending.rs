//! Orders that concern many events: they are carried out in portions, one a round, and everything else goes on in between.

use super::Dispatcher;
use crate::core::gate::Millis;
use crate::delivery::question::Answer;
use crate::delivery::spool::{Resending, SpoolError, State};

impl Dispatcher {
    /// Takes such an order, and tells how many events go again at once.
    pub(super) fn begin_resending(&mut self, mut resending: Resending) -> Result<Answer, SpoolError> {
        // What was ordered before goes before.
        if self.resending.is_empty() {
            self.resend_portion(&mut resending)?;
            // In memory there is never much, and a file that takes its place has other numbers.
            while self.is_in_memory() && !resending.is_done() {
                self.resend_portion(&mut resending)?;
            }
        }
        let count = resending.count();
        if resending.is_done() {
            return Ok(Answer::Count(count));
        }
        self.resending.push_back(resending);
        Ok(Answer::GoesOn(count))
    }

    /// Whether the next portion can be made pending now.
    pub(super) fn may_resend(&self) -> bool {
        !self.resending.is_empty() && self.status.spool_trouble.is_empty() && self.spool.is_some()
    }

    /// The next portion of what was ordered first.
    pub(super) fn resend(&mut self, now: Millis) {
        if !self.resending.is_empty() && self.is_in_memory() {
            self.resending.clear();
        }
        if !self.may_resend() {
            return;
        }
        let Some(mut resending) = self.resending.pop_front() else {
            return;
        };
        let done = self.resend_portion(&mut resending);
        if done.is_ok() && resending.is_done() {
            log::info!("{} requests wait again, as it was ordered", resending.count());
        } else {
            self.resending.push_front(resending);
        }
        if let Err(error) = done {
            self.spool_failed(&error, now);
        }
    }

    fn resend_portion(&mut self, resending: &mut Resending) -> Result<(), SpoolError> {
        let Some(spool) = &mut self.spool else {
            return Ok(());
        };
        let count = spool.resend(resending)?;
        self.waits_again(resending.state(), count);
        Ok(())
    }

    /// A call gets another event: what goes again of the same call stands before it.
    pub(super) fn resend_before(&mut self, callid: &str, now: Millis) {
        if !self.may_resend() {
            return;
        }
        let mut orders = std::mem::take(&mut self.resending);
        for resending in &mut orders {
            let Some(spool) = &mut self.spool else { break };
            match spool.resend_of_call(resending, callid) {
                Ok(count) => self.waits_again(resending.state(), count),
                Err(error) => {
                    self.spool_failed(&error, now);
                    break;
                }
            }
        }
        self.resending = orders;
    }

    /// So many events that were settled are pending again.
    pub(super) fn waits_again(&mut self, state: State, count: usize) {
        if count == 0 {
            return;
        }
        self.pending += count as u64;
        if state == State::Failed {
            self.status.failed = self.status.failed.saturating_sub(count as u64);
        }
        if let (Some(syncer), Some(spool)) = (&self.syncer, &self.spool)
            && let Some(path) = spool.path()
        {
            syncer.wake(path.to_owned(), spool.log_bytes());
        }
    }

    /// The end comes before everything was done that was ordered.
    pub(super) fn break_resending_off(&mut self) {
        for resending in std::mem::take(&mut self.resending) {
            log::warn!(
                "Sending events again was broken off by the end: {} wait again; give the order once more for the others",
                resending.count()
            );
        }
    }
}
