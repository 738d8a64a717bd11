//! B1h, Block Device Characteristics (SBC-4 §6.6.2).

use super::{Page, VitalProductData};

pub(super) fn encode(data: &VitalProductData, page: &mut Page) {
    /// Reads after a block erase, and after a cryptographic erase, complete without error.
    const WABEREQ_WACEREQ: u8 = 0b01 << 6 | 0b01 << 4;
    /// FUA and SYNCHRONIZE CACHE are as the standard says.
    const FUAB: u8 = 0x02;
    /// VERIFY of unmapped blocks is without error.
    const VBULS: u8 = 0x01;
    page.put16(data.rotation_rate);
    page.put(&[0, WABEREQ_WACEREQ, FUAB | VBULS]);
    page.pad_to(64);
}

#[cfg(test)]
mod tests {
    use super::super::tests::with_sample;

    #[test]
    fn erased_blocks_can_be_read() {
        let page = with_sample(|data| data.page(0xB1)).expect("page");
        assert_eq!(page[..10], [0, 0xB1, 0, 60, 0, 1, 0, 0x50, 0x03, 0]);
        assert_eq!(page.len(), 64);
    }
}
