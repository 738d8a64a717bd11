//! READ CAPACITY (SBC-4 §5.20, §5.21).

/// What READ CAPACITY tells of a medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadCapacity {
    /// Logical blocks, at least one.
    pub blocks: u64,
    /// LOGICAL BLOCK LENGTH IN BYTES
    pub block_length: u32,
    /// LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT
    pub physical_block_exponent: u8,
    /// LOWEST ALIGNED LOGICAL BLOCK ADDRESS
    pub lowest_aligned: u16,
    /// LBPME, and with it LBPRZ.
    pub thin: bool,
}

impl ReadCapacity {
    /// READ CAPACITY (10).
    pub fn encode_10(&self) -> [u8; 8] {
        // "If the … last logical block … exceeds … FFFF_FFFFh … the device server shall set the RETURNED LOGICAL BLOCK
        // ADDRESS field to FFFF_FFFFh": ask again with READ CAPACITY (16).
        let last = u32::try_from(self.last_lba()).unwrap_or(u32::MAX);
        let mut out = [0; 8];
        out[..4].copy_from_slice(&last.to_be_bytes());
        out[4..].copy_from_slice(&self.block_length.to_be_bytes());
        out
    }

    /// READ CAPACITY (16), to be cut to the ALLOCATION LENGTH.
    pub fn encode_16(&self) -> [u8; 32] {
        const LBPME_LBPRZ: u16 = 0xC000;
        let mut out = [0; 32];
        out[..8].copy_from_slice(&self.last_lba().to_be_bytes());
        out[8..12].copy_from_slice(&self.block_length.to_be_bytes());
        out[13] = self.physical_block_exponent & 0x0F;
        let provisioning = if self.thin { LBPME_LBPRZ } else { 0 };
        out[14..16].copy_from_slice(&(provisioning | self.lowest_aligned & 0x3FFF).to_be_bytes());
        out
    }

    fn last_lba(&self) -> u64 {
        self.blocks.saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::ReadCapacity;

    const DISK: ReadCapacity = ReadCapacity {
        blocks: 0x18_0000,
        block_length: 512,
        physical_block_exponent: 3,
        lowest_aligned: 7,
        thin: true,
    };

    #[test]
    fn capacities_are_byte_exact() {
        assert_eq!(DISK.encode_10(), [0, 0x17, 0xFF, 0xFF, 0, 0, 2, 0]);
        let long = DISK.encode_16();
        assert_eq!(long[..16], [0, 0, 0, 0, 0, 0x17, 0xFF, 0xFF, 0, 0, 2, 0, 0, 3, 0xC0, 7]);
        assert_eq!(long[16..], [0; 16]);
        assert_eq!(ReadCapacity { thin: false, ..DISK }.encode_16()[14], 0);
    }

    #[test]
    fn a_capacity_too_large_for_10_bytes_says_so() {
        let at = |blocks| ReadCapacity { blocks, ..DISK }.encode_10()[..4].to_vec();
        assert_eq!(at(0xFFFF_FFFF), [0xFF, 0xFF, 0xFF, 0xFE]);
        assert_eq!(at(1 << 40), [0xFF; 4]);
    }
}
