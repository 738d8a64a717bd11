//! 8Fh, Third-party Copy (SPC-5 §7.7.18): what the copy manager takes, of the same constants as RECEIVE COPY OPERATING
//! PARAMETERS and of the opcode table.

use super::Page;
use crate::scsi::copy::limits;
use crate::scsi::opcodes::of_opcode;

pub(super) fn encode(page: &mut Page) {
    descriptor(page, SUPPORTED_COMMANDS, &supported_commands());
    descriptor(page, PARAMETER_DATA, &parameter_data());
    let implemented = limits::IMPLEMENTED_DESCRIPTORS;
    descriptor(page, SUPPORTED_DESCRIPTORS, &[&[implemented.len() as u8], implemented.as_slice()].concat());
    // No CSCD descriptor IDs but those of the list itself.
    descriptor(page, SUPPORTED_CSCD_DESCRIPTOR_IDS, &[0, 0]);
    descriptor(page, GENERAL_COPY_OPERATIONS, &general_copy_operations());
    // HELD DATA LIMIT 0: data is not held for the initiator.
    descriptor(page, HELD_DATA, &[0; 28]);
}

/// A third-party copy descriptor: type, length of a multiple of four, contents.
fn descriptor(page: &mut Page, kind: u16, contents: &[u8]) {
    let length = contents.len().next_multiple_of(4);
    page.put16(kind);
    page.put16(length as u16);
    page.put(contents);
    page.pad_to(page.bytes.len() + length - contents.len());
}

/// For each opcode: the opcode, how many service actions, those.
fn supported_commands() -> Vec<u8> {
    let mut out = vec![0];
    for opcode in [0x83, 0x84] {
        let actions: Vec<u8> =
            of_opcode(opcode).filter_map(|row| row.service_action).map(|action| action as u8).collect();
        out.extend_from_slice(&[opcode, actions.len() as u8]);
        out.extend_from_slice(&actions);
    }
    out[0] = out.len() as u8 - 1;
    out
}

fn parameter_data() -> [u8; 28] {
    let mut out = [0; 28];
    out[4..6].copy_from_slice(&limits::CSCD_DESCRIPTORS_MAX.to_be_bytes());
    out[6..8].copy_from_slice(&limits::SEGMENT_DESCRIPTORS_MAX.to_be_bytes());
    out[8..12].copy_from_slice(&limits::DESCRIPTOR_LIST_BYTES_MAX.to_be_bytes());
    out
}

fn general_copy_operations() -> [u8; 32] {
    let mut out = [0; 32];
    let concurrent = u32::from(limits::CONCURRENT_COPIES_MAX).to_be_bytes();
    out[..4].copy_from_slice(&concurrent);
    out[4..8].copy_from_slice(&concurrent);
    out[8..12].copy_from_slice(&limits::SEGMENT_LENGTH_MAX.to_be_bytes());
    out[12] = limits::DATA_SEGMENT_GRANULARITY;
    out
}

const SUPPORTED_COMMANDS: u16 = 0x0001;
const PARAMETER_DATA: u16 = 0x0004;
const SUPPORTED_DESCRIPTORS: u16 = 0x0008;
const SUPPORTED_CSCD_DESCRIPTOR_IDS: u16 = 0x000C;
const GENERAL_COPY_OPERATIONS: u16 = 0x8001;
const HELD_DATA: u16 = 0xC001;

#[cfg(test)]
mod tests {
    use super::super::tests::with_sample;

    #[test]
    fn copy_commands_and_descriptors_are_told() {
        let page = with_sample(|data| data.page(0x8F)).expect("page");
        assert_eq!(page[4..20], [0x00, 0x01, 0, 12, 11, 0x83, 2, 0x00, 0x01, 0x84, 5, 0x00, 0x01, 0x03, 0x04, 0x05]);
        assert_eq!(page[20..24], [0x00, 0x04, 0, 28]);
        assert_eq!(page[52..60], [0x00, 0x08, 0, 4, 3, 0x02, 0x0A, 0xE4]);
        assert_eq!(page[60..68], [0x00, 0x0C, 0, 4, 0, 0, 0, 0]);
        assert_eq!(page[68..72], [0x80, 0x01, 0, 32]);
        assert_eq!(page[104..108], [0xC0, 0x01, 0, 28]);
        assert_eq!(page.len(), 136);
    }
}
