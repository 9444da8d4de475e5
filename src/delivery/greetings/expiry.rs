//! The thread `planfix/greetings`: what has expired goes, and others are told.
//!
//! Invariants:
//! - nobody hears what has expired because the thread is late: whoever chooses looks at the clock (`core::greeting::choice`);
//! - the wall clock may jump: it is looked at once a minute at least;
//! - a count of plays that is not on the disk yet gets there now and then, and at the end.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::exchange::Exchange;
use super::shelf;
use super::{News, Shared};
use crate::core::gate::{Millis, millis};
use crate::core::greeting::kind::{Kind, Presence};
use crate::core::greeting::operator::Operator;

/// The longest that the clock is not looked at.
const LOOK: Duration = Duration::from_secs(60);
/// How often counts are written down: a power cut costs as much.
const COUNTS: Duration = Duration::from_secs(900);

/// What a thread has told already.
#[derive(Default)]
pub(super) struct Told {
    /// Everything up to that second.
    until: u64,
    /// Of whom it was said that his cannot be removed.
    hindered: HashSet<Operator>,
}

impl Shared {
    /// The thread's life.
    pub(super) fn wait_for_ends(&self, woken: &Receiver<()>) {
        let mut told = Told {
            until: self.now(),
            ..Told::default()
        };
        let mut counted: Millis = self.clock.steady();
        while !self.stopping.load(Ordering::SeqCst) {
            let next = self.expire(&mut told);
            if self.clock.steady().saturating_sub(counted) >= millis(COUNTS) {
                counted = self.clock.steady();
                self.write_counts();
            }
            let wait = next.map_or(LOOK, |next| {
                let end = next.saturating_mul(1_000);
                Duration::from_millis(end.saturating_sub(self.clock.wall())).min(LOOK)
            });
            match woken.recv_timeout(wait) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.write_counts();
    }

    /// Ends what has expired. Returns when the next does.
    fn expire(&self, told: &mut Told) -> Option<u64> {
        let now = self.now();
        // It was set back.
        told.until = told.until.min(now);
        let mut next: Option<u64> = None;
        for (operator, sheet) in self.catalogue.known() {
            for (kind, end) in &sheet.expires {
                if *end > now {
                    next = Some(next.map_or(*end, |next| next.min(*end)));
                } else if matches!(kind, Kind::Temp | Kind::Vacation) {
                    self.end(&operator, *kind, told);
                } else if *end > told.until {
                    self.catalogue.at_desk(Some(&operator), |_| {
                        self.tell(Some(&operator), Some(*kind), "expired", "");
                    });
                }
            }
        }
        told.until = now;
        next
    }

    fn end(&self, operator: &Operator, kind: Kind, told: &mut Told) {
        let ended = self.catalogue.at_desk(Some(operator), |desk| {
            // It may have been set anew meanwhile.
            if !self.catalogue.sheet(Some(operator)).is_expired(kind, self.now()) {
                return Ok::<(), String>(());
            }
            let setup = self.setup();
            let mut exchange = Exchange::new(shelf::tmp(&setup.folder));
            let folder = shelf::folder(&setup.folder, Some(operator));
            if kind == Kind::Temp {
                shelf::plan_removal(&mut exchange, &folder, |file| {
                    shelf::is_of(file, |other, _| other == kind)
                })?;
            }
            self.alter(desk, Some(operator), exchange, &|sheet| {
                sheet.expires.remove(&kind);
                if kind == Kind::Temp {
                    sheet.remove(|greeting| greeting.kind == kind);
                } else if sheet.presence == Presence::Vacation {
                    sheet.presence = Presence::Available;
                }
            })?;
            self.tell(Some(operator), Some(kind), "expired", "");
            Ok(())
        });
        match ended {
            Ok(()) => {
                told.hindered.remove(operator);
            }
            // It is tried again every minute, and nobody hears it meanwhile.
            Err(text) => {
                if told.hindered.insert(operator.clone()) {
                    log::error!(
                        "The {} greeting of {operator} has expired and cannot be ended: {}",
                        kind.word(),
                        text
                    );
                }
            }
        }
    }

    /// Tells a change, and how things stand now. At the operator's desk.
    pub(super) fn tell(
        &self,
        operator: Option<&Operator>,
        kind: Option<Kind>,
        change: &'static str,
        by: &str,
    ) {
        let whose = operator.map_or_else(|| "the template".to_owned(), ToString::to_string);
        let of = kind.map_or_else(String::new, |kind| format!(", {}", kind.word()));
        let by_whom = if by.is_empty() {
            String::new()
        } else {
            format!(", by {by}")
        };
        log::info!("Greetings of {whose}: {change}{of}{by_whom}");
        self.around.told(&News {
            operator: operator.cloned(),
            kind,
            change,
            by: by.to_owned(),
            sheet: self.catalogue.sheet(operator),
        });
    }

    /// Writes down how often greetings were played, where that has changed.
    fn write_counts(&self) {
        let known = self.catalogue.known();
        let everybody = known.into_iter().map(|(operator, _)| Some(operator));
        for operator in everybody.chain([None]) {
            let operator = operator.as_ref();
            let written = self.catalogue.at_desk(operator, |desk| {
                let exchange = Exchange::new(shelf::tmp(&self.setup().folder));
                self.alter(desk, operator, exchange, &|_| {}).map(drop)
            });
            if let Err(text) = written {
                log::warn!("How often greetings were played is not written down: {text}");
                return;
            }
        }
    }
}
