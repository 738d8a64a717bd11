//! The peer protocol: what one node says to the other. Pure.
//!
//! A frame is a header with its own CRC32C, then what the kind asks for, then the payload with a CRC32C of its own.
//! Any frame may use any slot: order is in the frames, not in the sockets.

pub mod message;
