//! How the way to a peer stands, for people and programs.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::config::{Compression, Encryption};
pub use crate::peer::array::SlotState;
pub use crate::peer::detector::Verdict;
pub use crate::peer::io::Phase;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {
    pub name: String,
    pub phase: Phase,
    pub verdict: Verdict,
    /// We dial (our name is the lesser), or the peer does.
    pub dialer: bool,
    pub session: Option<String>,
    pub encryption: Encryption,
    pub compression: Compression,
    pub addresses: Vec<AddressStatus>,
    /// The local connection array: one entry a slot, whatever its state.
    pub slots: Vec<SlotStatus>,
    /// Of the current or next probation, seconds; doubles with each flap.
    pub probation_s: f64,
    pub flaps: u64,
    pub heartbeats_sent: u64,
    pub heartbeats_received: u64,
    /// Forged, replayed or malformed.
    pub heartbeats_refused: u64,
    /// Why the last attempt to connect came to nothing.
    pub last_error: Option<String>,
    /// Groups of ours whose Hello has not come in this session: if they stay here, the peer is not configured for them.
    pub groups_missing_there: Vec<String>,
    /// Groups that the peer wants to share and that are not configured here.
    pub groups_missing_here: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AddressStatus {
    pub address: SocketAddr,
    /// Smoothed; `None`: nothing came back from there.
    pub rtt_ms: Option<f64>,
    pub in_use: bool,
}

/// The patent's array entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlotStatus {
    pub slot: u8,
    pub state: SlotState,
    pub local: Option<SocketAddr>,
    pub remote: Option<SocketAddr>,
    /// Ages in milliseconds; `None`: never.
    pub heartbeat_ms_ago: Option<u64>,
    pub received_ms_ago: Option<u64>,
    pub sent_ms_ago: Option<u64>,
    /// Bytes queued for the socket.
    pub queued_bytes: u64,
    pub frames_sent: u64,
    pub frames_received: u64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
}
