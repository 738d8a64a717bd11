//! WRITE SAME, and the writing of a pattern that sanitize and format use.

use std::sync::Arc;

use bytes::Bytes;

use super::{PIECE_BYTES, later, length_mismatch, write_failed};
use crate::block::{Allocation, Durability, Eventually, Extent, Payload};
use crate::lu::command::CommandComplete;
use crate::lu::device_error::Failure;
use crate::lu::unit::LogicalUnit;

/// `data` is the one block, or nothing: zeroes, with NDOB, and with UNMAP from initiators that send none.
pub(crate) fn write_same(
    unit: Arc<LogicalUnit>,
    extent: Extent,
    data: Payload,
    expected_data_out: u64,
    unmap: bool,
    no_data_out: bool,
) -> Eventually<CommandComplete> {
    later(unit.clone(), async move {
        let block_length = u64::from(unit.device.block_length().bytes());
        let one_block = data.len() == block_length && expected_data_out == block_length;
        let nothing = no_data_out || (unmap && expected_data_out == 0);
        if !one_block && !nothing {
            return Err(length_mismatch());
        }
        unit.statistics.writes.add(1);
        unit.statistics.written.add(extent.byte_length(unit.device.block_length()));
        let _pass = match unit.gate.try_share() {
            Some(pass) => pass,
            None => unit.gate.share().await,
        };
        unit.still_ready()?;
        let durability = unit.durability(false);
        let block = data.contiguous();
        // With UNMAP the data is not looked at: initiators send whatever lies in the buffer, and mean zeroes (LBPRZ=1). Other
        // targets take it so, and libiscsi's suite holds them to it.
        let written = if nothing || unmap || block.iter().all(|byte| *byte == 0) {
            zero(&unit, extent, unmap, durability).await
        } else {
            let pattern = Pattern::new(&block, extent.byte_length(unit.device.block_length()));
            pattern.write(&unit, extent, durability).await
        };
        written.map(|()| Payload::default())
    })
}

async fn zero(unit: &LogicalUnit, extent: Extent, unmap: bool, durability: Durability) -> Result<(), Failure> {
    if extent.is_empty() {
        return Ok(());
    }
    let allocation = if unmap { Allocation::MayRelease } else { Allocation::Keep };
    let done = unit.device.write_zeroes(extent, allocation, durability).await;
    done.map_err(write_failed(extent))
}

/// Some bytes, repeated to a piece that is written again and again.
pub(crate) struct Pattern {
    piece: Bytes,
}

impl Pattern {
    /// `bytes` divide the piece; no more of it is made than `length` bytes.
    pub fn new(bytes: &[u8], length: u64) -> Pattern {
        let times = length.min(PIECE_BYTES) as usize / bytes.len();
        Pattern { piece: bytes.repeat(times).into() }
    }

    pub async fn write(&self, unit: &LogicalUnit, extent: Extent, durability: Durability) -> Result<(), Failure> {
        for piece in extent.pieces(unit.piece_blocks()) {
            let length = piece.byte_length(unit.device.block_length()) as usize;
            let data = Payload::from(self.piece.slice(..length));
            unit.device.write(piece, data, durability).await.map_err(write_failed(piece))?;
        }
        Ok(())
    }
}
