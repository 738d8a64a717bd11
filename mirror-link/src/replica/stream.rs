//! The owner's stream to the peer: where it begins, what is sent when, what an Ack says, and the resync that fills in what
//! the ring no longer holds. Pure.
//!
//! ```text
//!   Hellos agree ─► Begin ─► Ack (credit) ─► ops … resync's copies among them … ─► Flush ─► applied: caught up
//!     ─► the record says that the peer lacks nothing ─► ResyncDone ─► applied: established
//! ```

use std::iter;
use std::time::{Duration, Instant};

use super::io::{Event, Found, Misbehaviour, Output};
use super::owner::{Context, Copied, Owner, PeerView, Purpose};
use super::planted::Fault;
use super::receiver::misbehaved;
use super::reconcile::Missing;
use super::ring::{FRAME_COST, Place};
use super::status::LinkState;
use crate::block::{Allocation, BlockError, Payload};
use crate::extent::{BlockCount, Extent, Lba};
use crate::ids::{Generation, Instance, Slot, VolumeIndex, WriteSeq};
use crate::wire::message::{Ack, Begin, Marks, Message, Op, Range};

/// An agreement to send, in one session.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub begin: Begin,
    /// The peer has answered the Begin: there is credit.
    pub acknowledged: bool,
    /// The number of the flush behind which it lacks nothing.
    caught_up: Option<u64>,
    /// That is done there.
    is_caught_up: bool,
    /// The number of the ResyncDone that was sent.
    done: Option<u64>,
    /// It is applied: the peer's copy is UpToDate.
    pub established: bool,
}

/// Progress of what is being made alike.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resync {
    pub total_bytes: u64,
    pub began: Instant,
}

impl Owner {
    /// What the peer says its own writes may have changed is dirty; once, however often it says so.
    pub fn suspect(&mut self, peer: Instance, suspects: &[(VolumeIndex, Range)], now: Instant) {
        if suspects.is_empty() || self.suspected.as_ref().is_some_and(|(from, of)| *from == peer && of == suspects) {
            return;
        }
        for &(volume, range) in suspects {
            if usize::from(volume.0) < self.volumes.len() {
                self.set_dirty(volume, range, now);
            }
        }
        self.suspected = Some((peer, suspects.into()));
    }

    /// Start to send, or start over. `marks`: what the peer holds. `same_instance`: as far as we knew before.
    pub fn begin(
        &mut self,
        cx: &mut Context,
        marks: Marks,
        counting: Generation,
        same_instance: bool,
        missing: Missing,
    ) {
        self.stop();
        if !same_instance && !cx.planted.has(Fault::TrustVolatile) {
            self.undurable.lost(&mut self.dirty);
            if !self.dirty.is_empty() {
                // How long it had it in its cache alone is not known: a second, as a rule.
                self.is_dirty_from(cx.now);
            }
        }
        if missing != Missing::Counted {
            self.dirty.set_all();
            self.unknown = (missing == Missing::Compared).then(|| self.dirty.clone());
            self.is_dirty_from_the_start();
            self.undurable.clear();
        }
        let goes_on = self.goes_on_behind(marks).filter(|_| same_instance);
        let ordered = self.ordered_behind(marks).filter(|_| missing == Missing::Counted);
        (self.journals, self.ordered_upto) = (false, ordered.map(|(_, last)| last));
        let goes_on = goes_on.or(ordered.map(|(upto, _)| upto));
        let first = match goes_on {
            Some(upto) => {
                (self.ring.base() + 1..=upto).for_each(|seq| self.mark_applied(seq, cx.now));
                self.ring.trim();
                upto + 1
            }
            None => self.first_of_a_new_stream(cx),
        };
        let resync = goes_on.is_none() && !self.dirty.is_empty();
        let goes_on = goes_on.is_some();
        let begin = Begin { epoch: self.epoch, first: WriteSeq(first), resync, generation: cx.generation, counting };
        self.peer = PeerView {
            ack_number: self.peer.ack_number,
            received_upto: first - 1,
            applied_upto: first - 1,
            confirmed: goes_on,
            ..PeerView::default()
        };
        self.cursor = first;
        self.detached = false;
        self.rejoins_at = None;
        self.ever_began = true;
        self.stream = Some(Stream {
            begin,
            acknowledged: false,
            caught_up: None,
            is_caught_up: false,
            done: None,
            established: false,
        });
        let (writes, bytes) = (self.ring.lag_writes, self.ring.lag_bytes);
        if resync {
            let total_bytes = self.dirty.bytes();
            self.pace.begin(cx.now);
            self.resync = Some(Resync { total_bytes, began: cx.now });
            cx.out.push_back(Output::Event(Event::ResyncStarted {
                bytes: total_bytes,
                compares: self.unknown.is_some(),
            }));
        } else if writes > 0 {
            cx.out.push_back(Output::Event(Event::ReplayStarted { writes, bytes }));
        }
        self.say_begin(cx);
        if !goes_on {
            let marks = self.marks.clone();
            for ((volume, kind), data) in marks {
                self.number_own(cx, Op::Mark { volume, kind, data });
            }
        }
    }

