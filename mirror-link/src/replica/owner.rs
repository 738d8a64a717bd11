//! The owner's side: hosts' changes get their numbers, go to the local device and to the peer, and are answered when the
//! mode's promise is kept. Pure.
//!
//! ```text
//!   submit ─► numbered ─► local device (after those it overlaps) ─┐
//!                └─► ring ─► slots ─► peer ─► Ack ────────────────┴─► answered to the host ─► `after` of those to come
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use smallvec::SmallVec;

use super::dirty::{DirtyMap, Undurable};
use super::io::{Event, HostChange, HostOp, LocalAction, Output};
use super::journal::FormerReign;
use super::local_work::LocalWork;
use super::pace::Pace;
use super::planted::{Fault, Planted};
use super::ring::{Place, Ring, Slots};
use super::stream::{Resync, Stream};
use super::through::{Fetch, Through};
use super::verify::Verify;
use crate::block::{BlockError, Durability};
use crate::config::{Mode, OnLinkLoss, Policy, QueueBounds, VolumeSpec};
use crate::extent::{BlockCount, Extent, Lba};
use crate::ids::{Generation, Instance, OwnerEpoch, VolumeIndex, WriteSeq};
use crate::wire::message::{Credit, MarkKind, ODEP_MAX, Op, Range};

/// What every step needs to know, and where it puts what comes of it.
pub(super) struct Context<'a> {
    pub now: Instant,
    pub policy: Policy,
    pub generation: Generation,
    pub planted: &'a Planted,
    pub out: &'a mut VecDeque<Output>,
    /// Distinguishes local work of this reign from that of former ones.
    pub run: u16,
}

#[derive(Clone, Debug)]
pub(super) struct Owner {
    pub epoch: OwnerEpoch,
    pub volumes: Vec<VolumeSpec>,
    pub bounds: QueueBounds,
    pub ring: Ring,
    pub slots: Slots,
    /// The greatest number whose answer was given to a host: what any write from now on may depend on.
    pub after: u64,
    /// Not answered, or under way locally. Few: what hosts have in flight. Searched from end to end.
    pub(super) active: Vec<Active>,
    /// No host waits for the peer alone since before this. Not exact: a search at every answer would cost too much.
    pub(super) waits_from: Option<Instant>,
    /// Some host's write may be none of those that the peer gets.
    pub(super) may_wait_in_vain: bool,
    pub(super) reads: Vec<WaitingRead>,
    pub(super) through: Through,
    /// Local work of before, whose end is of no more interest but that it has to come before another's stream is applied here.
    pub(super) orphans: usize,
    /// Hosts' reads that are the peer's to answer. As many as hosts have under way.
    pub(super) fetches: Vec<Fetch>,
    pub(super) last_fetch: u64,
    /// Flushes that concern this node alone.
    pub(super) plain: Vec<(u64, HostOp)>,
    plain_next: u64,
    /// That with which the reign is to end.
    pub(super) last_flush: Option<u64>,
    /// A flush failed here: nobody knows what the medium lacks, and a later one that succeeds tells nothing of it.
    pub(super) is_unflushed: bool,
    pub stream: Option<Stream>,
    /// A stream began in this reign.
    pub(super) ever_began: bool,
    pub(super) cursor: u64,
    /// From this number on everything in the ring is for the peer.
    pub(super) whole_from: u64,
    /// Passed by the cursor, and to be sent (again), ascending.
    pub(super) resend: VecDeque<u64>,
    pub(super) peer: PeerView,
    /// When this reign began.
    pub(super) began: Instant,
    pub dirty: DirtyMap,
    /// When the oldest write of those that the map and the resync's copies stand for may have been acknowledged.
    pub(super) dirty_from: Option<Instant>,
    pub(super) undurable: Undurable,
    /// What the peer said that it may have written, and which of its processes.
    pub(super) suspected: Option<(Instance, Vec<(VolumeIndex, Range)>)>,
    /// The record says that the peer lacks acknowledged writes: they are acknowledged without it.
    pub alone: bool,
    /// That it does is on its way to the record.
    pub is_degrading: bool,
    /// It is about to be UpToDate, first on our record, then on its own: till then nothing is acknowledged, neither with it
    /// nor without.
    pub is_joining: bool,
    /// The peer can't go on from the ring: a resync has to come first.
    pub detached: bool,
    /// After the queue overflowed, when the peer is to be sent to again; and how often that was since all was well.
    pub rejoins_at: Option<Instant>,
    pub overflows: u32,
    pub resync: Option<Resync>,
    pub(super) pace: Pace,
    pub(super) resync_reads: usize,
    pub resync_retry: Option<Instant>,
    /// Read for the resync and not applied by the peer: what hosts write there comes after them. At most what the queue holds.
    pub(super) copies: Vec<Copied>,
    /// Pieces that the resync compares before it copies them; those that it copies at once are not in it.
    pub(super) unknown: Option<DirtyMap>,
    /// The numbers of what the peer is to compare, as far as it may not have applied all up to there: at most
    /// [`super::verify::COMPARED_MAX`].
    pub(super) compared: VecDeque<u64>,
    pub(super) verify: Option<Verify>,
    /// Its reads under way, by number; also those that were begun before it ended.
    pub(super) verify_reads: Vec<u64>,
    pub(super) fetching: usize,
    /// Something is in the journal; the last write that was put there.
    pub(super) ever_spilled: bool,
    pub(super) last_spilled: u64,
    /// Every write goes there: the peer is away.
    pub(super) journals: bool,
    /// The reign before this one, whose journalled writes are the first of the ring.
    pub(super) former: Option<FormerReign>,
    /// The peer gets what is queued up to this write in order; only then what it may lack besides.
    pub(super) ordered_upto: Option<u64>,
    /// The last of each kind, for the peer that comes back: at most [`crate::wire::message::MARK_MAX`] each.
    pub(super) marks: BTreeMap<(VolumeIndex, MarkKind), Bytes>,
    /// The number of the last of each kind.
    last_marks: BTreeMap<(VolumeIndex, MarkKind), u64>,
}

