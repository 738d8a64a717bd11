//! Which blocks the peer may lack: one bit a piece, 64 pieces a word; a word is what the map on disk calls a region.

use super::io::Region;
use crate::config::VolumeSpec;
use crate::extent::{BlockCount, Extent, Lba};
use crate::ids::VolumeIndex;

/// Every volume of a group.
#[derive(Clone, Debug)]
pub(super) struct DirtyMap {
    volumes: Vec<Bits>,
    piece_bytes: u64,
    set: u64,
}

#[derive(Clone, Debug)]
struct Bits {
    words: Vec<u64>,
    pieces: u64,
    /// Blocks in a piece, as a shift.
    shift: u32,
    capacity: BlockCount,
    /// No bit below this word is set.
    lowest: usize,
    set: u64,
}

impl DirtyMap {
    /// `piece_bytes`: that one bit stands for; a power of two, no less than any volume's block.
    pub fn new(volumes: &[VolumeSpec], piece_bytes: u64) -> DirtyMap {
        let volumes = volumes
            .iter()
            .map(|volume| {
                let shift = piece_bytes.trailing_zeros() - volume.block_length.shift();
                let pieces = volume.capacity.0.div_ceil(1 << shift);
                Bits {
                    words: vec![0; pieces.div_ceil(64) as usize],
                    pieces,
                    shift,
                    capacity: volume.capacity,
                    lowest: usize::MAX,
                    set: 0,
                }
            })
            .collect();
        DirtyMap { volumes, piece_bytes, set: 0 }
    }

    /// Blocks in a region, as a shift.
    pub fn region_shift(&self, volume: VolumeIndex) -> u32 {
        self.volumes[usize::from(volume.0)].shift + 6
    }

    pub fn piece_bytes(&self) -> u64 {
        self.piece_bytes
    }

    pub fn word(&self, region: Region) -> u64 {
        self.volumes[usize::from(region.volume.0)].words[region.index as usize]
    }

    /// These pieces too; what lies beyond the end of the volume is left out.
    pub fn add_word(&mut self, region: Region, word: u64) {
        let bits = &mut self.volumes[usize::from(region.volume.0)];
        let index = region.index as usize;
        let there = bits.pieces - 64 * region.index;
        let word = if there < 64 { word & ((1 << there) - 1) } else { word };
        let more = u64::from((word & !bits.words[index]).count_ones());
        if more > 0 {
            bits.words[index] |= word;
            bits.lowest = bits.lowest.min(index);
            bits.set += more;
            self.set += more;
        }
    }

    /// The words that these blocks lie in, and which bits of each are theirs.
    pub fn masks(&self, volume: VolumeIndex, extent: Extent) -> impl Iterator<Item = (Region, u64)> + use<> {
        let shift = self.volumes[usize::from(volume.0)].shift;
        let pieces =
            if extent.is_empty() { 0..0 } else { extent.lba().0 >> shift..((extent.end().0 - 1) >> shift) + 1 };
        (pieces.start / 64..pieces.end.div_ceil(64)).map(move |index| {
            let first = pieces.start.saturating_sub(64 * index);
            let bits = (pieces.end - 64 * index).min(64) - first;
            (Region { volume, index }, u64::MAX >> (64 - bits) << first)
        })
    }

    /// The words of which any bit is set.
    pub fn dirty_regions(&self) -> impl Iterator<Item = (Region, u64)> {
        self.volumes.iter().enumerate().flat_map(|(volume, bits)| {
            let volume = VolumeIndex(volume as u16);
            let first = bits.lowest.min(bits.words.len());
            let words = bits.words[first..].iter().zip(first as u64..);
            words.filter(|(word, _)| **word != 0).map(move |(word, index)| (Region { volume, index }, *word))
        })
    }

    /// Everything that is set in `other` too.
    pub fn add(&mut self, other: &DirtyMap) {
        for (region, word) in other.dirty_regions() {
            self.add_word(region, word);
        }
    }

