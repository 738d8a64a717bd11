//! Text Request (RFC 7143 §11.10).

use bytes::Bytes;
use nom::Parser;

use super::header::{self, CONTINUE, FINAL, Header, start};
use super::{Bhs, Opcode, Pdu, PduFault, RawPdu};
use crate::types::{CmdSn, ExpStatSn, InitiatorTaskTag, Lun, TargetTransferTag};

/// Negotiates after login, or asks for targets.
///
/// ```text
///  Byte/     0       |       1       |       2       |       3       |
///    |0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|
///   0|.|I| 0x04      |F|C| Reserved                                  |
///   4|TotalAHSLength | DataSegmentLength                             |
///   8| LUN or Reserved                                               |
///    +                                                               +
///  12|                                                               |
///  16| Initiator Task Tag                                            |
///  20| Target Transfer Tag or 0xffffffff                             |
///  24| CmdSN                                                         |
///  28| ExpStatSN                                                     |
///  32/ Reserved                                                      /
///   +/                                                               /
///    / DataSegment (Text)                                            /
///   +/                                                               /
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextRequest {
    pub immediate: bool,
    pub final_: bool,
    /// The text goes on in the next request.
    pub continue_: bool,
    pub lun: Lun,
    pub initiator_task_tag: InitiatorTaskTag,
    /// Reserved: "this is a new request, and the target resets any internal state" (§11.10.4); else that of the last response.
    pub target_transfer_tag: TargetTransferTag,
    pub cmd_sn: CmdSn,
    pub exp_stat_sn: ExpStatSn,
    /// key=value pairs.
    pub data: Bytes,
}

impl Pdu for TextRequest {
    const OPCODE: Opcode = Opcode::TEXT_REQUEST;

    fn parse(pdu: &mut RawPdu) -> Result<TextRequest, PduFault> {
        let (_, (start, lun, initiator_task_tag, target_transfer_tag, cmd_sn, exp_stat_sn)) = (
            start,
            header::lun,
            header::initiator_task_tag,
            header::target_transfer_tag,
            header::cmd_sn,
            header::stat_sn,
        )
            .parse(&pdu.bhs)?;
        if initiator_task_tag.is_reserved() {
            return Err(PduFault::ReservedInitiatorTaskTag);
        }
        let (final_, continue_) = (start.is_final(), start.flags & CONTINUE != 0);
        // "A Text Request with the C bit set to 1 MUST have the F bit set to 0." (§11.10.2)
        if final_ && continue_ {
            return Err(PduFault::ContinueWithFinal);
        }
        Ok(TextRequest {
            immediate: start.immediate,
            final_,
            continue_,
            lun,
            initiator_task_tag,
            target_transfer_tag,
            cmd_sn,
            exp_stat_sn,
            data: pdu.take_data()?,
        })
    }

    fn encode_header(&self, data_segment_length: u32) -> Bhs {
        let flags = if self.final_ { FINAL } else { 0 } | if self.continue_ { CONTINUE } else { 0 };
        Header::new(Self::OPCODE, flags, data_segment_length)
            .immediate(self.immediate)
            .lun(self.lun)
            .initiator_task_tag(self.initiator_task_tag)
            .word(20, self.target_transfer_tag.0)
            .word(24, self.cmd_sn.0)
            .word(28, self.exp_stat_sn.0)
            .finish()
    }

    fn data_segment(&self) -> Bytes {
        self.data.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::testing::{fault, golden};

    #[test]
    fn send_targets() {
        let pdu = TextRequest {
            immediate: true,
            final_: true,
            continue_: false,
            lun: Lun::ZERO,
            initiator_task_tag: InitiatorTaskTag(2),
            target_transfer_tag: TargetTransferTag::RESERVED,
            cmd_sn: CmdSn(1),
            exp_stat_sn: ExpStatSn(3),
            data: Bytes::from_static(b"SendTargets=All\0"),
        };
        golden(
            &pdu,
            "44800000 00000010 00000000 00000000 00000002 ffffffff
             00000001 00000003 00000000 00000000 00000000 00000000",
        );
    }

    #[test]
    fn cannot_end_and_go_on() {
        let header = "04c00000 00000000 00000000 00000000 00000002 ffffffff
                      00000001 00000003 00000000 00000000 00000000 00000000";
        assert_eq!(fault::<TextRequest>(header, b""), Some(PduFault::ContinueWithFinal));
    }
}
