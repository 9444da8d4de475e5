//! Asterisk's own C names, generated from the headers by `build.rs`.
//!
//! Only `ast` uses this: whoever needs something from here writes the safe form of it there first.

#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals, dead_code)]
#![allow(unreachable_pub, unsafe_op_in_unsafe_fn, unused_qualifications)]
#![allow(clippy::all, clippy::pedantic, clippy::undocumented_unsafe_blocks)]

include!(concat!(env!("OUT_DIR"), "/asterisk.rs"));
