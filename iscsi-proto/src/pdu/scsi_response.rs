//! SCSI Response (RFC 7143 §11.4, RFC 7144 §5.2).

use bytes::{BufMut, Bytes, BytesMut};
use nom::Parser;

use super::code::wire_code;
use super::header::{self, FINAL, Header, reserved, start};
use super::{Bhs, Opcode, Pdu, PduFault, RawPdu, Residual};
use crate::types::{CmdSn, DataSn, InitiatorTaskTag, StatSn};

wire_code! {
    /// SAM-5 §5.3, RFC 7143 §11.4.2.
    pub struct ScsiStatus(u8) {
        GOOD = 0x00,
        CHECK_CONDITION = 0x02,
        CONDITION_MET = 0x04,
        BUSY = 0x08,
        RESERVATION_CONFLICT = 0x18,
        TASK_SET_FULL = 0x28,
        ACA_ACTIVE = 0x30,
        TASK_ABORTED = 0x40,
    }
}

wire_code! {
    /// The iSCSI service response (RFC 7143 §11.4.3).
    pub struct ServiceResponse(u8) {
        COMMAND_COMPLETED_AT_TARGET = 0x00,
        TARGET_FAILURE = 0x01,
    }
}

/// How a command ended.
///
/// ```text
///  Byte/     0       |       1       |       2       |       3       |
///    |0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|
///   0|.|.| 0x21      |1|. .|o|u|O|U|.| Response      | Status        |
///   4|TotalAHSLength | DataSegmentLength                             |
///   8| Reserved                                                      |
///    +                                                               +
///  12|                                                               |
///  16| Initiator Task Tag                                            |
///  20| SNACK Tag or Reserved                                         |
///  24| StatSN                                                        |
///  28| ExpCmdSN                                                      |
///  32| MaxCmdSN                                                      |
///  36| ExpDataSN or Reserved                                         |
///  40| Bidirectional Read Residual Count or Reserved                 |
///  44| Residual Count or Reserved                                    |
///    / Data Segment (optional)                                       /
///   +/                                                               /
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScsiResponse {
    pub response: ServiceResponse,
    pub status: ScsiStatus,
    pub residual: Residual,
    pub bidirectional_read_residual: Residual,
    /// RFC 7144 §5.2.1: bytes 8 and 9, zero below iSCSIProtocolLevel 2.
    pub status_qualifier: u16,
    pub initiator_task_tag: InitiatorTaskTag,
    /// That of the last R-Data SNACK, or 0.
    pub snack_tag: u32,
    pub stat_sn: StatSn,
    pub exp_cmd_sn: CmdSn,
    pub max_cmd_sn: CmdSn,
    /// "The number of Data-In (read) PDUs the target has sent for the command" (§11.4.8), R2Ts of a bidirectional too.
    pub exp_data_sn: DataSn,
    /// SenseLength and sense data, then response data; see [`ScsiResponse::sense_segment`].
    pub data: Bytes,
}

impl ScsiResponse {
    /// GOOD, with nothing left over.
    pub fn good(initiator_task_tag: InitiatorTaskTag) -> ScsiResponse {
        ScsiResponse {
            response: ServiceResponse::COMMAND_COMPLETED_AT_TARGET,
            status: ScsiStatus::GOOD,
            residual: Residual::None,
            bidirectional_read_residual: Residual::None,
            status_qualifier: 0,
            initiator_task_tag,
            snack_tag: 0,
            stat_sn: StatSn(0),
            exp_cmd_sn: CmdSn(0),
            max_cmd_sn: CmdSn(0),
            exp_data_sn: DataSn(0),
            data: Bytes::new(),
        }
    }

    /// The data segment for this sense data.
    ///
    /// ```text
    ///   0|SenseLength                    | Sense Data                    |
    ///   x/ Sense Data                                                    /
    /// ```
    pub fn sense_segment(sense: &[u8]) -> Bytes {
        let mut segment = BytesMut::with_capacity(2 + sense.len());
        segment.put_u16(u16::try_from(sense.len()).expect("sense data has 252 bytes at most"));
        segment.put_slice(sense);
        segment.freeze()
    }

    /// The sense data in the data segment; empty if there is none.
    pub fn sense(&self) -> Result<Bytes, PduFault> {
        sense_of(&self.data)
    }
}

/// Splits SenseLength off; also the form of an Async Message's segment (§11.9.4).
pub(super) fn sense_of(data: &Bytes) -> Result<Bytes, PduFault> {
    match data.split_first_chunk() {
        None if data.is_empty() => Ok(Bytes::new()),
        None => Err(PduFault::SenseLength),
        Some((length, rest)) => {
            let length = usize::from(u16::from_be_bytes(*length));
            rest.get(..length).map(|sense| data.slice_ref(sense)).ok_or(PduFault::SenseLength)
        }
    }
}

