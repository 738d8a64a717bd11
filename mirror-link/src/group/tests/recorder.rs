//! An observer that remembers.

use bytes::Bytes;
use parking_lot::Mutex;

use crate::group::Observer;
use crate::ids::VolumeIndex;
use crate::replica::io::Standing;
use crate::wire::message::MarkKind;

#[derive(Debug, Default)]
pub struct Recorder {
    pub standings: Mutex<Vec<Standing>>,
    pub marks: Mutex<Vec<(VolumeIndex, MarkKind, Bytes)>>,
}

impl Recorder {
    pub fn standing_now(&self) -> Option<Standing> {
        self.standings.lock().last().copied()
    }
}

impl Observer for Recorder {
    fn standing(&self, standing: Standing) {
        self.standings.lock().push(standing);
    }

    fn marked(&self, volume: VolumeIndex, kind: MarkKind, data: Bytes) {
        self.marks.lock().push((volume, kind, data));
    }
}
