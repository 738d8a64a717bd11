//! One time of being connected with the peer: what its groups send goes to the slots' outboxes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::flow::{Clock, Flow};
use super::outbox::Outbox;
use crate::group::PeerSession;
use crate::ids::{GroupIndex, GroupName, SessionId, Slot};
use crate::wire::message::{GroupFrame, Hello, Message};

#[derive(Debug)]
pub struct Session {
    pub id: SessionId,
    pub clock: Clock,
    /// Of the newest bytes on any slot.
    pub received_at: AtomicU64,
    slots: Box<[RwLock<Option<Arc<Outbox>>>]>,
    groups: Box<[OfGroup]>,
    /// The peer's groups that we do not share, as its Hellos named them; at most [`FOREIGN_MAX`].
    foreign: Mutex<Vec<GroupName>>,
    condemned: OnceLock<String>,
    alarm: Arc<Notify>,
}

#[derive(Debug, Default)]
struct OfGroup {
    flow: Flow,
    /// The newest that the group sent.
    hello: Mutex<Option<Box<Hello>>>,
    /// The peer's Hello has come.
    met: AtomicBool,
}

impl Session {
    /// `alarm` wakes whoever asks `condemned`.
    pub fn new(id: SessionId, slots: usize, groups: usize, clock: Clock, alarm: Arc<Notify>) -> Session {
        Session {
            id,
            clock,
            received_at: AtomicU64::new(0),
            slots: (0..slots).map(|_| RwLock::new(None)).collect(),
            groups: (0..groups).map(|_| OfGroup::default()).collect(),
            foreign: Mutex::new(Vec::new()),
            condemned: OnceLock::new(),
            alarm,
        }
    }

    pub fn open(&self, slot: Slot, outbox: Arc<Outbox>) {
        *self.slots[usize::from(slot.0)].write() = Some(outbox);
    }

    pub fn close(&self, slot: Slot) {
        if let Some(outbox) = self.slots[usize::from(slot.0)].write().take() {
            outbox.close();
        }
    }

    /// Ask every slot for a sign of life.
    pub fn ping(&self) {
        let number = self.clock.now();
        for slot in &self.slots {
            slot.read().iter().for_each(|outbox| outbox.ping(number));
        }
    }

    pub fn send(&self, slot: Slot, group: GroupIndex, message: Message) {
        let of_group = &self.groups[usize::from(group.0)];
        of_group.flow.sending(&message, &self.clock);
        if let Message::Hello(hello) = &message {
            *of_group.hello.lock() = Some(hello.clone());
        }
        let Some(outbox) = self.slots.get(usize::from(slot.0)) else { return };
        if let Some(outbox) = &*outbox.read() {
            outbox.push(GroupFrame { group, session: self.id, message }, || of_group.hello.lock().clone());
        }
    }

    /// A message of the group has come.
    pub fn received(&self, group: usize, message: &Message) {
        self.groups[group].flow.received(message, &self.clock);
    }

    pub fn met(&self, group: usize) {
        self.groups[group].met.store(true, Relaxed);
    }

    pub fn has_met(&self, group: usize) -> bool {
        self.groups[group].met.load(Relaxed)
    }

    /// The peer has a group that is not ours to share. True where that is news.
    pub fn foreign(&self, name: &GroupName) -> bool {
        let mut foreign = self.foreign.lock();
        let news = foreign.len() < FOREIGN_MAX && !foreign.contains(name);
        if news {
            foreign.push(GroupName::clone(name));
        }
        news
    }

    pub fn foreign_groups(&self) -> Vec<GroupName> {
        self.foreign.lock().clone()
    }

    /// Since when the longest-waiting group waits for acknowledgements.
    pub fn waiting_since(&self) -> Option<u64> {
        self.groups.iter().filter_map(|group| group.flow.waiting_since()).min()
    }

    pub fn condemn(&self, cause: &str) {
        if self.condemned.set(cause.into()).is_ok() {
            self.alarm.notify_one();
        }
    }

    pub fn condemned(&self) -> Option<&str> {
        self.condemned.get().map(String::as_str)
    }
}

/// What one group sees of the session.
#[derive(Debug)]
pub struct Binding {
    pub session: Arc<Session>,
    pub group: GroupIndex,
}

impl PeerSession for Binding {
    fn id(&self) -> SessionId {
        self.session.id
    }

    fn send(&self, slot: Slot, message: Message) {
        self.session.send(slot, self.group, message);
    }

    fn misbehaved(&self, cause: &str) {
        self.session.condemn(cause);
    }
}

/// Names kept only to be shown.
const FOREIGN_MAX: usize = 64;