impl Pdu for ScsiResponse {
    const OPCODE: Opcode = Opcode::SCSI_RESPONSE;

    fn parse(pdu: &mut RawPdu) -> Result<ScsiResponse, PduFault> {
        let (_, (start, status_qualifier, _, initiator_task_tag, snack_tag, stat_sn, exp_cmd_sn, max_cmd_sn, more)) = (
            start,
            header::half,
            reserved::<6>,
            header::initiator_task_tag,
            header::word,
            header::stat_sn,
            header::cmd_sn,
            header::cmd_sn,
            (header::data_sn, header::word, header::word),
        )
            .parse(&pdu.bhs)?;
        let (exp_data_sn, bidirectional_count, count) = more;
        let flag = |flag| start.flags & flag != 0;
        let residual = Residual::parse(flag(OVERFLOW), flag(UNDERFLOW), count)?;
        let bidirectional_read_residual =
            Residual::parse(flag(BIDIRECTIONAL_OVERFLOW), flag(BIDIRECTIONAL_UNDERFLOW), bidirectional_count)?;
        let [response, status] = start.specific;
        Ok(ScsiResponse {
            response: ServiceResponse(response),
            status: ScsiStatus(status),
            residual,
            bidirectional_read_residual,
            status_qualifier,
            initiator_task_tag,
            snack_tag,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            exp_data_sn,
            data: pdu.take_data()?,
        })
    }

    #[inline]
    fn encode_header(&self, data_segment_length: u32) -> Bhs {
        let flags = FINAL
            | self.residual.flags(OVERFLOW, UNDERFLOW)
            | self.bidirectional_read_residual.flags(BIDIRECTIONAL_OVERFLOW, BIDIRECTIONAL_UNDERFLOW);
        Header::new(Self::OPCODE, flags, data_segment_length)
            .byte(2, self.response.0)
            .byte(3, self.status.0)
            .half(8, self.status_qualifier)
            .initiator_task_tag(self.initiator_task_tag)
            .word(20, self.snack_tag)
            .status_numbers(self.stat_sn, self.exp_cmd_sn, self.max_cmd_sn)
            .word(36, self.exp_data_sn.0)
            .word(40, self.bidirectional_read_residual.count())
            .word(44, self.residual.count())
            .finish()
    }

    fn data_segment(&self) -> Bytes {
        self.data.clone()
    }
}

pub(super) const OVERFLOW: u8 = 0x04;
pub(super) const UNDERFLOW: u8 = 0x02;
const BIDIRECTIONAL_OVERFLOW: u8 = 0x10;
const BIDIRECTIONAL_UNDERFLOW: u8 = 0x08;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::testing::{fault, golden};

    #[test]
    fn good_with_underflow() {
        let pdu = ScsiResponse {
            residual: Residual::Underflow(0x200),
            stat_sn: StatSn(0x18),
            exp_cmd_sn: CmdSn(0x15),
            max_cmd_sn: CmdSn(0x54),
            exp_data_sn: DataSn(2),
            ..ScsiResponse::good(InitiatorTaskTag(0x1400_0000))
        };
        golden(
            &pdu,
            "21820000 00000000 00000000 00000000 14000000 00000000
             00000018 00000015 00000054 00000002 00000000 00000200",
        );
    }

    #[test]
    fn check_condition_with_sense_and_both_residuals() {
        let sense = [0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0];
        let pdu = ScsiResponse {
            status: ScsiStatus::CHECK_CONDITION,
            residual: Residual::Overflow(1),
            bidirectional_read_residual: Residual::Underflow(2),
            status_qualifier: 0x1234,
            data: ScsiResponse::sense_segment(&sense),
            ..ScsiResponse::good(InitiatorTaskTag(7))
        };
        golden(
            &pdu,
            "218c0002 00000014 12340000 00000000 00000007 00000000
             00000000 00000000 00000000 00000000 00000002 00000001",
        );
        assert_eq!(pdu.data[..2], [0, 18]);
        assert_eq!(pdu.sense().as_deref(), Ok(&sense[..]));
    }

    #[test]
    fn contradictions_are_refused() {
        let rest = "0000 00000000 00000000 00000000 00000007 00000000
                    00000000 00000000 00000000 00000000 00000000 00000000";
        assert_eq!(fault::<ScsiResponse>(&format!("2186{rest}"), b""), Some(PduFault::OverflowAndUnderflow));
        assert_eq!(fault::<ScsiResponse>(&format!("2198{rest}"), b""), Some(PduFault::OverflowAndUnderflow));
        for short in [&b"\0"[..], b"\0\x02a"] {
            let pdu = ScsiResponse { data: Bytes::from_static(short), ..ScsiResponse::good(InitiatorTaskTag(7)) };
            assert_eq!(pdu.sense(), Err(PduFault::SenseLength));
        }
    }
}
