use super::Outgoing;
use super::message::Frame;
use crate::block::Payload;
use crate::config::Compression;

/// Frames → bytes. One for each direction of a slot: it keeps a compressor's memory.
#[derive(Debug)]
pub struct FrameEncoder {
    compression: Compression,
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
        FrameEncoder { compression }
    }

    /// Append the frame to what goes out. Panics where it breaks a bound of [`super::message`]: that is our own fault.
    pub fn encode(&mut self, frame: &Frame, out: &mut Outgoing) {
        self.encode_checked(frame, None, out);
    }

    /// The same, where the CRC32C of the payload is known already.
    pub fn encode_checked(&mut self, frame: &Frame, crc: Option<PayloadCrc>, out: &mut Outgoing) {
        let _ = (self.compression, frame, crc, out);
        todo!()
    }
}
