//! Residual counts (RFC 7143 §11.4.5).

use super::PduFault;

/// How what was to be transferred differs from what the initiator expected.
///
/// "Bits O and U and bits o and u are mutually exclusive" (RFC 7143 §11.4.1): so they are one value here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Residual {
    #[default]
    None,
    /// Bytes not transferred because the Expected Data Transfer Length was not sufficient.
    Overflow(u32),
    /// Bytes not transferred out of those expected.
    Underflow(u32),
}

impl Residual {
    /// "If SPDTL > EDTL for a task, iSCSI Overflow MUST be signaled … set to (SPDTL - EDTL). If SPDTL < EDTL for a task,
    /// iSCSI Underflow MUST be signaled … set to (EDTL - SPDTL)." (RFC 7143 §11.4.5.2)
    pub fn of(presented: u64, expected: u32) -> Residual {
        let expected = u64::from(expected);
        let count = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
        match presented.cmp(&expected) {
            std::cmp::Ordering::Equal => Residual::None,
            std::cmp::Ordering::Greater => Residual::Overflow(count(presented - expected)),
            std::cmp::Ordering::Less => Residual::Underflow(count(expected - presented)),
        }
    }

    pub(super) fn count(self) -> u32 {
        match self {
            Residual::None => 0,
            Residual::Overflow(count) | Residual::Underflow(count) => count,
        }
    }

    /// The flags of byte 1: `overflow` for the O bit, `underflow` for the U bit.
    pub(super) fn flags(self, overflow: u8, underflow: u8) -> u8 {
        match self {
            Residual::None => 0,
            Residual::Overflow(_) => overflow,
            Residual::Underflow(_) => underflow,
        }
    }

    pub(super) fn parse(overflow: bool, underflow: bool, count: u32) -> Result<Residual, PduFault> {
        match (overflow, underflow) {
            (false, false) => Ok(Residual::None),
            (true, false) => Ok(Residual::Overflow(count)),
            (false, true) => Ok(Residual::Underflow(count)),
            (true, true) => Err(PduFault::OverflowAndUnderflow),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn difference_has_a_direction() {
        assert_eq!(Residual::of(512, 512), Residual::None);
        assert_eq!(Residual::of(1024, 512), Residual::Overflow(512));
        assert_eq!(Residual::of(0, 512), Residual::Underflow(512));
        assert_eq!(Residual::of(u64::MAX, 0), Residual::Overflow(u32::MAX));
    }
}
