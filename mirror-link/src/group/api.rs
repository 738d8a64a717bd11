use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;

use crate::block::{Allocation, BlockDevice, Durability, Io, Payload};
use crate::config::GroupConfig;
use crate::extent::Extent;
use crate::ids::{Instance, NodeName, SessionId, Slot, VolumeIndex};
use crate::replica::io::{Command, Done, Refusal, Standing};
use crate::replica::status::GroupStatus;
use crate::wire::message::{MarkKind, Message};

/// A group at work.
#[derive(Debug)]
pub struct Group {}

/// Why a group could not start.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    #[error("group {group}: {cause}")]
    Record { group: String, cause: String },
}

/// What a session offers to its groups. One object a session; gone with it.
pub trait PeerSession: Send + Sync + std::fmt::Debug {
    fn id(&self) -> SessionId;

    /// Queue a message for that slot's socket; never waits. What the queue holds is bounded by the receiver's credit.
    /// A slot that is gone swallows it: the group is told by `slot_down`.
    fn send(&self, slot: Slot, message: Message);

    /// End the session: the peer broke the protocol.
    fn misbehaved(&self, cause: &str);
}

/// Who shows the volumes of a group to hosts.
pub trait Observer: Send + Sync + std::fmt::Debug {
    fn standing(&self, standing: Standing);

    /// The owner's logical unit changed; remember it for the day this node is promoted.
    fn marked(&self, volume: VolumeIndex, kind: MarkKind, data: Bytes);
}

#[expect(unused_variables, reason = "signatures first")]
impl Group {
    /// Restore the record (or make the first) and start. `devices` in order of volume index. Runs on the calling runtime.
    pub async fn start(
        config: GroupConfig,
        node: NodeName,
        instance: Instance,
        state_dir: &std::path::Path,
        devices: Vec<Arc<dyn BlockDevice>>,
        observer: Arc<dyn Observer>,
    ) -> Result<Arc<Group>, GroupError> {
        todo!()
    }

    pub fn config(&self) -> &GroupConfig {
        todo!()
    }

    // What mirrored volumes call.

    pub fn write(
        self: &Arc<Group>,
        volume: VolumeIndex,
        extent: Extent,
        data: Payload,
        durability: Durability,
    ) -> Io<()> {
        todo!()
    }

    pub fn write_zeroes(
        self: &Arc<Group>,
        volume: VolumeIndex,
        extent: Extent,
        allocation: Allocation,
        durability: Durability,
    ) -> Io<()> {
        todo!()
    }

    pub fn unmap(self: &Arc<Group>, volume: VolumeIndex, extent: Extent) -> Io<()> {
        todo!()
    }

    pub fn flush(self: &Arc<Group>, volume: VolumeIndex) -> Io<()> {
        todo!()
    }

    /// Now, unless a write that a failover would undo overlaps the extent. Then read the local device.
    pub fn may_read(self: &Arc<Group>, volume: VolumeIndex, extent: Extent) -> Io<()> {
        todo!()
    }

    pub fn mark(self: &Arc<Group>, volume: VolumeIndex, kind: MarkKind, data: Bytes) -> Io<()> {
        todo!()
    }

    // What the operator calls.

    pub fn command(
        self: &Arc<Group>,
        command: Command,
    ) -> impl Future<Output = Result<Done, Refusal>> + Send + 'static {
        async { todo!() }
    }

    pub fn status(&self) -> GroupStatus {
        todo!()
    }

    // What the link calls. The messages of one wake-up of a slot are one turn: acks are batched over it.

    pub fn session_up(self: &Arc<Group>, session: Arc<dyn PeerSession>, peer: Instance) {
        todo!()
    }

    pub fn session_down(self: &Arc<Group>, session: SessionId) {
        todo!()
    }

    pub fn slot_up(self: &Arc<Group>, session: SessionId, slot: Slot) {
        todo!()
    }

    pub fn slot_down(self: &Arc<Group>, session: SessionId, slot: Slot) {
        todo!()
    }

    pub fn received(self: &Arc<Group>, session: SessionId, messages: &mut Vec<Message>) {
        todo!()
    }

    pub fn peer_is_slow(self: &Arc<Group>, slow: bool) {
        todo!()
    }
}
