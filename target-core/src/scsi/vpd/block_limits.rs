//! B0h, Block Limits (SBC-4 §6.6.4), and the checks that go with them.

use super::{Page, VitalProductData};
use crate::scsi::request::LbaRange;
use crate::scsi::sense::{Asc, Sense};

/// In logical blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockLimits {
    pub compare_and_write_max: u8,
    pub transfer_granularity: u16,
    /// MAXIMUM TRANSFER LENGTH of every command that moves its blocks.
    pub transfer_max: u32,
    pub transfer_optimal: u32,
    pub prefetch_max: u32,
    /// Of one UNMAP command, all descriptors together; 0 where UNMAP is not supported.
    pub unmap_max: u32,
    pub unmap_descriptors_max: u32,
    pub unmap_granularity: u32,
    pub write_same_max: u64,
    pub atomic_max: u32,
    pub atomic_alignment: u32,
    pub atomic_granularity: u32,
}

impl BlockLimits {
    /// `unmap_granularity`: blocks worth unmapping, at least 1. `thin`: UNMAP is supported.
    pub fn new(block_length: u32, physical_block_exponent: u8, unmap_granularity: u64, thin: bool) -> BlockLimits {
        let blocks = |bytes: u32| bytes / block_length;
        let physical = 1 << physical_block_exponent.min(7);
        BlockLimits {
            compare_and_write_max: 255,
            transfer_granularity: physical as u16,
            transfer_max: blocks(TRANSFER_BYTES_MAX),
            transfer_optimal: blocks(TRANSFER_BYTES_OPTIMAL),
            prefetch_max: blocks(TRANSFER_BYTES_MAX),
            unmap_max: if thin { UNMAP_BLOCKS_MAX } else { 0 },
            unmap_descriptors_max: if thin { UNMAP_DESCRIPTORS_MAX } else { 0 },
            unmap_granularity: if thin { unmap_granularity.clamp(1, u64::from(UNMAP_BLOCKS_MAX)) as u32 } else { 0 },
            write_same_max: blocks(WRITE_SAME_BYTES_MAX).into(),
            // Two blocks at least, so that initiators learn to look at it; a whole number of physical blocks.
            atomic_alignment: physical.max(2),
            atomic_granularity: physical.max(2),
            atomic_max: blocks(ATOMIC_BYTES_MAX),
        }
    }

    /// A transfer of that many blocks, whose length the CDB has at byte `at`: "the device server shall terminate the
    /// command with … INVALID FIELD IN CDB".
    pub fn check_transfer(&self, blocks: u64, at: u16) -> Result<(), Sense> {
        refuse_unless(blocks <= self.transfer_max.into(), at)
    }

    pub fn check_compare_and_write(&self, range: LbaRange) -> Result<(), Sense> {
        refuse_unless(range.blocks <= self.compare_and_write_max.into(), 13)
    }

    /// `blocks`: how many will be written, a zero length already resolved. The length's byte is another one in each CDB, so
    /// the sense points at none.
    pub fn check_write_same(&self, blocks: u64) -> Result<(), Sense> {
        if blocks <= self.write_same_max { Ok(()) } else { Err(Sense::illegal_request(Asc::INVALID_FIELD_IN_CDB)) }
    }

    /// SBC-4 §5.47: alignment, granularity and length; ask after the LBA range was checked.
    pub fn check_atomic(&self, range: LbaRange, boundary: u16) -> Result<(), Sense> {
        refuse_unless(boundary == 0, 10)?;
        refuse_unless(range.lba.is_multiple_of(self.atomic_alignment.into()), 2)?;
        refuse_unless(range.blocks.is_multiple_of(self.atomic_granularity.into()), 12)?;
        refuse_unless(range.blocks <= self.atomic_max.into(), 12)
    }
}

fn refuse_unless(fits: bool, byte: u16) -> Result<(), Sense> {
    if fits { Ok(()) } else { Err(Sense::invalid_field_in_cdb(byte, None)) }
}

pub(super) fn encode(data: &VitalProductData, page: &mut Page) {
    let limits = &data.limits;
    // WSNZ is zero: a WRITE SAME of 0 blocks goes to the end.
    page.put(&[0, limits.compare_and_write_max]);
    page.put16(limits.transfer_granularity);
    page.put32(limits.transfer_max);
    page.put32(limits.transfer_optimal);
    page.put32(limits.prefetch_max);
    page.put32(limits.unmap_max);
    page.put32(limits.unmap_descriptors_max);
    page.put32(limits.unmap_granularity);
    page.put32(if limits.unmap_granularity > 0 { UGAVALID } else { 0 });
    page.put(&limits.write_same_max.to_be_bytes());
    page.put32(limits.atomic_max);
    page.put32(limits.atomic_alignment);
    page.put32(limits.atomic_granularity);
    // No atomic boundaries.
    page.put32(0);
    page.put32(0);
}

/// The alignment of unmapping is 0, and says so.
const UGAVALID: u32 = 1 << 31;

/// One command's data, all of which is in memory at once.
const TRANSFER_BYTES_MAX: u32 = 32 << 20;
/// Past it a command gains nothing.
const TRANSFER_BYTES_OPTIMAL: u32 = 1 << 20;
/// Bounds how long one WRITE SAME of data can take.
const WRITE_SAME_BYTES_MAX: u32 = 256 << 20;
/// Bounds how long one UNMAP can take; initiators split what is longer.
const UNMAP_BLOCKS_MAX: u32 = 1 << 20;
const UNMAP_DESCRIPTORS_MAX: u32 = 256;
/// A write this long is one write to the store.
const ATOMIC_BYTES_MAX: u32 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::super::tests::with_sample;
    use super::*;

    #[test]
    fn limits_are_byte_exact() {
        let page = with_sample(|data| data.page(0xB0)).expect("page");
        #[rustfmt::skip]
        assert_eq!(page, [
            0, 0xB0, 0, 60,  0, 255, 0, 8,
            0, 1, 0, 0,  0, 0, 8, 0,  0, 1, 0, 0,
            0, 0x10, 0, 0,  0, 0, 1, 0,  0, 0, 0, 8,  0x80, 0, 0, 0,
            0, 0, 0, 0, 0, 8, 0, 0,
            0, 0, 8, 0,  0, 0, 0, 8,  0, 0, 0, 8,  0, 0, 0, 0,  0, 0, 0, 0,
        ]);
    }

    #[test]
    fn without_thin_provisioning_there_is_no_unmap() {
        let limits = BlockLimits::new(4096, 0, 1, false);
        assert_eq!((limits.unmap_max, limits.unmap_descriptors_max, limits.unmap_granularity), (0, 0, 0));
        assert_eq!((limits.atomic_alignment, limits.atomic_granularity), (2, 2));
        assert!(limits.atomic_max >= 256 && limits.atomic_max <= limits.transfer_max);
    }

    #[test]
    fn atomic_writes_are_aligned_granular_and_short() {
        let limits = BlockLimits::new(512, 0, 1, true);
        let check = |lba, blocks| limits.check_atomic(LbaRange { lba, blocks }, 0);
        assert_eq!(check(2, 4), Ok(()));
        assert_eq!(check(2, 0), Ok(()));
        assert_eq!(check(1, 2), Err(Sense::invalid_field_in_cdb(2, None)));
        assert_eq!(check(0, 1), Err(Sense::invalid_field_in_cdb(12, None)));
        assert_eq!(check(0, 2050), Err(Sense::invalid_field_in_cdb(12, None)));
        assert!(limits.check_atomic(LbaRange { lba: 0, blocks: 2 }, 4).is_err());
    }
}
