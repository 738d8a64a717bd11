//! How a group stands, for people and programs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::config::{Mode, OnLinkLoss, VolumeSpec};
use crate::ids::{Generation, OwnerEpoch, WriteSeq};
use crate::replica::Replica;
use crate::replica::io::Standing;
use crate::store::snapshot::Snapshot;
use crate::wire::message::{DiskState, Position, Role};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupStatus {
    pub role: Role,
    /// Of a Secondary UpToDate only while its owner is heard.
    pub disk: DiskState,
    /// As a Secondary: when it was that last, as far as this process knows.
    #[serde(default)]
    pub up_to_date_ms_ago: Option<u64>,
    pub standing: Standing,
    pub link: LinkState,
    /// Both nodes wrote what the other lacks, as their meeting found: nothing is sent until an operator chooses a copy.
    pub split_brain: bool,
    /// Its heartbeats come, and it acknowledges nothing of what was sent: writes queue here, or wait no longer than
    /// `max_stall_ms`.
    pub peer_slow: bool,
    /// As a Primary that does not serve: what keeps it.
    pub held_back: Option<HeldBack>,
    /// In the session; without one, as its heartbeats say.
    pub peer_role: Option<Role>,
    pub peer_disk: Option<DiskState>,
    /// The owner's, where it has told them; and the next two.
    pub mode: Mode,
    pub on_link_loss: OnLinkLoss,
    pub max_stall_ms: u64,
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
    /// Acknowledged to hosts and not known to be with the peer. `None`: not known, as the owner has never told this process.
    pub rpo: Option<Rpo>,
    /// The same by volume, in the volumes' order: bytes of its own, seconds of the group, which has one order of writes.
    pub volume_rpo: Option<Vec<VolumeRpo>>,
    pub queue: QueueStatus,
    pub resync: Option<ResyncStatus>,
    /// Of an owner: the verify that is under way, or the last that its process knows of.
    pub verify: Option<VerifyStatus>,
    /// What a crash of this node would leave to be sent again.
    pub map: MapStatus,
    /// What is kept of copies that resyncs have written over.
    #[serde(default)]
    pub aside: AsideStatus,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AsideStatus {
    /// The group's directory in state_dir; `None`: nobody looked.
    pub directory: Option<PathBuf>,
    pub undo_stores: u64,
    /// Of their files.
    pub undo_bytes: u64,
    /// The copy as it was before the resync that is under way.
    pub snapshot: Option<Snapshot>,
}

/// What the map on disk says. A region is 64 pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapStatus {
    /// That hosts write to.
    pub hot_regions: u64,
    /// With blocks that the peer lacks; those that it has lacked count until they are written anew, seconds later.
    pub dirty_regions: u64,
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

/// Why a Primary does not serve, though it has waited for its peer for as long as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeldBack {
    /// Its heartbeats come, and the two have not met: it may have been promoted, or be about to be.
    PeerLives,
    /// It says that it is Primary, or did when it was last heard.
    PeerIsPrimary,
    /// This node's machine went down while it was Primary: the peer may hold what went with its cache.
    LostCache,
    /// Both served apart, and `on_split_brain` is hold.
    SplitBrain,
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

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VolumeRpo {
    pub volume: Arc<str>,
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
    /// What one in a hundred of hosts' answers is to take no longer than, seconds; `None` while no hosts are there to tell.
    pub host_latency_goal: Option<f64>,
    /// Digests go first, and of the blocks what differs.
    #[serde(default)]
    pub compares: bool,
}

/// A comparison of both copies, all of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VerifyStatus {
    /// Counts those of the process.
    pub number: u64,
    pub state: VerifyState,
    /// The target began it by itself.
    pub scrub: bool,
    /// What differs is copied to the peer.
    pub repair: bool,
    pub total_bytes: u64,
    pub done_bytes: u64,
    pub bytes_per_second: f64,
    pub seconds_left: Option<f64>,
    /// In pieces of 4 KiB, or of 256 KiB where very much differs.
    pub differing_bytes: u64,
    /// Where, in order; neighbours are one. At most 64.
    pub ranges: Vec<DifferingRange>,
    /// Of `differing_bytes`, what is not in `ranges`.
    pub unlisted_bytes: u64,
    /// What this node's device failed to read.
    pub unread_bytes: u64,
    /// Since the last one of the process that came to its end did so.
    pub last_finished_s: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerifyState {
    Running,
    /// All of it was compared; and what differed is with the peer, if that was wanted.
    Finished,
    /// By the operator.
    Stopped,
    /// The pair is no longer one, or the node is to serve no more: what was not compared by then is not.
    Interrupted,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferingRange {
    pub volume: Arc<str>,
    pub lba: u64,
    pub blocks: u64,
}

pub(super) fn of(replica: &Replica, now: Instant) -> GroupStatus {
    let marks = replica.receiver.marks();
    let mut status = GroupStatus {
        role: replica.role,
        disk: replica.shown_disk(),
        up_to_date_ms_ago: replica.age(now).map(|age| age.as_millis() as u64),
        standing: replica.standing.unwrap_or(Standing::Waiting),
        link: link(replica),
        split_brain: replica.meeting.is_split(),
        peer_slow: replica.is_slow && replica.meeting.is_up(),
        held_back: if replica.is_held { Some(HeldBack::SplitBrain) } else { replica.held_back },
        peer_role: replica.meeting.peer_role.or_else(|| replica.claimed_role(now)),
        peer_disk: replica.meeting.peer_disk,
        mode: replica.policy.mode,
        on_link_loss: replica.policy.on_link_loss,
        max_stall_ms: replica.policy.max_stall.as_millis() as u64,
        paused: replica.paused,
        epoch: replica.owner.as_ref().map_or(replica.epoch, |owner| owner.epoch),
        generation: replica.generation,
        seq: replica.receiver.received_upto(),
        received_upto: replica.receiver.received_upto(),
        applied_upto: marks.applied_upto,
        durable_upto: marks.durable_upto,
        decision: replica.meeting.described(&replica.node),
        rpo: None,
        volume_rpo: None,
        queue: QueueStatus::default(),
        resync: None,
        verify: replica.verified.as_ref().map(|verify| verify.told(&replica.config.volumes, now)),
        map: replica.activity.told(),
        aside: AsideStatus::default(),
    };
    match (&replica.owner, &replica.position) {
        (Some(owner), _) => owner.tell(&mut status, replica.policy, now),
        (None, Some((position, heard))) => {
            // What the owner did since it was last heard of is not known; how long ago that is, is.
            let silent =
                if replica.meeting.is_up() { 0.0 } else { now.saturating_duration_since(*heard).as_secs_f64() };
            tell_rpo(&mut status, &replica.config.volumes, position, silent);
            (status.mode, status.on_link_loss) = (position.mode, position.on_link_loss);
            status.max_stall_ms = position.max_stall.as_millis() as u64;
            status.queue.memory_bytes = replica.receiver.held_bytes();
            status.queue.memory_bytes_max = replica.config.queue.window_bytes;
        }
        (None, None) => (),
    }
    if let (Some(verify), Some(finished)) = (&mut status.verify, replica.verify_finished) {
        verify.last_finished_s = Some(now.saturating_duration_since(finished).as_secs_f64());
    }
    status
}

/// `silent`: seconds since the owner told it.
pub(super) fn tell_rpo(status: &mut GroupStatus, volumes: &[VolumeSpec], position: &Position, silent: f64) {
    let seconds = position.lag_ms as f64 / 1000.0 + silent;
    let lag = |volume: usize| {
        let told = position.volumes.iter().find(|(told, _)| usize::from(told.0) == volume);
        told.map_or(0, |(_, bytes)| *bytes)
    };
    status.rpo = Some(Rpo { bytes: position.lag_bytes, seconds });
    let of = |(at, volume): (usize, &VolumeSpec)| {
        let bytes = lag(at);
        VolumeRpo { volume: volume.name.clone(), bytes, seconds: if bytes > 0 { seconds } else { silent } }
    };
    status.volume_rpo = Some(volumes.iter().enumerate().map(of).collect());
}

fn link(replica: &Replica) -> LinkState {
    let meeting = &replica.meeting;
    if !meeting.is_up() {
        return LinkState::Down;
    }
    if replica.paused {
        return LinkState::Paused;
    }
    if meeting.is_refused() {
        return LinkState::Refused;
    }
    match &replica.owner {
        Some(owner) => owner.link_state(),
        None if !meeting.is_receiving() || !replica.receiver.has_begun() => LinkState::Meeting,
        None => match replica.disk {
            DiskState::Inconsistent => LinkState::Resyncing,
            // What comes from the owner comes late, or not at all.
            DiskState::UpToDate if replica.is_lapsed() => LinkState::Replaying,
            DiskState::UpToDate => LinkState::Established,
            DiskState::Consistent | DiskState::Outdated | DiskState::Failed => LinkState::Replaying,
        },
    }
}
