//! Writes in order beyond what memory holds, and beyond the process: while the peer is away every write goes to the journal;
//! what a crash or a restart leaves there is sent in its order before anything else. Pure.
//!
//! What it has is in the map on disk as well, so that nothing depends on the journal being whole: a part of it that is
//! missing costs order, not data.

use std::collections::BTreeMap;
use std::time::Instant;

use smallvec::SmallVec;

use super::io::Output;
use super::owner::{Context, Copied, Owner, Purpose};
use super::planted::{Fault, Planted};
use super::ring::{ENTRY_COST, Entry, Place};
use crate::config::{Mode, OnJournalFull, VolumeSpec};
use crate::extent::Extent;
use crate::ids::{OwnerEpoch, WriteSeq};
use crate::wire::message::{Marks, ODEP_MAX, Op, OpFrame};

/// The writes of an unbroken run of numbers that a former process left in the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct JournalLeft {
    pub epoch: OwnerEpoch,
    /// Number of the first.
    pub first: WriteSeq,
    pub writes: Vec<Journalled>,
}

/// One of them; a payload stays in the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Journalled {
    pub after: WriteSeq,
    pub odep: SmallVec<[WriteSeq; ODEP_MAX]>,
    pub op: Op,
    /// Bytes.
    pub payload: u64,
}

impl JournalLeft {
    /// Of whatever a journal has of the epoch: its longest unbroken run, at most `writes_max` of them from its beginning.
    pub fn longest_run(
        epoch: OwnerEpoch,
        found: BTreeMap<WriteSeq, Journalled>,
        writes_max: usize,
    ) -> Option<JournalLeft> {
        let (start, end) = longest_run(found.keys().map(|seq| seq.0));
        let run = found.into_iter().filter(|(seq, _)| (start..end).contains(&seq.0));
        let writes: Vec<Journalled> = run.map(|(_, write)| write).take(writes_max).collect();
        (!writes.is_empty()).then_some(JournalLeft { epoch, first: WriteSeq(start), writes })
    }

    /// It names blocks that are there.
    pub fn is_of(&self, volumes: &[VolumeSpec]) -> bool {
        self.writes.iter().filter_map(|write| write.op.place()).all(|(volume, range)| {
            let volume = volumes.get(usize::from(volume.0));
            volume.is_some_and(|volume| Extent::new(range.lba, range.blocks, volume.capacity).is_ok())
        })
    }

    /// The number that write `seq` of then has from now on: the first is 1.
    pub fn renumbered(&self, seq: WriteSeq) -> Option<WriteSeq> {
        let number = seq.0.checked_sub(self.first.0)? + 1;
        (number <= self.writes.len() as u64).then_some(WriteSeq(number))
    }
}

impl Journalled {
    pub fn of(frame: &OpFrame) -> Journalled {
        let mut op = frame.op.clone();
        let payload = op.payload_bytes();
        if let Op::Write { data, .. } = &mut op {
            *data = Default::default();
        }
        Journalled { after: frame.after, odep: frame.odep.clone(), op, payload }
    }
}

/// Whose writes are the first of this reign's ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct FormerReign {
    epoch: OwnerEpoch,
    /// Its number of what is the ring's first.
    first: u64,
    /// This reign's number of the last of them.
    last: u64,
}

impl Owner {
    /// To be sent before all that this reign writes.
    pub fn take_up(&mut self, former: JournalLeft, planted: &Planted, now: Instant) {
        assert_eq!(self.ring.next(), 1, "the reign has written nothing yet");
        let before = former.first.0 - 1;
        for Journalled { after, odep, op, payload } in former.writes {
            let now_is = |seq: WriteSeq| seq.0.saturating_sub(before);
            let mut after = now_is(after);
            let mut odep: SmallVec<_> = odep.into_iter().map(now_is).filter(|seq| *seq > 0).map(WriteSeq).collect();
            if planted.has(Fault::JournalUnordered) {
                (after, odep) = (0, SmallVec::new());
            }
            // What was to follow it was not of a stream that this one goes on with.
            let op = if matches!(op, Op::ResyncDone { .. } | Op::Verify { .. }) { Op::Void } else { op };
            let is_write = matches!(op, Op::Write { .. });
            let seq = self.ring.push(after, odep, op, Place::Memory, true, payload);
            if is_write {
                self.ring.last_is_spilled();
            }
            self.ring.answered(seq, now);
            (self.after, self.last_spilled, self.ever_spilled) = (seq, seq, true);
        }
        self.former = Some(FormerReign { epoch: former.epoch, first: former.first.0, last: self.after });
        // What the map has comes between these and what this reign writes: with a number left out no journal of this
        // reign follows on them, should the process end before the peer has that. Nor does the stream, see `see_ordered`.
        self.leave_a_number_out(now);
    }

