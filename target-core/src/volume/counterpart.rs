//! The same volume's logical unit on the peer.

use bytes::Bytes;
use mirror_link::replica::status::LinkState;
use mirror_link::wire::message::{DiskState, MARK_MAX, MarkKind};

use super::MirroredVolume;
use crate::block::{BlockError, Eventually, Io};

/// Where a logical unit tells what it knows besides blocks (reservations, say), so that its counterpart answers hosts as it
/// would on the day it takes over.
pub trait Counterpart: Send + Sync + std::fmt::Debug {
    /// The last of a kind stands. Done when the mirror's mode lets a change be acknowledged; the errors are a write's, and
    /// `NoSpace` where it is more than one mark can hold.
    fn tell(&self, kind: MarkKind, data: Bytes) -> Io<()>;

    /// The peer is connected, and both have on their media everything that this node has done to the group.
    fn is_alike(&self) -> bool;
}

impl Counterpart for MirroredVolume {
    fn tell(&self, kind: MarkKind, data: Bytes) -> Io<()> {
        // A mark too long for the wire never gets there: not telling it must not pass for having told it.
        match data.len() > MARK_MAX {
            true => Eventually::Now(Err(BlockError::NoSpace)),
            false => self.group().mark(self.index(), kind, data),
        }
    }

    fn is_alike(&self) -> bool {
        let status = self.group().status();
        let is_here = status.disk != DiskState::Failed;
        is_here && status.link == LinkState::Established && status.durable_upto >= status.seq
    }
}
