//! MODE SENSE (SPC-5 §6.14, §6.15).

use super::pages::{PAGES, Page, Row};
use super::{Medium, ModePages};
use crate::scsi::request::PageControl;
use crate::scsi::sense::Sense;

/// The fields of a MODE SENSE CDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeSenseOptions {
    pub long_header: bool,
    pub disable_block_descriptors: bool,
    pub long_lba_accepted: bool,
    pub control: PageControl,
    pub page: u8,
    pub subpage: u8,
}

impl ModePages {
    /// Parameter data, to be cut to the ALLOCATION LENGTH.
    pub fn sense(&self, options: &ModeSenseOptions, medium: &Medium) -> Result<Vec<u8>, Sense> {
        let wanted: Vec<usize> = (0..PAGES.len()).filter(|row| asked_for(&PAGES[*row], options)).collect();
        if wanted.is_empty() {
            let page_known = options.page == ALL_PAGES || PAGES.iter().any(|row| row.page == options.page);
            return Err(if page_known {
                Sense::invalid_field_in_cdb(3, None)
            } else {
                Sense::invalid_field_in_cdb(2, 5)
            });
        }
        let write_protected = medium.write_protected || self.software_write_protect();
        let mut out = header(options, medium, write_protected);
        for row in wanted {
            out.extend_from_slice(self.values(options.control, row).bytes());
        }
        // "The MODE DATA LENGTH field … does not include the number of bytes in the MODE DATA LENGTH field".
        if options.long_header {
            let length = (out.len() - 2) as u16;
            out[..2].copy_from_slice(&length.to_be_bytes());
        } else {
            out[0] = (out.len() - 1) as u8;
        }
        Ok(out)
    }

    fn values(&self, control: PageControl, row: usize) -> Page {
        match control {
            PageControl::Current => self.current[row],
            PageControl::Changeable => PAGES[row].changeable(),
            PageControl::Default => self.default[row],
            PageControl::Saved => self.saved[row],
        }
    }
}

/// SPC-5 table 181: page 3Fh is all pages, subpage FFh all subpages, subpage 00h the page that has none.
fn asked_for(row: &Row, options: &ModeSenseOptions) -> bool {
    let page = options.page == ALL_PAGES || options.page == row.page;
    match options.subpage {
        0xFF => page,
        0x00 => page && row.subpage == 0,
        subpage => options.page == row.page && subpage == row.subpage,
    }
}

/// Mode parameter header (SPC-5 §7.5.5) and block descriptor (SBC-4 §6.5.2).
fn header(options: &ModeSenseOptions, medium: &Medium, write_protected: bool) -> Vec<u8> {
    const WP: u8 = 0x80;
    const DPOFUA: u8 = 0x10;
    let descriptor = match (options.disable_block_descriptors, options.long_header && options.long_lba_accepted) {
        (true, _) => Vec::new(),
        (false, false) => short_descriptor(medium).to_vec(),
        (false, true) => long_descriptor(medium).to_vec(),
    };
    let long_lba = descriptor.len() == 16;
    let device_specific = DPOFUA | if write_protected { WP } else { 0 };
    let length = descriptor.len() as u8;
    let mut out = match options.long_header {
        true => vec![0, 0, 0, device_specific, long_lba.into(), 0, 0, length],
        false => vec![0, 0, device_specific, length],
    };
    out.extend_from_slice(&descriptor);
    out
}

fn short_descriptor(medium: &Medium) -> [u8; 8] {
    // "If the number of logical blocks … is greater than … FFFF_FFFFh, then … shall be set to FFFF_FFFFh".
    let blocks = u32::try_from(medium.blocks).unwrap_or(u32::MAX).to_be_bytes();
    let [_, length @ ..] = medium.block_length.to_be_bytes();
    [blocks[0], blocks[1], blocks[2], blocks[3], 0, length[0], length[1], length[2]]
}

fn long_descriptor(medium: &Medium) -> [u8; 16] {
    let mut out = [0; 16];
    out[..8].copy_from_slice(&medium.blocks.to_be_bytes());
    out[12..].copy_from_slice(&medium.block_length.to_be_bytes());
    out
}

const ALL_PAGES: u8 = 0x3F;

