//! What hosts did and saw, in the order in which it happened to them. The checkers know this and the disks' images.

use std::collections::BTreeMap;

use super::disk::{Image, Place, Stamp, ZEROES};
use crate::block::BlockError;
use crate::config::Mode;
use crate::ids::{OwnerEpoch, VolumeIndex};
use crate::replica::io::Record;
use crate::replica::status::{GroupStatus, LinkState};
use crate::wire::message::{DiskState, MarkKind, Role};

/// Counts everything that hosts can see begin or end, on whichever node: two moments tell which came first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// Has not come yet.
    pub const NEVER: Moment = Moment(u64::MAX);
}

/// A reign's place in [`History::reigns`].
pub type ReignIndex = usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Open,
    Good,
    Failed(BlockError),
    /// Its node died first.
    Lost,
}

/// What the mode promised when a write was acknowledged: what the peer has of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// Asynchronous, or the peer was durably recorded to be outdated.
    Nothing,
    Received,
    Applied,
    Durable,
}

impl Promise {
    /// What an acknowledgement given now promises, by the node's durable record and what it says of itself.
    pub fn given(record: Option<&Record>, status: &GroupStatus) -> Promise {
        let outdated = record.is_some_and(|record| record.peer_outdated);
        // A peer that is said to follow write by write is owed no less for having been outdated.
        if outdated && status.link != LinkState::Established {
            return Promise::Nothing;
        }
        // What hosts are told then the peer has, whatever the mode.
        if status.role == Role::Primary && status.disk == DiskState::Failed {
            return Promise::Applied;
        }
        match status.mode {
            Mode::Async => Promise::Nothing,
            Mode::Memsync => Promise::Received,
            Mode::Sync => Promise::Applied,
        }
    }
}

/// What a host wrote. Zeroes carry no stamp: which write they are of is a matter of what is possible.
#[derive(Clone, Debug)]
pub struct Write {
    pub stamp: Stamp,
    pub reign: ReignIndex,
    pub at: Place,
    pub zeroes: bool,
    /// FUA.
    pub durable: bool,
    pub issued: Moment,
    pub ended: Moment,
    pub outcome: Outcome,
    pub promise: Promise,
}

impl Write {
    pub fn range(&self) -> std::ops::Range<usize> {
        self.at.lba..self.at.lba + self.at.blocks
    }

    pub fn covers(&self, volume: usize, block: usize) -> bool {
        self.at.volume == volume && self.range().contains(&block)
    }
}

/// One block of a completed read that showed a host's write: from then on the write has been seen.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub stamp: Stamp,
    pub volume: usize,
    pub block: usize,
    pub promise: Promise,
}

#[derive(Clone, Debug)]
pub struct MarkWrite {
    pub id: u64,
    pub reign: ReignIndex,
    pub key: MarkKey,
    pub issued: Moment,
    pub ended: Moment,
    pub outcome: Outcome,
    pub promise: Promise,
}

pub type MarkKey = (VolumeIndex, MarkKind);

/// One node's time of serving hosts, in one epoch.
#[derive(Clone, Debug)]
pub struct Reign {
    pub node: usize,
    pub epoch: OwnerEpoch,
    pub began: Moment,
    pub ended: Moment,
    /// It began with a copy that was known to be good, or not known to be bad.
    pub sound: bool,
    /// What the hosts found.
    pub base: Image,
    /// Stamps of its writes, ascending.
    pub writes: Vec<Stamp>,
    pub seen: Vec<Seen>,
    /// Bytes acknowledged and not known to be with the peer, as last reported.
    pub rpo: u64,
}

#[derive(Clone, Debug, Default)]
pub struct History {
    moment: u64,
    /// `writes[stamp - 1]`.
    pub writes: Vec<Write>,
    /// Those of `writes` that are zeroes.
    pub zeroes: Vec<Stamp>,
    pub marks: Vec<MarkWrite>,
    pub reigns: Vec<Reign>,
    seen: BTreeMap<(Stamp, usize), ()>,
}

impl History {
    pub fn moment(&mut self) -> Moment {
        self.moment += 1;
        Moment(self.moment)
    }

    /// Nothing newer than this has happened.
    pub fn now(&self) -> Moment {
        Moment(self.moment)
    }

    pub fn write(&self, stamp: Stamp) -> &Write {
        &self.writes[stamp as usize - 1]
    }

