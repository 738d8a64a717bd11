//! 80h, Unit Serial Number (SPC-5 §7.7.20).

use super::{Page, VitalProductData};

pub(super) fn encode(data: &VitalProductData, page: &mut Page) {
    page.put(data.identity.serial.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::tests::with_sample;

    #[test]
    fn it_is_the_serial_number() {
        assert_eq!(with_sample(|data| data.page(0x80)).expect("page"), *b"\x00\x80\x00\x045eed");
    }
}
