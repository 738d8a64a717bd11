//! The copy manager (SPC-5 §5.17): executes EXTENDED COPY between logical units of this target, and remembers how it went.

use std::any::Any;
use std::sync::Arc;

use crate::block::Extent;
use crate::block::{BlockDevice, Eventually};
use crate::lu::nexus::NexusName;
use crate::scsi::access::ReservationAccess;
use crate::scsi::designator::Designator;

/// Where copies find their ends.
pub trait CopyDirectory: Send + Sync {
    /// The logical unit with that designator in its VPD 83h, whichever target serves it.
    fn find(&self, designator: &Designator) -> Option<Arc<dyn CopyEnd>>;
}

/// A logical unit as a copy source or copy destination.
pub trait CopyEnd: Send + Sync {
    fn device(&self) -> Arc<dyn BlockDevice>;

    /// May the nexus do that to this logical unit now: ready, not reserved against it, writable for `Write`.
    fn permit(&self, nexus: &NexusName, access: ReservationAccess) -> Result<(), EndRefusal>;

    /// Wait for a place among the logical unit's own commands. Overlapping writes, and atomic ones, wait until the pass is
    /// dropped.
    fn enter(&self, extent: Extent, access: ReservationAccess) -> Eventually<Pass>;
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
