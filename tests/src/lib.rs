//! Harness for the scenarios in `tests/tests`.

pub mod daemon;
pub mod initiator;
pub mod source;
