//! What one seed plays: the pair's configuration, how its parts behave, and which troubles come. Each seed leaves some
//! troubles out, so that those that remain come thick.

use std::time::Duration;

use super::rng::Rng;
use super::{Time, disk};
use crate::config::{AsideBounds, GroupConfig, MapBounds, Mode, OnLinkLoss, Policy, QueueBounds, VolumeSpec};
use crate::extent::BlockCount;
use crate::replica::planted::Fault;
use crate::wire::message::Role;

/// What can go wrong, and what an operator can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// One connection ends; what is under way on it is lost in part.
    KillSlot,
    /// One connection carries nothing for a while.
    StallSlot,
    /// Nothing passes, or nothing in one direction, until it heals.
    CutLine,
    /// Both ends see the connections reset.
    Reset,
    /// Everything takes long, heartbeats do not.
    SlowPeer,
    RestartOwner,
    RestartReplica,
    /// Either machine or both lose power, and what their disks had not flushed.
    PowerLoss,
    /// The owner dies or is cut off; the other is promoted; later they meet again.
    Failover,
    /// Connections fall silent, and the owner is lost before it is noticed.
    Fading,
    /// The other is promoted while the owner is merely out of reach.
    MistakenPromotion,
    /// Demote here, promote there.
    Switchover,
    ChangeMode,
    ChangePolicy,
    Pause,
    /// Hosts rest until all is quiet, then both copies are compared.
    Rest,
    /// A node's disk fails, once or for good. Only where a scenario is about that.
    BreakDisk,
    /// The line is cut, the owner lost before it heals. Only where a scenario is about that.
    CutAndRestart,
}

const TROUBLES: &[Trouble] = &[
    Trouble::KillSlot,
    Trouble::StallSlot,
    Trouble::CutLine,
    Trouble::Reset,
    Trouble::SlowPeer,
    Trouble::RestartOwner,
    Trouble::RestartReplica,
    Trouble::PowerLoss,
    Trouble::Failover,
    Trouble::Fading,
    Trouble::MistakenPromotion,
    Trouble::Switchover,
    Trouble::ChangeMode,
    Trouble::ChangePolicy,
    Trouble::Pause,
    Trouble::Rest,
];

/// Of the short scenarios, one each.
const SHORT_TROUBLES: [Option<Trouble>; 12] = [
    None,
    Some(Trouble::Switchover),
    Some(Trouble::CutLine),
    Some(Trouble::Failover),
    Some(Trouble::KillSlot),
    Some(Trouble::RestartReplica),
    Some(Trouble::MistakenPromotion),
    Some(Trouble::BreakDisk),
    Some(Trouble::RestartOwner),
    Some(Trouble::PowerLoss),
    Some(Trouble::Reset),
    Some(Trouble::ChangeMode),
];

/// How long something takes: `low` to `high`, small values mostly.
#[derive(Clone, Copy, Debug)]
pub struct Delay {
    pub low: Time,
    pub high: Time,
}

impl Delay {
    pub fn draw(self, rng: &mut Rng) -> Time {
        rng.skewed(self.low, self.high)
    }
}

#[derive(Clone, Debug)]
pub struct Scenario {
    pub volumes: Vec<u64>,
    pub policy: Policy,
    pub queue: QueueBounds,
    pub map: MapBounds,
    pub slots: u8,
    /// Bytes under way on a slot from which on others are taken.
    pub spread: u64,
    pub line: Delay,
    /// T1: silence for so long is a dead link.
    pub detection: Time,
    pub reconnect: Delay,
    pub disk: [Delay; 2],
    /// A local action that ends at once, per mille.
    pub disk_at_once: u64,
    /// A replica's local write that fails, per mille.
    pub disk_fails: u64,
    pub store: Delay,
    pub store_fails: u64,
    pub hosts: Vec<Habits>,
    pub troubles: Vec<Trouble>,
    pub trouble_every: Delay,
    /// Between two commands of an operator who compares the copies, or has resyncs compare.
    pub compare_every: Option<Delay>,
    /// At the end some blocks of the replica become others, and a verify is to find them.
    pub silent: bool,
    pub length: Time,
    /// Hosts work for so long after everything is mended.
    pub life: Time,
    /// Planted on both nodes.
    pub faults: Vec<Fault>,
}

