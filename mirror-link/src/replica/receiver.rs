//! The replica's end of a stream: what came, what may be applied, what is acknowledged. Pure.
//!
//! ```text
//!   op ─► Received ── its closure is applied ─► Applying ── local device ─► Applied ─► counted in applied_upto
//! ```
//!
//! The closure of a write is every write up to its `after`, and those in its `odep`. Writes that are not in each other's
//! closures are applied at the same time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::io::Misbehaviour;
use super::planted::{Fault, Planted};
use crate::config::{QueueBounds, VolumeSpec};
use crate::extent::Extent;
use crate::ids::{OwnerEpoch, VolumeIndex, WriteSeq};
use crate::wire::message::{
    Ack, Begin, Credit, DIFFERS_MAX, Digest, FAILED_MAX, Marks, Op, OpFrame, PAYLOAD_MAX, RUNS_MAX, Range,
};

#[derive(Clone, Debug)]
pub(super) struct Receiver {
    epoch: OwnerEpoch,
    begin: Option<Begin>,
    /// The last of this session whose stream is forgotten: neither that nor one before it begins anything any more.
    forgotten: Option<Begin>,
    bounds: QueueBounds,
    /// applied_upto; `window[0]` is the write behind it.
    base: u64,
    window: VecDeque<Option<Entry>>,
    received_upto: u64,
    /// Received beyond `received_upto`, applied beyond `base`.
    received_beyond: usize,
    applied_beyond: usize,
    /// Payload bytes received and not applied.
    held_bytes: u64,
    waits_for_after: BinaryHeap<Reverse<(u64, u64)>>,
    waits_for_odep: BTreeMap<u64, SmallVec<[u64; 2]>>,
    /// May be applied now, in the order found.
    ready: VecDeque<u64>,
    /// Local writes of a stream that was given up: nothing of this one is applied beside them.
    draining: usize,
    /// Nothing is applied until the record says that the copy is Inconsistent.
    pub gated: bool,
    durable_upto: u64,
    flushing: Option<u64>,
    flush_due: Option<Instant>,
    failed: SmallVec<[WriteSeq; 2]>,
    /// What was compared and found to differ, until the owner says that it knows.
    differs: SmallVec<[WriteSeq; 2]>,
    ack_number: u64,
    pub ack_owed: bool,
    /// Planted: duplicates.
    #[cfg(feature = "sim")]
    twice: Vec<(WriteSeq, Op)>,
}

#[derive(Clone, Debug)]
struct Entry {
    after: u64,
    odep: SmallVec<[WriteSeq; 4]>,
    op: Op,
    bytes: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Received,
    Applying,
    Applied,
}

/// What a Begin comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// Heard before, or overtaken by a later one.
    Already,
    /// The stream goes on where it was.
    On,
    /// It starts over: what was not applied is forgotten.
    Over,
}

/// What a promotion leaves out.
pub(super) type Dropped = Vec<(WriteSeq, VolumeIndex, Extent)>;

impl Receiver {
    pub fn new(bounds: QueueBounds) -> Receiver {
        Receiver {
            epoch: OwnerEpoch(0),
            begin: None,
            forgotten: None,
            bounds,
            base: 0,
            window: VecDeque::new(),
            received_upto: 0,
            received_beyond: 0,
            applied_beyond: 0,
            held_bytes: 0,
            waits_for_after: BinaryHeap::new(),
            waits_for_odep: BTreeMap::new(),
            ready: VecDeque::new(),
            draining: 0,
            gated: false,
            durable_upto: 0,
            flushing: None,
            flush_due: None,
            failed: SmallVec::new(),
            differs: SmallVec::new(),
            ack_number: 0,
            ack_owed: false,
            #[cfg(feature = "sim")]
            twice: Vec::new(),
        }
    }

    pub fn epoch(&self) -> OwnerEpoch {
        self.epoch
    }

    pub fn marks(&self) -> Marks {
        Marks { epoch: self.epoch, applied_upto: WriteSeq(self.base), durable_upto: WriteSeq(self.durable_upto) }
    }

    pub fn received_upto(&self) -> WriteSeq {
        WriteSeq(self.received_upto)
    }

    pub fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// A new session: a `Begin` like the last one is another one.
    pub fn session_began(&mut self) {
        (self.begin, self.forgotten) = (None, None);
    }

