//! Commands that are answered at once: what the logical unit says of itself, and what it notes.

use std::sync::Arc;
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
use crate::scsi::opcodes;
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
                cut(opcodes::report_supported_operation_codes(options, timeouts)?, allocation_length)
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
            Request::ReadCapacity10 => cut(self.read_capacity_10(), u32::MAX),
            Request::ReadCapacity16 { allocation_length } => cut(self.read_capacity_16(), allocation_length),
            Request::ReadDefectData { long, primary_list, grown_list, format, allocation_length } => {
                cut(no_defects(long, primary_list, grown_list, format), allocation_length)
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

    /// SBC-4 §5.18: a capacity too large for the field is all ones, and READ CAPACITY (16) tells it.
    fn read_capacity_10(&self) -> Vec<u8> {
        let last = u32::try_from(self.device.capacity().0.saturating_sub(1)).unwrap_or(u32::MAX);
        [last.to_be_bytes(), self.device.block_length().bytes().to_be_bytes()].concat()
    }

    /// SBC-4 §5.19.2.
    fn read_capacity_16(&self) -> Vec<u8> {
        const LBPME_LBPRZ: u8 = 0xC0;
        let mut data = vec![0; 32];
        data[..8].copy_from_slice(&self.device.capacity().0.saturating_sub(1).to_be_bytes());
        data[8..12].copy_from_slice(&self.device.block_length().bytes().to_be_bytes());
        data[13] = self.options.physical_block_exponent & 0x0F;
        let [high, low] = (self.options.lowest_aligned & 0x3FFF).to_be_bytes();
        data[14] = high | if self.options.thin { LBPME_LBPRZ } else { 0 };
        data[15] = low;
        data
    }
}

/// What is sent of parameter data.
pub(super) fn cut(mut data: Vec<u8>, allocation_length: u32) -> Payload {
    data.truncate(allocation_length as usize);
    Bytes::from(data).into()
}

/// SBC-4 §5.20, §5.21: the lists asked for, in the format asked for, without an entry.
fn no_defects(long: bool, primary_list: bool, grown_list: bool, format: u8) -> Vec<u8> {
    let flags = u8::from(primary_list) << 4 | u8::from(grown_list) << 3 | format;
    let mut data = vec![0; if long { 8 } else { 4 }];
    data[1] = flags;
    data
}

impl LunInventory {
    /// SPC-5 §6.33. There are no well known logical units, and no administrative or subsidiary ones.
    pub(super) fn report(&self, select_report: u8) -> Result<Vec<u8>, Sense> {
        let luns: &[(u64, Arc<LogicalUnit>)] = match select_report {
            ADDRESSING_METHODS | ALL => &self.entries,
            WELL_KNOWN | ADMINISTRATIVE_WELL_KNOWN => &[],
            SUBSIDIARY => &[],
            _ => return Err(Sense::invalid_field_in_cdb(2, None)),
        };
        let length = (luns.len() * 8) as u32;
        let mut data = [length.to_be_bytes(), [0; 4]].concat();
        for (lun, _) in luns {
            data.extend(lun.to_be_bytes());
        }
        Ok(data)
    }
}

const ADDRESSING_METHODS: u8 = 0x00;
const WELL_KNOWN: u8 = 0x01;
const ALL: u8 = 0x02;
const ADMINISTRATIVE_WELL_KNOWN: u8 = 0x10;
const SUBSIDIARY: u8 = 0x12;
