//! What hosts wait for, and for how long: reads behind writes that a failover would undo, writes that the peer does not
//! acknowledge, the end of a reign. Pure.

use std::time::Instant;

use super::io::{HostOp, Output};
use super::owner::{Active, Context, Copied, Local, Owner, Purpose, WaitingRead};
use super::planted::Fault;
use crate::block::BlockError;
use crate::config::{Mode, Policy};
use crate::extent::{BlockCount, Extent, Lba};
use crate::ids::VolumeIndex;

impl Owner {
    // Reads.

    /// No write that a failover would undo overlaps it.
    pub fn may_read(&self, policy: Policy, volume: VolumeIndex, extent: Extent) -> bool {
        !self.is_through() && (policy.mode == Mode::Async || self.alone || !self.holding(volume, extent).any(|_| true))
    }

    fn holding(&self, volume: VolumeIndex, extent: Extent) -> impl Iterator<Item = u64> {
        let (start, end) = (extent.lba().0, extent.end().0);
        self.active
            .iter()
            .filter(move |active| (active.op.is_some() || active.is_stalled) && active.overlaps(volume, start, end))
            .filter(|active| !matches!(active.local, Local::Waiting(_)))
            .map(|active| active.seq)
    }

    /// Some read may have to wait.
    pub fn hides_writes(&self) -> bool {
        self.active.iter().any(|active| active.op.is_some() || active.is_stalled)
    }

    /// What its host was told of too early is still not with the peer, but due to it as a copy.
    pub(super) fn is_hidden(&self, policy: Policy, active: &Active) -> bool {
        if !active.is_stalled || policy.mode == Mode::Async || self.alone {
            return false;
        }
        let is_in_the_stream = self.ring.get(active.seq).is_some_and(|entry| entry.for_peer);
        (active.has_failed || !is_in_the_stream) && self.owes_copy(active)
    }

    fn owes_copy(&self, active: &Active) -> bool {
        let &Active { volume, start, end, .. } = active;
        let capacity = self.volumes[usize::from(volume.0)].capacity;
        let extent = Extent::new(Lba(start), BlockCount(end - start), capacity);
        let is_dirty = extent.is_ok_and(|extent| self.dirty.any(volume, extent));
        let is_there =
            |copy: &Copied| copy.purpose != Purpose::Verify && active.overlaps(copy.volume, copy.start, copy.end);
        // Of what is being read any may be of it.
        start < end && (is_dirty || self.resync_reads > 0 || self.copies.iter().any(is_there))
    }

    pub fn read(&mut self, cx: &mut Context, op: HostOp, volume: VolumeIndex, extent: Extent) {
        if self.may_read(cx.policy, volume, extent) || cx.planted.has(Fault::ReadThrough) {
            return cx.out.push_back(Output::Complete { op, result: Ok(()) });
        }
        if self.is_through() {
            // What was read here is not to be believed: it is asked for at the peer.
            return cx.out.push_back(Output::Complete { op, result: Err(BlockError::Medium) });
        }
        let waits_for = self.holding(volume, extent).collect();
        self.reads.push(WaitingRead { op, waits_for, since: cx.now });
        self.waits_now(cx.now);
    }

    // What hosts wait for.

    /// Since when the oldest host has waited for the peer alone, at the earliest.
    pub fn waits_since_earliest(&self) -> Option<Instant> {
        self.waits_from
    }

    /// The same, exactly: searched for.
    pub fn waits_since(&mut self) -> Option<Instant> {
        let waiting = self.active.iter().filter(|active| active.op.is_some() && active.is_done_here());
        let reads = self.reads.iter().filter(|read| self.waits_for_stalled(read));
        let fetch = self.oldest_fetch();
        self.waits_from = waiting.map(|active| active.since).chain(reads.map(|read| read.since)).chain(fetch).min();
        self.waits_from
    }

    /// Reads that wait for others wait no longer than those writes' own hosts do.
    fn waits_for_stalled(&self, read: &WaitingRead) -> bool {
        self.active.iter().any(|active| active.is_stalled && read.waits_for.contains(&active.seq))
    }

    pub(super) fn waits_now(&mut self, since: Instant) {
        self.waits_from = Some(self.waits_from.map_or(since, |from| from.min(since)));
    }

    /// Some host waits for what the peer will never say.
    pub fn waits_in_vain(&mut self) -> bool {
        if !self.may_wait_in_vain {
            return false;
        }
        let ring = &self.ring;
        let in_vain =
            |active: &&Active| active.op.is_some() && ring.get(active.seq).is_some_and(|entry| !entry.for_peer);
        self.may_wait_in_vain = self.active.iter().any(|active| in_vain(&active));
        self.active.iter().filter(in_vain).any(Active::is_done_here)
    }

    /// Something is written there, or will be.
    pub(super) fn is_any_active(&self, volume: VolumeIndex, start: u64, end: u64) -> bool {
        self.active.iter().any(|active| !active.is_done_here() && active.overlaps(volume, start, end))
    }

    pub fn is_waited_for(&self) -> bool {
        let flush =
            |active: &Active| Some(active.seq) == self.last_flush && (!active.is_done_here() || self.is_established());
        let waited_for = |active: &Active| active.op.is_some() || flush(active);
        self.active.iter().any(waited_for) || !self.plain.is_empty() || !self.fetches.is_empty()
    }

    /// Tell those that have waited since before `before` that it did not come about in time.
    pub fn stall(&mut self, cx: &mut Context, before: Instant) {
        for at in 0..self.active.len() {
            let active = &self.active[at];
            if active.since <= before && active.is_done_here() {
                self.tell_early(cx, at, BlockError::Stalled);
            }
        }
        let reads = std::mem::take(&mut self.reads).into_iter();
        let (late, on_time) = reads.partition(|read| read.since <= before && self.waits_for_stalled(read));
        self.reads = on_time;
        let late: Vec<WaitingRead> = late;
        for read in late {
            cx.out.push_back(Output::Complete { op: read.op, result: Err(BlockError::Stalled) });
        }
        self.ring.trim();
    }

    /// The device failed it. It may have changed some of its blocks all the same: a failover would undo that.
    pub(super) fn fail(&mut self, cx: &mut Context, at: usize, error: BlockError) {
        if self.active[at].is_flush() {
            return self.finish(cx, at, Err(error));
        }
        self.active[at].has_failed = true;
        self.tell_early(cx, at, error);
        self.evaluate_all(cx);
    }

    /// Its host waits no more; nobody is to read what is there before the peer has it.
    fn tell_early(&mut self, cx: &mut Context, at: usize, error: BlockError) {
        let active = &mut self.active[at];
        let Some(op) = active.op.take() else { return };
        active.is_stalled = true;
        self.after = self.after.max(active.seq);
        self.ring.answered(active.seq, cx.now);
        cx.out.push_back(Output::Complete { op, result: Err(error) });
    }

    /// This reign is over: nobody gets GOOD from it any more. How much is still under way locally.
    pub fn abdicate(&mut self, cx: &mut Context) -> usize {
        let running =
            self.active.iter().filter(|active| matches!(active.local, Local::Running)).count() + self.plain.len();
        let running = running + self.orphans;
        self.end_fetches(cx, |_| true, BlockError::Fenced);
        let waiting = self.active.drain(..).filter_map(|active| active.op);
        let waiting = waiting.chain(self.plain.drain(..).map(|(_, op)| op));
        let waiting: Vec<HostOp> = waiting.chain(self.reads.drain(..).map(|read| read.op)).collect();
        for op in waiting {
            cx.out.push_back(Output::Complete { op, result: Err(BlockError::Fenced) });
        }
        running
    }
}
