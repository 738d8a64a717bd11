//! Blocks and their mirroring. Today: the vocabulary of blocks ([`extent`], [`block`]) that the whole program shares.
//!
//! Absent on purpose: SCSI and iSCSI. This crate never learns who asked for a block.

pub mod block;
pub mod extent;
