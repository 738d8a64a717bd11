//! Buffers of reads that have been sent, for the reads to come: fresh memory would cost a page fault every 4 KiB.

use bytes::BytesMut;

/// One session's, the one sent last on top: it is the likeliest to be in the processor's cache.
#[derive(Debug, Default)]
pub struct Spares {
    buffers: Vec<BytesMut>,
    bytes: usize,
}

impl Spares {
    /// Keep an empty buffer. What exceeds the bound is let go.
    pub fn give(&mut self, buffer: BytesMut) {
        if self.bytes + buffer.capacity() <= SPARE_BYTES_MAX {
            self.bytes += buffer.capacity();
            self.buffers.push(buffer);
        }
    }

    /// An empty buffer with room for `length` bytes, and not many times more.
    pub fn take(&mut self, length: usize) -> BytesMut {
        while let Some(buffer) = self.buffers.pop_if(|buffer| buffer.capacity() <= 4 * length) {
            self.bytes -= buffer.capacity();
            // Reads have become larger: those too small are of no more use.
            if buffer.capacity() >= length {
                return buffer;
            }
        }
        BytesMut::with_capacity(length)
    }
}

/// As many bytes as a connection sends at a time.
const SPARE_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = 256 << 10;

    #[test]
    fn a_read_takes_the_buffer_of_one_before() {
        let mut spares = Spares::default();
        let buffer = spares.take(LARGE);
        let address = buffer.as_ptr();
        spares.give(buffer);
        let small = spares.take(4096);
        assert_ne!(small.as_ptr(), address, "too large for it");
        let taken = spares.take(LARGE / 2);
        assert_eq!(taken.as_ptr(), address);
        assert_ne!(spares.take(LARGE).as_ptr(), address, "taken");
    }

    #[test]
    fn those_too_small_make_room_for_larger_ones() {
        let mut spares = Spares::default();
        (0..SPARE_BYTES_MAX / LARGE).for_each(|_| spares.give(BytesMut::with_capacity(LARGE)));
        let larger = spares.take(2 * LARGE);
        assert!(larger.capacity() >= 2 * LARGE);
        let address = larger.as_ptr();
        spares.give(larger);
        assert_eq!(spares.take(2 * LARGE).as_ptr(), address);
    }

    #[test]
    fn what_exceeds_the_bound_is_let_go() {
        let mut spares = Spares::default();
        (0..=SPARE_BYTES_MAX / LARGE).for_each(|_| spares.give(BytesMut::with_capacity(LARGE)));
        assert_eq!((spares.bytes, spares.buffers.len()), (SPARE_BYTES_MAX, SPARE_BYTES_MAX / LARGE));
        spares.give(BytesMut::with_capacity(LARGE));
        assert_eq!(spares.bytes, SPARE_BYTES_MAX);
    }
}
