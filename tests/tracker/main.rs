//! The call tracker against a small PBX of our own: readable scenarios, and random days.

mod crm;
mod interleavings;
mod memory;
mod office;
mod pbx;
mod recordings;
mod scenarios;
