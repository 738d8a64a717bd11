//! Any frame, for the tests of this room.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::message::*;
use super::{FrameDecoder, FrameEncoder, Outgoing, WireError};
use crate::block::{Allocation, Payload};
use crate::config::{Compression, Mode, OnLinkLoss};
use crate::extent::{BlockCount, BlockLength, Lba};
use crate::ids::*;

/// The bytes of one frame, checked to be these (hexadecimal), and decoded to be the frame again.
pub(super) fn golden(frame: &Frame, expected: &str) {
    let wire = encoded(frame, Compression::None);
    let digits: String = expected.split_whitespace().collect();
    assert_eq!(hex::encode(&wire), digits);
    assert_eq!(decoded(&wire, Compression::None), Ok(frame.clone()));
}

pub(super) fn encoded(frame: &Frame, compression: Compression) -> BytesMut {
    let mut out = Outgoing::default();
    FrameEncoder::new(compression).encode(frame, &mut out);
    drain(&mut out)
}

pub(super) fn drain(out: &mut Outgoing) -> BytesMut {
    let mut wire = BytesMut::new();
    while out.has_remaining() {
        let chunk = out.chunk();
        wire.extend_from_slice(chunk);
        let length = chunk.len();
        out.advance(length);
    }
    wire
}

/// One whole frame and nothing behind it.
pub(super) fn decoded(wire: &[u8], compression: Compression) -> Result<Frame, WireError> {
    let mut buffer = BytesMut::from(wire);
    let frame = FrameDecoder::new(compression).next(&mut buffer)?.expect("the frame is whole");
    assert!(buffer.is_empty(), "{} bytes are left", buffer.len());
    Ok(frame)
}

pub(super) fn of_group(message: Message) -> Frame {
    Frame::Group(GroupFrame { group: GroupIndex(3), session: SessionId(0x1122_3344_5566_7788), message })
}

/// Element 9 of epoch 2, which precedes all but 5, and 7 and 8.
pub(super) fn op(op: Op) -> Frame {
    let odep = [WriteSeq(7), WriteSeq(8)].into_iter().collect();
    of_group(Message::Op(OpFrame { epoch: OwnerEpoch(2), seq: WriteSeq(9), after: WriteSeq(5), odep, op }))
}

pub(super) fn write(data: &[u8]) -> Op {
    Op::Write {
        volume: VolumeIndex(1),
        range: Range { lba: Lba(0x10), blocks: BlockCount(data.len() as u64 / 512) },
        data: Bytes::copy_from_slice(data).into(),
        durable: true,
    }
}

pub(super) fn any_frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        1 => any::<u64>().prop_map(Frame::Ping),
        1 => any::<u64>().prop_map(Frame::Pong),
        1 => prop_oneof![Just(ByeReason::Shutdown), Just(ByeReason::Removed), Just(ByeReason::Misbehaved)]
            .prop_map(Frame::Bye),
        9 => (any::<u16>(), any::<u64>(), any_message()).prop_map(|(group, session, message)| {
            Frame::Group(GroupFrame { group: GroupIndex(group), session: SessionId(session), message })
        }),
    ]
}

fn any_message() -> impl Strategy<Value = Message> {
    prop_oneof![
        2 => any_hello().prop_map(|hello| Message::Hello(Box::new(hello))),
        1 => (epoch(), seq(), any::<bool>(), generation())
            .prop_map(|(epoch, first, resync, generation)| {
                Begin { epoch, first, resync, generation, counting: Generation(generation.0 ^ 5) }
            })
            .prop_map(Message::Begin),
        6 => (epoch(), seq(), seq(), vec(seq(), 0..=ODEP_MAX), any_op())
            .prop_map(|(epoch, seq, after, odep, op)| OpFrame { epoch, seq, after, odep: odep.into(), op })
            .prop_map(Message::Op),
        2 => any_ack().prop_map(|ack| Message::Ack(Box::new(ack))),
        1 => any_position().prop_map(Message::Position),
        1 => (epoch(), any::<(u64, u16, u64, u64)>(), seq()).prop_map(|(epoch, (id, volume, lba, blocks), after)| {
            let range = Range { lba: Lba(lba), blocks: BlockCount(blocks) };
            Message::Read(Read { epoch, id, after, volume: VolumeIndex(volume), range })
        }),
        1 => (epoch(), any::<u64>(), any_lent())
            .prop_map(|(epoch, id, lent)| Message::ReadDone(ReadDone { epoch, id, lent })),
    ]
}

