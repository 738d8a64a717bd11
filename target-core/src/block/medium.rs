//! What `file` and `device` share: reads and writes of an open descriptor that never hold up the caller's thread.
//!
//! ```text
//!   read   page cache (RWF_NOWAIT) ──► Now        write   RWF_NOWAIT, where the file system knows it ──► Now
//!             └─ not all of it there ─► pool                 ├─ cached: lane
//!                                                            └─ durable, or direct I/O: pool
//!   A file system in memory is mostly answered Now; direct I/O never.
//! ```

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::BytesMut;
use rustix::fs::{Advice, fadvise};
use rustix::io::ReadWriteFlags;

use super::descriptor::{Descriptor, INLINE_BYTES_MAX, MediumSpec};
use super::lane::Lane;
use super::pool::Pool;
use super::{
    Allocation, AllocationRun, BlockCount, BlockError, BlockLength, Durability, Eventually, Extent, Io, Payload,
};

#[derive(Debug)]
pub struct Medium {
    shared: Arc<Descriptor>,
    pool: Pool,
    lane: Lane<CachedWrite>,
}

struct CachedWrite {
    offset: u64,
    data: Payload,
}

impl Medium {
    pub fn new(file: File, spec: MediumSpec) -> Medium {
        let shared = Arc::new(Descriptor::new(file, spec));
        let writer = shared.clone();
        let lane = Lane::new(move |write: CachedWrite| {
            writer.write_waiting(write.offset, &write.data, ReadWriteFlags::empty())
        });
        Medium { shared, pool: Pool::default(), lane }
    }

    pub fn shared(&self) -> &Arc<Descriptor> {
        &self.shared
    }

    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    pub fn block_length(&self) -> BlockLength {
        self.shared.spec.block_length
    }

    pub fn capacity(&self) -> BlockCount {
        BlockCount(self.shared.capacity_blocks.load(Ordering::Acquire))
    }

    pub fn read(&self, extent: Extent, mut buffer: BytesMut) -> Io<BytesMut> {
        if let Err(error) = self.check(extent) {
            return Eventually::Now(Err(error));
        }
        let (offset, bytes) = self.range(extent);
        let end = buffer.len() + bytes;
        buffer.reserve(bytes);
        match self.shared.read_now(offset, bytes, &mut buffer) {
            Err(error) => Eventually::Now(Err(error)),
            Ok(()) if buffer.len() == end => Eventually::Now(Ok(buffer)),
            Ok(()) => {
                let shared = self.shared.clone();
                self.pool.run(move || {
                    let left = end - buffer.len();
                    shared.read_waiting(offset + (bytes - left) as u64, left, &mut buffer)?;
                    Ok(buffer)
                })
            }
        }
    }

    pub fn write(&self, extent: Extent, data: Payload, durability: Durability) -> Io<()> {
        if let Err(error) = self.check_write(extent) {
            return Eventually::Now(Err(error));
        }
        let (offset, bytes) = self.range(extent);
        assert_eq!(bytes as u64, data.len(), "the data is as long as the extent");
        let written = match self.shared.write_now(offset, &data, durability) {
            Err(error) => return Eventually::Now(Err(error)),
            Ok(written) if written == data.len() => return Eventually::Now(Ok(())),
            Ok(written) => written,
        };
        let mut rest = CachedWrite { offset: offset + written, data: data.slice(written, data.len() - written) };
        if durability == Durability::Cached && !self.shared.spec.direct_io {
            match self.lane.run(rest) {
                Ok(done) => return done,
                Err(full) => rest = full,
            }
        }
        let shared = self.shared.clone();
        self.pool.run(move || match durability {
            Durability::Cached => shared.write_waiting(rest.offset, &rest.data, ReadWriteFlags::empty()),
            Durability::Durable => shared.write_durable(rest.offset, &rest.data),
        })
    }

    pub fn write_zeroes(&self, extent: Extent, allocation: Allocation, durability: Durability) -> Io<()> {
        if let Err(error) = self.check_write(extent) {
            return Eventually::Now(Err(error));
        }
        if extent.is_empty() {
            return Eventually::Now(Ok(()));
        }
        let (offset, bytes) = self.range(extent);
        if self.shared.spec.in_memory && bytes <= INLINE_BYTES_MAX {
            return Eventually::Now(self.shared.clear_waiting(offset, bytes as u64, allocation));
        }
        let shared = self.shared.clone();
        let cleared = self.pool.run(move || shared.clear_waiting(offset, bytes as u64, allocation));
        match durability {
            Durability::Cached => cleared,
            Durability::Durable => {
                let flusher = self.shared.flusher.clone();
                Eventually::later(async move {
                    cleared.await?;
                    flusher.flush().await
                })
            }
        }
    }

    pub fn flush(&self) -> Io<()> {
        if self.shared.spec.in_memory {
            return Eventually::Now(Ok(()));
        }
        self.shared.flusher.flush()
    }

    pub fn begin_anew(&self) {
        self.shared.flusher.begin_anew();
    }

    /// The map that the file system tells. Blocks zeroed but kept count as unmapped where it holds them as "unwritten".
    pub fn allocation(&self, extent: Extent, runs_max: usize) -> Io<Vec<AllocationRun>> {
        if let Err(error) = self.check(extent) {
            return Eventually::Now(Err(error));
        }
        let (offset, bytes) = self.range(extent);
        let shared = self.shared.clone();
        self.pool.run(move || shared.allocation(offset, bytes as u64, runs_max))
    }

    /// No byte of it is data to the file system.
    pub fn is_unmapped(&self, extent: Extent) -> Io<bool> {
        if let Err(error) = self.check(extent) {
            return Eventually::Now(Err(error));
        }
        let (offset, bytes) = self.range(extent);
        let shared = self.shared.clone();
        self.pool.run(move || Ok(shared.data_from(offset, offset + bytes as u64)? == offset + bytes as u64))
    }

    pub fn prefetch(&self, extent: Extent) {
        let (offset, bytes) = self.range(extent);
        let bytes = std::num::NonZeroU64::new(bytes.min(PREFETCH_BYTES_MAX) as u64);
        if let (Ok(()), Some(bytes), false) = (self.check(extent), bytes, self.shared.spec.direct_io) {
            let shared = self.shared.clone();
            self.pool.run_if_idle(move || {
                // Advice: when it is not taken, nothing is lost.
                let _ = fadvise(&*shared.file, offset, Some(bytes), Advice::WillNeed);
            });
        }
    }

    pub fn check(&self, extent: Extent) -> Result<(), BlockError> {
        if extent.end().0 > self.capacity().0 { Err(BlockError::OutOfRange) } else { Ok(()) }
    }

    fn check_write(&self, extent: Extent) -> Result<(), BlockError> {
        if self.shared.spec.read_only { Err(BlockError::ReadOnly) } else { self.check(extent) }
    }

    fn range(&self, extent: Extent) -> (u64, usize) {
        (extent.byte_offset(self.block_length()), extent.byte_length(self.block_length()) as usize)
    }
}

/// Read ahead at most this much on one request, lest it push everything else out of the cache.
const PREFETCH_BYTES_MAX: usize = 8 << 20;
