//! Two replicas whose every step is somebody else's choice: nothing is delivered, written or timed until told.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::time::Instant;

use crate::block::Durability;
use crate::config::GroupConfig;
use crate::ids::{Instance, SessionId, Slot, VolumeIndex};
use crate::replica::Replica;
use crate::replica::io::{
    Command, CommandId, Done, Found, HostChange, HostOp, Input, LocalAction, LocalIo, Output, Record, Refusal, Standing,
};
use crate::replica::planted::Fault;
use crate::replica::status::{GroupStatus, LinkState};
use crate::sim::checkers::{Checker, Violation};
use crate::sim::disk::{self, Image, Place, Stamp, ZEROES, stamped, stamps};
use crate::sim::history::{History, Outcome, Promise, ReignIndex};
use crate::sim::rng::mix;
use crate::sim::scenario::NAMES;
use crate::wire::message::Message;

pub const SLOTS: usize = 2;

#[derive(Clone, Debug)]
pub struct Node {
    pub replica: Replica,
    pub image: Image,
    pub running: Vec<Running>,
    /// Every record is durable at once.
    record: Option<Record>,
    pub reign: Option<ReignIndex>,
    open: BTreeMap<HostOp, Stamp>,
    answers: Vec<Result<Done, Refusal>>,
}

/// A local write that has not ended.
#[derive(Clone, Debug)]
pub struct Running {
    io: LocalIo,
    at: Place,
    stamps: Vec<Stamp>,
}

#[derive(Clone, Debug)]
pub struct Pair {
    pub nodes: [Node; 2],
    /// By the side that receives, and slot.
    pub wires: [[VecDeque<Message>; SLOTS]; 2],
    session: SessionId,
    pub history: History,
    pub violation: Option<Violation>,
    now: Instant,
    last_op: u64,
    /// Of each node: one number for all that it is, while that is known.
    digests: [Option<u64>; 2],
}

impl Pair {
    pub fn new(configs: [GroupConfig; 2], faults: &[Fault], now: Instant) -> Pair {
        let mut node = 0;
        let nodes = configs.map(|config| {
            let image = config.volumes.iter().map(|volume| vec![ZEROES; volume.capacity.0 as usize]).collect();
            let instance = Instance(node as u64 + 1);
            let mut replica = Replica::new(config, NAMES[node].into(), instance, node as u64 + 7, None, now);
            faults.iter().for_each(|&fault| replica.plant(fault));
            // One write after the other, each on another slot.
            replica.spread_from(1);
            node += 1;
            Node {
                replica,
                image,
                running: Vec::new(),
                record: None,
                reign: None,
                open: BTreeMap::new(),
                answers: Vec::new(),
            }
        });
        let mut pair = Pair {
            nodes,
            wires: Default::default(),
            session: SessionId(0),
            history: History::default(),
            violation: None,
            now,
            last_op: 0,
            digests: [None; 2],
        };
        (0..2).for_each(|node| pair.turn(node, None));
        pair
    }

    // What may happen.

    pub fn connect(&mut self) {
        self.session = SessionId(self.session.0 + 1);
        for node in 0..2 {
            let peer = Instance(2 - node as u64);
            self.turn(node, Some(Input::SessionUp { session: self.session, peer }));
            (0..SLOTS).for_each(|slot| self.turn(node, Some(Input::SlotUp(Slot(slot as u8)))));
        }
    }

    pub fn session_down(&mut self, node: usize) {
        self.turn(node, Some(Input::SessionDown));
    }

    pub fn slot_down(&mut self, node: usize, slot: usize) {
        self.wires[node][slot].clear();
        self.turn(node, Some(Input::SlotDown(Slot(slot as u8))));
    }

    pub fn deliver(&mut self, to: usize, slot: usize) {
        if let Some(message) = self.wires[to][slot].pop_front() {
            self.receive(to, self.session, message);
        }
    }

    /// What a former session still brings.
    pub fn deliver_late(&mut self, to: usize, message: Message) {
        self.receive(to, SessionId(self.session.0 - 1), message);
    }

    fn receive(&mut self, to: usize, session: SessionId, message: Message) {
        self.turn(to, Some(Input::Received { session, message }));
    }

