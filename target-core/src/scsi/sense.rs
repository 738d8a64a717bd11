//! Sense data: keys (SPC-5 §4.4.7), additional sense codes (named in `asc`), and both encodings.

/// SPC-5 table 48.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SenseKey {
    NoSense = 0x0,
    RecoveredError = 0x1,
    NotReady = 0x2,
    MediumError = 0x3,
    HardwareError = 0x4,
    IllegalRequest = 0x5,
    UnitAttention = 0x6,
    DataProtect = 0x7,
    BlankCheck = 0x8,
    CopyAborted = 0xA,
    AbortedCommand = 0xB,
    Miscompare = 0xE,
}

/// ADDITIONAL SENSE CODE and its qualifier.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asc {
    pub code: u8,
    pub qualifier: u8,
}

/// A CHECK CONDITION's reason. An answer, never an `Err` that ends a nexus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sense {
    pub key: SenseKey,
    pub asc: Asc,
    /// INFORMATION: the LBA at fault, the offset of a miscompare, …
    pub information: Option<u64>,
    pub specific: Option<SenseKeySpecific>,
}

/// SENSE KEY SPECIFIC (SPC-5 §4.4.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SenseKeySpecific {
    /// Byte of the CDB or parameter list in error, and the bit where it is one.
    FieldPointer { in_cdb: bool, byte: u16, bit: Option<u8> },
    /// COPY ABORTED: byte of the parameter list, or (`in_segment_descriptor`) of the failed segment descriptor.
    SegmentPointer { in_segment_descriptor: bool, byte: u16, bit: Option<u8> },
    /// Progress of a long operation, in 65536ths.
    Progress(u16),
}

impl Sense {
    pub const fn new(key: SenseKey, asc: Asc) -> Sense {
        Sense { key, asc, information: None, specific: None }
    }

    /// What REQUEST SENSE reports when there is nothing to report.
    pub const fn no_sense() -> Sense {
        Sense::new(SenseKey::NoSense, Asc::NO_ADDITIONAL_SENSE_INFORMATION)
    }

    pub const fn illegal_request(asc: Asc) -> Sense {
        Sense::new(SenseKey::IllegalRequest, asc)
    }

    pub const fn not_ready(asc: Asc) -> Sense {
        Sense::new(SenseKey::NotReady, asc)
    }

    pub const fn unit_attention(asc: Asc) -> Sense {
        Sense::new(SenseKey::UnitAttention, asc)
    }

    pub const fn data_protect(asc: Asc) -> Sense {
        Sense::new(SenseKey::DataProtect, asc)
    }

    pub const fn aborted_command(asc: Asc) -> Sense {
        Sense::new(SenseKey::AbortedCommand, asc)
    }

    pub const fn hardware_error() -> Sense {
        Sense::new(SenseKey::HardwareError, Asc::INTERNAL_TARGET_FAILURE)
    }

    pub const fn copy_aborted(asc: Asc) -> Sense {
        Sense::new(SenseKey::CopyAborted, asc)
    }

    pub const fn invalid_opcode() -> Sense {
        Sense::illegal_request(Asc::INVALID_COMMAND_OPERATION_CODE).at_cdb(0, None)
    }

    /// `bit` is the most significant bit of the field at fault, `None` for a whole byte or more.
    pub fn invalid_field_in_cdb(byte: u16, bit: impl Into<Option<u8>>) -> Sense {
        Sense::illegal_request(Asc::INVALID_FIELD_IN_CDB).at_cdb(byte, bit.into())
    }

    pub fn invalid_field_in_parameter_list(byte: u16, bit: impl Into<Option<u8>>) -> Sense {
        Sense::illegal_request(Asc::INVALID_FIELD_IN_PARAMETER_LIST).at_parameter(byte, bit)
    }

    /// Point at a byte, and a bit where it is one, of the parameter list.
    pub fn at_parameter(mut self, byte: u16, bit: impl Into<Option<u8>>) -> Sense {
        self.specific = Some(SenseKeySpecific::FieldPointer { in_cdb: false, byte, bit: bit.into() });
        self
    }

