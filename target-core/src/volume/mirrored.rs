//! One volume of a group, as its logical unit sees it.

use std::sync::Arc;

use bytes::BytesMut;
use mirror_link::group::Group;
use mirror_link::ids::VolumeIndex;

use crate::block::{
    Allocation, AllocationRun, BlockCount, BlockDevice, BlockLength, Capabilities, Durability, Eventually, Extent, Io,
    Payload,
};

/// See the module. Its size stays: both nodes have agreed on it (`resize` answers `Fixed`, the trait's default).
#[derive(Debug)]
pub struct MirroredVolume {
    group: Arc<Group>,
    index: VolumeIndex,
    local: Arc<dyn BlockDevice>,
}

impl MirroredVolume {
    /// `local` is the device of that index the group was started with.
    pub fn new(group: Arc<Group>, index: VolumeIndex, local: Arc<dyn BlockDevice>) -> MirroredVolume {
        MirroredVolume { group, index, local }
    }

    pub fn group(&self) -> &Arc<Group> {
        &self.group
    }

    pub fn index(&self) -> VolumeIndex {
        self.index
    }

    /// The copy on this node.
    pub fn local(&self) -> &Arc<dyn BlockDevice> {
        &self.local
    }
}

impl BlockDevice for MirroredVolume {
    fn block_length(&self) -> BlockLength {
        self.local.block_length()
    }

    fn capacity(&self) -> BlockCount {
        self.local.capacity()
    }

    fn capabilities(&self) -> Capabilities {
        self.local.capabilities()
    }

    fn read(&self, extent: Extent, buffer: BytesMut) -> Io<BytesMut> {
        let began = self.group.read_begins();
        match self.local.read(extent, buffer) {
            Eventually::Now(Ok(data)) => {
                self.group.read_took(began);
                self.group.may_read(self.index, extent).map(|settled| settled.map(|()| data))
            }
            Eventually::Now(Err(error)) => Eventually::Now(Err(error)),
            Eventually::Later(reading) => {
                let (group, index) = (self.group.clone(), self.index);
                Eventually::later(async move {
                    let data = reading.await?;
                    group.read_took(began);
                    group.may_read(index, extent).await?;
                    Ok(data)
                })
            }
        }
    }

    fn write(&self, extent: Extent, data: Payload, durability: Durability) -> Io<()> {
        self.group.write(self.index, extent, data, durability)
    }

    fn write_zeroes(&self, extent: Extent, allocation: Allocation, durability: Durability) -> Io<()> {
        self.group.write_zeroes(self.index, extent, allocation, durability)
    }

    fn unmap(&self, extent: Extent) -> Io<()> {
        self.group.unmap(self.index, extent)
    }

    fn flush(&self) -> Io<()> {
        self.group.flush(self.index)
    }

    /// As it is here: the peer's store may have its own granularity.
    fn allocation(&self, extent: Extent, runs_max: usize) -> Io<Vec<AllocationRun>> {
        self.local.allocation(extent, runs_max)
    }

    fn used(&self) -> Option<BlockCount> {
        self.local.used()
    }

    fn prefetch(&self, extent: Extent) {
        self.local.prefetch(extent);
    }
}