    /// The peer is away: from now on every write is journalled, and what is queued first.
    pub fn see_away(&mut self, cx: &mut Context) {
        if self.bounds.spill == 0 || self.journals || self.stream.is_some() || self.is_through() {
            return;
        }
        let is_counted = self.dirty.is_empty() || self.former.is_some();
        let is_verify = |copy: &Copied| copy.purpose == Purpose::Verify;
        let copies_none = self.resync_reads == 0 && self.verify_reads.is_empty() && self.copies.iter().all(is_verify);
        let is_alone = cx.policy.mode == Mode::Async || self.alone;
        let may = is_alone && is_counted && copies_none && !self.detached;
        if !may || !self.journal_takes(self.ring.memory_bytes) {
            return;
        }
        self.journals = true;
        for seq in self.ring.base() + 1..self.ring.next() {
            let Some(entry) = self.ring.get_mut(seq).filter(|entry| !entry.applied && !entry.journalled) else {
                continue;
            };
            if entry.place == Place::Memory && matches!(entry.op, Op::Write { .. }) {
                self.ring.spills(seq);
            }
            self.put_in_journal(cx, seq);
        }
    }

    pub(super) fn put_in_journal(&mut self, cx: &mut Context, seq: u64) {
        // What is being read is not known yet.
        let is_known = |entry: &&mut Entry| entry.for_peer && entry.place != Place::Reading;
        let Some(entry) = self.ring.get_mut(seq).filter(is_known) else { return };
        entry.journalled = true;
        if let Some(frame) = self.ring.frame(self.epoch, seq) {
            (self.ever_spilled, self.last_spilled) = (true, self.last_spilled.max(seq));
            cx.out.push_back(Output::Spill { run: cx.run, frame: Box::new(frame) });
        }
    }

    /// What the queue holds in memory of writes that hosts have their answers to, or that are a resync's, leaves room for
    /// this one; or it is larger than the queue, and there are none.
    pub(super) fn has_room_beside_answered(&self, cost: u64) -> bool {
        let answered = self.answered_bytes();
        answered == 0 || answered + cost <= self.bounds.memory
    }

    pub(super) fn answered_bytes(&self) -> u64 {
        let hosts = self.active.iter().filter(|active| active.op.is_some());
        let entries = hosts.filter_map(|active| self.ring.get(active.seq));
        let waited_for: u64 = entries.filter(|entry| entry.place != Place::Spilled).map(|entry| entry.cost).sum();
        self.ring.memory_bytes - waited_for
    }

    /// Memory is full of what no host waits for, some of which is still on its way to the journal: what failed here, or
    /// took too long, whose hosts come again at once and do not bound themselves.
    pub(super) fn is_journal_behind(&self) -> bool {
        let is_spilling = |seq: u64| self.ring.get(seq).is_some_and(|entry| entry.place == Place::Spilling);
        self.active.iter().any(|active| active.op.is_none() && is_spilling(active.seq))
            && self.answered_bytes() > self.bounds.memory
    }

    /// So much more.
    pub(super) fn journal_takes(&self, cost: u64) -> bool {
        // What is known of each write is in memory.
        self.ring.len() < 4 * writes_max(self.bounds.memory) && self.ring.spilled_bytes + cost <= self.bounds.spill
    }

    /// Hosts are to go no faster than the peer: it is there, and all that may be queued for it is.
    pub(super) fn is_throttled(&self, cx: &Context) -> bool {
        self.stream.is_some() && cx.policy.on_journal_full == OnJournalFull::Throttle
    }

