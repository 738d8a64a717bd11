//! A replica's events as an administrator reads them.

use crate::ids::{GroupName, NodeName};
use crate::replica::io::Event;
use crate::replica::status::{HeldBack, VerifyState, VerifyStatus};
use crate::wire::message::{DiskState, Role};

pub(super) fn log(group: &GroupName, peer: &NodeName, event: &Event) {
    match event {
        Event::RoleChanged { role: Role::Primary, epoch } => {
            tracing::info!(%group, %epoch, "this node is Primary: it serves hosts");
        }
        Event::RoleChanged { role: Role::Secondary, epoch } => {
            tracing::info!(%group, %epoch, "this node is Secondary: it keeps the replica");
        }
        Event::DiskChanged { from, to: to @ (DiskState::UpToDate | DiskState::Consistent) } => {
            tracing::info!(%group, "this copy is {to:?}; it was {from:?}");
        }
        Event::DiskChanged { from, to: to @ (DiskState::Outdated | DiskState::Inconsistent) } => {
            tracing::warn!(%group, "this copy is {to:?}; it was {from:?}");
        }
        Event::DiskChanged { from, to: DiskState::Failed } => {
            tracing::error!(
                %group,
                "this copy has Failed; it was {from:?}. Repair its device (or make room), then lunmirrorctl reattach {group}; where \
                 another takes its place, start this node again. Every block is then copied from the peer"
            );
        }
        Event::Lapsed => tracing::warn!(
            %group, %peer,
            "this copy is shown as Consistent, no longer as UpToDate: its owner is not heard in the session, and may go on alone"
        ),
        Event::FreshAgain => tracing::info!(%group, %peer, "this copy is shown as UpToDate again: its owner is heard"),
        Event::Degraded { generation } => tracing::warn!(
            %group, %peer, %generation,
            "going on without the peer, which is recorded as outdated; it gets what it lacks when it is back"
        ),
        Event::HeldBack(HeldBack::PeerLives) => tracing::warn!(
            %group, %peer,
            "not served yet: the peer's heartbeats come and no connection does, so it may have taken over, or be about to. Mend \
             the connection (`lunmirrorctl peers` shows its last error), or have this node serve: lunmirrorctl promote {group}"
        ),
        Event::HeldBack(HeldBack::PeerIsPrimary) => tracing::error!(
            %group, %peer,
            "not served: the peer says that it is Primary, and no connection with it comes about. Mend the connection \
             (`lunmirrorctl peers` shows its last error); only if its copy is to be given up: end it there, then lunmirrorctl \
             promote {group} --force here"
        ),
        Event::HeldBack(HeldBack::LostCache) => tracing::error!(
            %group, %peer,
            "not served: this machine went down while it was Primary, and writes that hosts had been told were on both may be with              the peer alone. Bring the peer back, which mends this copy, or promote it; only if it is gone for good: lunmirrorctl              promote {group} --force here"
        ),
        Event::HeldBack(HeldBack::SplitBrain) => tracing::error!(
            %group, %peer,
            "not served any more: on_split_brain is hold, and the two nodes served apart. To serve on here before that is \
             resolved: lunmirrorctl promote {group} --force"
        ),
        Event::TakesOver => tracing::warn!(
            %group, %peer,
            "taking over: the peer was Primary, and its machine went down with writes that it had acknowledged in its cache; they              are here. It is Primary again once it has them, unless hosts come here meanwhile"
        ),
        Event::HandsBack => {
            tracing::info!(%group, %peer, "handing back: the peer has what its cache had lost, and no host has come here");
        }
        Event::Held => tracing::warn!(
            %group, %peer,
            "writes are held, as `on_link_loss: hold` says: the peer does not answer, and hosts will be told BUSY. To go on \
             without it, change `on_link_loss` to degrade"
        ),
        Event::Decided { row, text } => tracing::info!(%group, %peer, row, "{text}"),
        Event::ReplayStarted { writes, bytes } => {
            tracing::info!(%group, %peer, writes, bytes, "sending the peer the writes that were queued for it");
        }
        Event::ResyncStarted { bytes, compares: false } => {
            tracing::info!(%group, %peer, bytes, "resync: the peer gets the blocks that it lacks");
        }
        Event::ResyncStarted { bytes, compares: true } => {
            tracing::info!(%group, %peer, bytes, "resync: blocks are compared by digest, and the peer gets those that differ");
        }
        Event::VerifyStarted { bytes, scrub: true, .. } => {
            tracing::info!(%group, %peer, bytes, "scrub: both copies are compared");
        }
        Event::VerifyStarted { bytes, repair, .. } => {
            tracing::info!(%group, %peer, bytes, repair, "verify: both copies are compared");
        }
        Event::VerifyEnded(told) => log_verify(group, peer, told),
        Event::ResyncDone { took } => {
            let took = humantime::format_duration(std::time::Duration::from_millis(took.as_millis() as u64));
            tracing::info!(%group, %peer, %took, "resync done: the copies are alike");
        }
        Event::QueueFull => tracing::warn!(
            %group, %peer,
            "the queue for the peer is full; from now on only which blocks changed is kept, and a resync will follow"
        ),
        Event::Dropped { writes, bytes, list } => log_dropped(group, *writes, *bytes, list),
        Event::SplitBrain => tracing::error!(
            %group, %peer,
            "split brain: both nodes were Primary and wrote, neither gives way. Choose the copy that is to be kept; on the other \
             node: lunmirrorctl resolve {group} --keep NODE"
        ),
        Event::PeerDiskFailed { seq } => tracing::error!(
            %group, %peer, %seq,
            "the peer's device failed to store a write: it gets nothing until it is repaired and reattached there, then everything"
        ),
        Event::LocalFailed { error } => tracing::error!(%group, %error, "the local device failed"),
        Event::ServedThroughPeer => tracing::error!(
            %group, %peer,
            "hosts are served through the peer, whose copy is the only good one: nothing more is read from or written to the local \
             device. To have them go there: lunmirrorctl demote {group} here, lunmirrorctl promote {group} there"
        ),
        Event::ThroughPeerLost => tracing::error!(
            %group, %peer,
            "the peer is gone, and has the only good copy: hosts are told BUSY until it is back, or is promoted: lunmirrorctl \
             promote {group} there"
        ),
        Event::LeftToPeer => tracing::error!(
            %group, %peer,
            "this node's device has failed, and the peer can't be followed any more (its process has restarted, its device \
             failed too, or it was out of reach for too long): this node serves no more. lunmirrorctl promote {group} there"
        ),
        Event::StartsBehind => tracing::error!(
            %group, %peer,
            "this node was Primary, and its device had failed: it starts as Secondary, and gets every block from the peer once that \
             is promoted: lunmirrorctl promote {group} there"
        ),
    }
}

