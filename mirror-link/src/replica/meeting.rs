//! Sessions with the peer: Hellos, what they decide, and which messages count.

use std::time::{Duration, Instant};

use super::claim::Claim;
use super::io::{Event, Output};
use super::machine::Replica;
use super::owner::range;
use super::planted::Fault;
use super::receiver::{Begun, misbehaved};
use super::reconcile::{Decision, Missing, Side, Verdict, reconcile};
use super::records::{Degrading, Then};
use super::status::HeldBack;
use crate::config::OnSplitBrain;
use crate::ids::{Generation, Instance, SessionId, Slot};
use crate::wire::message::{Ack, Begin, DiskState, Hello, Message, OpFrame, Position, Role, VolumeShape};

/// What is known of the peer, and how the session with it goes.
#[derive(Clone, Debug, Default)]
pub(super) struct Meeting {
    session: Option<Session>,
    /// Counts our Hellos, over all sessions.
    hellos: u64,
    /// Whose memory the last stream went to.
    streamed_to: Option<Instance>,
    /// The last Hello of the session before; for people.
    met: Option<Hello>,
    pub decision: Option<Decision>,
    pub peer_role: Option<Role>,
    pub peer_disk: Option<DiskState>,
}

#[derive(Clone, Debug)]
struct Session {
    id: SessionId,
    peer: Instance,
    slots: u64,
    theirs: Option<Hello>,
    has_greeted: bool,
    /// A Begin that overtook the Hello it follows from.
    early: Option<Begin>,
    /// What our last Begin said: a Hello that crossed it does not know.
    counting: Option<Generation>,
    /// What the last Hello said of it.
    said: Option<Generation>,
}

impl Meeting {
    pub fn is_up(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.slots != 0)
    }

    pub fn theirs(&self) -> Option<&Hello> {
        self.session.as_ref()?.theirs.as_ref()
    }

    /// In this session, or in the one before.
    pub fn last_said(&self) -> Option<&Hello> {
        self.theirs().or(self.met.as_ref())
    }

    fn end_session(&mut self) {
        let said = self.session.take().and_then(|session| session.theirs);
        self.met = said.or(self.met.take());
    }

    pub fn is_refused(&self) -> bool {
        let verdict = self.decision.as_ref().map(|decision| &decision.verdict);
        self.is_up() && matches!(verdict, Some(Verdict::SplitBrain | Verdict::Refuse(_)))
    }

    pub fn is_split(&self) -> bool {
        self.is_up() && matches!(&self.decision, Some(Decision { verdict: Verdict::SplitBrain, .. }))
    }

    /// In this session, on whatever slot.
    pub fn has_greeted(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.has_greeted)
    }

    /// We are to take the peer's stream.
    pub fn is_receiving(&self) -> bool {
        self.is_up() && self.streams(Side::Theirs)
    }

    /// The peer knows what our Hello said, or will, and may be an owner.
    pub fn may_be_sent_to(&self) -> bool {
        let may_own = |session: &Session| session.theirs.as_ref().is_none_or(|theirs| theirs.role == Role::Primary);
        self.session.as_ref().is_some_and(|session| session.has_greeted && may_own(session))
    }

    pub fn streams(&self, from: Side) -> bool {
        matches!(&self.decision, Some(Decision { verdict: Verdict::Stream { source, .. }, .. }) if *source == from)
    }

    pub fn any_slot(&self) -> Option<Slot> {
        let slots = self.session.as_ref()?.slots;
        (slots != 0).then(|| Slot(slots.trailing_zeros() as u8))
    }

    /// For people.
    pub fn described(&self, node: &str) -> Option<super::status::Decision> {
        let decision = self.decision.as_ref()?;
        let theirs = self.theirs().map_or("the peer", |theirs| &theirs.node);
        Some(super::status::Decision { row: decision.row, text: describe(decision, node, theirs) })
    }

    fn now_counting(&mut self, counting: Generation) {
        if let Some(session) = &mut self.session {
            session.counting = Some(counting);
            if let Some(theirs) = &mut session.theirs {
                theirs.counting = Some(counting);
            }
        }
    }

    /// The peer said so in an Ack; its Hello is under way.
    fn peer_failed(&mut self) {
        self.peer_disk = Some(DiskState::Failed);
        if let Some(theirs) = self.session.as_mut().and_then(|session| session.theirs.as_mut()) {
            theirs.disk = DiskState::Failed;
        }
    }

    /// The owner said so by ending the resync: that this copy lacks nothing is on its record.
    pub fn owner_has_us_as_whole(&mut self, generation: Generation) {
        if let Some(theirs) = self.session.as_mut().and_then(|session| session.theirs.as_mut()) {
            (theirs.generation, theirs.peer_outdated, theirs.dirty_since) = (generation, false, None);
        }
    }

    /// The peer said so by acknowledging.
    pub fn peer_is_up_to_date(&mut self, generation: Generation) {
        self.peer_disk = Some(DiskState::UpToDate);
        if let Some(theirs) = self.session.as_mut().and_then(|session| session.theirs.as_mut()) {
            (theirs.generation, theirs.disk) = (generation, DiskState::UpToDate);
            // It has what it may have lost.
            (theirs.crashed_owner, theirs.lost_cache) = (false, false);
        }
    }
}