    pub fn has_begun(&self) -> bool {
        self.begin.is_some()
    }

    /// The stream starts over, or goes on where it was. Within a session and an epoch `first` never falls, and grows with
    /// each stream that starts over: Begins that overtake each other are told apart by it.
    pub fn begin(&mut self, begin: Begin) -> Result<Begun, Misbehaviour> {
        if begin.first.0 == 0 {
            return Err(misbehaved("a stream whose first write is 1 or later", format!("{begin:?}")));
        }
        self.ack_owed = true;
        let former = self.begin.or(self.forgotten).filter(|former| former.epoch == begin.epoch);
        if former.is_some_and(|former| begin.first <= former.first) {
            return Ok(Begun::Already);
        }
        self.begin = Some(begin);
        if begin.epoch == self.epoch && !begin.resync && begin.first.0 <= self.base + 1 {
            if former.is_none() {
                // Only what can still be applied without the owner's help is kept: the rest comes again.
                self.drop_unclosed(&Planted::default());
            }
            return Ok(Begun::On);
        }
        self.empty();
        self.epoch = begin.epoch;
        self.base = begin.first.0 - 1;
        self.received_upto = self.base;
        self.durable_upto = 0;
        self.flushing = None;
        Ok(Begun::Over)
    }

    fn empty(&mut self) {
        self.draining += self.window.iter().flatten().filter(|entry| entry.state == State::Applying).count();
        self.window.clear();
        self.waits_for_after.clear();
        self.waits_for_odep.clear();
        self.ready.clear();
        self.failed.clear();
        self.differs.clear();
        (self.received_beyond, self.applied_beyond, self.held_bytes) = (0, 0, 0);
    }

    /// Nothing of the stream counts any more; there is none until it begins again.
    pub fn forget(&mut self) {
        self.empty();
        self.forgotten = self.begin.take().or(self.forgotten);
        (self.epoch, self.base, self.received_upto, self.durable_upto) = (OwnerEpoch(0), 0, 0, 0);
        (self.gated, self.flushing, self.flush_due) = (false, None, None);
    }

    /// Take a write of this epoch in. Duplicates are only acknowledged again.
    pub fn receive(&mut self, frame: OpFrame, volumes: &[VolumeSpec], planted: &Planted) -> Result<(), Misbehaviour> {
        let seq = frame.seq.0;
        self.ack_owed = true;
        if self.is_received(seq) {
            #[cfg(feature = "sim")]
            if planted.has(Fault::ApplyTwice) && self.is_applied(seq) {
                self.twice.push((frame.seq, frame.op));
            }
            return Ok(());
        }
        let index = (seq - self.base - 1) as usize;
        let bytes = check(&frame, volumes)?;
        let credit = self.credit();
        if frame.seq > credit.seq || self.held_bytes + bytes > self.bounds.window_bytes + 2 * PAYLOAD_MAX as u64 {
            return Err(misbehaved(
                &format!("writes up to {} and {} bytes of them", credit.seq, self.bounds.window_bytes),
                format!("write {} with {bytes} bytes, {} held", frame.seq, self.held_bytes),
            ));
        }
        if self.window.len() <= index {
            self.window.resize_with(index + 1, || None);
        }
        let OpFrame { after, odep, op, .. } = frame;
        if let Op::Verify { known, .. } = op {
            self.differs.retain(|differs| *differs > known);
        }
        self.window[index] = Some(Entry { after: after.0, odep, op, bytes, state: State::Received });
        self.held_bytes += bytes;
        if seq == self.received_upto + 1 {
            self.received_upto = seq;
            while self.received_beyond > 0 && self.is_received(self.received_upto + 1) {
                self.received_upto += 1;
                self.received_beyond -= 1;
            }
        } else {
            self.received_beyond += 1;
        }
        self.look_at(seq, planted);
        Ok(())
    }

    fn is_received(&self, seq: u64) -> bool {
        seq <= self.base || self.entry(seq).is_some()
    }

    fn is_applied(&self, seq: u64) -> bool {
        seq <= self.base || self.entry(seq).is_some_and(|entry| entry.state == State::Applied)
    }

    fn entry(&self, seq: u64) -> Option<&Entry> {
        self.window.get(seq.checked_sub(self.base + 1)? as usize)?.as_ref()
    }

