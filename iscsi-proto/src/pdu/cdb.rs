//! The command descriptor block, as far as the transport knows it: bytes.

use std::ops::Deref;

use smallvec::SmallVec;

/// Longest CDB of SPC-5 (§4.2.3): ADDITIONAL CDB LENGTH, at most 252, counts the bytes after the first 8.
pub const CDB_LENGTH_MAX: usize = 260;

/// READ(32) and its kin stay on the stack.
const INLINE_LENGTH: usize = 32;

/// What the BHS holds of a CDB; shorter ones are padded with zeroes.
pub(super) const BHS_CDB_LENGTH: usize = 16;

/// 16 bytes of the BHS, and those of the Extended CDB AHS if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cdb(SmallVec<[u8; INLINE_LENGTH]>);

impl Cdb {
    /// `None` for more than [`CDB_LENGTH_MAX`] bytes; fewer than 16 are filled up with zeroes, as on the wire.
    pub fn new(bytes: &[u8]) -> Option<Cdb> {
        if bytes.len() > CDB_LENGTH_MAX {
            return None;
        }
        let mut cdb = SmallVec::from_slice(bytes);
        cdb.resize(bytes.len().max(BHS_CDB_LENGTH), 0);
        Some(Cdb(cdb))
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn from_header(bytes: [u8; BHS_CDB_LENGTH]) -> Cdb {
        Cdb(SmallVec::from_slice(&bytes))
    }

    /// Appends what the Extended CDB AHS holds; false if that is too much.
    pub(super) fn extend(&mut self, spillover: &[u8]) -> bool {
        let fits = self.0.len() + spillover.len() <= CDB_LENGTH_MAX;
        if fits {
            self.0.extend_from_slice(spillover);
        }
        fits
    }

    pub(super) fn in_header(&self) -> [u8; BHS_CDB_LENGTH] {
        *self.0.first_chunk().expect("every constructor fills up to 16 bytes")
    }

    /// What does not fit the BHS.
    pub(super) fn spillover(&self) -> &[u8] {
        &self.0[BHS_CDB_LENGTH..]
    }
}

impl Deref for Cdb {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_cdbs_are_filled_up_and_long_ones_refused() {
        assert_eq!(Cdb::new(&[0x12, 0, 0, 0, 36, 0]).map(|cdb| cdb.len()), Some(16));
        assert_eq!(Cdb::new(&[0x7f; 32]).map(|cdb| cdb.spillover().len()), Some(16));
        assert_eq!(Cdb::new(&[0x7f; CDB_LENGTH_MAX + 1]), None);
    }
}
