//! How a pair is configured, typed. Whoever makes these has checked them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::extent::{BlockCount, BlockLength};
use crate::ids::{GroupName, NodeName};
use crate::wire::message::Role;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorConfig {
    pub node: NodeName,
    /// Where we wait for peers: TCP workers and UDP heartbeats. Empty where there are no peers.
    pub listen: Vec<SocketAddr>,
    pub state_dir: PathBuf,
    pub peers: Vec<PeerConfig>,
    pub groups: Vec<GroupConfig>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    pub name: NodeName,
    /// Where it waits for us; at least one. The best by measured round trip carries the connections.
    pub addresses: Vec<SocketAddr>,
    /// The patent's n, 1 to 64; the smaller of both sides' holds.
    pub connections: u8,
    pub secret: PairSecret,
    pub heartbeat: Heartbeat,
    /// T3: without a frame for so long the mirror's connection task gives its slot up.
    pub idle_timeout: Duration,
    pub encryption: Encryption,
    pub compression: Compression,
}

/// What both nodes know and nobody else; 32 bytes or more. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct PairSecret(pub Arc<[u8]>);

impl std::fmt::Debug for PairSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PairSecret(…)")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// T2: between two heartbeats.
    pub interval: Duration,
    /// T1: silence, of heartbeats and connections alike, that means the link is dead.
    pub timeout: Duration,
    /// Unbroken heartbeat before the connections are made again; doubles with each flap up to `probation_max`.
    pub probation: Duration,
    pub probation_max: Duration,
}

/// Of the links' frames. Heartbeats are authenticated, not encrypted: they carry no data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encryption {
    #[default]
    None,
    /// Noise NNpsk0 with keys from the pair's secret.
    Noise,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    #[default]
    None,
    Lz4,
    Zstd,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    pub name: GroupName,
    pub peer: NodeName,
    /// In order of name; at least one.
    pub volumes: Vec<VolumeSpec>,
    /// Where no record says otherwise.
    pub first_role: Role,
    pub policy: Policy,
    pub queue: QueueBounds,
    pub map: MapBounds,
    /// `None`: the copies are compared when an operator wants it.
    pub scrub: Option<Scrub>,
    pub initial_sync: InitialSync,
    pub aside: AsideBounds,
    /// T1: how long a replica says that it is UpToDate without having heard its owner.
    pub lease: Duration,
}

/// How a peer that never had a copy of this volume comes to one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InitialSync {
    /// It is sent every block; of zeroes only that they are.
    #[default]
    Full,
    /// Every block is compared by digest, and what differs is sent: for a copy that was brought there by other means.
    Compare,
}

/// The owner compares both copies by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scrub {
    /// From the end of one to the beginning of the next; before the first, since the process began.
    pub every: Duration,
    /// Bytes a second of each copy; `None`: as fast as a resync reads.
    pub rate: Option<u64>,
}

/// What is kept of a copy that a resync overwrites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsideBounds {
    /// Bytes that a group's undo stores may take together; 0: nothing is kept.
    pub undo_max: u64,
    /// How long an undo store is kept.
    pub undo_keep: Duration,
    /// Of volumes in files, on a file system that can: the whole copy, until the resync is done.
    pub snapshot: bool,
}

/// How finely the map on disk tells where the copies may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapBounds {
    /// Bytes that one dirty bit stands for: a power of two, no less than a block of any volume. 64 of them are a region.
    pub piece_bytes: u64,
    /// Regions that hosts write to at a time, about: what is sent again after a crash of the owner.
    pub hot_max: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeSpec {
    pub name: Arc<str>,
    pub block_length: BlockLength,
    pub capacity: BlockCount,
}

/// When a host sees GOOD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Written here and queued.
    Async,
    /// Written here, and received by the peer with all that precedes it.
    Memsync,
    /// Written on both.
    Sync,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnLinkLoss {
    /// Record durably that the peer is outdated, then go on alone.
    Degrade,
    /// Never acknowledge what the peer lacks: hold, and after `max_stall` answer BUSY.
    Hold,
}

/// When neither memory nor the journal holds what an asynchronous write leaves to be sent, and the peer is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnJournalFull {
    /// Only which blocks changed is kept; a resync follows.
    #[default]
    Detach,
    /// Hosts are told BUSY: they go no faster than the peer, and its copy stays one of some moment.
    Throttle,
}

/// When both nodes served apart and meet again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnSplitBrain {
    /// Neither serves any more, lest they part further, until an operator names the copy to keep.
    #[default]
    Hold,
    /// Both go on.
    Serve,
}

/// Changeable while the group runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    pub mode: Mode,
    pub on_link_loss: OnLinkLoss,
    /// How long a host's write may wait for the peer: less than an initiator's patience.
    pub max_stall: Duration,
    /// At start, how long an owner waits for its peer (which may have taken over) before it goes on alone.
    pub wait_for_peer: Duration,
    /// What one in a hundred of hosts' answers may take beside a resync; `None`: twice what it takes without.
    pub host_latency: Option<Duration>,
    pub on_journal_full: OnJournalFull,
    pub on_split_brain: OnSplitBrain,
}

/// Bounds of what waits for the peer, bytes of payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueBounds {
    pub memory: u64,
    /// Of the journal, which takes every write while the peer is away, and what memory does not hold; 0: none. Beyond it only
    /// which blocks changed is kept, and a resync follows.
    pub spill: u64,
    /// What a replica lets its owner send ahead of what is applied.
    pub window_bytes: u64,
    pub window_writes: u32,
}
