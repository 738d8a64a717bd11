//! I1: when all is quiet and the pair says that it is one, both copies are the same, and hold what hosts were told.

use super::Checker;
use crate::sim::disk::{Image, Stamp};
use crate::sim::history::{MarkWrite, Outcome};
use crate::sim::scenario::NAMES;
use crate::sim::world::World;

impl World {
    pub(super) fn check_alike(&mut self) {
        let [a, b] = [0, 1].map(|node| &self.nodes[node].disk.image);
        if let Some((volume, block, [in_a, in_b])) = difference(a, b) {
            let text = format!("at rest v{volume}:{block} shows {in_a} on {}, {in_b} on {}", NAMES[0], NAMES[1]);
            return self.violate(Checker::Alike, text);
        }
        self.check_told();
    }

    /// Every acknowledged write of the reign is there, on the owner and so on both.
    fn check_told(&mut self) {
        let Some(owner) = self.together() else { return };
        let Some(reign) = self.nodes[owner].process.as_ref().and_then(|process| process.reign) else { return };
        let (image, history) = (&self.nodes[owner].disk.image, &self.history);
        let writes = history.reigns[reign].writes.iter().map(|&stamp| history.write(stamp));
        let lost =
            writes.filter(|write| write.outcome == Outcome::Good).find(|write| history.lacks(image, write).is_some());
        if let Some(stamp) = lost.map(|write| write.stamp) {
            self.violate(Checker::Alike, format!("at rest nobody has write {stamp}, which was acknowledged"));
        }
    }

    /// The last mark of each kind that was acknowledged in this reign is with the replica.
    pub(super) fn check_last_marks(&mut self) {
        let Some(owner) = self.together() else { return };
        let [owns, follows] = [owner, 1 - owner].map(|node| self.nodes[node].process.as_ref());
        let (Some(owns), Some(follows)) = (owns, follows) else { return };
        let marks = &self.history.marks;
        let lacks = |mark: &&MarkWrite| {
            let told = follows.marks.get(&mark.key).map(|&id| &marks[id as usize - 1]);
            let owed = Some(mark.reign) == owns.reign && mark.outcome == Outcome::Good;
            owed && told.is_none_or(|told| told.ended < mark.issued)
        };
        if let Some(MarkWrite { id, key, .. }) = marks.iter().find(lacks) {
            let told = follows.marks.get(key);
            let text = format!("at rest the replica lacks mark {id} of {key:?} and has {told:?}");
            self.violate(Checker::MarkKept, text);
        }
    }
}

fn difference(a: &Image, b: &Image) -> Option<(usize, usize, [Stamp; 2])> {
    a.iter().zip(b).enumerate().find_map(|(volume, (a, b))| {
        let block = a.iter().zip(b).position(|(a, b)| a != b)?;
        Some((volume, block, [a[block], b[block]]))
    })
}
