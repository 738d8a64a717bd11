//! SNACK Request (RFC 7143 §11.16).

use nom::Parser;

use super::code::wire_code;
use super::header::{self, FINAL, Header, reserved, start};
use super::{Bhs, Opcode, Pdu, PduFault, RawPdu};
use crate::types::{ExpStatSn, InitiatorTaskTag, Lun, TargetTransferTag};

wire_code! {
    /// RFC 7143 §11.16.1.
    pub struct SnackType(u8) {
        DATA_OR_R2T = 0,
        STATUS = 1,
        DATA_ACK = 2,
        R_DATA = 3,
    }
}

/// Asks for numbered PDUs again, or acknowledges Data-In.
///
/// ```text
///  Byte/     0       |       1       |       2       |       3       |
///    |0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|
///   0|.|.| 0x10      |1|.|.|.| Type  | Reserved                      |
///   4|TotalAHSLength | DataSegmentLength                             |
///   8| LUN or Reserved                                               |
///    +                                                               +
///  12|                                                               |
///  16| Initiator Task Tag or 0xffffffff                              |
///  20| Target Transfer Tag or SNACK Tag or 0xffffffff                |
///  24| Reserved                                                      |
///  28| ExpStatSN                                                     |
///  32/ Reserved                                                      /
///   +/                                                               /
///  40| BegRun                                                        |
///  44| RunLength                                                     |
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snack {
    pub kind: SnackType,
    pub lun: Lun,
    /// Reserved for Status and DataACK.
    pub initiator_task_tag: InitiatorTaskTag,
    /// Target Transfer Tag of a DataACK, SNACK Tag of an R-Data, else reserved.
    pub target_transfer_tag: TargetTransferTag,
    pub exp_stat_sn: ExpStatSn,
    /// DataSN, R2TSN or StatSN of the first PDU asked for.
    pub beg_run: u32,
    /// "A RunLength of 0 signals that all … PDUs carrying the numbers equal to or greater than BegRun have to be resent."
    pub run_length: u32,
}

impl Pdu for Snack {
    const OPCODE: Opcode = Opcode::SNACK;

    fn parse(pdu: &mut RawPdu) -> Result<Snack, PduFault> {
        let (_, (start, lun, initiator_task_tag, target_transfer_tag, _, exp_stat_sn, _, beg_run, run_length)) = (
            start,
            header::lun,
            header::initiator_task_tag,
            header::target_transfer_tag,
            reserved::<4>,
            header::stat_sn,
            reserved::<8>,
            header::word,
            header::word,
        )
            .parse(&pdu.bhs)?;
        pdu.refuse_segments()?;
        let kind = SnackType(start.flags & TYPE);
        Ok(Snack { kind, lun, initiator_task_tag, target_transfer_tag, exp_stat_sn, beg_run, run_length })
    }

    fn encode_header(&self, data_segment_length: u32) -> Bhs {
        Header::new(Self::OPCODE, FINAL | self.kind.0 & TYPE, data_segment_length)
            .lun(self.lun)
            .initiator_task_tag(self.initiator_task_tag)
            .word(20, self.target_transfer_tag.0)
            .word(28, self.exp_stat_sn.0)
            .word(40, self.beg_run)
            .word(44, self.run_length)
            .finish()
    }
}

const TYPE: u8 = 0x0f;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::testing::golden;

    #[test]
    fn data_ack() {
        let pdu = Snack {
            kind: SnackType::DATA_ACK,
            lun: Lun::peripheral(1),
            initiator_task_tag: InitiatorTaskTag::RESERVED,
            target_transfer_tag: TargetTransferTag(9),
            exp_stat_sn: ExpStatSn(0x18),
            beg_run: 4,
            run_length: 0,
        };
        golden(
            &pdu,
            "10820000 00000000 00010000 00000000 ffffffff 00000009
             00000000 00000018 00000000 00000000 00000004 00000000",
        );
    }
}
