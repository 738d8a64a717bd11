//! Before a slot's first frame: who is there, and do they know the pair's secret?
//!
//! ```text
//!        Dialing                                                     acceptor
//!           │ ── hello {node, instance, session, slot, n, …, nonce} ──►  greet → Caller: whose keys? → answer
//!   receive │ ◄─ hello {…, nonce} ───────────────────────────────────       │
//!           ▼ ── proof: HMAC(both hellos, direction), Noise ─────────►  ExpectProof.receive → Proven: is the slot free?
//!   ExpectProof ◄ proof: HMAC(both hellos, direction), Noise ────────       ▼ admit
//!           ▼                                                            Opened
//!         Opened
//! ```
//! Each message is one [`Cell`] of the same length, whatever it says: read exactly so many bytes, hand them over. Instead of
//! an answer either side may send a refusal. Those are not authenticated: who can forge one can cut the line just as well.

mod acceptor;
mod cell;
mod dialer;
mod refusal;
#[cfg(test)]
mod tests;

use std::fmt;

use super::secure::{Ephemeral, Secure, SecureError};
use crate::config::{Compression, Encryption};
use crate::ids::{Instance, NodeName, SessionId, Slot};

pub use acceptor::{Caller, ExpectProof as AcceptorExpectsProof, Proven, Rejected, greet};
pub use cell::{CELL_LENGTH, Cell};
pub use dialer::{Dialing, ExpectProof as DialerExpectsProof};
pub use refusal::{Refusal, RefusalCode};

/// What each side says of itself and of the slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotHello {
    pub node: NodeName,
    pub instance: Instance,
    /// The dialer's choice; the acceptor repeats it.
    pub session: SessionId,
    /// Likewise.
    pub slot: Slot,
    /// The patent's n as configured, 1 to 64; the smaller of both sides' holds.
    pub connections: u8,
    /// Both sides' must be the same.
    pub encryption: Encryption,
    /// Of what the speaker sends.
    pub compression: Compression,
    /// Random, for this connection only.
    pub nonce: Nonce,
}

/// 32 random bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Nonce(pub [u8; 32]);

/// Both sides have proven themselves: frames may follow.
#[derive(Debug)]
pub struct Opened {
    pub peer: SlotHello,
    /// The n that holds.
    pub connections: u8,
    /// Where encryption is agreed, frames go through it.
    pub secure: Option<Secure>,
}

/// Why a handshake came to nothing, with the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    #[error("expected a handshake, got the bytes {got:#010x}: is the address that of a peer's mirror port?")]
    Foreign { got: u32 },
    #[error(
        "expected version {expected} of the mirror protocol, got version {got}: run the same release on both nodes"
    )]
    Version { expected: u8, got: u8 },
    #[error("expected {expected} in the handshake, got {got}")]
    Malformed { expected: &'static str, got: String },
    #[error("expected node {expected}, got {got}: correct the peer's address, or the nodes' names")]
    WrongNode { expected: String, got: String },
    #[error("{node} does not know the pair's secret: it must be the same on both nodes")]
    WrongSecret { node: String },
    #[error("encryption is {ours:?} here and {theirs:?} on {node}: it must be the same on both nodes")]
    Encryption { node: String, ours: Encryption, theirs: Encryption },
    #[error("slot {slot} is beyond the {connections} connections that both nodes agree on")]
    NoSuchSlot { slot: Slot, connections: u8 },
    #[error("encryption could not be agreed: {0}")]
    Noise(SecureError),
    #[error("the peer refused: {0}")]
    Refused(Refusal),
}

impl HandshakeError {
    /// Only an operator can mend it: try again seldom, and say so once.
    pub fn is_lasting(&self) -> bool {
        match self {
            HandshakeError::Refused(refusal) => refusal.code.is_lasting(),
            HandshakeError::Version { .. }
            | HandshakeError::WrongNode { .. }
            | HandshakeError::WrongSecret { .. }
            | HandshakeError::Encryption { .. }
            | HandshakeError::Foreign { .. } => true,
            HandshakeError::Malformed { .. } | HandshakeError::NoSuchSlot { .. } | HandshakeError::Noise(_) => false,
        }
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonce(…)")
    }
}

/// What a side puts in: its hello, and the key of its own for encryption.
#[derive(Clone, Debug)]
pub struct Ours {
    pub hello: SlotHello,
    pub ephemeral: Ephemeral,
}