/// How a host works.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// Requests at a time.
    pub depth: usize,
    /// All of a batch are issued together, and the next when all are answered.
    pub batches: bool,
    pub think: Delay,
    /// Writes lie here mostly, blocks.
    pub hot: u64,
    pub longest: u64,
    /// Per mille.
    pub reads: u64,
    pub flushes: u64,
    pub zeroes: u64,
    pub durable: u64,
    pub marks: u64,
}

impl Scenario {
    pub fn draw(rng: &mut Rng) -> Scenario {
        // Of a chance of its own: a seed that compares nothing is what it was.
        let mut compares = Rng::new(!rng.clone().draw());
        let compare_every = compares.coin().then(|| Delay { low: 20_000, high: compares.pick(&[300_000, 2_000_000]) });
        let share = rng.between(200, 800);
        let mut troubles: Vec<Trouble> = TROUBLES.iter().copied().filter(|_| rng.permille(share)).collect();
        if troubles.is_empty() {
            troubles.push(rng.pick(TROUBLES));
        }
        let slow = [1_000, 10_000, 100_000];
        let host_count = rng.between(1, 3);
        let mut scenario = Scenario {
            volumes: (0..rng.between(1, 2)).map(|_| rng.pick(&[96, 300, 500])).collect(),
            policy: draw_policy(rng),
            queue: draw_queue(rng),
            map: MapBounds { piece_bytes: rng.pick(&[512, 1024, 4096]), hot_max: rng.pick(&[1, 3, 100]) },
            slots: rng.between(1, 4) as u8,
            // As it is it takes more than hosts here ever have under way.
            spread: rng.pick(&[1, 2_000, 256 << 10]),
            line: Delay { low: 50, high: rng.pick(&slow) },
            detection: rng.between(300, 1500) * 1000,
            reconnect: Delay { low: 1000, high: rng.pick(&[20_000, 300_000, 2_000_000]) },
            disk: [(), ()].map(|()| Delay { low: 20, high: rng.pick(&slow) }),
            disk_at_once: rng.pick(&[0, 300, 900]),
            disk_fails: if rng.permille(50) { 3 } else { 0 },
            store: Delay { low: 200, high: rng.pick(&slow) },
            store_fails: if rng.permille(100) { 100 } else { 0 },
            hosts: (0..host_count).map(|_| Habits::draw(rng)).collect(),
            troubles,
            trouble_every: Delay { low: 1000, high: rng.pick(&[100_000, 500_000, 2_000_000]) },
            compare_every,
            silent: false,
            length: rng.between(1, 5) * 1_000_000,
            life: LIFE,
            faults: Vec::new(),
        };
        if rng.permille(100) {
            scenario.spread_thin(rng);
        } else if rng.permille(100) {
            scenario.lose_caches(rng);
        }
        // By dice of its own: the other seeds are what they were without it.
        let mut dice = Rng::new(rng.clone().draw() ^ 0xD15C);
        if dice.permille(150) {
            scenario.break_disks(&mut dice);
        } else if dice.permille(150) {
            scenario.die_of_disks();
        } else if dice.permille(80) {
            scenario.replay_journals(&mut dice);
        }
        scenario
    }

