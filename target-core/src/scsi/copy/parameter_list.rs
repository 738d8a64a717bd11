//! The EXTENDED COPY parameter list, LID1 (SPC-5 §6.4.3) and LID4 (§6.5).
//!
//! ```text
//!            LID1                                        LID4
//!   byte 0   LIST IDENTIFIER                             PARAMETER LIST FORMAT 01h
//!   byte 1   LIST ID USAGE (4-3), PRIORITY (2-0)         the same
//!   2-3      CSCD DESCRIPTOR LIST LENGTH                 HEADER CSCD DESCRIPTOR LIST LENGTH 20h
//!   8-11     SEGMENT DESCRIPTOR LIST LENGTH              15: G_SENSE (1), IMMED (0)
//!   12-15    INLINE DATA LENGTH                          16: FFh    20-23: LIST IDENTIFIER
//!   16-      CSCDs, segments                             42-47: the three lengths    48-: CSCDs, segments
//! ```

use super::limits::{CSCD_BYTES, CSCD_DESCRIPTORS_MAX, DESCRIPTOR_LIST_BYTES_MAX, SEGMENT_DESCRIPTORS_MAX};
use super::{Cscd, Dialect, ExtendedCopy, ListId, Segment};
use crate::scsi::sense::{Asc, Sense};

impl ExtendedCopy {
    /// `list` is as long as PARAMETER LIST LENGTH, which is not 0: that is no error and copies nothing.
    pub fn parse(list: &[u8], lid4: bool, dialect: Dialect) -> Result<ExtendedCopy, Sense> {
        let header = if lid4 { Header::parse_lid4(list)? } else { Header::parse_lid1(list)? };
        let descriptors = &list[usize::from(header.length)..];
        let descriptor_bytes = u64::from(header.cscd_bytes) + u64::from(header.segment_bytes);
        if descriptor_bytes > u64::from(DESCRIPTOR_LIST_BYTES_MAX) || descriptor_bytes > descriptors.len() as u64 {
            return Err(Sense::parameter_list_length_error());
        }
        if header.inline_bytes > 0 {
            return Err(Sense::illegal_request(Asc::INLINE_DATA_LENGTH_EXCEEDED));
        }
        let (cscds, rest) = descriptors.split_at(usize::from(header.cscd_bytes));
        let segments = &rest[..header.segment_bytes as usize];
        Ok(ExtendedCopy {
            list_id: header.list_id,
            priority: header.priority,
            immediate: header.immediate,
            cscds: parse_cscds(cscds, header, dialect)?,
            segments: parse_segments(segments, header.length + header.cscd_bytes)?,
        })
    }
}

fn parse_cscds(bytes: &[u8], header: Header, dialect: Dialect) -> Result<Vec<Cscd>, Sense> {
    let (descriptors, rest) = bytes.as_chunks::<{ CSCD_BYTES as usize }>();
    if descriptors.len() > usize::from(CSCD_DESCRIPTORS_MAX) {
        return Err(Sense::illegal_request(Asc::TOO_MANY_TARGET_DESCRIPTORS));
    }
    if !rest.is_empty() {
        return Err(Sense::invalid_field_in_parameter_list(header.cscd_length_at, None));
    }
    let offsets = (header.length..).step_by(usize::from(CSCD_BYTES));
    descriptors.iter().zip(offsets).map(|(bytes, offset)| Cscd::parse(bytes, offset, dialect)).collect()
}

fn parse_segments(mut bytes: &[u8], mut offset: u16) -> Result<Vec<Segment>, Sense> {
    let mut segments = Vec::new();
    while !bytes.is_empty() {
        if segments.len() == usize::from(SEGMENT_DESCRIPTORS_MAX) {
            return Err(Sense::illegal_request(Asc::TOO_MANY_SEGMENT_DESCRIPTORS));
        }
        let (segment, length) = Segment::parse(bytes, offset)?;
        segments.push(segment);
        bytes = &bytes[length..];
        offset += length as u16;
    }
    Ok(segments)
}

#[derive(Clone, Copy)]
struct Header {
    list_id: Option<ListId>,
    priority: u8,
    immediate: bool,
    /// Bytes before the first CSCD descriptor.
    length: u16,
    /// Where CSCD DESCRIPTOR LIST LENGTH stands.
    cscd_length_at: u16,
    cscd_bytes: u16,
    segment_bytes: u32,
    inline_bytes: u32,
}

