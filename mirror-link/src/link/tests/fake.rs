//! A group that does no more than say Hello and write down what it is told.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::group::PeerSession;
use crate::ids::{Generation, GroupName, Instance, OwnerEpoch, SessionId, Slot, WriteSeq};
use crate::link::member::Member;
use crate::wire::datagram::{GroupBeat, GroupTag};
use crate::wire::message::{Ack, Begin, Credit, DiskState, Hello, Marks, Message, Op, OpFrame, Role};

#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    SessionUp(SessionId, Instance),
    SessionDown(SessionId),
    SlotUp(Slot),
    SlotDown(Slot),
    Hello(GroupName),
    /// The number of a write.
    Write(u64),
    Slow(bool),
}

#[derive(Debug)]
pub struct Fake {
    name: GroupName,
    told: Mutex<Vec<Told>>,
    session: Mutex<Option<Arc<dyn PeerSession>>>,
    /// Heartbeats that told of the group, by the peer's process.
    beats: Mutex<HashMap<Instance, u64>>,
}

impl Fake {
    pub fn new(name: &str) -> Arc<Fake> {
        Arc::new(Fake { name: name.into(), told: Mutex::default(), session: Mutex::default(), beats: Mutex::default() })
    }

    pub fn told(&self) -> Vec<Told> {
        self.told.lock().clone()
    }

    pub fn count(&self, of: impl Fn(&Told) -> bool) -> usize {
        self.told.lock().iter().filter(|told| of(told)).count()
    }

    pub fn beats(&self) -> u64 {
        self.beats.lock().values().sum()
    }

    pub fn session(&self) -> Option<Arc<dyn PeerSession>> {
        self.session.lock().clone()
    }

    pub fn send(&self, slot: u8, message: Message) {
        let session = self.session().expect("a session is up");
        session.send(Slot(slot), message);
    }

    pub fn open_slots(&self) -> usize {
        let up = self.count(|told| matches!(told, Told::SlotUp(_)));
        up - self.count(|told| matches!(told, Told::SlotDown(_)))
    }

    /// A stream begins; from its first write on something is due.
    pub fn begin(&self) {
        let generation = Generation::NONE;
        let begin =
            Begin { epoch: OwnerEpoch(1), first: WriteSeq(1), resync: false, generation, counting: Generation(7) };
        self.send(0, Message::Begin(begin));
    }

    pub fn acknowledge(&self, upto: u64) {
        let upto = WriteSeq(upto);
        self.send(
            0,
            Message::Ack(Box::new(Ack {
                epoch: OwnerEpoch(1),
                number: 1,
                received_upto: upto,
                applied_upto: upto,
                durable_upto: upto,
                received: Default::default(),
                applied: Default::default(),
                credit: Credit::default(),
                failed: Default::default(),
                differs: Default::default(),
            })),
        );
    }

    fn note(&self, told: Told) {
        self.told.lock().push(told);
    }

    fn hello(&self) -> Message {
        Message::Hello(Box::new(Hello {
            group: self.name.clone(),
            node: "somebody".into(),
            instance: Instance(1),
            volumes: Vec::new(),
            role: Role::Primary,
            disk: DiskState::UpToDate,
            epoch: OwnerEpoch(1),
            generation: Generation::NONE,
            history: Vec::new(),
            dirty_since: None,
            crashed_owner: false,
            lost_cache: false,
            resumes: false,
            holds: false,
            peer_outdated: false,
            received: Marks::default(),
            counting: None,
            suspects: Vec::new(),
            number: 1,
        }))
    }
}

/// A write without data, told apart by its number.
pub fn write(seq: u64) -> Message {
    let (epoch, after) = (OwnerEpoch(1), WriteSeq(0));
    Message::Op(OpFrame { epoch, seq: WriteSeq(seq), after, odep: Default::default(), op: Op::Void })
}

impl Member for Arc<Fake> {
    fn name(&self) -> &GroupName {
        &self.name
    }

    fn session_up(&self, session: Arc<dyn PeerSession>, peer: Instance) {
        self.note(Told::SessionUp(session.id(), peer));
        *self.session.lock() = Some(session);
    }

    fn session_down(&self, session: SessionId) {
        self.note(Told::SessionDown(session));
        *self.session.lock() = None;
    }

    fn slot_up(&self, _: SessionId, slot: Slot) {
        let first = self.open_slots() == 0;
        self.note(Told::SlotUp(slot));
        if first {
            self.send(slot.0, self.hello());
        }
    }

    fn slot_down(&self, _: SessionId, slot: Slot) {
        self.note(Told::SlotDown(slot));
    }

    fn received(&self, _: SessionId, messages: &mut Vec<Message>) {
        for message in messages.drain(..) {
            match message {
                Message::Hello(hello) => self.note(Told::Hello(hello.group)),
                Message::Op(op) => self.note(Told::Write(op.seq.0)),
                Message::Begin(_) | Message::Ack(_) => {}
                Message::Position(_) | Message::Read(_) | Message::ReadDone(_) => panic!("nobody sent it"),
            }
        }
    }

    fn peer_is_slow(&self, slow: bool) {
        self.note(Told::Slow(slow));
    }

    fn beat(&self) -> GroupBeat {
        GroupBeat { group: GroupTag::of(&self.name), role: Role::Primary, marks: Marks::default() }
    }

    fn told(&self, peer: Instance, beat: GroupBeat, _: Duration) {
        assert_eq!(beat.group, GroupTag::of(&self.name));
        *self.beats.lock().entry(peer).or_default() += 1;
    }
}

/// Wait until it holds; its longest wait is a failure's, not a success's.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(5), "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
