//! Who reigns: promotion, demotion, going on alone, the end of the process; and the operator's other commands.
//!
//! ```text
//!               Promote (drained) ─► record: epoch + 1 ─► serves
//!   Secondary ◄──────────────────────────────────────────────── Primary
//!               Demote (all is with the peer) · the peer has the newer copy
//! ```

use std::time::{Duration, Instant};

use super::claim::may_promote;
use super::dirty::DirtyMap;
use super::io::{Command, CommandId, Done, Event, LocalAction, Output, Overwritten, Refusal};
use super::local_work::LocalWork;
use super::machine::Replica;
use super::owner::Owner;
use super::planted::Fault;
use super::receiver::Receiver;
use super::records::{Degrading, STORE_RETRY_AFTER, Then};
use crate::block::BlockError;
use crate::config::{Mode, Policy};
use crate::ids::{Generation, OwnerEpoch, WriteSeq};
use crate::wire::message::{DiskState, Role};

/// A command that takes its time.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    /// `None`: nobody asked, it is the start.
    pub id: Option<CommandId>,
    what: What,
    remarks: Vec<String>,
    deadline: Instant,
    /// To be looked at again before.
    look_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Received writes are being applied; and a peer that was Primary when last heard may be heard again.
    Promoting {
        force: bool,
        since: Instant,
        flush: Flush,
    },
    /// The epoch is being recorded.
    Ascending,
    Demoting {
        force: bool,
    },
    Ending,
    /// The last record is being written.
    Recording,
}

/// What was applied as a replica is on the medium before the first write of a reign: its map speaks of its own writes only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flush {
    Due,
    UnderWay,
    Done,
}

/// What a replica was before its promotion.
#[derive(Clone, Debug)]
pub(super) struct Former {
    disk: DiskState,
    generation: Generation,
    history: Vec<Generation>,
    dirty_since: Option<Generation>,
    counting: Option<Generation>,
    overwritten: Option<Overwritten>,
    peer_outdated: bool,
}

impl Pending {
    pub(super) fn new(id: Option<CommandId>, what: What, deadline: Instant) -> Pending {
        Pending { id, what, remarks: Vec::new(), deadline, look_at: None }
    }

    pub fn wakes_at(&self) -> Instant {
        self.look_at.map_or(self.deadline, |look_at| look_at.min(self.deadline))
    }

    pub fn stops_hosts(&self) -> bool {
        matches!(self.what, What::Demoting { .. })
    }
}

impl Replica {
    pub(super) fn command(&mut self, now: Instant, id: CommandId, command: Command) {
        let set_policy = |replica: &mut Replica, change: &dyn Fn(&mut Policy)| {
            replica.policy_by_command = true;
            change(&mut replica.policy);
            replica.with_owner(now, |owner, cx| owner.evaluate_all(cx));
            replica.answer(id, Ok(Vec::new()));
        };
        match command {
            Command::Promote { .. } | Command::Demote { .. } | Command::GiveWay if self.ends => {
                self.refuse(id, process_ends())
            }
            Command::Promote { force } => self.promote(now, id, force),
            Command::Demote { force } => self.demote(now, id, force),
            Command::GiveWay if self.meeting.is_split() => self.demote(now, id, true),
            Command::GiveWay => {
                self.refuse(id, Refusal::Other("there is no split brain: no copy has to give way".into()))
            }
            // A crash is mended by what the record says: nothing weaker is acknowledged under.
            Command::Mode(Mode::Async) if self.owner.is_some() && self.policy.mode != Mode::Async => {
                self.mode_to_record = Some(Mode::Async);
                self.store(Then::Weaken(id, Mode::Async));
            }
            Command::Mode(mode) => {
                self.mode_to_record = None;
                set_policy(self, &|policy| policy.mode = mode);
                self.store(Then::Nothing);
            }
            Command::OnLinkLoss(on_link_loss) => set_policy(self, &|policy| policy.on_link_loss = on_link_loss),
            Command::MaxStall(max_stall) => set_policy(self, &|policy| policy.max_stall = max_stall),
            // It promises hosts nothing, so each node keeps its own.
            Command::HostLatency(goal) => {
                self.policy.host_latency = goal;
                self.answer(id, Ok(Vec::new()));
            }
            Command::Pause | Command::Resume if self.role == Role::Secondary => {
                self.refuse(id, Refusal::Other("the stream is the Primary's: pause and resume it there".into()));
            }
            Command::Pause if self.is_through() => {
                let why = "its own device failed, and hosts are served through the peer";
                self.refuse(id, Refusal::Other(why.into()));
            }
            Command::Pause => {
                self.paused = true;
                if let Some(owner) = &mut self.owner {
                    owner.stop();
                }
                self.answer(id, Ok(Vec::new()));
            }
            Command::Resume => {
                self.paused = false;
                self.decide(now);
                self.answer(id, Ok(Vec::new()));
            }
            Command::Verify { repair, rate } => {
                let began = self.begin_verify(now, false, repair, rate);
                self.answer(id, began.map(|remark| vec![remark]));
            }
            Command::StopVerify => {
                let stopped = self.stop_verify(now);
                self.answer(id, stopped.map(|remark| vec![remark]));
            }
            Command::Resync { compare } => {
                let goes_on = self.compare_first_by_command(compare);
                self.answer(id, goes_on.map(|remark| vec![remark]));
            }
            Command::Reattach => self.reattach(id),
            Command::Shutdown => self.end(now, id),
        }
    }

