//! The patent's connection array: an entry a slot, whatever its state. What a slot's tasks count themselves (bytes, frames,
//! what is in flight) lies with them.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::paths::PathIndex;
use super::retry::delay;
use crate::ids::Slot;

/// One TCP connection, numbered by us; a slot has several in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlotState {
    Closed,
    Connecting,
    Open,
}

/// A slot's socket, and where it leads; the acceptor does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    pub connection: ConnectionId,
    pub path: Option<PathIndex>,
}

#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// Carries frames.
    open: Option<Socket>,
    /// Being made: the first of the slot, or one that is to take the place of `open`.
    pending: Option<Socket>,
    pub heartbeat: Option<Instant>,
    /// Not to be made again before.
    pub retry_at: Option<Instant>,
    /// In a row: attempts that came to nothing, and connections that did not live long.
    pub failures: u32,
    opened_at: Option<Instant>,
}

#[derive(Debug)]
pub struct ConnectionArray {
    entries: Vec<Entry>,
}

impl ConnectionArray {
    pub fn new(slots: u8) -> ConnectionArray {
        ConnectionArray { entries: vec![Entry::default(); usize::from(slots)] }
    }

    pub fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        (0..self.entries.len() as u8).map(Slot)
    }

    pub fn entry(&self, slot: Slot) -> Option<&Entry> {
        self.entries.get(usize::from(slot.0))
    }

    /// # Panics
    /// Of a slot that is not in the array: the caller has checked what the peer named.
    pub fn entry_mut(&mut self, slot: Slot) -> &mut Entry {
        &mut self.entries[usize::from(slot.0)]
    }

    pub fn holds(&self, slot: Slot) -> bool {
        usize::from(slot.0) < self.entries.len()
    }

    /// A valid heartbeat stamps every slot.
    pub fn stamp(&mut self, now: Instant) {
        self.entries.iter_mut().for_each(|entry| entry.heartbeat = Some(now));
    }

    pub fn open_count(&self) -> usize {
        self.entries.iter().filter(|entry| entry.open.is_some()).count()
    }

    pub fn pending_count(&self) -> usize {
        self.entries.iter().filter(|entry| entry.pending.is_some()).count()
    }

    pub fn open_slots(&self) -> Vec<(Slot, Socket)> {
        self.slots().zip(&self.entries).filter_map(|(slot, entry)| Some((slot, entry.open?))).collect()
    }

    pub fn pending_slots(&self) -> Vec<(Slot, Socket)> {
        self.slots().zip(&self.entries).filter_map(|(slot, entry)| Some((slot, entry.pending?))).collect()
    }

    /// May the slot be dialed now?
    pub fn is_due(&self, slot: Slot, now: Instant) -> bool {
        self.entry(slot).is_some_and(|entry| {
            entry.open.is_none() && entry.pending.is_none() && entry.retry_at.is_none_or(|at| at <= now)
        })
    }

    /// The first time that a closed slot may be dialed again.
    pub fn next_retry(&self) -> Option<Instant> {
        let closed = self.entries.iter().filter(|entry| entry.open.is_none() && entry.pending.is_none());
        closed.filter_map(|entry| entry.retry_at).min()
    }
}

impl Entry {
    pub fn state(&self) -> SlotState {
        match (self.open, self.pending) {
            (Some(_), _) => SlotState::Open,
            (None, Some(_)) => SlotState::Connecting,
            (None, None) => SlotState::Closed,
        }
    }

    pub fn open(&self) -> Option<Socket> {
        self.open
    }

    pub fn pending(&self) -> Option<Socket> {
        self.pending
    }

    pub fn begin(&mut self, socket: Socket) {
        assert!(self.pending.is_none(), "one connection of a slot is made at a time");
        self.pending = Some(socket);
    }

    /// The connection carries frames from now on; answers the one whose place it takes.
    pub fn opened(&mut self, socket: Socket, now: Instant) -> Option<Socket> {
        self.pending = self.pending.filter(|pending| pending.connection != socket.connection);
        self.opened_at = Some(now);
        self.open.replace(socket)
    }