/// What the peer has told of the stream.
#[derive(Clone, Debug, Default)]
pub(super) struct PeerView {
    /// It has the stream's Begin: `applied_upto` is what it said, not what follows from where the stream begins.
    pub confirmed: bool,
    pub ack_number: u64,
    pub received_upto: u64,
    pub applied_upto: u64,
    pub durable_upto: u64,
    pub credit: Credit,
}

#[derive(Clone, Debug)]
pub(super) struct Active {
    pub seq: u64,
    /// `None`: a resync's, or told BUSY.
    pub op: Option<HostOp>,
    /// Its host was told BUSY, or an error; until the peer has what is there, or is given up, nobody is to read it.
    pub(super) is_stalled: bool,
    /// The local device failed it: what it left there is not what the stream has.
    pub(super) has_failed: bool,
    pub(super) volume: VolumeIndex,
    /// Blocks; nothing where start = end.
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) waits_for: SmallVec<[u64; 4]>,
    pub local: Local,
    /// The host wants it durable: a FUA write, a flush.
    durable: bool,
    pub since: Instant,
}

#[derive(Clone, Debug)]
pub(super) enum Local {
    Waiting(LocalAction),
    Running,
    Done,
}

impl Active {
    pub(super) fn overlaps(&self, volume: VolumeIndex, start: u64, end: u64) -> bool {
        self.volume == volume && self.start < end && start < self.end
    }

    /// Of what is done locally only a flush has no blocks.
    pub(super) fn is_flush(&self) -> bool {
        self.start == self.end
    }

    pub(super) fn wants_durable(&self) -> bool {
        self.durable
    }

    pub fn is_done_here(&self) -> bool {
        matches!(self.local, Local::Done)
    }
}

