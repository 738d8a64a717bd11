//! EXTENDED COPY and RECEIVE COPY RESULTS (SPC-5 §6.4–6.6, §6.21–6.25): parameter lists in, parameter data out. Pure.
//!
//! Supported: identification CSCD descriptors (E4h) and block to block segments (02h, 0Ah), from either parameter list
//! format. No inline data, no stream devices, no data held for the initiator.

mod cscd;
pub mod limits;
mod parameter_list;
pub mod results;
mod segment;

use crate::scsi::designator::Designator;

pub use segment::{DESTINATION_LBA_AT, SOURCE_LBA_AT};

/// LIST IDENTIFIER: 8 bits wide in a LID1 list, 32 in a LID4 one. The two do not share a name space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListId {
    Lid1(u8),
    Lid4(u32),
}

/// What the copy manager does: a checked EXTENDED COPY parameter list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtendedCopy {
    /// `None` where LIST ID USAGE is 11b: nothing may be asked about this copy later.
    pub list_id: Option<ListId>,
    /// PRIORITY, 0 to 7. The copy manager treats all alike.
    pub priority: u8,
    /// LID4 only: answer GOOD once the list is accepted, and copy afterwards.
    pub immediate: bool,
    pub cscds: Vec<Cscd>,
    pub segments: Vec<Segment>,
}

/// A copy source or copy destination ("target" in SPC-3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cscd {
    /// Of the descriptor, within the parameter list.
    pub offset: u16,
    pub designator: Designator,
    /// NUL (SPC-3): no device is behind it.
    pub null: bool,
    /// PERIPHERAL DEVICE TYPE.
    pub device_type: u8,
    /// DISK BLOCK LENGTH, bytes.
    pub block_length: u32,
    /// PAD: what a segment leaves of its last block is zeroes, at a destination; is dropped, at a source.
    pub pad: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Of the descriptor, within the parameter list.
    pub offset: u16,
    /// Indices of CSCD descriptors, not yet checked against the list.
    pub source: u16,
    pub destination: u16,
    pub source_lba: u64,
    pub destination_lba: u64,
    pub extent: SegmentExtent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentExtent {
    /// 02h. DC=0: blocks of the source; DC=1: of the destination.
    Blocks { blocks: u16, of_destination: bool },
    /// 0Ah.
    Bytes { bytes: u32, source_offset: u16, destination_offset: u16 },
}

/// Which standard the logical unit claims; SPC-3's NUL bit and reserved LU ID TYPE were given up by SPC-4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// VERSION 05h or less in INQUIRY: "LU ID TYPE" other than 00b is refused, NUL is honoured.
    Spc3,
    /// VERSION 06h and above: both are ignored.
    Spc4,
}
