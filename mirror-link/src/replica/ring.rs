//! The writes that the peer has not applied, in order of number; and which slots they went out on. Pure.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::Instant;

use smallvec::SmallVec;

use super::planted::Planted;
use crate::ids::{SLOTS_MAX, Slot, VolumeIndex, WriteSeq};
use crate::wire::message::{ODEP_MAX, Op, OpFrame};

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub after: WriteSeq,
    pub odep: SmallVec<[WriteSeq; ODEP_MAX]>,
    /// `Void` from the time on when the payload is of no more use.
    pub op: Op,
    /// What it counts for in the queue's bounds.
    pub cost: u64,
    /// Payload bytes of all writes of the epoch up to this one.
    pub prefix: u64,
    pub payload: u64,
    /// Whose payload it is; of a flush, nobody's.
    volume: Option<VolumeIndex>,
    pub place: Place,
    /// Where it was sent in this session.
    pub slot: Option<Slot>,
    /// In this session or another.
    pub sent: bool,
    pub received: bool,
    pub applied: bool,
    /// False: its blocks are in the dirty map instead, or it came to nothing before it was sent.
    pub for_peer: bool,
    /// What the peer lacks of it a failover would undo; false for what changes nothing.
    owed: bool,
    /// It is in the journal, or on its way there.
    pub journalled: bool,
    /// The host has its answer since then.
    pub answered: Option<Instant>,
}

/// Where its payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Memory,
    /// A resync's read is under way.
    Reading,
    Spilling,
    Spilled,
    Fetching,
}

/// What an entry itself costs in memory, about.
pub(super) const ENTRY_COST: u64 = 256;

#[derive(Clone, Debug, Default)]
pub(super) struct Ring {
    entries: VecDeque<Entry>,
    /// Every write up to this one has left.
    base: u64,
    /// Payload bytes up to the last write that has left, up to the last there is.
    left_prefix: u64,
    last_prefix: u64,
    pub memory_bytes: u64,
    pub spilled_bytes: u64,
    /// Of `memory_bytes`: on their way to the journal.
    pub spilling_bytes: u64,
    /// Answered to hosts and not applied by the peer.
    pub lag_bytes: u64,
    /// Of which on each volume.
    pub lag_of: Box<[u64]>,
    pub lag_writes: u64,
}

impl Ring {
    pub fn new(volumes: usize) -> Ring {
        Ring { lag_of: vec![0; volumes].into(), ..Ring::default() }
    }

    /// The number of the next write.
    pub fn next(&self) -> u64 {
        self.base + 1 + self.entries.len() as u64
    }

