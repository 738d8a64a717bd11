//! WRITE, WRITE_ZEROES, UNMAP, FLUSH, MARK, VOID, RESYNC_DONE and VERIFY: the elements of the stream.

use std::ops::RangeInclusive;

use bytes::{BufMut, Bytes, BytesMut};
use nom::Parser;
use nom::bytes::complete::take;
use nom::number::complete::{be_u8, be_u16, be_u64};

use super::field::{BodyFault, Parsed, at_most, epoch, fault, flags, list, reserved, seq};
use crate::block::{Allocation, Payload};
use crate::extent::{BlockCount, BlockLength, Lba};
use crate::ids::{Generation, VolumeIndex, WriteSeq};
use crate::wire::Kind;
use crate::wire::message::{Digest, MarkKind, ODEP_MAX, Op, OpFrame, Range};

const FIXED_LENGTH: usize = 48;
pub(in crate::wire) const LENGTH: RangeInclusive<usize> = FIXED_LENGTH..=FIXED_LENGTH + 8 * ODEP_MAX;
/// What a VERIFY has more.
const DIGEST_LENGTH: usize = 40;
pub(in crate::wire) const VERIFY_LENGTH: RangeInclusive<usize> =
    FIXED_LENGTH + DIGEST_LENGTH..=FIXED_LENGTH + DIGEST_LENGTH + 8 * ODEP_MAX;

const DURABLE: u8 = 1;
const MAY_RELEASE: u8 = 2;
const IS_COPY: u8 = 4;

/// One form for all.
///
/// ```text
///  Byte/     0       |       1       |       2       |       3       |
///   0| epoch                                                         |
///    +                                                               +
///   4|                                                               |
///   8| seq                                                           |
///    +                                                               +
///  12|                                                               |
///  16| after                                                         |
///    +                                                               +
///  20|                                                               |
///  24| volume, or 0                  | odep count    |. . . . . C R D|
///  28| mark, or 0    | reserved = 0                                  |
///  32| LBA                           / or the generation             |
///    +                                                               +
///  36|                                                               |
///  40| blocks                        / of RESYNC_DONE,               |
///    +                                                               +
///  44|                               / or 0                          |
///  48/ of VERIFY alone: known, 8 bytes; digest, 32 bytes            /
///   +/ odep, 8 bytes each                                            /
///
///  R: WRITE_ZEROES may release space.  D: durable (WRITE, WRITE_ZEROES).  C: VERIFY stands for a copy.
/// ```
pub(super) fn parse(kind: Kind, content_length: u32, input: &[u8]) -> Parsed<'_, OpFrame> {
    let (rest, (epoch, seq_, after, volume, odep)) =
        (epoch, seq, seq, be_u16.map(VolumeIndex), at_most(be_u8, ODEP_MAX, "at most 4 overlapping writes"))
            .parse(input)?;
    let (rest, fields) = (flags(DURABLE | MAY_RELEASE | IS_COPY), be_u8, reserved(3), be_u64, be_u64)
        .map(|(flags, mark_kind, (), high, low)| Fields { volume, flags, mark_kind, high, low })
        .parse(rest)?;
    let (rest, verdict) = if kind == Kind::VERIFY { compared(rest)? } else { (rest, Compared::NOTHING) };
    let (rest, odep) = list(odep, seq, rest)?;
    match fields.into_op(kind, content_length, verdict) {
        Ok(op) => Ok((rest, OpFrame { epoch, seq: seq_, after, odep, op })),
        Err(BodyFault { expected, got }) => fault(expected, got),
    }
}

/// Bytes 48 to 87 of a VERIFY.
#[derive(Clone, Copy)]
struct Compared {
    known: WriteSeq,
    digest: Digest,
}

impl Compared {
    const NOTHING: Compared = Compared { known: WriteSeq(0), digest: Digest::ZEROES };
}

fn compared(input: &[u8]) -> Parsed<'_, Compared> {
    let (rest, (known, bytes)) = (seq, take(32_usize)).parse(input)?;
    let mut digest = Digest::ZEROES;
    digest.0.copy_from_slice(bytes);
    Ok((rest, Compared { known, digest }))
}

/// Bytes 24 to 47: what depends on the kind.
#[derive(Default)]
struct Fields {
    volume: VolumeIndex,
    flags: u8,
    mark_kind: u8,
    high: u64,
    low: u64,
}

