use std::fmt;

use bytes::{BufMut, Bytes};

use super::body::{self, Content};
use super::compress::Compressor;
use super::header::{HEADER_LENGTH, Header};
use super::message::Frame;
use super::{Kind, Outgoing};
use crate::block::Payload;
use crate::config::Compression;

/// Frames → bytes. One for each direction of a slot: it keeps a compressor's memory.
pub struct FrameEncoder {
    compressor: Compressor,
}

/// CRC32C over a payload as it is on disk, before compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadCrc(pub u32);

impl PayloadCrc {
    pub fn of(payload: &Payload) -> PayloadCrc {
        PayloadCrc(payload.pieces().iter().fold(0, |crc, piece| crc32c::crc32c_append(crc, piece)))
    }
}

impl FrameEncoder {
    /// Payloads are compressed as told, each where that makes it shorter.
    pub fn new(compression: Compression) -> FrameEncoder {
        FrameEncoder { compressor: Compressor::new(compression) }
    }

    /// Append the frame to what goes out. Panics where it breaks a bound of [`super::message`]: that is our own fault.
    pub fn encode(&mut self, frame: &Frame, out: &mut Outgoing) {
        self.encode_checked(frame, None, out);
    }

    /// The same, where the CRC32C of the payload is known already.
    pub fn encode_checked(&mut self, frame: &Frame, crc: Option<PayloadCrc>, out: &mut Outgoing) {
        match body::content(frame) {
            Content::Nothing => put_header(frame, &Passenger::NONE, out),
            Content::Mark(bytes) => self.put_one(frame, bytes, crc, out),
            Content::Data(payload) => match payload.pieces() {
                [piece] => self.put_one(frame, piece, crc, out),
                _ if self.compressor.coding() != Compression::None => {
                    self.put_one(frame, &payload.contiguous(), crc, out);
                }
                pieces => {
                    let crc = crc.unwrap_or_else(|| PayloadCrc::of(payload));
                    put_header(frame, &Passenger::uncoded(payload.len(), crc), out);
                    pieces.iter().for_each(|piece| out.put_payload(piece.clone()));
                }
            },
        }
    }

    fn put_one(&mut self, frame: &Frame, content: &Bytes, crc: Option<PayloadCrc>, out: &mut Outgoing) {
        let crc = crc.unwrap_or_else(|| PayloadCrc(crc32c::crc32c(content)));
        let uncoded = Passenger::uncoded(content.len() as u64, crc);
        let (passenger, payload) = match self.compressor.compress(content) {
            None => (uncoded, content.clone()),
            Some(shorter) => {
                let (coding, length) = (self.compressor.coding(), shorter.len() as u32);
                (Passenger { coding, payload_length: length, ..uncoded }, shorter)
            }
        };
        put_header(frame, &passenger, out);
        out.put_payload(payload);
    }
}

/// What a header says of the payload.
struct Passenger {
    coding: Compression,
    payload_length: u32,
    content_length: u32,
    content_crc: PayloadCrc,
}

impl Passenger {
    const NONE: Passenger =
        Passenger { coding: Compression::None, payload_length: 0, content_length: 0, content_crc: PayloadCrc(0) };

    fn uncoded(length: u64, content_crc: PayloadCrc) -> Passenger {
        let length = u32::try_from(length).expect("a payload is at most PAYLOAD_MAX bytes");
        Passenger { coding: Compression::None, payload_length: length, content_length: length, content_crc }
    }
}

fn put_header(frame: &Frame, passenger: &Passenger, out: &mut Outgoing) {
    let kind: Kind = body::kind(frame);
    let (session, group) = match frame {
        Frame::Group(frame) => (frame.session.0, frame.group.0),
        Frame::Ping(_) | Frame::Pong(_) | Frame::Bye(_) => (0, 0),
    };
    out.put_small(|small| {
        let start = small.len();
        small.put_bytes(0, HEADER_LENGTH);
        body::put(frame, small);
        let (head, body) = small[start..].split_at_mut(HEADER_LENGTH);
        let header = Header {
            kind,
            coding: passenger.coding,
            session,
            group,
            body_length: body.len() as u32,
            payload_length: passenger.payload_length,
            content_length: passenger.content_length,
            body_crc: crc32c::crc32c(body),
            content_crc: passenger.content_crc.0,
        };
        debug_assert_eq!(header.check_lengths(), Ok(()), "our own frames keep the bounds");
        head.copy_from_slice(&header.encode());
    });
}

impl fmt::Debug for FrameEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameEncoder({:?})", self.compressor.coding())
    }
}
