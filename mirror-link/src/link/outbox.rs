//! What waits for one connection's writer.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::flow::Clock;
use crate::ids::GroupIndex;
use crate::wire::message::{Ack, FAILED_MAX, Frame, GroupFrame, Hello, Lent, Message, Op, ReadDone};

/// Filled by groups, emptied by the writer.
///
/// Its bound: writes, by the credit that the receiver granted (its `window_bytes` and `window_writes`); of acknowledgements
/// and positions only a group's newest waits, pings and pongs one each; Hellos and Begins come as seldom as decisions; blocks
/// lent to an owner whose device failed, by what it may ask for at a time.
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
        Message::ReadDone(ReadDone { lent: Lent::Data(data), .. }) => data.len(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{OwnerEpoch, SessionId, WriteSeq};
    use crate::wire::message::{Credit, Position};

    fn of_group(group: u16, message: Message) -> GroupFrame {
        GroupFrame { group: GroupIndex(group), session: SessionId(1), message }
    }

    fn ack(epoch: u64, number: u64, failed: impl IntoIterator<Item = u64>) -> Message {
        Message::Ack(Box::new(Ack {
            epoch: OwnerEpoch(epoch),
            number,
            received_upto: WriteSeq(0),
            applied_upto: WriteSeq(0),
            durable_upto: WriteSeq(0),
            received: Default::default(),
            applied: Default::default(),
            credit: Credit::default(),
            failed: failed.into_iter().map(WriteSeq).collect(),
            differs: Default::default(),
        }))
    }

    fn position(acknowledged: u64) -> Message {
        Message::Position(Position { acknowledged: WriteSeq(acknowledged), ..Position::default() })
    }

    fn outbox() -> Outbox {
        Outbox::new(2, (None, None))
    }

    fn taken(outbox: &Outbox) -> Vec<Frame> {
        let mut frames = Vec::new();
        outbox.take(&mut frames);
        frames
    }

    fn numbers(frames: &[Frame]) -> Vec<(u16, u64)> {
        let number = |frame: &Frame| match frame {
            Frame::Group(GroupFrame { group, message: Message::Ack(ack), .. }) => (group.0, ack.number),
            Frame::Group(GroupFrame { group, message: Message::Position(position), .. }) => {
                (group.0, position.acknowledged.0)
            }
            other => panic!("{other:?}"),
        };
        frames.iter().map(number).collect()
    }

    #[test]
    fn of_acks_and_positions_a_groups_newest_waits() {
        let outbox = outbox();
        for (group, message) in [
            (0, ack(1, 1, [])),
            (1, ack(1, 9, [])),
            (0, position(7)),
            (0, ack(1, 2, [])),
            (0, position(8)),
            (0, ack(2, 3, [])),
        ] {
            outbox.push(of_group(group, message), || None);
        }
        assert_eq!(numbers(&taken(&outbox)), [(0, 3), (1, 9), (0, 8)]);
        outbox.push(of_group(0, ack(2, 4, [])), || None);
        assert_eq!(numbers(&taken(&outbox)), [(0, 4)], "what was taken is superseded by nothing");
        assert_eq!(taken(&outbox), []);
    }

    #[test]
    fn a_failure_is_told_though_a_newer_ack_takes_its_place() {
        let outbox = outbox();
        for message in [ack(1, 1, [5, 3]), ack(1, 2, []), ack(1, 3, [5, 8])] {
            outbox.push(of_group(0, message), || None);
        }
        assert_eq!(taken(&outbox), [Frame::Group(of_group(0, ack(1, 3, [3, 5, 8])))]);
        outbox.push(of_group(0, ack(1, 4, 0..FAILED_MAX as u64)), || None);
        outbox.push(of_group(0, ack(1, 5, [5000])), || None);
        outbox.push(of_group(0, ack(2, 6, [])), || None);
        let frames = taken(&outbox);
        assert_eq!(numbers(&frames), [(0, 4), (0, 6)], "as many as one ack holds, and those of a former epoch not");
    }

    #[test]
    fn a_group_is_introduced_once_on_each_slot() {
        let hello = || {
            Some(Box::new(Hello {
                group: "db".into(),
                node: "alpha".into(),
                instance: crate::ids::Instance(1),
                volumes: Vec::new(),
                role: crate::wire::message::Role::Primary,
                disk: crate::wire::message::DiskState::UpToDate,
                epoch: OwnerEpoch(1),
                generation: crate::ids::Generation::NONE,
                history: Vec::new(),
                dirty_since: None,
                crashed_owner: false,
                lost_cache: false,
                resumes: false,
                holds: false,
                peer_outdated: false,
                counting: None,
                suspects: Vec::new(),
                received: Default::default(),
                number: 1,
            }))
        };
        let is_hello = |frame: &Frame| matches!(frame, Frame::Group(GroupFrame { message: Message::Hello(_), .. }));
        let hellos = |outbox: &Outbox| taken(outbox).iter().map(is_hello).collect::<Vec<_>>();
        let outbox = outbox();
        outbox.push(of_group(0, position(1)), hello);
        outbox.push(of_group(0, ack(1, 1, [])), hello);
        assert_eq!(hellos(&outbox), [true, false, false]);
        outbox.push(of_group(0, position(2)), hello);
        assert_eq!(hellos(&outbox), [false]);
        outbox.push(of_group(1, Message::Hello(hello().expect("one"))), || panic!("it introduces itself"));
        outbox.push(of_group(1, position(2)), || panic!("it has"));
        assert_eq!(hellos(&outbox), [true, false]);
    }

    #[test]
    fn pings_and_pongs_go_first_and_wait_once() {
        let outbox = outbox();
        outbox.push(of_group(0, position(1)), || None);
        (1..=3).for_each(|number| outbox.ping(number));
        (4..=6).for_each(|number| outbox.pong(number));
        let frames = taken(&outbox);
        assert_eq!(frames[..2], [Frame::Pong(6), Frame::Ping(3)]);
        assert_eq!(numbers(&frames[2..]), [(0, 1)]);
    }

    #[test]
    fn a_closed_one_swallows() {
        let outbox = outbox();
        outbox.push(of_group(0, position(1)), || None);
        outbox.close();
        outbox.push(of_group(0, position(2)), || None);
        assert_eq!((taken(&outbox), outbox.queued_bytes()), (vec![], 0));
    }

    #[tokio::test]
    async fn whoever_waits_is_woken_by_the_first() {
        let outbox = outbox();
        outbox.push(of_group(0, position(1)), || None);
        outbox.filled().await;
        assert_eq!(taken(&outbox).len(), 1);
        outbox.ping(1);
        outbox.filled().await;
    }
}
