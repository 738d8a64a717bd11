//! GET LBA STATUS (SBC-4 §5.6).

use std::sync::Arc;

use super::{later, read_failed};
use crate::block::{AllocationRun, Eventually, Extent, Payload};
use crate::lu::command::CommandComplete;
use crate::lu::unit::LogicalUnit;

/// `extent` is from the STARTING LOGICAL BLOCK ADDRESS to the end.
pub(crate) fn get_lba_status(
    unit: Arc<LogicalUnit>,
    extent: Extent,
    allocation_length: u32,
) -> Eventually<CommandComplete> {
    later(unit.clone(), async move {
        unit.statistics.others.add(1);
        let room = (allocation_length as usize).saturating_sub(HEADER) / DESCRIPTOR;
        let runs_max = room.clamp(1, DESCRIPTORS_MAX);
        let runs = match unit.options.thin {
            true => unit.device.allocation(extent, runs_max).await.map_err(read_failed(extent))?,
            false => vec![AllocationRun { blocks: extent.blocks(), mapped: true }],
        };
        let mut data = encode(extent.lba().0, &runs, runs_max);
        data.truncate(allocation_length as usize);
        Ok(Payload::from(bytes::Bytes::from(data)))
    })
}

/// "The LBA STATUS LOGICAL BLOCK ADDRESS field of the first descriptor shall contain the STARTING LOGICAL BLOCK ADDRESS
/// of the CDB", and each further one follows on.
fn encode(start: u64, runs: &[AllocationRun], descriptors_max: usize) -> Vec<u8> {
    let mut descriptors: Vec<[u8; DESCRIPTOR]> = Vec::with_capacity(runs.len());
    let mut lba = start;
    for run in runs {
        let mut left = run.blocks.0;
        while left > 0 && descriptors.len() < descriptors_max {
            let blocks = left.min(u64::from(u32::MAX)) as u32;
            let mut descriptor = [0; DESCRIPTOR];
            descriptor[..8].copy_from_slice(&lba.to_be_bytes());
            descriptor[8..12].copy_from_slice(&blocks.to_be_bytes());
            descriptor[12] = if run.mapped { MAPPED } else { DEALLOCATED };
            descriptors.push(descriptor);
            lba += u64::from(blocks);
            left -= u64::from(blocks);
        }
    }
    let length = (HEADER - 4 + descriptors.len() * DESCRIPTOR) as u32;
    let mut data = [length.to_be_bytes(), [0; 4]].concat();
    data.extend(descriptors.as_flattened());
    data
}

const HEADER: usize = 8;
const DESCRIPTOR: usize = 16;
const MAPPED: u8 = 0;
const DEALLOCATED: u8 = 1;
/// An answer of 16 KiB at most.
const DESCRIPTORS_MAX: usize = 1023;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::BlockCount;

    #[test]
    fn descriptors_follow_on_and_long_runs_are_cut() {
        let runs = [
            AllocationRun { blocks: BlockCount(3), mapped: true },
            AllocationRun { blocks: BlockCount(u64::from(u32::MAX) + 5), mapped: false },
        ];
        let data = encode(7, &runs, 8);
        assert_eq!(data[..8], [0, 0, 0, 52, 0, 0, 0, 0]);
        assert_eq!(data[8..24], [0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 3, 0, 0, 0, 0]);
        assert_eq!(data[24..40], [0, 0, 0, 0, 0, 0, 0, 10, 0xFF, 0xFF, 0xFF, 0xFF, 1, 0, 0, 0]);
        assert_eq!(data[40..56], [0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 5, 1, 0, 0, 0]);
        assert_eq!(encode(7, &runs, 1).len(), 24);
    }
}
