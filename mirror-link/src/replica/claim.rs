//! What the peer says of itself in heartbeats, and what follows where the two can't meet: a Primary that starts does not go
//! alone beside a peer that lives, nor is a Secondary promoted beside one that says it is Primary.

use std::time::{Duration, Instant};

use super::io::{Event, Output, Refusal};
use super::machine::Replica;
use super::meeting::Meeting;
use super::planted::Fault;
use super::status::HeldBack;
use crate::ids::{Instance, OwnerEpoch};
use crate::wire::datagram::GroupBeat;
use crate::wire::message::{DiskState, Hello, Marks, Role};

/// The peer's last word about its role, in a heartbeat or in a Hello.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    instance: Instance,
    pub role: Role,
    pub epoch: OwnerEpoch,
    heard: Instant,
    /// How long a word proves that its process lives: T1, as heartbeats have it; nothing where none ever came.
    good_for: Duration,
}

impl Claim {
    /// A Hello that the line held up does not undo what heartbeats have told since: of a process, the higher epoch is newer.
    pub fn of(hello: &Hello, former: Option<Claim>, now: Instant) -> Claim {
        let is_newer = |former: &Claim| former.instance == hello.instance && former.epoch > hello.epoch;
        if let Some(newer) = former.filter(is_newer) {
            return newer;
        }
        let good_for = former.map_or(Duration::ZERO, |former| former.good_for);
        Claim { instance: hello.instance, role: hello.role, epoch: hello.epoch, heard: now, good_for }
    }

    fn is_fresh(&self, now: Instant) -> bool {
        now < self.good_until()
    }

    fn good_until(&self) -> Instant {
        self.heard + self.good_for
    }
}

impl Replica {
    /// What heartbeats are to say of this group.
    pub fn beat(&self) -> (Role, Marks) {
        let mut marks = self.receiver.marks();
        marks.epoch = self.epoch;
        if let Some(owner) = &self.owner {
            (marks.applied_upto, marks.durable_upto) = owner.peer_marks();
        }
        (self.role, marks)
    }

    pub(super) fn received_beat(&mut self, now: Instant, instance: Instance, beat: GroupBeat, good_for: Duration) {
        // A session is with a process that a datagram under way can't know of; one with a former process ended before this.
        let is_former = self.meeting.theirs().is_some_and(|theirs| theirs.instance != instance);
        if is_former || self.planted.has(Fault::IgnoreBeats) {
            return;
        }
        self.claim = Some(Claim { instance, role: beat.role, epoch: beat.marks.epoch, heard: now, good_for });
        if self.held_back.is_some() {
            self.wait_until = Some(now + good_for);
        }
    }

    /// At start, when the time for the peer to tell otherwise is over: must this node still not serve?
    pub(super) fn hold_back(&mut self, now: Instant) -> bool {
        let why = self.why_hold_back(now);
        if self.held_back != why {
            self.outputs.extend(why.map(|why| Output::Event(Event::HeldBack(why))));
        }
        self.held_back = why;
        // Until nothing is heard any more; a Primary is believed beyond that.
        self.wait_until =
            self.claim.filter(|claim| why.is_some() && claim.is_fresh(now)).map(|claim| claim.good_until());
        why.is_some()
    }

    fn why_hold_back(&self, now: Instant) -> Option<HeldBack> {
        if self.lacks_its_cache() {
            return Some(HeldBack::LostCache);
        }
        let claim = self.claim?;
        if claim.role == Role::Primary {
            return Some(HeldBack::PeerIsPrimary);
        }
        (claim.is_fresh(now) && self.meeting.theirs().is_none()).then_some(HeldBack::PeerLives)
    }

    /// What hosts were told was on both may be with the peer alone.
    pub(super) fn lacks_its_cache(&self) -> bool {
        self.lost_cache && !self.peer_outdated && !self.planted.has(Fault::TrustOwnCache)
    }

    /// The peer is heard and says that it is Primary, and no session says otherwise.
    fn rival(&self, now: Instant) -> Option<Claim> {
        let has_met = self.meeting.is_up() && self.meeting.theirs().is_some();
        self.claim.filter(|claim| !has_met && claim.role == Role::Primary && claim.is_fresh(now))
    }

    pub(super) fn refuse_beside_rival(&self, now: Instant) -> Result<(), Refusal> {
        let met = self.meeting.theirs().filter(|theirs| self.meeting.is_up() && theirs.role == Role::Primary);
        if let Some(theirs) = met {
            return Err(Refusal::PeerIsPrimary(theirs.node.clone()));
        }
        match self.rival(now) {
            Some(_) => Err(Refusal::PeerClaimsPrimary(self.config.peer.clone())),
            None => Ok(()),
        }
    }

    /// The peer said that it is Primary, and not since `since`: until then it is either heard again, or dead. A session that
    /// is still up does not tell: of a machine that went down nobody closes the connections.
    pub(super) fn rival_may_be_dead_at(&self, now: Instant, since: Instant) -> Option<Instant> {
        let met = self.meeting.theirs().filter(|_| self.meeting.is_up());
        let gave_way = met.is_some_and(|theirs| theirs.role != Role::Primary);
        let is_rival = |claim: &Claim| !gave_way && claim.role == Role::Primary && claim.is_fresh(now);
        self.claim.filter(is_rival).filter(|claim| claim.heard <= since).map(|claim| claim.good_until())
    }

    /// As its heartbeats say; for people.
    pub(super) fn claimed_role(&self, now: Instant) -> Option<Role> {
        self.claim.filter(|claim| claim.is_fresh(now)).map(|claim| claim.role)
    }

    /// Whether it has been heard since or not.
    pub(super) fn is_claimed_primary(&self) -> bool {
        self.claim.is_some_and(|claim| claim.role == Role::Primary)
    }

    pub(super) fn claimed_epoch(&self) -> OwnerEpoch {
        self.claim.map_or(OwnerEpoch(0), |claim| claim.epoch)
    }
}

/// By what this copy is, and by what the peer says where the two have met.
pub(super) fn may_promote(disk: DiskState, meeting: &Meeting, force: bool) -> Result<(), Refusal> {
    if meeting.is_up() {
        match meeting.theirs() {
            Some(theirs) if theirs.role == Role::Primary => return Err(Refusal::PeerIsPrimary(theirs.node.clone())),
            Some(_) => (),
            None => return Err(Refusal::Other("the nodes are just meeting: try again in a moment".into())),
        }
    }
    match disk {
        DiskState::UpToDate | DiskState::Consistent => Ok(()),
        _ if force => Ok(()),
        DiskState::Outdated => {
            Err(Refusal::Disk(disk, "the other copy has writes that were acknowledged and that this one lacks".into()))
        }
        DiskState::Inconsistent => {
            Err(Refusal::Disk(disk, "a resync is due or was under way: its blocks are not of one time".into()))
        }
        DiskState::Failed => Err(Refusal::Disk(disk, "its device failed: repair it and let it resync".into())),
    }
}
