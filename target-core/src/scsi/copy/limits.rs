//! What a copy may ask for, as RECEIVE COPY RESULTS (operating parameters) and VPD 8Fh tell it.

/// CSCD descriptors of one list: more ends than any copy between hosts' disks has.
pub const CSCD_DESCRIPTORS_MAX: u16 = 16;

/// Segment descriptors of one list; with the ends above a parameter list stays within 8 KiB.
pub const SEGMENT_DESCRIPTORS_MAX: u16 = 256;

/// Bytes of CSCD and segment descriptors together: room for the most of both.
pub const DESCRIPTOR_LIST_BYTES_MAX: u32 =
    CSCD_DESCRIPTORS_MAX as u32 * CSCD_BYTES as u32 + SEGMENT_DESCRIPTORS_MAX as u32 * SEGMENT_BYTES_MAX as u32;

/// Bytes one segment copies: what a 02h segment of 4096-byte blocks holds, so that either type does as much.
pub const SEGMENT_LENGTH_MAX: u32 = 256 << 20;

/// Copies of one logical unit at once, of all nexuses: each holds up to two chunks of memory.
pub const CONCURRENT_COPIES_MAX: u8 = 16;

/// log2 of the bytes a segment's length is a multiple of: any logical block suits.
pub const DATA_SEGMENT_GRANULARITY: u8 = 9;

/// Bytes of an identification CSCD descriptor (E4h).
pub const CSCD_BYTES: u16 = 32;

/// Bytes of the longer segment descriptor (0Ah).
pub const SEGMENT_BYTES_MAX: u16 = 32;

/// CSCD descriptor type code: identification descriptor.
pub const CSCD_IDENTIFICATION: u8 = 0xE4;

/// Segment descriptor type code: block device to block device.
pub const SEGMENT_BLOCK_TO_BLOCK: u8 = 0x02;

/// Segment descriptor type code: block device to block device with offset.
pub const SEGMENT_BLOCK_TO_BLOCK_OFFSET: u8 = 0x0A;

/// IMPLEMENTED DESCRIPTOR LIST, "in ascending order".
pub const IMPLEMENTED_DESCRIPTORS: [u8; 3] =
    [SEGMENT_BLOCK_TO_BLOCK, SEGMENT_BLOCK_TO_BLOCK_OFFSET, CSCD_IDENTIFICATION];
