//! Mode pages (SPC-5 §7.5, SBC-4 §6.5): which there are, MODE SENSE, MODE SELECT.
//!
//! A page is kept as its bytes, as the initiator sees it, with a mask of what may be changed: reporting, checking and
//! changing are then the same few lines for all of them.

mod pages;
mod select;
mod sense;

pub use select::ModeSelected;
pub use sense::ModeSenseOptions;

use pages::{CACHING, CONTROL, PAGES, Page};
use serde::{Deserialize, Serialize};

/// The mode pages of one logical unit: current, saved and default values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModePages {
    current: Values,
    saved: Values,
    default: Values,
}

/// Contents of every page, in the order of `PAGES`.
type Values = [Page; PAGES.len()];

/// What the block descriptor and the header tell of the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Medium {
    /// Logical blocks.
    pub blocks: u64,
    /// LOGICAL BLOCK LENGTH, bytes.
    pub block_length: u32,
    /// The medium cannot be written, SWP apart.
    pub write_protected: bool,
}

/// Saved pages, as a record keeps them. Pages it does not know are ignored, so that a record outlives its version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedModePages {
    pages: Vec<SavedPage>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedPage {
    page: u8,
    subpage: u8,
    bytes: Vec<u8>,
}

impl ModePages {
    /// All values the default ones. `write_cache`: WCE.
    pub fn new(write_cache: bool) -> ModePages {
        let mut default = PAGES.map(|row| row.default);
        default[CACHING].set(pages::WCE, write_cache);
        ModePages { current: default, saved: default, default }
    }

    /// As after a power on: saved values where there are such.
    pub fn restored(write_cache: bool, saved: &SavedModePages) -> ModePages {
        let mut pages = ModePages::new(write_cache);
        for record in &saved.pages {
            let row = PAGES.iter().position(|row| (row.page, row.subpage) == (record.page, record.subpage));
            let Some(row) = row else { continue };
            if record.bytes.len() == PAGES[row].default.bytes().len() {
                pages.saved[row] = PAGES[row].merge(&pages.saved[row], &record.bytes);
            }
        }
        pages.reset();
        pages
    }

    /// As `restored`, and with current values of their own.
    pub fn resumed(write_cache: bool, saved: &SavedModePages, current: &SavedModePages) -> ModePages {
        let pages = ModePages::restored(write_cache, saved);
        ModePages { current: ModePages::restored(write_cache, current).saved, ..pages }
    }

    /// What to keep for `restored`.
    pub fn saved(&self) -> SavedModePages {
        record(&self.saved)
    }

    /// What to tell for `resumed`.
    pub fn current(&self) -> SavedModePages {
        record(&self.current)
    }

    /// A logical unit reset makes the saved values the current ones (SPC-5 §5.10).
    pub fn reset(&mut self) {
        self.current = self.saved;
    }

    /// WCE: writes may be reported done before they are on the medium.
    #[inline]
    pub fn write_cache_enabled(&self) -> bool {
        self.current[CACHING].get(pages::WCE)
    }

    /// DRA: no reading ahead.
    pub fn read_ahead_disabled(&self) -> bool {
        self.current[CACHING].get(pages::DRA)
    }

    /// D_SENSE: sense data in descriptor format.
    #[inline]
    pub fn descriptor_sense(&self) -> bool {
        self.current[CONTROL].get(pages::D_SENSE)
    }

    /// SWP
    #[inline]
    pub fn software_write_protect(&self) -> bool {
        self.current[CONTROL].get(pages::SWP)
    }
}

fn record(values: &Values) -> SavedModePages {
    let saveable = PAGES.iter().zip(values).filter(|(row, _)| row.is_saveable());
    let pages = saveable
        .map(|(row, page)| SavedPage { page: row.page, subpage: row.subpage, bytes: page.bytes().to_vec() })
        .collect();
    SavedModePages { pages }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_the_configured_ones() {
        let pages = ModePages::new(true);
        assert!(pages.write_cache_enabled());
        assert!(!pages.descriptor_sense() && !pages.software_write_protect());
        assert!(!ModePages::new(false).write_cache_enabled());
    }

    #[test]
    fn saved_values_survive_a_restart_and_current_ones_do_not() {
        let mut pages = ModePages::new(true);
        pages.saved[CACHING].set(pages::WCE, false);
        pages.current[CONTROL].set(pages::SWP, true);
        let record = serde_json::to_string(&pages.saved()).expect("serialised");
        let restored = ModePages::restored(true, &serde_json::from_str(&record).expect("deserialised"));
        assert!(!restored.write_cache_enabled() && !restored.software_write_protect());
        assert!(restored.default[CACHING].get(pages::WCE));
    }

    #[test]
    fn current_values_go_on_elsewhere_beside_the_saved_ones() {
        let mut pages = ModePages::new(true);
        pages.saved[CACHING].set(pages::WCE, false);
        pages.current[CONTROL].set(pages::SWP, true);
        assert_eq!(ModePages::resumed(true, &pages.saved(), &pages.current()), pages);
    }

    #[test]
    fn a_record_changes_only_what_can_be_changed() {
        let page = |page, bytes: &[u8]| SavedPage { page, subpage: 0, bytes: bytes.to_vec() };
        let record = SavedModePages {
            pages: vec![page(0x0A, &[0xFF; 12]), page(0x08, &[0xFF; 3]), page(0x3E, &[1]), page(0x1C, &[0xFF; 12])],
        };
        let pages = ModePages::restored(false, &record);
        assert!(pages.descriptor_sense() && pages.software_write_protect());
        assert_eq!(pages.current[CONTROL].bytes()[..4], [0x8A, 0x0A, 0x26, 0x10]);
        assert!(!pages.write_cache_enabled());
    }
}
