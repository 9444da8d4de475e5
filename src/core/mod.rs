//! The pure floor: values and rules, nothing that waits.
//!
//! Invariants of this floor:
//! - no `unsafe`, no FFI, no threads, no globals;
//! - no clock and no randomness of its own: both are arguments;
//! - the same input gives the same output, so every rule here can be tested in microseconds.

#![forbid(unsafe_code)]

pub mod args;
pub mod audio_path;
pub mod backoff;
pub mod bearer;
pub mod contact;
pub mod direction;
pub mod disposition;
pub mod draft;
pub mod durations;
pub mod form;
pub mod gate;
pub mod gauges;
pub mod greeting;
pub mod histogram;
pub mod lanes;
pub mod leap;
pub mod link;
pub mod make_call;
pub mod mask;
pub mod open_card;
pub mod pace;
pub mod pattern;
pub mod phone;
pub mod planfix_event;
pub mod quantity;
pub mod range;
pub mod rate;
pub mod recent;
pub mod record;
pub mod recording;
pub mod refusal;
pub mod reply;
pub mod running;
pub mod secret;
pub mod settings;
pub mod setup;
pub mod table;
pub mod trace;
pub mod tracker;
pub mod trunks;
