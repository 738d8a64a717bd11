//! The logical unit: device server, task set, unit attentions, reservations.
//!
//! ```text
//!            cdb                      Data-Out, if any
//!             │                            │
//!   ItlNexus::prepare ──► Prepared ──► execute ──► CommandComplete
//!             └────────────────────────────────────────▲   (answered at once: sense, conflict, busy)
//! ```
//! Each step consumes the last. Nothing here knows iSCSI; a nexus is an initiator port and a target port.

pub mod attention;
pub mod command;
pub mod copy_manager;
pub mod gate;
pub mod inventory;
pub mod missing;
pub mod nexus;
pub mod options;
pub mod orders;
pub mod persist;
pub mod reservations;
pub mod statistics;
pub mod task_set;

mod answers;
mod background;
mod complaint;
mod copy_end;
mod device_error;
mod itl;
mod media;
mod operation;
mod pages;
mod parameters;
mod patience;
mod port_groups;
mod prepare;
mod prepared;
mod state;
mod twin;
mod unit;

pub use itl::{ItlNexus, Reset};
pub use prepare::Admission;
pub use prepared::Prepared;
pub use unit::{LogicalUnit, UnitError};

#[cfg(test)]
mod tests;
