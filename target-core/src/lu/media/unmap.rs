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
        let extents = descriptors(&data.contiguous(), unit.device.capacity(), &unit.limits)?;
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

/// Parse and check the whole list before any of it is done. Descriptors of no blocks are no errors and are left out.
fn descriptors(list: &[u8], capacity: BlockCount, limits: &BlockLimits) -> Result<Vec<Extent>, Sense> {
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let header: &[u8; HEADER] = list.first_chunk().ok_or(Sense::parameter_list_length_error())?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let rest = list[HEADER..].get(..length).ok_or(Sense::parameter_list_length_error())?;
    // "If the UNMAP BLOCK DESCRIPTOR DATA LENGTH is not a multiple of 16, the last descriptor is incomplete and ignored."
    let (descriptors, _incomplete) = rest.as_chunks::<DESCRIPTOR>();
    if descriptors.len() > limits.unmap_descriptors_max as usize {
        return Err(Sense::invalid_field_in_parameter_list(2, None));
    }
    let mut extents = Vec::with_capacity(descriptors.len());
    let mut blocks_left = u64::from(limits.unmap_max);
    for (at, descriptor) in descriptors.iter().enumerate() {
        let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = *descriptor;
        let lba = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let blocks = u64::from(u32::from_be_bytes([i, j, k, l]));
        let extent = Extent::new(Lba(lba), BlockCount(blocks), capacity).map_err(|_| Sense::lba_out_of_range(lba))?;
        let field = (HEADER + at * DESCRIPTOR + 8) as u16;
        blocks_left =
            blocks_left.checked_sub(blocks).ok_or_else(|| Sense::invalid_field_in_parameter_list(field, None))?;
        if !extent.is_empty() {
            extents.push(extent);
        }
    }
    Ok(extents)
}

const HEADER: usize = 8;
const DESCRIPTOR: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::sense::Asc;

    fn list(entries: &[(u64, u32)]) -> Vec<u8> {
        let length = (entries.len() * DESCRIPTOR) as u16;
        let mut list = [&(length + 6).to_be_bytes()[..], &length.to_be_bytes(), &[0; 4]].concat();
        for (lba, blocks) in entries {
            list.extend([&lba.to_be_bytes()[..], &blocks.to_be_bytes(), &[0; 4]].concat());
        }
        list
    }

    fn parse(list: &[u8]) -> Result<Vec<(u64, u64)>, Asc> {
        let limits = BlockLimits { unmap_max: 100, unmap_descriptors_max: 2, ..BlockLimits::new(512, 0, 1, true) };
        descriptors(list, BlockCount(1000), &limits)
            .map(|extents| extents.iter().map(|extent| (extent.lba().0, extent.blocks().0)).collect())
            .map_err(|sense| sense.asc)
    }

    #[test]
    fn lists_are_checked_whole() {
        assert_eq!(parse(&[]), Ok(vec![]));
        assert_eq!(parse(&list(&[])), Ok(vec![]));
        assert_eq!(parse(&list(&[(5, 7), (1000, 0)])), Ok(vec![(5, 7)]));
        assert_eq!(parse(&list(&[(5, 7), (999, 2)])), Err(Asc::LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE));
        assert_eq!(parse(&list(&[(0, 60), (100, 60)])), Err(Asc::INVALID_FIELD_IN_PARAMETER_LIST));
        assert_eq!(parse(&list(&[(0, 1), (1, 1), (2, 1)])), Err(Asc::INVALID_FIELD_IN_PARAMETER_LIST));
        assert_eq!(parse(&list(&[(0, 1)])[..7]), Err(Asc::PARAMETER_LIST_LENGTH_ERROR));
        assert_eq!(parse(&list(&[(0, 1)])[..20]), Err(Asc::PARAMETER_LIST_LENGTH_ERROR));
    }
}
