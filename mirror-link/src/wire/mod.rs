//! The peer protocol: what one node says to the other. Pure.
//!
//! A frame is a header with its own CRC32C, then what the kind asks for, then the payload with a CRC32C of its own.
//! Any frame may use any slot: order is in the frames, not in the sockets.
//!
//! ```text
//!   Frame ──► FrameEncoder ──► Outgoing ──► one vectored write            datagram, replay_guard: heartbeats (UDP)
//!   Frame ◄── FrameDecoder ◄── BytesMut ◄── reads                         handshake: before a slot's first frame
//!                                 (secure: both, where encrypted)         keys: all from the pair's secret
//! ```

mod body;
mod compress;
pub mod datagram;
mod decode;
mod encode;
mod error;
pub mod handshake;
mod header;
pub mod keys;
mod kind;
pub mod message;
mod outgoing;
pub mod replay_guard;
pub mod secure;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use decode::{FrameDecoder, frame_length, inspect};
pub use encode::{FrameEncoder, PayloadCrc};
pub use error::{Fault, Part, WireError};
pub use kind::Kind;
pub use outgoing::Outgoing;

/// Of what is said once a slot is open. The handshake tells it: nodes of different versions refuse each other there.
pub const PROTOCOL_VERSION: u8 = 2;

/// Of the forms of frames' headers and of heartbeats, which are older than some kinds of frames.
const FORM_VERSION: u8 = 1;