    fn entry_mut(&mut self, seq: u64) -> Option<&mut Entry> {
        self.window.get_mut(seq.checked_sub(self.base + 1)? as usize)?.as_mut()
    }

    /// Park it at the first thing it waits for, or find it ready.
    fn look_at(&mut self, seq: u64, planted: &Planted) {
        let Some(entry) = self.entry(seq).filter(|entry| entry.state == State::Received) else { return };
        if entry.after > self.base && !planted.has(Fault::IgnoreAfter) {
            let after = entry.after;
            self.waits_for_after.push(Reverse((after, seq)));
            return;
        }
        let missing = entry.odep.iter().find(|dep| !self.is_applied(dep.0));
        match missing.filter(|_| !planted.has(Fault::IgnoreOdep)) {
            Some(&WriteSeq(dep)) => self.waits_for_odep.entry(dep).or_default().push(seq),
            None => self.ready.push_back(seq),
        }
    }

    /// The next write whose closure is applied; it is being applied from now on.
    pub fn next_ready(&mut self) -> Option<(WriteSeq, Op)> {
        if self.gated || self.draining > 0 {
            return None;
        }
        #[cfg(feature = "sim")]
        if let Some(again) = self.twice.pop() {
            return Some(again);
        }
        loop {
            let seq = self.ready.pop_front()?;
            if let Some(entry) = self.entry_mut(seq).filter(|entry| entry.state == State::Received) {
                entry.state = State::Applying;
                return Some((WriteSeq(seq), entry.op.clone()));
            }
        }
    }

    /// A write handed out by `next_ready` is done.
    pub fn applied(&mut self, seq: WriteSeq, failed: bool, planted: &Planted) {
        let base = self.base;
        let Some(entry) = self.entry_mut(seq.0).filter(|entry| entry.state == State::Applying) else { return };
        entry.state = State::Applied;
        entry.op = Op::Void;
        let bytes = entry.bytes;
        self.held_bytes -= bytes;
        self.applied_beyond += 1;
        self.ack_owed = true;
        if failed {
            if self.failed.len() < FAILED_MAX {
                self.failed.push(seq);
            }
            // An Ack can't list more: nothing more is applied, and so nothing is acknowledged that is not there.
            self.gated |= self.failed.len() >= FAILED_MAX;
        }
        while let Some(Some(Entry { state: State::Applied, .. })) = self.window.front() {
            self.window.pop_front();
            self.base += 1;
            self.applied_beyond -= 1;
        }
        // Where the lowest write that was missing is applied without having been received in order there is none beyond it.
        debug_assert!(self.received_upto >= self.base);
        for waiting in self.waits_for_odep.remove(&seq.0).unwrap_or_default() {
            self.look_at(waiting, planted);
        }
        while self.base > base
            && let Some(Reverse((after, waiting))) = self.waits_for_after.peek().copied()
            && after <= self.base
        {
            self.waits_for_after.pop();
            self.look_at(waiting, planted);
        }
    }

    /// A VERIFY handed out by `next_ready` is about to be done: what this copy holds there, if it could be read. True: it
    /// differs.
    pub fn compared(&mut self, seq: WriteSeq, found: Option<Digest>) -> bool {
        let Some(Entry { op: Op::Verify { digest, .. }, state: State::Applying, .. }) = self.entry(seq.0) else {
            return false;
        };
        let differs = found != Some(*digest);
        if differs {
            self.differs.push(seq);
            // An owner that keeps to its bound never comes here: what an Ack can't list is not acknowledged.
            self.gated |= self.differs.len() >= DIFFERS_MAX;
        }
        differs
    }

    /// So many local writes of this node's own reign are still under way.
    pub fn await_drained(&mut self, running: usize) {
        self.draining += running;
    }

    /// A local write of a stream that was given up has ended.
    pub fn drained(&mut self) {
        self.draining = self.draining.saturating_sub(1);
    }

    /// Nothing is being applied, and nothing can be without the owner's help; nor does a flush go on, which would speak of a
    /// replica's copy when it is one no more.
    pub fn is_quiet(&self) -> bool {
        self.draining == 0
            && self.flushing.is_none()
            && self.ready.is_empty()
            && !self.window.iter().flatten().any(|entry| entry.state == State::Applying)
    }

