use std::fmt;

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
    pub const WRITE: Kind = Kind(0x20);
    pub const WRITE_ZEROES: Kind = Kind(0x21);
    pub const UNMAP: Kind = Kind(0x22);
    pub const FLUSH: Kind = Kind(0x23);
    pub const MARK: Kind = Kind(0x24);
    pub const VOID: Kind = Kind(0x25);
    pub const RESYNC_DONE: Kind = Kind(0x26);
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
            Kind::WRITE => "WRITE",
            Kind::WRITE_ZEROES => "WRITE_ZEROES",
            Kind::UNMAP => "UNMAP",
            Kind::FLUSH => "FLUSH",
            Kind::MARK => "MARK",
            Kind::VOID => "VOID",
            Kind::RESYNC_DONE => "RESYNC_DONE",
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
