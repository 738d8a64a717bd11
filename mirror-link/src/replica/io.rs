//! What goes into a [`super::Replica`] and what comes out.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::block::{Allocation, BlockError, Durability, Payload};
use crate::config::{Mode, OnLinkLoss};
use crate::extent::Extent;
use crate::ids::{Generation, Instance, NodeName, OwnerEpoch, SessionId, Slot, VolumeIndex, WriteSeq};
use crate::replica::journal::JournalLeft;
use crate::replica::status::{HeldBack, VerifyStatus};
use crate::wire::datagram::GroupBeat;
use crate::wire::message::{Digest, DiskState, MarkKind, Message, OpFrame, Role};

/// A host's request, numbered by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostOp(pub u64);

/// One local input or output, numbered by the replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalIo(pub u64);

/// A durable write of the record, numbered by the replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreWrite(pub u64);

/// A durable change of the map, numbered by the replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MapWrite(pub u64);

/// 64 pieces of a volume: one word of dirty bits; what is made hot before hosts write there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region {
    pub volume: VolumeIndex,
    pub index: u64,
}

/// What is to become durable of the map. First what concerns all of it, then the dirty bits, and when they are durable the hot regions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapChange {
    /// Nothing is dirty and nothing hot.
    pub clear: bool,
    /// Everything is dirty.
    pub all_dirty: bool,
    /// These words, whole.
    pub dirty: Vec<(Region, u64)>,
    /// Hosts may write there from the answer on; or write there no more.
    pub hot: Vec<(Region, bool)>,
}

/// The map that a node's last run left: where its copy may differ from the peer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// In order of volume index.
    pub volumes: Vec<MapOfVolume>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapOfVolume {
    /// One bit a region.
    pub hot: Vec<u64>,
    /// One word a region.
    pub dirty: Vec<u64>,
}

/// An operator's command, numbered by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

#[derive(Clone, Debug)]
pub enum Input {
    /// A host wants this done. Answered by `Complete`, whatever happens.
    Submit {
        op: HostOp,
        change: HostChange,
    },
    /// A host wants to read: answered by `Complete` when no write that a failover would undo overlaps it.
    Read {
        op: HostOp,
        volume: VolumeIndex,
        extent: Extent,
    },
    /// The local device could not read it (`error`), or is not to be asked: answered by `Fetched` with what the peer has, where
    /// hosts are served through it.
    Fetch {
        op: HostOp,
        volume: VolumeIndex,
        extent: Extent,
        error: BlockError,
    },
    LocalDone {
        io: LocalIo,
        result: Result<(), BlockError>,
    },
    /// Answer to `LocalAction::Read` and `LocalAction::Digest`.
    LocalRead {
        io: LocalIo,
        result: Result<Found, BlockError>,
    },
    SessionUp {
        session: SessionId,
        peer: Instance,
    },
    /// All slots are gone, and everything under way on them.
    SessionDown,
    SlotUp(Slot),
    /// What was sent on it and not acknowledged is to be sent again.
    SlotDown(Slot),
    /// Came in that session; the group's own, or it is not obeyed.
    Received {
        session: SessionId,
        message: Message,
    },
    /// The failure detector's verdict while the session lasts.
    PeerIsSlow(bool),
    /// What a heartbeat of the peer's process says of the group, session or not; it holds for so long. A session with a former
    /// process has ended before.
    Beat {
        peer: Instance,
        beat: GroupBeat,
        good_for: Duration,
    },
    Stored {
        write: StoreWrite,
        result: Result<(), StoreFailed>,
    },
    Mapped {
        write: MapWrite,
        result: Result<(), StoreFailed>,
    },
    /// The write is in the journal, or could not be put there.
    Spilled {
        run: u16,
        seq: WriteSeq,
        result: Result<(), StoreFailed>,
    },
    Unspilled {
        run: u16,
        seq: WriteSeq,
        result: Result<Payload, StoreFailed>,
    },
    /// What that resync overwrites is kept aside, as far as it could be.
    Kept {
        resync: Generation,
    },
    Command {
        id: CommandId,
        command: Command,
    },
}

/// What a host changes: an effect on the blocks, or on the logical unit beside them.
#[derive(Clone, Debug)]
pub enum HostChange {
    Write {
        volume: VolumeIndex,
        extent: Extent,
        data: Payload,
        durability: Durability,
    },
    WriteZeroes {
        volume: VolumeIndex,
        extent: Extent,
        allocation: Allocation,
        durability: Durability,
    },
    Unmap {
        volume: VolumeIndex,
        extent: Extent,
    },
    Flush {
        volume: VolumeIndex,
    },
    /// Nothing local; kept, and sent again when a stream begins.
    Mark {
        volume: VolumeIndex,
        kind: MarkKind,
        data: Bytes,
    },
}

