//! HELLO.

use std::ops::RangeInclusive;

use bytes::{BufMut, BytesMut};
use nom::Parser;
use nom::multi::count;
use nom::number::complete::{be_u8, be_u16, be_u64};

use super::field::{Parsed, at_most, epoch, fault, flags, generation, name, name_length, reserved, seq};
use crate::extent::{BlockCount, BlockLength, Lba};
use crate::ids::{Generation, Instance, NAME_MAX, VolumeIndex};
use crate::wire::message::{DiskState, HISTORY_MAX, Hello, Marks, Range, Role, SUSPECTS_MAX, VOLUMES_MAX, VolumeShape};

const FIXED_LENGTH: usize = 108;
const SHAPE_LENGTH: usize = 12;
const SUSPECT_LENGTH: usize = 20;
const LENGTH_MAX: usize = FIXED_LENGTH
    + 16 * HISTORY_MAX
    + 2 * NAME_MAX
    + VOLUMES_MAX * (SHAPE_LENGTH + NAME_MAX)
    + SUSPECTS_MAX * SUSPECT_LENGTH;
pub(in crate::wire) const LENGTH: RangeInclusive<usize> = FIXED_LENGTH..=LENGTH_MAX;

const CRASHED_OWNER: u8 = 1;
const PEER_OUTDATED: u8 = 2;
const DIRTY_SINCE: u8 = 4;
const LOST_CACHE: u8 = 8;
const HOLDS: u8 = 16;
const RESUMES: u8 = 32;

/// ```text
///  Byte/     0       |       1       |       2       |       3       |
///   0| number                                                        |
///    +                                                               +
///   4|                                                               |
///   8| instance                                                      |
///    +                                                               +
///  12|                                                               |
///  16| epoch                                                         |
///    +                                                               +
///  20|                                                               |
///  24| generation                                                    |
///   +/                                                               /
///  40| dirty since, or 0                                             |
///   +/                                                               /
///  56| received: epoch                                               |
///    +                                                               +
///  60|                                                               |
///  64| received: applied up to                                       |
///    +                                                               +
///  68|                                                               |
///  72| received: durable up to                                       |
///    +                                                               +
///  76|                                                               |
///  80| role          | disk state    |. . R H L S O C| history count |
///  84| volume count                  | group length  | node length   |
///  88| suspect count                 | reserved = 0                  |
///  92| counting, or 0                                                |
///   +/                                                               /
/// 108/ history, 16 bytes each, newest first                          /
///   +/ group name                                                    /
///   +/ node name                                                     /
///   +/ volumes, one after the other:                                 /
///   0| capacity, blocks                                              |
///    +                                                               +
///   4|                                                               |
///   8| block length, bytes           | name length   | reserved = 0  |
///  12/ name                                                          /
///   +/ suspects, one after the other:                                /
///   0| volume                        | reserved = 0                  |
///   4| first block                                                   |
///    +                                                               +
///   8|                                                               |
///  12| blocks                                                        |
///    +                                                               +
///  16|                                                               |
///
///  role: 1 Primary · 2 Secondary. disk state: 1 UpToDate · 2 Consistent · 3 Outdated · 4 Inconsistent · 5 Failed
///  R: waits to be Primary again.  H: holds all that was acknowledged.  L: lost its cache.  S: dirty since is there.  O: the peer is outdated.
///  C: crashed as owner.
/// ```
pub(super) fn parse(input: &[u8]) -> Parsed<'_, Hello> {
    let (rest, (number, instance, epoch, generation_, since, received)) =
        (be_u64, be_u64.map(Instance), epoch, generation, generation, marks).parse(input)?;
    let (rest, (role, disk, flags, history, volumes, group, node, suspects, (), counting)) = (
        role,
        disk_state,
        flags(CRASHED_OWNER | PEER_OUTDATED | DIRTY_SINCE | LOST_CACHE | HOLDS | RESUMES),
        at_most(be_u8, HISTORY_MAX, "at most 16 generations"),
        at_most(be_u16, VOLUMES_MAX, "at most 4096 volumes"),
        be_u8,
        be_u8,
        at_most(be_u16, SUSPECTS_MAX, "at most 4096 suspects"),
        reserved(2),
        generation,
    )
        .parse(rest)?;
    let dirty_since = match since {
        since if flags & DIRTY_SINCE != 0 => Some(since),
        Generation::NONE => None,
        _ => return fault("no generation where the flag says that there is none", flags),
    };
    let (rest, (history, group, node, volumes, suspects)) =
        (count(generation, history), name(group), name(node), count(shape, volumes), count(suspect, suspects))
            .parse(rest)?;
    let hello = Hello {
        group,
        node,
        instance,
        volumes,
        role,
        disk,
        epoch,
        generation: generation_,
        history,
        dirty_since,
        crashed_owner: flags & CRASHED_OWNER != 0,
        lost_cache: flags & LOST_CACHE != 0,
        resumes: flags & RESUMES != 0,
        holds: flags & HOLDS != 0,
        peer_outdated: flags & PEER_OUTDATED != 0,
        received,
        counting: (counting != Generation::NONE).then_some(counting),
        suspects,
        number,
    };
    Ok((rest, hello))
}

