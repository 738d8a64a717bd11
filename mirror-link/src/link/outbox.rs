//! What waits for one connection's writer.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::flow::Clock;
use crate::ids::GroupIndex;
use crate::wire::message::{Ack, FAILED_MAX, Frame, GroupFrame, Hello, Message, Op};

/// Filled by groups, emptied by the writer.
///
/// Its bound: writes, by the credit that the receiver granted (its `window_bytes` and `window_writes`); of acknowledgements
/// and positions only a group's newest waits, pings and pongs one each; Hellos and Begins come as seldom as decisions.
#[derive(Debug)]
pub struct Outbox {
    waiting: Mutex<Waiting>,
    wake: Notify,
    pub counters: Counters,
    /// Of the connection: ours, the peer's.
    pub addresses: (Option<SocketAddr>, Option<SocketAddr>),
}

#[derive(Debug)]
struct Waiting {
    frames: Vec<Frame>,
    /// Of their payloads.
    bytes: u64,
    /// By group: has its Hello gone this way? And where its newest Ack and Position wait.
    groups: Box<[OfGroup]>,
    ping: Option<u64>,
    pong: Option<u64>,
    closed: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct OfGroup {
    introduced: bool,
    ack: Option<usize>,
    position: Option<usize>,
}

/// What a slot's tasks count; stamps are those of the link's clock.
#[derive(Debug, Default)]
pub struct Counters {
    pub received_at: AtomicU64,
    pub sent_at: AtomicU64,
    /// Taken by the writer, and not yet by the socket.
    pub writing_bytes: AtomicU64,
    pub frames_sent: AtomicU64,
    pub frames_received: AtomicU64,
    pub bytes_sent: AtomicU64,
    pub bytes_received: AtomicU64,
}

impl Counters {
    pub fn sent(&self, bytes: usize, clock: &Clock) {
        self.sent_at.store(clock.now(), Relaxed);
        self.bytes_sent.fetch_add(bytes as u64, Relaxed);
    }

    pub fn received(&self, bytes: usize, clock: &Clock) {
        self.received_at.store(clock.now(), Relaxed);
        self.bytes_received.fetch_add(bytes as u64, Relaxed);
    }
}

impl Outbox {
    pub fn new(groups: usize, addresses: (Option<SocketAddr>, Option<SocketAddr>)) -> Outbox {
        let waiting = Waiting {
            frames: Vec::new(),
            bytes: 0,
            groups: vec![OfGroup::default(); groups].into(),
            ping: None,
            pong: None,
            closed: false,
        };
        Outbox { waiting: Mutex::new(waiting), wake: Notify::new(), counters: Counters::default(), addresses }
    }

    /// `introduction` gives the group's newest Hello, which precedes all else of the group on a slot: so whoever reads a slot
    /// knows its groups without asking the other slots' readers.
    pub fn push(&self, frame: GroupFrame, introduction: impl FnOnce() -> Option<Box<Hello>>) {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return;
        }
        let was_empty = waiting.is_empty();
        waiting.introduce(&frame, introduction);
        waiting.push(frame);
        drop(waiting);
        if was_empty {
            self.wake.notify_one();
        }
    }

    pub fn ping(&self, number: u64) {
        self.waiting.lock().ping = Some(number);
        self.wake.notify_one();
    }

    pub fn pong(&self, number: u64) {
        self.waiting.lock().pong = Some(number);
        self.wake.notify_one();
    }

    /// Everything that waits, appended to `frames`.
    pub fn take(&self, frames: &mut Vec<Frame>) {
        let mut waiting = self.waiting.lock();
        frames.extend(waiting.pong.take().map(Frame::Pong));
        frames.extend(waiting.ping.take().map(Frame::Ping));
        if frames.is_empty() {
            // The writer's empty vector takes the full one's place: neither is allocated anew.
            std::mem::swap(frames, &mut waiting.frames);
        } else {
            frames.append(&mut waiting.frames);
        }
        waiting.bytes = 0;
        for group in &mut waiting.groups {
            (group.ack, group.position) = (None, None);
        }
    }

    /// Bytes that wait for the socket; headers of what waits here apart.
    pub fn queued_bytes(&self) -> u64 {
        self.waiting.lock().bytes + self.counters.writing_bytes.load(Relaxed)
    }

    pub async fn filled(&self) {
        self.wake.notified().await;
    }

    /// From now on it swallows what it is given.
    pub fn close(&self) {
        let mut waiting = self.waiting.lock();
        waiting.closed = true;
        waiting.frames = Vec::new();
        waiting.bytes = 0;
    }
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.ping.is_none() && self.pong.is_none()
    }

    fn introduce(&mut self, frame: &GroupFrame, introduction: impl FnOnce() -> Option<Box<Hello>>) {
        let of_group = &mut self.groups[usize::from(frame.group.0)];
        if of_group.introduced {
            return;
        }
        if let Message::Hello(_) = frame.message {
            of_group.introduced = true;
        } else if let Some(hello) = introduction() {
            of_group.introduced = true;
            let GroupFrame { group, session, .. } = *frame;
            self.frames.push(Frame::Group(GroupFrame { group, session, message: Message::Hello(hello) }));
        }
    }

    fn push(&mut self, mut frame: GroupFrame) {
        let here = self.frames.len();
        self.bytes += payload_bytes(&frame.message);
        if let Some(place) = self.superseded(&mut frame) {
            self.frames[place] = Frame::Group(frame);
            return;
        }
        let of_group = &mut self.groups[usize::from(frame.group.0)];
        match &frame.message {
            Message::Ack(_) => of_group.ack = Some(here),
            Message::Position(_) => of_group.position = Some(here),
            _ => {}
        }
        self.frames.push(Frame::Group(frame));
    }

    /// Where its predecessor waits, whose place it takes: the newest stands.
    fn superseded(&self, frame: &mut GroupFrame) -> Option<usize> {
        let of_group = &self.groups[usize::from(frame.group.0)];
        match &mut frame.message {
            Message::Position(_) => of_group.position,
            Message::Ack(ack) => of_group.ack.filter(|place| match &self.frames[*place] {
                Frame::Group(GroupFrame { message: Message::Ack(before), .. }) => keeps_failures(before, ack),
                _ => false,
            }),
            _ => None,
        }
    }
}

/// A failed write is told of once; the rest of an Ack says how things are. False where it does not hold them all.
fn keeps_failures(before: &Ack, now: &mut Ack) -> bool {
    if before.epoch != now.epoch || before.failed.is_empty() {
        return true;
    }
    if before.failed.len() + now.failed.len() > FAILED_MAX {
        return false;
    }
    now.failed.extend(before.failed.iter().copied());
    now.failed.sort_unstable();
    now.failed.dedup();
    true
}

fn payload_bytes(message: &Message) -> u64 {
    match message {
        Message::Op(op) => match &op.op {
            Op::Write { data, .. } => data.len(),
            Op::Mark { data, .. } => data.len() as u64,
            _ => 0,
        },
        _ => 0,
    }
}

/// The place of a group among those shared with the peer, as it goes over the wire.
pub fn group_index(place: usize) -> GroupIndex {
    GroupIndex(u16::try_from(place).expect("a node has fewer than 65536 groups"))
}
