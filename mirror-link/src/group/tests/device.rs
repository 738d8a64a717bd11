//! A device in memory that answers at once or later, and counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::block::{
    Allocation, AllocationRun, BlockDevice, BlockError, Capabilities, Durability, Eventually, Io, Label, Origin,
    Payload,
};
use crate::extent::{BlockCount, BlockLength, Extent, Lba};

pub const BLOCK: usize = 512;

#[derive(Debug)]
pub struct TestDevice {
    bytes: Mutex<Vec<u8>>,
    /// Answer by a future, after some random time, as a real disk does.
    pub late: AtomicBool,
    pub fails: AtomicBool,
    /// It failed, and every flush does until it begins anew.
    has_lost: AtomicBool,
    /// Answers wait until it no longer does.
    hangs: watch::Sender<bool>,
    /// `unmap` is offered, and whole zero blocks count as unmapped.
    pub thin: bool,
    pub reads: AtomicU64,
    pub writes: AtomicU64,
    pub flushes: AtomicU64,
    pub unmaps: AtomicU64,
    /// Blocks that it had when it was opened.
    pub found: AtomicU64,
    pub label: Mutex<Label>,
}

impl TestDevice {
    pub fn new(blocks: u64, thin: bool) -> Arc<TestDevice> {
        Arc::new(TestDevice {
            bytes: Mutex::new(vec![0; blocks as usize * BLOCK]),
            late: AtomicBool::new(false),
            fails: AtomicBool::new(false),
            has_lost: AtomicBool::new(false),
            hangs: watch::Sender::new(false),
            thin,
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
            unmaps: AtomicU64::new(0),
            found: AtomicU64::new(blocks),
            label: Mutex::new(Label::Kept(None)),
        })
    }

    pub fn hang(&self, hangs: bool) {
        self.hangs.send_replace(hangs);
    }

    pub fn content(&self) -> Vec<u8> {
        self.bytes.lock().clone()
    }

    pub fn fill(&self, content: &[u8]) {
        self.bytes.lock().copy_from_slice(content);
    }

    pub fn extent(&self, lba: u64, blocks: u64) -> Extent {
        Extent::new(Lba(lba), BlockCount(blocks), self.capacity()).unwrap()
    }

    fn put(&self, extent: Extent, data: &[u8]) -> Io<()> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.answer(|| {
            let at = extent.lba().0 as usize * BLOCK;
            self.bytes.lock()[at..at + data.len()].copy_from_slice(data);
        })
    }

    fn answer<T: Send + 'static>(&self, act: impl FnOnce() -> T) -> Io<T> {
        if self.fails.load(Ordering::Relaxed) {
            self.has_lost.store(true, Ordering::Relaxed);
            return Eventually::Now(Err(BlockError::Medium));
        }
        let value = act();
        if *self.hangs.borrow() {
            let mut hangs = self.hangs.subscribe();
            return Eventually::later(async move {
                hangs.wait_for(|hangs| !hangs).await.unwrap();
                Ok(value)
            });
        }
        if !self.late.load(Ordering::Relaxed) {
            return Eventually::Now(Ok(value));
        }
        let micros = u64::from(getrandom::u32().unwrap()) % 300;
        Eventually::later(async move {
            tokio::time::sleep(Duration::from_micros(micros)).await;
            Ok(value)
        })
    }
}

impl BlockDevice for TestDevice {
    fn block_length(&self) -> BlockLength {
        BlockLength::B512
    }

    fn capacity(&self) -> BlockCount {
        BlockCount((self.bytes.lock().len() / BLOCK) as u64)
    }

    fn origin(&self) -> Origin {
        let blocks = BlockCount(self.found.load(Ordering::Relaxed));
        Origin { object: "/srv/db.img".into(), blocks, label: self.label.lock().clone() }
    }

    fn set_label(&self, label: &str) -> std::io::Result<()> {
        *self.label.lock() = Label::Kept(Some(label.into()));
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            unmap: self.thin,
            fast_zeroes: true,
            volatile_cache: true,
            allocation_map: self.thin,
            read_only: false,
            unmap_granularity: BlockCount(1),
        }
    }

    fn read(&self, extent: Extent, mut buffer: BytesMut) -> Io<BytesMut> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.answer(|| {
            let at = extent.lba().0 as usize * BLOCK;
            buffer.extend_from_slice(&self.bytes.lock()[at..at + extent.blocks().0 as usize * BLOCK]);
            buffer
        })
    }

    fn write(&self, extent: Extent, data: Payload, _durability: Durability) -> Io<()> {
        self.put(extent, &data.contiguous())
    }

    fn write_zeroes(&self, extent: Extent, _allocation: Allocation, _durability: Durability) -> Io<()> {
        self.put(extent, &vec![0; extent.blocks().0 as usize * BLOCK])
    }

    fn unmap(&self, extent: Extent) -> Io<()> {
        assert!(self.thin, "unmap is not offered");
        self.unmaps.fetch_add(1, Ordering::Relaxed);
        self.put(extent, &vec![0; extent.blocks().0 as usize * BLOCK])
    }

    fn flush(&self) -> Io<()> {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        if self.has_lost.load(Ordering::Relaxed) {
            return Eventually::Now(Err(BlockError::Medium));
        }
        self.answer(|| ())
    }

    fn begin_anew(&self) {
        self.has_lost.store(false, Ordering::Relaxed);
    }

    fn allocation(&self, extent: Extent, runs_max: usize) -> Io<Vec<AllocationRun>> {
        let at = extent.lba().0 as usize * BLOCK;
        let bytes = self.bytes.lock();
        let mut runs: Vec<AllocationRun> = Vec::new();
        for block in bytes[at..].chunks(BLOCK).take(extent.blocks().0 as usize) {
            let mapped = !self.thin || block.iter().any(|&byte| byte != 0);
            match runs.last_mut() {
                Some(last) if last.mapped == mapped => last.blocks.0 += 1,
                _ => runs.push(AllocationRun { blocks: BlockCount(1), mapped }),
            }
        }
        runs.truncate(runs_max);
        Eventually::Now(Ok(runs))
    }

    fn is_unmapped(&self, extent: Extent) -> Io<bool> {
        let at = extent.lba().0 as usize * BLOCK;
        let bytes = &self.bytes.lock()[at..at + extent.blocks().0 as usize * BLOCK];
        Eventually::Now(Ok(self.thin && bytes.iter().all(|&byte| byte == 0)))
    }

    fn used(&self) -> Option<BlockCount> {
        None
    }
}
