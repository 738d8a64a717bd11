//! I2: what a node acknowledged survives its loss, as its mode promised; marks likewise; asynchronously no more is lost than
//! was reported.

use std::collections::BTreeSet;

use super::Checker;
use super::closed::closed_under_some;
use crate::replica::status::{GroupStatus, LinkState};
use crate::sim::disk::Image;
use crate::sim::history::{History, MarkWrite, Moment, Outcome, Promise, ReignIndex, Write};
use crate::sim::node::{Node, Open, Request};
use crate::sim::scenario::NAMES;
use crate::sim::world::World;
use crate::wire::message::{DiskState, Role};

impl World {
    /// A node serves hosts from now on. `before`: how it stood.
    pub(in crate::sim) fn begin_reign(&mut self, node: usize, _before: &GroupStatus) {
        let base = self.nodes[node].disk.settled();
        let former = (self.last_reign(node), self.last_reign(1 - node));
        let sound = self.nodes[node].copy_is_sound() && self.is_whole_after_power(node);
        let epoch = self.process(node).status.epoch;
        let reign = self.history.begin_reign(node, epoch, base);
        self.process(node).reign = Some(reign);
        self.note(&[10, node as u64, epoch.0], |_| format!("{} begins reign {reign} in epoch {epoch}", NAMES[node]));
        self.check_epoch(reign);
        self.check_rival(node);
        self.history.reigns[reign].sound = sound;
        // Of two that reigned at a time one gives way.
        let reigns = &self.history.reigns;
        let alone = |own: &ReignIndex| former.1.is_none_or(|other| reigns[other].ended < reigns[*own].began);
        let own = former.0.filter(alone);
        if !sound {
            if let Some(own) = own.filter(|_| self.nodes[node].copy_is_sound() && !self.nodes[node].is_overruled) {
                self.check_after_power(reign, own);
            }
            return self.forgive(former.1);
        }
        self.check_base(reign);
        if let Some(own) = own {
            self.check_own(reign, own);
        }
        if let Some(lost) = former.1 {
            self.check_promises(reign, lost);
            self.check_seen(reign, lost);
            self.check_marks(reign, lost);
            self.check_loss(reign, lost);
        }
    }

    fn last_reign(&self, node: usize) -> Option<ReignIndex> {
        self.history.reigns.iter().rposition(|reign| reign.node == node)
    }

    /// Somebody was promoted with a copy known to be no good: nothing is owed any more.
    fn forgive(&mut self, lost: Option<ReignIndex>) {
        let Some(lost) = lost else { return };
        let History { reigns, writes, marks, .. } = &mut self.history;
        reigns[lost].writes.iter().for_each(|&stamp| writes[stamp as usize - 1].promise = Promise::Nothing);
        marks.iter_mut().filter(|mark| mark.reign == lost).for_each(|mark| mark.promise = Promise::Nothing);
        reigns[lost].seen.clear();
    }

    fn check_base(&mut self, reign: ReignIndex) {
        let Reign { base, node } = self.reign_view(reign);
        let Err(why) = closed_under_some(&self.history, base, reign) else { return };
        self.violate(Checker::Closed, format!("{} serves a copy that is not closed: {why}", NAMES[node]));
    }

    /// A node that serves again after a restart has what it acknowledged itself.
    fn check_own(&mut self, reign: ReignIndex, former: ReignIndex) {
        let Reign { base, node } = self.reign_view(reign);
        let good = |write: &&Write| write.outcome == Outcome::Good;
        let mut writes = self.history.reigns[former].writes.iter().map(|&stamp| self.history.write(stamp)).filter(good);
        let lost = writes.find_map(|write| lost_text(&self.history, base, write));
        if let Some(lost) = lost {
            self.violate(Checker::Kept, format!("{} serves again and lacks its own: {lost}", NAMES[node]));
        }
    }

