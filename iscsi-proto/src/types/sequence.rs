//! Sequence numbers (RFC 7143 §4.2.2).

use crate::serial::serial_number;

serial_number! {
    /// Numbers commands in a session. ExpCmdSN and MaxCmdSN are of this kind too.
    CmdSn
}
serial_number! {
    /// Numbers responses on a connection.
    StatSn
}
serial_number! {
    /// Numbers Data-In PDUs of a command, or Data-Out PDUs of one output sequence.
    DataSn
}
serial_number! {
    /// Numbers R2T PDUs of a command.
    R2tSn
}

/// The StatSN an initiator waits for: it acknowledges every one before.
pub use StatSn as ExpStatSn;