    pub fn write(&mut self, node: usize, at: Place) -> Stamp {
        let reign = self.nodes[node].reign.expect("hosts ask only who reigns");
        let stamp = self.history.issue(reign, at, false, false);
        self.last_op += 1;
        let op = HostOp(self.last_op);
        self.nodes[node].open.insert(op, stamp);
        let data = stamped(&vec![stamp; at.blocks]);
        let (volume, extent) = (VolumeIndex(0), at.extent(self.nodes[node].image[0].len()));
        let change = HostChange::Write { volume, extent, data, durability: Durability::Cached };
        self.turn(node, Some(Input::Submit { op, change }));
        stamp
    }

    /// A local write ends.
    pub fn done(&mut self, node: usize, at: usize) {
        let Running { io, at, stamps } = self.nodes[node].running.remove(at);
        self.nodes[node].image[at.volume][at.lba..at.lba + at.blocks].copy_from_slice(&stamps);
        self.turn(node, Some(Input::LocalDone { io, result: Ok(()) }));
    }

    pub fn command(&mut self, node: usize, command: Command) {
        self.last_op += 1;
        self.turn(node, Some(Input::Command { id: CommandId(self.last_op), command }));
    }

    pub fn last_answer(&self, node: usize) -> Option<&Result<Done, Refusal>> {
        self.nodes[node].answers.last()
    }

    /// Everything local ends, in order.
    pub fn finish(&mut self, node: usize) {
        while !self.nodes[node].running.is_empty() {
            self.done(node, 0);
        }
    }

    /// Everything under way arrives and ends.
    pub fn go_on(&mut self) {
        while !self.is_still() {
            for node in 0..2 {
                self.finish(node);
                (0..SLOTS).for_each(|slot| self.deliver(node, slot));
            }
        }
    }

    pub fn is_still(&self) -> bool {
        self.nodes.iter().all(|node| node.running.is_empty()) && self.wires.iter().flatten().all(VecDeque::is_empty)
    }

    /// Time passes until something is due.
    pub fn wait(&mut self) {
        let due = self.nodes.iter().filter_map(|node| node.replica.poll_timeout()).min();
        self.now = due.map_or(self.now, |due| due.max(self.now));
        for node in 0..2 {
            if self.nodes[node].replica.poll_timeout().is_some_and(|due| due <= self.now) {
                self.nodes[node].replica.handle_timeout(self.now);
                self.turn(node, None);
            }
        }
    }

    pub fn status(&self, node: usize) -> GroupStatus {
        self.nodes[node].replica.status(self.now)
    }

    /// The owner, once its peer has all that it has.
    pub fn together(&self) -> Option<usize> {
        (0..2).find(|&node| {
            let status = self.status(node);
            let said = status.applied_upto >= status.seq && status.queue.dirty_bytes == 0;
            self.nodes[node].reign.is_some() && status.link == LinkState::Established && said
        })
    }

    pub fn violate(&mut self, checker: Checker, text: String) {
        self.violation.get_or_insert(Violation { checker, text });
    }

    /// One number for all that the future of these nodes depends on.
    pub fn digest(&mut self, nodes: &[usize]) -> u64 {
        let mut hash = digest(&self.wires);
        for &node in nodes {
            let of_node = *self.digests[node].get_or_insert_with(|| digest(&self.nodes[node]));
            hash = mix(hash ^ of_node);
        }
        let writes = &self.history.writes;
        for w in writes {
            hash = mix(hash ^ w.promise as u64 ^ u64::from(w.outcome == Outcome::Good) << 8);
            hash = writes.iter().fold(hash, |hash, u| mix(hash ^ u64::from(w.ended < u.issued)));
        }
        hash
    }

    // Driving a replica.

    fn turn(&mut self, node: usize, input: Option<Input>) {
        self.digests[node] = None;
        let mut inputs: VecDeque<Input> = input.into_iter().collect();
        loop {
            let ended = inputs.is_empty();
            let replica = &mut self.nodes[node].replica;
            match inputs.pop_front() {
                Some(input) => replica.handle(self.now, input),
                None => replica.end_turn(self.now),
            }
            while let Some(output) = self.nodes[node].replica.poll_output() {
                inputs.extend(self.output(node, output));
            }
            if ended && inputs.is_empty() {
                return;
            }
        }
    }

