//! Login Request (RFC 7143 §11.12).

use bytes::Bytes;
use nom::Parser;

use super::code::wire_code;
use super::header::{self, CONTINUE, FINAL, Header, reserved, start};
use super::{Bhs, Opcode, Pdu, PduFault, RawPdu};
use crate::types::{Cid, CmdSn, ExpStatSn, InitiatorTaskTag, Isid, Tsih};

wire_code! {
    /// CSG and NSG, two bits each (RFC 7143 §11.12.3); 2 is reserved.
    pub struct LoginStage(u8) {
        SECURITY_NEGOTIATION = 0,
        LOGIN_OPERATIONAL_NEGOTIATION = 1,
        FULL_FEATURE_PHASE = 3,
    }
}

/// A step of a login, as the initiator takes it. What is wrong with it is answered by a Login Response, not by a Reject, so
/// every value of a field can be read.
///
/// ```text
///  Byte/     0       |       1       |       2       |       3       |
///    |0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|
///   0|.|1| 0x03      |T|C|.|.|CSG|NSG| Version-max   | Version-min   |
///   4|TotalAHSLength | DataSegmentLength                             |
///   8| ISID                                                          |
///    +                               +---------------+---------------+
///  12|                               | TSIH                          |
///  16| Initiator Task Tag                                            |
///  20| CID                           | Reserved                      |
///  24| CmdSN                                                         |
///  28| ExpStatSN or Reserved                                         |
///  32| Reserved                                                      |
///  36| Reserved                                                      |
///  40/ Reserved                                                      /
///   +/                                                               /
///  48/ DataSegment - Login Parameters in Text Request Format         /
///   +/                                                               /
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginRequest {
    /// T: ready for `next_stage`.
    pub transit: bool,
    /// The text goes on in the next request.
    pub continue_: bool,
    pub current_stage: LoginStage,
    /// Valid with `transit`.
    pub next_stage: LoginStage,
    pub version_max: u8,
    pub version_min: u8,
    pub isid: Isid,
    pub tsih: Tsih,
    pub initiator_task_tag: InitiatorTaskTag,
    pub cid: Cid,
    pub cmd_sn: CmdSn,
    pub exp_stat_sn: ExpStatSn,
    /// key=value pairs.
    pub data: Bytes,
}

impl Pdu for LoginRequest {
    const OPCODE: Opcode = Opcode::LOGIN_REQUEST;

    fn parse(pdu: &mut RawPdu) -> Result<LoginRequest, PduFault> {
        let (_, (start, isid, tsih, initiator_task_tag, cid, _, cmd_sn, exp_stat_sn)) = (
            start,
            header::bytes.map(Isid),
            header::half.map(Tsih),
            header::initiator_task_tag,
            header::half.map(Cid),
            reserved::<2>,
            header::cmd_sn,
            header::stat_sn,
        )
            .parse(&pdu.bhs)?;
        let [version_max, version_min] = start.specific;
        Ok(LoginRequest {
            transit: start.flags & TRANSIT != 0,
            continue_: start.flags & CONTINUE != 0,
            current_stage: LoginStage(start.flags >> 2 & STAGE),
            next_stage: LoginStage(start.flags & STAGE),
            version_max,
            version_min,
            isid,
            tsih,
            initiator_task_tag,
            cid,
            cmd_sn,
            exp_stat_sn,
            data: pdu.take_data()?,
        })
    }

    /// The I bit is always set: "Login Requests are always considered as immediate." (§11.12)
    fn encode_header(&self, data_segment_length: u32) -> Bhs {
        let flags = stage_flags(self.transit, self.continue_, self.current_stage, self.next_stage);
        Header::new(Self::OPCODE, flags, data_segment_length)
            .immediate(true)
            .byte(2, self.version_max)
            .byte(3, self.version_min)
            .bytes(8, self.isid.0)
            .half(14, self.tsih.0)
            .initiator_task_tag(self.initiator_task_tag)
            .half(20, self.cid.0)
            .word(24, self.cmd_sn.0)
            .word(28, self.exp_stat_sn.0)
            .finish()
    }

    fn data_segment(&self) -> Bytes {
        self.data.clone()
    }
}

pub(super) fn stage_flags(transit: bool, continue_: bool, current: LoginStage, next: LoginStage) -> u8 {
    let flags = if transit { TRANSIT } else { 0 } | if continue_ { CONTINUE } else { 0 };
    flags | (current.0 & STAGE) << 2 | next.0 & STAGE
}

/// In the place of F.
pub(super) const TRANSIT: u8 = FINAL;
pub(super) const STAGE: u8 = 0x03;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::testing::golden;

    #[test]
    fn to_full_feature_phase() {
        let pdu = LoginRequest {
            transit: true,
            continue_: false,
            current_stage: LoginStage::LOGIN_OPERATIONAL_NEGOTIATION,
            next_stage: LoginStage::FULL_FEATURE_PHASE,
            version_max: 0,
            version_min: 0,
            isid: Isid([0x00, 0x02, 0x3d, 0x00, 0x00, 0x0a]),
            tsih: Tsih::NEW_SESSION,
            initiator_task_tag: InitiatorTaskTag(1),
            cid: Cid(5),
            cmd_sn: CmdSn(0x14),
            exp_stat_sn: ExpStatSn(0x18),
            data: Bytes::from_static(b"MaxBurstLength=262144\0"),
        };
        golden(
            &pdu,
            "43870000 00000016 00023d00 000a0000 00000001 00050000
             00000014 00000018 00000000 00000000 00000000 00000000",
        );
    }
}
