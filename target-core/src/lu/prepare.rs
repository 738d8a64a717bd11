//! From a CDB to a command that may run: everything that can be refused before data moves is refused here.
//!
//! The order of the checks: unit attention, CDB, asymmetric access, reservation, readiness, write protection, fields that
//! depend on the logical unit (SAM-5 §5.3.1 has conflict below attention; SPC-5 §5.18.2 refuses by state before all else).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use mirror_link::replica::io::Standing;

use super::command::CommandComplete;
use super::inventory::LunInventory;
use super::itl::ItlNexus;
use super::pages;
use super::prepared::{Prepared, Work};
use super::state::ItlCore;
use super::unit::LogicalUnit;
use crate::block::{BlockCount, Extent, Lba};
use crate::scsi::access::ReservationAccess;
use crate::scsi::opcodes::{self, AsymmetricAccess, Operation};
use crate::scsi::request::{ByteCheck, LbaRange, Request, SanitizeAction, WriteSame};
use crate::scsi::sense::Sense;
use crate::scsi::status::Status;

/// What became of a CDB.
pub enum Admission {
    /// Answered: there is nothing to transfer or to wait for, or it was refused.
    Complete(CommandComplete),
    /// Checked in full. Collect `data_out_length` bytes, then execute.
    Ready(Prepared),
}

/// Why not.
enum Refusal {
    Sense(Sense),
    ReservationConflict,
}

impl From<Sense> for Refusal {
    fn from(sense: Sense) -> Refusal {
        Refusal::Sense(sense)
    }
}

/// What a request is going to be.
enum Step {
    Done(CommandComplete),
    Run { work: Work, data_out: u64, data_in: u64 },
}

impl ItlNexus {
    /// Check a command as it becomes enabled. `expected_data_out` is what the initiator said it will send, in bytes
    /// (Expected Data Transfer Length where W is set, else 0): some commands refuse any other length than theirs.
    pub fn prepare(&self, cdb: &[u8], expected_data_out: u64, inventory: &Arc<LunInventory>) -> Admission {
        match self.step(cdb, expected_data_out, inventory) {
            Ok(Step::Run { work, data_out, data_in }) => Admission::Ready(Prepared {
                unit: self.unit.clone(),
                core: self.core.clone(),
                work,
                data_out,
                data_in,
                expected_data_out,
            }),
            Ok(Step::Done(complete)) => Admission::Complete(complete),
            Err(Refusal::Sense(sense)) => Admission::Complete(self.unit.refuse(sense)),
            Err(Refusal::ReservationConflict) => {
                self.unit.statistics.conflicts.add(1);
                Admission::Complete(CommandComplete::with_status(Status::ReservationConflict))
            }
        }
    }

    fn step(&self, cdb: &[u8], expected_data_out: u64, inventory: &Arc<LunInventory>) -> Result<Step, Refusal> {
        let (unit, core) = (&self.unit, &*self.core);
        if core.attention.load(Ordering::Acquire) && !runs_before_attention(cdb) {
            let taken = unit.state.lock().member(core).and_then(|member| member.take_attention());
            if let Some(attention) = taken {
                return Err(attention.sense().into());
            }
        }
        let (operation, request) = opcodes::parse(cdb)?;
        if operation.is_long() && !unit.options.long_cdbs {
            return Err(Sense::invalid_opcode().into());
        }
        if unit.is_exceptional(u32::MAX) {
            unit.permit(core, operation, &request)?;
        }
        Ok(unit.step(core, request, expected_data_out, inventory)?)
    }
}

/// SAM-5 §5.14.6: these report or clear unit attentions in their own way.
fn runs_before_attention(cdb: &[u8]) -> bool {
    const REQUEST_SENSE: u8 = 0x03;
    const INQUIRY: u8 = 0x12;
    const REPORT_LUNS: u8 = 0xA0;
    matches!(cdb.first(), Some(&REQUEST_SENSE | &INQUIRY | &REPORT_LUNS))
}

impl LogicalUnit {
    /// The checks that hold nothing back as long as nothing exceptional goes on.
    fn permit(&self, core: &ItlCore, operation: &Operation, request: &Request) -> Result<(), Refusal> {
        let state = self.state.lock();
        // What a command changes in a unit that this node does not serve would be lost when the peer next tells its own.
        let needed = match request.changes_unit() && state.port_groups.standing() != Standing::Active {
            true => AsymmetricAccess::Active,
            false => operation.asymmetric_access,
        };
        state.port_groups.permit(&state.target_ports, core.nexus.name.target_port, needed)?;
        if !state.reservations.allows(&core.nexus.name, ReservationAccess::of(request)) {
            return Err(Refusal::ReservationConflict);
        }
        match request {
            Request::Sanitize { action, unrestricted_exit, .. } => {
                state.condition.accepts(*action, *unrestricted_exit)?
            }
            _ if operation.during_sanitize => {}
            _ => state.condition.readiness()?,
        }
        if operation.needs_medium() && state.ejected {
            return Err(Sense::medium_not_present().into());
        }
        // Leaving failure mode writes nothing.
        let exit = matches!(request, Request::Sanitize { action: SanitizeAction::ExitFailureMode, .. });
        if operation.writes_medium() && !exit {
            match self.is_read_only() {
                true => return Err(Sense::write_protected().into()),
                false if state.pages.software_write_protect() => return Err(Sense::software_write_protected().into()),
                false => {}
            }
        }
        Ok(())
    }

