//! A block device node: a disk, a partition, a logical volume.

use std::fs::OpenOptions;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::Ordering;

use bytes::BytesMut;
use rustix::fs::{SeekFrom, ioctl_blksszget, major, minor, seek};

use super::descriptor::{MediumSpec, block_error};
use super::medium::Medium;
use super::node::{self, Node};
use super::open::{OpenError, StoreSpec};
use super::runs::Runs;
use super::{
    Allocation, AllocationRun, BlockCount, BlockDevice, BlockLength, Capabilities, Durability, Eventually, Extent, Io,
    Label, Origin, Payload, ResizeError, lock,
};

#[derive(Debug)]
pub struct BlockDeviceFile {
    medium: Medium,
    capabilities: Capabilities,
    found: BlockCount,
    label: Label,
}

impl BlockDeviceFile {
    pub fn open(path: &Path, spec: &StoreSpec) -> Result<BlockDeviceFile, OpenError> {
        let Node::Exists(path) = Node::find(path)? else {
            return Err(OpenError::new(path.display(), "does not exist", "give the path of a block device"));
        };
        let object = path.display();
        let metadata = path.metadata().map_err(|error| node::refused(&path, &error))?;
        if !metadata.file_type().is_block_device() {
            let what = node::kind(metadata.file_type());
            let remedy =
                if what == "a regular file" { "name it with `file:`" } else { "give the path of a block device" };
            return Err(OpenError::new(object, format!("is {what}, not a block device"), remedy));
        }
        // O_EXCL: not while it is mounted, or another's by the kernel's own account (open(2)).
        let mut options = OpenOptions::new();
        options.read(true).write(!spec.read_only).custom_flags(libc::O_EXCL);
        let file = lock::patiently(|| options.open(&path)).map_err(|error| node::refused(&path, &error))?;
        lock::exclusive(&file, &path, !spec.read_only)?;

        let sector = ioctl_blksszget(&file).map_err(|error| node::refused(&path, &error.into()))?;
        if sector > spec.block_length.bytes() {
            return Err(OpenError::new(
                object,
                format!("has sectors of {sector} bytes, more than the block size of {}", spec.block_length.bytes()),
                format!("set `block_size: {sector}`"),
            ));
        }
        // Where the end is: BLKGETSIZE64 by another name.
        let has = seek(&file, SeekFrom::End(0)).map_err(|error| node::refused(&path, &error.into()))?;
        let block = u64::from(spec.block_length.bytes());
        let size = spec.size.unwrap_or(has - has % block);
        let capacity = spec.blocks(&object, size)?;
        if size > has {
            let cause = format!("has {has} bytes, less than the size asked for ({size})");
            return Err(OpenError::new(object, cause, format!("give a size of {} or none", has - has % block)));
        }
        let queue = Queue::read(metadata.rdev());
        let capabilities = Capabilities {
            unmap: spec.thin && queue.releases(),
            fast_zeroes: queue.write_zeroes_bytes_max > 0,
            volatile_cache: true,
            allocation_map: false,
            read_only: spec.read_only,
            unmap_granularity: BlockCount((queue.discard_granularity_bytes / block).max(1)),
        };
        let medium = MediumSpec {
            path: path.clone(),
            block_length: spec.block_length,
            capacity,
            read_only: spec.read_only,
            direct_io: false,
            releases: capabilities.unmap,
            // Not to be asked of statfs(2): it tells of the file system the node is on, and /dev is in memory.
            in_memory: false,
        };
        let label = given_label(&format!("/sys/dev/block/{}:{}", major(metadata.rdev()), minor(metadata.rdev())));
        Ok(BlockDeviceFile { medium: Medium::new(file, medium), capabilities, found: BlockCount(has / block), label })
    }
}

impl BlockDevice for BlockDeviceFile {
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
        // A device does not tell.
        let mut runs = Runs::new(runs_max);
        runs.push(extent.blocks().0, true);
        Eventually::Now(self.medium.check(extent).map(|()| runs.into_vec()))
    }

    fn used(&self) -> Option<BlockCount> {
        None
    }

    /// The device itself is made larger elsewhere; here the difference is taken into use.
    fn resize(&self, capacity: Option<BlockCount>) -> Eventually<Result<BlockCount, ResizeError>> {
        let shared = self.medium.shared().clone();
        self.medium.pool().run(move || {
            let room = seek(&*shared.file, SeekFrom::End(0)).map_err(block_error)? >> shared.spec.block_length.shift();
            let asked = capacity.map_or(room, |capacity| capacity.0);
            let now = shared.capacity_blocks.load(Ordering::Acquire);
            if asked > room {
                return Err(ResizeError::NoRoom { room, asked });
            }
            if asked < now {
                return Err(ResizeError::Shrink { capacity: now, asked });
            }
            shared.capacity_blocks.fetch_max(asked, Ordering::AcqRel);
            Ok(BlockCount(asked))
        })
    }

    fn prefetch(&self, extent: Extent) {
        self.medium.prefetch(extent);
    }

    fn origin(&self) -> Origin {
        let object = self.medium.shared().spec.path.display().to_string();
        Origin { object, blocks: self.found, label: self.label.clone() }
    }
}

