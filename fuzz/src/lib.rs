//! What is thrown at the core, and what must hold whatever it is.
//!
//! Invariants:
//! - a target is a function of bytes that panics where a promise of the core is broken, and nothing else: the same input gives the
//!   same outcome, and no clock, file or thread is touched;
//! - seeds are made of files that the project has anyway, so they grow with it.
//!
//! libFuzzer runs the targets (`make fuzz`, docs/fuzzing.md), and so does `tests/fuzz.rs` with mutations of its own, which needs
//! nothing but a stable compiler.

#![forbid(unsafe_code)]

use std::path::Path;

mod bytes;
pub mod calls;
mod event;
mod files;
mod greetings;
mod readers;
pub mod seeds;

/// One thing at which bytes are thrown.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Panics where something does not hold.
    pub run: fn(&[u8]),
    /// Inputs that lead into it, from the files below the project's folder.
    pub seeds: fn(&Path) -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 16] = [
    Target {
        name: "form",
        run: readers::form,
        seeds: seeds::forms,
    },
    Target {
        name: "request",
        run: readers::request,
        seeds: seeds::requests,
    },
    Target {
        name: "reply",
        run: readers::reply,
        seeds: seeds::replies,
    },
    Target {
        name: "setup",
        run: readers::setup,
        seeds: seeds::setups,
    },
    Target {
        name: "settings",
        run: readers::settings,
        seeds: seeds::settings,
    },
    Target {
        name: "words",
        run: readers::words,
        seeds: seeds::words,
    },
    Target {
        name: "number",
        run: readers::number,
        seeds: seeds::numbers,
    },
    Target {
        name: "event",
        run: event::event,
        seeds: seeds::events,
    },
    Target {
        name: "greeting",
        run: greetings::greeting,
        seeds: seeds::greetings,
    },
    Target {
        name: "link",
        run: files::link,
        seeds: files::links,
    },
    Target {
        name: "range",
        run: files::range,
        seeds: seeds::ranges,
    },
    Target {
        name: "place",
        run: files::place,
        seeds: seeds::places,
    },
    Target {
        name: "wave",
        run: files::wave,
        seeds: seeds::waves,
    },
    Target {
        name: "mp3",
        run: files::mp3,
        seeds: seeds::mp3s,
    },
    Target {
        name: "trace",
        run: calls::trace,
        seeds: seeds::traces,
    },
    Target {
        name: "tracker",
        run: calls::tracker,
        seeds: seeds::days,
    },
];

/// Throws the input at the target of that name.
pub fn run(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target of this name").run)(input);
}
