//! The one trait for a block device, and what it speaks of.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use crate::extent::{BlockCount, BlockLength, Extent};

/// A value that is here now or comes later. `Now` costs no allocation: it is the answer of a device that need not wait.
pub enum Eventually<T> {
    Now(T),
    Later(Pin<Box<dyn Future<Output = T> + Send>>),
}

impl<T: 'static> Eventually<T> {
    pub fn later(future: impl Future<Output = T> + Send + 'static) -> Eventually<T> {
        Eventually::Later(Box::pin(future))
    }

    pub fn map<U: 'static>(self, f: impl FnOnce(T) -> U + Send + 'static) -> Eventually<U> {
        match self {
            Eventually::Now(value) => Eventually::Now(f(value)),
            Eventually::Later(future) => Eventually::later(async move { f(future.await) }),
        }
    }
}

/// The value is only ever moved, never pinned.
impl<T> Unpin for Eventually<T> {}

impl<T: 'static> Future for Eventually<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        match self.get_mut() {
            Eventually::Later(future) => future.as_mut().poll(context),
            now => match std::mem::replace(now, Eventually::Later(Box::pin(std::future::pending()))) {
                Eventually::Now(value) => Poll::Ready(value),
                Eventually::Later(_) => Poll::Pending,
            },
        }
    }
}

/// What a device promises, asked once when the stack above it is built (capacity apart: it may grow).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// `unmap` gives space back; otherwise it is refused at configuration time.
    pub unmap: bool,
    /// `write_zeroes` costs less than writing the zeroes as data.
    pub fast_zeroes: bool,
    /// Completed writes may be lost on power failure until `flush`.
    pub volatile_cache: bool,
    /// `allocation` tells mapped blocks from unmapped ones.
    pub allocation_map: bool,
    pub read_only: bool,
    /// Logical blocks in the smallest piece worth unmapping (a file system block, say); at least 1.
    pub unmap_granularity: BlockCount,
}

/// When a write may be reported done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Readable; a later `flush` makes it durable.
    Cached,
    /// On the medium (FUA).
    Durable,
}

/// How `write_zeroes` leaves the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// Zero and still backed by space: a later write cannot fail for want of it.
    Keep,
    /// Zero; space may be given back.
    MayRelease,
}

/// A run of blocks of one kind, as SBC-4 GET LBA STATUS tells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocationRun {
    pub blocks: BlockCount,
    pub mapped: bool,
}

/// Why a device could not do it. Each becomes one sense in `target_core::lu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    #[error("beyond the end of the device")]
    OutOfRange,
    #[error("the medium failed")]
    Medium,
    #[error("no space is left")]
    NoSpace,
    #[error("the device is read-only")]
    ReadOnly,
    #[error("this node may not write here")]
    Fenced,
    #[error("the peer did not take it in time")]
    Stalled,
    #[error("input/output error (errno {0})")]
    Io(i32),
}

/// Why a device keeps the size it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResizeError {
    #[error("its size is fixed")]
    Fixed,
    #[error("it never shrinks: it has {capacity} blocks, {asked} were asked for")]
    Shrink { capacity: u64, asked: u64 },
    #[error("the store below has room for {room} blocks, {asked} were asked for")]
    NoRoom { room: u64, asked: u64 },
    #[error(
        "its file system holds no file of {bytes} bytes, the largest has {largest}: give a size up to that, or move it"
    )]
    FileTooLarge { bytes: u64, largest: u64 },
    #[error(transparent)]
    Device(#[from] BlockError),
}

/// What is known of a store's content when it is opened, so that whoever keeps a record of it notices another in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The store as an administrator knows it: a path, mostly.
    pub object: String,
    /// What it had before this opening made it, or made it larger.
    pub blocks: BlockCount,
    pub label: Label,
}

/// By what one store's content is told from another's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Label {
    /// By nothing.
    None,
    /// It keeps, beside the blocks, the label that it was given last.
    Kept(Option<String>),
    /// What it is known by wherever it is plugged in.
    Given(String),
}

