use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::{Mutex, ReentrantMutex};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::core::Core;
use super::keepers::Signals;
use super::local::Devices;
use super::ops::TurnEnd;
use super::unfinished::Unfinished;
use crate::block::{Allocation, BlockError, Durability, Eventually, Io, Payload};
use crate::config::GroupConfig;
use crate::extent::{BlockCount, Extent, Lba};
use crate::ids::{Instance, SessionId, Slot, VolumeIndex};
use crate::replica::io::{Command, Done, Found, HostChange, HostOp, Input, Refusal, Standing};
use crate::replica::status::{AsideStatus, GroupStatus};
use crate::replica::what_if::WhatIf;
use crate::store::{Place, snapshot, undo};
use crate::wire::datagram::{GroupBeat, GroupTag};
use crate::wire::message::{MarkKind, Message, READ_MAX};

/// A group at work.
#[derive(Debug)]
pub struct Group {
    pub(super) config: GroupConfig,
    pub(super) tag: GroupTag,
    pub(super) place: Arc<Place>,
    /// Held while pure code runs, never while anything is waited for.
    pub(super) core: Mutex<Core>,
    /// One of [`reads`].
    pub(super) reads: AtomicU8,
    /// A resync wants to know how long hosts' reads take.
    pub(super) times_reads: AtomicBool,
    pub(super) devices: Devices,
    /// Bounds how much is read at a time to be compared.
    pub(super) digests: Arc<Semaphore>,
    pub(super) observer: Arc<dyn Observer>,
    /// Whose turn it is to tell the observer; again while it is being told, should it call the group.
    pub(super) observing: ReentrantMutex<()>,
    pub(super) signals: Arc<Signals>,
    pub(super) unfinished: Arc<Unfinished>,
    pub(super) runtime: Handle,
}

/// What hosts' reads are to mind.
pub(super) mod reads {
    pub const FREE: u8 = 0;
    /// Some write is under way for which some read may have to wait.
    pub const LOOK_CLOSER: u8 = 1;
    /// The local device failed: the peer has the blocks.
    pub const AT_PEER: u8 = 2;
}

/// What a session offers to its groups. One object a session; gone with it.
///
/// It is called by whatever thread has a turn, so also from within calls into the group: hold no lock over those.
pub trait PeerSession: Send + Sync + std::fmt::Debug {
    fn id(&self) -> SessionId;

    /// Queue a message for that slot's socket; never waits. What the queue holds is bounded by the receiver's credit.
    /// A slot that is gone swallows it: the group is told by `slot_down`.
    fn send(&self, slot: Slot, message: Message);

    /// End the session: the peer broke the protocol.
    fn misbehaved(&self, cause: &str);
}

/// Who shows the volumes of a group to hosts. Told in order, by one thread at a time; must not wait.
pub trait Observer: Send + Sync + std::fmt::Debug {
    fn standing(&self, standing: Standing);

    /// The owner's logical unit changed; remember it for the day this node is promoted.
    fn marked(&self, volume: VolumeIndex, kind: MarkKind, data: Bytes);
}

impl Group {
    pub fn config(&self) -> &GroupConfig {
        &self.config
    }

    // What mirrored volumes call.

    pub fn write(
        self: &Arc<Group>,
        volume: VolumeIndex,
        extent: Extent,
        data: Payload,
        durability: Durability,
    ) -> Io<()> {
        self.submit(HostChange::Write { volume, extent, data, durability })
    }

    pub fn write_zeroes(
        self: &Arc<Group>,
        volume: VolumeIndex,
        extent: Extent,
        allocation: Allocation,
        durability: Durability,
    ) -> Io<()> {
        self.submit(HostChange::WriteZeroes { volume, extent, allocation, durability })
    }

    pub fn unmap(self: &Arc<Group>, volume: VolumeIndex, extent: Extent) -> Io<()> {
        self.submit(HostChange::Unmap { volume, extent })
    }

    pub fn flush(self: &Arc<Group>, volume: VolumeIndex) -> Io<()> {
        self.submit(HostChange::Flush { volume })
    }