    /// Unless another was commanded meanwhile.
    pub(super) fn weaken(&mut self, now: Instant, mode: Mode) {
        if self.mode_to_record.take_if(|recorded| *recorded == mode).is_some() {
            self.policy_by_command = true;
            self.policy.mode = mode;
            self.async_owed |= mode == Mode::Async;
            self.with_owner(now, |owner, cx| owner.evaluate_all(cx));
        }
    }

    pub(super) fn answer(&mut self, id: CommandId, result: Result<Vec<String>, Refusal>) {
        self.outputs.push_back(Output::Answer { id, result: result.map(|remarks| Done { remarks }) });
    }

    pub(super) fn refuse(&mut self, id: CommandId, refusal: Refusal) {
        self.answer(id, Err(refusal));
    }

    // Up.

    fn promote(&mut self, now: Instant, id: CommandId, force: bool) {
        if self.pending.is_some() {
            return self.refuse(id, Refusal::Busy);
        }
        if self.role == Role::Primary {
            if self.owner.is_some() {
                let remark = match force && std::mem::take(&mut self.is_held) {
                    true => {
                        "it serves on, and so may the peer: what either writes is lost when the other's copy is kept"
                    }
                    false => "it is Primary already",
                };
                self.show();
                return self.answer(id, Ok(vec![remark.into()]));
            }
            // It waits at start for a peer that may have taken over; the operator knows better, unless that peer says so.
            if !force && let Err(refusal) = self.refuse_beside_rival(now) {
                return self.refuse(id, refusal);
            }
            if !force && self.lacks_its_cache() {
                let why = "its machine went down, and writes that hosts had been told were on both may be with the peer alone";
                return self.refuse(id, Refusal::Disk(self.disk, why.into()));
            }
            self.wait_until = None;
            self.pending = Some(Pending::new(Some(id), What::Ascending, now + PATIENCE));
            self.go_alone(now);
            return;
        }
        self.caretaker = false;
        let dead_at = self.rival_may_be_dead_at(now, now).filter(|_| !force);
        match may_promote(self.disk, &self.meeting, force) {
            Ok(()) => (),
            Err(Refusal::PeerIsPrimary(_)) if dead_at.is_some() => (),
            Err(refusal) => return self.refuse(id, refusal),
        }
        // What came before its device failed is applied as well as may be.
        self.receiver.gated &= self.disk != DiskState::Failed;
        let mut remarks = Vec::new();
        if matches!(self.disk, DiskState::Inconsistent | DiskState::Outdated | DiskState::Failed) {
            remarks.push(format!(
                "this copy was {:?}: writes that hosts had been told were done are not in it",
                self.disk
            ));
        }
        remarks.extend(self.tell_age(now));
        if let Some((position, heard)) = &self.position
            && position.lag_bytes > 0
        {
            let ago = humantime::format_duration(Duration::from_millis(now.duration_since(*heard).as_millis() as u64));
            remarks.push(format!(
                "{ago} ago the owner was ahead by {} bytes and {} ms: what of that has not come since is lost",
                position.lag_bytes, position.lag_ms
            ));
        }
        let what = What::Promoting { force, since: now, flush: Flush::Due };
        let pending = Pending::new(Some(id), what, dead_at.unwrap_or(now) + PROMOTION_PATIENCE);
        self.pending = Some(Pending { remarks, look_at: dead_at, ..pending });
    }

