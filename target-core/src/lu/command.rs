//! What goes into a device server and what comes out.

use crate::block::Payload;
use crate::scsi::sense::Sense;
use crate::scsi::status::Status;

/// How a command ended. SAM-5's "Service Response: COMMAND COMPLETE" with its Status, Data-In and Sense Data.
#[derive(Debug)]
pub struct CommandComplete {
    pub status: Status,
    /// Present exactly when `status` is CHECK CONDITION. `descriptor_sense` says how to encode it.
    pub sense: Option<Sense>,
    /// D_SENSE of the Control mode page at completion.
    pub descriptor_sense: bool,
    /// What the device server sends; the transport cuts it to the initiator's buffer and counts the residual.
    pub data_in: Payload,
}

impl CommandComplete {
    pub fn good() -> CommandComplete {
        CommandComplete::with_status(Status::Good)
    }

    pub fn with_status(status: Status) -> CommandComplete {
        CommandComplete { status, sense: None, descriptor_sense: false, data_in: Payload::default() }
    }

    pub fn data(data_in: impl Into<Payload>) -> CommandComplete {
        CommandComplete { data_in: data_in.into(), ..CommandComplete::good() }
    }

    pub fn check_condition(sense: Sense) -> CommandComplete {
        CommandComplete { sense: Some(sense), ..CommandComplete::with_status(Status::CheckCondition) }
    }
}
