//! Logical unit designators (SPC-5 §7.7.6): what VPD 83h tells and what EXTENDED COPY finds a logical unit by.

use std::fmt;

use smallvec::SmallVec;

/// DESIGNATOR TYPE of a designation descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DesignatorType(pub u8);

impl DesignatorType {
    pub const VENDOR_SPECIFIC: DesignatorType = DesignatorType(0x0);
    pub const T10_VENDOR_ID: DesignatorType = DesignatorType(0x1);
    pub const EUI64: DesignatorType = DesignatorType(0x2);
    pub const NAA: DesignatorType = DesignatorType(0x3);
    pub const SCSI_NAME_STRING: DesignatorType = DesignatorType(0x8);
    pub const UUID: DesignatorType = DesignatorType(0xA);
}

impl fmt::Debug for DesignatorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}h", self.0)
    }
}

/// A designator associated with a logical unit. Two name the same logical unit when they are equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Designator {
    pub kind: DesignatorType,
    /// CODE SET: 1h binary, 2h ASCII, 3h UTF-8.
    pub code_set: u8,
    pub bytes: SmallVec<[u8; 20]>,
}

impl Designator {
    pub fn new(kind: DesignatorType, code_set: u8, bytes: &[u8]) -> Designator {
        Designator { kind, code_set, bytes: SmallVec::from_slice(bytes) }
    }
}