    /// A few hundred outputs on either node, and what one kind of trouble makes of them.
    pub fn short(rng: &mut Rng, nth: u64) -> Scenario {
        let mut scenario = Scenario::draw(rng);
        let trouble = SHORT_TROUBLES[(nth % SHORT_TROUBLES.len() as u64) as usize];
        scenario.volumes = vec![96];
        scenario.troubles = trouble.into_iter().collect();
        scenario.trouble_every = Delay { low: 30_000, high: 80_000 };
        scenario.compare_every = (nth % 4 == 1).then_some(Delay { low: 20_000, high: 60_000 });
        (scenario.length, scenario.life, scenario.detection) = (120_000, 20_000, 300_000);
        (scenario.line.high, scenario.reconnect.high) = (1_000, 10_000);
        scenario.store = Delay { low: 200, high: 5_000 };
        scenario.disk = [Delay { low: 20, high: 2_000 }; 2];
        (scenario.disk_fails, scenario.store_fails) = (0, 0);
        scenario.hosts.truncate(1);
        for habits in &mut scenario.hosts {
            habits.depth = habits.depth.min(2);
            habits.think = Delay { low: 2_000, high: 20_000 };
        }
        scenario
    }

    /// Much under way on many slots, ahead of what is acknowledged, when the owner is lost.
    fn spread_thin(&mut self, rng: &mut Rng) {
        self.policy.mode = Mode::Async;
        (self.slots, self.spread) = (rng.between(2, 4) as u8, 1);
        self.troubles = vec![Trouble::Fading, Trouble::Failover, Trouble::StallSlot];
        // Between two of them the pair is one again.
        self.trouble_every = Delay { low: 300_000, high: 2_000_000 };
        self.reconnect.high = 20_000;
        self.length = 3_000_000;
        self.queue = QueueBounds { memory: 1 << 20, spill: 0, window_bytes: 1 << 20, window_writes: 1024 };
        for habits in &mut self.hosts {
            habits.depth = habits.depth.max(4);
            habits.think.high = 20_000;
        }
    }

    /// Machines that go down one after the other, and hosts that never flush.
    fn lose_caches(&mut self, rng: &mut Rng) {
        self.policy.mode = rng.pick(&[Mode::Sync, Mode::Sync, Mode::Memsync]);
        self.policy.wait_for_peer = Duration::from_secs(5);
        self.troubles = vec![Trouble::PowerLoss, Trouble::Failover];
        self.trouble_every = Delay { low: 20_000, high: 500_000 };
        self.detection = 300_000;
        self.reconnect.high = 20_000;
        self.length = 4_000_000;
        self.map.piece_bytes = 512;
        (self.store_fails, self.disk_fails) = (0, 0);
        for habits in &mut self.hosts {
            (habits.flushes, habits.durable) = (0, 0);
            habits.think.high = 20_000;
        }
    }

    /// Disks that fail, above all the owner's, and hosts that read.
    fn break_disks(&mut self, dice: &mut Rng) {
        if dice.coin() {
            self.troubles = vec![Trouble::KillSlot, Trouble::CutLine, Trouble::RestartOwner, Trouble::Failover];
            self.troubles.truncate(dice.between(1, 4) as usize);
            self.trouble_every = Delay { low: 20_000, high: 500_000 };
            self.length = 4_000_000;
        }
        // The pair is one most of the time.
        self.reconnect.high = 20_000;
        self.line.high = self.line.high.min(10_000);
        for _ in 0..=self.troubles.len() / 2 {
            self.troubles.push(Trouble::BreakDisk);
        }
        if dice.coin() {
            self.store = Delay { low: 20_000, high: 100_000 };
        }
        for habits in &mut self.hosts {
            habits.reads = 400;
            habits.think.high = 20_000;
        }
    }

    /// An owner that dies upon the failure of its disk, before that can be on record.
    fn die_of_disks(&mut self) {
        self.policy.mode = Mode::Sync;
        self.troubles = vec![Trouble::BreakDisk];
        // Between two of them the pair is one again.
        self.trouble_every = Delay { low: 300_000, high: 1_200_000 };
        self.store = Delay { low: 20_000, high: 100_000 };
        (self.line.high, self.reconnect.high) = (1_000, 20_000);
        (self.disk_fails, self.store_fails) = (0, 0);
        self.length = 1_500_000;
        for habits in &mut self.hosts {
            (habits.reads, habits.think.high) = (100, 5_000);
        }
    }