impl Replica {
    pub(super) fn session_up(&mut self, id: SessionId, peer: Instance) {
        self.meeting.end_session();
        self.meeting.session = Some(Session {
            id,
            peer,
            slots: 0,
            theirs: None,
            has_greeted: false,
            early: None,
            counting: None,
            said: None,
        });
        self.meeting.decision = None;
        self.is_slow = false;
        self.receiver.session_began();
        self.lending.forget();
    }

    pub(super) fn session_down(&mut self, _now: Instant) {
        self.meeting.end_session();
        self.meeting.peer_role = None;
        self.meeting.peer_disk = None;
        self.position_due = None;
        self.lending.forget();
        if self.is_through() {
            self.outputs.push_back(Output::Event(Event::ThroughPeerLost));
        }
        if let Some(owner) = &mut self.owner {
            owner.stop();
            owner.slots = Default::default();
            owner.peer = Default::default();
        }
        if self.role == Role::Secondary && self.disk == DiskState::UpToDate {
            // The owner may go on without it from now on.
            self.set_disk(DiskState::Consistent);
        }
    }

    pub(super) fn slot_up(&mut self, now: Instant, slot: Slot) {
        let Some(session) = &mut self.meeting.session else { return };
        let is_first = session.slots == 0;
        session.slots |= 1 << slot.0;
        let greeted = session.has_greeted;
        self.with_owner(now, |owner, _| owner.slots.up(slot));
        if greeted {
            if is_first {
                // What was lost with the last slot could not be said again on another.
                self.say_hello();
                self.receiver.ack_owed |= self.receiver.has_begun();
            }
            self.with_owner(now, |owner, cx| owner.slot_up(cx, is_first));
        } else {
            self.greet();
            self.position_due = Some(now + self.position_every());
        }
    }

    pub(super) fn slot_down(&mut self, now: Instant, slot: Slot) {
        let Some(session) = &mut self.meeting.session else { return };
        session.slots &= !(1 << slot.0);
        if session.has_greeted {
            self.say_hello();
        }
        self.receiver.ack_owed |= self.receiver.has_begun();
        self.with_owner(now, |owner, cx| owner.slot_down(cx, slot));
    }

    /// Our Hello, as things stand now.
    fn greet(&mut self) {
        self.meeting.hellos += 1;
        self.say_hello();
    }

    /// What our Hello says has changed.
    pub(super) fn greet_again(&mut self, now: Instant) {
        if self.meeting.has_greeted() {
            self.greet();
            self.decide(now);
        }
    }

    fn say_hello(&mut self) {
        let Some(slot) = self.meeting.any_slot() else { return };
        if let Some(session) = &mut self.meeting.session {
            session.has_greeted = true;
        }
        let hello = Box::new(self.hello());
        self.outputs.push_back(Output::Send { slot, message: Message::Hello(hello) });
    }

