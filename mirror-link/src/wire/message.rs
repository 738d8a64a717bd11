//! What frames mean.

use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::block::{Allocation, Payload};
use crate::config::{Mode, OnLinkLoss};
use crate::extent::{BlockCount, BlockLength, Lba};
use crate::ids::{Generation, GroupIndex, GroupName, Instance, NodeName, OwnerEpoch, SessionId, VolumeIndex, WriteSeq};

#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// A sign of life on an idle slot; answered by `Pong` with the same number.
    Ping(u64),
    Pong(u64),
    /// The sender ends the session in good order.
    Bye(ByeReason),
    Group(GroupFrame),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByeReason {
    Shutdown,
    /// No groups in common any more.
    Removed,
    /// The peer broke the protocol; its log says how.
    Misbehaved,
}

/// What belongs to a group. Obeyed only where `session` is the receiver's.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupFrame {
    pub group: GroupIndex,
    pub session: SessionId,
    pub message: Message,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    Hello(Box<Hello>),
    Begin(Begin),
    Op(OpFrame),
    Ack(Box<Ack>),
    Position(Position),
    Read(Read),
    ReadDone(ReadDone),
}

/// How a group stands at its sender: the tuple that both sides decide on. Sent when a session begins and whenever it changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Hello {
    pub group: GroupName,
    pub node: NodeName,
    pub instance: Instance,
    /// In order of index; at most [`VOLUMES_MAX`].
    pub volumes: Vec<VolumeShape>,
    pub role: Role,
    pub disk: DiskState,
    pub epoch: OwnerEpoch,
    pub generation: Generation,
    /// Generations before this one, newest first, at most [`HISTORY_MAX`].
    pub history: Vec<Generation>,
    /// The generation from which on the sender knows what the peer may lack. `None`: it knows nothing.
    pub dirty_since: Option<Generation>,
    /// The sender was owner when its process ended without a shutdown, or when it gave way to a later one: it may hold
    /// writes that nobody has counted.
    pub crashed_owner: bool,
    /// And with its machine, so that of what it acknowledged, and the peer has, some may be gone.
    pub lost_cache: bool,
    /// The sender gave way for that, and waits to be Primary again.
    pub resumes: bool,
    /// The sender's process has had all that its owner acknowledged, and still has.
    pub holds: bool,
    /// The sender recorded that the peer lacks acknowledged writes.
    pub peer_outdated: bool,
    /// The sender is ready to be a stream's receiver, and holds this much of the last one.
    pub received: Marks,
    /// Of a source: which counting its map goes on with. Of a copy in the midst of a resync: which one it is the subject of; of
    /// one that begins anew, though the peer may have begun to send to it: one that nobody has heard of.
    pub counting: Option<Generation>,
    /// Where the sender's copy may differ from the receiver's by what it wrote itself; at most [`SUSPECTS_MAX`] runs. Of one
    /// that reigns, nothing: it says so when it has given way.
    pub suspects: Vec<(VolumeIndex, Range)>,
    /// Counts the Hellos of a session, so that of two that overtake each other the newer stands.
    pub number: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeShape {
    pub name: std::sync::Arc<str>,
    pub block_length: BlockLength,
    pub capacity: BlockCount,
}

/// How much of an owner's stream a replica holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    pub epoch: OwnerEpoch,
    /// Every write up to this one is applied.
    pub applied_upto: WriteSeq,
    /// Every write up to this one is on the medium.
    pub durable_upto: WriteSeq,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Primary,
    Secondary,
}

/// What a node knows of its own copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskState {
    /// It holds every acknowledged write, as its mode promises.
    UpToDate,
    /// Some moment of the past, whole: whether writes were acknowledged since is not known.
    Consistent,
    /// A moment of the past, and writes were acknowledged since.
    Outdated,
    /// In the midst of a resync: no moment at all.
    Inconsistent,
    /// Its device failed.
    Failed,
}

/// The owner's stream starts, or goes on after an interruption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    pub epoch: OwnerEpoch,
    /// The first write that will come; the receiver forgets what it holds unapplied from here on.
    pub first: WriteSeq,
    /// What precedes `first` is not all there: the copy is Inconsistent until [`Op::ResyncDone`].
    pub resync: bool,
    pub generation: Generation,
    /// What the resync is a part of: a copy that comes back in its midst gets what is left of it where the source still counts.
    pub counting: Generation,
}

/// One element of the stream.
#[derive(Clone, Debug, PartialEq)]
pub struct OpFrame {
    pub epoch: OwnerEpoch,
    pub seq: WriteSeq,
    /// Every write up to this one precedes it.
    pub after: WriteSeq,
    /// Writes behind `after` that overlap it and precede it; at most [`ODEP_MAX`].
    pub odep: SmallVec<[WriteSeq; ODEP_MAX]>,
    pub op: Op,
}

/// An effect, not a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    Write {
        volume: VolumeIndex,
        range: Range,
        data: Payload,
        durable: bool,
    },
    WriteZeroes {
        volume: VolumeIndex,
        range: Range,
        allocation: Allocation,
        durable: bool,
    },
    Unmap {
        volume: VolumeIndex,
        range: Range,
    },
    /// Everything before it is to be on the medium: applied means durable.
    Flush,
    /// State of the volume's logical unit, opaque here. The last of a kind stands.
    Mark {
        volume: VolumeIndex,
        kind: MarkKind,
        data: Bytes,
    },
    /// Nothing: the write of that number came to nothing.
    Void,
    /// All that was missing has been sent: once applied, the copy is UpToDate, and of this generation.
    ResyncDone {
        generation: Generation,
    },
    /// What the sender holds there, all that precedes it being done: applied once the receiver has compared, and listed in
    /// `Ack::differs` where it holds something else. At most [`PAYLOAD_MAX`] bytes of blocks.
    Verify {
        volume: VolumeIndex,
        range: Range,
        digest: Digest,
        /// It stands for a resync's copy, which follows where the two differ.
        is_copy: bool,
        /// The sender knows what came of every one up to this number.
        known: WriteSeq,
    },
}

