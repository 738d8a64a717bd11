//! UNMAP parameter list (SBC-4 §5.37.2).

use nom::IResult;
use nom::Parser;
use nom::bytes::complete::take;
use nom::number::complete::{be_u16, be_u32, be_u64};

use super::request::LbaRange;
use super::sense::Sense;
use super::vpd::BlockLimits;

/// The ranges to unmap, in order, none of them checked against the capacity.
pub fn parse(list: &[u8], limits: &BlockLimits) -> Result<Vec<LbaRange>, Sense> {
    // "A PARAMETER LIST LENGTH field set to zero specifies that no data shall be transferred. This … shall not be
    // considered an error."
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let (descriptors, length) = header(list).map_err(|_| Sense::parameter_list_length_error())?;
    // "If the UNMAP BLOCK DESCRIPTOR DATA LENGTH is not a multiple of 16, then the last unmap block descriptor is
    // incomplete and shall be ignored."
    let length = usize::from(length) / DESCRIPTOR_BYTES * DESCRIPTOR_BYTES;
    let descriptors = descriptors.get(..length).ok_or_else(Sense::parameter_list_length_error)?;
    if descriptors.len() / DESCRIPTOR_BYTES > limits.unmap_descriptors_max as usize {
        return Err(Sense::invalid_field_in_parameter_list(2, None));
    }
    let mut ranges = Vec::with_capacity(descriptors.len() / DESCRIPTOR_BYTES);
    let mut blocks = 0;
    for (index, bytes) in descriptors.chunks_exact(DESCRIPTOR_BYTES).enumerate() {
        let (_, range) = descriptor(bytes).map_err(|_| Sense::parameter_list_length_error())?;
        blocks += range.blocks;
        if blocks > limits.unmap_max.into() {
            let at = HEADER_BYTES + index * DESCRIPTOR_BYTES + 8;
            return Err(Sense::invalid_field_in_parameter_list(at as u16, None));
        }
        ranges.push(range);
    }
    Ok(ranges)
}

/// UNMAP DATA LENGTH, which says nothing more, and UNMAP BLOCK DESCRIPTOR DATA LENGTH.
fn header(list: &[u8]) -> IResult<&[u8], u16> {
    let (rest, (_, length, _)) = (be_u16, be_u16, take(4usize)).parse(list)?;
    Ok((rest, length))
}

fn descriptor(bytes: &[u8]) -> IResult<&[u8], LbaRange> {
    let (rest, (lba, blocks, _)) = (be_u64, be_u32, take(4usize)).parse(bytes)?;
    Ok((rest, LbaRange { lba, blocks: blocks.into() }))
}

const HEADER_BYTES: usize = 8;
const DESCRIPTOR_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn list(ranges: &[(u64, u32)]) -> Vec<u8> {
        let length = ranges.len() as u16 * 16;
        let mut out = [(length + 6).to_be_bytes(), length.to_be_bytes(), [0; 2], [0; 2]].concat();
        for (lba, blocks) in ranges {
            out.extend_from_slice(&lba.to_be_bytes());
            out.extend_from_slice(&blocks.to_be_bytes());
            out.extend_from_slice(&[0; 4]);
        }
        out
    }

    fn parsed(list: &[u8]) -> Result<Vec<LbaRange>, Sense> {
        parse(list, &BlockLimits::new(512, 3, 8, true))
    }

    #[test]
    fn ranges_come_in_order() {
        let ranges = vec![LbaRange { lba: 8, blocks: 16 }, LbaRange { lba: 1 << 40, blocks: 0 }];
        assert_eq!(parsed(&list(&[(8, 16), (1 << 40, 0)])), Ok(ranges));
        assert_eq!(parsed(&list(&[])), Ok(vec![]));
        assert_eq!(parsed(&[]), Ok(vec![]));
    }

    #[test]
    fn lists_cut_short_are_refused() {
        let whole = list(&[(8, 16)]);
        assert_eq!(parsed(&whole[..7]), Err(Sense::parameter_list_length_error()));
        assert_eq!(parsed(&whole[..23]), Err(Sense::parameter_list_length_error()));
    }

    #[test]
    fn an_incomplete_last_descriptor_is_ignored() {
        let mut whole = list(&[(8, 16)]);
        whole[3] = 17;
        assert_eq!(parsed(&whole).map(|ranges| ranges.len()), Ok(1));
    }

    #[test]
    fn limits_hold() {
        assert!(parsed(&list(&[(0, 1 << 20)])).is_ok());
        let over = parsed(&list(&[(0, 1 << 20), (0, 1)]));
        assert_eq!(over, Err(Sense::invalid_field_in_parameter_list(8 + 16 + 8, None)));
        assert!(parsed(&list(&[(0, 1); 256])).is_ok());
        assert_eq!(parsed(&list(&[(0, 1); 257])), Err(Sense::invalid_field_in_parameter_list(2, None)));
    }
}
