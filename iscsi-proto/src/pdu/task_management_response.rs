//! Task Management Function Response (RFC 7143 §11.6, RFC 7144 §6.4).

use nom::Parser;

use super::code::wire_code;
use super::header::{self, FINAL, Header, reserved, start};
use super::{Bhs, Opcode, Pdu, PduFault, RawPdu};
use crate::types::{CmdSn, InitiatorTaskTag, StatSn};

wire_code! {
    /// RFC 7143 §11.6.1; 7 is of RFC 7144 §6.4.2.
    pub struct TaskManagementResponseCode(u8) {
        FUNCTION_COMPLETE = 0,
        TASK_DOES_NOT_EXIST = 1,
        LUN_DOES_NOT_EXIST = 2,
        TASK_STILL_ALLEGIANT = 3,
        TASK_ALLEGIANCE_REASSIGNMENT_NOT_SUPPORTED = 4,
        TASK_MANAGEMENT_FUNCTION_NOT_SUPPORTED = 5,
        FUNCTION_AUTHORIZATION_FAILED = 6,
        FUNCTION_SUCCEEDED = 7,
        FUNCTION_REJECTED = 255,
    }
}

/// What became of a task management function. RFC 7144 fills bytes 8 to 10.
///
/// ```text
///  Byte/     0       |       1       |       2       |       3       |
///    |0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|
///   0|.|.| 0x22      |1| Reserved    | Response      | Reserved      |
///   4|TotalAHSLength | DataSegmentLength                             |
///   8/ Reserved                                                      /
///    /                                                               /
///  16| Initiator Task Tag                                            |
///  20| Reserved                                                      |
///  24| StatSN                                                        |
///  28| ExpCmdSN                                                      |
///  32| MaxCmdSN                                                      |
///  36/ Reserved                                                      /
///   +/                                                               /
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskManagementResponse {
    pub response: TaskManagementResponseCode,
    /// Additional Response Information of RFC 7144 §6.4.1, as SAM-5 defines it; zero for the functions of RFC 7143.
    pub additional_response_information: [u8; 3],
    pub initiator_task_tag: InitiatorTaskTag,
    pub stat_sn: StatSn,
    pub exp_cmd_sn: CmdSn,
    pub max_cmd_sn: CmdSn,
}

impl Pdu for TaskManagementResponse {
    const OPCODE: Opcode = Opcode::TASK_MANAGEMENT_RESPONSE;

    fn parse(pdu: &mut RawPdu) -> Result<TaskManagementResponse, PduFault> {
        let (_, (start, information, _, initiator_task_tag, _, stat_sn, exp_cmd_sn, max_cmd_sn)) = (
            start,
            header::bytes,
            reserved::<5>,
            header::initiator_task_tag,
            reserved::<4>,
            header::stat_sn,
            header::cmd_sn,
            header::cmd_sn,
        )
            .parse(&pdu.bhs)?;
        pdu.refuse_segments()?;
        Ok(TaskManagementResponse {
            response: TaskManagementResponseCode(start.specific[0]),
            additional_response_information: information,
            initiator_task_tag,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
        })
    }

    fn encode_header(&self, data_segment_length: u32) -> Bhs {
        Header::new(Self::OPCODE, FINAL, data_segment_length)
            .byte(2, self.response.0)
            .bytes(8, self.additional_response_information)
            .initiator_task_tag(self.initiator_task_tag)
            .status_numbers(self.stat_sn, self.exp_cmd_sn, self.max_cmd_sn)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::testing::golden;

    #[test]
    fn succeeded_with_information() {
        let pdu = TaskManagementResponse {
            response: TaskManagementResponseCode::FUNCTION_SUCCEEDED,
            additional_response_information: [0x06, 0x29, 0x01],
            initiator_task_tag: InitiatorTaskTag(0x21),
            stat_sn: StatSn(0x42),
            exp_cmd_sn: CmdSn(0x31),
            max_cmd_sn: CmdSn(0x70),
        };
        golden(
            &pdu,
            "22800700 00000000 06290100 00000000 00000021 00000000
             00000042 00000031 00000070 00000000 00000000 00000000",
        );
    }
}
