//! 83h, Device Identification (SPC-5 §7.7.6): designators of the logical unit, the target port and the target device.

use super::{Identity, Page, PortInfo, VitalProductData};
use crate::scsi::inquiry::write_ascii;

/// Designation descriptor (SPC-5 §7.7.6.1).
///
/// ```text
/// byte 0  PROTOCOL IDENTIFIER (7-4)  CODE SET (3-0)
///      1  PIV (7)  ASSOCIATION (5-4)  DESIGNATOR TYPE (3-0)
///      2  reserved
///      3  DESIGNATOR LENGTH
/// ```
struct Descriptor {
    code_set: u8,
    association: u8,
    kind: u8,
}

pub(super) fn encode(data: &VitalProductData, page: &mut Page) {
    logical_unit(&data.identity, page);
    target_port(&data.port, page);
    let device = Descriptor { code_set: UTF8, association: TARGET_DEVICE, kind: SCSI_NAME_STRING };
    device.put(&name_string(data.port.target_name), page);
}

fn logical_unit(identity: &Identity, page: &mut Page) {
    Descriptor { code_set: BINARY, association: LOGICAL_UNIT, kind: NAA }.put(identity.naa, page);
    if let Some(eui64) = &identity.eui64 {
        Descriptor { code_set: BINARY, association: LOGICAL_UNIT, kind: EUI64 }.put(eui64, page);
    }
    // SPC-5 §7.7.6.4: vendor, "PRODUCT IDENTIFICATION field … concatenated with … PRODUCT SERIAL NUMBER".
    let mut t10 = vec![0; 24];
    write_ascii(&mut t10[..8], identity.vendor);
    write_ascii(&mut t10[8..24], identity.product);
    t10.extend_from_slice(identity.serial.as_bytes());
    Descriptor { code_set: ASCII, association: LOGICAL_UNIT, kind: T10_VENDOR_ID }.put(&t10, page);
}

fn target_port(port: &PortInfo, page: &mut Page) {
    let relative = [[0, 0], port.relative.to_be_bytes()].concat();
    Descriptor { code_set: BINARY, association: TARGET_PORT, kind: RELATIVE_TARGET_PORT }.put(&relative, page);
    let group = [[0, 0], port.group.to_be_bytes()].concat();
    Descriptor { code_set: BINARY, association: TARGET_PORT, kind: TARGET_PORT_GROUP }.put(&group, page);
    put_port_name(port, page);
}

/// The SCSI name string of a target port: RFC 7143 §4.4.1, "the iSCSI Target Name + the label ',t,' + target portal group
/// tag".
pub(super) fn put_port_name(port: &PortInfo, page: &mut Page) {
    let name = name_string(&format!("{},t,0x{:04x}", port.target_name, port.portal_group));
    Descriptor { code_set: UTF8, association: TARGET_PORT, kind: SCSI_NAME_STRING }.put(&name, page);
}

/// SPC-5 §7.7.6.11: null terminated, padded with nulls to a multiple of four bytes.
fn name_string(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize((name.len() + 1).next_multiple_of(4), 0);
    bytes
}

impl Descriptor {
    fn put(&self, designator: &[u8], page: &mut Page) {
        let length =
            u8::try_from(designator.len()).expect("an iSCSI name has at most 223 bytes, a serial number fewer");
        let (protocol, piv) = if self.association == LOGICAL_UNIT { (0, 0) } else { (ISCSI << 4, 0x80) };
        page.put(&[protocol | self.code_set, piv | self.association << 4 | self.kind, 0, length]);
        page.put(designator);
    }
}

const BINARY: u8 = 1;
const ASCII: u8 = 2;
const UTF8: u8 = 3;

const LOGICAL_UNIT: u8 = 0b00;
const TARGET_PORT: u8 = 0b01;
const TARGET_DEVICE: u8 = 0b10;

const T10_VENDOR_ID: u8 = 0x1;
const EUI64: u8 = 0x2;
const NAA: u8 = 0x3;
const RELATIVE_TARGET_PORT: u8 = 0x4;
const TARGET_PORT_GROUP: u8 = 0x5;
const SCSI_NAME_STRING: u8 = 0x8;

/// PROTOCOL IDENTIFIER of iSCSI (SPC-5 table 438).
const ISCSI: u8 = 0x5;

#[cfg(test)]
mod tests {
    use super::super::tests::with_sample;

    #[test]
    fn designators_are_byte_exact() {
        let page = with_sample(|data| data.page(0x83)).expect("page");
        let mut expected = vec![0x01, 0x03, 0, 8, 0x30, 1, 2, 3, 4, 5, 6, 7];
        expected.extend_from_slice(b"\x02\x01\x00\x1cLUNMIRR VOLUME          5eed");
        expected.extend_from_slice(&[0x51, 0x94, 0, 4, 0, 0, 0, 1]);
        expected.extend_from_slice(&[0x51, 0x95, 0, 4, 0, 0, 0, 1]);
        expected.extend_from_slice(b"\x53\x98\x00\x28iqn.2026-11.net.example:store,t,0x0001\0\0");
        expected.extend_from_slice(b"\x53\xa8\x00\x20iqn.2026-11.net.example:store\0\0\0");
        assert_eq!(page[4..], expected);
    }

    #[test]
    fn an_eui64_designator_follows_the_naa_one() {
        with_sample(|data| {
            let mut data = *data;
            data.identity.eui64 = Some([0xE0; 8]);
            assert_eq!(data.page(0x83).expect("page")[16..22], [0x01, 0x02, 0, 8, 0xE0, 0xE0]);
        });
    }
}
