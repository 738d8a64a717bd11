//! A device that reads zeroes and forgets writes: for measuring everything above it.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{BufMut, BytesMut};

use super::open::{OpenError, StoreSpec};
use super::runs::Runs;
use super::{
    Allocation, AllocationRun, BlockCount, BlockDevice, BlockError, BlockLength, Capabilities, Durability, Eventually,
    Extent, Io, Payload, ResizeError,
};

#[derive(Debug)]
pub struct NullDevice {
    block_length: BlockLength,
    capacity_blocks: AtomicU64,
    read_only: bool,
}

impl NullDevice {
    pub fn open(spec: &StoreSpec) -> Result<NullDevice, OpenError> {
        let capacity = spec.blocks(OBJECT, spec.size_needed(OBJECT)?)?;
        Ok(NullDevice {
            block_length: spec.block_length,
            capacity_blocks: AtomicU64::new(capacity.0),
            read_only: spec.read_only,
        })
    }

    fn done(&self) -> Io<()> {
        Eventually::Now(if self.read_only { Err(BlockError::ReadOnly) } else { Ok(()) })
    }
}

impl BlockDevice for NullDevice {
    fn block_length(&self) -> BlockLength {
        self.block_length
    }

    fn capacity(&self) -> BlockCount {
        BlockCount(self.capacity_blocks.load(Ordering::Acquire))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            unmap: true,
            fast_zeroes: true,
            volatile_cache: false,
            allocation_map: false,
            read_only: self.read_only,
            unmap_granularity: BlockCount(1),
        }
    }

    fn read(&self, extent: Extent, mut buffer: BytesMut) -> Io<BytesMut> {
        buffer.put_bytes(0, extent.byte_length(self.block_length) as usize);
        Eventually::Now(Ok(buffer))
    }

    fn write(&self, _extent: Extent, _data: Payload, _durability: Durability) -> Io<()> {
        self.done()
    }

    fn write_zeroes(&self, _extent: Extent, _allocation: Allocation, _durability: Durability) -> Io<()> {
        self.done()
    }

    fn unmap(&self, _extent: Extent) -> Io<()> {
        self.done()
    }

    fn flush(&self) -> Io<()> {
        Eventually::Now(Ok(()))
    }

    fn allocation(&self, extent: Extent, runs_max: usize) -> Io<Vec<AllocationRun>> {
        let mut runs = Runs::new(runs_max);
        runs.push(extent.blocks().0, true);
        Eventually::Now(Ok(runs.into_vec()))
    }

    fn used(&self) -> Option<BlockCount> {
        None
    }

    fn resize(&self, capacity: Option<BlockCount>) -> Eventually<Result<BlockCount, ResizeError>> {
        let now = self.capacity();
        let asked = capacity.unwrap_or(now);
        Eventually::Now(if asked < now {
            Err(ResizeError::Shrink { capacity: now.0, asked: asked.0 })
        } else {
            self.capacity_blocks.store(asked.0, Ordering::Release);
            Ok(asked)
        })
    }
}

const OBJECT: &str = "a null store";
