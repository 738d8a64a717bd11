//! Verify: a walk over all blocks that compares both copies by digest, while hosts write. Pure.
//!
//! ```text
//!   range ─► behind the writes that it overlaps ─► digest here ─► VERIFY ─► its closure is applied ─► digest there ─► Ack
//!     ▲                                                                                                               │
//!     └──────────── different, and larger than 4 KiB: again, 4 KiB at a time ◄────────────────────────────────────────┘
//! ```
//!
//! It takes its place in the order as a resync's copy does, so that whatever differs is no write that is still under way. What
//! is known to differ (dirty pieces) is not compared; what becomes dirty in the meantime is no finding.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::io::{Event, Found, Output, Refusal};
use super::machine::Replica;
use super::owner::{Context, Owner, Purpose, range};
use super::ring::ENTRY_COST;
use super::status::{DifferingRange, VerifyState, VerifyStatus};
use crate::block::BlockError;
use crate::config::{InitialSync, VolumeSpec};
use crate::extent::{BlockCount, Extent, Lba};
use crate::ids::{Generation, VolumeIndex, WriteSeq};
use crate::wire::message::{DiskState, Op};

/// One walk: under way, or over.
#[derive(Clone, Debug)]
pub(super) struct Verify {
    number: u64,
    scrub: bool,
    repair: bool,
    /// Bytes a second; 0: as fast as may be.
    rate: u64,
    state: VerifyState,
    began: Instant,
    /// And it was told that it has ended.
    ended: Option<Instant>,
    /// Where the walk is: volume, block.
    at: (usize, u64),
    /// Found to differ, and to be looked at more closely. No more than what was under way at a time.
    again: VecDeque<Part>,
    refined: u64,
    under_way: Vec<UnderWay>,
    /// To be copied once nothing near it is looked at more closely: before, the map's coarser bits would hide what else differs.
    /// At most the parts of [`REFINED_MAX`] ranges.
    to_mend: Vec<Part>,
    /// By its rate nothing more is taken up before.
    paced: Instant,
    /// That alone is what it waits for.
    wakes_at: Option<Instant>,
    total_bytes: u64,
    done_bytes: u64,
    unread_bytes: u64,
    differing_bytes: u64,
    unlisted_bytes: u64,
    /// In order, neighbours joined; at most [`RANGES_MAX`].
    ranges: Vec<Part>,
}

/// Blocks from `start` to before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    volume: u16,
    start: u64,
    end: u64,
}

#[derive(Clone, Debug)]
struct UnderWay {
    seq: u64,
    part: Part,
    differs: bool,
    /// It became dirty since: it may differ, and that is known.
    is_excused: bool,
}

impl Verify {
    fn new(number: u64, scrub: bool, repair: bool, rate: Option<u64>, volumes: &[VolumeSpec], now: Instant) -> Verify {
        let bytes = |volume: &VolumeSpec| volume.capacity.0 * u64::from(volume.block_length.bytes());
        Verify {
            number,
            scrub,
            repair,
            rate: rate.unwrap_or(0),
            state: VerifyState::Running,
            began: now,
            ended: None,
            at: (0, 0),
            again: VecDeque::new(),
            refined: 0,
            under_way: Vec::new(),
            to_mend: Vec::new(),
            paced: now,
            wakes_at: None,
            total_bytes: volumes.iter().map(bytes).sum(),
            done_bytes: 0,
            unread_bytes: 0,
            differing_bytes: 0,
            unlisted_bytes: 0,
            ranges: Vec::new(),
        }
    }

    pub fn is_running(&self) -> bool {
        self.state == VerifyState::Running
    }

    pub fn end(&mut self, state: VerifyState) {
        if self.is_running() {
            self.state = state;
            self.again.clear();
            self.under_way.clear();
            self.wakes_at = None;
        }
    }

