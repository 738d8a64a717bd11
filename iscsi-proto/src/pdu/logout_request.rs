//! Logout Request (RFC 7143 §11.14).

use nom::Parser;

use super::code::wire_code;
use super::header::{self, FINAL, Header, reserved, start};
use super::{Bhs, Opcode, Pdu, PduFault, RawPdu};
use crate::types::{Cid, CmdSn, ExpStatSn, InitiatorTaskTag};

wire_code! {
    /// RFC 7143 §11.14.1.
    pub struct LogoutReason(u8) {
        CLOSE_THE_SESSION = 0,
        CLOSE_THE_CONNECTION = 1,
        REMOVE_THE_CONNECTION_FOR_RECOVERY = 2,
    }
}

/// Closes a connection or the whole session.
///
/// ```text
///  Byte/     0       |       1       |       2       |       3       |
///    |0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|
///   0|.|I| 0x06      |1| Reason Code | Reserved                      |
///   4|TotalAHSLength | DataSegmentLength                             |
///   8/ Reserved                                                      /
///   +/                                                               /
///  16| Initiator Task Tag                                            |
///  20| CID or Reserved               | Reserved                      |
///  24| CmdSN                                                         |
///  28| ExpStatSN                                                     |
///  32/ Reserved                                                      /
///   +/                                                               /
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutRequest {
    pub immediate: bool,
    pub reason: LogoutReason,
    pub initiator_task_tag: InitiatorTaskTag,
    /// "Only valid if the reason code is not 'close the session'" (§11.14.3).
    pub cid: Cid,
    pub cmd_sn: CmdSn,
    pub exp_stat_sn: ExpStatSn,
}

impl Pdu for LogoutRequest {
    const OPCODE: Opcode = Opcode::LOGOUT_REQUEST;

    fn parse(pdu: &mut RawPdu) -> Result<LogoutRequest, PduFault> {
        let (_, (start, _, initiator_task_tag, cid, _, cmd_sn, exp_stat_sn)) = (
            start,
            reserved::<8>,
            header::initiator_task_tag,
            header::half.map(Cid),
            reserved::<2>,
            header::cmd_sn,
            header::stat_sn,
        )
            .parse(&pdu.bhs)?;
        if initiator_task_tag.is_reserved() {
            return Err(PduFault::ReservedInitiatorTaskTag);
        }
        pdu.refuse_segments()?;
        let reason = LogoutReason(start.flags & REASON);
        Ok(LogoutRequest { immediate: start.immediate, reason, initiator_task_tag, cid, cmd_sn, exp_stat_sn })
    }

    fn encode_header(&self, data_segment_length: u32) -> Bhs {
        Header::new(Self::OPCODE, FINAL | self.reason.0 & REASON, data_segment_length)
            .immediate(self.immediate)
            .initiator_task_tag(self.initiator_task_tag)
            .half(20, self.cid.0)
            .word(24, self.cmd_sn.0)
            .word(28, self.exp_stat_sn.0)
            .finish()
    }
}

const REASON: u8 = 0x7f;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::testing::{fault, golden};

    #[test]
    fn close_the_connection() {
        let pdu = LogoutRequest {
            immediate: true,
            reason: LogoutReason::CLOSE_THE_CONNECTION,
            initiator_task_tag: InitiatorTaskTag(0x30),
            cid: Cid(1),
            cmd_sn: CmdSn(0x44),
            exp_stat_sn: ExpStatSn(0x55),
        };
        golden(
            &pdu,
            "46810000 00000000 00000000 00000000 00000030 00010000
             00000044 00000055 00000000 00000000 00000000 00000000",
        );
    }

    #[test]
    fn has_no_data() {
        let header = "46810000 00000001 00000000 00000000 00000030 00010000
                      00000044 00000055 00000000 00000000 00000000 00000000";
        assert_eq!(fault::<LogoutRequest>(header, b"x"), Some(PduFault::UnexpectedDataSegment));
    }
}