    /// Its last connection came to nothing or ended: when may it be made again?
    pub fn retry(&mut self, now: Instant) {
        if self.opened_at.take().is_some_and(|at| now.duration_since(at) >= STABLE_AFTER) {
            self.failures = 0;
        }
        self.retry_at = Some(now + delay(RETRY_FIRST, RETRY_MAX, self.failures));
        self.failures = self.failures.saturating_add(1);
    }

    /// What failed with the whole line is not the slot's fault.
    pub fn forgive(&mut self) {
        (self.failures, self.retry_at) = (0, None);
    }

    /// Forget that connection. `None`: it was forgotten before.
    pub fn forget(&mut self, connection: ConnectionId) -> Option<SlotState> {
        if self.open.is_some_and(|open| open.connection == connection) {
            self.open = None;
            return Some(SlotState::Open);
        }
        if self.pending.is_some_and(|pending| pending.connection == connection) {
            self.pending = None;
            return Some(SlotState::Connecting);
        }
        None
    }
}

/// Between attempts at one slot: quick enough that a lost slot is hardly missed, rare enough to cost nothing.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// A connection that lived so long was a good one.
const STABLE_AFTER: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(number: u64) -> Socket {
        Socket { connection: ConnectionId(number), path: Some(PathIndex(0)) }
    }

    #[test]
    fn the_life_of_a_slot() {
        let (mut entry, now) = (Entry::default(), Instant::now());
        assert_eq!(entry.state(), SlotState::Closed);
        entry.begin(socket(1));
        assert_eq!(entry.state(), SlotState::Connecting);
        assert_eq!(entry.opened(socket(1), now), None);
        assert_eq!(entry.state(), SlotState::Open);
        assert_eq!(entry.forget(ConnectionId(1)), Some(SlotState::Open));
        assert_eq!(entry.forget(ConnectionId(1)), None);
        assert_eq!(entry.state(), SlotState::Closed);
    }

    #[test]
    fn a_successor_is_made_while_its_slot_is_open() {
        let (mut entry, now) = (Entry::default(), Instant::now());
        entry.opened(socket(1), now);
        entry.begin(socket(2));
        assert_eq!(entry.state(), SlotState::Open);
        assert_eq!(entry.forget(ConnectionId(2)), Some(SlotState::Connecting), "its failure leaves the slot open");
        entry.begin(socket(3));
        assert_eq!(entry.opened(socket(3), now), Some(socket(1)));
        assert_eq!((entry.open(), entry.pending()), (Some(socket(3)), None));
    }

    #[test]
    fn attempts_grow_rare_until_a_connection_lives() {
        let (mut entry, mut now) = (Entry::default(), Instant::now());
        let mut pause = |entry: &mut Entry, lived: u64| {
            entry.opened(socket(1), now);
            entry.forget(ConnectionId(1));
            now += Duration::from_secs(lived);
            entry.retry(now);
            entry.retry_at.map(|at| at - now)
        };
        for expected in [100, 200, 400] {
            assert_eq!(pause(&mut entry, 9), Some(Duration::from_millis(expected)));
        }
        assert_eq!(pause(&mut entry, 10), Some(RETRY_FIRST));
        (0..100).for_each(|_| entry.retry(now));
        assert_eq!(entry.retry_at, Some(now + RETRY_MAX));
    }

    #[test]
    fn a_heartbeat_stamps_every_entry() {
        let (mut array, now) = (ConnectionArray::new(3), Instant::now());
        array.stamp(now);
        assert!(array.slots().all(|slot| array.entry(slot).is_some_and(|entry| entry.heartbeat == Some(now))));
        assert!(!array.holds(Slot(3)));
    }

    #[test]
    fn only_a_closed_slot_whose_time_has_come_is_due() {
        let (mut array, now) = (ConnectionArray::new(1), Instant::now());
        assert!(array.is_due(Slot(0), now));
        let later = now + std::time::Duration::from_secs(1);
        array.entry_mut(Slot(0)).retry_at = Some(later);
        assert_eq!((array.is_due(Slot(0), now), array.is_due(Slot(0), later)), (false, true));
        assert_eq!(array.next_retry(), Some(later));
        array.entry_mut(Slot(0)).begin(socket(1));
        assert_eq!((array.is_due(Slot(0), later), array.next_retry()), (false, None));
        assert!(!array.is_due(Slot(1), later), "no such slot");
    }
}
