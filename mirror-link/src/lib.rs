//! Blocks and their mirroring: the vocabulary of blocks ([`extent`], [`block`]) that the whole program shares, and the pair
//! that keeps a volume alike on two nodes.
//!
//! ```text
//!   group/     one group of volumes: drives a replica, its local devices, its records; what a mirrored volume calls
//!   link/      one peer: n connections, UDP heartbeats, authentication; carries any group's frames on any slot
//!   store/     records and spilled writes in files
//!   ───────────────────────────────────────────────── shells above, pure below
//!   replica/   decides: order, completion, roles, resync
//!   peer/      decides: is the peer heard, when and where its connections are made
//!   wire/      frames to bytes and back
//! ```
//!
//! Absent on purpose: SCSI and iSCSI. This crate never learns who asked for a block.

pub mod block;
pub mod config;
pub mod extent;
pub mod group;
pub mod ids;
pub mod link;
pub mod peer;
pub mod replica;
#[cfg(feature = "sim")]
pub mod sim;
pub mod store;
pub mod wire;
