//! I5: a write that was acknowledged here, and that the new owner lacks, is in the undo store before a resync writes over it.

use super::Checker;
use crate::replica::io::LocalAction;
use crate::sim::disk::{Place, ZEROES};
use crate::sim::history::Outcome;
use crate::sim::scenario::NAMES;
use crate::sim::world::{Phase, World};

impl World {
    /// A device is about to be written to.
    pub(in crate::sim) fn check_overwritten(&mut self, node: usize, action: &LocalAction) {
        let (LocalAction::Write { volume, extent, .. }
        | LocalAction::WriteZeroes { volume, extent, .. }
        | LocalAction::Unmap { volume, extent }) = *action
        else {
            return;
        };
        // Blocks that were made to differ hold what nobody wrote there.
        if matches!(self.phase, Phase::Silent { .. }) {
            return;
        }
        let (own, other) = (&self.nodes[node], &self.nodes[1 - node]);
        let is_owner = own.process.as_ref().is_none_or(|process| process.reign.is_some());
        let Some(reign) = other.process.as_ref().and_then(|process| process.reign).filter(|_| !is_owner) else {
            return;
        };
        let base = &self.history.reigns[reign].base;
        let at = Place::new(volume, extent);
        // Nobody knows any more where this copy differs, or how the other came to lack it.
        let forgot = own.removed.max(own.failed).max(other.removed).max(other.failed).max(other.lost_power);
        let forgot = forgot.max(own.aside.failed.unwrap_or_default());
        let lost = (at.lba..).zip(own.disk.stamps(at)).find(|&(block, &stamp)| {
            stamp != ZEROES && {
                let write = self.history.write(stamp);
                let is_own = self.history.reigns[write.reign].node == node && write.reign < reign;
                let owed = is_own && write.outcome == Outcome::Good && write.issued > forgot;
                // What was put aside may have been written after it, and lost since with the cache.
                let kept = own.aside.blocks.range((at.volume, block, ZEROES + 1)..=(at.volume, block, u64::MAX));
                let is_kept = kept.map(|(.., kept)| self.history.write(*kept)).any(|kept| kept.issued >= write.issued);
                owed && !self.history.shows(base, write, block) && !is_kept
            }
        });
        if let Some((block, &stamp)) = lost {
            let (who, volume) = (NAMES[node], at.volume);
            let text =
                format!("{who} writes over write {stamp} at v{volume}:{block}, which is nowhere else, nor aside");
            self.violate(Checker::Undo, text);
        }
    }
}
