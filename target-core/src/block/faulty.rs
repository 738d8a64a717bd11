//! A device that fails as it is told, for tests of everything above it.

use std::sync::Arc;

use bytes::BytesMut;
use parking_lot::Mutex;

use super::{
    Allocation, AllocationRun, BlockCount, BlockDevice, BlockError, BlockLength, Capabilities, Durability, Eventually,
    Extent, Io, Payload, ResizeError,
};

/// The operations of a [`BlockDevice`] that may be made to fail or wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Read,
    Write,
    WriteZeroes,
    Unmap,
    Flush,
    Allocation,
}

impl Operation {
    pub const ALL: &'static [Operation] = &[
        Operation::Read,
        Operation::Write,
        Operation::WriteZeroes,
        Operation::Unmap,
        Operation::Flush,
        Operation::Allocation,
    ];
}

/// Which operations fail, and how.
#[derive(Clone, Debug)]
pub struct Fault {
    pub operations: &'static [Operation],
    /// Only those that touch this extent; a flush touches every extent.
    pub extent: Option<Extent>,
    /// Let this many pass first.
    pub passes: u64,
    /// Then fail this many; `u64::MAX` for ever.
    pub times: u64,
    pub error: BlockError,
}

impl Fault {
    pub fn always(operations: &'static [Operation], error: BlockError) -> Fault {
        Fault { operations, extent: None, passes: 0, times: u64::MAX, error }
    }
}

#[derive(Debug)]
pub struct FaultyDevice {
    below: Arc<dyn BlockDevice>,
    faults: Mutex<Vec<Fault>>,
}

impl FaultyDevice {
    pub fn new(below: Arc<dyn BlockDevice>) -> FaultyDevice {
        FaultyDevice { below, faults: Mutex::default() }
    }

    pub fn inject(&self, fault: Fault) {
        self.faults.lock().push(fault);
    }

    pub fn clear(&self) {
        self.faults.lock().clear();
    }

    fn pass<T: 'static>(&self, operation: Operation, extent: Option<Extent>, run: impl FnOnce() -> Io<T>) -> Io<T> {
        match self.fault(operation, extent) {
            Some(error) => Eventually::Now(Err(error)),
            None => run(),
        }
    }

    fn fault(&self, operation: Operation, extent: Option<Extent>) -> Option<BlockError> {
        self.faults.lock().iter_mut().find_map(|fault| fault.strike(operation, extent))
    }
}

impl Fault {
    fn strike(&mut self, operation: Operation, extent: Option<Extent>) -> Option<BlockError> {
        let touches = match (self.extent, extent) {
            (Some(fault), Some(extent)) => fault.overlaps(extent),
            _ => true,
        };
        if !touches || !self.operations.contains(&operation) || self.times == 0 {
            return None;
        }
        if self.passes > 0 {
            self.passes -= 1;
            return None;
        }
        if self.times != u64::MAX {
            self.times -= 1;
        }
        Some(self.error)
    }
}

impl BlockDevice for FaultyDevice {
    fn block_length(&self) -> BlockLength {
        self.below.block_length()
    }

    fn capacity(&self) -> BlockCount {
        self.below.capacity()
    }

    fn capabilities(&self) -> Capabilities {
        self.below.capabilities()
    }

    fn read(&self, extent: Extent, buffer: BytesMut) -> Io<BytesMut> {
        self.pass(Operation::Read, Some(extent), || self.below.read(extent, buffer))
    }

    fn write(&self, extent: Extent, data: Payload, durability: Durability) -> Io<()> {
        self.pass(Operation::Write, Some(extent), || self.below.write(extent, data, durability))
    }

    fn write_zeroes(&self, extent: Extent, allocation: Allocation, durability: Durability) -> Io<()> {
        self.pass(Operation::WriteZeroes, Some(extent), || self.below.write_zeroes(extent, allocation, durability))
    }

    fn unmap(&self, extent: Extent) -> Io<()> {
        self.pass(Operation::Unmap, Some(extent), || self.below.unmap(extent))
    }

    fn flush(&self) -> Io<()> {
        self.pass(Operation::Flush, None, || self.below.flush())
    }

    fn begin_anew(&self) {
        self.below.begin_anew();
    }

    fn allocation(&self, extent: Extent, runs_max: usize) -> Io<Vec<AllocationRun>> {
        self.pass(Operation::Allocation, Some(extent), || self.below.allocation(extent, runs_max))
    }

    fn used(&self) -> Option<BlockCount> {
        self.below.used()
    }

    fn resize(&self, capacity: Option<BlockCount>) -> Eventually<Result<BlockCount, ResizeError>> {
        self.below.resize(capacity)
    }

    fn prefetch(&self, extent: Extent) {
        self.below.prefetch(extent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{Lba, Store, StoreSpec, open};

    #[tokio::test]
    async fn faults_meet_their_operation_range_and_count() {
        let block_length = BlockLength::B512;
        let spec = StoreSpec { store: Store::Memory, size: Some(1 << 20), block_length, read_only: false, thin: true };
        let device = FaultyDevice::new(open(&spec).expect("opens"));
        let extent = |lba| Extent::new(Lba(lba), BlockCount(2), device.capacity()).expect("fits");
        device.inject(Fault {
            operations: &[Operation::Write],
            extent: Some(extent(10)),
            passes: 1,
            times: 2,
            error: BlockError::NoSpace,
        });
        let write = |lba| device.write(extent(lba), BytesMut::zeroed(1024).into(), Durability::Cached);
        assert_eq!(write(12).await, Ok(()), "another extent is not counted");
        assert_eq!(write(11).await, Ok(()), "one passes");
        assert_eq!(device.read(extent(10), BytesMut::new()).await.map(|data| data.len()), Ok(1024));
        assert_eq!(write(9).await, Err(BlockError::NoSpace));
        assert_eq!(write(10).await, Err(BlockError::NoSpace));
        assert_eq!(write(10).await, Ok(()), "twice only");
        device.inject(Fault::always(&[Operation::Flush], BlockError::Medium));
        assert_eq!(device.flush().await, Err(BlockError::Medium));
        device.clear();
        assert_eq!(device.flush().await, Ok(()));
    }
}