pub type Io<T> = Eventually<Result<T, BlockError>>;

/// Data of one command: immutable pieces, in order, as they came off the socket. Never copied on its way down.
#[derive(Clone, Default)]
pub struct Payload {
    pieces: SmallVec<[Bytes; 2]>,
    length: u64,
}

impl Payload {
    pub fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.length += piece.len() as u64;
            self.pieces.push(piece);
        }
    }

    /// Bytes.
    pub fn len(&self) -> u64 {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// Shorten to `bytes`; no effect where it is shorter already.
    pub fn truncate(&mut self, bytes: u64) {
        let mut left = bytes;
        self.pieces.retain_mut(|piece| {
            piece.truncate(left.min(piece.len() as u64) as usize);
            left -= piece.len() as u64;
            !piece.is_empty()
        });
        self.length = self.length.min(bytes);
    }

    /// The bytes `at..at + length` (which must lie within) without copying them.
    pub fn slice(&self, at: u64, length: u64) -> Payload {
        assert!(at + length <= self.length, "slice lies within the payload");
        let mut out = Payload::default();
        let (mut skip, mut left) = (at, length);
        for piece in &self.pieces {
            let start = skip.min(piece.len() as u64);
            skip -= start;
            let take = left.min(piece.len() as u64 - start);
            left -= take;
            out.push(piece.slice(start as usize..(start + take) as usize));
        }
        out
    }

    /// One contiguous buffer; copies only where there is more than one piece. For parameter lists and comparisons.
    pub fn contiguous(&self) -> Bytes {
        match self.pieces.as_slice() {
            [] => Bytes::new(),
            [one] => one.clone(),
            many => many.concat().into(),
        }
    }
}

/// The same bytes, however they are cut.
impl PartialEq for Payload {
    fn eq(&self, other: &Payload) -> bool {
        self.length == other.length && self.pieces.iter().flatten().eq(other.pieces.iter().flatten())
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Payload {
        let mut payload = Payload::default();
        payload.push(bytes);
        payload
    }
}

impl From<BytesMut> for Payload {
    fn from(bytes: BytesMut) -> Payload {
        bytes.freeze().into()
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes in {} pieces)", self.length, self.pieces.len())
    }
}

/// A block device: whatever can hold logical blocks. Policies, mirrors and test faults are devices in a chain.
///
/// Every extent was checked against `capacity` by its maker; a device that shrank since answers `OutOfRange`.
/// Calls may overlap; the result of overlapping concurrent writes is one of them or the other per block.
/// A `Later` future may be dropped by the caller; the operation then still either happens whole or not at all per block.
pub trait BlockDevice: Send + Sync + fmt::Debug {
    fn block_length(&self) -> BlockLength;

    /// May grow while the device is in use.
    fn capacity(&self) -> BlockCount;

    fn capabilities(&self) -> Capabilities;

    /// Append the extent's bytes to `buffer`, whose spare room the caller has reserved, and give it back.
    fn read(&self, extent: Extent, buffer: BytesMut) -> Io<BytesMut>;

    /// `data` is exactly as long as the extent.
    fn write(&self, extent: Extent, data: Payload, durability: Durability) -> Io<()>;

    fn write_zeroes(&self, extent: Extent, allocation: Allocation, durability: Durability) -> Io<()>;

    /// Give the space back; the blocks read as zeroes from then on (LBPRZ=1), whole or in part unmapped.
    fn unmap(&self, extent: Extent) -> Io<()>;

    /// Everything completed before this call is on the medium.
    fn flush(&self) -> Io<()>;

    /// The operator mended the store, and whoever calls this will write every block of it again: what was lost before counts
    /// no more. A store that remembers that data written was lost, and refuses every flush for it, forgets that.
    fn begin_anew(&self) {}

    /// Runs that cover the extent from its start, at most `runs_max`; the last may end before the extent does.
    fn allocation(&self, extent: Extent, runs_max: usize) -> Io<Vec<AllocationRun>>;

