//! 88h, SCSI Ports (SPC-5 §7.7.17).

use super::device_identification::put_port_name;
use super::{Page, VitalProductData};

pub(super) fn encode(data: &VitalProductData, page: &mut Page) {
    for port in data.ports {
        page.put16(0);
        page.put16(port.relative);
        page.put16(0);
        // No INITIATOR PORT TRANSPORTID: the port is a target's only.
        page.put16(0);
        page.put16(0);
        let length_at = page.bytes.len();
        page.put16(0);
        put_port_name(port, page);
        let length = (page.bytes.len() - length_at - 2) as u16;
        page.bytes[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::with_sample;

    #[test]
    fn each_port_has_its_name() {
        let page = with_sample(|data| data.page(0x88)).expect("page");
        let first = b"\0\0\x00\x01\0\0\0\0\0\0\x00\x2c\x53\x98\x00\x28iqn.2026-11.net.example:store,t,0x0001\0\0";
        let second = b"\0\0\x00\x02\0\0\0\0\0\0\x00\x2c\x53\x98\x00\x28iqn.2026-11.net.example:store,t,0x0002\0\0";
        assert_eq!(page[4..], [first.as_slice(), second].concat());
    }
}
