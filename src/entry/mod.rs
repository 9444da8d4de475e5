//! The module as Asterisk sees it: thin callbacks over the floors below.
//!
//! Invariants:
//! - no arithmetic and no I/O here: a callback takes its arguments apart, asks a floor below and puts the answer together;
//! - all state hangs on one place (`state`) and is gone after an unload, because the image stays mapped and `load` may
//!   run in it again.

#![forbid(unsafe_code)]

mod call_event;
mod calls;
mod check;
mod cli;
mod cli_calls;
mod cli_trace;
mod explain;
mod follow;
mod func_call_duration;
mod func_planfix_event;
mod manager;
mod manager_calls;
mod module;
mod report;
mod state;
mod threads;

pub use module::PlanfixModule;
