//! MODE SELECT (SPC-5 §6.12, §6.13): the whole list is checked before any of it takes effect.

use super::pages::{PAGES, Row};
use super::{Medium, ModePages};
use crate::scsi::sense::Sense;

/// What a MODE SELECT makes of the pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModeSelected {
    pub pages: ModePages,
    /// Current values changed: unit attention 2Ah/01h for every other I_T nexus.
    pub changed: bool,
    /// SP: keep `pages.saved()` before GOOD.
    pub save: bool,
}

impl ModePages {
    /// `list`: the parameter list, as long as PARAMETER LIST LENGTH says.
    pub fn select(
        &self,
        list: &[u8],
        long_header: bool,
        page_format: bool,
        save_pages: bool,
        medium: &Medium,
    ) -> Result<ModeSelected, Sense> {
        let mut pages = self.clone();
        // "A PARAMETER LIST LENGTH field set to zero specifies that … no data shall be transferred": not an error.
        if !list.is_empty() {
            if !page_format {
                return Err(Sense::invalid_field_in_cdb(1, 4));
            }
            let mut at = check_header(list, long_header, medium)?;
            while at < list.len() {
                at += pages.change_page(list, at)?;
            }
        }
        if save_pages {
            pages.saved = pages.current;
        }
        Ok(ModeSelected { changed: pages.current != self.current, save: save_pages, pages })
    }

    /// Take in the page at `at` and give its length.
    fn change_page(&mut self, list: &[u8], at: usize) -> Result<usize, Sense> {
        const SPF: u8 = 0x40;
        let rest = &list[at..];
        let header: &[u8; 2] = rest.first_chunk().ok_or_else(Sense::parameter_list_length_error)?;
        let subpage = if header[0] & SPF != 0 { header[1] } else { 0 };
        let known = |row: &Row| row.page == header[0] & 0x3F && row.subpage == subpage;
        let row = PAGES.iter().position(known).ok_or_else(|| field(at, Some(5)))?;
        let page = PAGES[row].default.bytes();
        let header_length = PAGES[row].header_length();
        // A length other than the page's is an error at the length, were the rest there or not.
        let given = rest.get(..header_length).ok_or_else(Sense::parameter_list_length_error)?;
        let length_at = if header_length == 2 { 1 } else { 2 };
        if let Some(byte) = (length_at..header_length).find(|byte| given[*byte] != page[*byte]) {
            return Err(field(at + byte, None));
        }
        let given = rest.get(..page.len()).ok_or_else(Sense::parameter_list_length_error)?;
        let current = &self.current[row];
        let merged = PAGES[row].merge(current, given);
        // "if … an attempt to change any field … that is not changeable …, then the command shall be terminated with …
        // INVALID FIELD IN PARAMETER LIST". PS, in the header, is reserved here.
        let differs = (header_length..page.len()).find(|byte| merged.bytes()[*byte] != given[*byte]);
        if let Some(byte) = differs {
            let bits = merged.bytes()[byte] ^ given[byte];
            return Err(field(at + byte, Some(7 - bits.leading_zeros() as u8)));
        }
        self.current[row] = merged;
        Ok(page.len())
    }
}

/// Header and block descriptors; gives where the pages begin.
fn check_header(list: &[u8], long_header: bool, medium: &Medium) -> Result<usize, Sense> {
    let header_length = if long_header { 8 } else { 4 };
    let header = list.get(..header_length).ok_or_else(Sense::parameter_list_length_error)?;
    // MODE DATA LENGTH and the device-specific parameter are reserved or ignored in MODE SELECT; MEDIUM TYPE is 0.
    let (medium_type, long_lba, descriptors_length) = match long_header {
        true => (2, header[4] & 0x01 != 0, usize::from(u16::from_be_bytes([header[6], header[7]]))),
        false => (1, false, usize::from(header[3])),
    };
    if header[medium_type] != 0 {
        return Err(field(medium_type, None));
    }
    let expected = if long_lba { 16 } else { 8 };
    if descriptors_length != 0 && descriptors_length != expected {
        return Err(field(header_length - if long_header { 2 } else { 1 }, None));
    }
    let descriptor =
        list.get(header_length..header_length + descriptors_length).ok_or_else(Sense::parameter_list_length_error)?;
    check_descriptor(descriptor, header_length, medium)?;
    Ok(header_length + descriptors_length)
}

/// Neither capacity nor block length can be set; naming them as they are, or not at all, is no change.
fn check_descriptor(descriptor: &[u8], at: usize, medium: &Medium) -> Result<(), Sense> {
    let number = |bytes: &[u8]| bytes.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let (blocks, blocks_max, block_length, length_at) = match descriptor.len() {
        8 => (number(&descriptor[..4]), u64::from(u32::MAX), number(&descriptor[5..]), 5),
        16 => (number(&descriptor[..8]), u64::MAX, number(&descriptor[12..]), 12),
        _ => return Ok(()),
    };
    if ![0, blocks_max, medium.blocks.min(blocks_max)].contains(&blocks) {
        return Err(field(at, None));
    }
    if block_length != 0 && block_length != u64::from(medium.block_length) {
        return Err(field(at + length_at, None));
    }
    Ok(())
}

