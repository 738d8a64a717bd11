//! The logical unit: device server, task set, unit attentions, reservations.
//!
//! ```text
//!            cdb                      Data-Out, if any
//!             │                            │
//!   ItlNexus::prepare ──► Prepared ──► execute ──► CommandComplete
//!             └────────────────────────────────────────▲   (answered at once: sense, conflict, busy)
//! ```
//! Each step consumes the last. Nothing here knows iSCSI; a nexus is an initiator port and a target port.

pub mod command;
pub mod copy_manager;
pub mod nexus;
pub mod persist;
pub mod reservations;