    /// Forget the writes whose closure was never wholly received. What they were.
    pub fn drop_unclosed(&mut self, planted: &Planted) -> Dropped {
        let mut dropped = Vec::new();
        let mut kept: Vec<u64> = Vec::new();
        for index in 0..self.window.len() {
            let seq = self.base + 1 + index as u64;
            let Some(entry) = &self.window[index] else { continue };
            if entry.state != State::Received || seq <= self.received_upto {
                kept.push(seq);
                continue;
            }
            if planted.has(Fault::PromoteKeepsUnclosed) {
                self.ready.push_back(seq);
                continue;
            }
            let closed = entry.after <= self.received_upto
                && entry.odep.iter().all(|dep| dep.0 <= self.received_upto || kept.binary_search(&dep.0).is_ok());
            if closed {
                kept.push(seq);
                continue;
            }
            self.held_bytes -= entry.bytes;
            self.received_beyond -= 1;
            if let Some((volume, range)) = entry.op.place() {
                let extent = Extent::new(range.lba, range.blocks, crate::extent::BlockCount(u64::MAX));
                dropped.extend(extent.ok().map(|extent| (WriteSeq(seq), volume, extent)));
            }
            self.window[index] = None;
        }
        dropped
    }

    pub fn credit(&self) -> Credit {
        let last = self.base + u64::from(self.bounds.window_writes);
        Credit { seq: WriteSeq(last).min(WriteSeq::MAX), bytes: self.bounds.window_bytes }
    }

    /// The state of things, if anybody is owed it.
    pub fn take_ack(&mut self) -> Option<Ack> {
        if !std::mem::take(&mut self.ack_owed) {
            return None;
        }
        self.ack_number += 1;
        let (received, applied) = (
            self.runs(self.received_upto, self.received_beyond, |_| true),
            self.runs(self.base, self.applied_beyond, |entry| entry.state == State::Applied),
        );
        Some(Ack {
            epoch: self.epoch,
            number: self.ack_number,
            received_upto: WriteSeq(self.received_upto),
            applied_upto: WriteSeq(self.base),
            durable_upto: WriteSeq(self.durable_upto),
            received,
            applied,
            credit: self.credit(),
            failed: self.failed.clone(),
            differs: self.differs.clone(),
        })
    }

    /// Runs of entries beyond `upto` for which it holds; there are `count` of them.
    fn runs(&self, upto: u64, count: usize, holds: impl Fn(&Entry) -> bool) -> SmallVec<[(WriteSeq, WriteSeq); 4]> {
        let mut runs: SmallVec<[(WriteSeq, WriteSeq); 4]> = SmallVec::new();
        let mut left = count;
        let mut seq = upto + 1;
        while left > 0 && seq <= self.base + self.window.len() as u64 {
            if self.entry(seq).is_some_and(&holds) {
                left -= 1;
                let full = runs.len() == RUNS_MAX;
                match runs.last_mut() {
                    Some((_, last)) if last.0 + 1 == seq => *last = WriteSeq(seq),
                    _ if full => break,
                    _ => runs.push((WriteSeq(seq), WriteSeq(seq))),
                }
            }
            seq += 1;
        }
        runs
    }

    // What is applied becomes durable by a flush now and then.

    pub fn flush_timeout(&self) -> Option<Instant> {
        self.flush_due
    }

    /// Something was applied: see to it that it is flushed before long.
    pub fn arm_flush(&mut self, now: Instant) {
        if self.base > self.durable_upto && !self.gated && self.flushing.is_none() && self.flush_due.is_none() {
            self.flush_due = Some(now + FLUSH_AFTER);
        }
    }

    /// True: flush every volume now, and say `flushed`.
    pub fn start_flush(&mut self, now: Instant) -> bool {
        if self.flush_due.is_none_or(|due| due > now) {
            return false;
        }
        self.flush_due = None;
        if self.gated || self.flushing.is_some() || self.base <= self.durable_upto {
            return false;
        }
        self.flushing = Some(self.base);
        true
    }

    pub fn flushed(&mut self, result: bool, now: Instant) {
        if let Some(upto) = self.flushing.take()
            && result
        {
            self.durable_now(upto);
        }
        self.arm_flush(now);
    }