#[derive(Clone, Debug)]
pub(super) struct WaitingRead {
    pub op: HostOp,
    pub waits_for: SmallVec<[u64; 4]>,
    pub since: Instant,
}

/// A resync's copy, or what is compared: its number, its volume, its blocks from `start` to before `end`.
#[derive(Clone, Debug)]
pub(super) struct Copied {
    pub seq: u64,
    pub volume: VolumeIndex,
    pub start: u64,
    pub end: u64,
    pub purpose: Purpose,
}

/// What blocks are read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Copy,
    /// A copy, if the peer holds something else.
    Compare,
    Verify,
}

/// A change as the wire, the local device and the queue see it.
pub(super) struct Work {
    pub volume: VolumeIndex,
    pub start: u64,
    pub end: u64,
    pub op: Op,
    pub local: Option<LocalAction>,
    pub durable: bool,
}

impl Owner {
    /// `dirty`: what the peer may lack from the beginning.
    pub fn new(
        epoch: OwnerEpoch,
        volumes: Vec<VolumeSpec>,
        bounds: QueueBounds,
        dirty: DirtyMap,
        now: Instant,
    ) -> Owner {
        let undurable = Undurable::new(&volumes, dirty.piece_bytes());
        let dirty_from = (!dirty.is_empty()).then_some(now);
        Owner {
            epoch,
            ring: Ring::new(volumes.len()),
            volumes,
            bounds,
            slots: Slots::default(),
            after: 0,
            active: Vec::new(),
            waits_from: None,
            may_wait_in_vain: false,
            reads: Vec::new(),
            through: Through::No,
            orphans: 0,
            fetches: Vec::new(),
            last_fetch: 0,
            plain: Vec::new(),
            plain_next: 0,
            last_flush: None,
            is_unflushed: false,
            stream: None,
            ever_began: false,
            cursor: 1,
            whole_from: 1,
            resend: VecDeque::new(),
            peer: PeerView::default(),
            began: now,
            dirty,
            dirty_from,
            undurable,
            suspected: None,
            alone: false,
            is_degrading: false,
            is_joining: false,
            detached: false,
            rejoins_at: None,
            overflows: 0,
            resync: None,
            pace: Pace::new(now),
            resync_reads: 0,
            resync_retry: None,
            copies: Vec::new(),
            unknown: None,
            compared: VecDeque::new(),
            verify: None,
            verify_reads: Vec::new(),
            fetching: 0,
            ever_spilled: false,
            last_spilled: 0,
            journals: false,
            former: None,
            ordered_upto: None,
            marks: BTreeMap::new(),
            last_marks: BTreeMap::new(),
        }
    }

    pub fn submit(&mut self, cx: &mut Context, op: HostOp, change: HostChange) {
        let peer_counts = self.is_through() || cx.policy.mode != Mode::Async && !self.alone;
        match change {
            HostChange::Flush { volume } if !peer_counts => self.flush_here(cx, op, volume),
            HostChange::Flush { volume } => {
                // Memsync asks for "applied", which is what a write that depends on all the others comes to.
                let asks_all = cx.policy.mode == Mode::Sync || self.is_through();
                let wire = if asks_all { Op::Flush } else { Op::Void };
                let local = Some(LocalAction::Flush { volume: Some(volume) });
                self.admit(cx, op, Work { volume, start: 0, end: 0, op: wire, local, durable: true });
            }
            HostChange::Mark { volume, kind, data } => {
                self.marks.insert((volume, kind), data.clone());
                let wire = Op::Mark { volume, kind, data };
                self.admit(cx, op, Work { volume, start: 0, end: 0, op: wire, local: None, durable: false });
            }
            HostChange::Write { volume, extent, data, durability } => {
                let durable = durability == Durability::Durable;
                let wire = Op::Write { volume, range: range(extent), data: data.clone(), durable };
                let local = LocalAction::Write { volume, extent, data, durability };
                self.admit(cx, op, Work::on(volume, extent, wire, local, durable));
            }
            HostChange::WriteZeroes { volume, extent, allocation, durability } => {
                let durable = durability == Durability::Durable;
                let wire = Op::WriteZeroes { volume, range: range(extent), allocation, durable };
                let local = LocalAction::WriteZeroes { volume, extent, allocation, durability };
                self.admit(cx, op, Work::on(volume, extent, wire, local, durable));
            }
            HostChange::Unmap { volume, extent } => {
                let wire = Op::Unmap { volume, range: range(extent) };
                self.admit(cx, op, Work::on(volume, extent, wire, LocalAction::Unmap { volume, extent }, false));
            }
        }
    }

