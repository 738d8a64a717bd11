//! Two replicas on virtual time, played from one seed: lines that delay, reorder, stall and break, disks that answer out of
//! order and lose their caches, hosts that write over each other, an operator who promotes, also by mistake.
//!
//! ```text
//!   scenario ─► world ─┬─ node × 2: replica, disk, store      driven as group/ drives them
//!   (seed)             ├─ net: sessions of n connections
//!                      ├─ hosts ──────► history ─┐
//!                      └─ operator, troubles     ├─► checkers: a violation, or none
//!                         disks' images, status ─┘
//! ```
//!
//! The checkers know what hosts did and saw, what the disks hold and what the statuses claim; nothing of how a replica works.
//! Absent on purpose: sockets, files, clocks, randomness, threads. One seed is one run, to the last output.

mod checkers;
mod disk;
mod exhaustive;
mod history;
mod hosts;
mod line;
mod net;
mod node;
mod operator;
mod rng;
mod scenario;
mod store;
mod strikes;
mod trace;
mod troubles;
mod turn;
mod world;

pub use checkers::{Checker, Violation};
pub use exhaustive::{Explored, Plan, explore};
pub use rng::Rng;
pub use scenario::{Scenario, Trouble};
pub use strikes::{Kind, Strike, Stroke};
pub use world::{Report, World};

/// Microseconds since the simulation began.
pub type Time = u64;