    /// What is to be compared next: so many bytes, or a piece if that is more.
    fn next(&mut self, volumes: &[VolumeSpec], bytes: u64, piece_bytes: u64) -> Option<Part> {
        if let Some(whole) = self.again.front_mut() {
            let blocks = fine_blocks(&volumes[usize::from(whole.volume)]);
            let part = Part { end: whole.end.min(whole.start + blocks), ..*whole };
            whole.start = part.end;
            if whole.start == whole.end {
                self.again.pop_front();
            }
            return Some(part);
        }
        while self.at.1 == volumes.get(self.at.0)?.capacity.0 {
            self.at = (self.at.0 + 1, 0);
        }
        let (volume, start) = self.at;
        let shift = volumes[volume].block_length.shift();
        // No more than a region, and no less than a piece.
        let blocks = bytes.clamp(piece_bytes, 64 * piece_bytes) >> shift;
        let end = volumes[volume].capacity.0.min(start + blocks);
        self.at.1 = end;
        Some(Part { volume: volume as u16, start, end })
    }

    fn is_all_taken(&self, volumes: &[VolumeSpec]) -> bool {
        let rest = volumes.get(self.at.0..).unwrap_or_default();
        let is_over = rest.iter().enumerate().all(|(at, volume)| at == 0 && self.at.1 == volume.capacity.0);
        is_over && self.again.is_empty() && self.under_way.is_empty()
    }

    /// Its rate lets it take no more up.
    fn must_wait(&mut self, now: Instant) -> bool {
        let waits = self.rate > 0 && self.paced > now;
        self.wakes_at = waits.then_some(self.paced);
        waits
    }

    fn pace(&mut self, bytes: u64, now: Instant) {
        if self.rate > 0 {
            let takes = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
            // Timers are coarse: what one comes late by is made up for, and no more than that.
            let from = now.checked_sub(BURST).map_or(self.paced, |earliest| self.paced.max(earliest));
            self.paced = from + takes;
        }
    }

    fn takes_its_time(&self) -> bool {
        self.is_running() && self.wakes_at.is_some()
    }

    fn found(&mut self, part: Part, bytes: u64) {
        self.differing_bytes += bytes;
        let at = self.ranges.partition_point(|known| (known.volume, known.start) < (part.volume, part.start));
        let joins = |a: &Part, b: &Part| a.volume == b.volume && a.end == b.start;
        let before = at.checked_sub(1).filter(|&before| joins(&self.ranges[before], &part));
        let after = self.ranges.get(at).is_some_and(|next| joins(&part, next));
        match (before, after) {
            (Some(before), true) => {
                self.ranges[before].end = self.ranges[at].end;
                self.ranges.remove(at);
            }
            (Some(before), false) => self.ranges[before].end = part.end,
            (None, true) => self.ranges[at].start = part.start,
            (None, false) if self.ranges.len() < RANGES_MAX => self.ranges.insert(at, part),
            (None, false) => self.unlisted_bytes += bytes,
        }
    }

    pub fn told(&self, volumes: &[VolumeSpec], now: Instant) -> VerifyStatus {
        let seconds = self.ended.unwrap_or(now).saturating_duration_since(self.began).as_secs_f64();
        let bytes_per_second = if seconds > 0.0 { self.done_bytes as f64 / seconds } else { 0.0 };
        let left = self.total_bytes.saturating_sub(self.done_bytes) as f64;
        let seconds_left = (self.is_running() && bytes_per_second > 0.0).then(|| left / bytes_per_second);
        let range = |part: &Part| DifferingRange {
            volume: volumes[usize::from(part.volume)].name.clone(),
            lba: part.start,
            blocks: part.end - part.start,
        };
        VerifyStatus {
            number: self.number,
            state: self.state,
            scrub: self.scrub,
            repair: self.repair,
            total_bytes: self.total_bytes,
            done_bytes: self.done_bytes,
            bytes_per_second,
            seconds_left,
            differing_bytes: self.differing_bytes,
            ranges: self.ranges.iter().map(range).collect(),
            unlisted_bytes: self.unlisted_bytes,
            unread_bytes: self.unread_bytes,
            last_finished_s: None,
        }
    }
}

