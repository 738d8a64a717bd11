//! SCSI as the standards write it (SAM-5, SPC-5, SBC-4): pure data and pure functions. No device, no nexus, no lock.

pub mod access;
mod asc;
pub mod cdb;
pub mod copy;
pub mod designator;
pub mod inquiry;
pub mod mode;
pub mod opcodes;
pub mod request;
pub mod sense;
pub mod status;
pub mod transport_id;
pub mod vpd;
