//! BEGIN.

use std::ops::RangeInclusive;

use bytes::{BufMut, BytesMut};
use nom::Parser;

use super::field::{Parsed, epoch, flags, generation, reserved, seq};
use crate::wire::message::Begin;

pub(in crate::wire) const LENGTH: RangeInclusive<usize> = 56..=56;

const RESYNC: u8 = 1;

/// ```text
///  Byte/     0       |       1       |       2       |       3       |
///   0| epoch                                                         |
///    +                                                               +
///   4|                                                               |
///   8| first                                                         |
///    +                                                               +
///  12|                                                               |
///  16| generation                                                    |
///   +/                                                               /
///  32| counting                                                      |
///   +/                                                               /
///  48|. . . . . . . R| reserved = 0                                  |
///    +---------------+                                               +
///  52|                                                               |
///
///  R: resync
/// ```
pub(super) fn parse(input: &[u8]) -> Parsed<'_, Begin> {
    (epoch, seq, generation, generation, flags(RESYNC), reserved(7))
        .map(|(epoch, first, generation, counting, flags, ())| Begin {
            epoch,
            first,
            resync: flags & RESYNC != 0,
            generation,
            counting,
        })
        .parse(input)
}

pub(super) fn put(begin: &Begin, out: &mut BytesMut) {
    out.put_u64(begin.epoch.0);
    out.put_u64(begin.first.0);
    out.put_u128(begin.generation.0);
    out.put_u128(begin.counting.0);
    out.put_u8(if begin.resync { RESYNC } else { 0 });
    out.put_bytes(0, 7);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Generation, OwnerEpoch, WriteSeq};
    use crate::wire::message::Message;
    use crate::wire::testing::{golden, of_group};

    #[test]
    fn a_resync_begins() {
        let begin = Begin {
            epoch: OwnerEpoch(2),
            first: WriteSeq(0x1234),
            resync: true,
            generation: Generation(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
            counting: Generation(7),
        };
        golden(
            &of_group(Message::Begin(begin)),
            "4c554e4d 01110000 11223344 55667788 0003 0000 00000038 00000000 00000000 6991176e 00000000 41787862
             00000000 00000002 00000000 00001234 00112233 44556677 8899aabb ccddeeff 00000000 00000000 00000000 00000007 01000000 00000000",
        );
    }
}
