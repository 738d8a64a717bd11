//! A PDU that cannot be taken, and the Reject that says so.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use super::header::{BHS_LENGTH, Bhs, OPCODE};
use super::{Opcode, Reject, RejectReason, raw};
use crate::types::{CmdSn, DataSn, StatSn};

/// What is wrong with a PDU, with its header: "The target returns the header (not including the digest) of the PDU in
/// error as the data of the response." (RFC 7143 §11.17.4)
#[derive(Clone, PartialEq, Eq)]
pub struct PduError {
    pub bhs: Bhs,
    pub ahs: Bytes,
    pub fault: PduFault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PduFault {
    #[error("data digest does not match")]
    DataDigest,
    #[error("opcode is not one of RFC 7143")]
    UnknownOpcode,
    #[error("opcode belongs to the other side")]
    WrongDirection,
    #[error("header ends before its last field")]
    Truncated,
    #[error("data segment on a PDU that has none")]
    UnexpectedDataSegment,
    #[error("additional header segment on a PDU that has none")]
    UnexpectedAdditionalHeader,
    #[error("additional header segment is shorter than its length, or doubled, or of a wrong length")]
    MalformedAdditionalHeader,
    #[error("additional header segment type {0:#04x} is reserved")]
    UnknownAdditionalHeader(u8),
    #[error("task attribute {0} is reserved")]
    ReservedTaskAttribute(u8),
    #[error("neither W nor F is set")]
    NeitherWriteNorFinal,
    #[error("Initiator Task Tag is the reserved value")]
    ReservedInitiatorTaskTag,
    #[error("Target Transfer Tag is the reserved value")]
    ReservedTargetTransferTag,
    #[error("a NOP-Out that asks for no answer must be immediate")]
    UnansweredNopNotImmediate,
    #[error("C and F are both set")]
    ContinueWithFinal,
    #[error("residual overflow and underflow are both set")]
    OverflowAndUnderflow,
    #[error("S is set without F")]
    StatusWithoutFinal,
    #[error("sense data is shorter than its SenseLength")]
    SenseLength,
}

impl PduFault {
    /// RFC 7143 §11.17.1. Invalid values of fields "that are meant to describe a task, a response, or a data transfer" are
    /// 0x09; "Receipt of reserved code values in defined fields MUST be reported as a protocol error" (§11), 0x04.
    pub const fn reason(self) -> RejectReason {
        match self {
            PduFault::DataDigest => RejectReason::DATA_DIGEST_ERROR,
            PduFault::UnknownOpcode => RejectReason::COMMAND_NOT_SUPPORTED,
            PduFault::WrongDirection
            | PduFault::UnknownAdditionalHeader(_)
            | PduFault::ReservedTaskAttribute(_)
            | PduFault::ContinueWithFinal => RejectReason::PROTOCOL_ERROR,
            PduFault::Truncated
            | PduFault::UnexpectedDataSegment
            | PduFault::UnexpectedAdditionalHeader
            | PduFault::MalformedAdditionalHeader
            | PduFault::NeitherWriteNorFinal
            | PduFault::ReservedInitiatorTaskTag
            | PduFault::ReservedTargetTransferTag
            | PduFault::UnansweredNopNotImmediate
            | PduFault::OverflowAndUnderflow
            | PduFault::StatusWithoutFinal
            | PduFault::SenseLength => RejectReason::INVALID_PDU_FIELD,
        }
    }
}

/// A BHS has a fixed length, so a parser can only run out of it by our own mistake in a PDU file.
impl From<nom::Err<()>> for PduFault {
    fn from(_: nom::Err<()>) -> PduFault {
        PduFault::Truncated
    }
}

impl PduError {
    pub fn opcode(&self) -> Opcode {
        Opcode(self.bhs[0] & OPCODE)
    }

    /// The CmdSN the refused request carried, unless it was immediate or has none.
    pub fn numbered_cmd_sn(&self) -> Option<CmdSn> {
        raw::numbered_cmd_sn(&self.bhs)
    }

    /// The Reject for this PDU.
    pub fn reject(&self, stat_sn: StatSn, exp_cmd_sn: CmdSn, max_cmd_sn: CmdSn) -> Reject {
        let mut header = BytesMut::with_capacity(BHS_LENGTH + self.ahs.len());
        header.put_slice(&self.bhs);
        header.put_slice(&self.ahs);
        let reason = self.fault.reason();
        Reject { reason, stat_sn, exp_cmd_sn, max_cmd_sn, data_sn: DataSn(0), data: header.freeze() }
    }
}

impl fmt::Display for PduError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.opcode(), self.fault)
    }
}

impl fmt::Debug for PduError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PduError({self}, {:02x?})", self.bhs)
    }
}

impl std::error::Error for PduError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::{Pdu, RawPdu, Request};

    #[test]
    fn reject_carries_the_header_that_was_refused() {
        let mut bhs = [0x11; BHS_LENGTH];
        bhs[0] = 0x1f;
        let raw = RawPdu { bhs, ahs: Bytes::from_static(b"ahs!"), data: Bytes::from_static(b"data") };
        let error = Request::decode(raw).expect_err("opcode 1fh is unassigned");
        assert_eq!(error.fault, PduFault::UnknownOpcode);
        let reject = error.reject(StatSn(3), CmdSn(4), CmdSn(5));
        assert_eq!(reject.reason, RejectReason::COMMAND_NOT_SUPPORTED);
        assert_eq!(&reject.data[..BHS_LENGTH], &bhs);
        assert_eq!(&reject.data[BHS_LENGTH..], b"ahs!");
        assert_eq!(reject.encode_header(52)[..8], [0x3f, 0x80, 0x05, 0, 0, 0, 0, 52]);
    }

    #[test]
    fn target_opcodes_are_not_unknown_but_wrong() {
        let mut bhs = [0; BHS_LENGTH];
        bhs[0] = Opcode::DATA_IN.0;
        let raw = RawPdu { bhs, ahs: Bytes::new(), data: Bytes::new() };
        let error = Request::decode(raw).expect_err("Data-In is the target's");
        assert_eq!(error.fault.reason(), RejectReason::PROTOCOL_ERROR);
    }
}
