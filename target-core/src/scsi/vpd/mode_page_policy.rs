//! 87h, Mode Page Policy (SPC-5 §7.7.11).

use super::Page;

pub(super) fn encode(page: &mut Page) {
    const ALL_PAGES: [u8; 2] = [0x3F, 0xFF];
    const SHARED: u8 = 0b00;
    page.put(&[ALL_PAGES[0], ALL_PAGES[1], SHARED, 0]);
}

#[cfg(test)]
mod tests {
    use super::super::tests::with_sample;

    #[test]
    fn all_pages_are_shared() {
        assert_eq!(with_sample(|data| data.page(0x87)).expect("page"), [0, 0x87, 0, 4, 0x3F, 0xFF, 0, 0]);
    }
}
