//! Driving a replica as `group/` does: an input, all its outputs, the next; then the end of the turn.

use std::ops::ControlFlow;

use super::checkers::Checker;
use super::disk::{Answer, Stamp, ZEROES, stamps};
use super::history::{History, Moment, Outcome, Promise};
use super::node::{Open, Process, Request};
use super::scenario::NAMES;
use super::store::Order;
use super::strikes::Strike;
use super::world::{Event, World};
use crate::block::BlockError;
use crate::replica;
use crate::replica::io::{Found, HostOp, Input, KeepAside, LocalAction, LocalIo, Output, Standing, StoreFailed};
use crate::wire::message::{Message, Op, Role};

impl World {
    pub(super) fn turn(&mut self, node: usize, inputs: Vec<Input>) {
        self.turns += 1;
        match self.work(node, inputs) {
            ControlFlow::Continue(()) => {
                self.turn_was_whole(node);
                self.turn_ends(node);
            }
            ControlFlow::Break(strike) => self.struck(node, strike),
        }
    }

    fn work(&mut self, node: usize, inputs: Vec<Input>) -> ControlFlow<Strike> {
        let mut next: Vec<Input> = inputs;
        loop {
            let mut at_once = Vec::new();
            for input in next {
                self.note(&[], |_| format!("{} <- {}", NAMES[node], input_text(&input)));
                self.with_replica(node, |replica, now| replica.handle(now, input));
                self.drain(node, &mut at_once)?;
            }
            if at_once.is_empty() {
                self.with_replica(node, |replica, now| replica.end_turn(now));
                self.drain(node, &mut at_once)?;
            }
            if at_once.is_empty() {
                return ControlFlow::Continue(());
            }
            next = at_once.into_iter().filter_map(|io| self.disk_answers(node, io, false)).collect();
        }
    }

    pub(super) fn timer(&mut self, node: usize) {
        let now = self.instant();
        let process = self.process(node);
        process.armed = None;
        if process.replica.poll_timeout().is_some_and(|due| due <= now) {
            self.note(&[], |_| format!("{} <- timeout", NAMES[node]));
            self.with_replica(node, |replica, now| replica.handle_timeout(now));
        }
        self.turn(node, Vec::new());
    }

    pub(super) fn process(&mut self, node: usize) -> &mut Process {
        self.nodes[node].process.as_mut().expect("the process lives: events of dead ones are dropped")
    }

    fn with_replica(&mut self, node: usize, act: impl FnOnce(&mut crate::replica::Replica, std::time::Instant)) {
        let now = self.instant();
        act(&mut self.process(node).replica, now);
    }

    fn drain(&mut self, node: usize, at_once: &mut Vec<LocalIo>) -> ControlFlow<Strike> {
        let now = self.instant();
        let process = self.process(node);
        let outputs: Vec<Output> = std::iter::from_fn(|| process.replica.poll_output()).collect();
        if outputs.iter().any(|output| matches!(output, Output::Complete { .. } | Output::Fetched { .. })) {
            process.status = process.replica.status(now);
        }
        for output in outputs {
            self.outputs += 1;
            self.struck_or(node, output, |world, output| world.output(node, output, at_once))?;
        }
        ControlFlow::Continue(())
    }

    fn output(&mut self, node: usize, output: Output, at_once: &mut Vec<LocalIo>) {
        self.note(&[node as u64, fingerprint(&output)], |_| format!("{} -> {}", NAMES[node], output_text(&output)));
        let incarnation = self.nodes[node].incarnation;
        match output {
            Output::Local { io, action } => self.local(node, io, action, at_once),
            Output::Send { slot, message } => {
                self.says(node, &message);
                self.send(node, slot, message);
            }
            Output::Store { write, record } => {
                self.nodes[node].store.push(write, record);
                self.record_begins(node);
            }
            Output::Map { write, change } => {
                self.nodes[node].maps.push(write, change);
                self.map_begins(node);
            }
            Output::Spill { run, frame } => self.spill(node, Order::Put(run, frame)),
            Output::Unspill { run, seq } => self.spill(node, Order::Get(run, seq)),
            Output::TrimSpill { upto } => self.spill(node, Order::Trim(upto)),
            Output::KeepAside(keep) => {
                let delay = self.scenario.store.draw(&mut self.rng) + self.scenario.disk[node].draw(&mut self.rng);
                self.after(delay, Event::Aside { node, incarnation, keep });
            }
            Output::BeginAnew => (),
            Output::Resynced => self.nodes[node].renewed = self.now,
            Output::Complete { op, result } => self.complete(node, op, result),
            Output::Fetched { op, result } => self.fetched(node, op, result),
            Output::Marked { volume, kind, data } => {
                let id = data.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
                self.process(node).marks.insert((volume, kind), id);
            }
            Output::Standing(standing) => self.process(node).standing = standing,
            Output::Answer { id, result } => self.answered_command(node, id, result),
            Output::Event(replica::io::Event::VerifyEnded(told)) => self.check_verified(node, &told),
            Output::Event(_) => (),
            Output::Misbehaved(how) => {
                self.violate(Checker::Protocol, format!("{} finds that its peer misbehaved: {how}", NAMES[node]));
            }
        }
        debug_assert_eq!(incarnation, self.nodes[node].incarnation, "nobody dies in the midst of an output");
    }