    /// Owners that die while the peer is away, and what their journals have of it, on many slots that are cut again.
    fn replay_journals(&mut self, dice: &mut Rng) {
        self.policy.mode = Mode::Async;
        (self.slots, self.spread) = (dice.between(2, 4) as u8, 1);
        self.queue = QueueBounds { memory: 1 << 20, spill: 4 << 20, window_bytes: 1 << 20, window_writes: 1024 };
        self.troubles = vec![Trouble::CutAndRestart, Trouble::CutAndRestart, Trouble::CutLine, Trouble::KillSlot];
        // Between two of them the journal has been sent, as often as not.
        self.trouble_every = Delay { low: 300_000, high: 2_000_000 };
        self.reconnect.high = 20_000;
        self.line.high = self.line.high.max(10_000);
        self.detection = 300_000;
        self.length = 4_000_000;
        (self.store_fails, self.disk_fails) = (0, 0);
        for habits in &mut self.hosts {
            habits.think.high = 20_000;
            (habits.hot, habits.flushes) = (4, 0);
        }
    }

    /// Blocks in a region of the map.
    pub fn region(&self) -> u64 {
        64 * self.map.piece_bytes / u64::from(disk::BLOCK.bytes())
    }

    pub fn group(&self, node: usize) -> GroupConfig {
        let volumes = self.volumes.iter().enumerate().map(|(at, &blocks)| VolumeSpec {
            name: format!("v{at}").into(),
            block_length: disk::BLOCK,
            capacity: BlockCount(blocks),
        });
        GroupConfig {
            name: "group".into(),
            peer: NAMES[1 - node].into(),
            volumes: volumes.collect(),
            first_role: [Role::Primary, Role::Secondary][node],
            policy: self.policy,
            queue: self.queue,
            map: self.map,
            scrub: None,
            initial_sync: Default::default(),
            aside: AsideBounds { undo_max: 1 << 30, undo_keep: Duration::from_secs(604_800), snapshot: true },
            lease: Duration::from_micros(self.detection),
        }
    }
}

impl Habits {
    fn draw(rng: &mut Rng) -> Habits {
        let often = |rng: &mut Rng, most: u64| if rng.coin() { rng.between(0, most) } else { 0 };
        Habits {
            depth: rng.pick(&[1, 1, 2, 4, 8]),
            batches: rng.permille(300),
            think: Delay { low: 500, high: rng.pick(&[2_000, 20_000, 200_000]) },
            hot: rng.pick(&[4, 16, 64]),
            longest: rng.pick(&[1, 4, 16]),
            reads: often(rng, 300),
            flushes: often(rng, 60),
            zeroes: often(rng, 200),
            durable: often(rng, 100),
            marks: often(rng, 60),
        }
    }
}

fn draw_policy(rng: &mut Rng) -> Policy {
    let mut policy = Policy {
        mode: rng.pick(&[Mode::Async, Mode::Memsync, Mode::Sync, Mode::Sync]),
        on_link_loss: rng.pick(&[OnLinkLoss::Degrade, OnLinkLoss::Degrade, OnLinkLoss::Hold]),
        max_stall: Duration::from_millis(rng.between(100, 3000)),
        wait_for_peer: Duration::from_millis(rng.between(100, 5000)),
        host_latency: None,
        on_journal_full: Default::default(),
        on_split_brain: Default::default(),
    };
    // Not drawn: seeds keep their meaning.
    let stall = policy.max_stall;
    policy.host_latency = stall.as_millis().is_multiple_of(3).then(|| stall / 200);
    policy
}

fn draw_queue(rng: &mut Rng) -> QueueBounds {
    let kib = |rng: &mut Rng, sizes: &[u64]| rng.pick(sizes) << 10;
    QueueBounds {
        memory: kib(rng, &[8, 32, 1024]),
        spill: kib(rng, &[0, 16, 256, 4096]),
        window_bytes: kib(rng, &[4, 32, 1024]),
        window_writes: rng.pick(&[2, 8, 64, 1024]),
    }
}

/// Of the nodes, the lesser first.
pub const NAMES: [&str; 2] = ["alpha", "beta"];

/// As long as that, after everything is mended.
const LIFE: Time = 500_000;
