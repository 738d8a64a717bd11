//! From what the operator asked for to a device.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::device::BlockDeviceFile;
use super::file::FileDevice;
use super::memory::MemoryDevice;
use super::null::NullDevice;
use super::{BlockCount, BlockDevice, BlockLength};

/// Where the blocks are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// A regular file; made, sparse, where there is none and a size is given.
    File { path: PathBuf, direct_io: bool },
    /// A block device node.
    Device { path: PathBuf },
    /// Gone with the process.
    Memory,
    /// Reads zeroes, forgets writes.
    Null,
}

/// A backing store as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSpec {
    pub store: Store,
    /// Bytes. Without it a file or device is taken as large as it is.
    pub size: Option<u64>,
    pub block_length: BlockLength,
    pub read_only: bool,
    /// Space is taken as it is written and may be given back. Otherwise all of it is reserved at once.
    pub thin: bool,
}

/// Why a store cannot be opened: for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{object} {cause}; {remedy}")]
pub struct OpenError {
    /// What is at fault: a path, mostly.
    pub object: String,
    /// A predicate of the object.
    pub cause: String,
    /// What to do about it, as an order.
    pub remedy: String,
}

impl OpenError {
    pub(super) fn new(object: impl fmt::Display, cause: impl Into<String>, remedy: impl Into<String>) -> OpenError {
        OpenError { object: object.to_string(), cause: cause.into(), remedy: remedy.into() }
    }
}

/// Open, lock and, for a file, create or grow the store. Blocks on the file system: not for async code.
/// The device's own operations are to be called within a tokio runtime.
pub fn open(spec: &StoreSpec) -> Result<Arc<dyn BlockDevice>, OpenError> {
    Ok(match &spec.store {
        Store::File { path, direct_io } => Arc::new(FileDevice::open(path, *direct_io, spec)?),
        Store::Device { path } => Arc::new(BlockDeviceFile::open(path, spec)?),
        Store::Memory => Arc::new(MemoryDevice::open(spec)?),
        Store::Null => Arc::new(NullDevice::open(spec)?),
    })
}

impl StoreSpec {
    /// Blocks in `size` bytes of `object`.
    pub(super) fn blocks(&self, object: impl fmt::Display, size: u64) -> Result<BlockCount, OpenError> {
        let block = u64::from(self.block_length.bytes());
        if size == 0 {
            return Err(OpenError::new(object, "is empty", "give a size of at least one block"));
        }
        if !size.is_multiple_of(block) {
            let (below, above) = (size - size % block, (size - size % block).saturating_add(block));
            return Err(OpenError::new(
                object,
                format!("has {size} bytes, which is no multiple of the block size of {block}"),
                format!("give a size of {below} or {above} bytes"),
            ));
        }
        Ok(BlockCount(size / block))
    }

    /// The size, for a store that has none of its own.
    pub(super) fn size_needed(&self, object: impl fmt::Display) -> Result<u64, OpenError> {
        self.size.ok_or_else(|| OpenError::new(object, "has no size of its own", "give it a `size`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn null(size: Option<u64>) -> StoreSpec {
        StoreSpec { store: Store::Null, size, block_length: BlockLength::B512, read_only: false, thin: true }
    }

    #[test]
    fn a_size_is_needed_and_is_a_multiple_of_the_block_size() {
        let refused = |size| open(&null(size)).expect_err("refused").to_string();
        assert_eq!(refused(None), "a null store has no size of its own; give it a `size`");
        assert_eq!(refused(Some(0)), "a null store is empty; give a size of at least one block");
        assert_eq!(
            refused(Some(1000)),
            "a null store has 1000 bytes, which is no multiple of the block size of 512; give a size of 512 or 1024 bytes"
        );
        assert_eq!(open(&null(Some(1024))).expect("opens").capacity(), BlockCount(2));
    }
}
