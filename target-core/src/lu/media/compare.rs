//! VERIFY, and the comparison that others use.

use std::sync::Arc;

use bytes::BytesMut;

use super::{Outcome, PIECE_BYTES, later, length_mismatch, read_failed};
use crate::block::{Eventually, Extent, Payload};
use crate::lu::command::CommandComplete;
use crate::lu::device_error::Failure;
use crate::lu::unit::LogicalUnit;
use crate::scsi::request::ByteCheck;
use crate::scsi::sense::Sense;

pub(crate) fn verify(
    unit: Arc<LogicalUnit>,
    extent: Extent,
    data: Payload,
    check: ByteCheck,
) -> Eventually<CommandComplete> {
    unit.statistics.others.add(1);
    later(unit.clone(), verified(unit, extent, data, check))
}

async fn verified(unit: Arc<LogicalUnit>, extent: Extent, data: Payload, check: ByteCheck) -> Outcome {
    match check {
        ByteCheck::MediumOnly => compare(&unit, extent, None, false).await?,
        ByteCheck::Compare => compare(&unit, unit.covered(extent, &data)?, Some(&data), false).await?,
        ByteCheck::CompareOneBlock if extent.is_empty() => {}
        ByteCheck::CompareOneBlock if data.len() != u64::from(unit.device.block_length().bytes()) => {
            return Err(length_mismatch());
        }
        ByteCheck::CompareOneBlock => compare(&unit, extent, Some(&data), true).await?,
    }
    Ok(Payload::default())
}

/// Read the extent, a piece at a time, and compare it with `data`: all of it, or its one block with every block.
/// MISCOMPARE tells the offset of the first byte that differs.
pub(super) async fn compare(
    unit: &LogicalUnit,
    extent: Extent,
    data: Option<&Payload>,
    one_block: bool,
) -> Result<(), Failure> {
    let block_length = unit.device.block_length();
    let mut buffer = BytesMut::with_capacity(extent.byte_length(block_length).min(PIECE_BYTES) as usize);
    let one = data.filter(|_| one_block).map(Payload::contiguous);
    let mut offset = 0;
    for piece in extent.pieces(unit.piece_blocks()) {
        buffer.clear();
        buffer = unit.device.read(piece, buffer).await.map_err(read_failed(piece))?;
        let length = buffer.len() as u64;
        let difference = match (&one, data) {
            (Some(block), _) => first_difference(buffer.chunks_exact(block.len()).map(|found| (found, &block[..]))),
            (None, Some(data)) => difference_from(&buffer, &data.slice(offset, length)),
            (None, None) => None,
        };
        if let Some(at) = difference {
            return Err(Sense::miscompare(offset + at).into());
        }
        offset += length;
    }
    Ok(())
}

fn difference_from(found: &[u8], data: &Payload) -> Option<u64> {
    let mut rest = found;
    first_difference(data.pieces().iter().map(|piece| {
        let (found, behind) = rest.split_at(piece.len());
        rest = behind;
        (found, &piece[..])
    }))
}

/// Offset of the first byte that differs in a run of equally long pairs.
fn first_difference<'a>(pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Option<u64> {
    let mut offset = 0;
    for (found, expected) in pairs {
        if found != expected {
            let within = found.iter().zip(expected).take_while(|(a, b)| a == b).count();
            return Some(offset + within as u64);
        }
        offset += found.len() as u64;
    }
    None
}
