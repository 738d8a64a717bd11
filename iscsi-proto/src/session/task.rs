//! What the session tells its shell, what the shell answers, and the record of one task between the two.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use bytes::Bytes;

use crate::pdu::{LogoutRequest, ScsiCommand, TaskManagementRequest, TextRequest};
use crate::session::transfer::{Inbound, Pieces, TransferFault};
use crate::types::{InitiatorTaskTag, Lun};

/// What happened, in the order in which the shell must act on it.
#[derive(Debug)]
pub enum Event {
    /// A command whose turn has come. The shell answers with `solicit` (data is wanted) or `respond`.
    Command(CommandArrived),
    /// All the data that was solicited.
    Data {
        task: InitiatorTaskTag,
        data: Pieces,
    },
    /// The data will never be whole: the shell ends the command with the sense that fits and calls `respond`.
    DataFault {
        task: InitiatorTaskTag,
        fault: TransferFault,
    },
    TaskManagement(TaskManagementRequest),
    Text(TextRequest),
    Logout(LogoutRequest),
}

impl Event {
    /// The command it is about.
    pub fn task(&self) -> Option<InitiatorTaskTag> {
        match self {
            Event::Command(CommandArrived { task, .. }) | Event::Data { task, .. } | Event::DataFault { task, .. } => {
                Some(*task)
            }
            Event::TaskManagement(_) | Event::Text(_) | Event::Logout(_) => None,
        }
    }
}

/// A SCSI command in CmdSN order.
#[derive(Debug)]
pub struct CommandArrived {
    pub task: InitiatorTaskTag,
    pub request: ScsiCommand,
}

/// How a command ended, in the transport's terms.
#[derive(Debug, Default)]
pub struct Answer {
    /// SAM-5 status code.
    pub status: u8,
    /// Sense data as the device server encoded it; empty for none.
    pub sense: Bytes,
    /// Data-In; cut here to the initiator's buffer.
    pub data_in: Bytes,
    /// Bytes that the command as such moves, from which the residual counts (RFC 7143 §11.4.5.2).
    pub transfer_length: u64,
}

/// A command between its arrival and its response.
#[derive(Debug)]
pub(super) struct Task {
    pub lun: Lun,
    pub read: bool,
    pub write: bool,
    pub expected_data_transfer_length: u32,
    pub immediate: bool,
    /// Its share of the connection's solicited bytes.
    pub solicited_bytes: u64,
    pub phase: Phase,
}

/// ```text
///     ┌────────────solicit, all is here─────────────┐
///  Arrived ──solicit──► Collecting ──all here──► Executing ──respond──► gone
///     └──────respond──────┴──► Ending (sequences are still open) ──last F bit──► gone
/// ```
#[derive(Debug)]
pub(super) enum Phase {
    /// The shell has not said yet what it wants; data may come already.
    Arrived(Inbound),
    Collecting(Inbound),
    Executing,
    /// The answer is known and waits for the initiator to finish sending.
    Ending(Inbound, Answer),
}

impl Phase {
    pub fn inbound(&mut self) -> Option<&mut Inbound> {
        match self {
            Phase::Arrived(inbound) | Phase::Collecting(inbound) | Phase::Ending(inbound, _) => Some(inbound),
            Phase::Executing => None,
        }
    }
}

/// ITTs are the initiator's to choose; they only slow down its own session, so a cheap hash does.
#[derive(Default)]
pub(super) struct TagHasher(u64);

impl std::hash::Hasher for TagHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }
    fn write_u32(&mut self, value: u32) {
        self.0 = (self.0 ^ u64::from(value)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(26);
    }
}

pub(super) type TaskTable = HashMap<InitiatorTaskTag, Task, BuildHasherDefault<TagHasher>>;
