//! The system calls on an open file or device, at byte offsets: those that answer at once (`…_now`), and those that may keep
//! their thread waiting (`…_waiting`, and all the others), for blocking threads only.

use std::fs::File;
use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::{Errno, ReadWriteFlags, pread, pwrite, pwritev2};
use smallvec::SmallVec;

use super::bounce::{self, Bounce};
use super::flusher::Flusher;
use super::runs::Runs;
use super::sys;
use super::{Allocation, AllocationRun, BlockCount, BlockError, BlockLength, Durability, Payload};

/// What is known of the descriptor when it is opened.
#[derive(Clone, Debug)]
pub struct MediumSpec {
    pub path: PathBuf,
    pub block_length: BlockLength,
    pub capacity: BlockCount,
    pub read_only: bool,
    /// O_DIRECT is set.
    pub direct_io: bool,
    /// Holes may be punched.
    pub releases: bool,
    /// Nothing ever waits for a medium, and nothing needs a flush.
    pub in_memory: bool,
}

#[derive(Debug)]
pub struct Descriptor {
    pub file: Arc<File>,
    pub spec: MediumSpec,
    pub capacity_blocks: AtomicU64,
    pub flusher: Flusher,
    bounce: Option<Bounce>,
    // Found out by trying; a file system that does not know a thing never will.
    knows_read_now: AtomicBool,
    knows_write_now: AtomicBool,
    knows_zero_range: AtomicBool,
}

impl Descriptor {
    pub fn new(file: File, spec: MediumSpec) -> Descriptor {
        let file = Arc::new(file);
        let (synced, path) = (file.clone(), spec.path.clone());
        let flusher = Flusher::new(move || {
            retried(|| rustix::fs::fdatasync(&*synced)).map_err(|error| {
                tracing::error!(store = %path.display(), %error, "data written was lost; flushes fail until it is opened again");
                block_error(error)
            })
        });
        Descriptor {
            file,
            capacity_blocks: AtomicU64::new(spec.capacity.0),
            flusher,
            bounce: spec.direct_io.then(Bounce::default),
            knows_read_now: AtomicBool::new(true),
            knows_write_now: AtomicBool::new(true),
            knows_zero_range: AtomicBool::new(true),
            spec,
        }
    }

