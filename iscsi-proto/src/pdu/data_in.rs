//! SCSI Data-In (RFC 7143 §11.7).

use bytes::Bytes;
use nom::Parser;

use super::header::{self, FINAL, Header, start};
use super::scsi_response::{OVERFLOW, UNDERFLOW};
use super::{Bhs, Opcode, Pdu, PduFault, RawPdu, Residual, ScsiStatus};
use crate::types::{CmdSn, DataSn, InitiatorTaskTag, Lun, StatSn, TargetTransferTag};

/// Data of a read, and with the last of it perhaps the status.
///
/// ```text
///  Byte/     0       |       1       |       2       |       3       |
///    |0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|
///   0|.|.| 0x25      |F|A|0 0 0|O|U|S| Reserved      |Status or Rsvd |
///   4|TotalAHSLength | DataSegmentLength                             |
///   8| LUN or Reserved                                               |
///    +                                                               +
///  12|                                                               |
///  16| Initiator Task Tag                                            |
///  20| Target Transfer Tag or 0xffffffff                             |
///  24| StatSN or Reserved                                            |
///  28| ExpCmdSN                                                      |
///  32| MaxCmdSN                                                      |
///  36| DataSN                                                        |
///  40| Buffer Offset                                                 |
///  44| Residual Count                                                |
///    / DataSegment                                                   /
///   +/                                                               /
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataIn {
    /// The last PDU of a sequence.
    pub final_: bool,
    /// A: asks for a DataACK SNACK. Never at ErrorRecoveryLevel 0.
    pub acknowledge: bool,
    /// S: "Status can accompany the last Data-In PDU if the command did not end with an exception" (§11.7).
    pub status: Option<DataInStatus>,
    /// Like the tag, only with `acknowledge`.
    pub lun: Lun,
    pub initiator_task_tag: InitiatorTaskTag,
    pub target_transfer_tag: TargetTransferTag,
    pub exp_cmd_sn: CmdSn,
    pub max_cmd_sn: CmdSn,
    pub data_sn: DataSn,
    pub buffer_offset: u32,
    pub data: Bytes,
}

/// "The fields StatSN, Status, and Residual Count only have meaningful content if the S bit is set to 1." (§11.7.3)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataInStatus {
    pub status: ScsiStatus,
    pub residual: Residual,
    pub stat_sn: StatSn,
}

impl Pdu for DataIn {
    const OPCODE: Opcode = Opcode::DATA_IN;

    fn parse(pdu: &mut RawPdu) -> Result<DataIn, PduFault> {
        let (_, (start, lun, initiator_task_tag, target_transfer_tag, stat_sn, exp_cmd_sn, max_cmd_sn, more)) = (
            start,
            header::lun,
            header::initiator_task_tag,
            header::target_transfer_tag,
            header::stat_sn,
            header::cmd_sn,
            header::cmd_sn,
            (header::data_sn, header::word, header::word),
        )
            .parse(&pdu.bhs)?;
        let (data_sn, buffer_offset, count) = more;
        let flag = |flag| start.flags & flag != 0;
        let status = match flag(STATUS) {
            false => None,
            // "If this bit is set to 1, the F bit MUST also be set to 1." (§11.7.3)
            true if !start.is_final() => return Err(PduFault::StatusWithoutFinal),
            true => {
                let residual = Residual::parse(flag(OVERFLOW), flag(UNDERFLOW), count)?;
                Some(DataInStatus { status: ScsiStatus(start.specific[1]), residual, stat_sn })
            }
        };
        Ok(DataIn {
            final_: start.is_final(),
            acknowledge: flag(ACKNOWLEDGE),
            status,
            lun,
            initiator_task_tag,
            target_transfer_tag,
            exp_cmd_sn,
            max_cmd_sn,
            data_sn,
            buffer_offset,
            data: pdu.take_data()?,
        })
    }

    #[inline]
    fn encode_header(&self, data_segment_length: u32) -> Bhs {
        let mut flags = if self.final_ { FINAL } else { 0 } | if self.acknowledge { ACKNOWLEDGE } else { 0 };
        let (mut status, mut stat_sn, mut residual_count) = (0, StatSn(0), 0);
        if let Some(completion) = &self.status {
            flags |= STATUS | completion.residual.flags(OVERFLOW, UNDERFLOW);
            (status, stat_sn) = (completion.status.0, completion.stat_sn);
            residual_count = completion.residual.count();
        }
        Header::new(Self::OPCODE, flags, data_segment_length)
            .byte(3, status)
            .lun(self.lun)
            .initiator_task_tag(self.initiator_task_tag)
            .word(20, self.target_transfer_tag.0)
            .status_numbers(stat_sn, self.exp_cmd_sn, self.max_cmd_sn)
            .word(36, self.data_sn.0)
            .word(40, self.buffer_offset)
            .word(44, residual_count)
            .finish()
    }

    fn data_segment(&self) -> Bytes {
        self.data.clone()
    }
}

const ACKNOWLEDGE: u8 = 0x40;
const STATUS: u8 = 0x01;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::testing::{fault, golden};

    fn middle() -> DataIn {
        DataIn {
            final_: false,
            acknowledge: false,
            status: None,
            lun: Lun::ZERO,
            initiator_task_tag: InitiatorTaskTag(0x14),
            target_transfer_tag: TargetTransferTag::RESERVED,
            exp_cmd_sn: CmdSn(0x15),
            max_cmd_sn: CmdSn(0x54),
            data_sn: DataSn(1),
            buffer_offset: 0x2000,
            data: Bytes::from_static(&[0x55; 8192]),
        }
    }

    #[test]
    fn without_status() {
        golden(
            &middle(),
            "25000000 00002000 00000000 00000000 00000014 ffffffff
             00000000 00000015 00000054 00000001 00002000 00000000",
        );
    }

    #[test]
    fn with_status_and_underflow() {
        let (status, residual) = (ScsiStatus::CONDITION_MET, Residual::Underflow(0x100));
        let pdu =
            DataIn { final_: true, status: Some(DataInStatus { status, residual, stat_sn: StatSn(0x18) }), ..middle() };
        golden(
            &pdu,
            "25830004 00002000 00000000 00000000 00000014 ffffffff
             00000018 00000015 00000054 00000001 00002000 00000100",
        );
    }

    #[test]
    fn acknowledge_names_lun_and_tag() {
        let target_transfer_tag = TargetTransferTag(9);
        golden(
            &DataIn { final_: true, acknowledge: true, lun: Lun::peripheral(1), target_transfer_tag, ..middle() },
            "25c00000 00002000 00010000 00000000 00000014 00000009
             00000000 00000015 00000054 00000001 00002000 00000000",
        );
    }

    #[test]
    fn status_comes_last() {
        let header = "25010000 00000000 00000000 00000000 00000014 ffffffff
                      00000018 00000015 00000054 00000001 00002000 00000100";
        assert_eq!(fault::<DataIn>(header, b""), Some(PduFault::StatusWithoutFinal));
    }
}
