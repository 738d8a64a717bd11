//! The pieces of a replica, composed.

use std::collections::VecDeque;
use std::time::Instant;

use super::activity::Activity;
use super::claim::Claim;
use super::dirty::DirtyMap;
use super::io::{
    CommandId, Event, Input, Left, LocalAction, MapWrite, Output, Overwritten, Record, Standing, StoreWrite,
};
use super::journal::JournalLeft;
use super::lease::Lease;
use super::lending::Lending;
use super::local_work::LocalWork;
use super::meeting::Meeting;
use super::owner::{Context, Owner};
use super::planted::{Fault, Planted};
use super::receiver::Receiver;
use super::records::{Degrading, RECORD_PATIENCE, Then};
use super::reign::{Former, Pending};
use super::status::{self, HeldBack};
use super::verify::Verify;
use super::what_if::{self, WhatIf};
use crate::block::BlockError;
use crate::config::{GroupConfig, Mode, Policy};
use crate::extent::Extent;
use crate::ids::{Generation, Instance, NodeName, OwnerEpoch, VolumeIndex};
use crate::wire::message::{DiskState, Position, Role};

/// One group on one node. Every method takes the time; none reads a clock.
///
/// After each `handle` or `handle_timeout` drain `poll_output`; when a turn's inputs are through, call `end_turn` and drain
/// again; then sleep until `poll_timeout`.
#[derive(Clone, Debug)]
pub struct Replica {
    pub(super) config: GroupConfig,
    pub(super) node: NodeName,
    pub(super) instance: Instance,
    pub(super) policy: Policy,
    /// Mode, `on_link_loss` or `max_stall` were set since the process began, here or by an owner that told so.
    pub(super) policy_by_command: bool,
    pub(super) role: Role,
    pub(super) disk: DiskState,
    pub(super) epoch: OwnerEpoch,
    pub(super) generation: Generation,
    pub(super) history: Vec<Generation>,
    /// From this generation on we know what the peer may lack.
    pub(super) dirty_since: Option<Generation>,
    /// Of a Primary: what the map counts, since the peer last got everything. Of a Secondary: whose resync it is in.
    pub(super) counting: Option<Generation>,
    /// This copy, as long as it is to be put aside before anything is written over it.
    pub(super) overwritten: Option<Overwritten>,
    pub(super) crashed_owner: bool,
    /// And writes that the peer was to have as well may have gone with the cache.
    pub(super) lost_cache: bool,
    /// It gave way for want of its cache: to be Primary again once that is made up for, if no host has gone to the peer.
    pub(super) resumes: bool,
    /// It took over from such a peer, and no host has come since.
    pub(super) caretaker: bool,
    /// Taking over came to nothing: it is tried again then.
    pub(super) take_over_due: Option<Instant>,
    /// As replica: the copy was UpToDate in this process, so that nothing of it went with a cache.
    pub(super) stayed: bool,
    /// As the record has it.
    pub(super) peer_outdated: bool,
    pub(super) standing: Option<Standing>,
    /// While this node reigns: it is Primary, and its epoch is durable.
    pub(super) owner: Option<Owner>,
    /// It reigns, and so does its peer, which has what this node lacks and lacks what this one has: neither serves.
    pub(super) is_held: bool,
    pub(super) receiver: Receiver,
    /// As replica: what an owner whose device failed wants to read.
    pub(super) lending: Lending,
    pub(super) lease: Lease,
    pub(super) activity: Activity,
    /// While it does not reign: where this copy may differ from the peer's, by what it wrote itself.
    pub(super) suspects: DirtyMap,
    /// What the last run left to be sent in order, should this node reign again before anything else happens.
    pub(super) journal: Option<JournalLeft>,
    /// As replica: once the flush that is write so-and-so of the stream is done, the copy is UpToDate and of this generation.
    pub(super) resync_done: Option<(u64, Generation)>,
    /// The peer gets every block, and the map does not say so yet: it counts only then, or when that is over.
    pub(super) everything_due: Option<MapWrite>,
    pub(super) meeting: Meeting,
    pub(super) claim: Option<Claim>,
    /// A Primary that has not served since its start does not, because of the peer.
    pub(super) held_back: Option<HeldBack>,
    pub(super) paused: bool,
    /// The peer, in this session; for people.
    pub(super) is_slow: bool,
    pub(super) pending: Option<Pending>,
    /// The last of the process, and whose command it answers: once the map is cleared.
    pub(super) last_record: Option<(MapWrite, CommandId)>,
    /// The process was told to end. Its last record may say that all is with the peer: hosts are never served again, whatever
    /// becomes of that record.
    pub(super) ends: bool,
    /// While a promotion's record is on its way.
    pub(super) ascends_from: Option<Former>,
    /// Records on their way to the disk, in order, and what follows each.
    pub(super) stores: VecDeque<(StoreWrite, Then)>,
    pub(super) store_next: u64,
    /// The last record could not be written: it is tried again then, and what follows from it with it.
    pub(super) record_due: Option<Instant>,
    pub(super) owed_to_record: Vec<Then>,
    /// A record that says that the peer is outdated is on its way, or could not be written and is tried again then.
    pub(super) degrading: Degrading,
    /// The generation and its history before that, for where it can't be written.
    pub(super) degrades_from: Option<(Generation, Vec<Generation>)>,
    /// At start: how long the peer has to tell that it took over.
    pub(super) wait_until: Option<Instant>,
    /// Weaker than the one in force, which it takes the place of once it is on record.
    pub(super) mode_to_record: Option<Mode>,
    /// Something was acknowledged asynchronously that the peer may lack: as long as that is so, the record says async.
    pub(super) async_owed: bool,
    /// Hosts were told that writes are held, since the last time all was well.
    pub(super) told_held: bool,
    pub(super) flushes: Vec<(u64, u64)>,
    /// As replica: what the owner last told of itself, and when.
    pub(super) position: Option<(Position, Instant)>,
    pub(super) position_due: Option<Instant>,
    /// Whether the operator wants the next resync to compare before it copies; until that one is done. `None`: as configured.
    pub(super) compares: Option<bool>,
    /// Writes to this copy's device were lost: what it reads may be in its cache alone, and is not on the medium for being
    /// alike. Until all of it has been written again.
    pub(super) reads_doubted: bool,
    /// Verifies of the process, when the last that came to its end did so, and the last one of the former reign.
    pub(super) verifies: u64,
    pub(super) verify_finished: Option<Instant>,
    pub(super) verified: Option<Verify>,
    /// The next verify that nobody asks for.
    pub(super) scrub_due: Option<Instant>,
    pub(super) outputs: VecDeque<Output>,
    pub(super) planted: Planted,
    /// Distinguishes the local work of reigns, see `LocalWork`.
    pub(super) run: u16,
    pub(super) seed: u64,
    pub(super) draws: u64,
}

