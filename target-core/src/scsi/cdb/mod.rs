//! Command descriptor blocks: fields read of a CDB, and one function per layout that makes a `Request` of them.
//!
//! A function here runs after the opcode table has checked the CDB's length and its reserved bits, so it only reads
//! fields and refuses their reserved values.

pub mod sbc;
pub mod spc;

use super::request::Request;
use super::sense::Sense;

/// What a layout makes of a CDB.
pub type Parsed = Result<Request, Sense>;

/// A CDB's bytes. A byte behind its end reads as zero, so no field can be out of bounds.
#[derive(Clone, Copy)]
pub struct Cdb<'a>(pub &'a [u8]);

impl Cdb<'_> {
    #[inline]
    pub fn byte(self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or(0)
    }

    #[inline]
    pub fn bit(self, at: usize, bit: u8) -> bool {
        self.byte(at) & (1 << bit) != 0
    }

    #[inline]
    pub fn be16(self, at: usize) -> u16 {
        u16::from_be_bytes(self.array(at))
    }

    #[inline]
    pub fn be24(self, at: usize) -> u32 {
        let [a, b, c]: [u8; 3] = self.array(at);
        u32::from_be_bytes([0, a, b, c])
    }

    #[inline]
    pub fn be32(self, at: usize) -> u32 {
        u32::from_be_bytes(self.array(at))
    }

    #[inline]
    pub fn be64(self, at: usize) -> u64 {
        u64::from_be_bytes(self.array(at))
    }

    #[inline]
    fn array<const N: usize>(self, at: usize) -> [u8; N] {
        match self.0.get(at..).and_then(|rest| rest.first_chunk()) {
            Some(chunk) => *chunk,
            None => std::array::from_fn(|i| self.byte(at + i)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Cdb;

    #[test]
    fn fields_are_big_endian_and_zero_behind_the_end() {
        let cdb = Cdb(&[1, 2, 3, 4]);
        assert_eq!((cdb.be16(0), cdb.be24(1), cdb.be32(0)), (0x0102, 0x0002_0304, 0x0102_0304));
        assert_eq!((cdb.be16(3), cdb.be32(9), cdb.byte(4)), (0x0400, 0, 0));
        assert!(cdb.bit(2, 0) && !cdb.bit(2, 7));
    }
}