    /// A node that serves again although its cache was lost has what was on its medium, and what a peer that it has met holds;
    /// unless that peer lacks what was acknowledged after it.
    fn check_after_power(&mut self, reign: ReignIndex, former: ReignIndex) {
        let Reign { base, node } = self.reign_view(reign);
        let [own, other] = [node, 1 - node].map(|node| self.nodes[node].process.as_ref());
        let have_met = own.zip(other).is_some_and(|(own, other)| own.session.is_some() && own.session == other.session);
        let stayed = self.nodes[1 - node].restarted;
        let is_good = matches!(self.nodes[1 - node].copy, Some(DiskState::UpToDate | DiskState::Consistent));
        let owed = |write: &&Write| {
            let is_held = have_met && is_good && write.promise > Promise::Nothing && write.issued > stayed;
            let is_held = is_held && !self.nodes[node].left_alone;
            write.outcome == Outcome::Good && (write.durable || is_held)
        };
        let mut writes = self.history.reigns[former].writes.iter().map(|&stamp| self.history.write(stamp)).filter(owed);
        if let Some(lost) = writes.find_map(|write| lost_text(&self.history, base, write)) {
            self.violate(Checker::Kept, format!("{} serves again after a power cut and lacks {lost}", NAMES[node]));
        }
    }

    fn check_promises(&mut self, reign: ReignIndex, lost: ReignIndex) {
        let Reign { base, node } = self.reign_view(reign);
        let survivor = &self.nodes[node];
        let owed = |write: &&Write| write.outcome == Outcome::Good && survivor.owes(write.issued, write.promise);
        let mut writes = self.history.reigns[lost].writes.iter().map(|&stamp| self.history.write(stamp)).filter(owed);
        if let Some(text) = writes.find_map(|write| lost_text(&self.history, base, write)) {
            self.violate(Checker::Kept, format!("{} is promoted and lacks {text}", NAMES[node]));
        }
    }

    /// What a host has read was there, and stays.
    fn check_seen(&mut self, reign: ReignIndex, lost: ReignIndex) {
        let Reign { base, node } = self.reign_view(reign);
        let survivor = &self.nodes[node];
        let history = &self.history;
        let gone = history.reigns[lost].seen.iter().find(|seen| {
            let owed = survivor.owes(history.write(seen.stamp).issued, seen.promise);
            owed && !history.shows(base, history.write(seen.stamp), seen.block)
        });
        if let Some(seen) = gone.copied() {
            let (stamp, volume, block) = (seen.stamp, seen.volume, seen.block);
            let shown = base[volume][block];
            let text = format!("a host had read write {stamp} at v{volume}:{block}, which shows {shown}");
            self.violate(Checker::Kept, format!("{} is promoted: {text}", NAMES[node]));
        }
    }

    fn check_marks(&mut self, reign: ReignIndex, lost: ReignIndex) {
        let node = self.history.reigns[reign].node;
        let survivor = &self.nodes[node];
        let told = &survivor.process.as_ref().expect("who begins a reign lives").marks;
        let history = &self.history;
        let lacks = |mark: &&MarkWrite| {
            let owed = mark.outcome == Outcome::Good && survivor.owes(mark.issued, mark.promise.min(Promise::Received));
            let shown = told.get(&mark.key).map(|&id| &history.marks[id as usize - 1]);
            mark.reign == lost && owed && shown.is_none_or(|shown| shown.ended < mark.issued)
        };
        let gone = history.marks.iter().find(lacks).map(|mark| (mark.id, told.get(&mark.key).copied()));
        if let Some((id, shown)) = gone {
            self.violate(Checker::MarkKept, format!("{} is promoted, lacks mark {id} and has {shown:?}", NAMES[node]));
        }
    }

    /// Blocks whose acknowledged data are lost: no more bytes than the owner said.
    fn check_loss(&mut self, reign: ReignIndex, lost: ReignIndex) {
        let Reign { base, node } = self.reign_view(reign);
        let survivor = &self.nodes[node];
        let history = &self.history;
        if survivor.restarted.max(survivor.lost_power) > survivor.whole
            && survivor.restarted > history.reigns[lost].began
        {
            return;
        }
        let mut blocks = BTreeSet::new();
        for write in history.reigns[lost].writes.iter().map(|&stamp| history.write(stamp)) {
            if write.outcome == Outcome::Good && !write.zeroes && write.ended < history.reigns[reign].began {
                let missing = write.range().filter(|&block| !history.shows(base, write, block));
                blocks.extend(missing.map(|block| (write.at.volume, block)));
            }
        }
        let (bytes, reported) = (blocks.len() as u64 * 512, history.reigns[lost].rpo);
        if bytes > reported {
            let text =
                format!("{} is promoted and lacks {bytes} acknowledged bytes; {reported} were reported", NAMES[node]);
            self.violate(Checker::Rpo, text);
        }
    }

