//! The key Enter.

use std::io::stdin;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

/// Gives something when Enter is pressed; never, when there is no standard input.
pub(crate) fn enter() -> Receiver<()> {
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
