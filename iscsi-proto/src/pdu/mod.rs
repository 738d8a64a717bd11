//! PDUs (RFC 7143 §11), one to a file: the figure, the struct, what may stand in it, and how it is written.
//!
//! A [`RawPdu`] comes from the framer; [`Request::decode`] or [`Response::decode`] makes a typed one of it, or a
//! [`PduError`] which knows the Reject it deserves. The way out is [`Pdu::encode_header`]: 48 bytes on the stack, beside
//! the data, which nobody copies.

mod code;
mod error;
mod header;
mod raw;

mod async_message;
mod cdb;
mod data_in;
mod data_out;
mod login_request;
mod login_response;
mod logout_request;
mod logout_response;
mod nop_in;
mod nop_out;
mod r2t;
mod reject;
mod residual;
mod scsi_command;
mod scsi_response;
mod snack;
mod task_management_request;
mod task_management_response;
mod text_request;
mod text_response;

#[cfg(test)]
mod testing;

use bytes::Bytes;

pub use async_message::{AsyncEvent, AsyncMessage};
pub use cdb::{CDB_LENGTH_MAX, Cdb};
pub use data_in::{DataIn, DataInStatus};
pub use data_out::DataOut;
pub use error::{PduError, PduFault};
pub use header::{BHS_LENGTH, Bhs};
pub use login_request::{LoginRequest, LoginStage};
pub use login_response::{LoginResponse, LoginStatus};
pub use logout_request::{LogoutReason, LogoutRequest};
pub use logout_response::{LogoutResponse, LogoutResponseCode};
pub use nop_in::NopIn;
pub use nop_out::NopOut;
pub use r2t::R2t;
pub use raw::RawPdu;
pub use reject::{Reject, RejectReason};
pub use residual::Residual;
pub use scsi_command::{ScsiCommand, TaskAttribute};
pub use scsi_response::{ScsiResponse, ScsiStatus, ServiceResponse};
pub use snack::{Snack, SnackType};
pub use task_management_request::{TaskManagementFunction, TaskManagementRequest};
pub use task_management_response::{TaskManagementResponse, TaskManagementResponseCode};
pub use text_request::TextRequest;
pub use text_response::TextResponse;

use crate::types::{CmdSn, ExpStatSn, InitiatorTaskTag};

code::wire_code! {
    /// RFC 7143 §11.2.1.2.
    pub struct Opcode(u8) {
        NOP_OUT = 0x00,
        SCSI_COMMAND = 0x01,
        TASK_MANAGEMENT_REQUEST = 0x02,
        LOGIN_REQUEST = 0x03,
        TEXT_REQUEST = 0x04,
        DATA_OUT = 0x05,
        LOGOUT_REQUEST = 0x06,
        SNACK = 0x10,
        NOP_IN = 0x20,
        SCSI_RESPONSE = 0x21,
        TASK_MANAGEMENT_RESPONSE = 0x22,
        LOGIN_RESPONSE = 0x23,
        TEXT_RESPONSE = 0x24,
        DATA_IN = 0x25,
        LOGOUT_RESPONSE = 0x26,
        R2T = 0x31,
        ASYNC_MESSAGE = 0x32,
        REJECT = 0x3f,
    }
}

/// What every PDU type can do.
pub trait Pdu: Sized {
    const OPCODE: Opcode;

    /// Reads the header's fields and takes the data segment. The opcode was looked at by the caller.
    fn parse(pdu: &mut RawPdu) -> Result<Self, PduFault>;

    /// The BHS, for a data segment of that many bytes wherever they are kept. No allocation.
    fn encode_header(&self, data_segment_length: u32) -> Bhs;

    /// The AHS with its padding; only a SCSI Command has one.
    fn additional_header(&self) -> Bytes {
        Bytes::new()
    }

    /// The data segment this value holds.
    fn data_segment(&self) -> Bytes {
        Bytes::new()
    }

    /// [`Pdu::parse`], giving the header back with what is wrong in it.
    fn decode(mut pdu: RawPdu) -> Result<Self, PduError> {
        Self::parse(&mut pdu).map_err(|fault| pdu.rejected(fault))
    }

    /// All segments, for those who do not send data from elsewhere.
    fn to_raw(&self) -> RawPdu {
        let data = self.data_segment();
        let length = u32::try_from(data.len()).expect("a data segment is shorter than 2^24");
        RawPdu { bhs: self.encode_header(length), ahs: self.additional_header(), data }
    }
}

