//! Which blocks the peer may lack: one bit a piece of [`PIECE_BYTES`].

use crate::config::VolumeSpec;
use crate::extent::{BlockCount, Extent, Lba};
use crate::ids::VolumeIndex;

/// Bytes that one bit stands for.
pub(super) const PIECE_BYTES: u64 = 64 << 10;

/// Every volume of a group.
#[derive(Clone, Debug)]
pub(super) struct DirtyMap {
    volumes: Vec<Bits>,
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
    pub fn new(volumes: &[VolumeSpec]) -> DirtyMap {
        let volumes = volumes
            .iter()
            .map(|volume| {
                let shift = PIECE_BYTES.trailing_zeros() - volume.block_length.shift();
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
        DirtyMap { volumes, set: 0 }
    }

    pub fn is_empty(&self) -> bool {
        self.set == 0
    }

    /// An upper bound: the last piece of a volume may be shorter.
    pub fn bytes(&self) -> u64 {
        self.set * PIECE_BYTES
    }

    pub fn bytes_of(&self, volume: usize) -> u64 {
        self.volumes[volume].set * PIECE_BYTES
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
    pub fn new(volumes: &[VolumeSpec]) -> Undurable {
        let empty = DirtyMap::new(volumes);
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

    pub fn clear(&mut self) {
        self.former.clear();
        self.current.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extent::BlockLength;

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
        let mut map = DirtyMap::new(&volumes());
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
    fn what_was_applied_counts_until_a_later_word_says_durable() {
        let mut undurable = Undurable::new(&volumes());
        let mut dirty = DirtyMap::new(&volumes());
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