    pub(super) fn hello(&self) -> Hello {
        let volumes = self.config.volumes.iter().map(|volume| VolumeShape {
            name: volume.name.clone(),
            block_length: volume.block_length,
            capacity: volume.capacity,
        });
        Hello {
            group: self.config.name.clone(),
            node: self.node.clone(),
            instance: self.instance,
            volumes: volumes.collect(),
            role: self.role,
            disk: self.shown_disk(),
            epoch: self.epoch,
            generation: self.generation,
            history: self.history.clone(),
            dirty_since: self.dirty_since,
            crashed_owner: self.crashed_owner,
            lost_cache: self.lost_cache && !self.planted.has(Fault::TrustOwnCache),
            resumes: self.resumes,
            holds: self.stayed && matches!(self.disk, DiskState::UpToDate | DiskState::Consistent),
            peer_outdated: self.peer_outdated,
            received: self.receiver.marks(),
            counting: self.counting,
            suspects: self
                .suspects
                .runs(SUSPECTS)
                .into_iter()
                .map(|(volume, extent)| (volume, range(extent)))
                .collect(),
            number: self.meeting.hellos,
        }
    }

    pub(super) fn received(&mut self, now: Instant, id: SessionId, message: Message) {
        let is_write = matches!(message, Message::Op(_));
        if self.meeting.session.as_ref().is_none_or(|session| session.id != id)
            && !(is_write && self.planted.has(Fault::AcceptOldEpoch))
        {
            return;
        }
        match message {
            Message::Hello(hello) => self.received_hello(now, *hello),
            Message::Begin(begin) => self.received_begin(now, begin),
            Message::Op(frame) => self.received_op(frame),
            Message::Ack(ack) => self.received_ack(now, &ack),
            Message::Read(read) => self.received_read(read),
            Message::ReadDone(done) => self.received_read_done(now, done),
            Message::Position(position) => {
                if position.epoch >= self.epoch && self.role == Role::Secondary {
                    self.heed(&position);
                    if position.is_together {
                        self.hear(now);
                    }
                    self.position = Some((position, now));
                }
            }
        }
    }

    fn received_hello(&mut self, now: Instant, hello: Hello) {
        let Some(session) = &mut self.meeting.session else { return };
        if session.theirs.as_ref().is_some_and(|theirs| theirs.number >= hello.number) {
            return;
        }
        let goes_on_together =
            hello.role == Role::Primary && !hello.peer_outdated && hello.generation == self.generation;
        self.claim = Some(Claim::of(&hello, self.claim, now));
        self.meeting.peer_role = Some(hello.role);
        self.meeting.peer_disk = Some(hello.disk);
        // Neither what it said before our Begin nor what that says: the copy begins anew, and no counting of ours is of it.
        let begins_anew = hello.counting.is_some() && ![session.said, session.counting].contains(&hello.counting);
        session.counting.take_if(|_| begins_anew);
        session.said = hello.counting;
        let counting = session.counting.filter(|_| hello.role == Role::Secondary);
        let hello = Hello { counting: counting.or(hello.counting), ..hello };
        session.theirs = Some(hello);
        if goes_on_together {
            self.hear(now);
        }
        self.decide(now);
        if self.planted.has(Fault::GreetForEver) {
            self.greet();
        }
    }

    /// Both Hellos are there, or one of them has changed.
    pub(super) fn decide(&mut self, now: Instant) {
        let Some(session) = self.meeting.session.as_ref().filter(|session| session.has_greeted) else { return };
        let Some(mut theirs) = session.theirs.clone() else { return };
        theirs.lost_cache &= !self.planted.has(Fault::DecideOneSided);
        let decision = reconcile(&self.hello(), &theirs);
        let changed = self.meeting.decision.as_ref() != Some(&decision);
        self.meeting.decision = Some(decision.clone());
        if changed {
            let text = describe(&decision, &self.node, &theirs.node);
            self.outputs.push_back(Output::Event(Event::Decided { row: decision.row, text }));
        }
        self.see_split(changed);
        match decision.verdict {
            Verdict::Stream { source: Side::Mine, missing } => self.be_source(now, missing),
            Verdict::Stream { source: Side::Theirs, .. } => self.be_target(now),
            Verdict::NoOwner { newer } => self.be_without_owner(now, newer, &theirs),
            Verdict::SplitBrain | Verdict::Refuse(_) => (),
        }
    }