    /// At most so many runs that hold all that is set: the narrowest gaps are closed where there would be more.
    pub fn runs(&self, runs_max: usize) -> Vec<(VolumeIndex, Extent)> {
        let mut runs: Vec<(usize, u64, u64)> = Vec::new();
        for (region, word) in self.dirty_regions() {
            let volume = usize::from(region.volume.0);
            let mut left = word;
            // A run of ones at a time: a map that is all set has as few steps as words.
            while left != 0 {
                let first = left.trailing_zeros();
                let length = (left >> first).trailing_ones();
                left = if first + length == 64 { 0 } else { left >> (first + length) << (first + length) };
                let (start, end) =
                    (64 * region.index + u64::from(first), 64 * region.index + u64::from(first + length));
                match runs.last_mut() {
                    Some((last, _, before)) if *last == volume && *before == start => *before = end,
                    _ => runs.push((volume, start, end)),
                }
            }
            if runs.len() > 2 * runs_max {
                close_gaps(&mut runs, runs_max);
            }
        }
        close_gaps(&mut runs, runs_max);
        let extent = |(volume, first, end): (usize, u64, u64)| {
            let bits = &self.volumes[volume];
            let lba = first << bits.shift;
            let blocks = ((end - first) << bits.shift).min(bits.capacity.0 - lba);
            let extent = Extent::new(Lba(lba), BlockCount(blocks), bits.capacity).expect("cut to the capacity");
            (VolumeIndex(volume as u16), extent)
        };
        runs.into_iter().map(extent).collect()
    }

    /// What is set, in order, until it is so many bytes; and how many lie beyond.
    pub fn first(&self, bytes_max: u64) -> (Vec<(VolumeIndex, Extent)>, u64) {
        let mut few = DirtyMap { volumes: Vec::new(), ..*self };
        few.volumes = self
            .volumes
            .iter()
            .map(|bits| Bits { words: vec![0; bits.words.len()], lowest: usize::MAX, set: 0, ..*bits })
            .collect();
        few.set = 0;
        let mut room = bytes_max / self.piece_bytes;
        for (region, mut word) in self.dirty_regions() {
            while u64::from(word.count_ones()) > room {
                word &= !(1 << (63 - word.leading_zeros()));
            }
            room -= u64::from(word.count_ones());
            few.add_word(region, word);
            if room == 0 {
                break;
            }
        }
        (few.runs(usize::MAX / 2), self.bytes() - few.bytes())
    }

    pub fn is_empty(&self) -> bool {
        self.set == 0
    }

    /// An upper bound: the last piece of a volume may be shorter.
    pub fn bytes(&self) -> u64 {
        self.set * self.piece_bytes
    }

    pub fn bytes_of(&self, volume: usize) -> u64 {
        self.volumes[volume].set * self.piece_bytes
    }

    pub fn set(&mut self, volume: VolumeIndex, extent: Extent) {
        if extent.is_empty() {
            return;
        }
        let bits = &mut self.volumes[usize::from(volume.0)];
        let (first, last) = (extent.lba().0 >> bits.shift, (extent.end().0 - 1) >> bits.shift);
        bits.lowest = bits.lowest.min((first / 64) as usize);
        for piece in first..=last {
            let (word, bit) = (&mut bits.words[(piece / 64) as usize], 1 << (piece % 64));
            let more = u64::from(*word & bit == 0);
            self.set += more;
            bits.set += more;
            *word |= bit;
        }
    }

    pub fn set_all(&mut self) {
        self.set = 0;
        for bits in &mut self.volumes {
            bits.words.fill(u64::MAX);
            if bits.pieces % 64 != 0
                && let Some(last) = bits.words.last_mut()
            {
                *last = (1 << (bits.pieces % 64)) - 1;
            }
            bits.lowest = 0;
            bits.set = bits.pieces;
            self.set += bits.pieces;
        }
    }

    pub fn clear(&mut self) {
        if self.set > 0 {
            self.set = 0;
            for bits in &mut self.volumes {
                bits.words.fill(0);
                bits.lowest = usize::MAX;
                bits.set = 0;
            }
        }
    }

    /// Some piece of these blocks is set.
    pub fn any(&self, volume: VolumeIndex, extent: Extent) -> bool {
        self.set > 0 && self.masks(volume, extent).any(|(region, mask)| self.word(region) & mask != 0)
    }

    /// None of these pieces any more. Whether any was.
    pub fn unset(&mut self, volume: VolumeIndex, extent: Extent) -> bool {
        let mut some = false;
        for (region, mask) in self.masks(volume, extent) {
            let bits = &mut self.volumes[usize::from(volume.0)];
            let word = &mut bits.words[region.index as usize];
            let fewer = u64::from((*word & mask).count_ones());
            *word &= !mask;
            bits.set -= fewer;
            self.set -= fewer;
            some |= fewer > 0;
        }
        some
    }

