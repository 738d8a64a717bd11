//! 85h, Management Network Addresses (SPC-5 §7.7.10).

use super::{Page, VitalProductData};

pub(super) fn encode(data: &VitalProductData, page: &mut Page) {
    for address in data.management_addresses {
        // Null terminated, a multiple of four bytes long.
        let length = (address.len() + 1).next_multiple_of(4);
        page.put(&[ADMINISTRATIVE_CONFIGURATION_SERVICE, 0]);
        page.put16(u16::try_from(length).expect("an address comes from the configuration, which bounds it"));
        page.put(address.as_bytes());
        page.put(&[0; 4][..length - address.len()]);
    }
}

/// ASSOCIATION 00b (logical unit), SERVICE TYPE.
const ADMINISTRATIVE_CONFIGURATION_SERVICE: u8 = 0x07;

#[cfg(test)]
mod tests {
    use super::super::tests::with_sample;

    #[test]
    fn addresses_are_null_terminated_and_padded() {
        with_sample(|data| {
            assert_eq!(data.page(0x85).expect("page"), [0, 0x85, 0, 0]);
            let mut data = *data;
            data.management_addresses = &["http://a", "http://bcd"];
            assert_eq!(
                data.page(0x85).expect("page"),
                *b"\x00\x85\x00\x20\x07\x00\x00\x0chttp://a\0\0\0\0\x07\x00\x00\x0chttp://bcd\0\0"
            );
        });
    }
}
