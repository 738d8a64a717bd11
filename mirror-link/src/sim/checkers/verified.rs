//! A verify of copies that are alike finds nothing, whatever hosts write meanwhile; of copies that were made to differ, exactly
//! where.

use super::Checker;
use crate::replica::io::Command;
use crate::replica::status::{VerifyState, VerifyStatus};
use crate::sim::disk::ZEROES;
use crate::sim::scenario::NAMES;
use crate::sim::world::{Phase, World};

impl World {
    pub(in crate::sim) fn check_verified(&mut self, node: usize, told: &VerifyStatus) {
        let name = NAMES[node];
        if !matches!(self.phase, Phase::Silent { .. }) {
            // What can't be read there differs.
            let is_readable = !self.nodes[1 - node].disk.has_failed;
            if is_readable && (told.differing_bytes > 0 || !told.ranges.is_empty()) {
                self.violate(Checker::Verified, format!("{name}: nothing differs, and a verify finds {told:?}"));
            }
            if told.state == VerifyState::Finished && told.done_bytes != told.total_bytes {
                self.violate(Checker::Verified, format!("{name}: a verify ends too early: {told:?}"));
            }
            return;
        }
        let found = told.ranges.iter().map(|range| {
            let volume = range.volume.trim_start_matches('v').parse().unwrap_or(usize::MAX);
            (volume, range.lba, range.blocks)
        });
        let found: Vec<(usize, u64, u64)> = found.collect();
        if told.state != VerifyState::Finished || found != self.silent {
            let text = format!("{name}: {:?} differ, and a verify finds {told:?}", self.silent);
            return self.violate(Checker::Verified, text);
        }
        if told.repair {
            self.check_alike();
        }
        self.phase = Phase::Over;
    }

    /// Change some blocks of the replica's copy beneath it, and have the owner look.
    pub(super) fn make_differ(&mut self) {
        let Some(owner) = self.together() else { return };
        // A slow one may be under way still.
        self.command(owner, Command::StopVerify);
        self.phase = Phase::Silent { since: self.now };
        for _ in 0..self.compares.between(1, 4) {
            let volume = self.compares.below(self.scenario.volumes.len() as u64) as usize;
            let block = self.compares.below(self.scenario.volumes[volume]);
            let there = self.nodes[owner].disk.image[volume][block as usize];
            let other = if there == ZEROES { 1 } else { ZEROES };
            self.nodes[1 - owner].disk.corrupt(volume, block as usize, other);
            let start = block / FINE * FINE;
            self.silent.push((volume, start, FINE.min(self.scenario.volumes[volume] - start)));
        }
        self.silent.sort_unstable();
        self.silent.dedup();
        // Neighbours are one.
        self.silent.dedup_by(|next, before| {
            let joins = next.0 == before.0 && before.1 + before.2 == next.1;
            before.2 += if joins { next.2 } else { 0 };
            joins
        });
        let repair = self.compares.coin();
        self.command(owner, Command::Verify { repair, rate: None });
    }
}

/// Blocks in which a verify tells where copies differ: 4 KiB.
const FINE: u64 = 8;
