//! Logout Response (RFC 7143 §11.15).

use nom::Parser;

use super::code::wire_code;
use super::header::{self, FINAL, Header, reserved, start};
use super::{Bhs, Opcode, Pdu, PduFault, RawPdu};
use crate::types::{CmdSn, InitiatorTaskTag, StatSn};

wire_code! {
    /// RFC 7143 §11.15.1.
    pub struct LogoutResponseCode(u8) {
        CLOSED_SUCCESSFULLY = 0,
        CID_NOT_FOUND = 1,
        CONNECTION_RECOVERY_NOT_SUPPORTED = 2,
        CLEANUP_FAILED = 3,
    }
}

/// Whether the connection or session was cleaned up.
///
/// ```text
///  Byte/     0       |       1       |       2       |       3       |
///    |0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|
///   0|.|.| 0x26      |1| Reserved    | Response      | Reserved      |
///   4|TotalAHSLength | DataSegmentLength                             |
///   8/ Reserved                                                      /
///   +/                                                               /
///  16| Initiator Task Tag                                            |
///  20| Reserved                                                      |
///  24| StatSN                                                        |
///  28| ExpCmdSN                                                      |
///  32| MaxCmdSN                                                      |
///  36| Reserved                                                      |
///  40| Time2Wait                     | Time2Retain                   |
///  44| Reserved                                                      |
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutResponse {
    pub response: LogoutResponseCode,
    pub initiator_task_tag: InitiatorTaskTag,
    pub stat_sn: StatSn,
    pub exp_cmd_sn: CmdSn,
    pub max_cmd_sn: CmdSn,
    /// Seconds.
    pub time_2_wait: u16,
    /// Seconds.
    pub time_2_retain: u16,
}

impl Pdu for LogoutResponse {
    const OPCODE: Opcode = Opcode::LOGOUT_RESPONSE;

    fn parse(pdu: &mut RawPdu) -> Result<LogoutResponse, PduFault> {
        let (_, (start, _, initiator_task_tag, _, stat_sn, exp_cmd_sn, max_cmd_sn, _, time_2_wait, time_2_retain)) = (
            start,
            reserved::<8>,
            header::initiator_task_tag,
            reserved::<4>,
            header::stat_sn,
            header::cmd_sn,
            header::cmd_sn,
            reserved::<4>,
            header::half,
            header::half,
        )
            .parse(&pdu.bhs)?;
        pdu.refuse_segments()?;
        let response = LogoutResponseCode(start.specific[0]);
        Ok(LogoutResponse { response, initiator_task_tag, stat_sn, exp_cmd_sn, max_cmd_sn, time_2_wait, time_2_retain })
    }

    fn encode_header(&self, data_segment_length: u32) -> Bhs {
        Header::new(Self::OPCODE, FINAL, data_segment_length)
            .byte(2, self.response.0)
            .initiator_task_tag(self.initiator_task_tag)
            .status_numbers(self.stat_sn, self.exp_cmd_sn, self.max_cmd_sn)
            .half(40, self.time_2_wait)
            .half(42, self.time_2_retain)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::testing::golden;

    #[test]
    fn recovery_is_not_supported() {
        let pdu = LogoutResponse {
            response: LogoutResponseCode::CONNECTION_RECOVERY_NOT_SUPPORTED,
            initiator_task_tag: InitiatorTaskTag(0x30),
            stat_sn: StatSn(0x55),
            exp_cmd_sn: CmdSn(0x44),
            max_cmd_sn: CmdSn(0x83),
            time_2_wait: 2,
            time_2_retain: 20,
        };
        golden(
            &pdu,
            "26800200 00000000 00000000 00000000 00000030 00000000
             00000055 00000044 00000083 00000000 00020014 00000000",
        );
    }
}
