//! Segment descriptors (SPC-5 §6.4.6): block device to block device, without (02h) and with (0Ah) byte offsets.
//!
//! ```text
//!   byte 0       type code
//!   byte 1       FCO (2), DC (1, of 02h), CAT (0)
//!   bytes 2-3    DESCRIPTOR LENGTH: 18h or 1Ch
//!   bytes 4-5    SOURCE CSCD DESCRIPTOR ID          bytes 6-7    DESTINATION CSCD DESCRIPTOR ID
//!   02h:         bytes 10-11 BLOCK DEVICE NUMBER OF BLOCKS
//!   0Ah:         bytes 8-11 NUMBER OF BYTES
//!   bytes 12-19  SOURCE LOGICAL BLOCK ADDRESS       bytes 20-27  DESTINATION LOGICAL BLOCK ADDRESS
//!   0Ah:         bytes 28-29 SOURCE BYTE OFFSET     bytes 30-31  DESTINATION BYTE OFFSET
//! ```

use super::limits::{SEGMENT_BLOCK_TO_BLOCK, SEGMENT_BLOCK_TO_BLOCK_OFFSET, SEGMENT_LENGTH_MAX};
use super::{Segment, SegmentExtent};
use crate::scsi::sense::{Asc, Sense};

/// The byte of a segment descriptor that tells where it reads.
pub const SOURCE_LBA_AT: u16 = 12;
/// The byte of a segment descriptor that tells where it writes.
pub const DESTINATION_LBA_AT: u16 = 20;

impl Segment {
    /// The descriptor at the start of `bytes`, and how many of them it takes. `offset` is where in the parameter list it
    /// starts.
    pub(super) fn parse(bytes: &[u8], offset: u16) -> Result<(Segment, usize), Sense> {
        let (length, code) = match bytes.first() {
            Some(&code @ SEGMENT_BLOCK_TO_BLOCK) => (28, code),
            Some(&code @ SEGMENT_BLOCK_TO_BLOCK_OFFSET) => (32, code),
            _ => {
                let unsupported = Sense::illegal_request(Asc::UNSUPPORTED_SEGMENT_DESCRIPTOR_TYPE_CODE);
                return Err(unsupported.at_parameter(offset, None));
            }
        };
        let Some(bytes) = bytes.get(..length) else { return Err(Sense::parameter_list_length_error()) };
        let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let address = |at: usize| (0..4).fold(0, |lba, pair| lba << 16 | u64::from(word(at + 2 * pair)));
        if usize::from(word(2)) != length - 4 {
            return Err(Sense::invalid_field_in_parameter_list(offset + 2, None));
        }
        // Fast copies only: data goes through the copy manager here.
        if bytes[1] & FAST_COPY_ONLY != 0 {
            return Err(Sense::invalid_field_in_parameter_list(offset + 1, 2));
        }
        let extent = if code == SEGMENT_BLOCK_TO_BLOCK {
            SegmentExtent::Blocks { blocks: word(10), of_destination: bytes[1] & DC != 0 }
        } else {
            let count = u32::from(word(8)) << 16 | u32::from(word(10));
            if count > SEGMENT_LENGTH_MAX {
                return Err(Sense::invalid_field_in_parameter_list(offset + 8, None));
            }
            SegmentExtent::Bytes { bytes: count, source_offset: word(28), destination_offset: word(30) }
        };
        let segment = Segment {
            offset,
            source: word(4),
            destination: word(6),
            source_lba: address(usize::from(SOURCE_LBA_AT)),
            destination_lba: address(usize::from(DESTINATION_LBA_AT)),
            extent,
        };
        Ok((segment, length))
    }
}

const FAST_COPY_ONLY: u8 = 1 << 2;
const DC: u8 = 1 << 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[rustfmt::skip]
    const BLOCKS: [u8; 28] = [
        0x02, 0x02, 0, 0x18, 0, 1, 0, 2, 0, 0, 0x08, 0x00,
        0, 0, 0, 0, 0, 0, 0x10, 0x00, 0, 0, 0, 1, 0, 0, 0, 0,
    ];
    #[rustfmt::skip]
    const BYTES: [u8; 32] = [
        0x0A, 0x00, 0, 0x1C, 0, 0, 0, 0, 0x10, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 9, 0, 3, 1, 0,
    ];

    #[test]
    fn both_descriptors_are_read() {
        let (segment, length) = Segment::parse(&BLOCKS, 48).unwrap();
        assert_eq!(length, 28);
        assert_eq!((segment.offset, segment.source, segment.destination), (48, 1, 2));
        assert_eq!((segment.source_lba, segment.destination_lba), (0x1000, 1 << 32));
        assert_eq!(segment.extent, SegmentExtent::Blocks { blocks: 2048, of_destination: true });
        let (segment, length) = Segment::parse(&BYTES, 48).unwrap();
        assert_eq!((length, segment.source_lba, segment.destination_lba), (32, 7, 9));
        let extent = SegmentExtent::Bytes { bytes: 256 << 20, source_offset: 3, destination_offset: 256 };
        assert_eq!(segment.extent, extent);
    }

    #[test]
    fn faults_point_at_their_byte() {
        let with = |at: usize, byte: u8| {
            let mut bytes = BYTES;
            bytes[at] = byte;
            Segment::parse(&bytes, 48).unwrap_err()
        };
        let unsupported = Sense::illegal_request(Asc::UNSUPPORTED_SEGMENT_DESCRIPTOR_TYPE_CODE);
        assert_eq!(with(0, 0x03), unsupported.at_parameter(48, None));
        assert_eq!(with(1, 0x04), Sense::invalid_field_in_parameter_list(49, 2));
        assert_eq!(with(3, 0x18), Sense::invalid_field_in_parameter_list(50, None));
        assert_eq!(with(11, 1), Sense::invalid_field_in_parameter_list(56, None), "a byte too many");
        assert_eq!(Segment::parse(&BYTES[..31], 48).unwrap_err(), Sense::parameter_list_length_error());
    }
}