    /// The write behind which the ring has what the peer lacks of the former reign, in order, and the last of that. By the map
    /// it may lack more; what this reign wrote comes after all of it.
    pub(super) fn ordered_behind(&self, marks: Marks) -> Option<(u64, u64)> {
        let former = self.former.filter(|_| !self.dirty.is_empty())?;
        let upto = match marks.epoch {
            epoch if epoch == self.epoch => marks.applied_upto.0,
            epoch if epoch == former.epoch => marks.applied_upto.0.checked_sub(former.first - 1)?,
            _ => return None,
        };
        let held = (self.ring.base()..self.ring.next()).contains(&upto) && upto + 1 >= self.whole_from;
        (held && !self.detached && upto < former.last).then_some((upto, former.last))
    }

    /// It has all of that: now what it may lack besides, in whatever order.
    pub(super) fn see_ordered(&mut self, cx: &mut Context) {
        if self.ordered_upto.is_none_or(|upto| self.peer.applied_upto < upto) {
            return;
        }
        (self.ordered_upto, self.former) = (None, None);
        // Most of it has just come. The peer would wait for ever for the number that is left out: a stream begins anew.
        self.unknown = Some(self.dirty.clone());
        self.withdraw_all(cx);
        self.stop();
        self.detached = true;
    }
}

/// Of numbers that grow: the first of the longest unbroken run, and the one behind its last.
pub fn longest_run(numbers: impl Iterator<Item = u64>) -> (u64, u64) {
    let (mut longest, mut run): ((u64, u64), (u64, u64)) = ((0, 0), (0, 0));
    for number in numbers {
        run = if run.1 == number && run.1 > run.0 { (run.0, number + 1) } else { (number, number + 1) };
        if run.1 - run.0 > longest.1 - longest.0 {
            longest = run;
        }
    }
    longest
}

