//! Ready To Transfer (RFC 7143 §11.8).

use nom::Parser;

use super::header::{self, FINAL, Header, start};
use super::{Bhs, Opcode, Pdu, PduFault, RawPdu};
use crate::types::{CmdSn, InitiatorTaskTag, Lun, R2tSn, StatSn, TargetTransferTag};

/// Asks for a part of a write's data.
///
/// ```text
///  Byte/     0       |       1       |       2       |       3       |
///    |0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|
///   0|.|.| 0x31      |1| Reserved                                    |
///   4|TotalAHSLength | DataSegmentLength                             |
///   8| LUN                                                           |
///    +                                                               +
///  12|                                                               |
///  16| Initiator Task Tag                                            |
///  20| Target Transfer Tag                                           |
///  24| StatSN                                                        |
///  28| ExpCmdSN                                                      |
///  32| MaxCmdSN                                                      |
///  36| R2TSN                                                         |
///  40| Buffer Offset                                                 |
///  44| Desired Data Transfer Length                                  |
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct R2t {
    pub lun: Lun,
    pub initiator_task_tag: InitiatorTaskTag,
    pub target_transfer_tag: TargetTransferTag,
    /// "Will contain the next StatSN. The StatSN for this connection is not advanced" (§11.8.3).
    pub stat_sn: StatSn,
    pub exp_cmd_sn: CmdSn,
    pub max_cmd_sn: CmdSn,
    pub r2t_sn: R2tSn,
    pub buffer_offset: u32,
    /// "MUST NOT be 0 and MUST NOT exceed MaxBurstLength" (§11.8.4).
    pub desired_data_transfer_length: u32,
}

impl Pdu for R2t {
    const OPCODE: Opcode = Opcode::R2T;

    fn parse(pdu: &mut RawPdu) -> Result<R2t, PduFault> {
        let (_, (_, lun, initiator_task_tag, target_transfer_tag, stat_sn, exp_cmd_sn, max_cmd_sn, more)) = (
            start,
            header::lun,
            header::initiator_task_tag,
            header::target_transfer_tag,
            header::stat_sn,
            header::cmd_sn,
            header::cmd_sn,
            (header::word.map(R2tSn), header::word, header::word),
        )
            .parse(&pdu.bhs)?;
        // "The value 0xffffffff is reserved and MUST NOT be sent by a target in an R2T." (§11.8.5)
        if target_transfer_tag.is_reserved() {
            return Err(PduFault::ReservedTargetTransferTag);
        }
        pdu.refuse_segments()?;
        let (r2t_sn, buffer_offset, desired_data_transfer_length) = more;
        Ok(R2t {
            lun,
            initiator_task_tag,
            target_transfer_tag,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            r2t_sn,
            buffer_offset,
            desired_data_transfer_length,
        })
    }

    fn encode_header(&self, data_segment_length: u32) -> Bhs {
        Header::new(Self::OPCODE, FINAL, data_segment_length)
            .lun(self.lun)
            .initiator_task_tag(self.initiator_task_tag)
            .word(20, self.target_transfer_tag.0)
            .status_numbers(self.stat_sn, self.exp_cmd_sn, self.max_cmd_sn)
            .word(36, self.r2t_sn.0)
            .word(40, self.buffer_offset)
            .word(44, self.desired_data_transfer_length)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::testing::{fault, golden};

    #[test]
    fn second_burst() {
        let pdu = R2t {
            lun: Lun::peripheral(1),
            initiator_task_tag: InitiatorTaskTag(0x14),
            target_transfer_tag: TargetTransferTag(0x99),
            stat_sn: StatSn(0x18),
            exp_cmd_sn: CmdSn(0x15),
            max_cmd_sn: CmdSn(0x54),
            r2t_sn: R2tSn(1),
            buffer_offset: 0x4_0000,
            desired_data_transfer_length: 0x1_0000,
        };
        golden(
            &pdu,
            "31800000 00000000 00010000 00000000 00000014 00000099
             00000018 00000015 00000054 00000001 00040000 00010000",
        );
    }

    #[test]
    fn needs_a_tag() {
        let header = "31800000 00000000 00010000 00000000 00000014 ffffffff
                      00000018 00000015 00000054 00000001 00040000 00010000";
        assert_eq!(fault::<R2t>(header, b""), Some(PduFault::ReservedTargetTransferTag));
    }
}
