//! Payloads made shorter, where they can be.

use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::config::Compression;

/// The fastest of Zstandard's levels that is not negative.
const ZSTD_LEVEL: i32 = 1;

/// Bytes of working memory kept from one payload to the next; what a larger payload needs is given back.
const ROOM_KEPT: usize = 1 << 20;

/// Compresses one payload after the other, each for itself.
pub(super) struct Compressor {
    method: Method<zstd::bulk::Compressor<'static>>,
    room: Vec<u8>,
}

enum Method<Zstd> {
    None,
    Lz4,
    Zstd(Box<Zstd>),
}

impl Compressor {
    pub fn new(compression: Compression) -> Compressor {
        let method = match compression {
            Compression::None => Method::None,
            Compression::Lz4 => Method::Lz4,
            Compression::Zstd => {
                let zstd = zstd::bulk::Compressor::new(ZSTD_LEVEL).expect("a level that Zstandard has");
                Method::Zstd(Box::new(zstd))
            }
        };
        Compressor { method, room: Vec::new() }
    }

    pub fn coding(&self) -> Compression {
        self.method.coding()
    }

    /// `None` where it does not get shorter.
    pub fn compress(&mut self, content: &[u8]) -> Option<Bytes> {
        // LZ4 wants room for the worst case; Zstandard stops where it would get longer.
        let room = match self.method {
            Method::None => return None,
            Method::Lz4 => lz4_flex::block::get_maximum_output_size(content.len()),
            Method::Zstd(_) => content.len(),
        };
        if self.room.len() < room {
            self.room.resize(room, 0);
        }
        let room = &mut self.room[..room];
        let length = match &mut self.method {
            Method::None => None,
            Method::Lz4 => lz4_flex::block::compress_into(content, room).ok(),
            Method::Zstd(zstd) => zstd.compress_to_buffer(content, room).ok(),
        };
        let shorter = length.filter(|&length| length < content.len()).map(|length| &self.room[..length]);
        let shorter = shorter.map(Bytes::copy_from_slice);
        if self.room.len() > ROOM_KEPT {
            self.room = Vec::new();
        }
        shorter
    }
}

/// Undoes one method; the other is not spoken here.
pub(super) struct Decompressor {
    method: Method<zstd::bulk::Decompressor<'static>>,
}

impl Decompressor {
    pub fn new(compression: Compression) -> Decompressor {
        let method = match compression {
            Compression::None => Method::None,
            Compression::Lz4 => Method::Lz4,
            Compression::Zstd => {
                Method::Zstd(Box::new(zstd::bulk::Decompressor::new().expect("no dictionary that could be refused")))
            }
        };
        Decompressor { method }
    }

    pub fn coding(&self) -> Compression {
        self.method.coding()
    }

    /// To exactly `content_length` bytes, which the caller has bounded: no more is allocated, whatever the payload says.
    pub fn decompress(&mut self, payload: &[u8], content_length: usize) -> Result<Bytes, String> {
        let mut content = BytesMut::zeroed(content_length);
        let length = match &mut self.method {
            Method::None => return Err("it is not compressed".into()),
            Method::Lz4 => lz4_flex::block::decompress_into(payload, &mut content).map_err(|error| error.to_string()),
            Method::Zstd(zstd) => {
                zstd.decompress_to_buffer(payload, &mut content[..]).map_err(|error| error.to_string())
            }
        };
        match length? {
            length if length == content_length => Ok(content.freeze()),
            length => Err(format!("expected {content_length} bytes, got {length}")),
        }
    }
}

impl<Zstd> Method<Zstd> {
    fn coding(&self) -> Compression {
        match self {
            Method::None => Compression::None,
            Method::Lz4 => Compression::Lz4,
            Method::Zstd(_) => Compression::Zstd,
        }
    }
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Decompressor({:?})", self.coding())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that no method makes shorter.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        };
        (0..length).map(next).collect()
    }

    #[test]
    fn shorter_or_not_at_all() {
        for compression in [Compression::Lz4, Compression::Zstd] {
            let (mut compressor, mut decompressor) = (Compressor::new(compression), Decompressor::new(compression));
            for length in [512, 4096, 65_536, 3 << 20] {
                assert_eq!(compressor.compress(&noise(length)), None, "{compression:?} {length}");
                let text = b"the same again and ".repeat(length / 19 + 1);
                let shorter = compressor.compress(&text).expect("repetitions get shorter");
                assert!(shorter.len() < text.len() / 5, "{compression:?}: {} of {}", shorter.len(), text.len());
                assert_eq!(decompressor.decompress(&shorter, text.len()).as_deref(), Ok(&text[..]));
            }
            assert!(compressor.room.len() <= ROOM_KEPT);
        }
        assert_eq!(Compressor::new(Compression::None).compress(&[0; 4096]), None);
    }

    #[test]
    fn another_length_than_was_declared_is_refused() {
        for compression in [Compression::Lz4, Compression::Zstd] {
            let bomb = Compressor::new(compression).compress(&[0; 1 << 20]).expect("zeroes get shorter");
            let mut decompressor = Decompressor::new(compression);
            assert!(decompressor.decompress(&bomb, 4096).is_err(), "{compression:?}: a bomb");
            assert!(decompressor.decompress(&bomb, (1 << 20) + 1).is_err(), "{compression:?}: too short");
            assert!(decompressor.decompress(&bomb[..bomb.len() - 1], 1 << 20).is_err(), "{compression:?}: cut off");
            assert!(decompressor.decompress(&bomb, 1 << 20).is_ok(), "{compression:?}: usable after errors");
        }
        assert!(Decompressor::new(Compression::None).decompress(b"abc", 3).is_err());
    }
}