    /// Before a reign ends in good order, hosts having their answers: what both have is on both media, for nobody will remember that it was not.
    pub fn flush_both(&mut self, cx: &mut Context) {
        let local = Some(LocalAction::Flush { volume: None });
        let work = Work { volume: VolumeIndex(0), start: 0, end: 0, op: Op::Flush, local, durable: true };
        self.last_flush = Some(self.number(cx, None, work, Place::Memory));
        self.pump(cx);
    }

    fn flush_here(&mut self, cx: &mut Context, op: HostOp, volume: VolumeIndex) {
        self.plain_next += 1;
        self.plain.push((self.plain_next, op));
        let io = LocalWork::Plain.io(cx.run, self.plain_next);
        cx.out.push_back(Output::Local { io, action: LocalAction::Flush { volume: Some(volume) } });
    }

    pub fn flushed_here(&mut self, cx: &mut Context, number: u64, result: Result<(), BlockError>) {
        if let Some(at) = self.plain.iter().position(|(plain, _)| *plain == number) {
            let (_, op) = self.plain.swap_remove(at);
            self.is_unflushed |= result.is_err();
            match result {
                Err(error) if self.try_through(cx, error) => {
                    cx.out.push_back(Output::Event(Event::LocalFailed { error }));
                    self.flush_there(cx, op, cx.now);
                }
                result => cx.out.push_back(Output::Complete { op, result }),
            }
        } else if self.is_through() {
            self.orphans = self.orphans.saturating_sub(1);
        }
    }

    fn admit(&mut self, cx: &mut Context, op: HostOp, work: Work) {
        let cost = work.op.payload_bytes() + super::ring::ENTRY_COST;
        let is_full = self.ring.memory_bytes + cost > self.bounds.memory;
        let mut place = Place::Memory;
        if is_full && self.is_through() {
            // Nothing that the peer lacks is given up, nor spilled.
            if !self.has_room_beside_answered(cost) {
                return cx.out.push_back(Output::Complete { op, result: Err(BlockError::Stalled) });
            }
        } else if self.journals && !self.is_through() && matches!(work.op, Op::Write { .. }) && self.journal_takes(cost)
        {
            place = Place::Spilling;
            if is_full && self.answered_bytes() > self.bounds.memory {
                if self.ring.spilling_bytes > 0 {
                    // The journal is behind, and hosts do not wait for it that were told of an error.
                    return cx.out.push_back(Output::Complete { op, result: Err(BlockError::Stalled) });
                }
                // What has no payload fills it, and stays.
                self.detach(cx);
                place = Place::Memory;
            }
        } else if is_full && !self.detached {
            let waits_for_peer = cx.policy.mode != Mode::Async && !self.alone;
            let may_spill = matches!(work.op, Op::Write { .. }) && self.journal_takes(cost);
            // Hosts that wait for the peer bound themselves, unless they are told BUSY and come again, or others before
            // them did not wait.
            let bounds_itself = self.stream.is_some() && cx.policy.on_link_loss != OnLinkLoss::Hold;
            if waits_for_peer && bounds_itself && self.has_room_beside_answered(cost) {
                place = Place::Memory;
            } else if may_spill && (!waits_for_peer || bounds_itself) {
                if self.is_journal_behind() {
                    return cx.out.push_back(Output::Complete { op, result: Err(BlockError::Stalled) });
                }
                place = Place::Spilling;
            } else if waits_for_peer || self.is_throttled(cx) {
                cx.out.push_back(Output::Complete { op, result: Err(BlockError::Stalled) });
                return;
            } else {
                self.detach(cx);
            }
        }
        let seq = self.number(cx, Some(op), work, place);
        self.pump(cx);
        self.evaluate(cx, seq);
    }

