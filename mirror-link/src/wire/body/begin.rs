//! BEGIN.

use std::ops::RangeInclusive;

use bytes::{BufMut, BytesMut};
use nom::Parser;

use super::field::{Parsed, epoch, flags, generation, reserved, seq};
use crate::wire::message::Begin;

pub(in crate::wire) const LENGTH: RangeInclusive<usize> = 40..=40;

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
///  32|. . . . . . . R| reserved = 0                                  |
///    +---------------+                                               +
///  36|                                                               |
///
///  R: resync
/// ```
pub(super) fn parse(input: &[u8]) -> Parsed<'_, Begin> {
    (epoch, seq, generation, flags(RESYNC), reserved(7))
        .map(|(epoch, first, generation, flags, ())| Begin { epoch, first, resync: flags & RESYNC != 0, generation })
        .parse(input)
}

pub(super) fn put(begin: &Begin, out: &mut BytesMut) {
    out.put_u64(begin.epoch.0);
    out.put_u64(begin.first.0);
    out.put_u128(begin.generation.0);
    out.put_u8(if begin.resync { RESYNC } else { 0 });
    out.put_bytes(0, 7);
}
