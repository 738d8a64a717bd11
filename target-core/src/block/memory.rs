//! A device in memory: sparse, so that size costs nothing until it is written.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;

use super::chunks::{Chunks, SIZE_BYTES_MAX};
use super::open::{OpenError, StoreSpec};
use super::pool::Pool;
use super::runs::Runs;
use super::{
    Allocation, AllocationRun, BlockCount, BlockDevice, BlockError, BlockLength, Capabilities, Durability, Eventually,
    Extent, Io, Label, Origin, Payload, ResizeError,
};

#[derive(Debug)]
pub struct MemoryDevice {
    chunks: Arc<Chunks>,
    pool: Pool,
    block_length: BlockLength,
    capacity_blocks: AtomicU64,
    read_only: bool,
    thin: bool,
}

impl MemoryDevice {
    pub fn open(spec: &StoreSpec) -> Result<MemoryDevice, OpenError> {
        let size = spec.size_needed(OBJECT)?;
        let capacity = spec.blocks(OBJECT, size)?;
        if size > SIZE_BYTES_MAX {
            return Err(OpenError::new(
                OBJECT,
                format!("of {size} bytes is more than the {SIZE_BYTES_MAX} it can address"),
                "give a smaller size",
            ));
        }
        Ok(MemoryDevice {
            chunks: Arc::new(Chunks::new(spec.block_length)),
            pool: Pool::default(),
            block_length: spec.block_length,
            capacity_blocks: AtomicU64::new(capacity.0),
            read_only: spec.read_only,
            thin: spec.thin,
        })
    }

    fn check(&self, extent: Extent) -> Result<(), BlockError> {
        if extent.end().0 > self.capacity().0 { Err(BlockError::OutOfRange) } else { Ok(()) }
    }

    fn check_write(&self, extent: Extent) -> Result<(), BlockError> {
        if self.read_only { Err(BlockError::ReadOnly) } else { self.check(extent) }
    }

    fn bytes(&self, extent: Extent) -> Range<u64> {
        let start = extent.byte_offset(self.block_length);
        start..start + extent.byte_length(self.block_length)
    }

    fn clear(&self, extent: Extent, allocation: Allocation) -> Io<()> {
        if let Err(error) = self.check_write(extent) {
            return Eventually::Now(Err(error));
        }
        let allocation = if self.thin { allocation } else { Allocation::Keep };
        let range = self.bytes(extent);
        if range.end - range.start <= CLEAR_INLINE_BYTES_MAX {
            self.chunks.clear(range, allocation);
            return Eventually::Now(Ok(()));
        }
        let chunks = self.chunks.clone();
        self.pool.run(move || {
            chunks.clear(range, allocation);
            Ok(())
        })
    }
}

impl BlockDevice for MemoryDevice {
    fn block_length(&self) -> BlockLength {
        self.block_length
    }

    fn capacity(&self) -> BlockCount {
        BlockCount(self.capacity_blocks.load(Ordering::Acquire))
    }

    /// What was there before the process is gone with it.
    fn origin(&self) -> Origin {
        Origin { object: OBJECT.into(), blocks: BlockCount(0), label: Label::None }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            unmap: self.thin,
            fast_zeroes: true,
            // A flush would not save them either.
            volatile_cache: false,
            allocation_map: self.thin,
            read_only: self.read_only,
            unmap_granularity: BlockCount(1),
        }
    }

    fn read(&self, extent: Extent, mut buffer: BytesMut) -> Io<BytesMut> {
        Eventually::Now(self.check(extent).map(|()| {
            self.chunks.read(self.bytes(extent), &mut buffer);
            buffer
        }))
    }

    fn write(&self, extent: Extent, data: Payload, _durability: Durability) -> Io<()> {
        Eventually::Now(self.check_write(extent).and_then(|()| self.chunks.write(self.bytes(extent), &data)))
    }

    fn write_zeroes(&self, extent: Extent, allocation: Allocation, _durability: Durability) -> Io<()> {
        self.clear(extent, allocation)
    }

    fn unmap(&self, extent: Extent) -> Io<()> {
        self.clear(extent, Allocation::MayRelease)
    }

    fn flush(&self) -> Io<()> {
        Eventually::Now(Ok(()))
    }

    fn allocation(&self, extent: Extent, runs_max: usize) -> Io<Vec<AllocationRun>> {
        Eventually::Now(self.check(extent).map(|()| {
            let mut runs = Runs::new(runs_max);
            if self.thin {
                let range = self.bytes(extent);
                self.chunks.allocation(range.start..range.end.min(range.start + MAP_WALK_BYTES_MAX), &mut runs);
            } else {
                runs.push(extent.blocks().0, true);
            }
            runs.into_vec()
        }))
    }

    fn used(&self) -> Option<BlockCount> {
        Some(if self.thin { BlockCount(self.chunks.mapped_blocks()) } else { self.capacity() })
    }

    fn resize(&self, capacity: Option<BlockCount>) -> Eventually<Result<BlockCount, ResizeError>> {
        let now = self.capacity();
        let asked = capacity.unwrap_or(now);
        let room = SIZE_BYTES_MAX >> self.block_length.shift();
        Eventually::Now(if asked < now {
            Err(ResizeError::Shrink { capacity: now.0, asked: asked.0 })
        } else if asked.0 > room {
            Err(ResizeError::NoRoom { room, asked: asked.0 })
        } else {
            self.capacity_blocks.store(asked.0, Ordering::Release);
            Ok(asked)
        })
    }
}

