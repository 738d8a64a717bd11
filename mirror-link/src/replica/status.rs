//! How a group stands, for people and programs.

use serde::{Deserialize, Serialize};

use crate::config::{Mode, OnLinkLoss};
use crate::ids::{Generation, OwnerEpoch, WriteSeq};
use crate::replica::io::Standing;
use crate::wire::message::{DiskState, Role};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupStatus {
    pub role: Role,
    pub disk: DiskState,
    pub standing: Standing,
    pub link: LinkState,
    pub peer_role: Option<Role>,
    pub peer_disk: Option<DiskState>,
    pub mode: Mode,
    pub on_link_loss: OnLinkLoss,
    pub paused: bool,
    pub epoch: OwnerEpoch,
    pub generation: Generation,
    /// As owner: last number given, last acknowledged by the peer as received, applied, durable. As replica: its own.
    pub seq: WriteSeq,
    pub received_upto: WriteSeq,
    pub applied_upto: WriteSeq,
    pub durable_upto: WriteSeq,
    /// Of the decision table, at the last meeting.
    pub decision: Option<Decision>,
    /// Acknowledged to hosts and not known to be with the peer.
    pub rpo: Rpo,
    pub queue: QueueStatus,
    pub resync: Option<ResyncStatus>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkState {
    /// No session with the peer.
    Down,
    /// A session; the Hellos are being exchanged.
    Meeting,
    /// Queued writes are on their way.
    Replaying,
    Resyncing,
    /// Every write goes to the peer as it comes.
    Established,
    /// By the operator.
    Paused,
    /// Both are Primary, or they are not of one group: an operator must look.
    Refused,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    pub row: u8,
    pub text: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rpo {
    pub bytes: u64,
    pub seconds: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueStatus {
    pub writes: u64,
    pub memory_bytes: u64,
    pub memory_bytes_max: u64,
    pub spilled_bytes: u64,
    pub spilled_bytes_max: u64,
    /// Blocks known to differ and not queued, bytes.
    pub dirty_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResyncStatus {
    pub total_bytes: u64,
    pub left_bytes: u64,
    pub bytes_per_second: f64,
    pub seconds_left: Option<f64>,
}
