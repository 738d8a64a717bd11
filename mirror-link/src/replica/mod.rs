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

pub mod io;
pub mod planted;
pub mod reconcile;
mod replica;
pub mod status;

pub use replica::Replica;
