//! What ends a run before its time.

use std::io;
use std::time::Duration;

use iscsi_proto::pdu::{AsyncEvent, Opcode, RejectReason};
use lunmirror::api::Failure;

#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error("the target closed the connection")]
    Closed,
    #[error("the connection is lost: {0}")]
    Io(io::Error),
    #[error("nothing came from the target for {} s, with {outstanding} commands under way", STALL.as_secs())]
    Stalled { outstanding: usize },
    #[error("a PDU's header digest does not match")]
    HeaderDigest,
    #[error("a PDU's data digest does not match")]
    DataDigest,
    #[error("a PDU with {length} bytes of data, where {limit} were agreed to be the most")]
    TooLong { length: usize, limit: usize },
    #[error("the target rejects a PDU: {0}")]
    Rejected(RejectReason),
    #[error("the target says {0}")]
    Async(AsyncEvent),
    #[error("the target breaks the protocol: {0}")]
    Broken(&'static str),
    #[error("the target breaks the protocol: {0} is no answer")]
    Unexpected(Opcode),
}

impl Trouble {
    pub fn failure(&self) -> Failure {
        let remedy = match self {
            Trouble::Closed | Trouble::Io(_) | Trouble::Async(_) => "does the target still run? its log says why",
            Trouble::Stalled { .. } => {
                "does the target, or what it writes to, hang? see its log, or lunmirrorctl status"
            }
            Trouble::HeaderDigest | Trouble::DataDigest => {
                "something between here and the target's memory spoils data: a cable, a network card, a switch"
            }
            Trouble::TooLong { .. } | Trouble::Rejected(_) | Trouble::Broken(_) | Trouble::Unexpected(_) => {
                "is it an iSCSI target of RFC 7143? if it is lunmirror, report it with its log"
            }
        };
        Failure::new(self.to_string(), remedy)
    }
}

/// A target that says nothing for so long while it owes answers is not waited for.
pub const STALL: Duration = Duration::from_secs(10);
