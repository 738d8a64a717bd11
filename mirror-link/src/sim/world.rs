//! What there is, and the clock: events in order of time, then of their making.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use super::Time;
use super::checkers::{Checker, Violation};
use super::history::{History, Outcome};
use super::hosts::Host;
use super::net::{Net, SessionIndex};
use super::node::{Node, Process};
use super::operator::Operator;
use super::rng::Rng;
use super::scenario::{NAMES, Scenario, Trouble};
use super::store::{Maps, Store};
use super::strikes::{Strike, Strikes, Stroke};
use super::trace::Trace;
use crate::config::Mode;
use crate::ids::{Instance, Slot};
use crate::replica::io::{Command, HostOp, KeepAside, Left, LocalIo};
use crate::replica::{Replica, journal};
use crate::wire::datagram::GroupBeat;
use crate::wire::message::{DiskState, Message, Role};

#[derive(Debug)]
pub enum Event {
    /// Look at everything.
    Watch,
    Host(usize),
    /// The device has been read for a host.
    HostRead {
        node: usize,
        incarnation: u32,
        op: HostOp,
    },
    /// The device can't be read: the peer is to be asked.
    HostFetch {
        node: usize,
        incarnation: u32,
        op: HostOp,
    },
    Timer {
        node: usize,
        incarnation: u32,
    },
    Disk {
        node: usize,
        incarnation: u32,
        io: LocalIo,
        fails: bool,
    },
    Record {
        node: usize,
        incarnation: u32,
    },
    Map {
        node: usize,
        incarnation: u32,
    },
    Spill {
        node: usize,
        incarnation: u32,
    },
    /// What a resync overwrites is aside.
    Aside {
        node: usize,
        incarnation: u32,
        keep: Box<KeepAside>,
    },
    Deliver {
        session: SessionIndex,
        slot: Slot,
        number: u32,
        to: usize,
        message: Box<Message>,
    },
    SessionUp {
        session: SessionIndex,
        side: usize,
    },
    SessionDown {
        session: SessionIndex,
        side: usize,
    },
    SlotUp {
        session: SessionIndex,
        slot: Slot,
        number: u32,
        side: usize,
    },
    SlotDown {
        session: SessionIndex,
        slot: Slot,
        number: u32,
        side: usize,
    },
    /// Another connection in that slot.
    SlotAgain {
        session: SessionIndex,
        slot: Slot,
        number: u32,
    },
    /// A node's heartbeat is due.
    Beat(usize),
    Heard {
        to: usize,
        /// Of the process that says it.
        incarnation: u32,
        peer: Instance,
        beat: GroupBeat,
    },
    PeerIsSlow {
        session: SessionIndex,
        side: usize,
        slow: bool,
    },
    Dial,
    /// The detector of `side` finds the line dead if it was cut then and still is.
    Detect {
        side: usize,
        cut_since: Time,
    },
    Heal,
    Start(usize),
    /// The process was told to end, and has its answer.
    Exit {
        node: usize,
        incarnation: u32,
    },
    Command {
        node: usize,
        command: Command,
    },
    Trouble,
    /// Some output to come is one at which its node dies.
    Arm,
    /// The operator compares.
    Compare,
    Follows(Trouble),
    RestIsOver,
}

#[derive(Debug)]
struct Scheduled {
    at: Time,
    number: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Scheduled) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Scheduled) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Scheduled) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Hosts work, troubles come.
    Trouble,
    /// Hosts rest until all is quiet; then troubles go on.
    Rest {
        since: Time,
    },
    /// No trouble comes any more, what is broken is mended; hosts work a little.
    Healing {
        since: Time,
    },
    /// Hosts rest; all is to become quiet and alike.
    Settling {
        /// Since when the owner has not been less ahead than ever before.
        since: Time,
        least: u64,
    },
    /// The copies were made to differ without anybody's having written: a verify is to find where.
    Silent {
        since: Time,
    },
    Over,
}

/// How things stood when the present virtual second began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    pub turns: u64,
    pub answered: u64,
    pub since: Time,
}

