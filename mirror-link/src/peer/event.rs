//! What an administrator reads about the way to a peer.

use std::fmt;
use std::time::Duration;

use super::paths::{MovedBecause, PathIndex};
use crate::ids::Slot;

#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The first slot of a session is open.
    SessionUp {
        slots: u8,
        path: Option<PathIndex>,
        round_trip: Option<Duration>,
        accepted_again: bool,
    },
    SessionDown {
        why: Ended,
    },
    SlotUp {
        slot: Slot,
        open: usize,
        slots: u8,
    },
    SlotLost {
        slot: Slot,
        cause: String,
        open: usize,
    },
    /// Neither heartbeats nor bytes.
    LinkDead {
        heartbeat_silence: Option<Duration>,
        silence: Option<Duration>,
    },
    ProbationStarted {
        length: Duration,
        flaps: u64,
    },
    ProbationPassed,
    /// Connections live without heartbeats. `one_way`: the peer's arrive here, ours not there.
    UdpFiltered {
        one_way: bool,
    },
    UdpHeard,
    PeerSlow {
        since: Duration,
    },
    PeerFine,
    Moved {
        from: PathIndex,
        to: PathIndex,
        why: MovedBecause,
    },
    /// Since our start.
    NobodyHeard,
    /// Its heartbeats come, and it makes no connection.
    NotDialed,
    /// The first time that an attempt at an address fails, and then no more until it has changed.
    Unreachable {
        path: Option<PathIndex>,
        cause: String,
    },
    Refused {
        cause: String,
        retry: Duration,
    },
    Forged {
        cause: String,
    },
    PeerMisbehaved {
        cause: String,
    },
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The failure detector's verdict.
    LinkDead,
    /// Its last slot was lost.
    SlotsLost,
    /// The peer made another.
    Replaced,
    /// The peer's process ended or began anew.
    Restarted,
    PeerShutdown,
    PeerLeft(String),
    Misbehaved,
    Shutdown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Debug,
    Info,
    Warn,
}

impl Event {
    pub fn level(&self) -> Level {
        match self {
            Event::SlotUp { .. } => Level::Debug,
            Event::SessionUp { .. }
            | Event::ProbationStarted { .. }
            | Event::ProbationPassed
            | Event::UdpHeard
            | Event::PeerFine
            // Anybody can send one; a wrong secret is told where it is refused.
            | Event::Forged { .. }
            | Event::Moved { .. } => Level::Info,
            Event::SessionDown { why } => match why {
                Ended::Shutdown | Ended::PeerShutdown => Level::Info,
                _ => Level::Warn,
            },
            Event::SlotLost { .. }
            | Event::LinkDead { .. }
            | Event::UdpFiltered { .. }
            | Event::NobodyHeard
            | Event::NotDialed
            | Event::PeerSlow { .. }
            | Event::Unreachable { .. }
            | Event::Refused { .. }
            | Event::PeerMisbehaved { .. } => Level::Warn,
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::LinkDead => f.write_str("the link is dead"),
            Ended::SlotsLost => f.write_str("its last connection was lost"),
            Ended::Replaced => f.write_str("the peer began another session"),
            Ended::Restarted => f.write_str("the peer's process was restarted"),
            Ended::PeerShutdown => f.write_str("the peer shut down"),
            Ended::PeerLeft(why) => write!(f, "the peer ended it: {why}"),
            Ended::Misbehaved => f.write_str("the peer broke the protocol"),
            Ended::Shutdown => f.write_str("we shut down"),
        }
    }
}