    /// What answers it at once.
    fn output(&mut self, node: usize, output: Output) -> Option<Input> {
        match output {
            Output::Local { io, action } => return self.local(node, io, action),
            Output::Send { slot, message } => self.send(1 - node, slot, message),
            Output::Store { write, record } => {
                self.nodes[node].record = Some(*record);
                return Some(Input::Stored { write, result: Ok(()) });
            }
            Output::Map { write, .. } => return Some(Input::Mapped { write, result: Ok(()) }),
            Output::KeepAside(keep) => return Some(Input::Kept { resync: keep.copy.resync }),
            Output::Resynced | Output::BeginAnew => (),
            Output::Complete { op, result } => {
                let promise = Promise::given(self.nodes[node].record.as_ref(), &self.status(node));
                let stamp = self.nodes[node].open.remove(&op).expect("answered once");
                match result {
                    Ok(()) => self.history.end(stamp, Outcome::Good, promise),
                    Err(error) => self.history.end(stamp, Outcome::Failed(error), Promise::Nothing),
                }
            }
            Output::Standing(standing) => self.stands(node, standing),
            Output::Answer { result, .. } => self.nodes[node].answers.push(result),
            Output::Misbehaved(how) => {
                self.violate(Checker::Protocol, format!("{} finds that its peer misbehaved: {how}", NAMES[node]));
            }
            Output::Spill { .. } | Output::Unspill { .. } | Output::TrimSpill { .. } => (),
            Output::Marked { .. } | Output::Fetched { .. } | Output::Event(_) => (),
        }
        None
    }

    /// An acknowledgement right behind another says all that the other does; between the two the sender heard nothing, so
    /// that whatever the receiver did on the first alone it could also have done before the second was made.
    fn send(&mut self, to: usize, slot: Slot, message: Message) {
        let wire = &mut self.wires[to][usize::from(slot.0)];
        if matches!((wire.back(), &message), (Some(Message::Ack(_)), Message::Ack(_))) {
            wire.pop_back();
        }
        wire.push_back(message);
    }

    fn local(&mut self, node: usize, io: LocalIo, action: LocalAction) -> Option<Input> {
        let (at, stamps) = match action {
            LocalAction::Write { volume, extent, data, .. } => {
                let found = stamps(&data);
                self.check_one_writer(node, &found);
                (Place::new(volume, extent), found)
            }
            LocalAction::WriteZeroes { volume, extent, .. } | LocalAction::Unmap { volume, extent } => {
                let at = Place::new(volume, extent);
                (at, vec![ZEROES; at.blocks])
            }
            LocalAction::Flush { .. } => return Some(Input::LocalDone { io, result: Ok(()) }),
            LocalAction::Digest { volume, extent } => {
                let at = Place::new(volume, extent);
                let found = &self.nodes[node].image[at.volume][at.lba..at.lba + at.blocks];
                return Some(Input::LocalRead { io, result: Ok(Found::Digest(disk::digest(found))) });
            }
            LocalAction::Read { volume, extent } => {
                let at = Place::new(volume, extent);
                let found = &self.nodes[node].image[at.volume][at.lba..at.lba + at.blocks];
                let data = found.iter().any(|&stamp| stamp != ZEROES);
                let result = Ok(if data { Found::Data(stamped(found)) } else { Found::Zeroes });
                return Some(Input::LocalRead { io, result });
            }
        };
        self.nodes[node].running.push(Running { io, at, stamps });
        None
    }

    fn check_one_writer(&mut self, node: usize, stamps: &[Stamp]) {
        let Some(reign) = self.nodes[node].reign else { return };
        let foreign = stamps.iter().find(|&&stamp| stamp == ZEROES || self.history.write(stamp).reign != reign);
        if let Some(stamp) = foreign {
            let text = format!("{} reigns and writes {stamp} of another reign", NAMES[node]);
            self.violate(Checker::OneWriter, text);
        }
    }

    fn stands(&mut self, node: usize, standing: Standing) {
        match (standing, self.nodes[node].reign) {
            (Standing::Active, None) => {
                let mut base = self.nodes[node].image.clone();
                for Running { at, stamps, .. } in &self.nodes[node].running {
                    base[at.volume][at.lba..at.lba + at.blocks].copy_from_slice(stamps);
                }
                let epoch = self.status(node).epoch;
                self.nodes[node].reign = Some(self.history.begin_reign(node, epoch, base));
            }
            (Standing::Standby, Some(reign)) => {
                self.history.end_reign(reign);
                self.nodes[node].reign = None;
            }
            _ => (),
        }
    }
}

/// Of everything there is to be seen.
fn digest(what: &impl Debug) -> u64 {
    let text = format!("{what:?}");
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    let last = rest.iter().fold(text.len() as u64, |last, &byte| last << 8 | u64::from(byte));
    words.iter().fold(mix(last), |hash, &word| (hash ^ u64::from_le_bytes(word)).wrapping_mul(PRIME).rotate_left(29))
}

/// Odd, and its bits without a pattern.
const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;
