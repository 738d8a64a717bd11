//! PING, PONG and BYE: of the connection, not of a group.

use std::ops::RangeInclusive;

use bytes::{BufMut, BytesMut};
use nom::Parser;
use nom::number::complete::{be_u8, be_u64};

use super::field::{Parsed, fault, reserved};
use crate::wire::message::ByeReason;

pub(in crate::wire) const LENGTH: RangeInclusive<usize> = 8..=8;

/// ```text
///   0| number of the Ping                                            |
///    +                                                               +
///   4|                                                               |
/// ```
pub(super) fn number(input: &[u8]) -> Parsed<'_, u64> {
    be_u64.parse(input)
}

pub(super) fn put_number(number: u64, out: &mut BytesMut) {
    out.put_u64(number);
}

/// ```text
///   0| reason        | reserved = 0                                  |
///    +---------------+                                               +
///   4|                                                               |
///
///  reason: 1 shutdown · 2 removed · 3 misbehaved
/// ```
pub(super) fn bye(input: &[u8]) -> Parsed<'_, ByeReason> {
    let (rest, (reason, ())) = (be_u8, reserved(7)).parse(input)?;
    match reason {
        1 => Ok((rest, ByeReason::Shutdown)),
        2 => Ok((rest, ByeReason::Removed)),
        3 => Ok((rest, ByeReason::Misbehaved)),
        _ => fault("reason 1, 2 or 3", reason),
    }
}

pub(super) fn put_bye(reason: ByeReason, out: &mut BytesMut) {
    out.put_u8(match reason {
        ByeReason::Shutdown => 1,
        ByeReason::Removed => 2,
        ByeReason::Misbehaved => 3,
    });
    out.put_bytes(0, 7);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::Frame;
    use crate::wire::testing::golden;

    #[test]
    fn ping_and_pong() {
        golden(
            &Frame::Ping(0x0102_0304_0506_0708),
            "4c554e4d 01010000 00000000 00000000 0000 0000 00000008 00000000 00000000 46891f81 00000000 c7e998e2
             01020304 05060708",
        );
        golden(
            &Frame::Pong(1),
            "4c554e4d 01020000 00000000 00000000 0000 0000 00000008 00000000 00000000 7e433189 00000000 36f1758a
             00000000 00000001",
        );
    }

    #[test]
    fn bye() {
        golden(
            &Frame::Bye(ByeReason::Misbehaved),
            "4c554e4d 01030000 00000000 00000000 0000 0000 00000008 00000000 00000000 576c35e3 00000000 54ea0ded
             03000000 00000000",
        );
    }
}