    /// Now, unless a write that a failover would undo overlaps the extent.
    ///
    /// To be asked *after* the local device was read and before the host gets the blocks: asked before, a write could begin
    /// between the two, and be seen by the read without having been waited for.
    pub fn may_read(self: &Arc<Group>, volume: VolumeIndex, extent: Extent) -> Io<()> {
        if self.reads.load(Ordering::Acquire) == reads::FREE {
            return Eventually::Now(Ok(()));
        }
        if self.core.lock().replica.may_read_now(volume, extent) {
            return Eventually::Now(Ok(()));
        }
        self.host(|op| Input::Read { op, volume, extent })
    }

    /// Now, if it matters how long a read takes that begins now: for `read_took`.
    pub fn read_begins(&self) -> Option<Instant> {
        self.times_reads.load(Ordering::Relaxed).then(Instant::now)
    }

    /// A host has the blocks that it began to read then.
    pub fn read_took(&self, since: Option<Instant>) {
        if let Some(since) = since {
            self.core.lock().replica.read_took(Instant::now(), since);
        }
    }

    /// The local device failed, and hosts are served through the peer: it is not to be read.
    pub fn reads_at_peer(&self) -> bool {
        self.reads.load(Ordering::Acquire) == reads::AT_PEER
    }

    /// From the peer what the local device could not read, or is not to be asked for; `error` is what it said. Where the peer
    /// has no good copy the answer is that. `buffer` is empty.
    pub async fn fetch(
        self: Arc<Group>,
        volume: VolumeIndex,
        extent: Extent,
        error: BlockError,
        mut buffer: BytesMut,
    ) -> Result<BytesMut, BlockError> {
        let block = u64::from(self.devices.get(volume)?.block_length().bytes());
        let blocks = READ_MAX as u64 / block;
        let pieces = (0..extent.blocks().0.div_ceil(blocks)).map(|piece| {
            let (lba, end) = (extent.lba().0 + piece * blocks, extent.end().0);
            Extent::new(Lba(lba), BlockCount(blocks.min(end - lba)), BlockCount(end))
        });
        // All are asked for at once, and come in order.
        let mut asked = Vec::new();
        for piece in pieces {
            let extent = piece.map_err(|_| BlockError::OutOfRange)?;
            let begin = |core: &mut Core| {
                let (op, waits) = core.fetches.begin();
                core.handle(Input::Fetch { op, volume, extent, error });
                waits
            };
            asked.push((extent, self.turn(begin, |_, waits| waits)));
        }
        buffer.reserve((extent.blocks().0 * block) as usize);
        for (extent, waits) in asked {
            match waits.await.unwrap_or(Err(GONE))? {
                Found::Data(data) => data.pieces().iter().for_each(|piece| buffer.extend_from_slice(piece)),
                Found::Zeroes => buffer.put_bytes(0, (extent.blocks().0 * block) as usize),
                // Nobody asked for one.
                Found::Digest(_) => return Err(BlockError::Medium),
            }
        }
        Ok(buffer)
    }

    pub fn mark(self: &Arc<Group>, volume: VolumeIndex, kind: MarkKind, data: Bytes) -> Io<()> {
        self.submit(HostChange::Mark { volume, kind, data })
    }

    fn submit(self: &Arc<Group>, change: HostChange) -> Io<()> {
        self.host(|op| Input::Submit { op, change })
    }

    fn host(self: &Arc<Group>, input: impl FnOnce(HostOp) -> Input) -> Io<()> {
        let end = self.turn(
            |core| {
                let op = core.hosts.begin();
                core.handle(input(op));
                op
            },
            |core, op| core.hosts.end_turn(op),
        );
        match end {
            TurnEnd::Answered(result) => Eventually::Now(result),
            TurnEnd::Waits(waits) => Eventually::later(async move { waits.await.unwrap_or(Err(GONE)) }),
        }
    }

    // What the operator calls.