    /// Give it its place in the order, and start it locally as soon as those it overlaps are done.
    pub(super) fn number(&mut self, cx: &mut Context, op: Option<HostOp>, work: Work, place: Place) -> u64 {
        let mut after = self.after;
        let mut odep: SmallVec<[WriteSeq; ODEP_MAX]> = SmallVec::new();
        let mut waits_for: SmallVec<[u64; 4]> = SmallVec::new();
        for other in self.active.iter().filter(|other| other.overlaps(work.volume, work.start, work.end)) {
            if other.seq > after {
                odep.push(WriteSeq(other.seq));
            }
            if !other.is_done_here() && !cx.planted.has(Fault::LocalIgnoresOdep) {
                waits_for.push(other.seq);
            }
        }
        let overlaps = |copy: &&Copied| copy.volume == work.volume && copy.start < work.end && work.start < copy.end;
        let copies = self.copies.iter().filter(overlaps).map(|copy| WriteSeq(copy.seq));
        odep.extend(copies.filter(|copy| copy.0 > after));
        let mark = match &work.op {
            Op::Mark { volume, kind, .. } => Some((*volume, *kind)),
            _ => None,
        };
        // The later mark of a kind stands, as the later write of a block does.
        let former = mark.and_then(|mark| self.last_marks.get(&mark).copied());
        odep.extend(former.filter(|&former| former > after).map(WriteSeq));
        if odep.len() > ODEP_MAX {
            odep.sort_unstable();
            let folded = odep.len() - ODEP_MAX;
            after = odep[folded - 1].0;
            odep.drain(..folded);
        }
        if self.detached
            && let Some((volume, range)) = work.op.place()
        {
            self.set_dirty(volume, range, cx.now);
        }
        if op.is_none() && matches!(work.op, Op::Flush | Op::ResyncDone { .. }) {
            after = self.ring.next() - 1;
        }
        let payload = match place {
            // A digest is no payload.
            Place::Reading if matches!(work.local, Some(LocalAction::Read { .. })) => {
                (work.end - work.start) * u64::from(self.block_bytes(work.volume))
            }
            Place::Reading => 0,
            _ => work.op.payload_bytes(),
        };
        let seq = self.ring.push(after, odep, work.op, place, !self.detached, payload);
        if place == Place::Spilling || self.journals {
            self.put_in_journal(cx, seq);
        }
        if let Some(mark) = mark {
            self.last_marks.insert(mark, seq);
        }
        let ready = waits_for.is_empty();
        let local = match work.local.filter(|_| !self.is_through()) {
            Some(action) if ready => {
                cx.out.push_back(Output::Local { io: LocalWork::for_owner(&action).io(cx.run, seq), action });
                Local::Running
            }
            Some(action) => Local::Waiting(action),
            None => Local::Done,
        };
        self.may_wait_in_vain |= self.detached;
        if op.is_some() && matches!(local, Local::Done) {
            self.waits_now(cx.now);
        }
        let Work { volume, start, end, durable, .. } = work;
        self.active.push(Active {
            seq,
            op,
            is_stalled: false,
            has_failed: false,
            volume,
            start,
            end,
            waits_for,
            local,
            durable,
            since: cx.now,
        });
        seq
    }

    /// Beside what hosts ask for: a word in the stream with nothing local to it.
    pub(super) fn number_own(&mut self, cx: &mut Context, op: Op) {
        let work = Work { volume: VolumeIndex(0), start: 0, end: 0, op, local: None, durable: false };
        self.number(cx, None, work, Place::Memory);
        self.finish(cx, self.active.len() - 1, Ok(()));
    }

