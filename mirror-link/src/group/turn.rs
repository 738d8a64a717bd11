//! Turns: lock, handle, let go, carry out, until nothing is left.
//!
//! Whoever has an input carries out what it leads to. A device that answers at once is fed back by the next round of the
//! same turn, one that does not by a turn of its own; so a host's write that waits for nothing costs two rounds under the
//! lock, no task and no allocation.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use parking_lot::MutexGuard;
use smallvec::SmallVec;

use super::api::reads;
use super::core::{Batch, Core, Notice, Rare};
use super::digest::digest;
use super::{Group, PeerSession, events, zeroes};
use crate::block::{BlockDevice, BlockError, Eventually};
use crate::extent::Extent;
use crate::ids::VolumeIndex;
use crate::replica::io::{Found, Input, LocalAction, LocalIo};

/// Answers of devices within the turn that asked.
type Answered = SmallVec<[(LocalIo, Result<(), BlockError>); 4]>;

impl Group {
    /// `begin` hands over the first inputs, `end` sees how things stand when nothing is left of them to do at once.
    pub(super) fn turn<T, R>(
        self: &Arc<Self>,
        begin: impl FnOnce(&mut Core) -> T,
        end: impl FnOnce(&mut Core, T) -> R,
    ) -> R {
        let now = Instant::now();
        let (mut batch, mut answered) = (Batch::default(), Answered::new());
        let mut core = self.core.lock();
        core.now = core.now.max(now);
        let begun = begin(&mut core);
        while !core.end_round(&mut batch) {
            self.let_go(core);
            self.carry_out(&mut batch, &mut answered);
            core = self.core.lock();
            answered.drain(..).for_each(|(io, result)| core.handle(Input::LocalDone { io, result }));
        }
        let result = end(&mut core, begun);
        self.let_go(core);
        self.carry_out(&mut batch, &mut answered);
        result
    }

    /// Readers look at the flags without the lock: the first must stand before a write that they should wait for can be read.
    fn let_go(&self, core: MutexGuard<'_, Core>) {
        let reads = match core.replica.reads_look_closer() {
            false => reads::FREE,
            true if core.replica.reads_at_peer() => reads::AT_PEER,
            true => reads::LOOK_CLOSER,
        };
        if self.reads.load(Ordering::Relaxed) != reads {
            self.reads.store(reads, Ordering::Release);
        }
        let times_reads = core.replica.times_reads();
        if self.times_reads.load(Ordering::Relaxed) != times_reads {
            self.times_reads.store(times_reads, Ordering::Relaxed);
        }
    }

    pub(super) fn input(self: &Arc<Self>, input: Input) {
        self.turn(|core| core.handle(input), |_, ()| ());
    }

    /// What goes to the peer first, local work last: the peer works at the same time.
    fn carry_out(self: &Arc<Self>, batch: &mut Batch, answered: &mut Answered) {
        let session = batch.session.take();
        for (slot, message) in batch.sends.drain(..) {
            // Without a session nobody is there to be told.
            if let Some(session) = &session {
                session.send(slot, message);
            }
        }
        if let Some(rare) = batch.rare.take() {
            self.carry_out_rare(*rare, session.as_deref());
        }
        batch.hosts.drain(..).for_each(|(host, result)| _ = host.send(result));
        for (io, action) in batch.local.drain(..) {
            if let Some(result) = self.carry_out_local(io, action) {
                answered.push((io, result));
            }
        }
    }

    #[cold]
    fn carry_out_rare(&self, rare: Rare, session: Option<&dyn PeerSession>) {
        if rare.notices {
            self.tell_observer();
        }
        if rare.begins_anew {
            self.devices.begin_anew();
        }
        self.signals.wake(rare.wakes);
        let (group, peer) = (&self.config.name, &self.config.peer);
        rare.events.iter().for_each(|event| events::log(group, peer, event));
        // Whoever no longer waits needs no answer.
        rare.fetched.into_iter().for_each(|(host, result)| _ = host.send(result));
        rare.commands.into_iter().for_each(|(operator, result)| _ = operator.send(result));
        for how in rare.misbehaved {
            tracing::error!(%group, %peer, %how, "the peer broke the protocol; its session is ended. Do both run the same version?");
            session.into_iter().for_each(|session| session.misbehaved(&how.to_string()));
        }
    }

    fn carry_out_local(self: &Arc<Self>, io: LocalIo, action: LocalAction) -> Option<Result<(), BlockError>> {
        match action {
            LocalAction::Read { volume, extent } => {
                self.read(io, volume, extent, |device, extent| async move { zeroes::find(&*device, extent).await });
                return None;
            }
            LocalAction::Digest { volume, extent } => {
                let digests = self.digests.clone();
                self.read(io, volume, extent, |device, extent| async move {
                    // Never closed.
                    let _turn = digests.acquire().await;
                    digest(&*device, extent).await.map(Found::Digest)
                });
                return None;
            }
            _ => (),
        }
        match self.devices.change(action) {
            Eventually::Now(result) => Some(result),
            Eventually::Later(work) => {
                self.unfinished.push(io, work);
                None
            }
        }
    }

    /// Never within a turn, which may be a host's: a resync reads a lot, and a verify as much.
    fn read<F: Future<Output = Result<Found, BlockError>> + Send>(
        self: &Arc<Self>,
        io: LocalIo,
        volume: VolumeIndex,
        extent: Extent,
        find: impl FnOnce(Arc<dyn BlockDevice>, Extent) -> F + Send + 'static,
    ) {
        let device = self.devices.get(volume).cloned();
        let group = Arc::downgrade(self);
        self.runtime.spawn(async move {
            let result = match device {
                Ok(device) => find(device, extent).await,
                Err(error) => Err(error),
            };
            if let Some(group) = group.upgrade() {
                group.input(Input::LocalRead { io, result });
            }
        });
    }

    /// Threads that carry out two rounds may overtake each other; the observer must not see the older standing last.
    fn tell_observer(&self) {
        let _turn = self.observing.lock();
        loop {
            let notice = self.core.lock().notices.pop_front();
            match notice {
                None => return,
                Some(Notice::Standing(standing)) => self.observer.standing(standing),
                Some(Notice::Marked { volume, kind, data }) => self.observer.marked(volume, kind, data),
            }
        }
    }
}