    fn step(
        self: &Arc<LogicalUnit>,
        core: &ItlCore,
        request: Request,
        expected_data_out: u64,
        inventory: &Arc<LunInventory>,
    ) -> Result<Step, Sense> {
        let block = u64::from(self.device.block_length().bytes());
        let run = |work, data_out, data_in| Ok(Step::Run { work, data_out, data_in });
        match request {
            Request::Read { range, .. } => {
                let extent = self.transfer(range)?;
                run(Work::Read(extent), 0, extent.blocks().0 * block)
            }
            Request::Write { range, fua } => {
                let extent = self.transfer(range)?;
                run(Work::Write(extent, self.durability(fua)), extent.blocks().0 * block, 0)
            }
            Request::WriteAndVerify { range, check } => {
                let extent = self.transfer(range)?;
                run(Work::WriteAndVerify(extent, check), extent.blocks().0 * block, 0)
            }
            Request::WriteAtomic { range, fua, boundary } => {
                // The range first: a misfit of both is told as the range's.
                let extent = self.extent(range)?;
                self.limits.check_atomic(range, boundary)?;
                run(Work::WriteAtomic(extent, self.durability(fua)), extent.blocks().0 * block, 0)
            }
            Request::OrWrite { range, fua } => {
                let extent = self.transfer(range)?;
                run(Work::OrWrite(extent, self.durability(fua)), extent.blocks().0 * block, 0)
            }
            Request::CompareAndWrite { range, fua } => {
                let extent = self.extent(range)?;
                self.limits.check_compare_and_write(range)?;
                run(Work::CompareAndWrite(extent, self.durability(fua)), 2 * extent.blocks().0 * block, 0)
            }
            Request::Verify { range, check } => match check {
                ByteCheck::MediumOnly => run(Work::Verify(self.extent(range)?, check), 0, 0),
                ByteCheck::Compare => {
                    let extent = self.transfer(range)?;
                    run(Work::Verify(extent, check), extent.blocks().0 * block, 0)
                }
                ByteCheck::CompareOneBlock => {
                    let extent = self.extent(range)?;
                    run(Work::Verify(extent, check), if extent.is_empty() { 0 } else { block }, 0)
                }
            },
            Request::WriteSame(WriteSame { range, unmap, anchor, no_data_out }) => {
                let extent = self.extent_or_rest(range)?;
                self.limits.check_write_same(extent.blocks().0)?;
                // SBC-4 §5.50.1: UNMAP without LBPWS, ANCHOR without ANC_SUP.
                if anchor || (unmap && !self.options.thin) {
                    return Err(Sense::invalid_field_in_cdb(1, if anchor { 4 } else { 3 }));
                }
                let data_out = if no_data_out { 0 } else { block };
                run(Work::WriteSame { extent, unmap, no_data_out }, data_out, 0)
            }
            Request::Unmap { .. } if !self.options.thin => Err(Sense::invalid_opcode()),
            Request::Unmap { anchor: true, .. } => Err(Sense::invalid_field_in_cdb(1, 0)),
            Request::Unmap { parameter_list_length, .. } => run(Work::Unmap, parameter_list_length.into(), 0),
            Request::GetLbaStatus { lba, allocation_length } => {
                let extent = self.extent_or_rest(LbaRange { lba, blocks: 0 })?;
                // It makes its own answer, short however long it may be.
                run(Work::GetLbaStatus { extent, allocation_length }, 0, 0)
            }
            Request::SynchronizeCache { range, immediate } => {
                run(Work::Synchronize { extent: self.extent(range)?, immediate }, 0, 0)
            }
            Request::PreFetch { range, .. } => {
                let extent = self.extent(range)?;
                self.device.prefetch(extent);
                // CONDITION MET would promise that all of it is in the cache (SBC-4 §5.13); it is only asked for.
                Ok(Step::Done(CommandComplete::good()))
            }
            Request::FormatUnit { format_data, long_list, format_protection, parameter_list_length } => {
                if format_protection != 0 {
                    return Err(Sense::invalid_field_in_cdb(1, 7));
                }
                let data_out = match format_data {
                    true => expected_data_out.clamp(parameter_list_length.into(), FORMAT_LIST_BYTES_MAX),
                    false => 0,
                };
                run(Work::Format { list: format_data, long_list }, data_out, 0)
            }
            Request::Sanitize { action, immediate, unrestricted_exit, parameter_list_length } => {
                let list_max = 4 + block;
                if u64::from(parameter_list_length) > list_max {
                    return Err(Sense::invalid_field_in_cdb(7, None));
                }
                let work = Work::Sanitize { action, immediate, unrestricted_exit, parameter_list_length };
                run(work, parameter_list_length.into(), 0)
            }
            Request::StartStopUnit { power_condition, no_flush, load_eject, start, immediate } => {
                // SBC-4 §5.31: with a POWER CONDITION, START and LOEJ are ignored. There is no power to save here.
                if power_condition != 0 {
                    return Ok(Step::Done(CommandComplete::good()));
                }
                if load_eject && !self.options.removable {
                    return Err(Sense::invalid_field_in_cdb(4, 1));
                }
                run(Work::StartStop { load_eject, start, flush: !no_flush && !immediate }, 0, 0)
            }
            Request::ExtendedCopy { lid4, parameter_list_length } => {
                parameter_list(parameter_list_length)?;
                run(Work::ExtendedCopy { lid4, inventory: inventory.clone() }, parameter_list_length.into(), 0)
            }
            Request::ModeSelect { parameter_list_length, .. }
            | Request::PersistentReserveOut { parameter_list_length, .. }
            | Request::SetTargetPortGroups { parameter_list_length }
            | Request::SetIdentifyingInformation { parameter_list_length, .. }
            | Request::SetTimestamp { parameter_list_length }
            | Request::SendDiagnostic { parameter_list_length, .. }
            | Request::WriteBuffer { parameter_list_length, .. } => {
                pages::check_list_length(request)?;
                parameter_list(parameter_list_length)?;
                run(Work::Parameters { request, length: parameter_list_length }, parameter_list_length.into(), 0)
            }
            Request::TestUnitReady => Ok(Step::Done(CommandComplete::good())),
            Request::RequestSense { .. }
            | Request::Inquiry { .. }
            | Request::ReportLuns { .. }
            | Request::ModeSense { .. }
            | Request::LogSense { .. }
            | Request::Reserve { .. }
            | Request::Release { .. }
            | Request::PersistentReserveIn { .. }
            | Request::ReportTargetPortGroups { .. }
            | Request::ReportSupportedOpcodes { .. }
            | Request::ReportSupportedTaskManagement { .. }
            | Request::ReportIdentifyingInformation { .. }
            | Request::ReportTimestamp { .. }
            | Request::ReadBuffer { .. }
            | Request::ReceiveCopyResults { .. }
            | Request::PreventAllowMediumRemoval { .. }
            | Request::ReadCapacity10
            | Request::ReadCapacity16 { .. }
            | Request::ReadDefectData { .. } => Ok(Step::Done(self.answer(core, request, inventory))),
        }
    }

