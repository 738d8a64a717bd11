//! The basic header segment (RFC 7143 §11.2.1): what every PDU file reads it with, and writes it with.

use nom::bytes::complete::take;
use nom::number::complete::{be_u8, be_u16, be_u32};
use nom::{IResult, Parser};

use super::Opcode;
use crate::types::{CmdSn, DataSn, InitiatorTaskTag, Lun, StatSn, TargetTransferTag};

/// "The BHS is 48 bytes long." (RFC 7143 §11.2.1)
pub const BHS_LENGTH: usize = 48;

/// The basic header segment as it travels.
pub type Bhs = [u8; BHS_LENGTH];

pub(super) const IMMEDIATE: u8 = 0x40;
pub(super) const OPCODE: u8 = 0x3f;
pub(super) const FINAL: u8 = 0x80;
pub(super) const CONTINUE: u8 = 0x40;

/// The first eight bytes, which all PDUs share.
///
/// ```text
///    0|.|I| Opcode    |F| Opcode-specific fields                      |
///    4|TotalAHSLength | DataSegmentLength                             |
/// ```
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub immediate: bool,
    /// Byte 1: F and what shares its byte.
    pub flags: u8,
    /// Bytes 2 and 3.
    pub specific: [u8; 2],
}

impl Start {
    pub fn is_final(self) -> bool {
        self.flags & FINAL != 0
    }
}

pub(super) type Fields<'a, T> = IResult<&'a [u8], T, ()>;

pub(super) fn start(input: &[u8]) -> Fields<'_, Start> {
    (be_u8, be_u8, be_u8, be_u8, be_u32)
        .map(|(opcode, flags, byte_2, byte_3, _lengths)| Start {
            immediate: opcode & IMMEDIATE != 0,
            flags,
            specific: [byte_2, byte_3],
        })
        .parse(input)
}

/// "Any compliant receiver MUST ignore any bit not defined and all reserved fields" (RFC 7143 §11).
pub(super) fn reserved<const BYTES: usize>(input: &[u8]) -> Fields<'_, ()> {
    take(BYTES).map(|_: &[u8]| ()).parse(input)
}

pub(super) fn bytes<const BYTES: usize>(input: &[u8]) -> Fields<'_, [u8; BYTES]> {
    match input.split_first_chunk() {
        Some((bytes, rest)) => Ok((rest, *bytes)),
        None => Err(nom::Err::Error(())),
    }
}

pub(super) fn word(input: &[u8]) -> Fields<'_, u32> {
    be_u32(input)
}

pub(super) fn half(input: &[u8]) -> Fields<'_, u16> {
    be_u16(input)
}

pub(super) fn byte(input: &[u8]) -> Fields<'_, u8> {
    be_u8(input)
}

pub(super) fn lun(input: &[u8]) -> Fields<'_, Lun> {
    bytes.map(Lun).parse(input)
}

pub(super) fn initiator_task_tag(input: &[u8]) -> Fields<'_, InitiatorTaskTag> {
    word.map(InitiatorTaskTag).parse(input)
}

pub(super) fn target_transfer_tag(input: &[u8]) -> Fields<'_, TargetTransferTag> {
    word.map(TargetTransferTag).parse(input)
}

pub(super) fn cmd_sn(input: &[u8]) -> Fields<'_, CmdSn> {
    word.map(CmdSn).parse(input)
}

pub(super) fn stat_sn(input: &[u8]) -> Fields<'_, StatSn> {
    word.map(StatSn).parse(input)
}

pub(super) fn data_sn(input: &[u8]) -> Fields<'_, DataSn> {
    word.map(DataSn).parse(input)
}

/// Writes a BHS field by field, at the offsets of the figure; what is not written is reserved and zero.
#[derive(Clone, Copy)]
pub(super) struct Header(Bhs);

impl Header {
    /// Bytes 0, 1 and 5 to 7. TotalAHSLength stays 0: the one PDU with an AHS sets it.
    ///
    /// # Panics
    /// If `data_segment_length` does not fit its 24 bits: every length we may send was negotiated below that.
    #[inline]
    pub fn new(opcode: Opcode, flags: u8, data_segment_length: u32) -> Header {
        assert!(data_segment_length < 1 << 24, "DataSegmentLength has 24 bits");
        let mut bhs = [0; BHS_LENGTH];
        bhs[0] = opcode.0;
        bhs[1] = flags;
        bhs[4..8].copy_from_slice(&data_segment_length.to_be_bytes());
        Header(bhs)
    }

    #[inline]
    pub fn immediate(mut self, immediate: bool) -> Header {
        self.0[0] |= if immediate { IMMEDIATE } else { 0 };
        self
    }

    #[inline]
    pub fn byte(mut self, offset: usize, value: u8) -> Header {
        self.0[offset] = value;
        self
    }

    #[inline]
    pub fn bytes<const BYTES: usize>(mut self, offset: usize, value: [u8; BYTES]) -> Header {
        self.0[offset..offset + BYTES].copy_from_slice(&value);
        self
    }

    #[inline]
    pub fn half(self, offset: usize, value: u16) -> Header {
        self.bytes(offset, value.to_be_bytes())
    }

    #[inline]
    pub fn word(self, offset: usize, value: u32) -> Header {
        self.bytes(offset, value.to_be_bytes())
    }

    /// "When used, the Initiator Task Tag and Logical Unit Number always appear in the same location in the header."
    #[inline]
    pub fn lun(self, lun: Lun) -> Header {
        self.bytes(8, lun.0)
    }

    #[inline]
    pub fn initiator_task_tag(self, tag: InitiatorTaskTag) -> Header {
        self.word(16, tag.0)
    }

    /// StatSN, ExpCmdSN and MaxCmdSN, at the same place in every response.
    #[inline]
    pub fn status_numbers(self, stat_sn: StatSn, exp_cmd_sn: CmdSn, max_cmd_sn: CmdSn) -> Header {
        self.word(24, stat_sn.0).word(28, exp_cmd_sn.0).word(32, max_cmd_sn.0)
    }

    #[inline]
    pub fn finish(self) -> Bhs {
        self.0
    }
}