impl Replica {
    /// `left`: `None` where the group was just created. `seed`: random, so that generations are
    /// nobody else's. The first outputs are ready when this returns.
    pub fn new(
        config: GroupConfig,
        node: NodeName,
        instance: Instance,
        seed: u64,
        left: Option<Left>,
        now: Instant,
    ) -> Replica {
        let is_new = left.is_none();
        let mut activity = Activity::new(&config.volumes, config.map.piece_bytes, config.map.hot_max);
        let mut suspects = DirtyMap::new(&config.volumes, config.map.piece_bytes);
        if let Some(left) = &left {
            activity.restore(&left.map, &mut suspects);
        }
        let has_cache = left.as_ref().is_none_or(|left| left.has_cache);
        let volumes = config.volumes.clone();
        let is_of_them = |journal: &JournalLeft| journal.is_of(&volumes);
        let (record, journal) = left.map(|left| (left.record, left.journal)).unzip();
        let record = record.unwrap_or(Record {
            role: config.first_role,
            disk: if config.first_role == Role::Primary { DiskState::UpToDate } else { DiskState::Inconsistent },
            epoch: OwnerEpoch(0),
            generation: Generation::NONE,
            history: Vec::new(),
            // Till it has had all of it once the peer could not be promoted: nothing is promised to hosts that counts on it.
            peer_outdated: config.first_role == Role::Primary,
            clean: true,
            dirty_since: None,
            mode: config.policy.mode,
            lost_cache: false,
            counting: None,
            overwritten: None,
        });
        // A copy that is no good serves nobody: the peer's is to be promoted.
        let is_unfit = matches!(record.disk, DiskState::Failed | DiskState::Inconsistent);
        let starts_behind = record.role == Role::Primary && is_unfit;
        let was_owner = record.role == Role::Primary && !is_unfit;
        let disk = match record.disk {
            // Writes may have been acknowledged since without it.
            DiskState::UpToDate if !was_owner => DiskState::Consistent,
            // Repaired or replaced, or it will fail again; nothing on it is believed.
            DiskState::Failed => DiskState::Inconsistent,
            disk => disk,
        };
        let believed = record.disk != DiskState::Failed;
        let receiver = Receiver::new(config.queue);
        let policy = config.policy;
        let mut replica = Replica {
            config,
            node,
            instance,
            policy,
            policy_by_command: false,
            role: if starts_behind { Role::Secondary } else { record.role },
            disk,
            epoch: record.epoch,
            generation: if believed { record.generation } else { Generation::NONE },
            history: if believed { record.history } else { Vec::new() },
            dirty_since: record.dirty_since.filter(|_| was_owner),
            counting: record.counting.filter(|_| was_owner || record.disk == DiskState::Inconsistent),
            overwritten: record.overwritten.filter(|_| !was_owner && believed),
            crashed_owner: !record.clean && !starts_behind,
            lost_cache: was_owner && !record.clean && (record.lost_cache || !has_cache && record.mode != Mode::Async),
            resumes: false,
            caretaker: false,
            take_over_due: None,
            stayed: false,
            peer_outdated: record.peer_outdated && !starts_behind,
            standing: None,
            owner: None,
            is_held: false,
            receiver,
            lending: Lending::default(),
            lease: Lease::default(),
            activity,
            suspects,
            journal: journal
                .flatten()
                .filter(|journal| was_owner && journal.epoch == record.epoch && is_of_them(journal)),
            resync_done: None,
            everything_due: None,
            meeting: Meeting::default(),
            claim: None,
            held_back: None,
            paused: false,
            is_slow: false,
            pending: None,
            last_record: None,
            ends: false,
            ascends_from: None,
            stores: VecDeque::new(),
            store_next: 0,
            record_due: None,
            owed_to_record: Vec::new(),
            degrading: Degrading::No,
            degrades_from: None,
            wait_until: None,
            mode_to_record: None,
            async_owed: record.mode == Mode::Async,
            told_held: false,
            flushes: Vec::new(),
            position: None,
            position_due: None,
            compares: None,
            reads_doubted: !believed,
            verifies: 0,
            verify_finished: None,
            verified: None,
            scrub_due: None,
            outputs: VecDeque::new(),
            planted: Planted::default(),
            run: 1,
            seed,
            draws: 0,
        };
        if is_new {
            replica.store(Then::Nothing);
        }
        if starts_behind {
            replica.outputs.push_back(Output::Event(Event::StartsBehind));
            replica.store(Then::Nothing);
        }
        if was_owner {
            replica.wait_until = Some(now + replica.policy.wait_for_peer);
        }
        replica.scrub_due = replica.config.scrub.map(|scrub| now + scrub.every);
        replica.show();
        replica
    }

    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Submit { op, change } => match self.serving() {
                true => {
                    self.caretaker = false;
                    self.submit(now, op, change);
                }
                false => self.outputs.push_back(Output::Complete { op, result: Err(BlockError::Fenced) }),
            },
            Input::Read { op, volume, extent } => match self.serving() {
                true => self.with_owner(now, |owner, cx| owner.read(cx, op, volume, extent)),
                false => self.outputs.push_back(Output::Complete { op, result: Err(BlockError::Fenced) }),
            },
            Input::Fetch { op, volume, extent, error } => match self.serving() {
                true => self.with_owner(now, |owner, cx| owner.fetch(cx, op, volume, extent, error)),
                false => self.outputs.push_back(Output::Fetched { op, result: Err(BlockError::Fenced) }),
            },
            Input::LocalDone { io, result } => self.local_done(now, io, result),
            Input::LocalRead { io, result } => match LocalWork::of(io) {
                (LocalWork::ResyncRead, run, seq) if run == self.run => {
                    self.with_owner(now, |owner, cx| owner.copied(cx, seq, result));
                }
                (LocalWork::Apply, run, seq) if run == self.run => self.compared(now, seq, result),
                (LocalWork::Lend, run, number) if run == self.run => self.lent(number, result),
                (LocalWork::Lend, ..) => (),
                _ => self.receiver.drained(),
            },
            Input::SessionUp { session, peer } => self.session_up(session, peer),
            Input::SessionDown => self.session_down(now),
            Input::SlotUp(slot) => self.slot_up(now, slot),
            Input::SlotDown(slot) => self.slot_down(now, slot),
            Input::Received { session, message } => self.received(now, session, message),
            Input::PeerIsSlow(slow) => self.is_slow = slow,
            Input::Beat { peer, beat, good_for } => self.received_beat(now, peer, beat, good_for),
            Input::Stored { write, result } => self.stored(now, write, result),
            Input::Mapped { write, result } => self.mapped(now, write, result),
            Input::Spilled { run, seq, result } if run == self.run => {
                self.with_owner(now, |owner, cx| owner.spilled(cx, seq.0, result.is_ok()));
            }
            Input::Unspilled { run, seq, result } if run == self.run => {
                self.with_owner(now, |owner, cx| owner.unspilled(cx, seq.0, result.ok()));
            }
            // Of a former reign.
            Input::Spilled { .. } | Input::Unspilled { .. } => (),
            Input::Kept { resync } => self.kept_aside(resync),
            Input::Command { id, command } => self.command(now, id, command),
        }
        self.settle(now);
    }

    /// The inputs of one wake-up are through: what is batched over them (acknowledgements) goes out.
    pub fn end_turn(&mut self, now: Instant) {
        self.apply(now);
        self.say_ack();
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self.wait_until.is_some_and(|due| due <= now) {
            self.wait_is_over(now);
        }
        if self.record_due.is_some_and(|due| due <= now) {
            self.record_again();
        }
        if self.role == Role::Secondary && self.receiver.start_flush(now) {
            let io = LocalWork::Flush.io(self.run, 0);
            self.outputs.push_back(Output::Local { io, action: LocalAction::Flush { volume: None } });
        }
        if self.position_due.is_some_and(|due| due <= now) {
            self.say_position(now);
        }
        if self.degrading.is_due(now) {
            self.degrading = Degrading::No;
        }
        if self.owner.as_ref().and_then(Owner::ask_again_at).is_some_and(|due| due <= now) {
            self.with_owner(now, Owner::ask_the_late_again);
        }
        self.sweep(now);
        if self.take_over_due.take_if(|due| *due <= now).is_some() {
            self.decide(now);
        }
        self.scrub(now);
        self.with_owner(now, |owner, cx| {
            owner.pace.time_passes(now);
            owner.resync_on(cx);
            owner.verify_on(cx);
        });
        self.settle(now);
        self.end_turn(now);
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let owner = self.owner.as_ref();
        let stall = match (self.policy.mode, owner) {
            (_, Some(owner)) if owner.is_through() => {
                owner.waits_since_earliest().map(|since| since + self.policy.max_stall)
            }
            (Mode::Memsync | Mode::Sync, Some(owner)) if !owner.alone => {
                let for_what = if self.degrading == Degrading::No { 1 } else { RECORD_PATIENCE };
                owner.waits_since_earliest().map(|since| since + self.policy.max_stall * for_what)
            }
            _ => None,
        };
        let retry = match self.degrading {
            Degrading::Retry(due) => Some(due),
            Degrading::No | Degrading::Recording => None,
        };
        [
            self.wait_until,
            self.record_due,
            // What came as a replica was flushed before the reign: from then on the device is the owner's to judge.
            self.receiver.flush_timeout().filter(|_| self.role == Role::Secondary),
            self.position_due,
            stall,
            retry,
            owner.and_then(|owner| owner.resync_retry),
            owner.and_then(|owner| owner.rejoins_at).filter(|_| !self.is_peer_lost()),
            owner.and_then(|owner| owner.pace.due()),
            owner.and_then(Owner::verify_wakes_at),
            self.scrub_due.filter(|_| owner.is_some()),
            owner.and_then(Owner::ask_again_at),
            self.activity.waits_since().map(|since| since + self.policy.max_stall),
            self.activity.due().filter(|_| owner.is_some()),
            self.take_over_due,
            self.lease_ends(),
            self.pending.as_ref().map(Pending::wakes_at),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// No write that a failover would undo overlaps the extent: a host may read it without `Input::Read`.
    pub fn may_read_now(&self, volume: VolumeIndex, extent: Extent) -> bool {
        let serves_failed = |owner: &Owner| owner.is_through() && self.planted.has(Fault::ServeFailed);
        let may_read = |owner: &Owner| owner.may_read(self.policy, volume, extent) || serves_failed(owner);
        self.serving() && self.owner.as_ref().is_some_and(may_read)
    }

    /// Some write is under way for which some read may have to wait; or reads are not served at all.
    pub fn reads_look_closer(&self) -> bool {
        !self.serving()
            || self.is_through()
            || self.policy.mode != Mode::Async
                && self.owner.as_ref().is_some_and(|owner| !owner.alone && owner.hides_writes())
    }

    /// A resync or a verify goes by how long hosts wait: `read_took` wants to be told.
    pub fn times_reads(&self) -> bool {
        self.owner.as_ref().is_some_and(|owner| owner.resync.is_some() || owner.is_verifying())
    }

    pub fn read_took(&mut self, now: Instant, since: Instant) {
        if let Some(owner) = &mut self.owner {
            owner.host_has_answer(now, since);
        }
    }

    pub fn status(&self, now: Instant) -> status::GroupStatus {
        status::of(self, now)
    }

    pub fn what_if(&self, what: WhatIf, now: Instant) -> Vec<String> {
        let view = what_if::View {
            here: self.node.clone(),
            peer: self.config.peer.clone(),
            status: self.status(now),
            mine: self.hello(),
            theirs: self.meeting.last_said().cloned(),
            claimed: self.claimed_role(now),
            refusal: self.would_refuse(now),
        };
        what_if::tell(what, &view)
    }

    #[cfg(feature = "sim")]
    pub fn plant(&mut self, fault: super::planted::Fault) {
        self.planted.plant(fault);
    }

    /// Few writes spread over the slots as many do: from so many bytes under way on.
    #[cfg(feature = "sim")]
    pub fn spread_from(&mut self, bytes: u64) {
        self.planted.spread_bytes = Some(bytes);
    }

    pub(super) fn serving(&self) -> bool {
        self.owner.is_some() && !self.ends && !self.is_held && !self.pending.as_ref().is_some_and(Pending::stops_hosts)
    }

    pub(super) fn with_owner(&mut self, now: Instant, act: impl FnOnce(&mut Owner, &mut Context)) {
        if let Some(owner) = &mut self.owner {
            let mut cx = Context {
                now,
                policy: self.policy,
                generation: self.generation,
                planted: &self.planted,
                out: &mut self.outputs,
                run: self.run,
            };
            act(owner, &mut cx);
        }
    }

    fn local_done(&mut self, now: Instant, io: super::io::LocalIo, result: Result<(), BlockError>) {
        let (work, run, number) = LocalWork::of(io);
        if run != self.run {
            return match work {
                LocalWork::Flush | LocalWork::Sweep | LocalWork::Promotion | LocalWork::Lend => (),
                _ => self.receiver.drained(),
            };
        }
        match work {
            LocalWork::Host => self.with_owner(now, |owner, cx| owner.local_done(cx, number, result)),
            LocalWork::Plain => self.with_owner(now, |owner, cx| owner.flushed_here(cx, number, result)),
            LocalWork::ResyncRead | LocalWork::Lend => (),
            LocalWork::Apply => self.applied_here(now, number, result),
            LocalWork::Flush => self.flushed_replica(now, result),
            LocalWork::Sweep => self.swept(now, result),
            LocalWork::Promotion => self.flushed_before_reign(now, result),
        }
    }

    /// What follows from the state of things, whatever led to it.
    fn settle(&mut self, now: Instant) {
        self.apply(now);
        self.see_through(now);
        self.see_detached(now);
        self.see_caught_up(now);
        self.see_established(now);
        self.see_async_paid();
        self.with_owner(now, |owner, cx| owner.see_away(cx));
        self.see_to_those_who_wait(now);
        self.see_to_those_who_wait_for_the_map(now);
        self.see_to_pending(now);
        self.see_verified(now);
        self.see_lease(now);
    }

    /// The queue overflowed while the peer is there: it gets what it lacks by a resync, at once.
    fn see_detached(&mut self, now: Instant) {
        let is_due =
            |owner: &Owner| owner.detached && owner.stream.is_none() && owner.rejoins_at.is_none_or(|at| at <= now);
        if self.owner.as_ref().is_some_and(is_due) && !self.is_peer_lost() {
            // Where nothing comes of it now, a Hello or a record will bring it about.
            self.owner.iter_mut().for_each(|owner| owner.rejoins_at = None);
            self.decide(now);
        }
    }

    fn see_established(&mut self, now: Instant) {
        let Some(owner) = &mut self.owner else { return };
        if self.everything_due.is_some() && owner.is_durably_established() {
            self.everything_due = None;
            self.store(Then::Nothing);
            return self.see_established(now);
        }
        if !owner.is_established() || self.degrading == Degrading::Recording || self.peer_outdated {
            return;
        }
        let is_recorded = self.dirty_since == Some(self.generation) && !self.peer_outdated;
        let first = !is_recorded || owner.is_joining;
        // It said so of itself before it had what was under way.
        let is_shown = self.meeting.peer_disk == Some(DiskState::UpToDate);
        if !first && owner.resync.is_none() && is_shown {
            return;
        }
        owner.overflows = 0;
        owner.is_joining = false;
        self.told_held = false;
        self.dirty_since = Some(self.generation);
        self.meeting.peer_is_up_to_date(self.generation);
        if let Some(resync) = owner.resync.take() {
            self.compares = None;
            let took = now.saturating_duration_since(resync.began);
            self.outputs.push_back(Output::Event(Event::ResyncDone { took }));
        }
        self.hand_back(now);
        self.sweep_after_resync(now);
        self.with_owner(now, |owner, cx| owner.evaluate_all(cx));
        if !is_recorded {
            self.store(Then::Nothing);
        }
    }

    /// Row 4 goes by the mode on record: a stronger one stands there once all that was acknowledged under the weaker is with
    /// the peer.
    fn see_async_paid(&mut self) {
        let owes = self.async_owed && self.policy.mode != Mode::Async;
        if owes && self.owner.as_ref().is_some_and(Owner::is_all_applied) {
            self.async_owed = false;
            self.store(Then::Nothing);
        }
    }

    pub(super) fn set_disk(&mut self, disk: DiskState) {
        if disk != self.disk {
            self.outputs.push_back(Output::Event(Event::DiskChanged { from: self.disk, to: disk }));
            self.disk = disk;
        }
    }

    /// How hosts see the group.
    pub(super) fn show(&mut self) {
        let standing = match self.role {
            Role::Secondary => Standing::Standby,
            Role::Primary if self.serving() => Standing::Active,
            Role::Primary => Standing::Waiting,
        };
        if self.standing != Some(standing) {
            self.standing = Some(standing);
            self.outputs.push_back(Output::Standing(standing));
        }
    }
}