impl Header {
    fn parse_lid1(list: &[u8]) -> Result<Header, Sense> {
        let Some(header) = list.first_chunk::<16>() else { return Err(Sense::parameter_list_length_error()) };
        let double = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        Ok(Header {
            list_id: list_id(header[1], ListId::Lid1(header[0]), header[0] == 0, 0)?,
            priority: header[1] & 0x07,
            immediate: false,
            length: 16,
            cscd_length_at: 2,
            cscd_bytes: u16::from_be_bytes([header[2], header[3]]),
            segment_bytes: double(8),
            inline_bytes: double(12),
        })
    }

    fn parse_lid4(list: &[u8]) -> Result<Header, Sense> {
        let Some(header) = list.first_chunk::<48>() else { return Err(Sense::parameter_list_length_error()) };
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        // §6.5: PARAMETER LIST FORMAT 01h, HEADER CSCD DESCRIPTOR LIST LENGTH 0020h, HEADER CSCD DESCRIPTOR TYPE CODE FFh.
        for (at, right) in [(0, header[0] == 0x01), (2, word(2) == 0x20), (16, header[16] == 0xFF)] {
            if !right {
                return Err(Sense::invalid_field_in_parameter_list(at, None));
            }
        }
        let id = u32::from(word(20)) << 16 | u32::from(word(22));
        Ok(Header {
            list_id: list_id(header[1], ListId::Lid4(id), id == 0, 20)?,
            priority: header[1] & 0x07,
            immediate: header[15] & IMMED != 0,
            length: 48,
            cscd_length_at: 42,
            cscd_bytes: word(42),
            segment_bytes: word(44).into(),
            inline_bytes: word(46).into(),
        })
    }
}

/// LIST ID USAGE (§6.4.3.2): 00b and 10b name the copy; 11b does not, and then the LIST IDENTIFIER "shall be set to zero".
fn list_id(usage: u8, list_id: ListId, zero: bool, list_id_at: u16) -> Result<Option<ListId>, Sense> {
    match usage >> 3 & 0b11 {
        0b00 | 0b10 => Ok(Some(list_id)),
        0b11 if zero => Ok(None),
        0b11 => Err(Sense::invalid_field_in_parameter_list(list_id_at, None)),
        _ => Err(Sense::invalid_field_in_parameter_list(1, 4)),
    }
}

