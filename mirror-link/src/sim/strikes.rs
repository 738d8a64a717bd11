//! Nodes that die at an output: right before it is carried out, or right after; what follows in the same turn is lost.

use std::ops::ControlFlow;

use super::Time;
use super::rng::Rng;
use super::scenario::{NAMES, Trouble};
use super::world::{Event, Phase, World};
use crate::replica::io::{Command, LocalAction, Output};
use crate::wire::message::{Message, Role};

/// What is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Write,
    WriteZeroes,
    Unmap,
    Flush,
    LocalRead,
    Digest,
    Hello,
    Begin,
    Op,
    Ack,
    Position,
    Read,
    ReadDone,
    Store,
    Map,
    Spill,
    Unspill,
    TrimSpill,
    KeepAside,
    Resynced,
    BeginAnew,
    Complete,
    Fetched,
    Marked,
    Standing,
    Answer,
    Event,
}

impl Kind {
    pub const ALL: [Kind; 27] = [
        Kind::Write,
        Kind::WriteZeroes,
        Kind::Unmap,
        Kind::Flush,
        Kind::LocalRead,
        Kind::Digest,
        Kind::Hello,
        Kind::Begin,
        Kind::Op,
        Kind::Ack,
        Kind::Position,
        Kind::Read,
        Kind::ReadDone,
        Kind::Store,
        Kind::Map,
        Kind::Spill,
        Kind::Unspill,
        Kind::TrimSpill,
        Kind::KeepAside,
        Kind::Resynced,
        Kind::BeginAnew,
        Kind::Complete,
        Kind::Fetched,
        Kind::Marked,
        Kind::Standing,
        Kind::Answer,
        Kind::Event,
    ];

    /// `None`: that the peer misbehaved is a violation as it is.
    fn of(output: &Output) -> Option<Kind> {
        Some(match output {
            Output::Local { action, .. } => match action {
                LocalAction::Write { .. } => Kind::Write,
                LocalAction::WriteZeroes { .. } => Kind::WriteZeroes,
                LocalAction::Unmap { .. } => Kind::Unmap,
                LocalAction::Flush { .. } => Kind::Flush,
                LocalAction::Read { .. } => Kind::LocalRead,
                LocalAction::Digest { .. } => Kind::Digest,
            },
            Output::Send { message, .. } => match message {
                Message::Hello(_) => Kind::Hello,
                Message::Begin(_) => Kind::Begin,
                Message::Op(_) => Kind::Op,
                Message::Ack(_) => Kind::Ack,
                Message::Position(_) => Kind::Position,
                Message::Read(_) => Kind::Read,
                Message::ReadDone(_) => Kind::ReadDone,
            },
            Output::Store { .. } => Kind::Store,
            Output::Map { .. } => Kind::Map,
            Output::Spill { .. } => Kind::Spill,
            Output::Unspill { .. } => Kind::Unspill,
            Output::TrimSpill { .. } => Kind::TrimSpill,
            Output::KeepAside(_) => Kind::KeepAside,
            Output::Resynced => Kind::Resynced,
            Output::BeginAnew => Kind::BeginAnew,
            Output::Complete { .. } => Kind::Complete,
            Output::Fetched { .. } => Kind::Fetched,
            Output::Marked { .. } => Kind::Marked,
            Output::Standing(_) => Kind::Standing,
            Output::Answer { .. } => Kind::Answer,
            Output::Event(_) => Kind::Event,
            Output::Misbehaved(_) => return None,
        })
    }
}

/// Those that come seldom: some of them are waited for beside any other.
const SELDOM: [Kind; 8] = [
    Kind::LocalRead,
    Kind::Begin,
    Kind::Position,
    Kind::Spill,
    Kind::Unspill,
    Kind::KeepAside,
    Kind::Resynced,
    Kind::Digest,
];

/// Those that come only where a disk fails.
const OF_DISKS: [Kind; 4] = [Kind::Read, Kind::ReadDone, Kind::Fetched, Kind::BeginAnew];

/// A death at an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stroke {
    pub node: usize,
    pub kind: Kind,
    /// It was carried out.
    pub after: bool,
}

impl Stroke {
    pub fn all() -> impl Iterator<Item = Stroke> {
        let sides = [(0, false), (0, true), (1, false), (1, true)];
        Kind::ALL.into_iter().flat_map(move |kind| sides.map(|(node, after)| Stroke { node, kind, after }))
    }
}

/// A death that is to come.
#[derive(Clone, Copy, Debug)]
pub struct Strike {
    pub node: usize,
    /// `None`: any, and no trouble after it.
    pub kind: Option<Kind>,
    /// So many of them come before.
    pub left: u64,
    pub after: bool,
    /// The machine goes with the process.
    pub power: bool,
}

impl Strike {
    fn draw(rng: &mut Rng, node: usize, kinds: &[Kind], most: u64) -> Strike {
        Strike {
            node,
            kind: Some(rng.pick(kinds)),
            left: rng.skewed(0, most),
            after: rng.coin(),
            power: rng.permille(300),
        }
    }
}

