//! SCSI Command (RFC 7143 §11.3, RFC 7144 §5.1).

use bytes::{BufMut, Bytes, BytesMut};
use nom::Parser;
use nom::bytes::complete::take;

use super::cdb::BHS_CDB_LENGTH;
use super::code::wire_code;
use super::header::{self, FINAL, Header, start};
use super::{Bhs, Cdb, Opcode, Pdu, PduFault, RawPdu};
use crate::types::{CmdSn, ExpStatSn, InitiatorTaskTag, Lun};

wire_code! {
    /// ATTR, RFC 7143 §11.3.1; 5 to 7 are reserved and refused.
    pub struct TaskAttribute(u8) {
        UNTAGGED = 0,
        SIMPLE = 1,
        ORDERED = 2,
        HEAD_OF_QUEUE = 3,
        ACA = 4,
    }
}

/// A CDB on its way to a logical unit, perhaps with the first of its data.
///
/// ```text
///  Byte/     0       |       1       |       2       |       3       |
///    |0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|
///   0|.|I| 0x01      |F|R|W|. .|ATTR | Reserved                      |
///   4|TotalAHSLength | DataSegmentLength                             |
///   8| Logical Unit Number (LUN)                                     |
///    +                                                               +
///  12|                                                               |
///  16| Initiator Task Tag                                            |
///  20| Expected Data Transfer Length                                 |
///  24| CmdSN                                                         |
///  28| ExpStatSN                                                     |
///  32/ SCSI Command Descriptor Block (CDB)                           /
///   +/                                                               /
///  48/ AHS (optional)                                                /
///   y/ (DataSegment, Command Data) (optional)                        /
///   +/                                                               /
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScsiCommand {
    pub immediate: bool,
    /// No unsolicited Data-Out follows.
    pub final_: bool,
    pub read: bool,
    pub write: bool,
    pub attribute: TaskAttribute,
    /// PRI of RFC 7144 §5.1.1, 0 to 15: "MUST be ignored by iSCSI targets unless the iSCSIProtocolLevel text key with a
    /// value of 2 … was negotiated". Byte 2, bits 7 to 4.
    pub priority: u8,
    pub lun: Lun,
    pub initiator_task_tag: InitiatorTaskTag,
    pub expected_data_transfer_length: u32,
    pub cmd_sn: CmdSn,
    pub exp_stat_sn: ExpStatSn,
    pub cdb: Cdb,
    /// From its AHS; "for bidirectional operations, an additional header segment MUST be present" (§11.3.4).
    pub bidirectional_read_expected_data_transfer_length: Option<u32>,
    /// Immediate data.
    pub data: Bytes,
}

impl ScsiCommand {
    pub fn is_bidirectional(&self) -> bool {
        self.read && self.write
    }
}

impl Pdu for ScsiCommand {
    const OPCODE: Opcode = Opcode::SCSI_COMMAND;

    fn parse(pdu: &mut RawPdu) -> Result<ScsiCommand, PduFault> {
        let (_, (start, lun, initiator_task_tag, expected_data_transfer_length, cmd_sn, exp_stat_sn, cdb)) = (
            start,
            header::lun,
            header::initiator_task_tag,
            header::word,
            header::cmd_sn,
            header::stat_sn,
            header::bytes::<BHS_CDB_LENGTH>,
        )
            .parse(&pdu.bhs)?;
        let (final_, read, write) = (start.is_final(), start.flags & READ != 0, start.flags & WRITE != 0);
        let attribute = TaskAttribute(start.flags & ATTRIBUTE);
        if attribute.name().is_none() {
            return Err(PduFault::ReservedTaskAttribute(attribute.0));
        }
        // "At least one of the W and F bits MUST be set to 1." (§11.3.1)
        if !write && !final_ {
            return Err(PduFault::NeitherWriteNorFinal);
        }
        // "An ITT value of 0xffffffff is reserved and MUST NOT be assigned for a task" (§11.2.1.8)
        if initiator_task_tag.is_reserved() {
            return Err(PduFault::ReservedInitiatorTaskTag);
        }
        let mut cdb = Cdb::from_header(cdb);
        let bidirectional_read_expected_data_transfer_length = parse_ahs(&pdu.ahs, &mut cdb)?;
        Ok(ScsiCommand {
            immediate: start.immediate,
            final_,
            read,
            write,
            attribute,
            priority: start.specific[0] >> 4,
            lun,
            initiator_task_tag,
            expected_data_transfer_length,
            cmd_sn,
            exp_stat_sn,
            cdb,
            bidirectional_read_expected_data_transfer_length,
            data: std::mem::take(&mut pdu.data),
        })
    }

