//! Two machines, one thread, virtual time.

mod checker;
mod random;
mod scenarios;
pub(super) mod world;
