//! One I_T_L nexus: the door to a logical unit.

use std::sync::Arc;

use bytes::BytesMut;

use super::command::CommandComplete;
use super::inventory::LunInventory;
use super::state::ItlCore;
use super::unit::LogicalUnit;
use crate::block::{Eventually, Payload};
use crate::scsi::sense::{Asc, Sense, SenseKey};

/// An initiator port, a target port and a logical unit. Its drop is the loss of the nexus (SAM-5 §6.3.4).
pub struct ItlNexus {
    unit: Arc<LogicalUnit>,
    core: Arc<ItlCore>,
}

/// What became of a CDB.
pub enum Admission {
    /// Answered: there is nothing to transfer or to wait for, or it was refused.
    Complete(CommandComplete),
    /// Checked in full. Collect `data_out_length` bytes, then execute.
    Ready(Prepared),
}

/// A command that may run: its fields, the nexus's rights and the addresses are checked.
pub struct Prepared {
    _unit: Arc<LogicalUnit>,
}

/// Which function reset it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    LogicalUnit,
    /// TARGET WARM RESET or TARGET COLD RESET.
    Target,
}

impl ItlNexus {
    pub(super) fn new(unit: Arc<LogicalUnit>, core: Arc<ItlCore>) -> ItlNexus {
        ItlNexus { unit, core }
    }

    pub fn unit(&self) -> &Arc<LogicalUnit> {
        &self.unit
    }

    /// Check a command as it becomes enabled. `expected_data_out` is what the initiator said it will send, in bytes
    /// (Expected Data Transfer Length where W is set, else 0): some commands refuse any other length than theirs.
    pub fn prepare(&self, cdb: &[u8], expected_data_out: u64, inventory: &Arc<LunInventory>) -> Admission {
        let _ = (cdb, expected_data_out, inventory, &self.core);
        let asc = Asc { code: 0x20, qualifier: 0 };
        let sense = Sense { key: SenseKey::IllegalRequest, asc, information: None, specific: None };
        Admission::Complete(CommandComplete::check_condition(sense))
    }

    /// LOGICAL UNIT RESET, and this logical unit's part in a target reset. The caller has aborted its own nexus's tasks;
    /// those of the others are gone when this is done.
    pub fn reset(&self, reset: Reset) -> impl Future<Output = ()> + Send + 'static {
        let _ = reset;
        std::future::ready(())
    }

    /// I_T NEXUS RESET: as if the nexus had been lost and made anew. The caller aborts its own tasks.
    pub fn nexus_reset(&self) {}

    /// QUERY ASYNCHRONOUS EVENT: the additional response information where a unit attention is pending.
    pub fn query_async_event(&self) -> Option<[u8; 3]> {
        None
    }

    /// This nexus's LUN map changed (REPORTED LUNS DATA HAS CHANGED).
    pub fn luns_changed(&self) {}
}

impl Prepared {
    /// Bytes the command takes, whatever the initiator said it will send. Residual counts are against this.
    pub fn data_out_length(&self) -> u64 {
        0
    }

    /// Bytes the command may return at most: room to reserve in the buffer.
    pub fn data_in_length(&self) -> u64 {
        0
    }

    /// Run it. `data_out` is what arrived, at most `data_out_length` bytes. READ appends to `buffer` and gives it back as
    /// the Data-In. Dropping the answer while it is pending abandons the command; blocks are then old or new, never mixed.
    pub fn execute(self, data_out: Payload, buffer: BytesMut) -> Eventually<CommandComplete> {
        let _ = (data_out, buffer);
        Eventually::Now(CommandComplete::good())
    }
}
