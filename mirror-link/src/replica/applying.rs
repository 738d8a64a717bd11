//! What the receiver finds ready, done on the local devices.

use std::time::Instant;

use super::io::{Found, LocalAction, Output};
use super::local_work::LocalWork;
use super::machine::Replica;
use super::records::Then;
use crate::block::{BlockError, Durability};
use crate::extent::Extent;
use crate::ids::{Generation, VolumeIndex, WriteSeq};
use crate::wire::message::{DiskState, Op, Range, Role};

impl Replica {
    /// Start whatever may be applied by now.
    pub(super) fn apply(&mut self, now: Instant) {
        while let Some((seq, op)) = self.next_to_apply() {
            let action = match op {
                Op::Write { volume, range, data, durable } => self
                    .extent(volume, range)
                    .map(|extent| LocalAction::Write { volume, extent, data, durability: durability(durable) }),
                Op::WriteZeroes { volume, range, allocation, durable } => self.extent(volume, range).map(|extent| {
                    LocalAction::WriteZeroes { volume, extent, allocation, durability: durability(durable) }
                }),
                Op::Unmap { volume, range } => {
                    self.extent(volume, range).map(|extent| LocalAction::Unmap { volume, extent })
                }
                Op::Flush => {
                    self.flushes.push((seq.0, self.receiver.applied_upto()));
                    Some(LocalAction::Flush { volume: None })
                }
                Op::Mark { volume, kind, data } => {
                    self.outputs.push_back(Output::Marked { volume, kind, data });
                    None
                }
                Op::ResyncDone { generation } => {
                    // What it says is so once the medium has what came before it.
                    self.resync_done = Some((seq.0, generation));
                    self.flushes.push((seq.0, self.receiver.applied_upto()));
                    Some(LocalAction::Flush { volume: None })
                }
                Op::Verify { volume, range, .. } => {
                    self.extent(volume, range).map(|extent| LocalAction::Digest { volume, extent })
                }
                Op::Void => None,
            };
            match action {
                Some(action) => {
                    let io = LocalWork::Apply.io(self.run, seq.0);
                    self.outputs.push_back(Output::Local { io, action });
                }
                None => self.is_applied(now, seq, false),
            }
        }
        if self.is_lending() {
            self.lend();
        }
    }

    fn next_to_apply(&mut self) -> Option<(WriteSeq, Op)> {
        if self.awaits_stream() { None } else { self.receiver.next_ready() }
    }

    /// Our Hello said how far this copy is, and a stream that goes on behind that may be on its way. A process of the peer that
    /// took up what a former one journalled gives those writes other numbers, and sends again whatever is applied meanwhile:
    /// this copy would go back to what it was before, one block after the other.
    pub(super) fn awaits_stream(&self) -> bool {
        // Without a connection nobody sends, and a promotion is to have all that came.
        let is_given_up = self.pending.is_some() && !self.meeting.is_up();
        !self.receiver.has_begun() && self.meeting.may_be_sent_to() && !is_given_up
    }

    /// `None` for no blocks at all. The receiver has checked the range.
    fn extent(&self, volume: VolumeIndex, range: Range) -> Option<Extent> {
        let capacity = self.config.volumes.get(usize::from(volume.0))?.capacity;
        Extent::new(range.lba, range.blocks, capacity).ok().filter(|extent| !extent.is_empty())
    }

    pub(super) fn applied_here(&mut self, now: Instant, seq: u64, result: Result<(), BlockError>) {
        if let Some(at) = self.flushes.iter().position(|(flush, _)| *flush == seq) {
            let (_, upto) = self.flushes.swap_remove(at);
            if result.is_ok() {
                self.receiver.durable_now(upto);
            }
        }
        match (result, self.resync_done.take_if(|(done, _)| *done == seq)) {
            (Err(error), _) => self.copy_failed(now, error),
            (Ok(()), Some((_, generation))) if self.may_be_made_whole(generation) => {
                self.resync_is_done(now, generation)
            }
            (Ok(()), _) => (),
        }
        self.is_applied(now, WriteSeq(seq), result.is_err());
    }

    /// The peer goes by what our Hello said of this copy. The end of a former session's stream makes no more of it
    /// behind its back: it may be another process by now, or have moved on. Each stream ends with that word anew. Nor does
    /// that of a reign which the peer has said since is over: it stepped down without having heard that this copy is whole.
    /// Nor that of a generation which the owner says it has left, as it goes on alone: the word is sent again with the ring
    /// that it is in, and what was acknowledged alone comes behind it.
    fn may_be_made_whole(&self, generation: Generation) -> bool {
        let said = self.meeting.last_said();
        let has_moved_on = said.is_some_and(|said| said.history.contains(&generation));
        let is_over = said.is_some_and(|said| said.role == Role::Secondary && said.epoch >= self.receiver.epoch());
        !is_over && !has_moved_on && (self.receiver.has_begun() || !self.meeting.has_greeted())
    }

    /// What this copy holds where the owner asks. What can't be read is not what it should be.
    pub(super) fn compared(&mut self, now: Instant, seq: u64, result: Result<Found, BlockError>) {
        let found = match result {
            Ok(Found::Digest(digest)) => Some(digest).filter(|_| !self.reads_doubted),
            Ok(Found::Data(_) | Found::Zeroes) => None,
            Err(error) => {
                self.outputs.push_back(Output::Event(super::io::Event::LocalFailed { error }));
                None
            }
        };
        self.receiver.compared(WriteSeq(seq), found);
        self.is_applied(now, WriteSeq(seq), false);
    }

    /// The receiver's own flush has ended. Where it failed, nobody knows which applied writes the medium lacks.
    pub(super) fn flushed_replica(&mut self, now: Instant, result: Result<(), BlockError>) {
        if let Err(error) = result {
            self.copy_failed(now, error);
        }
        // One that succeeds after another has failed tells nothing of what that one left out.
        self.receiver.flushed(result.is_ok() && self.disk != DiskState::Failed, now);
    }

    /// All that was missing is here, and on the medium: so is whatever this copy had that the owner's lacked written over.
    fn resync_is_done(&mut self, now: Instant, generation: Generation) {
        self.enter_generation(generation);
        self.counting = None;
        if self.disk != DiskState::Failed {
            self.reads_doubted = false;
            self.meeting.owner_has_us_as_whole(generation);
            self.set_disk(DiskState::UpToDate);
            self.hear(now);
            self.stayed = true;
            self.clear_map();
            self.outputs.push_back(Output::Resynced);
        }
        self.store(Then::Nothing);
    }

    /// What was received may not be on the medium, now or ever: the peer is told, whatever it is just then.
    pub(super) fn copy_failed(&mut self, now: Instant, error: BlockError) {
        self.outputs.push_back(Output::Event(super::io::Event::LocalFailed { error }));
        if self.disk != DiskState::Failed {
            // Nothing more is applied: everything comes again once it is repaired.
            self.receiver.gated = true;
            self.set_disk(DiskState::Failed);
            self.store(Then::Nothing);
            self.greet_again(now);
        }
    }

    fn is_applied(&mut self, now: Instant, seq: WriteSeq, failed: bool) {
        self.receiver.applied(seq, failed, &self.planted);
        self.receiver.arm_flush(now);
    }
}

fn durability(durable: bool) -> Durability {
    if durable { Durability::Durable } else { Durability::Cached }
}
