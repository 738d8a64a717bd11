//! The pages: default values and what of them can be changed.

/// A mode page's bytes with its header, as MODE SENSE returns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page {
    bytes: [u8; PAGE_LENGTH_MAX],
    length: u8,
}

/// A bit of a page.
#[derive(Clone, Copy)]
pub(super) struct Bit {
    byte: usize,
    mask: u8,
}

#[derive(Clone, Copy)]
pub(super) struct Row {
    pub page: u8,
    pub subpage: u8,
    pub default: Page,
    /// Ones where a bit can be changed.
    changeable: &'static [Bit],
}

impl Page {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length.into()]
    }

    pub fn get(&self, bit: Bit) -> bool {
        self.bytes[bit.byte] & bit.mask != 0
    }

    pub fn set(&mut self, bit: Bit, value: bool) {
        if value {
            self.bytes[bit.byte] |= bit.mask;
        } else {
            self.bytes[bit.byte] &= !bit.mask;
        }
    }

    /// `parameters` are put behind the header, zeroes fill the rest of `length` bytes.
    const fn new(header: &[u8], parameters: &[u8], length: usize) -> Page {
        let mut bytes = [0; PAGE_LENGTH_MAX];
        let mut at = 0;
        while at < header.len() + parameters.len() {
            bytes[at] = if at < header.len() { header[at] } else { parameters[at - header.len()] };
            at += 1;
        }
        Page { bytes, length: length as u8 }
    }
}

impl Row {
    /// Header with PS, which says that the page can be saved: so it is where something can be changed.
    const fn new(page: u8, length: usize, parameters: &[u8], changeable: &'static [Bit]) -> Row {
        let ps = if changeable.is_empty() { 0 } else { 0x80 };
        let default = Page::new(&[ps | page, (length - 2) as u8], parameters, length);
        Row { page, subpage: 0, default, changeable }
    }

    /// The sub_page format, with a header of four bytes.
    const fn sub_page(page: u8, subpage: u8, length: usize, parameters: &[u8]) -> Row {
        const SPF: u8 = 0x40;
        let default = Page::new(&[SPF | page, subpage, 0, (length - 4) as u8], parameters, length);
        Row { page, subpage, default, changeable: &[] }
    }

    pub fn is_saveable(&self) -> bool {
        !self.changeable.is_empty()
    }

    /// The page MODE SENSE returns for changeable values: its header, and ones for bits that can be changed.
    pub fn changeable(&self) -> Page {
        let mut page = self.default;
        page.bytes[self.header_length()..].fill(0);
        for bit in self.changeable {
            page.set(*bit, true);
        }
        page
    }

    /// `page` with the changeable bits of `bytes`, which are as long as it is.
    pub fn merge(&self, page: &Page, bytes: &[u8]) -> Page {
        let mut merged = *page;
        for bit in self.changeable {
            merged.set(*bit, bytes[bit.byte] & bit.mask != 0);
        }
        merged
    }

    pub fn header_length(&self) -> usize {
        if self.subpage == 0 { 2 } else { 4 }
    }
}

/// In ascending order of page code.
pub(super) static PAGES: [Row; 6] = [
    // Read-Write Error Recovery (SBC-4 §6.5.10): the store below recovers what can be.
    Row::new(0x01, 12, &[], &[]),
    // Caching (SBC-4 §6.5.6).
    Row::new(0x08, 20, &[], &[WCE, DRA]),
    // Control (SPC-5 §7.5.10): TST 001b, a task set for each I_T nexus; GLTSD; QUEUE ALGORITHM MODIFIER 1h, unrestricted
    // reordering; TAS 0, commands that another nexus aborts end without status; BUSY TIMEOUT PERIOD 30 s.
    Row::new(0x0A, 12, &[0x22, 0x10, 0, 0, 0, 0, 0x01, 0x2C], &[D_SENSE, SWP]),
    // Control Extension (SPC-5 §7.5.11): TCMOS, the clock of the host is the timestamp until it is set; SCSIP, which then
    // takes precedence; IALUAE.
    Row::sub_page(0x0A, 0x01, 32, &[0x07]),
    // Power Condition (SPC-5 §7.5.16): no timers.
    Row::new(0x1A, 40, &[], &[]),
    // Informational Exceptions Control (SBC-4 §6.5.8): DEXCPT, there are none to report.
    Row::new(0x1C, 12, &[0x08], &[]),
];

/// Rows that have values someone reads.
pub(super) const CACHING: usize = 1;
pub(super) const CONTROL: usize = 2;

pub(super) const WCE: Bit = Bit { byte: 2, mask: 0x04 };
pub(super) const DRA: Bit = Bit { byte: 12, mask: 0x20 };
pub(super) const D_SENSE: Bit = Bit { byte: 2, mask: 0x04 };
pub(super) const SWP: Bit = Bit { byte: 4, mask: 0x08 };

/// Bytes of the longest page.
const PAGE_LENGTH_MAX: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_where_they_are_said_to_be() {
        assert_eq!((PAGES[CACHING].page, PAGES[CONTROL].page), (0x08, 0x0A));
        assert!(PAGES.iter().map(|row| (row.page, row.subpage)).is_sorted());
        for row in &PAGES {
            let bytes = row.default.bytes();
            let (length, header) = match row.subpage {
                0 => (usize::from(bytes[1]), 2),
                _ => (usize::from(u16::from_be_bytes([bytes[2], bytes[3]])), 4),
            };
            assert_eq!(length + header, bytes.len(), "page {:02x}h", row.page);
        }
    }

    #[test]
    fn changeable_values_have_the_header_and_ones() {
        assert_eq!(PAGES[CONTROL].changeable().bytes(), [0x8A, 0x0A, 0x04, 0, 0x08, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(PAGES[3].changeable().bytes()[..6], [0x4A, 0x01, 0, 28, 0, 0]);
    }
}