#[derive(Debug)]
pub struct Strikes {
    /// A chance of its own: seeds without strikes are what they were.
    rng: Rng,
    /// By node: of any kind, and of kinds that come seldom.
    armed: [[Option<Strike>; 4]; 2],
    pub struck: Vec<Stroke>,
    /// By node: outputs while troubles come, and which of them were the last of their turn.
    pub outputs: [u64; 2],
    pub last: [Vec<u64>; 2],
}

impl Strikes {
    pub fn new(rng: Rng) -> Strikes {
        Strikes { rng, armed: [[None; 4]; 2], struck: Vec::new(), outputs: [0; 2], last: Default::default() }
    }

    /// This output is the one: what is to happen.
    fn strikes(&mut self, node: usize, kind: Kind) -> Option<Strike> {
        let mut found = None;
        for armed in &mut self.armed[node] {
            let Some(strike) = armed.as_mut().filter(|strike| strike.kind.is_none_or(|wanted| wanted == kind)) else {
                continue;
            };
            match strike.left.checked_sub(1) {
                Some(left) => strike.left = left,
                None => found = found.or(armed.take()),
            }
        }
        found
    }
}

impl World {
    pub(super) fn may_strike(&mut self) {
        if self.strikes.rng.below(if self.breaks_disks() { 2 } else { 3 }) == 0 {
            let first = self.strikes.rng.skewed(0, 1_000_000);
            self.after(first, Event::Arm);
        }
    }

    fn breaks_disks(&self) -> bool {
        self.scenario.troubles.contains(&Trouble::BreakDisk)
    }

    /// The common ones are drawn anew now and then, the others wait for as long as it takes.
    pub(super) fn arm(&mut self) {
        if !matches!(self.phase, Phase::Trouble | Phase::Rest { .. }) {
            return;
        }
        let (kinds, common) = if self.breaks_disks() { (&OF_DISKS[..], 1) } else { (&SELDOM[..], 2) };
        let Strikes { rng, armed, .. } = &mut self.strikes;
        for (node, armed) in armed.iter_mut().enumerate() {
            let (any, seldom) = armed.split_at_mut(common);
            any.fill_with(|| Some(Strike::draw(rng, node, &Kind::ALL, 30)));
            for armed in seldom {
                armed.get_or_insert_with(|| Strike::draw(rng, node, kinds, 2));
            }
        }
        let next = rng.between(100_000, 1_000_000);
        self.after(next, Event::Arm);
    }

    /// This one, whatever else happens.
    pub(super) fn arm_with(&mut self, strike: Strike) {
        self.strikes.armed[strike.node][0] = Some(strike);
    }

    /// `carry_out`, with a death before or after it where one is due.
    pub(super) fn struck_or(
        &mut self,
        node: usize,
        output: Output,
        carry_out: impl FnOnce(&mut World, Output),
    ) -> ControlFlow<Strike> {
        let kind = Kind::of(&output).filter(|_| matches!(self.phase, Phase::Trouble | Phase::Healing { .. }));
        self.strikes.outputs[node] += u64::from(self.phase == Phase::Trouble);
        let strike = kind.and_then(|kind| Some((kind, self.strikes.strikes(node, kind)?)));
        let Some((kind, strike)) = strike else {
            carry_out(self, output);
            return ControlFlow::Continue(());
        };
        if strike.after {
            carry_out(self, output);
        }
        self.strikes.struck.push(Stroke { node, kind, after: strike.after });
        ControlFlow::Break(strike)
    }

    pub(super) fn turn_was_whole(&mut self, node: usize) {
        let (last, outputs) = (&mut self.strikes.last[node], self.strikes.outputs[node]);
        if outputs > 0 && last.last() != Some(&(outputs - 1)) {
            last.push(outputs - 1);
        }
    }

    /// The node dies in the midst of a turn, and is back some time; the other may be promoted meanwhile.
    pub(super) fn struck(&mut self, node: usize, strike: Strike) {
        self.note(&[13, node as u64], |_| format!("{} is struck: {strike:?}", NAMES[node]));
        self.last_words(node);
        self.die(node, strike.power);
        let (is_only_one, detection) = (strike.kind.is_none(), self.scenario.detection);
        let longest: Time = if is_only_one { 100_000 } else { 3_000_000 };
        let rng = &mut self.strikes.rng;
        let mut back = rng.skewed(1000, longest);
        let promotes = (self.phase == Phase::Trouble && rng.permille(400)).then(|| rng.coin());
        if let Some(force) = promotes {
            let decides = rng.skewed(1000, if is_only_one { 50_000 } else { detection + 500_000 });
            back += if rng.permille(800) { decides } else { 0 };
            self.after(decides, Event::Command { node: 1 - node, command: Command::Promote { force } });
        }
        self.after(back, Event::Start(node));
        if is_only_one {
            // No more trouble than this, and time for all of it.
            self.scenario.troubles.clear();
            self.scenario.length = self.now + back + 50_000;
        }
    }

    /// What it said it lacks of its peer was said before its outputs came to anybody. Who has stepped down says no more of its
    /// own reign: what it said last stands, as after a whole turn.
    fn last_words(&mut self, node: usize) {
        let now = self.instant();
        let process = self.process(node);
        let (reign, status) = (process.reign, process.replica.status(now));
        if let Some(reign) = reign.filter(|_| status.role == Role::Primary) {
            self.history.reigns[reign].rpo = status.rpo.map_or(0, |rpo| rpo.bytes);
        }
    }
}