impl Fields {
    fn of(op: &Op) -> Fields {
        let none = Fields::default();
        match *op {
            Op::Write { volume, range, durable, .. } => Fields::ranged(volume, range, flag(durable, DURABLE)),
            Op::WriteZeroes { volume, range, allocation, durable } => {
                let release = flag(allocation == Allocation::MayRelease, MAY_RELEASE);
                Fields::ranged(volume, range, release | flag(durable, DURABLE))
            }
            Op::Unmap { volume, range } => Fields::ranged(volume, range, 0),
            Op::Verify { volume, range, is_copy, .. } => Fields::ranged(volume, range, flag(is_copy, IS_COPY)),
            Op::Mark { volume, kind, .. } => Fields { volume, mark_kind: kind.0, ..none },
            Op::ResyncDone { generation: Generation(number) } => {
                Fields { high: (number >> 64) as u64, low: number as u64, ..none }
            }
            Op::Flush | Op::Void => none,
        }
    }

    fn ranged(volume: VolumeIndex, range: Range, flags: u8) -> Fields {
        Fields { volume, flags, mark_kind: 0, high: range.lba.0, low: range.blocks.0 }
    }

    /// The payload is still to come.
    fn into_op(self, kind: Kind, content_length: u32, compared: Compared) -> Result<Op, BodyFault> {
        let (volume, range) = (self.volume, Range { lba: Lba(self.high), blocks: BlockCount(self.low) });
        let durable = self.flags & DURABLE != 0;
        let op = match kind {
            Kind::WRITE if !is_whole_blocks(u64::from(content_length), range.blocks) => {
                return Err(BodyFault {
                    expected: "as much data as the blocks of its range",
                    got: content_length.into(),
                });
            }
            Kind::WRITE => Op::Write { volume, range, data: Payload::default(), durable },
            Kind::WRITE_ZEROES if self.flags & MAY_RELEASE != 0 => {
                Op::WriteZeroes { volume, range, allocation: Allocation::MayRelease, durable }
            }
            Kind::WRITE_ZEROES => Op::WriteZeroes { volume, range, allocation: Allocation::Keep, durable },
            Kind::UNMAP => Op::Unmap { volume, range },
            Kind::VERIFY => {
                let Compared { known, digest } = compared;
                Op::Verify { volume, range, digest, is_copy: self.flags & IS_COPY != 0, known }
            }
            Kind::FLUSH => Op::Flush,
            Kind::MARK => Op::Mark { volume, kind: MarkKind(self.mark_kind), data: Bytes::new() },
            Kind::VOID => Op::Void,
            Kind::RESYNC_DONE => {
                let number = u128::from(self.high) << 64 | u128::from(self.low);
                Op::ResyncDone { generation: Generation(number) }
            }
            other => return Err(BodyFault { expected: "a kind of the stream", got: other.0.into() }),
        };
        // What the kind has no use for is as reserved.
        if Fields::of(&op).words() == self.words() {
            Ok(op)
        } else {
            Err(BodyFault { expected: "zero in the fields that its kind has no use for", got: self.flags.into() })
        }
    }

    fn words(&self) -> (u16, u8, u8, u64, u64) {
        (self.volume.0, self.flags, self.mark_kind, self.high, self.low)
    }
}

fn flag(set: bool, flag: u8) -> u8 {
    if set { flag } else { 0 }
}

/// `bytes` make `blocks` of some length that a block may have.
fn is_whole_blocks(bytes: u64, blocks: BlockCount) -> bool {
    let fits = |length: BlockLength| blocks.0.checked_mul(length.bytes().into()) == Some(bytes);
    [512, 1024, 2048, 4096].into_iter().filter_map(BlockLength::new).any(fits)
}

pub(super) fn kind(op: &Op) -> Kind {
    match op {
        Op::Write { .. } => Kind::WRITE,
        Op::WriteZeroes { .. } => Kind::WRITE_ZEROES,
        Op::Unmap { .. } => Kind::UNMAP,
        Op::Flush => Kind::FLUSH,
        Op::Mark { .. } => Kind::MARK,
        Op::Void => Kind::VOID,
        Op::ResyncDone { .. } => Kind::RESYNC_DONE,
        Op::Verify { .. } => Kind::VERIFY,
    }
}