fn log_verify(group: &GroupName, peer: &NodeName, told: &VerifyStatus) {
    let VerifyStatus { done_bytes, total_bytes, differing_bytes, unlisted_bytes, unread_bytes, .. } = told;
    for range in &told.ranges {
        let (volume, lba, blocks) = (&range.volume, range.lba, range.blocks);
        tracing::warn!(%group, %peer, %volume, lba, blocks, "the copies differ");
    }
    if *unlisted_bytes > 0 {
        tracing::warn!(%group, %peer, bytes = unlisted_bytes, "the copies differ in more places than are listed");
    }
    if *unread_bytes > 0 {
        tracing::warn!(%group, %peer, bytes = unread_bytes, "this node's device could not read all that was to be compared");
    }
    match told.state {
        VerifyState::Finished if *differing_bytes == 0 => {
            tracing::info!(%group, %peer, total_bytes, "verify: the copies are alike");
        }
        VerifyState::Finished if told.repair => {
            tracing::warn!(%group, %peer, differing_bytes, "verify: the copies differed; the peer has this node's blocks now");
        }
        VerifyState::Finished => tracing::warn!(
            %group, %peer, differing_bytes,
            "verify: the copies differ. To copy this node's blocks to the peer: lunmirrorctl verify {group} --repair"
        ),
        VerifyState::Stopped => {
            tracing::info!(%group, %peer, done_bytes, total_bytes, differing_bytes, "verify: stopped by the operator");
        }
        VerifyState::Interrupted | VerifyState::Running => tracing::warn!(
            %group, %peer, done_bytes, total_bytes, differing_bytes,
            "verify: interrupted, as the pair is no longer one, or this node is to serve no more; another one begins anew"
        ),
    }
}

fn log_dropped(
    group: &GroupName,
    writes: u64,
    bytes: u64,
    list: &[(crate::ids::WriteSeq, crate::ids::VolumeIndex, crate::extent::Extent)],
) {
    tracing::warn!(%group, writes, bytes, "promoted: writes received out of order whose precedents never came are dropped");
    for (seq, volume, extent) in list.iter().take(DROPPED_LINES_MAX) {
        tracing::warn!(%group, %seq, %volume, %extent, "dropped");
    }
}

/// The number of all of them is in the line before.
const DROPPED_LINES_MAX: usize = 64;
