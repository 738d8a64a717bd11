//! Hosts that wait for the peer. Acknowledging without it, and with it again: each once the record says so.

use std::time::Instant;

use super::io::{Event, Output, StoreFailed};
use super::machine::Replica;
use super::planted::Fault;
use super::records::{Degrading, RECORD_PATIENCE, STORE_RETRY_AFTER, Then};
use crate::config::{Mode, OnLinkLoss};
use crate::wire::message::DiskState;

impl Replica {
    /// Hosts that wait for a peer that does not answer: go on without it, or tell them.
    pub(super) fn see_to_those_who_wait(&mut self, now: Instant) {
        let is_lost = self.is_peer_lost();
        let Some(owner) = &mut self.owner else { return };
        if owner.is_through() {
            return self.see_to_those_served_through(now);
        }
        if owner.alone {
            return;
        }
        if self.degrading != Degrading::No {
            return self.see_to_those_who_wait_for_the_record(now);
        }
        if self.policy.mode == Mode::Async {
            // It does not wait, but the peer is outdated from its first write on, and that is to be known.
            if is_lost && owner.lag_bytes() > 0 && !self.peer_outdated {
                self.degrade(now);
            }
            return;
        }
        let max_stall = self.policy.max_stall;
        let is_late = |since: Option<Instant>| since.is_some_and(|since| since + max_stall <= now);
        let in_vain = owner.waits_in_vain();
        if !is_lost && !in_vain && !is_late(owner.waits_since_earliest()) {
            return;
        }
        let waits_since = owner.waits_since();
        let stalled = is_late(waits_since);
        match self.policy.on_link_loss {
            OnLinkLoss::Degrade if waits_since.is_some() && (is_lost || stalled || in_vain) => self.degrade(now),
            OnLinkLoss::Hold if waits_since.is_some() && (is_lost || stalled) => {
                if !std::mem::replace(&mut self.told_held, true) {
                    self.outputs.push_back(Output::Event(Event::Held));
                }
                if stalled && let Some(before) = now.checked_sub(self.policy.max_stall) {
                    self.with_owner(now, |owner, cx| owner.stall(cx, before));
                }
            }
            _ => (),
        }
    }

    pub(super) fn is_peer_lost(&self) -> bool {
        let takes_nothing = self.meeting.peer_disk == Some(DiskState::Failed);
        !self.meeting.is_up() || self.paused || self.meeting.is_refused() || takes_nothing
    }

    /// Stop acknowledging → record that the peer is outdated → acknowledge on.
    pub(super) fn degrade(&mut self, now: Instant) {
        self.degrades_from = Some((self.generation, self.history.clone()));
        self.draw_generation();
        self.peer_outdated = true;
        self.degrading = Degrading::Recording;
        if let Some(owner) = &mut self.owner {
            owner.is_degrading = true;
        }
        self.store(Then::Alone);
        if self.planted.has(Fault::SkipDegradeRule) {
            self.go_on_alone(now);
        }
    }

    /// Nothing was acknowledged alone, so it is as it was: the peer may answer before that is tried again.
    pub(super) fn degrade_failed(&mut self, now: Instant) {
        self.degrading = Degrading::Retry(now + STORE_RETRY_AFTER);
        if let Some((generation, history)) = self.degrades_from.take() {
            (self.generation, self.history) = (generation, history);
            self.peer_outdated = false;
        }
        self.owner.iter_mut().for_each(|owner| owner.is_degrading = false);
        // A session that began meanwhile has heard of the generation that came to nothing.
        self.greet_again(now);
    }

    /// Hosts would have their answers were it on record that the peer is outdated; it is tried again, and they come again.
    pub(super) fn see_to_those_who_wait_for_the_record(&mut self, now: Instant) {
        let patience = self.policy.max_stall * RECORD_PATIENCE;
        let Some(owner) = &mut self.owner else { return };
        let is_late = |since: Option<Instant>| since.is_some_and(|since| since + patience <= now);
        if self.policy.mode != Mode::Async
            && is_late(owner.waits_since_earliest())
            && is_late(owner.waits_since())
            && let Some(before) = now.checked_sub(patience)
        {
            self.with_owner(now, |owner, cx| {
                owner.stall(cx, before);
                owner.waits_since();
            });
        }
    }

    pub(super) fn go_on_alone(&mut self, now: Instant) {
        if let Some(owner) = &mut self.owner {
            (owner.alone, owner.is_joining) = (true, false);
            owner.is_degrading = false;
        }
        self.with_owner(now, |owner, cx| {
            owner.evaluate_all(cx);
            owner.tell_generation(cx);
        });
        self.greet_again(now);
    }

    /// The peer has on its medium all that was acknowledged up to some moment. Before it counts as UpToDate, so that it may be
    /// promoted, nothing is acknowledged alone any more, and the record no longer says that it lacks anything.
    pub(super) fn see_caught_up(&mut self, now: Instant) {
        let is_recording = self.stores.iter().any(|(_, then)| matches!(then, Then::Together));
        let Some(owner) = self.owner.as_mut().filter(|owner| owner.is_caught_up()) else { return };
        if is_recording || self.degrading == Degrading::Recording {
            return;
        }
        if !self.peer_outdated {
            return self.with_owner(now, |owner, cx| owner.say_done(cx));
        }
        // Tried again with it.
        if self.record_due.is_none() {
            (owner.alone, owner.is_joining) = (false, true);
            self.peer_outdated = false;
            self.store(Then::Together);
        }
    }

    pub(super) fn together(&mut self, now: Instant, result: Result<(), StoreFailed>) {
        let Some(owner) = self.owner.as_mut().filter(|owner| owner.is_joining) else { return };
        if result.is_err() {
            // It is not UpToDate, nor will it be before it is told.
            (owner.alone, owner.is_joining) = (true, false);
            self.peer_outdated = true;
        }
        self.with_owner(now, |owner, cx| owner.evaluate_all(cx));
    }
}
