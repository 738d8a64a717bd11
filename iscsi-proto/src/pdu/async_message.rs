//! Asynchronous Message (RFC 7143 §11.9).

use bytes::Bytes;
use nom::Parser;

use super::code::wire_code;
use super::header::{self, FINAL, Header, reserved, start};
use super::scsi_response::sense_of;
use super::{Bhs, Opcode, Pdu, PduFault, RawPdu};
use crate::types::{CmdSn, InitiatorTaskTag, Lun, StatSn};

wire_code! {
    /// RFC 7143 §11.9.1; 248 to 255 are vendor-unique.
    pub struct AsyncEvent(u8) {
        SCSI_ASYNC_EVENT = 0,
        /// Parameter3: seconds within which to log out.
        LOGOUT_REQUEST = 1,
        /// Parameter1: CID; Parameter2: Time2Wait; Parameter3: Time2Retain.
        CONNECTION_DROP_NOTIFICATION = 2,
        /// Parameter2: Time2Wait; Parameter3: Time2Retain.
        SESSION_DROP_NOTIFICATION = 3,
        /// Parameter3: seconds within which to send a Text Request.
        NEGOTIATION_REQUEST = 4,
        TASK_TERMINATION = 5,
    }
}

/// Something the target says of its own accord.
///
/// ```text
///  Byte/     0       |       1       |       2       |       3       |
///    |0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|
///   0|.|.| 0x32      |1| Reserved                                    |
///   4|TotalAHSLength | DataSegmentLength                             |
///   8| LUN or Reserved                                               |
///    +                                                               +
///  12|                                                               |
///  16| 0xffffffff                                                    |
///  20| Reserved                                                      |
///  24| StatSN                                                        |
///  28| ExpCmdSN                                                      |
///  32| MaxCmdSN                                                      |
///  36| AsyncEvent    | AsyncVCode    | Parameter1 or Reserved        |
///  40| Parameter2 or Reserved        | Parameter3 or Reserved        |
///  44| Reserved                                                      |
///    / DataSegment - Sense Data and iSCSI Event Data                 /
///   +/                                                               /
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsyncMessage {
    pub lun: Lun,
    pub stat_sn: StatSn,
    pub exp_cmd_sn: CmdSn,
    pub max_cmd_sn: CmdSn,
    pub event: AsyncEvent,
    /// AsyncVCode: "only valid if the AsyncEvent field indicates a vendor-specific event" (§11.9.2).
    pub vendor_code: u8,
    pub parameter_1: u16,
    pub parameter_2: u16,
    pub parameter_3: u16,
    /// SenseLength and sense data, then event data.
    pub data: Bytes,
}

impl AsyncMessage {
    /// Sense data of a SCSI event; empty if there is none.
    pub fn sense(&self) -> Result<Bytes, PduFault> {
        sense_of(&self.data)
    }
}

impl Pdu for AsyncMessage {
    const OPCODE: Opcode = Opcode::ASYNC_MESSAGE;

    fn parse(pdu: &mut RawPdu) -> Result<AsyncMessage, PduFault> {
        let (_, (_, lun, _, stat_sn, exp_cmd_sn, max_cmd_sn, event, vendor_code, parameters)) = (
            start,
            header::lun,
            reserved::<8>,
            header::stat_sn,
            header::cmd_sn,
            header::cmd_sn,
            header::byte.map(AsyncEvent),
            header::byte,
            (header::half, header::half, header::half),
        )
            .parse(&pdu.bhs)?;
        let data = pdu.take_data()?;
        let (parameter_1, parameter_2, parameter_3) = parameters;
        Ok(AsyncMessage {
            lun,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            event,
            vendor_code,
            parameter_1,
            parameter_2,
            parameter_3,
            data,
        })
    }

    fn encode_header(&self, data_segment_length: u32) -> Bhs {
        Header::new(Self::OPCODE, FINAL, data_segment_length)
            .lun(self.lun)
            .initiator_task_tag(InitiatorTaskTag::RESERVED)
            .status_numbers(self.stat_sn, self.exp_cmd_sn, self.max_cmd_sn)
            .byte(36, self.event.0)
            .byte(37, self.vendor_code)
            .half(38, self.parameter_1)
            .half(40, self.parameter_2)
            .half(42, self.parameter_3)
            .finish()
    }

    fn data_segment(&self) -> Bytes {
        self.data.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::ScsiResponse;
    use crate::pdu::testing::golden;

    fn connection_drop() -> AsyncMessage {
        AsyncMessage {
            lun: Lun::ZERO,
            stat_sn: StatSn(0x18),
            exp_cmd_sn: CmdSn(0x15),
            max_cmd_sn: CmdSn(0x54),
            event: AsyncEvent::CONNECTION_DROP_NOTIFICATION,
            vendor_code: 0,
            parameter_1: 1,
            parameter_2: 2,
            parameter_3: 20,
            data: Bytes::new(),
        }
    }

    #[test]
    fn connection_drop_notification() {
        golden(
            &connection_drop(),
            "32800000 00000000 00000000 00000000 ffffffff 00000000
             00000018 00000015 00000054 02000001 00020014 00000000",
        );
    }

    #[test]
    fn scsi_event_carries_sense() {
        let data = ScsiResponse::sense_segment(b"sense");
        let pdu = AsyncMessage { event: AsyncEvent::SCSI_ASYNC_EVENT, data, ..connection_drop() };
        assert_eq!(pdu.sense().as_deref(), Ok(&b"sense"[..]));
        assert_eq!(pdu.to_raw().bhs[4..8], [0, 0, 0, 7]);
    }
}