    /// The write behind which the ring has all that the peer lacks, if it has.
    pub(super) fn goes_on_behind(&self, marks: Marks) -> Option<u64> {
        let told = (marks.epoch == self.epoch).then_some(marks.applied_upto.0);
        // The Hello may be older than what has been acknowledged in this session since.
        let upto = told.max(self.peer.confirmed.then_some(self.peer.applied_upto))?;
        let held = (self.ring.base()..self.ring.next()).contains(&upto) && upto + 1 >= self.whole_from;
        let sent = || self.ring.first_unsent(self.ring.base() + 1..=upto).is_none();
        // What came of a comparison is told by Acks alone.
        (held && !self.detached && self.dirty.is_empty() && !self.is_comparing() && sent()).then_some(upto)
    }

    /// Whatever the ring holds goes into the dirty map. A number is left out, so that no Ack of a former stream, still under
    /// way, can be taken for one of this, nor its Begin for this one's.
    fn first_of_a_new_stream(&mut self, cx: &mut Context) -> u64 {
        self.withdraw_all(cx);
        if self.ring.next() > 1 || self.ever_began {
            self.leave_a_number_out(cx.now);
            self.ring.trim();
        }
        self.whole_from = self.ring.next();
        self.last_flush = None;
        self.whole_from
    }

    /// It is nobody's: no host waits for it, and the peer does not get it.
    pub(super) fn leave_a_number_out(&mut self, now: Instant) {
        let left_out = self.ring.push(self.after, Default::default(), Op::Void, Place::Memory, false, 0);
        self.ring.answered(left_out, now);
    }

    pub fn say_begin(&mut self, cx: &mut Context) {
        if let (Some(stream), Some(slot)) = (&self.stream, self.slots.any()) {
            cx.out.push_back(Output::Send { slot, message: Message::Begin(stream.begin) });
        }
    }

    /// The session is over, or the operator wants a pause: everything not acknowledged is to be sent again some day.
    pub fn stop(&mut self) {
        self.stream = None;
        self.interrupt_verify();
        self.resend.clear();
        let base = self.ring.base();
        for seq in base + 1..self.ring.next() {
            if let Some(entry) = self.ring.get_mut(seq) {
                entry.slot = None;
                entry.received = entry.applied;
            }
        }
        self.ask_again(None);
    }

    /// The ring holds no more: from now on only which blocks changed is kept.
    pub fn detach(&mut self, cx: &mut Context) {
        cx.out.push_back(Output::Event(Event::QueueFull));
        self.withdraw_all(cx);
        self.stop();
        self.detached = true;
        // Hosts that are faster than the peer would have it resync for ever, and hardly ever be whole: the dirty map takes
        // many writes of one block as one.
        self.rejoins_at = Some(cx.now + REJOIN_AFTER * (1 << self.overflows.min(REJOIN_DOUBLINGS)));
        self.overflows += 1;
    }

