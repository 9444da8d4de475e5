//! An Asterisk module that reports calls to the Planfix CRM and loses none.
//!
//! The modules stand in reading order; each uses only those above it.

#[cfg(panic = "abort")]
compile_error!("a panic must unwind to the guard of its callback: build with panic = \"unwind\"");

#[cfg(feature = "module")]
pub mod ast;
pub mod core;
pub mod delivery;
#[cfg(feature = "module")]
pub mod entry;
#[cfg(feature = "module")]
pub mod sys;

#[cfg(feature = "module")]
ast::module::export!(entry::PlanfixModule);
