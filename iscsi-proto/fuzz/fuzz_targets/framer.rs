//! Any bytes, cut anywhere, with any digests: framer and decoder answer or refuse, and what is decoded is encoded the same.

#![no_main]

use bytes::BytesMut;
use iscsi_proto::digest::Digests;
use iscsi_proto::framer::{FrameError, Framer};
use iscsi_proto::pdu::{Request, Response};
use libfuzzer_sys::fuzz_target;

const LIMIT: u32 = 4096;

fuzz_target!(|input: &[u8]| {
    let Some((&[flags, cut], stream)) = input.split_first_chunk() else { return };
    let digests = Digests { header: flags & 1 != 0, data: flags & 2 != 0 };
    let mut framer = Framer::new();
    framer.negotiated(digests, LIMIT);
    let mut buffer = BytesMut::new();
    for piece in stream.chunks(usize::from(cut) + 1) {
        buffer.extend_from_slice(piece);
        loop {
            match framer.next(&mut buffer) {
                Ok(Some(pdu)) => {
                    if let Ok(request) = Request::decode(pdu.clone()) {
                        assert_eq!(Request::decode(request.to_raw()).as_ref(), Ok(&request));
                    }
                    if let Ok(response) = Response::decode(pdu) {
                        assert_eq!(Response::decode(response.to_raw()).as_ref(), Ok(&response));
                    }
                }
                Ok(None) => break,
                Err(FrameError::DataDigest(_)) => (),
                Err(_) => return,
            }
        }
    }
});
