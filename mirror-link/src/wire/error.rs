use std::borrow::Cow;
use std::fmt;

use super::Kind;

/// Why bytes are no frame. The connection cannot go on after any of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("{part} was damaged on its way: expected CRC32C {expected:#010x}, got {got:#010x}")]
    Damaged { part: Part, expected: u32, got: u32 },
    #[error("{kind} frame: its payload does not decompress: {cause}")]
    Undecompressed { kind: Kind, cause: String },
    #[error("expected frames of version {expected}, got version {got}: run the same release on both nodes")]
    Version { expected: u8, got: u8 },
    #[error("expected a frame's first bytes {expected:#010x}, got {got:#010x}")]
    Foreign { expected: u32, got: u32 },
    #[error("{kind} frame: expected {expected}, got {got}")]
    Misbehaved { kind: Kind, expected: Cow<'static, str>, got: String },
    #[error("the connection was given up before")]
    Broken,
}

/// Where a CRC32C did not match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Header,
    Body(Kind),
    Payload(Kind),
}

/// Whose fault a [`WireError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The line, or the memory of one of the nodes: connect again.
    Line,
    /// The peer runs another release: connecting again won't help until one of them changes.
    PeerIncompatible,
    /// The peer broke the protocol.
    PeerMisbehaved,
    /// We went on reading after an error.
    Ours,
}

impl WireError {
    pub fn fault(&self) -> Fault {
        match self {
            WireError::Damaged { .. } | WireError::Foreign { .. } => Fault::Line,
            WireError::Version { .. } => Fault::PeerIncompatible,
            WireError::Undecompressed { .. } | WireError::Misbehaved { .. } => Fault::PeerMisbehaved,
            WireError::Broken => Fault::Ours,
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Header => f.write_str("the header of a frame"),
            Part::Body(kind) => write!(f, "the body of the {kind} frame"),
            Part::Payload(kind) => write!(f, "the payload of the {kind} frame"),
        }
    }
}
