//! Harness for the scenarios in `tests/tests`.

pub mod bystander;
pub mod daemon;
pub mod foe;
pub mod initiator;
pub mod limits;
pub mod ordeal;
pub mod source;