pub(in crate::wire) fn marks(input: &[u8]) -> Parsed<'_, Marks> {
    (epoch, seq, seq)
        .map(|(epoch, applied_upto, durable_upto)| Marks { epoch, applied_upto, durable_upto })
        .parse(input)
}

pub(in crate::wire) fn role(input: &[u8]) -> Parsed<'_, Role> {
    match be_u8.parse(input)? {
        (rest, 1) => Ok((rest, Role::Primary)),
        (rest, 2) => Ok((rest, Role::Secondary)),
        (_, other) => fault("role 1 or 2", other),
    }
}

fn disk_state(input: &[u8]) -> Parsed<'_, DiskState> {
    let (rest, state) = be_u8.parse(input)?;
    let state = match state {
        1 => DiskState::UpToDate,
        2 => DiskState::Consistent,
        3 => DiskState::Outdated,
        4 => DiskState::Inconsistent,
        5 => DiskState::Failed,
        other => return fault("disk state 1 to 5", other),
    };
    Ok((rest, state))
}

fn shape(input: &[u8]) -> Parsed<'_, VolumeShape> {
    let (rest, (capacity, block_length, length, ())) =
        (be_u64.map(BlockCount), be_u16, be_u8, reserved(1)).parse(input)?;
    let Some(block_length) = BlockLength::new(block_length.into()) else {
        return fault("a block length of 512, 1024, 2048 or 4096", block_length);
    };
    let (rest, name) = name(length)(rest)?;
    Ok((rest, VolumeShape { name, block_length, capacity }))
}

fn suspect(input: &[u8]) -> Parsed<'_, (VolumeIndex, Range)> {
    let (rest, (volume, (), lba, blocks)) =
        (be_u16.map(VolumeIndex), reserved(2), be_u64.map(Lba), be_u64.map(BlockCount)).parse(input)?;
    Ok((rest, (volume, Range { lba, blocks })))
}

pub(super) fn put(hello: &Hello, out: &mut BytesMut) {
    assert!(hello.history.len() <= HISTORY_MAX, "a node remembers {HISTORY_MAX} generations");
    assert!(hello.volumes.len() <= VOLUMES_MAX, "a group has at most {VOLUMES_MAX} volumes");
    assert!(hello.suspects.len() <= SUSPECTS_MAX, "runs are joined where there are more than {SUSPECTS_MAX}");
    out.put_u64(hello.number);
    out.put_u64(hello.instance.0);
    out.put_u64(hello.epoch.0);
    out.put_u128(hello.generation.0);
    out.put_u128(hello.dirty_since.unwrap_or(Generation::NONE).0);
    put_marks(&hello.received, out);
    out.put_u8(role_to_wire(hello.role));
    out.put_u8(disk_state_to_wire(hello.disk));
    out.put_u8(flags_of(hello));
    out.put_u8(hello.history.len() as u8);
    out.put_u16(hello.volumes.len() as u16);
    out.put_u8(name_length(&hello.group));
    out.put_u8(name_length(&hello.node));
    out.put_u16(hello.suspects.len() as u16);
    out.put_u16(0);
    out.put_u128(hello.counting.unwrap_or(Generation::NONE).0);
    hello.history.iter().for_each(|generation| out.put_u128(generation.0));
    out.put_slice(hello.group.as_bytes());
    out.put_slice(hello.node.as_bytes());
    for volume in &hello.volumes {
        out.put_u64(volume.capacity.0);
        out.put_u16(volume.block_length.bytes() as u16);
        out.put_u8(name_length(&volume.name));
        out.put_u8(0);
        out.put_slice(volume.name.as_bytes());
    }
    for (volume, range) in &hello.suspects {
        out.put_u16(volume.0);
        out.put_u16(0);
        out.put_u64(range.lba.0);
        out.put_u64(range.blocks.0);
    }
}

