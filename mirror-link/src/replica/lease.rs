//! How long a replica may say that it is UpToDate. Pure.
//!
//! An owner may acknowledge without its replica from the moment on at which it loses it, which may be at once. The replica can't
//! know of that while nothing comes; so it says UpToDate for as long as its owner said within T1, in the session, that it goes
//! on together with it (or the end of a resync came), and Consistent from then on, with how long ago it was UpToDate. So when
//! it is cut off it is shown as UpToDate for T1 at most, whatever its owner does. Heartbeats don't count, nor do writes: they
//! come by other ways than what the owner has to say, which may be held up. What the line itself holds up and brings late
//! counts from when it comes.
//!
//! What is shown (in status and Hellos) is all that changes. The copy is what it was, decisions do not tell the two from each
//! other, and neither does a promotion, which says how old the copy is.

use std::time::{Duration, Instant};

use super::io::{Event, Output};
use super::machine::Replica;
use super::planted::Fault;
use crate::wire::message::{DiskState, Role};

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lease {
    /// When the owner last said so.
    heard: Option<Instant>,
    /// When that was so last, and the copy UpToDate.
    fresh: Option<Instant>,
    lapsed: bool,
}

impl Replica {
    /// The owner says that it acknowledges nothing which this copy is not to have; or all that it had is here.
    pub(super) fn hear(&mut self, now: Instant) {
        if self.role == Role::Secondary {
            self.lease.heard = Some(now);
            if self.disk == DiskState::UpToDate {
                self.lease.fresh = Some(now);
            }
        }
    }

    pub(super) fn shown_disk(&self) -> DiskState {
        if self.lease.lapsed && self.disk == DiskState::UpToDate { DiskState::Consistent } else { self.disk }
    }

    pub(super) fn is_lapsed(&self) -> bool {
        self.lease.lapsed
    }

    /// Two that have met and follow nobody lose nothing by not hearing, unless one is said to lead.
    fn may_lapse(&self) -> bool {
        let is_led = self.meeting.peer_role == Some(Role::Primary) || self.is_claimed_primary();
        // A session in which the peer has not said yet what it is tells no more than none.
        let has_met = self.meeting.is_up() && self.meeting.theirs().is_some();
        self.role == Role::Secondary && self.disk == DiskState::UpToDate && (is_led || !has_met)
    }

    fn is_stale(&self, now: Instant) -> bool {
        self.may_lapse() && self.lease.heard.is_none_or(|heard| heard + self.config.lease <= now)
    }

    /// `None`: there is nothing that could end.
    pub(super) fn lease_ends(&self) -> Option<Instant> {
        self.lease.heard.filter(|_| self.may_lapse() && !self.lease.lapsed).map(|heard| heard + self.config.lease)
    }

    pub(super) fn see_lease(&mut self, now: Instant) {
        let lapsed = self.is_stale(now) && !self.planted.has(Fault::NeverLapse);
        if lapsed != self.lease.lapsed {
            self.lease.lapsed = lapsed;
            // Of a copy that is no longer UpToDate anyway that is told.
            if self.role == Role::Secondary && self.disk == DiskState::UpToDate {
                self.outputs.push_back(Output::Event(if lapsed { Event::Lapsed } else { Event::FreshAgain }));
            }
        }
    }

    /// How long ago this copy was UpToDate, as far as this process knows.
    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        let fresh = self.lease.fresh.filter(|_| self.role == Role::Secondary)?;
        Some(now.saturating_duration_since(fresh))
    }

    /// For who promotes this copy without the owner having given it up.
    pub(super) fn tell_age(&self, now: Instant) -> Option<String> {
        let gave_up = self.meeting.is_up() && self.meeting.peer_role == Some(Role::Secondary);
        if gave_up || !matches!(self.disk, DiskState::UpToDate | DiskState::Consistent | DiskState::Outdated) {
            return None;
        }
        Some(match self.age(now) {
            Some(age) => {
                let age = humantime::format_duration(Duration::from_millis(age.as_millis() as u64));
                format!("this copy was up to date {age} ago, when {} was last heard", self.config.peer)
            }
            None => "how old this copy is is not known: it has not been up to date since this process began".to_owned(),
        })
    }
}
