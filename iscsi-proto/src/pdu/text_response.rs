//! Text Response (RFC 7143 §11.11).

use bytes::Bytes;
use nom::Parser;

use super::header::{self, CONTINUE, FINAL, Header, start};
use super::{Bhs, Opcode, Pdu, PduFault, RawPdu};
use crate::types::{CmdSn, InitiatorTaskTag, Lun, StatSn, TargetTransferTag};

/// Answers a Text Request.
///
/// ```text
///  Byte/     0       |       1       |       2       |       3       |
///    |0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|
///   0|.|.| 0x24      |F|C| Reserved                                  |
///   4|TotalAHSLength | DataSegmentLength                             |
///   8| LUN or Reserved                                               |
///    +                                                               +
///  12|                                                               |
///  16| Initiator Task Tag                                            |
///  20| Target Transfer Tag or 0xffffffff                             |
///  24| StatSN                                                        |
///  28| ExpCmdSN                                                      |
///  32| MaxCmdSN                                                      |
///  36/ Reserved                                                      /
///   +/                                                               /
///    / DataSegment (Text)                                            /
///   +/                                                               /
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextResponse {
    /// The whole operation is finished; if not, the target invites another request.
    pub final_: bool,
    /// The text goes on in the next response.
    pub continue_: bool,
    pub lun: Lun,
    pub initiator_task_tag: InitiatorTaskTag,
    /// Reserved exactly when `final_` (§11.11.1).
    pub target_transfer_tag: TargetTransferTag,
    pub stat_sn: StatSn,
    pub exp_cmd_sn: CmdSn,
    pub max_cmd_sn: CmdSn,
    /// key=value pairs.
    pub data: Bytes,
}

impl Pdu for TextResponse {
    const OPCODE: Opcode = Opcode::TEXT_RESPONSE;

    fn parse(pdu: &mut RawPdu) -> Result<TextResponse, PduFault> {
        let (_, (start, lun, initiator_task_tag, target_transfer_tag, stat_sn, exp_cmd_sn, max_cmd_sn)) = (
            start,
            header::lun,
            header::initiator_task_tag,
            header::target_transfer_tag,
            header::stat_sn,
            header::cmd_sn,
            header::cmd_sn,
        )
            .parse(&pdu.bhs)?;
        let (final_, continue_) = (start.is_final(), start.flags & CONTINUE != 0);
        // "A Text Response with the C bit set to 1 MUST have the F bit set to 0." (§11.11.2)
        if final_ && continue_ {
            return Err(PduFault::ContinueWithFinal);
        }
        Ok(TextResponse {
            final_,
            continue_,
            lun,
            initiator_task_tag,
            target_transfer_tag,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            data: pdu.take_data()?,
        })
    }

    fn encode_header(&self, data_segment_length: u32) -> Bhs {
        let flags = if self.final_ { FINAL } else { 0 } | if self.continue_ { CONTINUE } else { 0 };
        Header::new(Self::OPCODE, flags, data_segment_length)
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
    fn first_part_of_a_long_answer() {
        let pdu = TextResponse {
            final_: false,
            continue_: true,
            lun: Lun::ZERO,
            initiator_task_tag: InitiatorTaskTag(2),
            target_transfer_tag: TargetTransferTag(0x12345678),
            stat_sn: StatSn(3),
            exp_cmd_sn: CmdSn(1),
            max_cmd_sn: CmdSn(0x40),
            data: Bytes::from_static(b"TargetName=iqn.2001-04.com.ex"),
        };
        golden(
            &pdu,
            "24400000 0000001d 00000000 00000000 00000002 12345678
             00000003 00000001 00000040 00000000 00000000 00000000",
        );
    }
}
