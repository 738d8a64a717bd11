//! All small schedules: two nodes, two slots, three writes; every order in which frames and acknowledgements arrive on
//! different slots and local writes end; a slot lost and the line cut at every point, the replica promoted at every point
//! after.
//!
//! ```text
//!   together ── deliver, end a local write, lose a slot ──► at rest: both alike
//!      └─ cut ─► apart ── end a local write of the replica ──► promoted ─► late frames ─► healed, the loser gives way: alike
//!                  └───────────────────────────────────────► healed ─► at rest: both alike
//! ```
//!
//! A state that was seen before is not gone on from: what follows from it has been tried. What the owner does after a cut is
//! always the same, for the replica hears no more of it.

mod pair;

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use self::pair::{Pair, SLOTS};
use super::checkers::{Checker, Violation, closed_under_some};
use super::choices::Choices;
use super::disk::{BLOCK, Place, Stamp};
use super::history::{Outcome, Promise};
use super::scenario::NAMES;
use crate::config::{GroupConfig, Mode, OnLinkLoss, Policy, QueueBounds, VolumeSpec};
use crate::extent::BlockCount;
use crate::replica::io::Command;
use crate::replica::planted::Fault;
use crate::replica::status::LinkState;
use crate::wire::message::{Message, Role};

/// What the hosts do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub mode: Mode,
    /// Of each write: which one's answer its host waits for before it issues it.
    pub after: [Option<usize>; WRITES],
    /// Of each write: its first block, and how many.
    pub at: [(usize, usize); WRITES],
}

const WRITES: usize = 3;

/// What came of a plan.
#[derive(Debug)]
pub struct Explored {
    pub schedules: u64,
    pub states: usize,
    /// With the steps that led to it.
    pub violation: Option<(Violation, String)>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Deliver {
        to: usize,
        slot: usize,
    },
    /// The nth local write that is under way there ends.
    Done {
        node: usize,
        at: usize,
    },
    /// The owner finds that slot lost; what it sent may still arrive.
    LoseSlot(usize),
    /// The replica finds it lost too.
    SlotIsLost,
    Cut,
    Rest,
    Promote,
    /// The nodes meet again; of each slot, first what the former session still had under way.
    Meet(Late),
}

/// The order in which frames of a former session arrive.
#[derive(Clone, Copy, Debug)]
enum Late {
    Lost,
    ByFirstSlot,
    ByLastSlot,
}

impl Plan {
    /// Modes × dependences × overlaps.
    pub fn all() -> Vec<Plan> {
        let modes = [Mode::Async, Mode::Memsync, Mode::Sync];
        let afters = [
            [None, None, None],
            [None, None, Some(0)],
            [None, None, Some(1)],
            [None, Some(0), Some(0)],
            [None, Some(0), Some(1)],
        ];
        let places =
            [[(0, 1), (1, 1), (2, 1)], [(0, 1), (0, 1), (0, 1)], [(0, 1), (0, 2), (1, 1)], [(0, 1), (1, 1), (0, 2)]];
        let plans = modes.into_iter().flat_map(|mode| afters.map(|after| (mode, after)));
        plans.flat_map(|(mode, after)| places.map(|at| Plan { mode, after, at })).collect()
    }

    fn configs(&self) -> [GroupConfig; 2] {
        [0, 1].map(|node| GroupConfig {
            name: "group".into(),
            peer: NAMES[1 - node].into(),
            volumes: vec![VolumeSpec { name: "v0".into(), block_length: BLOCK, capacity: BlockCount(BLOCKS) }],
            first_role: [Role::Primary, Role::Secondary][node],
            policy: Policy {
                mode: self.mode,
                on_link_loss: OnLinkLoss::Degrade,
                max_stall: Duration::from_secs(3),
                wait_for_peer: Duration::from_secs(3),
            },
            queue: QueueBounds { memory: 1 << 20, spill: 0, window_bytes: 1 << 20, window_writes: 64 },
        })
    }
}

/// Every schedule of the plan, until one goes wrong.
pub fn explore(plan: Plan, faults: &[Fault], base: Instant) -> Explored {
    let (mut choices, mut seen, mut schedules) = (Choices::default(), BTreeSet::new(), 0);
    loop {
        let pair = Pair::new(plan.configs(), faults, base);
        let mut run =
            Run { pair, plan, choices: &mut choices, seen: &mut seen, issued: 0, lost: None, steps: Vec::new() };
        run.begin();
        let ended = run.together();
        schedules += u64::from(ended.is_some());
        let (violation, steps) = (run.pair.violation.take(), format!("{plan:?}: {:?}", run.steps));
        let violation = violation.map(|violation| (violation, steps));
        if violation.is_some() || !choices.begin_next() {
            return Explored { schedules, states: seen.len(), violation };
        }
    }
}

