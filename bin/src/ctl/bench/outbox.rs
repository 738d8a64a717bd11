//! What waits for a socket: headers in one stretch of memory, payloads where they are, sent by one vectored call.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::mem;
use std::net::TcpStream;

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, send, sendmsg};

use super::payload::Payload;
use super::trouble::Trouble;

#[derive(Debug, Default)]
pub struct Outbox {
    pieces: VecDeque<Piece>,
    headers: Vec<u8>,
    /// How many bytes of headers were dropped from the front.
    dropped: usize,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    source: Source,
    start: usize,
    length: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Headers,
    /// Of this task.
    Payload(u32),
}

impl Outbox {
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Headers, digests, padding.
    pub fn push(&mut self, bytes: &[u8]) {
        let start = self.dropped + self.headers.len();
        self.headers.extend_from_slice(bytes);
        match self.pieces.back_mut() {
            Some(last) if last.source == Source::Headers && last.start + last.length == start => {
                last.length += bytes.len();
            }
            _ => self.pieces.push_back(Piece { source: Source::Headers, start, length: bytes.len() }),
        }
    }

    /// Stays where it is until it is sent.
    pub fn push_payload(&mut self, task: u32, start: usize, length: usize) {
        self.pieces.push_back(Piece { source: Source::Payload(task), start, length });
    }

    /// Sends what the socket takes. `sent` is told of each payload that went.
    pub fn flush(&mut self, stream: &TcpStream, payload: &Payload, mut sent: impl FnMut(u32)) -> Result<(), Trouble> {
        while !self.pieces.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let slices_used = self.pieces.len().min(SLICES);
            for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
                *slice = IoSlice::new(self.part(piece, payload));
            }
            let result = match slices_used {
                1 => send(stream, &slices[0], FLAGS),
                _ => sendmsg(stream, &slices[..slices_used], &mut SendAncillaryBuffer::default(), FLAGS),
            };
            match result {
                Ok(length) => self.advance(length, &mut sent),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(Trouble::Io(error.into())),
            }
        }
        self.forget();
        Ok(())
    }

    fn part<'a>(&'a self, piece: &Piece, payload: &'a Payload) -> &'a [u8] {
        match piece.source {
            Source::Headers => &self.headers[piece.start - self.dropped..][..piece.length],
            Source::Payload(task) => payload.part(task, piece.start, piece.length),
        }
    }

    fn advance(&mut self, mut length: usize, sent: &mut impl FnMut(u32)) {
        while let Some(piece) = self.pieces.front_mut() {
            let step = piece.length.min(length);
            (piece.start, piece.length, length) = (piece.start + step, piece.length - step, length - step);
            if piece.length > 0 {
                return;
            }
            if let Source::Payload(task) = piece.source {
                sent(task);
            }
            self.pieces.pop_front();
        }
    }

    /// Headers that went, so that they do not pile up while the socket never takes all.
    fn forget(&mut self) {
        let is_header = |piece: &&Piece| piece.source == Source::Headers;
        let end = self.dropped + self.headers.len();
        let kept_from = self.pieces.iter().find(is_header).map_or(end, |piece| piece.start);
        let gone = kept_from - self.dropped;
        if gone == self.headers.len() {
            self.headers.clear();
            self.dropped = if self.pieces.is_empty() { 0 } else { mem::replace(&mut self.dropped, 0) + gone };
        } else if gone > self.headers.len() / 2 {
            self.headers.drain(..gone);
            self.dropped += gone;
        }
    }
}

/// Those of one call: 64 writes, each a header and a payload.
const SLICES: usize = 128;

const FLAGS: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn what_the_socket_does_not_take_at_once_goes_later_and_in_order() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let here = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        let (mut there, _) = listener.accept().expect("it connects");
        there.set_nonblocking(true).expect("a socket");
        let payload = Payload::own(8, 64 << 10);
        let (mut outbox, mut pushed, mut sent) = (Outbox::default(), Vec::new(), 0);
        let (mut read, mut buffer, mut was_full) = (Vec::new(), vec![0; 20_000], false);
        for round in 0..600_u32 {
            let (task, start) = (round % 8, round as usize * 8 % 1000);
            let header = [round as u8; 52];
            outbox.push(&header[..48]);
            outbox.push(&header[48..]);
            outbox.push_payload(task, start, 40_000);
            pushed.extend_from_slice(&header);
            pushed.extend_from_slice(payload.part(task, start, 40_000));
            outbox.flush(&here, &payload, |_| sent += 1).expect("open");
            was_full |= !outbox.is_empty();
            if let Ok(length) = there.read(&mut buffer) {
                read.extend_from_slice(&buffer[..length]);
            }
        }
        assert!(was_full, "or nothing was shown");
        assert!(outbox.headers.len() < 600 * 52, "headers that went are forgotten");
        while read.len() < pushed.len() {
            outbox.flush(&here, &payload, |_| sent += 1).expect("open");
            if let Ok(length) = there.read(&mut buffer) {
                read.extend_from_slice(&buffer[..length]);
            }
        }
        assert!(read == pushed && sent == 600 && outbox.is_empty() && outbox.headers.is_empty());
    }
}