    /// An acknowledgement was given: if the other serves already, what it found must have it.
    pub(in crate::sim) fn check_acknowledged(&mut self, node: usize, open: &Open) {
        self.check_epoch_is_durable(node);
        let Request::Write(stamp) = open.request else { return };
        let Some(other) = self.nodes[1 - node].process.as_ref().and_then(|process| process.reign) else { return };
        let write = self.history.write(stamp);
        if other <= write.reign
            || !self.history.reigns[other].sound
            || !self.nodes[1 - node].owes(write.issued, write.promise)
        {
            return;
        }
        let Some(text) = lost_text(&self.history, &self.history.reigns[other].base, write) else { return };
        let (who, rival) = (NAMES[node], NAMES[1 - node]);
        self.violate(Checker::Kept, format!("{who} acknowledges what {rival}, promoted before, lacks: {text}"));
    }

    /// What statuses claim is remembered for the day on which it matters.
    pub(in crate::sim) fn check_claims(&mut self, node: usize) {
        self.check_memory(node);
        let (process, other) = (self.nodes[node].process.as_ref(), self.nodes[1 - node].process.as_ref());
        let Some(process) = process else { return };
        let status = &process.status;
        if status.disk == DiskState::Failed {
            self.nodes[node].failed = self.history.now();
        }
        if status.role == Role::Secondary {
            self.nodes[node].copy = Some(status.disk);
            return;
        }
        if let Some(reign) = process.reign {
            self.history.reigns[reign].rpo = status.rpo.map_or(0, |rpo| rpo.bytes);
        }
        if matches!(self.nodes[node].copy, Some(DiskState::Inconsistent | DiskState::Failed)) {
            self.nodes[node].forced = self.history.now();
        }
        let together = other.is_some_and(|other| other.session.is_some() && other.session == process.session);
        if together && status.link == LinkState::Established && status.applied_upto >= status.seq {
            self.nodes[1 - node].whole = self.history.now();
        }
    }

    fn reign_view(&self, reign: ReignIndex) -> Reign<'_> {
        Reign { base: &self.history.reigns[reign].base, node: self.history.reigns[reign].node }
    }
}

struct Reign<'a> {
    base: &'a Image,
    node: usize,
}

fn lost_text(history: &History, image: &Image, write: &Write) -> Option<String> {
    let block = history.lacks(image, write)?;
    let (stamp, volume, promise) = (write.stamp, write.at.volume, write.promise);
    let shown = image[volume][block];
    Some(format!("write {stamp}, acknowledged as {promise:?}: v{volume}:{block} shows {shown}"))
}

impl Node {
    /// Its copy may be served without an excuse.
    fn copy_is_sound(&self) -> bool {
        !self.is_forced() && !matches!(self.copy, Some(DiskState::Inconsistent | DiskState::Failed))
    }

    /// An operator said that its copy is the truth, although it was not whole, and it has not been mended since.
    pub(super) fn is_forced(&self) -> bool {
        self.forced != Moment(0) && self.forced >= self.whole
    }

    /// After what this node went through since: the promise stands, unless two failures came together.
    fn owes(&self, issued: Moment, promise: Promise) -> bool {
        // What it had told to have may have been lost before the owner acted on its word.
        let since = |lost: Moment| lost > issued && lost > self.whole;
        match promise {
            Promise::Nothing => false,
            _ if since(self.lost_power) => promise == Promise::Durable,
            Promise::Received => !since(self.restarted),
            Promise::Applied | Promise::Durable => true,
        }
    }
}
