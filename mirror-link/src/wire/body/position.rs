//! POSITION.

use std::ops::RangeInclusive;

use bytes::{BufMut, BytesMut};
use nom::Parser;
use nom::number::complete::be_u64;

use super::field::{Parsed, epoch, seq};
use crate::wire::message::Position;

pub(in crate::wire) const LENGTH: RangeInclusive<usize> = 32..=32;

/// ```text
///  Byte/     0       |       1       |       2       |       3       |
///   0| epoch                                                         |
///    +                                                               +
///   4|                                                               |
///   8| acknowledged                                                  |
///    +                                                               +
///  12|                                                               |
///  16| lag, bytes                                                    |
///    +                                                               +
///  20|                                                               |
///  24| lag, milliseconds                                             |
///    +                                                               +
///  28|                                                               |
/// ```
pub(super) fn parse(input: &[u8]) -> Parsed<'_, Position> {
    (epoch, seq, be_u64, be_u64)
        .map(|(epoch, acknowledged, lag_bytes, lag_ms)| Position { epoch, acknowledged, lag_bytes, lag_ms })
        .parse(input)
}

pub(super) fn put(position: &Position, out: &mut BytesMut) {
    out.put_u64(position.epoch.0);
    out.put_u64(position.acknowledged.0);
    out.put_u64(position.lag_bytes);
    out.put_u64(position.lag_ms);
}