    const fn at_cdb(mut self, byte: u16, bit: Option<u8>) -> Sense {
        self.specific = Some(SenseKeySpecific::FieldPointer { in_cdb: true, byte, bit });
        self
    }

    pub const fn with_information(mut self, information: u64) -> Sense {
        self.information = Some(information);
        self
    }

    pub const fn with_progress(mut self, progress: u16) -> Sense {
        self.specific = Some(SenseKeySpecific::Progress(progress));
        self
    }

    /// SBC-4 §4.34.1: INFORMATION is the first LBA not within the capacity, or the one asked for.
    pub const fn lba_out_of_range(lba: u64) -> Sense {
        Sense::illegal_request(Asc::LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE).with_information(lba)
    }

    pub const fn parameter_list_length_error() -> Sense {
        Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR)
    }

    pub const fn logical_unit_not_supported() -> Sense {
        Sense::illegal_request(Asc::LOGICAL_UNIT_NOT_SUPPORTED)
    }

    /// SBC-4 §5.3: `offset` is that of the first byte of the Data-Out that did not match.
    pub const fn miscompare(offset: u64) -> Sense {
        Sense::new(SenseKey::Miscompare, Asc::MISCOMPARE_DURING_VERIFY_OPERATION).with_information(offset)
    }

    pub const fn write_protected() -> Sense {
        Sense::data_protect(Asc::WRITE_PROTECTED)
    }

    /// SWP of the Control mode page.
    pub const fn software_write_protected() -> Sense {
        Sense::data_protect(Asc::LOGICAL_UNIT_SOFTWARE_WRITE_PROTECTED)
    }

    pub const fn space_allocation_failed() -> Sense {
        Sense::data_protect(Asc::SPACE_ALLOCATION_FAILED_WRITE_PROTECT)
    }

    pub const fn medium_not_present() -> Sense {
        Sense::not_ready(Asc::MEDIUM_NOT_PRESENT)
    }

    pub const fn medium_removal_prevented() -> Sense {
        Sense::illegal_request(Asc::MEDIUM_REMOVAL_PREVENTED)
    }

    pub const fn unrecovered_read_error(lba: u64) -> Sense {
        Sense::new(SenseKey::MediumError, Asc::UNRECOVERED_READ_ERROR).with_information(lba)
    }

    pub const fn write_error(lba: u64) -> Sense {
        Sense::new(SenseKey::MediumError, Asc::WRITE_ERROR).with_information(lba)
    }

    /// SBC-4 §4.12.2; `progress` in 65536ths.
    pub const fn sanitize_in_progress(progress: u16) -> Sense {
        Sense::not_ready(Asc::LOGICAL_UNIT_NOT_READY_SANITIZE_IN_PROGRESS).with_progress(progress)
    }

    /// SBC-4 §4.12.3: the state a failed sanitize leaves behind.
    pub const fn sanitize_failed() -> Sense {
        Sense::new(SenseKey::MediumError, Asc::SANITIZE_COMMAND_FAILED)
    }

    pub const fn format_in_progress(progress: u16) -> Sense {
        Sense::not_ready(Asc::LOGICAL_UNIT_NOT_READY_FORMAT_IN_PROGRESS).with_progress(progress)
    }

    /// SPC-5 §4.4.2 or §4.4.3, as D_SENSE (or DESC of REQUEST SENSE) asks.
    pub fn encode(&self, descriptor_format: bool) -> Vec<u8> {
        if descriptor_format { self.encode_descriptor() } else { self.encode_fixed().to_vec() }
    }

    /// 18 bytes of response code 70h.
    pub fn encode_fixed(&self) -> [u8; 18] {
        let mut out = [0; 18];
        out[0] = 0x70;
        // SPC-5 §4.4.3: "if the value … is too large for the INFORMATION field … the VALID bit shall be set to zero".
        if let Some(information) = self.information.and_then(|wide| u32::try_from(wide).ok()) {
            out[0] |= 0x80;
            out[3..7].copy_from_slice(&information.to_be_bytes());
        }
        out[2] = self.key as u8;
        out[7] = 18 - 8;
        out[12] = self.asc.code;
        out[13] = self.asc.qualifier;
        if let Some(specific) = self.specific {
            out[15..18].copy_from_slice(&specific.encode());
        }
        out
    }

    /// Response code 72h with the descriptors that there is something to say in.
    pub fn encode_descriptor(&self) -> Vec<u8> {
        let mut out = vec![0x72, self.key as u8, self.asc.code, self.asc.qualifier, 0, 0, 0, 0];
        if let Some(information) = self.information {
            out.extend_from_slice(&[0x00, 0x0A, 0x80, 0x00]);
            out.extend_from_slice(&information.to_be_bytes());
        }
        if let Some(specific) = self.specific {
            out.extend_from_slice(&[0x02, 0x06, 0x00, 0x00]);
            out.extend_from_slice(&specific.encode());
            out.push(0);
        }
        out[7] = (out.len() - 8) as u8;
        out
    }
}

