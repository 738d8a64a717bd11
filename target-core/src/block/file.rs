//! A regular file: sparse, made and grown to the size asked for, never cut short.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::BytesMut;
use parking_lot::Mutex;
use rustix::fs::{
    FallocateFlags, OFlags, SeekFrom, XattrFlags, fallocate, fcntl_getfl, fcntl_setfl, fgetxattr, fsetxattr, fstat,
    fstatfs, ftruncate, seek,
};
use rustix::io::{Errno, pread};

use super::descriptor::{MediumSpec, block_error, retried};
use super::medium::Medium;
use super::node::{self, Node};
use super::open::{OpenError, StoreSpec};
use super::runs::Runs;
use super::{
    Allocation, AllocationRun, BlockCount, BlockDevice, BlockLength, Capabilities, Durability, Eventually, Extent, Io,
    Label, Origin, Payload, ResizeError, bounce, lock,
};

#[derive(Debug)]
pub struct FileDevice {
    medium: Medium,
    capabilities: Capabilities,
    thin: bool,
    growing: Arc<Mutex<()>>,
    /// Before it was made or grown for us.
    found: BlockCount,
}

impl FileDevice {
    pub fn open(path: &Path, direct_io: bool, spec: &StoreSpec) -> Result<FileDevice, OpenError> {
        let (file, path, created) = open_or_create(path, spec)?;
        // Only who holds the lock may take back what it made.
        lock::exclusive(&file, &path, !spec.read_only)?;
        FileDevice::prepare(file, &path, direct_io, spec, created).inspect_err(|_| {
            if created {
                let _ = std::fs::remove_file(&path);
            }
        })
    }

    fn prepare(
        file: File,
        path: &Path,
        direct_io: bool,
        spec: &StoreSpec,
        created: bool,
    ) -> Result<FileDevice, OpenError> {
        let object = path.display();
        let metadata = file.metadata().map_err(|error| node::refused(path, &error))?;
        let has = metadata.len();
        let size = spec.size.unwrap_or(has);
        let capacity = spec.blocks(&object, size)?;
        if size < has {
            return Err(OpenError::new(
                object,
                format!("has {has} bytes, more than the size asked for ({size}), and is never cut short"),
                format!("give a size of {has} or more, or another file"),
            ));
        }
        if size > has && spec.read_only {
            return Err(OpenError::new(
                object,
                format!("has {has} bytes, less than the size asked for ({size}), and is read-only"),
                "give no size, or unset `read_only`",
            ));
        }
        if !spec.read_only {
            grow(&file, has, size, spec.thin).map_err(|error| growth_refused(&file, path, size, spec, error))?;
        }
        if created {
            settle(&file, path).map_err(|error| node::refused(path, &error))?;
        }
        if direct_io {
            set_direct(&file, path, spec.block_length)?;
        }
        let releases = spec.thin && punches_holes(&file, size);
        let granularity = metadata.blksize().max(1) >> spec.block_length.shift();
        let capabilities = Capabilities {
            unmap: releases,
            fast_zeroes: releases || is_on(&file, &ZERO_RANGE_FILE_SYSTEMS),
            volatile_cache: true,
            allocation_map: spec.thin,
            read_only: spec.read_only,
            unmap_granularity: BlockCount(granularity.max(1)),
        };
        let medium = MediumSpec {
            path: path.to_owned(),
            block_length: spec.block_length,
            capacity,
            read_only: spec.read_only,
            direct_io,
            releases,
            in_memory: !direct_io && is_on(&file, &IN_MEMORY),
        };
        let (growing, found) = (Arc::default(), BlockCount(has >> spec.block_length.shift()));
        Ok(FileDevice { medium: Medium::new(file, medium), capabilities, thin: spec.thin, growing, found })
    }
}

impl BlockDevice for FileDevice {
    fn block_length(&self) -> BlockLength {
        self.medium.block_length()
    }

