//! The logical units one I_T nexus sees.

use std::sync::Arc;

use super::unit::LogicalUnit;

/// LUN map of a nexus, for REPORT LUNS and for the copy manager's search.
#[derive(Clone, Debug, Default)]
pub struct LunInventory {
    /// Eight-byte LUN (SAM-5 §4.7), big-endian, and what it stands for; ascending.
    pub entries: Vec<(u64, Arc<LogicalUnit>)>,
}

impl LunInventory {
    pub fn new(mut entries: Vec<(u64, Arc<LogicalUnit>)>) -> LunInventory {
        entries.sort_by_key(|(lun, _)| *lun);
        LunInventory { entries }
    }

    /// The same logical units at the same LUNs.
    pub fn is_same(&self, other: &LunInventory) -> bool {
        let ours = self.entries.iter().map(|(lun, unit)| (lun, Arc::as_ptr(unit)));
        ours.eq(other.entries.iter().map(|(lun, unit)| (lun, Arc::as_ptr(unit))))
    }

    pub fn find(&self, lun: u64) -> Option<&Arc<LogicalUnit>> {
        let at = self.entries.binary_search_by_key(&lun, |(lun, _)| *lun).ok()?;
        Some(&self.entries[at].1)
    }
}
