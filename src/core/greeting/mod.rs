//! What callers hear when an operator does not answer: whose greeting, of which kind, and which one now.
//!
//! Invariant: everything here decides and nothing here touches a file; `delivery::greetings` keeps them.

pub mod arguments;
pub mod attribute;
pub mod choice;
pub mod day;
#[expect(clippy::module_inception, reason = "one noun per file, and this is the noun")]
pub mod greeting;
pub mod kind;
pub mod menu;
pub mod operator;
pub mod phone;
pub mod pin;
pub mod prompt;
pub mod selection;
pub mod sound;
