//! A replica that takes over from an owner whose cache went with its machine, and hands back.

use std::time::Instant;

use super::io::{Event, Output};
use super::machine::Replica;
use super::reign::{Flush, PATIENCE, PROMOTION_PATIENCE, Pending, What};

impl Replica {
    /// The owner came back without its cache, and gave way: what it may lack of what was acknowledged is here.
    pub(super) fn take_over(&mut self, now: Instant) {
        self.caretaker = true;
        self.outputs.push_back(Output::Event(Event::TakesOver));
        self.promote_by_itself(now);
    }

    /// The peer has what it lacked. Hosts that know one path only still wait for it.
    pub(super) fn hand_back(&mut self, now: Instant) {
        let is_awaited = self.meeting.theirs().is_some_and(|theirs| theirs.resumes);
        if self.caretaker && is_awaited && self.pending.is_none() && self.owner.is_some() {
            self.caretaker = false;
            self.outputs.push_back(Output::Event(Event::HandsBack));
            let deadline = now + self.policy.max_stall.max(PATIENCE);
            self.pending = Some(Pending::new(None, What::Demoting { force: false }, deadline));
            self.show();
        }
    }

    /// It is whole again, and the peer has given the hosts back.
    pub(super) fn resume(&mut self, now: Instant) {
        if self.pending.is_none() && std::mem::take(&mut self.resumes) {
            self.promote_by_itself(now);
        }
    }

    fn promote_by_itself(&mut self, now: Instant) {
        let what = What::Promoting { force: false, since: now, flush: Flush::Due };
        self.pending = Some(Pending::new(None, what, now + PROMOTION_PATIENCE));
    }
}
