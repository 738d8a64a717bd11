//! CSCD descriptors (SPC-5 §6.4.5): the identification descriptor, E4h.
//!
//! ```text
//!   byte 0      E4h
//!   byte 1      LU ID TYPE (7-6), NUL (5, SPC-3), PERIPHERAL DEVICE TYPE (4-0)
//!   bytes 2-3   RELATIVE INITIATOR PORT IDENTIFIER
//!   byte 4      CODE SET (3-0)
//!   byte 5      ASSOCIATION (5-4), DESIGNATOR TYPE (3-0)
//!   byte 7      DESIGNATOR LENGTH
//!   bytes 8-27  DESIGNATOR
//!   bytes 28-31 of a block device: PAD (byte 28, bit 2), DISK BLOCK LENGTH (3 bytes)
//! ```

use super::limits::{CSCD_BYTES, CSCD_IDENTIFICATION};
use super::{Cscd, Dialect};
use crate::scsi::designator::{Designator, DesignatorType};
use crate::scsi::sense::{Asc, Sense};

impl Cscd {
    /// `offset` is where in the parameter list the descriptor starts.
    pub(super) fn parse(bytes: &[u8; CSCD_BYTES as usize], offset: u16, dialect: Dialect) -> Result<Cscd, Sense> {
        let invalid = |byte: u16, bit: Option<u8>| Err(Sense::invalid_field_in_parameter_list(offset + byte, bit));
        if bytes[0] != CSCD_IDENTIFICATION {
            return Err(Sense::illegal_request(Asc::UNSUPPORTED_TARGET_DESCRIPTOR_TYPE_CODE).at_parameter(offset, None));
        }
        if dialect == Dialect::Spc3 && bytes[1] & LU_ID_TYPE != 0 {
            return invalid(1, Some(7));
        }
        if bytes[5] & ASSOCIATION != 0 {
            return invalid(5, Some(5));
        }
        let Some(designator) = bytes[8..28].get(..usize::from(bytes[7])) else { return invalid(7, None) };
        Ok(Cscd {
            offset,
            designator: Designator::new(DesignatorType(bytes[5] & 0x0f), bytes[4] & 0x0f, designator),
            null: dialect == Dialect::Spc3 && bytes[1] & NUL != 0,
            device_type: bytes[1] & 0x1f,
            block_length: u32::from_be_bytes([0, bytes[29], bytes[30], bytes[31]]),
            pad: bytes[28] & PAD != 0,
        })
    }
}

const LU_ID_TYPE: u8 = 0b11 << 6;
const NUL: u8 = 1 << 5;
const ASSOCIATION: u8 = 0b11 << 4;
const PAD: u8 = 1 << 2;

#[cfg(test)]
mod tests {
    use super::*;

    const NAA: [u8; 8] = [0x30, 1, 2, 3, 4, 5, 6, 7];

    fn descriptor() -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[0] = 0xE4;
        bytes[4..8].copy_from_slice(&[0x01, 0x03, 0, 8]);
        bytes[8..16].copy_from_slice(&NAA);
        bytes[28..].copy_from_slice(&[0x04, 0, 2, 0]);
        bytes
    }

    #[test]
    fn a_block_device_is_identified() {
        let cscd = Cscd::parse(&descriptor(), 16, Dialect::Spc4).unwrap();
        assert_eq!(cscd.designator, Designator::new(DesignatorType::NAA, 1, &NAA));
        assert_eq!((cscd.offset, cscd.device_type, cscd.block_length, cscd.pad, cscd.null), (16, 0, 512, true, false));
    }

    #[test]
    fn spc3_knows_nul_and_refuses_lu_id_types_that_spc4_ignores() {
        let mut bytes = descriptor();
        bytes[1] = 0x20;
        assert!(Cscd::parse(&bytes, 16, Dialect::Spc3).unwrap().null);
        assert!(!Cscd::parse(&bytes, 16, Dialect::Spc4).unwrap().null);
        bytes[1] = 0x80;
        let refused = Cscd::parse(&bytes, 16, Dialect::Spc3).unwrap_err();
        assert_eq!(refused, Sense::invalid_field_in_parameter_list(17, 7));
        assert!(Cscd::parse(&bytes, 16, Dialect::Spc4).is_ok());
    }

    #[test]
    fn faults_point_at_their_byte() {
        let with = |at: usize, byte: u8| {
            let mut bytes = descriptor();
            bytes[at] = byte;
            Cscd::parse(&bytes, 100, Dialect::Spc4).unwrap_err()
        };
        let unsupported = Sense::illegal_request(Asc::UNSUPPORTED_TARGET_DESCRIPTOR_TYPE_CODE);
        assert_eq!(with(0, 0xE0), unsupported.at_parameter(100, None));
        assert_eq!(with(5, 0x13), Sense::invalid_field_in_parameter_list(105, 5));
        assert_eq!(with(7, 21), Sense::invalid_field_in_parameter_list(107, None));
    }
}