    fn encode_header(&self, data_segment_length: u32) -> Bhs {
        let flags = if self.final_ { FINAL } else { 0 }
            | if self.read { READ } else { 0 }
            | if self.write { WRITE } else { 0 }
            | self.attribute.0 & ATTRIBUTE;
        Header::new(Self::OPCODE, flags, data_segment_length)
            .immediate(self.immediate)
            .byte(2, self.priority << 4)
            .byte(4, self.total_ahs_length())
            .lun(self.lun)
            .initiator_task_tag(self.initiator_task_tag)
            .word(20, self.expected_data_transfer_length)
            .word(24, self.cmd_sn.0)
            .word(28, self.exp_stat_sn.0)
            .bytes(32, self.cdb.in_header())
            .finish()
    }

    fn additional_header(&self) -> Bytes {
        let mut ahs = BytesMut::new();
        if !self.cdb.spillover().is_empty() {
            put_segment(&mut ahs, EXTENDED_CDB, self.cdb.spillover());
        }
        if let Some(length) = self.bidirectional_read_expected_data_transfer_length {
            put_segment(&mut ahs, BIDIRECTIONAL_READ_LENGTH, &length.to_be_bytes());
        }
        ahs.freeze()
    }

    fn data_segment(&self) -> Bytes {
        self.data.clone()
    }
}

impl ScsiCommand {
    /// In words of four bytes.
    fn total_ahs_length(&self) -> u8 {
        let words = |content: usize| (AHS_START + content).div_ceil(4);
        let spillover = self.cdb.spillover().len();
        let extended = if spillover == 0 { 0 } else { words(spillover) };
        let bidirectional = if self.bidirectional_read_expected_data_transfer_length.is_some() { words(4) } else { 0 };
        u8::try_from(extended + bidirectional).expect("a CDB of 260 bytes at most, and 8 bytes")
    }
}

/// Additional header segments of a SCSI Command (RFC 7143 §11.2.2).
///
/// ```text
///   0| AHSLength                     | AHSType       | Reserved      |
///   4/ Extended CDB, or Bidirectional Read Expected Data Transfer Length, and padding
/// ```
/// "AHSLength … the effective length in bytes of the AHS, excluding AHSType and AHSLength and padding, if any": it counts
/// the reserved byte. Returns the bidirectional read length.
fn parse_ahs(mut ahs: &[u8], cdb: &mut Cdb) -> Result<Option<u32>, PduFault> {
    let mut read_length = None;
    while !ahs.is_empty() {
        let malformed = |_: nom::Err<()>| PduFault::MalformedAdditionalHeader;
        let (rest, (length, kind, _reserved)) =
            (header::half, header::byte, header::byte).parse(ahs).map_err(malformed)?;
        let length = usize::from(length).checked_sub(1).ok_or(PduFault::MalformedAdditionalHeader)?;
        let (rest, content) = take::<_, _, ()>(length).parse(rest).map_err(malformed)?;
        let (rest, _padding) = take::<_, _, ()>(length.next_multiple_of(4) - length).parse(rest).map_err(malformed)?;
        match kind & AHS_CODE {
            // "This type of AHS MUST NOT be used if the CDBLength is less than 17." (§11.2.2.3)
            EXTENDED_CDB if !content.is_empty() && cdb.len() == BHS_CDB_LENGTH && cdb.extend(content) => (),
            BIDIRECTIONAL_READ_LENGTH if read_length.is_none() => {
                let length = content.try_into().map_err(|_| PduFault::MalformedAdditionalHeader)?;
                read_length = Some(u32::from_be_bytes(length));
            }
            EXTENDED_CDB | BIDIRECTIONAL_READ_LENGTH => return Err(PduFault::MalformedAdditionalHeader),
            unknown => return Err(PduFault::UnknownAdditionalHeader(unknown)),
        }
        ahs = rest;
    }
    Ok(read_length)
}

fn put_segment(ahs: &mut BytesMut, kind: u8, content: &[u8]) {
    ahs.put_u16(u16::try_from(content.len() + 1).expect("a CDB or a length"));
    ahs.put_u8(kind);
    ahs.put_u8(0);
    ahs.put_slice(content);
    ahs.put_bytes(0, content.len().next_multiple_of(4) - content.len());
}

