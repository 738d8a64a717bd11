//! One volume of a group, as its logical unit sees it.

use std::sync::Arc;

use bytes::BytesMut;
use mirror_link::group::Group;
use mirror_link::ids::VolumeIndex;

use crate::block::{
    Allocation, AllocationRun, BlockCount, BlockDevice, BlockError, BlockLength, Capabilities, Durability, Eventually,
    Extent, Io, Payload,
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

    /// From the peer.
    fn fetch(&self, extent: Extent, error: BlockError) -> Io<BytesMut> {
        Eventually::later(self.group.clone().fetch(self.index, extent, error, BytesMut::new()))
    }

    fn fetch_if_failed(&self, extent: Extent, error: BlockError) -> Io<BytesMut> {
        if is_failure(error) { self.fetch(extent, error) } else { Eventually::Now(Err(error)) }
    }

    /// The copy on this node.
    pub fn local(&self) -> &Arc<dyn BlockDevice> {
        &self.local
    }
}

/// What was read here is the host's, or the peer is asked for it.
async fn settle(
    group: Arc<Group>,
    index: VolumeIndex,
    extent: Extent,
    data: BytesMut,
    settled: Result<(), BlockError>,
) -> Result<BytesMut, BlockError> {
    match settled {
        Ok(()) => Ok(data),
        Err(error) if is_failure(error) => group.fetch(index, extent, error, BytesMut::new()).await,
        Err(error) => Err(error),
    }
}

/// The device's own, or what a group says of a device that failed meanwhile.
fn is_failure(error: BlockError) -> bool {
    matches!(error, BlockError::Medium | BlockError::Io(_))
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
        if self.group.reads_at_peer() {
            return self.fetch(extent, BlockError::Medium);
        }
        let began = self.group.read_begins();
        match self.local.read(extent, buffer) {
            Eventually::Now(Ok(data)) => {
                self.group.read_took(began);
                match self.group.may_read(self.index, extent) {
                    Eventually::Now(Ok(())) => Eventually::Now(Ok(data)),
                    Eventually::Now(Err(error)) => self.fetch_if_failed(extent, error),
                    Eventually::Later(settling) => {
                        let (group, index) = (self.group.clone(), self.index);
                        Eventually::later(async move { settle(group, index, extent, data, settling.await).await })
                    }
                }
            }
            Eventually::Now(Err(error)) => self.fetch_if_failed(extent, error),
            Eventually::Later(reading) => {
                let (group, index) = (self.group.clone(), self.index);
                Eventually::later(async move {
                    let (data, settled) = match reading.await {
                        Ok(data) => {
                            group.read_took(began);
                            (data, group.may_read(index, extent).await)
                        }
                        Err(error) => (BytesMut::new(), Err(error)),
                    };
                    settle(group, index, extent, data, settled).await
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
        if self.group.reads_at_peer() {
            // What the device that failed says of them is of no more use.
            return Eventually::Now(Ok(vec![AllocationRun { blocks: extent.blocks(), mapped: true }]));
        }
        self.local.allocation(extent, runs_max)
    }

    fn used(&self) -> Option<BlockCount> {
        self.local.used()
    }

    fn prefetch(&self, extent: Extent) {
        if !self.group.reads_at_peer() {
            self.local.prefetch(extent);
        }
    }
}
