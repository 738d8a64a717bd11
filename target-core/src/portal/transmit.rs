//! PDUs to the socket: headers, data, padding and digests as one vectored write for many PDUs; data is never copied.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::ops::RangeInclusive;

use bytes::{Bytes, BytesMut};
use iscsi_proto::digest::Digests;
use iscsi_proto::pdu::RawPdu;
use tokio::net::TcpStream;

/// Slices in one `writev`. Twenty-odd PDUs: beyond that a system call's cost is spread thin enough.
const SLICES_MAX: usize = 64;

/// A header with its digest is 52 bytes; padding with a digest at most 7.
const SMALL: usize = 52;

#[derive(Debug)]
enum Chunk {
    Small { bytes: [u8; SMALL], length: u8 },
    Data(Bytes),
}

impl Chunk {
    fn as_slice(&self) -> &[u8] {
        match self {
            Chunk::Small { bytes, length } => &bytes[..usize::from(*length)],
            Chunk::Data(data) => data,
        }
    }

    fn small(parts: &[&[u8]]) -> Chunk {
        let (mut bytes, mut at) = ([0; SMALL], 0);
        for part in parts {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        Chunk::Small { bytes, length: at as u8 }
    }
}

/// What is encoded and not yet in the socket. Its owner bounds it by [`Transmitter::pending_bytes`].
#[derive(Debug)]
pub struct Transmitter {
    digests: Digests,
    chunks: VecDeque<Chunk>,
    /// Bytes of the first chunk that are in the socket already.
    sent_of_first: usize,
    pending_bytes: usize,
    /// Large buffers that are sent.
    spares: Vec<BytesMut>,
}

/// Buffers on their way back to the reads: as many of the least size as are sent at a time.
const SPARES_MAX: usize = 16;

/// Smaller buffers are had from the allocator at no such price, larger ones are not worth keeping.
const SPARE_BYTES: RangeInclusive<usize> = 64 << 10..=1 << 20;

impl Transmitter {
    pub fn new(digests: Digests) -> Transmitter {
        Transmitter { digests, chunks: VecDeque::new(), sent_of_first: 0, pending_bytes: 0, spares: Vec::new() }
    }

    pub fn set_digests(&mut self, digests: Digests) {
        self.digests = digests;
    }

    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// No PDU of a target has additional header segments.
    pub fn push(&mut self, pdu: RawPdu) {
        let digest = self.digests.after_header(&pdu.bhs, &pdu.ahs);
        self.push_chunk(Chunk::small(&[&pdu.bhs, &digest]));
        if pdu.data.is_empty() {
            return;
        }
        let trailer = self.digests.after_data([&pdu.data[..]]);
        self.push_chunk(Chunk::Data(pdu.data));
        if !trailer.is_empty() {
            self.push_chunk(Chunk::small(&[&trailer]));
        }
    }

    fn push_chunk(&mut self, chunk: Chunk) {
        self.pending_bytes += chunk.as_slice().len();
        self.chunks.push_back(chunk);
    }

    /// Write until all is sent (true) or the socket is full (false).
    pub fn send(&mut self, stream: &TcpStream) -> io::Result<bool> {
        while !self.chunks.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut count = 0;
            for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
                *slice = IoSlice::new(chunk.as_slice());
                count += 1;
            }
            if let Some(first) = self.chunks.front() {
                slices[0] = IoSlice::new(&first.as_slice()[self.sent_of_first..]);
            }
            match stream.try_write_vectored(&slices[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// A buffer to read into, if a large one has been sent.
    pub fn take_spare(&mut self) -> Option<BytesMut> {
        self.spares.pop()
    }

    fn keep(&mut self, data: Bytes) {
        if data.len() < *SPARE_BYTES.start() || self.spares.len() == SPARES_MAX {
            return;
        }
        // Whoever else holds it keeps it.
        let Ok(mut buffer) = data.try_into_mut() else { return };
        buffer.clear();
        // The last piece of a read that went out in many has the others' room before it.
        let _ = buffer.try_reclaim(buffer.capacity() + 1);
        if SPARE_BYTES.contains(&buffer.capacity()) {
            self.spares.push(buffer);
        }
    }

    fn advance(&mut self, written: usize) {
        self.pending_bytes -= written;
        self.sent_of_first += written;
        while let Some(first) = self.chunks.front() {
            let length = first.as_slice().len();
            if self.sent_of_first < length {
                return;
            }
            self.sent_of_first -= length;
            if let Some(Chunk::Data(data)) = self.chunks.pop_front() {
                self.keep(data);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_of_a_large_read_comes_back_whole_when_its_last_piece_is_sent() {
        let mut transmitter = Transmitter::new(Digests::NONE);
        let buffer = BytesMut::zeroed(4 * SPARE_BYTES.start());
        let address = buffer.as_ptr();
        let mut data = buffer.freeze();
        while !data.is_empty() {
            transmitter.push_chunk(Chunk::Data(data.split_to(*SPARE_BYTES.start())));
        }
        drop(data);
        transmitter.advance(3 * SPARE_BYTES.start());
        assert!(transmitter.take_spare().is_none());
        transmitter.advance(*SPARE_BYTES.start());
        let spare = transmitter.take_spare().expect("all of it is sent");
        assert_eq!((spare.as_ptr(), spare.len(), spare.capacity()), (address, 0, 4 * SPARE_BYTES.start()));
    }

    #[test]
    fn what_somebody_else_holds_or_is_too_small_or_too_large_is_not_kept() {
        let mut transmitter = Transmitter::new(Digests::NONE);
        let held = Bytes::from(vec![0; *SPARE_BYTES.start()]);
        let mut large = Bytes::from(vec![0; SPARE_BYTES.end() + 1]);
        let piece = large.split_off(large.len() - SPARE_BYTES.start());
        drop(large);
        let small = Bytes::from(vec![0; SPARE_BYTES.start() - 1]);
        for data in [held.clone(), piece, small] {
            let length = data.len();
            transmitter.push_chunk(Chunk::Data(data));
            transmitter.advance(length);
        }
        assert!(transmitter.take_spare().is_none());
        drop(held);
    }
}