    /// A flush that was in the stream, and came after all that is applied now, is done.
    pub fn durable_now(&mut self, upto: u64) {
        if upto > self.durable_upto {
            self.durable_upto = upto;
            self.ack_owed = true;
        }
    }

    pub fn applied_upto(&self) -> u64 {
        self.base
    }
}

impl Op {
    /// Volume and blocks that it changes, or may stand for a change of.
    pub(crate) fn place(&self) -> Option<(VolumeIndex, Range)> {
        self.lies_on().filter(|_| !self.is_verify())
    }

    /// It only asks whether the copies are alike.
    pub(super) fn is_verify(&self) -> bool {
        matches!(self, Op::Verify { is_copy: false, .. })
    }

    fn lies_on(&self) -> Option<(VolumeIndex, Range)> {
        match self {
            Op::Write { volume, range, .. }
            | Op::WriteZeroes { volume, range, .. }
            | Op::Unmap { volume, range }
            | Op::Verify { volume, range, .. } => Some((*volume, *range)),
            Op::Flush | Op::Mark { .. } | Op::Void | Op::ResyncDone { .. } => None,
        }
    }

    pub(crate) fn payload_bytes(&self) -> u64 {
        match self {
            Op::Write { data, .. } => data.len(),
            Op::Mark { data, .. } => data.len() as u64,
            Op::WriteZeroes { .. } | Op::Unmap { .. } | Op::Flush | Op::Void => 0,
            Op::ResyncDone { .. } | Op::Verify { .. } => 0,
        }
    }
}

/// It depends on what precedes it, and lies on a volume of ours. Its payload bytes.
fn check(frame: &OpFrame, volumes: &[VolumeSpec]) -> Result<u64, Misbehaviour> {
    let seq = frame.seq;
    if frame.after >= seq || frame.odep.iter().any(|dep| *dep >= seq || dep.0 == 0) {
        let got = format!("write {seq} after {} and {:?}", frame.after, frame.odep);
        return Err(misbehaved("a write that depends on what precedes it", got));
    }
    if let Some((volume, range)) = frame.op.lies_on() {
        let Some(spec) = volumes.get(usize::from(volume.0)) else {
            return Err(misbehaved(&format!("a volume below {}", volumes.len()), format!("volume {volume}")));
        };
        let extent = Extent::new(range.lba, range.blocks, spec.capacity)
            .map_err(|error| misbehaved(&format!("blocks of volume {}", spec.name), error.to_string()))?;
        if let Op::Write { data, .. } = &frame.op
            && data.len() != extent.byte_length(spec.block_length)
        {
            let expected = format!("{} bytes for {extent}", extent.byte_length(spec.block_length));
            return Err(misbehaved(&expected, format!("{} bytes", data.len())));
        }
        if matches!(frame.op, Op::Verify { .. }) && extent.byte_length(spec.block_length) > PAYLOAD_MAX as u64 {
            return Err(misbehaved(&format!("at most {PAYLOAD_MAX} bytes to compare"), extent.to_string()));
        }
    }
    Ok(frame.op.payload_bytes())
}

pub(super) fn misbehaved(expected: &str, got: String) -> Misbehaviour {
    Misbehaviour { expected: expected.into(), got }
}

/// How long applied writes may wait for the flush that makes them durable.
const FLUSH_AFTER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Generation;

    #[test]
    fn credit_ends_where_numbers_do() {
        let bounds = QueueBounds { memory: 1 << 20, spill: 0, window_bytes: 1 << 20, window_writes: 256 };
        let mut receiver = Receiver::new(bounds);
        let begin = Begin {
            epoch: OwnerEpoch(2),
            first: WriteSeq::MAX,
            resync: false,
            generation: Generation(1),
            counting: Generation(1),
        };
        assert_eq!(receiver.begin(begin), Ok(Begun::Over));
        let frame =
            OpFrame { epoch: begin.epoch, seq: begin.first, after: WriteSeq(0), odep: SmallVec::new(), op: Op::Void };
        assert_eq!(receiver.receive(frame, &[], &Planted::default()), Ok(()));
        let ack = receiver.take_ack().expect("it is owed");
        assert_eq!((ack.received_upto, ack.credit.seq), (WriteSeq::MAX, WriteSeq::MAX));
    }
}