    /// A range as long as one command may transfer.
    fn transfer(&self, range: LbaRange) -> Result<Extent, Sense> {
        let extent = self.extent(range)?;
        match range.blocks > u64::from(self.limits.transfer_max) {
            // Which byte of the CDB it is depends on its length; the sense points at none.
            true => Err(Sense::illegal_request(crate::scsi::sense::Asc::INVALID_FIELD_IN_CDB)),
            false => Ok(extent),
        }
    }

    /// The only door from an initiator's addresses to an extent.
    fn extent(&self, range: LbaRange) -> Result<Extent, Sense> {
        let capacity = self.device.capacity();
        Extent::new(Lba(range.lba), BlockCount(range.blocks), capacity)
            .map_err(|_| Sense::lba_out_of_range(range.lba.max(capacity.0.min(range.lba.saturating_add(range.blocks)))))
    }

    /// As `extent`; no blocks stands for all of them from the LBA on, which must exist.
    fn extent_or_rest(&self, range: LbaRange) -> Result<Extent, Sense> {
        if range.blocks > 0 {
            return self.extent(range);
        }
        match self.device.capacity().0.checked_sub(range.lba) {
            None | Some(0) => Err(Sense::lba_out_of_range(range.lba)),
            Some(rest) => self.extent(LbaRange { blocks: rest, ..range }),
        }
    }
}

/// Longer lists than any command has a use for are refused before they are asked for.
fn parameter_list(length: u32) -> Result<(), Sense> {
    match length > PARAMETER_LIST_BYTES_MAX {
        true => Err(Sense::parameter_list_length_error()),
        false => Ok(()),
    }
}

/// The data buffer of WRITE BUFFER is the largest; registrations with SPEC_I_PT, and copies, have lists of some KiB.
const PARAMETER_LIST_BYTES_MAX: u32 = 64 << 10;
/// FORMAT UNIT has no PARAMETER LIST LENGTH; more than this is no list of ours.
const FORMAT_LIST_BYTES_MAX: u64 = 4096;