fn field(byte: usize, bit: Option<u8>) -> Sense {
    Sense::invalid_field_in_parameter_list(byte as u16, bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEDIUM: Medium = Medium { blocks: 0x18_0000, block_length: 512, write_protected: false };
    const CONTROL_SWP: [u8; 12] = [0x0A, 10, 0x22, 0x10, 0x08, 0, 0, 0, 0x01, 0x2C, 0, 0];

    fn select(list: &[u8], save: bool) -> Result<ModeSelected, Sense> {
        ModePages::new(true).select(list, false, true, save, &MEDIUM)
    }

    fn with_header(page: &[u8]) -> Vec<u8> {
        [&[0, 0, 0, 0], page].concat()
    }

    #[test]
    fn swp_is_set_and_told() {
        let selected = select(&with_header(&CONTROL_SWP), false).expect("selected");
        assert!(selected.changed && !selected.save && selected.pages.software_write_protect());
        assert_eq!(selected.pages.saved(), ModePages::new(true).saved());
        let again = selected.pages.select(&with_header(&CONTROL_SWP), false, true, true, &MEDIUM).expect("selected");
        assert!(!again.changed && again.save, "nothing changed but it is saved");
        assert!(ModePages::restored(true, &again.pages.saved()).software_write_protect());
    }

    #[test]
    fn what_cannot_be_changed_is_pointed_at() {
        let mut page = CONTROL_SWP;
        page[2] |= 0x40;
        assert_eq!(select(&with_header(&page), false), Err(field(4 + 2, Some(6))));
        page = CONTROL_SWP;
        page[9] = 0;
        assert_eq!(select(&with_header(&page), false), Err(field(4 + 9, Some(5))));
    }

    #[test]
    fn a_bad_second_page_undoes_the_first() {
        let list = with_header(&[CONTROL_SWP.as_slice(), &[0x05, 1, 0]].concat());
        assert_eq!(select(&list, true), Err(field(16, Some(5))));
        let mut caching = [0; 20];
        (caching[0], caching[1]) = (0x08, 18);
        let both = select(&with_header(&[CONTROL_SWP.as_slice(), &caching].concat()), false).expect("selected");
        assert!(both.pages.software_write_protect() && !both.pages.write_cache_enabled());
    }

    #[test]
    fn lengths_are_checked() {
        assert_eq!(select(&[0, 0, 0], false), Err(Sense::parameter_list_length_error()));
        assert_eq!(select(&with_header(&CONTROL_SWP[..11]), false), Err(Sense::parameter_list_length_error()));
        assert_eq!(select(&with_header(&[0x0A]), false), Err(Sense::parameter_list_length_error()));
        assert_eq!(select(&with_header(&[0x0A, 9, 0]), false), Err(field(5, None)));
        assert_eq!(select(&with_header(&[0x4A, 1, 0, 27]), false), Err(field(7, None)));
        assert!(!select(&[], false).expect("an empty list is no error").changed);
    }

    #[test]
    fn page_format_is_needed() {
        let refused = ModePages::new(true).select(&with_header(&CONTROL_SWP), false, false, false, &MEDIUM);
        assert_eq!(refused, Err(Sense::invalid_field_in_cdb(1, 4)));
    }

    #[test]
    fn block_descriptors_may_name_what_is() {
        let list = |descriptor: [u8; 8]| [[0, 0, 0x10, 8].as_slice(), &descriptor, &CONTROL_SWP].concat();
        assert!(select(&list([0, 0x18, 0, 0, 0, 0, 2, 0]), false).is_ok());
        assert!(select(&list([0, 0, 0, 0, 0, 0, 2, 0]), false).is_ok());
        assert_eq!(select(&list([0, 0, 0, 0, 0, 0, 4, 0]), false), Err(field(9, None)));
        assert_eq!(select(&list([0, 0x17, 0, 0, 0, 0, 2, 0]), false), Err(field(4, None)));
        assert_eq!(select(&[0, 0, 0, 7], false), Err(field(3, None)));
        assert_eq!(select(&[0, 1, 0, 0], false), Err(field(1, None)));
    }

    #[test]
    fn the_long_form_takes_the_same_pages() {
        let mut list = vec![0, 0, 0, 0, 1, 0, 0, 16];
        list.extend_from_slice(&[0, 0, 0, 0, 0, 0x18, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0]);
        list.extend_from_slice(&CONTROL_SWP);
        let selected = ModePages::new(true).select(&list, true, true, false, &MEDIUM).expect("selected");
        assert!(selected.pages.software_write_protect());
    }

    #[test]
    fn any_list_is_taken_without_panic() {
        use proptest::prelude::*;
        proptest!(|(list in proptest::collection::vec(any::<u8>(), 0..64), long: bool)| {
            let _ = ModePages::new(true).select(&list, long, true, true, &MEDIUM);
        });
    }
}
