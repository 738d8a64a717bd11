//! Vital product data (SPC-5 §7.7, SBC-4 §6.6): one page, one file. Each is shaped of plain structs that the logical unit
//! fills.

mod block_device_characteristics;
mod block_limits;
mod device_identification;
mod extended_inquiry;
mod logical_block_provisioning;
mod management_network_addresses;
mod mode_page_policy;
mod referrals;
mod scsi_ports;
mod third_party_copy;
mod unit_serial_number;

pub use block_limits::BlockLimits;
pub use logical_block_provisioning::Provisioning;
pub(in crate::scsi) use logical_block_provisioning::THRESHOLD_EXPONENT;

use super::sense::Sense;

/// What names a logical unit.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// T10 VENDOR IDENTIFICATION, 8 ASCII characters.
    pub vendor: &'a str,
    /// PRODUCT IDENTIFICATION, 16.
    pub product: &'a str,
    /// PRODUCT SERIAL NUMBER
    pub serial: &'a str,
    /// NAA designator: 8 bytes, or 16 of NAA 6h.
    pub naa: &'a [u8],
    /// EUI-64 based designator.
    pub eui64: Option<[u8; 8]>,
}

/// A target port the logical unit is reached by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortInfo<'a> {
    /// RELATIVE TARGET PORT IDENTIFIER
    pub relative: u16,
    /// TARGET PORT GROUP
    pub group: u16,
    /// iSCSI target name.
    pub target_name: &'a str,
    /// Target portal group tag.
    pub portal_group: u16,
}

/// What the pages tell of one logical unit, seen through one of its ports.
#[derive(Clone, Copy, Debug)]
pub struct VitalProductData<'a> {
    pub identity: Identity<'a>,
    /// The port the INQUIRY came in by.
    pub port: PortInfo<'a>,
    /// Every port, that one too.
    pub ports: &'a [PortInfo<'a>],
    pub limits: BlockLimits,
    pub provisioning: Provisioning,
    /// MEDIUM ROTATION RATE: 0 not reported, 1 non-rotating.
    pub rotation_rate: u16,
    /// There is a volatile cache (V_SUP).
    pub volatile_cache: bool,
    /// Where the device is managed from: URLs.
    pub management_addresses: &'a [&'a str],
}

impl VitalProductData<'_> {
    /// The page of that code, to be cut to the ALLOCATION LENGTH.
    pub fn page(&self, code: u8) -> Result<Vec<u8>, Sense> {
        let mut page = Page::new(code);
        match code {
            0x00 => page.put(&SUPPORTED_PAGES),
            0x80 => unit_serial_number::encode(self, &mut page),
            0x83 => device_identification::encode(self, &mut page),
            0x85 => management_network_addresses::encode(self, &mut page),
            0x86 => extended_inquiry::encode(self, &mut page),
            0x87 => mode_page_policy::encode(&mut page),
            0x88 => scsi_ports::encode(self, &mut page),
            0x8F => third_party_copy::encode(&mut page),
            0xB0 => block_limits::encode(self, &mut page),
            0xB1 => block_device_characteristics::encode(self, &mut page),
            0xB2 => logical_block_provisioning::encode(self, &mut page),
            0xB3 => referrals::encode(&mut page),
            _ => return Err(Sense::invalid_field_in_cdb(2, None)),
        }
        Ok(page.finish())
    }
}

/// "in ascending order beginning with page code 00h"
const SUPPORTED_PAGES: [u8; 12] = [0x00, 0x80, 0x83, 0x85, 0x86, 0x87, 0x88, 0x8F, 0xB0, 0xB1, 0xB2, 0xB3];

/// A page being written: four bytes of header, whose PAGE LENGTH comes last.
struct Page {
    bytes: Vec<u8>,
}

impl Page {
    fn new(code: u8) -> Page {
        Page { bytes: vec![0x00, code, 0, 0] }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn put16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    fn put32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    /// Zeroes until the page has `length` bytes, its header counted.
    fn pad_to(&mut self, length: usize) {
        self.bytes.resize(length, 0);
    }

    fn finish(mut self) -> Vec<u8> {
        let length = u16::try_from(self.bytes.len() - 4).expect("a page's lists are bounded");
        self.bytes[2..4].copy_from_slice(&length.to_be_bytes());
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A logical unit for the pages' tests.
    pub(super) fn with_sample<R>(test: impl FnOnce(&VitalProductData) -> R) -> R {
        let port = PortInfo { relative: 1, group: 1, target_name: "iqn.2026-11.net.example:store", portal_group: 1 };
        let ports = [port, PortInfo { relative: 2, portal_group: 2, ..port }];
        test(&VitalProductData {
            identity: Identity {
                vendor: "LUNMIRR",
                product: "VOLUME",
                serial: "5eed",
                naa: &[0x30, 1, 2, 3, 4, 5, 6, 7],
                eui64: None,
            },
            port,
            ports: &ports,
            limits: BlockLimits::new(512, 3, 8, true),
            provisioning: Provisioning { thin: true, anchor: true },
            rotation_rate: 1,
            volatile_cache: true,
            management_addresses: &[],
        })
    }

    #[test]
    fn every_supported_page_is_there_and_says_its_length() {
        with_sample(|data| {
            let list = data.page(0).expect("mandatory");
            assert_eq!(list[..4], [0, 0, 0, 12]);
            assert!(list[4..].is_sorted());
            for code in &list[4..] {
                let page = data.page(*code).expect("supported");
                assert_eq!((page[0], page[1]), (0, *code));
                assert_eq!(usize::from(u16::from_be_bytes([page[2], page[3]])), page.len() - 4, "{code:02x}h");
            }
        });
    }

    #[test]
    fn no_other_page_is() {
        with_sample(|data| {
            let codes = (0..=255).filter(|code| data.page(*code).is_ok());
            assert!(codes.eq(SUPPORTED_PAGES));
        });
    }
}
