//! Hosts are served through the peer: the local device failed, and the peer's copy has everything. Pure.
//!
//! ```text
//!   local failure, peer established ─► disk: Failed, on record ─┬─► writes: answered when the peer has applied them
//!                                                               └─► reads: Read ─► peer ─► ReadDone
//! ```
//!
//! From the failure on nothing is written to the local device, and nothing read from it; from the record on no restart of this
//! node takes it for good. Till then one would, so the map has to know where the peer is written to, as ever. Without the peer
//! hosts are told BUSY: nobody else has what they were told was done. The reign goes on when the same process of the peer is
//! back, and gives way to any other, and to one whose device fails as well.

use std::time::{Duration, Instant};

use super::io::{CommandId, Event, Found, HostOp, Misbehaviour, Output, Refusal};
use super::machine::Replica;
use super::owner::{Active, Context, Local, Owner, Work, range};
use super::planted::Fault;
use super::receiver::misbehaved;
use super::records::Then;
use super::ring::Place;
use super::status::VerifyState;
use crate::block::BlockError;
use crate::extent::Extent;
use crate::ids::{VolumeIndex, WriteSeq};
use crate::wire::message::{DiskState, Lent, Marks, Message, Op, Read, ReadDone, Role};

/// Who serves hosts' blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Through {
    /// The local device.
    No,
    /// It failed: that is to go on record.
    Wanted,
    /// That is on its way to the record; till then nothing is answered.
    Recording,
    Yes,
}

/// A host's read, to be answered by the peer.
#[derive(Clone, Debug)]
pub(super) struct Fetch {
    id: u64,
    op: HostOp,
    volume: VolumeIndex,
    extent: Extent,
    bytes: u64,
    after: u64,
    since: Instant,
    /// When the peer was asked last, in this session.
    asked: Option<Instant>,
}

impl Owner {
    pub fn is_through(&self) -> bool {
        self.through != Through::No
    }

    /// The peer's copy is good, and all that it lacks is in the ring: it can do without the local device.
    fn may_go_through(&self) -> bool {
        let is_with_the_peer = self.is_established() && !self.alone && !self.is_joining && !self.is_degrading;
        let is_in_the_ring = !self.detached && !self.journals && self.former.is_none();
        let has_nothing_else = is_in_the_ring && self.dirty.is_empty() && self.resync_reads == 0;
        self.through == Through::No && is_with_the_peer && has_nothing_else
    }

    /// The local device failed. False: hosts have to be told, as there is no copy that could do without it.
    pub(super) fn try_through(&mut self, cx: &mut Context, error: BlockError) -> bool {
        let goes = is_the_devices(error) && self.may_go_through();
        if goes {
            self.go_through(cx);
        }
        goes
    }

    fn go_through(&mut self, cx: &mut Context) {
        self.through = Through::Wanted;
        if let Some(verify) = &mut self.verify {
            verify.end(VerifyState::Interrupted);
        }
        // Nothing cools any more, and the reign does not end as a clean one.
        self.is_unflushed = true;
        for active in &mut self.active {
            self.orphans += usize::from(matches!(active.local, Local::Running));
            active.local = Local::Done;
            active.waits_for.clear();
        }
        // Nothing more is asked of the device, and what it was asked for the peer's sake may hang.
        for seq in std::mem::take(&mut self.verify_reads) {
            self.ring.fill(seq, Op::Void);
            if let Some(at) = self.active.iter().position(|active| active.seq == seq) {
                self.finish(cx, at, Ok(()));
            }
            if seq < self.cursor {
                let at = self.resend.partition_point(|&other| other < seq);
                self.resend.insert(at, seq);
            }
        }
        self.waits_from = self.active.iter().map(|active| active.since).min();
        for read in std::mem::take(&mut self.reads) {
            cx.out.push_back(Output::Complete { op: read.op, result: Err(BlockError::Medium) });
        }
        // What was to be flushed here is to be flushed there, which is another element of the stream.
        let is_local_flush = |active: &Active, ring: &super::ring::Ring| {
            let is_wire_flush = ring.get(active.seq).is_some_and(|entry| matches!(entry.op, Op::Flush));
            active.op.is_some() && active.wants_durable() && active.is_flush() && !is_wire_flush
        };
        while let Some(at) = self.active.iter().position(|active| is_local_flush(active, &self.ring)) {
            let (op, since) = (self.active[at].op.take(), self.active[at].since);
            self.finish(cx, at, Ok(()));
            op.into_iter().for_each(|op| self.flush_there(cx, op, since));
        }
        self.orphans += self.plain.len();
        for (_, op) in std::mem::take(&mut self.plain) {
            self.flush_there(cx, op, cx.now);
        }
        self.pump(cx);
    }

