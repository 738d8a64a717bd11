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
//! From a state that was seen before nothing is tried again. What the owner does after a cut is always the same, for the
//! replica hears no more of it.

mod pair;

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use self::pair::{Pair, SLOTS};
use super::checkers::{Checker, Violation, closed_under_some};
use super::disk::{BLOCK, Place, Stamp};
use super::history::{Outcome, Promise, Write};
use super::rng::mix;
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
    /// A slot may be lost, before the line is or instead.
    pub loses_slot: bool,
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

#[derive(Clone, Copy)]
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
    SlotIsLost(usize),
    Cut,
    Rest,
    Promote,
    /// The nodes meet again.
    Meet(Late),
}

/// What a former session still brings: frames of which slot first.
#[derive(Clone, Copy, Debug)]
enum Late {
    Nothing,
    FirstSlot,
    LastSlot,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Deliver { to, slot } => write!(f, "{} hears slot {slot}", NAMES[*to]),
            Step::Done { node, at } => write!(f, "{} writes #{at}", NAMES[*node]),
            Step::LoseSlot(slot) => write!(f, "{} loses slot {slot}", NAMES[OWNER]),
            Step::SlotIsLost(slot) => write!(f, "{} loses slot {slot}", NAMES[REPLICA]),
            Step::Cut => f.write_str("cut"),
            Step::Rest => f.write_str("rest"),
            Step::Promote => f.write_str("promote"),
            Step::Meet(late) => write!(f, "meet, late frames: {late:?}"),
        }
    }
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
        let places = [
            ([(0, 1), (1, 1), (2, 1)], false),
            ([(0, 1), (1, 1), (0, 2)], false),
            ([(0, 1), (0, 1), (0, 1)], true),
            ([(0, 1), (0, 2), (1, 1)], true),
        ];
        let plans = modes.into_iter().flat_map(|mode| afters.map(|after| (mode, after)));
        plans.flat_map(|(mode, after)| places.map(|(at, loses_slot)| Plan { mode, after, at, loses_slot })).collect()
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
                host_latency: None,
                on_journal_full: Default::default(),
                on_split_brain: Default::default(),
            },
            map: crate::config::MapBounds { piece_bytes: 512, hot_max: 64 },
            scrub: None,
            initial_sync: Default::default(),
            aside: crate::config::AsideBounds {
                undo_max: 1 << 30,
                undo_keep: std::time::Duration::from_secs(604_800),
                snapshot: true,
            },
            lease: std::time::Duration::from_secs(3600),
            queue: QueueBounds { memory: 1 << 20, spill: 0, window_bytes: 1 << 20, window_writes: 64 },
        })
    }
}

/// Every schedule of the plan, until one goes wrong.
pub fn explore(plan: Plan, faults: &[Fault], base: Instant) -> Explored {
    let mut run = Run { pair: Pair::new(plan.configs(), faults, base), plan, issued: 0, lost: None, steps: Vec::new() };
    // The replica becomes a copy of the owner.
    run.pair.connect();
    run.settle();
    assert_eq!(run.pair.together(), Some(OWNER), "the pair is one: {:?}", run.pair.status(OWNER));
    let mut search = Search { seen: HashSet::new(), schedules: 0, violation: None };
    search.together(run);
    Explored { schedules: search.schedules, states: search.seen.len(), violation: search.violation }
}

struct Search {
    seen: HashSet<u64>,
    schedules: u64,
    violation: Option<(Violation, String)>,
}

impl Search {
    /// Go on from there in every way there is.
    fn together(&mut self, mut run: Run) {
        run.issue();
        run.check_closed();
        if self.is_over(&mut run) || !self.seen.insert(run.digest_together()) {
            return;
        }
        for step in run.steps_together() {
            let mut next = run.after(step);
            match step {
                Step::Deliver { to, slot } => next.pair.deliver(to, slot),
                Step::Done { node, at } => next.pair.done(node, at),
                Step::LoseSlot(slot) => {
                    next.lost = Some((slot, true));
                    next.pair.slot_down(OWNER, slot);
                }
                Step::SlotIsLost(slot) => {
                    next.lost = Some((slot, false));
                    next.pair.slot_down(REPLICA, slot);
                }
                Step::Cut => {
                    self.cut(next);
                    continue;
                }
                Step::Rest => {
                    next.check_rest();
                    self.ends(next);
                    continue;
                }
                Step::Promote | Step::Meet(_) => unreachable!("only apart"),
            }
            self.together(next);
        }
    }

    /// The line is cut, and both notice.
    fn cut(&mut self, mut run: Run) {
        // Nothing comes back to the owner.
        run.pair.wires[OWNER].iter_mut().for_each(VecDeque::clear);
        run.pair.finish(OWNER);
        run.pair.session_down(OWNER);
        run.pair.session_down(REPLICA);
        if self.seen.insert(mix(run.pair.digest(&[OWNER, REPLICA]) ^ 2)) {
            for late in run.lates() {
                let mut next = run.after(Step::Meet(late));
                next.meet(late);
                next.check_rest();
                self.ends(next);
            }
        }
        self.apart(run, false);
    }