    /// Blocks are read for the peer, or digested. What it is to be is known when that is done; until then only where.
    pub(super) fn number_read(
        &mut self,
        cx: &mut Context,
        volume: VolumeIndex,
        extent: Extent,
        purpose: Purpose,
    ) -> u64 {
        let op = match purpose {
            Purpose::Copy | Purpose::Compare => Op::Unmap { volume, range: range(extent) },
            Purpose::Verify => Op::Void,
        };
        let read = match purpose {
            Purpose::Copy => LocalAction::Read { volume, extent },
            Purpose::Compare | Purpose::Verify => LocalAction::Digest { volume, extent },
        };
        let through = match purpose {
            Purpose::Copy | Purpose::Compare => Fault::ResyncReadsThrough,
            Purpose::Verify => Fault::VerifyReadsThrough,
        };
        if cx.planted.has(through) {
            return self.read_through(cx, op, extent, read);
        }
        self.number(cx, None, Work::on(volume, extent, op, read, false), Place::Reading)
    }

    /// Planted: what takes no part in the order.
    fn read_through(&mut self, cx: &mut Context, op: Op, extent: Extent, read: LocalAction) -> u64 {
        let payload = match &read {
            LocalAction::Read { volume, .. } => extent.blocks().0 * u64::from(self.block_bytes(*volume)),
            _ => 0,
        };
        let seq = self.ring.push(self.after, Default::default(), op, Place::Reading, true, payload);
        cx.out.push_back(Output::Local { io: LocalWork::ResyncRead.io(cx.run, seq), action: read });
        seq
    }

    /// The local device has done (or not) what write `seq` asked.
    pub fn local_done(&mut self, cx: &mut Context, seq: u64, result: Result<(), BlockError>) {
        if self.is_through() {
            self.orphans = self.orphans.saturating_sub(1);
            return;
        }
        let Some(at) = self.active.iter().position(|active| active.seq == seq) else { return };
        let active = &mut self.active[at];
        active.local = Local::Done;
        let since = active.since;
        self.waits_now(since);
        self.release(cx, seq);
        match result {
            Ok(()) => self.evaluate(cx, seq),
            Err(error) => {
                cx.out.push_back(Output::Event(Event::LocalFailed { error }));
                if self.try_through(cx, error) {
                    return;
                }
                let at = self.active.iter().position(|active| active.seq == seq).expect("it was there");
                self.is_unflushed |= self.active[at].is_flush();
                self.void(at, cx.now);
                self.fail(cx, at, error);
                self.resync_on(cx);
            }
        }
        self.pump(cx);
    }

    /// A write that failed here may have changed some of its blocks: the peer is made like us, whatever it got of it, and also
    /// where it has applied it long since.
    fn void(&mut self, at: usize, now: Instant) {
        let &Active { seq, volume, start, end, .. } = &self.active[at];
        if let Some(entry) = self.ring.get_mut(seq)
            && entry.slot.is_none()
            && entry.place == Place::Memory
        {
            entry.op = Op::Void;
        }
        if start < end {
            self.set_dirty(volume, Range { lba: Lba(start), blocks: BlockCount(end - start) }, now);
        }
    }

    /// Local work that waited for `seq` waits no more.
    pub(super) fn release(&mut self, cx: &mut Context, seq: u64) {
        for active in &mut self.active {
            let Some(at) = active.waits_for.iter().position(|waits| *waits == seq) else { continue };
            active.waits_for.swap_remove(at);
            if active.waits_for.is_empty()
                && let Local::Waiting(action) = std::mem::replace(&mut active.local, Local::Running)
            {
                cx.out.push_back(Output::Local { io: LocalWork::for_owner(&action).io(cx.run, active.seq), action });
            }
        }
    }

    /// Answer it if its time has come.
    fn evaluate(&mut self, cx: &mut Context, seq: u64) {
        if let Some(at) = self.active.iter().rposition(|active| active.seq == seq)
            && self.is_kept(cx, &self.active[at])
        {
            self.finish(cx, at, Ok(()));
        }
    }