    /// Under way from the call on, whether the answer is waited for or not.
    pub fn command(
        self: &Arc<Group>,
        command: Command,
    ) -> impl Future<Output = Result<Done, Refusal>> + Send + 'static {
        let waits = self.turn(
            |core| {
                let (id, waits) = core.commands.begin();
                core.handle(Input::Command { id, command });
                waits
            },
            |_, waits| waits,
        );
        async move { waits.await.unwrap_or_else(|_| Err(Refusal::Other("the group has ended".into()))) }
    }

    /// Looks into the group's directory, too.
    pub fn status(&self) -> GroupStatus {
        let now = Instant::now();
        let core = self.core.lock();
        let mut status = core.replica.status(core.now.max(now));
        drop(core);
        let directory = self.place.path();
        let (undo_stores, undo_bytes) = undo::brief(directory).unwrap_or_default();
        let snapshot = snapshot::load(directory).ok().flatten();
        status.aside = AsideStatus { directory: Some(directory.to_owned()), undo_stores, undo_bytes, snapshot };
        status
    }

    /// In sentences; changes nothing.
    pub fn what_if(&self, what: WhatIf) -> Vec<String> {
        let now = Instant::now();
        let core = self.core.lock();
        core.replica.what_if(what, core.now.max(now))
    }

    // What the link calls. The messages of one wake-up of a slot are one turn: acks are batched over it.

    /// Of a session that comes while there is another, the former has ended.
    pub fn session_up(self: &Arc<Group>, session: Arc<dyn PeerSession>, peer: Instance) {
        let id = session.id();
        self.turn(
            |core| {
                core.replace_session(Some(session));
                core.handle(Input::SessionUp { session: id, peer });
            },
            |_, ()| (),
        );
    }

    pub fn session_down(self: &Arc<Group>, session: SessionId) {
        self.in_session(session, |core| core.replace_session(None));
    }

    pub fn slot_up(self: &Arc<Group>, session: SessionId, slot: Slot) {
        self.in_session(session, |core| core.handle(Input::SlotUp(slot)));
    }

    pub fn slot_down(self: &Arc<Group>, session: SessionId, slot: Slot) {
        self.in_session(session, |core| core.handle(Input::SlotDown(slot)));
    }

    /// `messages` is empty afterwards.
    pub fn received(self: &Arc<Group>, session: SessionId, messages: &mut Vec<Message>) {
        self.in_session(session, |core| {
            messages.drain(..).for_each(|message| core.handle(Input::Received { session, message }));
        });
        messages.clear();
    }

    pub fn peer_is_slow(self: &Arc<Group>, slow: bool) {
        self.input(Input::PeerIsSlow(slow));
    }

    /// For the heartbeats to the peer.
    pub fn beat(&self) -> GroupBeat {
        let (role, marks) = self.core.lock().replica.beat();
        GroupBeat { group: self.tag, role, marks }
    }

    /// What a heartbeat of the peer's process says of this group; it holds for so long.
    pub fn told(self: &Arc<Group>, peer: Instance, beat: GroupBeat, good_for: Duration) {
        self.input(Input::Beat { peer, beat, good_for });
    }

    /// What comes of a session that has ended since, or was replaced, is of no more interest.
    fn in_session(self: &Arc<Group>, session: SessionId, act: impl FnOnce(&mut Core)) {
        self.turn(
            |core| {
                if core.is_current(session) {
                    act(core);
                }
            },
            |_, ()| (),
        );
    }

    /// Let the replica know that it is late, if it is; answers when it wants to know again.
    pub(super) fn time_passes(self: &Arc<Group>) -> Option<Instant> {
        self.turn(
            |core| {
                if core.replica.poll_timeout().is_some_and(|due| due <= core.now) {
                    core.replica.handle_timeout(core.now);
                }
            },
            |core, ()| {
                core.armed = core.replica.poll_timeout();
                core.armed
            },
        )
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signals.end();
        self.unfinished.end();
    }
}

/// The group ended while a host's request was under way; nobody is left to ask again.
const GONE: BlockError = BlockError::Stalled;
