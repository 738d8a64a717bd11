//! What every store owes, asked of each of them.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use tempfile::TempDir;

use super::{
    Allocation, BlockCount, BlockDevice, BlockError, BlockLength, Durability, Extent, Lba, Payload, ResizeError, Store,
    StoreSpec, open,
};

/// A store to be tested, and what must outlive it.
struct Subject {
    name: &'static str,
    spec: StoreSpec,
    device: Option<Arc<dyn BlockDevice>>,
    kept: Kept,
}

enum Kept {
    Nothing,
    Directory { _directory: TempDir },
    Loop(LoopDevice),
}

impl Subject {
    fn device(&self) -> &Arc<dyn BlockDevice> {
        self.device.as_ref().expect("open")
    }

    fn reopen(&mut self) {
        self.device = None;
        self.device = Some(open(&self.spec).expect("opens again"));
    }

    fn extent(&self, lba: u64, blocks: u64) -> Extent {
        Extent::new(Lba(lba), BlockCount(blocks), self.device().capacity()).expect("fits")
    }

    async fn write(&self, lba: u64, blocks: u64, fill: u8) {
        let length = (blocks << self.spec.block_length.shift()) as usize;
        let data = Payload::from(Bytes::from(vec![fill; length]));
        self.device().write(self.extent(lba, blocks), data, Durability::Cached).await.expect("writes");
    }

    async fn read(&self, lba: u64, blocks: u64) -> Result<BytesMut, BlockError> {
        self.device().read(self.extent(lba, blocks), BytesMut::new()).await
    }

    fn blocks(&self, bytes: u64) -> u64 {
        bytes >> self.spec.block_length.shift()
    }

    /// Bytes in use by the store below.
    fn used(&self) -> u64 {
        match &self.kept {
            Kept::Loop(device) => device.used(),
            _ => self.device().used().expect("known").0 << self.spec.block_length.shift(),
        }
    }
}

/// A loop device over a file of [`SIZE`] bytes; gone when dropped.
struct LoopDevice {
    node: PathBuf,
    directory: TempDir,
}

impl LoopDevice {
    /// `None`, said aloud, where this is not root's machine.
    fn new(sector: u32) -> Option<LoopDevice> {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("disk");
        File::create(&file).and_then(|file| file.set_len(SIZE)).expect("a file");
        let sector = sector.to_string();
        let shown = Command::new("losetup").args(["--find", "--show", "--sector-size", &sector]).arg(&file).output();
        match shown {
            Ok(shown) if shown.status.success() => {
                let node = String::from_utf8(shown.stdout).expect("a path");
                Some(LoopDevice { node: PathBuf::from(node.trim()), directory })
            }
            other => {
                skipped(&format!("stores on block devices: no loop device ({other:?})"));
                None
            }
        }
    }

    fn used(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        self.directory.path().join("disk").metadata().expect("there").blocks() * 512
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.node).status();
    }
}

/// Past the test harness, which swallows what passing tests print.
fn skipped(what: &str) {
    let _ = writeln!(std::io::stderr(), "\nSKIPPED: {what}");
}

fn file_in(name: &'static str, directory: &str, block_length: BlockLength, direct_io: bool, thin: bool) -> Subject {
    let directory = tempfile::tempdir_in(directory).expect("a directory");
    let store = Store::File { path: directory.path().join("volume"), direct_io };
    let spec = StoreSpec { store, size: Some(SIZE), block_length, read_only: false, thin };
    let device = Some(open(&spec).expect("opens"));
    Subject { name, spec, device, kept: Kept::Directory { _directory: directory } }
}

fn memory(name: &'static str, block_length: BlockLength, thin: bool) -> Subject {
    let spec = StoreSpec { store: Store::Memory, size: Some(SIZE), block_length, read_only: false, thin };
    Subject { name, device: Some(open(&spec).expect("opens")), spec, kept: Kept::Nothing }
}

fn looped(name: &'static str, block_length: BlockLength) -> Option<Subject> {
    let kept = LoopDevice::new(block_length.bytes())?;
    let store = Store::Device { path: kept.node.clone() };
    let spec = StoreSpec { store, size: None, block_length, read_only: false, thin: true };
    Some(Subject { name, device: Some(open(&spec).expect("opens")), spec, kept: Kept::Loop(kept) })
}