pub(in crate::wire) fn put_marks(marks: &Marks, out: &mut BytesMut) {
    out.put_u64(marks.epoch.0);
    out.put_u64(marks.applied_upto.0);
    out.put_u64(marks.durable_upto.0);
}

fn flags_of(hello: &Hello) -> u8 {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    flag(hello.crashed_owner, CRASHED_OWNER)
        | flag(hello.peer_outdated, PEER_OUTDATED)
        | flag(hello.dirty_since.is_some(), DIRTY_SINCE)
        | flag(hello.lost_cache, LOST_CACHE)
        | flag(hello.holds, HOLDS)
        | flag(hello.resumes, RESUMES)
}

pub(in crate::wire) fn role_to_wire(role: Role) -> u8 {
    match role {
        Role::Primary => 1,
        Role::Secondary => 2,
    }
}

fn disk_state_to_wire(state: DiskState) -> u8 {
    match state {
        DiskState::UpToDate => 1,
        DiskState::Consistent => 2,
        DiskState::Outdated => 3,
        DiskState::Inconsistent => 4,
        DiskState::Failed => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{OwnerEpoch, WriteSeq};
    use crate::wire::body::field::{BodyFault, whole};
    use crate::wire::message::Message;
    use crate::wire::testing::{golden, of_group};

    fn crashed_owner() -> Hello {
        let shape = |name: &str, block_length, capacity| VolumeShape {
            name: name.into(),
            block_length,
            capacity: BlockCount(capacity),
        };
        Hello {
            group: "bank".into(),
            node: "beta".into(),
            instance: Instance(0x77),
            volumes: vec![shape("data", BlockLength::B4096, 0x100), shape("log", BlockLength::B512, 0x200)],
            role: Role::Primary,
            disk: DiskState::Outdated,
            epoch: OwnerEpoch(4),
            generation: Generation(0xaa),
            history: vec![Generation(0xbb), Generation(0xcc)],
            dirty_since: Some(Generation(0xbb)),
            crashed_owner: true,
            lost_cache: false,
            resumes: false,
            holds: false,
            peer_outdated: false,
            received: Marks { epoch: OwnerEpoch(3), applied_upto: WriteSeq(0x21), durable_upto: WriteSeq(0x20) },
            counting: Some(Generation(0xdd)),
            suspects: vec![(VolumeIndex(1), Range { lba: Lba(0x80), blocks: BlockCount(0x40) })],
            number: 1,
        }
    }

    #[test]
    fn an_owner_that_crashed() {
        golden(
            &of_group(Message::Hello(Box::new(crashed_owner()))),
            "4c554e4d 01100000 11223344 55667788 0003 0000 000000c7 00000000 00000000 0a7f46a2 00000000 e059bb8d
             00000000 00000001 00000000 00000077 00000000 00000004
             00000000 00000000 00000000 000000aa 00000000 00000000 00000000 000000bb
             00000000 00000003 00000000 00000021 00000000 00000020
             01030502 00020404 00010000
             00000000 00000000 00000000 000000dd
             00000000 00000000 00000000 000000bb 00000000 00000000 00000000 000000cc
             62616e6b 62657461
             00000000 00000100 10000400 64617461
             00000000 00000200 02000300 6c6f67
             00010000 00000000 00000080 00000000 00000040",
        );
    }

    #[test]
    fn epochs_and_numbers_that_nobody_comes_to_are_refused() {
        for (at, expected) in [
            (16, "an epoch below 2^45"),
            (56, "an epoch below 2^45"),
            (64, "a write's number below 2^45"),
            (72, "a write's number below 2^45"),
        ] {
            let mut body = BytesMut::new();
            put(&crashed_owner(), &mut body);
            body[at..at + 8].copy_from_slice(&u64::MAX.to_be_bytes());
            assert_eq!(whole(parse, &body), Err(BodyFault { expected, got: u64::MAX }));
        }
    }
}
