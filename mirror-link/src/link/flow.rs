//! Whether a group's stream waits for an acknowledgement, seen from outside: writes that pass a slot against the marks that
//! come back. Without a lock, as it lies in the way of every write.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::ids::OwnerEpoch;
use crate::wire::message::{Ack, Begin, Message, OpFrame, Role};

/// Times as one number, so that they can be stored without a lock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    base: Instant,
}

impl Clock {
    pub fn new() -> Clock {
        Clock { base: Instant::now() }
    }

    /// Microseconds; never 0, which stands for never.
    pub fn now(&self) -> u64 {
        (self.base.elapsed().as_micros() as u64).max(1)
    }

    pub fn instant(&self, stamp: u64) -> Option<Instant> {
        (stamp > 0).then(|| self.base + Duration::from_micros(stamp))
    }

    /// Milliseconds between then and now.
    pub fn age_ms(&self, stamp: u64) -> Option<u64> {
        (stamp > 0).then(|| self.now().saturating_sub(stamp) / 1000)
    }
}

/// Racing calls may leave `since` a moment off, never for longer than until the next acknowledgement.
#[derive(Debug, Default)]
pub struct Flow {
    /// We send a stream.
    owner: AtomicBool,
    epoch: AtomicU64,
    sent: AtomicU64,
    applied: AtomicU64,
    /// The last progress, or when there began to be something due.
    since: AtomicU64,
}

impl Flow {
    pub fn sending(&self, message: &Message, clock: &Clock) {
        match message {
            Message::Op(op) => self.sending_op(op, clock),
            Message::Begin(begin) => self.begin(begin),
            Message::Hello(hello) if hello.role == Role::Secondary => self.owner.store(false, Relaxed),
            _ => {}
        }
    }

    pub fn received(&self, message: &Message, clock: &Clock) {
        match message {
            Message::Ack(ack) => self.acknowledged(ack, clock),
            // The peer sends a stream: we do not.
            Message::Begin(_) => self.owner.store(false, Relaxed),
            _ => {}
        }
    }

    /// Since when something is due and nothing comes.
    pub fn waiting_since(&self) -> Option<u64> {
        let due = self.owner.load(Relaxed) && self.sent.load(Relaxed) > self.applied.load(Relaxed);
        due.then(|| self.since.load(Relaxed))
    }

    fn begin(&self, begin: &Begin) {
        let before = begin.first.0.saturating_sub(1);
        self.epoch.store(begin.epoch.0, Relaxed);
        self.sent.store(before, Relaxed);
        self.applied.store(before, Relaxed);
        self.owner.store(true, Relaxed);
    }

    fn sending_op(&self, op: &OpFrame, clock: &Clock) {
        if self.sent.load(Relaxed) <= self.applied.load(Relaxed) {
            self.since.store(clock.now(), Relaxed);
        }
        self.sent.fetch_max(op.seq.0, Relaxed);
    }

    fn acknowledged(&self, ack: &Ack, clock: &Clock) {
        let current = ack.epoch == OwnerEpoch(self.epoch.load(Relaxed));
        if current && self.applied.fetch_max(ack.applied_upto.0, Relaxed) < ack.applied_upto.0 {
            self.since.store(clock.now(), Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Generation, WriteSeq};
    use crate::wire::message::{Credit, Op};

    fn begin(epoch: u64, first: u64) -> Message {
        let (epoch, first) = (OwnerEpoch(epoch), WriteSeq(first));
        Message::Begin(Begin { epoch, first, resync: false, generation: Generation::NONE, counting: Generation(7) })
    }

    fn op(seq: u64) -> Message {
        let (epoch, seq, after) = (OwnerEpoch(1), WriteSeq(seq), WriteSeq(0));
        Message::Op(OpFrame { epoch, seq, after, odep: Default::default(), op: Op::Void })
    }

    fn ack(epoch: u64, upto: u64) -> Message {
        let upto = WriteSeq(upto);
        Message::Ack(Box::new(Ack {
            epoch: OwnerEpoch(epoch),
            number: 1,
            received_upto: upto,
            applied_upto: upto,
            durable_upto: WriteSeq(0),
            received: Default::default(),
            applied: Default::default(),
            credit: Credit::default(),
            failed: Default::default(),
            differs: Default::default(),
        }))
    }

    #[test]
    fn something_is_due_between_a_write_and_its_acknowledgement() {
        let (flow, clock) = (Flow::default(), Clock::new());
        flow.sending(&begin(1, 5), &clock);
        assert_eq!(flow.waiting_since(), None);
        flow.sending(&op(5), &clock);
        flow.sending(&op(6), &clock);
        assert!(flow.waiting_since().is_some());
        flow.received(&ack(0, 9), &clock);
        assert!(flow.waiting_since().is_some(), "of another epoch");
        flow.received(&ack(1, 5), &clock);
        assert!(flow.waiting_since().is_some(), "not all");
        flow.received(&ack(1, 6), &clock);
        assert_eq!(flow.waiting_since(), None);
    }

    #[test]
    fn an_acknowledgement_without_progress_is_none() {
        let (flow, clock) = (Flow::default(), Clock::new());
        flow.sending(&begin(1, 1), &clock);
        flow.sending(&op(1), &clock);
        flow.sending(&op(2), &clock);
        flow.received(&ack(1, 1), &clock);
        let since = flow.waiting_since();
        std::thread::sleep(Duration::from_millis(2));
        flow.received(&ack(1, 1), &clock);
        assert_eq!(flow.waiting_since(), since);
        flow.sending(&op(3), &clock);
        assert_eq!(flow.waiting_since(), since, "more that is due does not put it off");
    }

    #[test]
    fn a_receiver_waits_for_nothing() {
        let (flow, clock) = (Flow::default(), Clock::new());
        flow.sending(&begin(1, 1), &clock);
        flow.sending(&op(1), &clock);
        flow.received(&begin(2, 1), &clock);
        assert_eq!(flow.waiting_since(), None);
    }
}
