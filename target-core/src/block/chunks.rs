//! A sparse array of blocks in memory.
//!
//! ```text
//!   bucket i ─► 2^i segments ─► 1024 chunks of 64 KiB, each with its lock, its map of blocks and, once written, its bytes
//! ```
//! Buckets and segments appear at first write and stay; finding a chunk takes no lock.

use std::fmt;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{BufMut, BytesMut};
use parking_lot::Mutex;

use super::runs::Runs;
use super::{Allocation, BlockError, BlockLength, Payload};

/// Byte ranges given to it consist of whole blocks.
pub struct Chunks {
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
    pub fn new(block_length: BlockLength) -> Chunks {
        Chunks { block_length, buckets: std::array::from_fn(|_| OnceLock::new()), mapped_blocks: AtomicU64::new(0) }
    }

    pub fn read(&self, range: Range<u64>, buffer: &mut BytesMut) {
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

    pub fn write(&self, range: Range<u64>, payload: &Payload) -> Result<(), BlockError> {
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

    pub fn clear(&self, range: Range<u64>, allocation: Allocation) {
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

    pub fn allocation(&self, range: Range<u64>, runs: &mut Runs) {
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

    pub fn mapped_blocks(&self) -> u64 {
        self.mapped_blocks.load(Ordering::Relaxed)
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
        write!(f, "Chunks({} blocks mapped)", self.mapped_blocks())
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

/// 128 blocks of 512 bytes: the bits of a `u128`.
pub const CHUNK_BYTES: u64 = 64 << 10;
const SEGMENT_CHUNKS: u64 = 1024;
const SEGMENT_BYTES: u64 = SEGMENT_CHUNKS * CHUNK_BYTES;
/// 2^21 - 1 segments of 64 MiB, whose last bucket is 16 MiB of empty slots.
const BUCKETS: usize = 21;
pub const SIZE_BYTES_MAX: u64 = ((1 << BUCKETS) - 1) * SEGMENT_BYTES;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_written_is_there_and_what_is_unmapped_goes() {
        let chunks = Chunks::new(BlockLength::B512);
        let last = SIZE_BYTES_MAX - 512..SIZE_BYTES_MAX;
        let mut zeroes = BytesMut::new();
        chunks.read(last.clone(), &mut zeroes);
        assert!(zeroes.len() == 512 && chunks.buckets.iter().all(|bucket| bucket.get().is_none()));
        chunks.write(last.clone(), &Payload::from(BytesMut::zeroed(512))).expect("writes");
        assert_eq!(chunks.buckets.iter().filter(|bucket| bucket.get().is_some()).count(), 1);
        chunks.clear(last, Allocation::MayRelease);
        let chunk = chunks.chunk((SIZE_BYTES_MAX - 1) / CHUNK_BYTES).expect("stays");
        assert!(chunk.lock().data.is_none(), "its bytes are freed");
    }

    #[test]
    fn segments_have_places_that_never_move() {
        assert_eq!([0, 1, 2, 3, 6, 7].map(place), [(0, 0), (1, 0), (1, 1), (2, 0), (2, 3), (3, 0)]);
        assert_eq!(place(SIZE_BYTES_MAX / SEGMENT_BYTES - 1), (BUCKETS - 1, (1 << (BUCKETS - 1)) - 1));
    }
}
