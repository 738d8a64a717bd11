//! 86h, Extended INQUIRY Data (SPC-5 §7.7.7).

use super::{Page, VitalProductData};

pub(super) fn encode(data: &VitalProductData, page: &mut Page) {
    const HEADSUP_ORDSUP_SIMPSUP: u8 = 0x07;
    const V_SUP: u8 = 0x01;
    page.put(&[0, HEADSUP_ORDSUP_SIMPSUP, if data.volatile_cache { V_SUP } else { 0 }]);
    page.pad_to(64);
}

#[cfg(test)]
mod tests {
    use super::super::tests::with_sample;

    #[test]
    fn task_attributes_and_the_cache_are_told_and_no_more() {
        let page = with_sample(|data| data.page(0x86)).expect("page");
        assert_eq!(page[..8], [0, 0x86, 0, 60, 0, 0x07, 0x01, 0]);
        assert!(page.len() == 64 && page[8..].iter().all(|byte| *byte == 0));
    }
}
