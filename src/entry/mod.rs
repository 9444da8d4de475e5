//! The module as Asterisk sees it: thin callbacks over the floors below.
//!
//! Invariants:
//! - no arithmetic and no I/O here: a callback takes its arguments apart, asks a floor below and puts the answer together;
//! - all state hangs on one place (`state`) and is gone after an unload, because the image stays mapped and `load` may
//!   run in it again.

#![forbid(unsafe_code)]

mod app_op_greeting;
mod app_op_greeting_menu;
mod call_event;
mod calls;
mod check;
mod check_greetings;
mod check_http;
mod cli;
mod cli_calls;
mod cli_contact;
mod cli_greetings;
mod cli_links;
mod cli_trace;
mod contacts;
mod errands;
mod explain;
mod follow;
mod func_call_duration;
mod func_op_greeting;
mod func_planfix_contact;
mod func_planfix_event;
mod gauges;
mod greetings;
mod http;
mod http_api;
mod http_records;
mod http_status;
mod links;
mod manager;
mod manager_calls;
mod manager_contact;
mod manager_greetings;
mod module;
mod recordings;
mod report;
mod sentence;
mod state;
mod tally;
mod threads;

pub use module::PlanfixModule;
