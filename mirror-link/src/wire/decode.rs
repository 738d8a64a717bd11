use bytes::{Buf, Bytes, BytesMut};

use super::compress::Decompressor;
use super::header::{HEADER_LENGTH, Header};
use super::message::Frame;
use super::{Part, WireError, body};
use crate::config::Compression;

/// Bytes of a slot → frames. One for each connection.
///
/// ```text
///            44 bytes                  body                         payload
///   Header ───────────► Body(lengths) ─────► Payload(range checked) ────────► Frame
///           CRC, limits                CRC                            CRC
/// ```
#[derive(Debug)]
pub struct FrameDecoder {
    decompressor: Decompressor,
    state: State,
    wanted: usize,
}

#[derive(Debug)]
enum State {
    Header,
    Body(Header),
    Payload(Header, Frame),
    Broken,
}

impl FrameDecoder {
    /// `compression`: what the peer's slot hello named; any other compressed payload is refused.
    pub fn new(compression: Compression) -> FrameDecoder {
        FrameDecoder { decompressor: Decompressor::new(compression), state: State::Header, wanted: HEADER_LENGTH }
    }

    /// After [`FrameDecoder::next`] gave `None`: how many more bytes it needs before it can go on, at least 1. Once the header
    /// is known that is the whole rest of the frame, so reserve it.
    pub fn wanted(&self) -> usize {
        self.wanted
    }

    /// Takes one frame off the front of `buffer` if it is all there; its payload is split off, not copied. After an error it
    /// gives nothing more.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, WireError> {
        loop {
            match std::mem::replace(&mut self.state, State::Broken) {
                State::Header => {
                    let Some(bytes) = buffer.first_chunk() else {
                        return Ok(self.wait(State::Header, HEADER_LENGTH - buffer.len()));
                    };
                    let header = self.check(Header::decode(bytes)?)?;
                    buffer.advance(HEADER_LENGTH);
                    self.state = State::Body(header);
                }
                State::Body(header) => {
                    let length = header.body_length as usize;
                    if buffer.len() < length {
                        let wanted = header.rest_length() - buffer.len();
                        return Ok(self.wait(State::Body(header), wanted));
                    }
                    let frame = take_body(&header, &buffer[..length])?;
                    buffer.advance(length);
                    self.state = State::Payload(header, frame);
                }
                State::Payload(header, frame) => {
                    let length = header.payload_length as usize;
                    if buffer.len() < length {
                        return Ok(self.wait(State::Payload(header, frame), length - buffer.len()));
                    }
                    let frame = self.take_payload(&header, frame, buffer)?;
                    self.state = State::Header;
                    return Ok(Some(frame));
                }
                State::Broken => return Err(WireError::Broken),
            }
        }
    }

    fn wait(&mut self, state: State, wanted: usize) -> Option<Frame> {
        (self.state, self.wanted) = (state, wanted);
        None
    }

    fn check(&self, header: Header) -> Result<Header, WireError> {
        let spoken = self.decompressor.coding();
        if header.coding != Compression::None && header.coding != spoken {
            let expected = format!("payloads compressed as its hello said: {spoken:?}");
            return Err(header.misbehaved(expected, format_args!("{:?}", header.coding)));
        }
        Ok(header)
    }

    fn take_payload(&mut self, header: &Header, mut frame: Frame, buffer: &mut BytesMut) -> Result<Frame, WireError> {
        let payload = match header.payload_length as usize {
            0 => Bytes::new(),
            length => buffer.split_to(length).freeze(),
        };
        let content = match header.coding {
            Compression::None => payload,
            Compression::Lz4 | Compression::Zstd => self
                .decompressor
                .decompress(&payload, header.content_length as usize)
                .map_err(|cause| WireError::Undecompressed { kind: header.kind, cause })?,
        };
        let crc = crc32c::crc32c(&content);
        if crc != header.content_crc {
            return Err(WireError::Damaged {
                part: Part::Payload(header.kind),
                expected: header.content_crc,
                got: crc,
            });
        }
        body::attach(&mut frame, content);
        Ok(frame)
    }
}

fn take_body(header: &Header, body: &[u8]) -> Result<Frame, WireError> {
    let crc = crc32c::crc32c(body);
    if crc != header.body_crc {
        return Err(WireError::Damaged { part: Part::Body(header.kind), expected: header.body_crc, got: crc });
    }
    body::parse(header, body)
}

/// How long the frame is that begins so, by its header. `None`: there is less than a header.
pub fn frame_length(bytes: &[u8]) -> Result<Option<usize>, WireError> {
    let Some(header) = bytes.first_chunk() else { return Ok(None) };
    Header::decode(header).map(|header| Some(HEADER_LENGTH + header.rest_length()))
}

/// Of a whole frame that nobody goes on reading behind: what it says (where its payload alone is damaged: without that), and what
/// is wrong with it.
pub fn inspect(bytes: &[u8]) -> (Option<Frame>, Option<WireError>) {
    let error = match FrameDecoder::new(Compression::None).next(&mut BytesMut::from(bytes)) {
        Ok(frame) => return (frame, None),
        Err(error) => error,
    };
    let said = || {
        let header = Header::decode(bytes.first_chunk()?).ok()?;
        let body = bytes.get(HEADER_LENGTH..)?.get(..header.body_length as usize)?;
        take_body(&header, body).ok()
    };
    (said(), Some(error))
}