    /// Who serves beside a peer that serves does so no more, once the two have met, until an operator says whose copy is kept;
    /// also when they part again.
    fn see_split(&mut self, changed: bool) {
        let is_split = self.meeting.decision.as_ref().is_some_and(|decision| decision.verdict == Verdict::SplitBrain);
        if !is_split {
            self.is_held = false;
        } else if changed {
            self.is_held = self.owner.is_some() && self.policy.on_split_brain == OnSplitBrain::Hold;
            self.outputs.push_back(Output::Event(Event::SplitBrain));
            self.outputs.extend(self.is_held.then_some(Output::Event(Event::HeldBack(HeldBack::SplitBrain))));
        }
        self.show();
    }

    fn be_source(&mut self, now: Instant, missing: Missing) {
        if self.owner.is_none() {
            // At start: nobody took over while we were away; or who did gives way.
            self.wait_until = None;
            let peer_gave_way = self.meeting.theirs().is_some_and(|theirs| theirs.role == Role::Secondary);
            match self.role {
                _ if self.pending.is_some() || self.ends => (),
                Role::Primary => self.ascend(now),
                Role::Secondary if peer_gave_way && self.take_over_due.is_none() => self.take_over(now),
                Role::Secondary => (),
            }
            return;
        }
        let Some((peer, theirs)) =
            self.meeting.session.as_ref().and_then(|session| Some((session.peer, session.theirs.clone()?)))
        else {
            return;
        };
        if theirs.epoch > self.epoch {
            return self.renew_epoch();
        }
        if self.owner.as_ref().is_some_and(|owner| owner.epoch != self.epoch) {
            return;
        }
        if self.paused {
            return;
        }
        if theirs.role == Role::Primary {
            // It gives way, and says then where it may have written.
            return;
        }
        if theirs.disk == DiskState::Failed {
            // It would fail again: everything goes there once its device is repaired.
            return self.with_owner(now, |owner, cx| owner.give_peer_up(cx));
        }
        let everything = missing != Missing::Counted;
        let compares = self.compares_first(theirs.generation);
        let missing = if everything && compares { Missing::Compared } else { missing };
        let is_streaming = self.owner.as_ref().is_some_and(|owner| owner.stream.is_some());
        if is_streaming && !everything {
            return;
        }
        let same_instance = self.meeting.streamed_to == Some(peer);
        if self.is_through() && !self.goes_on_through(same_instance, everything) {
            return self.leave_to_the_peer(now);
        }
        self.meeting.streamed_to = Some(peer);
        if everything {
            self.counting = Some(self.draw());
            self.record_everything();
            if theirs.generation != Generation::NONE {
                self.dirty_since = Some(theirs.generation);
            }
        }
        if !self.planted.has(Fault::IgnoreSuspects) {
            self.with_owner(now, |owner, cx| owner.suspect(peer, &theirs.suspects, cx.now));
        }
        let counting = match self.counting {
            Some(counting) => counting,
            None => {
                let drawn = self.draw();
                self.counting = Some(drawn);
                self.store(Then::Nothing);
                drawn
            }
        };
        self.meeting.now_counting(counting);
        self.with_owner(now, |owner, cx| owner.begin(cx, theirs.received, counting, same_instance, missing));
        if compares {
            self.with_owner(now, |owner, _| owner.compare_first(true));
        }
    }