    /// Everything that could be applied is: what can't be is given up.
    fn ascend_from_replica(&mut self, now: Instant) {
        let dropped = self.receiver.drop_unclosed(&self.planted);
        if self.planted.has(Fault::PromoteKeepsUnclosed) {
            self.apply(now);
        }
        if !dropped.is_empty() {
            let block = |volume: crate::ids::VolumeIndex| self.config.volumes[usize::from(volume.0)].block_length;
            let bytes = dropped.iter().map(|(_, volume, extent)| extent.byte_length(block(*volume))).sum();
            let writes = dropped.len() as u64;
            if let Some(pending) = &mut self.pending {
                let what =
                    format!("{writes} writes ({bytes} bytes) had come whose precedents had not: they are dropped");
                pending.remarks.push(what);
            }
            self.outputs.push_back(Output::Event(Event::Dropped { writes, bytes, list: dropped }));
        }
        let alike = self.meeting.theirs().is_some_and(|theirs| {
            let crashed = theirs.crashed_owner || self.crashed_owner;
            // Of two that are new nobody knows what they hold.
            let same = self.generation != Generation::NONE && theirs.generation == self.generation;
            same && theirs.role == Role::Secondary && !crashed
        });
        self.ascends_from = Some(Former {
            disk: self.disk,
            generation: self.generation,
            history: self.history.clone(),
            dirty_since: self.dirty_since,
            counting: self.counting.take(),
            overwritten: self.overwritten.take(),
            peer_outdated: self.peer_outdated,
        });
        self.role = Role::Primary;
        self.dirty_since = (self.generation != Generation::NONE).then_some(self.generation);
        // Also where the peer is alike: it may be promoted as well before either hears of it, and then each has moved on.
        self.draw_generation();
        self.peer_outdated = !alike;
        self.set_disk(DiskState::UpToDate);
        self.ascend(now);
    }

    /// Become owner under a new epoch, once that is on record.
    pub(super) fn ascend(&mut self, now: Instant) {
        if self.generation == Generation::NONE {
            self.draw_generation();
        }
        self.draw_epoch();
        self.held_back = None;
        self.position = None;
        // From this record on it goes its own way.
        self.lost_cache = false;
        match &mut self.pending {
            Some(pending) => pending.what = What::Ascending,
            None => {
                self.pending = Some(Pending::new(None, What::Ascending, now + PATIENCE));
            }
        }
        self.store(Then::Reign);
        if self.planted.has(Fault::EpochNotDurable) {
            self.reign(now);
        }
    }

    /// The record of a promotion could not be written: it is a replica again, as it was, and its peer may be promoted.
    pub(super) fn stay_behind(&mut self, now: Instant) {
        let Some(former) = self.ascends_from.take() else { return };
        self.role = Role::Secondary;
        // Paused meanwhile, there is no stream of its own any more, and only a Primary could resume it.
        self.paused = false;
        self.set_disk(former.disk);
        (self.generation, self.history) = (former.generation, former.history);
        (self.dirty_since, self.peer_outdated) = (former.dirty_since, former.peer_outdated);
        (self.counting, self.overwritten) = (former.counting, former.overwritten);
        self.take_over_due = std::mem::take(&mut self.caretaker).then_some(now + STORE_RETRY_AFTER);
        self.store(Then::Nothing);
        self.show();
        self.greet_again(now);
    }

    fn draw_epoch(&mut self) {
        let theirs = self.meeting.theirs().map_or(OwnerEpoch(0), |theirs| theirs.epoch);
        let known = self.epoch.max(self.receiver.epoch()).max(theirs).max(self.claimed_epoch()).0;
        // No sum wraps: what comes from the wire is at most `OwnerEpoch::MAX`.
        // Nodes that can't hear each other must not draw the same one: the lesser name has the odd numbers.
        let odd = u64::from(self.node < self.config.peer);
        self.epoch = OwnerEpoch(known + if (known + 1) % 2 == odd { 1 } else { 2 });
    }

    /// The peer reigned in a later epoch, and gave way: it obeys no earlier one.
    pub(super) fn renew_epoch(&mut self) {
        self.draw_epoch();
        self.store(Then::Renew);
    }

    /// At start, after nobody has told otherwise.
    pub(super) fn wait_is_over(&mut self, now: Instant) {
        self.wait_until = None;
        if self.meeting.is_refused() {
            // Two copies that both may be right: an operator has to look.
            return;
        }
        let may_go = self.role == Role::Primary && self.owner.is_none() && self.pending.is_none() && !self.ends;
        if may_go && !self.hold_back(now) {
            self.go_alone(now);
        }
    }