/// How a run ended.
#[derive(Debug)]
pub struct Report {
    pub violation: Option<Violation>,
    /// One number for all that happened.
    pub fingerprint: u64,
    /// Empty unless asked for.
    pub trace: Vec<String>,
    /// Inputs handed over together, outputs, hosts' requests answered, reigns.
    pub turns: u64,
    pub outputs: u64,
    pub answered: u64,
    pub reigns: usize,
    /// At which outputs nodes died.
    pub struck: Vec<Stroke>,
    /// By node: outputs while troubles came, and which of them were the last of their turn.
    pub outputs_of: [u64; 2],
    pub last_of_turns: [Vec<u64>; 2],
    /// Virtual.
    pub took: Duration,
}

#[derive(Debug)]
pub struct World {
    base: Instant,
    pub(super) now: Time,
    heap: BinaryHeap<Reverse<Scheduled>>,
    number: u64,
    pub(super) rng: Rng,
    /// Heartbeats have their own chance: a seed is what it was without them.
    pub(super) beats: Rng,
    /// Comparing has, too.
    pub(super) compares: Rng,
    pub(super) strikes: Strikes,
    pub(super) scenario: Scenario,
    pub(super) nodes: [Node; 2],
    pub(super) net: Net,
    pub(super) hosts: Vec<Host>,
    pub(super) operator: Operator,
    pub(super) history: History,
    pub(super) trace: Trace,
    pub(super) phase: Phase,
    pub(super) violation: Option<Violation>,
    /// Where the copies were made to differ: volume, first block, blocks.
    pub(super) silent: Vec<(usize, u64, u64)>,
    pub(super) turns: u64,
    pub(super) outputs: u64,
    pub(super) answered: u64,
    pub(super) pace: Pace,
}

impl World {
    /// `base`: the instant at which virtual time begins. `text`: keep what happened as text.
    pub fn new(scenario: Scenario, rng: Rng, base: Instant, text: bool) -> World {
        let nodes = [(), ()].map(|()| Node::new(&scenario.volumes, scenario.region()));
        let hosts = scenario.hosts.iter().map(|&habits| Host::new(habits)).collect();
        let mut world = World {
            base,
            now: 0,
            heap: BinaryHeap::new(),
            number: 0,
            beats: Rng::new(rng.clone().draw()),
            compares: Rng::new(!rng.clone().draw()),
            strikes: Strikes::new(Rng::new(rng.clone().draw().rotate_left(32))),
            rng,
            nodes,
            net: Net::default(),
            hosts,
            operator: Operator::default(),
            history: History::default(),
            trace: Trace::new(text),
            phase: Phase::Trouble,
            violation: None,
            silent: Vec::new(),
            turns: 0,
            outputs: 0,
            answered: 0,
            pace: Pace::default(),
            scenario,
        };
        world.note(&[], |world| format!("{:#?}", world.scenario));
        for node in 0..2 {
            let after = world.rng.skewed(0, 200_000);
            world.after(after, Event::Start(node));
            world.after(after, Event::Beat(node));
        }
        world.set_out_hosts();
        world.after(WATCH, Event::Watch);
        world.next_trouble();
        world.next_comparison();
        world
    }

    /// Play one seed.
    pub fn play(seed: u64, faults: &[crate::replica::planted::Fault], base: Instant, text: bool) -> Report {
        let mut rng = Rng::new(seed);
        let scenario = Scenario { faults: faults.to_vec(), ..Scenario::draw(&mut rng) };
        let mut world = World::new(scenario, rng, base, text);
        world.may_strike();
        world.run()
    }

    /// Play one seed, and in the end change blocks of one copy beneath everything: a verify finds these, and no others.
    pub fn play_silent(seed: u64, base: Instant, text: bool) -> Report {
        let mut rng = Rng::new(seed);
        let scenario = Scenario { silent: true, disk_fails: 0, store_fails: 0, ..Scenario::draw(&mut rng) };
        World::new(scenario, rng, base, text).run()
    }

