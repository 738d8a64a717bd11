//! Acknowledging without the peer, and with it again: each once the record says so.

use std::time::Instant;

use super::io::StoreFailed;
use super::machine::{Degrading, Replica, Then};
use super::planted::Fault;

impl Replica {
    /// Stop acknowledging → record that the peer is outdated → acknowledge on.
    pub(super) fn degrade(&mut self, now: Instant) {
        self.draw_generation();
        self.peer_outdated = true;
        self.degrading = Degrading::Recording;
        self.store(Then::Alone);
        if self.planted.has(Fault::SkipDegradeRule) {
            self.go_on_alone(now);
        }
    }

    pub(super) fn go_on_alone(&mut self, now: Instant) {
        if let Some(owner) = &mut self.owner {
            owner.alone = true;
        }
        self.with_owner(now, |owner, cx| {
            owner.evaluate_all(cx);
            owner.tell_generation(cx);
        });
        self.greet_again(now);
    }

    pub(super) fn together(&mut self, now: Instant, result: Result<(), StoreFailed>) {
        let Some(owner) = self.owner.as_mut().filter(|owner| owner.is_joining) else { return };
        owner.is_joining = false;
        // Where it could not be written it is tried again; the peer says that it is UpToDate, and must not be made a liar.
        self.peer_outdated |= result.is_err() && owner.is_established();
        self.with_owner(now, |owner, cx| owner.evaluate_all(cx));
    }
}
