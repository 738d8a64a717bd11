//! What goes into a [`super::Peer`] and what comes out.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::array::{ConnectionId, SlotState};
use super::detector::Verdict;
use super::event::Event;
use super::paths::PathIndex;
use crate::config::Heartbeat;
use crate::ids::{Instance, NodeName, SessionId, Slot};
use crate::wire::datagram::{Datagram, GroupBeat};
use crate::wire::message::ByeReason;

/// What holds as long as the process runs.
#[derive(Clone, Debug)]
pub struct Rules {
    pub node: NodeName,
    pub instance: Instance,
    /// Our name is the lesser: we make the connections, the peer waits for them.
    pub dialer: bool,
    /// Of the peer, 1 or more.
    pub addresses: u8,
    /// Our n; the smaller of both sides' holds.
    pub connections: u8,
    pub heartbeat: Heartbeat,
    /// Random: where sessions' names come from.
    pub seed: u64,
}

/// What a handshake told of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Introduced {
    pub instance: Instance,
    pub session: SessionId,
    /// Its n.
    pub connections: u8,
}

#[derive(Clone, Debug)]
pub enum Input {
    /// An authentic heartbeat, and which of the peer's addresses it came from.
    Heartbeat {
        datagram: Datagram,
        from: Option<PathIndex>,
    },
    /// A datagram in the peer's name that is not to be believed.
    Forged {
        cause: String,
    },
    /// The connection that was dialed has passed its handshake.
    Dialed {
        slot: Slot,
        connection: ConnectionId,
        peer: Introduced,
    },
    /// The connection that was dialed came to nothing.
    Failed {
        slot: Slot,
        connection: ConnectionId,
        failure: Failure,
    },
    /// The peer dialed, and has passed the handshake. Answered by `SlotUp` with the connection or by `Turn`.
    Arrived {
        slot: Slot,
        connection: ConnectionId,
        peer: Introduced,
    },
    /// An open connection ended.
    Closed {
        slot: Slot,
        connection: ConnectionId,
        cause: String,
    },
    /// What the slots' tasks have seen: the last bytes, and since when an acknowledgement is due. Given before each `Timer`.
    Seen {
        bytes: Option<Instant>,
        waiting: Option<Instant>,
    },
    /// The peer said Bye on the connection.
    Bye {
        connection: ConnectionId,
        reason: ByeReason,
    },
    /// The peer broke the protocol in that session.
    Misbehaved {
        session: SessionId,
        cause: String,
    },
    /// We end.
    Shutdown,
    Timer,
}

/// Why no connection came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody there, or nobody in time.
    Unreachable(String),
    /// The session of the attempt has ended at the peer.
    SessionOver,
    /// Nothing that mends itself within seconds: another secret, another release, a setting that contradicts.
    Refused(String),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// `turn`: whose groups' turn it is to be told of. Their words are the shell's to add.
    Heartbeat {
        to: PathIndex,
        datagram: Datagram,
        turn: u64,
    },
    /// What an authentic heartbeat, newer than all before it, says of the peer's groups.
    Told {
        instance: Instance,
        groups: SmallVec<[GroupBeat; 2]>,
    },
    Dial {
        slot: Slot,
        connection: ConnectionId,
        to: PathIndex,
        session: SessionId,
    },
    /// An arrived connection is not wanted.
    Turn {
        connection: ConnectionId,
        why: Failure,
    },
    /// End the connection, or the attempt at it; nothing more is asked about it.
    Close {
        connection: ConnectionId,
        farewell: Option<ByeReason>,
    },
    SessionUp {
        session: SessionId,
        peer: Instance,
        slots: u8,
    },
    /// The slot is this connection from now on.
    SlotUp {
        slot: Slot,
        connection: ConnectionId,
    },
    SlotDown {
        slot: Slot,
    },
    /// All its slots are down already.
    SessionDown {
        session: SessionId,
    },
    PeerSlow(bool),
    /// Ask on every open slot for a sign of life.
    Ping,
    Event(Event),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Nothing is heard.
    Down,
    /// Heard again, for not long enough.
    Probation,
    /// Connections are being made.
    Connecting,
    /// At least one slot is open.
    Up,
    /// Refused by authentication or version; tried again later.
    BackingOff,
}

/// How the peer stands, for whoever shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    pub phase: Phase,
    pub verdict: Verdict,
    pub session: Option<SessionId>,
    /// Smoothed round trip of each address.
    pub paths: Vec<Option<Duration>>,
    pub best: PathIndex,
    pub slots: Vec<SlotSnapshot>,
    /// Of the current or next one.
    pub probation: Duration,
    pub flaps: u64,
    pub heartbeats_sent: u64,
    pub heartbeats_received: u64,
    pub heartbeats_refused: u64,
    pub last_error: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotSnapshot {
    pub state: SlotState,
    pub connection: Option<ConnectionId>,
    pub heartbeat: Option<Instant>,
}
