//! EXTENDED COPY and the logical unit: as the one that is asked, and as an end of another's copy.

use std::sync::Arc;

use super::command::CommandComplete;
use super::copy_manager::{CopyDirectory, CopyEnd, EndRefusal, Pass, Purpose};
use super::inventory::LunInventory;
use super::media::later;
use super::nexus::NexusName;
use super::state::ItlCore;
use super::unit::LogicalUnit;
use crate::block::{BlockDevice, Durability, Eventually, Extent, Payload};
use crate::scsi::access::ReservationAccess;
use crate::scsi::copy::{Dialect, ExtendedCopy};
use crate::scsi::designator::{Designator, DesignatorType};
use crate::scsi::sense::Sense;

/// "A PARAMETER LIST LENGTH of zero … shall not be considered an error" (SPC-5 §6.4.2): nothing is copied.
pub(super) fn extended_copy(
    unit: Arc<LogicalUnit>,
    core: Arc<ItlCore>,
    inventory: Arc<LunInventory>,
    lid4: bool,
    length: u64,
    data: Payload,
) -> Eventually<CommandComplete> {
    unit.statistics.others.add(1);
    if data.len() != length {
        return Eventually::Now(unit.refuse(Sense::parameter_list_length_error()));
    }
    if data.is_empty() {
        return Eventually::Now(CommandComplete::good());
    }
    // SPC-4 is VERSION 06h.
    let dialect = if unit.options.scsi_version < 6 { Dialect::Spc3 } else { Dialect::Spc4 };
    let started = ExtendedCopy::parse(&data.contiguous(), lid4, dialect)
        .and_then(|list| unit.copies.start(&core.nexus, list, inventory));
    match started {
        Err(sense) => Eventually::Now(unit.refuse(sense)),
        Ok(copy) if copy.is_immediate() => {
            // How it goes is for RECEIVE COPY RESULTS to tell; a logical unit reset ends it.
            tokio::spawn(copy.run());
            Eventually::Now(CommandComplete::good())
        }
        Ok(copy) => later(unit, async move {
            copy.run().await?;
            Ok(Payload::default())
        }),
    }
}

/// A nexus copies between the logical units it is given, and no others.
impl CopyDirectory for LunInventory {
    fn find(&self, designator: &Designator) -> Option<Arc<dyn CopyEnd>> {
        let (_, unit) = self.entries.iter().find(|(_, unit)| unit.is_designated(designator))?;
        Some(unit.clone())
    }
}

impl LogicalUnit {
    /// By the NAA designator of VPD 83h: the T10 one does not fit a CSCD descriptor.
    fn is_designated(&self, designator: &Designator) -> bool {
        designator.kind == DesignatorType::NAA && designator.bytes[..] == self.state.lock().designation.naa
    }
}

impl CopyEnd for LogicalUnit {
    fn device(&self) -> Arc<dyn BlockDevice> {
        self.device.clone()
    }

    fn permit(&self, nexus: &NexusName, access: ReservationAccess) -> Result<(), EndRefusal> {
        if !self.is_exceptional(u32::MAX) {
            return Ok(());
        }
        let state = self.state.lock();
        if !state.reservations.allows(nexus, access) {
            return Err(EndRefusal::ReservationConflict);
        }
        if state.readiness().is_err() {
            return Err(EndRefusal::NotReady);
        }
        let protected = self.is_read_only() || state.pages.software_write_protect();
        match access == ReservationAccess::Write && protected {
            true => Err(EndRefusal::WriteProtected),
            false => Ok(()),
        }
    }

    fn enter(&self, _extent: Extent, purpose: Purpose) -> Eventually<Pass> {
        match purpose {
            Purpose::Read => Eventually::Now(Box::new(())),
            Purpose::Write => match self.gate.try_share() {
                Some(shared) => Eventually::Now(Box::new(shared)),
                None => {
                    let gate = self.gate.clone();
                    Eventually::later(async move { Box::new(gate.share().await) as Pass })
                }
            },
            Purpose::ReadModifyWrite => {
                let gate = self.gate.clone();
                Eventually::later(async move { Box::new(gate.alone().await) as Pass })
            }
        }
    }

    fn write_through(&self) -> bool {
        self.durability(false) == Durability::Durable
    }
}
