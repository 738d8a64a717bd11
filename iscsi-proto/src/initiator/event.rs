//! What an initiator tells its driver.

use bytes::Bytes;

use super::{LoginFailure, Outcome, Parameters, TEXT_BYTES_MAX};
use crate::pdu::{AsyncMessage, LogoutResponse, NopIn, PduError, R2t, Reject, TaskManagementResponse};
use crate::types::{DataSn, InitiatorTaskTag, R2tSn, StatSn};

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    LoggedIn(Parameters),
    LoginFailed(LoginFailure),
    Complete {
        tag: InitiatorTaskTag,
        outcome: Outcome,
    },
    TaskManagement(TaskManagementResponse),
    /// The echo of a NOP-Out, or the target's own NOP-In: its Target Transfer Tag tells whether that asks for an answer.
    Nop(NopIn),
    /// Only if [`Options::answer_r2t`] is off.
    R2t(R2t),
    /// All of an answer's text.
    Text {
        tag: InitiatorTaskTag,
        text: Bytes,
    },
    LoggedOut(LogoutResponse),
    Async(AsyncMessage),
    Reject(Reject),
    Violation(Violation),
}

/// A rule the target broke. The session goes on: the one who watches decides.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("expected StatSN {expected}, got {got}")]
    StatSn { expected: StatSn, got: StatSn },
    #[error("expected DataSN {expected}, got {got}")]
    DataSn { expected: DataSn, got: DataSn },
    #[error("expected R2TSN {expected}, got {got}")]
    R2tSn { expected: R2tSn, got: R2tSn },
    #[error("Data-In of {length} bytes at {offset} is out of place")]
    DataInRange { offset: u32, length: u32 },
    #[error("R2T for {length} bytes at {offset}")]
    R2tRange { offset: u32, length: u32 },
    #[error("{expected} Data-In PDUs came, ExpDataSN is {got}")]
    ExpDataSn { expected: DataSn, got: DataSn },
    /// "SCSI Response PDU with Status=CHECK CONDITION, but DataSegmentLength = 0" is a format error (RFC 7143 §7.7).
    #[error("CHECK CONDITION without sense data")]
    NoSense,
    #[error("no task {0}")]
    UnknownTask(InitiatorTaskTag),
    #[error("{0}")]
    Pdu(PduError),
    #[error("a PDU of the full feature phase during login, or the other way round")]
    Phase,
    #[error("more than {TEXT_BYTES_MAX} bytes of text")]
    TextTooLong,
}
