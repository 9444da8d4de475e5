//! Ctrl-C and Enter.
//!
//! Without this, an interrupted demo would end its children but leave their scratch folders.

use std::io::stdin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use anyhow::{Context, Result, ensure};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// Whether the user wants it to end.
pub(crate) struct Interruption(Arc<AtomicBool>);

impl Interruption {
    /// From now on the first signal asks for an end, and the second one ends the program on the spot.
    pub(crate) fn watch() -> Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // In this order: a signal must not find its own mark.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&asked))
                .and_then(|_| flag::register(signal, Arc::clone(&asked)))
                .context("signals cannot be caught")?;
        }
        Ok(Self(asked))
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error once the user wants it to end.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(!self.is_set(), "interrupted");
        Ok(())
    }

    /// Gives something when Enter is pressed; never, when there is no standard input.
    pub(crate) fn enter(&self) -> Receiver<()> {
        let (sender, pressed) = channel();
        thread::spawn(move || {
            let mut line = String::new();
            if stdin().read_line(&mut line).is_ok_and(|length| length > 0) {
                // The receiver is gone only when the program ends anyway.
                let _ = sender.send(());
            }
            // Kept, so that the end of the input does not look like an Enter.
            loop {
                thread::park();
            }
        });
        pressed
    }
}
