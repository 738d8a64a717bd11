//! A device in memory: sparse, so that size costs nothing until it is written.
//!
//! ```text
//!   bucket i ─► 2^i segments ─► 1024 chunks of 64 KiB, each with its lock, its map of blocks and, once written, its bytes
//! ```
//! Buckets and segments appear at first write and stay; finding a chunk takes no lock.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::{BufMut, BytesMut};
use parking_lot::Mutex;

use super::open::{OpenError, StoreSpec};
use super::pool::Pool;
use super::runs::Runs;
use super::{
    Allocation, AllocationRun, BlockCount, BlockDevice, BlockError, BlockLength, Capabilities, Durability, Eventually,
    Extent, Io, Payload, ResizeError,
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
        Some(if self.thin { BlockCount(self.chunks.mapped_blocks.load(Ordering::Relaxed)) } else { self.capacity() })
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

/// Byte ranges given to it consist of whole blocks.
struct Chunks {
    block_length: BlockLength,
    buckets: [OnceLock<Box<[Segment]>>; BUCKETS],
    mapped_blocks: AtomicU64,
}

type Segment = OnceLock<Box<[Mutex<Chunk>]>>;

#[derive(Default)]
struct Chunk {
    /// One bit a block, the first block lowest.
    mapped: u128,
    /// Reads as zeroes where absent, and so do its unmapped blocks.
    data: Option<Box<[u8]>>,
}

impl Chunks {
    fn new(block_length: BlockLength) -> Chunks {
        Chunks { block_length, buckets: std::array::from_fn(|_| OnceLock::new()), mapped_blocks: AtomicU64::new(0) }
    }

    fn read(&self, range: Range<u64>, buffer: &mut BytesMut) {
        buffer.reserve((range.end - range.start) as usize);
        for (index, bytes) in pieces(range) {
            match self.chunk(index) {
                None => buffer.put_bytes(0, bytes.len()),
                Some(chunk) => match &chunk.lock().data {
                    None => buffer.put_bytes(0, bytes.len()),
                    Some(data) => buffer.extend_from_slice(&data[bytes]),
                },
            }
        }
    }

    fn write(&self, range: Range<u64>, payload: &Payload) -> Result<(), BlockError> {
        assert_eq!(range.end - range.start, payload.len(), "the data is as long as the extent");
        let mut source = payload.pieces().iter().map(|piece| piece.as_ref());
        let mut piece: &[u8] = &[];
        for (index, bytes) in pieces(range) {
            let mut chunk = self.chunk_made(index).lock();
            let mut room = &mut chunk.data()?[bytes.clone()];
            while !room.is_empty() {
                if piece.is_empty() {
                    piece = source.next().expect("the payload's length was checked");
                }
                let (now, later) = piece.split_at(room.len().min(piece.len()));
                let (head, tail) = room.split_at_mut(now.len());
                head.copy_from_slice(now);
                (piece, room) = (later, tail);
            }
            self.map(&mut chunk, &bytes);
        }
        Ok(())
    }

    fn clear(&self, range: Range<u64>, allocation: Allocation) {
        match allocation {
            Allocation::Keep => {
                for (index, bytes) in pieces(range) {
                    let mut chunk = self.chunk_made(index).lock();
                    if let Some(data) = &mut chunk.data {
                        data[bytes.clone()].fill(0);
                    }
                    self.map(&mut chunk, &bytes);
                }
            }
            Allocation::MayRelease => {
                for segment in segments(range) {
                    if self.segment(segment.start / SEGMENT_BYTES).is_some() {
                        pieces(segment).for_each(|(index, bytes)| self.unmap(index, bytes));
                    }
                }
            }
        }
    }

    fn allocation(&self, range: Range<u64>, runs: &mut Runs) {
        let shift = self.block_length.shift();
        for segment in segments(range) {
            if self.segment(segment.start / SEGMENT_BYTES).is_none() {
                if !runs.push((segment.end - segment.start) >> shift, false) {
                    return;
                }
                continue;
            }
            for (index, bytes) in pieces(segment) {
                let mut left = bytes.len() as u64 >> shift;
                let mut map = self.chunk(index).map_or(0, |chunk| chunk.lock().mapped) >> (bytes.start >> shift);
                while left > 0 {
                    let mapped = map & 1 == 1;
                    let run = u64::from(if mapped { map.trailing_ones() } else { map.trailing_zeros() }).min(left);
                    if !runs.push(run, mapped) {
                        return;
                    }
                    map = map.checked_shr(run as u32).unwrap_or(0);
                    left -= run;
                }
            }
        }
    }

    fn map(&self, chunk: &mut Chunk, bytes: &Range<usize>) {
        let before = chunk.mapped.count_ones();
        chunk.mapped |= self.mask(bytes);
        self.mapped_blocks.fetch_add(u64::from(chunk.mapped.count_ones() - before), Ordering::Relaxed);
    }

    fn unmap(&self, index: u64, bytes: Range<usize>) {
        let Some(chunk) = self.chunk(index) else { return };
        let mut chunk = chunk.lock();
        let before = chunk.mapped.count_ones();
        chunk.mapped &= !self.mask(&bytes);
        self.mapped_blocks.fetch_sub(u64::from(before - chunk.mapped.count_ones()), Ordering::Relaxed);
        if chunk.mapped == 0 {
            chunk.data = None;
        } else if let Some(data) = &mut chunk.data {
            data[bytes].fill(0);
        }
    }

    fn mask(&self, bytes: &Range<usize>) -> u128 {
        let (first, blocks) = (bytes.start >> self.block_length.shift(), bytes.len() >> self.block_length.shift());
        u128::MAX.checked_shr(u128::BITS - blocks as u32).unwrap_or(0) << first
    }

    fn segment(&self, segment: u64) -> Option<&[Mutex<Chunk>]> {
        let (bucket, at) = place(segment);
        self.buckets[bucket].get()?[at].get().map(|chunks| &**chunks)
    }

    fn chunk(&self, index: u64) -> Option<&Mutex<Chunk>> {
        self.segment(index / SEGMENT_CHUNKS).map(|chunks| &chunks[(index % SEGMENT_CHUNKS) as usize])
    }

    fn chunk_made(&self, index: u64) -> &Mutex<Chunk> {
        let (bucket, at) = place(index / SEGMENT_CHUNKS);
        let segments = self.buckets[bucket].get_or_init(|| (0..1_u64 << bucket).map(|_| Segment::new()).collect());
        let chunks = segments[at].get_or_init(|| (0..SEGMENT_CHUNKS).map(|_| Mutex::default()).collect());
        &chunks[(index % SEGMENT_CHUNKS) as usize]
    }
}

impl Chunk {
    /// The bytes, made where there are none. Memory's end is a full medium, not a crash.
    fn data(&mut self) -> Result<&mut [u8], BlockError> {
        if self.data.is_none() {
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(CHUNK_BYTES as usize).map_err(|_| BlockError::NoSpace)?;
            bytes.resize(CHUNK_BYTES as usize, 0);
            self.data = Some(bytes.into_boxed_slice());
        }
        Ok(self.data.as_mut().expect("made above"))
    }
}

impl fmt::Debug for Chunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunks({} blocks mapped)", self.mapped_blocks.load(Ordering::Relaxed))
    }
}

