//! I3: a copy that may be promoted is closed under dependence.

use super::Checker;
use crate::sim::disk::{Image, ZEROES};
use crate::sim::history::{History, Moment, Outcome, ReignIndex, Write};
use crate::sim::scenario::NAMES;
use crate::sim::world::World;
use crate::wire::message::{DiskState, Role};

impl World {
    /// Any moment will do: what is being applied is visible in part, but only once all that precedes it is visible whole.
    pub(in crate::sim) fn check_closed(&mut self, node: usize) {
        let Some(status) = self.nodes[node].status() else { return };
        // Also of one that is behind: it may be promoted with force, and is then of some moment.
        let claims = matches!(status.disk, DiskState::UpToDate | DiskState::Consistent | DiskState::Outdated);
        if status.role == Role::Primary || !claims || !self.is_whole_after_power(node) || self.nodes[node].is_forced() {
            return;
        }
        let image = &self.nodes[node].disk.image;
        if let Err(why) = closed_under_some(&self.history, image, self.history.reigns.len()) {
            let claim = status.disk;
            self.violate(Checker::Closed, format!("{}'s copy, {claim:?}: {why}", NAMES[node]));
        }
    }

    /// A cache that was lost takes dependence with it, as on any disk, until the owner has mended the copy.
    pub(in crate::sim) fn is_whole_after_power(&self, node: usize) -> bool {
        let node = &self.nodes[node];
        node.lost_power == Moment(0) || node.whole > node.lost_power
    }
}

/// Under the newest reign possible of those before `end`.
pub fn closed_under_some(history: &History, image: &Image, end: ReignIndex) -> Result<(), String> {
    let newest =
        image.iter().flatten().filter(|&&stamp| stamp != ZEROES).map(|&stamp| history.write(stamp).reign).max();
    let from = newest.unwrap_or(0);
    let mut why = None;
    for reign in (from..end).rev() {
        match closed_under(history, image, reign) {
            Ok(()) => return Ok(()),
            // What the oldest candidate says is about writes that are visible.
            Err(cause) => why = Some(cause),
        }
    }
    why.map_or(Ok(()), Err)
}

/// It shows the reign's base with writes of the reign on it, each with all that was acknowledged before it was issued.
fn closed_under(history: &History, image: &Image, reign: ReignIndex) -> Result<(), String> {
    let base = &history.reigns[reign].base;
    let mut last: Option<&Write> = None;
    for (volume, blocks) in image.iter().enumerate() {
        for (block, &stamp) in blocks.iter().enumerate() {
            if stamp != ZEROES && history.write(stamp).reign == reign {
                let write = history.write(stamp);
                last = last.filter(|last| last.issued > write.issued).or(Some(write));
            } else if stamp != base[volume][block] && !zeroed(history, reign, stamp, volume, block) {
                let base = base[volume][block];
                return Err(format!("v{volume}:{block} shows {stamp}, neither reign {reign}'s nor its base {base}"));
            }
        }
    }
    last.map_or(Ok(()), |last| all_before(history, image, reign, last))
}

fn zeroed(history: &History, reign: ReignIndex, stamp: u64, volume: usize, block: usize) -> bool {
    let by = |&zeroes: &u64| history.write(zeroes).reign == reign && history.write(zeroes).covers(volume, block);
    stamp == ZEROES && history.zeroes.iter().any(by)
}

/// What was acknowledged before the last visible write was issued is visible too; all others were issued before that one.
fn all_before(history: &History, image: &Image, reign: ReignIndex, last: &Write) -> Result<(), String> {
    for &stamp in &history.reigns[reign].writes {
        let write = history.write(stamp);
        if write.issued > last.issued {
            return Ok(());
        }
        let owed = write.outcome == Outcome::Good && write.ended < last.issued;
        if let Some(block) = history.lacks(image, write).filter(|_| owed) {
            let (volume, shown) = (write.at.volume, image[write.at.volume][block]);
            let last = last.stamp;
            return Err(format!(
                "write {last} is visible, but of write {stamp}, acknowledged before {last} was issued, v{volume}:{block} \
                 shows {shown}"
            ));
        }
    }
    Ok(())
}
