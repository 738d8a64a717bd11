//! Sense data: keys (SPC-5 §4.4.7), additional sense codes, and both encodings.

/// SPC-5 table 48.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SenseKey {
    NoSense = 0x0,
    RecoveredError = 0x1,
    NotReady = 0x2,
    MediumError = 0x3,
    HardwareError = 0x4,
    IllegalRequest = 0x5,
    UnitAttention = 0x6,
    DataProtect = 0x7,
    BlankCheck = 0x8,
    CopyAborted = 0xA,
    AbortedCommand = 0xB,
    Miscompare = 0xE,
}

/// ADDITIONAL SENSE CODE and its qualifier.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asc {
    pub code: u8,
    pub qualifier: u8,
}

/// A CHECK CONDITION's reason. An answer, never an `Err` that ends a nexus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sense {
    pub key: SenseKey,
    pub asc: Asc,
    /// INFORMATION: the LBA at fault, the offset of a miscompare, …
    pub information: Option<u64>,
    pub specific: Option<SenseKeySpecific>,
}

/// SENSE KEY SPECIFIC (SPC-5 §4.4.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SenseKeySpecific {
    /// Byte of the CDB or parameter list in error, and the bit where it is one.
    FieldPointer { in_cdb: bool, byte: u16, bit: Option<u8> },
    /// Progress of a long operation, in 65536ths.
    Progress(u16),
}

impl std::fmt::Debug for Asc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02x}h/{:02x}h", self.code, self.qualifier)
    }
}