    pub fn base(&self) -> u64 {
        self.base
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// `payload`: bytes that it will have, where it is still being read.
    pub fn push(
        &mut self,
        after: u64,
        odep: SmallVec<[WriteSeq; ODEP_MAX]>,
        op: Op,
        place: Place,
        for_peer: bool,
        payload: u64,
    ) -> u64 {
        let seq = self.next();
        let cost = if for_peer { op.payload_bytes() + ENTRY_COST } else { 0 };
        let volume = volume_of(&op);
        self.last_prefix += payload;
        if for_peer {
            self.memory_bytes += cost;
            self.spilling_bytes += if place == Place::Spilling { cost } else { 0 };
        }
        let op = if for_peer { op } else { Op::Void };
        self.entries.push_back(Entry {
            after: WriteSeq(after),
            odep,
            op,
            cost,
            prefix: self.last_prefix,
            payload,
            volume,
            place,
            slot: None,
            sent: false,
            received: false,
            applied: false,
            for_peer,
            owed: true,
            journalled: false,
            answered: None,
        });
        seq
    }

    /// The last one's payload is in the journal.
    pub fn last_is_spilled(&mut self) {
        let Some(entry) = self.entries.back_mut() else { return };
        self.memory_bytes -= entry.cost;
        entry.cost += entry.payload;
        self.spilled_bytes += entry.cost;
        (entry.place, entry.journalled) = (Place::Spilled, true);
    }

    pub fn get(&self, seq: u64) -> Option<&Entry> {
        self.entries.get(seq.checked_sub(self.base + 1)? as usize)
    }

    pub fn get_mut(&mut self, seq: u64) -> Option<&mut Entry> {
        self.entries.get_mut(seq.checked_sub(self.base + 1)? as usize)
    }

    /// Payload bytes up to that write.
    pub fn prefix(&self, seq: u64) -> u64 {
        match self.get(seq) {
            Some(entry) => entry.prefix,
            None if seq <= self.base => self.left_prefix,
            None => self.last_prefix,
        }
    }

    /// A resync's read found this to send.
    pub fn fill(&mut self, seq: u64, op: Op) {
        let Some(entry) = self.get_mut(seq).filter(|entry| entry.place == Place::Reading) else { return };
        let payload = op.payload_bytes();
        entry.owed = !op.is_verify();
        entry.op = op;
        entry.place = Place::Memory;
        if entry.for_peer {
            entry.cost += payload;
            self.memory_bytes += payload;
        }
    }

    /// Its payload is of no more use. What it was.
    pub fn release(&mut self, seq: u64) -> Option<Op> {
        let entry = self.get_mut(seq)?;
        let op = std::mem::replace(&mut entry.op, Op::Void);
        let (cost, place) = (std::mem::take(&mut entry.cost), entry.place);
        entry.place = Place::Memory;
        if place == Place::Spilling {
            self.spilling_bytes -= cost;
        }
        match place {
            Place::Spilled => self.spilled_bytes -= cost,
            Place::Memory | Place::Reading | Place::Spilling | Place::Fetching => self.memory_bytes -= cost,
        }
        Some(op)
    }

    pub fn spilled(&mut self, seq: u64) {
        let Some(entry) = self.get_mut(seq).filter(|entry| entry.place == Place::Spilling) else { return };
        entry.place = Place::Spilled;
        if let Op::Write { data, .. } = &mut entry.op {
            *data = Default::default();
        }
        let cost = entry.cost;
        self.memory_bytes -= cost;
        self.spilling_bytes -= cost;
        self.spilled_bytes += cost;
    }

    /// Its payload is on its way to the journal.
    pub fn spills(&mut self, seq: u64) {
        let Some(entry) = self.get_mut(seq).filter(|entry| entry.place == Place::Memory) else { return };
        entry.place = Place::Spilling;
        let cost = entry.cost;
        self.spilling_bytes += cost;
    }

    /// Its payload is asked for: there has to be room for it from now on.
    pub fn fetch(&mut self, seq: u64) {
        let Some(entry) = self.get_mut(seq).filter(|entry| entry.place == Place::Spilled) else { return };
        entry.place = Place::Fetching;
        let cost = entry.cost;
        self.spilled_bytes -= cost;
        self.memory_bytes += cost;
    }

    /// Its payload is back.
    pub fn fetched(&mut self, seq: u64, payload: crate::block::Payload) {
        let Some(entry) = self.get_mut(seq).filter(|entry| entry.place == Place::Fetching) else { return };
        entry.place = Place::Memory;
        if let Op::Write { data, .. } = &mut entry.op {
            *data = payload;
        }
    }

    /// The first of those writes that the peer can't have: it is for the peer, and was never sent.
    pub fn first_unsent(&self, mut seqs: RangeInclusive<u64>) -> Option<u64> {
        seqs.find(|&seq| self.get(seq).is_some_and(|entry| entry.for_peer && !entry.sent))
    }

    pub fn answered(&mut self, seq: u64, now: Instant) {
        let Some(entry) = self.get_mut(seq) else { return };
        entry.answered = Some(now);
        if !entry.applied && entry.for_peer && entry.owed {
            let (payload, volume) = (entry.payload, entry.volume);
            self.lag_bytes += payload;
            self.lag_writes += 1;
            self.lag_of(volume).into_iter().for_each(|lag| *lag += payload);
        }
    }

    /// The peer has applied it. What it was, the first time.
    pub fn applied(&mut self, seq: u64) -> Option<Op> {
        let entry = self.get_mut(seq).filter(|entry| !entry.applied && entry.for_peer)?;
        entry.applied = true;
        self.lags_no_more(seq);
        self.release(seq)
    }

    /// The peer will not get it as a write of the stream. What it was.
    pub fn withdraw(&mut self, seq: u64) -> Option<Op> {
        let entry = self.get_mut(seq).filter(|entry| !entry.applied && entry.for_peer)?;
        entry.for_peer = false;
        self.lags_no_more(seq);
        self.release(seq)
    }

    fn lags_no_more(&mut self, seq: u64) {
        let Some(entry) = self.get(seq).filter(|entry| entry.answered.is_some() && entry.owed) else { return };
        let (payload, volume) = (entry.payload, entry.volume);
        self.lag_bytes -= payload;
        self.lag_writes -= 1;
        self.lag_of(volume).into_iter().for_each(|lag| *lag -= payload);
    }

    fn lag_of(&mut self, volume: Option<VolumeIndex>) -> Option<&mut u64> {
        self.lag_of.get_mut(usize::from(volume?.0))
    }

    /// Let those at the front go that nobody waits for.
    pub fn trim(&mut self) {
        while let Some(front) = self.entries.front()
            && front.answered.is_some()
            && (front.applied || !front.for_peer)
        {
            self.left_prefix = front.prefix;
            self.base += 1;
            self.entries.pop_front();
        }
    }

    /// When the oldest write that the peer lacks was answered.
    pub fn oldest_answered(&self) -> Option<Instant> {
        let lacks = |entry: &&Entry| entry.answered.is_some() && !entry.applied && entry.for_peer && entry.owed;
        self.entries.iter().find(lacks)?.answered
    }

    pub fn frame(&self, epoch: crate::ids::OwnerEpoch, seq: u64) -> Option<OpFrame> {
        let entry = self.get(seq)?;
        Some(OpFrame { epoch, seq: WriteSeq(seq), after: entry.after, odep: entry.odep.clone(), op: entry.op.clone() })
    }
}

fn volume_of(op: &Op) -> Option<VolumeIndex> {
    match op {
        Op::Mark { volume, .. } => Some(*volume),
        op => op.place().map(|(volume, _)| volume),
    }
}

/// The slots of the session as one group sees them.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    up: u64,
    current: Slot,
    /// Bytes sent and not acknowledged as received.
    in_flight: [u64; SLOTS_MAX],
}

