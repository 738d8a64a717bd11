//! What came off a socket, cut into PDUs where it lies: one buffer, no copies, no allocation.

use std::net::TcpStream;
use std::ops::Range;

use iscsi_proto::digest::{DIGEST_LENGTH, Digests, header_digest, padding_of};
use iscsi_proto::pdu::{BHS_LENGTH, Bhs};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::trouble::Trouble;

#[derive(Debug)]
pub struct Inbox {
    buffer: Vec<u8>,
    /// What is not handled yet.
    filled: Range<usize>,
    /// Of the PDU that is not all here, or of a header.
    wanted: usize,
    digests: Digests,
    segment_max: usize,
}

/// What one look at the socket brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    Bytes,
    Nothing,
}

impl Inbox {
    /// `rest` came before, and was not handled.
    pub fn new(digests: Digests, segment_max: u32, rest: &[u8]) -> Inbox {
        let segment_max = segment_max as usize;
        let mut buffer = vec![0; (2 * (segment_max + HEADER_MAX)).max(BUFFER_BYTES)];
        buffer[..rest.len()].copy_from_slice(rest);
        Inbox { buffer, filled: 0..rest.len(), wanted: BHS_LENGTH, digests, segment_max }
    }

    /// Takes what is there, with one call.
    pub fn receive(&mut self, stream: &TcpStream, flags: RecvFlags) -> Result<Came, Trouble> {
        self.make_room();
        match recv(stream, &mut self.buffer[self.filled.end..], flags) {
            Ok((0, _)) => Err(Trouble::Closed),
            Ok((length, _)) => {
                self.filled.end += length;
                Ok(Came::Bytes)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(Came::Nothing),
            Err(error) => Err(Trouble::Io(error.into())),
        }
    }

    /// Moves what is left to the front, where the PDU that it begins would not fit behind it.
    fn make_room(&mut self) {
        if self.filled.is_empty() {
            self.filled = 0..0;
        } else if self.buffer.len() - self.filled.start < self.wanted.max(self.buffer.len() / 4) {
            self.buffer.copy_within(self.filled.clone(), 0);
            self.filled = 0..self.filled.len();
        }
    }

    /// The next PDU that is all here: its header, and where its data is.
    pub fn next(&mut self) -> Result<Option<(Bhs, Range<usize>)>, Trouble> {
        let here = &self.buffer[self.filled.clone()];
        let Some(bhs) = here.first_chunk::<BHS_LENGTH>() else {
            self.wanted = BHS_LENGTH;
            return Ok(None);
        };
        let length = u32::from_be_bytes([0, bhs[5], bhs[6], bhs[7]]) as usize;
        let header_end = BHS_LENGTH + 4 * usize::from(bhs[4]);
        let data_start = header_end + self.digests.length_after_header();
        // Before the length is believed, where there is a way to know.
        if self.digests.header && here.len() >= data_start {
            let digest = header_digest(bhs, &here[BHS_LENGTH..header_end]);
            if here[header_end..data_start] != digest {
                return Err(Trouble::HeaderDigest);
            }
        }
        if length > self.segment_max && (!self.digests.header || here.len() >= data_start) {
            return Err(Trouble::TooLong { length, limit: self.segment_max });
        }
        let end = data_start + length + self.digests.length_after_data(length);
        if here.len() < end {
            self.wanted = if length > self.segment_max { data_start } else { end };
            return Ok(None);
        }
        if self.digests.data && length > 0 {
            let digest_start = data_start + length + padding_of(length);
            let digest = crc32c::crc32c(&here[data_start..digest_start]).to_le_bytes();
            if here[digest_start..digest_start + DIGEST_LENGTH] != digest {
                return Err(Trouble::DataDigest);
            }
        }
        let bhs = *bhs;
        let data = self.filled.start + data_start..self.filled.start + data_start + length;
        self.filled.start += end;
        Ok(Some((bhs, data)))
    }

    /// Until the next [`Inbox::receive`].
    pub fn bytes(&self, data: Range<usize>) -> &[u8] {
        &self.buffer[data]
    }
}

/// BHS, the longest AHS that its length byte can tell, and digests.
const HEADER_MAX: usize = BHS_LENGTH + 4 * 255 + 2 * DIGEST_LENGTH + 3;

/// Of many answers with one call; more would only leave the cache.
const BUFFER_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use bytes::{Bytes, BytesMut};
    use iscsi_proto::pdu::RawPdu;

    use super::*;

    const BOTH: Digests = Digests { header: true, data: true };

    fn raw(data: &[u8]) -> RawPdu {
        let mut bhs = [0x25; BHS_LENGTH];
        bhs[4..8].copy_from_slice(&u32::try_from(data.len()).expect("short").to_be_bytes());
        RawPdu { bhs, ahs: Bytes::new(), data: Bytes::copy_from_slice(data) }
    }

    fn wire(digests: Digests, pdus: &[RawPdu]) -> BytesMut {
        let mut wire = BytesMut::new();
        pdus.iter().for_each(|pdu| digests.put(pdu, &mut wire));
        wire
    }

    #[test]
    fn any_cut_gives_the_same_pdus() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut there = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        let (here, _) = listener.accept().expect("it connects");
        let pdus: Vec<RawPdu> = (0..40).map(|n| raw(&vec![n; usize::from(n) * 97])).collect();
        for digests in [Digests::NONE, BOTH] {
            let wire = wire(digests, &pdus);
            let mut inbox = Inbox::new(digests, 4096, &wire[..7]);
            // Small, so that what is left has to be moved.
            inbox.buffer.truncate(10_000);
            let mut found = Vec::new();
            for piece in wire[7..].chunks(3001) {
                there.write_all(piece).expect("sent");
                let mut left = piece.len();
                while left > 0 {
                    let before = inbox.filled.len();
                    assert_eq!(inbox.receive(&here, RecvFlags::empty()).expect("open"), Came::Bytes);
                    left -= inbox.filled.len() - before;
                    while let Some((bhs, data)) = inbox.next().expect("what put wrote is good") {
                        let data = Bytes::copy_from_slice(inbox.bytes(data));
                        found.push(RawPdu { bhs, ahs: Bytes::new(), data });
                    }
                }
            }
            assert_eq!(found, pdus);
        }
    }

    #[test]
    fn what_was_spoiled_on_the_way_is_not_taken() {
        let whole = wire(BOTH, &[raw(b"hello")]);
        assert!(matches!(Inbox::new(BOTH, 4096, &whole).next(), Ok(Some(_))));
        for at in 0..whole.len() {
            let mut spoiled = whole.clone();
            spoiled[at] ^= 1;
            let result = Inbox::new(BOTH, 4096, &spoiled).next();
            // A longer AHS is not here yet.
            let is_told = matches!(&result, Err(Trouble::HeaderDigest | Trouble::DataDigest)) || at == 4;
            assert!(is_told, "byte {at}: {result:?}");
        }
        let long = wire(Digests::NONE, &[raw(&[0; 513])]);
        assert!(matches!(Inbox::new(Digests::NONE, 512, &long[..48]).next(), Err(Trouble::TooLong { .. })));
    }
}
