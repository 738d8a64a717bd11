//! The copy manager (SPC-5 §5.17): executes EXTENDED COPY between logical units of this target, and remembers how it went.
//!
//! ```text
//!   parameter list ──► ExtendedCopy ──► CopyManager::start ──► Copy ──► run ──► GOOD or COPY ABORTED
//!                                           │                     each segment: find both ends, then chunk by chunk
//!                                           └─ remembered by nexus and LIST IDENTIFIER: CopyManager::receive
//! ```

mod records;
mod segment;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::sync::Arc;

use parking_lot::Mutex;

use self::records::{Record, Records};
use self::segment::SegmentCopy;
use crate::block::{BlockDevice, Eventually, Extent};
use crate::lu::nexus::{Nexus, NexusName};
use crate::scsi::access::ReservationAccess;
use crate::scsi::copy::results::{CopyPhase, held_data, operating_parameters};
use crate::scsi::copy::{ExtendedCopy, ListId};
use crate::scsi::designator::Designator;
use crate::scsi::request::ReceiveCopy;
use crate::scsi::sense::Sense;

/// Where copies find their ends.
pub trait CopyDirectory: Send + Sync {
    /// The logical unit with that designator in its VPD 83h, among those the asking nexus may reach.
    fn find(&self, designator: &Designator) -> Option<Arc<dyn CopyEnd>>;
}

/// A logical unit as a copy source or copy destination.
pub trait CopyEnd: Send + Sync {
    fn device(&self) -> Arc<dyn BlockDevice>;

    /// May the nexus do that to this logical unit now: ready, not reserved against it, writable for `Write`.
    fn permit(&self, nexus: &NexusName, access: ReservationAccess) -> Result<(), EndRefusal>;

    /// Wait for a place among the logical unit's own commands, held until the pass is dropped.
    fn enter(&self, extent: Extent, purpose: Purpose) -> Eventually<Pass>;

    /// WCE=0: what was written is on the medium before the command ends.
    fn write_through(&self) -> bool;
}

/// What a copy does to the blocks while it is inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Read,
    /// Whole blocks: a write like any other.
    Write,
    /// Part of the blocks: nobody may change the rest between its read and its write.
    ReadModifyWrite,
}

/// Held while the extent is read or written; its drop lets others in.
pub type Pass = Box<dyn Any + Send>;

/// Why a logical unit does not take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndRefusal {
    NotReady,
    ReservationConflict,
    WriteProtected,
}

/// The copies of one logical unit: running ones, and how finished ones ended.
#[derive(Debug, Default)]
pub struct CopyManager {
    records: Mutex<Records>,
}

impl CopyManager {
    /// Admit a copy. It runs when, and where, its owner polls it; dropped before its end it counts as aborted.
    pub fn start(&self, nexus: &Nexus, list: ExtendedCopy, directory: Arc<dyn CopyDirectory>) -> Result<Copy, Sense> {
        let record = self.records.lock().admit(nexus.session, list.list_id, list.immediate)?;
        Ok(Copy { list, nexus: nexus.name.clone(), directory, record })
    }

    /// RECEIVE COPY RESULTS: the parameter data, cut to ALLOCATION LENGTH.
    pub fn receive(&self, nexus: &Nexus, action: ReceiveCopy, allocation_length: u32) -> Result<Vec<u8>, Sense> {
        let status = |list_id: ListId| {
            let record = self.records.lock().find(nexus.session, list_id);
            record.map(|record| record.status()).ok_or_else(|| Sense::invalid_field_in_cdb(2, None))
        };
        // Data and details are there once the copy is over.
        let finished = |list_id: u8| match status(ListId::Lid1(list_id))? {
            status if matches!(status.phase, CopyPhase::InProgress { .. }) => Err(Sense::invalid_field_in_cdb(2, None)),
            status => Ok(status),
        };
        let mut data = match action {
            ReceiveCopy::StatusLid1 { list_id } => status(ListId::Lid1(list_id))?.encode_lid1(),
            ReceiveCopy::StatusLid4 { list_id } => status(ListId::Lid4(list_id))?.encode_lid4(EXTENDED_COPY_LID4),
            ReceiveCopy::OperatingParameters => operating_parameters(),
            ReceiveCopy::DataLid1 { list_id } => finished(list_id).map(|_| held_data())?,
            ReceiveCopy::FailedSegmentDetailsLid1 { list_id } => finished(list_id)?.encode_failed_segment_details(),
        };
        data.truncate(allocation_length as usize);
        Ok(data)
    }

    /// The session ended: nobody can ask for its results any more.
    pub fn nexus_lost(&self, nexus: &Nexus) {
        self.records.lock().forget(|record| record.session == nexus.session);
    }

    /// Logical unit reset: results are forgotten, copies in the background end.
    pub fn reset(&self) {
        let mut records = self.records.lock();
        records.cancel();
        records.forget(|_| true);
    }
}

/// A copy that was admitted.
pub struct Copy {
    list: ExtendedCopy,
    nexus: NexusName,
    directory: Arc<dyn CopyDirectory>,
    record: Arc<Record>,
}

impl Copy {
    /// IMMED=1: GOOD status now, and `run` in a task of its own.
    pub fn is_immediate(&self) -> bool {
        self.list.immediate
    }

    /// Segment by segment, in order; the first fault ends it.
    pub async fn run(self) -> Result<(), Sense> {
        let result = self.copy_segments().await;
        self.record.finish(match &result {
            Ok(()) => CopyPhase::Completed,
            Err(sense) => CopyPhase::Failed(sense.clone()),
        });
        result
    }

    async fn copy_segments(&self) -> Result<(), Sense> {
        for segment in &self.list.segments {
            let copy = SegmentCopy::resolve(segment, &self.list.cscds, &*self.directory, &self.nexus)?;
            copy.run(&self.record).await?;
            self.record.segment_processed();
        }
        Ok(())
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.record.finish(CopyPhase::Aborted);
    }
}

/// RESPONSE TO SERVICE ACTION.
const EXTENDED_COPY_LID4: u8 = 0x01;
