//! A file in page cache, by system calls or through a mapping.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::mm::{MapFlags, ProtFlags, mmap};

pub const BLOCK: u64 = 512;

pub struct Disk {
    file: File,
    bytes: u64,
    /// Of the whole file, for as long as the process lives.
    mapping: Option<*mut u8>,
}

impl Disk {
    pub fn open(path: &Path, mapped: bool) -> io::Result<Disk> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let bytes = file.metadata()?.len();
        let mapping = if mapped {
            let length = usize::try_from(bytes).map_err(io::Error::other)?;
            // SAFETY: at an address of the kernel's choice nothing of ours is covered.
            let start = unsafe {
                mmap(
                    std::ptr::null_mut(),
                    length,
                    ProtFlags::READ | ProtFlags::WRITE,
                    MapFlags::SHARED | MapFlags::POPULATE,
                    &file,
                    0,
                )?
            };
            Some(start.cast::<u8>())
        } else {
            None
        };
        Ok(Disk { file, bytes, mapping })
    }

    pub fn blocks(&self) -> u64 {
        self.bytes / BLOCK
    }

    pub fn holds(&self, at: u64, length: usize) -> bool {
        at.checked_add(length as u64).is_some_and(|end| end <= self.bytes)
    }

    /// The data where it lies, if the disk is mapped.
    pub fn mapped(&self, at: u64, length: usize) -> Option<&[u8]> {
        let start = self.mapping?;
        assert!(self.holds(at, length), "{length} bytes at {at} of {}", self.bytes);
        // SAFETY: within the mapping, which stays. Other processes may write there: the bytes are only handed on.
        Some(unsafe { std::slice::from_raw_parts(start.add(at as usize), length) })
    }

    pub fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, at)
    }

    pub fn write(&self, at: u64, data: &[u8]) -> io::Result<()> {
        match self.mapping {
            Some(start) if self.holds(at, data.len()) => {
                // SAFETY: within the mapping, and `data` is of a receive buffer elsewhere.
                unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), start.add(at as usize), data.len()) };
                Ok(())
            }
            Some(_) => Err(io::ErrorKind::InvalidInput.into()),
            None => self.file.write_all_at(data, at),
        }
    }
}
