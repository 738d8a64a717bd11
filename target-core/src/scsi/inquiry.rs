//! Standard INQUIRY data (SPC-5 §6.7.2).

/// VERSION: what the logical unit claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScsiVersion {
    Spc3 = 5,
    Spc4 = 6,
    Spc5 = 7,
}

impl ScsiVersion {
    /// Of the VERSION field's value.
    pub fn new(version: u8) -> Option<ScsiVersion> {
        match version {
            5 => Some(ScsiVersion::Spc3),
            6 => Some(ScsiVersion::Spc4),
            7 => Some(ScsiVersion::Spc5),
            _ => None,
        }
    }

    /// SAM-5, iSCSI, SPC-n and SBC-n, by no version of each in particular (SPC-5 annex E).
    fn descriptors(self) -> &'static [u16] {
        const SAM_3: u16 = 0x0060;
        const SAM_4: u16 = 0x0080;
        const SAM_5: u16 = 0x00A0;
        const ISCSI: u16 = 0x0960;
        const SPC_3: u16 = 0x0300;
        const SPC_4: u16 = 0x0460;
        const SPC_5: u16 = 0x05C0;
        const SBC_3: u16 = 0x04C0;
        const SBC_4: u16 = 0x0600;
        match self {
            ScsiVersion::Spc3 => &[SAM_3, ISCSI, SPC_3, SBC_3],
            ScsiVersion::Spc4 => &[SAM_4, SAM_5, ISCSI, SPC_4, SBC_3],
            ScsiVersion::Spc5 => &[SAM_5, ISCSI, SPC_5, SBC_3, SBC_4],
        }
    }
}

/// What standard INQUIRY data differs in from one logical unit to another.
#[derive(Clone, Copy, Debug)]
pub struct StandardInquiry<'a> {
    pub version: ScsiVersion,
    /// RMB
    pub removable: bool,
    /// T10 VENDOR IDENTIFICATION, 8 ASCII characters.
    pub vendor: &'a str,
    /// PRODUCT IDENTIFICATION, 16.
    pub product: &'a str,
    /// PRODUCT REVISION LEVEL, 4.
    pub revision: &'a str,
}

impl StandardInquiry<'_> {
    /// Of a direct access block device that is there.
    pub fn encode(&self) -> Vec<u8> {
        self.with_peripheral(CONNECTED | DIRECT_ACCESS)
    }

    /// For a LUN that nothing is behind: "011b: the device server is not capable of supporting a peripheral device on
    /// this logical unit … the PERIPHERAL DEVICE TYPE field shall be set to 1Fh".
    pub fn encode_missing(&self) -> Vec<u8> {
        StandardInquiry { removable: false, ..*self }.with_peripheral(NOT_CAPABLE | UNKNOWN_TYPE)
    }

    fn with_peripheral(&self, peripheral: u8) -> Vec<u8> {
        let mut out = vec![0; LENGTH];
        out[0] = peripheral;
        out[1] = if self.removable { 0x80 } else { 0 };
        out[2] = self.version as u8;
        out[3] = HISUP | RESPONSE_DATA_FORMAT;
        out[4] = (LENGTH - 5) as u8;
        out[5] = TPGS_IMPLICIT_AND_EXPLICIT | THIRD_PARTY_COPY;
        out[6] = MULTIP;
        out[7] = CMDQUE;
        write_ascii(&mut out[8..16], self.vendor);
        write_ascii(&mut out[16..32], self.product);
        write_ascii(&mut out[32..36], self.revision);
        for (at, descriptor) in self.version.descriptors().iter().enumerate() {
            out[58 + 2 * at..60 + 2 * at].copy_from_slice(&descriptor.to_be_bytes());
        }
        out
    }
}

/// Left-aligned, filled with spaces (SPC-5 §4.3.1); what does not fit is cut, what is not printable ASCII becomes `?`.
pub(super) fn write_ascii(field: &mut [u8], text: &str) {
    field.fill(b' ');
    for (to, byte) in field.iter_mut().zip(text.bytes()) {
        *to = if (0x20..=0x7E).contains(&byte) { byte } else { b'?' };
    }
}

/// Up to the version descriptors and the reserved bytes behind them.
const LENGTH: usize = 96;

const CONNECTED: u8 = 0b000 << 5;
const NOT_CAPABLE: u8 = 0b011 << 5;
const DIRECT_ACCESS: u8 = 0x00;
const UNKNOWN_TYPE: u8 = 0x1F;
/// LUNs are of the hierarchical addressing model of SAM-5 §4.7.
const HISUP: u8 = 0x10;
const RESPONSE_DATA_FORMAT: u8 = 0x02;
const TPGS_IMPLICIT_AND_EXPLICIT: u8 = 0x30;
const THIRD_PARTY_COPY: u8 = 0x08;
const MULTIP: u8 = 0x10;
const CMDQUE: u8 = 0x02;

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: StandardInquiry = StandardInquiry {
        version: ScsiVersion::Spc4,
        removable: true,
        vendor: "LUNMIRR",
        product: "VOLUME",
        revision: "0001",
    };

    #[test]
    fn standard_data_is_byte_exact() {
        let data = DISK.encode();
        assert_eq!(data.len(), 96);
        assert_eq!(data[..8], [0x00, 0x80, 0x06, 0x12, 91, 0x38, 0x10, 0x02]);
        assert_eq!(&data[8..36], b"LUNMIRR VOLUME          0001");
        assert_eq!(data[58..70], [0x00, 0x80, 0x00, 0xA0, 0x09, 0x60, 0x04, 0x60, 0x04, 0xC0, 0, 0]);
        assert!(data[70..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_missing_lun_is_of_unknown_type() {
        assert_eq!(DISK.encode_missing()[..3], [0x7F, 0x00, 0x06]);
    }

    #[test]
    fn versions_are_the_three_that_can_be_claimed() {
        assert_eq!(ScsiVersion::new(7), Some(ScsiVersion::Spc5));
        assert_eq!(ScsiVersion::new(4), None);
        let old = StandardInquiry { version: ScsiVersion::Spc3, removable: false, ..DISK }.encode();
        assert_eq!(old[..3], [0, 0, 5]);
    }

    #[test]
    fn text_that_is_not_ascii_stays_out() {
        let mut field = [0; 4];
        write_ascii(&mut field, "aé");
        assert_eq!(&field, b"a??\x20");
    }
}