const READ: u8 = 0x40;
const WRITE: u8 = 0x20;
const ATTRIBUTE: u8 = 0x07;
const AHS_START: usize = 4;
/// "bit 0-1 - Reserved, bit 2-7 - AHS code" (§11.2.2.1)
const AHS_CODE: u8 = 0x3f;
const EXTENDED_CDB: u8 = 1;
const BIDIRECTIONAL_READ_LENGTH: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::testing::{fault, golden, header};

    fn read_10() -> ScsiCommand {
        ScsiCommand {
            immediate: false,
            final_: true,
            read: true,
            write: false,
            attribute: TaskAttribute::SIMPLE,
            priority: 0,
            lun: Lun::peripheral(1),
            initiator_task_tag: InitiatorTaskTag(0x1400_0000),
            expected_data_transfer_length: 0x400,
            cmd_sn: CmdSn(0x14),
            exp_stat_sn: ExpStatSn(0x18),
            cdb: Cdb::new(&[0x28, 0, 0, 0, 0, 0, 0, 0, 2, 0]).expect("10 bytes"),
            bidirectional_read_expected_data_transfer_length: None,
            data: Bytes::new(),
        }
    }

    #[test]
    fn read() {
        golden(
            &read_10(),
            "01c10000 00000000 00010000 00000000 14000000 00000400
             00000014 00000018 28000000 00000000 02000000 00000000",
        );
    }

    #[test]
    fn immediate_write_with_data_and_priority() {
        let pdu = ScsiCommand {
            immediate: true,
            final_: false,
            read: false,
            write: true,
            attribute: TaskAttribute::HEAD_OF_QUEUE,
            priority: 9,
            data: Bytes::from_static(b"first burst"),
            cdb: Cdb::new(&[0x2a; 16]).expect("16 bytes"),
            ..read_10()
        };
        golden(
            &pdu,
            "41239000 0000000b 00010000 00000000 14000000 00000400
             00000014 00000018 2a2a2a2a 2a2a2a2a 2a2a2a2a 2a2a2a2a",
        );
    }

    #[test]
    fn long_cdb_and_bidirectional_length_travel_in_segments() {
        let mut cdb = [0x7f; 32];
        cdb[31] = 0x31;
        let pdu = ScsiCommand {
            write: true,
            cdb: Cdb::new(&cdb).expect("32 bytes"),
            bidirectional_read_expected_data_transfer_length: Some(0x1000),
            ..read_10()
        };
        golden(
            &pdu,
            "01e10000 07000000 00010000 00000000 14000000 00000400
             00000014 00000018 7f7f7f7f 7f7f7f7f 7f7f7f7f 7f7f7f7f",
        );
        let expected = "00110100 7f7f7f7f 7f7f7f7f 7f7f7f7f 7f7f7f31 00050200 00001000".replace(' ', "");
        assert_eq!(hex::encode(pdu.additional_header()), expected);
        assert!(pdu.is_bidirectional());
    }

    #[test]
    fn bad_segments_are_refused() {
        let with_ahs = |ahs: &'static [u8]| {
            let raw = RawPdu { ahs: Bytes::from_static(ahs), ..read_10().to_raw() };
            ScsiCommand::decode(raw).err().map(|error| error.fault)
        };
        let malformed = Some(PduFault::MalformedAdditionalHeader);
        assert_eq!(with_ahs(&[0, 5, 2, 0]), malformed, "length beyond the header");
        assert_eq!(with_ahs(&[0, 0, 2, 0]), malformed, "length that leaves out its own reserved byte");
        assert_eq!(with_ahs(&[0, 1, 1, 0]), malformed, "extended CDB of 16 bytes");
        assert_eq!(with_ahs(&[0, 3, 2, 0, 0, 0, 0, 0]), malformed, "read length of two bytes");
        assert_eq!(with_ahs(&[0, 5, 2, 0, 0, 0, 0, 0, 0, 5, 2, 0, 0, 0, 0, 0]), malformed, "twice");
        assert_eq!(with_ahs(&[0, 1, 3, 0]), Some(PduFault::UnknownAdditionalHeader(3)));
        assert_eq!(with_ahs(&[0, 2, 0xc1, 0, 7, 0, 0, 0]), None, "17 bytes of CDB, padded, reserved bits set");
    }

    #[test]
    fn impossible_flags_and_tags_are_refused() {
        let rest = "0000 00000000 00010000 00000000 14000000 00000400
                    00000014 00000018 28000000 00000000 02000000 00000000";
        let flags = |flags: &str| fault::<ScsiCommand>(&format!("01{flags}{rest}"), b"");
        assert_eq!(flags("c5"), Some(PduFault::ReservedTaskAttribute(5)));
        assert_eq!(flags("41"), Some(PduFault::NeitherWriteNorFinal));
        assert_eq!(flags("99"), None, "reserved bits are ignored");
        let raw = ScsiCommand { initiator_task_tag: InitiatorTaskTag::RESERVED, ..read_10() }.to_raw();
        assert_eq!(ScsiCommand::decode(raw).map_err(|error| error.fault), Err(PduFault::ReservedInitiatorTaskTag));
        assert_eq!(header(&format!("0181{rest}"))[0], 1);
    }
}