    fn be_target(&mut self, now: Instant) {
        self.wait_until = None;
        if self.role == Role::Primary {
            self.resumes = self.lost_cache && self.owner.is_none();
            self.give_way_to_newer(now);
            if self.disk != DiskState::Failed {
                self.set_disk(DiskState::Outdated);
            }
            self.store(Then::Nothing);
            self.greet_again(now);
            return;
        }
        // Also where no stream begins, as the owner pauses: it acknowledges what does not come here.
        let is_ahead = self.meeting.theirs().is_some_and(|theirs| theirs.generation != self.generation);
        if is_ahead && matches!(self.disk, DiskState::UpToDate | DiskState::Consistent) {
            self.set_disk(DiskState::Outdated);
            self.store(Then::Nothing);
        }
        if let Some(begin) = self.meeting.session.as_mut().and_then(|session| session.early.take()) {
            self.received_begin(now, begin);
        }
    }

    fn be_without_owner(&mut self, now: Instant, newer: Option<Side>, theirs: &Hello) {
        self.wait_until = None;
        if newer == Some(Side::Theirs) {
            let was_primary = self.role == Role::Primary;
            if was_primary {
                self.give_way_to_newer(now);
            }
            if matches!(self.disk, DiskState::UpToDate | DiskState::Consistent) {
                self.set_disk(DiskState::Outdated);
                self.store(Then::Nothing);
            }
            if was_primary {
                self.greet_again(now);
            }
        } else if newer.is_none()
            && !theirs.crashed_owner
            && !self.crashed_owner
            && theirs.disk == DiskState::UpToDate
            && self.disk == DiskState::Consistent
            && self.generation != Generation::NONE
        {
            self.set_disk(DiskState::UpToDate);
        }
        let is_whole = |disk| matches!(disk, DiskState::UpToDate | DiskState::Consistent);
        if newer.is_none() && is_whole(self.disk) && is_whole(theirs.disk) && !theirs.crashed_owner {
            self.resume(now);
        }
    }

    // The other end of the peer's stream.

    fn received_begin(&mut self, now: Instant, begin: Begin) {
        if begin.epoch < self.epoch || self.disk == DiskState::Failed {
            return;
        }
        if !self.meeting.is_receiving() || self.role == Role::Primary {
            if let Some(session) = &mut self.meeting.session {
                session.early = Some(begin);
            }
            return;
        }
        if !begin.resync && self.disk == DiskState::Inconsistent && self.counting != Some(begin.counting) {
            // It presumes what this copy has lost since. The next one will follow from our Hello that says so.
            return;
        }
        let fresh = match self.receiver.begin(begin) {
            Ok(Begun::Already) => return,
            Ok(begun) => begun == Begun::Over,
            Err(how) => return self.outputs.push_back(Output::Misbehaved(how)),
        };
        if fresh {
            self.resync_done = None;
            // Local work of the former stream still ends, and counts for nothing in this one.
            self.run = self.run.wrapping_add(1);
            self.flushes.clear();
            self.flush_again();
            self.lending.forget();
        }
        let new_epoch = self.epoch != begin.epoch;
        let overwrites = begin.resync && fresh && self.disk != DiskState::Failed;
        if overwrites {
            self.see_what_is_overwritten();
        }
        self.epoch = begin.epoch;
        if overwrites {
            self.set_disk(DiskState::Inconsistent);
            self.counting = Some(begin.counting);
            if self.planted.has(Fault::ForgetEarly) {
                self.clear_map();
            }
            self.receiver.gated = true;
            self.store(if self.overwritten.is_some() { Then::KeepAside } else { Then::Ungate });
        } else {
            if begin.generation != self.generation && matches!(self.disk, DiskState::UpToDate | DiskState::Consistent) {
                self.set_disk(DiskState::Outdated);
            }
            if new_epoch {
                self.store(Then::Nothing);
            }
        }
        (self.crashed_owner, self.lost_cache) = (false, false);
        let _ = now;
    }

    fn received_op(&mut self, frame: OpFrame) {
        let ours = self.receiver.epoch();
        let is_former = self.role == Role::Primary || frame.epoch < ours || !self.receiver.has_begun();
        if is_former && !self.planted.has(Fault::AcceptOldEpoch) {
            return;
        }
        if frame.epoch > ours {
            let how = misbehaved(&format!("writes of epoch {ours}"), format!("one of epoch {}", frame.epoch));
            return self.outputs.push_back(Output::Misbehaved(how));
        }
        if let Err(how) = self.receiver.receive(frame, &self.config.volumes, &self.planted) {
            self.outputs.push_back(Output::Misbehaved(how));
        }
    }