impl SenseKeySpecific {
    /// SKSV and the three bytes it vouches for.
    fn encode(self) -> [u8; 3] {
        const SKSV: u8 = 0x80;
        let pointer = |flag: u8, byte: u16, bit: Option<u8>| {
            let [high, low] = byte.to_be_bytes();
            [SKSV | flag | bit.map_or(0, |bit| 0x08 | bit & 0x07), high, low]
        };
        match self {
            SenseKeySpecific::FieldPointer { in_cdb, byte, bit } => pointer(u8::from(in_cdb) << 6, byte, bit),
            SenseKeySpecific::SegmentPointer { in_segment_descriptor, byte, bit } => {
                pointer(u8::from(in_segment_descriptor) << 5, byte, bit)
            }
            SenseKeySpecific::Progress(progress) => {
                let [high, low] = progress.to_be_bytes();
                [SKSV, high, low]
            }
        }
    }
}

impl std::fmt::Debug for Asc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02x}h/{:02x}h", self.code, self.qualifier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_format_is_byte_exact() {
        let sense = Sense::invalid_field_in_cdb(2, 5);
        assert_eq!(
            sense.encode(false),
            [0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x24, 0, 0, 0b1100_1101, 0, 2],
            "SKSV, C/D, BPV and bit 5; byte 2"
        );
        let sense = Sense::lba_out_of_range(0x0102_0304);
        assert_eq!(sense.encode(false), [0xF0, 0, 5, 1, 2, 3, 4, 10, 0, 0, 0, 0, 0x21, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn an_lba_too_wide_for_fixed_format_is_not_valid() {
        let sense = Sense::lba_out_of_range(0x1_0000_0000);
        assert_eq!(sense.encode(false)[0], 0x70);
        assert_eq!(sense.encode(false)[3..7], [0; 4]);
        assert_eq!(
            sense.encode(true),
            [0x72, 5, 0x21, 0, 0, 0, 0, 12, 0, 10, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0],
            "the information descriptor has room"
        );
    }

    #[test]
    fn descriptor_format_carries_progress_and_pointers() {
        assert_eq!(
            Sense::sanitize_in_progress(0x8000).encode(true),
            [0x72, 2, 0x04, 0x1B, 0, 0, 0, 8, 2, 6, 0, 0, 0x80, 0x80, 0, 0]
        );
        assert_eq!(
            Sense::invalid_field_in_parameter_list(0x0104, None).encode(true),
            [0x72, 5, 0x26, 0, 0, 0, 0, 8, 2, 6, 0, 0, 0x80, 1, 4, 0]
        );
        assert_eq!(Sense::no_sense().encode(true), [0x72, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_miscompare_tells_its_offset_and_space_failure_its_code() {
        let miscompare = Sense::miscompare(513);
        assert_eq!(
            (miscompare.key, miscompare.asc.code, miscompare.information),
            (SenseKey::Miscompare, 0x1D, Some(513))
        );
        let space = Sense::space_allocation_failed().encode(false);
        assert_eq!((space[2], space[12], space[13]), (7, 0x27, 7));
    }
}
