//! READ and READ_DONE: blocks of the replica's copy for an owner whose own device failed.

use std::ops::RangeInclusive;

use bytes::{BufMut, BytesMut};
use nom::Parser;
use nom::number::complete::{be_u8, be_u16, be_u64};

use super::field::{Parsed, epoch, fault, reserved, seq};
use crate::block::Payload;
use crate::extent::{BlockCount, Lba};
use crate::ids::VolumeIndex;
use crate::wire::message::{Lent, Range, Read, ReadDone};

pub(in crate::wire) const READ_LENGTH: RangeInclusive<usize> = 48..=48;
pub(in crate::wire) const DONE_LENGTH: RangeInclusive<usize> = 24..=24;

/// ```text
///  Byte/     0       |       1       |       2       |       3       |
///   0| epoch                                                         |
///    +                                                               +
///   4|                                                               |
///   8| id                                                            |
///    +                                                               +
///  12|                                                               |
///  16| after                                                         |
///    +                                                               +
///  20|                                                               |
///  24| volume                        | reserved = 0                  |
///    +-------------------------------+                               +
///  28|                                                               |
///  32| LBA                                                           |
///    +                                                               +
///  36|                                                               |
///  40| blocks                                                        |
///    +                                                               +
///  44|                                                               |
/// ```
pub(super) fn read(input: &[u8]) -> Parsed<'_, Read> {
    (epoch, be_u64, seq, be_u16, reserved(6), be_u64, be_u64)
        .map(|(epoch, id, after, volume, (), lba, blocks)| Read {
            epoch,
            id,
            after,
            volume: VolumeIndex(volume),
            range: Range { lba: Lba(lba), blocks: BlockCount(blocks) },
        })
        .parse(input)
}

pub(super) fn put_read(read: &Read, out: &mut BytesMut) {
    out.put_u64(read.epoch.0);
    out.put_u64(read.id);
    out.put_u64(read.after.0);
    out.put_u16(read.volume.0);
    out.put_bytes(0, 6);
    out.put_u64(read.range.lba.0);
    out.put_u64(read.range.blocks.0);
}

/// ```text
///  Byte/     0       |       1       |       2       |       3       |
///   0| epoch                                                         |
///    +                                                               +
///   4|                                                               |
///   8| id                                                            |
///    +                                                               +
///  12|                                                               |
///  16| found         | reserved = 0                                  |
///    +---------------+                                               +
///  20|                                                               |
///
///  found: 1 data, which follows · 2 zeroes · 3 the device failed
/// ```
pub(super) fn done(content_length: u32, input: &[u8]) -> Parsed<'_, ReadDone> {
    let (rest, (epoch, id, found, ())) = (epoch, be_u64, be_u8, reserved(7)).parse(input)?;
    let lent = match found {
        DATA if content_length > 0 => Lent::Data(Payload::default()),
        DATA => return fault("data behind a READ_DONE that says so", content_length),
        ZEROES | FAILED if content_length > 0 => return fault("no data behind zeroes or a failure", content_length),
        ZEROES => Lent::Zeroes,
        FAILED => Lent::Failed,
        _ => return fault("found 1, 2 or 3", found),
    };
    Ok((rest, ReadDone { epoch, id, lent }))
}

pub(super) fn put_done(done: &ReadDone, out: &mut BytesMut) {
    out.put_u64(done.epoch.0);
    out.put_u64(done.id);
    out.put_u8(match done.lent {
        Lent::Data(_) => DATA,
        Lent::Zeroes => ZEROES,
        Lent::Failed => FAILED,
    });
    out.put_bytes(0, 7);
}

const DATA: u8 = 1;
const ZEROES: u8 = 2;
const FAILED: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{OwnerEpoch, WriteSeq};
    use crate::wire::body::field::{BodyFault, whole};
    use crate::wire::message::Message;
    use crate::wire::testing::{golden, of_group};

    fn asked() -> Read {
        let range = Range { lba: Lba(0x10), blocks: BlockCount(8) };
        Read { epoch: OwnerEpoch(2), id: 7, after: WriteSeq(0x1234), volume: VolumeIndex(3), range }
    }

    #[test]
    fn a_question() {
        golden(
            &of_group(Message::Read(asked())),
            "4c554e4d 01140000 11223344 55667788 0003 0000 00000030 00000000 00000000 b2b8fa13 00000000 2ff4e6c6
             00000000 00000002 00000000 00000007 00000000 00001234 0003 000000000000 00000000 00000010
             00000000 00000008",
        );
    }

    #[test]
    fn answers() {
        let done = |lent| of_group(Message::ReadDone(ReadDone { epoch: OwnerEpoch(2), id: 7, lent }));
        golden(
            &done(Lent::Zeroes),
            "4c554e4d 01150000 11223344 55667788 0003 0000 00000018 00000000 00000000 6e2a6004 00000000 17b8f7b0
             00000000 00000002 00000000 00000007 02000000 00000000",
        );
        golden(
            &done(Lent::Data(bytes::Bytes::from_static(&[0xab; 4]).into())),
            "4c554e4d 01150000 11223344 55667788 0003 0000 00000018 00000004 00000004 b56ee76d f7e1620a b79519d6
             00000000 00000002 00000000 00000007 01000000 00000000 abababab",
        );
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let changed = |content: u32, at: usize, byte: u8| {
            let mut body = BytesMut::new();
            put_done(&ReadDone { epoch: OwnerEpoch(2), id: 7, lent: Lent::Zeroes }, &mut body);
            body[at] = byte;
            whole(|input| done(content, input), &body).expect_err("refused")
        };
        let fault = |expected, got| BodyFault { expected, got };
        assert_eq!(changed(0, 16, 0), fault("found 1, 2 or 3", 0));
        assert_eq!(changed(0, 16, 4), fault("found 1, 2 or 3", 4));
        assert_eq!(changed(0, 16, 1), fault("data behind a READ_DONE that says so", 0));
        assert_eq!(changed(512, 16, 2), fault("no data behind zeroes or a failure", 512));
        assert_eq!(changed(512, 16, 3), fault("no data behind zeroes or a failure", 512));
        assert_eq!(changed(0, 17, 1), fault("reserved bytes that are zero", 1));
        let mut body = BytesMut::new();
        put_read(&asked(), &mut body);
        body[26] = 1;
        assert_eq!(whole(read, &body).expect_err("refused"), fault("reserved bytes that are zero", 1));
    }
}