    fn received_ack(&mut self, now: Instant, ack: &Ack) {
        if self.owner.as_ref().is_some_and(|owner| owner.tells_of_failure(ack)) {
            return self.peer_failed(now, ack);
        }
        let mut result = Ok(());
        self.with_owner(now, |owner, cx| result = owner.acknowledged(cx, ack));
        if let Err(how) = result {
            self.outputs.push_back(Output::Misbehaved(how));
        }
    }

    /// Of what it acknowledges with that not all is stored: nothing it says of this stream counts any more.
    fn peer_failed(&mut self, now: Instant, ack: &Ack) {
        ack.failed.iter().take(1).for_each(|&seq| self.outputs.push_back(Output::Event(Event::PeerDiskFailed { seq })));
        self.meeting.peer_failed();
        self.with_owner(now, |owner, cx| owner.give_peer_up(cx));
    }

    pub(super) fn say_ack(&mut self) {
        if self.receiver.ack_owed
            && self.receiver.has_begun()
            && let Some(slot) = self.meeting.any_slot()
            && let Some(ack) = self.receiver.take_ack()
        {
            self.outputs.push_back(Output::Send { slot, message: Message::Ack(Box::new(ack)) });
        }
    }

    /// Often enough for the replica's lease.
    fn position_every(&self) -> Duration {
        POSITION_EVERY.min(self.config.lease / 3)
    }

    pub(super) fn say_position(&mut self, now: Instant) {
        self.position_due = None;
        let Some(slot) = self.meeting.any_slot() else { return };
        self.position_due = Some(now + self.position_every());
        if let Some(owner) = self.owner.as_ref().filter(|owner| owner.stream.is_some()) {
            let mut position = owner.position(self.policy, now);
            position.is_by_command = self.policy_by_command;
            position.is_together = !self.peer_outdated && self.degrading == Degrading::No;
            self.outputs.push_back(Output::Send { slot, message: Message::Position(position) });
        }
    }

    /// What was commanded while the owner ran holds here too: after a promotion nobody would think of commanding it again.
    fn heed(&mut self, position: &Position) {
        if position.is_by_command {
            self.policy.mode = position.mode;
            self.policy.on_link_loss = position.on_link_loss;
            self.policy.max_stall = position.max_stall;
            self.policy_by_command = true;
        }
    }

    /// The slots that are up, for an owner that has just begun to reign.
    pub(super) fn lend_slots(&mut self) {
        if let (Some(session), Some(owner)) = (&self.meeting.session, &mut self.owner) {
            (0..64).filter(|slot| session.slots & (1 << slot) != 0).for_each(|slot| owner.slots.up(Slot(slot)));
        }
    }
}

pub(super) fn describe(decision: &Decision, mine: &str, theirs: &str) -> String {
    let name = |side: Side| if side == Side::Mine { mine } else { theirs };
    match &decision.verdict {
        Verdict::Stream { source, missing } => {
            let what = match missing {
                Missing::Counted => "what it has counted as missing",
                Missing::Compared => "what differs of all blocks, which are compared by digest,",
                Missing::Everything => "every block",
            };
            format!("{} is the source: it sends {what} to {}", name(*source), name(source.other()))
        }
        Verdict::NoOwner { newer: None } => "neither node is Primary: promote one of them".into(),
        Verdict::NoOwner { newer: Some(side) } => {
            format!("{} has the newer copy and is not Primary: promote it", name(*side))
        }
        Verdict::SplitBrain => "split brain: both nodes wrote what the other lacks".into(),
        Verdict::Refuse(cause) => cause.clone(),
    }
}

/// Runs of blocks in a Hello: more of them are joined where they lie next to each other.
const SUSPECTS: usize = 512;
/// Between two words of the owner about how far it is ahead, at most.
const POSITION_EVERY: Duration = Duration::from_millis(500);
