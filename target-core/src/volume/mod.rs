//! Mirrored volumes: block devices whose changes go through a group, which makes them here and at the peer.
//!
//! ```text
//!   logical unit ──write, zeroes, unmap, flush──► Group ──► local device
//!        │                                          └─────► peer
//!        └──read──► local device ──► Group::may_read ──► host
//! ```
//! Whatever SCSI command it was, its effect comes by here; so both copies get the same effects, and nothing goes around.

mod counterpart;
mod mirrored;

pub use counterpart::Counterpart;
pub use mirrored::MirroredVolume;
