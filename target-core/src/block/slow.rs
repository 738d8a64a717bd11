//! A device that takes its time, or waits until it is let go, for tests of queueing and task management.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::faulty::Operation;
use super::{
    Allocation, AllocationRun, BlockCount, BlockDevice, BlockLength, Capabilities, Durability, Eventually, Extent, Io,
    Payload, ResizeError,
};

#[derive(Debug)]
pub struct SlowDevice {
    below: Arc<dyn BlockDevice>,
    delays: Mutex<Vec<(&'static [Operation], Duration)>>,
    gate: watch::Sender<Gate>,
}

#[derive(Clone, Copy, Debug)]
struct Gate {
    held: &'static [Operation],
    waiting: usize,
}

impl SlowDevice {
    pub fn new(below: Arc<dyn BlockDevice>) -> SlowDevice {
        let gate = watch::Sender::new(Gate { held: &[], waiting: 0 });
        SlowDevice { below, delays: Mutex::default(), gate }
    }

    /// From now on these operations take `delay` before they begin.
    pub fn delay(&self, operations: &'static [Operation], delay: Duration) {
        self.delays.lock().push((operations, delay));
    }

    /// From now on these operations wait for `release`, before they begin.
    pub fn hold(&self, operations: &'static [Operation]) {
        self.gate.send_modify(|gate| gate.held = operations);
    }

    /// Let go all that wait, and hold no more.
    pub fn release(&self) {
        self.gate.send_modify(|gate| gate.held = &[]);
    }

    /// Operations waiting at the gate.
    pub fn waiting(&self) -> usize {
        self.gate.borrow().waiting
    }

    /// Resolves when at least `count` operations wait at the gate.
    pub async fn until_waiting(&self, count: usize) {
        let mut gate = self.gate.subscribe();
        let _ = gate.wait_for(|gate| gate.waiting >= count).await;
    }

    fn pass<T: Send + 'static>(
        &self,
        operation: Operation,
        run: impl FnOnce(&dyn BlockDevice) -> Io<T> + Send + 'static,
    ) -> Io<T> {
        let delay: Duration =
            self.delays.lock().iter().filter(|(slow, _)| slow.contains(&operation)).map(|(_, delay)| *delay).sum();
        let held = self.gate.borrow().held.contains(&operation);
        if delay.is_zero() && !held {
            return run(&*self.below);
        }
        let below = self.below.clone();
        let waiting = held.then(|| Waiting::new(self.gate.clone()));
        Eventually::later(async move {
            if let Some(waiting) = waiting {
                let mut gate = waiting.gate.subscribe();
                let _ = gate.wait_for(|gate| !gate.held.contains(&operation)).await;
            }
            tokio::time::sleep(delay).await;
            run(&*below).await
        })
    }
}

/// Counts itself at the gate, also when its future is dropped there.
struct Waiting {
    gate: watch::Sender<Gate>,
}

impl Waiting {
    fn new(gate: watch::Sender<Gate>) -> Waiting {
        gate.send_modify(|gate| gate.waiting += 1);
        Waiting { gate }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.gate.send_modify(|gate| gate.waiting -= 1);
    }
}

impl BlockDevice for SlowDevice {
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
        self.pass(Operation::Read, move |below| below.read(extent, buffer))
    }

    fn write(&self, extent: Extent, data: Payload, durability: Durability) -> Io<()> {
        self.pass(Operation::Write, move |below| below.write(extent, data, durability))
    }

    fn write_zeroes(&self, extent: Extent, allocation: Allocation, durability: Durability) -> Io<()> {
        self.pass(Operation::WriteZeroes, move |below| below.write_zeroes(extent, allocation, durability))
    }

    fn unmap(&self, extent: Extent) -> Io<()> {
        self.pass(Operation::Unmap, move |below| below.unmap(extent))
    }

    fn flush(&self) -> Io<()> {
        self.pass(Operation::Flush, |below| below.flush())
    }

    fn begin_anew(&self) {
        self.below.begin_anew();
    }

    fn allocation(&self, extent: Extent, runs_max: usize) -> Io<Vec<AllocationRun>> {
        self.pass(Operation::Allocation, move |below| below.allocation(extent, runs_max))
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
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::block::{Lba, Store, StoreSpec, open};

    fn device() -> SlowDevice {
        let block_length = BlockLength::B512;
        let spec = StoreSpec { store: Store::Memory, size: Some(1 << 20), block_length, read_only: false, thin: true };
        SlowDevice::new(open(&spec).expect("opens"))
    }

    #[tokio::test]
    async fn what_is_held_waits_for_release_and_the_rest_does_not() {
        let device = device();
        let extent = Extent::new(Lba(0), BlockCount(1), device.capacity()).expect("fits");
        device.hold(&[Operation::Write]);
        let mut write = pin!(device.write(extent, BytesMut::from(&[7; 512][..]).into(), Durability::Cached));
        assert!(write.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        device.until_waiting(1).await;
        let read = device.read(extent, BytesMut::new()).await.expect("reads");
        assert!(read.iter().all(|&byte| byte == 0), "not begun");
        drop(device.write(extent, BytesMut::zeroed(512).into(), Durability::Cached));
        assert_eq!(device.waiting(), 1, "the dropped one is not counted");
        device.release();
        write.await.expect("writes");
        assert!(device.read(extent, BytesMut::new()).await.expect("reads").iter().all(|&byte| byte == 7));
    }

    #[tokio::test]
    async fn a_delay_is_taken() {
        let device = device();
        device.delay(&[Operation::Flush], Duration::from_millis(20));
        let mut flush = pin!(device.flush());
        assert!(matches!(flush.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending));
        assert_eq!(flush.await, Ok(()));
    }
}
