//! Backing stores behind one trait: [`BlockDevice`].
//!
//! ```text
//!   open(&StoreSpec) ──► memory · null                      (answer at once)
//!                   └──► file · device ──► medium ──► inline where the kernel promises not to block
//!                                             └─────► lane, pool, flusher elsewhere
//!   faulty · slow   wrap any of them, for tests
//! ```

pub mod device;
pub mod faulty;
pub mod file;
pub mod memory;
pub mod null;
pub mod slow;

mod bounce;
mod chunks;
mod descriptor;
mod flusher;
mod lane;
mod lock;
mod medium;
mod node;
mod open;
mod pool;
mod runs;
mod sys;

#[cfg(test)]
mod conformance;

pub use mirror_link::block::{
    Allocation, AllocationRun, BlockDevice, BlockError, Capabilities, Durability, Eventually, Io, Label, Origin,
    Payload, ResizeError,
};
pub use mirror_link::extent::{BlockCount, BlockLength, Extent, Lba, OutOfRange};
pub use open::{OpenError, Store, StoreSpec, open};
pub use sys::keep_large_buffers;
