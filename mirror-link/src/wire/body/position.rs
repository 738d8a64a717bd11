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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{OwnerEpoch, WriteSeq};
    use crate::wire::message::Message;
    use crate::wire::testing::{golden, of_group};

    #[test]
    fn an_owner_that_is_ahead() {
        let position =
            Position { epoch: OwnerEpoch(2), acknowledged: WriteSeq(0x1234), lag_bytes: 0x10_0000, lag_ms: 250 };
        golden(
            &of_group(Message::Position(position)),
            "4c554e4d 01130000 11223344 55667788 0003 0000 00000020 00000000 00000000 b005b561 00000000 58df2b2a
             00000000 00000002 00000000 00001234 00000000 00100000 00000000 000000fa",
        );
    }
}