    fn local(&mut self, node: usize, io: LocalIo, action: LocalAction, at_once: &mut Vec<LocalIo>) {
        self.check_one_writer(node, &action);
        self.check_overwritten(node, &action);
        let is_read = matches!(action, LocalAction::Read { .. } | LocalAction::Digest { .. });
        let fails = self.disk_may_fail(node);
        self.nodes[node].disk.begin(io, action, &mut self.rng);
        if !is_read && !fails && self.rng.permille(self.scenario.disk_at_once) {
            return at_once.push(io);
        }
        let delay = self.scenario.disk[node].draw(&mut self.rng);
        let incarnation = self.nodes[node].incarnation;
        self.after(delay, Event::Disk { node, incarnation, io, fails });
    }

    fn disk_may_fail(&mut self, node: usize) -> bool {
        if self.in_trouble() && self.nodes[node].disk.strikes() {
            return true;
        }
        let chance = self.scenario.disk_fails;
        chance > 0 && self.in_trouble() && !self.nodes[node].is_active() && self.rng.permille(chance)
    }

    fn disk_answers(&mut self, node: usize, io: LocalIo, fails: bool) -> Option<Input> {
        let error = fails.then_some(BlockError::Medium);
        if fails {
            self.something_happens();
            self.nodes[node].disk.has_failed = true;
        }
        let answer = self.nodes[node].disk.end(io, error, &mut self.rng)?;
        Some(match answer {
            Answer::Done(result) => Input::LocalDone { io, result },
            Answer::Read(result) => Input::LocalRead { io, result },
        })
    }

    pub(super) fn disk_ends(&mut self, node: usize, io: LocalIo, fails: bool) {
        let answer = self.disk_answers(node, io, fails);
        self.turn(node, answer.into_iter().collect());
    }

    fn record_begins(&mut self, node: usize) {
        if self.nodes[node].store.begin() {
            let delay = self.scenario.store.draw(&mut self.rng);
            let incarnation = self.nodes[node].incarnation;
            self.after(delay, Event::Record { node, incarnation });
        }
    }

    pub(super) fn record_ends(&mut self, node: usize) {
        let result = if self.store_fails() { Err(StoreFailed) } else { Ok(()) };
        let answers = self.nodes[node].store.end(result);
        self.turn(node, answers);
        self.record_begins(node);
    }

    fn map_begins(&mut self, node: usize) {
        if self.nodes[node].maps.begin() {
            let delay = self.scenario.store.draw(&mut self.rng);
            let incarnation = self.nodes[node].incarnation;
            self.after(delay, Event::Map { node, incarnation });
        }
    }

    pub(super) fn map_ends(&mut self, node: usize) {
        let result = if self.store_fails() { Err(StoreFailed) } else { Ok(()) };
        let answers = self.nodes[node].maps.end(result, &mut self.rng);
        self.turn(node, answers);
        self.map_begins(node);
    }

    /// What the copy holds there is in the undo store now, unless it was already, or can't be.
    pub(super) fn is_aside(&mut self, node: usize, keep: &KeepAside) {
        let fails = self.store_fails();
        let at = &mut self.nodes[node];
        let resync = keep.copy.resync;
        if fails {
            at.aside.failed = Some(self.history.now());
        } else if at.aside.resync.replace(resync) != Some(resync) {
            for &(volume, extent) in &keep.pieces {
                let place = super::disk::Place::new(volume, extent);
                // Zeroes too: they are newer than what is there again once a power cut took them from the disk.
                let newest = |block, stamp| self.history.newest(stamp, place.volume, block);
                let blocks = (place.lba..).zip(at.disk.stamps(place));
                let blocks = blocks.map(|(block, &stamp)| (place.volume, block, newest(block, stamp)));
                at.aside.blocks.extend(blocks);
            }
        }
        self.turn(node, vec![Input::Kept { resync }]);
    }

