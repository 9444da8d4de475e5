//! What operators and reloads ask for.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::sending::card;
use super::{Asked, Control, Dispatcher, stories};
use crate::core::backoff::Backoff;
use crate::core::gate::Millis;
use crate::core::lanes::Parcel;
use crate::core::settings;
use crate::delivery::question::{Answer, Question};
use crate::delivery::spool::{Change, Replay, SpoolError, State};
use crate::delivery::worker::{self, Job};

impl Dispatcher {
    /// Answers what was asked. Events that were accepted before have been taken in.
    pub(super) fn answer_all(&mut self) {
        for Asked {
            question,
            reply,
            until,
        } in std::mem::take(&mut self.asked)
        {
            // After a stall of the disk there may be many of them, from operators who have asked again and again.
            if !question.is_order() && until < Instant::now() {
                continue;
            }
            let answer = self.answer(&question);
            // Whoever asked may have given up waiting.
            let _ = reply.send(answer);
            self.published = 0;
        }
    }

    fn answer(&mut self, question: &Question) -> Answer {
        let now = self.clock.steady();
        self.save(now, true);
        let wall = self.clock.wall();
        if matches!(question, Question::Story(_) | Question::Stories { .. }) {
            self.hear_stories(None, now);
            self.write_stories(now, true);
        }
        let (pending, failed) = (self.pending, self.status.failed);
        let Some(spool) = &mut self.spool else {
            return Answer::Failed("there is no spool".to_owned());
        };
        let answer = match *question {
            Question::Queue { limit } => spool
                .list(None, limit)
                .map(|rows| Answer::Events { rows, total: pending }),
            Question::Failed { limit } => spool
                .list(Some(State::Failed), limit)
                .map(|rows| Answer::Events { rows, total: failed }),
            Question::Delivered { limit } => spool.list(Some(State::Delivered), limit).map(|rows| {
                let total = rows.len() as u64;
                Answer::Events { rows, total }
            }),
            Question::Retry(Some(id)) => spool.retry(id).map(|count| {
                self.waits_again(State::Failed, count);
                Answer::Count(count)
            }),
            Question::Retry(None) => {
                let resending = spool.resend_failed();
                self.begin_resending(resending)
            }
            Question::Drop(id) => match spool.drop_failed(id, wall) {
                Ok(false) => return self.drop_waiting(id, now),
                dropped => dropped.map(|_| {
                    self.status.failed = failed.saturating_sub(1);
                    Answer::Count(1)
                }),
            },
            Question::Replay(Replay::Call(ref callid)) => spool.replay(callid).map(|count| {
                self.waits_again(State::Delivered, count);
                Answer::Count(count)
            }),
            Question::Replay(Replay::Between(ref from, ref to)) => spool
                .resend_between(from, to, wall)
                .and_then(|resending| self.begin_resending(resending)),
            Question::Pause(paused) => spool
                .set_meta("paused", if paused { "yes" } else { "no" })
                .map(|()| Answer::Done),
            Question::Hurry => {
                self.gate.hurry(now);
                Ok(Answer::Done)
            }
            Question::Write => spool
                .set_meta("checked", &wall.to_string())
                .map(|()| Answer::Done),
            Question::OpenCards => Ok(Answer::OpenCards(self.open_cards.list(wall))),
            Question::Story(ref name) => stories::of_call(spool, &self.unsaved, name),
            Question::Stories { limit } => spool.latest_stories(limit).map(Answer::Stories),
        };
        if let Question::Pause(paused) = *question {
            // The order holds for this run even if the disk cannot keep it.
            self.gate.pause(paused);
            self.shared.closed.store(paused, Ordering::SeqCst);
        }
        answer.unwrap_or_else(|error| Answer::Failed(error.to_string()))
    }

    /// Takes a waiting event out of the queue for good. What its call has behind it goes on in its order.
    fn drop_waiting(&mut self, id: u64, now: Millis) -> Answer {
        let held = self.lanes.take(|parcel| parcel.id == id).pop();
        if held.is_none() && self.lanes.contains(id) {
            return Answer::Failed(format!("request {id} is under way to Planfix just now"));
        }
        let found = match held {
            Some(parcel) => Ok(Some(parcel)),
            None => self.beside_lanes(id),
        };
        match found {
            Ok(Some(parcel)) => {
                if parcel.draft.kind.opens() {
                    self.unshown.note(&card(&parcel), ());
                }
                let reason = Some("dropped by the operator".to_owned());
                self.settle(id, State::Dropped, reason, now);
                self.save(now, true);
                Answer::Count(1)
            }
            Ok(None) => Answer::Count(0),
            Err(error) => Answer::Failed(error.to_string()),
        }
    }

    /// A pending event that stands in no lane: on the disk, or in memory until the disk takes it.
    fn beside_lanes(&self, id: u64) -> Result<Option<Arc<Parcel>>, SpoolError> {
        for change in self.unsaved.iter().rev().filter(|change| change.id() == id) {
            match change {
                Change::Settle { .. } => return Ok(None),
                Change::Add(parcel) => return Ok(Some(Arc::clone(parcel))),
                Change::Tried { .. } => {}
            }
        }
        let Some(spool) = &self.spool else { return Ok(None) };
        let rows = spool.pending_after(id.saturating_sub(1), 1)?;
        Ok(rows.into_iter().find(|row| row.id == id).map(Arc::new))
    }

    pub(super) fn reconfigure(&mut self, config: settings::Delivery) {
        let now = self.clock.steady();
        self.gate.reconfigure(config.retry_max, now);
        self.backoff = Backoff::up_to(config.retry_max);
        self.pace.start_over();
        // They tell of the address from before.
        self.turned_away.clear();
        self.lanes.wake_all();
        self.reopen = self.is_in_memory();
        if let Some(spool) = &mut self.spool
            && let Err(error) = spool.set_limit(config.max_spool)
        {
            log::warn!("The spool's limit could not be changed, {error}; it changes with the next start");
        }
        self.config = config;
        self.next_chores = now;
        self.employ();
        self.measure();
    }

    /// As many workers as the settings say.
    pub(super) fn employ(&mut self) {
        while self.hands > self.config.workers {
            self.hands -= 1;
            let _ = self.jobs.send(Job::Retire);
        }
        while self.hands < self.config.workers {
            let (jobs, control, shared, clock) = (
                self.waiting_jobs.clone(),
                self.control.clone(),
                Arc::clone(&self.shared),
                Arc::clone(&self.clock),
            );
            let tell = move |parcel, outcome| control.send(Control::Outcome(parcel, outcome)).is_ok();
            let body = Box::new(move || worker::work(&jobs, &shared, &*clock, &tell));
            match self.threads.spawn_last("planfix/worker", body) {
                Ok(thread) => self.workers.push(thread),
                Err(error) => {
                    log::error!("A worker could not be started, {error}; {} run", self.hands);
                    return;
                }
            }
            self.hands += 1;
        }
    }
}
