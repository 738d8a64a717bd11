//! Login Response (RFC 7143 §11.13).

use std::fmt;

use bytes::Bytes;
use nom::Parser;

use super::header::{self, CONTINUE, Header, reserved, start};
use super::login_request::{LoginStage, STAGE, TRANSIT, stage_flags};
use super::{Bhs, Opcode, Pdu, PduFault, RawPdu};
use crate::types::{CmdSn, InitiatorTaskTag, Isid, StatSn, Tsih};

/// Status-Class and Status-Detail (RFC 7143 §11.13.5).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LoginStatus {
    pub class: u8,
    pub detail: u8,
}

macro_rules! statuses {
    ($($name:ident = $class:literal, $detail:literal;)*) => {
        impl LoginStatus {
            $(pub const $name: LoginStatus = LoginStatus { class: $class, detail: $detail };)*

            /// The constant's name, if the pair has one.
            pub const fn name(self) -> Option<&'static str> {
                match (self.class, self.detail) {
                    $(($class, $detail) => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

statuses! {
    SUCCESS = 0x00, 0x00;
    TARGET_MOVED_TEMPORARILY = 0x01, 0x01;
    TARGET_MOVED_PERMANENTLY = 0x01, 0x02;
    INITIATOR_ERROR = 0x02, 0x00;
    AUTHENTICATION_FAILURE = 0x02, 0x01;
    AUTHORIZATION_FAILURE = 0x02, 0x02;
    NOT_FOUND = 0x02, 0x03;
    TARGET_REMOVED = 0x02, 0x04;
    UNSUPPORTED_VERSION = 0x02, 0x05;
    TOO_MANY_CONNECTIONS = 0x02, 0x06;
    MISSING_PARAMETER = 0x02, 0x07;
    CANNOT_INCLUDE_IN_SESSION = 0x02, 0x08;
    SESSION_TYPE_NOT_SUPPORTED = 0x02, 0x09;
    SESSION_DOES_NOT_EXIST = 0x02, 0x0a;
    INVALID_DURING_LOGIN = 0x02, 0x0b;
    TARGET_ERROR = 0x03, 0x00;
    SERVICE_UNAVAILABLE = 0x03, 0x01;
    OUT_OF_RESOURCES = 0x03, 0x02;
}

impl LoginStatus {
    /// "A Status-Class of 0 indicates success."
    pub const fn is_success(self) -> bool {
        self.class == 0
    }

    /// Class 1: the target is at the TargetAddress that comes with this.
    pub const fn is_redirection(self) -> bool {
        self.class == 1
    }
}

impl fmt::Debug for LoginStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:02x}{:02x}h", self.class, self.detail),
        }
    }
}

impl fmt::Display for LoginStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A step of a login, as the target takes it.
///
/// ```text
///  Byte/     0       |       1       |       2       |       3       |
///    |0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|0 1 2 3 4 5 6 7|
///   0|.|.| 0x23      |T|C|.|.|CSG|NSG| Version-max   |Version-active |
///   4|TotalAHSLength | DataSegmentLength                             |
///   8| ISID                                                          |
///    +                               +---------------+---------------+
///  12|                               | TSIH                          |
///  16| Initiator Task Tag                                            |
///  20| Reserved                                                      |
///  24| StatSN                                                        |
///  28| ExpCmdSN                                                      |
///  32| MaxCmdSN                                                      |
///  36| Status-Class  | Status-Detail | Reserved                      |
///  40/ Reserved                                                      /
///   +/                                                               /
///  48/ DataSegment - Login Parameters in Text Request Format         /
///   +/                                                               /
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginResponse {
    /// T: the stage ends here.
    pub transit: bool,
    /// The text goes on in the next response.
    pub continue_: bool,
    pub current_stage: LoginStage,
    /// Valid with `transit`.
    pub next_stage: LoginStage,
    pub version_max: u8,
    pub version_active: u8,
    pub isid: Isid,
    /// The session's handle in the last response of a first login; else that of the request.
    pub tsih: Tsih,
    pub initiator_task_tag: InitiatorTaskTag,
    pub stat_sn: StatSn,
    pub exp_cmd_sn: CmdSn,
    pub max_cmd_sn: CmdSn,
    pub status: LoginStatus,
    /// key=value pairs.
    pub data: Bytes,
}

impl LoginResponse {
    /// "If the T bit is set to 1 and the NSG is set to FullFeaturePhase, then this is also the Login Final-Response" (§11.13.6).
    pub fn is_final_response(&self) -> bool {
        self.status.is_success() && self.transit && self.next_stage == LoginStage::FULL_FEATURE_PHASE
    }
}

impl Pdu for LoginResponse {
    const OPCODE: Opcode = Opcode::LOGIN_RESPONSE;

    fn parse(pdu: &mut RawPdu) -> Result<LoginResponse, PduFault> {
        let (_, (start, isid, tsih, initiator_task_tag, _, stat_sn, exp_cmd_sn, max_cmd_sn, class, detail)) = (
            start,
            header::bytes.map(Isid),
            header::half.map(Tsih),
            header::initiator_task_tag,
            reserved::<4>,
            header::stat_sn,
            header::cmd_sn,
            header::cmd_sn,
            header::byte,
            header::byte,
        )
            .parse(&pdu.bhs)?;
        let [version_max, version_active] = start.specific;
        Ok(LoginResponse {
            transit: start.flags & TRANSIT != 0,
            continue_: start.flags & CONTINUE != 0,
            current_stage: LoginStage(start.flags >> 2 & STAGE),
            next_stage: LoginStage(start.flags & STAGE),
            version_max,
            version_active,
            isid,
            tsih,
            initiator_task_tag,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            status: LoginStatus { class, detail },
            data: pdu.take_data()?,
        })
    }

    fn encode_header(&self, data_segment_length: u32) -> Bhs {
        let flags = stage_flags(self.transit, self.continue_, self.current_stage, self.next_stage);
        Header::new(Self::OPCODE, flags, data_segment_length)
            .byte(2, self.version_max)
            .byte(3, self.version_active)
            .bytes(8, self.isid.0)
            .half(14, self.tsih.0)
            .initiator_task_tag(self.initiator_task_tag)
            .status_numbers(self.stat_sn, self.exp_cmd_sn, self.max_cmd_sn)
            .byte(36, self.status.class)
            .byte(37, self.status.detail)
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

    fn refused() -> LoginResponse {
        LoginResponse {
            transit: false,
            continue_: false,
            current_stage: LoginStage::SECURITY_NEGOTIATION,
            next_stage: LoginStage::SECURITY_NEGOTIATION,
            version_max: 0,
            version_active: 0,
            isid: Isid([0x00, 0x02, 0x3d, 0x00, 0x00, 0x0a]),
            tsih: Tsih(0),
            initiator_task_tag: InitiatorTaskTag(1),
            stat_sn: StatSn(0x18),
            exp_cmd_sn: CmdSn(0x14),
            max_cmd_sn: CmdSn(0x53),
            status: LoginStatus::NOT_FOUND,
            data: Bytes::new(),
        }
    }

    #[test]
    fn refusal() {
        golden(
            &refused(),
            "23000000 00000000 00023d00 000a0000 00000001 00000000
             00000018 00000014 00000053 02030000 00000000 00000000",
        );
        assert_eq!(format!("{} {}", refused().status, LoginStatus { class: 4, detail: 1 }), "NOT_FOUND 0401h");
    }

    #[test]
    fn final_response() {
        let pdu = LoginResponse {
            transit: true,
            current_stage: LoginStage::LOGIN_OPERATIONAL_NEGOTIATION,
            next_stage: LoginStage::FULL_FEATURE_PHASE,
            tsih: Tsih(0x0102),
            status: LoginStatus::SUCCESS,
            data: Bytes::from_static(b"ImmediateData=Yes\0"),
            ..refused()
        };
        golden(
            &pdu,
            "23870000 00000012 00023d00 000a0102 00000001 00000000
             00000018 00000014 00000053 00000000 00000000 00000000",
        );
        assert!(pdu.is_final_response() && !refused().is_final_response());
    }
}