/// A queue's memory holds so many writes whose payloads are in the journal.
pub fn writes_max(memory_bytes: u64) -> usize {
    (memory_bytes / 2 / ENTRY_COST) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::block::{BlockError, Durability};
    use crate::config::{OnLinkLoss, Policy, QueueBounds};
    use crate::extent::{BlockCount, BlockLength, Lba};
    use crate::ids::{Generation, VolumeIndex};
    use crate::replica::dirty::DirtyMap;
    use crate::replica::io::{HostChange, HostOp};
    use crate::replica::reconcile::Missing;
    use crate::wire::message::Range;

    const CAPACITY: BlockCount = BlockCount(1 << 20);

    fn owner(epoch: u64, memory: u64, is_dirty: bool) -> Owner {
        let volumes = vec![VolumeSpec { name: "db".into(), block_length: BlockLength::B512, capacity: CAPACITY }];
        let bounds = QueueBounds { memory, spill: 1 << 20, window_bytes: 1 << 20, window_writes: 256 };
        let mut dirty = DirtyMap::new(&volumes, 64 << 10);
        if is_dirty {
            dirty.set_all();
        }
        Owner::new(OwnerEpoch(epoch), volumes, bounds, dirty, Instant::now())
    }

    /// The owner of an epoch, with so many writes of another, numbered from `first` on there.
    fn heir(epoch: u64, former: u64, first: u64, writes: usize) -> Owner {
        let range = Range { lba: Lba(0), blocks: BlockCount(1) };
        let op = Op::Write { volume: VolumeIndex(0), range, data: Default::default(), durable: false };
        let write = Journalled { after: WriteSeq(0), odep: SmallVec::new(), op, payload: 512 };
        let left = JournalLeft { epoch: OwnerEpoch(former), first: WriteSeq(first), writes: vec![write; writes] };
        let mut owner = owner(epoch, 1 << 20, true);
        owner.take_up(left, &Planted::default(), Instant::now());
        owner
    }

    fn marks(epoch: u64, applied_upto: u64) -> Marks {
        Marks { epoch: OwnerEpoch(epoch), applied_upto: WriteSeq(applied_upto), durable_upto: WriteSeq(0) }
    }

    #[test]
    fn a_former_reigns_writes_are_sent_behind_what_the_peer_has_of_them() {
        let owner = heir(7, 5, 11, 3);
        assert_eq!(owner.ordered_behind(marks(5, 9)), None, "10 is not there");
        assert_eq!(owner.ordered_behind(marks(5, 10)), Some((0, 3)));
        assert_eq!(owner.ordered_behind(marks(5, 12)), Some((2, 3)));
        assert_eq!(owner.ordered_behind(marks(7, 1)), Some((1, 3)), "by their numbers of now");
        assert_eq!(owner.ordered_behind(marks(5, 13)), None, "it has all of them");
        assert_eq!(owner.ordered_behind(marks(3, 12)), None, "of a reign that nobody knows");
    }

    #[test]
    fn no_journal_of_a_reign_goes_on_behind_what_that_reign_had_taken_up() {
        let former = heir(7, 5, 11, 3);
        let first = former.ring.next();
        assert_eq!(first, 5);
        assert!(former.ring.get(4).is_some_and(|left_out| !left_out.for_peer), "it is nobody's");
        let owner = heir(9, 7, first, 2);
        assert_eq!(owner.ordered_behind(marks(7, 3)), None, "what the map had besides comes before them");
        assert_eq!(owner.ordered_behind(marks(7, first)), Some((1, 2)));
    }

    /// An asynchronous owner whose peer takes nothing yet, and whose queue holds five small writes.
    struct Ahead {
        owner: Owner,
        planted: Planted,
        now: Instant,
        out: VecDeque<Output>,
    }

    impl Ahead {
        fn new() -> Ahead {
            let (owner, planted, now) = (owner(7, 4 << 10, false), Planted::default(), Instant::now());
            let mut ahead = Ahead { owner, planted, now, out: VecDeque::new() };
            ahead.act(|owner, cx| owner.begin(cx, Marks::default(), Generation(9), true, Missing::Counted));
            ahead
        }

        fn act(&mut self, act: impl FnOnce(&mut Owner, &mut Context)) {
            let policy = Policy {
                mode: Mode::Async,
                on_link_loss: OnLinkLoss::Degrade,
                max_stall: Duration::from_secs(1),
                wait_for_peer: Duration::from_secs(60),
                host_latency: None,
                on_journal_full: OnJournalFull::Detach,
                on_split_brain: Default::default(),
            };
            let mut cx = Context {
                now: self.now,
                policy,
                generation: Generation(1),
                planted: &self.planted,
                out: &mut self.out,
                run: 1,
            };
            act(&mut self.owner, &mut cx);
        }

        /// The nth write of its hosts. What they have been told since the last one.
        fn write(&mut self, nth: u64) -> Vec<(HostOp, Result<(), BlockError>)> {
            let extent = Extent::new(Lba(nth), BlockCount(1), CAPACITY).unwrap();
            let (volume, data) = (VolumeIndex(0), Bytes::from(vec![7; 512]).into());
            let change = HostChange::Write { volume, extent, data, durability: Durability::Cached };
            self.act(|owner, cx| owner.submit(cx, HostOp(nth), change));
            let answer = |output: Output| match output {
                Output::Complete { op, result } => Some((op, result)),
                _ => None,
            };
            self.out.drain(..).filter_map(answer).collect()
        }
    }

    #[test]
    fn hosts_that_were_told_of_errors_are_told_busy_while_the_journal_is_behind() {
        let mut ahead = Ahead::new();
        for nth in 1..=5 {
            assert!(ahead.write(nth).is_empty());
            ahead.act(|owner, cx| owner.local_done(cx, nth, Ok(())));
            assert_eq!(ahead.out.drain(..).count(), 1, "its answer");
        }
        assert!(ahead.write(6).is_empty(), "on its way to the journal");
        assert!(ahead.write(7).is_empty(), "those who wait bound themselves");
        ahead.act(|owner, cx| owner.local_done(cx, 6, Err(BlockError::Medium)));
        assert_eq!(ahead.write(8), [(HostOp(6), Err(BlockError::Medium)), (HostOp(8), Err(BlockError::Stalled))]);
        ahead.act(|owner, cx| owner.spilled(cx, 6, true));
        assert!(ahead.write(9).is_empty(), "the journal has it");
        assert!(
            ahead.owner.ring.get(8).is_some_and(|entry| entry.place == Place::Spilling),
            "the refused one has no number"
        );
    }
}
