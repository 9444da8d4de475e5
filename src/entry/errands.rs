//! What the HTTP server's threads want done and must not wait for: calls to be made, and Planfix's `setup`.
//!
//! Invariants:
//! - one errand after the other, on a thread that begins with the first and ends with the unload;
//! - whoever brings one never waits for room: there is some or there is none.

use std::time::Duration;

use crossbeam_channel::Sender;

use super::module::{self, NotSetUp};
use super::state;
use super::threads::{NotTaken, OnDemand};
use crate::ast::originate::Originate;
use crate::ast::thread::Place;
use crate::core::make_call::{Click, Device, auto_answer};
use crate::core::settings::Callback;
use crate::core::setup::Setup;

/// Errands that may wait. Each takes milliseconds, as nobody waits for a phone here.
const WAITING: usize = 64;

/// Something to be done.
pub(super) enum Errand {
    /// An employee's phone is to be called, and then the number.
    Call(Click, Box<Callback>),
    /// Planfix's address and key are to be kept and put in force, and the outcome told.
    SetUp(Setup, Sender<Result<(), NotSetUp>>),
}

/// The thread, and the way to it.
#[derive(Default)]
pub(super) struct Errands(OnDemand<Errand>);

/// There is no room, or the module is being unloaded.
#[derive(Debug)]
pub(super) struct NoRoom;

impl Errands {
    /// Has it done soon.
    pub(super) fn bring(&self, errand: Errand) -> Result<(), NoRoom> {
        let brought = self
            .0
            .bring(errand, WAITING, ("planfix/errands", Place::Among), |errands| {
                errands.iter().for_each(run);
            });
        brought.map_err(|why| {
            if let NotTaken::NoThread(error) = why {
                log::error!("No thread could be started for what Planfix asks for: {error}");
            }
            NoRoom
        })
    }

    /// Takes no more, and waits for what is under way. False when that hangs.
    pub(super) fn end(&self, within: Duration) -> bool {
        self.0.end(within)
    }
}

fn run(errand: Errand) {
    match errand {
        Errand::Call(click, settings) => call(&click, &settings),
        Errand::SetUp(setup, told) => {
            // Nobody listens any more where the answer took too long; the next status tells all the same.
            let _ = told.send(module::set_up(setup));
        }
    }
}

fn call(click: &Click, settings: &Callback) {
    let device = Device::of(&click.from, settings);
    let variables = if settings.auto_answer {
        auto_answer(&device)
    } else {
        Vec::new()
    };
    let started = Originate {
        technology: &device.technology,
        resource: &device.resource,
        timeout: settings.timeout,
        context: &settings.context,
        exten: &click.to,
        caller: &click.from,
        variables: &variables,
    }
    .start();
    match started {
        Ok(()) => log::debug!("Click-to-call: {} calls {}", click.from, click.to),
        Err(error) => {
            if let Some(state) = state::current() {
                state.lasting.api.note_unreachable();
            }
            log::warn!(
                "Click-to-call: the phone of {} ({}/{}) cannot be called: {error}",
                click.from,
                device.technology,
                device.resource
            );
        }
    }
}