fn any_lent() -> impl Strategy<Value = Lent> {
    let data = vec(any_data(), 1..4).prop_map(|pieces| {
        let mut data = Payload::default();
        pieces.into_iter().for_each(|piece| data.push(piece.into()));
        data
    });
    prop_oneof![2 => data.prop_map(Lent::Data), 1 => Just(Lent::Zeroes), 1 => Just(Lent::Failed)]
}

fn any_position() -> impl Strategy<Value = Position> {
    let volumes = vec((any::<u16>().prop_map(VolumeIndex), any::<u64>()), 0..5);
    let mode = prop_oneof![Just(Mode::Async), Just(Mode::Memsync), Just(Mode::Sync)];
    let on_link_loss = prop_oneof![Just(OnLinkLoss::Degrade), Just(OnLinkLoss::Hold)];
    let max_stall = (1..86_400_000_u64).prop_map(Duration::from_millis);
    (epoch(), seq(), any::<(u64, u64)>(), volumes, mode, on_link_loss, max_stall, any::<(bool, bool)>()).prop_map(
        |(
            epoch,
            acknowledged,
            (lag_bytes, lag_ms),
            volumes,
            mode,
            on_link_loss,
            max_stall,
            (is_by_command, is_together),
        )| {
            let volumes = volumes.into();
            Position {
                epoch,
                acknowledged,
                lag_bytes,
                lag_ms,
                volumes,
                mode,
                on_link_loss,
                max_stall,
                is_by_command,
                is_together,
            }
        },
    )
}

fn any_op() -> impl Strategy<Value = Op> {
    let volume = || any::<u16>().prop_map(VolumeIndex);
    let range =
        || (any::<u64>(), any::<u64>()).prop_map(|(lba, blocks)| Range { lba: Lba(lba), blocks: BlockCount(blocks) });
    let allocation = prop_oneof![Just(Allocation::Keep), Just(Allocation::MayRelease)];
    prop_oneof![
        4 => (volume(), any::<u64>(), 9..=12_u32, vec(any_data(), 0..4), any::<bool>()).prop_map(
            |(volume, lba, shift, pieces, durable)| {
                let mut data = Payload::default();
                pieces.iter().for_each(|piece| data.push(piece.repeat(1 << (shift - 9)).into()));
                let range = Range { lba: Lba(lba), blocks: BlockCount(data.len() >> shift) };
                Op::Write { volume, range, data, durable }
            }
        ),
        1 => (volume(), range(), allocation, any::<bool>())
            .prop_map(|(volume, range, allocation, durable)| Op::WriteZeroes { volume, range, allocation, durable }),
        1 => (volume(), range()).prop_map(|(volume, range)| Op::Unmap { volume, range }),
        1 => Just(Op::Flush),
        1 => (volume(), any::<u8>(), vec(any::<u8>(), 0..100))
            .prop_map(|(volume, kind, data)| Op::Mark { volume, kind: MarkKind(kind), data: data.into() }),
        1 => Just(Op::Void),
        1 => generation().prop_map(|generation| Op::ResyncDone { generation }),
        2 => (volume(), range(), vec(any::<u8>(), 32), any::<bool>(), seq()).prop_map(
            |(volume, range, bytes, is_copy, known)| {
                let digest = Digest(bytes.try_into().expect("32 bytes"));
                Op::Verify { volume, range, digest, is_copy, known }
            }
        ),
    ]
}