    /// Answer whatever may be answered by now.
    pub fn evaluate_all(&mut self, cx: &mut Context) {
        let mut at = 0;
        while at < self.active.len() {
            if self.is_kept(cx, &self.active[at]) {
                self.finish(cx, at, Ok(()));
            } else {
                at += 1;
            }
        }
    }

    /// What the mode promises of this write is so. The table of the modes is this function.
    fn is_kept(&self, cx: &Context, active: &Active) -> bool {
        if self.is_through() {
            return self.is_kept_through(active);
        }
        if !active.is_done_here() || self.is_hidden(cx.policy, active) {
            return false;
        }
        let Some(entry) = self.ring.get(active.seq) else { return true };
        // In memory beyond its bound, and not yet in the file either.
        if entry.place == Place::Spilling && !entry.applied && self.ring.memory_bytes > self.bounds.memory {
            return false;
        }
        if self.is_joining && cx.policy.mode != Mode::Async {
            return false;
        }
        if cx.policy.mode == Mode::Async || self.alone || cx.planted.has(Fault::AckEarly) {
            return true;
        }
        if !entry.for_peer {
            // What was told BUSY went there as a copy.
            return active.is_stalled;
        }
        match cx.policy.mode {
            Mode::Memsync if !active.durable => {
                entry.applied || active.seq <= self.peer.received_upto || self.is_received_with_closure(entry)
            }
            Mode::Async | Mode::Memsync | Mode::Sync => entry.applied,
        }
    }

    fn is_received_with_closure(&self, entry: &super::ring::Entry) -> bool {
        let has = |seq: u64| seq <= self.peer.received_upto || self.ring.get(seq).is_none_or(|entry| entry.received);
        entry.received
            && entry.after.0 <= self.peer.received_upto
            && entry.odep.iter().all(|dep| {
                let closed = self.ring.get(dep.0).is_none_or(|before| before.after.0 <= self.peer.received_upto);
                // One step is enough: what those overlap in their turn is answered only by the next Ack.
                has(dep.0)
                    && closed
                    && self
                        .ring
                        .get(dep.0)
                        .is_none_or(|before| before.odep.iter().all(|dep| dep.0 <= self.peer.received_upto))
            })
    }

    /// It is read: from now on its place in the order is all that it needs.
    pub(super) fn remember_copy(&mut self, at: usize, purpose: Purpose) {
        let Active { seq, volume, start, end, .. } = self.active[at];
        self.copies.push(Copied { seq, volume, start, end, purpose });
    }

    /// It has its answer, and the order remembers that.
    pub(super) fn finish(&mut self, cx: &mut Context, at: usize, result: Result<(), BlockError>) {
        let active = self.active.swap_remove(at);
        if let Some(op) = active.op {
            self.after = self.after.max(active.seq);
            self.host_has_answer(cx.now, active.since);
            cx.out.push_back(Output::Complete { op, result });
        }
        if !active.is_stalled {
            self.ring.answered(active.seq, cx.now);
        }
        let mut at = 0;
        while at < self.reads.len() {
            self.reads[at].waits_for.retain(|waits| *waits != active.seq);
            if self.reads[at].waits_for.is_empty() {
                let op = self.reads.swap_remove(at).op;
                cx.out.push_back(Output::Complete { op, result: Ok(()) });
            } else {
                at += 1;
            }
        }
        self.ring.trim();
    }

    fn block_bytes(&self, volume: VolumeIndex) -> u32 {
        self.volumes[usize::from(volume.0)].block_length.bytes()
    }
}

impl Work {
    fn on(volume: VolumeIndex, extent: Extent, op: Op, local: LocalAction, durable: bool) -> Work {
        Work { volume, start: extent.lba().0, end: extent.end().0, op, local: Some(local), durable }
    }
}

pub(super) fn range(extent: Extent) -> Range {
    Range { lba: extent.lba(), blocks: extent.blocks() }
}
