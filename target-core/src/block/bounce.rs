//! Aligned buffers for direct I/O of data that is not.

use std::fmt;

use parking_lot::Mutex;

/// Buffers kept for reuse. As many are in use as blocking operations run; the pool bounds those.
#[derive(Default)]
pub struct Bounce {
    idle: Mutex<Vec<Vec<u8>>>,
}

impl Bounce {
    /// Lend `work` [`BUFFER_BYTES`] aligned to [`ALIGNMENT_BYTES`]; what is in them is left over from others.
    pub fn with<T>(&self, work: impl FnOnce(&mut [u8]) -> T) -> T {
        let idle = self.idle.lock().pop();
        let mut memory = idle.unwrap_or_else(|| vec![0; BUFFER_BYTES + ALIGNMENT_BYTES]);
        let start = memory.as_ptr().align_offset(ALIGNMENT_BYTES);
        let result = work(&mut memory[start..start + BUFFER_BYTES]);
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX {
            idle.push(memory);
        }
        result
    }
}

impl fmt::Debug for Bounce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bounce({} idle)", self.idle.lock().len())
    }
}

/// Whether the device may reach these bytes where they are, as one of several pieces.
pub fn is_aligned(bytes: &[u8], block: usize) -> bool {
    bytes.as_ptr().addr().is_multiple_of(ALIGNMENT_BYTES) && bytes.len().is_multiple_of(block)
}

/// No device and no file system asks for more.
pub const ALIGNMENT_BYTES: usize = 4096;
/// One request to most devices.
pub const BUFFER_BYTES: usize = 256 << 10;
/// Buffers a store keeps while it has no use for them: 2 MiB.
const IDLE_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_reused() {
        let bounce = Bounce::default();
        let first = bounce.with(|buffer| {
            assert!(is_aligned(buffer, BUFFER_BYTES) && buffer.len() == BUFFER_BYTES);
            bounce.with(|second| assert_ne!(second.as_ptr(), buffer.as_ptr()));
            buffer.as_ptr().addr()
        });
        assert_eq!(bounce.idle.lock().len(), 2);
        assert_eq!(bounce.with(|buffer| buffer.as_ptr().addr()), first);
    }
}
