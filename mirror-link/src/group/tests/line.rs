//! n connections between two groups of this process, which can be cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::group::{Group, PeerSession};
use crate::ids::{Instance, SessionId, Slot};
use crate::wire::message::Message;

pub struct Line {
    pub id: SessionId,
    groups: [Arc<Group>; 2],
    pub ends: [Arc<End>; 2],
    readers: Vec<JoinHandle<()>>,
    stalled: watch::Sender<bool>,
}

/// One side's session.
#[derive(Debug)]
pub struct End {
    id: SessionId,
    /// By slot; `None`: closed.
    slots: Mutex<Vec<Option<mpsc::UnboundedSender<Message>>>>,
    pub complaints: Mutex<Vec<String>>,
    pub sent: AtomicU64,
}

impl End {
    fn new(id: SessionId, slots: u8) -> (Arc<End>, Vec<mpsc::UnboundedReceiver<Message>>) {
        let (senders, receivers) =
            (0..slots).map(|_| mpsc::unbounded_channel()).map(|(sender, receiver)| (Some(sender), receiver)).unzip();
        let (complaints, sent) = (Mutex::default(), AtomicU64::new(0));
        (Arc::new(End { id, slots: Mutex::new(senders), complaints, sent }), receivers)
    }
}

impl PeerSession for End {
    fn id(&self) -> SessionId {
        self.id
    }

    fn send(&self, slot: Slot, message: Message) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        if let Some(Some(slot)) = self.slots.lock().get(usize::from(slot.0)) {
            slot.send(message).ok();
        }
    }

    fn misbehaved(&self, cause: &str) {
        self.complaints.lock().push(cause.to_owned());
    }
}

impl Line {
    /// Each group with the instance of its process.
    pub fn connect(sides: [(&Arc<Group>, Instance); 2], slots: u8) -> Line {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let id = SessionId(LAST.fetch_add(1, Ordering::Relaxed) + 1);
        let stalled = watch::Sender::new(false);
        let [(a, a_instance), (b, b_instance)] = sides;
        let ((a_end, to_b), (b_end, to_a)) = (End::new(id, slots), End::new(id, slots));
        a.session_up(a_end.clone(), b_instance);
        b.session_up(b_end.clone(), a_instance);
        let mut readers = Vec::new();
        for (slot, (to_a, to_b)) in (0..slots).map(Slot).zip(to_a.into_iter().zip(to_b)) {
            for (group, messages) in [(a, to_a), (b, to_b)] {
                // What comes on a slot comes after it is up, as in a link.
                group.slot_up(id, slot);
                readers.push(tokio::spawn(read(group.clone(), id, messages, stalled.subscribe())));
            }
        }
        Line { id, groups: [a.clone(), b.clone()], ends: [a_end, b_end], readers, stalled }
    }

    /// Nothing is lost, and nothing arrives.
    pub fn stall(&self, stalled: bool) {
        self.stalled.send_replace(stalled);
    }

    /// What is under way on that slot is lost.
    pub fn cut_slot(&self, slot: Slot) {
        for end in &self.ends {
            end.slots.lock()[usize::from(slot.0)] = None;
        }
        self.groups.iter().for_each(|group| group.slot_down(self.id, slot));
    }

    /// What is under way is lost.
    pub async fn cut(mut self) {
        for end in &self.ends {
            end.slots.lock().clear();
        }
        for reader in self.readers.drain(..) {
            reader.abort();
            reader.await.ok();
        }
        self.groups.iter().for_each(|group| group.session_down(self.id));
    }

    pub fn complaints(&self) -> Vec<String> {
        self.ends.iter().flat_map(|end| end.complaints.lock().clone()).collect()
    }
}

/// A slot's reader: what waits is one turn.
async fn read(
    group: Arc<Group>,
    session: SessionId,
    mut messages: mpsc::UnboundedReceiver<Message>,
    mut stalled: watch::Receiver<bool>,
) {
    let mut taken = Vec::new();
    while messages.recv_many(&mut taken, 64).await > 0 {
        stalled.wait_for(|stalled| !stalled).await.ok();
        group.received(session, &mut taken);
        assert!(taken.is_empty(), "a group takes all that came");
    }
}