    pub(super) fn flush_there(&mut self, cx: &mut Context, op: HostOp, since: Instant) {
        let work = Work { volume: VolumeIndex(0), start: 0, end: 0, op: Op::Flush, local: None, durable: true };
        self.number(cx, Some(op), work, Place::Memory);
        if let Some(active) = self.active.last_mut() {
            active.since = since;
        }
        self.waits_now(since);
    }

    /// What this says is on record.
    fn through_recorded(&mut self, cx: &mut Context) {
        if matches!(self.through, Through::Wanted | Through::Recording) {
            self.through = Through::Yes;
            self.evaluate_all(cx);
            self.pump(cx);
        }
    }

    /// The peer has it, and will have it: what a host is told counts on nothing else.
    pub(super) fn is_kept_through(&self, active: &Active) -> bool {
        let is_applied = |entry: &super::ring::Entry| entry.for_peer && entry.applied;
        self.through == Through::Yes && self.ring.get(active.seq).is_none_or(is_applied)
    }

    /// The stream goes on in this session where it was in the last.
    fn may_go_on_through(&self, marks: Marks) -> bool {
        !self.detached && self.goes_on_behind(marks).is_some()
    }

    // Reads.

    /// `error`: what the local device said, if it was asked.
    pub fn fetch(&mut self, cx: &mut Context, op: HostOp, volume: VolumeIndex, extent: Extent, error: BlockError) {
        if self.through == Through::No {
            if !self.try_through(cx, error) {
                return cx.out.push_back(Output::Fetched { op, result: Err(error) });
            }
            cx.out.push_back(Output::Event(Event::LocalFailed { error }));
        }
        let bytes = extent.byte_length(self.volumes[usize::from(volume.0)].block_length);
        self.last_fetch += 1;
        let (id, after) = (self.last_fetch, self.after);
        self.fetches.push(Fetch { id, op, volume, extent, bytes, after, since: cx.now, asked: None });
        self.waits_now(cx.now);
        self.ask(cx);
    }

    /// Ask the peer for as much as it lends at a time.
    pub(super) fn ask(&mut self, cx: &mut Context) {
        let is_heard = self.stream.as_ref().is_some_and(|stream| stream.acknowledged);
        let Some(slot) = self.slots.any().filter(|_| is_heard && self.through == Through::Yes) else { return };
        let asked = || self.fetches.iter().filter(|fetch| fetch.asked.is_some());
        let (mut reads, mut bytes) = (asked().count(), asked().map(|fetch| fetch.bytes).sum::<u64>());
        for fetch in self.fetches.iter_mut().filter(|fetch| fetch.asked.is_none()) {
            if reads == READS_MAX || bytes + fetch.bytes > READ_BYTES_MAX {
                break;
            }
            (reads, bytes) = (reads + 1, bytes + fetch.bytes);
            fetch.asked = Some(cx.now);
            let read = Read {
                epoch: self.epoch,
                id: fetch.id,
                after: WriteSeq(fetch.after),
                volume: fetch.volume,
                range: range(fetch.extent),
            };
            cx.out.push_back(Output::Send { slot, message: Message::Read(read) });
        }
    }