    fn spill(&mut self, node: usize, order: Order) {
        self.nodes[node].journal.push(order);
        self.spill_begins(node);
    }

    fn spill_begins(&mut self, node: usize) {
        if self.nodes[node].journal.begin() {
            let delay = self.scenario.store.draw(&mut self.rng);
            let incarnation = self.nodes[node].incarnation;
            self.after(delay, Event::Spill { node, incarnation });
        }
    }

    pub(super) fn spill_ends(&mut self, node: usize) {
        let failed: Vec<bool> = (0..self.nodes[node].journal.under_way()).map(|_| self.store_fails()).collect();
        let answers = self.nodes[node].journal.end(&failed);
        self.spill_begins(node);
        if !answers.is_empty() {
            self.turn(node, answers);
        }
    }

    fn store_fails(&mut self) -> bool {
        let chance = self.scenario.store_fails;
        let fails = chance > 0 && self.in_trouble() && self.rng.permille(chance);
        if fails {
            self.something_happens();
        }
        fails
    }

    /// From the peer, for a node whose disk failed.
    fn fetched(&mut self, node: usize, op: HostOp, result: Result<Found, BlockError>) {
        let found = result.map(|found| match found {
            Found::Data(data) => Some(stamps(&data)),
            Found::Zeroes | Found::Digest(_) => None,
        });
        if let (Ok(found), Some(open)) = (&found, self.process(node).open.get_mut(&op))
            && let Request::Read { at, stamps, .. } = &mut open.request
        {
            *stamps = found.clone().unwrap_or_else(|| vec![ZEROES; at.blocks]);
        }
        self.complete(node, op, found.map(|_| ()));
    }

    fn complete(&mut self, node: usize, op: HostOp, result: Result<(), BlockError>) {
        let is_read = |open: &Open| matches!(&open.request, Request::Read { is_fetched: false, .. });
        if result == Err(BlockError::Medium) && self.process(node).open.get(&op).is_some_and(is_read) {
            // What the device told is not to be believed: the peer is asked.
            let incarnation = self.nodes[node].incarnation;
            return self.after(0, Event::HostFetch { node, incarnation, op });
        }
        let Some(open) = self.process(node).open.remove(&op) else {
            return self.violate(Checker::Answers, format!("{} answers {op:?}, which waits for nothing", NAMES[node]));
        };
        self.answered += 1;
        let outcome = result.map_or_else(Outcome::Failed, |()| Outcome::Good);
        let promise = if result.is_ok() { self.promise(node) } else { Promise::Nothing };
        self.close(&open, outcome, promise);
        if result.is_ok() {
            self.sees_alone(node, &open, promise);
            self.check_acknowledged(node, &open);
            self.check_read(node, &open);
        }
        self.host_answered(open.host, result);
    }

    /// What an acknowledgement given now promises.
    pub(super) fn promise(&self, node: usize) -> Promise {
        let process = self.nodes[node].process.as_ref().expect("who answers lives");
        Promise::given(self.nodes[node].store.durable.as_ref(), &process.status)
    }

    pub(super) fn close(&mut self, open: &Open, outcome: Outcome, promise: Promise) {
        match &open.request {
            Request::Write(stamp) => {
                let durable = self.history.write(*stamp).durable && promise > Promise::Nothing;
                self.history.end(*stamp, outcome, if durable { Promise::Durable } else { promise });
            }
            Request::Mark(id) => self.history.end_mark(*id, outcome, promise),
            Request::Flush { .. } if outcome != Outcome::Good => (),
            Request::Flush { reign, volume, issued } => self.harden(*reign, *volume, *issued, promise),
            Request::Read { reign, at, stamps, .. } if outcome == Outcome::Good => {
                self.history.saw(*reign, *at, stamps, promise);
            }
            Request::Read { .. } => (),
        }
    }

    /// SYNCHRONIZE CACHE was answered: synchronously both have it on the medium, else the peer has applied it.
    fn harden(&mut self, reign: usize, volume: usize, issued: Moment, promise: Promise) {
        let now = match promise {
            Promise::Nothing => return,
            Promise::Received => Promise::Applied,
            Promise::Applied | Promise::Durable => Promise::Durable,
        };
        let History { reigns, writes, .. } = &mut self.history;
        for &stamp in &reigns[reign].writes {
            let write = &mut writes[stamp as usize - 1];
            let covered = write.at.volume == volume && write.outcome == Outcome::Good && write.ended < issued;
            if covered && write.promise > Promise::Nothing {
                write.promise = write.promise.max(now);
            }
        }
    }