impl Default for Slots {
    fn default() -> Slots {
        Slots { up: 0, current: Slot(0), in_flight: [0; SLOTS_MAX] }
    }
}

impl Slots {
    pub fn up(&mut self, slot: Slot) {
        self.up |= 1 << slot.0;
        self.in_flight[usize::from(slot.0)] = 0;
    }

    pub fn down(&mut self, slot: Slot) {
        self.up &= !(1 << slot.0);
        self.in_flight[usize::from(slot.0)] = 0;
    }

    pub fn is_up(&self, slot: Slot) -> bool {
        self.up & (1 << slot.0) != 0
    }

    pub fn any(&self) -> Option<Slot> {
        (self.up != 0)
            .then(|| if self.is_up(self.current) { self.current } else { Slot(self.up.trailing_zeros() as u8) })
    }

    /// For that many bytes. Few writes stay on one slot, where one system call takes them all; many spread.
    pub fn choose(&mut self, bytes: u64, planted: &Planted) -> Option<Slot> {
        let current = self.any()?;
        self.current = current;
        if self.in_flight[usize::from(current.0)] >= planted.spread_bytes().unwrap_or(SPREAD_BYTES) {
            let least = (0..SLOTS_MAX as u8)
                .map(Slot)
                .filter(|slot| self.is_up(*slot))
                .min_by_key(|slot| self.in_flight[usize::from(slot.0)]);
            self.current = least.unwrap_or(current);
        }
        self.in_flight[usize::from(self.current.0)] += bytes;
        Some(self.current)
    }

    pub fn received(&mut self, slot: Slot, bytes: u64) {
        let in_flight = &mut self.in_flight[usize::from(slot.0)];
        *in_flight = in_flight.saturating_sub(bytes);
    }
}

/// Unacknowledged on a slot, from which on others are looked at: as much as a socket buffer takes at once.
const SPREAD_BYTES: u64 = 256 << 10;

/// What a frame counts for on its slot beside its payload.
pub(super) const FRAME_COST: u64 = 64;
