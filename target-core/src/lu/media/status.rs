//! GET LBA STATUS (SBC-4 §5.6).

use std::sync::Arc;

use super::{later, read_failed};
use crate::block::{AllocationRun, Eventually, Extent};
use crate::lu::answers::cut;
use crate::lu::command::CommandComplete;
use crate::lu::unit::LogicalUnit;
use crate::scsi::lba_status::{self, LbaStatusRun, ProvisioningStatus};

/// `extent` is from the STARTING LOGICAL BLOCK ADDRESS to the end.
pub(crate) fn get_lba_status(
    unit: Arc<LogicalUnit>,
    extent: Extent,
    allocation_length: u32,
) -> Eventually<CommandComplete> {
    later(unit.clone(), async move {
        unit.statistics.others.add(1);
        let runs_max = lba_status::descriptors_max(allocation_length);
        let runs = match unit.options.thin {
            true => unit.device.allocation(extent, runs_max).await.map_err(read_failed(extent))?,
            false => vec![AllocationRun { blocks: extent.blocks(), mapped: true }],
        };
        let runs: Vec<LbaStatusRun> = runs.into_iter().map(status).collect();
        Ok(cut(lba_status::get_lba_status(extent.lba().0, &runs), allocation_length))
    })
}

fn status(run: AllocationRun) -> LbaStatusRun {
    let status = if run.mapped { ProvisioningStatus::Mapped } else { ProvisioningStatus::Deallocated };
    LbaStatusRun { blocks: run.blocks.0, status }
}
