//! NOP-Out (RFC 7143 §11.18).

use bytes::Bytes;
use nom::Parser;

use super::header::{self, FINAL, Header, start};
use super::{Bhs, Opcode, Pdu, PduFault, RawPdu};
use crate::types::{CmdSn, ExpStatSn, InitiatorTaskTag, Lun, TargetTransferTag};

/// Asks for an echo, answers the target's NOP-In, or only acknowledges status.
///
/// ```text
///  Byte/     0       |       1       |       2       |       3       |
///    |0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|
///   0|.|I| 0x00      |1| Reserved                                    |
///   4|TotalAHSLength | DataSegmentLength                             |
///   8| LUN or Reserved                                               |
///    +                                                               +
///  12|                                                               |
///  16| Initiator Task Tag or 0xffffffff                              |
///  20| Target Transfer Tag or 0xffffffff                             |
///  24| CmdSN                                                         |
///  28| ExpStatSN                                                     |
///  32/ Reserved                                                      /
///   +/                                                               /
///    / DataSegment - Ping Data (optional)                            /
///   +/                                                               /
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NopOut {
    pub immediate: bool,
    pub lun: Lun,
    /// Reserved if no answer is asked for.
    pub initiator_task_tag: InitiatorTaskTag,
    /// That of the NOP-In this answers, or reserved.
    pub target_transfer_tag: TargetTransferTag,
    pub cmd_sn: CmdSn,
    pub exp_stat_sn: ExpStatSn,
    /// Ping data, which the target sends back.
    pub data: Bytes,
}

impl Pdu for NopOut {
    const OPCODE: Opcode = Opcode::NOP_OUT;

    fn parse(pdu: &mut RawPdu) -> Result<NopOut, PduFault> {
        let (_, (start, lun, initiator_task_tag, target_transfer_tag, cmd_sn, exp_stat_sn)) = (
            start,
            header::lun,
            header::initiator_task_tag,
            header::target_transfer_tag,
            header::cmd_sn,
            header::stat_sn,
        )
            .parse(&pdu.bhs)?;
        // "If the Initiator Task Tag contains 0xffffffff, the I bit MUST be set to 1" (§11.18.1)
        if initiator_task_tag.is_reserved() && !start.immediate {
            return Err(PduFault::UnansweredNopNotImmediate);
        }
        let data = pdu.take_data()?;
        let immediate = start.immediate;
        Ok(NopOut { immediate, lun, initiator_task_tag, target_transfer_tag, cmd_sn, exp_stat_sn, data })
    }

    fn encode_header(&self, data_segment_length: u32) -> Bhs {
        Header::new(Self::OPCODE, FINAL, data_segment_length)
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
    fn ping() {
        let pdu = NopOut {
            immediate: true,
            lun: Lun::peripheral(3),
            initiator_task_tag: InitiatorTaskTag(0x0a0b0c0d),
            target_transfer_tag: TargetTransferTag::RESERVED,
            cmd_sn: CmdSn(0x11),
            exp_stat_sn: ExpStatSn(0x22),
            data: Bytes::from_static(b"ping"),
        };
        golden(
            &pdu,
            "40800000 00000004 00030000 00000000 0a0b0c0d ffffffff
             00000011 00000022 00000000 00000000 00000000 00000000",
        );
    }

    #[test]
    fn asking_for_no_answer_takes_no_number() {
        let header = "00800000 00000000 00000000 00000000 ffffffff ffffffff
                      00000011 00000022 00000000 00000000 00000000 00000000";
        assert_eq!(fault::<NopOut>(header, b""), Some(PduFault::UnansweredNopNotImmediate));
    }
}
