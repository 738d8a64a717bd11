use std::fmt;
use std::ops::RangeInclusive;

use super::body;
use super::message::{MARK_MAX, PAYLOAD_MAX, READ_MAX};

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kind(pub u8);

impl Kind {
    pub const PING: Kind = Kind(0x01);
    pub const PONG: Kind = Kind(0x02);
    pub const BYE: Kind = Kind(0x03);
    pub const HELLO: Kind = Kind(0x10);
    pub const BEGIN: Kind = Kind(0x11);
    pub const ACK: Kind = Kind(0x12);
    pub const POSITION: Kind = Kind(0x13);
    pub const READ: Kind = Kind(0x14);
    pub const READ_DONE: Kind = Kind(0x15);
    pub const WRITE: Kind = Kind(0x20);
    pub const WRITE_ZEROES: Kind = Kind(0x21);
    pub const UNMAP: Kind = Kind(0x22);
    pub const FLUSH: Kind = Kind(0x23);
    pub const MARK: Kind = Kind(0x24);
    pub const VOID: Kind = Kind(0x25);
    pub const RESYNC_DONE: Kind = Kind(0x26);
    pub const VERIFY: Kind = Kind(0x27);

    /// `None`: no such kind.
    pub(super) fn limits(self) -> Option<Limits> {
        let (body, content_max) = match self {
            Kind::PING | Kind::PONG | Kind::BYE => (body::CONTROL_LENGTH, 0),
            Kind::HELLO => (body::HELLO_LENGTH, 0),
            Kind::BEGIN => (body::BEGIN_LENGTH, 0),
            Kind::ACK => (body::ACK_LENGTH, 0),
            Kind::POSITION => (body::POSITION_LENGTH, 0),
            Kind::READ => (body::READ_LENGTH, 0),
            Kind::READ_DONE => (body::DONE_LENGTH, READ_MAX),
            Kind::WRITE => (body::OP_LENGTH, PAYLOAD_MAX),
            Kind::MARK => (body::OP_LENGTH, MARK_MAX),
            Kind::WRITE_ZEROES | Kind::UNMAP | Kind::FLUSH | Kind::VOID | Kind::RESYNC_DONE => (body::OP_LENGTH, 0),
            Kind::VERIFY => (body::VERIFY_LENGTH, 0),
            _ => return None,
        };
        let body = *body.start() as u32..=*body.end() as u32;
        Some(Limits { body, content_max: content_max as u32 })
    }

    /// The rest speak for the connection.
    pub(super) fn is_of_a_group(self) -> bool {
        self.0 >= Kind::HELLO.0
    }
}

/// Bytes that a frame of the kind may have: nothing is buffered for a frame beyond them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub body: RangeInclusive<u32>,
    /// Of the payload, decompressed.
    pub content_max: u32,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Kind::PING => "PING",
            Kind::PONG => "PONG",
            Kind::BYE => "BYE",
            Kind::HELLO => "HELLO",
            Kind::BEGIN => "BEGIN",
            Kind::ACK => "ACK",
            Kind::POSITION => "POSITION",
            Kind::READ => "READ",
            Kind::READ_DONE => "READ_DONE",
            Kind::WRITE => "WRITE",
            Kind::WRITE_ZEROES => "WRITE_ZEROES",
            Kind::UNMAP => "UNMAP",
            Kind::FLUSH => "FLUSH",
            Kind::MARK => "MARK",
            Kind::VOID => "VOID",
            Kind::RESYNC_DONE => "RESYNC_DONE",
            Kind::VERIFY => "VERIFY",
            Kind(other) => return write!(f, "kind {other:#04x}"),
        };
        f.write_str(name)
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