impl Owner {
    /// Take up what may be compared next, or find that it is over.
    pub fn verify_on(&mut self, cx: &mut Context) {
        if !self.is_verifying() {
            return;
        }
        if !self.is_established() {
            return self.interrupt_verify();
        }
        if let Some(verify) = &mut self.verify {
            // Whatever else it waits for by now.
            verify.wakes_at = verify.wakes_at.filter(|at| *at > cx.now);
        }
        // Beside hosts it is a resync like any other.
        let allowed = self.pace.allowed(cx.now, cx.policy.host_latency);
        while self.copies_under_way() < allowed.copies
            && self.compared.len() < COMPARED_MAX
            && self.ring.memory_bytes + ENTRY_COST <= self.bounds.memory
            && let Some(verify) = &mut self.verify
            && !verify.must_wait(cx.now)
        {
            let Some(part) = verify.next(&self.volumes, allowed.bytes, self.dirty.piece_bytes()) else { break };
            let (volume, extent, bytes) = self.place_of(part);
            let Some(verify) = &mut self.verify else { return };
            verify.pace(bytes, cx.now);
            if self.dirty.any(volume, extent) {
                verify.done_bytes += bytes;
                continue;
            }
            let seq = self.number_read(cx, volume, extent, Purpose::Verify);
            self.verify_reads.push(seq);
            self.compared.push_back(seq);
            if let Some(verify) = &mut self.verify {
                verify.under_way.push(UnderWay { seq, part, differs: false, is_excused: false });
            }
        }
        self.mend(cx.now);
        if !self.dirty.is_empty() {
            self.resync_on(cx);
        }
        let is_copied = self.is_copied();
        if let Some(verify) = &mut self.verify
            && verify.is_all_taken(&self.volumes)
            && verify.to_mend.is_empty()
            && (is_copied || !verify.repair)
        {
            verify.end(VerifyState::Finished);
        }
    }

    pub fn is_verifying(&self) -> bool {
        self.verify.as_ref().is_some_and(Verify::is_running)
    }

    fn place_of(&self, part: Part) -> (VolumeIndex, Extent, u64) {
        let spec = &self.volumes[usize::from(part.volume)];
        let extent = Extent::new(Lba(part.start), BlockCount(part.end - part.start), spec.capacity);
        let extent = extent.expect("the walk stays on the volume");
        (VolumeIndex(part.volume), extent, extent.byte_length(spec.block_length))
    }

    /// What this copy holds there is known: what of it goes to the peer.
    pub(super) fn digested(&mut self, cx: &mut Context, seq: u64, found: Result<Found, BlockError>) -> Op {
        let Some(verify) = self.verify.as_mut().filter(|verify| verify.is_running()) else { return Op::Void };
        let Some(at) = verify.under_way.iter().position(|under_way| under_way.seq == seq) else { return Op::Void };
        let UnderWay { part, is_excused, .. } = verify.under_way[at];
        match found {
            Ok(Found::Digest(digest)) if !is_excused => {
                let (volume, extent, _) = self.place_of(part);
                let known = WriteSeq(self.peer.applied_upto);
                return Op::Verify { volume, range: range(extent), digest, is_copy: false, known };
            }
            Ok(_) => (),
            Err(error) => cx.out.push_back(Output::Event(Event::LocalFailed { error })),
        }
        let (_, _, bytes) = self.place_of(part);
        if let Some(verify) = &mut self.verify {
            verify.under_way.swap_remove(at);
            verify.done_bytes += bytes;
            verify.unread_bytes += if found.is_err() { bytes } else { 0 };
        }
        self.mend(cx.now);
        Op::Void
    }

    /// The peer holds something else, and may say so more than once.
    pub(super) fn verify_differs(&mut self, seq: u64) {
        let under_way = self.verify.iter_mut().flat_map(|verify| &mut verify.under_way);
        under_way.filter(|under_way| under_way.seq == seq).for_each(|under_way| under_way.differs = true);
    }

    /// These blocks may differ from now on, and that is known.
    pub(super) fn excuse(&mut self, volume: VolumeIndex, extent: Extent) {
        for under_way in self.verify.iter_mut().flat_map(|verify| &mut verify.under_way) {
            let Part { start, end, .. } = under_way.part;
            let overlaps = start < extent.end().0 && extent.lba().0 < end;
            under_way.is_excused |= under_way.part.volume == volume.0 && overlaps;
        }
    }