    /// Everything that is in the ring for the peer goes into the dirty map.
    pub(super) fn withdraw_all(&mut self, cx: &mut Context) {
        (self.journals, self.former, self.ordered_upto) = (false, None, None);
        self.may_wait_in_vain = true;
        let oldest = self.ring.oldest_answered().unwrap_or(cx.now);
        for seq in self.ring.base() + 1..self.ring.next() {
            let reading = self.ring.get(seq).is_some_and(|entry| entry.place == Place::Reading);
            if let Some((volume, range)) = self.ring.withdraw(seq).and_then(|op| op.place())
                && !cx.planted.has(Fault::ClearBitEarly)
            {
                self.set_dirty(volume, range, oldest);
            }
            if reading && let Some(entry) = self.ring.get_mut(seq) {
                entry.place = Place::Memory;
            }
        }
        self.copies.clear();
        self.compared.clear();
        self.fetching = 0;
        if std::mem::take(&mut self.ever_spilled) {
            cx.out.push_back(Output::TrimSpill { upto: WriteSeq(self.ring.next() - 1) });
        }
        self.ring.trim();
    }

    // Sending.

    /// Send what may be sent.
    pub fn pump(&mut self, cx: &mut Context) {
        if !self.stream.as_ref().is_some_and(|stream| stream.acknowledged) {
            return;
        }
        while let Some(&seq) = self.resend.front() {
            if !self.send(cx, seq) {
                break;
            }
            self.resend.pop_front();
        }
        while self.cursor < self.ring.next() && self.send(cx, self.cursor) {
            self.cursor += 1;
        }
        if self.ever_spilled {
            self.fetch_ahead(cx);
        }
        if self.is_through() {
            self.ask(cx);
        }
    }

    /// False: not now, and nothing behind it either.
    fn send(&mut self, cx: &mut Context, seq: u64) -> bool {
        let Some(entry) = self.ring.get(seq) else { return true };
        if entry.applied || entry.received || !entry.for_peer || entry.place == Place::Reading {
            return true;
        }
        if self.ordered_upto.is_some_and(|upto| seq > upto) {
            return false;
        }
        let lowest = seq == self.peer.applied_upto + 1;
        let under_way = entry.prefix - self.ring.prefix(self.peer.applied_upto).min(entry.prefix);
        let credit = self.peer.credit;
        if WriteSeq(seq) > credit.seq || (under_way > credit.bytes && !lowest) {
            return false;
        }
        if matches!(entry.place, Place::Spilled | Place::Fetching | Place::Spilling) {
            return false;
        }
        let Some(slot) = self.slots.choose(entry.payload + FRAME_COST, cx.planted) else { return false };
        let Some(frame) = self.ring.frame(self.epoch, seq) else { return true };
        if let Some(entry) = self.ring.get_mut(seq) {
            entry.slot = Some(slot);
            entry.sent = true;
        }
        cx.out.push_back(Output::Send { slot, message: Message::Op(frame) });
        true
    }

    /// Get the next spilled writes back, a few at a time and as memory allows; the very next one that the peer is to apply
    /// in any case.
    fn fetch_ahead(&mut self, cx: &mut Context) {
        let mut seq = self.cursor;
        while self.fetching < FETCHING_MAX && seq < self.cursor + FETCHING_MAX as u64 {
            let Some(entry) = self.ring.get(seq) else { return };
            if entry.place == Place::Spilled {
                let lowest = seq == self.peer.applied_upto + 1;
                if !lowest && self.ring.memory_bytes + entry.cost > self.bounds.memory {
                    return;
                }
                self.ring.fetch(seq);
                self.fetching += 1;
                cx.out.push_back(Output::Unspill { run: cx.run, seq: WriteSeq(seq) });
            }
            seq += 1;
        }
    }

    pub fn spilled(&mut self, cx: &mut Context, seq: u64, stored: bool) {
        if stored {
            self.ring.spilled(seq);
        } else if self.ring.get(seq).is_some_and(|entry| entry.place == Place::Spilling) {
            // Neither memory nor the file takes it.
            self.detach(cx);
        }
        self.evaluate_all(cx);
        self.pump(cx);
    }