    fn capacity(&self) -> BlockCount {
        self.medium.capacity()
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn read(&self, extent: Extent, buffer: BytesMut) -> Io<BytesMut> {
        self.medium.read(extent, buffer)
    }

    fn write(&self, extent: Extent, data: Payload, durability: Durability) -> Io<()> {
        self.medium.write(extent, data, durability)
    }

    fn write_zeroes(&self, extent: Extent, allocation: Allocation, durability: Durability) -> Io<()> {
        self.medium.write_zeroes(extent, allocation, durability)
    }

    fn unmap(&self, extent: Extent) -> Io<()> {
        self.medium.write_zeroes(extent, Allocation::MayRelease, Durability::Cached)
    }

    fn flush(&self) -> Io<()> {
        self.medium.flush()
    }

    fn begin_anew(&self) {
        self.medium.begin_anew();
    }

    fn allocation(&self, extent: Extent, runs_max: usize) -> Io<Vec<AllocationRun>> {
        if self.thin {
            return self.medium.allocation(extent, runs_max);
        }
        let mut runs = Runs::new(runs_max);
        runs.push(extent.blocks().0, true);
        Eventually::Now(self.medium.check(extent).map(|()| runs.into_vec()))
    }

    fn is_unmapped(&self, extent: Extent) -> Io<bool> {
        if self.thin { self.medium.is_unmapped(extent) } else { Eventually::Now(Ok(false)) }
    }

    fn used(&self) -> Option<BlockCount> {
        // The file system counts its own metadata in: never tell more than there is.
        let bytes = fstat(&*self.medium.shared().file).ok()?.st_blocks as u64 * STAT_BLOCK_BYTES;
        let blocks = bytes.div_ceil(u64::from(self.block_length().bytes()));
        Some(BlockCount(blocks).min(self.capacity()))
    }

    fn resize(&self, capacity: Option<BlockCount>) -> Eventually<Result<BlockCount, ResizeError>> {
        let (shared, growing, thin) = (self.medium.shared().clone(), self.growing.clone(), self.thin);
        self.medium.pool().run(move || {
            let _one_at_a_time = growing.lock();
            let shift = shared.spec.block_length.shift();
            let now = shared.capacity_blocks.load(Ordering::Acquire);
            let has = fstat(&*shared.file).map_err(block_error)?.st_size as u64;
            let asked = capacity.map_or(has >> shift, |capacity| capacity.0);
            if asked < now {
                return Err(ResizeError::Shrink { capacity: now, asked });
            }
            // Somebody else may have made the file longer: that much is not ours to cut.
            let bytes = asked.saturating_mul(1 << shift);
            let size = bytes.max(has);
            if size > has && shared.spec.read_only {
                return Err(ResizeError::NoRoom { room: has >> shift, asked });
            }
            if !shared.spec.read_only {
                grow(&shared.file, has, size, thin).map_err(|error| match error {
                    Errno::FBIG | Errno::INVAL => {
                        ResizeError::FileTooLarge { bytes, largest: largest(&shared.file, shared.spec.block_length) }
                    }
                    error => block_error(error).into(),
                })?;
                shared.flusher.wrote();
            }
            shared.capacity_blocks.store(asked, Ordering::Release);
            Ok(BlockCount(asked))
        })
    }

    fn prefetch(&self, extent: Extent) {
        self.medium.prefetch(extent);
    }

    fn origin(&self) -> Origin {
        let shared = self.medium.shared();
        let label = match read_label(&shared.file) {
            Ok(label) => Label::Kept(Some(label)),
            Err(Errno::OPNOTSUPP) => Label::None,
            Err(_) => Label::Kept(None),
        };
        Origin { object: shared.spec.path.display().to_string(), blocks: self.found, label }
    }

    fn clone_beside(&self, suffix: &str) -> io::Result<PathBuf> {
        let shared = self.medium.shared();
        let mut name = shared.spec.path.clone().into_os_string();
        name.push(suffix);
        let path = PathBuf::from(&name);
        name.push(".new");
        let temporary = PathBuf::from(name);
        // A leftover of a process that was killed.
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => (),
        }
        let clone = || {
            let to = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&temporary)?;
            retried(|| rustix::fs::ioctl_ficlone(&to, &*shared.file))?;
            to.sync_all()?;
            std::fs::rename(&temporary, &path)?;
            File::open(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?
                .sync_all()
        };
        clone().inspect_err(|_| drop(std::fs::remove_file(&temporary))).map(|()| path)
    }

