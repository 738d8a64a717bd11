//! Commands that are answered at once: what the logical unit says of itself, and what it notes.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::attention::Attention;
use super::command::CommandComplete;
use super::inventory::LunInventory;
use super::media::Outcome;
use super::reservations::Refusal;
use super::state::ItlCore;
use super::unit::LogicalUnit;
use crate::block::Payload;
use crate::scsi::capacity::ReadCapacity;
use crate::scsi::defect::read_defect_data;
use crate::scsi::opcodes;
use crate::scsi::report_luns::report_luns;
use crate::scsi::request::Request;
use crate::scsi::sense::Sense;
use crate::scsi::status::Status;

impl LogicalUnit {
    pub(super) fn answer(&self, core: &ItlCore, request: Request, inventory: &LunInventory) -> CommandComplete {
        self.statistics.others.add(1);
        match request {
            Request::Reserve { .. } | Request::Release { .. } => self.reserve(core, request),
            request => self.complete(self.told(core, request, inventory)),
        }
    }

    fn told(&self, core: &ItlCore, request: Request, inventory: &LunInventory) -> Outcome {
        let cut = |data: Vec<u8>, allocation_length: u32| Ok(cut(data, allocation_length));
        match request {
            Request::RequestSense { descriptor_format, allocation_length } => {
                cut(self.current_sense(core).encode(descriptor_format), allocation_length)
            }
            Request::Inquiry { page_code, allocation_length } => cut(self.inquiry(core, page_code)?, allocation_length),
            Request::ReportLuns { select_report, allocation_length } => {
                let data = inventory.report(select_report)?;
                if let Some(member) = self.state.lock().member(core) {
                    member.clear_attention(Attention::ReportedLunsChanged);
                }
                cut(data, allocation_length)
            }
            Request::PersistentReserveIn { action, allocation_length } => {
                let data = self.state.lock().reservations.persistent_reserve_in(action, allocation_length);
                Ok(Bytes::from(data).into())
            }
            Request::ReceiveCopyResults { action, allocation_length } => {
                Ok(Bytes::from(self.copies.receive(&core.nexus, action, allocation_length)?).into())
            }
            Request::ReportSupportedOpcodes { options, timeouts, allocation_length } => {
                let long_cdbs = self.options.long_cdbs;
                cut(opcodes::report_supported_operation_codes(options, timeouts, long_cdbs)?, allocation_length)
            }
            Request::ReportSupportedTaskManagement { extended, allocation_length } => {
                cut(opcodes::report_supported_task_management_functions(extended), allocation_length)
            }
            Request::PreventAllowMediumRemoval { prevent } => {
                if let Some(member) = self.state.lock().member(core) {
                    member.prevents_removal = prevent;
                }
                Ok(Payload::default())
            }
            Request::ReadCapacity10 => cut(self.capacity().encode_10().into(), u32::MAX),
            Request::ReadCapacity16 { allocation_length } => cut(self.capacity().encode_16().into(), allocation_length),
            Request::ReadDefectData { long, primary_list, grown_list, format, allocation_length } => {
                cut(read_defect_data(long, primary_list, grown_list, format), allocation_length)
            }
            request => self.page(core, request),
        }
    }

    fn reserve(&self, core: &ItlCore, request: Request) -> CommandComplete {
        let mut state = self.state.lock();
        let name = &core.nexus.name;
        let done = match request {
            Request::Reserve { .. } => state.reservations.reserve(name),
            _ => state.reservations.release(name),
        };
        self.settle(&state);
        drop(state);
        self.refusal(done.map(|()| Payload::default()))
    }

    /// The status of what reservations may refuse.
    pub(super) fn refusal(&self, done: Result<Payload, Refusal>) -> CommandComplete {
        match done {
            Ok(data) => CommandComplete::data(data),
            Err(Refusal::Sense(sense)) => self.refuse(sense),
            Err(Refusal::ReservationConflict) => {
                self.statistics.conflicts.add(1);
                CommandComplete::with_status(Status::ReservationConflict)
            }
        }
    }

    /// SPC-5 §6.39: a pending unit attention, told and gone; else why the logical unit is not ready; else nothing.
    fn current_sense(&self, core: &ItlCore) -> Sense {
        let mut state = self.state.lock();
        if core.attention.load(Ordering::Acquire)
            && let Some(attention) = state.member(core).and_then(|member| member.take_attention())
        {
            return attention.sense();
        }
        state.readiness().err().unwrap_or(Sense::no_sense())
    }

    fn capacity(&self) -> ReadCapacity {
        ReadCapacity {
            blocks: self.device.capacity().0,
            block_length: self.device.block_length().bytes(),
            physical_block_exponent: self.options.physical_block_exponent,
            lowest_aligned: self.options.lowest_aligned,
            thin: self.options.thin,
        }
    }
}

/// What is sent of parameter data.
pub(super) fn cut(mut data: Vec<u8>, allocation_length: u32) -> Payload {
    data.truncate(allocation_length as usize);
    Bytes::from(data).into()
}

impl LunInventory {
    pub(super) fn report(&self, select_report: u8) -> Result<Vec<u8>, Sense> {
        let luns: Vec<u64> = self.entries.iter().map(|(lun, _)| *lun).collect();
        report_luns(select_report, &luns)
    }
}