    pub fn unspilled(&mut self, cx: &mut Context, seq: u64, found: Option<Payload>) {
        self.fetching = self.fetching.saturating_sub(1);
        match found {
            Some(_) if cx.planted.has(Fault::DropSpill) => {
                if let Some(entry) = self.ring.get_mut(seq) {
                    entry.op = Op::Void;
                }
                self.ring.fetched(seq, Payload::default());
            }
            Some(payload) => self.ring.fetched(seq, payload),
            None if self.ring.get(seq).is_some_and(|entry| entry.place == Place::Fetching) => self.detach(cx),
            None => (),
        }
        self.pump(cx);
    }

    /// Another slot, or the first of all: what may be sent goes on.
    pub fn slot_up(&mut self, cx: &mut Context, is_first: bool) {
        if is_first && self.stream.as_ref().is_some_and(|stream| !stream.acknowledged) {
            self.say_begin(cx);
        }
        self.pump(cx);
    }

    pub fn slot_down(&mut self, cx: &mut Context, slot: Slot) {
        self.slots.down(slot);
        for seq in self.ring.base() + 1..self.cursor {
            if let Some(entry) = self.ring.get_mut(seq)
                && entry.slot == Some(slot)
                && !entry.received
                && !entry.applied
            {
                entry.slot = None;
                if !cx.planted.has(Fault::ForgetSlotResend) {
                    self.resend.push_back(seq);
                }
            }
        }
        self.resend.make_contiguous().sort_unstable();
        self.ask_again(None);
        if self.stream.as_ref().is_some_and(|stream| !stream.acknowledged) {
            self.say_begin(cx);
        }
        self.pump(cx);
    }

    // What the peer says.

