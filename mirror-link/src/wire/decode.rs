use bytes::BytesMut;

use super::WireError;
use super::message::Frame;
use crate::config::Compression;

/// Bytes of a slot → frames. One for each connection.
#[derive(Debug)]
pub struct FrameDecoder {
    /// What the peer said that it uses.
    compression: Compression,
    wanted: usize,
}

impl FrameDecoder {
    /// `compression`: what the peer's slot hello named; any other compressed payload is refused.
    pub fn new(compression: Compression) -> FrameDecoder {
        FrameDecoder { compression, wanted: 0 }
    }

    /// After [`FrameDecoder::next`] gave `None`: how many more bytes it needs before it can go on, at least 1. Once the header
    /// is known that is the whole rest of the frame, so reserve it.
    pub fn wanted(&self) -> usize {
        self.wanted
    }

    /// Takes one frame off the front of `buffer` if it is all there; its payload is split off, not copied. After an error it
    /// gives nothing more.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, WireError> {
        let _ = (self.compression, buffer);
        todo!()
    }
}