impl HostChange {
    /// The blocks that it changes.
    pub fn place(&self) -> Option<(VolumeIndex, Extent)> {
        match self {
            HostChange::Write { volume, extent, .. }
            | HostChange::WriteZeroes { volume, extent, .. }
            | HostChange::Unmap { volume, extent } => Some((*volume, *extent)),
            HostChange::Flush { .. } | HostChange::Mark { .. } => None,
        }
    }
}

/// What a resync's read found, or a verify's.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    Data(Payload),
    /// Nothing but zeroes; they are not sent as data.
    Zeroes,
    Digest(Digest),
}

/// The record or the journal could not be written or read; the cause is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreFailed;

#[derive(Clone, Debug)]
pub enum Output {
    Local {
        io: LocalIo,
        action: LocalAction,
    },
    Send {
        slot: Slot,
        message: Message,
    },
    /// Make the record durable, in the order given; answered by `Stored`.
    Store {
        write: StoreWrite,
        record: Box<Record>,
    },
    /// Make the change of the map durable, in the order given; answered by `Mapped`.
    Map {
        write: MapWrite,
        change: Box<MapChange>,
    },
    /// Put the write into the journal; answered by `Spilled` with the same `run`: numbers begin anew with each reign.
    Spill {
        run: u16,
        frame: Box<OpFrame>,
    },
    /// Get its payload back; answered by `Unspilled`.
    Unspill {
        run: u16,
        seq: WriteSeq,
    },
    /// Writes in the journal up to this one are of no more use.
    TrimSpill {
        upto: WriteSeq,
    },
    /// A resync waits to overwrite this copy: what is to be kept of it is to be put aside, durably; answered by `Kept`, whether
    /// it could be or not. Of the same resync it may come again, also to the next process: what is aside then is not put there
    /// anew, because the copy may have been overwritten since.
    KeepAside(Box<KeepAside>),
    /// The copy is UpToDate by a resync: what was put aside for the case that it is not is of no more use.
    Resynced,
    /// The local devices were mended, and every block of them will be written again: what they lost counts no more.
    BeginAnew,
    Complete {
        op: HostOp,
        result: Result<(), BlockError>,
    },
    Fetched {
        op: HostOp,
        result: Result<Found, BlockError>,
    },
    /// The peer told the state of the logical unit.
    Marked {
        volume: VolumeIndex,
        kind: MarkKind,
        data: Bytes,
    },
    /// Hosts are to see another standing from now on.
    Standing(Standing),
    Answer {
        id: CommandId,
        result: Result<Done, Refusal>,
    },
    /// For the log.
    Event(Event),
    /// The peer broke the protocol: its session is to be ended.
    Misbehaved(Misbehaviour),
}

#[derive(Clone, Debug)]
pub enum LocalAction {
    Write {
        volume: VolumeIndex,
        extent: Extent,
        data: Payload,
        durability: Durability,
    },
    WriteZeroes {
        volume: VolumeIndex,
        extent: Extent,
        allocation: Allocation,
        durability: Durability,
    },
    Unmap {
        volume: VolumeIndex,
        extent: Extent,
    },
    /// All that was done before is to be on the medium. `None`: every volume of the group.
    Flush {
        volume: Option<VolumeIndex>,
    },
    /// For the resync, or for the peer; answered by `LocalRead`.
    Read {
        volume: VolumeIndex,
        extent: Extent,
    },
    /// What the blocks hold, as one number; answered by `LocalRead` with `Found::Digest`.
    Digest {
        volume: VolumeIndex,
        extent: Extent,
    },
}

/// How the group shows itself to hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// A Primary that waits for its peer, or for a record: NOT READY, becoming ready.
    Waiting,
    /// Serves.
    Active,
    /// A Secondary: NOT READY, target port in standby state.
    Standby,
}

/// What is durable of a group, and restored when the node starts again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub role: Role,
    pub disk: DiskState,
    pub epoch: OwnerEpoch,
    pub generation: Generation,
    /// Newest first.
    pub history: Vec<Generation>,
    /// The peer lacks acknowledged writes.
    pub peer_outdated: bool,
    /// Written by a shutdown with nothing left to send: whoever finds it set need not resync.
    pub clean: bool,
    /// What differs from the peer's copy of this generation is in the map.
    #[serde(default)]
    pub dirty_since: Option<Generation>,
    /// No weaker one has been acknowledged under; of a record from before this was kept, async.
    #[serde(default = "weakest")]
    pub mode: Mode,
    /// What it had not flushed when it last reigned is gone, and nobody has made up for it yet.
    #[serde(default)]
    pub lost_cache: bool,
    /// Of a Primary: its map goes on with this counting. Of a Secondary in the midst of a resync: it is the subject of it; of
    /// one that was reattached: nobody's.
    #[serde(default)]
    pub counting: Option<Generation>,
    /// A copy that is to be put aside before anything is written over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overwritten: Option<Overwritten>,
}

fn weakest() -> Mode {
    Mode::Async
}

/// A copy that a resync is to overwrite, and that was whole until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overwritten {
    /// Names the resync; goes on with it over restarts.
    pub resync: Generation,
    /// Of the copy.
    pub generation: Generation,
    pub epoch: OwnerEpoch,
    pub why: Why,
}

