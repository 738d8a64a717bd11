//! Header and data digests, and padding: what stands around the segments of a PDU on the wire (RFC 7143 §11.1, §13.1).

use std::ops::Deref;

use bytes::{BufMut, BytesMut};

use crate::pdu::{Bhs, RawPdu};

/// A CRC32C on the wire.
pub const DIGEST_LENGTH: usize = 4;

/// Which digests were negotiated. "This digest MUST be used for every PDU in the Full Feature Phase." (RFC 7143 §13.1)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    pub header: bool,
    pub data: bool,
}

impl Digests {
    /// As during login.
    pub const NONE: Digests = Digests { header: false, data: false };

    /// What follows the header segments.
    pub fn after_header(self, bhs: &Bhs, ahs: &[u8]) -> Trailer {
        let mut trailer = Trailer::default();
        if self.header {
            trailer.push(&header_digest(bhs, ahs));
        }
        trailer
    }

    /// What follows a data segment made of these parts: padding and digest. Nothing follows an empty one: "A zero-length
    /// Data Segment also implies a zero-length Data-Digest." (RFC 7143 §11.2.3)
    pub fn after_data<'a>(self, parts: impl IntoIterator<Item = &'a [u8]>) -> Trailer {
        let (mut length, mut digest) = (0, 0);
        for part in parts {
            length += part.len();
            if self.data {
                digest = crc32c::crc32c_append(digest, part);
            }
        }
        let mut trailer = Trailer::default();
        let padding = &[0; 3][..padding_of(length)];
        trailer.push(padding);
        if self.data && length > 0 {
            trailer.push(&crc32c::crc32c_append(digest, padding).to_le_bytes());
        }
        trailer
    }

    /// Bytes between the data segment and the next PDU.
    pub fn length_after_data(self, data_segment_length: usize) -> usize {
        let digest = if self.data && data_segment_length > 0 { DIGEST_LENGTH } else { 0 };
        padding_of(data_segment_length) + digest
    }

    /// Bytes between the header segments and the data segment.
    pub fn length_after_header(self) -> usize {
        if self.header { DIGEST_LENGTH } else { 0 }
    }

    /// The whole PDU in one buffer, for those who do not write its parts by vector.
    pub fn put(self, pdu: &RawPdu, buffer: &mut BytesMut) {
        buffer.put_slice(&pdu.bhs);
        buffer.put_slice(&pdu.ahs);
        buffer.put_slice(&self.after_header(&pdu.bhs, &pdu.ahs));
        buffer.put_slice(&pdu.data);
        buffer.put_slice(&self.after_data([&pdu.data[..]]));
    }
}

/// "The CRC bits are mapped into the digest word" with the lowest numbered byte first: little-endian, as CPUs compute it.
pub fn header_digest(bhs: &Bhs, ahs: &[u8]) -> [u8; DIGEST_LENGTH] {
    crc32c::crc32c_append(crc32c::crc32c(bhs), ahs).to_le_bytes()
}

/// "iSCSI PDUs are padded to the closest integer number of 4-byte words." (RFC 7143 §11.1)
pub fn padding_of(length: usize) -> usize {
    length.wrapping_neg() % 4
}

/// Up to three bytes of padding and a digest, on the stack.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trailer {
    bytes: [u8; 3 + DIGEST_LENGTH],
    length: usize,
}

impl Trailer {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }
}

impl Deref for Trailer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn examples_of_the_standard() {
        let increasing: Vec<u8> = (0..32).collect();
        let decreasing: Vec<u8> = (0..32).rev().collect();
        let data = Digests { header: false, data: true };
        for (bytes, digest) in [
            (&[0; 32][..], [0xaa, 0x36, 0x91, 0x8a]),
            (&[0xff; 32], [0x43, 0xab, 0xa8, 0x62]),
            (&increasing, [0x4e, 0x79, 0xdd, 0x46]),
            (&decreasing, [0x5c, 0xdb, 0x3f, 0x11]),
        ] {
            assert_eq!(*data.after_data([bytes]), digest, "RFC 7143 A.4");
            let (first, second) = bytes.split_at(7);
            assert_eq!(*data.after_data([first, second]), digest, "in two parts");
        }
    }

    #[test]
    fn read_10_of_the_standard() {
        let mut bhs = [0; 48];
        for (offset, bytes) in [(0, [1, 0xc0, 0, 0]), (16, [0x14, 0, 0, 0]), (20, [0, 0, 4, 0]), (24, [0, 0, 0, 0x14])]
        {
            bhs[offset..offset + 4].copy_from_slice(&bytes);
        }
        (bhs[31], bhs[32], bhs[40]) = (0x18, 0x28, 0x02);
        assert_eq!(header_digest(&bhs, &[]), [0x56, 0x3a, 0x96, 0xd9], "RFC 7143 A.4");
    }

    #[test]
    fn padding_is_zero_and_part_of_the_digest() {
        let both = Digests { header: true, data: true };
        let padded = both.after_data([&b"abcde"[..]]);
        assert_eq!(padded[..3], [0, 0, 0]);
        assert_eq!(padded[3..], crc32c::crc32c(b"abcde\0\0\0").to_le_bytes());
        assert_eq!(*both.after_data([&b""[..]]), []);
        for length in 0..9 {
            assert_eq!(both.after_data([&vec![7; length][..]]).len(), both.length_after_data(length));
        }
    }

    #[test]
    fn whole_pdu() {
        let pdu = RawPdu { bhs: [9; 48], ahs: Bytes::from_static(b"ahsahsah"), data: Bytes::from_static(b"d") };
        let mut buffer = BytesMut::new();
        Digests { header: true, data: true }.put(&pdu, &mut buffer);
        assert_eq!(buffer.len(), 48 + 8 + 4 + 4 + 4);
        assert_eq!(buffer[56..60], crc32c::crc32c(&buffer[..56]).to_le_bytes());
        assert_eq!(buffer[64..], crc32c::crc32c(b"d\0\0\0").to_le_bytes());
    }
}