/// Blocks as the peer named them; becomes an `Extent` where the volume's capacity is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Range {
    pub lba: Lba,
    pub blocks: BlockCount,
}

/// BLAKE3 of blocks, all 256 bits of it: hosts choose what blocks hold, and half as many would have collisions within reach
/// of who wants them. Of blocks that are all zero, [`Digest::ZEROES`], whatever their number: a hole has it without being read.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    pub const ZEROES: Digest = Digest([0; 32]);
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Digest({:016x}…)", u64::from_be_bytes(*self.0.first_chunk().unwrap_or(&[0; 8])))
    }
}

/// Which state of a logical unit; numbered by the logical unit's own code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MarkKind(pub u8);

/// What the receiver of a stream has done, and how much more it takes. The newest (greatest `number`) stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    pub epoch: OwnerEpoch,
    pub number: u64,
    pub received_upto: WriteSeq,
    pub applied_upto: WriteSeq,
    pub durable_upto: WriteSeq,
    /// Received beyond `received_upto`: runs of (first, last), at most [`RUNS_MAX`].
    pub received: SmallVec<[(WriteSeq, WriteSeq); 4]>,
    /// Applied beyond `applied_upto`.
    pub applied: SmallVec<[(WriteSeq, WriteSeq); 4]>,
    pub credit: Credit,
    /// Writes that its device failed to apply (they count as applied): the copy is not good there. At most
    /// [`FAILED_MAX`].
    pub failed: SmallVec<[WriteSeq; 2]>,
    /// [`Op::Verify`]s that found something else, as far as the sender of the last one does not say that it knows: at most
    /// [`DIFFERS_MAX`].
    pub differs: SmallVec<[WriteSeq; 2]>,
}

/// How far the sender may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credit {
    /// The greatest number that may be sent.
    pub seq: WriteSeq,
    /// Payload bytes that may be under way beyond `applied_upto`, all writes counted. The lowest write that is missing may
    /// be sent in any case.
    pub bytes: u64,
}

/// How far the owner is ahead, and by which policy; sent twice a second, so that the replica knows its RPO when the line is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub epoch: OwnerEpoch,
    /// The last write acknowledged to a host.
    pub acknowledged: WriteSeq,
    /// Acknowledged and not known to be applied at the peer.
    pub lag_bytes: u64,
    /// Age of the oldest of them.
    pub lag_ms: u64,
    /// `lag_bytes` by volume, where there are any; at most [`VOLUMES_MAX`].
    pub volumes: SmallVec<[(VolumeIndex, u64); 2]>,
    pub mode: Mode,
    pub on_link_loss: OnLinkLoss,
    /// Whole milliseconds.
    pub max_stall: Duration,
    /// They were set while the owner ran: the replica is to keep to them also where its own configuration differs.
    pub is_by_command: bool,
    /// It is not on record that the replica lacks what was acknowledged.
    pub is_together: bool,
}

impl Default for Position {
    fn default() -> Position {
        Position {
            epoch: OwnerEpoch::default(),
            acknowledged: WriteSeq::default(),
            lag_bytes: 0,
            lag_ms: 0,
            volumes: SmallVec::new(),
            mode: Mode::Sync,
            on_link_loss: OnLinkLoss::Degrade,
            max_stall: Duration::from_secs(5),
            is_by_command: false,
            is_together: false,
        }
    }
}

/// An owner whose own device failed asks for blocks of the replica's copy. In no order with anything but what `after` says;
/// asked again, under the same id, where no answer comes: one answer is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    pub epoch: OwnerEpoch,
    /// The owner's number for it, of this epoch.
    pub id: u64,
    /// Every write up to this one is to be applied before the blocks are read.
    pub after: WriteSeq,
    pub volume: VolumeIndex,
    /// At most [`READ_MAX`] bytes.
    pub range: Range,
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadDone {
    /// Those of the question.
    pub epoch: OwnerEpoch,
    pub id: u64,
    pub lent: Lent,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Lent {
    /// All blocks of the range.
    Data(Payload),
    /// Nothing but zeroes; they are not sent as data.
    Zeroes,
    /// The replica's device can't read them.
    Failed,
}

/// More overlaps fold into `after`.
pub const ODEP_MAX: usize = 4;
/// Runs in an Ack.
pub const RUNS_MAX: usize = 16;
/// Failed writes in an Ack.
pub const FAILED_MAX: usize = 1024;
/// Numbers of what differs in an Ack.
pub const DIFFERS_MAX: usize = 1024;
/// Volumes in a group.
pub const VOLUMES_MAX: usize = 4096;
/// Runs of blocks in a Hello.
pub const SUSPECTS_MAX: usize = 4096;
/// Generations a node remembers.
pub const HISTORY_MAX: usize = 16;
/// Payload of a write, bytes: as much as one command may carry.
pub const PAYLOAD_MAX: usize = 32 << 20;
/// Bytes that one Read asks for; more are asked for in pieces.
pub const READ_MAX: usize = 1 << 20;
/// Bytes of a Mark.
pub const MARK_MAX: usize = 1 << 20;
