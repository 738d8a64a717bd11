//! A PDU whose segments are told apart and whose digests are checked, but whose fields are not read yet.

use bytes::Bytes;

use super::header::{Bhs, IMMEDIATE, OPCODE};
use super::{Opcode, PduError, PduFault};
use crate::types::{CmdSn, InitiatorTaskTag};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawPdu {
    pub bhs: Bhs,
    /// All additional header segments with their padding.
    pub ahs: Bytes,
    /// The data segment without padding, split off the receive buffer.
    pub data: Bytes,
}

impl RawPdu {
    pub fn opcode(&self) -> Opcode {
        Opcode(self.bhs[0] & OPCODE)
    }

    pub fn immediate(&self) -> bool {
        self.bhs[0] & IMMEDIATE != 0
    }

    pub fn initiator_task_tag(&self) -> InitiatorTaskTag {
        InitiatorTaskTag(word_at(&self.bhs, 16))
    }

    /// The CmdSN that this request uses up; `None` for PDUs that have none and for immediate ones.
    pub fn numbered_cmd_sn(&self) -> Option<CmdSn> {
        numbered_cmd_sn(&self.bhs)
    }

    /// "The TotalAHSLength is only used in PDUs that have an AHS and MUST be 0 in all other PDUs." (RFC 7143 §11.2.1.5)
    pub(super) fn refuse_ahs(&self) -> Result<(), PduFault> {
        if self.ahs.is_empty() { Ok(()) } else { Err(PduFault::UnexpectedAdditionalHeader) }
    }

    /// "For this PDU, TotalAHSLength and DataSegmentLength MUST be 0." (RFC 7143 §11.5.2 and alike)
    pub(super) fn refuse_segments(&self) -> Result<(), PduFault> {
        self.refuse_ahs()?;
        if self.data.is_empty() { Ok(()) } else { Err(PduFault::UnexpectedDataSegment) }
    }

    /// The data segment of a PDU that has no AHS.
    pub(super) fn take_data(&mut self) -> Result<Bytes, PduFault> {
        self.refuse_ahs()?;
        Ok(std::mem::take(&mut self.data))
    }

    /// The header, to be sent back in a Reject.
    pub fn rejected(self, fault: PduFault) -> PduError {
        PduError { bhs: self.bhs, ahs: self.ahs, fault }
    }
}

pub(super) fn numbered_cmd_sn(bhs: &Bhs) -> Option<CmdSn> {
    let numbered = [
        Opcode::NOP_OUT,
        Opcode::SCSI_COMMAND,
        Opcode::TASK_MANAGEMENT_REQUEST,
        Opcode::TEXT_REQUEST,
        Opcode::LOGOUT_REQUEST,
    ];
    let takes_number = bhs[0] & IMMEDIATE == 0 && numbered.contains(&Opcode(bhs[0] & OPCODE));
    takes_number.then(|| CmdSn(word_at(bhs, 24)))
}

/// A word of a header whose length is in its type: `offset` is ours, and below 45.
pub(crate) fn word_at(bhs: &Bhs, offset: usize) -> u32 {
    u32::from_be_bytes([bhs[offset], bhs[offset + 1], bhs[offset + 2], bhs[offset + 3]])
}
