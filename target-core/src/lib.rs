//! The SCSI target device: portals, targets, logical units, SCSI commands, backing stores.
//!
//! Imports run downward: `portal` → `target` → `lu` → `scsi`, `volume` → `block`. Absent on purpose: configuration files and the
//! admin interface (they live in `bin`), and the bytes of iSCSI PDUs (they live in `iscsi-proto`).

pub mod block;
pub mod lu;
pub mod mirror;
pub mod portal;
pub mod scsi;
pub mod target;
pub mod volume;

pub use portal::{Applied, ApplyRefused, Daemon, StartError};
