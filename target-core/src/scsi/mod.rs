//! SCSI as the standards write it (SAM-5, SPC-5, SBC-4): pure data and pure functions. No device, no nexus, no lock.

pub mod access;
pub mod alua;
mod asc;
pub mod buffer;
pub mod capacity;
pub mod cdb;
pub mod copy;
pub mod defect;
pub mod designator;
pub mod diagnostic;
pub mod format_unit;
pub mod identifying;
pub mod inquiry;
pub mod lba_status;
pub mod log;
pub mod mode;
pub mod opcodes;
pub mod report_luns;
pub mod request;
pub mod sanitize;
pub mod sense;
pub mod status;
pub mod timestamp;
pub mod transport_id;
pub mod unmap;
pub mod vpd;
