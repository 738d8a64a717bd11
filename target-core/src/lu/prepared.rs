//! A command that may run, and its running.

use std::sync::Arc;

use bytes::BytesMut;

use super::attention::Attention;
use super::command::CommandComplete;
use super::device_error::Failure;
use super::inventory::LunInventory;
use super::media::{self, alone, compare, read, same, status, unmap, write};
use super::state::ItlCore;
use super::twin::Kind;
use super::unit::LogicalUnit;
use super::{background, copy_end, parameters};
use crate::block::{Durability, Eventually, Extent, Payload};
use crate::scsi::request::{ByteCheck, PrOut, Request, SanitizeAction};
use crate::scsi::sense::Sense;

/// A command that may run: its fields, the nexus's rights and the addresses are checked.
pub struct Prepared {
    pub(super) unit: Arc<LogicalUnit>,
    pub(super) core: Arc<ItlCore>,
    pub(super) work: Work,
    pub(super) data_out: u64,
    pub(super) data_in: u64,
    pub(super) expected_data_out: u64,
}

/// What is left to do.
pub(super) enum Work {
    Read(Extent),
    Write(Extent, Durability),
    WriteAndVerify(Extent, ByteCheck),
    WriteAtomic(Extent, Durability),
    OrWrite(Extent, Durability),
    CompareAndWrite(Extent, Durability),
    Verify(Extent, ByteCheck),
    WriteSame {
        extent: Extent,
        unmap: bool,
        no_data_out: bool,
    },
    Unmap,
    GetLbaStatus {
        extent: Extent,
        allocation_length: u32,
    },
    Synchronize {
        extent: Extent,
        immediate: bool,
    },
    Format {
        /// FMTDATA
        list: bool,
        long_list: bool,
    },
    Sanitize {
        action: SanitizeAction,
        immediate: bool,
        unrestricted_exit: bool,
        parameter_list_length: u32,
    },
    StartStop {
        load_eject: bool,
        start: bool,
        flush: bool,
    },
    ExtendedCopy {
        lid4: bool,
        inventory: Arc<LunInventory>,
    },
    /// A parameter list of `length` bytes.
    Parameters {
        request: Request,
        length: u32,
    },
}

impl Prepared {
    /// Bytes the command takes, whatever the initiator said it will send. Residual counts are against this.
    pub fn data_out_length(&self) -> u64 {
        self.data_out
    }

    /// The command only starts and watches something that goes on by itself (FORMAT UNIT, SANITIZE, other nexuses' ends of
    /// PREEMPT AND ABORT): aborting it need not wait for that to end.
    pub fn is_watch(&self) -> bool {
        match self.work {
            Work::Format { .. } | Work::Sanitize { .. } => true,
            Work::Parameters { request: Request::PersistentReserveOut { action, .. }, .. } => {
                action == PrOut::PreemptAndAbort
            }
            _ => false,
        }
    }

    /// Bytes the command may return at most: room to reserve in the buffer.
    pub fn data_in_length(&self) -> u64 {
        self.data_in
    }

