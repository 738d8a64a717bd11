//! One group on one node, decided purely: what is sent, applied, completed and refused, whichever role the node has.
//!
//! ```text
//!   hosts ──► submit ─┐                                        ┌─► local writes, reads
//!   device ─► done  ──┤   handle(now, Input) ─► poll_output() ─┼─► frames on slots
//!   peer ───► message ┤   end_turn(now)  (acks, batched)       ├─► records, spilled writes
//!   operator, timer ──┘   poll_timeout()                       └─► completions, events
//! ```
//!
//! Absent on purpose: sockets, files, clocks, randomness, tasks. `group/` drives this in the daemon, `sim/` on virtual time.

mod activity;
mod alone;
mod applying;
mod aside;
mod caretaker;
mod claim;
mod dirty;
pub mod io;
pub mod journal;
mod lag;
mod lease;
mod lending;
mod local_work;
mod machine;
mod meeting;
mod owner;
mod pace;
pub mod planted;
mod receiver;
pub mod reconcile;
mod records;
mod reign;
mod ring;
pub mod status;
mod stream;
#[cfg(test)]
mod tests;
mod through;
mod verify;
mod waits;
pub mod what_if;

pub use machine::Replica;