    pub fn issue(&mut self, reign: ReignIndex, at: Place, zeroes: bool, durable: bool) -> Stamp {
        let stamp = self.writes.len() as Stamp + 1;
        let issued = self.moment();
        self.writes.push(Write {
            stamp,
            reign,
            at,
            zeroes,
            durable,
            issued,
            ended: Moment::NEVER,
            outcome: Outcome::Open,
            promise: Promise::Nothing,
        });
        self.reigns[reign].writes.push(stamp);
        if zeroes {
            self.zeroes.push(stamp);
        }
        stamp
    }

    pub fn end(&mut self, stamp: Stamp, outcome: Outcome, promise: Promise) {
        let moment = self.moment();
        let write = &mut self.writes[stamp as usize - 1];
        (write.ended, write.outcome, write.promise) = (moment, outcome, promise);
    }

    pub fn issue_mark(&mut self, reign: ReignIndex, key: MarkKey) -> u64 {
        let id = self.marks.len() as u64 + 1;
        let issued = self.moment();
        self.marks.push(MarkWrite {
            id,
            reign,
            key,
            issued,
            ended: Moment::NEVER,
            outcome: Outcome::Open,
            promise: Promise::Nothing,
        });
        id
    }

    pub fn end_mark(&mut self, id: u64, outcome: Outcome, promise: Promise) {
        let moment = self.moment();
        let mark = &mut self.marks[id as usize - 1];
        (mark.ended, mark.outcome, mark.promise) = (moment, outcome, promise);
    }

    /// A host has read these blocks.
    pub fn saw(&mut self, reign: ReignIndex, read: Place, stamps: &[Stamp], promise: Promise) {
        for (block, &stamp) in (read.lba..).zip(stamps) {
            if stamp == ZEROES || self.write(stamp).reign != reign {
                continue;
            }
            // What was acknowledged as it is may be lost as it is, read or not.
            let write = self.write(stamp);
            let given_up = write.outcome == Outcome::Good && write.promise == Promise::Nothing;
            if !given_up && promise > Promise::Nothing && self.seen.insert((stamp, block), ()).is_none() {
                self.reigns[reign].seen.push(Seen { stamp, volume: read.volume, block, promise });
            }
        }
    }

    pub fn begin_reign(&mut self, node: usize, epoch: OwnerEpoch, base: Image) -> ReignIndex {
        let began = self.moment();
        self.reigns.push(Reign {
            node,
            epoch,
            began,
            ended: Moment::NEVER,
            sound: true,
            base,
            writes: Vec::new(),
            seen: Vec::new(),
            rpo: 0,
        });
        self.reigns.len() - 1
    }

    pub fn end_reign(&mut self, reign: ReignIndex) {
        self.reigns[reign].ended = self.moment();
    }

    /// Every order allowed puts `w` before `u`: a copy that shows `w` in a block of both lacks `u`.
    pub fn precedes(&self, w: &Write, u: &Write) -> bool {
        w.ended < u.issued || w.reign < u.reign
    }

    /// The block shows `u`, or what need not precede it.
    pub fn shows(&self, image: &Image, u: &Write, block: usize) -> bool {
        self.shows_stamp(image[u.at.volume][block], u, block)
    }

    /// The same of a block that shows that.
    pub fn shows_stamp(&self, shown: Stamp, u: &Write, block: usize) -> bool {
        if shown == u.stamp {
            return true;
        }
        if shown != ZEROES {
            return !self.precedes(self.write(shown), u);
        }
        let could_be = |z: &Write| z.covers(u.at.volume, block) && !self.precedes(z, u);
        self.zeroes.iter().any(|&stamp| could_be(self.write(stamp)))
    }

    /// The newest write that a block may be of: zeroes do not tell.
    pub fn newest(&self, shown: Stamp, volume: usize, block: usize) -> Stamp {
        let covers = |stamp: &Stamp| self.write(*stamp).covers(volume, block);
        let zeroed = (shown == ZEROES).then(|| self.zeroes.iter().copied().rev().find(covers));
        zeroed.flatten().unwrap_or(shown)
    }

    /// Blocks of `u` that show what precedes it.
    pub fn lacks(&self, image: &Image, u: &Write) -> Option<usize> {
        u.range().find(|&block| !self.shows(image, u, block))
    }
}
