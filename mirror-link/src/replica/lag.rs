//! How far the peer is behind, in bytes and in time: what would be lost with this node. Pure.

use std::time::Instant;

use super::owner::{Copied, Owner, Purpose};
use super::status::{GroupStatus, QueueStatus, ResyncStatus};
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
        self.is_established() && self.is_copied() && self.ring.lag_bytes + self.ring.lag_writes == 0
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
            self.excuse(volume, extent);
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
        if self.is_copied() {
            self.dirty_from = None;
        }
    }

    /// Nothing that is dirty is left, nor any copy that the peer has not applied.
    pub(super) fn is_copied(&self) -> bool {
        let is_copy = |copy: &Copied| copy.purpose != Purpose::Verify;
        self.dirty.is_empty() && self.resync_reads == 0 && !self.copies.iter().any(is_copy)
    }

    // For people.

    pub fn tell(&self, status: &mut GroupStatus, policy: Policy, now: Instant) {
        super::status::tell_rpo(status, &self.volumes, &self.position(policy, now), 0.0);
        status.seq = WriteSeq(self.ring.next() - 1);
        status.received_upto = WriteSeq(self.peer.received_upto);
        status.applied_upto = WriteSeq(self.peer.applied_upto);
        status.durable_upto = WriteSeq(self.peer.durable_upto);
        status.queue = QueueStatus {
            writes: self.ring.len() as u64,
            memory_bytes: self.ring.memory_bytes,
            memory_bytes_max: self.bounds.memory,
            spilled_bytes: self.ring.spilled_bytes,
            spilled_bytes_max: self.bounds.spill,
            dirty_bytes: self.dirty.bytes(),
        };
        status.resync = self.resync.map(|resync| {
            let left_bytes = self.dirty.bytes();
            let seconds = now.saturating_duration_since(resync.began).as_secs_f64();
            let done = resync.total_bytes.saturating_sub(left_bytes) as f64;
            let bytes_per_second = if seconds > 0.0 { done / seconds } else { 0.0 };
            let seconds_left = (bytes_per_second > 0.0).then(|| left_bytes as f64 / bytes_per_second);
            let host_latency_goal = self.pace.goal(policy.host_latency).map(|goal| goal.as_secs_f64());
            let (total_bytes, compares) = (resync.total_bytes, self.unknown.is_some());
            ResyncStatus { total_bytes, left_bytes, bytes_per_second, seconds_left, host_latency_goal, compares }
        });
        status.verify = self.verify.as_ref().map(|verify| verify.told(&self.volumes, now));
    }
}