    /// Play a short scenario; with a death at one output, where one is given.
    pub fn play_short(
        seed: u64,
        strike: Option<Strike>,
        faults: &[crate::replica::planted::Fault],
        base: Instant,
        text: bool,
    ) -> Report {
        let mut rng = Rng::new(seed);
        let scenario = Scenario { faults: faults.to_vec(), ..Scenario::short(&mut rng, seed) };
        let mut world = World::new(scenario, rng, base, text);
        if let Some(strike) = strike {
            world.arm_with(strike);
        }
        world.run()
    }

    pub fn run(mut self) -> Report {
        while self.violation.is_none() && self.phase != Phase::Over {
            self.step();
        }
        Report {
            violation: self.violation,
            fingerprint: self.trace.hash(),
            turns: self.turns,
            outputs: self.outputs,
            answered: self.answered,
            reigns: self.history.reigns.len(),
            struck: self.strikes.struck,
            outputs_of: self.strikes.outputs,
            last_of_turns: self.strikes.last,
            took: Duration::from_micros(self.now),
            trace: self.trace.into_lines(),
        }
    }

    pub(super) fn step(&mut self) {
        let Reverse(next) = self.heap.pop().expect("the watch never ends");
        self.now = next.at;
        match next.event {
            Event::Watch => self.watch(),
            Event::Host(host) => self.host_works(host),
            Event::HostRead { node, incarnation, op } => self.of(node, incarnation, |w| w.host_has_read(node, op)),
            Event::HostFetch { node, incarnation, op } => self.of(node, incarnation, |w| w.host_fetches(node, op)),
            Event::Timer { node, incarnation } => self.of(node, incarnation, |w| w.timer(node)),
            Event::Disk { node, incarnation, io, fails } => {
                self.of(node, incarnation, |w| w.disk_ends(node, io, fails))
            }
            Event::Record { node, incarnation } => self.of(node, incarnation, |w| w.record_ends(node)),
            Event::Map { node, incarnation } => self.of(node, incarnation, |w| w.map_ends(node)),
            Event::Spill { node, incarnation } => self.of(node, incarnation, |w| w.spill_ends(node)),
            Event::Aside { node, incarnation, keep } => self.of(node, incarnation, |w| w.is_aside(node, &keep)),
            Event::Deliver { session, slot, number, to, message } => self.deliver(session, slot, number, to, *message),
            Event::SessionUp { session, side } => self.session_up(session, side),
            Event::SessionDown { session, side } => self.session_down(session, side),
            Event::SlotUp { session, slot, number, side } => self.slot_up(session, slot, number, side),
            Event::SlotDown { session, slot, number, side } => self.slot_down(session, slot, number, side),
            Event::SlotAgain { session, slot, number } => self.slot_again(session, slot, number),
            Event::PeerIsSlow { session, side, slow } => self.peer_is_slow(session, side, slow),
            Event::Beat(node) => self.beat(node),
            Event::Heard { to, incarnation, peer, beat } => self.heard(to, incarnation, peer, beat),
            Event::Dial => self.dial(),
            Event::Detect { side, cut_since } => self.detect(side, cut_since),
            Event::Heal => self.heal(),
            Event::Start(node) => self.start(node),
            Event::Exit { node, incarnation } => self.of(node, incarnation, |w| w.die(node, false)),
            Event::Command { node, command } => self.command(node, command),
            Event::Trouble => self.trouble(),
            Event::Arm => self.arm(),
            Event::Compare => self.compare(),
            Event::Follows(trouble) => self.follows(trouble),
            Event::RestIsOver => self.rest_is_over(),
        }
    }

    /// Only while that process lives.
    fn of(&mut self, node: usize, incarnation: u32, act: impl FnOnce(&mut World)) {
        if self.nodes[node].process.is_some() && self.nodes[node].incarnation == incarnation {
            act(self);
        }
    }

    pub(super) fn after(&mut self, delay: Time, event: Event) {
        self.at(self.now + delay, event);
    }

    pub(super) fn at(&mut self, at: Time, event: Event) {
        self.number += 1;
        self.heap.push(Reverse(Scheduled { at: at.max(self.now), number: self.number, event }));
    }

    pub(super) fn instant(&self) -> Instant {
        self.base + Duration::from_micros(self.now)
    }

