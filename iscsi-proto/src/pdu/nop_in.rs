//! NOP-In (RFC 7143 §11.19).

use bytes::Bytes;
use nom::Parser;

use super::header::{self, FINAL, Header, start};
use super::{Bhs, Opcode, Pdu, PduFault, RawPdu};
use crate::types::{CmdSn, InitiatorTaskTag, Lun, StatSn, TargetTransferTag};

/// Echoes a NOP-Out, asks for one, or only carries a changed command window.
///
/// ```text
///  Byte/     0       |       1       |       2       |       3       |
///    |0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|
///   0|.|.| 0x20      |1| Reserved                                    |
///   4|TotalAHSLength | DataSegmentLength                             |
///   8| LUN or Reserved                                               |
///    +                                                               +
///  12|                                                               |
///  16| Initiator Task Tag or 0xffffffff                              |
///  20| Target Transfer Tag or 0xffffffff                             |
///  24| StatSN                                                        |
///  28| ExpCmdSN                                                      |
///  32| MaxCmdSN                                                      |
///  36/ Reserved                                                      /
///   +/                                                               /
///    / DataSegment - Return Ping Data                                /
///   +/                                                               /
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NopIn {
    pub lun: Lun,
    /// That of the NOP-Out this answers, or reserved.
    pub initiator_task_tag: InitiatorTaskTag,
    /// Reserved unless a NOP-Out is asked for.
    pub target_transfer_tag: TargetTransferTag,
    /// The next StatSN; not used up "when the Initiator Task Tag is set to 0xffffffff" (§11.19.2).
    pub stat_sn: StatSn,
    pub exp_cmd_sn: CmdSn,
    pub max_cmd_sn: CmdSn,
    /// Ping data, sent back.
    pub data: Bytes,
}

impl Pdu for NopIn {
    const OPCODE: Opcode = Opcode::NOP_IN;

    fn parse(pdu: &mut RawPdu) -> Result<NopIn, PduFault> {
        let (_, (_, lun, initiator_task_tag, target_transfer_tag, stat_sn, exp_cmd_sn, max_cmd_sn)) = (
            start,
            header::lun,
            header::initiator_task_tag,
            header::target_transfer_tag,
            header::stat_sn,
            header::cmd_sn,
            header::cmd_sn,
        )
            .parse(&pdu.bhs)?;
        let data = pdu.take_data()?;
        Ok(NopIn { lun, initiator_task_tag, target_transfer_tag, stat_sn, exp_cmd_sn, max_cmd_sn, data })
    }

    fn encode_header(&self, data_segment_length: u32) -> Bhs {
        Header::new(Self::OPCODE, FINAL, data_segment_length)
            .lun(self.lun)
            .initiator_task_tag(self.initiator_task_tag)
            .word(20, self.target_transfer_tag.0)
            .status_numbers(self.stat_sn, self.exp_cmd_sn, self.max_cmd_sn)
            .finish()
    }

    fn data_segment(&self) -> Bytes {
        self.data.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::testing::golden;

    #[test]
    fn echo() {
        let pdu = NopIn {
            lun: Lun::peripheral(3),
            initiator_task_tag: InitiatorTaskTag(0x0a0b0c0d),
            target_transfer_tag: TargetTransferTag::RESERVED,
            stat_sn: StatSn(0x22),
            exp_cmd_sn: CmdSn(0x12),
            max_cmd_sn: CmdSn(0x51),
            data: Bytes::from_static(b"pong!"),
        };
        golden(
            &pdu,
            "20800000 00000005 00030000 00000000 0a0b0c0d ffffffff
             00000022 00000012 00000051 00000000 00000000 00000000",
        );
    }
}