    pub fn acknowledged(&mut self, cx: &mut Context, ack: &Ack) -> Result<(), Misbehaviour> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        if ack.epoch != self.epoch || ack.number <= self.peer.ack_number {
            return Ok(());
        }
        if ack.applied_upto.0 + 1 < stream.begin.first.0 {
            // From before the stream began: the Begin is still under way.
            return Ok(());
        }
        self.check(ack)?;
        if let Some(stream) = &mut self.stream {
            stream.acknowledged = true;
        }
        let known = self.peer.received_upto.max(self.ring.base());
        for seq in known + 1..=ack.received_upto.0 {
            self.mark_received(seq);
        }
        for &(first, last) in ack.received.iter() {
            (first.0.max(known + 1)..=last.0).for_each(|seq| self.mark_received(seq));
        }
        for &seq in &ack.differs {
            self.differs(cx, seq.0);
        }
        let known = self.peer.applied_upto.max(self.ring.base());
        for seq in known + 1..=ack.applied_upto.0 {
            self.mark_applied(seq, cx.now);
        }
        for &(first, last) in ack.applied.iter() {
            (first.0.max(known + 1)..=last.0).for_each(|seq| self.mark_applied(seq, cx.now));
        }
        if ack.durable_upto.0 > self.peer.durable_upto {
            self.undurable.durable(ack.durable_upto.0);
        }
        if self.ever_spilled && ack.applied_upto.0 > self.peer.applied_upto {
            cx.out.push_back(Output::TrimSpill { upto: ack.applied_upto });
            self.ever_spilled = self.last_spilled > ack.applied_upto.0;
        }
        self.peer = PeerView {
            confirmed: true,
            ack_number: ack.number,
            received_upto: ack.received_upto.0.max(self.peer.received_upto),
            applied_upto: ack.applied_upto.0.max(self.peer.applied_upto),
            durable_upto: ack.durable_upto.0.max(self.peer.durable_upto),
            credit: ack.credit,
        };
        if let Some(stream) = &mut self.stream {
            stream.is_caught_up |= stream.caught_up.is_some_and(|flush| flush <= ack.applied_upto.0);
            stream.established |= stream.done.is_some_and(|done| done <= ack.applied_upto.0);
        }
        while self.compared.front().is_some_and(|seq| *seq <= ack.applied_upto.0) {
            self.compared.pop_front();
        }
        self.evaluate_all(cx);
        self.ring.trim();
        self.see_clean();
        self.see_ordered(cx);
        self.resync_on(cx);
        self.verify_on(cx);
        self.pump(cx);
        Ok(())
    }

    /// It tells of nothing that the peer can't have.
    fn check(&self, ack: &Ack) -> Result<(), Misbehaviour> {
        let refused = |expected: &str| Err(misbehaved(expected, format!("{ack:?}")));
        let (base, next) = (self.ring.base(), self.ring.next());
        let runs = || ack.received.iter().chain(&ack.applied);
        if ack.received_upto.0 >= next || !runs().all(|(first, last)| first <= last && last.0 < next) {
            return refused(&format!("acknowledgements of writes below {next}"));
        }
        if ack.applied_upto > ack.received_upto || ack.durable_upto > ack.applied_upto {
            return refused("no more durable than is applied, and no more applied than is received");
        }
        let upto = self.peer.received_upto.max(base) + 1..=ack.received_upto.0;
        let beyond = runs().map(|(first, last)| first.0.max(base + 1)..=last.0);
        match iter::once(upto).chain(beyond).find_map(|seqs| self.ring.first_unsent(seqs)) {
            None => Ok(()),
            Some(seq) => refused(&format!("acknowledgements of writes that were sent, not of {seq}")),
        }
    }

    fn mark_received(&mut self, seq: u64) {
        if let Some(entry) = self.ring.get_mut(seq)
            && !entry.received
        {
            entry.received = true;
            let (slot, bytes) = (entry.slot, entry.payload + FRAME_COST);
            if let Some(slot) = slot {
                self.slots.received(slot, bytes);
            }
        }
    }

    fn mark_applied(&mut self, seq: u64, now: Instant) {
        let place = self.ring.applied(seq).and_then(|op| op.place());
        if let Some(at) = self.copies.iter().position(|copy| copy.seq == seq)
            && self.copies.swap_remove(at).purpose == Purpose::Verify
        {
            self.verified(seq, now);
        }
        if let Some((volume, range)) = place {
            let capacity = self.volumes[usize::from(volume.0)].capacity;
            if let Ok(extent) = Extent::new(range.lba, range.blocks, capacity) {
                self.undurable.applied(seq, volume, extent);
            }
        }
    }

    /// An Ack of this stream says that the peer's device failed.
    pub fn tells_of_failure(&self, ack: &Ack) -> bool {
        let is_newest = ack.epoch == self.epoch && ack.number > self.peer.ack_number;
        let is_of = |stream: &Stream| ack.applied_upto.0 + 1 >= stream.begin.first.0;
        !ack.failed.is_empty() && is_newest && self.stream.as_ref().is_some_and(is_of)
    }

    /// The peer takes nothing until it is repaired, and then everything: nothing is queued for it.
    pub fn give_peer_up(&mut self, cx: &mut Context) {
        if !self.detached {
            self.withdraw_all(cx);
            self.stop();
            self.detached = true;
        }
    }

    // Resync: one more writer.

    /// Take the next pieces up, or see to it that what was sent is on the peer's medium.
    pub fn resync_on(&mut self, cx: &mut Context) {
        if self.resync_retry.is_some_and(|due| due > cx.now) {
            return;
        }
        self.resync_retry = None;
        if !self.stream.as_ref().is_some_and(|stream| stream.acknowledged) {
            return;
        }
        // Nothing here is to be copied over the peer's where it has the only good copy.
        if self.ordered_upto.is_some() || self.is_through() && !self.dirty.is_empty() {
            return;
        }
        let allowed = self.pace.allowed(cx.now, cx.policy.host_latency);
        while self.copies_under_way() < allowed.copies && self.has_room_for_resync(allowed.bytes) {
            let Some((volume, extent)) = self.dirty.take(allowed.bytes.div_ceil(self.dirty.piece_bytes())) else {
                break;
            };
            self.resync_reads += 1;
            if self.unknown.as_mut().is_some_and(|unknown| unknown.unset(volume, extent)) {
                let seq = self.number_read(cx, volume, extent, Purpose::Compare);
                self.compared.push_back(seq);
            } else {
                self.number_read(cx, volume, extent, Purpose::Copy);
            }
        }
        let all_is_read = self.dirty.is_empty() && self.resync_reads == 0 && !self.is_comparing();
        let Some(stream) = self.stream.as_mut().filter(|stream| stream.done.is_none()) else { return };
        if !all_is_read {
            (stream.caught_up, stream.is_caught_up) = (None, false);
        } else if stream.caught_up.is_none() {
            stream.caught_up = Some(self.ring.next());
            self.unknown = None;
            self.number_own(cx, Op::Flush);
        }
    }

    /// It lacks nothing that was sent before some moment, and has not been told so.
    pub fn is_caught_up(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.is_caught_up && stream.done.is_none())
    }

    /// From its answer on the peer is UpToDate.
    pub fn say_done(&mut self, cx: &mut Context) {
        if let Some(stream) = self.stream.as_mut().filter(|stream| stream.is_caught_up && stream.done.is_none()) {
            stream.done = Some(self.ring.next());
            self.number_own(cx, Op::ResyncDone { generation: cx.generation });
            self.pump(cx);
        }
    }

    /// Being read, or read and not applied.
    pub(super) fn copies_under_way(&self) -> usize {
        self.resync_reads + self.verify_reads.len() + self.copies.len()
    }

    pub(super) fn host_has_answer(&mut self, now: Instant, since: Instant) {
        let copies = self.copies_under_way();
        self.pace.answered(now, now.saturating_duration_since(since), copies);
    }

    fn has_room_for_resync(&self, copy_bytes: u64) -> bool {
        if self.unknown.is_some() && self.compared.len() >= super::verify::COMPARED_MAX {
            return false;
        }
        // What the reads under way will find is not in memory yet, and will be.
        let coming = self.resync_reads as u64 * copy_bytes;
        self.ring.memory_bytes + coming + RESYNC_ROOM.min(self.bounds.memory / 2) <= self.bounds.memory
    }

    /// What the resync and the verify read.
    pub fn copied(&mut self, cx: &mut Context, seq: u64, found: Result<Found, BlockError>) {
        if self.is_through() {
            // Asked before the device failed; what it tells is not to be believed.
            self.orphans = self.orphans.saturating_sub(1);
            return;
        }
        let (purpose, op) = match self.verify_reads.iter().position(|read| *read == seq) {
            Some(at) => {
                self.verify_reads.swap_remove(at);
                (Purpose::Verify, self.digested(cx, seq, found))
            }
            None => self.read_for_resync(cx, seq, found),
        };
        self.ring.fill(seq, op);
        if let Some(at) = self.active.iter().position(|active| active.seq == seq) {
            self.active[at].local = super::owner::Local::Done;
            self.release(cx, seq);
            if self.ring.get(seq).is_some_and(|entry| entry.for_peer && !entry.applied) {
                self.remember_copy(at, purpose);
            }
            self.finish(cx, at, Ok(()));
        } else {
            self.read_beside_the_order(cx, seq, purpose);
        }
        if seq < self.cursor {
            // In order: none that has no credit yet stands before one that has.
            let at = self.resend.partition_point(|&other| other < seq);
            self.resend.insert(at, seq);
        }
        self.resync_on(cx);
        self.verify_on(cx);
        self.pump(cx);
    }

    fn read_for_resync(&mut self, cx: &mut Context, seq: u64, found: Result<Found, BlockError>) -> (Purpose, Op) {
        self.resync_reads = self.resync_reads.saturating_sub(1);
        let place = self.ring.get(seq).and_then(|entry| entry.op.place());
        let op = match (found, place) {
            (Ok(Found::Digest(digest)), Some((volume, range))) => {
                let known = WriteSeq(self.peer.applied_upto);
                return (Purpose::Compare, Op::Verify { volume, range, digest, is_copy: true, known });
            }
            (Ok(Found::Data(data)), Some((volume, range))) => Op::Write { volume, range, data, durable: false },
            (Ok(Found::Zeroes), Some((volume, range))) => {
                Op::WriteZeroes { volume, range, allocation: Allocation::MayRelease, durable: false }
            }
            (Err(error), Some((volume, range))) => {
                cx.out.push_back(Output::Event(Event::LocalFailed { error }));
                self.set_dirty(volume, range, cx.now);
                self.resync_retry = Some(cx.now + RESYNC_RETRY_AFTER);
                Op::Void
            }
            // Withdrawn while it was read: it is in the dirty map again.
            (_, None) => Op::Void,
        };
        (Purpose::Copy, op)
    }

    /// Only where that is planted.
    fn read_beside_the_order(&mut self, cx: &mut Context, seq: u64, purpose: Purpose) {
        self.ring.answered(seq, cx.now);
        if let Some(Op::Verify { volume, range, .. }) = self.ring.get(seq).map(|entry| &entry.op) {
            let (volume, start, end) = (*volume, range.lba.0, range.lba.0 + range.blocks.0);
            self.copies.push(Copied { seq, volume, start, end, purpose });
        }
    }

    /// What a piece is compared for is not known yet.
    pub(super) fn is_comparing(&self) -> bool {
        self.copies.iter().any(|copy| copy.purpose == Purpose::Compare)
    }

    /// The peer holds something else there. It says so until it hears that we know: only the first time counts.
    fn differs(&mut self, cx: &mut Context, seq: u64) {
        let Some(copy) = self.copies.iter_mut().find(|copy| copy.seq == seq) else { return };
        match copy.purpose {
            Purpose::Compare => {
                // From now on it is one more that waits for its place in the order; the copy comes behind it.
                copy.purpose = Purpose::Copy;
                let (volume, range) =
                    (copy.volume, Range { lba: Lba(copy.start), blocks: BlockCount(copy.end - copy.start) });
                if !cx.planted.has(Fault::CompareBlind) {
                    self.set_dirty(volume, range, cx.now);
                }
            }
            Purpose::Verify => self.verify_differs(seq),
            Purpose::Copy => (),
        }
    }

    /// The generation has changed under the stream: the peer is to be told when it has all of it.
    pub fn tell_generation(&mut self, cx: &mut Context) {
        if let Some(stream) = &mut self.stream {
            (stream.caught_up, stream.is_caught_up) = (None, false);
            (stream.done, stream.established) = (None, false);
        }
        self.resync_on(cx);
        self.pump(cx);
    }

    // For people.

    pub fn is_established(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.established)
    }

    /// And the peer has it on its medium.
    pub fn is_durably_established(&self) -> bool {
        let is_durable = |stream: &Stream| stream.done.is_some_and(|done| done <= self.peer.durable_upto);
        self.stream.as_ref().is_some_and(|stream| stream.established && is_durable(stream))
    }

    pub fn link_state(&self) -> LinkState {
        match &self.stream {
            None | Some(Stream { acknowledged: false, .. }) => LinkState::Meeting,
            Some(Stream { established: true, .. }) => LinkState::Established,
            Some(_) if self.resync.is_some() => LinkState::Resyncing,
            Some(_) => LinkState::Replaying,
        }
    }
}

/// Spilled writes on their way back at once.
const FETCHING_MAX: usize = 32;
/// Free memory in the queue without which a resync takes nothing up; half of a queue that is smaller.
const RESYNC_ROOM: u64 = 1 << 20;
/// After the queue overflowed; doubles each time, so many times.
const REJOIN_AFTER: Duration = Duration::from_millis(250);
const REJOIN_DOUBLINGS: u32 = 4;
/// After a read that failed.
const RESYNC_RETRY_AFTER: Duration = Duration::from_secs(5);
