//! Commands that move blocks, after every check: the device below is all that can still fail.
//!
//! Data-Out shorter than the command takes (the initiator's buffer was smaller) is written as far as it goes in whole
//! blocks; a piece of a block is refused with nothing written.

pub(super) mod alone;
pub(super) mod compare;
pub(super) mod read;
pub(super) mod same;
pub(super) mod status;
pub(super) mod unmap;
pub(super) mod write;

use std::sync::Arc;

use super::command::CommandComplete;
use super::device_error::{self, Direction, Failure};
use super::state::exceptional;
use super::unit::LogicalUnit;
use crate::block::{BlockCount, BlockError, Eventually, Extent, Payload};
use crate::scsi::sense::{Asc, Sense};

/// What a command's body comes to; `LogicalUnit::complete` makes its status of it.
pub(super) type Outcome = Result<Payload, Failure>;

/// Bytes handled at a time where a command reads or repeats more than it transfers: little memory for one command, and
/// others get at the device between the pieces.
pub(super) const PIECE_BYTES: u64 = 1 << 20;

/// SPC-5 has it as 0Eh/03h, INVALID FIELD IN COMMAND INFORMATION UNIT: the transport's length and the CDB's disagree.
pub(super) fn length_mismatch() -> Failure {
    Sense::illegal_request(Asc { code: 0x0E, qualifier: 0x03 }).into()
}

impl LogicalUnit {
    /// The part of the extent that `data` covers.
    pub(super) fn covered(&self, extent: Extent, data: &Payload) -> Result<Extent, Failure> {
        let block_length = self.device.block_length();
        if data.len() == extent.byte_length(block_length) {
            return Ok(extent);
        }
        match data.len() & (u64::from(block_length.bytes()) - 1) {
            0 => Ok(extent.truncated(BlockCount(data.len() >> block_length.shift()))),
            _ => Err(length_mismatch()),
        }
    }

    /// The rest of a command that began before the sanitize operation did must not undo it.
    pub(super) fn still_ready(&self) -> Result<(), Sense> {
        match self.is_exceptional(exceptional::NOT_READY) {
            false => Ok(()),
            true => self.state.lock().readiness(),
        }
    }

    pub(super) fn piece_blocks(&self) -> BlockCount {
        BlockCount(PIECE_BYTES >> self.device.block_length().shift())
    }
}

pub(super) fn write_failed(extent: Extent) -> impl Fn(BlockError) -> Failure {
    move |error| device_error::failure(error, Direction::Write, extent)
}

pub(super) fn read_failed(extent: Extent) -> impl Fn(BlockError) -> Failure {
    move |error| device_error::failure(error, Direction::Read, extent)
}

/// Run a command's body that waits, and complete it.
pub(super) fn later(
    unit: Arc<LogicalUnit>,
    body: impl Future<Output = Outcome> + Send + 'static,
) -> Eventually<CommandComplete> {
    Eventually::later(async move {
        let outcome = body.await;
        unit.complete(outcome)
    })
}
