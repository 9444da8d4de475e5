//! Another client of the CRM's: it asks ten times a second, and notes how long each answer takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;

const PACE: Duration = Duration::from_millis(100);
/// An answer that takes longer counts as this long.
pub(crate) const BOUND: Duration = Duration::from_secs(10);

/// When it asked, and how long the answer took; nothing where there was none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) asked: Instant,
    pub(crate) took: Option<Duration>,
}

pub(crate) struct Prober {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Answer>>,
}

impl Prober {
    /// Begins to ask.
    pub(crate) fn start(url: &str, token: &str) -> Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ended);
        let (url, body) = (url.to_owned(), format!("cmd=ping&planfix_token={token}"));
        let thread = std::thread::Builder::new()
            .name("prober".to_owned())
            .spawn(move || ask(&url, &body, &seen))?;
        Ok(Self { ended, thread })
    }

    /// Everything that it has seen.
    pub(crate) fn end(self) -> Result<Vec<Answer>> {
        self.ended.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| anyhow::anyhow!("the prober has panicked"))
    }
}

fn ask(url: &str, body: &str, ended: &AtomicBool) -> Vec<Answer> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(BOUND))
        .build()
        .into();
    let mut answers = Vec::new();
    let mut next = Instant::now();
    while !ended.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let answer = agent
            .post(url)
            .content_type("application/x-www-form-urlencoded")
            .send(body)
            .and_then(|mut answer| answer.body_mut().read_to_string());
        let took = answer.ok().map(|_| asked.elapsed());
        answers.push(Answer { asked, took });
        next += PACE;
        match next.checked_duration_since(Instant::now()) {
            Some(pause) => std::thread::sleep(pause),
            None => next = Instant::now(),
        }
    }
    answers
}