fn subjects() -> Vec<Subject> {
    let (b512, b4096) = (BlockLength::B512, BlockLength::B4096);
    let mut subjects = vec![
        memory("memory 512", b512, true),
        memory("memory 4096", b4096, true),
        memory("memory thick", b512, false),
        file_in("file in memory", IN_MEMORY, b512, false, true),
        file_in("file on disk 512", ON_DISK, b512, false, true),
        file_in("file on disk 4096", ON_DISK, b4096, false, true),
        file_in("file on disk, thick", ON_DISK, b512, false, false),
        file_in("file on disk, direct", ON_DISK, b4096, true, true),
        file_in("file on disk, direct 512", ON_DISK, b512, true, true),
    ];
    subjects.extend(looped("device 512", b512));
    subjects.extend(looped("device 4096", b4096));
    subjects
}

const SIZE: u64 = 8 << 20;
const IN_MEMORY: &str = "/dev/shm";
/// Not the default for temporary files, which may be in memory too.
const ON_DISK: &str = "/var/tmp";
/// The model checks this much of the device's start: across the boundaries of chunks and of the file system's blocks.
const MODEL: u64 = 256 << 10;

#[derive(Clone, Debug)]
enum Step {
    Write { at: u64, length: u64, fill: u8, cuts: Vec<u64>, durability: Durability },
    Zero { at: u64, length: u64, allocation: Allocation, durability: Durability },
    Unmap { at: u64, length: u64 },
    Read { at: u64, length: u64 },
    Map { at: u64, length: u64, runs_max: usize },
    Flush,
    Reopen,
}

/// Offsets and lengths in bytes of the model, rounded to blocks when the block length is known.
fn step() -> impl Strategy<Value = Step> {
    let at = 0..MODEL;
    let length = prop_oneof![4 => 0..20_000_u64, 1 => 0..MODEL];
    let durability = prop_oneof![3 => Just(Durability::Cached), 1 => Just(Durability::Durable)];
    let allocation = prop_oneof![Just(Allocation::Keep), Just(Allocation::MayRelease)];
    let cuts = proptest::collection::vec(0..20_000_u64, 0..4);
    prop_oneof![
        6 => (at.clone(), length.clone(), 1_u8.., cuts, durability.clone()).prop_map(|(at, length, fill, cuts, durability)| {
            Step::Write { at, length, fill, cuts, durability }
        }),
        2 => (at.clone(), length.clone(), allocation, durability).prop_map(|(at, length, allocation, durability)| {
            Step::Zero { at, length, allocation, durability }
        }),
        2 => (at.clone(), length.clone()).prop_map(|(at, length)| Step::Unmap { at, length }),
        4 => (at.clone(), length.clone()).prop_map(|(at, length)| Step::Read { at, length }),
        2 => (at, length, 0..6_usize).prop_map(|(at, length, runs_max)| Step::Map { at, length, runs_max }),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
    ]
}

struct Model {
    subject: Subject,
    bytes: Vec<u8>,
}

impl Model {
    fn place(&self, at: u64, length: u64) -> (Extent, std::ops::Range<usize>) {
        let block_length = self.subject.spec.block_length;
        let (first, last) = (self.subject.blocks(at), self.subject.blocks((at + length).min(MODEL)));
        let extent = self.subject.extent(first, last.saturating_sub(first));
        let start = extent.byte_offset(block_length) as usize;
        (extent, start..start + extent.byte_length(block_length) as usize)
    }

