//! How far the peer is behind, in bytes and in time: what would be lost with this node. Pure.

use std::time::Instant;

use super::owner::Owner;
use crate::config::Policy;
use crate::extent::Extent;
use crate::ids::{VolumeIndex, WriteSeq};
use crate::wire::message::{Position, Range};

impl Owner {
    /// What the peer has applied, and has on its medium.
    pub fn peer_marks(&self) -> (WriteSeq, WriteSeq) {
        (WriteSeq(self.peer.applied_upto), WriteSeq(self.peer.durable_upto))
    }

    pub fn lag_bytes(&self) -> u64 {
        self.ring.lag_bytes + self.dirty.bytes()
    }

    /// The peer has applied all that hosts have their answers to, and all that it lacked before.
    pub fn is_all_applied(&self) -> bool {
        let is_read = self.dirty.is_empty() && self.resync_reads == 0 && self.copies.is_empty();
        self.is_established() && is_read && self.ring.lag_bytes + self.ring.lag_writes == 0
    }

    pub fn position(&self, policy: Policy, now: Instant) -> Position {
        let queued = self.ring.oldest_answered();
        let oldest = queued.into_iter().chain(self.dirty_from).min();
        let age = oldest.map(|oldest| now.saturating_duration_since(oldest));
        let lags = (0..self.volumes.len()).map(|volume| (VolumeIndex(volume as u16), self.lag_bytes_of(volume)));
        Position {
            epoch: self.epoch,
            acknowledged: WriteSeq(self.after),
            lag_bytes: self.lag_bytes(),
            lag_ms: age.map_or(0, |age| age.as_millis() as u64),
            volumes: lags.filter(|(_, bytes)| *bytes > 0).collect(),
            mode: policy.mode,
            on_link_loss: policy.on_link_loss,
            max_stall: policy.max_stall,
            is_by_command: false,
            is_together: false,
        }
    }

    fn lag_bytes_of(&self, volume: usize) -> u64 {
        self.ring.lag_of[volume] + self.dirty.bytes_of(volume)
    }

    /// Writes there have been acknowledged since `from`, or will be.
    pub fn set_dirty(&mut self, volume: VolumeIndex, range: Range, from: Instant) {
        self.is_dirty_from(from);
        let capacity = self.volumes[usize::from(volume.0)].capacity;
        if let Ok(extent) = Extent::new(range.lba, range.blocks, capacity) {
            self.dirty.set(volume, extent);
        }
    }

    pub(super) fn is_dirty_from(&mut self, from: Instant) {
        self.dirty_from = Some(self.dirty_from.map_or(from, |known| known.min(from)));
    }

    /// The peer may lack anything: also what was acknowledged before, but that is as long as we know of it.
    pub(super) fn is_dirty_from_the_start(&mut self) {
        self.is_dirty_from(self.began);
    }

    /// What the map stood for, and the copies read from it, is with the peer.
    pub(super) fn see_clean(&mut self) {
        if self.dirty.is_empty() && self.resync_reads == 0 && self.copies.is_empty() {
            self.dirty_from = None;
        }
    }
}
