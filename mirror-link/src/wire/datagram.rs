//! A heartbeat: one UDP datagram, authenticated.

use bytes::BytesMut;
use smallvec::SmallVec;

use super::keys::PairKeys;
use super::message::{Marks, Role};
use crate::ids::{GroupIndex, Instance, NodeName, SessionId};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The sender's.
    pub node: NodeName,
    pub instance: Instance,
    /// `None`: the sender has no slot open.
    pub session: Option<SessionId>,
    /// Grows by one with each datagram that an instance sends to this peer, from 1.
    pub number: u64,
    /// The last of the receiver's datagrams that the sender heard.
    pub echo: Option<Echo>,
    /// How groups stand at the sender, at most [`BEATS_MAX`]; to be obeyed only in the session that is the receiver's.
    pub groups: SmallVec<[GroupBeat; 2]>,
}

/// That a datagram was heard, and how long ago: proof of freshness to its sender, and a round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    pub instance: Instance,
    pub number: u64,
    /// Between its arrival and this datagram; the greatest value also means more.
    pub held_us: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupBeat {
    /// What the sender calls the group.
    pub group: GroupIndex,
    pub role: Role,
    /// Epoch 0: none.
    pub marks: Marks,
}

/// Groups told of in one datagram: as many as surely fit an unfragmented one (1232 bytes over IPv6).
pub const BEATS_MAX: usize = 16;

/// A receive buffer of so many bytes takes every datagram; a longer one is not ours.
pub const DATAGRAM_MAX: usize = 1200;

/// Why a datagram is not to be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatagramError {
    #[error("not a heartbeat")]
    Foreign,
    #[error("expected a heartbeat of version {expected}, got version {got}")]
    Version { expected: u8, got: u8 },
    #[error("expected {expected} in a heartbeat, got {got}")]
    Malformed { expected: &'static str, got: u64 },
    #[error("a heartbeat in the name of {node} is not signed with the pair's secret")]
    Forged { node: String },
}

impl Datagram {
    /// Who claims to have sent it: whose keys [`Datagram::decode`] needs. Not to be believed.
    pub fn claimed_sender(datagram: &[u8]) -> Result<&str, DatagramError> {
        let _ = datagram;
        todo!()
    }

    /// Append it to `out`, signed.
    pub fn encode(&self, keys: &PairKeys, out: &mut BytesMut) {
        let _ = (keys.heartbeat_to_peer, out);
        todo!()
    }

    pub fn decode(datagram: &[u8], keys: &PairKeys) -> Result<Datagram, DatagramError> {
        let _ = (datagram, keys.heartbeat_from_peer);
        todo!()
    }
}
