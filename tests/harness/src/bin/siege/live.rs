//! Calls that go on now: a card shows up, is accepted and closed, while a million old events wait.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::{Ami, event};

const PACE: Duration = Duration::from_secs(1);
const STEPS: [&str; 3] = [
    "INCOMING,79107654321,102,",
    "ACCEPTED,79107654321,102,",
    "COMPLETED,79107654321,102,",
];

/// A call of this kind.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) callid: String,
    /// When each of its events was accepted, in the order of `STEPS`.
    pub(crate) told: Vec<Instant>,
}

impl Call {
    fn tell(&mut self, ami: &mut Ami) -> Result<()> {
        let end = if self.told.len() == 2 { ",,1,ANSWERED" } else { "" };
        let arguments = format!("{}{}{end}", STEPS[self.told.len()], self.callid);
        let at = Instant::now();
        let answer = event(ami, &arguments)?;
        ensure!(answer == "QUEUED", "{arguments} is {answer}");
        self.told.push(at);
        Ok(())
    }

    pub(crate) fn is_over(&self) -> bool {
        self.told.len() == STEPS.len()
    }
}

/// One new call a second.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) over: Vec<Call>,
    open: VecDeque<Call>,
    next: Option<Instant>,
    count: u64,
}

impl Live {
    /// Tells what is due: each open call goes one step on, and a new one rings.
    pub(crate) fn round(&mut self, ami: &mut Ami) -> Result<()> {
        let now = Instant::now();
        if self.next.is_some_and(|next| now < next) {
            return Ok(());
        }
        self.next = Some(now + PACE);
        self.go_on(ami)?;
        self.count += 1;
        self.ring(ami, format!("live-{}", self.count))
    }

    /// A call that rings from now on.
    pub(crate) fn ring(&mut self, ami: &mut Ami, callid: String) -> Result<()> {
        let mut call = Call {
            callid,
            told: Vec::new(),
        };
        call.tell(ami)?;
        self.open.push_back(call);
        Ok(())
    }

    /// Takes over calls that ring.
    pub(crate) fn adopt(&mut self, others: Self) {
        self.open.extend(others.open);
    }

    /// Every open call ends.
    pub(crate) fn end(&mut self, ami: &mut Ami) -> Result<()> {
        while !self.open.is_empty() {
            self.go_on(ami)?;
        }
        self.next = None;
        Ok(())
    }

    fn go_on(&mut self, ami: &mut Ami) -> Result<()> {
        for mut call in std::mem::take(&mut self.open) {
            call.tell(ami)?;
            if call.is_over() {
                self.over.push(call);
            } else {
                self.open.push_back(call);
            }
        }
        Ok(())
    }
}
