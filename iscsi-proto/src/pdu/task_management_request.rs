//! Task Management Function Request (RFC 7143 §11.5, RFC 7144 §6).

use nom::Parser;

use super::code::wire_code;
use super::header::{self, FINAL, Header, start};
use super::{Bhs, Opcode, Pdu, PduFault, RawPdu};
use crate::types::{CmdSn, DataSn, ExpStatSn, InitiatorTaskTag, Lun};

wire_code! {
    /// RFC 7143 §11.5.1; 9 to 12 are of RFC 7144 §6.3.
    pub struct TaskManagementFunction(u8) {
        ABORT_TASK = 1,
        ABORT_TASK_SET = 2,
        CLEAR_ACA = 3,
        CLEAR_TASK_SET = 4,
        LOGICAL_UNIT_RESET = 5,
        TARGET_WARM_RESET = 6,
        TARGET_COLD_RESET = 7,
        TASK_REASSIGN = 8,
        QUERY_TASK = 9,
        QUERY_TASK_SET = 10,
        I_T_NEXUS_RESET = 11,
        QUERY_ASYNCHRONOUS_EVENT = 12,
    }
}

/// Acts on tasks rather than on data.
///
/// ```text
///  Byte/     0       |       1       |       2       |       3       |
///    |0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|
///   0|.|I| 0x02      |1| Function    | Reserved                      |
///   4|TotalAHSLength | DataSegmentLength                             |
///   8| Logical Unit Number (LUN) or Reserved                         |
///    +                                                               +
///  12|                                                               |
///  16| Initiator Task Tag                                            |
///  20| Referenced Task Tag or 0xffffffff                             |
///  24| CmdSN                                                         |
///  28| ExpStatSN                                                     |
///  32| RefCmdSN or Reserved                                          |
///  36| ExpDataSN or Reserved                                         |
///  40/ Reserved                                                      /
///   +/                                                               /
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskManagementRequest {
    pub immediate: bool,
    pub function: TaskManagementFunction,
    pub lun: Lun,
    pub initiator_task_tag: InitiatorTaskTag,
    /// The task to abort, reassign or ask about; reserved for the other functions.
    pub referenced_task_tag: InitiatorTaskTag,
    pub cmd_sn: CmdSn,
    pub exp_stat_sn: ExpStatSn,
    /// CmdSN of the referenced task; this request's own if that was immediate.
    pub ref_cmd_sn: CmdSn,
    /// For TASK REASSIGN of a read.
    pub exp_data_sn: DataSn,
}

impl Pdu for TaskManagementRequest {
    const OPCODE: Opcode = Opcode::TASK_MANAGEMENT_REQUEST;

    fn parse(pdu: &mut RawPdu) -> Result<TaskManagementRequest, PduFault> {
        let (_, (start, lun, initiator_task_tag, referenced_task_tag, cmd_sn, exp_stat_sn, ref_cmd_sn, exp_data_sn)) =
            (
                start,
                header::lun,
                header::initiator_task_tag,
                header::initiator_task_tag,
                header::cmd_sn,
                header::stat_sn,
                header::cmd_sn,
                header::data_sn,
            )
                .parse(&pdu.bhs)?;
        if initiator_task_tag.is_reserved() {
            return Err(PduFault::ReservedInitiatorTaskTag);
        }
        pdu.refuse_segments()?;
        Ok(TaskManagementRequest {
            immediate: start.immediate,
            function: TaskManagementFunction(start.flags & FUNCTION),
            lun,
            initiator_task_tag,
            referenced_task_tag,
            cmd_sn,
            exp_stat_sn,
            ref_cmd_sn,
            exp_data_sn,
        })
    }

    fn encode_header(&self, data_segment_length: u32) -> Bhs {
        Header::new(Self::OPCODE, FINAL | self.function.0 & FUNCTION, data_segment_length)
            .immediate(self.immediate)
            .lun(self.lun)
            .initiator_task_tag(self.initiator_task_tag)
            .word(20, self.referenced_task_tag.0)
            .word(24, self.cmd_sn.0)
            .word(28, self.exp_stat_sn.0)
            .word(32, self.ref_cmd_sn.0)
            .word(36, self.exp_data_sn.0)
            .finish()
    }
}

const FUNCTION: u8 = 0x7f;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::testing::{fault, golden};

    #[test]
    fn abort_task() {
        let pdu = TaskManagementRequest {
            immediate: true,
            function: TaskManagementFunction::ABORT_TASK,
            lun: Lun::peripheral(2),
            initiator_task_tag: InitiatorTaskTag(0x21),
            referenced_task_tag: InitiatorTaskTag(0x20),
            cmd_sn: CmdSn(0x31),
            exp_stat_sn: ExpStatSn(0x41),
            ref_cmd_sn: CmdSn(0x30),
            exp_data_sn: DataSn(5),
        };
        golden(
            &pdu,
            "42810000 00000000 00020000 00000000 00000021 00000020
             00000031 00000041 00000030 00000005 00000000 00000000",
        );
    }

    #[test]
    fn functions_have_the_names_of_the_standards() {
        assert_eq!(format!("{:?}", TaskManagementFunction(12)), "QUERY_ASYNCHRONOUS_EVENT");
        assert_eq!(format!("{:?}", TaskManagementFunction(13)), "0x0d");
    }

    #[test]
    fn has_no_data() {
        let header = "42810000 00000004 00020000 00000000 00000021 00000020
                      00000031 00000041 00000030 00000005 00000000 00000000";
        assert_eq!(fault::<TaskManagementRequest>(header, b"data"), Some(PduFault::UnexpectedDataSegment));
    }
}
