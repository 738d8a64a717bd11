//! What is on record, what follows when it is, and what when it could not be written.

use std::time::{Duration, Instant};

use super::io::{CommandId, Event, Output, Record, Refusal, StoreFailed, StoreWrite};
use super::machine::Replica;
use crate::config::Mode;
use crate::ids::Generation;
use crate::wire::message::{DiskState, HISTORY_MAX, Role};

/// What follows when a record is durable.
#[derive(Clone, Debug)]
pub(super) enum Then {
    Nothing,
    /// The new epoch holds: serve.
    Reign,
    /// The reign goes on in it.
    Renew,
    /// Acknowledge without the peer.
    Alone,
    /// Acknowledge with it again.
    Together,
    /// The peer may know what is on record.
    Greet,
    /// The copy is on record as Inconsistent: put aside what is to be kept of it.
    KeepAside,
    /// That is done, and on record: overwrite it.
    Ungate,
    Answer(CommandId),
    /// The local device failed: acknowledge what the peer has.
    Through,
    /// Acknowledge as this mode promises.
    Weaken(CommandId, Mode),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Degrading {
    No,
    Recording,
    Retry(Instant),
}

impl Replica {
    pub(super) fn store(&mut self, then: Then) {
        self.store_as(false, then);
    }

    /// `clean`: whoever finds it need not resync.
    pub(super) fn store_as(&mut self, clean: bool, then: Then) {
        self.store_next += 1;
        let write = StoreWrite(self.store_next);
        let record = Record {
            role: self.role,
            disk: self.disk,
            epoch: self.epoch,
            generation: self.generation,
            history: self.history.clone(),
            peer_outdated: self.peer_outdated,
            clean: clean || self.role == Role::Secondary && !self.crashed_owner,
            dirty_since: self.dirty_since.filter(|_| self.everything_due.is_none()),
            mode: if self.async_owed { Mode::Async } else { self.mode_to_record.unwrap_or(self.policy.mode) },
            lost_cache: self.lost_cache,
            counting: self.counting.filter(|_| self.everything_due.is_none()),
            overwritten: self.overwritten,
        };
        self.stores.push_back((write, then));
        self.outputs.push_back(Output::Store { write, record: Box::new(record) });
    }

    pub(super) fn stored(&mut self, now: Instant, write: StoreWrite, result: Result<(), StoreFailed>) {
        while let Some((first, _)) = self.stores.front()
            && *first <= write
        {
            if let Some((_, then)) = self.stores.pop_front() {
                self.then(now, then, result);
            }
        }
        self.record_due = result.is_err().then_some(now + STORE_RETRY_AFTER);
        if result.is_ok() {
            // It says what those said that could not be written before it.
            for then in std::mem::take(&mut self.owed_to_record) {
                self.then(now, then, result);
            }
        }
    }

    pub(super) fn record_again(&mut self) {
        self.record_due = None;
        for then in std::mem::take(&mut self.owed_to_record) {
            self.store(then);
        }
        if self.stores.is_empty() {
            self.store(Then::Nothing);
        }
    }

    /// From now on this copy may be ahead of the other.
    pub(super) fn draw_generation(&mut self) {
        let former = self.generation;
        let drawn = self.draw();
        self.enter_generation(drawn);
        debug_assert_ne!(former, self.generation);
    }

    pub(super) fn draw(&mut self) -> Generation {
        self.draws += 1;
        let high = mix(self.seed ^ self.instance.0.rotate_left(17) ^ self.draws);
        let low = mix(high ^ self.instance.0 ^ self.seed.rotate_left(32));
        Generation(u128::from(high) << 64 | u128::from(low | 1))
    }

    pub(super) fn enter_generation(&mut self, generation: Generation) {
        if generation == self.generation {
            return;
        }
        if self.generation != Generation::NONE {
            self.history.insert(0, self.generation);
            self.history.truncate(HISTORY_MAX);
        }
        self.generation = generation;
    }

    pub(super) fn then(&mut self, now: Instant, then: Then, result: Result<(), StoreFailed>) {
        match (then, result) {
            (Then::Nothing, _) => (),
            (then @ (Then::Renew | Then::KeepAside | Then::Ungate | Then::Greet | Then::Through), Err(StoreFailed)) => {
                self.owed_to_record.push(then)
            }
            (Then::Reign, Ok(())) if self.is_ascending() => self.reign(now),
            (Then::Reign, Ok(())) => (),
            (Then::Renew, Ok(())) => {
                if let Some(owner) = &mut self.owner {
                    owner.stop();
                    owner.epoch = self.epoch;
                    owner.peer = Default::default();
                }
                self.decide(now);
            }
            (Then::Reign, Err(StoreFailed)) if self.is_ascending() => {
                self.give_up(Refusal::Store);
                self.pending = None;
                match self.ascends_from {
                    Some(_) => self.stay_behind(now),
                    None => self.wait_until = Some(now + STORE_RETRY_AFTER),
                }
            }
            (Then::Reign, Err(StoreFailed)) => (),
            (Then::Alone, Ok(())) => {
                self.degrades_from = None;
                self.degrading = Degrading::No;
                self.outputs.push_back(Output::Event(Event::Degraded { generation: self.generation }));
                self.go_on_alone(now);
            }
            (Then::Together, result) => self.together(now, result),
            (Then::Greet, Ok(())) => self.greet_again(now),
            (Then::Alone, Err(StoreFailed)) => self.degrade_failed(now),
            (Then::Through, Ok(())) => self.through_recorded(now),
            (Then::Weaken(id, mode), Ok(())) => {
                self.weaken(now, mode);
                self.answer(id, Ok(Vec::new()));
            }
            (Then::Weaken(id, _), Err(StoreFailed)) => {
                self.mode_to_record = None;
                self.refuse(id, Refusal::Store);
            }
            (Then::KeepAside, Ok(())) => self.keep_aside(),
            // Unless another resync has begun since, of a copy that is still to be put aside.
            (Then::Ungate, Ok(())) => {
                self.receiver.gated = self.overwritten.is_some() || self.disk == DiskState::Failed;
            }
            (Then::Answer(id), Ok(())) => {
                self.pending.take_if(|pending| pending.id == Some(id));
                self.answer(id, Ok(Vec::new()));
            }
            (Then::Answer(id), Err(StoreFailed)) => {
                self.pending.take_if(|pending| pending.id == Some(id));
                self.refuse(id, Refusal::Store);
                self.show();
            }
        }
    }
}

impl Degrading {
    pub fn is_due(self, now: Instant) -> bool {
        matches!(self, Degrading::Retry(due) if due <= now)
    }
}

/// SplitMix64's finalizer: every bit of the input moves every bit of the output.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Until hosts are told BUSY that wait for a record, in `max_stall`s: they may have waited one for the peer.
pub(super) const RECORD_PATIENCE: u32 = 2;
/// After a record that could not be written.
pub(super) const STORE_RETRY_AFTER: Duration = Duration::from_secs(1);
