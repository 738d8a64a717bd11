//! The iSCSI protocol (RFC 7143, RFC 7144), whole and pure: bytes and `now` go in; bytes, events and timeouts come out.
//!
//! Absent on purpose: sockets, clocks, randomness, tasks, SCSI semantics, and anything about mirroring.

pub mod digest;
pub mod framer;
pub mod initiator;
pub mod login;
pub mod pdu;
pub mod serial;
pub mod session;
pub mod text;
pub mod types;