/// What becomes of the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// It lacks writes, and has none of its own.
    Behind,
    /// It has writes of its own, or may have, that never came to the source.
    RolledBack,
    /// As that; and an operator chose the other copy.
    SplitBrain,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeepAside {
    pub copy: Overwritten,
    /// Where it may have writes of its own.
    pub pieces: Vec<(VolumeIndex, Extent)>,
    /// Beyond those: more than the undo store may take.
    pub left_out_bytes: u64,
}

/// What a node's last run left.
#[derive(Clone, Debug)]
pub struct Left {
    pub record: Record,
    pub map: Map,
    /// What of the record's reign is in the journal.
    pub journal: Option<JournalLeft>,
    /// The machine has been up since: what was written and not flushed is there.
    pub has_cache: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Become Primary. `force`: also with a copy that is known to lack writes, or beside a Primary that can't be reached.
    Promote {
        force: bool,
    },
    /// Become Secondary, once everything is with the peer.
    Demote {
        force: bool,
    },
    /// In a split brain: become Secondary, and let this copy be overwritten. Refused where there is none.
    GiveWay,
    Mode(Mode),
    OnLinkLoss(OnLinkLoss),
    /// As `Policy::max_stall`.
    MaxStall(Duration),
    /// As `Policy::host_latency`.
    HostLatency(Option<Duration>),
    /// Replicate no more until told: everything is queued as if the line were cut.
    Pause,
    Resume,
    /// Compare both copies, all of them, while hosts go on. Answered when it has begun; how it goes is in the status.
    Verify {
        /// What differs is copied from here to the peer.
        repair: bool,
        /// Bytes a second of each copy; `None`: as fast as a resync reads.
        rate: Option<u64>,
    },
    StopVerify,
    /// How the resync that is under way goes on, or the next one: by comparing each piece first and sending what differs, or by
    /// sending every piece.
    Resync {
        compare: bool,
    },
    /// The device that failed works again: everything is copied from the peer.
    Reattach,
    /// The process ends: complete what is in flight, tell the peer, write a clean record. Hosts are served no more from then
    /// on, whatever the answer.
    Shutdown,
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// What the operator should know: what was lost, what is going on.
    pub remarks: Vec<String>,
}

/// Why a command was not obeyed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Refusal {
    #[error("this copy is {0:?}: {1}")]
    Disk(DiskState, String),
    #[error("{0} is Primary and reachable: demote it first")]
    PeerIsPrimary(NodeName),
    #[error("{0} is heard and says that it is Primary, though no connection with it is up")]
    PeerClaimsPrimary(NodeName),
    #[error("another command is under way")]
    Busy,
    #[error("the record could not be written; see the log")]
    Store,
    #[error("{0}")]
    Other(String),
}

/// How the peer broke the protocol: what was expected, and what came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, got {got}")]
pub struct Misbehaviour {
    pub expected: String,
    pub got: String,
}

/// What an administrator will want to have read.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    RoleChanged {
        role: Role,
        epoch: OwnerEpoch,
    },
    DiskChanged {
        from: DiskState,
        to: DiskState,
    },
    /// The owner of this copy, which is UpToDate, is not heard.
    Lapsed,
    FreshAgain,
    /// Going on without the peer; the record says that it is outdated.
    Degraded {
        generation: Generation,
    },
    /// It becomes Primary for a peer that lost its cache with its machine.
    TakesOver,
    /// That peer is whole again, and no host has come here: it is to be Primary again.
    HandsBack,
    /// Writes are held, as `on_link_loss` says.
    Held,
    /// A Primary that started does not serve: the peer may.
    HeldBack(HeldBack),
    /// Who sends to whom, and by which row of the table.
    Decided {
        row: u8,
        text: String,
    },
    ReplayStarted {
        writes: u64,
        bytes: u64,
    },
    ResyncStarted {
        bytes: u64,
        /// Digests go first, and of the blocks what differs.
        compares: bool,
    },
    ResyncDone {
        took: Duration,
    },
    /// Both copies are compared, all of them.
    VerifyStarted {
        bytes: u64,
        scrub: bool,
        repair: bool,
    },
    VerifyEnded(Box<VerifyStatus>),
    /// More than the queue holds: from now on only which blocks changed is kept.
    QueueFull,
    /// At a promotion: received writes whose precedents never came.
    Dropped {
        writes: u64,
        bytes: u64,
        list: Vec<(WriteSeq, VolumeIndex, Extent)>,
    },
    SplitBrain,
    PeerDiskFailed {
        seq: WriteSeq,
    },
    LocalFailed {
        error: BlockError,
    },
    /// For that hosts are served through the peer from now on.
    ServedThroughPeer,
    /// It is gone: nobody else has their blocks.
    ThroughPeerLost,
    /// It can't be followed any more: this node is Secondary.
    LeftToPeer,
    /// At start: this node was Primary, with a copy that is no good.
    StartsBehind,
}
