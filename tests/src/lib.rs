//! Harness for the scenarios in `tests/tests`.

pub mod initiator;
