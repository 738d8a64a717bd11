//! Commands to a LUN that nothing is behind (SPC-5 §5.3, "incorrect logical unit numbers").

use super::command::CommandComplete;
use super::inventory::LunInventory;
use crate::scsi::sense::{Asc, Sense, SenseKey};

/// Answer for a LUN that `inventory` does not have.
pub fn respond(_cdb: &[u8], _inventory: &LunInventory) -> CommandComplete {
    CommandComplete::check_condition(not_supported())
}

/// LOGICAL UNIT NOT SUPPORTED
fn not_supported() -> Sense {
    let asc = Asc { code: 0x25, qualifier: 0x00 };
    Sense { key: SenseKey::IllegalRequest, asc, information: None, specific: None }
}