    async fn take(&mut self, step: Step) {
        let device = self.subject.device().clone();
        match step {
            Step::Write { at, length, fill, cuts, durability } => {
                let (extent, range) = self.place(at, length);
                let data: Vec<u8> =
                    range.clone().map(|byte| (byte as u8).wrapping_mul(31).wrapping_add(fill)).collect();
                self.bytes[range].copy_from_slice(&data);
                let mut rest = Bytes::from(data);
                let mut payload = Payload::default();
                for cut in cuts {
                    payload.push(rest.split_to(rest.len().min(cut as usize)));
                }
                payload.push(rest);
                device.write(extent, payload, durability).await.expect("writes");
            }
            Step::Zero { at, length, allocation, durability } => {
                let (extent, range) = self.place(at, length);
                self.bytes[range].fill(0);
                device.write_zeroes(extent, allocation, durability).await.expect("writes zeroes");
            }
            Step::Unmap { at, length } => {
                let (extent, range) = self.place(at, length);
                self.bytes[range].fill(0);
                device.unmap(extent).await.expect("unmaps");
            }
            Step::Read { at, length } => {
                let (extent, range) = self.place(at, length);
                let mut buffer = BytesMut::from(&b"before"[..]);
                buffer.reserve(range.len());
                let read = device.read(extent, buffer).await.expect("reads");
                assert_eq!(&read[..6], b"before");
                assert!(read[6..] == self.bytes[range], "{}: other bytes at {extent}", self.subject.name);
            }
            Step::Map { at, length, runs_max } => {
                let (extent, range) = self.place(at, length);
                let runs = device.allocation(extent, runs_max).await.expect("maps");
                assert!(runs.len() <= runs_max, "{runs:?}");
                assert!(runs.windows(2).all(|two| two[0].mapped != two[1].mapped), "runs alternate: {runs:?}");
                assert!(runs_max == 0 || extent.is_empty() || runs[0].blocks.0 > 0);
                let mut at = range.start;
                for run in &runs {
                    let end = at + (run.blocks.0 << device.block_length().shift()) as usize;
                    assert!(end <= range.end, "runs lie within the extent: {runs:?}");
                    assert!(run.mapped || self.bytes[at..end].iter().all(|&byte| byte == 0), "unmapped, not zero");
                    at = end;
                }
            }
            Step::Flush => device.flush().await.expect("flushes"),
            Step::Reopen if matches!(self.subject.spec.store, Store::Memory) => {}
            Step::Reopen => {
                drop(device);
                self.subject.reopen();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_reads_back_as_the_model_does(steps in proptest::collection::vec(step(), 1..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            // A loop device for each case would take too long; it has its own tests below.
            for subject in subjects_without_loops() {
                let mut model = Model { subject, bytes: vec![0; MODEL as usize] };
                for step in steps.clone() {
                    model.take(step).await;
                }
                model.take(Step::Read { at: 0, length: MODEL }).await;
            }
        });
    }
}

fn subjects_without_loops() -> Vec<Subject> {
    vec![
        memory("memory 512", BlockLength::B512, true),
        memory("memory 4096", BlockLength::B4096, false),
        file_in("file in memory", IN_MEMORY, BlockLength::B512, false, true),
        file_in("file on disk", ON_DISK, BlockLength::B512, false, true),
        file_in("file on disk, direct, thick", ON_DISK, BlockLength::B4096, true, false),
    ]
}

#[tokio::test]
async fn what_is_written_is_read_and_the_rest_is_zero() {
    for mut subject in subjects() {
        let (one, all) = (subject.blocks(64 << 10), subject.device().capacity().0);
        assert_eq!(all, subject.blocks(SIZE), "{}", subject.name);
        subject.write(all - one, one, 7).await;
        // More than is served inline or fits a buffer for direct I/O.
        subject.write(1, subject.blocks(3 << 20), 9).await;
        subject.device().flush().await.expect("flushes");
        if !matches!(subject.spec.store, Store::Memory) {
            subject.reopen();
        }
        let read = subject.read(0, all).await.expect("reads");
        let (block, end) = (subject.spec.block_length.bytes() as usize, SIZE as usize);
        let nines = block..block + (3 << 20);
        assert_eq!(read.len(), end, "{}", subject.name);
        for (range, fill) in
            [(0..block, 0), (nines.clone(), 9), (nines.end..end - (64 << 10), 0), (end - (64 << 10)..end, 7)]
        {
            assert!(read[range.clone()].iter().all(|&byte| byte == fill), "{}: {range:?}", subject.name);
        }
    }
}

#[tokio::test]
async fn unmapped_space_is_free_again_and_reads_as_zeroes() {
    for subject in subjects() {
        let capabilities = subject.device().capabilities();
        assert_eq!(capabilities.unmap, subject.spec.thin, "{}", subject.name);
        if !capabilities.unmap {
            let before = subject.used();
            assert_eq!(before, SIZE, "{}: all of it is taken", subject.name);
            subject.write(0, subject.blocks(1 << 20), 1).await;
            subject.device().unmap(subject.extent(0, subject.blocks(1 << 20))).await.expect("zeroes");
            subject.device().flush().await.expect("flushes");
            assert_eq!(subject.used(), before, "{}: and stays so", subject.name);
            assert!(subject.read(0, 1).await.expect("reads").iter().all(|&byte| byte == 0));
            continue;
        }
        let all = subject.blocks(4 << 20);
        let before = subject.used();
        subject.write(0, all, 1).await;
        subject.device().flush().await.expect("flushes");
        let full = subject.used();
        assert!(full >= before + (4 << 20), "{}: {before} then {full}", subject.name);
        // All but one block at each end.
        subject.device().unmap(subject.extent(1, all - 2)).await.expect("unmaps");
        subject.device().flush().await.expect("flushes");
        let after = subject.used();
        assert!(after <= full - (4 << 20) + 3 * 4096, "{}: {full} then {after}", subject.name);
        let read = subject.read(0, all).await.expect("reads");
        let block = subject.spec.block_length.bytes() as usize;
        assert!(read[..block].iter().chain(&read[read.len() - block..]).all(|&byte| byte == 1), "{}", subject.name);
        assert!(read[block..read.len() - block].iter().all(|&byte| byte == 0), "{}", subject.name);
        if capabilities.allocation_map {
            let runs = subject.device().allocation(subject.extent(0, all), 10).await.expect("maps");
            assert_eq!(runs.iter().map(|run| run.mapped).collect::<Vec<_>>(), [true, false, true], "{}", subject.name);
        }
    }
}

#[tokio::test]
async fn zeroes_written_take_no_space_where_they_may_be_released() {
    for subject in subjects().into_iter().filter(|subject| subject.spec.thin) {
        let all = subject.extent(0, subject.blocks(4 << 20));
        subject.write(0, all.blocks().0, 1).await;
        subject.device().flush().await.expect("flushes");
        let full = subject.used();
        subject.device().write_zeroes(all, Allocation::MayRelease, Durability::Durable).await.expect("writes zeroes");
        assert!(subject.used() <= full - (4 << 20), "{}: {full} then {}", subject.name, subject.used());
        subject.device().write_zeroes(all, Allocation::Keep, Durability::Durable).await.expect("writes zeroes");
        assert!(subject.used() >= full, "{}: kept", subject.name);
        assert!(subject.read(0, all.blocks().0).await.expect("reads").iter().all(|&byte| byte == 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_do_not_mix() {
    for subject in subjects() {
        let each = subject.blocks(16 << 10);
        let writes: Vec<_> = (0..200)
            .map(|index| {
                let data = Payload::from(Bytes::from(vec![index as u8; 16 << 10]));
                let durability = if index % 50 == 0 { Durability::Durable } else { Durability::Cached };
                tokio::spawn(subject.device().write(subject.extent(index * each, each), data, durability))
            })
            .collect();
        for write in writes {
            write.await.expect("runs").expect("writes");
        }
        let reads: Vec<_> = (0..200)
            .map(|index| tokio::spawn(subject.device().read(subject.extent(index * each, each), BytesMut::new())))
            .collect();
        for (index, read) in reads.into_iter().enumerate() {
            let read = read.await.expect("runs").expect("reads");
            assert!(read.iter().all(|&byte| byte == index as u8), "{}: {index}", subject.name);
        }
    }
}

#[tokio::test]
async fn a_read_only_store_reads_and_refuses_the_rest() {
    for mut subject in subjects() {
        let one = subject.extent(0, 1);
        subject.write(0, 1, 5).await;
        let memory = matches!(subject.spec.store, Store::Memory);
        subject.spec.read_only = true;
        subject.reopen();
        let device = subject.device();
        assert!(device.capabilities().read_only);
        let fill = if memory { 0 } else { 5 };
        assert!(subject.read(0, 1).await.expect("reads").iter().all(|&byte| byte == fill), "{}", subject.name);
        let data = Payload::from(BytesMut::zeroed(subject.spec.block_length.bytes() as usize));
        assert_eq!(device.write(one, data, Durability::Cached).await, Err(BlockError::ReadOnly));
        assert_eq!(device.write_zeroes(one, Allocation::Keep, Durability::Durable).await, Err(BlockError::ReadOnly));
        assert_eq!(device.unmap(one).await, Err(BlockError::ReadOnly));
        assert_eq!(device.flush().await, Ok(()));
    }
}

#[tokio::test]
async fn an_extent_beyond_the_end_is_refused() {
    for subject in subjects() {
        let all = subject.device().capacity();
        let beyond =
            Extent::new(all.0.checked_sub(1).map(Lba).expect("not empty"), BlockCount(2), BlockCount(all.0 + 1));
        let beyond = beyond.expect("fits the larger one");
        let device = subject.device();
        let data = Payload::from(BytesMut::zeroed(2 * subject.spec.block_length.bytes() as usize));
        assert_eq!(device.read(beyond, BytesMut::new()).await, Err(BlockError::OutOfRange), "{}", subject.name);
        assert_eq!(device.write(beyond, data, Durability::Cached).await, Err(BlockError::OutOfRange));
        assert_eq!(device.unmap(beyond).await, Err(BlockError::OutOfRange));
        assert_eq!(device.allocation(beyond, 1).await, Err(BlockError::OutOfRange));
        device.prefetch(beyond);
        device.prefetch(subject.extent(0, all.0));
    }
}

#[tokio::test]
async fn each_is_locked_against_a_second_opening() {
    for subject in subjects().into_iter().filter(|subject| subject.spec.store != Store::Memory) {
        let error = open(&subject.spec).expect_err("in use");
        let path = match &subject.spec.store {
            Store::File { path, .. } | Store::Device { path } => path.clone(),
            _ => PathBuf::new(),
        };
        assert_eq!(Path::new(&error.object), path);
        // A device says so by itself, at open(2).
        let cause = match subject.spec.store {
            Store::Device { .. } => "cannot be used: Device or resource busy",
            _ => "is in use by another volume of this process",
        };
        assert_eq!(error.cause, cause, "{}", subject.name);
    }
}

#[tokio::test]
async fn a_device_grows_as_far_as_the_device_below() {
    let Some(mut subject) = looped("device 512", BlockLength::B512) else { return };
    subject.spec.size = Some(SIZE / 2);
    subject.reopen();
    let (half, all) = (subject.blocks(SIZE / 2), subject.blocks(SIZE));
    let device = subject.device();
    assert_eq!(device.capacity().0, half);
    assert_eq!(device.resize(Some(BlockCount(half + 1))).await, Ok(BlockCount(half + 1)));
    let beyond = ResizeError::NoRoom { room: all, asked: all + 1 };
    assert_eq!(device.resize(Some(BlockCount(all + 1))).await, Err(beyond));
    assert_eq!(device.resize(Some(BlockCount(1))).await, Err(ResizeError::Shrink { capacity: half + 1, asked: 1 }));
    let Kept::Loop(below) = &subject.kept else { return };
    let file = File::options().write(true).open(below.directory.path().join("disk")).expect("opens");
    file.set_len(2 * SIZE).expect("grows");
    assert!(Command::new("losetup").arg("--set-capacity").arg(&below.node).status().expect("runs").success());
    assert_eq!(device.resize(None).await, Ok(BlockCount(2 * all)));
    subject.write(2 * all - 1, 1, 3).await;
}

#[tokio::test]
async fn a_device_with_larger_sectors_is_refused() {
    let Some(mut subject) = looped("device 4096", BlockLength::B4096) else { return };
    subject.device = None;
    subject.spec.block_length = BlockLength::B512;
    let error = open(&subject.spec).expect_err("refused");
    assert_eq!(error.cause, "has sectors of 4096 bytes, more than the block size of 512");
    subject.spec.block_length = BlockLength::B4096;
    subject.spec.size = Some(2 * SIZE);
    let error = open(&subject.spec).expect_err("refused");
    assert_eq!(error.cause, format!("has {SIZE} bytes, less than the size asked for ({})", 2 * SIZE));
}