    /// Everything that `other` has; which is empty afterwards.
    pub fn take_over(&mut self, other: &mut DirtyMap) {
        if other.set == 0 {
            return;
        }
        self.set = 0;
        for (bits, others) in self.volumes.iter_mut().zip(&other.volumes) {
            bits.lowest = bits.lowest.min(others.lowest);
            bits.set = 0;
            for (word, more) in bits.words.iter_mut().zip(&others.words) {
                *word |= more;
                bits.set += u64::from(word.count_ones());
            }
            self.set += bits.set;
        }
        other.clear();
    }

    /// The first run of dirty pieces, at most `pieces_max` of them. They are clean afterwards.
    pub fn take(&mut self, pieces_max: u64) -> Option<(VolumeIndex, Extent)> {
        if self.set == 0 {
            return None;
        }
        let (index, first) =
            self.volumes.iter_mut().enumerate().find_map(|(index, bits)| Some((index, bits.first()?)))?;
        let bits = &mut self.volumes[index];
        let mut end = first;
        while end - first < pieces_max && end < bits.pieces && bits.words[(end / 64) as usize] & (1 << (end % 64)) != 0
        {
            bits.words[(end / 64) as usize] &= !(1 << (end % 64));
            end += 1;
        }
        self.set -= end - first;
        bits.set -= end - first;
        let lba = first << bits.shift;
        let blocks = ((end - first) << bits.shift).min(bits.capacity.0 - lba);
        let extent = Extent::new(Lba(lba), BlockCount(blocks), bits.capacity).expect("cut to the capacity");
        Some((VolumeIndex(index as u16), extent))
    }
}

impl Bits {
    /// The first dirty piece.
    fn first(&mut self) -> Option<u64> {
        while let Some(word) = self.words.get(self.lowest) {
            if *word != 0 {
                return Some(self.lowest as u64 * 64 + u64::from(word.trailing_zeros()));
            }
            self.lowest += 1;
        }
        self.lowest = usize::MAX;
        None
    }
}

/// Until there are at most so many, but for one a volume.
fn close_gaps(runs: &mut Vec<(usize, u64, u64)>, runs_max: usize) {
    let mut gap = 1;
    while runs.len() > runs_max && gap < 1 << 60 {
        gap *= 4;
        runs.dedup_by(|next, run| {
            let joins = next.0 == run.0 && next.1 - run.2 <= gap;
            if joins {
                run.2 = next.2;
            }
            joins
        });
    }
}

/// What the peer has applied and not yet said to be durable: a peer that restarts may have lost it.
#[derive(Clone, Debug)]
pub(super) struct Undurable {
    /// Applied up to the number beside it.
    former: DirtyMap,
    former_upto: u64,
    current: DirtyMap,
    applied_upto: u64,
}

impl Undurable {
    pub fn new(volumes: &[VolumeSpec], piece_bytes: u64) -> Undurable {
        let empty = DirtyMap::new(volumes, piece_bytes);
        Undurable { former: empty.clone(), former_upto: 0, current: empty, applied_upto: 0 }
    }

    pub fn applied(&mut self, seq: u64, volume: VolumeIndex, extent: Extent) {
        self.current.set(volume, extent);
        self.applied_upto = self.applied_upto.max(seq);
    }

    /// The peer has everything up to `seq` on its medium.
    pub fn durable(&mut self, seq: u64) {
        if seq >= self.former_upto {
            self.former.clear();
            if !self.current.is_empty() {
                std::mem::swap(&mut self.former, &mut self.current);
                self.former_upto = self.applied_upto;
            }
            if seq >= self.former_upto {
                self.former.clear();
            }
        }
    }

    /// The peer restarted: all of it is to be sent again.
    pub fn lost(&mut self, dirty: &mut DirtyMap) {
        dirty.take_over(&mut self.former);
        dirty.take_over(&mut self.current);
    }

    pub fn word(&self, region: Region) -> u64 {
        self.former.word(region) | self.current.word(region)
    }

    /// As `lost`, and it stays.
    pub fn add_to(&self, dirty: &mut DirtyMap) {
        dirty.add(&self.former);
        dirty.add(&self.current);
    }