    /// Append what can be had without waiting: all, some or nothing.
    pub fn read_now(&self, offset: u64, bytes: usize, buffer: &mut BytesMut) -> Result<(), BlockError> {
        if bytes > INLINE_BYTES_MAX || self.bounce.is_some() {
            return Ok(());
        }
        if self.spec.in_memory {
            return self.read_waiting(offset, bytes, buffer);
        }
        if bytes == 0 || !self.knows_read_now.load(Ordering::Relaxed) {
            return Ok(());
        }
        match sys::read_append(&self.file, buffer, bytes, offset, true) {
            // The end of the file is for the blocking read to tell: some kernels answer 0 for "not now".
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                self.knows_read_now.store(false, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => Err(block_error(error)),
        }
    }

    /// Append all of it.
    pub fn read_waiting(&self, offset: u64, bytes: usize, buffer: &mut BytesMut) -> Result<(), BlockError> {
        let mut done = 0;
        while done < bytes {
            let at = offset + done as u64;
            let read = retried(|| match &self.bounce {
                None => sys::read_append(&self.file, buffer, bytes - done, at, false),
                Some(bounce) => bounce.with(|aligned| {
                    let aligned = &mut aligned[..(bytes - done).min(bounce::BUFFER_BYTES)];
                    let read = pread(&*self.file, &mut *aligned, at)?;
                    buffer.extend_from_slice(&aligned[..read]);
                    Ok(read)
                }),
            })
            .map_err(block_error)?;
            if read == 0 {
                // Somebody cut the file short: the blocks are lost, not zero.
                tracing::error!(store = %self.spec.path.display(), offset = at, "ends before its capacity");
                return Err(BlockError::Medium);
            }
            done += read;
        }
        Ok(())
    }

    /// How many bytes could be written without waiting.
    pub fn write_now(&self, offset: u64, data: &Payload, durability: Durability) -> Result<u64, BlockError> {
        if data.is_empty() || data.len() > INLINE_BYTES_MAX as u64 || self.bounce.is_some() {
            return Ok(0);
        }
        if self.spec.in_memory {
            return self.write_waiting(offset, data, ReadWriteFlags::empty()).map(|()| data.len());
        }
        if durability == Durability::Durable || !self.knows_write_now.load(Ordering::Relaxed) {
            return Ok(0);
        }
        match self.write_some(offset, data, ReadWriteFlags::NOWAIT) {
            Ok(written) => {
                self.flusher.wrote();
                Ok(written)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                self.knows_write_now.store(false, Ordering::Relaxed);
                Ok(0)
            }
            Err(error) => Err(block_error(error)),
        }
    }

    pub fn write_waiting(&self, offset: u64, data: &Payload, flags: ReadWriteFlags) -> Result<(), BlockError> {
        let mut done = self.write_on(offset, data, flags)?;
        while done < data.len() {
            done += self.write_on(offset + done, &data.slice(done, data.len() - done), flags)?;
        }
        self.flusher.wrote();
        Ok(())
    }

    fn write_on(&self, offset: u64, data: &Payload, flags: ReadWriteFlags) -> Result<u64, BlockError> {
        match retried(|| self.write_some(offset, data, flags)).map_err(block_error)? {
            0 if !data.is_empty() => Err(BlockError::Medium),
            written => Ok(written),
        }
    }

    pub fn write_durable(&self, offset: u64, data: &Payload) -> Result<(), BlockError> {
        self.write_waiting(offset, data, ReadWriteFlags::DSYNC).inspect_err(|&error| {
            // The call either could not write or could not sync, and only the latter may have lost what others wrote.
            if self.write_waiting(offset, data, ReadWriteFlags::empty()).is_ok() {
                self.flusher.fail(error);
            }
        })
    }

    /// One system call.
    fn write_some(&self, offset: u64, data: &Payload, flags: ReadWriteFlags) -> Result<u64, Errno> {
        if let Some(bounce) = &self.bounce
            && !data.pieces().iter().all(|piece| bounce::is_aligned(piece, self.spec.block_length.bytes() as usize))
        {
            return bounce.with(|aligned| {
                let mut filled = 0;
                for piece in data.pieces() {
                    let take = piece.len().min(aligned.len() - filled);
                    aligned[filled..filled + take].copy_from_slice(&piece[..take]);
                    filled += take;
                }
                Ok(pwritev2(&*self.file, &[IoSlice::new(&aligned[..filled])], offset, flags)? as u64)
            });
        }
        // One piece, as most payloads are. It owes the kernel no array of pieces to copy.
        if let ([piece], true) = (data.pieces(), flags.is_empty()) {
            return Ok(pwrite(&*self.file, piece, offset)? as u64);
        }
        let pieces: SmallVec<[IoSlice; 8]> =
            data.pieces().iter().take(PIECES_MAX).map(|piece| IoSlice::new(piece)).collect();
        Ok(pwritev2(&*self.file, &pieces, offset, flags)? as u64)
    }

    /// Make a range (not empty) read as zeroes by the cheapest means that does what `allocation` says.
    pub fn clear_waiting(&self, offset: u64, bytes: u64, allocation: Allocation) -> Result<(), BlockError> {
        let means = |flags| retried(|| fallocate(&*self.file, flags | FallocateFlags::KEEP_SIZE, offset, bytes));
        let result = match allocation {
            // Blocks of the file system that lie only partly within are zeroed there, not released.
            Allocation::MayRelease if self.spec.releases => means(FallocateFlags::PUNCH_HOLE),
            _ if self.knows_zero_range.load(Ordering::Relaxed) => {
                means(FallocateFlags::ZERO_RANGE).inspect_err(|&error| {
                    if error == Errno::OPNOTSUPP {
                        self.knows_zero_range.store(false, Ordering::Relaxed);
                    }
                })
            }
            _ => Err(Errno::OPNOTSUPP),
        };
        match result {
            Ok(()) => self.flusher.wrote(),
            Err(Errno::OPNOTSUPP) => self.write_zeroes_as_data(offset, bytes)?,
            Err(error) => return Err(block_error(error)),
        }
        Ok(())
    }

    fn write_zeroes_as_data(&self, offset: u64, bytes: u64) -> Result<(), BlockError> {
        let mut zeroes = Payload::default();
        while zeroes.len() < ZEROES_BYTES_MAX.min(bytes) {
            zeroes.push(Bytes::from_static(&ZEROES));
        }
        let mut done = 0;
        while done < bytes {
            zeroes.truncate(bytes - done);
            self.write_waiting(offset + done, &zeroes, ReadWriteFlags::empty())?;
            done += zeroes.len();
        }
        Ok(())
    }

    pub fn allocation(&self, offset: u64, bytes: u64, runs_max: usize) -> Result<Vec<AllocationRun>, BlockError> {
        let (shift, block, end) =
            (self.spec.block_length.shift(), u64::from(self.spec.block_length.bytes()), offset + bytes);
        let mut runs = Runs::new(runs_max);
        let mut at = offset;
        while at < end {
            let data = self.data_from(at, end)?;
            // A block is mapped as soon as one byte of it is.
            let mapped = data - data % block;
            if !runs.push((mapped - at) >> shift, false) || data == end {
                break;
            }
            let hole = self.find(SeekFrom::Hole(data), end).map_err(block_error)?.max(data + 1);
            let unmapped = hole.next_multiple_of(block).min(end);
            if !runs.push((unmapped - mapped) >> shift, true) {
                break;
            }
            at = unmapped;
        }
        Ok(runs.into_vec())
    }

    /// Where the first data at or behind `at` begin; `end` where there are none before it.
    pub fn data_from(&self, at: u64, end: u64) -> Result<u64, BlockError> {
        match self.find(SeekFrom::Data(at), end) {
            // A file system without holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(at),
            found => found.map_err(block_error),
        }
    }

    fn find(&self, from: SeekFrom, end: u64) -> Result<u64, Errno> {
        match seek(&*self.file, from) {
            Ok(at) => Ok(at.min(end)),
            // From here to the end there is nothing of the kind looked for (lseek(2)).
            Err(Errno::NXIO) => Ok(end),
            Err(error) => Err(error),
        }
    }
}

/// Errors of system calls as the layers above know them.
pub fn block_error(error: Errno) -> BlockError {
    match error {
        Errno::NOSPC | Errno::DQUOT => BlockError::NoSpace,
        // ENODATA is the block layer's word for a medium error.
        Errno::IO | Errno::NODATA => BlockError::Medium,
        Errno::ROFS | Errno::PERM => BlockError::ReadOnly,
        other => BlockError::Io(other.raw_os_error()),
    }
}

pub fn retried<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// Copying more than this on the caller's thread would hold up its other sessions: some 100 µs.
pub const INLINE_BYTES_MAX: usize = 1 << 20;
/// Pieces in one system call: UIO_MAXIOV.
const PIECES_MAX: usize = 1024;
static ZEROES: [u8; 64 << 10] = [0; 64 << 10];
/// Zeroes written by one call.
const ZEROES_BYTES_MAX: u64 = 1 << 20;
