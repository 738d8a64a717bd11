//! Any bytes, cut anywhere: the decoder answers or refuses, and what is decoded is encoded the same.
//!
//! `flags cut stream`. Bit 0 of the flags puts magic, version and checksums right, so that what is behind them is reached;
//! bits 1 and 2 are the compression agreed on.

#![no_main]

use bytes::{Buf, BytesMut};
use libfuzzer_sys::fuzz_target;
use mirror_link::config::Compression;
use mirror_link::wire::{FrameDecoder, FrameEncoder, Outgoing};

fuzz_target!(|input: &[u8]| {
    let Some((&[flags, cut], stream)) = input.split_first_chunk() else { return };
    let mut stream = stream.to_vec();
    if flags & 1 != 0 {
        sign(&mut stream);
    }
    let compression = [Compression::None, Compression::Lz4, Compression::Zstd][usize::from(flags >> 1) % 3];
    let (mut decoder, mut buffer) = (FrameDecoder::new(compression), BytesMut::new());
    for piece in stream.chunks(usize::from(cut) + 1) {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.next(&mut buffer) {
                Ok(Some(frame)) => {
                    let mut out = Outgoing::default();
                    FrameEncoder::new(compression).encode(&frame, &mut out);
                    let mut wire = BytesMut::from(&out.copy_to_bytes(out.remaining())[..]);
                    assert_eq!(FrameDecoder::new(compression).next(&mut wire).as_ref(), Ok(&Some(frame)));
                    assert!(wire.is_empty());
                }
                Ok(None) => break assert!(decoder.wanted() > 0),
                Err(_) => return,
            }
        }
    }
});

/// As the drawing of the header says, for frames of up to 255 bytes of body and 65535 of payload.
fn sign(mut stream: &mut [u8]) {
    while let Some((header, rest)) = stream.split_first_chunk_mut::<44>() {
        header[..5].copy_from_slice(b"LUNM\x01");
        (header[7], header[18], header[19]) = (0, 0, 0);
        for at in [20, 24, 28] {
            (header[at], header[at + 1]) = (0, 0);
        }
        header[22] = 0;
        let (body, payload) = (usize::from(header[23]), usize::from(header[26]) << 8 | usize::from(header[27]));
        let Some((body, rest)) = rest.split_at_mut_checked(body) else { return };
        let Some((payload, rest)) = rest.split_at_mut_checked(payload) else { return };
        header[32..36].copy_from_slice(&crc32c::crc32c(body).to_be_bytes());
        if header[6] == 0 {
            let length: [u8; 4] = [header[24], header[25], header[26], header[27]];
            header[28..32].copy_from_slice(&length);
            header[36..40].copy_from_slice(&crc32c::crc32c(payload).to_be_bytes());
        }
        let crc = crc32c::crc32c(&header[..40]);
        header[40..].copy_from_slice(&crc.to_be_bytes());
        stream = rest;
    }
}
