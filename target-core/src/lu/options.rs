//! What a logical unit is configured to be.

use std::sync::Arc;

use crate::lu::nexus::RelativeTargetPort;
use crate::lu::persist::Identity;

/// Fixed for the life of a logical unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LuOptions {
    /// The volume's name, for logs; and whose records in the state store.
    pub name: Arc<str>,
    /// Where serial number and designators come from unless given below.
    pub identity: Identity,
    /// PRODUCT SERIAL NUMBER. `None`: of `identity`.
    pub serial: Option<String>,
    /// NAA designator, 8 or 16 bytes. `None`: of `identity`.
    pub naa: Option<Vec<u8>>,
    /// T10 VENDOR IDENTIFICATION, at most 8 ASCII characters.
    pub vendor: String,
    /// PRODUCT IDENTIFICATION, at most 16.
    pub product: String,
    /// PRODUCT REVISION LEVEL, at most 4.
    pub revision: String,
    /// VERSION of INQUIRY: 5 (SPC-3), 6 (SPC-4), 7 (SPC-5).
    pub scsi_version: u8,
    /// LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT.
    pub physical_block_exponent: u8,
    /// LOWEST ALIGNED LOGICAL BLOCK ADDRESS.
    pub lowest_aligned: u16,
    /// MEDIUM ROTATION RATE (SBC-4 §6.6.2): 0 not reported, 1 non-rotating.
    pub rotation_rate: u16,
    /// Logical block provisioning management (LBPME).
    pub thin: bool,
    /// RMB: the medium can be ejected and loaded.
    pub removable: bool,
    pub read_only: bool,
    /// Commands with CDBs of more than 16 bytes.
    pub long_cdbs: bool,
    /// WCE by default.
    pub write_cache: bool,
}

impl LuOptions {
    /// A fixed, writable, cached 512-byte-physical disk of that name: what tests and simple callers want.
    pub fn new(name: &str, identity: Identity) -> LuOptions {
        LuOptions {
            name: name.into(),
            identity,
            serial: None,
            naa: None,
            vendor: "LUNMIRR".into(),
            product: "VOLUME".into(),
            revision: "0001".into(),
            scsi_version: 6,
            physical_block_exponent: 0,
            lowest_aligned: 0,
            rotation_rate: 1,
            thin: false,
            removable: false,
            read_only: false,
            long_cdbs: false,
            write_cache: true,
        }
    }

    pub fn serial(&self) -> String {
        self.serial.clone().unwrap_or_else(|| self.identity.serial())
    }

    pub fn naa(&self) -> Vec<u8> {
        self.naa.clone().unwrap_or_else(|| self.identity.naa().to_vec())
    }
}

/// A target port the logical unit is reached by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetPort {
    pub relative: RelativeTargetPort,
    /// TARGET PORT GROUP of asymmetric access (SPC-5 §5.18).
    pub group: u16,
    pub target_name: Arc<str>,
    /// Target portal group tag.
    pub portal_group: u16,
}