const IMMED: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn cscd() -> Vec<u8> {
        let mut bytes = vec![0; 32];
        bytes[0] = 0xE4;
        bytes[4..8].copy_from_slice(&[1, 3, 0, 8]);
        bytes[30] = 2;
        bytes
    }

    fn segment() -> Vec<u8> {
        let mut bytes = vec![0; 28];
        bytes[0] = 0x02;
        bytes[3] = 0x18;
        bytes
    }

    fn lid1(cscds: usize, segments: usize) -> Vec<u8> {
        let mut list = vec![0; 16];
        list[0] = 7;
        list[2..4].copy_from_slice(&(cscds as u16 * 32).to_be_bytes());
        list[8..12].copy_from_slice(&(segments as u32 * 28).to_be_bytes());
        list.extend(cscd().repeat(cscds));
        list.extend(segment().repeat(segments));
        list
    }

    fn lid4() -> Vec<u8> {
        let mut list = vec![0; 48];
        list[0] = 1;
        list[3] = 0x20;
        list[15] = 1;
        list[16] = 0xFF;
        list[20..24].copy_from_slice(&[1, 2, 3, 4]);
        list[43] = 32;
        list[45] = 28;
        list.extend(cscd());
        list.extend(segment());
        list
    }

    fn fault(list: &[u8]) -> Sense {
        ExtendedCopy::parse(list, false, Dialect::Spc4).unwrap_err()
    }

    #[test]
    fn both_formats_are_read() {
        let copy = ExtendedCopy::parse(&lid1(2, 3), false, Dialect::Spc4).unwrap();
        assert_eq!((copy.list_id, copy.immediate), (Some(ListId::Lid1(7)), false));
        assert_eq!(copy.cscds.iter().map(|cscd| cscd.offset).collect::<Vec<_>>(), [16, 48]);
        assert_eq!(copy.segments.iter().map(|segment| segment.offset).collect::<Vec<_>>(), [80, 108, 136]);
        let copy = ExtendedCopy::parse(&lid4(), true, Dialect::Spc4).unwrap();
        assert_eq!((copy.list_id, copy.immediate), (Some(ListId::Lid4(0x0102_0304)), true));
        assert_eq!((copy.cscds[0].offset, copy.segments[0].offset), (48, 80));
    }

    #[test]
    fn truncation_anywhere_is_a_length_error() {
        let list = lid1(1, 1);
        for length in 1..list.len() {
            assert_eq!(fault(&list[..length]), Sense::parameter_list_length_error(), "{length} bytes");
        }
        let list = lid4();
        for length in 1..list.len() {
            let fault = ExtendedCopy::parse(&list[..length], true, Dialect::Spc4).unwrap_err();
            assert_eq!(fault, Sense::parameter_list_length_error(), "{length} bytes");
        }
    }

    #[test]
    fn too_many_descriptors_of_each_kind() {
        let too_many_cscds = Sense::illegal_request(Asc::TOO_MANY_TARGET_DESCRIPTORS);
        let too_many_segments = Sense::illegal_request(Asc::TOO_MANY_SEGMENT_DESCRIPTORS);
        let (cscds, segments) = (usize::from(CSCD_DESCRIPTORS_MAX), usize::from(SEGMENT_DESCRIPTORS_MAX));
        assert!(ExtendedCopy::parse(&lid1(cscds, segments), false, Dialect::Spc4).is_ok());
        assert_eq!(fault(&lid1(cscds + 1, 1)), too_many_cscds);
        assert_eq!(fault(&lid1(1, segments + 1)), too_many_segments);
        let longest = DESCRIPTOR_LIST_BYTES_MAX as usize;
        assert_eq!(fault(&lid1(cscds + 1, longest / 28)), Sense::parameter_list_length_error());
    }

    #[test]
    fn inline_data_and_odd_lengths_are_refused() {
        let mut list = lid1(1, 1);
        list[15] = 1;
        list.push(0);
        assert_eq!(fault(&list), Sense::illegal_request(Asc::INLINE_DATA_LENGTH_EXCEEDED));
        let mut list = lid1(1, 1);
        list[3] = 31;
        assert_eq!(fault(&list), Sense::invalid_field_in_parameter_list(2, None));
    }

    #[test]
    fn a_list_identifier_is_used_as_list_id_usage_says() {
        let with = |usage: u8, id: u8| {
            let mut list = lid1(1, 1);
            list[0] = id;
            list[1] = usage << 3 | 5;
            ExtendedCopy::parse(&list, false, Dialect::Spc4)
        };
        assert_eq!(with(0b00, 9).unwrap().list_id, Some(ListId::Lid1(9)));
        assert_eq!(with(0b10, 0).unwrap().list_id, Some(ListId::Lid1(0)));
        assert_eq!(with(0b11, 0).unwrap().list_id, None);
        assert_eq!(with(0b11, 0).unwrap().priority, 5);
        assert_eq!(with(0b11, 1).unwrap_err(), Sense::invalid_field_in_parameter_list(0, None));
        assert_eq!(with(0b01, 1).unwrap_err(), Sense::invalid_field_in_parameter_list(1, 4));
    }

    #[test]
    fn a_lid4_header_is_of_its_one_form() {
        for at in [0, 2, 16] {
            let mut list = lid4();
            list[at] ^= 2;
            let fault = ExtendedCopy::parse(&list, true, Dialect::Spc4).unwrap_err();
            assert_eq!(fault, Sense::invalid_field_in_parameter_list(at as u16, None));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_list_is_a_panic(list in proptest::collection::vec(0..=255u8, 0..200), cuts: [u8; 3], lid4: bool) {
            let mut list = list;
            let at = if lid4 { [43, 45, 0] } else { [3, 11, 16] };
            for (at, value) in at.into_iter().zip(cuts) {
                if let Some(byte) = list.get_mut(at) {
                    *byte = value;
                }
            }
            let _ = ExtendedCopy::parse(&list, lid4, Dialect::Spc3);
        }
    }
}
