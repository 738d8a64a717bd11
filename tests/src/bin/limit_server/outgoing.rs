//! What a connection is about to send: headers and copied data in one buffer, one after the other, and between them data that
//! stays where it is mapped. One vectored write sends it all.

use std::io::{self, ErrorKind, IoSlice, Write};
use std::net::TcpStream;

use crate::disk::Disk;

/// The largest answer of one wake-up: 32 reads of 1 MiB, and what is not a read. Only what is used of it becomes resident.
const BUFFER_BYTES: usize = 36 << 20;
/// What the kernel takes at once (IOV_MAX).
const PARTS_MAX: usize = 1024;

enum Part {
    Buffered { at: usize, length: usize },
    Mapped { at: u64, length: usize },
}

pub struct Outgoing {
    buffer: Box<[u8]>,
    used: usize,
    parts: Vec<Part>,
    /// Parts that are sent, and how much of the next.
    sent_parts: usize,
    sent_of_next: usize,
}

impl Outgoing {
    pub fn new() -> Outgoing {
        let buffer = vec![0; BUFFER_BYTES].into_boxed_slice();
        Outgoing { buffer, used: 0, parts: Vec::new(), sent_parts: 0, sent_of_next: 0 }
    }

    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub fn has_room(&self, bytes: usize) -> bool {
        BUFFER_BYTES - self.used >= bytes
    }

    /// Room for `length` bytes, to be filled now.
    pub fn space(&mut self, length: usize) -> &mut [u8] {
        let at = self.used;
        self.used += length;
        match self.parts.last_mut() {
            Some(Part::Buffered { length: before, .. }) => *before += length,
            _ => self.parts.push(Part::Buffered { at, length }),
        }
        &mut self.buffer[at..at + length]
    }

    pub fn copy(&mut self, data: &[u8]) {
        self.space(data.len()).copy_from_slice(data);
    }

    pub fn refer(&mut self, at: u64, length: usize) {
        self.parts.push(Part::Mapped { at, length });
    }

    /// Sends until all is sent (true) or the socket is full.
    pub fn flush(&mut self, socket: &mut TcpStream, disk: &Disk) -> io::Result<bool> {
        while self.sent_parts < self.parts.len() {
            let ahead = &self.parts[self.sent_parts..];
            let mut slices = Vec::with_capacity(ahead.len().min(PARTS_MAX));
            for part in ahead.iter().take(PARTS_MAX) {
                slices.push(IoSlice::new(match *part {
                    Part::Buffered { at, length } => &self.buffer[at..at + length],
                    Part::Mapped { at, length } => disk.mapped(at, length).ok_or(ErrorKind::InvalidInput)?,
                }));
            }
            let mut rest = &mut slices[..];
            IoSlice::advance_slices(&mut rest, self.sent_of_next);
            let mut sent = match socket.write_vectored(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(sent) => sent + self.sent_of_next,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            };
            for part in ahead {
                let length = match *part {
                    Part::Buffered { length, .. } | Part::Mapped { length, .. } => length,
                };
                if sent < length {
                    break;
                }
                sent -= length;
                self.sent_parts += 1;
            }
            self.sent_of_next = sent;
        }
        self.parts.clear();
        (self.used, self.sent_parts, self.sent_of_next) = (0, 0, 0);
        Ok(true)
    }
}