    pub fn clear(&mut self) {
        self.former.clear();
        self.current.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extent::BlockLength;

    const PIECE_BYTES: u64 = 64 << 10;

    fn volumes() -> Vec<VolumeSpec> {
        [300, 128]
            .map(|capacity| VolumeSpec {
                name: "v".into(),
                block_length: BlockLength::B512,
                capacity: BlockCount(capacity),
            })
            .into()
    }

    fn extent(lba: u64, blocks: u64) -> Extent {
        Extent::new(Lba(lba), BlockCount(blocks), BlockCount(300)).expect("fits")
    }

    #[test]
    fn dirty_pieces_come_out_once_in_runs_and_cut_to_the_capacity() {
        let mut map = DirtyMap::new(&volumes(), PIECE_BYTES);
        map.set(VolumeIndex(0), extent(127, 2));
        map.set(VolumeIndex(0), extent(299, 1));
        map.set(VolumeIndex(0), extent(5, 0));
        assert_eq!(map.bytes(), 3 * PIECE_BYTES);
        assert_eq!(map.take(2), Some((VolumeIndex(0), extent(0, 256))));
        assert_eq!(map.take(2), Some((VolumeIndex(0), extent(256, 44))));
        assert_eq!((map.take(2), map.is_empty()), (None, true));
        map.set_all();
        assert_eq!(map.bytes(), 4 * PIECE_BYTES);
        assert_eq!(map.take(9), Some((VolumeIndex(0), extent(0, 300))));
        assert_eq!(map.take(9), Some((VolumeIndex(1), extent(0, 128))));
        assert_eq!(map.take(9), None);
    }

    #[test]
    fn pieces_can_be_looked_for_and_taken_out() {
        let mut map = DirtyMap::new(&volumes(), 512);
        map.set(VolumeIndex(0), extent(60, 10));
        assert!(map.any(VolumeIndex(0), extent(69, 9)) && !map.any(VolumeIndex(0), extent(70, 9)));
        assert!(!map.any(VolumeIndex(1), extent(60, 10)) && !map.any(VolumeIndex(0), extent(60, 0)));
        assert!(map.unset(VolumeIndex(0), extent(62, 4)) && !map.unset(VolumeIndex(0), extent(62, 4)));
        assert_eq!(map.bytes(), 6 * 512);
        assert_eq!(map.take(9), Some((VolumeIndex(0), extent(60, 2))));
        assert_eq!(map.take(9), Some((VolumeIndex(0), extent(66, 4))));
    }

    #[test]
    fn words_are_regions_and_runs_cover_what_is_set_with_few() {
        let mut map = DirtyMap::new(&volumes(), 512);
        map.set(VolumeIndex(0), extent(62, 4));
        let region = |volume, index| Region { volume: VolumeIndex(volume), index };
        assert_eq!((map.word(region(0, 0)), map.word(region(0, 1))), (3 << 62, 3));
        let masks = [(region(0, 0), 1 << 63), (region(0, 1), u64::MAX), (region(0, 2), 1)];
        assert!(map.masks(VolumeIndex(0), extent(63, 66)).eq(masks));
        map.add_word(region(0, 4), u64::MAX);
        assert_eq!(map.bytes(), (4 + 300 - 256) * 512, "nothing beyond the end of the volume");
        map.set(VolumeIndex(0), extent(70, 1));
        map.set(VolumeIndex(1), extent(9, 1));
        let all = map.runs(9);
        assert_eq!(all.len(), 4);
        let few = map.runs(3);
        assert_eq!(few[0], (VolumeIndex(0), extent(62, 9)));
        assert_eq!((few.len(), map.runs(1).len()), (3, 2), "one run a volume is the least");
        let mut copy = DirtyMap::new(&volumes(), 512);
        copy.add(&map);
        assert_eq!(copy.bytes(), map.bytes());
    }

    #[test]
    fn what_was_applied_counts_until_a_later_word_says_durable() {
        let mut undurable = Undurable::new(&volumes(), PIECE_BYTES);
        let mut dirty = DirtyMap::new(&volumes(), PIECE_BYTES);
        undurable.applied(1, VolumeIndex(0), extent(0, 1));
        undurable.applied(5, VolumeIndex(0), extent(128, 1));
        undurable.durable(3);
        undurable.clone().lost(&mut dirty);
        assert_eq!(dirty.bytes(), 2 * PIECE_BYTES, "5 is not durable, and 1 stands beside it");
        undurable.durable(5);
        dirty.clear();
        undurable.applied(6, VolumeIndex(1), extent(0, 1));
        undurable.lost(&mut dirty);
        assert_eq!(dirty.take(1), Some((VolumeIndex(1), extent(0, 128))));
        assert!(dirty.is_empty());
    }
}