    fn turn_ends(&mut self, node: usize) {
        let (now, incarnation) = (self.instant(), self.nodes[node].incarnation);
        let process = self.process(node);
        let before = std::mem::replace(&mut process.status, process.replica.status(now));
        let due = process.replica.poll_timeout();
        self.follow_reign(node, &before);
        self.check_one_decision(node);
        let Some(due) = due.map(|due| self.time(due)) else { return };
        // A timeout that stays due must not stop the clock.
        let due = due.max(self.now + TICK);
        let process = self.process(node);
        if process.armed.is_none_or(|armed| due < armed) {
            process.armed = Some(due);
            self.at(due, Event::Timer { node, incarnation });
        }
    }

    fn follow_reign(&mut self, node: usize, before: &crate::replica::status::GroupStatus) {
        let process = self.process(node);
        let (standing, status, reign) = (process.standing, process.status.clone(), process.reign);
        match reign {
            Some(reign) if status.role == Role::Secondary => {
                self.history.end_reign(reign);
                self.process(node).reign = None;
            }
            Some(reign) if self.history.reigns[reign].epoch != status.epoch => {
                self.history.reigns[reign].epoch = status.epoch;
                self.check_epoch(reign);
            }
            _ => (),
        }
        if standing == Standing::Active && self.process(node).reign.is_none() {
            self.begin_reign(node, before);
        }
        self.check_claims(node);
    }
}

fn fingerprint(output: &Output) -> u64 {
    match output {
        Output::Local { io, .. } => 1 << 56 | io.0,
        Output::Send { slot, message } => {
            let word = match message {
                Message::Hello(hello) => 1 << 40 | hello.number,
                Message::Begin(begin) => 2 << 40 | begin.first.0,
                Message::Op(op) => 3 << 40 | op.seq.0,
                Message::Ack(ack) => 4 << 40 | ack.number,
                Message::Position(position) => 5 << 40 | position.acknowledged.0,
                Message::Read(read) => 6 << 40 | read.id,
                Message::ReadDone(done) => 7 << 40 | done.id,
            };
            2 << 56 | u64::from(slot.0) << 48 | word
        }
        Output::Store { write, .. } => 3 << 56 | write.0,
        Output::Spill { frame, .. } => 4 << 56 | frame.seq.0,
        Output::Unspill { seq, .. } => 5 << 56 | seq.0,
        Output::TrimSpill { upto } => 6 << 56 | upto.0,
        Output::Complete { op, result } => 7 << 56 | u64::from(result.is_ok()) << 48 | op.0,
        Output::Marked { .. } => 8 << 56,
        Output::Standing(standing) => 9 << 56 | *standing as u64,
        Output::Answer { id, result } => 10 << 56 | u64::from(result.is_ok()) << 48 | id.0,
        Output::Event(_) => 11 << 56,
        Output::Misbehaved(_) => 12 << 56,
        Output::Map { write, .. } => 13 << 56 | write.0,
        Output::Fetched { op, result } => 14 << 56 | u64::from(result.is_ok()) << 48 | op.0,
        Output::KeepAside(keep) => 15 << 56 | keep.pieces.len() as u64,
        Output::Resynced => 16 << 56,
        Output::BeginAnew => 17 << 56,
    }
}

fn input_text(input: &Input) -> String {
    match input {
        Input::Received { session, message } => format!("received in {session:?} {}", message_text(message)),
        input => format!("{input:?}"),
    }
}

fn output_text(output: &Output) -> String {
    match output {
        Output::Local { io, action: LocalAction::Write { volume, extent, data, .. } } => {
            format!("{io:?} write {volume}:{extent} {:?}", runs(&stamps(data)))
        }
        Output::Send { slot, message } => format!("slot {slot} {}", message_text(message)),
        output => format!("{output:?}"),
    }
}

pub(super) fn message_text(message: &Message) -> String {
    match message {
        Message::Op(frame) => {
            let data = match &frame.op {
                Op::Write { data, .. } => format!("{:?}", runs(&stamps(data))),
                _ => String::new(),
            };
            format!("{frame:?} {data}")
        }
        message => format!("{message:?}"),
    }
}

/// (stamp, blocks)
fn runs(stamps: &[Stamp]) -> Vec<(Stamp, usize)> {
    stamps.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect()
}

/// As the group's timekeeper.
const TICK: u64 = 1000;