    /// The first virtual microsecond at which that instant has come.
    pub(super) fn time(&self, instant: Instant) -> Time {
        instant.saturating_duration_since(self.base).as_nanos().div_ceil(1000) as Time
    }

    pub(super) fn note(&mut self, words: &[u64], text: impl FnOnce(&World) -> String) {
        let mut trace = std::mem::replace(&mut self.trace, Trace::new(false));
        trace.note(self.now, words, || text(self));
        self.trace = trace;
    }

    pub(super) fn violate(&mut self, checker: Checker, text: String) {
        self.note(&[], |_| format!("VIOLATION {checker:?}: {text}"));
        self.violation.get_or_insert(Violation { checker, text });
    }

    /// A node's process starts with what its last one left.
    pub(super) fn start(&mut self, node: usize) {
        if self.nodes[node].process.is_some() {
            return;
        }
        let (instance, seed) = (Instance(self.rng.draw()), self.rng.draw());
        self.note(&[1, node as u64], |world| {
            format!("{} starts, instance {:x}, with {:?}", NAMES[node], instance.0, world.nodes[node].store.durable)
        });
        let (now, config) = (self.instant(), self.scenario.group(node));
        let record = self.nodes[node].store.durable.clone();
        if record.is_none() {
            self.nodes[node].maps = Maps::new(&self.scenario.volumes, self.scenario.region());
        }
        let at = &self.nodes[node];
        let (map, has_cache) = (at.maps.durable.clone(), !at.store.is_of_former_boot);
        let reigned = record.as_ref().filter(|record| record.role == Role::Primary).map(|record| record.epoch);
        let writes_max = journal::writes_max(config.queue.memory);
        let journal = self.nodes[node].journal.open(reigned.filter(|_| config.queue.spill > 0), writes_max);
        let left = record.map(|record| Left { record, map, journal, has_cache });
        let mut replica = Replica::new(config, NAMES[node].into(), instance, seed, left, now);
        self.scenario.faults.iter().for_each(|&fault| replica.plant(fault));
        replica.spread_from(self.scenario.spread);
        let at = &mut self.nodes[node];
        at.incarnation += 1;
        (at.rival, at.is_overruled) = (None, false);
        at.process = Some(Process::new(replica, instance, now));
        self.turn(node, Vec::new());
        self.connect();
    }

    /// A node's process ends, its machine with it where `power`.
    pub(super) fn die(&mut self, node: usize, power: bool) {
        let Some(process) = self.nodes[node].process.take() else { return };
        self.note(&[2, node as u64, power.into()], |_| {
            format!("{} dies{}", NAMES[node], if power { ", power fails" } else { "" })
        });
        for open in process.open.into_values() {
            self.close(&open, Outcome::Lost, super::history::Promise::Nothing);
            self.host_lost(open.host);
        }
        if let Some(reign) = process.reign {
            self.history.end_reign(reign);
        }
        let replaced = self.rng.coin();
        let restarted = self.history.moment();
        let at = &mut self.nodes[node];
        let has_failed = |store: &Store| store.durable.as_ref().is_some_and(|record| record.disk == DiskState::Failed);
        let was_failed = has_failed(&at.store);
        at.store.dies(replaced);
        if !was_failed && has_failed(&at.store) {
            // Its last turn may not have ended, so that nobody saw it say so: the next process believes nothing on it.
            at.failed = restarted;
        }
        at.maps.dies(&mut self.rng);
        at.journal.dies(power, &mut self.rng);
        at.restarted = restarted;
        at.left_alone =
            at.store.durable.as_ref().is_some_and(|record| record.peer_outdated || record.mode == Mode::Async);
        at.store.is_of_former_boot |= power;
        match power {
            true => at.disk.power_fails(&mut self.rng),
            false => at.disk.process_dies(&mut self.rng),
        }
        if power {
            at.lost_power = restarted;
        }
        // Repaired, or it fails the next process too.
        if at.disk.broken > 0 && self.rng.coin() {
            at.disk.broken = 0;
        }
        self.peer_died(node, power);
    }
}

/// Between two looks at everything.
pub(super) const WATCH: Time = 50_000;