    /// No block of the extent is mapped. False also where the store below cannot tell at little cost: `allocation` may look
    /// far beyond the extent for where a run ends.
    fn is_unmapped(&self, _extent: Extent) -> Io<bool> {
        Eventually::Now(Ok(false))
    }

    /// Blocks in use as told by the store below, for thin-provisioning log pages. `None` where it cannot tell.
    fn used(&self) -> Option<BlockCount>;

    /// Grow, while in use, to `capacity` blocks, or to what the store below has where `None`; answers the new capacity.
    fn resize(&self, _capacity: Option<BlockCount>) -> Eventually<Result<BlockCount, ResizeError>> {
        Eventually::Now(Err(ResizeError::Fixed))
    }

    /// Looks at the store: not for async code.
    fn origin(&self) -> Origin {
        Origin { object: "the store".into(), blocks: self.capacity(), label: Label::None }
    }

    /// Have it keep that label, durably. Only for a store that keeps one; blocks.
    fn set_label(&self, _label: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// A file beside the store, of its name and `suffix`, that holds what the store holds now and shares its space until either
    /// changes; in the place of any other of that name, and durable when this returns. Only for a file on a file system that
    /// can; blocks.
    fn clone_beside(&self, _suffix: &str) -> io::Result<PathBuf> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Start bringing the extent into the cache (PRE-FETCH); a device without one does nothing.
    fn prefetch(&self, _extent: Extent) {}
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn payload(pieces: &[Vec<u8>]) -> Payload {
        let mut payload = Payload::default();
        pieces.iter().for_each(|piece| payload.push(Bytes::copy_from_slice(piece)));
        payload
    }

    #[test]
    fn one_piece_is_handed_on_without_a_copy() {
        let piece = Bytes::from_static(b"one piece");
        let payload = Payload::from(piece.clone());
        assert_eq!(payload.contiguous().as_ptr(), piece.as_ptr());
        assert_eq!(payload.slice(4, 5).pieces()[0].as_ptr(), piece[4..].as_ptr());
    }

    #[test]
    fn nothing_is_no_piece() {
        let mut payload = Payload::from(Bytes::new());
        assert!(payload.is_empty() && payload.pieces().is_empty() && payload.contiguous().is_empty());
        payload.truncate(10);
        assert_eq!(format!("{payload:?}"), "Payload(0 bytes in 0 pieces)");
    }

    #[test]
    #[should_panic(expected = "slice lies within the payload")]
    fn a_slice_beyond_the_end_is_our_own_fault() {
        Payload::from(Bytes::from_static(b"abc")).slice(2, 2);
    }

    #[tokio::test]
    async fn eventually_is_the_value_now_or_later() {
        assert_eq!(Eventually::Now(1).map(|one| one + 1).await, 2);
        assert_eq!(Eventually::later(async { 1 }).map(|one| one + 1).await, 2);
        assert!(matches!(Eventually::Now(1).map(|one| one + 1), Eventually::Now(2)));
    }

    proptest! {
        #[test]
        fn slicing_and_truncating_is_that_of_the_bytes(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 0..6),
            (at, length) in (0..50_usize, 0..50_usize),
        ) {
            let whole = pieces.concat();
            let payload = payload(&pieces);
            prop_assert_eq!(payload.len() as usize, whole.len());
            prop_assert_eq!(&payload.contiguous()[..], &whole[..]);
            let at = at.min(whole.len());
            let length = length.min(whole.len() - at);
            let slice = payload.slice(at as u64, length as u64);
            prop_assert_eq!(&slice.contiguous()[..], &whole[at..at + length]);
            prop_assert_eq!(slice.len() as usize, length);
            let mut shorter = payload.clone();
            shorter.truncate(length as u64);
            prop_assert_eq!(&shorter.contiguous()[..], &whole[..length]);
            prop_assert!(shorter.len() as usize == length && shorter.pieces().iter().all(|piece| !piece.is_empty()));
        }
    }
}