    /// What was asked may have been lost, or its answer: it is asked again, under the same number.
    pub(super) fn ask_again(&mut self, before: Option<Instant>) {
        let is_old = |asked: Instant| before.is_none_or(|before| asked <= before);
        self.fetches.iter_mut().for_each(|fetch| fetch.asked = fetch.asked.filter(|asked| !is_old(*asked)));
    }

    pub(super) fn ask_the_late_again(&mut self, cx: &mut Context) {
        self.ask_again(cx.now.checked_sub(ASK_AGAIN_AFTER));
        self.ask(cx);
    }

    pub(super) fn ask_again_at(&self) -> Option<Instant> {
        self.fetches.iter().filter_map(|fetch| fetch.asked).min().map(|asked| asked + ASK_AGAIN_AFTER)
    }

    fn lent(&mut self, cx: &mut Context, done: ReadDone) -> Result<(), Misbehaviour> {
        let Some(at) = self.fetches.iter().position(|fetch| fetch.id == done.id && done.epoch == self.epoch) else {
            return Ok(());
        };
        let expected = self.fetches[at].bytes;
        let result = match done.lent {
            Lent::Data(data) if data.len() != expected => {
                return Err(misbehaved(
                    &format!("{expected} bytes, as were asked for"),
                    format!("{} bytes", data.len()),
                ));
            }
            Lent::Data(data) => Ok(Found::Data(data)),
            Lent::Zeroes => Ok(Found::Zeroes),
            Lent::Failed => Err(BlockError::Medium),
        };
        let Fetch { op, .. } = self.fetches.swap_remove(at);
        cx.out.push_back(Output::Fetched { op, result });
        self.ask(cx);
        Ok(())
    }

    pub(super) fn oldest_fetch(&self) -> Option<Instant> {
        self.fetches.iter().map(|fetch| fetch.since).min()
    }

    fn stall_fetches(&mut self, cx: &mut Context, before: Instant) {
        self.end_fetches(cx, |fetch| fetch.since <= before, BlockError::Stalled);
    }

    pub(super) fn end_fetches(&mut self, cx: &mut Context, which: impl Fn(&Fetch) -> bool, error: BlockError) {
        let fetches = std::mem::take(&mut self.fetches);
        let (ended, left): (Vec<Fetch>, Vec<Fetch>) = fetches.into_iter().partition(which);
        self.fetches = left;
        cx.out.extend(ended.into_iter().map(|fetch| Output::Fetched { op: fetch.op, result: Err(error) }));
    }
}

impl Replica {
    /// Hosts' blocks are the peer's: the local device is not to be read.
    pub fn reads_at_peer(&self) -> bool {
        let is_through = self.owner.as_ref().is_some_and(Owner::is_through);
        is_through && self.serving() && !self.planted.has(Fault::ServeFailed)
    }

    pub(super) fn is_through(&self) -> bool {
        self.owner.as_ref().is_some_and(Owner::is_through)
    }

    /// A restart of this node would make its copy anew, all of it: hosts may write where the map says nothing.
    pub(super) fn is_through_on_record(&self) -> bool {
        self.owner.as_ref().is_some_and(|owner| owner.through == Through::Yes)
    }

    pub(super) fn received_read_done(&mut self, now: Instant, done: ReadDone) {
        let mut result = Ok(());
        self.with_owner(now, |owner, cx| result = owner.lent(cx, done));
        if let Err(how) = result {
            self.outputs.push_back(Output::Misbehaved(how));
        }
    }

    /// The owner's device failed just now: on record with it, before anything is answered that only the peer has.
    pub(super) fn see_through(&mut self, now: Instant) {
        let Some(owner) = &mut self.owner else { return };
        if owner.is_through() && owner.detached {
            return self.leave_to_the_peer(now);
        }
        if owner.through != Through::Wanted {
            return;
        }
        owner.through = Through::Recording;
        self.set_disk(DiskState::Failed);
        self.outputs.push_back(Output::Event(Event::ServedThroughPeer));
        self.store(Then::Through);
        if self.planted.has(Fault::FailedNotRecorded) {
            self.through_recorded(now);
        }
        self.greet_again(now);
    }