    /// Run it. `data_out` is what arrived, at most `data_out_length` bytes. READ appends to `buffer` and gives it back as
    /// the Data-In. Dropping the answer while it is pending abandons the command; blocks are then old or new, never mixed.
    pub fn execute(self, data_out: Payload, buffer: BytesMut) -> Eventually<CommandComplete> {
        let Prepared { unit, core, work, data_out: length, expected_data_out: expected, .. } = self;
        assert!(data_out.len() <= length, "no more is collected than the command takes");
        match work {
            Work::Read(extent) => read::read(unit, extent, buffer),
            Work::Write(extent, durability) => write::write(unit, extent, data_out, durability),
            Work::WriteAndVerify(extent, check) => write::write_and_verify(unit, extent, data_out, check),
            Work::WriteAtomic(extent, durability) => alone::write_atomic(unit, extent, data_out, durability),
            Work::OrWrite(extent, durability) => alone::or_write(unit, extent, data_out, durability),
            Work::CompareAndWrite(extent, durability) => {
                alone::compare_and_write(unit, extent, data_out, expected, durability)
            }
            Work::Verify(extent, check) => compare::verify(unit, extent, data_out, check),
            Work::WriteSame { extent, unmap, no_data_out } => {
                same::write_same(unit, extent, data_out, expected, unmap, no_data_out)
            }
            Work::Unmap => match data_out.len() == length {
                true => unmap::unmap(unit, data_out),
                false => Eventually::Now(unit.refuse(Sense::parameter_list_length_error())),
            },
            Work::GetLbaStatus { extent, allocation_length } => status::get_lba_status(unit, extent, allocation_length),
            Work::Synchronize { extent, immediate } => read::synchronize(unit, extent, immediate),
            Work::Format { list, long_list } => {
                background::format(unit, list.then(|| data_out.contiguous()), long_list)
            }
            Work::Sanitize { action, immediate, unrestricted_exit, parameter_list_length } => {
                if data_out.len() != u64::from(parameter_list_length) {
                    return Eventually::Now(unit.refuse(Sense::parameter_list_length_error()));
                }
                background::sanitize(unit, action, immediate, unrestricted_exit, data_out.contiguous())
            }
            Work::StartStop { load_eject, start, flush } => start_stop(unit, core, load_eject, start, flush),
            Work::ExtendedCopy { lid4, inventory } => {
                copy_end::extended_copy(unit, core, inventory, lid4, length, data_out)
            }
            Work::Parameters { request, length } => parameters::execute(unit, core, request, length, data_out),
        }
    }
}

/// SBC-4 §5.31, POWER CONDITION 0. Stopping without ejecting changes nothing: there is no motor.
fn start_stop(
    unit: Arc<LogicalUnit>,
    core: Arc<ItlCore>,
    load_eject: bool,
    start: bool,
    flush: bool,
) -> Eventually<CommandComplete> {
    // PREVENT keeps the medium in its place: an ejected one is not loaded either.
    if load_eject && unit.state.lock().removal_prevented() {
        return Eventually::Now(unit.refuse(Sense::medium_removal_prevented()));
    }
    if start && !load_eject {
        return Eventually::Now(unit.complete(started(&unit)));
    }
    if start {
        return media::later(unit.clone(), async move { load(&unit, &core).await });
    }
    media::later(unit.clone(), async move {
        let whole = Extent::new(crate::block::Lba(0), unit.device.capacity(), unit.device.capacity())
            .expect("the whole capacity fits the capacity");
        if flush || load_eject {
            unit.device.flush().await.map_err(media::write_failed(whole))?;
        }
        if load_eject {
            eject(&unit).await?;
        }
        Ok(Payload::default())
    })
}

async fn eject(unit: &Arc<LogicalUnit>) -> Result<(), Failure> {
    let _turn = unit.turn.lock().await;
    {
        let mut state = unit.state.lock();
        // Prevented in the meantime?
        if state.removal_prevented() {
            return Err(Sense::medium_removal_prevented().into());
        }
        state.port_groups.is_served()?;
        state.ejected = true;
        unit.settle(&state);
    }
    unit.tell(Kind::Medium).await
}

fn started(unit: &LogicalUnit) -> media::Outcome {
    unit.state.lock().readiness()?;
    Ok(Payload::default())
}

async fn load(unit: &Arc<LogicalUnit>, core: &ItlCore) -> media::Outcome {
    let _turn = unit.turn.lock().await;
    {
        let mut state = unit.state.lock();
        state.port_groups.is_served()?;
        if std::mem::take(&mut state.ejected) {
            state.raise_others(core, Attention::MediumMayHaveChanged);
            unit.settle(&state);
        }
    }
    unit.tell(Kind::Medium).await?;
    Ok(Payload::default())
}
