//! COMPARE AND WRITE, ORWRITE, WRITE ATOMIC: nothing else writes between their reading and their writing.

use std::sync::Arc;

use bytes::BytesMut;

use super::compare::compare;
use super::{Outcome, later, length_mismatch, read_failed, write_failed};
use crate::block::{Durability, Eventually, Extent, Payload};
use crate::lu::command::CommandComplete;
use crate::lu::unit::LogicalUnit;
use crate::scsi::sense::Sense;

/// SBC-4 §5.3: the first half of the Data-Out is compared, the second written where all of it is equal.
pub(crate) fn compare_and_write(
    unit: Arc<LogicalUnit>,
    extent: Extent,
    data: Payload,
    expected_data_out: u64,
    durability: Durability,
) -> Eventually<CommandComplete> {
    later(unit.clone(), async move {
        let half = extent.byte_length(unit.device.block_length());
        // 256 blocks do not fit the field and come as none, with data for 256: the field is what is wrong.
        if half == 0 && expected_data_out > 0 {
            return Err(Sense::invalid_field_in_cdb(13, None).into());
        }
        if data.len() != 2 * half || expected_data_out != 2 * half {
            return Err(length_mismatch());
        }
        count(&unit, half);
        let _alone = unit.gate.alone().await;
        unit.still_ready()?;
        compare(&unit, extent, Some(&data.slice(0, half)), false).await?;
        write(&unit, extent, data.slice(half, half), durability).await
    })
}

/// SBC-4 §5.12: each bit of the Data-Out is ORed into the medium's.
pub(crate) fn or_write(
    unit: Arc<LogicalUnit>,
    extent: Extent,
    data: Payload,
    durability: Durability,
) -> Eventually<CommandComplete> {
    later(unit.clone(), async move {
        let extent = unit.covered(extent, &data)?;
        count(&unit, data.len());
        let _alone = unit.gate.alone().await;
        unit.still_ready()?;
        let length = extent.byte_length(unit.device.block_length()) as usize;
        let mut blocks =
            unit.device.read(extent, BytesMut::with_capacity(length)).await.map_err(read_failed(extent))?;
        for (byte, mask) in blocks.iter_mut().zip(data.pieces().iter().flatten()) {
            *byte |= mask;
        }
        write(&unit, extent, blocks.into(), durability).await
    })
}

/// SBC-4 §4.29: all of it or nothing; so a short Data-Out is nothing.
pub(crate) fn write_atomic(
    unit: Arc<LogicalUnit>,
    extent: Extent,
    data: Payload,
    durability: Durability,
) -> Eventually<CommandComplete> {
    later(unit.clone(), async move {
        if data.len() != extent.byte_length(unit.device.block_length()) {
            return Err(length_mismatch());
        }
        count(&unit, data.len());
        let _alone = unit.gate.alone().await;
        unit.still_ready()?;
        write(&unit, extent, data, durability).await
    })
}

async fn write(unit: &LogicalUnit, extent: Extent, data: Payload, durability: Durability) -> Outcome {
    if extent.is_empty() {
        return Ok(Payload::default());
    }
    let written = unit.device.write(extent, data, durability).await.map_err(write_failed(extent));
    written.map(|()| Payload::default())
}

fn count(unit: &LogicalUnit, bytes: u64) {
    unit.statistics.writes.add(1);
    unit.statistics.written.add(bytes);
}