#[cfg(test)]
mod tests {
    use super::*;

    const MEDIUM: Medium = Medium { blocks: 0x18_0000, block_length: 512, write_protected: false };

    fn options(page: u8, subpage: u8) -> ModeSenseOptions {
        ModeSenseOptions {
            long_header: false,
            disable_block_descriptors: true,
            long_lba_accepted: false,
            control: PageControl::Current,
            page,
            subpage,
        }
    }

    fn sense(options: ModeSenseOptions) -> Vec<u8> {
        ModePages::new(true).sense(&options, &MEDIUM).expect("sensed")
    }

    #[test]
    fn the_caching_page_is_byte_exact() {
        let data = sense(ModeSenseOptions { disable_block_descriptors: false, ..options(0x08, 0) });
        let mut expected = vec![31, 0, 0x10, 8, 0, 0x18, 0, 0, 0, 0, 2, 0, 0x88, 18, 0x04];
        expected.resize(32, 0);
        assert_eq!(data, expected);
    }

    #[test]
    fn all_pages_come_with_subpages_only_where_asked() {
        let codes = |subpage| {
            let data = sense(options(0x3F, subpage));
            let mut rest = &data[4..];
            let mut codes = Vec::new();
            while let [code, length, ..] = *rest {
                let spf = code & 0x40 != 0;
                codes.push((code & 0x3F, if spf { length } else { 0 }));
                rest = &rest[if spf { 4 + usize::from(rest[3]) } else { 2 + usize::from(length) }..];
            }
            codes
        };
        assert_eq!(codes(0x00), [(1, 0), (8, 0), (0x0A, 0), (0x1A, 0), (0x1C, 0)]);
        assert_eq!(codes(0xFF), [(1, 0), (8, 0), (0x0A, 0), (0x0A, 1), (0x1A, 0), (0x1C, 0)]);
        assert!(sense(ModeSenseOptions { disable_block_descriptors: false, ..options(0x3F, 0xFF) }).len() < 255);
    }

    #[test]
    fn unknown_pages_point_at_their_code() {
        let refused =
            |page, subpage| ModePages::new(true).sense(&options(page, subpage), &MEDIUM).expect_err("refused");
        assert_eq!(refused(0x05, 0), Sense::invalid_field_in_cdb(2, 5));
        assert_eq!(refused(0x08, 1), Sense::invalid_field_in_cdb(3, None));
        assert_eq!(refused(0x3F, 1), Sense::invalid_field_in_cdb(3, None));
    }

    #[test]
    fn long_headers_and_descriptors() {
        let long = ModeSenseOptions {
            long_header: true,
            long_lba_accepted: true,
            disable_block_descriptors: false,
            ..options(0x0A, 0)
        };
        let data = sense(long);
        assert_eq!(data[..8], [0, 34, 0, 0x10, 1, 0, 0, 16]);
        assert_eq!(data[8..24], [0, 0, 0, 0, 0, 0x18, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0]);
        assert_eq!(data[24..], [0x8A, 10, 0x22, 0x10, 0, 0, 0, 0, 0x01, 0x2C, 0, 0]);
        let huge = Medium { blocks: 1 << 40, write_protected: true, ..MEDIUM };
        let short = ModeSenseOptions { long_lba_accepted: false, ..long };
        let data = ModePages::new(true).sense(&short, &huge).expect("sensed");
        assert_eq!(data[..12], [0, 26, 0, 0x90, 0, 0, 0, 8, 0xFF, 0xFF, 0xFF, 0xFF]);
    }

    #[test]
    fn changeable_and_default_values_differ_from_current_ones() {
        let mut pages = ModePages::new(true);
        pages.current[super::super::CACHING].set(super::super::pages::WCE, false);
        let of = |control| pages.sense(&ModeSenseOptions { control, ..options(0x08, 0) }, &MEDIUM).expect("sensed");
        assert_eq!(of(PageControl::Current)[6], 0);
        assert_eq!(of(PageControl::Default)[6], 0x04);
        assert_eq!(of(PageControl::Saved)[6], 0x04);
        assert_eq!((of(PageControl::Changeable)[6], of(PageControl::Changeable)[16]), (0x04, 0x20));
    }
}
