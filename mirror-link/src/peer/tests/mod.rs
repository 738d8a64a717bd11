//! Two machines, one thread, virtual time.

mod checker;
mod random;
mod scenarios;
mod world;