    /// The peer has compared it.
    pub(super) fn verified(&mut self, seq: u64, now: Instant) {
        let Some(verify) = &mut self.verify else { return };
        let Some(at) = verify.under_way.iter().position(|under_way| under_way.seq == seq) else { return };
        let UnderWay { part, differs, is_excused, .. } = verify.under_way.swap_remove(at);
        let differs = differs && !is_excused;
        let (_, extent, bytes) = self.place_of(part);
        let fine = fine_blocks(&self.volumes[usize::from(part.volume)]);
        let Some(verify) = &mut self.verify else { return };
        if differs && extent.blocks().0 > fine && verify.refined < REFINED_MAX {
            verify.refined += 1;
            return verify.again.push_back(part);
        }
        verify.done_bytes += bytes;
        if differs {
            verify.found(part, bytes);
            if verify.repair {
                verify.to_mend.push(part);
            }
        }
        self.mend(now);
    }

    /// What was found is dirty from now on, unless something is still looked at closely.
    fn mend(&mut self, now: Instant) {
        let Some(verify) = self.verify.as_mut().filter(|verify| !verify.to_mend.is_empty()) else { return };
        let is_fine = |part: Part| part.end - part.start <= fine_blocks(&self.volumes[usize::from(part.volume)]);
        if verify.again.is_empty() && !verify.under_way.iter().any(|under_way| is_fine(under_way.part)) {
            for part in std::mem::take(&mut verify.to_mend) {
                let (volume, extent, _) = self.place_of(part);
                self.set_dirty(volume, range(extent), now);
            }
        }
    }

    pub(super) fn interrupt_verify(&mut self) {
        if let Some(verify) = &mut self.verify {
            verify.end(VerifyState::Interrupted);
        }
    }

    pub fn verify_wakes_at(&self) -> Option<Instant> {
        self.verify.as_ref().filter(|verify| verify.takes_its_time())?.wakes_at
    }

    /// What is still to be resynced, and what will be until that is done: compare it first, or don't.
    pub(super) fn compare_first(&mut self, compare: bool) {
        self.unknown = (compare && !self.dirty.is_empty()).then(|| self.dirty.clone());
    }
}

impl Replica {
    pub(super) fn begin_verify(
        &mut self,
        now: Instant,
        scrub: bool,
        repair: bool,
        rate: Option<u64>,
    ) -> Result<String, Refusal> {
        let refused = |why: &str| Err(Refusal::Other(why.into()));
        if !self.may_verify() {
            return refused("copies are compared where the volume is Primary, its link established and both UpToDate");
        }
        let Some(owner) = &mut self.owner else { return refused("this node does not serve it yet") };
        if owner.verify.as_ref().is_some_and(Verify::is_running) {
            return refused("a verify is under way already; it can be stopped");
        }
        self.verifies += 1;
        let verify = Verify::new(self.verifies, scrub, repair, rate, &owner.volumes, now);
        let (number, bytes) = (verify.number, verify.total_bytes);
        owner.verify = Some(verify);
        self.verified = None;
        self.outputs.push_back(Output::Event(Event::VerifyStarted { bytes, scrub, repair }));
        self.with_owner(now, |owner, cx| {
            owner.verify_on(cx);
            owner.pump(cx);
        });
        Ok(format!("verify {number} has begun"))
    }

    /// The pair is one, and is to stay it.
    fn may_verify(&self) -> bool {
        let peer_is_whole = self.meeting.peer_disk == Some(DiskState::UpToDate);
        let goes_on = self.pending.is_none() && !self.ends && !self.paused && self.meeting.is_up();
        let established = self.owner.as_ref().is_some_and(Owner::is_established);
        goes_on && established && peer_is_whole && self.disk == DiskState::UpToDate
    }

    /// What it found until then is mended, if it was to.
    pub(super) fn stop_verify(&mut self, now: Instant) -> Result<String, Refusal> {
        let verify = self.owner.as_mut().and_then(|owner| owner.verify.as_mut()).filter(|verify| verify.is_running());
        let Some(verify) = verify else { return Err(Refusal::Other("no verify is under way here".into())) };
        verify.end(VerifyState::Stopped);
        let number = verify.number;
        self.with_owner(now, |owner, cx| {
            owner.mend(cx.now);
            owner.resync_on(cx);
            owner.pump(cx);
        });
        Ok(format!("verify {number} is stopped"))
    }