    fn go_alone(&mut self, now: Instant) {
        self.draw_generation();
        self.peer_outdated = true;
        self.ascend(now);
    }

    pub(super) fn reign(&mut self, now: Instant) {
        self.run = self.run.wrapping_add(1);
        self.ascends_from = None;
        (self.crashed_owner, self.lost_cache, self.stayed, self.resumes) = (false, false, false, false);
        self.resync_done = None;
        self.async_owed |= self.policy.mode == Mode::Async;
        let clean = DirtyMap::new(&self.config.volumes, self.config.map.piece_bytes);
        let dirty = std::mem::replace(&mut self.suspects, clean);
        let mut owner = Owner::new(self.epoch, self.config.volumes.clone(), self.config.queue, dirty, now);
        self.sweep_begins(now);
        owner.alone = self.peer_outdated;
        if let Some(journal) = self.journal.take() {
            owner.take_up(journal, &self.planted, now);
        }
        self.owner = Some(owner);
        self.lend_slots();
        self.outputs.push_back(Output::Event(Event::RoleChanged { role: self.role, epoch: self.epoch }));
        if let Some(Pending { id: Some(id), remarks, .. }) = self.pending.take() {
            self.answer(id, Ok(remarks));
        }
        self.show();
        self.greet_again(now);
    }

    /// Nothing came between the resolution and its record.
    pub(super) fn is_ascending(&self) -> bool {
        self.role == Role::Primary && self.owner.is_none() && !self.ends
    }

    // Down.

    fn demote(&mut self, now: Instant, id: CommandId, force: bool) {
        if self.pending.is_some() {
            return self.refuse(id, Refusal::Busy);
        }
        if self.role == Role::Secondary {
            if force && self.meeting.is_split() {
                self.give_way();
                self.store_as(true, Then::Answer(id));
                return self.greet_again(now);
            }
            return self.answer(id, Ok(vec!["it is Secondary already".into()]));
        }
        if self.owner.is_none() {
            // It has not served: there is nothing to bring to the peer, unless its last run ended in the midst of it.
            if std::mem::take(&mut self.crashed_owner) {
                self.draw_generation();
            }
            let is_split = self.meeting.is_split();
            self.step_down(now);
            if force && is_split {
                self.give_way();
            }
            self.pending = Some(Pending::new(Some(id), What::Recording, now + PATIENCE));
            self.store_as(true, Then::Answer(id));
            return self.greet_again(now);
        }
        self.with_owner(now, |owner, _| owner.last_flush = None);
        let deadline = now + self.policy.max_stall.max(PATIENCE);
        self.pending = Some(Pending::new(Some(id), What::Demoting { force }, deadline));
        self.show();
    }

    /// Serve no more.
    pub(super) fn step_down(&mut self, now: Instant) {
        let mut running = 0;
        if let Some(Pending { id: Some(id), .. }) =
            self.pending.take_if(|pending| matches!(pending.what, What::Demoting { .. }))
        {
            self.answer(id, Ok(vec!["it gave way to the peer's newer copy meanwhile".into()]));
        }
        self.suspect_all_that_lacks();
        self.refuse_waiting(BlockError::Fenced);
        self.with_owner(now, |owner, cx| running = owner.abdicate(cx));
        self.forget_spills();
        self.keep_verify(now);
        (self.owner, self.is_held) = (None, false);
        self.ascends_from = None;
        self.held_back = None;
        self.caretaker = false;
        self.role = Role::Secondary;
        self.run = self.run.wrapping_add(1);
        self.receiver = Receiver::new(self.config.queue);
        self.receiver.await_drained(running);
        // What a record of this reign that fails late would put back is another's by then.
        (self.degrading, self.degrades_from) = (Degrading::No, None);
        self.dirty_since = None;
        (self.everything_due, self.counting) = (None, None);
        self.peer_outdated = false;
        self.paused = false;
        self.lending.forget();
        if self.disk == DiskState::Failed {
            // Nothing on it is believed; the peer has what hosts were told was done.
            self.forget_generation();
        }
        self.outputs.push_back(Output::Event(Event::RoleChanged { role: self.role, epoch: self.epoch }));
        self.show();
    }

    /// What a reign journalled is of no use to the next, which numbers its writes anew; or what a former run did.
    fn forget_spills(&mut self) {
        if self.journal.take().is_some() || self.owner.as_ref().is_some_and(|owner| owner.ever_spilled) {
            self.outputs.push_back(Output::TrimSpill { upto: WriteSeq(u64::MAX) });
        }
    }