    fn set_label(&self, label: &str) -> io::Result<()> {
        write_label(&self.medium.shared().file, label)
    }
}

/// The label of a file that no device has open. `None`: it has none, or its file system keeps none.
pub fn label_of(path: &Path) -> io::Result<Option<String>> {
    match read_label(&File::open(path)?) {
        Ok(label) => Ok(Some(label)),
        Err(Errno::OPNOTSUPP | Errno::NODATA) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Durable when this returns.
pub fn label(path: &Path, label: &str) -> io::Result<()> {
    write_label(&File::options().write(true).open(path)?, label)
}

fn read_label(file: &File) -> Result<String, Errno> {
    let mut label = [0; LABEL_BYTES_MAX];
    let length = retried(|| fgetxattr(file, LABEL, &mut label))?;
    Ok(String::from_utf8_lossy(&label[..length]).into_owned())
}

fn write_label(file: &File, label: &str) -> io::Result<()> {
    retried(|| fsetxattr(file, LABEL, label.as_bytes(), XattrFlags::empty()))?;
    file.sync_all()
}

/// The file, its path without links, and whether it is new.
fn open_or_create(path: &Path, spec: &StoreSpec) -> Result<(File, PathBuf, bool), OpenError> {
    let mut options = OpenOptions::new();
    options.read(true).write(!spec.read_only).mode(FILE_MODE);
    let path = match Node::find(path)? {
        Node::Exists(path) => path,
        Node::Missing(path) if spec.read_only || spec.size.is_none() => {
            let remedy = if spec.read_only { "create it first" } else { "give it a `size` to be created with" };
            return Err(OpenError::new(path.display(), "does not exist", remedy));
        }
        Node::Missing(path) => match options.clone().create_new(true).open(&path) {
            Ok(file) => return Ok((file, path, true)),
            // Another process was faster; the lock will tell which of us has it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => path,
            Err(error) => return Err(node::refused(&path, &error)),
        },
    };
    // Looked at before it is opened: opening a fifo or a device may do something.
    let kind = path.metadata().map_err(|error| node::refused(&path, &error))?.file_type();
    if !kind.is_file() {
        let what = node::kind(kind);
        let remedy =
            if what == "a block device" { "name it with `device:`" } else { "give the path of a regular file" };
        return Err(OpenError::new(path.display(), format!("is {what}, not a regular file"), remedy));
    }
    let file = options.open(&path).map_err(|error| node::refused(&path, &error))?;
    Ok((file, path, false))
}

/// From `has` to `size` bytes, which are not fewer; with all of its space, unless `thin`.
fn grow(file: &File, has: u64, size: u64, thin: bool) -> Result<(), Errno> {
    assert!(size >= has, "a file is never cut short");
    if !thin {
        // Keeps what is there and extends the file.
        return retried(|| fallocate(file, FallocateFlags::empty(), 0, size));
    }
    if size > has { retried(|| ftruncate(file, size)) } else { Ok(()) }
}

/// Bytes in whole blocks that a file may have where this one is: behind them nobody may seek.
fn largest(file: &File, block_length: BlockLength) -> u64 {
    let (mut fits, mut beyond) = (0, 1 << 63);
    while beyond - fits > 1 {
        let middle = fits + (beyond - fits) / 2;
        match seek(file, SeekFrom::Start(middle)) {
            Ok(_) => fits = middle,
            Err(_) => beyond = middle,
        }
    }
    fits - fits % u64::from(block_length.bytes())
}

fn growth_refused(file: &File, path: &Path, size: u64, spec: &StoreSpec, error: Errno) -> OpenError {
    match error {
        Errno::FBIG | Errno::INVAL => OpenError::new(
            path.display(),
            format!("is on a file system that holds no file of {size} bytes"),
            format!("give a size of at most {} or another file system", largest(file, spec.block_length)),
        ),
        Errno::OPNOTSUPP => OpenError::new(
            path.display(),
            "is on a file system that cannot reserve space",
            "set `thin: true` or use another file system",
        ),
        error => node::refused(path, &error.into()),
    }
}

/// A new file and its name survive a crash from here on.
fn settle(file: &File, path: &Path) -> io::Result<()> {
    file.sync_all()?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

fn set_direct(file: &File, path: &Path, block_length: BlockLength) -> Result<(), OpenError> {
    let set = fcntl_getfl(file).and_then(|flags| fcntl_setfl(file, flags | OFlags::DIRECT));
    if set.is_err() {
        let cause = "is on a file system without direct I/O";
        return Err(OpenError::new(path.display(), cause, "set `direct_io: false` or use another file system"));
    }
    // Ask for one block: the only sure way to learn what the file system below insists on.
    let read = bounce::Bounce::default().with(|aligned| {
        retried(|| pread(file, &mut aligned[..block_length.bytes() as usize], u64::from(block_length.bytes())))
    });
    match read {
        Ok(_) => Ok(()),
        Err(Errno::INVAL) => Err(OpenError::new(
            path.display(),
            format!("is on a medium that does no direct I/O in blocks of {}", block_length.bytes()),
            "set `block_size: 4096` or `direct_io: false`",
        )),
        Err(error) => Err(node::refused(path, &error.into())),
    }
}

/// Behind the end there is nothing to lose: ask there.
fn punches_holes(file: &File, size: u64) -> bool {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let behind = size.next_multiple_of(PROBE_BYTES);
    retried(|| fallocate(file, flags, behind, PROBE_BYTES)) != Err(Errno::OPNOTSUPP)
}

fn is_on(file: &File, file_systems: &[u32]) -> bool {
    fstatfs(file).is_ok_and(|stat| file_systems.contains(&(stat.f_type as u32)))
}

/// xattr(7).
const LABEL: &str = "user.lunmirror.copy";
const LABEL_BYTES_MAX: usize = 64;
/// Volumes hold other people's data.
const FILE_MODE: u32 = 0o600;
/// stat(2): st_blocks counts units of 512 bytes, whatever the file system.
const STAT_BLOCK_BYTES: u64 = 512;
const PROBE_BYTES: u64 = 1 << 16;
/// FALLOC_FL_ZERO_RANGE cannot be tried without doing it. statfs(2): ext4, XFS, Btrfs.
const ZERO_RANGE_FILE_SYSTEMS: [u32; 3] = [0xef53, 0x5846_5342, 0x9123_683e];
/// statfs(2): tmpfs, ramfs. Older kernels do not know RWF_NOWAIT there.
const IN_MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::Command;

    use bytes::Bytes;

    use super::super::{BlockError, Lba, Store};
    use super::*;

    fn spec(path: &Path, size: Option<u64>) -> StoreSpec {
        let store = Store::File { path: path.to_owned(), direct_io: false };
        StoreSpec { store, size, block_length: BlockLength::B512, read_only: false, thin: true }
    }

    fn opened(path: &Path, size: Option<u64>) -> Result<FileDevice, OpenError> {
        FileDevice::open(path, false, &spec(path, size))
    }

    fn extent(lba: u64, blocks: u64) -> Extent {
        Extent::new(Lba(lba), BlockCount(blocks), BlockCount(lba + blocks)).expect("fits")
    }

    fn data(blocks: usize) -> Payload {
        Bytes::from(vec![0xa5; blocks * 512]).into()
    }

    #[test]
    fn it_is_made_sparse_grown_and_never_cut_short() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("volume");
        assert_eq!(opened(&path, None).expect_err("no size").cause, "does not exist");
        assert_eq!(opened(&path, Some(1 << 40)).expect("made").capacity(), BlockCount(1 << 31));
        assert_eq!(path.metadata().expect("exists").blocks(), 0);
        let error = opened(&path, Some(1 << 30)).expect_err("smaller");
        assert_eq!(
            error.cause,
            "has 1099511627776 bytes, more than the size asked for (1073741824), and is never cut short"
        );
        assert_eq!(opened(&path, Some((1 << 40) + 512)).expect("grown").capacity(), BlockCount((1 << 31) + 1));
        assert_eq!(opened(&path, None).expect("as it is").capacity(), BlockCount((1 << 31) + 1));
        assert_eq!(path.metadata().expect("exists").mode() & 0o777, FILE_MODE);
    }

    #[test]
    fn what_cannot_be_made_whole_is_not_left_behind() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("volume");
        let thick = StoreSpec { thin: false, ..spec(&path, Some(1 << 50)) };
        FileDevice::open(&path, false, &thick).expect_err("no disk is that large");
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_size_beyond_its_file_system_is_told_with_the_limit() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let device = opened(file.path(), Some(1 << 20)).expect("opens");
        let most = largest(file.as_file(), BlockLength::B512);
        let (asked, size) = (BlockCount(i64::MAX as u64 >> 9), i64::MAX as u64 & !511);
        if size <= most {
            return;
        }
        let error = device.resize(Some(asked)).await.expect_err("too large");
        assert_eq!(error, ResizeError::FileTooLarge { bytes: size, largest: most });
        assert!(error.to_string().contains(&format!("the largest has {most}: give a size up to that")), "{error}");
        drop(device);
        let error = opened(file.path(), Some(size)).expect_err("too large");
        assert_eq!(error.remedy, format!("give a size of at most {most} or another file system"));
        opened(file.path(), Some(most)).expect("the limit itself is no lie");
    }

    #[test]
    fn its_origin_tells_it_from_another_in_its_place() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("volume");
        let device = opened(&path, Some(1 << 20)).expect("made");
        let made = device.origin();
        assert_eq!((made.blocks, made.object), (BlockCount(0), path.display().to_string()));
        if made.label == Label::None {
            return;
        }
        assert_eq!(made.label, Label::Kept(None));
        device.set_label("0123456789abcdef").expect("labelled");
        drop(device);
        let origin = opened(&path, Some(2 << 20)).expect("grown").origin();
        assert_eq!((origin.blocks, origin.label), (BlockCount(2048), Label::Kept(Some("0123456789abcdef".into()))));
    }

    #[test]
    fn what_is_no_file_is_refused_by_its_kind() {
        let directory = tempfile::tempdir().expect("a directory");
        let fifo = directory.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().expect("coreutils").success());
        let cause = |path: &Path| opened(path, Some(512)).expect_err("refused").cause;
        assert_eq!(cause(&fifo), "is a fifo, not a regular file");
        assert_eq!(cause(directory.path()), "is a directory, not a regular file");
        assert_eq!(cause(Path::new("/dev/null")), "is a character device, not a regular file");
    }

    #[tokio::test]
    async fn it_grows_in_use_also_when_somebody_else_made_it_longer() {
        for thin in [true, false] {
            let file = tempfile::NamedTempFile::new().expect("a file");
            let spec = StoreSpec { thin, ..spec(file.path(), Some(1 << 20)) };
            let device = FileDevice::open(file.path(), false, &spec).expect("opens");
            assert_eq!(device.resize(Some(BlockCount(4096))).await, Ok(BlockCount(4096)));
            assert_eq!(file.path().metadata().expect("exists").len(), 2 << 20);
            assert_eq!(device.used().expect("known").0, if thin { 0 } else { 4096 });
            assert_eq!(device.resize(Some(BlockCount(1))).await, Err(ResizeError::Shrink { capacity: 4096, asked: 1 }));
            file.as_file().set_len(3 << 20).expect("grows");
            assert_eq!(device.resize(None).await, Ok(BlockCount(6144)));
            assert_eq!(device.write(extent(6143, 1), data(1), Durability::Durable).await, Ok(()));
            assert_eq!(device.resize(Some(BlockCount(u64::MAX >> 10))).await.expect_err("refused"), too_large(&file));
        }
    }

    fn too_large(file: &tempfile::NamedTempFile) -> ResizeError {
        let bytes = (u64::MAX >> 10) * 512;
        ResizeError::FileTooLarge { bytes, largest: largest(file.as_file(), BlockLength::B512) }
    }

    #[tokio::test]
    async fn a_file_cut_short_by_somebody_is_a_medium_error() {
        for directory in ["/dev/shm", "/var/tmp"] {
            let file = tempfile::NamedTempFile::new_in(directory).expect("a file");
            let device = opened(file.path(), Some(1 << 20)).expect("opens");
            device.write(extent(0, 2048), data(2048), Durability::Cached).await.expect("writes");
            file.as_file().set_len((1 << 19) + 100).expect("cuts");
            assert_eq!(device.read(extent(0, 1024), BytesMut::new()).await.expect("reads").len(), 1 << 19);
            assert_eq!(device.read(extent(1024, 1), BytesMut::new()).await, Err(BlockError::Medium));
            assert_eq!(device.read(extent(0, 2048), BytesMut::new()).await, Err(BlockError::Medium));
            assert_eq!(device.read(extent(2047, 1), BytesMut::new()).await, Err(BlockError::Medium));
        }
    }

    #[tokio::test]
    async fn a_read_half_in_the_cache_is_whole_and_one_wholly_there_does_not_wait() {
        let file = tempfile::NamedTempFile::new_in("/var/tmp").expect("a file");
        let device = opened(file.path(), Some(1 << 20)).expect("opens");
        let bytes: Bytes = (0..1 << 20).map(|byte: u32| (byte / 4099) as u8).collect::<Vec<_>>().into();
        device.write(extent(0, 2048), bytes.clone().into(), Durability::Cached).await.expect("writes");
        assert!(matches!(device.read(extent(0, 2048), BytesMut::new()), Eventually::Now(Ok(read)) if read == bytes));
        device.flush().await.expect("flushes");
        for keep in [0, 1 << 19, 3 << 18] {
            let advice = rustix::fs::Advice::DontNeed;
            rustix::fs::fadvise(file.as_file(), keep, None, advice).expect("drops the rest from the cache");
            assert_eq!(device.read(extent(0, 2048), BytesMut::new()).await.expect("reads"), bytes);
            device.prefetch(extent(0, 2048));
        }
    }

    #[tokio::test]
    async fn a_full_file_system_is_no_space_and_spares_the_rest() {
        let directory = tempfile::tempdir().expect("a directory");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "none"])
            .arg(directory.path())
            .output()
            .expect("util-linux is installed");
        if !mount.status.success() {
            let _ = writeln!(io::stderr(), "\nSKIPPED: a full file system: {}", String::from_utf8_lossy(&mount.stderr));
            return;
        }
        let device = opened(&directory.path().join("volume"), Some(4 << 20));
        let results = match &device {
            Ok(device) => {
                let first = device.write(extent(0, 1024), data(1024), Durability::Cached).await;
                let beyond = device.write(extent(1024, 2048), data(2048), Durability::Durable).await;
                let kept = device.write_zeroes(extent(4096, 2048), Allocation::Keep, Durability::Cached).await;
                let read = device.read(extent(0, 1024), BytesMut::new()).await;
                let freed = device.unmap(extent(0, 8192)).await;
                let again = device.write(extent(4096, 1024), data(1024), Durability::Cached).await;
                Ok((
                    first,
                    beyond,
                    kept,
                    read.map(|read| read == data(1024).contiguous()),
                    freed,
                    again,
                    device.flush().await,
                ))
            }
            Err(error) => Err(error.clone()),
        };
        let thick = StoreSpec { thin: false, ..spec(&directory.path().join("thick"), Some(4 << 20)) };
        let reserved = FileDevice::open(&directory.path().join("thick"), false, &thick).map(drop);
        drop(device);
        let unmounted = Command::new("umount").arg("--lazy").arg(directory.path()).status();
        assert!(unmounted.expect("util-linux is installed").success());
        let full = Err(BlockError::NoSpace);
        assert_eq!(results, Ok((Ok(()), full, full, Ok(true), Ok(()), Ok(()), Ok(()))));
        assert_eq!(reserved.expect_err("does not fit").remedy, "make room, or give a smaller size");
    }
}