    pub(super) fn through_recorded(&mut self, now: Instant) {
        self.with_owner(now, Owner::through_recorded);
        self.admit_waiting(now);
    }

    /// BUSY, for whoever has waited long enough.
    pub(super) fn see_to_those_served_through(&mut self, now: Instant) {
        let max_stall = self.policy.max_stall;
        let Some(owner) = &mut self.owner else { return };
        let is_late = |since: Option<Instant>| since.is_some_and(|since| since + max_stall <= now);
        if is_late(owner.waits_since_earliest())
            && is_late(owner.waits_since())
            && let Some(before) = now.checked_sub(max_stall)
        {
            self.with_owner(now, |owner, cx| {
                owner.stall(cx, before);
                owner.stall_fetches(cx, before);
                owner.waits_since();
            });
        }
    }

    /// A session with the peer: does it have what hosts were told was done? `everything`: not even all that it had.
    pub(super) fn goes_on_through(&self, same_instance: bool, everything: bool) -> bool {
        let Some((owner, theirs)) = self.owner.as_ref().zip(self.meeting.theirs()) else { return false };
        let is_whole = matches!(theirs.disk, DiskState::UpToDate | DiskState::Consistent);
        let has_its_own = !theirs.suspects.is_empty();
        is_whole && same_instance && !everything && !has_its_own && owner.may_go_on_through(theirs.received)
    }

    /// The operator says that the device works again.
    pub(super) fn reattach(&mut self, id: CommandId) {
        let refusal = match (self.disk, self.role) {
            (DiskState::Failed, Role::Secondary) => None,
            (DiskState::Failed, Role::Primary) => Some(format!(
                "hosts are served through {peer}: demote this node, promote {peer}, then reattach",
                peer = self.config.peer
            )),
            _ => Some("its device has not failed".into()),
        };
        if let Some(refusal) = refusal {
            return self.refuse(id, Refusal::Other(refusal));
        }
        self.forget_generation();
        // A counting of nobody's. `None` would be taken for what was said before a Begin that is under way, or that came.
        (self.counting, self.stayed) = (Some(self.draw()), false);
        self.receive_anew();
        self.reads_doubted = true;
        self.outputs.push_back(Output::BeginAnew);
        self.set_disk(DiskState::Inconsistent);
        self.store(Then::Answer(id));
        self.store(Then::Greet);
    }

    /// What came and was not applied is forgotten; what is under way on the device still ends.
    fn receive_anew(&mut self) {
        self.receiver.forget();
        self.lending.forget();
        self.flushes.clear();
        self.resync_done = None;
        self.run = self.run.wrapping_add(1);
    }

    /// Nothing on this device is believed, and the peer's copy can't be followed any more: it is the peer's to serve.
    pub(super) fn leave_to_the_peer(&mut self, now: Instant) {
        self.outputs.push_back(Output::Event(Event::LeftToPeer));
        self.step_down(now);
        self.store(Then::Nothing);
        self.greet_again(now);
    }
}

/// Of what a device says, what speaks of its own end; the rest is for hosts to know. Space that is used up is theirs to free.
fn is_the_devices(error: BlockError) -> bool {
    match error {
        // A file system that met an error turns read-only.
        BlockError::Medium | BlockError::Io(_) | BlockError::ReadOnly => true,
        BlockError::NoSpace | BlockError::OutOfRange | BlockError::Fenced | BlockError::Stalled => false,
    }
}

/// Hosts' reads under way at the peer at a time, and their bytes: what it may have to hold for its sockets.
pub(super) const READS_MAX: usize = 256;
pub(super) const READ_BYTES_MAX: u64 = 8 << 20;
/// A peer that lives answers within that.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);
