//! B3h, Referrals (SBC-4 §6.6.7): one user data segment, the whole medium, through every port.

use super::Page;

pub(super) fn encode(page: &mut Page) {
    page.pad_to(16);
}

#[cfg(test)]
mod tests {
    use super::super::tests::with_sample;

    #[test]
    fn there_are_no_segments() {
        assert_eq!(with_sample(|data| data.page(0xB3)).expect("page")[..4], [0, 0xB3, 0, 12]);
    }
}
