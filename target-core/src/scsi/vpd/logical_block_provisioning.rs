//! B2h, Logical Block Provisioning (SBC-4 §6.6.6).

use super::{Page, VitalProductData};

/// How the logical unit's blocks are backed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provisioning {
    /// Thin provisioned: LBPME, and UNMAP by all three ways. Otherwise fully provisioned.
    pub thin: bool,
    /// Anchored blocks are told from deallocated ones (ANC_SUP).
    pub anchor: bool,
}

pub(super) fn encode(data: &VitalProductData, page: &mut Page) {
    const LBPU_LBPWS_LBPWS10: u8 = 0xE0;
    /// Unmapped blocks read as zeroes.
    const LBPRZ: u8 = 0b001 << 2;
    const ANC_SUP: u8 = 0x02;
    const THIN_PROVISIONED: u8 = 0b010;
    let Provisioning { thin, anchor } = data.provisioning;
    let flags = match (thin, anchor) {
        (false, _) => 0,
        (true, false) => LBPU_LBPWS_LBPWS10 | LBPRZ,
        (true, true) => LBPU_LBPWS_LBPWS10 | LBPRZ | ANC_SUP,
    };
    page.put(&if thin { [THRESHOLD_EXPONENT, flags, THIN_PROVISIONED, 0] } else { [0; 4] });
}

/// log2 of the blocks in a threshold set, the unit of the Logical Block Provisioning log page: 1 MiB of 512-byte blocks.
pub(in crate::scsi) const THRESHOLD_EXPONENT: u8 = 11;

#[cfg(test)]
mod tests {
    use super::super::tests::with_sample;
    use super::*;

    #[test]
    fn thin_tells_all_three_ways_to_unmap() {
        with_sample(|data| {
            let page = |thin, anchor| {
                let mut data = *data;
                data.provisioning = Provisioning { thin, anchor };
                data.page(0xB2).expect("page")
            };
            assert_eq!(page(true, true), [0, 0xB2, 0, 4, 11, 0xE6, 2, 0]);
            assert_eq!(page(true, false), [0, 0xB2, 0, 4, 11, 0xE4, 2, 0]);
            assert_eq!(page(false, true), [0, 0xB2, 0, 4, 0, 0, 0, 0]);
        });
    }
}
