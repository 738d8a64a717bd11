//! UNMAP (SBC-4 §5.35).

use std::sync::Arc;

use super::{later, write_failed};
use crate::block::{BlockCount, Eventually, Extent, Lba, Payload};
use crate::lu::command::CommandComplete;
use crate::lu::unit::LogicalUnit;
use crate::scsi::sense::Sense;
use crate::scsi::vpd::BlockLimits;

pub(crate) fn unmap(unit: Arc<LogicalUnit>, data: Payload) -> Eventually<CommandComplete> {
    later(unit.clone(), async move {
        unit.statistics.others.add(1);
        let extents = extents(&data.contiguous(), unit.device.capacity(), &unit.limits)?;
        let _pass = match unit.gate.try_share() {
            Some(pass) => pass,
            None => unit.gate.share().await,
        };
        unit.still_ready()?;
        for extent in extents {
            unit.device.unmap(extent).await.map_err(write_failed(extent))?;
        }
        Ok(Payload::default())
    })
}

/// The whole list is checked before any of it is done. Ranges of no blocks are no errors and are left out.
fn extents(list: &[u8], capacity: BlockCount, limits: &BlockLimits) -> Result<Vec<Extent>, Sense> {
    let extents: Result<Vec<Extent>, Sense> = crate::scsi::unmap::parse(list, limits)?
        .into_iter()
        .map(|range| {
            Extent::new(Lba(range.lba), BlockCount(range.blocks), capacity)
                .map_err(|_| Sense::lba_out_of_range(range.lba))
        })
        .collect();
    extents.map(|extents| extents.into_iter().filter(|extent| !extent.is_empty()).collect())
}