/// What the device in this place of sysfs is known by: a mapped one by its UUID, a disk by its World Wide Identifier or else
/// its serial number, a partition by its number beside that of its disk.
fn given_label(place: &str) -> Label {
    let read = |name: &str| {
        let text = std::fs::read_to_string(format!("{place}/{name}")).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let disk = |above: &str| {
        ["dm/uuid", "wwid", "device/wwid", "serial", "device/serial"]
            .iter()
            .find_map(|name| read(&format!("{above}{name}")))
    };
    match read("partition") {
        Some(number) => disk("../").map(|disk| format!("{disk} partition {number}")),
        None => disk(""),
    }
    .map_or(Label::None, Label::Given)
}

/// What the kernel tells of the device's request queue (Documentation/ABI/stable/sysfs-block).
#[derive(Debug, Default)]
struct Queue {
    discard_bytes_max: u64,
    discard_granularity_bytes: u64,
    write_zeroes_bytes_max: u64,
}

impl Queue {
    fn read(device: u64) -> Queue {
        let place = format!("/sys/dev/block/{}:{}", major(device), minor(device));
        // A partition has the queue of its disk.
        let number = |name: &str| {
            ["queue", "../queue"]
                .iter()
                .find_map(|queue| std::fs::read_to_string(format!("{place}/{queue}/{name}")).ok()?.trim().parse().ok())
                .unwrap_or(0)
        };
        Queue {
            discard_bytes_max: number("discard_max_bytes"),
            discard_granularity_bytes: number("discard_granularity"),
            write_zeroes_bytes_max: number("write_zeroes_max_bytes"),
        }
    }

    /// BLKDISCARD alone promises nothing about what is read afterwards; LBPRZ=1 promises zeroes. So both are needed: punching
    /// a hole in a device writes zeroes with leave to deallocate.
    fn releases(&self) -> bool {
        self.discard_bytes_max > 0 && self.write_zeroes_bytes_max > 0
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BlockLength, Store, StoreSpec};
    use super::*;

    #[test]
    fn what_is_no_block_device_is_refused_by_its_kind() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let opened = |path: &Path| {
            let store = Store::Device { path: path.to_owned() };
            let spec = StoreSpec { store, size: None, block_length: BlockLength::B512, read_only: false, thin: true };
            BlockDeviceFile::open(path, &spec).expect_err("refused")
        };
        let error = opened(file.path());
        assert_eq!(error.cause, "is a regular file, not a block device");
        assert_eq!(error.remedy, "name it with `file:`");
        assert_eq!(opened(Path::new("/dev/null")).cause, "is a character device, not a block device");
        assert_eq!(opened(&file.path().with_extension("gone")).cause, "does not exist");
    }

    #[test]
    fn a_device_is_known_by_what_it_is_wherever_it_is_plugged_in() {
        let directory = tempfile::tempdir().expect("a directory");
        let (disk, part) = (directory.path().join("sda"), directory.path().join("sda/sda1"));
        std::fs::create_dir_all(&part).expect("made");
        let label = |place: &Path| given_label(&place.display().to_string());
        assert_eq!(label(&disk), Label::None);
        std::fs::write(disk.join("wwid"), "naa.5000c500\n").expect("written");
        std::fs::write(part.join("partition"), "1\n").expect("written");
        assert_eq!(label(&disk), Label::Given("naa.5000c500".into()));
        assert_eq!(label(&part), Label::Given("naa.5000c500 partition 1".into()));
    }

    #[test]
    fn a_device_that_zeroes_without_discarding_releases_nothing() {
        let queue = |discard_bytes_max, write_zeroes_bytes_max| Queue {
            discard_bytes_max,
            write_zeroes_bytes_max,
            ..Queue::default()
        };
        assert!(queue(1, 1).releases());
        assert!(!queue(0, 1).releases());
        assert!(!queue(1, 0).releases());
        assert!(!Queue::read(rustix::fs::makedev(0, 0)).releases(), "no such device");
    }
}
