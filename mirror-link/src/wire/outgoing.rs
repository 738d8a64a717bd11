use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// Frames on their way to a socket, for one vectored write of as many as wait: headers and bodies one after the other in
/// one buffer, payloads between them as they are, none copied.
///
/// Read it as a [`Buf`] (`write_buf` does): it holds what is still to be written, and keeps its own memory for the next turn.
///
/// ```text
///   segments  Small(88)  Payload(4096)  Small(136)  Payload(512) …
///               │                          │
///   small     [ 88 bytes                 ][ 136 bytes: two frames, one without a payload ] …
/// ```
#[derive(Debug, Default)]
pub struct Outgoing {
    segments: VecDeque<Segment>,
    small: BytesMut,
    remaining: usize,
}

#[derive(Debug)]
enum Segment {
    /// So many of the next bytes of `small`.
    Small(usize),
    Payload(Bytes),
}

impl Outgoing {
    /// Append bytes that are written by `write`.
    pub(super) fn put_small(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let before = self.small.len();
        write(&mut self.small);
        let length = self.small.len() - before;
        self.remaining += length;
        match self.segments.back_mut() {
            Some(Segment::Small(last)) => *last += length,
            _ => self.segments.push_back(Segment::Small(length)),
        }
    }

    /// Append bytes without copying them.
    pub(super) fn put_payload(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.remaining += piece.len();
            self.segments.push_back(Segment::Payload(piece));
        }
    }

    /// Drop what is not yet written; the connection is gone.
    pub fn clear(&mut self) {
        self.segments.clear();
        self.small.clear();
        self.remaining = 0;
    }
}

impl Buf for Outgoing {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        match self.segments.front() {
            Some(Segment::Small(length)) => &self.small[..*length],
            Some(Segment::Payload(piece)) => piece,
            None => &[],
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut small = &self.small[..];
        let mut count = 0;
        for (slice, segment) in slices.iter_mut().zip(&self.segments) {
            *slice = match segment {
                Segment::Small(length) => {
                    let (these, rest) = small.split_at(*length);
                    small = rest;
                    IoSlice::new(these)
                }
                Segment::Payload(piece) => IoSlice::new(piece),
            };
            count += 1;
        }
        count
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.remaining, "no more is written than there is");
        self.remaining -= count;
        while count > 0 {
            let Some(front) = self.segments.front_mut() else { return };
            let step = match front {
                Segment::Small(length) => {
                    let step = count.min(*length);
                    *length -= step;
                    self.small.advance(step);
                    step
                }
                Segment::Payload(piece) => {
                    let step = count.min(piece.len());
                    piece.advance(step);
                    step
                }
            };
            count -= step;
            let used_up = match front {
                Segment::Small(length) => *length == 0,
                Segment::Payload(piece) => piece.is_empty(),
            };
            if used_up {
                self.segments.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_in_pieces_of_any_length_it_is_the_same_bytes() {
        let whole = b"small1small2PAYLOADPAYsmall3";
        for step in 1..=whole.len() {
            let mut out = Outgoing::default();
            out.put_small(|small| small.extend_from_slice(b"small1"));
            out.put_small(|small| small.extend_from_slice(b"small2"));
            out.put_payload(Bytes::from_static(b"PAYLOAD"));
            out.put_payload(Bytes::new());
            out.put_payload(Bytes::from_static(b"PAY"));
            out.put_small(|small| small.extend_from_slice(b"small3"));
            let mut written = Vec::new();
            while out.has_remaining() {
                let mut slices = [IoSlice::new(&[]); 8];
                let count = out.chunks_vectored(&mut slices);
                let all: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
                assert_eq!(all.len(), out.remaining());
                assert!(all.starts_with(out.chunk()) && !out.chunk().is_empty());
                let length = step.min(all.len());
                written.extend_from_slice(&all[..length]);
                out.advance(length);
            }
            assert_eq!(written, whole, "steps of {step}");
            assert!(out.segments.is_empty() && out.small.is_empty());
        }
    }

    #[test]
    fn cleared_it_is_as_new() {
        let mut out = Outgoing::default();
        out.put_small(|small| small.extend_from_slice(b"gone"));
        out.put_payload(Bytes::from_static(b"gone"));
        out.clear();
        assert!(!out.has_remaining() && out.chunk().is_empty());
        out.put_small(|small| small.extend_from_slice(b"next"));
        assert_eq!(out.copy_to_bytes(4), b"next"[..]);
    }

    #[test]
    fn fewer_slices_than_pieces_are_filled() {
        let mut out = Outgoing::default();
        (0..5).for_each(|_| out.put_payload(Bytes::from_static(b"piece")));
        assert_eq!(out.chunks_vectored(&mut [IoSlice::new(&[]); 3]), 3);
        assert_eq!(out.chunks_vectored(&mut []), 0);
    }
}
