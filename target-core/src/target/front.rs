//! How a group shows itself: its standing and what its owner tells become those of its volumes' logical units.

use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use mirror_link::group::Observer;
use mirror_link::ids::VolumeIndex;
use mirror_link::replica::io::Standing;
use mirror_link::wire::message::MarkKind;
use parking_lot::Mutex;

use super::config::GroupName;
use crate::lu::LogicalUnit;

/// One group's. The group is there before its logical units are: what it says before that is told to them then.
#[derive(Debug)]
pub struct Front {
    group: GroupName,
    /// Held while it is handed on: of two changes the later stands.
    standing: Mutex<Standing>,
    /// In order of volume index. They hold the group, so they are not held.
    units: OnceLock<Vec<Weak<LogicalUnit>>>,
}

impl Front {
    pub fn new(group: GroupName) -> Arc<Front> {
        Arc::new(Front { group, standing: Mutex::new(Standing::Waiting), units: OnceLock::new() })
    }

    /// Once, in order of volume index.
    pub fn attach(&self, units: &[Arc<LogicalUnit>]) {
        let standing = self.standing.lock();
        self.units.set(units.iter().map(Arc::downgrade).collect()).expect("a group's units are attached once");
        units.iter().for_each(|unit| unit.set_standing(*standing));
    }

    fn units(&self) -> impl Iterator<Item = Arc<LogicalUnit>> {
        self.units.get().into_iter().flatten().filter_map(Weak::upgrade)
    }
}

impl Observer for Front {
    fn standing(&self, standing: Standing) {
        let mut current = self.standing.lock();
        *current = standing;
        self.units().for_each(|unit| unit.set_standing(standing));
    }

    fn marked(&self, volume: VolumeIndex, kind: MarkKind, data: Bytes) {
        let unit = self.units.get().and_then(|units| units.get(usize::from(volume.0))?.upgrade());
        match unit {
            Some(unit) => unit.be_told(kind, data),
            None => tracing::error!(group = %self.group, %volume, "the peer told of a volume that is not there"),
        }
    }
}
