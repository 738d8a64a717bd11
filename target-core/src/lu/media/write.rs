//! WRITE and WRITE AND VERIFY.

use std::sync::Arc;

use super::compare::compare;
use super::{Outcome, later, write_failed};
use crate::block::{Durability, Eventually, Extent, Payload};
use crate::lu::command::CommandComplete;
use crate::lu::device_error::Failure;
use crate::lu::gate::Shared;
use crate::lu::state::exceptional;
use crate::lu::unit::LogicalUnit;
use crate::scsi::request::ByteCheck;

pub(crate) fn write(
    unit: Arc<LogicalUnit>,
    extent: Extent,
    data: Payload,
    durability: Durability,
) -> Eventually<CommandComplete> {
    let extent = match unit.covered(extent, &data) {
        Ok(extent) => extent,
        Err(failure) => return Eventually::Now(unit.complete(Err(failure))),
    };
    unit.statistics.writes.add(1);
    unit.statistics.written.add(data.len());
    if extent.is_empty() {
        return Eventually::Now(CommandComplete::good());
    }
    match unit.gate.try_share() {
        Some(pass) => write_inside(unit, pass, extent, data, durability),
        None => Eventually::later(async move {
            let pass = unit.gate.share().await;
            write_inside(unit, pass, extent, data, durability).await
        }),
    }
}

fn write_inside(
    unit: Arc<LogicalUnit>,
    pass: Shared,
    extent: Extent,
    data: Payload,
    durability: Durability,
) -> Eventually<CommandComplete> {
    if unit.is_exceptional(exceptional::NOT_READY)
        && let Err(sense) = unit.still_ready()
    {
        return Eventually::Now(unit.refuse(sense));
    }
    let written = unit.device.write(extent, data, durability);
    written.map(move |written| {
        drop(pass);
        unit.complete(written.map(|()| Payload::default()).map_err(write_failed(extent)))
    })
}

/// Alone, as the blocks must not change between writing and comparing.
pub(crate) fn write_and_verify(
    unit: Arc<LogicalUnit>,
    extent: Extent,
    data: Payload,
    check: ByteCheck,
) -> Eventually<CommandComplete> {
    unit.statistics.writes.add(1);
    unit.statistics.written.add(data.len());
    later(unit.clone(), write_then_verify(unit, extent, data, check))
}

async fn write_then_verify(unit: Arc<LogicalUnit>, extent: Extent, data: Payload, check: ByteCheck) -> Outcome {
    let extent = unit.covered(extent, &data)?;
    if extent.is_empty() {
        return Ok(Payload::default());
    }
    let _alone = unit.gate.alone().await;
    unit.still_ready()?;
    write_durable(&unit, extent, data.clone()).await?;
    compare(&unit, extent, (check != ByteCheck::MediumOnly).then_some(&data), false).await?;
    Ok(Payload::default())
}

/// SBC-4 §5.44: what is verified is on the medium.
async fn write_durable(unit: &LogicalUnit, extent: Extent, data: Payload) -> Result<(), Failure> {
    unit.device.write(extent, data, Durability::Durable).await.map_err(write_failed(extent))
}
