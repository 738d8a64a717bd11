//! Addresses on a block device: [`Lba`], [`BlockCount`], [`BlockLength`], and [`Extent`], a range proven to lie on the device.

use std::fmt;

/// A logical block address, counted in logical blocks from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lba(pub u64);

/// A number of logical blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockCount(pub u64);

/// Bytes in one logical block: a power of two from 512 to 4096 (a count of bytes is then a shift).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockLength {
    shift: u8,
}

impl BlockLength {
    pub const B512: BlockLength = BlockLength { shift: 9 };
    pub const B4096: BlockLength = BlockLength { shift: 12 };

    /// `None` unless `bytes` is 512, 1024, 2048 or 4096.
    pub fn new(bytes: u32) -> Option<BlockLength> {
        (bytes.is_power_of_two() && (512..=4096).contains(&bytes))
            .then(|| BlockLength { shift: bytes.trailing_zeros() as u8 })
    }

    pub fn bytes(self) -> u32 {
        1 << self.shift
    }

    pub fn shift(self) -> u32 {
        u32::from(self.shift)
    }
}

/// One or more blocks, or none, all of which lie on the device they were checked against.
///
/// [`Extent::new`] is the only door, so nobody behind it checks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extent {
    lba: Lba,
    blocks: BlockCount,
}

/// The range does not lie within the capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{blocks} blocks at LBA {lba} do not fit a capacity of {capacity} blocks")]
pub struct OutOfRange {
    pub lba: u64,
    pub blocks: u64,
    pub capacity: u64,
}

impl Extent {
    /// `blocks` may be 0, and then `lba` may equal the capacity at most.
    pub fn new(lba: Lba, blocks: BlockCount, capacity: BlockCount) -> Result<Extent, OutOfRange> {
        match lba.0.checked_add(blocks.0) {
            Some(end) if end <= capacity.0 => Ok(Extent { lba, blocks }),
            _ => Err(OutOfRange { lba: lba.0, blocks: blocks.0, capacity: capacity.0 }),
        }
    }

    pub fn lba(self) -> Lba {
        self.lba
    }

    pub fn blocks(self) -> BlockCount {
        self.blocks
    }

    /// The first LBA behind the extent.
    pub fn end(self) -> Lba {
        Lba(self.lba.0 + self.blocks.0)
    }

    pub fn is_empty(self) -> bool {
        self.blocks.0 == 0
    }

    /// They have a block in common.
    pub fn overlaps(self, other: Extent) -> bool {
        !self.is_empty() && !other.is_empty() && self.lba < other.end() && other.lba < self.end()
    }

    /// The first `blocks` blocks of this extent, or all of it where it is shorter.
    pub fn truncated(self, blocks: BlockCount) -> Extent {
        Extent { lba: self.lba, blocks: self.blocks.min(blocks) }
    }

    /// Cut into pieces of at most `blocks` (> 0) blocks, in order.
    pub fn pieces(self, blocks: BlockCount) -> impl Iterator<Item = Extent> {
        assert!(blocks.0 > 0, "a piece has at least one block");
        (self.lba.0..self.end().0)
            .step_by(blocks.0 as usize)
            .map(move |lba| Extent { lba: Lba(lba), blocks: BlockCount(blocks.0.min(self.end().0 - lba)) })
    }

    pub fn byte_offset(self, block_length: BlockLength) -> u64 {
        self.lba.0 << block_length.shift()
    }

    pub fn byte_length(self, block_length: BlockLength) -> u64 {
        self.blocks.0 << block_length.shift()
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.lba.0, self.blocks.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn extent(lba: u64, blocks: u64) -> Extent {
        Extent::new(Lba(lba), BlockCount(blocks), BlockCount(u64::MAX)).expect("fits")
    }

    #[test]
    fn block_lengths_are_powers_of_two_from_512_to_4096() {
        let lengths: Vec<u32> = (0..=8192).filter(|&bytes| BlockLength::new(bytes).is_some()).collect();
        assert_eq!(lengths, [512, 1024, 2048, 4096]);
        assert!(lengths.iter().all(|&bytes| BlockLength::new(bytes).map(BlockLength::bytes) == Some(bytes)));
        assert_eq!(BlockLength::new(1 << 31), None);
    }

    #[test]
    fn an_extent_fits_or_is_refused() {
        let fits = |lba, blocks| Extent::new(Lba(lba), BlockCount(blocks), BlockCount(10)).is_ok();
        assert!(fits(0, 10) && fits(9, 1) && fits(10, 0) && fits(0, 0));
        assert!(!fits(0, 11) && !fits(10, 1) && !fits(11, 0));
        assert!(!fits(u64::MAX, 1) && !fits(1, u64::MAX) && !fits(u64::MAX, u64::MAX), "no overflow");
        let error = Extent::new(Lba(9), BlockCount(2), BlockCount(10)).expect_err("refused");
        assert_eq!(error.to_string(), "2 blocks at LBA 9 do not fit a capacity of 10 blocks");
    }

    #[test]
    fn bytes_are_counted_in_blocks() {
        assert_eq!(extent(3, 2).byte_offset(BlockLength::B512), 1536);
        assert_eq!(extent(3, 2).byte_length(BlockLength::B4096), 8192);
    }

    #[test]
    fn neighbours_and_empty_extents_do_not_overlap() {
        assert!(extent(0, 2).overlaps(extent(1, 1)) && extent(1, 1).overlaps(extent(0, 2)));
        assert!(!extent(0, 2).overlaps(extent(2, 1)) && !extent(2, 1).overlaps(extent(0, 2)));
        assert!(!extent(0, 0).overlaps(extent(0, 1)));
    }

    proptest! {
        #[test]
        fn pieces_are_the_extent_in_order(lba in 0..1_u64 << 40, blocks in 0..5000_u64, most in 1..700_u64) {
            let whole = extent(lba, blocks);
            let mut next = whole.lba();
            for piece in whole.pieces(BlockCount(most)) {
                prop_assert_eq!(piece.lba(), next);
                prop_assert!(!piece.is_empty() && piece.blocks().0 <= most);
                next = piece.end();
            }
            prop_assert_eq!(next, whole.end());
            prop_assert_eq!(whole.truncated(BlockCount(most)).blocks().0, blocks.min(most));
        }

        #[test]
        fn overlap_is_a_common_block(a in 0..20_u64, m in 1..5_u64, b in 0..20_u64, n in 1..5_u64) {
            let common = (a..a + m).any(|block| (b..b + n).contains(&block));
            prop_assert_eq!(extent(a, m).overlaps(extent(b, n)), common);
        }
    }
}