    /// What follows from how the verify goes, and from how the pair does.
    pub(super) fn see_verified(&mut self, now: Instant) {
        let verify = self.owner.as_ref().and_then(|owner| owner.verify.as_ref());
        let Some(verify) = verify.filter(|verify| verify.ended.is_none()) else { return };
        if verify.is_running() {
            if self.may_verify() {
                return;
            }
            self.with_owner(now, |owner, _| owner.interrupt_verify());
        }
        self.tell_verified(now);
    }

    fn tell_verified(&mut self, now: Instant) {
        let Some(verify) = self.owner.as_mut().and_then(|owner| owner.verify.as_mut()) else { return };
        if verify.ended.replace(now).is_some() {
            return;
        }
        let (state, scrub) = (verify.state, verify.scrub);
        let told = verify.told(&self.config.volumes, now);
        self.outputs.push_back(Output::Event(Event::VerifyEnded(Box::new(told))));
        let Some(due) = self.config.scrub.map(|plan| now + plan.every) else { return self.finished(state, now) };
        match state {
            VerifyState::Interrupted if scrub => self.scrub_due = Some(now + SCRUB_AGAIN),
            VerifyState::Stopped if !scrub => (),
            VerifyState::Interrupted => (),
            VerifyState::Running | VerifyState::Stopped | VerifyState::Finished => self.scrub_due = Some(due),
        }
        self.finished(state, now);
    }

    fn finished(&mut self, state: VerifyState, now: Instant) {
        if state == VerifyState::Finished {
            self.verify_finished = Some(now);
        }
    }

    /// The reign ends: what came of its verify is remembered.
    pub(super) fn keep_verify(&mut self, now: Instant) {
        if let Some(owner) = &mut self.owner {
            owner.interrupt_verify();
            self.tell_verified(now);
            self.verified = self.owner.as_mut().and_then(|owner| owner.verify.take());
        }
    }

    /// Compare the copies without being asked, if it is time.
    pub(super) fn scrub(&mut self, now: Instant) {
        let Some(plan) = self.config.scrub.filter(|_| self.owner.is_some()) else { return };
        if self.scrub_due.is_none_or(|due| due > now) {
            return;
        }
        // When it has ended it is due again.
        self.scrub_due = match self.begin_verify(now, true, false, plan.rate) {
            Ok(_) => None,
            Err(_) => Some(now + SCRUB_AGAIN),
        };
    }

    /// What the peer's copy of that generation is to be sent, it is to be asked for first. By configuration that is only so
    /// while it never was one of ours, nor this one its: a copy that has taken another's place gets every block.
    pub(super) fn compares_first(&self, theirs: Generation) -> bool {
        let is_first = theirs == Generation::NONE && self.dirty_since.is_none();
        self.compares.unwrap_or(is_first && self.config.initial_sync == InitialSync::Compare)
    }

    pub(super) fn compare_first_by_command(&mut self, compare: bool) -> Result<String, Refusal> {
        let Some(owner) = &mut self.owner else {
            return Err(Refusal::Other("the resync is the Primary's: tell it there".into()));
        };
        self.compares = Some(compare);
        let is_under_way = owner.resync.is_some();
        owner.compare_first(compare && is_under_way);
        let how =
            if compare { "what is left is compared first, and what differs sent" } else { "what is left is sent" };
        Ok(match is_under_way {
            true => how.into(),
            false => "no resync is under way; the next one goes on so".into(),
        })
    }
}

/// What is compared once a range is known to differ.
fn fine_blocks(volume: &VolumeSpec) -> u64 {
    (FINE_BYTES >> volume.block_length.shift()).max(1)
}

/// Comparisons that the peer may not have finished, at a time; its pace allows fewer as a rule.
pub(super) const COMPARED_MAX: usize = 64;
const FINE_BYTES: u64 = 4 << 10;
/// Ranges that are looked at more closely in one walk; where more differs than 256 MiB nobody reads a list of it.
const REFINED_MAX: u64 = 1024;
const RANGES_MAX: usize = 64;
/// What may be taken up at once after a timer that came late.
const BURST: Duration = Duration::from_millis(50);
/// After a scrub that could not begin, or that was interrupted.
const SCRUB_AGAIN: Duration = Duration::from_secs(60);
