//! The same volume's logical unit on the peer.

use bytes::Bytes;
use mirror_link::wire::message::MarkKind;

use super::MirroredVolume;
use crate::block::{Eventually, Io};

/// Where a logical unit tells what it knows besides blocks (reservations, say), so that its counterpart answers hosts as it
/// would on the day it takes over.
pub trait Counterpart: Send + Sync + std::fmt::Debug {
    /// The last of a kind stands. Done when the mirror's mode lets a change be acknowledged; the errors are a write's.
    fn tell(&self, kind: MarkKind, data: Bytes) -> Io<()>;

    /// The peer is connected, and has applied everything that this node has done to the group.
    fn is_alike(&self) -> bool;
}

impl Counterpart for MirroredVolume {
    fn tell(&self, kind: MarkKind, data: Bytes) -> Io<()> {
        // A mark too long for the wire never gets there: not telling it must not pass for having told it.
        match data.len() > mirror_link::wire::message::MARK_MAX {
            true => Eventually::Now(Err(crate::block::BlockError::NoSpace)),
            false => self.group().mark(self.index(), kind, data),
        }
    }

    fn is_alike(&self) -> bool {
        use mirror_link::replica::status::LinkState;
        let status = self.group().status();
        status.link == LinkState::Established && status.applied_upto >= status.seq
    }
}
