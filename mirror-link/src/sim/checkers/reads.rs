//! A node whose disk failed serves what hosts were told was done, as the peer has it, and nothing older.

use super::Checker;
use crate::sim::disk::ZEROES;
use crate::sim::history::Outcome;
use crate::sim::node::{Open, Request};
use crate::sim::scenario::NAMES;
use crate::sim::world::World;
use crate::wire::message::DiskState;

impl World {
    /// A host was told what its blocks are.
    pub(in crate::sim) fn check_read(&mut self, node: usize, open: &Open) {
        let Request::Read { reign, at, stamps, issued, .. } = &open.request else { return };
        if self.nodes[node].status().is_none_or(|status| status.disk != DiskState::Failed) {
            return;
        }
        let (history, number, reign) = (&self.history, *reign, &self.history.reigns[*reign]);
        let shown = |block: usize| stamps[block - at.lba];
        let is_owed = |write: &&crate::sim::history::Write| {
            write.at.volume == at.volume && write.outcome == Outcome::Good && write.ended <= *issued
        };
        let owed = reign.writes.iter().map(|&stamp| history.write(stamp)).filter(is_owed);
        let lacks = owed.flat_map(|write| write.range().map(move |block| (write, block))).find(|(write, block)| {
            (at.lba..at.lba + at.blocks).contains(block) && !history.shows_stamp(shown(*block), write, *block)
        });
        let foreign = (at.lba..at.lba + at.blocks).find(|&block| {
            let stamp = shown(block);
            let is_ours = stamp == ZEROES || history.write(stamp).reign == number;
            !is_ours && stamp != reign.base[at.volume][block]
        });
        let text = match (lacks, foreign) {
            (Some((write, block)), _) => {
                format!("v{}:{block} shows {}, not write {}", at.volume, shown(block), write.stamp)
            }
            (None, Some(block)) => format!("v{}:{block} shows {}, which is of another reign", at.volume, shown(block)),
            (None, None) => return,
        };
        self.violate(Checker::Reads, format!("a host reads at {}, whose disk failed: {text}", NAMES[node]));
    }
}
