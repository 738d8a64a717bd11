//! SCSI Data-Out (RFC 7143 §11.7).

use bytes::Bytes;
use nom::Parser;

use super::header::{self, FINAL, Header, reserved, start};
use super::{Bhs, Opcode, Pdu, PduFault, RawPdu};
use crate::types::{DataSn, ExpStatSn, InitiatorTaskTag, Lun, TargetTransferTag};

/// Data for a write, sent unasked or in answer to an R2T.
///
/// ```text
///  Byte/     0       |       1       |       2       |       3       |
///    |0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|
///   0|.|.| 0x05      |F| Reserved                                    |
///   4|TotalAHSLength | DataSegmentLength                             |
///   8| LUN or Reserved                                               |
///    +                                                               +
///  12|                                                               |
///  16| Initiator Task Tag                                            |
///  20| Target Transfer Tag or 0xffffffff                             |
///  24| Reserved                                                      |
///  28| ExpStatSN                                                     |
///  32| Reserved                                                      |
///  36| DataSN                                                        |
///  40| Buffer Offset                                                 |
///  44| Reserved                                                      |
///    / DataSegment                                                   /
///   +/                                                               /
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataOut {
    /// "The last PDU of unsolicited data or the last PDU of a sequence that answers an R2T" (§11.7.1).
    pub final_: bool,
    pub lun: Lun,
    pub initiator_task_tag: InitiatorTaskTag,
    /// That of the R2T this answers; reserved for unsolicited data.
    pub target_transfer_tag: TargetTransferTag,
    pub exp_stat_sn: ExpStatSn,
    pub data_sn: DataSn,
    pub buffer_offset: u32,
    pub data: Bytes,
}

impl DataOut {
    pub fn is_unsolicited(&self) -> bool {
        self.target_transfer_tag.is_reserved()
    }
}

impl Pdu for DataOut {
    const OPCODE: Opcode = Opcode::DATA_OUT;

    fn parse(pdu: &mut RawPdu) -> Result<DataOut, PduFault> {
        let (_, (start, lun, initiator_task_tag, target_transfer_tag, _, exp_stat_sn, _, data_sn, buffer_offset)) = (
            start,
            header::lun,
            header::initiator_task_tag,
            header::target_transfer_tag,
            reserved::<4>,
            header::stat_sn,
            reserved::<4>,
            header::data_sn,
            header::word,
        )
            .parse(&pdu.bhs)?;
        if initiator_task_tag.is_reserved() {
            return Err(PduFault::ReservedInitiatorTaskTag);
        }
        let (final_, data) = (start.is_final(), pdu.take_data()?);
        Ok(DataOut { final_, lun, initiator_task_tag, target_transfer_tag, exp_stat_sn, data_sn, buffer_offset, data })
    }

    fn encode_header(&self, data_segment_length: u32) -> Bhs {
        Header::new(Self::OPCODE, if self.final_ { FINAL } else { 0 }, data_segment_length)
            .lun(self.lun)
            .initiator_task_tag(self.initiator_task_tag)
            .word(20, self.target_transfer_tag.0)
            .word(28, self.exp_stat_sn.0)
            .word(36, self.data_sn.0)
            .word(40, self.buffer_offset)
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
    fn answer_to_an_r2t() {
        let pdu = DataOut {
            final_: true,
            lun: Lun::peripheral(1),
            initiator_task_tag: InitiatorTaskTag(0x14),
            target_transfer_tag: TargetTransferTag(0x99),
            exp_stat_sn: ExpStatSn(0x18),
            data_sn: DataSn(3),
            buffer_offset: 0x2_0000,
            data: Bytes::from_static(&[0xaa; 512]),
        };
        golden(
            &pdu,
            "05800000 00000200 00010000 00000000 00000014 00000099
             00000000 00000018 00000000 00000003 00020000 00000000",
        );
        assert!(!pdu.is_unsolicited());
    }
}
