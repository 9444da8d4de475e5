//! Asterisk, made safe. Every `unsafe` of the module is below this directory.
//!
//! Invariants of this floor:
//! - every callback from Asterisk goes through [`guard`]: a panic never leaves Rust, and an unload can wait
//!   for those who are in;
//! - a registration is a value, and dropping it unregisters;
//! - what Asterisk looks up under its lock but uses after it (a function's entry) is never freed: see
//!   `slots`;
//! - a borrowed channel, request or output lives as long as its callback and no longer, and says so in its
//!   lifetime;
//! - what Asterisk allocated is freed by Asterisk, what Asterisk will free was allocated by it;
//! - no text of ours is ever a format, and what comes from outside is cleaned of control characters on its
//!   way out;
//! - there is no policy here: what a callback does is the business of `entry`.

pub mod module;

pub mod guard;
pub mod log;
pub mod paths;
pub mod text;

pub mod acl;
pub mod audio;
pub mod channel;
pub mod child;
pub mod config;
pub mod database;
pub mod local_time;
pub mod originate;
pub mod thread;
pub mod voice;

pub mod registration;
mod slots;

pub mod application;
pub mod cli;
pub mod device_state;
pub mod function;
pub mod http;
pub mod manager;
pub mod stasis;