/// Blocks of 512 bytes, half of which can be compressed.
fn any_data() -> impl Strategy<Value = Vec<u8>> {
    let blocks = |block: Vec<u8>, count| block.repeat(count);
    prop_oneof![
        (vec(any::<u8>(), 512), 1..3_usize).prop_map(move |(block, count)| blocks(block, count)),
        (any::<u8>(), 1..5_usize).prop_map(move |(byte, count)| blocks(vec![byte; 512], count)),
    ]
}

fn any_hello() -> impl Strategy<Value = Hello> {
    let disk = prop_oneof![
        Just(DiskState::UpToDate),
        Just(DiskState::Consistent),
        Just(DiskState::Outdated),
        Just(DiskState::Inconsistent),
        Just(DiskState::Failed)
    ];
    let role = prop_oneof![Just(Role::Primary), Just(Role::Secondary)];
    let suspect = (any::<u16>(), any::<u64>(), any::<u64>())
        .prop_map(|(volume, lba, blocks)| (VolumeIndex(volume), Range { lba: Lba(lba), blocks: BlockCount(blocks) }));
    let names = (name(), name(), vec(any_shape(), 0..5), vec(suspect, 0..5));
    let standing = (role, disk, epoch(), generation(), vec(generation(), 0..=HISTORY_MAX), option::of(generation()));
    let rest = (any::<u64>(), any::<(bool, bool, bool, bool, bool)>(), epoch(), seq(), seq(), any::<u64>());
    (names, standing, rest).prop_map(
        |(
            (group, node, volumes, suspects),
            (role, disk, epoch, generation, history, dirty_since),
            (
                instance,
                (crashed_owner, lost_cache, resumes, holds, peer_outdated),
                received,
                applied_upto,
                durable_upto,
                number,
            ),
        )| Hello {
            group,
            node,
            instance: Instance(instance),
            volumes,
            role,
            disk,
            epoch,
            generation,
            history,
            dirty_since,
            crashed_owner,
            lost_cache,
            resumes,
            holds,
            peer_outdated,
            received: Marks { epoch: received, applied_upto, durable_upto },
            counting: dirty_since,
            suspects,
            number,
        },
    )
}

fn any_shape() -> impl Strategy<Value = VolumeShape> {
    (name(), 9..=12_u32, any::<u64>()).prop_map(|(name, shift, capacity)| VolumeShape {
        name,
        block_length: BlockLength::new(1 << shift).expect("512 to 4096"),
        capacity: BlockCount(capacity),
    })
}

fn any_ack() -> impl Strategy<Value = Ack> {
    let run = || (seq(), seq()).prop_map(|(a, b)| (a.min(b), a.max(b)));
    let marks = (epoch(), any::<u64>(), seq(), seq(), seq(), seq(), any::<u64>());
    let lists = (vec(run(), 0..=RUNS_MAX), vec(run(), 0..=RUNS_MAX), vec(seq(), 0..9), vec(seq(), 0..9));
    (marks, lists).prop_map(
        |(
            (epoch, number, received_upto, applied_upto, durable_upto, seq, bytes),
            (received, applied, failed, differs),
        )| Ack {
            epoch,
            number,
            received_upto,
            applied_upto,
            durable_upto,
            received: received.into(),
            applied: applied.into(),
            credit: Credit { seq, bytes },
            failed: failed.into(),
            differs: differs.into(),
        },
    )
}

pub(super) fn name() -> impl Strategy<Value = Arc<str>> {
    prop_oneof!["[a-z][a-z0-9-]{0,20}", "[a-zé]{100}", Just("x".repeat(NAME_MAX))].prop_map(|name| name.as_str().into())
}

pub(super) fn epoch() -> impl Strategy<Value = OwnerEpoch> {
    (0..=OwnerEpoch::MAX.0).prop_map(OwnerEpoch)
}

pub(super) fn seq() -> impl Strategy<Value = WriteSeq> {
    (0..=WriteSeq::MAX.0).prop_map(WriteSeq)
}

fn generation() -> impl Strategy<Value = Generation> {
    any::<u128>().prop_map(Generation)
}