    fn apart(&mut self, mut run: Run, promoted: bool) {
        run.check_closed();
        // The owner will give way, whatever it has.
        if self.is_over(&mut run) || !self.seen.insert(mix(run.pair.digest(&[REPLICA]) ^ u64::from(promoted))) {
            return;
        }
        if run.pair.nodes[REPLICA].reign.is_some() {
            run.check_promises();
            for late in run.lates() {
                let mut next = run.after(Step::Meet(late));
                next.rule(late);
                self.ends(next);
            }
            return;
        }
        let steps = run.steps_of(REPLICA);
        if promoted && steps.is_empty() {
            let text = format!("the promotion comes to nothing: {:?}", run.pair.status(REPLICA));
            run.pair.violate(Checker::Answers, text);
            return self.ends(run);
        }
        for step in steps {
            let mut next = run.after(step);
            if let Step::Done { node, at } = step {
                next.pair.done(node, at);
            }
            self.apart(next, promoted);
        }
        if !promoted {
            let mut next = run.after(Step::Promote);
            next.pair.command(REPLICA, Command::Promote { force: false });
            if let Some(Err(refusal)) = next.pair.last_answer(REPLICA) {
                let text = format!("a copy that follows may not be promoted: {refusal}");
                next.pair.violate(Checker::Answers, text);
            }
            self.apart(next, true);
        }
    }

    fn ends(&mut self, mut run: Run) {
        self.schedules += 1;
        self.is_over(&mut run);
    }

    /// Something is wrong, here or elsewhere.
    fn is_over(&mut self, run: &mut Run) -> bool {
        if let Some(violation) = run.pair.violation.take() {
            self.violation.get_or_insert((violation, format!("{:?}: {:?}", run.plan, run.steps)));
        }
        self.violation.is_some()
    }
}

#[derive(Clone)]
struct Run {
    pair: Pair,
    plan: Plan,
    issued: usize,
    /// The slot that the owner has lost, and that the replica does not know of it.
    lost: Option<(usize, bool)>,
    steps: Vec<Step>,
}

impl Run {
    /// Another one like it, which takes that step.
    fn after(&self, step: Step) -> Run {
        let mut next = self.clone();
        next.steps.push(step);
        next
    }

    fn digest_together(&mut self) -> u64 {
        let lost = self.lost.map_or(0, |(slot, untold)| 1 + 2 * slot as u64 + u64::from(untold));
        mix(self.pair.digest(&[OWNER, REPLICA]) ^ lost << 8)
    }

    /// In which orders the replica may get what is still under way to it.
    fn lates(&self) -> Vec<Late> {
        match self.pair.wires[REPLICA].each_ref().map(VecDeque::is_empty) {
            [true, true] => vec![Late::Nothing],
            [false, false] => vec![Late::FirstSlot, Late::LastSlot],
            _ => vec![Late::FirstSlot],
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
            None if self.plan.loses_slot => steps.extend((0..SLOTS).map(Step::LoseSlot)),
            None => (),
            Some((slot, true)) => steps.push(Step::SlotIsLost(slot)),
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

    /// The line heals, and a session is made.
    fn meet(&mut self, late: Late) {
        let wires = std::mem::take(&mut self.pair.wires[REPLICA]);
        self.pair.connect();
        let [first, last] = wires;
        let late: Vec<Message> = match late {
            Late::Nothing => Vec::new(),
            Late::FirstSlot => first.into_iter().chain(last).collect(),
            Late::LastSlot => last.into_iter().chain(first).collect(),
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
            && let Err(why) = closed_under_some(&self.pair.history, &self.pair.nodes[REPLICA].image, 1)
        {
            self.pair.violate(Checker::Closed, why);
        }
    }

    /// The replica has begun to reign.
    fn check_promises(&mut self) {
        let history = &self.pair.history;
        let reign = self.pair.nodes[REPLICA].reign.expect("it has");
        let base = &history.reigns[reign].base;
        if let Err(why) = closed_under_some(history, base, reign) {
            return self.pair.violate(Checker::Closed, format!("it serves a copy that is not closed: {why}"));
        }
        let is_lost = |write: &&Write| write.promise > Promise::Nothing && history.lacks(base, write).is_some();
        if let Some(write) = history.writes.iter().find(is_lost) {
            let text = format!("it is promoted and lacks {write:?}");
            self.pair.violate(Checker::Kept, text);
        }
    }

    fn check_rest(&mut self) {
        self.check_alike(OWNER);
        let history = &self.pair.history;
        let image = &self.pair.nodes[REPLICA].image;
        let is_kept = |write: &&Write| write.outcome == Outcome::Good && history.lacks(image, write).is_none();
        let lost = history.writes.iter().find(|write| !is_kept(write));
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