pub(super) fn put(frame: &OpFrame, out: &mut BytesMut) {
    assert!(frame.odep.len() <= ODEP_MAX, "more overlaps than {ODEP_MAX} fold into `after`");
    if let Op::Write { range, data, .. } = &frame.op {
        assert!(is_whole_blocks(data.len(), range.blocks), "{} bytes are not {range:?}", data.len());
    }
    let fields = Fields::of(&frame.op);
    out.put_u64(frame.epoch.0);
    out.put_u64(frame.seq.0);
    out.put_u64(frame.after.0);
    out.put_u16(fields.volume.0);
    out.put_u8(frame.odep.len() as u8);
    out.put_u8(fields.flags);
    out.put_u8(fields.mark_kind);
    out.put_bytes(0, 3);
    out.put_u64(fields.high);
    out.put_u64(fields.low);
    if let Op::Verify { known, digest, .. } = &frame.op {
        out.put_u64(known.0);
        out.put_slice(&digest.0);
    }
    frame.odep.iter().for_each(|seq| out.put_u64(seq.0));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::{golden, op, write};

    const RANGE: Range = Range { lba: Lba(0x10), blocks: BlockCount(0x20) };

    /// Bytes 8 to 19 of every header here.
    const OF_GROUP: &str = "11223344 55667788 0003 0000";
    /// Bytes 0 to 23 of every body here: epoch, seq, after.
    const ORDER: &str = "00000000 00000002 00000000 00000009 00000000 00000005";
    const ODEP: &str = "00000000 00000007 00000000 00000008";

    fn golden_op(change: Op, start: &str, crcs: &str, fields: &str) {
        golden(
            &op(change),
            &format!("4c554e4d {start} {OF_GROUP} 00000040 00000000 00000000 {crcs} {ORDER} {fields} {ODEP}"),
        );
    }

    #[test]
    fn a_write() {
        let block: String = "a5".repeat(512);
        let rest = format!("{ODEP} {block}");
        golden(
            &op(write(&[0xa5; 512])),
            &format!(
                "4c554e4d 01200000 {OF_GROUP} 00000040 00000200 00000200 e19bd86b 7be5157d e73678dd
                 {ORDER} 00010201 00000000 00000000 00000010 00000000 00000001 {rest}"
            ),
        );
    }

    #[test]
    fn zeroes() {
        let volume = VolumeIndex(1);
        let zeroes = |allocation, durable| Op::WriteZeroes { volume, range: RANGE, allocation, durable };
        let range = "00000000 00000000 00000010 00000000 00000020";
        golden_op(
            zeroes(Allocation::MayRelease, true),
            "01210000",
            "989536fa 00000000 2257ee91",
            &format!("00010203 {range}"),
        );
        golden_op(
            zeroes(Allocation::Keep, false),
            "01210000",
            "9cd6d2ed 00000000 c3a1bc8e",
            &format!("00010200 {range}"),
        );
        golden_op(
            Op::Unmap { volume, range: RANGE },
            "01220000",
            "9cd6d2ed 00000000 a1ea06eb",
            &format!("00010200 {range}"),
        );
    }

    #[test]
    fn flush_void_and_the_end_of_a_resync() {
        let nothing = "00000200 00000000 00000000 00000000 00000000 00000000";
        golden_op(Op::Flush, "01230000", "897020da 00000000 612cc7b3", nothing);
        golden_op(Op::Void, "01250000", "897020da 00000000 a5bbb379", nothing);
        golden_op(
            Op::ResyncDone { generation: Generation(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff) },
            "01260000",
            "38a3b40d 00000000 886a68f8",
            "00000200 00000000 00112233 44556677 8899aabb ccddeeff",
        );
    }

    #[test]
    fn a_verify() {
        let digest = Digest([0xd1; 32]);
        let (volume, known) = (VolumeIndex(1), WriteSeq(6));
        let verify = Op::Verify { volume, range: RANGE, digest, is_copy: true, known };
        golden(
            &op(verify),
            &format!(
                "4c554e4d 01270000 {OF_GROUP} 00000068 00000000 00000000 257bf82d 00000000 b4026b31
                 {ORDER} 00010204 00000000 00000000 00000010 00000000 00000020 00000000 00000006 {} {ODEP}",
                "d1".repeat(32)
            ),
        );
    }

    #[test]
    fn a_mark() {
        let mark = Op::Mark { volume: VolumeIndex(0x0102), kind: MarkKind(3), data: Bytes::from_static(b"mark") };
        golden(
            &op(mark),
            &format!(
                "4c554e4d 01240000 {OF_GROUP} 00000040 00000004 00000004 4119fbc9 87f4cd85 ae9c59ad
                 {ORDER} 01020200 03000000 00000000 00000000 00000000 00000000 {ODEP} 6d61726b"
            ),
        );
    }

    #[test]
    fn data_is_whole_blocks_of_some_length() {
        let fits = |bytes, blocks| is_whole_blocks(bytes, BlockCount(blocks));
        assert!(fits(512, 1) && fits(4096, 1) && fits(4096, 8) && fits(0, 0) && fits(3072, 3));
        assert!(!fits(512, 2) && !fits(8192, 1) && !fits(0, 1) && !fits(512, 0) && !fits(511, 1));
        assert!(!fits(0, 1 << 55) && !fits(512, u64::MAX), "no overflow");
    }
}