    fn finish_demotion(&mut self, now: Instant) {
        let Some(Pending { id, what, .. }) = self.pending.take() else { return };
        let is_split = self.meeting.is_split();
        let all = self.is_all_with_the_peer();
        if !all {
            self.draw_generation();
        }
        let is_unflushed = self.owner.as_ref().is_some_and(|owner| owner.is_unflushed);
        self.step_down(now);
        if all && !is_unflushed {
            self.clear_map();
            // What the other acknowledges from now on as kept by both is here.
            self.stayed = true;
        }
        if all && is_unflushed {
            // What the peer has is whole; this copy will be made like it.
            self.set_disk(DiskState::Failed);
        }
        if is_split && what == (What::Demoting { force: true }) {
            self.give_way();
        }
        let Some(id) = id else {
            // The peer reigns as soon as it hears of it: not before a restart of this node would find it so.
            return self.store_as(true, Then::Greet);
        };
        self.store_as(true, Then::Answer(id));
        self.greet_again(now);
    }

    /// The peer has what this node lacks. What was written here meanwhile nobody has counted: until a stream has begun that
    /// is on record.
    pub(super) fn give_way_to_newer(&mut self, now: Instant) {
        self.crashed_owner |= self.owner.is_some();
        self.step_down(now);
    }

    /// The operator's way out of a split brain: this copy is the one that is overwritten.
    fn give_way(&mut self) {
        self.loses_split_brain();
        self.forget_generation();
        self.set_disk(DiskState::Outdated);
    }

    /// From now on any other copy is the newer one.
    pub(super) fn forget_generation(&mut self) {
        self.generation = Generation::NONE;
        self.history.clear();
    }

    fn end(&mut self, now: Instant, id: CommandId) {
        self.ends = true;
        // One that waits for its record alone is answered with it.
        if let Some(Pending { id: Some(id), what, .. }) = self.pending.take()
            && what != What::Recording
        {
            self.refuse(id, process_ends());
        }
        self.stay_behind(now);
        if self.role == Role::Secondary || self.owner.is_none() {
            // A record that says "crashed" is not made better by an owner that never served.
            let clean = self.role == Role::Secondary || !self.crashed_owner;
            self.pending = Some(Pending::new(Some(id), What::Recording, now + PATIENCE));
            return self.store_as(clean, Then::Answer(id));
        }
        self.with_owner(now, |owner, _| owner.last_flush = None);
        self.pending = Some(Pending::new(Some(id), What::Ending, now + ENDING_PATIENCE));
        self.show();
    }

    fn finish_end(&mut self, now: Instant) {
        let Some(Pending { id: Some(id), .. }) = self.pending.take() else { return };
        let clean = self.is_all_with_the_peer() && self.owner.as_ref().is_some_and(|owner| !owner.is_unflushed);
        self.pending = Some(Pending::new(Some(id), What::Recording, now + PATIENCE));
        self.last_record = if clean { self.clear_map().map(|clearing| (clearing, id)) } else { None };
        if self.last_record.is_none() {
            self.store_as(clean, Then::Answer(id));
        }
    }

    fn is_all_with_the_peer(&self) -> bool {
        let waited_for = |owner: &Owner| owner.is_waited_for() || self.activity.is_waited_for();
        self.owner.as_ref().is_some_and(|owner| owner.is_all_applied() && !waited_for(owner))
    }

    // What takes its time.

