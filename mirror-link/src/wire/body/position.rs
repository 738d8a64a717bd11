//! POSITION.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use nom::Parser;
use nom::number::complete::{be_u8, be_u16, be_u32, be_u64};

use super::field::{Parsed, at_most, epoch, fault, flags, list, reserved, seq};
use crate::config::{Mode, OnLinkLoss};
use crate::ids::VolumeIndex;
use crate::wire::message::{Position, VOLUMES_MAX};

const FIXED_LENGTH: usize = 44;
const LAG_LENGTH: usize = 12;
pub(in crate::wire) const LENGTH: RangeInclusive<usize> = FIXED_LENGTH..=FIXED_LENGTH + VOLUMES_MAX * LAG_LENGTH;

const BY_COMMAND: u8 = 1;
const TOGETHER: u8 = 2;

/// Up to 24 hours, as a configuration may have it.
const MAX_STALL_MS: RangeInclusive<u32> = 1..=24 * 60 * 60 * 1000;

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
///  32| mode          | on link loss  |. . . . . . T C| reserved = 0  |
///  36| max stall, milliseconds                                       |
///  40| volume count                  | reserved = 0                  |
///  44/ volumes that lag, one after the other:                        /
///   0| volume                        | reserved = 0                  |
///   4| lag, bytes                                                    |
///    +                                                               +
///   8|                                                               |
///
///  mode: 1 async · 2 memsync · 3 sync. on link loss: 1 degrade · 2 hold.  T: together.  C: by command.
/// ```
pub(super) fn parse(input: &[u8]) -> Parsed<'_, Position> {
    let (rest, (epoch, acknowledged, lag_bytes, lag_ms)) = (epoch, seq, be_u64, be_u64).parse(input)?;
    let (rest, (mode, on_link_loss, flags, (), max_stall, volumes, ())) = (
        mode,
        on_link_loss,
        flags(BY_COMMAND | TOGETHER),
        reserved(1),
        max_stall,
        at_most(be_u16, VOLUMES_MAX, "at most 4096 volumes"),
        reserved(2),
    )
        .parse(rest)?;
    let (rest, volumes) = list(volumes, lag, rest)?;
    let position = Position {
        epoch,
        acknowledged,
        lag_bytes,
        lag_ms,
        volumes,
        mode,
        on_link_loss,
        max_stall,
        is_by_command: flags & BY_COMMAND != 0,
        is_together: flags & TOGETHER != 0,
    };
    Ok((rest, position))
}

fn lag(input: &[u8]) -> Parsed<'_, (VolumeIndex, u64)> {
    (be_u16.map(VolumeIndex), reserved(2), be_u64).map(|(volume, (), bytes)| (volume, bytes)).parse(input)
}

fn mode(input: &[u8]) -> Parsed<'_, Mode> {
    let (rest, mode) = be_u8.parse(input)?;
    let mode = match mode {
        1 => Mode::Async,
        2 => Mode::Memsync,
        3 => Mode::Sync,
        other => return fault("mode 1 to 3", other),
    };
    Ok((rest, mode))
}

fn on_link_loss(input: &[u8]) -> Parsed<'_, OnLinkLoss> {
    match be_u8.parse(input)? {
        (rest, 1) => Ok((rest, OnLinkLoss::Degrade)),
        (rest, 2) => Ok((rest, OnLinkLoss::Hold)),
        (_, other) => fault("on link loss 1 or 2", other),
    }
}

fn max_stall(input: &[u8]) -> Parsed<'_, Duration> {
    match be_u32.parse(input)? {
        (rest, ms) if MAX_STALL_MS.contains(&ms) => Ok((rest, Duration::from_millis(ms.into()))),
        (_, other) => fault("max stall of 1 ms to 24 hours", other),
    }
}

pub(super) fn put(position: &Position, out: &mut BytesMut) {
    assert!(position.volumes.len() <= VOLUMES_MAX, "a group has at most {VOLUMES_MAX} volumes");
    out.put_u64(position.epoch.0);
    out.put_u64(position.acknowledged.0);
    out.put_u64(position.lag_bytes);
    out.put_u64(position.lag_ms);
    out.put_u8(match position.mode {
        Mode::Async => 1,
        Mode::Memsync => 2,
        Mode::Sync => 3,
    });
    out.put_u8(match position.on_link_loss {
        OnLinkLoss::Degrade => 1,
        OnLinkLoss::Hold => 2,
    });
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    out.put_u8(flag(position.is_by_command, BY_COMMAND) | flag(position.is_together, TOGETHER));
    out.put_u8(0);
    let max_stall = u32::try_from(position.max_stall.as_millis()).unwrap_or(u32::MAX);
    out.put_u32(max_stall.clamp(*MAX_STALL_MS.start(), *MAX_STALL_MS.end()));
    out.put_u16(position.volumes.len() as u16);
    out.put_u16(0);
    for (volume, bytes) in &position.volumes {
        out.put_u16(volume.0);
        out.put_u16(0);
        out.put_u64(*bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{OwnerEpoch, WriteSeq};
    use crate::wire::body::field::{BodyFault, whole};
    use crate::wire::message::Message;
    use crate::wire::testing::{golden, of_group};

    fn ahead() -> Position {
        Position {
            epoch: OwnerEpoch(2),
            acknowledged: WriteSeq(0x1234),
            lag_bytes: 0x10_0000,
            lag_ms: 250,
            volumes: [(VolumeIndex(3), 0x10_0000)].into_iter().collect(),
            mode: Mode::Memsync,
            on_link_loss: OnLinkLoss::Hold,
            max_stall: Duration::from_millis(1500),
            is_by_command: true,
            is_together: false,
        }
    }

    #[test]
    fn an_owner_that_is_ahead() {
        golden(
            &of_group(Message::Position(ahead())),
            "4c554e4d 01130000 11223344 55667788 0003 0000 00000038 00000000 00000000 578f686c 00000000 00dc99f6
             00000000 00000002 00000000 00001234 00000000 00100000 00000000 000000fa
             02020100 000005dc 00010000 00030000 00000000 00100000",
        );
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let changed = |at: usize, byte: u8| {
            let mut body = BytesMut::new();
            put(&ahead(), &mut body);
            body[at] = byte;
            whole(parse, &body).expect_err("refused")
        };
        let fault = |expected, got| BodyFault { expected, got };
        assert_eq!(changed(32, 0), fault("mode 1 to 3", 0));
        assert_eq!(changed(32, 4), fault("mode 1 to 3", 4));
        assert_eq!(changed(33, 3), fault("on link loss 1 or 2", 3));
        assert_eq!(changed(34, 4), fault("only flags that this version knows", 4));
        assert_eq!(changed(35, 1), fault("reserved bytes that are zero", 1));
        assert_eq!(changed(36, 0x10), fault("max stall of 1 ms to 24 hours", 0x1000_05dc));
        assert_eq!(changed(40, 0x10), fault("at most 4096 volumes", 0x1001));
        assert_eq!(changed(41, 0), fault("no bytes behind its fields", 12));
        assert_eq!(changed(41, 2), fault("more bytes in its body", 0));
        assert_eq!(changed(43, 1), fault("reserved bytes that are zero", 1));
        assert_eq!(changed(47, 1), fault("reserved bytes that are zero", 1));
    }
}
