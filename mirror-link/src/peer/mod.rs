//! One peer, decided purely: whether it is heard, when its n connections are made, to which address, and when they are given up.
//!
//! ```text
//!   heartbeat ──► ┌ detector   ─ dead, slow, UDP filtered? ┐ ──► heartbeats to every address
//!   connection ─► │ probation  ─ may they be made again?   │ ──► dial, accept, close a slot
//!   bytes seen ─► │ paths      ─ to which address?         │ ──► session and slots up, down
//!   timer ──────► └ array      ─ an entry a slot           ┘ ──► what the administrator reads
//! ```
//!
//! Absent on purpose: sockets, tasks, frames, groups. `link/` drives this in the daemon.

pub mod array;
mod beats;
mod connecting;
pub mod detector;
pub mod event;
pub mod io;
mod machine;
pub mod paths;
pub mod probation;
mod retry;
mod session;

#[cfg(test)]
mod tests;

pub use machine::Peer;