    pub(super) fn see_to_pending(&mut self, now: Instant) {
        let Some(pending) = &self.pending else { return };
        let is_late = pending.deadline <= now;
        let no_host_waits = !self.activity.is_waited_for();
        let mut is_idle = no_host_waits && self.owner.as_ref().is_none_or(|owner| !owner.is_waited_for());
        let lag = self.owner.as_ref().map_or(0, |owner| owner.lag_bytes() + owner.ring.lag_writes);
        let established = self.owner.as_ref().is_some_and(Owner::is_established);
        let ends = matches!(pending.what, What::Demoting { .. } | What::Ending) && is_idle && lag == 0 && established;
        if ends && self.owner.as_ref().is_some_and(|owner| owner.last_flush.is_none()) {
            self.with_owner(now, |owner, cx| owner.flush_both(cx));
            is_idle = false;
        }
        // What an owner that is there again keeps from being applied is of no use to a promotion, which that owner ends.
        let is_settled = self.receiver.is_quiet() || self.awaits_stream() && self.meeting.theirs().is_some();
        let Some(pending) = &mut self.pending else { return };
        pending.look_at = pending.look_at.filter(|look_at| *look_at > now);
        let what = pending.what;
        match what {
            // A Primary that was heard a moment ago is heard again, or it is dead.
            What::Promoting { force: false, since, .. } if self.rival_may_be_dead_at(now, since).is_some() => (),
            What::Promoting { flush: Flush::UnderWay, .. } if !is_late => (),
            What::Promoting { force, since, flush: Flush::Due } if is_settled => {
                match self.may_ascend(now, force) {
                    Ok(()) => self.flush_before_reign(now, What::Promoting { force, since, flush: Flush::UnderWay }),
                    // The peer is heard again, or came back.
                    Err(refusal) => self.give_up(refusal),
                }
            }
            What::Promoting { force, flush: Flush::Done, .. } if is_settled => match self.may_ascend(now, force) {
                Ok(()) => self.ascend_from_replica(now),
                Err(refusal) => self.give_up(refusal),
            },
            What::Demoting { .. } if is_idle && lag == 0 && established => self.finish_demotion(now),
            What::Demoting { force: true } if is_late || self.meeting.is_split() => self.finish_demotion(now),
            What::Demoting { force: false } if is_late => {
                let why = match established {
                    true => format!("hosts' writes did not end, and {lag} bytes are not with the peer yet"),
                    false => format!("the peer is not connected and UpToDate, and lacks {lag} bytes"),
                };
                self.give_up(Refusal::Other(format!("{why}: it stays Primary; with force it gives way all the same")));
            }
            What::Ending if is_idle && (lag == 0 || !established) || is_late => self.finish_end(now),
            What::Promoting { .. } if is_late => {
                self.give_up(Refusal::Other("the local device does not finish the writes that were received".into()));
            }
            What::Ascending if is_late => {
                self.give_up(Refusal::Store);
                self.stay_behind(now);
            }
            What::Recording if is_late => self.give_up(Refusal::Store),
            What::Promoting { .. } | What::Demoting { .. } | What::Ending | What::Ascending | What::Recording => (),
        }
    }

    fn flush_before_reign(&mut self, now: Instant, meanwhile: What) {
        if let Some(pending) = &mut self.pending {
            pending.what = meanwhile;
        }
        if self.planted.has(Fault::PromoteUnflushed) {
            return self.flushed_before_reign(now, Ok(()));
        }
        let io = LocalWork::Promotion.io(self.run, 0);
        self.outputs.push_back(Output::Local { io, action: LocalAction::Flush { volume: None } });
    }

    /// A stream has begun anew since the flush was asked for: whatever that one says counts for nothing.
    pub(super) fn flush_again(&mut self) {
        if let Some(Pending { what: What::Promoting { flush, .. }, .. }) = &mut self.pending {
            *flush = Flush::Due;
        }
    }

    pub(super) fn flushed_before_reign(&mut self, now: Instant, result: Result<(), BlockError>) {
        let Some(Pending { what: What::Promoting { force, flush, .. }, remarks, .. }) = &mut self.pending else {
            return;
        };
        let remark = "its device does not flush: what it had of the former owner may not survive a power cut";
        match result {
            Err(error) if !*force => {
                self.copy_failed(now, error);
                self.give_up(Refusal::Disk(
                    DiskState::Failed,
                    "its device failed to flush what it had received".into(),
                ));
            }
            Err(_) => {
                remarks.push(remark.into());
                *flush = Flush::Done;
            }
            Ok(()) => *flush = Flush::Done,
        }
    }

    pub(super) fn may_ascend(&self, now: Instant, force: bool) -> Result<(), Refusal> {
        may_promote(self.disk, &self.meeting, force)?;
        if force { Ok(()) } else { self.refuse_beside_rival(now) }
    }

    pub(super) fn give_up(&mut self, refusal: Refusal) {
        self.last_record = None;
        if let Some(Pending { id: Some(id), .. }) = self.pending.take() {
            self.refuse(id, refusal);
        }
        self.show();
    }
}

pub(super) fn process_ends() -> Refusal {
    Refusal::Other("the process ends".into())
}

/// How long a command may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// A promotion, the flush before it and all.
pub(super) const PROMOTION_PATIENCE: Duration = Duration::from_secs(20);
/// How long the end of the process waits for the peer.
const ENDING_PATIENCE: Duration = Duration::from_secs(3);