macro_rules! pdus {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $opcode:ident,)* } wrong way: $wrong_way:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $name {
            $($variant($variant),)*
        }

        impl $name {
            /// Makes a typed PDU of what the framer found.
            pub fn decode(mut pdu: RawPdu) -> Result<$name, PduError> {
                let parsed = match pdu.opcode() {
                    $(Opcode::$opcode => $variant::parse(&mut pdu).map($name::$variant),)*
                    opcode if ($wrong_way)(opcode) && opcode.name().is_some() => Err(PduFault::WrongDirection),
                    _ => Err(PduFault::UnknownOpcode),
                };
                parsed.map_err(|fault| pdu.rejected(fault))
            }

            pub fn opcode(&self) -> Opcode {
                match self {
                    $($name::$variant(_) => Opcode::$opcode,)*
                }
            }

            pub fn encode_header(&self, data_segment_length: u32) -> Bhs {
                match self {
                    $($name::$variant(pdu) => pdu.encode_header(data_segment_length),)*
                }
            }

            pub fn to_raw(&self) -> RawPdu {
                match self {
                    $($name::$variant(pdu) => pdu.to_raw(),)*
                }
            }
        }

        $(impl From<$variant> for $name {
            fn from(pdu: $variant) -> $name {
                $name::$variant(pdu)
            }
        })*
    };
}

pdus! {
    /// What an initiator sends.
    Request {
        NopOut = NOP_OUT,
        ScsiCommand = SCSI_COMMAND,
        TaskManagementRequest = TASK_MANAGEMENT_REQUEST,
        LoginRequest = LOGIN_REQUEST,
        TextRequest = TEXT_REQUEST,
        DataOut = DATA_OUT,
        LogoutRequest = LOGOUT_REQUEST,
        Snack = SNACK,
    }
    wrong way: |opcode: Opcode| opcode.0 >= TARGET_OPCODES
}

pdus! {
    /// What a target sends.
    Response {
        NopIn = NOP_IN,
        ScsiResponse = SCSI_RESPONSE,
        TaskManagementResponse = TASK_MANAGEMENT_RESPONSE,
        LoginResponse = LOGIN_RESPONSE,
        TextResponse = TEXT_RESPONSE,
        DataIn = DATA_IN,
        LogoutResponse = LOGOUT_RESPONSE,
        R2t = R2T,
        AsyncMessage = ASYNC_MESSAGE,
        Reject = REJECT,
    }
    wrong way: |opcode: Opcode| opcode.0 < TARGET_OPCODES
}

/// The lowest opcode of a target's PDU.
const TARGET_OPCODES: u8 = 0x20;

impl Request {
    pub fn initiator_task_tag(&self) -> InitiatorTaskTag {
        match self {
            Request::NopOut(pdu) => pdu.initiator_task_tag,
            Request::ScsiCommand(pdu) => pdu.initiator_task_tag,
            Request::TaskManagementRequest(pdu) => pdu.initiator_task_tag,
            Request::LoginRequest(pdu) => pdu.initiator_task_tag,
            Request::TextRequest(pdu) => pdu.initiator_task_tag,
            Request::DataOut(pdu) => pdu.initiator_task_tag,
            Request::LogoutRequest(pdu) => pdu.initiator_task_tag,
            Request::Snack(pdu) => pdu.initiator_task_tag,
        }
    }

    /// CmdSN and whether it is for immediate delivery; `None` where the PDU has no CmdSN (Data-Out, SNACK).
    /// "Login Requests are always considered as immediate." (RFC 7143 §11.12)
    pub fn cmd_sn(&self) -> Option<(CmdSn, bool)> {
        match self {
            Request::NopOut(pdu) => Some((pdu.cmd_sn, pdu.immediate)),
            Request::ScsiCommand(pdu) => Some((pdu.cmd_sn, pdu.immediate)),
            Request::TaskManagementRequest(pdu) => Some((pdu.cmd_sn, pdu.immediate)),
            Request::LoginRequest(pdu) => Some((pdu.cmd_sn, true)),
            Request::TextRequest(pdu) => Some((pdu.cmd_sn, pdu.immediate)),
            Request::LogoutRequest(pdu) => Some((pdu.cmd_sn, pdu.immediate)),
            Request::DataOut(_) | Request::Snack(_) => None,
        }
    }

    pub fn exp_stat_sn(&self) -> ExpStatSn {
        match self {
            Request::NopOut(pdu) => pdu.exp_stat_sn,
            Request::ScsiCommand(pdu) => pdu.exp_stat_sn,
            Request::TaskManagementRequest(pdu) => pdu.exp_stat_sn,
            Request::LoginRequest(pdu) => pdu.exp_stat_sn,
            Request::TextRequest(pdu) => pdu.exp_stat_sn,
            Request::DataOut(pdu) => pdu.exp_stat_sn,
            Request::LogoutRequest(pdu) => pdu.exp_stat_sn,
            Request::Snack(pdu) => pdu.exp_stat_sn,
        }
    }
}