struct Run<'a> {
    pair: Pair,
    plan: Plan,
    choices: &'a mut Choices,
    seen: &'a mut BTreeSet<u64>,
    issued: usize,
    /// The slot that the owner has lost, and that the replica does not know of it.
    lost: Option<(usize, bool)>,
    steps: Vec<Step>,
}

/// The run was ended, by a violation or by its schedule's end; `None` instead: from here on all has been tried.
struct Ended;

impl Run<'_> {
    /// The replica becomes a copy of the owner.
    fn begin(&mut self) {
        self.pair.connect();
        self.settle();
        assert_eq!(self.pair.together(), Some(OWNER), "the pair is one: {:?}", self.pair.status(OWNER));
    }

    /// Chance has it: one of these.
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.choices.pick(from.len())]
    }

    fn is_known(&mut self, phase: u64) -> bool {
        // A violation ends the run before anybody asks.
        self.choices.is_new() && !self.seen.insert(self.pair.key() ^ phase)
    }

    fn step(&mut self, from: &[Step]) -> Step {
        let step = self.pick(from);
        self.steps.push(step);
        step
    }

    fn together(&mut self) -> Option<Ended> {
        loop {
            self.issue();
            self.check_closed();
            if self.pair.violation.is_some() {
                return Some(Ended);
            }
            let lost = match self.lost {
                None => 0,
                Some((slot, untold)) => 2 + 2 * slot as u64 + u64::from(untold),
            };
            if self.is_known(lost) {
                return None;
            }
            let step = self.steps_together();
            match self.step(&step) {
                Step::Deliver { to, slot } => self.pair.deliver(to, slot),
                Step::Done { node, at } => self.pair.done(node, at),
                Step::LoseSlot(slot) => {
                    self.lost = Some((slot, true));
                    self.pair.slot_down(OWNER, slot);
                }
                Step::SlotIsLost => {
                    let (slot, _) = self.lost.expect("the owner has lost one");
                    self.lost = Some((slot, false));
                    self.pair.slot_down(REPLICA, slot);
                }
                Step::Cut => return self.apart(),
                Step::Rest => {
                    self.check_rest();
                    return Some(Ended);
                }
                Step::Promote | Step::Meet(_) => unreachable!("only apart"),
            }
        }
    }

    fn steps_together(&self) -> Vec<Step> {
        let mut steps = self.steps_of(OWNER);
        steps.extend(self.steps_of(REPLICA));
        for (to, slot) in [(OWNER, 0), (OWNER, 1), (REPLICA, 0), (REPLICA, 1)] {
            if !self.pair.wires[to][slot].is_empty() {
                steps.push(Step::Deliver { to, slot });
            }
        }
        match self.lost {
            None if steps.is_empty() => (),
            None => steps.extend((0..SLOTS).map(Step::LoseSlot)),
            Some((_, true)) => steps.push(Step::SlotIsLost),
            Some((_, false)) => (),
        }
        let is_over = steps.is_empty();
        steps.push(Step::Cut);
        if is_over {
            steps.push(Step::Rest);
        }
        steps
    }

    fn steps_of(&self, node: usize) -> Vec<Step> {
        (0..self.pair.nodes[node].running.len()).map(|at| Step::Done { node, at }).collect()
    }

    /// Hosts ask as soon as they may.
    fn issue(&mut self) {
        while self.issued < WRITES {
            let is_due = self.plan.after[self.issued].is_none_or(|before| {
                before < self.issued && self.pair.history.write(before as Stamp + 1).outcome == Outcome::Good
            });
            if !is_due {
                return;
            }
            let (lba, blocks) = self.plan.at[self.issued];
            self.pair.write(OWNER, Place { volume: 0, lba, blocks });
            self.issued += 1;
        }
    }

    fn apart(&mut self) -> Option<Ended> {
        // Nothing comes back to the owner.
        self.pair.wires[OWNER].iter_mut().for_each(VecDeque::clear);
        self.pair.finish(OWNER);
        self.pair.session_down(OWNER);
        self.pair.session_down(REPLICA);
        let mut promoted = false;
        loop {
            self.check_closed();
            if self.pair.violation.is_some() {
                return Some(Ended);
            }
            if self.pair.nodes[REPLICA].reign.is_some() {
                self.check_promises();
                let late = self.pick(&[Late::Lost, Late::ByFirstSlot, Late::ByLastSlot]);
                self.steps.push(Step::Meet(late));
                self.rule(late);
                return Some(Ended);
            }
            if self.is_known(10 + u64::from(promoted)) {
                return None;
            }
            let mut steps = self.steps_of(REPLICA);
            if !promoted {
                steps.extend([Step::Promote, Step::Meet(Late::Lost), Step::Meet(Late::ByFirstSlot)]);
            }
            if steps.is_empty() {
                let status = self.pair.status(REPLICA);
                self.pair.violate(Checker::Answers, format!("the promotion comes to nothing: {status:?}"));
                return Some(Ended);
            }
            match self.step(&steps) {
                Step::Done { node, at } => self.pair.done(node, at),
                Step::Promote => {
                    promoted = true;
                    self.pair.command(REPLICA, Command::Promote { force: false });
                    if let Some(Err(refusal)) = self.pair.last_answer(REPLICA) {
                        let text = format!("a copy that follows may not be promoted: {refusal}");
                        self.pair.violate(Checker::Answers, text);
                    }
                }
                Step::Meet(late) => {
                    self.meet(late);
                    self.check_rest();
                    return Some(Ended);
                }
                _ => unreachable!("only together"),
            }
        }
    }

    /// The line heals, and a session is made.
    fn meet(&mut self, late: Late) {
        let wires = std::mem::take(&mut self.pair.wires[REPLICA]);
        self.pair.connect();
        let by_slot = |wires: [VecDeque<Message>; SLOTS]| wires.into_iter().flatten();
        let late: Vec<Message> = match late {
            Late::Lost => Vec::new(),
            Late::ByFirstSlot => by_slot(wires).collect(),
            Late::ByLastSlot => {
                let [first, last] = wires;
                by_slot([last, first]).collect()
            }
        };
        for message in late {
            self.pair.deliver_late(REPLICA, message);
            self.pair.finish(REPLICA);
        }
        self.settle();
    }

    /// The replica serves, then hears of the former owner, which gives way.
    fn rule(&mut self, late: Late) {
        let own = self.pair.write(REPLICA, Place { volume: 0, lba: 0, blocks: 2 });
        self.pair.finish(REPLICA);
        self.meet(late);
        if self.pair.status(OWNER).link == LinkState::Refused {
            self.pair.command(OWNER, Command::Demote { force: true });
            self.settle();
        }
        self.check_alike(REPLICA);
        let history = &self.pair.history;
        let write = history.write(own);
        if write.outcome != Outcome::Good || history.lacks(&self.pair.nodes[OWNER].image, write).is_some() {
            self.pair.violate(Checker::Alike, format!("the new owner's write is gone: {write:?}"));
        }
    }

    /// Until the pair is one, or nothing comes of it.
    fn settle(&mut self) {
        self.pair.go_on();
        for _ in 0..WAITS_MAX {
            let refused = [OWNER, REPLICA].into_iter().all(|node| self.pair.status(node).link == LinkState::Refused);
            if refused || self.pair.together().is_some() {
                return;
            }
            self.pair.wait();
            self.pair.go_on();
        }
    }

    // The judges.

    fn check_closed(&mut self) {
        if self.pair.nodes[REPLICA].reign.is_none()
            && let Err(why) = closed_under_some(&self.pair.history, &self.pair.nodes[REPLICA].image, 0)
        {
            self.pair.violate(Checker::Closed, why);
        }
    }

    /// The replica has begun to reign.
    fn check_promises(&mut self) {
        let history = &self.pair.history;
        let base = &history.reigns[self.pair.nodes[REPLICA].reign.expect("it has")].base;
        if let Err(why) = closed_under_some(history, base, 0) {
            return self.pair.violate(Checker::Closed, format!("it serves a copy that is not closed: {why}"));
        }
        let owed = history.writes.iter().filter(|write| write.promise > Promise::Nothing);
        if let Some(write) = owed.filter(|write| history.lacks(base, write).is_some()).next() {
            let text = format!("it is promoted and lacks {write:?}");
            self.pair.violate(Checker::Kept, text);
        }
    }

    fn check_rest(&mut self) {
        self.check_alike(OWNER);
        let history = &self.pair.history;
        let image = &self.pair.nodes[REPLICA].image;
        let lost = history.writes.iter().find(|write| {
            write.outcome != Outcome::Good && self.plan.after.iter().all(Option::is_none)
                || write.outcome == Outcome::Good && history.lacks(image, write).is_some()
        });
        if let Some(write) = lost {
            let text = format!("at rest nobody has {write:?}");
            self.pair.violate(Checker::Alike, text);
        }
    }

    fn check_alike(&mut self, owner: usize) {
        if self.pair.together() != Some(owner) {
            let text = format!("{:?}; {:?}", self.pair.status(OWNER), self.pair.status(REPLICA));
            return self.pair.violate(Checker::Settles, text);
        }
        let [a, b] = self.pair.nodes.each_ref().map(|node| &node.image);
        if a != b {
            let text = format!("at rest {} shows {a:?}, {} shows {b:?}", NAMES[OWNER], NAMES[REPLICA]);
            self.pair.violate(Checker::Alike, text);
        }
    }
}

const OWNER: usize = 0;
const REPLICA: usize = 1;
const BLOCKS: u64 = 4;
/// For the pair to become one: many times what it takes.
const WAITS_MAX: usize = 50;