/// Bucket i begins at segment 2^i - 1, so that none ever moves when the device grows.
fn place(segment: u64) -> (usize, usize) {
    let bucket = (segment + 1).ilog2();
    (bucket as usize, (segment + 1 - (1 << bucket)) as usize)
}

/// Chunk by chunk: its index and the bytes within it.
fn pieces(range: Range<u64>) -> impl Iterator<Item = (u64, Range<usize>)> {
    split(range, CHUNK_BYTES).map(|piece| {
        let first = piece.start % CHUNK_BYTES;
        (piece.start / CHUNK_BYTES, first as usize..(first + piece.end - piece.start) as usize)
    })
}

fn segments(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    split(range, SEGMENT_BYTES)
}

/// Cut at the multiples of `unit`.
fn split(range: Range<u64>, unit: u64) -> impl Iterator<Item = Range<u64>> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        let start = at;
        at = range.end.min((start / unit + 1) * unit);
        (start < range.end).then_some(start..at)
    })
}

const OBJECT: &str = "a memory store";
/// 128 blocks of 512 bytes: the bits of a `u128`.
const CHUNK_BYTES: u64 = 64 << 10;
const SEGMENT_CHUNKS: u64 = 1024;
const SEGMENT_BYTES: u64 = SEGMENT_CHUNKS * CHUNK_BYTES;
/// 2^21 - 1 segments of 64 MiB, whose last bucket is 16 MiB of empty slots.
const BUCKETS: usize = 21;
const SIZE_BYTES_MAX: u64 = ((1 << BUCKETS) - 1) * SEGMENT_BYTES;
/// Clearing more than this takes longer than a turn of the loop should (some 100 µs).
const CLEAR_INLINE_BYTES_MAX: u64 = 1 << 20;
/// A map is gathered on the caller's turn: look at no more than this many bytes of device (16384 chunks).
const MAP_WALK_BYTES_MAX: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::super::Store;
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
        assert!(device.chunks.buckets.iter().all(|bucket| bucket.get().is_none()));
        now(device.write(last, Payload::from(BytesMut::zeroed(512)), Durability::Cached)).expect("writes");
        assert_eq!(device.chunks.buckets.iter().filter(|bucket| bucket.get().is_some()).count(), 1);
        assert_eq!(device.used(), Some(BlockCount(1)));
        now(device.unmap(last)).expect("unmaps");
        assert_eq!(device.used(), Some(BlockCount(0)));
        assert!(
            device.chunks.chunk(((1 << 40) - 1) / CHUNK_BYTES).expect("stays").lock().data.is_none(),
            "bytes freed"
        );
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
    fn segments_have_places_that_never_move() {
        assert_eq!([0, 1, 2, 3, 6, 7].map(place), [(0, 0), (1, 0), (1, 1), (2, 0), (2, 3), (3, 0)]);
        assert_eq!(place(SIZE_BYTES_MAX / SEGMENT_BYTES - 1), (BUCKETS - 1, (1 << (BUCKETS - 1)) - 1));
    }

    #[test]
    fn it_grows_and_never_shrinks() {
        let device = device(1 << 20, BlockLength::B4096);
        assert_eq!(now(device.resize(Some(BlockCount(512)))), Ok(BlockCount(512)));
        assert_eq!(now(device.resize(Some(BlockCount(1)))), Err(ResizeError::Shrink { capacity: 512, asked: 1 }));
        assert_eq!(device.capacity(), BlockCount(512));
    }
}
