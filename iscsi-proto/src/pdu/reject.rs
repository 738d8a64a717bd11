//! Reject (RFC 7143 §11.17).

use bytes::Bytes;
use nom::Parser;

use super::code::wire_code;
use super::header::{self, FINAL, Header, reserved, start};
use super::{Bhs, Opcode, Pdu, PduFault, RawPdu};
use crate::types::{CmdSn, DataSn, InitiatorTaskTag, StatSn};

wire_code! {
    /// RFC 7143 §11.17.1; 0x0b "MUST NOT be used".
    pub struct RejectReason(u8) {
        DATA_DIGEST_ERROR = 0x02,
        SNACK_REJECT = 0x03,
        PROTOCOL_ERROR = 0x04,
        COMMAND_NOT_SUPPORTED = 0x05,
        IMMEDIATE_COMMAND_REJECT = 0x06,
        TASK_IN_PROGRESS = 0x07,
        INVALID_DATA_ACK = 0x08,
        INVALID_PDU_FIELD = 0x09,
        LONG_OPERATION_REJECT = 0x0a,
        WAITING_FOR_LOGOUT = 0x0c,
    }
}

/// Says that a PDU was not taken, and why.
///
/// ```text
///  Byte/     0       |       1       |       2       |       3       |
///    |0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|
///   0|.|.| 0x3f      |1| Reserved    | Reason        | Reserved      |
///   4|TotalAHSLength | DataSegmentLength                             |
///   8/ Reserved                                                      /
///   +/                                                               /
///  16| 0xffffffff                                                    |
///  20| Reserved                                                      |
///  24| StatSN                                                        |
///  28| ExpCmdSN                                                      |
///  32| MaxCmdSN                                                      |
///  36| DataSN/R2TSN or Reserved                                      |
///  40| Reserved                                                      |
///  44| Reserved                                                      |
///  xx/ Complete Header of Bad PDU                                    /
///   +/                                                               /
///  yy/Vendor-specific data (if any)                                  /
///    /                                                               /
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    pub reason: RejectReason,
    pub stat_sn: StatSn,
    pub exp_cmd_sn: CmdSn,
    pub max_cmd_sn: CmdSn,
    /// DataSN or R2TSN: "only valid if the rejected PDU is a Data/R2T SNACK" (§11.17.2).
    pub data_sn: DataSn,
    /// The complete header of the PDU in error.
    pub data: Bytes,
}

impl Pdu for Reject {
    const OPCODE: Opcode = Opcode::REJECT;

    fn parse(pdu: &mut RawPdu) -> Result<Reject, PduFault> {
        let (_, (start, _, stat_sn, exp_cmd_sn, max_cmd_sn, data_sn)) =
            (start, reserved::<16>, header::stat_sn, header::cmd_sn, header::cmd_sn, header::data_sn)
                .parse(&pdu.bhs)?;
        let (reason, data) = (RejectReason(start.specific[0]), pdu.take_data()?);
        Ok(Reject { reason, stat_sn, exp_cmd_sn, max_cmd_sn, data_sn, data })
    }

    fn encode_header(&self, data_segment_length: u32) -> Bhs {
        Header::new(Self::OPCODE, FINAL, data_segment_length)
            .byte(2, self.reason.0)
            .initiator_task_tag(InitiatorTaskTag::RESERVED)
            .status_numbers(self.stat_sn, self.exp_cmd_sn, self.max_cmd_sn)
            .word(36, self.data_sn.0)
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
    fn invalid_field() {
        let pdu = Reject {
            reason: RejectReason::INVALID_PDU_FIELD,
            stat_sn: StatSn(0x18),
            exp_cmd_sn: CmdSn(0x15),
            max_cmd_sn: CmdSn(0x54),
            data_sn: DataSn(0),
            data: Bytes::from_static(&[1; 48]),
        };
        golden(
            &pdu,
            "3f800900 00000030 00000000 00000000 ffffffff 00000000
             00000018 00000015 00000054 00000000 00000000 00000000",
        );
    }
}
