//! Backing stores behind one trait: [`BlockDevice`].

pub use mirror_link::block::{
    Allocation, AllocationRun, BlockDevice, BlockError, Capabilities, Durability, Eventually, Io, Payload,
};
pub use mirror_link::extent::{BlockCount, BlockLength, Extent, Lba, OutOfRange};