const OBJECT: &str = "a memory store";
/// Clearing more than this takes longer than a turn of the loop should (some 100 µs).
const CLEAR_INLINE_BYTES_MAX: u64 = 1 << 20;
/// A map is gathered on the caller's turn: look at no more than this many bytes of device (16384 chunks).
const MAP_WALK_BYTES_MAX: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::super::chunks::CHUNK_BYTES;
    use super::*;
    use crate::block::Lba;

    fn device(size: u64, block_length: BlockLength) -> MemoryDevice {
        MemoryDevice::open(&StoreSpec {
            store: Store::Memory,
            size: Some(size),
            block_length,
            read_only: false,
            thin: true,
        })
        .expect("opens")
    }

    fn now<T>(io: Eventually<T>) -> T {
        match io {
            Eventually::Now(value) => value,
            Eventually::Later(_) => panic!("memory answers at once"),
        }
    }

    fn extent(device: &MemoryDevice, lba: u64, blocks: u64) -> Extent {
        Extent::new(Lba(lba), BlockCount(blocks), device.capacity()).expect("fits")
    }

    #[test]
    fn a_tebibyte_costs_what_is_written() {
        let device = device(1 << 40, BlockLength::B512);
        let last = extent(&device, device.capacity().0 - 1, 1);
        now(device.write(last, Payload::from(BytesMut::zeroed(512)), Durability::Cached)).expect("writes");
        assert_eq!(device.used(), Some(BlockCount(1)));
        now(device.unmap(last)).expect("unmaps");
        assert_eq!(device.used(), Some(BlockCount(0)));
    }

    #[test]
    fn the_map_is_exact_to_the_block() {
        for block_length in [BlockLength::B512, BlockLength::B4096] {
            let device = device(256 << 20, block_length);
            let all = device.capacity().0;
            let per_chunk = CHUNK_BYTES >> block_length.shift();
            now(device.write_zeroes(extent(&device, 3, per_chunk), Allocation::Keep, Durability::Cached)).expect("ok");
            now(device.unmap(extent(&device, per_chunk, 1))).expect("ok");
            let runs = now(device.allocation(extent(&device, 1, all - 1), 10)).expect("ok");
            let told: Vec<_> = runs.iter().map(|run| (run.blocks.0, run.mapped)).collect();
            let rest = all - 1 - 2 - (per_chunk - 3) - 1 - 2;
            assert_eq!(told, [(2, false), (per_chunk - 3, true), (1, false), (2, true), (rest, false)]);
            assert_eq!(now(device.allocation(extent(&device, 1, all - 1), 2)).expect("ok"), runs[..2]);
        }
    }

    #[test]
    fn it_grows_and_never_shrinks() {
        let device = device(1 << 20, BlockLength::B4096);
        assert_eq!(now(device.resize(Some(BlockCount(512)))), Ok(BlockCount(512)));
        assert_eq!(now(device.resize(Some(BlockCount(1)))), Err(ResizeError::Shrink { capacity: 512, asked: 1 }));
        assert_eq!(device.capacity(), BlockCount(512));
    }
}
