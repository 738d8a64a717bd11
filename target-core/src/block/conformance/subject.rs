//! One store of each kind.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tempfile::TempDir;

use crate::block::{
    BlockCount, BlockDevice, BlockError, BlockLength, Durability, Extent, Lba, Payload, Store, StoreSpec, open,
};

/// A store to be tested, and what must outlive it.
pub struct Subject {
    pub name: &'static str,
    pub spec: StoreSpec,
    pub device: Option<Arc<dyn BlockDevice>>,
    pub kept: Kept,
}

pub enum Kept {
    Nothing,
    Directory { _directory: TempDir },
    Loop(LoopDevice),
}

impl Subject {
    pub fn device(&self) -> &Arc<dyn BlockDevice> {
        self.device.as_ref().expect("open")
    }

    pub fn reopen(&mut self) {
        self.device = None;
        self.device = Some(open(&self.spec).expect("opens again"));
    }

    pub fn extent(&self, lba: u64, blocks: u64) -> Extent {
        Extent::new(Lba(lba), BlockCount(blocks), self.device().capacity()).expect("fits")
    }

    pub async fn write(&self, lba: u64, blocks: u64, fill: u8) {
        let length = (blocks << self.spec.block_length.shift()) as usize;
        let data = Payload::from(Bytes::from(vec![fill; length]));
        self.device().write(self.extent(lba, blocks), data, Durability::Cached).await.expect("writes");
    }

    pub async fn read(&self, lba: u64, blocks: u64) -> Result<BytesMut, BlockError> {
        self.device().read(self.extent(lba, blocks), BytesMut::new()).await
    }

    pub fn blocks(&self, bytes: u64) -> u64 {
        bytes >> self.spec.block_length.shift()
    }

    /// Bytes in use by the store below.
    pub fn used(&self) -> u64 {
        match &self.kept {
            Kept::Loop(device) => device.used(),
            _ => self.device().used().expect("known").0 << self.spec.block_length.shift(),
        }
    }
}

/// A loop device over a file of [`SIZE`] bytes; gone when dropped.
pub struct LoopDevice {
    pub node: PathBuf,
    pub directory: TempDir,
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

    pub fn used(&self) -> u64 {
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

pub fn file_in(name: &'static str, directory: &str, block_length: BlockLength, direct_io: bool, thin: bool) -> Subject {
    let directory = tempfile::tempdir_in(directory).expect("a directory");
    let store = Store::File { path: directory.path().join("volume"), direct_io };
    let spec = StoreSpec { store, size: Some(SIZE), block_length, read_only: false, thin };
    let device = Some(open(&spec).expect("opens"));
    Subject { name, spec, device, kept: Kept::Directory { _directory: directory } }
}

pub fn memory(name: &'static str, block_length: BlockLength, thin: bool) -> Subject {
    let spec = StoreSpec { store: Store::Memory, size: Some(SIZE), block_length, read_only: false, thin };
    Subject { name, device: Some(open(&spec).expect("opens")), spec, kept: Kept::Nothing }
}

pub fn looped(name: &'static str, block_length: BlockLength) -> Option<Subject> {
    let kept = LoopDevice::new(block_length.bytes())?;
    let store = Store::Device { path: kept.node.clone() };
    let spec = StoreSpec { store, size: None, block_length, read_only: false, thin: true };
    Some(Subject { name, device: Some(open(&spec).expect("opens")), spec, kept: Kept::Loop(kept) })
}

pub fn subjects() -> Vec<Subject> {
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

/// Quick to make, many times over.
pub fn quick_subjects() -> Vec<Subject> {
    vec![
        memory("memory 512", BlockLength::B512, true),
        memory("memory 4096", BlockLength::B4096, false),
        file_in("file in memory", IN_MEMORY, BlockLength::B512, false, true),
        file_in("file on disk", ON_DISK, BlockLength::B512, false, true),
        file_in("file on disk, direct, thick", ON_DISK, BlockLength::B4096, true, false),
    ]
}

pub const SIZE: u64 = 8 << 20;
const IN_MEMORY: &str = "/dev/shm";
/// Not the default for temporary files, which may be in memory too.
const ON_DISK: &str = "/var/tmp";
