//! One group of mirrored volumes in the daemon: drives a replica, its local devices and its records.
//!
//! ```text
//!   hosts' volumes ──► Group ──► Replica (under one short lock; pure, never waits)
//!                        │ outputs, carried out after the lock is let go
//!                        ├─► local devices   ├─► the session's slots   └─► records, spill file
//! ```
//!
//! No task owns the group: whoever brings an input (a host's connection, a slot's reader, a device's completion) takes a
//! [`turn`] and carries out what it leads to. Only the clock and the files have tasks of their own ([`keepers`]), and devices
//! that do not answer at once ([`unfinished`]).

mod api;
mod aside;
mod core;
mod digest;
mod events;
mod keepers;
mod local;
mod ops;
mod restore;
mod start;
#[cfg(test)]
pub(crate) mod tests;
mod turn;
mod unfinished;
mod zeroes;

pub use api::{Group, Observer, PeerSession};
pub use start::GroupError;
